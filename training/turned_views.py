"""Views of generated objects in any rotation, several of each, that embeddings of views are trained on.

    python -m training.turned_views --output data/turned --objects 20000 --workers 2

An object is seen as a camera sees it that is turned towards it: alone, under other lights in every view. Some views of
it are near one another, some are not (`SPREAD_DEG`), and some are half a turn apart, which boxes make hard to tell.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from training.command import run
from training.data.appearance import Look, drawn_look
from training.data.pictures import Painted, take_picture
from training.data.renderer import CastShape, Placed, pixel_rays, render
from training.data.shapes import Shape, make_shape
from training.data.shapes.other import other
from training.data.shard_writing import write_shards
from training.storage import made_folder, write_whole

SHARDS = "turned_*.npz"
PICTURE_PX = 72
MARGIN = 1.15  # of the picture's side, by the larger side of what is seen
DISTANCE = (2.0, 8.0)  # of the camera, by the object's diagonal
OTHERS = 0.5  # share of the objects that are of no category: boxes, cylinders and the like
# Views in groups: one in any rotation, and others that are turned from it by so many degrees.
SPREAD_DEG = ((0.0, 0.0), (0.0, 15.0), (0.0, 15.0), (20.0, 60.0))
GROUPS = 4
VIEWS = GROUPS * len(SPREAD_DEG)
HALF_TURN = 0.4  # share of the groups that are half a turn away from the one before

VIEW_GROUP_ARRAYS = {
    "picture": "(VIEWS, PICTURE_PX, PICTURE_PX, 4) uint8 RGB, and 255 where the object is",
    "rotation": "(VIEWS, 3, 3) float32 R_camera_object of a camera that looks at the object's centre",
    "symmetric": "() bool: whether turns about y show nothing",
}


def drawn_rotations(rng: np.random.Generator) -> np.ndarray:
    """Draw the rotations of the views of an object.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (VIEWS, 3, 3) float
        R_camera_object, group by group.
    """
    rotations, middle = [], np.eye(3)
    for group in range(GROUPS):
        if group and rng.random() < HALF_TURN:
            middle = middle @ (2 * np.diag(np.eye(3)[rng.integers(3)]) - np.eye(3))
        else:
            middle = Rotation.random(random_state=rng).as_matrix()
        for least, most in SPREAD_DEG:
            axis = rng.normal(size=3)
            turn = np.deg2rad(rng.uniform(least, most)) * axis / np.linalg.norm(axis)
            rotations.append(Rotation.from_rotvec(turn).as_matrix() @ middle)
    return np.array(rotations)


def is_symmetric(shape: Shape, look: Look) -> bool:
    """Say whether an object looks the same however it is turned about y.

    Parameters
    ----------
    shape : Shape
        The object.
    look : Look
        How it looks.

    Returns
    -------
    bool
        True for round objects of plain colours.
    """
    plain = look.label is None and all(material.pattern == "plain" for material in look.materials)
    return plain and shape.category in AXIS_SYMMETRIC


def draw_turned(shape: Shape, painter: np.random.Generator, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw views of an object.

    Parameters
    ----------
    shape : Shape
        The object.
    painter : np.random.Generator
        Decides on looks, lights and the camera.
    rng : np.random.Generator
        Decides on rotations and distances.

    Returns
    -------
    dict of ndarray
        As `VIEW_GROUP_ARRAYS`.
    """
    cast, look = CastShape(shape), drawn_look(shape, painter)
    painted = Painted.of(cast, look)
    diagonal, rotations, pictures = float(np.linalg.norm(shape.size)), drawn_rotations(rng), []
    for rotation in rotations:
        distance = diagonal * rng.uniform(*DISTANCE)
        place = Placed(cast, rotation, np.array([0, 0, distance]))
        corners = shape.vertices @ rotation.T
        px = corners[:, :2] / (corners[:, 2:] + distance)
        low, high = px.min(0), px.max(0)
        focal = PICTURE_PX / ((high - low).max() * MARGIN)
        cx, cy = PICTURE_PX / 2 - focal * (low + high) / 2
        u, v = np.meshgrid(*[np.arange(PICTURE_PX) + 0.5] * 2)
        rays = pixel_rays(u.ravel(), v.ravel(), Intrinsics(focal, focal, cx, cy))
        up = Rotation.from_euler("x", np.pi + rng.uniform(0, np.pi / 2)).as_matrix()
        colour = take_picture(rays, np.ones(len(rays), bool), [(painted, place)], [], up, painter)
        _, index, _ = render(rays.astype(np.float32), [place], [], narrowed=True)
        mask = np.where(index == 0, 255, 0).astype(np.uint8).reshape(PICTURE_PX, PICTURE_PX)
        pictures.append(cv2.merge([*cv2.split(colour), mask]))
    return {
        "picture": np.array(pictures),
        "rotation": rotations.astype(np.float32),
        "symmetric": np.bool_(is_symmetric(shape, look)),
    }


def draw_shard(seed: int, objects: int) -> dict[str, np.ndarray]:
    """Draw objects that no other seed draws.

    Parameters
    ----------
    seed : int
        Decides.
    objects : int
        How many.

    Returns
    -------
    dict of ndarray
        As `VIEW_GROUP_ARRAYS`, with a row for each object.
    """
    rng, painter = np.random.default_rng(seed), np.random.default_rng([seed, 1])
    drawn = []
    for _ in range(objects):
        shape = other(rng) if rng.random() < OTHERS else make_shape(CATEGORIES[rng.integers(len(CATEGORIES))], rng)
        drawn.append(draw_turned(shape, painter, rng))
    return {name: np.stack([one[name] for one in drawn]) for name in VIEW_GROUP_ARRAYS}


def shard_path(output: Path, seed: int) -> Path:
    """Name the file of a shard.

    Parameters
    ----------
    output : Path
        Folder of the shards.
    seed : int
        Of the shard.

    Returns
    -------
    Path
        In that folder.
    """
    return output / f"turned_{seed:06d}.npz"


def _write_shard(job: tuple[Path, int, int]) -> None:
    """Write one shard if it is not there."""
    output, seed, objects = job
    path = shard_path(output, seed)
    if not path.exists():
        rows = draw_shard(seed, objects)
        write_whole(path, lambda file: np.savez(file, **rows))


def generate(output: Path, objects: int = 20_000, shard_objects: int = 100, seed: int = 1, workers: int = 2) -> None:
    """Write shards of views.

    Those that are there already are kept, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    output : Path
        Folder of the shards.
    objects : int
        In all; `VIEWS` views of each.
    shard_objects : int
        In a shard.
    seed : int
        Of the data set.
    workers : int
        Processes that draw.

    Raises
    ------
    ValueError
        For numbers below 1, or a shard that is there and cut off.
    """
    for name, value in (("objects", objects), ("shard_objects", shard_objects), ("workers", workers)):
        expect(name, value >= 1, "1 or more", value)
    made_folder(output)
    jobs = [(output, seed * 100_000 + i, shard_objects) for i in range(-(-objects // shard_objects))]
    paths = [shard_path(output, number) for _, number, _ in jobs]
    for _ in write_shards("objects", _write_shard, jobs, paths, shard_objects, workers):
        pass  # a shard says nothing


if __name__ == "__main__":
    run(generate)
