"""Masked depth to points in the camera frame: one pass over the labelled pixels of a frame, whatever the number of its instances."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipose_ros.core.types import Frame, Intrinsics

MILLIMETRES_PER_METRE = np.float32(1000)


@dataclass(frozen=True)
class DepthRange:
    """Depths outside of it are invalid [m]. `minimum` > 0, because 0 is how a sensor says that it saw nothing."""

    minimum: float = 0.1
    maximum: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.minimum < self.maximum < np.inf:
            raise ValueError(f"depth_range: expected 0 < minimum < maximum, finite, got {self.minimum} .. {self.maximum}")


def pinhole(u: np.ndarray, v: np.ndarray, z: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Points seen at pixels.

    Parameters: u, v (N,) column and row [px]; z (N,) depth along the optical axis [m].
    Returns: (N, 3) float32, camera frame [m].
    """
    x = (u - intrinsics.cx) / intrinsics.fx * z
    y = (v - intrinsics.cy) / intrinsics.fy * z
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def project(points: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Pixels (N, 2) as (u, v) of points (N, 3), camera frame [m] with z > 0. The inverse of `pinhole`."""
    focal = np.array([intrinsics.fx, intrinsics.fy])
    return points[..., :2] / points[..., 2:] * focal + np.array([intrinsics.cx, intrinsics.cy])


def metres(depth: np.ndarray) -> np.ndarray:
    """Depth values as float32 metres: uint16 is millimetres, floats are metres already (the encodings 16UC1 and 32FC1 of ROS)."""
    return depth / MILLIMETRES_PER_METRE if depth.dtype == np.uint16 else depth


def backproject(frame: Frame, depth_range: DepthRange = DepthRange()) -> list[np.ndarray]:
    """Points of every instance of a frame, in the order of `frame.instances`.

    Returns: per instance (M, 3) float32, camera frame [m], in raster order; M = 0 where no pixel has a valid depth.
    Pixels whose label no instance carries are background.
    """
    wanted = [instance.label for instance in frame.instances]
    if 0 in wanted:
        raise ValueError("instances: expected labels other than 0, which is the background, got 0")
    labels = frame.labels.reshape(-1)
    pixels = np.flatnonzero(labels != 0)
    pixels = pixels[np.argsort(labels[pixels], kind="stable")]  # by instance; stable: raster order survives within one
    z = metres(frame.depth.reshape(-1)[pixels])
    valid = (z >= depth_range.minimum) & (z <= depth_range.maximum)  # false for NaN, inf, 0 and negative depths
    pixels, z = pixels[valid], z[valid]
    v, u = np.divmod(pixels, frame.depth.shape[1])
    points = pinhole(u, v, z, frame.intrinsics)
    sorted_labels = labels[pixels].astype(np.int64)
    first = np.searchsorted(sorted_labels, wanted, side="left")
    last = np.searchsorted(sorted_labels, wanted, side="right")
    return [points[a:b] for a, b in zip(first, last)]
