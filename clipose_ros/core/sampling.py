"""From a cloud of any size to the points that a network sees."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from clipose_ros.core.vectors import median_point

BOX_GROWTH, BOX_MARGIN_M = 1.2, 0.02  # of a pose's box: to the next estimate, all points outside are background
LEAST_INSIDE = 0.3  # share of the points: a box that keeps fewer is not trusted to cut
PLACES = np.arange(255)  # of the points whose changes are looked at, in a cloud, from its second to its last but one
NEIGHBOURS = np.array([[0], [1], [2]])  # each point with the one before and the one after
GAUSSIAN_MEDIAN = 0.6745  # of the magnitude of a normal error of sigma 1
MEDIAN_POINTS = 1024  # with more, the median is the same to a millimetre and costs more than all else here


def random_strata(shape: int | tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Draw a random place in each of N equal parts of 0..1.

    Drawn once, the places serve clouds of any size.

    Parameters
    ----------
    shape : int or tuple of int
        N, or (..., N).
    rng : numpy.random.Generator
        The same state gives the same places.

    Returns
    -------
    (..., N) float64
        Places, ascending, 0..1.
    """
    places = rng.random(shape)
    return (np.arange(places.shape[-1]) + places) / places.shape[-1]


def stratified_indices(count: int | np.ndarray, strata: np.ndarray) -> np.ndarray:
    """Take one index out of each of N equal strata of 0 .. count - 1.

    They cover a cloud in raster order evenly from top to bottom, with less variance than independent draws. If
    `count` <= N / 2, every point appears, some more than once.

    Parameters
    ----------
    count : int or (B, 1, ..., 1) integer
        Number of points of a cloud, or of B clouds at once.
    strata : (..., N) float
        Places from `random_strata`.

    Returns
    -------
    (..., N) or (B, ..., N) integer
        Indices, ascending.

    Raises
    ------
    ValueError
        If a `count` is less than 1.
    """
    count = np.asarray(count)
    if count.min() < 1:
        raise ValueError(f"count: expected at least 1, got {count.min()}")
    indices = (strata * count.astype(np.float64)).astype(np.intp)
    return np.minimum(indices, count - 1, out=indices)  # rounding can reach `count` in the last stratum


def within_radius(points: np.ndarray, bounds: Sequence[int], radii: Sequence[float]) -> np.ndarray:
    """Say which points lie within a radius of the coordinate-wise median of their cloud.

    This cuts the background that leaks through a mask. The median stays on the object as long as fewer than half of
    the points are background, wherever the background lies.

    Parameters
    ----------
    points : (3, N) float
        L clouds side by side, each in raster order [m].
    bounds : sequence of L + 1 int
        Cloud i has the points bounds[i] .. bounds[i + 1] - 1. Together the clouds have all points.
    radii : sequence of L float
        Radius of each cloud [m].

    Returns
    -------
    (N,) bool
        False, too, for points that are not finite.
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


def roughness(clouds: Sequence[np.ndarray]) -> np.ndarray:
    """Measure how much depth changes from one point to the next, as noise does and a surface does not.

    Differences of neighbours are large on slopes, too, and second differences where holes and edges are: the smaller
    one counts.

    Parameters
    ----------
    clouds : sequence of (N, 3) float
        Clouds in raster order [m].

    Returns
    -------
    (B,) float
        Of each cloud, sigma of the noise, if all of the changes are noise [m]; 0 of fewer than three points.
    """
    sigma = np.zeros(len(clouds))
    judged = [i for i, cloud in enumerate(clouds) if len(cloud) >= 3]
    if judged:
        depths = [clouds[i][:, 2].take(NEIGHBOURS + PLACES * (len(clouds[i]) - 3) // PLACES[-1]) for i in judged]
        before, here, after = np.stack(depths, axis=1)
        changes = np.abs([here - before, before - 2 * here + after])
        first, second = np.partition(changes, len(PLACES) // 2, axis=2)[:, :, len(PLACES) // 2]
        sigma[judged] = np.minimum(first / math.sqrt(2), second / math.sqrt(6)) / GAUSSIAN_MEDIAN
    return sigma
