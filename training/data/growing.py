"""Rows that are drawn while a network trains on them, held where it trains.

    python -m training.views --output views --views 400000 --workers 14 &
    python -m training.train --data views --output runs/lite --device cuda --batch 2048 --growing 400000

A GPU learns from views faster than a few cores draw them for the first time. So a run may begin with the first shards,
and take each further one as soon as it is whole. Which rows a step sees then depends on the machine, so such a run
cannot be repeated bit for bit.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from training.data.rows import mapped_arrays

POLL_S = 0.5


class GrowingRows:
    """Rows of the shards of a folder, on a device, with those that are still being written to it.

    Parameters
    ----------
    folder : Path
        Of the shards. A shard is whole as soon as it has its name.
    pattern : str
        Of their names.
    capacity : int
        Rows that are held at most. Memory for so many is taken at once; later rows take the places of the oldest.
    device : torch.device
        Where they are held.
    check : callable
        Gives the arrays of a shard that are kept, and raises ValueError where it is not one.
    held_out : int
        Shards, the first that come, that are kept apart for validation.

    Attributes
    ----------
    held_out : list of Path
        These shards.
    skipped : Counter of str
        Shards that could not be read, by reason.
    taken : int
        Rows that have come so far.
    """

    def __init__(
        self,
        folder: Path,
        pattern: str,
        capacity: int,
        device: torch.device,
        check: Callable[[Mapping[str, np.ndarray]], Mapping[str, np.ndarray]] = dict,
        held_out: int = 1,
    ) -> None:
        self.folder, self.pattern, self.capacity, self.device, self.check = folder, pattern, capacity, device, check
        self.held_out: list[Path] = []
        self.skipped: Counter[str] = Counter()
        self._held_out = held_out
        self._arrays: dict[str, Tensor] = {}
        self._unsigned: set[str] = set()  # arrays of uint16, held as int16: torch indexes none on a GPU
        self.taken = 0
        self._seen: set[Path] = set()
        self._ends = threading.Event()
        self._whole = threading.Lock()  # held while rows are half old, half new
        self._reader = threading.Thread(target=self._read_on, daemon=True)

    def __len__(self) -> int:
        return min(self.taken, self.capacity)

    def column(self, name: str) -> Tensor:
        """Give an array of all rows that are there, on the device.

        Parameters
        ----------
        name : str
            Of the array.

        Returns
        -------
        Tensor
            With a row for each row; what is uint16 as int16 with the same bits.
        """
        return self._arrays[name][: len(self)]

    def start(self, least: int, timeout_s: float = 600.0) -> None:
        """Begin to read, and wait for the first rows.

        Parameters
        ----------
        least : int
            How many.
        timeout_s : float
            How long to wait [s].

        Raises
        ------
        TimeoutError
            Where they do not come.
        """
        self._reader.start()
        until = time.monotonic() + timeout_s
        while len(self) < min(least, self.capacity):
            if time.monotonic() > until or not self._reader.is_alive():
                raise TimeoutError(
                    f"{self.folder}: expected {least} rows in {self.pattern} within {timeout_s:.0f} s, got {len(self)}"
                    f"{''.join(f'; {count} x {reason}' for reason, count in self.skipped.items())}"
                )
            time.sleep(0.05)

    def close(self) -> None:
        """Read no more."""
        self._ends.set()
        if self._reader.ident is not None:
            self._reader.join()

    def drawn(self, index: Tensor) -> dict[str, Tensor]:
        """Give rows by their number.

        Parameters
        ----------
        index : (K,) int64 Tensor
            On the device.

        Returns
        -------
        dict of Tensor
            With K rows. Those of uint16 come as int32: torch computes little with uint16.
        """
        with self._whole:
            drawn = {name: array[index] for name, array in self._arrays.items()}
        return {name: array.int() & 0xFFFF if name in self._unsigned else array for name, array in drawn.items()}

    def _read_on(self) -> None:
        while not self._ends.is_set():
            fresh = sorted(set(self.folder.glob(self.pattern)) - self._seen)
            for path in fresh:
                self._seen.add(path)
                try:
                    arrays = self.check(mapped_arrays(path))
                    if len(self.held_out) < self._held_out:
                        self.held_out.append(path)
                    else:
                        self._take(arrays)
                except (OSError, ValueError) as error:
                    self.skipped[str(error)] += 1
                if self._ends.is_set():
                    return
            if not fresh:
                self._ends.wait(POLL_S)

    def _take(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Hold the rows of a shard."""
        self._unsigned |= {name for name, array in arrays.items() if array.dtype == np.uint16}
        arrays = {name: array.view(np.int16) if array.dtype == np.uint16 else array for name, array in arrays.items()}
        if not self._arrays:
            for name, array in arrays.items():
                dtype = torch.from_numpy(array[:1].copy()).dtype
                self._arrays[name] = torch.empty((self.capacity, *array.shape[1:]), dtype=dtype, device=self.device)
        if arrays.keys() != self._arrays.keys():
            raise ValueError(f"arrays: expected {sorted(self._arrays)} as in the first shard, got {sorted(arrays)}")
        rows = len(next(iter(arrays.values())))
        places = torch.arange(self.taken, self.taken + rows)[-self.capacity :] % self.capacity
        places = places.to(self.device)
        with self._whole:
            for name, array in arrays.items():
                fresh = torch.from_numpy(array[-self.capacity :].copy())
                self._arrays[name][places] = fresh.to(self.device)
        self.taken += rows
