"""What a soak sends, and its report: figures by minute, verdicts and a table for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.ros.lab.ledger import GOOD, Account, Ledger
from clipose_ros.ros.lab.process_memory import Memory, growth_mb, memory_by_minute

LARGEST_GROWTH_MB = 5.0
SHORTEST_S = 180.0  # run that says something about memory
LARGEST_P99_RATIO = 1.5  # last third of the minutes to first
FEWEST_MINUTES = 3  # in each of the thirds


@dataclass(frozen=True)
class SoakConfig:
    """What is sent, and for how long.

    Parameters
    ----------
    minutes : float
        Length of the run.
    seconds : float, optional
        Length of a short one, instead.
    rate_hz : float
        Of the camera [Hz].
    objects : int
        In each image.
    faulty : float
        Share of faults among all that is sent, in 0..1.
    seed : int
        Of which faults come, and when.
    model : str
        As in the node.
    output : Path, optional
        Where the report is written as JSON.
    """

    minutes: float = 30.0
    seconds: float | None = None
    rate_hz: float = 30.0
    objects: int = 5
    faulty: float = 0.2
    seed: int = 0
    model: str = DEFAULT_MODEL
    output: Path | None = None

    @property
    def duration_s(self) -> float:
        """How long images are sent [s]."""
        return self.minutes * 60 if self.seconds is None else self.seconds


def by_minute(latencies_ms: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """Sum up latencies by minute.

    Parameters
    ----------
    latencies_ms : sequence of (float, float)
        Time [s] and latency [ms].

    Returns
    -------
    list of dict
        frames, p50_ms and p99_ms of each whole minute.
    """
    if not latencies_ms:
        return []
    times, values = np.array(latencies_ms).T
    minute = ((times - times.min()) // 60).astype(int)
    whole = [minute == i for i in range(max(1, int((times.max() - times.min() + 1) // 60)))]
    percentiles = [(int(of.sum()), *np.percentile(values[of], [50, 99])) for of in whole if of.any()]
    return [
        {"frames": frames, "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
        for frames, p50, p99 in percentiles
    ]


def p99_ratio(minutes: Sequence[Mapping[str, float]]) -> float | None:
    """Compare the last third of a run with the first.

    Parameters
    ----------
    minutes : sequence of mapping
        Of `by_minute`.

    Returns
    -------
    float or None
        Median p99 of the minutes of the last third by that of the first. None where there are too few to say.
    """
    third = len(minutes) // 3
    if third < FEWEST_MINUTES:
        return None
    first, last = (np.median([minute["p99_ms"] for minute in part]) for part in (minutes[:third], minutes[-third:]))
    return float(last / first)


def report(
    config: SoakConfig, ledger: Ledger, account: Account, memory: Sequence[Memory], counters: Mapping[str, int]
) -> dict[str, Any]:
    """Sum up and judge.

    Parameters
    ----------
    config : SoakConfig
        What was sent.
    ledger : Ledger
        Of the run.
    account : Account
        What became of its images.
    memory : sequence of Memory
        Of the node, in the order of time.
    counters : mapping of str to int
        Of the node's /diagnostics.

    Returns
    -------
    dict
        All figures, and a verdict on each that has a limit. None is one that the run was too short for.
    """
    minutes, growth = by_minute(ledger.latencies_ms), growth_mb([(sample.time_s, sample.held) for sample in memory])
    ratio = p99_ratio(minutes)
    verdicts = {
        "every image accounted for": account.closed,
        f"memory grew by at most {LARGEST_GROWTH_MB:g} MB": None
        if config.duration_s < SHORTEST_S
        else growth <= LARGEST_GROWTH_MB,
        f"p99 of the last third at most {LARGEST_P99_RATIO:g} times that of the first": None
        if ratio is None
        else ratio <= LARGEST_P99_RATIO,
    }
    return {
        "config": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()},
        "images": {"good": account.sent.get(GOOD, 0), "good answered": account.answered.get(GOOD, 0)}
        | {
            "replaced by a newer one": account.replaced,
            "messages lost on the way": account.lost,
            "missed": account.missed,
        },
        "wrong answers": list(account.wrong),
        "faults": ledger.injected,
        "counters": dict(sorted(counters.items())),
        "unaccounted": dict(account.unaccounted),
        "memory": {"growth after warm-up MB": round(growth, 2)}
        | {"own growth after warm-up MB": round(growth_mb([(sample.time_s, sample.own) for sample in memory]), 2)}
        | {
            f"{kind} {when} MB": round(getattr(sample, kind), 1)
            for kind in ("own", "shared", "files")
            for when, sample in (("begin", memory[0]), ("end", memory[-1]))
        },
        "memory by minute": memory_by_minute(memory),
        "latency by minute": minutes,
        "p99 ratio": None if ratio is None else round(ratio, 3),
        "verdicts": verdicts,
        "passed": all(verdict is not False for verdict in verdicts.values()),
    }


def summary(said: Mapping[str, Any]) -> Table:
    """Show a report to people.

    Parameters
    ----------
    said : mapping
        Of `report`.

    Returns
    -------
    rich.table.Table
        A row for each figure.
    """
    faults = sum(said["faults"].values())
    table = Table(
        "measured",
        "value",
        title=f"Soak of {said['config']['model']}, {faults} faults of {len(said['faults'])} kinds",
    )
    for name, number in said["images"].items():
        table.add_row(name, str(number))
    table.add_row("wrong answers", str(len(said["wrong answers"])))
    for key, number in said["unaccounted"].items():
        table.add_row(f"unaccounted: {key}", f"{number:+d}")
    for name, megabytes in said["memory"].items():
        table.add_row(f"memory {name}", str(megabytes))
    minutes = said["latency by minute"]
    for name in ("p50_ms", "p99_ms") if minutes else ():
        values = [minute[name] for minute in minutes]
        table.add_row(f"{name.removesuffix('_ms')} of a minute, ms", f"{min(values):.1f} .. {max(values):.1f}")
    for name, verdict in said["verdicts"].items():
        table.add_row(name, {True: "yes", False: "[red]no[/red]", None: "too short to say"}[verdict])
    return table
