"""Vectors in space, a few at a time: numpy's general functions spend ten times longer on preparing than on counting."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

SHORTEST = 1e-9  # length of what has a direction


def cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Cross product of two vectors. Of single ones: plain floats are faster than arrays of three."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def inner(a: Sequence[float], b: Sequence[float]) -> float:
    """Scalar product of two vectors, as `cross` in plain floats."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products (...) of vectors (..., 3)."""
    return (a * b).sum(axis=-1)


def unit(vector: Sequence[float]) -> list[float] | None:
    """A vector at length 1; None where it has no direction: of almost no length, or not finite."""
    length = math.hypot(*vector)
    return [a / length for a in vector] if SHORTEST < length < math.inf else None


def median_point(points: np.ndarray) -> np.ndarray:
    """Coordinate-wise median (..., 3) of clouds (..., N, 3), N >= 1; of an even number of coordinates the upper one of
    the two in the middle.
    """
    middle = points.shape[-2] // 2
    return np.partition(points, middle, axis=-2)[..., middle, :]
