"""From a cloud of any size to the points that a network sees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from clipose_ros.core.vectors import median_point

MEDIAN_POINTS = 1024  # a median of more is the same to a millimetre, and costs more than everything else here


def random_strata(shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """A random place in each of N equal parts of 0..1, ascending. Drawn once, they serve clouds of any size.

    Parameters: shape, (..., N). Returns: float64 of that shape. The same state of `rng` gives the same places.
    """
    places = rng.random(shape)
    return (np.arange(places.shape[-1]) + places) / places.shape[-1]


def stratified_indices(count: int | np.ndarray, strata: np.ndarray) -> np.ndarray:
    """One index out of each of N equal strata of 0 .. count-1, at the places that `random_strata` drew.

    A raster-ordered cloud is covered evenly from top to bottom, with less variance than independent draws. When `count`
    <= N / 2 every point appears, some more than once.

    Parameters: count, of one cloud, or of several (B, 1, ..., 1) at once.
    Returns: integers of the shape of `strata` (..., N), or (B, ..., N), ascending. Raises ValueError when a `count` <
    1.
    """
    count = np.asarray(count)
    if count.min() < 1:
        raise ValueError(f"count: expected at least 1, got {count.min()}")
    indices = (strata * count.astype(np.float64)).astype(np.intp)
    return np.minimum(indices, count - 1, out=indices)  # rounding can reach `count` in the last stratum


def within_radius(points: np.ndarray, bounds: Sequence[int], radii: Sequence[float]) -> np.ndarray:
    """Which points lie within a radius [m] of the coordinate-wise median of their cloud: cuts the background that leaks
    through a mask.

    The median stays on the object as long as fewer than half of the points are background, wherever that lies.

    Parameters: points (3, N) [m] of L clouds side by side, each in raster order; bounds, L + 1: cloud i has the points
    bounds[i] .. bounds[i + 1] - 1; radii, L. Returns: (N,) bool, false for points that are not finite.
    """
    distance = np.empty_like(points)
    limit = np.empty_like(points, shape=points.shape[1])
    for (begin, end), radius in zip(pairwise(bounds), radii):
        if begin < end:
            cloud = points[:, begin:end]
            centre = median_point(cloud[:, :: -(-(end - begin) // MEDIAN_POINTS)].T)
            np.subtract(cloud, centre[:, None], out=distance[:, begin:end])
            limit[begin:end] = radius**2
    distance *= distance
    return distance.sum(axis=0) <= limit
