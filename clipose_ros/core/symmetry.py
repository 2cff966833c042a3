"""One rotation out of the many that describe an axis-symmetric object: bottle, bowl and can look the same turned about y."""

from __future__ import annotations

import math

import numpy as np

from clipose_ros.core.vectors import cross

CAMERA_X = np.array([1.0, 0.0, 0.0])
CAMERA_Z = np.array([0.0, 0.0, 1.0])


def closest_to(y_axis: np.ndarray, previous_x: np.ndarray) -> np.ndarray:
    """The rotation with this y axis whose x axis is closest to a given direction: keeps the pose of a symmetric object from spinning.

    Parameters: y_axis (3,) unit, camera frame; previous_x (3,), camera frame, for instance column 0 of the previous rotation.
    Returns: R_camera_object (3, 3). Raises ValueError when `previous_x` is parallel to `y_axis`, which leaves x undetermined.
    """
    along = float(previous_x @ y_axis)
    y = y_axis.tolist()
    x = [a - along * b for a, b in zip(previous_x.tolist(), y)]
    length = math.hypot(*x)
    if length < 1e-6:
        raise ValueError(f"previous_x: expected a direction not parallel to y_axis {y_axis}, got {previous_x}")
    x = [a / length for a in x]
    return np.array([x, y, cross(x, y)]).T


def canonical_rotation(y_axis: np.ndarray) -> np.ndarray:
    """The rotation with this y axis whose x axis is closest to the camera's: what is published where nothing came before.

    Parameters: y_axis (3,) unit, camera frame. Returns: R_camera_object (3, 3).
    """
    # An object that lies along the camera's x axis has no closest x: take the viewing direction instead, well away from the singularity.
    reference = CAMERA_X if abs(y_axis[0]) < 0.999 else CAMERA_Z
    return closest_to(y_axis, reference)
