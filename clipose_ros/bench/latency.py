"""Latency from a frame in memory to its poses, on a frame that is made here: spheres on a table. No ROS."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from clipose_ros import estimators
from clipose_ros.bench.report import latency_row, machine
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.support import Support, support_settings
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.inference.session import SessionConfig
from clipose_ros.pipeline import FrameResult, Pipeline
from clipose_ros.segmenters.choice import SEGMENTER_DEFAULT, SegmenterName, SegmenterOptions, load_segmenter
from clipose_ros.segmenters.segmenter import Segmenter

INTRINSICS = Intrinsics(fx=600.0, fy=600.0, cx=319.5, cy=239.5)
IMAGE_SHAPE = (480, 640)
RADIUS_M = 0.05
SPACING_M = 0.15
PER_ROW = 5
TABLE_CENTRE = np.array([0.0, 0.1, 0.9])  # camera frame [m]
TABLE_NORMAL = np.array([0.0, -np.cos(np.radians(40)), -np.sin(np.radians(40))])  # the camera looks down by 40 degrees
WARM_UP_FRAMES = 2  # of each block: caches hold what ran before
BLOCK_S = 3.0
LEAST_FRAMES = 3


class Scene(NamedTuple):
    """A frame and what is in it.

    Attributes
    ----------
    frame : Frame
        What the camera saw.
    detections : Detections
        What is in it.
    """

    frame: Frame
    detections: Detections


def spheres_on_table(count: int, categories: Sequence[str]) -> Scene:
    """Make a 640 x 480 frame of spheres on a table, 5 cm in radius and about 0.9 m away.

    Parameters
    ----------
    count : int
        Of the spheres, each an instance.
    categories : sequence of str
        That the instances have in turn.

    Returns
    -------
    Scene
        Without colour.
    """
    rays = _rays()
    away = np.cross([1.0, 0.0, 0.0], TABLE_NORMAL)  # on the table, from the camera
    # z of a ray with z = 1 is its length in units of the ray
    depth = (TABLE_CENTRE @ TABLE_NORMAL) / (rays @ TABLE_NORMAL)
    depth[depth < 0] = np.inf
    labels = np.zeros(IMAGE_SHAPE, dtype=np.uint8)
    last_row = (count - 1) // PER_ROW
    for i in range(count):
        row, column = divmod(i, PER_ROW)
        in_row = min(PER_ROW, count - row * PER_ROW)
        across, along = (column - (in_row - 1) / 2) * SPACING_M, (row - last_row / 2) * SPACING_M
        centre = TABLE_CENTRE + TABLE_NORMAL * RADIUS_M + np.array([across, 0, 0]) + along * away
        hit = _sphere_depth(rays, centre, RADIUS_M)
        nearer = hit < depth
        depth[nearer], labels[nearer] = hit[nearer], i + 1
    instances = tuple(Instance(i + 1, categories[i % len(categories)], id=str(i + 1)) for i in range(count))
    millimetres = np.where(depth < 65, depth * 1000, 0).astype(np.uint16)
    return Scene(Frame(0, "camera", millimetres, INTRINSICS), Detections(instances, labels))


def bench(
    folders: Sequence[Path],
    instances: Sequence[int],
    config: SessionConfig,
    frames: int,
    rounds: int,
    support: Support = "off",
    segmenter: SegmenterName = SEGMENTER_DEFAULT,
    options: SegmenterOptions = SegmenterOptions(),
) -> dict[str, Any]:
    """Measure the models of some folders, with frames in memory.

    Parameters
    ----------
    folders : sequence of Path
        Of the models. A name that several cards have is replaced by the folder's.
    instances : sequence of int
        Numbers of objects in a frame.
    config : SessionConfig
        How the networks run.
    frames, rounds : int
        As `measure`.
    support : str
        auto tells networks of surfaces, and sets poses onto them; off does neither.
    segmenter : str
        Runs on each frame, too. What it finds is timed and not posed: it is the scene's objects that are.
    options : SegmenterOptions
        Of the segmenter.

    Returns
    -------
    dict
        A report, see `bench.report`.
    """
    found = machine()
    loaded = [estimators.load(str(folder.resolve()), config=config) for folder in folders]
    finds = load_segmenter(segmenter, config=config, options=options)
    results = measure(
        [Pipeline(estimator, finds, support=support_settings(support)) for estimator in loaded],
        instances,
        frames,
        rounds,
    )
    facts = [estimator.facts() for estimator in loaded]
    names = [of_one["model"] for of_one in facts]
    memory = [
        {
            "results": rows,
            **{key: of_one[key] for key in ("provider", "precision", "threads")},
            "support": support,
            **({} if finds is None else {"segmenter": segmenter}),
            "model": name if names.count(name) == 1 else str(folder),
        }
        for of_one, name, folder, rows in zip(facts, names, folders, results)
    ]
    return {"machine": found, "rounds": rounds, "memory": memory}


def figures(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out of a model's entry of a report what only comparisons need.

    Parameters
    ----------
    entry : mapping
        Of `report["memory"]`.

    Returns
    -------
    dict
        The rest.
    """
    return {
        **entry,
        "results": [{key: value for key, value in row.items() if key != "rounds"} for row in entry["results"]],
    }


def measure(pipelines: Sequence[Pipeline], instances: Sequence[int], frames: int, rounds: int) -> list[list[dict]]:
    """Measure pipelines: a frame is processed again and again, for each number of instances.

    A round measures every pipeline with every number of instances, so that what else the machine does falls on all
    alike.

    Parameters
    ----------
    pipelines : sequence of Pipeline
        To compare.
    instances : sequence of int
        Numbers of objects in a frame.
    frames : int
        Divided over the rounds; where they would take longer than `BLOCK_S` there are fewer, but at least
        `LEAST_FRAMES` a round.
    rounds : int
        How often all is measured.

    Returns
    -------
    list of list of dict
        For each pipeline a row (see `report.latency_row`) for each number of instances.
    """
    cells = [
        (pipeline, spheres_on_table(count, pipeline.estimator.names)) for count in instances for pipeline in pipelines
    ]
    times_ms, stages_ms = [[] for _ in cells], [[] for _ in cells]
    for _ in range(rounds):
        for cell, (pipeline, scene) in enumerate(cells):
            total_ms, stages = _block(pipeline, scene, math.ceil(frames / rounds))
            times_ms[cell].append(total_ms)
            stages_ms[cell] += stages
    measured = [
        latency_row(len(scene.detections.instances), times, stages)
        for (_, scene), times, stages in zip(cells, times_ms, stages_ms)
    ]
    return [measured[i :: len(pipelines)] for i in range(len(pipelines))]


def write_frame(folder: Path, frame: Frame, detections: Detections) -> None:
    """Write a frame as a folder in NOCS format, for a player; its colour, where it has none, is grey.

    Parameters
    ----------
    folder : Path
        To write; it is made where it is not there.
    frame : Frame
        With depth in millimetres.
    detections : Detections
        Of the six categories, with a label image of bytes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    colour = np.full((*frame.depth.shape, 3), 128, np.uint8) if frame.colour is None else frame.colour[:, :, ::-1]
    for kind, pixels in (("color", colour), ("depth", frame.depth), ("mask", detections.masks - np.uint8(1))):
        if not cv2.imwrite(str(folder / f"0000_{kind}.png"), pixels):
            raise OSError(f"{folder}: expected a place to write pictures, got a refusal")
    lines = [f"{i.label - 1} {CATEGORIES.index(i.category) + 1} {i.category}\n" for i in detections.instances]
    (folder / "0000_meta.txt").write_text("".join(lines), encoding="utf-8")
    (folder / "intrinsics.json").write_text(json.dumps(asdict(frame.intrinsics)), encoding="utf-8")


class _Known:
    """Finds objects, and answers with those that are known to be there, so that all are posed.

    segmenter: that is timed. scene: whose frame it gets, in grey, for segmenters that look at colour.
    """

    def __init__(self, segmenter: Segmenter, scene: Scene) -> None:
        self._segmenter, self._scene = segmenter, scene
        self._grey = _in_grey(scene.frame)

    def segment(self, frame: Frame) -> Detections:
        """The scene's detections, after the segmenter has run."""
        self._segmenter.segment(self._grey)
        return self._scene.detections


def _in_grey(frame: Frame) -> Frame:
    """The frame with a picture, for those that look at colour."""
    return replace(frame, colour=np.full((*frame.depth.shape, 3), 128, np.uint8))


def _block(pipeline: Pipeline, scene: Scene, frames: int) -> tuple[list[float], list[Mapping[str, float]]]:
    """Time of each frame [ms], and its stages."""
    segmenter = pipeline.segmenter
    if pipeline.estimator.needs.colour:
        scene = Scene(_in_grey(scene.frame), scene.detections)
    if segmenter is None:
        return _timed(lambda: pipeline.process(*scene), frames)
    pipeline.segmenter = _Known(segmenter, scene)
    try:
        return _timed(lambda: pipeline.process(scene.frame), frames)
    finally:
        pipeline.segmenter = segmenter


def _timed(process: Callable[[], FrameResult], frames: int) -> tuple[list[float], list[Mapping[str, float]]]:
    """Time of each call [ms], and its stages."""
    for _ in range(WARM_UP_FRAMES):
        process()
    times_ms, stages, end_s = [], [], time.perf_counter() + BLOCK_S
    while len(times_ms) < frames and (len(times_ms) < LEAST_FRAMES or time.perf_counter() < end_s):
        start_s = time.perf_counter()
        stages.append(process().stages_ms)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
    return times_ms, stages


def _rays() -> np.ndarray:
    """Directions (H, W, 3) of the pixels, with z = 1."""
    v, u = np.mgrid[: IMAGE_SHAPE[0], : IMAGE_SHAPE[1]]
    return np.stack(
        [(u - INTRINSICS.cx) / INTRINSICS.fx, (v - INTRINSICS.cy) / INTRINSICS.fy, np.ones(IMAGE_SHAPE)], axis=-1
    )


def _sphere_depth(rays: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """z (H, W) [m] where the rays meet a sphere first; inf where they miss."""
    a, b, c = np.sum(rays * rays, axis=-1), rays @ centre, centre @ centre - radius**2
    discriminant = b * b - a * c
    return np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)
