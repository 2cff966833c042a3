"""Estimates as measurements for the filter: positions, rotations and sizes, and how far to believe each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import gammaincinv

from clipose_ros.core.types import PoseEstimate
from clipose_ros.core.vectors import dot

# Index of the three quantities of a pose in all arrays. Units: m, rad, logarithm of m.
POSITION, ROTATION, SIZE = range(3)


@dataclass(frozen=True)
class NoiseModel:
    """How wrong an estimate is, from its score, size and distance.

    The score is the probability of being within 10° and 5 cm.

    Parameters
    ----------
    rotation_rad : float
        The 10° of the score [rad].
    position : float
        What the 10° of the rotation are for the position, in diagonals of the box. The hidden side of the object is
        mostly a guess, and the guess scales with the size. So the error is about the same along the ray and across it.
    depth : float
        Error divided by the squared distance, as stereo cameras have it [1/m].
    size : float
        Standard deviation of an extent, divided by the extent.
    independent : float
        Share of the variance that is drawn anew in each frame. The rest is the same wrong answer again, because the
        view is the same, and averaging does not remove it.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    rotation_rad: float = float(np.deg2rad(10))
    position: float = 0.1
    depth: float = 0.004
    size: float = 0.08
    independent: float = 0.3

    def __post_init__(self) -> None:
        for name in ("rotation_rad", "position", "size"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}: expected more than 0, got {getattr(self, name)}")
        if not self.depth >= 0:
            raise ValueError(f"depth: expected 0 or more, got {self.depth}")
        if not 0 < self.independent <= 1:
            raise ValueError(f"independent: expected more than 0, at most 1, got {self.independent}")


@dataclass(frozen=True)
class Measurements:
    """D estimates as arrays.

    Parameters
    ----------
    value : (D, 3, 3) float
        Position [m]; zero; logarithm of the size in [m].
    rotation : (D, 3, 3) float
        R_camera_object.
    score : (D,) float
        Scores of the estimates.
    variance : (D, 3) float
        Variance of each component of the three quantities [m^2, rad^2, 1]. The rotation's is that of small turns about
        the camera's axes.
    """

    value: np.ndarray
    rotation: np.ndarray
    score: np.ndarray
    variance: np.ndarray

    def __len__(self) -> int:
        return len(self.score)

    def __getitem__(self, rows: np.ndarray) -> Measurements:
        return Measurements(
            *(array.take(rows, axis=0) for array in (self.value, self.rotation, self.score, self.variance))
        )


def measure(estimates: Sequence[PoseEstimate], model: NoiseModel = NoiseModel()) -> Measurements:
    """Make measurements of estimates.

    Parameters
    ----------
    estimates : sequence of PoseEstimate
        D estimates.
    model : NoiseModel
        How wrong they are.

    Returns
    -------
    Measurements
        The estimates as arrays, with their variances, in the same order.
    """
    D = len(estimates)
    value, rotation = (
        np.zeros((D, 3, 3)),
        np.array([estimate.rotation for estimate in estimates], dtype=np.float64).reshape(D, 3, 3),
    )
    value[:, POSITION] = np.array([estimate.translation for estimate in estimates]).reshape(D, 3)
    value[:, SIZE] = np.array([estimate.size for estimate in estimates]).reshape(D, 3)
    score = np.array([estimate.score for estimate in estimates], dtype=np.float64)

    precision, squared = 1 / normal_limit(score) ** 2, dot(value, value)  # squared distance and diagonal
    variance = np.empty((D, 3))
    variance[:, POSITION] = model.position**2 * precision * squared[:, SIZE] + (model.depth * squared[:, POSITION]) ** 2
    variance[:, ROTATION] = model.rotation_rad**2 * precision
    variance[:, SIZE] = model.size**2
    value[:, SIZE] = np.log(value[:, SIZE])
    return Measurements(value, rotation, score, variance)


def normal_limit(probability: np.ndarray) -> np.ndarray:
    """Give the radius within which a normal error in three dimensions stays with a probability.

    Parameters
    ----------
    probability : (...) float
        Probability, clipped to 0.02..0.98.

    Returns
    -------
    (...) float
        Radius, in standard deviations.
    """
    return np.sqrt(2 * gammaincinv(1.5, np.minimum(np.maximum(probability, 0.02), 0.98)))
