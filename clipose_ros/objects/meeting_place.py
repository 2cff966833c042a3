"""Where the cameras of views look, and how well their masks agree about what stands there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView

COARSE_CELLS, CELLS = 40, 80  # of the grids that masks are compared on, along the longest side
ROOM = 1.6  # of the first, by the largest extent in a view
TOLERATED = 0.1  # share of the other views that may exclude what belongs to an object
VIEWS_FOR_ONE = 8  # from which on one of them may be wrong
RIDGE = 1e-3  # of the axes: parallel ones meet at the origin of the poses


@dataclass(frozen=True)
class Floor:
    """A plane that an object stands on, in the frame of the poses.

    Parameters
    ----------
    normal : (3,) float
        Towards the object and the cameras, of length 1.
    offset_m : float
        Of the plane: points p on it have normal · p = offset [m].
    """

    normal: np.ndarray
    offset_m: float


@dataclass(frozen=True)
class MeetingPlace:
    """The place that all cameras look at.

    Parameters
    ----------
    point : (3,) float
        Nearest to all optical axes, frame of the poses [m].
    distance_m : float
        Of the cameras from there, median [m].
    """

    point: np.ndarray
    distance_m: float


def meeting_place(views: Sequence[ReferenceView]) -> MeetingPlace:
    """Find the place that all cameras look at.

    Parameters
    ----------
    views : sequence of ReferenceView
        With poses; their masks are not looked at.

    Returns
    -------
    MeetingPlace
        Near the object, where people or a rig pointed a camera at it.
    """
    cameras = camera_centres(views)
    point = _nearest_to_rays(cameras, np.array([view.rotation[2] for view in views]))
    return MeetingPlace(point, float(np.median(np.linalg.norm(cameras - point, axis=1))))


def camera_centres(views: Sequence[ReferenceView]) -> np.ndarray:
    """Say where the cameras are.

    Parameters
    ----------
    views : sequence of ReferenceView
        With poses.

    Returns
    -------
    (V, 3) float
        Frame of the poses [m].
    """
    return np.array([-view.translation @ view.rotation for view in views])


def projected(
    points: np.ndarray, view: ReferenceView, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Project points into a view.

    Parameters
    ----------
    points : (N, 3) float
        Frame of the poses [m].
    view : ReferenceView
        Its pose.
    intrinsics : Intrinsics
        Of the view.

    Returns
    -------
    u, v : (N,) float
        Where they are seen [px]; beyond any image for those behind the camera.
    depth_m : (N,) float
        Along the optical axis [m].
    """
    # float32 stays float32: there are many points
    in_camera = points @ view.rotation.T.astype(points.dtype) + view.translation.astype(points.dtype)
    depth = in_camera[:, 2]
    positive = np.maximum(depth, 1e-6)
    u = np.where(depth > 1e-6, in_camera[:, 0] / positive * intrinsics.fx + intrinsics.cx, -1e9)
    v = np.where(depth > 1e-6, in_camera[:, 1] / positive * intrinsics.fy + intrinsics.cy, -1e9)
    return u, v, depth


def agreement(
    views: Sequence[ReferenceView], masks: Sequence[np.ndarray], intrinsics: Intrinsics, floor: Floor | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compare each view's mask with the outline of what the masks of all others leave.

    Parameters
    ----------
    views : sequence of ReferenceView
        With poses; their own masks are not looked at.
    masks : sequence of (H, W) bool
        One for each; an empty one tells nothing, and agrees with nothing.
    intrinsics : Intrinsics
        Of the views.
    floor : Floor, optional
        Nothing of the object is below.

    Returns
    -------
    overlap : (V,) float
        Intersection over union of mask and outline. Few views leave more than the object is.
    covered : (V,) float
        Share of the mask that is in the outline: 1 for true masks, from however few views.
    """
    told = [i for i, mask in enumerate(masks) if mask.any()]
    overlap, covered = np.zeros(len(views)), np.zeros(len(views))
    if len(told) < 2:
        return overlap, covered
    some, of_some = [views[i] for i in told], [masks[i] for i in told]
    middle, half = _searched(some, of_some, intrinsics)
    low, high = middle - half, middle + half
    spare = int(TOLERATED * (len(told) - 1))
    lenient = max(spare, int(len(told) >= VIEWS_FOR_ONE))  # or one wrong view would put all in doubt
    for cells in (COARSE_CELLS, CELLS):
        cell = float((high - low).max()) / cells
        axes = [np.arange(low[k] + cell / 2, high[k], cell) for k in range(3)]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3).astype(np.float32)
        if floor is not None:
            grid = grid[grid @ floor.normal > floor.offset_m]
        excluded = np.zeros(len(grid), np.int16)
        for view, mask in zip(some, of_some):
            excluded += _excluded(grid, view, mask, intrinsics)
        left = grid[excluded <= lenient + 1]
        if not len(left):
            return overlap, covered
        low, high = left.min(axis=0) - 1.5 * cell, left.max(axis=0) + 1.5 * cell
    excluded = excluded[excluded <= lenient + 1]
    for i, view, mask in zip(told, some, of_some):
        by_others = excluded - _excluded(left, view, mask, intrinsics)
        if (by_others <= spare).any():
            outline, small = _outline(left[by_others <= spare], view, mask, cell, intrinsics)
            overlap[i] = np.minimum(outline, small).sum() / max(1e-6, np.maximum(outline, small).sum())
        if (by_others <= lenient).any():
            outline, small = _outline(left[by_others <= lenient], view, mask, cell, intrinsics)
            covered[i] = np.minimum(outline, small).sum() / max(1e-6, small.sum())
    return overlap, covered


def _searched(
    views: Sequence[ReferenceView], masks: Sequence[np.ndarray], intrinsics: Intrinsics
) -> tuple[np.ndarray, float]:
    """Middle and half the side of a cube that holds what masks show."""
    cameras = camera_centres(views)
    rays, angles = [], []
    for view, mask in zip(views, masks):
        left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
        at = (left + width / 2 - intrinsics.cx) / intrinsics.fx, (top + height / 2 - intrinsics.cy) / intrinsics.fy
        ray = np.array([*at, 1]) @ view.rotation
        rays.append(ray / np.linalg.norm(ray))
        angles.append(np.hypot(width / intrinsics.fx, height / intrinsics.fy))
    middle = _nearest_to_rays(cameras, np.array(rays))
    extents = np.linalg.norm(cameras - middle, axis=1) * np.array(angles)
    return middle, ROOM / 2 * float(np.median(extents))


def _nearest_to_rays(cameras: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """The point (3,) that is nearest to rays (V, 3) of length 1 from cameras (V, 3)."""
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]
    system = across.sum(axis=0) + RIDGE * len(rays) * np.eye(3)
    return np.linalg.solve(system, (across @ cameras[..., None]).sum(axis=0)[:, 0])


def _excluded(points: np.ndarray, view: ReferenceView, mask: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Which points (N, 3) a view shows beside its mask (N,) bool."""
    u, v, _ = projected(points, view, intrinsics)
    height, width = mask.shape
    inside = (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
    column, row = (np.where(inside, np.rint(at), 0).astype(np.int64) for at in (u, v))
    return inside & ~mask[row, column]


def _outline(
    points: np.ndarray, view: ReferenceView, mask: np.ndarray, cell: float, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray]:
    """What points fill of a view, and its mask, both in pixels as large as the distance of the points."""
    u, v, depth = projected(points, view, intrinsics)
    scale = min(1.0, float(np.median(depth)) / (cell * intrinsics.fx))
    small = cv2.resize(mask.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape
    column, row = np.floor((u + 0.5) * scale).astype(np.int64), np.floor((v + 0.5) * scale).astype(np.int64)
    inside = (column >= 0) & (row >= 0) & (column < width) & (row < height)
    outline = np.zeros(small.shape, np.float32)
    outline[row[inside], column[inside]] = 1
    outline = cv2.morphologyEx(outline, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return outline, small
