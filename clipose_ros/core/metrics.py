"""How far a pose is from the truth, and how often it is close enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate

# (degrees, centimetres), as papers report them.
THRESHOLDS = ((5, 2), (5, 5), (10, 2), (10, 5), (10, 10))

# No turn, and the half turns about x and z, which point the y axis the other way.
END_SWAPS = tuple(np.diag(signs) for signs in ((1.0, 1.0, 1.0), (1.0, -1.0, -1.0), (-1.0, -1.0, 1.0)))


@dataclass(frozen=True)
class PoseError:
    """How far a pose is from the truth.

    Parameters
    ----------
    rotation_deg : float
        Angle between the rotations, or between the y axes of an axis-symmetric object [deg].
    translation_m : float
        Distance of the centres [m].
    size_relative : float
        Mean relative error of the three extents.
    """

    rotation_deg: float
    translation_m: float
    size_relative: float


def rotation_error_deg(rotation: np.ndarray, truth: np.ndarray, symmetry: Symmetry) -> float:
    """Measure the angle between two rotations.

    Parameters
    ----------
    rotation, truth : (3, 3) float
        R_camera_object.
    symmetry : Symmetry
        Of the object.

    Returns
    -------
    float
        Angle between the rotations, or between the y axes if only these count, 0..180 [deg].
    """
    along_y = symmetry is Symmetry.Y
    cosine = rotation[:, 1] @ truth[:, 1] if along_y else (np.trace(rotation @ truth.T) - 1) / 2
    # Rounding can leave [-1, 1], where the arc cosine is NaN.
    return float(np.degrees(np.arccos(np.clip(cosine, -1.0, 1.0))))


def pose_error(estimate: PoseEstimate, truth: PoseEstimate, symmetry: Symmetry, either_end: bool = False) -> PoseError:
    """Measure how far a pose is from the truth.

    Parameters
    ----------
    estimate, truth : PoseEstimate
        Poses of the same object.
    symmetry : Symmetry
        Of the object.
    either_end : bool
        A half turn that swaps the ends of the object, about its x or z axis, is no error.

    Returns
    -------
    PoseError
        The three errors.
    """
    turns = END_SWAPS if either_end else END_SWAPS[:1]
    return PoseError(
        min(rotation_error_deg(estimate.rotation @ turn, truth.rotation, symmetry) for turn in turns),
        float(np.linalg.norm(estimate.translation - truth.translation)),
        float(np.mean(np.abs(estimate.size - truth.size) / truth.size)),
    )


def success_rates(errors: Mapping[str, Sequence[PoseError | None]]) -> dict[str, dict[str, float]]:
    """Give the share of the objects of each category within n degrees and m centimetres, limits included.

    Parameters
    ----------
    errors : mapping of str to sequence of (PoseError or None)
        By category, one entry for each true object, and at least one. None means that no pose was given, which counts
        as wrong.

    Returns
    -------
    dict of str to dict of str to float
        {category: {"5deg_2cm": 0..1, ...}, ..., "mean": {...}}. The mean is over the categories.
    """
    rates = {category: rates_within_limits(of_category) for category, of_category in errors.items()}
    if rates:
        rates["mean"] = {
            name: float(np.mean([rate[name] for rate in rates.values()])) for name, _, _ in _named_thresholds()
        }
    return rates


def rates_within_limits(errors: Sequence[PoseError | None]) -> dict[str, float]:
    """Give the share of objects within n degrees and m centimetres, limits included.

    Parameters
    ----------
    errors : sequence of (PoseError or None)
        As `success_rates` takes those of a category.

    Returns
    -------
    dict of str to float
        {"5deg_2cm": 0..1, ...}.
    """
    return {name: _share(errors, deg, cm) for name, deg, cm in _named_thresholds()}


def box_corners(pose: PoseEstimate) -> np.ndarray:
    """Give the corners of the oriented box of a pose.

    Parameters
    ----------
    pose : PoseEstimate
        The pose.

    Returns
    -------
    (8, 3) float
        Corners, camera frame [m]. Bits 0, 1 and 2 of the index are set on the positive side along x, y and z.
    """
    sides = (np.arange(8)[:, None] >> np.arange(3) & 1) - 0.5
    return (sides * pose.size) @ pose.rotation.T + pose.translation


def _named_thresholds() -> list[tuple[str, float, float]]:
    """List each threshold as its name, degrees and centimetres."""
    return [(f"{deg}deg_{cm}cm", deg, cm) for deg, cm in THRESHOLDS]


def _share(errors: Sequence[PoseError | None], deg: float, cm: float) -> float:
    """Give the share of errors within both limits."""
    return sum(
        error is not None and error.rotation_deg <= deg and error.translation_m <= cm / 100 for error in errors
    ) / len(errors)
