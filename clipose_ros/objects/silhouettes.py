"""The surface of an object from masks and poses alone: the space that no silhouette excludes, and what it looks like.

Each view says of each point how far outside the mask it is, as a distance in space; a point is as far outside the
hull as the view that excludes it most says. The surface lies where that distance is 0, between the points of a grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from scipy import ndimage
from scipy.spatial import cKDTree

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView, ReferenceViews
from clipose_ros.objects.surface_tables import sphere_directions
from clipose_ros.objects.surfels import LEAST_FACING, MASK_BORDER_PX, Surfels

COARSE_CELLS = 48  # along each side of the space that is searched first
ROOM = 1.3  # of that space, by the object's largest extent in a view
FINE = 2  # cells of the grid for a disc, along each axis
MOST_CELLS = 128  # along an axis of the fine grid: bounds memory
FAR_OUTSIDE_M = 10.0  # what is further outside counts as so far, and what no view tells of as so far inside
LEAST_POINTS = 200  # of a surface
SMOOTH_CELLS = 1.0  # of the distances, for normals
APART, SAME_SIDE = 0.8, 0.3  # between discs, by the spacing, and the cosine of their normals where they are of one side
ALONE = 0.1  # of the hull, that one of several views excludes while all others show it: is its mask whole?
SEVERAL_VIEWS = 12
HIDDEN_SPACINGS = 2.0  # behind what a view sees of the hull, by the spacing: hidden from it
BEST_VIEWS = 3  # that give a disc its colour
SHARPNESS = 4  # power of the cosine with which they do: those that face it squarely prevail
GAIN_ROUNDS = 10
DIRECTIONS = 200
STEEPEST = 0.996  # sine of the angle beyond which views say nothing of an extent
MOST_EXCESS = 0.45  # of the diagonal: views from one side do not say how deep an object is


def carve(
    references: ReferenceViews, divisions: int = 52, progress: Callable[[str], None] = lambda step: None
) -> Surfels:
    """Carve an object out of the space that its masks leave.

    Parameters
    ----------
    references : ReferenceViews
        Views with masks; depth is not looked at.
    divisions : int
        Of the object's diagonal: the distance between the discs.
    progress : callable
        Is told of views that alone exclude much.

    Returns
    -------
    Surfels
        Closed; what no view saw is grey.

    Raises
    ------
    ValueError
        If the masks exclude each other, leave hardly anything, or do not bound the object.
    """
    views, intrinsics = references.views, references.intrinsics
    low, high = _searched(views, intrinsics)
    outside, axes, _ = _distances(references, low, high, np.full(3, COARSE_CELLS))
    cell = float((high - low).max()) / (COARSE_CELLS - 1)
    solid = outside < cell
    inner = np.argwhere(outside < 0)
    body = "masks that leave a body when the poses put them together"
    expect("references", len(inner) > 0, body, "nothing: are poses, intrinsics and masks those of one object?")
    rim = solid.copy()
    rim[1:-1, 1:-1, 1:-1] = False
    if rim.any():
        raise ValueError(
            "references: expected views around the object, whose masks bound it from all sides, got a hull without an "
            "end: add views from other sides, with the whole object in the image"
        )
    low, high = (np.array([axes[k][edge[k]] for k in range(3)]) for edge in (inner.min(axis=0), inner.max(axis=0)))
    spacing = max(float(np.linalg.norm(high - low)), 2 * cell) / divisions
    low, high = low - 1.5 * cell, high + 1.5 * cell
    counts = np.clip(np.ceil((high - low) * FINE / spacing).astype(int), 8, MOST_CELLS)
    outside, axes, alone = _distances(references, low, high, counts)
    if len(views) >= SEVERAL_VIEWS:
        for view, share in zip(views, alone):
            if share > ALONE:
                progress(
                    f"view {view.name} alone excludes what is {share:.0%} of the hull and all other masks hold: is its "
                    "mask whole, and its pose right? Leave it out if not;"
                )
    points, normals = _surface(outside, axes)
    expect("references", len(points) >= LEAST_POINTS, f"{body}, of {LEAST_POINTS} points", len(points))
    points, normals = _thinned(points, normals, spacing)
    colours, seen = _painted(points, normals, spacing, views, intrinsics)
    return Surfels(points, normals, colours, seen, spacing)


def hull_excess_m(surfels: Surfels, views: Sequence[ReferenceView]) -> float:
    """Bound by how much a hull may reach beyond the object, to each side.

    Parameters
    ----------
    surfels : Surfels
        The hull.
    views : sequence of ReferenceView
        That it was carved with.

    Returns
    -------
    float
        Of the direction that silhouettes tell least of: an extent is known exactly from a view at right angles to it;
        from one that is off by an angle, half the width times its tangent may be too much [m].
    """
    middle = surfels.points.mean(axis=0)
    rays = np.array([-view.translation @ view.rotation for view in views]) - middle
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    directions = sphere_directions(DIRECTIONS)
    slants = directions @ rays.T
    best = np.abs(slants).argmin(axis=1)
    sine = np.minimum(np.abs(slants[np.arange(len(directions)), best]), STEEPEST)
    across = rays[best] - slants[np.arange(len(directions)), best][:, None] * directions
    across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-9)
    width = np.ptp(surfels.points @ across.T, axis=0)
    return float((width / 2 * sine / np.sqrt(1 - sine**2)).max())


def check_bounded(surfels: Surfels, excess_m: float) -> None:
    """Refuse a hull that says hardly anything of the object.

    Parameters
    ----------
    surfels : Surfels
        The hull.
    excess_m : float
        By how much it may be too large to a side [m].

    Raises
    ------
    ValueError
        If that is about as much as the hull is large.
    """
    diagonal = float(np.linalg.norm(np.ptp(surfels.points, axis=0)))
    expect(
        "references",
        excess_m <= MOST_EXCESS * diagonal,
        "views from around the object (colour alone shows depth only by outlines from other sides), or NNNN_depth.png "
        "for each view",
        f"a hull that may be too large by {100 * excess_m:.0f} cm to a side, of a diagonal of {100 * diagonal:.0f} cm",
    )


def _searched(views: Sequence[ReferenceView], intrinsics: Intrinsics) -> tuple[np.ndarray, np.ndarray]:
    """A cube that holds the object: around the point nearest to the rays through the middles of the masks."""
    system, right, cameras, angles = np.zeros((3, 3)), np.zeros(3), [], []
    for view in views:
        rows, columns = np.nonzero(view.mask)
        u, v = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
        ray = np.array([(u - intrinsics.cx) / intrinsics.fx, (v - intrinsics.cy) / intrinsics.fy, 1]) @ view.rotation
        ray /= np.linalg.norm(ray)
        camera = -view.translation @ view.rotation
        across = np.eye(3) - np.outer(ray, ray)
        system += across
        right += across @ camera
        cameras.append(camera)
        angles.append(np.hypot(np.ptp(columns) / intrinsics.fx, np.ptp(rows) / intrinsics.fy))
    # Rays that are all parallel meet nowhere: a little of the poses' origin decides then.
    middle = np.linalg.solve(system + 1e-6 * len(views) * np.eye(3), right)
    extents = np.linalg.norm(np.array(cameras) - middle, axis=1) * np.array(angles)
    half = ROOM / 2 * 1.5 * float(np.median(extents))
    return middle - half, middle + half


def _distances(
    references: ReferenceViews, low: np.ndarray, high: np.ndarray, counts: np.ndarray
) -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """How far outside the hull each point of a grid is (X, Y, Z) [m], less than 0 inside; the grid's axes; and what
    each view alone excludes (V,), as a share of the hull."""
    axes = [np.linspace(low[k], high[k], int(counts[k])) for k in range(3)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    most = np.full(len(grid), -np.inf, np.float32)
    second = most.copy()
    intrinsics = references.intrinsics
    by = np.zeros(len(grid), np.int64)
    for i, view in enumerate(references.views):
        signed = _signed_px(view.mask)
        in_camera = grid @ view.rotation.T + view.translation
        depth = np.maximum(in_camera[:, 2], 1e-6)
        u = in_camera[:, 0] / depth * intrinsics.fx + intrinsics.cx
        v = in_camera[:, 1] / depth * intrinsics.fy + intrinsics.cy
        height, width = view.mask.shape
        column, row = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
        told = ndimage.map_coordinates(signed, np.stack([row, column]), order=1)
        value = ((told + np.hypot(u - column, v - row)) * (depth / intrinsics.fx)).astype(np.float32)
        # Where the image holds the whole object, what is beyond the image or behind the camera is none of it.
        cut_off = view.mask[[0, -1]].any() or view.mask[:, [0, -1]].any()
        if cut_off:
            value[(u != column) | (v != row) | (in_camera[:, 2] < 1e-3)] = -np.inf
        else:
            value[in_camera[:, 2] < 1e-3] = FAR_OUTSIDE_M
        second = np.maximum(second, np.minimum(most, value))
        most = np.maximum(most, value)
        by[value == most] = i
    outside = np.clip(most, -FAR_OUTSIDE_M, FAR_OUTSIDE_M)
    if references.floor_y_m is not None:
        outside = np.maximum(outside, references.floor_y_m - grid[:, 1])
    alone = np.bincount(by[(most > 0) & (second < 0)], minlength=len(references.views))
    return outside.reshape(counts), axes, alone / max(1, np.count_nonzero(outside < 0))


def _signed_px(mask: np.ndarray) -> np.ndarray:
    """Distance from the outline, between the pixels: less than 0 inside (H, W) [px]."""
    inside = mask.astype(np.uint8)
    beyond = cv2.distanceTransform(1 - inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    within = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.where(mask, 0.5 - within, beyond - 0.5)


def _surface(outside: np.ndarray, axes: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Points where the distance is 0 and normals there: one for each cell that the surface passes through."""
    shape = np.array(outside.shape) - 1
    sums, crossings = np.zeros((*shape, 3)), np.zeros(shape)
    corners = [(i, j, k) for i in (0, 1) for j in (0, 1) for k in (0, 1)]
    for one in corners:
        for axis in range(3):
            if one[axis]:
                continue
            other = tuple(1 if k == axis else one[k] for k in range(3))
            first, last = (outside[tuple(slice(c, c + n) for c, n in zip(at, shape))] for at in (one, other))
            crosses = (first < 0) != (last < 0)
            along = np.where(crosses, first / np.where(crosses, first - last, 1), 0)
            for k in range(3):
                sums[..., k] += crosses * (along if k == axis else one[k])
            crossings += crosses
    cells = np.argwhere(crossings > 0)
    places = cells + sums[crossings > 0] / crossings[crossings > 0][:, None]
    steps = [float(axis[1] - axis[0]) for axis in axes]
    smooth = ndimage.gaussian_filter(outside, SMOOTH_CELLS)
    slopes = np.gradient(smooth, *steps)
    normals = np.stack([ndimage.map_coordinates(slope, places.T, order=1) for slope in slopes], axis=1)
    length = np.linalg.norm(normals, axis=1)
    points = np.array([axis[0] for axis in axes]) + places * steps
    sound = length > 0.2  # a sheet has no slope in its middle, and no outside
    return points[sound], normals[sound] / length[sound][:, None]


def _thinned(points: np.ndarray, normals: np.ndarray, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Points that are about as far apart as they should be, on each side of the surface; no hole is larger."""
    near = cKDTree(points).query_pairs(APART * spacing, output_type="ndarray")
    near = near[(normals[near[:, 0]] * normals[near[:, 1]]).sum(axis=1) > SAME_SIDE]
    near = near[np.lexsort((near[:, 1], near[:, 0]))]  # the first of two points stays, and is decided before
    ends = np.searchsorted(near[:, 0], np.arange(len(points) + 1))
    kept = np.ones(len(points), bool)
    for i in range(len(points)):
        if kept[i]:
            kept[near[ends[i] : ends[i + 1], 1]] = False
    return points[kept], normals[kept]


def _painted(
    points: np.ndarray, normals: np.ndarray, spacing: float, views: Sequence[ReferenceView], intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray]:
    """Colours (N, 3) from the views that face each disc most squarely and from which the hull does not hide it."""
    facings, painted = np.zeros((len(views), len(points)), np.float32), np.zeros((len(views), len(points), 3))
    kernel = np.ones((2 * MASK_BORDER_PX + 1,) * 2, np.uint8)
    for i, view in enumerate(views):
        in_camera = points @ view.rotation.T + view.translation
        depth = np.maximum(in_camera[:, 2], 1e-6)
        u = in_camera[:, 0] / depth * intrinsics.fx + intrinsics.cx
        v = in_camera[:, 1] / depth * intrinsics.fy + intrinsics.cy
        facing = -((normals @ view.rotation.T) * in_camera).sum(axis=1) / np.linalg.norm(in_camera, axis=1)
        height, width = view.mask.shape
        shown = (facing > LEAST_FACING) & (in_camera[:, 2] > 1e-3)
        shown &= (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
        shown &= ~_hidden(u, v, depth, facing > 0, spacing, intrinsics)
        inner = cv2.erode(view.mask.astype(np.uint8), kernel)
        column, row = (np.clip(np.rint(at), 0, side - 1).astype(int) for at, side in ((u, width), (v, height)))
        shown &= inner[row, column] > 0
        # a disc has the mean colour of what it covers, and nothing of the background's
        sigma = max(0.3, 0.4 * spacing * intrinsics.fx / float(np.median(depth)))
        weight = cv2.GaussianBlur(inner.astype(np.float32), (0, 0), sigma)
        mean = cv2.GaussianBlur(view.colour.astype(np.float32) / 255 * inner[..., None], (0, 0), sigma)
        place = np.stack([v[shown], u[shown]])
        share = np.maximum(ndimage.map_coordinates(weight, place, order=1), 1e-6)
        for channel in range(3):
            painted[i, shown, channel] = ndimage.map_coordinates(mean[..., channel], place, order=1) / share
        facings[i, shown] = facing[shown]
    best = np.argsort(-facings, axis=0, kind="stable")[:BEST_VIEWS]
    every = np.arange(len(points))
    weights = facings[best, every].astype(np.float64) ** SHARPNESS
    samples = painted[best, every]
    seen = weights.sum(axis=0) > 0
    total = np.maximum(weights.sum(axis=0), 1e-12)[:, None]
    gains = np.ones((len(views), 3))
    for _ in range(GAIN_ROUNDS):  # alternately the colours and the gains, as light differs from view to view
        colours = (weights[..., None] * samples / gains[best]).sum(axis=0) / total
        for channel in range(3):
            had = np.bincount(best.ravel(), (weights * samples[..., channel] * colours[:, channel]).ravel(), len(views))
            true = np.bincount(best.ravel(), (weights * colours[:, channel] ** 2).ravel(), len(views))
            gains[:, channel] = np.where(true > 1e-9, had / np.maximum(true, 1e-9), 1)
        gains = np.maximum(gains, 0.05)
        gains /= np.exp(np.log(gains).mean(axis=0))
    colours = (weights[..., None] * samples / gains[best]).sum(axis=0) / total
    return np.where(seen[:, None], np.clip(colours, 0, 1), 0.5), seen


def _hidden(
    u: np.ndarray, v: np.ndarray, depth: np.ndarray, facing: np.ndarray, spacing: float, intrinsics: Intrinsics
) -> np.ndarray:
    """Say which discs (N) lie behind others: in tiles as large as the distance between discs."""
    side = max(1.0, 1.2 * spacing * intrinsics.fx / float(np.median(depth)))
    columns, rows = np.floor(u / side).astype(np.int64), np.floor(v / side).astype(np.int64)
    columns, rows = columns - columns.min() + 1, rows - rows.min() + 1
    nearest = np.full((int(rows.max()) + 2, int(columns.max()) + 2), np.inf)
    np.minimum.at(nearest, (rows[facing], columns[facing]), depth[facing])
    return depth > nearest[rows, columns] + HIDDEN_SPACINGS * spacing
