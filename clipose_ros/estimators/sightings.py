"""What an image shows of one object: points with normals and colours, and the small image around it."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.types import InstanceView, Intrinsics
from clipose_ros.estimators.hypotheses import Hypothesis
from clipose_ros.objects.depth_normals import points_and_normals
from clipose_ros.objects.surface_tables import SurfaceTables
from clipose_ros.rendering.cpu import CpuRasterizer

MINIMUM_POINTS = 32
BORDER_PX = 6  # around the mask, so that normals have neighbours
CROP_GROWTH = 1.3  # of the compared crop, by the object's diagonal
WIDEST = 0.75  # points further than this from the median are background, by the object's diagonal
NEAR_MASK_PX = 5  # where the object may be seen beyond its mask
BLIND_REACH = 1.5  # of the crop, by the larger side of the mask


@dataclass(frozen=True)
class Seen:
    """What the image shows of an object: points, their normals and colours.

    Parameters
    ----------
    points, normals, colours : (N, 3) float64
        Camera frame [m], of length 1, and RGB 0..1.
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray

    def thinned(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Pick some evenly.

        Parameters
        ----------
        count : int
            How many.

        Returns
        -------
        points, normals, colours : (count, 3) float64
            In raster order.
        """
        picked = np.unique(np.linspace(0, len(self.points) - 1, count).astype(int))
        return tuple(np.ascontiguousarray(array[picked]) for array in (self.points, self.normals, self.colours))


@dataclass(frozen=True)
class Crop:
    """A small square image around an object, as `render_comparison` takes it.

    Parameters
    ----------
    camera : (4,) float64
        fx, fy, cx, cy [px].
    colour : (S, S, 3) float32
        RGB, 0..1.
    mask : (S, S) float32
        What part of each pixel the mask covers; -1 outside the image.
    depth_m : (S, S) float32
        0 where nothing is known [m].
    """

    camera: np.ndarray
    colour: np.ndarray
    mask: np.ndarray
    depth_m: np.ndarray


def seen_surface(view: InstanceView, diagonal_m: float) -> Seen:
    """Take the points of an object's mask, with normals and colours; without its border where enough is left.

    Parameters
    ----------
    view : InstanceView
        Of the object.
    diagonal_m : float
        Of its box [m]: what is further away is background.

    Returns
    -------
    Seen
        Without points where there is no depth.
    """
    rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    nothing = np.empty((0, 3))
    if not len(rows):
        return Seen(nothing, nothing, nothing)
    top, bottom = max(0, rows[0] - BORDER_PX), rows[-1] + 1 + BORDER_PX
    left, right = max(0, columns[0] - BORDER_PX), columns[-1] + 1 + BORDER_PX
    frame, mask = view.frame, view.mask[top:bottom, left:right]
    depth = np.where(mask, depth_of(view, np.s_[top:bottom, left:right]), np.float32(0))
    given = frame.intrinsics
    intrinsics = Intrinsics(given.fx, given.fy, given.cx - left, given.cy - top)
    points, normals, smooth = points_and_normals(depth, intrinsics)
    inner = (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (depth > 0)
    chosen = inner & smooth
    for wider in (inner, depth > 0):
        if np.count_nonzero(chosen) < 2 * MINIMUM_POINTS:
            chosen = wider
    if not chosen.any():
        return Seen(nothing, nothing, nothing)
    if frame.colour is None:
        colours = np.full((np.count_nonzero(chosen), 3), 0.5)
    else:
        colours = cv2.GaussianBlur(frame.colour[top:bottom, left:right], (3, 3), 0)[chosen] / 255.0
    points, normals = points[chosen].astype(np.float64), normals[chosen].astype(np.float64)
    near = np.linalg.norm(points - np.median(points, axis=0), axis=1) < WIDEST * diagonal_m
    return Seen(points[near], normals[near], colours[near])


def depth_of(view: InstanceView, part: tuple[slice, slice] = np.s_[:, :]) -> np.ndarray:
    """Give the depth of a view's frame.

    Parameters
    ----------
    view : InstanceView
        Of an object.
    part : (slice, slice)
        Rows and columns; all without it.

    Returns
    -------
    (H, W) float32
        0 where there is none [m].
    """
    depth = metres(view.frame.depth[part], view.frame.depth_unit_m)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)).astype(np.float32)


def expected_mask(tables: SurfaceTables, one: Hypothesis, view: InstanceView) -> np.ndarray:
    """Say where an object should be seen in the image, near its mask.

    Parameters
    ----------
    tables : SurfaceTables
        Of the object.
    one : Hypothesis
        Its pose.
    view : InstanceView
        With its mask.

    Returns
    -------
    (H, W) bool
        Its pixels; the mask where that is hardly anywhere.
    """
    height, width = view.mask.shape
    drawn = CpuRasterizer().render(
        tables.gaussians, one.rotation, one.translation, view.frame.intrinsics, (width, height)
    )
    near = cv2.dilate(view.mask.astype(np.uint8), np.ones((2 * NEAR_MASK_PX + 1,) * 2, np.uint8)) > 0
    expected = (drawn.alpha > 0.5) & near
    return expected if np.count_nonzero(expected & view.mask) > 0.7 * np.count_nonzero(view.mask) else view.mask


def around_mask(view: InstanceView, diagonal_m: float) -> np.ndarray:
    """Find the place for a crop that shows a mask and some of what is around it.

    Parameters
    ----------
    view : InstanceView
        With the mask.
    diagonal_m : float
        Of the object's box [m].

    Returns
    -------
    (3,) float
        Camera frame [m], for `crop_around`.
    """
    rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    given = view.frame.intrinsics
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    depth_m = given.fx * CROP_GROWTH * diagonal_m / (BLIND_REACH * side)
    middle = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    return depth_m * np.array([(middle[0] - given.cx) / given.fx, (middle[1] - given.cy) / given.fy, 1.0])


def crop_around(
    view: InstanceView,
    middle: np.ndarray,
    diagonal_m: float,
    side: int,
    shares: np.ndarray | None = None,
    doubtful: np.ndarray | None = None,
) -> Crop:
    """Cut out the small image around a place.

    Parameters
    ----------
    view : InstanceView
        Of the object.
    middle : (3,) float
        The place, camera frame [m].
    diagonal_m : float
        Of the object's box [m].
    side : int
        Of the crop [px].
    shares : (H, W) float32, optional
        Of the object in each pixel of the image; without it, the mask.
    doubtful : (H, W) bool, optional
        Pixels that shall not count.

    Returns
    -------
    Crop
        As large as the object at that place, and some of what is around it.
    """
    given = view.frame.intrinsics
    scale = side * middle[2] / (CROP_GROWTH * diagonal_m * given.fx)
    u, v = given.fx * middle[0] / middle[2] + given.cx, given.fy * middle[1] / middle[2] + given.cy
    half = (side - 1) / 2
    camera = np.array(
        [given.fx * scale, given.fy * scale, (given.cx - u) * scale + half, (given.cy - v) * scale + half]
    )
    # Only the part that is seen is converted and blurred.
    reach = int(half / scale) + 4
    height, width = view.mask.shape
    left, top = (int(np.clip(x - reach, 0, most - 1)) for x, most in ((u, width), (v, height)))
    right, bottom = (int(np.clip(x + reach, low + 1, most)) for x, low, most in ((u, left, width), (v, top, height)))
    warp = np.array([[1 / scale, 0, u - left - half / scale], [0, 1 / scale, v - top - half / scale]])
    part = np.s_[top:bottom, left:right]
    if view.frame.colour is None:
        colour = np.full((side, side, 3), 0.5, np.float32)
    else:
        colour = view.frame.colour[part].astype(np.float32) / 255
        if scale < 0.8:
            colour = cv2.GaussianBlur(colour, (0, 0), 0.45 / scale)
        colour = cv2.warpAffine(colour, warp, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)

    def small(image: np.ndarray, beyond: float) -> np.ndarray:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(image.astype(np.float32), warp, (side, side), flags=flags, borderValue=beyond)

    mask = small((view.mask if shares is None else shares)[part], -1.0)
    if doubtful is not None:
        mask[small(doubtful[part], 0.0) > 0.5] = -1
    if shares is not None and view.others is not None:  # without depth, nothing else tells what hides the object
        mask[small(view.others[part] & ~view.mask[part], 0.0) > 0.3] = -1
    depth = cv2.warpAffine(depth_of(view, part), warp, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return Crop(camera, colour, mask, depth)
