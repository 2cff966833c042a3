"""How far an estimate may be off: from a network's confidences to the covariance of a pose.

A confidence is trained as the mean of exp(-13.7 d²), where d is the chord between the predicted direction and the true
one. For small normal errors this mean is known, and so the deviation that a confidence stands for. Errors of y in the
two directions across it, of standard deviation s each, give c_y = 1 / (1 + 27.4 s²). A turn about y moves x in one
direction: c_x = 1 / sqrt(1 + 27.4 s²). All of x's error counts as turn, though a part of it is tilt.

The functions work on one object at a time and in plain floats, as those of `decoding`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.validation import expect

SHARPNESS = 2 * 13.7  # of the confidence, for squared angles over their variance
FREE_SPIN = math.pi**2 / 3  # variance of an angle of which nothing is known [rad^2]
FREE_TILT = (math.pi**2 - 4) / 4  # the same of each of an axis's two tilts, where it may point anywhere [rad^2]
LEAST_VARIANCE = math.radians(0.2) ** 2  # a confidence of 1 is rounded, too [rad^2]
MOST = 1e3  # of what an `Uncertainty` holds
LEAST_CONFIDENCE = 1e-3  # below it, nothing is known; its square can be divided by
# Position errors of models whose cards do not say: standard deviation in each direction, in diagonals of the box. The
# median errors that the cards of the shipped models name are those of 0.015 to 0.025.
POSITION_SHARE = 0.03


@dataclass(frozen=True)
class Uncertainty:
    """How far poses of a category are off, as measured on views with known truth.

    Parameters
    ----------
    position_m : float
        Standard deviation of the position in each direction [m].
    tilt : float
        Of the y axis: the deviation, divided by the one that its confidence stands for.
    turn : float
        About the y axis: the same.

    Raises
    ------
    ValueError
        If a value is no positive number.
    """

    position_m: float
    tilt: float = 1.0
    turn: float = 1.0

    def __post_init__(self) -> None:
        for key, value in vars(self).items():
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            expect(f"uncertainty.{key}", number and 0 < value < MOST, f"a number between 0 and {MOST:g}", value)


def tilt_variance(confidence_y: float, factor: float = 1.0) -> float:
    """Give the variance of each of the y axis's two tilts.

    Parameters
    ----------
    confidence_y : float
        Confidence of the y direction, 0..1.
    factor : float
        To multiply the deviation with.

    Returns
    -------
    float
        Variance [rad^2], from `LEAST_VARIANCE` to `FREE_TILT`.
    """
    if not confidence_y > LEAST_CONFIDENCE:
        return FREE_TILT
    return min(max(factor * factor * (1 / confidence_y - 1) / SHARPNESS, LEAST_VARIANCE), FREE_TILT)


def turn_variance(confidence_x: float, factor: float = 1.0) -> float:
    """Give the variance of the turn about the y axis.

    Parameters
    ----------
    confidence_x : float
        Confidence of the x direction, 0..1.
    factor : float
        To multiply the deviation with.

    Returns
    -------
    float
        Variance [rad^2], from `LEAST_VARIANCE` to `FREE_SPIN`.
    """
    if not confidence_x > LEAST_CONFIDENCE:
        return FREE_SPIN
    return min(max(factor * factor * (1 / (confidence_x * confidence_x) - 1) / SHARPNESS, LEAST_VARIANCE), FREE_SPIN)


def estimate_covariance(
    rotation: np.ndarray,
    confidence_y: float,
    confidence_x: float,
    symmetry: Symmetry,
    position_m: float,
    tilt: float = 1.0,
    turn: float = 1.0,
) -> np.ndarray:
    """Give the covariance of a pose that a network estimated.

    Parameters
    ----------
    rotation : (3, 3) float
        R_camera_object.
    confidence_y, confidence_x : float
        Confidences of the y and the x direction, 0..1.
    symmetry : Symmetry
        Of the object. One that is alike all around y has a free turn about it, whatever the confidence of x.
    position_m : float
        Standard deviation of the position in each direction [m].
    tilt, turn : float
        As of `Uncertainty`.

    Returns
    -------
    (6, 6) float
        Covariance of the position [m] and of small turns about the camera frame's fixed axes [rad].
    """
    about_y = FREE_SPIN if symmetry is Symmetry.Y else turn_variance(confidence_x, turn)
    across, at = tilt_variance(confidence_y, tilt), position_m * position_m
    _, (a, b, c), _ = rotation.T.tolist()
    # across * I + free * y y^T, which is R diag(across, about_y, across) R^T
    free = about_y - across
    ab, ac, bc = free * a * b, free * a * c, free * b * c
    return np.array(
        (
            (at, 0.0, 0.0, 0.0, 0.0, 0.0),
            (0.0, at, 0.0, 0.0, 0.0, 0.0),
            (0.0, 0.0, at, 0.0, 0.0, 0.0),
            (0.0, 0.0, 0.0, across + free * a * a, ab, ac),
            (0.0, 0.0, 0.0, ab, across + free * b * b, bc),
            (0.0, 0.0, 0.0, ac, bc, across + free * c * c),
        )
    )


def turned_covariance(covariance: np.ndarray, position: np.ndarray, turns: np.ndarray) -> np.ndarray:
    """Give the covariance in other axes.

    Parameters
    ----------
    covariance : (..., 6, 6) float
        Of a position and of small turns.
    position, turns : (..., 3, 3) float
        Rotations of the two. Both are the same where the frame changes.

    Returns
    -------
    (..., 6, 6) float
        Covariance of the turned position and of turns about turned axes.
    """
    both = np.zeros(covariance.shape)
    both[..., :3, :3], both[..., 3:, 3:] = position, turns
    return both @ covariance @ both.swapaxes(-1, -2)


def narrowed(covariance: np.ndarray, directions: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Give the covariance after something else has told some directions: errors along them are scaled down.

    Parameters
    ----------
    covariance : (..., 6, 6) float
        Of a position and of small turns.
    directions : (..., K, 6) float
        What was told: unit vectors, perpendicular to each other; a vector of zeros tells nothing.
    variances : (K,) float
        How well. The variance along each direction is at most this afterwards, and no larger than before.

    Returns
    -------
    (..., 6, 6) float
        The covariance. What is perpendicular to all directions stays as it was.
    """
    before = ((directions @ covariance) * directions).sum(axis=-1)
    cut = 1 - np.sqrt(variances / np.maximum(before, variances))
    scaled = np.eye(6) - directions.swapaxes(-1, -2) @ (cut[..., None] * directions)
    return scaled @ covariance @ scaled.swapaxes(-1, -2)
