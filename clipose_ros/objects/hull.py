"""What no view saw of an object, closed by the space that no view saw as empty."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.surfels import MASK_BORDER_PX, Surfels, pixels_of_points

CELLS = 56  # along the longest side of the object
MARGIN_M = 0.004  # a cell must be so far in front of what was seen there to be empty [m]
SIDE, LEAST_SIDE = 0.7, 0.005  # cosine of a normal with the axis of a side, and the share of discs that show the side
MOSTLY_BESIDE = 0.6  # of the views with nothing but the mask to tell: masks made of depth lack parts of the object
FEW_VIEWS = 8  # up to so many, one view that saw a cell as empty is believed; of more, it takes two


def close_unseen(surfels: Surfels, views: Sequence[ReferenceView], intrinsics: Intrinsics) -> Surfels:
    """Add discs where no view saw the surface, such as on the underside.

    Parameters
    ----------
    surfels : Surfels
        What was seen.
    views : sequence of ReferenceView
        The views, with or without depth.
    intrinsics : Intrinsics
        Of the views.

    Returns
    -------
    Surfels
        With the added ones behind the others.
    """
    low, high = tight_box(surfels)
    # The masks' borders were not fused: towards a side that no view saw, the object may reach as far beyond what was.
    border = MASK_BORDER_PX * float(np.median([view.translation[2] for view in views])) / intrinsics.fx
    low = low - border * ((surfels.normals < -SIDE).mean(axis=0) < LEAST_SIDE)
    high = high + border * ((surfels.normals > SIDE).mean(axis=0) < LEAST_SIDE)
    cell = float((high - low).max()) / CELLS
    counts = np.maximum(np.ceil((high - low) / cell).astype(int), 1)
    axes = [low[k] + (np.arange(counts[k]) + 0.5) * (high[k] - low[k]) / counts[k] for k in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    solid = unseen_or_solid(centres.reshape(-1, 3), views, intrinsics, cell).reshape(counts)
    padded = np.pad(solid, 1)
    surface = solid & ~ndimage.binary_erosion(padded)[1:-1, 1:-1, 1:-1]
    slope = np.stack(np.gradient(ndimage.gaussian_filter(padded.astype(np.float64), 1.2)), axis=-1)
    normals = -slope[1:-1, 1:-1, 1:-1][surface]
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    points = centres[surface] + 0.5 * cell * normals
    reach = max(2.2 * cell, 2 * surfels.spacing_m)
    distance, near = cKDTree(surfels.points).query(points, k=8, distance_upper_bound=reach)
    near = np.minimum(near, len(surfels.points) - 1)
    same_side = (surfels.normals[near] * normals[:, None]).sum(axis=2) > 0.2
    added = ~(np.isfinite(distance) & same_side).any(axis=1)
    added &= np.linalg.norm(normals, axis=1) > 0.5  # a thin wall has no slope in its middle, and no outside
    points, normals = points[added], normals[added]
    return Surfels(
        np.concatenate([surfels.points, points]),
        np.concatenate([surfels.normals, normals]),
        np.concatenate([surfels.colours, np.full((len(points), 3), 0.5)]),
        np.concatenate([surfels.seen, np.zeros(len(points), bool)]),
        surfels.spacing_m,
    )


def unseen_or_solid(
    points: np.ndarray, views: Sequence[ReferenceView], intrinsics: Intrinsics, cell_m: float
) -> np.ndarray:
    """Say at which points no view saw empty space.

    Parameters
    ----------
    points : (N, 3) float
        Object frame [m].
    views : sequence of ReferenceView
        With or without depth.
    intrinsics : Intrinsics
        Of the views.
    cell_m : float
        Distance between the points [m].

    Returns
    -------
    (N,) bool
        False where enough views saw background beside the object, or something behind the point.
    """
    empty, beside = np.zeros(len(points), np.int64), np.zeros(len(points), np.int64)
    for view in views:
        column, row, depth, visible = pixels_of_points(points, view, intrinsics)
        outside = cv2.dilate(view.mask.astype(np.uint8), np.ones((3, 3), np.uint8))[row, column] == 0
        beside += visible & outside
        if view.depth_m is not None:
            seen = view.depth_m[row, column]
            outside = (seen > 0) & (depth < seen - max(MARGIN_M, 0.8 * cell_m))
        empty += visible & outside
    return (empty < (1 if len(views) <= FEW_VIEWS else 2)) & (beside < MOSTLY_BESIDE * len(views))


def tight_box(surfels: Surfels) -> tuple[np.ndarray, np.ndarray]:
    """Bound an object along its axes.

    Parameters
    ----------
    surfels : Surfels
        Its surface.

    Returns
    -------
    low, high : (3,) float
        Corners, object frame [m]. A few discs that stick out of all others do not count.
    """
    low, high = np.percentile(surfels.points, [0.3, 99.7], axis=0)
    return low, high
