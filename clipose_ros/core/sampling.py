"""From a cloud of any size to the points that a network sees."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import dot, median_point

MEDIAN_POINTS = 1024  # a median of more is the same to a millimetre, and costs more than everything else here


def random_strata(shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random place in each of N equal parts of 0..1, ascending. Drawn once, they serve clouds of any size.

    Parameters: shape, (..., N). Returns: float64 of that shape. The same state of `rng` gives the same places.
    """
    places = rng.random(shape)
    return (np.arange(places.shape[-1]) + places) / places.shape[-1]


def stratified_indices(count: int | np.ndarray, strata: np.ndarray) -> np.ndarray:
    """One index out of each of N equal strata of 0 .. count-1, at the places that `random_strata` drew.

    A raster-ordered cloud is covered evenly from top to bottom, with less variance than independent draws. When `count` <= N / 2 every point appears,
    some more than once.

    Parameters: count, of one cloud, or of several (B, 1, ..., 1) at once.
    Returns: integers of the shape of `strata` (..., N), or (B, ..., N), ascending. Raises ValueError when a `count` < 1.
    """
    if np.any(count < 1):
        raise ValueError(f"count: expected at least 1, got {np.min(count)}")
    return np.minimum((strata * count).astype(np.intp), count - 1)  # rounding can reach `count` in the last stratum


def within_radius(points: np.ndarray, radius: float) -> np.ndarray:
    """Which points lie within `radius` [m] of the coordinate-wise median: cuts the background that leaks through a mask.

    The median stays on the object as long as fewer than half of the points are background, wherever that lies.

    Parameters: points (N, 3) [m], in raster order. Returns: (N,) bool, false for points that are not finite; empty for an empty cloud.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    offset = points - median_point(points[:: -(-len(points) // MEDIAN_POINTS)])
    return dot(offset, offset) <= radius**2
