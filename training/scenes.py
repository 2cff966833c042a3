"""Generated table-top scenes, as a depth camera sees them: what a segmenter learns from.

    python -m training.scenes --output data/scenes --scenes 20000 --workers 2

A shard is one .npz with a row for each scene (`SCENE_ARRAYS`). The depth is clean: the noise of the sensor is drawn
anew in each step of training (`training.data.scene_batches`). Some scenes are empty, some have no table, and in some a
robot's arm, a gripper, a person's arm and hand, cables, mats or other furniture are seen, which are background. Some
objects are sieves, through which one sees what is behind, as scans and real screens are; some are lumpy.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.segmenters.depth_channels import depth_grid
from training.command import run
from training.data.renderer import Placed, Plane, pixel_rays
from training.data.resting import resting_rotation, turned
from training.data.scene_background import furniture, gripper, person_arm
from training.data.scene_format import (
    DEPTH_UNIT_M,
    HEIGHT,
    IGNORED,
    MOST_OBJECTS,
    OTHER_CATEGORY,
    SCENE_ARRAYS,
    SEGMENT_CATEGORIES,
    WIDTH,
)
from training.data.shapes import Shape, make_shape
from training.data.shapes.bottle import tumbler
from training.data.shapes.other import other
from training.data.shapes.shape import assembled, drawn_scale
from training.data.shard_writing import write_shards
from training.data.unevenness import Unevenness, seen_depth
from training.storage import made_folder, write_whole
from training.views import Body

FARTHEST_M = 8.0
# of a shard; a category is drawn the more often, the more of its shapes there are
SHAPES = dict.fromkeys(CATEGORIES, 4) | {"bowl": 3, "laptop": 5}
TUMBLERS = 1  # besides: bottles without a neck, which are as cans and tubes but for their size and taper


@dataclass(frozen=True)
class SceneConfig:
    """How scenes are drawn.

    Parameters
    ----------
    empty : float
        Share of scenes without objects.
    objects : float
        Mean number of objects in the others, above one.
    other : float
        Share of objects of no category.
    distance_m : (float, float)
        From the camera to the middle of the scene [m].
    elevation_deg : (float, float, float)
        Of the camera above the table: least, most frequent, greatest [deg].
    roll_deg : float
        Standard deviation of its roll [deg].
    focal_px : (float, float, float)
        Of an image 640 pixels wide: least, most frequent, greatest [px].
    endless : float
        Share of tables without an edge.
    standing : float
        Share of the objects that stand as they usually do.
    stacked : float
        Share of the objects put onto another that is flat.
    touching : float
        Share of the objects pushed against another.
    furniture : float
        Share of scenes with a robot's arm, a monitor, cables, mats or the like, which is background.
    gripper : float
        Share of scenes with a gripper's fingers at the border of the image,
    hands : float
        and of those into which a person reaches, with an arm or two. Both are background.
    sieves : float
        Share of objects that are perforated,
    laptop_sieves : float
        and of laptops.
    lumpy : float
        Share of objects whose surface is uneven.
    sunk : float
        Share of laptops whose base is partly lower than the table, as that of scans is.
    dark : float
        Share of objects of which the sensor sees little.
    least_pixels : int
        An object must show as many, or is IGNORED.
    least_share : float
        Of what the image would show of it alone.
    """

    empty: float = 0.1
    objects: float = 3.6
    other: float = 0.33
    distance_m: tuple[float, float] = (0.4, 1.6)
    elevation_deg: tuple[float, float, float] = (8.0, 38.0, 90.0)
    roll_deg: float = 5.0
    focal_px: tuple[float, float, float] = (380.0, 600.0, 720.0)
    endless: float = 0.45
    standing: float = 0.68
    stacked: float = 0.06
    touching: float = 0.2
    furniture: float = 0.3
    gripper: float = 0.05
    hands: float = 0.1
    sieves: float = 0.05
    laptop_sieves: float = 0.65
    lumpy: float = 0.25
    sunk: float = 0.45
    dark: float = 0.06
    least_pixels: int = 45
    least_share: float = 0.15


@dataclass(frozen=True)
class _Set:
    """An object that has been put onto the table."""

    body: Body
    rotation: np.ndarray  # R_table_object
    centre: np.ndarray  # table frame, y up [m]
    reach: float  # radius of its footprint [m]
    top: float  # height of its highest point [m]
    flat: bool


def _stood(body: Body, config: SceneConfig, rng: np.random.Generator) -> np.ndarray:
    """R_table_object of an object that stands, was laid down, or was dropped."""
    if rng.random() < config.standing:
        return Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)).as_matrix()
    shape = body.cast.shape
    if shape.category == OTHER_CATEGORY:
        return turned(body.dropped.draw(rng), rng)
    return resting_rotation(shape, body.dropped, rng)


def _set_out(bodies: list[Body], where: np.ndarray, config: SceneConfig, rng: np.random.Generator) -> list[_Set]:
    """Put objects near the wished places (N, 2) on the table; those that find no room are left out."""
    out: list[_Set] = []
    for body, place in zip(bodies, where, strict=True):
        rotation = _stood(body, config, rng)
        turned_vertices = body.cast.shape.vertices @ rotation.T
        low, high = turned_vertices.min(axis=0), turned_vertices.max(axis=0)
        reach, base = 0.5 * float(np.hypot(*(high - low)[[0, 2]])), 0.0
        flats = [one for one in out if one.flat and one.reach > 0.7 * reach]
        kind = rng.random()
        if flats and kind < config.stacked:
            below = flats[rng.integers(len(flats))]
            place, base = below.centre[[0, 2]] + rng.normal(0, 0.15 * below.reach, 2), below.top
        elif out and kind < config.stacked + config.touching:
            beside, bearing = out[rng.integers(len(out))], rng.uniform(0, 2 * np.pi)
            gap = (reach + beside.reach) * rng.uniform(0.72, 1.0)
            place = beside.centre[[0, 2]] + gap * np.array([np.cos(bearing), np.sin(bearing)])
        on_table = [one for one in out if one.centre[1] > 0]
        if base == 0.0 and any(np.hypot(*(one.centre[[0, 2]] - place)) < 0.7 * (one.reach + reach) for one in on_table):
            continue
        if body.cast.shape.category == "laptop" and base == 0.0 and rng.random() < config.sunk:
            base = -rng.uniform(0.0, 0.016)
            rotation = Rotation.from_rotvec(np.deg2rad(rng.normal(0, 0.6, 3))).as_matrix() @ rotation
        centre = np.array([place[0], base - low[1], place[1]])
        flat = body.cast.shape.category == OTHER_CATEGORY and (high - low)[1] < 0.12
        out.append(_Set(body, rotation, centre, reach, base + float(high[1] - low[1]), flat))
    return out


def _cast_into(
    depth: np.ndarray,
    owner: np.ndarray,
    directions: np.ndarray,
    item: Placed,
    mark: int,
    intrinsics: Intrinsics,
    uneven: Unevenness | None = None,
) -> int:
    """Cast one object into the image (H, W), within the box of its projection; how many pixels it has alone."""
    vertices = item.cast_shape.shape.vertices @ item.rotation.T + item.translation
    height, width = depth.shape
    rows, columns = slice(0, height), slice(0, width)
    if vertices[:, 2].min() > 0.05:
        px = vertices[:, :2] / vertices[:, 2:] * (intrinsics.fx, intrinsics.fy) + (intrinsics.cx, intrinsics.cy)
        (left, up), (right, down) = np.floor(px.min(axis=0)).astype(int), np.ceil(px.max(axis=0)).astype(int) + 1
        rows, columns = slice(max(0, up), max(0, down)), slice(max(0, left), max(0, right))
    elif vertices[:, 2].max() < 0.05:
        return 0
    part = directions[rows, columns]
    if not part.size:
        return 0
    z = seen_depth(part.reshape(-1, 3), item, uneven).reshape(part.shape[:2])
    nearer = z < depth[rows, columns]
    depth[rows, columns][nearer], owner[rows, columns][nearer] = z[nearer], mark
    return int(np.isfinite(z).sum())


def _shadowed(depth: np.ndarray, disparity_px: float) -> np.ndarray:
    """What a second view beside the camera does not see (H, W): no depth is measured there. The sign is the side."""
    flipped = depth if disparity_px > 0 else depth[:, ::-1]
    with np.errstate(divide="ignore"):
        other = np.arange(depth.shape[1]) - abs(disparity_px) / np.maximum(flipped, 0.05)
    hidden = other < np.maximum.accumulate(other, axis=1) - 0.6
    return hidden if disparity_px > 0 else hidden[:, ::-1]


def draw_scene(bodies: list[Body], config: SceneConfig, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw one scene, its depth still without the sensor's noise, and find the surface that things stand on.

    Parameters
    ----------
    bodies : list of Body
        To choose from.
    config : SceneConfig
        How.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    dict of ndarray
        As `SCENE_ARRAYS`, with the shadows and the dark objects of the sensor.
    """
    focal = rng.triangular(*config.focal_px) * WIDTH / 640
    intrinsics = Intrinsics(focal, focal, WIDTH / 2 + rng.normal(0, 3), HEIGHT / 2 + rng.normal(0, 3))
    elevation, distance = (
        np.deg2rad(rng.triangular(*config.elevation_deg)),
        np.exp(rng.uniform(*np.log(config.distance_m))),
    )
    R_camera_table = (
        Rotation.from_euler("z", np.deg2rad(rng.normal(0, config.roll_deg))).as_matrix()
        @ Rotation.from_euler("x", np.pi + elevation).as_matrix()
    )
    middle = distance * np.array([0.0, rng.normal(0, 0.05), 1.0])  # of the table's top, camera frame

    count = 0 if rng.random() < config.empty else min(1 + rng.poisson(config.objects), MOST_OBJECTS)
    groups = [
        [one for one in bodies if (one.cast.shape.category == OTHER_CATEGORY) == wanted] for wanted in (False, True)
    ]
    picked = [groups[int(rng.random() < config.other)] for _ in range(count)]
    chosen = [group[rng.integers(len(group))] for group in picked]
    # where rays through random pixels meet the table
    u, v = rng.uniform(-0.02, 1.02, count) * WIDTH, rng.uniform(0.0, 1.05, count) * HEIGHT
    rays = pixel_rays(u, v, intrinsics)
    up = R_camera_table[:, 1]
    with np.errstate(divide="ignore"):
        z = (up @ middle) / (rays @ up)
    z = np.where((z > 0) & (z < 2.2 * distance), z, distance * rng.uniform(0.8, 1.3, count))
    where = ((rays * z[:, None] - middle) @ R_camera_table)[:, [0, 2]]
    objects = _set_out(chosen, where, config, rng)

    directions = pixel_rays(
        *(grid.ravel().astype(float) for grid in np.meshgrid(np.arange(WIDTH), np.arange(HEIGHT))), intrinsics
    )
    directions = directions.reshape(HEIGHT, WIDTH, 3)
    depth, owner = np.full((HEIGHT, WIDTH), np.inf), np.zeros((HEIGHT, WIDTH), np.uint8)

    def meet(plane: Plane, limit: np.ndarray | None = None) -> None:
        with np.errstate(divide="ignore", invalid="ignore"):
            z = plane.offset / (directions @ plane.normal)
        seen = (z > 0) & (z < depth)
        if limit is not None:
            on = ((directions * z[..., None] - middle) @ R_camera_table)[..., [0, 2]]
            seen &= ((on > limit[0]) & (on < limit[1])).all(axis=-1)
        depth[seen] = z[seen]

    spots = np.array([one.centre[[0, 2]] for one in objects]).reshape(-1, 2)
    low, high = (spots.min(axis=0), spots.max(axis=0)) if len(spots) else (np.zeros(2), np.zeros(2))
    edge = np.exp(rng.uniform(np.log(0.06), np.log(0.8), (2, 2)))
    low, high = low - edge[0], high + edge[1]
    table = Plane(up, float(up @ middle))
    no_table = not len(objects) and rng.random() < 0.3
    endless = rng.random() < config.endless
    if not no_table:
        meet(table, None if endless else np.stack([low, high]))
    if not endless or no_table or rng.random() < 0.2:
        drop = rng.uniform(0.45, 1.0)
        if rng.random() < 0.85:
            meet(Plane(up, float(up @ (middle - drop * up))))  # the floor
    for _ in range(rng.choice([0, 1, 2], p=[0.45, 0.4, 0.15])):  # walls, behind everything
        heading = rng.uniform(-0.9, 0.9)
        away = R_camera_table @ np.array([np.sin(heading), 0.0, -np.cos(heading)])
        behind = max([float(away @ (R_camera_table[:, [0, 2]] @ spot)) for spot in spots], default=0.0)
        meet(Plane(away, float(away @ middle + behind + np.exp(rng.uniform(np.log(0.12), np.log(2.5))))))
    things = furniture(rng, low, high) if rng.random() < config.furniture else []
    if rng.random() < config.hands:
        for _ in range(rng.choice([1, 2], p=[0.7, 0.3])):
            near = spots[rng.integers(len(spots))] if len(spots) and rng.random() < 0.6 else np.zeros(2)
            things.append(person_arm(rng, near + rng.normal(0, 0.12 if len(spots) else 0.25 * distance, 2)))
    in_camera = [(cast, R_camera_table @ turn, middle + R_camera_table @ centre) for cast, turn, centre in things]
    for placed in in_camera + (gripper(rng) if rng.random() < config.gripper else []):
        _cast_into(depth, owner, directions, Placed(*placed), 0, intrinsics)
    alone = []
    for number, one in enumerate(objects, start=1):
        item = Placed(one.body.cast, R_camera_table @ one.rotation, middle + R_camera_table @ one.centre)
        uneven = Unevenness.drawn(one.body.cast.shape, config, rng)
        alone.append(_cast_into(depth, owner, directions, item, number, intrinsics, uneven))

    label, category, number = np.zeros_like(owner), np.zeros(MOST_OBJECTS, np.uint8), 0
    holes = np.zeros(depth.shape, bool)
    for i, (one, pixels) in enumerate(zip(objects, alone, strict=True), start=1):
        mask = owner == i
        seen = int(mask.sum())
        if seen < max(config.least_pixels, config.least_share * pixels):
            label[mask] = IGNORED
            continue
        number += 1
        label[mask], category[number - 1] = number, SEGMENT_CATEGORIES.index(one.body.cast.shape.category)
        if rng.random() < config.dark:
            holes |= mask & (_blobs(rng) > rng.uniform(-0.6, 1.0))
    if rng.random() < 0.5:
        holes |= _shadowed(depth, rng.choice([-1, 1]) * focal * rng.uniform(0.02, 0.08))
    farthest = rng.choice([FARTHEST_M, rng.uniform(1.5, 6.0)])
    seen = np.where(holes | (depth > farthest) | (depth < 0.15), 0, np.minimum(depth, FARTHEST_M)).astype(np.float32)
    grid = depth_grid(Frame(0, "", seen, intrinsics))
    return {
        "depth": (seen / DEPTH_UNIT_M).round().astype(np.uint16),
        "label": label,
        "category": category,
        "intrinsics": np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy], np.float32),
        "surface": np.array([*grid.up, grid.offset], np.float32),
    }


def _blobs(rng: np.random.Generator) -> np.ndarray:
    """A smooth random image (HEIGHT, WIDTH) of about unit variance."""
    coarse = torch.from_numpy(rng.normal(size=(1, 1, HEIGHT // 8, WIDTH // 8)).astype(np.float32))
    return 1.4 * torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0, 0].numpy()


def draw_shard(seed: int, scenes: int, config: SceneConfig = SceneConfig()) -> dict[str, np.ndarray]:
    """Draw scenes of shapes that no other seed draws.

    Parameters
    ----------
    seed : int
        Decides.
    scenes : int
        How many.
    config : SceneConfig
        How.

    Returns
    -------
    dict of ndarray
        As `SCENE_ARRAYS`, with a row for each scene.
    """
    rng = np.random.default_rng(seed)
    shapes: list[Shape] = [make_shape(name, rng) for name, count in SHAPES.items() for _ in range(count)]
    shapes += [
        assembled("bottle", tumbler(rng), drawn_scale(rng, overall=0.06, upright=0.06, across=0.015))
        for _ in range(TUMBLERS)
    ]
    shapes += [other(rng) for _ in range(14)]
    bodies = [Body.of(shape) for shape in shapes]
    drawn = [draw_scene(bodies, config, rng) for _ in range(scenes)]
    return {name: np.stack([scene[name] for scene in drawn]) for name in SCENE_ARRAYS}


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
    return output / f"scenes_{seed:06d}.npz"


def _write_shard(job: tuple[Path, int, int]) -> None:
    """Write one shard if it is not there."""
    torch.set_num_threads(1)
    output, seed, scenes = job
    path = shard_path(output, seed)
    if not path.exists():
        rows = draw_shard(seed, scenes)
        write_whole(path, lambda file: np.savez(file, **rows))


def generate(output: Path, scenes: int = 20_000, shard_scenes: int = 200, seed: int = 1, workers: int = 2) -> None:
    """Write shards of scenes.

    Those that are there already are kept, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    output : Path
        Folder of the shards.
    scenes : int
        In all.
    shard_scenes : int
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
    for name, value in (("scenes", scenes), ("shard_scenes", shard_scenes), ("workers", workers)):
        expect(name, value >= 1, "1 or more", value)
    made_folder(output)
    jobs = [(output, seed * 100_000 + i, shard_scenes) for i in range(-(-scenes // shard_scenes))]
    paths = [shard_path(output, number) for _, number, _ in jobs]
    for _ in write_shards("scenes", _write_shard, jobs, paths, shard_scenes, workers):
        pass  # a shard says nothing


if __name__ == "__main__":
    run(generate)
