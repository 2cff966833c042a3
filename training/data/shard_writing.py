"""Shards of a generated data set, drawn by several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import cv2
from rich.progress import Progress

from training.storage import archive_flaw

Job = TypeVar("Job")
Said = TypeVar("Said")


def write_shards(
    what: str, write: Callable[[Job], Said], jobs: Sequence[Job], paths: Sequence[Path], shard_rows: int, workers: int
) -> Iterator[Said]:
    """Write shards, with a progress bar.

    Parameters
    ----------
    what : str
        Name of the bar.
    write : callable
        Takes a job, and writes its shard unless it is there. A function of a module, for other processes to find.
    jobs : sequence
        One for each shard.
    paths : sequence of Path
        Of the shards.
    shard_rows : int
        Rows of each.
    workers : int
        Processes that draw, each on one core.

    Yields
    ------
    object
        What `write` gives, in the order in which shards are done.

    Raises
    ------
    ValueError
        For a shard that is there and cut off.
    """
    for path in paths:
        if path.exists() and (flaw := archive_flaw(path)):
            raise ValueError(f"{path}: expected a shard, got {flaw}; remove it to have it drawn again")
    # OpenCV would take all cores in each of the processes
    with multiprocessing.get_context("spawn").Pool(workers, cv2.setNumThreads, (1,)) as pool, Progress() as progress:
        task = progress.add_task(what, total=len(jobs) * shard_rows)
        for said in pool.imap_unordered(write, jobs):
            progress.advance(task, shard_rows)
            yield said
