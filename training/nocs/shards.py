"""Shards of rows of a split on disk, which `training.dataset.ViewPool` reads as it reads those of `training.views`."""

from __future__ import annotations

import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.progress import Progress

from training.nocs.rows import NocsConfig, NocsViews, Skipped

EXAMPLES = 3  # of each reason in the report
Report = dict[str, list[str]]  # of a shard: by reason, what was skipped

_views: NocsViews  # of a worker


def _open(config: NocsConfig) -> None:
    global _views
    _views = NocsViews(config)


def _write_shard(job: tuple[Path, range]) -> tuple[Path, int]:
    """Rows of a part of the index in one file, and beside it, as JSON, what was skipped; a finished shard is kept."""
    path, items = job
    if not path.with_suffix(".json").exists():
        rows, skipped = [], Report()
        for item in (_views[i] for i in items):
            if isinstance(item, Skipped):
                skipped.setdefault(item.reason, []).append(item.message)
            else:
                rows.append(item)
        if rows:
            unfinished = path.with_suffix(f".{os.getpid()}.tmp")
            with unfinished.open("wb") as file:
                np.savez(file, **{name: np.stack([row[name] for row in rows]) for name in rows[0]})
            unfinished.rename(path)
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        unfinished.write_text(json.dumps({"rows": len(rows), "skipped": skipped}, indent=1), encoding="utf-8")
        unfinished.rename(path.with_suffix(".json"))
    return path, len(items)


def _jobs(output: Path, instances: int, shard_views: int) -> Iterator[tuple[Path, range]]:
    for number, start in enumerate(range(0, instances, shard_views)):
        yield output / f"shard_{number:06d}.npz", range(start, min(start + shard_views, instances))


def write_shards(config: NocsConfig, output: Path, shard_views: int = 2_000, workers: int = 2) -> tuple[int, Counter[str], Report]:
    """Write the split `config` names as shards in `output`, in the published order; an interrupted run goes on where it stopped.

    Returns: number of rows, counts of what was skipped by reason, and some examples of each.
    Raises: ValueError where there is no such split on disk, or `output` was written with another configuration.
    """
    views = NocsViews(config)
    output.mkdir(parents=True, exist_ok=True)
    settings = json.dumps({"config": repr(config), "shard_views": shard_views, "instances": len(views)}, indent=1)
    written = output / "source.json"
    if written.exists() and written.read_text(encoding="utf-8") != settings:
        raise ValueError(f"output: expected an empty folder or one written with the same options, got {output}")
    written.write_text(settings, encoding="utf-8")

    jobs = list(_jobs(output, len(views), shard_views))
    with multiprocessing.get_context("spawn").Pool(workers, _open, (config,)) as pool, Progress() as progress:
        task = progress.add_task(f"{config.split}: {views.sources}", total=len(views))
        for _, done in pool.imap_unordered(_write_shard, jobs):
            progress.advance(task, done)

    rows, counts, examples = 0, Counter(views.skipped), Report()
    for path, _ in jobs:
        report = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        rows += report["rows"]
        for reason, messages in report["skipped"].items():
            counts[reason] += len(messages)
            examples[reason] = (examples.get(reason, []) + messages)[:EXAMPLES]
    return rows, counts, examples
