"""Vectors in space, a few at a time: numpy's general functions spend ten times longer on preparing than on counting."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cross(a: Sequence[float], b: Sequence[float]) -> tuple[float, float, float]:
    """Cross product of two vectors. Of single ones: plain floats are faster than arrays of three."""
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


def dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Scalar products (...) of vectors (..., 3)."""
    return (a * b).sum(axis=-1)


def unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (..., 3) at length 1, and which of them have a direction at all: (...) bool; the others become zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.sqrt(dot(vectors, vectors))
    valid = (length > 1e-9) & (length < np.inf)  # false for NaN
    return np.divide(vectors, length[..., None], out=np.zeros_like(vectors), where=valid[..., None]), valid


def median_point(points: np.ndarray) -> np.ndarray:
    """Coordinate-wise median (..., 3) of clouds (..., N, 3), N >= 1; of an even number of coordinates the upper one of the two in the middle."""
    middle = points.shape[-2] // 2
    return np.partition(points, middle, axis=-2)[..., middle, :]
