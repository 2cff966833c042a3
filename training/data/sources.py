"""Where the batches of a run come from: rows of shards, whole or still being written, ahead of the training.

Everything random in a step follows from the seed of the run and the number of the step.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor

from training.data.dataset import BatchConfig, make_batch
from training.data.growing import GrowingRows
from training.data.rows import RowDrawer, Rows, StepRows, ViewPool, checked_arrays, flaws
from training.networks.patch_transformer import PatchTransformerConfig

if TYPE_CHECKING:
    from training.train import TrainConfig

AUGMENTING, STEPPING, DESCRIBING = 1, 2, 3  # uses of `step_seed`


def step_seed(config: TrainConfig, use: int, step: int, rank: int) -> int:
    """Derive the seed of what is drawn in a step.

    Parameters
    ----------
    config : TrainConfig
        Whose seed it follows from.
    use : int
        AUGMENTING, STEPPING or DESCRIBING.
    step : int
        From 0.
    rank : int
        Of the process.

    Returns
    -------
    int
        63 bits.
    """
    return int(np.random.SeedSequence([config.seed, use, step, rank]).generate_state(1, np.uint64)[0] >> 1)


def batches_of(config: TrainConfig) -> BatchConfig:
    """Give how clouds are made: in the view frame, always, for a network that is told nothing of surfaces, and in the
    frame of a pose for one that refines; with pictures for one that has a backbone for them.

    Parameters
    ----------
    config : TrainConfig
        The run.

    Returns
    -------
    BatchConfig
        Of its batches, and of what it is measured on.
    """
    batches = config.batches
    if not getattr(config.network, "ground", False):
        batches = replace(batches, ground=replace(batches.ground, known=0.0))
    pictured = getattr(config.network, "backbone", "none") != "none"
    return replace(
        batches,
        prior=replace(batches.prior, given=getattr(config.network, "refines", False)),
        pictures=replace(batches.pictures, given=pictured),
    )


def centres(config: TrainConfig) -> int:
    """Say how many points of a cloud have their object coordinates among the targets.

    Parameters
    ----------
    config : TrainConfig
        The run.

    Returns
    -------
    int
        As many as the network predicts; for one that predicts none, as the compact one.
    """
    return getattr(config.network, "patches", PatchTransformerConfig.patches)


def open_sources(config: TrainConfig, more: Sequence[Rows]) -> tuple[ViewPool, ViewPool, RowDrawer]:
    """Open the rows of a run.

    Parameters
    ----------
    config : TrainConfig
        The run.
    more : sequence of Rows
        Sources beside the folders, last in `share`.

    Returns
    -------
    pool : ViewPool
        Rows to train on.
    held_out : ViewPool
        Rows to measure on.
    drawer : RowDrawer
        Draws the former.

    Raises
    ------
    ValueError
        Where there are too few shards, none can be read, or the shares do not fit.
    """
    folders = [sorted(folder.glob("shard_*.npz")) for folder in config.data]
    for folder, shards in zip(config.data, folders, strict=True):
        least = config.validation_shards if folder == config.data[0] else 0
        if len(shards) <= least:
            raise ValueError(
                f"data: expected more than {least} shard_*.npz in {folder}, got {len(shards)}: so many are held out. "
                "Draw more views, or more shards of fewer (training.views --shard-views)"
            )
    if len(config.share) != len(folders) + len(more):
        raise ValueError(
            f"share: expected a number for each of {len(folders) + len(more)} sources, got {len(config.share)}"
        )
    held_out = ViewPool(folders[0][-config.validation_shards :], config.in_memory)
    folders[0] = folders[0][: -config.validation_shards]
    pools = [ViewPool(shards, config.in_memory) for shards in folders] + [ViewPool([rows]) for rows in more]
    pool = ViewPool([part for source in pools for part in source.parts])
    pool.skipped = sum((source.skipped for source in pools), Counter())
    source = np.repeat(np.arange(len(pools)), [len(source) for source in pools])
    return pool, held_out, RowDrawer(pool.category, source, config.share, config.category_share)


def batch_maker(
    rows: Iterator[tuple[dict[str, Tensor], dict[str, int]]],
    config: TrainConfig,
    accelerator: Accelerator,
    images: Callable[[dict[str, Tensor], torch.Generator], Tensor] | None = None,
) -> Callable[[int], tuple[dict[str, Tensor], Counter[str]]]:
    """Make a function that gives the truth of a step.

    Parameters
    ----------
    rows : iterator
        Arrays of the rows of one step after the other, and how many could not be read, by reason.
    config : TrainConfig
        How clouds are made.
    accelerator : Accelerator
        Of the run.
    images : callable, optional
        Makes the image of each row, for the alignment.

    Returns
    -------
    callable
        Takes the number of the step, in the order of `rows`. Gives the truth of the usable rows, and how many were left
        out, by reason.
    """

    def make(step: int) -> tuple[dict[str, Tensor], Counter[str]]:
        arrays, skipped = next(rows)
        on_device = {name: array.to(accelerator.device, non_blocking=True) for name, array in arrays.items()}
        generator = torch.Generator(accelerator.device).manual_seed(
            step_seed(config, AUGMENTING, step, accelerator.process_index)
        )
        truth = (
            make_batch(on_device, centres(config), batches_of(config), generator)
            if on_device
            else {"usable": torch.zeros(0)}
        )
        if images is not None and on_device:
            truth["image"] = images(on_device, generator)
        usable = truth.pop("usable")
        skipped = Counter(skipped) + Counter({"too few points": len(usable) - int(usable.sum())})
        if not usable.any():
            raise ValueError(f"batch: expected usable rows, got none in step {step}: {dict(skipped)}")
        return {name: value[usable] for name, value in truth.items()}, skipped

    return make


def row_reader(
    config: TrainConfig, pool: ViewPool, drawer: RowDrawer, step: int, accelerator: Accelerator
) -> Iterator[tuple[dict[str, Tensor], dict[str, int]]]:
    """Read the rows of one step after the other, ahead of the training.

    Parameters
    ----------
    config : TrainConfig
        The run.
    pool, drawer : ViewPool, RowDrawer
        Rows, and how they are drawn.
    step : int
        The first one.
    accelerator : Accelerator
        Says which part of the rows this process reads.

    Returns
    -------
    iterator
        Arrays of the rows that could be read, and how many could not be, by reason.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    return iter(
        torch.utils.data.DataLoader(
            StepRows(pool, drawer, config.batch, config.seed, rank, processes),
            batch_size=None,
            sampler=range(step, config.steps),
            num_workers=config.workers,
            # a mapped shard is shared with a forked process, and copied to any other
            multiprocessing_context="fork" if config.workers else None,
            pin_memory=accelerator.device.type == "cuda",
        )
    )


def open_growing(
    config: TrainConfig, accelerator: Accelerator
) -> tuple[GrowingRows, ViewPool, Callable[[int], Iterator[tuple[dict[str, Tensor], dict[str, int]]]]]:
    """Open a folder whose shards are still being written, and wait for the first.

    Parameters
    ----------
    config : TrainConfig
        The run.
    accelerator : Accelerator
        Says where the rows are held, and which part of them this process reads.

    Returns
    -------
    rows : GrowingRows
        To train on.
    held_out : ViewPool
        Rows to measure on: the first shards that were whole.
    read : callable
        Takes the number of the first step. Gives what `row_reader` gives, on the device.
    """
    left_out: Counter[str] = Counter()

    def sound(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The rows that can be true."""
        arrays = checked_arrays(arrays)
        broken = flaws(arrays)
        left_out.update({reason: int(which.sum()) for reason, which in broken.items() if which.any()})
        kept = ~np.any(list(broken.values()), axis=0)
        return arrays if kept.all() else {name: array[kept] for name, array in arrays.items()}

    rows = GrowingRows(
        config.data[0], "shard_*.npz", config.growing, accelerator.device, sound, config.validation_shards
    )
    rows.skipped = left_out
    rows.start(least=min(4 * config.batch, config.growing))
    rank, processes = accelerator.process_index, accelerator.num_processes

    def read(step: int) -> Iterator[tuple[dict[str, Tensor], dict[str, int]]]:
        known = 0
        for number in range(step, config.steps):
            if rows.taken > 1.02 * known:
                known, category = rows.taken, rows.column("category").cpu().numpy()
                drawer = RowDrawer(category, np.zeros(len(category), int), (1.0,), config.category_share)
            index = drawer.draw(config.batch, np.random.default_rng([config.seed, number]))[rank::processes]
            yield rows.drawn(torch.from_numpy(index).to(accelerator.device)), {}
        rows.close()

    return rows, ViewPool(rows.held_out, in_memory=True), read
