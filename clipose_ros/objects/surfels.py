"""The surface of an object in small discs, fused from RGB-D views with known poses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.spatial import cKDTree

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.depth_normals import points_and_normals

MASK_BORDER_PX = 2  # of each mask: colour and depth there are half the background's
LEAST_FACING = 0.25  # cosine between normal and ray: what is seen more obliquely is left to other views
LEAST_DISCS = 30  # of what all views bear out
SAMPLES = 400  # of a view, from which its depth offset is found
OFFSET_ROUNDS = 5
OFFSET_SPREAD_M = 0.004  # of the depth offsets of views, as sensors have them [m]
NEIGHBOURS = 8
FLATTENED = 2  # how often discs are moved along their normals, to where their neighbours are
TOO_NEAR = 0.5  # between two discs of a side, by the spacing: the one that fewer pixels show is dropped
FLAT_REACH = 1.8  # of neighbours that count then, by the spacing
MOST_OUTSIDE = 0.1  # share of the views in which a disc lies outside the mask


@dataclass(frozen=True)
class Surfels:
    """Discs on the surface of an object, in the frame of its reference poses.

    Parameters
    ----------
    points : (N, 3) float
        Their centres [m].
    normals : (N, 3) float
        Outwards, of length 1.
    colours : (N, 3) float
        RGB, 0..1. Of what no view saw, grey.
    seen : (N,) bool
        False for what no view saw, and closes the surface.
    spacing_m : float
        Between neighbours, about [m].
    """

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    seen: np.ndarray
    spacing_m: float


@dataclass
class _Cloud:
    """What the views saw, point by point (M): object frame, view numbers, and the rays that they were seen along."""

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray
    rays: np.ndarray
    weights: np.ndarray
    view: np.ndarray


def fuse(views: Sequence[ReferenceView], intrinsics: Intrinsics, divisions: int = 52) -> Surfels:
    """Fuse views to discs.

    Sensors are off by a few millimetres, by another amount in each view: offsets along the rays are found that make
    the views agree. Light differs, too: each view gets a gain for each channel.

    Parameters
    ----------
    views : sequence of ReferenceView
        With depth.
    intrinsics : Intrinsics
        Of all views.
    divisions : int
        Of the object's diagonal: the size of the voxels that make one disc each.

    Returns
    -------
    Surfels
        All seen.

    Raises
    ------
    ValueError
        If the views show hardly anything.
    """
    cloud = _joined([_seen(view, intrinsics) for view in views])
    expect("references", len(cloud.points) >= 200, "at least 200 points with depth inside the masks", len(cloud.points))
    low, high = np.percentile(cloud.points, [0.5, 99.5], axis=0)
    spacing = float(np.linalg.norm(high - low)) / divisions
    offsets = _depth_offsets(cloud, len(views), spacing)
    cloud.points = cloud.points + offsets[cloud.view, None] * cloud.rays
    surfels = _voxels(cloud, len(views), low, spacing)
    surfels = _without_outliers(surfels, views, intrinsics)
    expect(
        "references",
        len(surfels.points) >= LEAST_DISCS,
        f"at least {LEAST_DISCS} places of the surface inside the masks of all views",
        f"{len(surfels.points)}: is depth registered to colour, and do masks and poses belong to the same images?",
    )
    return surfels


def _seen(view: ReferenceView, intrinsics: Intrinsics) -> _Cloud:
    """The well seen points of one view, object frame."""
    depth = np.where(view.mask, view.depth_m, np.float32(0))
    points, normals, smooth = points_and_normals(depth, intrinsics)
    kernel = np.ones((2 * MASK_BORDER_PX + 1,) * 2, np.uint8)
    inner = cv2.erode(view.mask.astype(np.uint8), kernel) > 0
    chosen = inner & smooth
    points, normals = points[chosen].astype(np.float64), normals[chosen].astype(np.float64)
    rays = points / points[:, 2:]
    facing = -(normals * rays).sum(axis=1) / np.linalg.norm(rays, axis=1)
    good = facing > LEAST_FACING
    points, normals, rays, facing = points[good], normals[good], rays[good], facing[good]
    colours = view.colour[chosen][good] / 255.0
    return _Cloud(
        (points - view.translation) @ view.rotation,
        normals @ view.rotation,
        colours,
        rays @ view.rotation,
        facing**2,
        np.zeros(len(points), np.int64),
    )


def _joined(clouds: Sequence[_Cloud]) -> _Cloud:
    parts = [np.concatenate([getattr(cloud, key) for cloud in clouds]) for key in ("points", "normals", "colours")]
    rays, weights = (np.concatenate([getattr(cloud, key) for cloud in clouds]) for key in ("rays", "weights"))
    return _Cloud(*parts, rays, weights, np.repeat(np.arange(len(clouds)), [len(cloud.points) for cloud in clouds]))


def _depth_offsets(cloud: _Cloud, views: int, spacing_m: float) -> np.ndarray:
    """What to add to the depth of each view, so that the views agree (V,) [m]."""
    offsets = np.zeros(views)
    if views < 3:
        return offsets
    rng = np.random.default_rng(0)
    picked = np.concatenate([rng.permutation(np.flatnonzero(cloud.view == view))[:SAMPLES] for view in range(views)])
    points, normals, rays, view = (values[picked] for values in (cloud.points, cloud.normals, cloud.rays, cloud.view))
    slant = (normals * rays).sum(axis=1)
    for _ in range(OFFSET_ROUNDS):
        moved = points + offsets[view, None] * rays
        distance, near = cKDTree(moved).query(moved, k=NEIGHBOURS)
        agree = (normals[near] * normals[:, None]).sum(axis=2) > 0.8
        agree &= (view[near] != view[:, None]) & (distance < 2 * spacing_m)
        apart = ((moved[near] - moved[:, None]) * normals[:, None]).sum(axis=2)
        robust = agree / (1 + (apart / 0.004) ** 2)
        # offsets that bring each point onto the plane of a neighbour that another view saw: a sparse linear system
        i, j = np.repeat(view, NEIGHBOURS), view[near].ravel()
        weight, gap = robust.ravel(), apart.ravel()
        a, b = np.repeat(slant, NEIGHBOURS), ((rays[near] * normals[:, None]).sum(axis=2)).ravel()
        system = np.zeros((views, views))
        np.add.at(system, (i, i), weight * a * a)
        np.add.at(system, (j, j), weight * b * b)
        np.add.at(system, (i, j), -weight * a * b)
        np.add.at(system, (j, i), -weight * a * b)
        right = np.zeros(views)
        np.add.at(right, i, weight * a * gap)
        np.add.at(right, j, -weight * b * gap)
        if not np.trace(system):  # no view bears out another
            break
        prior = 1e-3 * np.trace(system) / views  # the mean of all offsets is not seen: it stays near 0
        system[np.diag_indices(views)] += prior
        step = np.linalg.solve(system, right - prior * offsets)
        offsets += step
        if np.abs(step).max() < 1e-4:
            break
    return offsets


def _voxels(cloud: _Cloud, views: int, low: np.ndarray, spacing: float) -> Surfels:
    """One disc for each voxel and side: thin walls have two."""
    keys = np.floor((cloud.points - low) / spacing).astype(np.int64)
    keys -= keys.min(axis=0)
    extent = keys.max(axis=0) + 1
    codes = (keys[:, 0] * extent[1] + keys[:, 1]) * extent[2] + keys[:, 2]
    _, voxel = np.unique(codes, return_inverse=True)
    sides = (cloud.normals * _summed(cloud.normals, cloud.weights, voxel)[voxel]).sum(axis=1) >= 0
    _, voxel, counts = np.unique(2 * voxel + sides, return_inverse=True, return_counts=True)
    weights = np.bincount(voxel, cloud.weights)[:, None]
    normals = _summed(cloud.normals, cloud.weights, voxel)
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    gains = np.ones((views, 3))
    for _ in range(10):  # alternately the colours and the gains
        colours = _summed(cloud.colours / gains[cloud.view], cloud.weights, voxel) / weights
        for channel in range(3):
            seen, true = cloud.colours[:, channel], colours[voxel, channel]
            gains[:, channel] = np.bincount(cloud.view, seen * true, views) / np.maximum(
                np.bincount(cloud.view, true * true, views), 1e-9
            )
        gains = np.maximum(gains, 0.05)
        gains /= np.exp(np.log(gains).mean(axis=0))
    colours = _summed(cloud.colours / gains[cloud.view], cloud.weights, voxel) / weights
    points = _summed(cloud.points, cloud.weights, voxel) / weights
    by_view = np.unique(voxel.astype(np.int64) * views + cloud.view) // views
    seen_by = np.bincount(by_view, minlength=len(points))
    kept = (counts >= 3) & (seen_by >= min(2, max(1, views // 4)))
    points, normals, colours, weights = points[kept], normals[kept], np.clip(colours[kept], 0, 1), weights[kept, 0]
    return _thinned(points, normals, colours, weights, low, spacing)


def _thinned(
    points: np.ndarray, normals: np.ndarray, colours: np.ndarray, weights: np.ndarray, low: np.ndarray, spacing: float
) -> Surfels:
    """One layer of discs: noise fills voxels before and behind a surface, too, the more so the more views there are."""
    for _ in range(FLATTENED):
        distance, near = cKDTree(points).query(points, k=24, distance_upper_bound=FLAT_REACH * spacing)
        found = np.isfinite(distance)
        near = np.where(found, near, 0)
        apart = points[near] - points[:, None]
        share = weights[near] * found * ((normals[near] * normals[:, None]).sum(axis=2) > 0.7)
        share *= (1 - np.minimum(distance, FLAT_REACH * spacing) / (FLAT_REACH * spacing)) + 0.05
        total = np.maximum(share.sum(axis=1), 1e-12)[:, None]
        height = (share * (apart * normals[:, None]).sum(axis=2)).sum(axis=1, keepdims=True) / total
        points = points + height * normals
    # The heavier takes the place of what is now too near to it.
    order = np.argsort(-weights, kind="stable")
    pairs = cKDTree(points).query_pairs(TOO_NEAR * spacing, output_type="ndarray")
    rank = np.empty(len(points), np.int64)
    rank[order] = np.arange(len(points))
    same = (normals[pairs[:, 0]] * normals[pairs[:, 1]]).sum(axis=1) > 0.5
    pairs = pairs[same]
    later = np.where(rank[pairs[:, 0]] > rank[pairs[:, 1]], pairs[:, 0], pairs[:, 1])
    earlier = pairs.sum(axis=1) - later
    kept = np.ones(len(points), bool)
    for i in np.argsort(rank[later], kind="stable"):
        if kept[earlier[i]]:
            kept[later[i]] = False
    return Surfels(points[kept], normals[kept], colours[kept], np.ones(np.count_nonzero(kept), bool), spacing)


def _summed(values: np.ndarray, weights: np.ndarray, voxel: np.ndarray) -> np.ndarray:
    """Weighted sums (K, 3) by voxel."""
    return np.stack([np.bincount(voxel, values[:, k] * weights) for k in range(values.shape[1])], axis=1)


def _without_outliers(surfels: Surfels, views: Sequence[ReferenceView], intrinsics: Intrinsics) -> Surfels:
    """Without the discs that lie outside many masks, and without those that lie alone."""
    outside, inside_image = np.zeros(len(surfels.points)), np.zeros(len(surfels.points))
    for view in views:
        column, row, depth, visible = pixels_of_points(surfels.points, view, intrinsics)
        grown = cv2.dilate(view.mask.astype(np.uint8), np.ones((5, 5), np.uint8))
        # Masks made of depth have holes and lack what lies in the projector's shadow: only what a view looks through
        # is outside.
        through = view.depth_m[row, column] > depth
        outside += visible & (grown[row, column] == 0) & through
        inside_image += visible
    kept = outside <= MOST_OUTSIDE * np.maximum(inside_image, 1)
    kept = np.flatnonzero(kept)
    if len(kept) > 8:
        distance, _ = cKDTree(surfels.points[kept]).query(surfels.points[kept], k=6)
        kept = kept[distance[:, 5] < 3 * surfels.spacing_m]
    return Surfels(
        surfels.points[kept], surfels.normals[kept], surfels.colours[kept], surfels.seen[kept], surfels.spacing_m
    )


def pixels_of_points(
    points: np.ndarray, view: ReferenceView, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Project points into a view.

    Parameters
    ----------
    points : (N, 3) float
        Object frame [m].
    view : ReferenceView
        Its image and pose.
    intrinsics : Intrinsics
        Of the view.

    Returns
    -------
    column, row : (N,) int
        Nearest pixel, inside the image.
    depth_m : (N,) float
        Of the points [m].
    visible : (N,) bool
        Whether the point is in front of the camera and inside the image.
    """
    in_camera = points @ view.rotation.T + view.translation
    depth = in_camera[:, 2]
    positive = np.maximum(depth, 1e-6)
    height, width = view.mask.shape
    column = np.rint(in_camera[:, 0] / positive * intrinsics.fx + intrinsics.cx)
    row = np.rint(in_camera[:, 1] / positive * intrinsics.fy + intrinsics.cy)
    visible = (depth > 1e-6) & (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return (
        np.clip(column, 0, width - 1).astype(int),
        np.clip(row, 0, height - 1).astype(int),
        depth,
        visible,
    )
