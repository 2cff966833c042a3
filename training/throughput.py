"""How fast this machine trains: steps a second of the paper's network and of the compact one, and the clouds that they
wait for.

    python -m training.throughput --data data/views --device cuda --batch 24 64
    python -m training.throughput --data data/views --device cuda --batch 24 --precision bf16 --networks clipose

A step is the trainer's own: forward, losses, backward, optimiser and running average, of one batch again and again. The
paper's network learns with the paper's losses and optimiser; `--clip` adds the branch of CLIP. Clouds are counted
apart, because they are made while the network computes: the slower of the two decides.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from training.clipose import PAPER
from training.command import run
from training.data.dataset import BatchConfig, make_batch
from training.data.rows import BROKEN, RowDrawer, StepRows, ViewPool
from training.data.sources import batch_maker
from training.networks import PatchTransformerConfig
from training.optimisation.precision import rounded_products
from training.train import TrainConfig, Trainer, make_accelerator


def rate(one: Callable[[], object], seconds: float) -> float:
    """Count how often something is done in a second, after a first time that is not counted.

    Parameters
    ----------
    one : callable
        Does it once, to the end.
    seconds : float
        For at least so long.

    Returns
    -------
    float
        Times a second.
    """
    one()
    done, started = 0, time.perf_counter()
    while time.perf_counter() - started < seconds:
        one()
        done += 1
    return done / (time.perf_counter() - started)


def clouds_per_second(
    pool: ViewPool, batch: int, device: torch.device, seconds: float, config: BatchConfig = BatchConfig()
) -> float:
    """Measure one process that reads rows and makes batches.

    Parameters
    ----------
    pool : ViewPool
        Rows.
    batch : int
        Clouds in a batch.
    device : torch.device
        Where they are made.
    seconds : float
        For at least so long.
    config : BatchConfig
        How they are made.

    Returns
    -------
    float
        Clouds a second.
    """
    generator = torch.Generator(device).manual_seed(0)
    whole, rng = np.flatnonzero(pool.category != BROKEN), np.random.default_rng(0)

    def one() -> None:
        index = torch.from_numpy(whole[rng.integers(len(whole), size=batch)])
        # waits for the device
        make_batch(pool.rows(index, device), PatchTransformerConfig.patches, config, generator)["points"].sum().item()

    return batch * rate(one, seconds)


def steps_per_second(pool: ViewPool, config: TrainConfig, seconds: float, clip: str | None = None) -> float:
    """Measure the step of a run.

    Parameters
    ----------
    pool : ViewPool
        Rows, of which one batch is made.
    config : TrainConfig
        The run.
    seconds : float
        For at least so long.
    clip : str, optional
        A CLIP whose branch trains beside the network, as `AlignmentConfig.clip`.

    Returns
    -------
    float
        Steps a second.
    """
    aligned = None
    if clip is not None:
        from training.alignment.branch import AlignmentConfig  # here: most measurements do without

        aligned = AlignmentConfig(clip=clip)
    accelerator = make_accelerator(config)
    trainer = Trainer(config, accelerator, aligned)
    drawer = RowDrawer(pool.category, np.zeros(len(pool), int), (1.0,), config.category_share)
    rows, skipped = StepRows(pool, drawer, config.batch, config.seed)[0]
    arrays = {name: torch.from_numpy(array) for name, array in rows.items()}
    truth, _ = batch_maker(iter([(arrays, skipped)]), config, accelerator, trainer.images)(0)
    on_gpu = accelerator.device.type == "cuda"

    def one() -> None:
        losses, _ = trainer.step(truth, 0)
        losses["total"].item()  # waits for the device

    with rounded_products(config.tf32) if on_gpu else nullcontext():
        return rate(one, seconds)


RUNS = {"compact": TrainConfig(data=(), output=Path()), "clipose": replace(PAPER, data=(), output=Path())}


def main(
    data: Path,
    device: Literal["cpu", "cuda"] = "cpu",
    batch: tuple[int, ...] = (24, 64),
    seconds: float = 3.0,
    in_memory: bool = False,
    networks: tuple[Literal["compact", "clipose"], ...] = ("compact", "clipose"),
    precision: Literal["fp32", "bf16", "fp16"] = TrainConfig.precision,
    tf32: bool = TrainConfig.tf32,
    clip: str | None = None,
) -> None:
    """Print the table for a folder of shards.

    Parameters
    ----------
    data : Path
        Folder of shards.
    device : "cpu" or "cuda"
        What trains.
    batch : tuple of int
        Views in a step; a line each.
    seconds : float
        For how long each number is measured, at least one step.
    in_memory : bool
        Read the shards whole at the start.
    networks : tuple of str
        The compact one, the paper's (clipose), or both.
    precision, tf32 : str, bool
        As in training.
    clip : str, optional
        Align the paper's network with this CLIP beside: a name at the hub, a folder, or "random", a small one.
    """
    shards = sorted(data.glob("shard_*.npz"))
    if not shards:
        raise ValueError(f"data: expected shard_*.npz in {data}, got none")
    pool = ViewPool(shards, in_memory)
    rounding = f", {'TF32' if tf32 else 'no TF32'}" if device == "cuda" else ""
    title = f"{len(pool)} views, {device}, {torch.get_num_threads()} threads, {precision}{rounding}"
    table = Table("batch", "clouds/s", *(f"{name} steps/s (views/s)" for name in networks), title=title)
    for size in batch:
        cells = [f"{clouds_per_second(pool, size, torch.device(device), seconds):.0f}"]
        for name in networks:
            config = replace(RUNS[name], batch=size, device=device, precision=precision, tf32=tf32)
            steps = steps_per_second(pool, config, seconds, clip if name == "clipose" else None)
            cells.append(f"{steps:.3g} ({steps * size:.3g})")
        table.add_row(str(size), *cells)
    Console().print(table)


if __name__ == "__main__":
    run(main)
