"""Discs moved to where the masks of the views end: what is fused ends before the masks do, as their borders are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import cg
from scipy.spatial import cKDTree

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.surface_tables import disc_radii
from clipose_ros.objects.surfels import Surfels
from clipose_ros.rendering.gaussians import Rasterizer, discs

LEAST_GAP_PX = 0.5  # median, from which on discs are moved
FARTHEST_PX = 4.0  # between outline and mask: further is a part that is missing, or another thing
MARGIN_PX = 8  # around the mask
DISC_PX, MOST_ENLARGED = 3.0, 4.0  # of the distance between discs in renders, and of views for that
CRACK_PX = 7  # between discs
DISCS = 3  # that an outline's pixel is made of
NEIGHBOURS = 6
STIFFNESS = 0.3  # of neighbours that move alike, by what one pixel tells
# And of staying where they are: what was seen is where it was seen, all but what the outlines are made of.
SEEN_REST, UNSEEN_REST = 1.0, 0.01
LIFT_REST = 20.0  # more of that along the normals of what was seen: discs slide to an edge, faces stay where they are
MOST_MOVED = 1.5  # of a disc, by the spacing


def reach_masks(
    surfels: Surfels, views: Sequence[ReferenceView], intrinsics: Intrinsics, rasterizer: Rasterizer
) -> Surfels:
    """Move discs, so that outlines of renders are where the masks end.

    Neighbours move alike. Masks that end before the renders do, in the median, say nothing: they lack parts of the
    object, as masks do that are made of depth. Nor do pixels tell what is less than half of one.

    Parameters
    ----------
    surfels : Surfels
        The object, closed.
    views : sequence of ReferenceView
        Their masks and poses count.
    intrinsics : Intrinsics
        Of the views.
    rasterizer : Rasterizer
        Draws the outlines.

    Returns
    -------
    Surfels
        The same discs, moved.
    """
    told = [_gaps(surfels, view, intrinsics, rasterizer) for view in views]
    disc, direction, gap_m = (np.concatenate(parts) for parts in zip(*told))
    pixel_m = float(np.median([view.translation[2] for view in views])) / intrinsics.fx
    if len(gap_m) == 0 or np.median(gap_m) < LEAST_GAP_PX * pixel_m:
        return surfels
    return replace(surfels, points=surfels.points + _moves(surfels, disc, direction, gap_m))


def _gaps(
    surfels: Surfels, view: ReferenceView, intrinsics: Intrinsics, rasterizer: Rasterizer
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What pixels of one outline tell: of which discs (K), in which direction (K, 3), how far the mask is (K) [m]."""
    nothing = np.empty(0, np.int64), np.empty((0, 3)), np.empty(0)
    rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    if not len(rows):
        return nothing
    height, width = view.mask.shape
    top, left = max(0, rows[0] - MARGIN_PX), max(0, columns[0] - MARGIN_PX)
    mask = view.mask[top : rows[-1] + 1 + MARGIN_PX, left : columns[-1] + 1 + MARGIN_PX].astype(np.uint8)
    in_camera = surfels.points @ view.rotation.T + view.translation
    if in_camera[:, 2].min() <= 0:
        return nothing
    # Large enough for discs to be larger than pixels, or their outlines would shrink.
    finest_m = surfels.spacing_m / DISC_PX
    scale = float(np.clip(np.median(in_camera[:, 2]) / (intrinsics.fx * finest_m), 1, MOST_ENLARGED))
    mask = cv2.resize(mask.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    mask = (mask > 0.5).astype(np.uint8)
    camera = Intrinsics(
        scale * intrinsics.fx,
        scale * intrinsics.fy,
        scale * (intrinsics.cx - left + 0.5) - 0.5,
        scale * (intrinsics.cy - top + 0.5) - 0.5,
    )
    gaussians = discs(surfels.points, surfels.normals, disc_radii(surfels.points, surfels.spacing_m), surfels.colours)
    alpha = rasterizer.render(gaussians, view.rotation, view.translation, camera, mask.shape[::-1]).alpha
    # Cracks between what was seen and what closes it are no outlines.
    drawn = cv2.morphologyEx((alpha > 0.5).astype(np.uint8), cv2.MORPH_CLOSE, np.ones((CRACK_PX, CRACK_PX), np.uint8))
    drawn = ndimage.binary_fill_holes(drawn).astype(np.uint8)
    inner = cv2.erode(drawn, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=1)
    # Signed, from the line between the pixels: less than 0 inside.
    beyond = cv2.distanceTransform(1 - mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    within = cv2.distanceTransform(mask, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    signed = np.where(mask > 0, 0.5 - within, beyond - 0.5)
    gap = -signed - 0.5
    smooth = cv2.GaussianBlur(signed, (0, 0), 1.0)
    slope_u, slope_v = cv2.Sobel(smooth, cv2.CV_64F, 1, 0), cv2.Sobel(smooth, cv2.CV_64F, 0, 1)
    steep = np.hypot(slope_u, slope_v)
    chosen = (drawn > 0) & (inner == 0) & (np.abs(gap) < scale * FARTHEST_PX) & (steep > 1)
    row, column = np.nonzero(chosen)
    if not len(row):
        return nothing
    focal, principal = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
    place = in_camera[:, :2] / in_camera[:, 2:] * focal + principal
    _, near = cKDTree(place).query(np.stack([column, row], axis=1), k=DISCS)
    outwards = np.stack([slope_u, slope_v, np.zeros_like(steep)], axis=-1)[chosen] / steep[chosen][:, None]
    gap_m = gap[chosen][:, None] * in_camera[near, 2] / camera.fx
    return near.ravel(), np.repeat(outwards @ view.rotation, DISCS, axis=0), gap_m.ravel()


def _moves(surfels: Surfels, disc: np.ndarray, direction: np.ndarray, gap_m: np.ndarray) -> np.ndarray:
    """Where all discs go (N, 3) [m]: least squares of what the outlines tell and of neighbours that move alike."""
    count = len(surfels.points)
    blocks = np.zeros((count, 3, 3))
    np.add.at(blocks, disc, direction[:, :, None] * direction[:, None])
    blocks += LIFT_REST * surfels.seen[:, None, None] * surfels.normals[:, :, None] * surfels.normals[:, None]
    right = np.zeros((count, 3))
    np.add.at(right, disc, direction * gap_m[:, None])
    _, near = cKDTree(surfels.points).query(surfels.points, k=min(NEIGHBOURS + 1, count))
    i, j = np.repeat(np.arange(count), near.shape[1] - 1), near[:, 1:].ravel()
    links = sparse.coo_matrix((np.ones(len(i)), (i, j)), (count, count))
    links = (links + links.T).tocsr()
    stiff = STIFFNESS * (sparse.diags(np.asarray(links.sum(axis=1)).ravel()) - links)
    stiff = stiff + sparse.diags(np.where(surfels.seen, SEEN_REST, UNSEEN_REST))
    told = sparse.bsr_matrix((blocks, np.arange(count), np.arange(count + 1)), shape=(3 * count, 3 * count))
    system = (told + sparse.kron(stiff, sparse.identity(3))).tocsr()
    found, _ = cg(system, right.ravel(), rtol=1e-3, maxiter=200)
    moves = found.reshape(count, 3)
    length = np.linalg.norm(moves, axis=1, keepdims=True)
    return moves * np.minimum(1, MOST_MOVED * surfels.spacing_m / np.maximum(length, 1e-12))
