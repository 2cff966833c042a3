"""The frame of a network: centred on the median of the cloud, in units of its category, turned in one of two ways.

Two objects in the same pose relative to the line of sight look alike, wherever they stand in the image. In the *view
frame* the line of sight is +z. In the *level frame*, where a surface is known or the direction of gravity, -y is up and
the line of sight lies in the half-plane x = 0, z > 0: objects that stand differ in their heading alone. For a level
line of sight the two frames are the same. A network that refines poses sees clouds in the *frame of a pose*, centred on
it: there, what is left to find is small. All functions work on a batch of B clouds.
"""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import crosses, dot, median_point

EYE = np.eye(2)
IMAGE_UP = np.array([0.0, -1.0, 0.0])  # camera frame
IMAGE_UP_WEIGHT = 1e-3  # decides on the heading of the level frame for a camera that looks straight down
FACING_WEIGHT = 1e-6  # decides on x of an object that is seen along its y axis
HEIGHT_LIMIT = 3.0  # of the height that a network is told [1]


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


def level_rotation(centre: np.ndarray, up: np.ndarray) -> np.ndarray:
    """Find the rotation that takes `up` onto -y, and the line of sight to `centre` into the half-plane x = 0, z > 0.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the clouds, camera frame [m].
    up : (B, 3) float
        Unit vectors, camera frame.

    Returns
    -------
    (B, 3, 3) float64
        R_level_camera.
    """
    sight = centre / np.sqrt(dot(centre, centre))[:, None] + IMAGE_UP_WEIGHT * IMAGE_UP
    level = sight - dot(sight, up)[:, None] * up
    z = level / np.sqrt(dot(level, level))[:, None]
    return np.stack([crosses(z, up), -up, z], axis=1)


def known_ground(centre: np.ndarray, surface: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Say what a network is told of the surfaces below its clouds.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the clouds, camera frame [m].
    surface : (B, 4) float
        As for `to_network`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    (B, 4) float32
        Whether up is known; the sine of the angle by which the line of sight points down; whether the height is known;
        the height of the centre above the surface, in units of the network. 0 for what is not known.
    """
    up, offset = surface[:, :3], surface[:, 3]
    known = up.any(axis=1)
    high = known & np.isfinite(offset)
    along = dot(centre, up)
    height = np.where(high, np.clip((along - np.where(high, offset, 0)) / scale, -HEIGHT_LIMIT, HEIGHT_LIMIT), 0)
    return np.stack([known, -along / np.sqrt(dot(centre, centre)), high, height], axis=1).astype(np.float32)


def to_network(
    points: np.ndarray, scale: np.ndarray, surface: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make the network's input from a batch of clouds.

    Parameters
    ----------
    points : (B, N, 3) float
        Camera frame [m].
    scale : (B,) float
        One unit of the network [m].
    surface : (B, 4) float, optional
        Of the surface below each object: its unit normal, which is up, and its offset [m], camera frame. The normal is
        0 where nothing is known, the offset NaN where up alone is known. Without it, nothing is known of any.

    Returns
    -------
    normalised : (B, N, 3) float32
        Points in the level frame where up is known, else in the view frame, in units of the network [1].
    centre : (B, 3) float64
        Median of each cloud, because background points do not move it, camera frame [m].
    R_network_camera : (B, 3, 3) float64
        Rotation into this frame.
    ground : (B, 4) float32
        As from `known_ground`.
    """
    centre = median_point(points).astype(np.float64)
    R_network_camera = view_rotation(centre)
    ground = np.zeros((len(centre), 4), np.float32)
    if surface is not None:
        known = surface[:, :3].any(axis=1)
        R_network_camera[known] = level_rotation(centre[known], surface[known, :3])
        ground = known_ground(centre, surface, scale)
    R_camera_network = R_network_camera.swapaxes(-1, -2)
    normalised = (points - centre.astype(points.dtype)[:, None]) @ (R_camera_network / scale[:, None, None]).astype(
        points.dtype
    )
    return np.ascontiguousarray(normalised, dtype=np.float32), centre, R_network_camera, ground


def facing_rotation(rotation: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """Turn rotations about their y axes until x points most towards the camera.

    Parameters
    ----------
    rotation : (B, 3, 3) float
        R_camera_object.
    centre : (B, 3) float
        Centres of the objects, camera frame, in any unit.

    Returns
    -------
    (B, 3, 3) float64
        R_camera_object with the same y axes.
    """
    y, towards = rotation[:, :, 1], -centre / np.sqrt(dot(centre, centre))[:, None]
    # seen exactly along its axis, any x will do
    x = towards - dot(towards, y)[:, None] * y + FACING_WEIGHT * rotation[:, :, 0]
    x = x / np.sqrt(dot(x, x))[:, None]
    return np.stack([x, y, crosses(x, y)], axis=-1)


def known_place(centre: np.ndarray, R_network_camera: np.ndarray, surface: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Say what a network that refines poses is told of the world around its clouds.

    Parameters
    ----------
    centre : (B, 3) float
        Centres of the poses, camera frame [m].
    R_network_camera : (B, 3, 3) float
        Rotation into the network's frame.
    surface : (B, 4) float
        As for `to_network`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    (B, 9) float32
        Whether up is known; whether the height is known; the height of the centre above the surface, in units of the
        network; up, and the line of sight, both in the network's frame. 0 for what is not known.
    """
    known, _, high, height = known_ground(centre, surface, scale).T
    up, sight = surface[:, :3], centre / np.sqrt(dot(centre, centre))[:, None]
    directions = np.einsum("bij,bkj->bki", R_network_camera, np.stack([up, sight], axis=1))
    return np.column_stack([known, high, height, directions.reshape(-1, 6)]).astype(np.float32)


def to_pose_frame(
    points: np.ndarray,
    scale: np.ndarray,
    rotation: np.ndarray,
    translation: np.ndarray,
    surface: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Make the input of a network that refines poses.

    Parameters
    ----------
    points : (B, N, 3) float
        Camera frame [m].
    scale : (B,) float
        One unit of the network [m].
    rotation : (B, 3, 3) float
        R_camera_object of the poses, of axis-symmetric objects as from `facing_rotation`.
    translation : (B, 3) float
        t_camera_object, the centres of their boxes [m].
    surface : (B, 4) float, optional
        As for `to_network`.

    Returns
    -------
    normalised : (B, N, 3) float32
        Points in the frames of the poses, in units of the network [1].
    centre : (B, 3) float64
        `translation`.
    R_network_camera : (B, 3, 3) float64
        Rotation into these frames.
    place : (B, 9) float32
        As from `known_place`.
    """
    surface = np.zeros((len(translation), 4)) if surface is None else surface
    R_network_camera = rotation.swapaxes(-1, -2)
    normalised = (points - translation.astype(points.dtype)[:, None]) @ (rotation / scale[:, None, None]).astype(
        points.dtype
    )
    place = known_place(translation, R_network_camera, surface, scale)
    return np.ascontiguousarray(normalised, dtype=np.float32), translation, R_network_camera, place


def from_network(
    axes: np.ndarray, offset: np.ndarray, centre: np.ndarray, R_network_camera: np.ndarray, scale: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Take a pose from the network's frame to the camera frame.

    Parameters
    ----------
    axes : (B, 3, K) float
        Axes of the object as columns, network frame: R_network_object, or some of its columns.
    offset : (B, 3) float
        From `centre` to the centre of the box, network frame, in units of the network [1].
    centre : (B, 3) float
        As from `to_network`, camera frame [m].
    R_network_camera : (B, 3, 3) float
        As from `to_network`.
    scale : (B,) float
        One unit of the network [m].

    Returns
    -------
    axes : (B, 3, K) float
        The same axes, camera frame.
    translation : (B, 3) float
        t_camera_object, the centre of the box [m].
    """
    R_camera_network = R_network_camera.swapaxes(-1, -2)
    translation = centre + scale[:, None] * (R_camera_network @ offset[:, :, None])[:, :, 0]
    return R_camera_network @ axes, translation
