"""One rotation out of the many that describe an axis-symmetric object.

A bottle, a bowl or a can looks the same after any turn about its y axis.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from enum import StrEnum

import numpy as np

from clipose_ros.core.vectors import cross, inner, unit


class Symmetry(StrEnum):
    """Which turns leave an object looking the same.

    NONE: no turn. Y: any turn about its y axis, so that only this axis of a rotation is meaningful.
    """

    NONE = "none"
    Y = "y_axis"


CAMERA_X = (1.0, 0.0, 0.0)
CAMERA_Z = (0.0, 0.0, 1.0)


def closest_to(y_axis: Sequence[float], previous_x: Sequence[float]) -> np.ndarray:
    """Find the rotation with this y axis whose x axis is closest to a given direction.

    This keeps the pose of a symmetric object from spinning.

    Parameters
    ----------
    y_axis : sequence of 3 float
        Unit vector, camera frame. Plain floats are faster than arrays.
    previous_x : sequence of 3 float
        Direction, camera frame; for instance column 0 of the previous rotation.

    Returns
    -------
    (3, 3) float
        R_camera_object.

    Raises
    ------
    ValueError
        If `previous_x` is parallel to `y_axis`, because the x axis is undetermined then.
    """
    along = inner(previous_x, y_axis)
    x = [a - along * b for a, b in zip(previous_x, y_axis)]
    length = math.hypot(*x)
    if length < 1e-6:
        raise ValueError(f"previous_x: expected a direction not parallel to y_axis {y_axis}, got {previous_x}")
    x = [a / length for a in x]
    return np.array([*zip(x, y_axis, cross(x, y_axis))])


def canonical_rotation(y_axis: Sequence[float]) -> np.ndarray | None:
    """Find the rotation with this y axis whose x axis is closest to the camera's.

    It is published for a symmetric object that has no previous rotation.

    Parameters
    ----------
    y_axis : sequence of 3 float
        Vector of any positive length, camera frame.

    Returns
    -------
    (3, 3) float or None
        R_camera_object. None if `y_axis` has no direction.
    """
    y_axis = unit(y_axis)
    if y_axis is None:
        return None
    # If y lies along the camera's x axis, no x axis is closest. The viewing direction is far from that singularity.
    return closest_to(y_axis, CAMERA_X if abs(y_axis[0]) < 0.999 else CAMERA_Z)
