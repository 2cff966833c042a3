"""The view frame of a network: the line of sight to the centre of the cloud is +z, the centre is 0, lengths are scaled.

Two objects in the same pose relative to the line of sight look alike, wherever they stand in the image. Without that
freedom in its data, a small network can spend its capacity on shape. All functions work on a batch of B clouds.
"""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import dot, median_point

EYE = np.eye(2)


def view_rotation(centre: np.ndarray) -> np.ndarray:
    """Find the smallest rotation that takes the line of sight to `centre` onto +z.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the clouds, camera frame, in front of the camera [m].

    Returns
    -------
    (B, 3, 3) float64
        R_view_camera.
    """
    direction = centre / np.sqrt(dot(centre, centre))[:, None]
    across, along = direction[:, :2], direction[:, 2]  # objects are in front of the camera: along > 0
    rotation = np.empty((len(centre), 3, 3))
    rotation[:, :2, :2] = EYE - across[:, :, None] * across[:, None, :] / (1 + along)[:, None, None]
    rotation[:, :2, 2] = -across
    rotation[:, 2] = direction
    return rotation


def to_view(points: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make the network's input from a batch of clouds.

    Parameters
    ----------
    points : (B, N, 3) float
        Camera frame [m].
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    normalised : (B, N, 3) float32
        Points in the view frame, in units of the network [1].
    centre : (B, 3) float64
        Median of each cloud, because background points do not move it, camera frame [m].
    R_view_camera : (B, 3, 3) float64
        Rotation into the view frame.
    """
    centre = median_point(points)
    R_view_camera = view_rotation(centre)
    R_camera_view = R_view_camera.swapaxes(-1, -2)
    normalised = (points - centre[:, None]) @ (R_camera_view / scale[:, None, None]).astype(points.dtype)
    return np.ascontiguousarray(normalised, dtype=np.float32), centre.astype(np.float64), R_view_camera


def from_view(
    axes: np.ndarray, offset: np.ndarray, centre: np.ndarray, R_view_camera: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take a pose from the view frame of `to_view` to the camera frame.

    Parameters
    ----------
    axes : (B, 3, K) float
        Axes of the object as columns, view frame: R_view_object, or some of its columns.
    offset : (B, 3) float
        From `centre` to the centre of the box, view frame, in units of the network [1].
    centre : (B, 3) float
        As from `to_view`, camera frame [m].
    R_view_camera : (B, 3, 3) float
        As from `to_view`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    axes : (B, 3, K) float
        The same axes, camera frame.
    translation : (B, 3) float
        t_camera_object, the centre of the box [m].
    """
    R_camera_view = R_view_camera.swapaxes(-1, -2)
    translation = centre + scale[:, None] * (R_camera_view @ offset[:, :, None])[:, :, 0]
    return R_camera_view @ axes, translation
