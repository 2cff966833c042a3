"""The generated data set: clean depth crops of procedural objects on tables, in shards on disk.

    python -m training.views --output data/views --views 120000 --workers 2
    python -m training.views --output data/views meshes:mesh-config --meshes.folder ShapeNetCore.v2
    python -m training.views --output data/pictured --colour-px 96

The second command puts meshes beside the generated shapes. The third takes pictures, too (`training.data.pictures`):
depth, masks and poses are those of the first, bit for bit. A shard is one .npz of arrays with a row for each view
(`training.data.row_format`). What a sensor and a detector add (noise, holes, bleeding masks) is drawn anew at each
training step, from the clean crop, by `training.data.sensor`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from training.command import run
from training.data.appearance import drawn_look
from training.data.meshes import MeshConfig, MeshShapes
from training.data.pictures import Painted, take_picture
from training.data.renderer import CastShape, Placed, Plane, pixel_rays, render
from training.data.resting import Dropped, resting_rotation
from training.data.row_format import (
    BACKGROUND,
    COLOUR_PX,
    DEPTH_UNIT_M,
    FAR_M,
    GRID,
    LEAST_COLOUR_PX,
    MARGIN,
    OTHER,
    TARGET,
)
from training.data.shapes import Shape, make_shape
from training.data.shard_writing import write_shards
from training.storage import made_folder, write_whole

ShapeSource = Callable[[str, np.random.Generator], Shape]

WIDTH, HEIGHT = 640, 480


@dataclass(frozen=True)
class ViewConfig:
    """How views are drawn.

    Parameters
    ----------
    distance_m : (float, float)
        Of the camera from the object, least and greatest [m].
    elevation_deg : (float, float, float)
        Of the camera above the table: least, most frequent and greatest [deg].
    roll_deg : float
        Standard deviation of its roll [deg].
    lying : float
        Share of objects that rest in another way than they stand.
    free : float
        Share in any orientation.
    lifted : float
        Share of the latter that is held above the table.
    lift_m : (float, float)
        How high [m].
    neighbours : float
        Mean number of other objects.
    focal_px : (float, float, float)
        Focal length of an image 640 pixels wide: least, most frequent and greatest [px].
    margin : float
        Around the projected object, as a share of its box's side.
    cut : float
        Share of views that are near and anywhere in the image, so that its border cuts many objects.
    cut_distance_m : (float, float)
        Distance of these [m].
    cut_visible : float
        `visible` of these.
    visible : float
        Least share of the target's box inside the image, and of its pixels there before other objects.
    shapes : tuple of int
        Drawn in turn, in the order of CATEGORIES: more of those that differ most.
    views_per_shape : int
        Of each shape, as the target.
    colour_px : int
        Side of the pictures [px]. 0: none are taken.
    """

    distance_m: tuple[float, float] = (0.40, 1.50)
    elevation_deg: tuple[float, float, float] = (5.0, 35.0, 90.0)
    roll_deg: float = 6.0
    lying: float = 0.4
    free: float = 0.12
    lifted: float = 0.4
    lift_m: tuple[float, float] = (0.02, 0.3)
    neighbours: float = 1.0
    focal_px: tuple[float, float, float] = (380.0, 600.0, 700.0)
    margin: float = MARGIN
    cut: float = 0.2
    cut_distance_m: tuple[float, float] = (0.35, 1.0)
    cut_visible: float = 0.25
    visible: float = 0.55
    shapes: tuple[int, ...] = (1, 1, 3, 1, 2, 2)
    views_per_shape: int = 12
    colour_px: int = 0

    def __post_init__(self) -> None:
        if self.colour_px and not LEAST_COLOUR_PX <= self.colour_px <= COLOUR_PX:
            raise ValueError(
                f"colour_px: expected 0 (no pictures) or {LEAST_COLOUR_PX} to {COLOUR_PX}, got {self.colour_px}"
            )


def _camera_to_table(config: ViewConfig, rng: np.random.Generator) -> np.ndarray:
    """R_camera_table of a camera that looks down on a table whose y axis is up."""
    elevation = np.deg2rad(rng.triangular(*config.elevation_deg))
    look = Rotation.from_euler("x", np.pi + elevation).as_matrix()  # table y up -> image down, tilted
    roll = Rotation.from_euler("z", np.deg2rad(rng.normal(0, config.roll_deg))).as_matrix()
    return roll @ look


@dataclass(frozen=True)
class Body:
    """A shape ready to be put into scenes.

    Parameters
    ----------
    cast : CastShape
        For rays.
    dropped : Dropped
        How it comes to rest.
    painted : Painted, optional
        How it looks; for pictures alone.
    """

    cast: CastShape
    dropped: Dropped
    painted: Painted | None = None

    @classmethod
    def of(cls, shape: Shape, painter: np.random.Generator | None = None) -> Body:
        """Make the body of a shape.

        Parameters
        ----------
        shape : Shape
            In metres.
        painter : np.random.Generator, optional
            Decides how it looks.

        Returns
        -------
        Body
            Of the shape.
        """
        cast = CastShape(shape)
        painted = None if painter is None else Painted.of(cast, drawn_look(shape, painter))
        return cls(cast, Dropped(shape.vertices, shape.faces), painted)


def _placed(body: Body, config: ViewConfig, rng: np.random.Generator) -> tuple[np.ndarray, float]:
    """R_table_object of an object that stands, lies or is held, and the height of its centre above the table [m]."""
    shape, kind, lift = body.cast.shape, rng.random(), 0.0
    if kind < config.free:
        rotation = Rotation.random(random_state=rng).as_matrix()
        if rng.random() < config.lifted:
            lift = rng.uniform(*config.lift_m)
    elif kind < config.free + config.lying:
        rotation = resting_rotation(shape, body.dropped, rng)
    else:
        rotation = Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)).as_matrix()
    return rotation, lift - float((shape.vertices @ rotation[1]).min())


def draw_view(
    target: Body,
    others: list[Body],
    config: ViewConfig,
    rng: np.random.Generator,
    painter: np.random.Generator | None = None,
) -> dict[str, np.ndarray] | None:
    """Draw one view of an object.

    Parameters
    ----------
    target : Body
        The object.
    others : list of Body
        Objects around it.
    config : ViewConfig
        How views are drawn.
    rng : np.random.Generator
        Decides.
    painter : np.random.Generator, optional
        Decides on lights, tables and the camera, where the bodies are painted.

    Returns
    -------
    dict of ndarray or None
        As `row_format.VIEW_ARRAYS`, and surface; with a painter, colour. None where too little of the object is seen.
    """
    focal = rng.triangular(*config.focal_px)
    intrinsics = Intrinsics(focal, focal, WIDTH / 2 + rng.normal(0, 6), HEIGHT / 2 + rng.normal(0, 6))
    R_camera_table = _camera_to_table(config, rng)
    shape, cast = target.cast.shape, target.cast
    R_table_object, height = _placed(target, config, rng)
    rotation = R_camera_table @ R_table_object

    if cut := rng.random() < config.cut:
        u, v = rng.uniform(0, WIDTH), rng.uniform(0, HEIGHT)
        distance = rng.uniform(*config.cut_distance_m)
    else:
        u, v = rng.uniform(0.1, 0.9) * WIDTH, rng.uniform(0.12, 0.88) * HEIGHT
        distance = rng.uniform(*config.distance_m) * max(1.0, np.linalg.norm(shape.size) / 0.35)
    translation = distance * np.array([(u - intrinsics.cx) / focal, (v - intrinsics.cy) / focal, 1.0])

    up = R_camera_table[:, 1]
    table_point = translation - height * up
    planes = [Plane(up, float(up @ table_point))]
    if rng.random() < 0.7:  # the floor or a wall behind the table's edge; seen where the table ends
        away = (
            R_camera_table @ Rotation.from_euler("y", rng.uniform(-0.6, 0.6)).as_matrix() @ np.array([0.0, 0.0, -1.0])
        )
        planes.append(Plane(away, float(away @ (table_point + away * rng.uniform(0.25, 2.5)))))
    placed = [Placed(cast, rotation, translation)]
    for other in others:
        R_table_other, other_height = _placed(other, config, rng)
        reach = (
            0.5
            * (np.linalg.norm(shape.size[[0, 2]]) + np.linalg.norm(other.cast.shape.size[[0, 2]]))
            * rng.uniform(0.75, 1.6)
        )
        bearing = rng.uniform(0, 2 * np.pi)
        step = R_camera_table @ np.array([reach * np.cos(bearing), other_height, reach * np.sin(bearing)])
        placed.append(Placed(other.cast, R_camera_table @ R_table_other, table_point + step))

    corners = shape.vertices @ rotation.T + translation
    if corners[:, 2].min() < 0.1:
        return None
    px = corners[:, :2] / corners[:, 2:] * focal + (intrinsics.cx, intrinsics.cy)
    low, high = px.min(0), px.max(0)
    whole = (high - low).prod()
    low, high = np.clip((low, high), 0, (WIDTH, HEIGHT))  # the crop is spent on what the image shows
    least = config.cut_visible if cut else config.visible
    if (high - low).prod() < least * whole:
        return None
    side = (high - low).max() * (1 + 2 * config.margin) + 6
    step = side / GRID
    start = (low + high) / 2 - side / 2 + step / 2
    columns, rows = start[0] + step * np.arange(GRID), start[1] + step * np.arange(GRID)
    uu, vv = np.meshgrid(columns, rows)
    inside = (uu >= 0) & (uu < WIDTH) & (vv >= 0) & (vv < HEIGHT)

    directions = pixel_rays(uu.ravel(), vv.ravel(), intrinsics)
    hits = cast.cast(directions, rotation, translation)
    depth, index, face = render(directions, placed, planes, first=hits)
    alone = np.isfinite(hits[0])
    seen = (index == 0) & inside.ravel()
    if seen.sum() < max(least * (alone & inside.ravel()).sum(), 60):
        return None
    label = np.where(index == 0, TARGET, np.where(index > 0, OTHER, BACKGROUND)).astype(np.uint8)
    parts = shape.parts[face[seen]]
    view = {
        "depth": np.where(inside, np.minimum(depth, FAR_M).reshape(GRID, GRID) / DEPTH_UNIT_M, 0)
        .round()
        .astype(np.uint16),
        "label": label.reshape(GRID, GRID),
        "rays": np.array(
            [(start[0] - intrinsics.cx) / focal, step / focal, (start[1] - intrinsics.cy) / focal, step / focal],
            np.float32,
        ),
        "pixels": np.float32(step),
        "rotation": rotation.astype(np.float32),
        "translation": translation.astype(np.float32),
        "size": shape.size.astype(np.float32),
        "category": np.int64(CATEGORIES.index(shape.category)),
        "cue": np.float32((parts == 1).mean()),
        "surface": np.array([*up, up @ table_point], np.float32),
    }
    if painter is not None:
        bodies = [(body.painted, place) for body, place in zip((target, *others), placed, strict=True)]
        finer = side / config.colour_px
        at = [edge - step / 2 + finer * (np.arange(config.colour_px) + 0.5) for edge in start]
        uu, vv = (axis.ravel() for axis in np.meshgrid(*at))
        within = (uu >= 0) & (uu < WIDTH) & (vv >= 0) & (vv < HEIGHT)
        view["colour"] = take_picture(pixel_rays(uu, vv, intrinsics), within, bodies, planes, R_camera_table, painter)
    return view


def draw_shard(
    seed: int, views: int, config: ViewConfig = ViewConfig(), source: ShapeSource = make_shape
) -> dict[str, np.ndarray]:
    """Draw views, the categories in the proportions of `config.shapes`.

    Parameters
    ----------
    seed : int
        No other seed draws the same shapes.
    views : int
        How many.
    config : ViewConfig
        How they are drawn.
    source : callable
        Gives a shape of a category.

    Returns
    -------
    dict of ndarray
        As `row_format.VIEW_ARRAYS`, and surface, with a row for each view; colour, where pictures are taken.
    """
    rng = np.random.default_rng(seed)
    painter = np.random.default_rng([seed, 1]) if config.colour_px else None  # of its own: views stay what they are
    categories = [category for category, count in zip(CATEGORIES, config.shapes, strict=True) for _ in range(count)]
    drawn: list[dict[str, np.ndarray]] = []
    while len(drawn) < views:
        shapes = [Body.of(source(category, rng), painter) for category in categories]
        for target in shapes:
            for _ in range(config.views_per_shape):
                others = [shapes[i] for i in rng.integers(len(shapes), size=min(rng.poisson(config.neighbours), 3))]
                view = draw_view(target, others, config, rng, painter)
                if view is not None:
                    drawn.append(view)
    order = rng.permutation(len(drawn))[:views]
    return {name: np.stack([drawn[i][name] for i in order]) for name in drawn[0]}


def _shard_path(output: Path, seed: int) -> Path:
    return output / f"shard_{seed:06d}.npz"


def _write_shard(job: tuple[Path, int, int, MeshConfig | None, ViewConfig]) -> dict[Path, str]:
    """Write one shard if it is not there; the meshes that could not be used, with the reason."""
    output, seed, views, meshes, config = job
    path = _shard_path(output, seed)
    if path.exists():
        return {}
    source = MeshShapes(meshes) if meshes else None
    arrays = draw_shard(seed, views, config, source.make_shape if source else make_shape)
    write_whole(path, lambda file: np.savez(file, **arrays))
    return source.skipped if source else {}


def generate(
    output: Path,
    views: int = 120_000,
    shard_views: int = 2_000,
    seed: int = 1,
    workers: int = 2,
    meshes: MeshConfig | None = None,
    colour_px: int = 0,
) -> None:
    """Write shards of views.

    Those that are there already are kept, so that an interrupted run goes on where it stopped.

    Parameters
    ----------
    output : Path
        Folder of the shards.
    views : int
        In all.
    shard_views : int
        In a shard.
    seed : int
        Of the data set.
    workers : int
        Processes that draw.
    meshes : MeshConfig, optional
        Meshes beside the generated shapes.
    colour_px : int
        Side of pictures [px]: 96 for small backbones, 224 at most. 0: none are taken.

    Raises
    ------
    ValueError
        For numbers below 1, a shard that is there and cut off, or a folder without meshes.
    """
    for name, value in (("views", views), ("shard_views", shard_views), ("workers", workers)):
        expect(name, value >= 1, "1 or more", value)
    made_folder(output)
    config = ViewConfig(colour_px=colour_px)
    jobs = [(output, seed * 100_000 + i, shard_views, meshes, config) for i in range(-(-views // shard_views))]
    paths = [_shard_path(output, number) for _, number, *_ in jobs]
    skipped: dict[Path, str] = {}
    for reasons in write_shards("views", _write_shard, jobs, paths, shard_views, workers):
        skipped |= reasons
    for mesh, reason in sorted(skipped.items()):
        print(f"{mesh}: left out: {reason}")


if __name__ == "__main__":
    run(generate)
