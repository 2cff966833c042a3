"""Masked depth to points in the camera frame, in one pass for any number of instances."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple

import numpy as np

from clipose_ros.core.pixel_rays import PixelRays, pixel_rays
from clipose_ros.core.types import Detections, Frame, Intrinsics

MILLIMETRE_M = 0.001
MOST_POINTS = 2048  # of an object: twice what a network sees


@dataclass(frozen=True)
class DepthRange:
    """The range of valid depths, limits included.

    Parameters
    ----------
    minimum : float
        More than 0, because a depth of 0 means that the sensor saw nothing [m].
    maximum : float
        More than `minimum`, finite [m].

    Raises
    ------
    ValueError
        If the limits are not in this order, or not finite.
    """

    minimum: float = 0.1
    maximum: float = 5.0

    def __post_init__(self) -> None:
        if not 0 < self.minimum < self.maximum < np.inf:
            raise ValueError(
                f"depth_range: expected 0 < minimum < maximum, finite, got {self.minimum} .. {self.maximum}"
            )


class Cloud(NamedTuple):
    """The points of one instance, in raster order.

    Attributes
    ----------
    points : (M, 3) float32
        Camera frame [m]; each coordinate lies contiguous.
    pixels : (M,) int32
        Where the points were seen, as indices into the flattened image.
    """

    points: np.ndarray
    pixels: np.ndarray


def pinhole(u: np.ndarray, v: np.ndarray, z: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Back-project pixels to points.

    Parameters
    ----------
    u, v : (N,) number
        Column and row [px].
    z : (N,) float
        Depth along the optical axis [m].
    intrinsics : Intrinsics
        Of the image.

    Returns
    -------
    (N, 3) float32
        Points, camera frame [m]; NaN where the lens shows no ray.
    """
    points = np.empty((3, len(z)), dtype=np.float32)  # by coordinate: numpy is fast along contiguous memory
    points[0], points[1], points[2] = u, v, z
    points[:2] -= np.float32([[intrinsics.cx], [intrinsics.cy]])
    points[:2] *= np.float32([[1 / intrinsics.fx], [1 / intrinsics.fy]])
    if intrinsics.distortion is not None:
        points[:2] = intrinsics.distortion.undistort(points[:2].T).T
    points[:2] *= points[2]
    return points.T


def project(points: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Project points to pixels, the inverse of `pinhole`.

    Parameters
    ----------
    points : (..., 3) float
        Camera frame [m], z > 0.
    intrinsics : Intrinsics
        Of the image.

    Returns
    -------
    (..., 2) float
        Column and row [px]; NaN for what the lens does not show.
    """
    focal = np.array([intrinsics.fx, intrinsics.fy])
    rays = points[..., :2] / points[..., 2:]
    if intrinsics.distortion is not None:
        rays = intrinsics.distortion.distort(rays)
    return rays * focal + np.array([intrinsics.cx, intrinsics.cy])


def depth_unit_m(dtype: np.dtype, given_m: float | None = None) -> float:
    """Determine the unit of a depth image.

    Parameters
    ----------
    dtype : dtype
        Of the image, uint16 or float32.
    given_m : float, optional
        The unit, if somebody said it [m].

    Returns
    -------
    float
        The given unit; else millimetres for uint16 and metres for float32 [m].
    """
    return given_m if given_m is not None else MILLIMETRE_M if dtype == np.uint16 else 1.0


def metres(depth: np.ndarray, unit_m: float | None = None) -> np.ndarray:
    """Convert depths to metres.

    Parameters
    ----------
    depth : (...) uint16 or float32
        Depths.
    unit_m : float, optional
        Unit of the depths [m]. None: uint16 is millimetres, float32 is metres (ROS's encodings 16UC1 and 32FC1).

    Returns
    -------
    (...) float32
        Depths [m]; the array itself where it has them already.
    """
    unit_m = depth_unit_m(depth.dtype, unit_m)
    return depth if unit_m == 1 and depth.dtype == np.float32 else depth / np.float32(1 / unit_m)


def backproject(
    frame: Frame, detections: Detections, depth_range: DepthRange = DepthRange(), most: int = MOST_POINTS
) -> list[Cloud]:
    """Back-project the masked depth of every instance.

    Pixels that belong to no instance are background. Pixels without a valid depth are left out, too, and so are pixels
    of a raw image where the lens shows no ray.

    Parameters
    ----------
    frame : Frame
        Depth and intrinsics.
    detections : Detections
        Instances and their masks, of the same size as the depth image.
    depth_range : DepthRange
        Valid depths.
    most : int
        The most points that an instance gets. If it has more valid pixels, every second, third or n-th is taken.

    Returns
    -------
    list of Cloud
        One for each instance, in order. It is empty if no pixel of the instance has a valid depth.

    Raises
    ------
    ValueError
        If an instance has the label of the background.
    """
    pixels, bounds = _masked_pixels(detections)
    z = metres(frame.depth.reshape(-1).take(pixels), frame.depth_unit_m)
    rays = pixel_rays(frame.intrinsics, frame.depth.shape) if frame.intrinsics.distortion is not None else None
    # Leaves out NaN, inf, 0 and negative depths, too.
    valid = (z >= depth_range.minimum) & (z <= depth_range.maximum)
    if rays is not None:
        valid &= rays.known.take(pixels)
    valid = np.flatnonzero(valid)
    parts = [valid[a:b] for a, b in pairwise(valid.searchsorted(bounds).tolist())]
    parts = [part[:: max(1, -(-len(part) // most))] for part in parts]
    chosen = np.concatenate([valid[:0], *parts])
    pixels, z = pixels.take(chosen), z.take(chosen)
    points = _at_pixels(pixels, z, frame) if rays is None else _along(rays, pixels, z)
    spans = ((end - len(part), end) for end, part in zip(accumulate(map(len, parts)), parts))
    return [Cloud(points[a:b], pixels[a:b]) for a, b in spans]


def _at_pixels(pixels: np.ndarray, z: np.ndarray, frame: Frame) -> np.ndarray:
    """Points (N, 3) of a rectified image, at flat indices (N,)."""
    v = pixels // frame.depth.shape[1]
    return pinhole(pixels - v * frame.depth.shape[1], v, z, frame.intrinsics)


def _along(rays: PixelRays, pixels: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Points (N, 3) of a raw image, at flat indices (N,)."""
    points = np.empty((3, len(z)), dtype=np.float32)
    for ray, row in zip((rays.x, rays.y), points):
        np.multiply(ray.take(pixels), z, out=row)
    points[2] = z
    return points.T


def _masked_pixels(detections: Detections) -> tuple[np.ndarray, np.ndarray]:
    """Give the flat pixel indices (P,) of one instance after the other, and where each begins and ends (L + 1,)."""
    if detections.overlap:
        found = [np.flatnonzero(mask).astype(np.int32) for mask in detections.masks]
        return np.concatenate([np.empty(0, np.int32), *found]), np.array([0, *accumulate(map(len, found))])
    wanted = [instance.label for instance in detections.instances]
    if 0 in wanted:
        raise ValueError("instances: expected labels other than 0, which is the background, got 0")
    return pixels_of(detections.masks, wanted)


def pixels_of(labels: np.ndarray, wanted: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Find the pixels of some labels in a label image.

    The image is read as runs of equal labels, because there are far fewer runs than pixels.

    Parameters
    ----------
    labels : (H, W) integer
        Label image.
    wanted : sequence of int
        The L labels to find.

    Returns
    -------
    pixels : (P,) int32
        Indices into the flattened image, in raster order within a label.
    bounds : (L + 1,) int
        pixels[bounds[i] : bounds[i + 1]] have the label wanted[i].
    """
    flat = labels.reshape(-1)
    is_edge = np.empty(len(flat) + 1, dtype=bool)
    is_edge[0] = is_edge[-1] = True
    np.not_equal(flat[1:], flat[:-1], out=is_edge[1:-1])
    edges = np.flatnonzero(is_edge)
    labels_of_runs = flat[edges[:-1]]
    by_label = labels_of_runs.argsort(kind="stable")  # stable: keeps raster order within a label
    sorted_labels, wanted = labels_of_runs[by_label], np.array(wanted, dtype=np.int64)
    first, last = sorted_labels.searchsorted(wanted, "left"), sorted_labels.searchsorted(wanted, "right")
    runs = np.concatenate([by_label[:0], *(by_label[a:b] for a, b in zip(first.tolist(), last.tolist()))])
    lengths = edges[runs + 1] - edges[runs]
    ends = np.zeros(len(runs) + 1, dtype=np.int64)
    np.cumsum(lengths, out=ends[1:])
    pixels = (edges[runs] - ends[:-1]).astype(np.int32).repeat(lengths)
    pixels += np.arange(len(pixels), dtype=np.int32)
    return pixels, ends[[0, *accumulate((last - first).tolist())]]
