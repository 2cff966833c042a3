"""Painted boxes on a table, as a perfect camera sees them: each ray is cut with every box and with the table."""

from dataclasses import dataclass, replace

import numpy as np

from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.objects.learned_object import LearnedObject

WIDTH, HEIGHT, FOCAL = 320, 240, 300.0
CAMERA = Intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
TILT, CAMERA_M = np.radians(35.0), 0.55  # of the view below the horizon, and its distance to the middle of the table
WARM = np.array([[0.9, 0.2, 0.1], [0.9, 0.6, 0.1], [0.7, 0.1, 0.4], [0.9, 0.8, 0.2], [0.6, 0.2, 0.1], [0.9, 0.4, 0.4]])
COLD = np.array([[0.1, 0.3, 0.9], [0.1, 0.7, 0.8], [0.2, 0.1, 0.6], [0.1, 0.8, 0.4], [0.5, 0.6, 0.9], [0.1, 0.4, 0.5]])


@dataclass(frozen=True)
class Box:
    """A box with painted faces: size [m], paints (6, 3), where it stands on the table [m], and its turn."""

    size: tuple[float, float, float]
    paints: np.ndarray
    at: tuple[float, float] = (0.0, 0.0)
    turn_deg: float = 0.0

    def pose(self):
        """R_camera_object and t, with the object's y axis up."""
        a = np.radians(self.turn_deg)
        turn = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
        rotation = table_to_camera() @ turn
        centre = table_to_camera() @ np.array([self.at[0], self.size[1] / 2, self.at[1]])
        return rotation, centre + np.array([0, 0, CAMERA_M])


WARM_BOX, COLD_BOX = Box((0.12, 0.08, 0.05), WARM), Box((0.06, 0.14, 0.06), COLD)
STRANGER = Box((0.10, 0.06, 0.10), np.full((6, 3), 0.5))
LEFT, RIGHT, FRONT, BACK = PLACES = (-0.12, 0.0), (0.1, 0.05), (0.05, 0.12), (0.02, -0.15)


def put(box, at, turn_deg=0.0):
    """The box somewhere on the table."""
    return replace(box, at=at, turn_deg=turn_deg)


def table_to_camera():
    """R_camera_table: y of the table is up, z towards the camera."""
    up = np.array([0.0, -np.cos(TILT), -np.sin(TILT)])
    towards = np.array([0.0, np.sin(TILT), -np.cos(TILT)])
    return np.stack([np.cross(up, towards), up, towards], axis=1)


def picture(boxes):
    """RGB (H, W, 3) uint8, depth (H, W) float32 [m] and labels (H, W) uint8: 0 for the table, boxes from 1 on."""
    u, v = np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))
    rays = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u, float)], axis=-1)
    up = table_to_camera()[:, 1]
    offset = up @ np.array([0, 0, CAMERA_M])
    falls = rays @ up
    depth = np.where(falls < -1e-3, offset / np.minimum(falls, -1e-3), 3.0).clip(0, 3.0)
    colour = np.where((depth < 3.0)[..., None], np.array([0.45, 0.43, 0.4]), np.array([0.6, 0.6, 0.62]))
    labels = np.zeros(depth.shape, np.uint8)
    for number, box in enumerate(boxes, start=1):
        rotation, translation = box.pose()
        size = np.array(box.size)
        origin, along = -rotation.T @ translation, rays @ rotation
        with np.errstate(divide="ignore"):
            first, second = ((side * size / 2 - origin) / along for side in (-1, 1))
        enter, leave = np.minimum(first, second), np.maximum(first, second)
        axis = enter.argmax(axis=-1)
        near = np.take_along_axis(enter, axis[..., None], -1)[..., 0]
        hit = (near < leave.min(axis=-1)) & (near > 0) & (near < depth)
        points = np.nan_to_num(origin + along * np.where(np.isfinite(near), near, 0)[..., None])
        face = 2 * axis + (np.take_along_axis(points, axis[..., None], -1)[..., 0] > 0)
        others = np.stack([points[..., (k + 1) % 3] / size[(k + 1) % 3] for k in range(3)], axis=-1)
        dark = np.take_along_axis(others, axis[..., None], -1)[..., 0] > 0.15
        paint = np.asarray(box.paints)[face] * np.where(dark, 0.45, 1.0)[..., None]
        depth, labels = np.where(hit, near, depth), np.where(hit, number, labels).astype(np.uint8)
        colour = np.where(hit[..., None], paint, colour)
    return (255 * colour).astype(np.uint8), depth.astype(np.float32), labels


def frame_of_boxes(boxes):
    """A frame, and the labels of its boxes."""
    colour, depth, labels = picture(boxes)
    return Frame(0, "camera", depth, CAMERA, colour), labels


def learned_box(name, box, spacing_m=0.004):
    """The box as discs on its faces, all seen, as if it had been learned."""
    size, points, normals, colours = np.array(box.size), [], [], []
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        steps = [np.arange(-size[k] / 2 + spacing_m / 2, size[k] / 2, spacing_m) for k in (first, second)]
        a, b = (grid.ravel() for grid in np.meshgrid(*steps))
        for side in (-1, 1):
            face, normal = np.zeros((len(a), 3)), np.zeros((len(a), 3))
            face[:, first], face[:, second], face[:, axis] = a, b, side * size[axis] / 2
            normal[:, axis] = side
            paint = np.asarray(box.paints)[2 * axis + (side > 0)]
            points.append(face)
            normals.append(normal)
            colours.append(paint * np.where(a / size[first] > 0.15, 0.45, 1.0)[:, None])
    arrays = (np.concatenate(some).astype(np.float32) for some in (points, normals, colours))
    count = sum(map(len, points))
    return LearnedObject(name, *arrays, np.ones(count, bool), spacing_m, size, np.zeros(3))
