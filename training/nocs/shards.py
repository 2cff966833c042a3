"""Shards of rows of a split on disk, which `data.rows.ViewPool` reads as it reads those of `training.views`."""

from __future__ import annotations

import json
import multiprocessing
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from rich.progress import Progress

from training.data.row_format import COLOUR_PX
from training.nocs.files import Unusable
from training.nocs.rows import NocsConfig, NocsViews
from training.storage import made_folder, write_whole

EXAMPLES = 3  # of each reason in a report

_views: NocsViews  # of a worker


@dataclass
class Report:
    """What was written.

    Parameters
    ----------
    rows : int
        How many.
    skipped : Counter of str
        How many instances were skipped, by reason.
    examples : dict of list of str
        Some of them, by reason.
    missing_models : set of str
        Models whose size was taken from the coordinate maps.
    """

    rows: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)
    missing_models: set[str] = field(default_factory=set)

    def skip(self, reason: str, message: str) -> None:
        """Count something that was skipped.

        Parameters
        ----------
        reason : str
            Short phrase.
        message : str
            What and where.
        """
        self.skipped[reason] += 1
        self.examples.setdefault(reason, [message])
        if len(self.examples[reason]) < EXAMPLES and message not in self.examples[reason]:
            self.examples[reason].append(message)

    def add(self, other: Report) -> None:
        """Add what another part of the work says.

        Parameters
        ----------
        other : Report
            Of that part.
        """
        self.rows += other.rows
        self.skipped += other.skipped
        self.missing_models |= other.missing_models
        for reason, messages in other.examples.items():
            self.examples[reason] = (self.examples.get(reason, []) + messages)[:EXAMPLES]


def _open(config: NocsConfig) -> None:
    global _views
    cv2.setNumThreads(1)  # it would take all cores in each of the processes
    _views = NocsViews(config)


def _write_shard(job: tuple[Path, range]) -> int:
    """Rows of a part of the index in one file, and beside it, as JSON, the report that says that it is finished."""
    path, items = job
    rows, report = [], Report()
    for item in items:
        try:
            rows.append(_views[item])
        except Unusable as error:
            report.skip(error.reason, str(error))
    report.rows, report.missing_models = len(rows), _views.missing_models
    if rows:
        write_whole(
            path, lambda file: np.savez(file, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
        )
    content = json.dumps(vars(report), default=sorted, indent=1).encode()
    write_whole(path.with_suffix(".json"), lambda file: file.write(content))
    return len(items)


def _read_report(path: Path) -> Report:
    content = json.loads(path.read_text(encoding="utf-8"))
    return Report(content["rows"], Counter(content["skipped"]), content["examples"], set(content["missing_models"]))


def _jobs(output: Path, instances: int, shard_views: int) -> Iterator[tuple[Path, range]]:
    for number, start in enumerate(range(0, instances, shard_views)):
        yield output / f"shard_{number:06d}.npz", range(start, min(start + shard_views, instances))


def write_shards(config: NocsConfig, output: Path, shard_views: int = 2_000, workers: int = 2) -> Report:
    """Write a split as shards, in the published order. An interrupted run goes on where it stopped.

    Parameters
    ----------
    config : NocsConfig
        The split.
    output : Path
        Folder of the shards.
    shard_views : int
        Rows of a shard.
    workers : int
        Processes that write.

    Returns
    -------
    Report
        Of all shards.

    Raises
    ------
    ValueError
        Where there is no such split on disk, or `output` was written with another configuration.
    """
    views = NocsViews(config)
    made_folder(output)
    described = repr(config).replace(
        f", colour_px={COLOUR_PX}", ""
    )  # as folders say that were begun without the option
    settings = json.dumps({"config": described, "shard_views": shard_views, "instances": len(views)}, indent=1)
    written = output / "source.json"
    if written.exists() and written.read_text(encoding="utf-8") != settings:
        raise ValueError(f"output: expected an empty folder or one written with the same options, got {output}")
    written.write_text(settings, encoding="utf-8")

    jobs = list(_jobs(output, len(views), shard_views))
    unfinished = [(path, items) for path, items in jobs if not path.with_suffix(".json").exists()]
    with Progress() as progress:
        task = progress.add_task(f"{config.split}: {views.sources}", total=sum(len(items) for _, items in unfinished))
        if unfinished:
            with multiprocessing.get_context("spawn").Pool(min(workers, len(unfinished)), _open, (config,)) as pool:
                for done in pool.imap_unordered(_write_shard, unfinished):
                    progress.advance(task, done)

    total = Report()
    for error in views.left_out:
        total.skip(error.reason, str(error))
    for path, _ in jobs:
        total.add(_read_report(path.with_suffix(".json")))
    return total
