"""A box with painted faces, seen from all sides by a perfect camera, as a folder of reference views."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest

SIZE = np.array([0.12, 0.08, 0.05])
CENTRE = np.array([0.01, 0.03, -0.02])  # of the box, in the frame of the poses
WIDTH, HEIGHT, FOCAL = 160, 120, 170.0
FACES = np.array([[0.9, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.3, 0.9], [0.9, 0.8, 0.1], [0.7, 0.2, 0.8], [0.2, 0.8, 0.8]])


def looking_at_box(azimuth_deg: float, elevation_deg: float, distance_m: float = 0.4, roll_deg: float = 0.0, at=CENTRE):
    """R_camera_object and t of a camera that looks at the box's centre."""
    a, e, r = np.radians([azimuth_deg, elevation_deg, roll_deg])
    away = np.array([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)])
    forward = -away
    right = np.cross(forward, [0.0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(forward, right), forward])
    turn = np.array([[np.cos(r), -np.sin(r), 0], [np.sin(r), np.cos(r), 0], [0, 0, 1]])
    rotation = turn @ rotation
    return rotation, -rotation @ (at + distance_m * away)


def picture_of_box(
    rotation, translation, wall_m: float = 1.0, width=WIDTH, height=HEIGHT, focal: float = FOCAL, centre=CENTRE
):
    """RGB (H, W, 3) uint8, depth (H, W) float [m] and mask (H, W) of the box before a wall."""
    u, v = np.meshgrid(np.arange(width), np.arange(height))
    rays = np.stack([(u - width / 2) / focal, (v - height / 2) / focal, np.ones_like(u, float)], axis=-1)
    origin = -rotation.T @ translation - centre
    along = rays @ rotation
    with np.errstate(divide="ignore"):
        first, second = ((side * SIZE / 2 - origin) / along for side in (-1, 1))
    enter, leave = np.minimum(first, second), np.maximum(first, second)
    axis = enter.argmax(axis=-1)
    near = np.take_along_axis(enter, axis[..., None], -1)[..., 0]
    hit = (near < leave.min(axis=-1)) & (near > 0)
    depth = np.where(hit, near, wall_m)
    points = origin + along * depth[..., None]
    face = 2 * axis + (np.take_along_axis(points, axis[..., None], -1)[..., 0] > 0)
    # a darker corner on each face tells its half turns apart
    others = np.stack([points[..., (k + 1) % 3] / SIZE[(k + 1) % 3] for k in range(3)], axis=-1)
    corner = np.take_along_axis(others, axis[..., None], -1)[..., 0]
    paint = FACES[face] * np.where(corner > 0.15, 0.45, 1.0)[..., None]
    colour = np.where(hit[..., None], paint, 0.4)
    return (255 * colour).astype(np.uint8), depth, hit


def write_box_views(folder, poses, with_depth: bool = True):
    """Write reference views of the box."""
    folder.mkdir(parents=True, exist_ok=True)
    entries = {}
    for i, (rotation, translation) in enumerate(poses):
        name = f"{i:04d}"
        colour, depth, mask = picture_of_box(rotation, translation)
        cv2.imwrite(str(folder / f"{name}_color.png"), cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))
        if with_depth:
            cv2.imwrite(str(folder / f"{name}_depth.png"), np.where(mask, 1000 * depth, 0).astype(np.uint16))
        cv2.imwrite(str(folder / f"{name}_mask.png"), np.where(mask, 255, 0).astype(np.uint8))
        entries[name] = {"R": rotation.tolist(), "t": translation.tolist()}
    (folder / "poses.json").write_text(json.dumps(entries))
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return folder


def ring(count: int, elevation_deg: float):
    return [looking_at_box(360 * i / count + elevation_deg, elevation_deg) for i in range(count)]


@pytest.fixture(scope="session")
def box_folder(tmp_path_factory):
    """Twelve views from above."""
    return write_box_views(tmp_path_factory.mktemp("views") / "box", [*ring(6, 20.0), *ring(6, 55.0)])


@pytest.fixture(scope="session")
def box_library(box_folder, tmp_path_factory):
    """A library with the box in it."""
    pytest.importorskip("numba")
    from clipose_ros.formats.reference_views import read_reference_views
    from clipose_ros.objects.learning import learn
    from clipose_ros.objects.library import ObjectLibrary
    from clipose_ros.rendering.cpu import CpuRasterizer

    folder = tmp_path_factory.mktemp("objects")
    ObjectLibrary(folder).add(learn("box", read_reference_views(box_folder), CpuRasterizer()).learned)
    return folder
