"""Generated table-top scenes, as a depth camera sees them: what a segmenter learns from.

    python -m training.scenes --output data/scenes --scenes 20000 --workers 2

A shard is one .npz with a row for each scene (`SCENE_ARRAYS`). The errors of the sensor are drawn with the scene. Some
scenes are empty, some have no table, and in some a robot's arm or other furniture is seen, which is background.
"""

from __future__ import annotations

import multiprocessing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.progress import Progress
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from training.command import run
from training.renderer import CastShape, Placed, Plane, pixel_rays
from training.resting import resting_rotation, turned
from training.scene_format import (
    DEPTH_UNIT_M,
    HEIGHT,
    IGNORED,
    MOST_OBJECTS,
    OTHER_CATEGORY,
    SCENE_ARRAYS,
    SEGMENT_CATEGORIES,
    WIDTH,
)
from training.sensor import SensorConfig, measured_depth
from training.shapes import Shape, make_shape
from training.shapes.mesh import Mesh, box, lathe, superellipse
from training.shapes.other import other
from training.shapes.shape import BODY, assembled
from training.storage import archive_flaw, write_whole
from training.views import Body

FARTHEST_M = 8.0


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
        Share of scenes with an arm, a monitor, a lamp or the like, which is background.
    dark : float
        Share of objects of which the sensor sees little.
    least_pixels : int
        An object must show as many, or is IGNORED.
    least_share : float
        Of what the image would show of it alone.
    """

    empty: float = 0.08
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
    furniture: float = 0.25
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


def _plain(mesh: Mesh) -> CastShape:
    return CastShape(assembled("furniture", [(mesh, BODY)]))


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
        centre = np.array([place[0], base - low[1], place[1]])
        flat = body.cast.shape.category == OTHER_CATEGORY and (high - low)[1] < 0.12
        out.append(_Set(body, rotation, centre, reach, base + float(high[1] - low[1]), flat))
    return out


def _furniture(rng: np.random.Generator, table_half: np.ndarray) -> list[tuple[CastShape, np.ndarray, np.ndarray]]:
    """An arm that comes in from somewhere, a monitor, a lamp, a box on the floor: shape, R_table_object, centre."""
    things = []
    if rng.random() < 0.5:  # an arm: two or three thick links in a chain, from beyond the edge into the scene
        at = np.array([rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.4), rng.uniform(-0.1, 0.3)])
        bearing = rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(0.02, 0.07)
        for _ in range(rng.integers(2, 4)):
            away = np.array([np.cos(bearing), rng.uniform(-0.2, 0.9), np.sin(bearing)])
            away /= np.linalg.norm(away)
            length = rng.uniform(0.25, 0.6)
            mesh = lathe(np.array([[radius, 0.0], [radius * rng.uniform(0.9, 1.3), length]]), superellipse(columns=20))
            turn, _ = Rotation.align_vectors([away], [[0.0, 1.0, 0.0]])
            things.append((_plain(mesh), turn.as_matrix(), at + 0.5 * length * away))
            at, radius, bearing = (
                at + 0.95 * length * away,
                radius * rng.uniform(1.0, 1.3),
                bearing + rng.normal(0, 0.4),
            )
    for _ in range(rng.integers(0, 3)):  # big things at the back of the table, or beside it
        size = np.array([rng.uniform(0.4, 1.2), rng.uniform(0.35, 1.0), rng.uniform(0.02, 0.6)])
        turn = Rotation.from_euler("y", rng.normal(0, 0.5)).as_matrix()
        back = np.array(
            [rng.normal(0, 0.4), 0.5 * size[1] * rng.uniform(0.2, 1.0), table_half[1] + size[2] + rng.uniform(0.1, 0.6)]
        )
        things.append((_plain(box(*size)), turn, back))
    return things


def _cast_into(
    depth: np.ndarray, owner: np.ndarray, directions: np.ndarray, item: Placed, mark: int, intrinsics: Intrinsics
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
    z, _ = item.cast_shape.cast(part.reshape(-1, 3), item.rotation, item.translation)
    z = z.reshape(part.shape[:2])
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
    """Draw one scene, its depth still without the sensor's noise.

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
        As `SCENE_ARRAYS`, but depth in float32 [m], with the shadows and the dark objects of the sensor.
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
    if rng.random() < config.furniture:
        for cast, rotation, centre in _furniture(rng, high):
            item = Placed(cast, R_camera_table @ rotation, middle + R_camera_table @ centre)
            _cast_into(depth, owner, directions, item, 0, intrinsics)
    alone = []
    for number, one in enumerate(objects, start=1):
        item = Placed(one.body.cast, R_camera_table @ one.rotation, middle + R_camera_table @ one.centre)
        alone.append(_cast_into(depth, owner, directions, item, number, intrinsics))

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
    return {
        "depth": np.where(holes | (depth > farthest) | (depth < 0.15), 0, np.minimum(depth, FARTHEST_M)).astype(
            np.float32
        ),
        "label": label,
        "category": category,
        "intrinsics": np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy], np.float32),
    }


def _blobs(rng: np.random.Generator) -> np.ndarray:
    """A smooth random image (HEIGHT, WIDTH) of about unit variance."""
    coarse = torch.from_numpy(rng.normal(size=(1, 1, HEIGHT // 8, WIDTH // 8)).astype(np.float32))
    return 1.4 * torch.nn.functional.interpolate(coarse, (HEIGHT, WIDTH), mode="bilinear")[0, 0].numpy()


SENSOR = SensorConfig(
    hole_share=(0.0, 0.1), speckle_share=0.01, axial_noise=(0.0002, 0.0035), wave_m=(0.0, 0.003), outlier_share=0.004
)


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
    shapes: list[Shape] = [make_shape(name, rng) for name in CATEGORIES for _ in range(3)]
    shapes += [other(rng) for _ in range(14)]
    bodies = [Body.of(shape) for shape in shapes]
    drawn = [draw_scene(bodies, config, rng) for _ in range(scenes)]
    rows = {name: np.stack([scene[name] for scene in drawn]) for name in SCENE_ARRAYS}
    generator = torch.Generator().manual_seed(seed)
    clean = torch.from_numpy(rows["depth"])
    noisy = torch.cat([measured_depth(part, SENSOR, generator) for part in clean.split(16)])
    rows["depth"] = (noisy.numpy() / DEPTH_UNIT_M).round().clip(0, 65535).astype(np.uint16)
    return rows


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
        For a shard that is there and cut off.
    """
    output.mkdir(parents=True, exist_ok=True)
    jobs = [(output, seed * 100_000 + i, shard_scenes) for i in range(-(-scenes // shard_scenes))]
    for path in [shard_path(output, number) for _, number, _ in jobs]:
        if path.exists() and (flaw := archive_flaw(path)):
            raise ValueError(f"{path}: expected a shard, got {flaw}; remove it to have it drawn again")
    with multiprocessing.get_context("spawn").Pool(workers) as pool, Progress() as progress:
        task = progress.add_task("scenes", total=len(jobs) * shard_scenes)
        for _ in pool.imap_unordered(_write_shard, jobs):
            progress.advance(task, shard_scenes)


if __name__ == "__main__":
    run(generate)
