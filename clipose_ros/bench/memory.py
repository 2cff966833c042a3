"""What several models in one process cost: memory, and time for five objects.

    python -m clipose_ros.bench.memory --models clipose-lite clipose-base

Each number of models is measured in processes of its own, in interleaved rounds. Each object goes to the first model
that answers its name, so that models of the same categories share no work: the latency is that of the first, with the
others beside it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np
import psutil
import tyro
from rich.console import Console
from rich.table import Table

from clipose_ros import estimators
from clipose_ros.bench.latency import measure
from clipose_ros.cli.quiet_end import run_module
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.pipeline import Pipeline, warm_up


@dataclass(frozen=True)
class MemoryConfig:
    """What is measured.

    Parameters
    ----------
    models : tuple of str
        Loaded one after the other: the first alone, the first two, and so on.
    instances : int
        Objects in a frame.
    frames : int
        Of each round.
    rounds : int
        Processes for each number of models.
    alone : bool
        Measure all models once, in this process, and print JSON.
    """

    models: tuple[str, ...] = (DEFAULT_MODEL, "clipose-base")
    instances: int = 5
    frames: int = 30
    rounds: int = 3
    alone: bool = False


def measure_here(config: MemoryConfig) -> dict[str, float]:
    """Load all models into this process, and measure.

    Parameters
    ----------
    config : MemoryConfig
        What is measured.

    Returns
    -------
    dict of str to float
        `imported_mb`, resident before a model was loaded; `loaded_mb`, after the warm-up; `p50_ms` of a frame.
    """
    process = psutil.Process()
    imported = process.memory_info().rss
    estimator = estimators.load_all(config.models)
    warm_up(estimator)
    loaded = process.memory_info().rss
    ((row,),) = measure([Pipeline(estimator)], (config.instances,), config.frames, rounds=1)
    return {"imported_mb": imported / 1e6, "loaded_mb": loaded / 1e6, "p50_ms": row["p50_ms"]}


def measure_all(config: MemoryConfig) -> list[dict[str, float]]:
    """Measure one model, two models, and so on, in processes of their own.

    Parameters
    ----------
    config : MemoryConfig
        What is measured.

    Returns
    -------
    list of dict of str to float
        For each number of models the medians of the rounds, as `measure_here` names them.

    Raises
    ------
    RuntimeError
        When a process fails.
    """
    counts = range(1, len(config.models) + 1)
    found: dict[int, list[dict[str, float]]] = {count: [] for count in counts}
    options = [f"--instances={config.instances}", f"--frames={config.frames}", "--alone"]
    for _ in range(config.rounds):
        for count in counts:
            command = [sys.executable, "-m", __spec__.name, *options, "--models", *config.models[:count]]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                reason = (done.stderr.splitlines() or [f"exit status {done.returncode}"])[-1]
                raise RuntimeError(f"{' '.join(config.models[:count])}: expected figures, got {reason}")
            found[count].append(json.loads(done.stdout.splitlines()[-1]))
    return [{key: float(np.median([one[key] for one in rounds])) for key in rounds[0]} for rounds in found.values()]


def main() -> None:
    """Print a table, or with `--alone` the figures of this process."""
    config = tyro.cli(MemoryConfig, description=__doc__)
    if config.alone:
        print(json.dumps(measure_here(config)))
        return
    table = Table("models in one process", "resident MB", "of them models", f"ms for {config.instances} objects, p50")
    for count, row in enumerate(measure_all(config), start=1):
        models = row["loaded_mb"] - row["imported_mb"]
        table.add_row(
            ", ".join(config.models[:count]), f"{row['loaded_mb']:.0f}", f"{models:.0f}", f"{row['p50_ms']:.1f}"
        )
    Console().print(table)


if __name__ == "__main__":
    run_module("clipose_ros.bench.memory", main)
