"""One rotation out of the many that describe an axis-symmetric object: bottle, bowl and can look the same turned about y."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import cross, dot

CAMERA_X = np.array([1.0, 0.0, 0.0])
CAMERA_Z = np.array([0.0, 0.0, 1.0])


def closest_to(y_axis: np.ndarray, previous_x: np.ndarray) -> np.ndarray:
    """The rotation with this y axis whose x axis is closest to a given direction: keeps the pose of a symmetric object from spinning.

    Parameters: y_axis (..., 3) unit, camera frame; previous_x (..., 3), camera frame, for instance column 0 of the previous rotation.
    Returns: R_camera_object (..., 3, 3). Raises ValueError when a `previous_x` is parallel to its `y_axis`, which leaves x undetermined.
    """
    x_axis = previous_x - dot(previous_x, y_axis)[..., None] * y_axis
    length = np.sqrt(dot(x_axis, x_axis))[..., None]
    if (length < 1e-6).any():
        raise ValueError(f"previous_x: expected a direction not parallel to y_axis {y_axis}, got {previous_x}")
    x_axis = x_axis / length
    return np.stack([x_axis, y_axis, cross(x_axis, y_axis)], axis=-1)


def canonical_rotation(y_axis: np.ndarray) -> np.ndarray:
    """The rotation with this y axis whose x axis is closest to the camera's: what is published where nothing came before.

    Parameters: y_axis (..., 3) unit, camera frame. Returns: R_camera_object (..., 3, 3).
    """
    # An object that lies along the camera's x axis has no closest x: take the viewing direction instead, well away from the singularity.
    reference = np.where(np.abs(y_axis[..., :1]) < 0.999, CAMERA_X, CAMERA_Z)
    return closest_to(y_axis, reference)
