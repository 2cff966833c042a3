"""Parts of an image that may be objects, beside a segmenter's instances: parts of these, and what it overlooked."""

from __future__ import annotations

import math

import cv2
import numpy as np

from clipose_ros.segmenters.depth_channels import DepthGrid
from clipose_ros.segmenters.likeness import Sight

RING_PX, RING_SHARE = 3, 0.15  # width of what is looked at around a part: so much, and so much of its root of pixels
GAP_PX = 2  # between the two: depths at an edge are of neither
FLAT_M, FLAT_SHARE = 0.004, 0.004  # so near to a plane is on it, and by depth
LEAST_POINTS = 30
FIT_ROUNDS = 3
RAISED_M, HIGHEST_M = 0.008, 0.6  # above the surface is what may be an object
NEAR_CELLS = 1  # of the grid: so near to an instance is its border
LENGTH_M, PAINT = 0.05, 0.15  # that differ as much as 1, when a part is cut in two
PLACE = 4.0  # of places without depth, by the root of a part's pixels
CUT_ROUNDS, MOST_POINTS = 8, 2000
LEAST_SHARE = 0.15  # of a part that is cut off


def continued_share(sight: Sight, mask: np.ndarray) -> float:
    """Say how far the plane through a part goes on around it: a patch of a table is no object.

    Parameters
    ----------
    sight : Sight
        The frame.
    mask : (H, W) bool
        The part.

    Returns
    -------
    float
        Share of the pixels around it that lie on its plane; 0 where it has none, or nothing is seen around it.
    """
    reach = max(RING_PX, round(RING_SHARE * math.sqrt(np.count_nonzero(mask)))) + GAP_PX
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = np.s_[max(top - reach, 0) : top + height + reach, max(left - reach, 0) : left + width + reach]
    z, inside = sight.depth_m[part], mask[part].astype(np.uint8)
    wide = cv2.dilate(inside, np.ones((2 * reach + 1,) * 2, np.uint8))
    near = cv2.dilate(inside, np.ones((2 * GAP_PX + 1,) * 2, np.uint8))
    ring = (wide > near) & (z > 0)
    points = (inside > 0) & (z > 0)
    if np.count_nonzero(points) < LEAST_POINTS or np.count_nonzero(ring) < LEAST_POINTS:
        return 0.0
    # a plane is linear in inverse depth
    inner, outer = (np.argwhere(chosen) for chosen in (points, ring))
    inner, outer = (some[:: max(1, len(some) // MOST_POINTS)] for some in (inner, outer))
    inverse, around = (1 / z[tuple(some.T)].astype(np.float64) for some in (inner, outer))
    inner, outer = (np.column_stack([some, np.ones(len(some))]) for some in (inner, outer))
    kept = inner, inverse
    plane = np.zeros(3)
    for _ in range(FIT_ROUNDS):
        plane = np.linalg.lstsq(*kept, rcond=None)[0]
        off = np.abs(kept[0] @ plane - kept[1])
        good = off <= np.quantile(off, 0.8)
        kept = kept[0][good], kept[1][good]
    near_plane, around_plane = (
        np.abs(1 / np.maximum(terms @ plane, 1e-3) - 1 / q) < FLAT_M + FLAT_SHARE / q
        for terms, q in ((inner, inverse), (outer, around))
    )
    return float(around_plane.mean()) if near_plane.mean() >= 0.5 else 0.0


def halves(sight: Sight, mask: np.ndarray) -> list[np.ndarray]:
    """Cut a part in two by place and colours, as two objects that touch may have become one.

    Parameters
    ----------
    sight : Sight
        The frame.
    mask : (H, W) bool
        The part.

    Returns
    -------
    list of (H, W) bool
        The larger connected piece of each half; without pieces that are too small a share. May be empty.
    """
    rows, columns = np.nonzero(mask & (sight.depth_m > 0))
    if len(rows) < LEAST_POINTS:
        return []
    given, z = sight.intrinsics, sight.depth_m[rows, columns].astype(np.float64)
    points = np.stack([(columns - given.cx) / given.fx * z, (rows - given.cy) / given.fy * z, z], axis=1) / LENGTH_M
    if sight.colour is not None:
        points = np.concatenate([points, _levelled(sight.colour, rows, columns)], axis=1)
    return _two_groups(points, rows, columns, mask)


def halves_by_place(colour: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """Cut a part in two where there is no depth: by place in the image and, where that leaves it open, by colours.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    mask : (H, W) bool
        The part.

    Returns
    -------
    list of (H, W) bool
        As of `halves`.
    """
    rows, columns = np.nonzero(mask)
    if len(rows) < LEAST_POINTS:
        return []
    places = PLACE * np.stack([columns, rows], axis=1) / math.sqrt(len(rows))
    return _two_groups(np.concatenate([places, _levelled(colour, rows, columns)], axis=1), rows, columns, mask)


def largest_piece(mask: np.ndarray) -> np.ndarray:
    """Keep what hangs together and is largest.

    Parameters
    ----------
    mask : (H, W) bool
        Some pixels.

    Returns
    -------
    (H, W) bool
        As many or fewer.
    """
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count < 2:
        return mask
    return parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())


def risen_parts(grid: DepthGrid, taken: np.ndarray, least_pixels: int) -> list[np.ndarray]:
    """Find what rises from the surface and is in no instance.

    Parameters
    ----------
    grid : DepthGrid
        Of the frame.
    taken : (H, W) bool
        Pixels of instances.
    least_pixels : int
        Of a part.

    Returns
    -------
    list of (H, W) bool
        The largest first; none where no surface is known.
    """
    if not math.isfinite(grid.offset):
        return []
    height, width = taken.shape
    points = grid.points()
    up = grid.up.astype(np.float32)
    above = up[0] * points[0] + up[1] * points[1] + up[2] * points[2] - np.float32(grid.offset)
    risen = (grid.z > 0) & (above > RAISED_M) & (above < HIGHEST_M)
    small = grid.sampled(taken)
    border = cv2.dilate(small.astype(np.uint8), np.ones((2 * NEAR_CELLS + 1,) * 2, np.uint8)) > 0
    free = cv2.morphologyEx((risen & ~border).astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, parts, stats, _ = cv2.connectedComponentsWithStats(free, connectivity=4)
    pixels = height * width / free.size
    sizes = stats[1:, cv2.CC_STAT_AREA] * pixels
    order = [1 + k for k in np.argsort(-sizes, kind="stable").tolist() if sizes[k] >= least_pixels]
    row, column = (
        np.minimum(((np.arange(full) + 0.5) * cells / full).astype(int), cells - 1)
        for full, cells in zip((height, width), free.shape)
    )
    return [(parts == k).take(row, axis=0).take(column, axis=1) for k in order]


def _levelled(colour: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of pixels by their brightness, in units of what differs."""
    colours = cv2.blur(colour, (5, 5))[rows, columns] / 255.0
    return colours / max(float(colours.mean()), 0.05) * 0.5 / PAINT / 3


def _two_groups(points: np.ndarray, rows: np.ndarray, columns: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    """The larger piece of each of two groups of a part's pixels, by points (N, F) that they have."""
    some = points[:: max(1, len(points) // MOST_POINTS)]
    middle = some.mean(axis=0)
    axis = np.linalg.eigh(np.cov((some - middle).T))[1][:, -1]
    along = (some - middle) @ axis
    centres = np.stack([some[along < 0].mean(axis=0), some[along >= 0].mean(axis=0)])
    for _ in range(CUT_ROUNDS):
        first = ((some - centres[0]) ** 2).sum(axis=1) < ((some - centres[1]) ** 2).sum(axis=1)
        if first.all() or not first.any():
            return []
        centres = np.stack([some[first].mean(axis=0), some[~first].mean(axis=0)])
    first = ((points - centres[0]) ** 2).sum(axis=1) < ((points - centres[1]) ** 2).sum(axis=1)
    parts = []
    for chosen in (first, ~first):
        half = np.zeros(mask.shape, np.uint8)
        half[rows[chosen], columns[chosen]] = 1
        piece = largest_piece(cv2.morphologyEx(half, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)) > 0)
        if np.count_nonzero(piece) >= LEAST_SHARE * np.count_nonzero(mask):
            parts.append(piece)
    return parts
