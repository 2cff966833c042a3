"""The frame that a network sees: the cloud turned so that the line of sight to its centre is +z, centred and scaled.

Two objects in the same pose relative to the line of sight look alike wherever they stand in the image; turning that
freedom out of the data lets a small network spend its capacity on shape. All functions work on a batch of B clouds.
"""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import dot, median_point

EYE = np.eye(2)


def view_rotation(centre: np.ndarray) -> np.ndarray:
    """Smallest rotation that takes the line of sight to `centre` onto +z.

    Parameters: centre (B, 3) [m], camera frame, not at the origin. Returns: R_view_camera (B, 3, 3).
    """
    direction = centre / np.sqrt(dot(centre, centre))[:, None]
    across, along = direction[:, :2], direction[:, 2]  # objects are in front of the camera: along > 0
    rotation = np.empty((len(centre), 3, 3))
    rotation[:, :2, :2] = EYE - across[:, :, None] * across[:, None, :] / (1 + along)[:, None, None]
    rotation[:, :2, 2] = -across
    rotation[:, 2] = direction
    return rotation


def to_view(points: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Network input of a batch of clouds.

    Parameters: points (B, N, 3) [m], camera frame; scale (B,) [m], one unit of the network.
    Returns: normalised points (B, N, 3) float32 [1], centre (B, 3) [m] (median, so that background points do not move
    it), R_view_camera (B, 3, 3).
    """
    centre = median_point(points)
    R_view_camera = view_rotation(centre)
    R_camera_view = R_view_camera.swapaxes(-1, -2)
    normalised = (points - centre[:, None]) @ (R_camera_view / scale[:, None, None]).astype(points.dtype)
    return np.ascontiguousarray(normalised, dtype=np.float32), centre.astype(np.float64), R_view_camera


def from_view(
    axes: np.ndarray, offset: np.ndarray, centre: np.ndarray, R_view_camera: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Pose in the camera frame from the pose in the network's frame.

    Parameters: axes (B, 3, K) of the object as columns, R_view_object or some of its axes; offset (B, 3) [1] of the box
    centre from `centre`; the rest as `to_view` gives them.
    Returns: the axes (B, 3, K) and t_camera_object (B, 3) [m] in the camera frame.
    """
    R_camera_view = R_view_camera.swapaxes(-1, -2)
    translation = centre + scale[:, None] * (R_camera_view @ offset[:, :, None])[:, :, 0]
    return R_camera_view @ axes, translation
