"""Masked depth to points in the camera frame: one pass over the labelled pixels of a frame, whatever the number of its
instances.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from clipose_ros.core.types import Frame, Intrinsics

MILLIMETRES_PER_METRE = np.float32(1000)
MOST_POINTS = 2048  # of an object: twice what a network sees


@dataclass(frozen=True)
class DepthRange:
    """Depths outside of it are invalid [m]. `minimum` > 0, because 0 is how a sensor says that it saw nothing."""

    minimum: float = 0.1
    maximum: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.minimum < self.maximum < np.inf:
            raise ValueError(
                f"depth_range: expected 0 < minimum < maximum, finite, got {self.minimum} .. {self.maximum}"
            )


def pinhole(u: np.ndarray, v: np.ndarray, z: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Points seen at pixels.

    Parameters: u, v (N,) column and row [px]; z (N,) depth along the optical axis [m].
    Returns: (N, 3) float32, camera frame [m].
    """
    points = np.empty((3, len(z)), dtype=np.float32)  # by coordinate: numpy is fast along what is contiguous
    points[0], points[1], points[2] = u, v, z
    points[:2] -= np.float32([[intrinsics.cx], [intrinsics.cy]])
    points[:2] *= np.float32([[1 / intrinsics.fx], [1 / intrinsics.fy]])
    points[:2] *= points[2]
    return points.T


def project(points: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Pixels (N, 2) as (u, v) of points (N, 3), camera frame [m] with z > 0. The inverse of `pinhole`."""
    focal = np.array([intrinsics.fx, intrinsics.fy])
    return points[..., :2] / points[..., 2:] * focal + np.array([intrinsics.cx, intrinsics.cy])


def metres(depth: np.ndarray) -> np.ndarray:
    """Depth values as float32 metres: uint16 is millimetres, floats are metres already (the encodings 16UC1 and 32FC1
    of ROS).
    """
    return depth / MILLIMETRES_PER_METRE if depth.dtype == np.uint16 else depth


def backproject(frame: Frame, depth_range: DepthRange = DepthRange(), most: int = MOST_POINTS) -> list[np.ndarray]:
    """Points of every instance of a frame, in the order of `frame.instances`.

    Parameters: most, points that an instance may have: of one with more valid pixels, every second, third or n-th is
    taken.
    Returns: per instance (M, 3) float32, camera frame [m], in raster order; M = 0 where no pixel has a valid depth.
    Each coordinate lies contiguous. Pixels whose label no instance carries are background.
    """
    wanted = [instance.label for instance in frame.instances]
    if 0 in wanted:
        raise ValueError("instances: expected labels other than 0, which is the background, got 0")
    pixels, bounds = pixels_of(frame.labels, wanted)
    z = metres(frame.depth.reshape(-1).take(pixels))
    # not NaN, inf, 0 and negative depths
    valid = np.flatnonzero((z >= depth_range.minimum) & (z <= depth_range.maximum))
    parts = [valid[a:b] for a, b in pairwise(valid.searchsorted(bounds).tolist())]
    parts = [part[:: max(1, -(-len(part) // most))] for part in parts]
    chosen = np.concatenate([valid[:0], *parts])
    pixels, z = pixels.take(chosen), z.take(chosen)
    v = pixels // frame.depth.shape[1]
    points = pinhole(pixels - v * frame.depth.shape[1], v, z, frame.intrinsics)
    return [points[end - len(part) : end] for end, part in zip(accumulate(map(len, parts)), parts)]


def pixels_of(labels: np.ndarray, wanted: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Where the wanted labels are in a label image (H, W). It is read as runs of one label each, which are few.

    Returns: pixels (P,), indices into the flattened image, in raster order within a label; bounds (L + 1,):
    pixels[bounds[i] : bounds[i + 1]] are those of wanted label i.
    """
    flat = labels.reshape(-1)
    is_edge = np.empty(len(flat) + 1, dtype=bool)
    is_edge[0] = is_edge[-1] = True
    np.not_equal(flat[1:], flat[:-1], out=is_edge[1:-1])
    edges = np.flatnonzero(is_edge)
    labels_of_runs = flat[edges[:-1]]
    by_label = labels_of_runs.argsort(kind="stable")  # stable: raster order survives within one
    sorted_labels, wanted = labels_of_runs[by_label], np.array(wanted, dtype=np.int64)
    first, last = sorted_labels.searchsorted(wanted, "left"), sorted_labels.searchsorted(wanted, "right")
    runs = np.concatenate([by_label[:0], *(by_label[a:b] for a, b in zip(first.tolist(), last.tolist()))])
    lengths = edges[runs + 1] - edges[runs]
    ends = np.zeros(len(runs) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    pixels = (edges[runs] - ends[:-1]).astype(np.int32).repeat(lengths)
    pixels += np.arange(len(pixels), dtype=np.int32)
    return pixels, ends[[0, *accumulate((last - first).tolist())]]
