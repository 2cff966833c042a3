"""How many augmented clouds a second come from rows in memory, by device and batch: what the network must wait for at
least.

    python -m training.throughput --data data/views --device cuda --batch 24 64 256
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from training.command import run
from training.dataset import BatchConfig, make_batch
from training.networks import PatchTransformerConfig
from training.rows import BROKEN, ViewPool


def clouds_per_second(
    pool: ViewPool, batch: int, device: torch.device, seconds: float, config: BatchConfig = BatchConfig()
) -> float:
    """Of one process that reads rows and makes batches, measured over at least so many seconds after a first,
    unmeasured batch.
    """
    generator = torch.Generator(device).manual_seed(0)
    whole, rng = np.flatnonzero(pool.category != BROKEN), np.random.default_rng(0)

    def one() -> None:
        index = torch.from_numpy(whole[rng.integers(len(whole), size=batch)])
        # waits for the device
        make_batch(pool.rows(index, device), PatchTransformerConfig.patches, config, generator)["points"].sum().item()

    one()
    made, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        one()
        made += batch
    return made / (time.perf_counter() - started)


def main(
    data: Path,
    device: Literal["cpu", "cuda"] = "cpu",
    batch: tuple[int, ...] = (24, 64, 256),
    seconds: float = 3.0,
    in_memory: bool = False,
) -> None:
    """Print the table for a folder of shards."""
    pool = ViewPool(sorted(data.glob("shard_*.npz")), in_memory)
    table = Table("batch", "clouds per second", title=f"{len(pool)} views, {device}, {torch.get_num_threads()} threads")
    for size in batch:
        table.add_row(str(size), f"{clouds_per_second(pool, size, torch.device(device), seconds):.0f}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
