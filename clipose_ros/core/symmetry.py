"""One rotation out of the many that describe an axis-symmetric object: bottle, bowl and can look the same turned about
y.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from clipose_ros.core.vectors import cross, inner, unit


class Symmetry(StrEnum):
    """Which turns leave an object looking the same. Y: any turn about its y axis; only that axis is meaningful."""

    NONE = "none"
    Y = "y_axis"


CAMERA_X = (1.0, 0.0, 0.0)
CAMERA_Z = (0.0, 0.0, 1.0)


def closest_to(y_axis: Sequence[float], previous_x: Sequence[float]) -> np.ndarray:
    """The rotation with this y axis whose x axis is closest to a given direction: keeps the pose of a symmetric object
    from spinning.

    Parameters: y_axis, three numbers of length 1, camera frame; previous_x, three numbers, camera frame, for instance
    column 0 of the previous rotation. Plain floats are faster than arrays.
    Returns: R_camera_object (3, 3). Raises ValueError when `previous_x` is parallel to `y_axis`, which leaves x
    undetermined.
    """
    along = inner(previous_x, y_axis)
    x = [a - along * b for a, b in zip(previous_x, y_axis)]
    length = math.hypot(*x)
    if length < 1e-6:
        raise ValueError(f"previous_x: expected a direction not parallel to y_axis {y_axis}, got {previous_x}")
    x = [a / length for a in x]
    return np.array([*zip(x, y_axis, cross(x, y_axis))])


def canonical_rotation(y_axis: Sequence[float]) -> np.ndarray | None:
    """The rotation with this y axis whose x axis is closest to the camera's: what is published where nothing came
    before.

    Parameters: y_axis, three numbers, of any positive length, camera frame. Returns: R_camera_object (3, 3); None where
    y has no direction.
    """
    y_axis = unit(y_axis)
    if y_axis is None:
        return None
    # An object that lies along the camera's x axis has no closest x: take the viewing direction instead, well away from
    # the singularity.
    return closest_to(y_axis, CAMERA_X if abs(y_axis[0]) < 0.999 else CAMERA_Z)
