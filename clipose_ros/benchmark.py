"""Latency from a frame in memory to its poses, on a frame that is made here: spheres on a table."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from clipose_ros.core.types import Frame, Instance, Intrinsics
from clipose_ros.pipeline import Pipeline

INTRINSICS = Intrinsics(fx=600.0, fy=600.0, cx=319.5, cy=239.5)
IMAGE_SHAPE = (480, 640)
RADIUS_M = 0.05
SPACING_M = 0.15
PER_ROW = 5
TABLE_CENTRE = np.array([0.0, 0.1, 0.9])  # camera frame [m]
TABLE_NORMAL = np.array([0.0, -np.cos(np.radians(40)), -np.sin(np.radians(40))])  # the camera looks down by 40 degrees
WARM_UP_FRAMES = 5


def spheres_on_table(count: int, categories: Sequence[str]) -> Frame:
    """A 640 x 480 frame of `count` spheres (5 cm radius, about 0.9 m away), with the given categories in turn as instances."""
    rays = _rays()
    away = np.cross([1.0, 0.0, 0.0], TABLE_NORMAL)  # on the table, from the camera
    depth = (TABLE_CENTRE @ TABLE_NORMAL) / (rays @ TABLE_NORMAL)  # z of a ray with z = 1 is its length in units of the ray
    depth[depth < 0] = np.inf
    labels = np.zeros(IMAGE_SHAPE, dtype=np.uint8)
    for i in range(count):
        row, column = divmod(i, PER_ROW)
        in_row = min(PER_ROW, count - row * PER_ROW)
        centre = TABLE_CENTRE + TABLE_NORMAL * RADIUS_M + np.array([(column - (in_row - 1) / 2) * SPACING_M, 0, 0]) + away * row * SPACING_M
        hit = _sphere_depth(rays, centre, RADIUS_M)
        nearer = hit < depth
        depth[nearer], labels[nearer] = hit[nearer], i + 1
    instances = tuple(Instance(i + 1, categories[i % len(categories)], id=str(i + 1)) for i in range(count))
    return Frame(0, "camera", np.where(depth < 65, depth * 1000, 0).astype(np.uint16), labels, instances, INTRINSICS)


def bench(pipeline: Pipeline, instances: int, frames: int) -> dict:
    """Process one frame again and again. Returns: instances, p50_ms, p95_ms, p99_ms of the whole and the median of each stage [ms]."""
    frame = spheres_on_table(instances, pipeline.estimator.categories)
    for _ in range(WARM_UP_FRAMES):
        pipeline.process(frame)
    total_ms, stages = np.empty(frames), []
    for i in range(frames):
        start = time.perf_counter()
        stages.append(pipeline.process(frame).stages_ms)
        total_ms[i] = (time.perf_counter() - start) * 1e3
    percentiles = {f"p{q}_ms": round(float(np.percentile(total_ms, q)), 3) for q in (50, 95, 99)}
    return {"instances": instances, **percentiles, "stages": {name: round(float(np.median([s[name] for s in stages])), 3) for name in stages[0]}}


def _rays() -> np.ndarray:
    """Directions (H, W, 3) of the pixels, with z = 1."""
    v, u = np.mgrid[: IMAGE_SHAPE[0], : IMAGE_SHAPE[1]]
    return np.stack([(u - INTRINSICS.cx) / INTRINSICS.fx, (v - INTRINSICS.cy) / INTRINSICS.fy, np.ones(IMAGE_SHAPE)], axis=-1)


def _sphere_depth(rays: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    """z (H, W) [m] where the rays meet a sphere first; inf where they miss."""
    a, b, c = np.sum(rays * rays, axis=-1), rays @ centre, centre @ centre - radius**2
    discriminant = b * b - a * c
    return np.where(discriminant > 0, (b - np.sqrt(np.maximum(discriminant, 0))) / a, np.inf)
