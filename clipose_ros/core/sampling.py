"""From a cloud of any size to the points that a network sees."""

from __future__ import annotations

import numpy as np

MEDIAN_POINTS = 2048  # a median of more is the same to a millimetre, and costs more than everything else here


def stratified_indices(count: int, samples: int, rng: np.random.Generator) -> np.ndarray:
    """One random index out of each of `samples` equal strata of 0 .. count-1.

    A raster-ordered cloud is covered evenly from top to bottom, with less variance than independent draws. When `count` < `samples`
    every point appears, some more than once. The same state of `rng` gives the same indices.

    Returns: (samples,) int64, ascending. Raises ValueError when `count` < 1.
    """
    if count < 1:
        raise ValueError(f"count: expected at least 1, got {count}")
    indices = ((np.arange(samples) + rng.random(samples)) * (count / samples)).astype(np.int64)
    return np.minimum(indices, count - 1)  # rounding can reach `count` in the last stratum


def within_radius(points: np.ndarray, radius: float) -> np.ndarray:
    """Which points lie within `radius` [m] of the coordinate-wise median: cuts the background that leaks through a mask.

    The median stays on the object as long as fewer than half of the points are background, wherever that lies.

    Parameters: points (N, 3) [m], in raster order. Returns: (N,) bool; empty for an empty cloud.
    """
    if len(points) == 0:
        return np.zeros(0, dtype=bool)
    offset = points - np.median(points[:: -(-len(points) // MEDIAN_POINTS)], axis=0)
    return np.einsum("ni,ni->n", offset, offset) <= radius**2
