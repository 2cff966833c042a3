"""Where training rows come from: shards on disk, and data sets that read their rows one by one.

A row is one view, in the arrays of `training.data.row_format`. What cannot be read, or cannot be true, is left out and
counted by reason. Neither a renderer nor a network is imported here: a machine that only reads shards needs none.
"""

from __future__ import annotations

import struct
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.core.categories import CATEGORIES
from training.data.row_format import COLOUR_PX, LEAST_COLOUR_PX, OPTIONAL, ROW_TYPES
from training.storage import archive_flaw

BROKEN = -1  # category of a row that must not be drawn
LARGEST_M = 20.0  # of a size or a distance that can be true


class Rows(Protocol):
    """Rows by number.

    Attributes
    ----------
    category : (V,) int64
        Index into CATEGORIES; BROKEN for rows that are left out.
    skipped : Counter of str
        How many are left out, by reason.
    """

    category: np.ndarray
    skipped: Counter[str]

    def read(self, index: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, Counter[str]]:
        """Read rows.

        Parameters
        ----------
        index : (K,) int
            Their numbers.

        Returns
        -------
        arrays : dict of ndarray
            Of the rows that could be read.
        places : (R,) int
            The places of these in `index`.
        skipped : Counter of str
            How many could not be read, by reason.
        """


def mapped_arrays(path: Path) -> dict[str, np.ndarray]:
    """Map the arrays of an .npz file from disk. A row is read when it is asked for, and the file may exceed the memory.

    Parameters
    ----------
    path : Path
        Of the file, as `numpy.savez` writes it.

    Returns
    -------
    dict of ndarray
        By name.

    Raises
    ------
    ValueError
        For a file that is empty, cut off, packed or of another kind. The message says which.
    OSError
        Where the file cannot be read.
    """
    size = path.stat().st_size
    if flaw := archive_flaw(path):
        raise ValueError(f"{path}: expected a whole .npz file, got {flaw}")
    arrays = {}
    try:
        # numpy's own mapping keeps a file descriptor for each array, and large data sets have thousands of shards.
        content = torch.from_file(str(path), shared=False, size=size, dtype=torch.uint8).numpy()
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise ValueError(f"{member.filename}: expected an array that is not compressed, got one that is")
                file.seek(member.header_offset + 26)
                file.seek(sum(struct.unpack("<HH", file.read(4))), 1)  # name and extra field of the local header
                np.lib.format.read_magic(file)
                shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
                if dtype.hasobject or fortran:
                    raise ValueError(f"{member.filename}: expected plain numbers row by row, got {dtype}")
                arrays[member.filename.removesuffix(".npy")] = np.ndarray(shape, dtype, content.data, file.tell())
    except Exception as error:  # zipfile and numpy raise whatever a broken file makes them stumble over
        raise ValueError(f"{path}: expected a whole .npz file of numpy.savez, got {error}") from error
    return arrays


def checked_arrays(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check that the arrays of a shard are those of `ROW_TYPES`.

    Parameters
    ----------
    arrays : mapping of ndarray
        As they are in the file.

    Returns
    -------
    dict of ndarray
        Those that are known.

    Raises
    ------
    ValueError
        Where one is missing or has another shape or type.
    """
    checked = {}
    for name, (shape, dtype) in ROW_TYPES.items():
        if name in OPTIONAL and name not in arrays:
            continue
        array = arrays.get(name)
        views = (*np.shape(arrays.get("category")), 0)[0]
        if name == "colour" and np.ndim(array) == 4 and LEAST_COLOUR_PX <= array.shape[1] <= COLOUR_PX:
            shape = (array.shape[1], array.shape[1], 3)  # each shard has its side
        if array is None or array.shape != (views, *shape) or array.dtype != dtype:
            got = "none" if array is None else f"{array.shape} {array.dtype}"
            raise ValueError(f"{name}: expected {(views, *shape)} {np.dtype(dtype)}, got {got}")
        checked[name] = array
    return checked


def flaws(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Find rows that cannot be true.

    Parameters
    ----------
    arrays : mapping of ndarray
        As `checked_arrays` gives them.

    Returns
    -------
    dict of (V,) bool
        The rows, by reason. A row has one reason at most.
    """
    numbers = [
        arrays[name].reshape(len(arrays["category"]), -1)
        for name in ("rays", "pixels", "rotation", "translation", "size", "cue")
    ]
    rotation, size, translation = arrays["rotation"], arrays["size"], arrays["translation"]
    with np.errstate(all="ignore"):
        skew = np.abs(rotation @ rotation.transpose(0, 2, 1) - np.eye(3)).max((1, 2))
        reasons = {
            "numbers that are not finite": ~np.isfinite(np.concatenate(numbers, axis=1)).all(1),
            "unknown category": (arrays["category"] < 0) | (arrays["category"] >= len(CATEGORIES)),
            "no rotation": (skew > 1e-2) | (np.linalg.det(rotation) < 0),
            "impossible size": ((size <= 0) | (size > LARGEST_M)).any(1),
            "impossible position": (translation[:, 2] <= 0) | (np.abs(translation) > LARGEST_M).any(1),
        }
    seen = np.zeros(len(size), bool)
    for reason, rows in reasons.items():
        reasons[reason] = rows & ~seen
        seen |= rows
    return reasons


class ShardRows:
    """Rows of one shard, mapped from disk or, for small data sets on slow disks, in memory.

    Parameters
    ----------
    path : Path
        Of the shard.
    in_memory : bool
        Whether to read it whole now.

    Raises
    ------
    ValueError
        For a file that is no whole shard; the message begins with the path.
    OSError
        Where the file cannot be read.
    """

    def __init__(self, path: Path, in_memory: bool = False) -> None:
        try:
            arrays = checked_arrays(mapped_arrays(path))
        except ValueError as error:
            raise ValueError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
        self.arrays = {name: array.copy() if in_memory else array for name, array in arrays.items()}
        broken = flaws(arrays)
        self.skipped = Counter({reason: int(rows.sum()) for reason, rows in broken.items() if rows.any()})
        self.category = np.where(np.any(list(broken.values()), axis=0), BROKEN, arrays["category"])

    def read(self, index: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, Counter[str]]:
        """As `Rows.read`; all can be read."""
        return {name: array[index] for name, array in self.arrays.items()}, np.arange(len(index)), Counter()


class DatasetRows:
    """Rows of a map-style data set that reads each of them from its own files.

    Parameters
    ----------
    dataset : sequence
        `dataset[i]` gives one row as a mapping of `ROW_TYPES`, or raises OSError or ValueError. The `reason` of the
        error, where it has one, says under which name to count.
    category : (V,) int64
        Index into CATEGORIES, known without reading.
    """

    def __init__(self, dataset: Sequence[Mapping[str, np.ndarray]], category: np.ndarray) -> None:
        self.dataset, self.category, self.skipped = dataset, category, Counter()

    def read(self, index: np.ndarray) -> tuple[dict[str, np.ndarray], np.ndarray, Counter[str]]:
        """As `Rows.read`; whatever a file lacks is counted."""
        rows, places, skipped = [], [], Counter()
        for place, i in enumerate(index.tolist()):
            try:
                row = checked_arrays({name: np.asarray(value)[None] for name, value in self.dataset[i].items()})
                reason = next((reason for reason, broken in flaws(row).items() if broken[0]), None)
            except (OSError, ValueError) as error:
                reason = getattr(error, "reason", type(error).__name__)
            if reason is None:
                rows.append(row)
                places.append(place)
            else:
                skipped[reason] += 1
        names = rows[0].keys() if rows else ()
        return {name: np.concatenate([row[name] for row in rows]) for name in names}, np.array(places, int), skipped


class ViewPool:
    """Rows of many shards and data sets under one numbering.

    Parameters
    ----------
    parts : sequence of Path or Rows
        Shards by their path, or rows. A shard that cannot be read is left out and counted by its path and cause.
    in_memory : bool
        Whether to read shards whole.

    Raises
    ------
    ValueError
        When nothing is left.
    """

    def __init__(self, parts: Sequence[Path | Rows], in_memory: bool = False) -> None:
        if not parts:
            raise ValueError("shards: expected at least one file, got none")
        self.skipped: Counter[str] = Counter()
        self.parts: list[Rows] = []
        for part in parts:
            try:
                self.parts.append(ShardRows(part, in_memory) if isinstance(part, Path) else part)
                self.skipped.update(self.parts[-1].skipped)
            except (OSError, ValueError) as error:
                self.skipped[f"shard {error}"] += 1
        if not self.parts or all((part.category == BROKEN).all() for part in self.parts):
            reasons = "; ".join(f"{count} x {reason}" for reason, count in self.skipped.items())
            raise ValueError(f"shards: expected one that can be read, got none: {reasons}")
        self.category = np.concatenate([part.category for part in self.parts])
        self.starts = np.cumsum([0] + [len(part.category) for part in self.parts])

    def __len__(self) -> int:
        return len(self.category)

    def read(self, index: np.ndarray) -> tuple[dict[str, np.ndarray], Counter[str]]:
        """Read rows.

        Parameters
        ----------
        index : (K,) int
            Their numbers.

        Returns
        -------
        arrays : dict of ndarray
            Of those that can be read, in the order of index. `measured` is always among them.
        skipped : Counter of str
            How many cannot be read, by reason.
        """
        skipped: Counter[str] = Counter()
        got: dict[str, np.ndarray] = {}
        whole = np.zeros(len(index), bool)
        owner = np.searchsorted(self.starts, index, side="right") - 1
        for number in np.unique(owner):
            of_part = np.flatnonzero(owner == number)
            arrays, places, missing = self.parts[number].read(index[of_part] - self.starts[number])
            skipped.update(missing)
            whole[of_part[places]] = True
            for name, array in ({"measured": np.zeros(len(places), bool)} | arrays).items():
                if name not in got:
                    got[name] = np.zeros((len(index), *array.shape[1:]), ROW_TYPES[name][1])
                if name == "colour":
                    got[name], array = _as_large(got[name], array)
                got[name][of_part[places]] = array
        return {name: array[whole] for name, array in got.items()}, skipped

    def rows(self, index: Tensor, device: torch.device) -> dict[str, Tensor]:
        """Read rows as tensors. What cannot be read is counted in `skipped`.

        Parameters
        ----------
        index : (K,) int64 Tensor
            Their numbers.
        device : torch.device
            Where the tensors shall be.

        Returns
        -------
        dict of Tensor
            As `read` gives them.
        """
        arrays, skipped = self.read(index.numpy())
        self.skipped.update(skipped)
        return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _as_large(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour crops (K, S, S, 3) of two shards, both with the larger side."""
    side = max(first.shape[1], second.shape[1])

    def enlarged(crops: np.ndarray) -> np.ndarray:
        if crops.shape[1] == side:
            return crops
        smooth = F.interpolate(torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float(), side, mode="bilinear")
        return smooth.round().to(torch.uint8).permute(0, 2, 3, 1).numpy()

    return enlarged(first), enlarged(second)


class RowDrawer:
    """Draws random rows: the sources in fixed shares, and within each source the categories.

    Parameters
    ----------
    category : (V,) int64
        Of each row; BROKEN is never drawn.
    source : (V,) int
        Number of each row's source.
    source_share : (S,) float
        Of the sources, in any unit.
    category_share : (C,) float
        Of the categories, in any unit.

    Raises
    ------
    ValueError
        Where a source that shall be drawn from has no rows.
    """

    def __init__(
        self, category: np.ndarray, source: np.ndarray, source_share: Sequence[float], category_share: Sequence[float]
    ) -> None:
        cells, shares = [], []
        for s, of_source in enumerate(source_share):
            present = {c: np.flatnonzero((source == s) & (category == c)) for c in range(len(CATEGORIES))}
            weights = {c: category_share[c] for c, rows in present.items() if len(rows) and category_share[c] > 0}
            if of_source > 0 and not weights:
                raise ValueError(f"share: expected rows in each source that is drawn from, got none in source {s}")
            cells += [present[c] for c in weights]
            shares += [of_source * weight / sum(weights.values()) for weight in weights.values()]
        self.order = np.concatenate(cells)
        self.count = np.array([len(cell) for cell in cells])
        self.start = np.cumsum(self.count) - self.count
        self.share = np.array(shares) / sum(shares)

    def draw(self, batch: int, rng: np.random.Generator) -> np.ndarray:
        """Draw rows.

        Parameters
        ----------
        batch : int
            How many.
        rng : np.random.Generator
            Decides which.

        Returns
        -------
        (batch,) int64
            Their numbers.
        """
        cell = rng.choice(len(self.count), batch, p=self.share)
        return self.order[self.start[cell] + (rng.random(batch) * self.count[cell]).astype(np.int64)]


class StepRows(torch.utils.data.Dataset):
    """What one process reads in each step.

    It follows from the seed and the number of the step, so that any step can be drawn again. All processes draw the
    same rows, and each reads its share of them.

    Parameters
    ----------
    pool : ViewPool
        Rows.
    drawer : RowDrawer
        Draws them.
    batch : int
        Of all processes together.
    seed : int
        Of the run.
    rank, processes : int
        Process `rank` of `processes` reads every `processes`-th row.
    """

    def __init__(
        self, pool: ViewPool, drawer: RowDrawer, batch: int, seed: int, rank: int = 0, processes: int = 1
    ) -> None:
        self.pool, self.drawer, self.batch, self.seed, self.rank, self.processes = (
            pool,
            drawer,
            batch,
            seed,
            rank,
            processes,
        )

    def __getitem__(self, step: int) -> tuple[dict[str, np.ndarray], dict[str, int]]:
        """Arrays of the rows that could be read, and how many could not be, by reason."""
        index = self.drawer.draw(self.batch, np.random.default_rng([self.seed, step]))
        arrays, skipped = self.pool.read(index[self.rank :: self.processes])
        return arrays, dict(skipped)
