"""The ray of every pixel of a raw image: computed once for a calibration, looked up for each frame."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np

from clipose_ros.core.types import Intrinsics

KEPT = 4  # calibrations; one of 1280x720 takes 8 MB
GRID = 8  # every eighth pixel is searched without a guess; the others start from their neighbours on this grid
BLOCK = 32  # rows at a time, so that all intermediate arrays fit into the processor's cache


class PixelRays(NamedTuple):
    """Rays (x, y, 1) of all pixels, in raster order.

    Attributes
    ----------
    x, y : (H * W,) float32
        Rays. 0 where the lens shows none.
    known : (H * W,) bool
        Whether the lens shows a ray.
    """

    x: np.ndarray
    y: np.ndarray
    known: np.ndarray


@lru_cache(maxsize=KEPT)
def pixel_rays(intrinsics: Intrinsics, shape: tuple[int, int]) -> PixelRays:
    """Find the rays of all pixels. A second call with the same values costs nothing.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of the image, with its distortion.
    shape : (int, int)
        Height and width of the image [px].

    Returns
    -------
    PixelRays
        Read-only arrays, the same for every caller.
    """
    height, width = shape
    x = (np.arange(width) - intrinsics.cx) / intrinsics.fx
    y = (np.arange(height) - intrinsics.cy) / intrinsics.fy
    if intrinsics.distortion is None:
        rays = np.stack(np.broadcast_arrays(x, y[:, None])).astype(np.float32)
    else:
        rays = np.empty((2, height, width), np.float32)
        near = _Grid(intrinsics, x, y)
        for first in range(0, height, BLOCK):
            rows = slice(first, first + BLOCK)
            found = intrinsics.distortion.undistort(_seen(x, y[rows]), near.rays(np.arange(height)[rows]))
            rays[:, rows] = np.moveaxis(found, -1, 0)
    known = np.isfinite(rays[0])
    rays[:, ~known] = 0
    for array in (rays, known):
        array.flags.writeable = False
    return PixelRays(*rays.reshape(2, -1), known.reshape(-1))


class _Grid:
    """Guesses of all rays: exact on a grid of pixels, interpolated between them.

    x, y: where all columns and rows are seen, before the camera matrix.
    """

    def __init__(self, intrinsics: Intrinsics, x: np.ndarray, y: np.ndarray) -> None:
        self._rows, columns = (np.unique(np.r_[0 : len(axis) : GRID, len(axis) - 1]) for axis in (y, x))
        seen = _seen(x[columns], y[self._rows])
        rays = intrinsics.distortion.undistort(seen)
        rays = np.where(np.isfinite(rays), rays, seen)
        self._rays = _between(rays.swapaxes(0, 1), columns, np.arange(len(x))).swapaxes(0, 1)

    def rays(self, rows: np.ndarray) -> np.ndarray:
        """Guess the rays (R, W, 2) of whole rows."""
        return _between(self._rays, self._rows, rows)


def _seen(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pair columns x (C,) with rows y (R,): places (R, C, 2)."""
    return np.stack(np.broadcast_arrays(x, y[:, None]), axis=-1)


def _between(values: np.ndarray, at: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Interpolate values (N, ...), known at ascending places (N,), at the wanted places."""
    after = at.searchsorted(wanted).clip(1 if len(at) > 1 else 0)
    before = np.maximum(after - 1, 0)
    share = (wanted - at[before]) / np.maximum(at[after] - at[before], 1)
    share = share.reshape(-1, *(1,) * (values.ndim - 1))
    return values[before] * (1 - share) + values[after] * share
