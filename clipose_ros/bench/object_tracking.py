"""How fast and how well learned objects are tracked: a moving camera over a table with some of them, drawn here.

    python -m clipose_ros.bench.object_tracking --objects my_objects [--drawn other_objects] [--instances 1 3]

The frames are drawn of the objects of `--drawn`, which may be learned from other views than those of `--objects`: a
pose is then not found because the same model was drawn. Depth has noise and an offset, colour noise and a gain, masks
are too large or too small by a pixel or two. No ROS, no files.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from clipose_ros import estimators
from clipose_ros.cli.quiet_end import run_module
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, PoseEstimate
from clipose_ros.core.validation import expect
from clipose_ros.estimators.compiled_code import find_place_for_compiled_code
from clipose_ros.evaluation.novel_objects import NovelError, ObjectModel, novel_error
from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.surface_tables import object_gaussians
from clipose_ros.pipeline import Pipeline
from clipose_ros.rendering.gaussians import Rasterizer
from clipose_ros.tracking.tracker import Tracker

WIDTH, HEIGHT = 640, 480
INTRINSICS = Intrinsics(605.0, 605.0, 319.5, 239.5)
GAP_M = 0.05  # between objects on the table
SWEEP_DEG, SHAKE_DEG, SHAKE_HZ = 15.0, 1.5, 1.3  # of the camera about the table, in a second and by hand
ELEVATION_DEG, RISE_DEG = 42.0, 10.0
DISTANCE_M, APPROACH_M = 0.62, 0.1
DEPTH_NOISE_M, DEPTH_OFFSET, HOLES = 0.0015, 0.003, 0.01
COLOUR_NOISE, GAINS = 3.0, (1.06, 1.0, 0.93)
MASK_PX = 2
HEADINGS = ("objects", "first", "p50 (ms)", "p95", "least", "CPU", "turn (°)", "p95", "shift (mm)", "p95")
HEADINGS += ("ADD-.1d", "sought", "missed")


@dataclass(frozen=True)
class TrackingBenchConfig:
    """What is measured.

    Parameters
    ----------
    objects : Path
        Library of the estimator.
    drawn : Path, optional
        Library that the frames are drawn of; the same without it.
    instances : tuple of int
        Numbers of objects on the table: the first ones by name.
    names : tuple of str
        The objects; all without it.
    seconds, rate_hz : float
        Of each sequence.
    seed : int
        Of the noise.
    depth : bool
        Whether the frames have depth.
    """

    objects: Path
    drawn: Path | None = None
    instances: tuple[int, ...] = (1, 3)
    names: tuple[str, ...] = ()
    seconds: float = 4.0
    rate_hz: float = 30.0
    seed: int = 0
    depth: bool = True

    def __post_init__(self) -> None:
        expect("--instances", self.instances and min(self.instances) >= 1, "numbers of 1 or more", self.instances)
        for key in ("seconds", "rate_hz"):
            expect(f"--{key.replace('_', '-')}", getattr(self, key) > 0, "more than 0", getattr(self, key))


@dataclass(frozen=True)
class DrawnFrame:
    """A frame of a sequence, and the truth.

    Parameters
    ----------
    frame : Frame
        What the camera saw.
    detections : Detections
        The objects.
    poses : tuple of ((3, 3) float, (3,) float)
        R_camera_object and the objects' origins, camera frame [m], in the order of the detections.
    """

    frame: Frame
    detections: Detections
    poses: tuple[tuple[np.ndarray, np.ndarray], ...]


def camera_at(time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Place a camera that is moved by hand about a table.

    Parameters
    ----------
    time_s : float
        From the beginning [s].

    Returns
    -------
    rotation : (3, 3) float
        R_camera_table; y of the table is up.
    translation : (3,) float
        Of the table's middle, camera frame [m].
    """
    phase = 2 * np.pi * SHAKE_HZ * time_s
    azimuth = np.radians(20 + SWEEP_DEG * time_s + SHAKE_DEG * np.sin(phase))
    elevation = np.radians(ELEVATION_DEG + RISE_DEG * np.sin(0.8 * time_s) + SHAKE_DEG * np.cos(1.3 * phase))
    away = np.array([np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)])
    right = np.cross(-away, [0.0, 1, 0])
    right /= np.linalg.norm(right)
    rotation = np.stack([right, np.cross(-away, right), -away])
    roll = np.radians(2 * SHAKE_DEG) * np.sin(0.7 * phase)
    rotation = cv2.Rodrigues(np.array([0, 0, roll]))[0] @ rotation
    distance = DISTANCE_M + APPROACH_M * np.sin(1.1 * time_s)
    return rotation, -rotation @ (distance * away + [0, 0.03, 0])


def draw_sequence(
    objects: Sequence[LearnedObject], rasterizer: Rasterizer, times_s: Sequence[float], seed: int = 0
) -> Iterator[DrawnFrame]:
    """Draw learned objects that stand in a row on a table.

    Parameters
    ----------
    objects : sequence of LearnedObject
        Each once.
    rasterizer : Rasterizer
        Draws them.
    times_s : sequence of float
        Of the frames, ascending [s]; the camera jumps where they do.
    seed : int
        Of the noise.

    Yields
    ------
    DrawnFrame
        With colour and depth.
    """
    rng = np.random.default_rng(seed)
    widths = np.array([np.hypot(one.size[0], one.size[2]) + GAP_M for one in objects])
    places = np.cumsum(widths) - widths / 2 - widths.sum() / 2
    yaws = 2.4 * np.arange(len(objects)) + 0.4
    texture = cv2.GaussianBlur(rng.uniform(0.2, 0.8, (512, 512)).astype(np.float32), (0, 0), 3)
    texture = np.clip(0.5 + 4 * (texture - texture.mean()), 0.1, 0.9)
    gaussians = [object_gaussians(one) for one in objects]
    instances = tuple(Instance(i + 1, one.name, id=str(i + 1)) for i, one in enumerate(objects))
    for time_s in times_s:
        rotation, translation = camera_at(time_s)
        colour, depth_m = _table(rotation, translation, texture)
        labels, poses = np.zeros((HEIGHT, WIDTH), np.uint8), []
        for i, one in enumerate(objects):
            turn = cv2.Rodrigues(np.array([0, yaws[i], 0]))[0]
            turned = rotation @ turn
            shift = rotation @ [places[i], one.size[1] / 2, 0.0] + translation
            drawn = rasterizer.render(gaussians[i], turned, shift, INTRINSICS, (WIDTH, HEIGHT))
            shown = (drawn.alpha > 0.5) & (drawn.depth_m < depth_m)
            share = np.where(shown, np.minimum(drawn.alpha, 1), 0)[..., None]
            colour = colour * (1 - share) + np.where(shown[..., None], drawn.image[..., :3], 0)
            depth_m = np.where(shown, drawn.depth_m, depth_m)
            labels[shown] = i + 1
            poses.append((turned, shift))
        seen = 255 * colour * GAINS + rng.normal(scale=COLOUR_NOISE, size=colour.shape)
        depth_m = depth_m * (1 + DEPTH_OFFSET) + rng.normal(scale=DEPTH_NOISE_M, size=depth_m.shape)
        depth_m[rng.random(depth_m.shape) < HOLES] = 0
        frame = Frame(
            round(time_s * NS_PER_S),
            "camera",
            np.clip(np.rint(1000 * depth_m), 0, 65535).astype(np.uint16),
            INTRINSICS,
            np.clip(seen, 0, 255).astype(np.uint8),
        )
        yield DrawnFrame(frame, Detections(instances, _coarse(labels, rng)), tuple(poses))


def _table(rotation: np.ndarray, translation: np.ndarray, texture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Colour 0..1 and depth [m] of the plane y = 0, of 2 m, before a grey wall."""
    v, u = np.indices((HEIGHT, WIDTH))
    x, y = (u - INTRINSICS.cx) / INTRINSICS.fx, (v - INTRINSICS.cy) / INTRINSICS.fy
    up = rotation[:, 1]
    with np.errstate(divide="ignore"):
        depth_m = (up @ translation) / (x * up[0] + y * up[1] + up[2])
    seen = (depth_m > 0) & (depth_m < 3)
    depth_m = np.where(seen, depth_m, 3.0)
    points = (np.stack([x * depth_m, y * depth_m, depth_m], axis=-1) - translation) @ rotation
    row, column = (np.rint((points[..., k] + 1) * 255.5).astype(np.float32) for k in (2, 0))
    grey = cv2.remap(texture, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    paint = grey[..., None] * np.array([0.9, 0.75, 0.6])
    return np.where(seen[..., None], paint, 0.5), depth_m


def _coarse(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Masks as a segmenter would have them: too large or too small."""
    coarse = np.zeros_like(labels)
    for label in range(1, int(labels.max()) + 1):
        size = 1 + 2 * int(rng.integers(0, MASK_PX + 1))
        change = cv2.dilate if rng.random() < 0.5 else cv2.erode
        coarse[change((labels == label).astype(np.uint8), np.ones((size, size), np.uint8)) > 0] = label
    return coarse


def track_sequence(
    pipeline: Pipeline, frames: Sequence[DrawnFrame], drawn: Sequence[LearnedObject], known: Sequence[LearnedObject]
) -> dict[str, float | int]:
    """Track a sequence, and measure.

    Parameters
    ----------
    pipeline : Pipeline
        With an estimator of learned objects, and a tracker.
    frames : sequence of DrawnFrame
        In the order of time.
    drawn, known : sequence of LearnedObject
        The objects as they were drawn and as the estimator knows them, in the order of the detections.

    Returns
    -------
    dict of str to number
        `first_ms` of the first frame, an object, and `first_cpu_ms`; `p50_ms`, `p95_ms` and `least_ms` of the others, a
        frame, and `cpu_ms`, the median of what all cores did for it; `rotation_deg` and `translation_mm`, medians, with
        `_p95`; `right`: the share below a tenth of the diameter by ADD; `sought`: the share of the later frames in
        which an object was sought everywhere; `missed`: of all poses.
    """
    times_ms, cpu_ms, errors, sought, missed = [], [], [], 0, 0
    for number, one in enumerate(frames):
        start_s, start_cpu_s = time.perf_counter(), time.process_time()
        result = pipeline.process(one.frame, one.detections)
        times_ms.append((time.perf_counter() - start_s) * 1e3)
        cpu_ms.append((time.process_time() - start_cpu_s) * 1e3)
        sought += bool(number) and "search" in result.stages_ms
        for (_, pose), truth, true, learned in zip(result.results, one.poses, drawn, known):
            if isinstance(pose, PoseEstimate):
                errors.append(_error(pose, truth, true, learned))
            else:
                missed += 1
    later = times_ms[1:]
    turns, shifts = ([getattr(error, key) for error in errors] for key in ("rotation_deg", "translation_cm"))
    return {
        "instances": len(drawn),
        "frames": len(frames),
        "first_ms": times_ms[0] / len(drawn),
        "first_cpu_ms": cpu_ms[0] / len(drawn),
        "p50_ms": float(np.median(later)),
        "p95_ms": float(np.quantile(later, 0.95)),
        "least_ms": float(min(later)),
        "cpu_ms": float(np.median(cpu_ms[1:])),
        "rotation_deg": float(np.median(turns)),
        "rotation_deg_p95": float(np.quantile(turns, 0.95)),
        "translation_mm": float(10 * np.median(shifts)),
        "translation_mm_p95": float(10 * np.quantile(shifts, 0.95)),
        "right": float(np.mean([error.add_m < 0.1 * error.diameter_m for error in errors])),
        "sought": sought / max(len(later), 1),
        "missed": missed / (len(frames) * len(drawn)),
    }


def _error(
    pose: PoseEstimate, truth: tuple[np.ndarray, np.ndarray], true: LearnedObject, learned: LearnedObject
) -> NovelError:
    """Of a pose, about the origin of the reference poses, which both objects share."""
    rotation, middle = truth
    model = ObjectModel(true.points.astype(np.float64) + true.centre, true.diagonal_m)
    origin, true_origin = pose.translation - pose.rotation @ learned.centre, middle - rotation @ true.centre
    turns = "".join(true.half_turns)
    return novel_error(pose.rotation, origin, rotation, true_origin, model, turns)


def measure_tracking(config: TrackingBenchConfig) -> list[dict[str, float | int]]:
    """Draw a sequence for each number of objects, and track it.

    Parameters
    ----------
    config : TrackingBenchConfig
        What is measured.

    Returns
    -------
    list of dict
        As `track_sequence`, one for each number.

    Raises
    ------
    ValueError
        If a library has not enough objects, or not those of the other.
    """
    find_place_for_compiled_code()
    from clipose_ros.rendering.cpu import CpuRasterizer  # numba comes with it

    drawn, library = ObjectLibrary(config.drawn or config.objects), ObjectLibrary(config.objects)
    names = config.names or library.names
    most = max(config.instances)
    expect("--instances", most <= len(names), f"at most the {len(names)} objects of {config.objects}", most)
    estimator = estimators.load("gspose", objects_dir=config.objects)
    times_s = np.arange(round(config.seconds * config.rate_hz)) / config.rate_hz
    rows = []
    for count in config.instances:
        shown, known = ([one.read(name) for name in names[:count]] for one in (drawn, library))
        frames = list(draw_sequence(shown, CpuRasterizer(), times_s, config.seed))
        if not config.depth:
            frames = [DrawnFrame(_without_depth(one.frame), one.detections, one.poses) for one in frames]
        rows.append(
            track_sequence(Pipeline(estimator, tracker=Tracker(symmetry=estimator.symmetry)), frames, shown, known)
        )
    return rows


def main() -> None:
    """Measure, and print a table."""
    config = tyro.cli(TrackingBenchConfig, description=__doc__)
    rows = measure_tracking(config)
    table = Table(
        title="learned objects, tracked: frame in memory to poses; first: CPU of an object that is sought (ms)"
    )
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            str(row["instances"]),
            *(f"{row[key]:.0f}" for key in ("first_cpu_ms", "p50_ms", "p95_ms", "least_ms", "cpu_ms")),
            *(f"{row[key]:.2f}" for key in ("rotation_deg", "rotation_deg_p95")),
            *(f"{row[key]:.1f}" for key in ("translation_mm", "translation_mm_p95")),
            *(f"{100 * row[key]:.1f} %" for key in ("right", "sought", "missed")),
        )
    Console(width=140).print(table)


def _without_depth(frame: Frame) -> Frame:
    return Frame(frame.stamp_ns, frame.frame_id, np.zeros_like(frame.depth), frame.intrinsics, frame.colour)


if __name__ == "__main__":
    run_module("clipose_ros.bench.object_tracking", main)
