"""From the answers of the network that finds objects to instances: every pixel votes for the centre of its object.

The answers are coarse; the masks' edges then follow the edges of the depth image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.types import Frame
from clipose_ros.core.validation import expect
from clipose_ros.segmenters.depth_channels import DepthGrid

OFFSET_UNIT = 16.0  # of the offsets, in cells of the answer
SURFACE_M = 0.004  # pixels so near to the surface show it; half of the thinnest book
RAISED_M, RAISED_SHARE = 0.01, 0.3  # an object is not flat where this share of it is so high
STEP_M = 0.012  # of depth, at 1 m, that weighs as much as a cell's width across the image
MOST_OBJECTS = 64


@dataclass(frozen=True)
class VoteSettings:
    """How votes become instances.

    Parameters
    ----------
    object : float
        A cell shows an object from this probability on.
    centre : float
        A local maximum is a centre from this probability on.
    apart : int
        Cells around a centre in which no other is; odd.
    reach : float
        Votes further from all centres than so many cells count for none,
    reach_share : float
        and this share of their own way is added to it: votes from the rim of something large are less exact.
    left_over : int
        Cells that count for no centre and hang together are an instance of their own if there are as many.
    least_cells : int
        An instance has as many.
    least_part : float
        Parts of an instance that hang together and are smaller than this share of it are left out.

    Raises
    ------
    ValueError
        For settings that are none.
    """

    object: float = 0.5
    centre: float = 0.15
    apart: int = 7
    reach: float = 10.0
    reach_share: float = 0.5
    left_over: int = 60
    least_cells: int = 10
    least_part: float = 0.12

    def __post_init__(self) -> None:
        for name in ("object", "centre"):
            expect(name, 0 < getattr(self, name) < 1, "more than 0, less than 1", getattr(self, name))
        whole = type(self.apart) is int and self.apart >= 1 and self.apart % 2 == 1
        expect("apart", whole, "an odd whole number", self.apart)
        for name in ("least_cells", "left_over"):
            expect(name, getattr(self, name) >= 1, "1 or more", getattr(self, name))
        expect("reach_share", 0 <= self.reach_share <= 1, "0 to 1", self.reach_share)
        expect("reach", self.reach > 0, "more than 0", self.reach)
        expect("least_part", 0 <= self.least_part <= 1, "0 to 1", self.least_part)


def instances_of(answer: np.ndarray, settings: VoteSettings = VoteSettings()) -> tuple[np.ndarray, list[float]]:
    """Gather the votes.

    Parameters
    ----------
    answer : (4, h, w) float32
        Logits of object and of centre, then the way to the centre, right and down [OFFSET_UNIT cells].
    settings : VoteSettings
        How.

    Returns
    -------
    labels : (h, w) uint8
        0 for what is no object; the objects from 1 on.
    scores : list of float
        Of each object: how sure its cells are to show one, and its centre to be one.
    """
    answer = np.nan_to_num(answer, nan=-20.0, posinf=20.0, neginf=-20.0).clip(-20, 20)
    chance = 1 / (1 + np.exp(-answer[:2]))
    v, u = np.nonzero(chance[0] > settings.object)
    labels = np.zeros(answer.shape[1:], np.uint8)
    if not len(u):
        return labels, []
    way = OFFSET_UNIT * answer[2:, v, u].T
    centres = _centres(chance[1], settings)
    reach = settings.reach + settings.reach_share * np.hypot(way[:, 0], way[:, 1])
    labels[v, u] = _nearest(np.stack([u, v], axis=1) + way, centres, reach)
    surety = chance[1, centres[:, 1].astype(int), centres[:, 0].astype(int)].tolist()
    free = (chance[0] > settings.object) & (labels == 0)
    surety += [settings.centre] * _add_left_over(labels, free, len(surety), settings)
    return _sound(labels, chance[0], surety, settings)


def _centres(heat: np.ndarray, settings: VoteSettings) -> np.ndarray:
    """Local maxima (K, 2), column and row: the surest first."""
    around = cv2.dilate(heat, np.ones((settings.apart, settings.apart), np.uint8))
    v, u = np.nonzero((heat == around) & (heat > settings.centre))
    order = np.argsort(-heat[v, u], kind="stable")[: 4 * MOST_OBJECTS]
    kept: list[tuple[int, int]] = []
    for at in zip(u[order].tolist(), v[order].tolist()):  # equal maxima side by side are one
        if len(kept) < MOST_OBJECTS and all(max(abs(at[0] - a), abs(at[1] - b)) > settings.apart // 2 for a, b in kept):
            kept.append(at)
    return np.array(kept, np.float32).reshape(-1, 2)


def _add_left_over(labels: np.ndarray, free: np.ndarray, first: int, settings: VoteSettings) -> int:
    """Number large parts of the free cells, after the first labels; how many there are."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=8)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= settings.left_over]
    large = large[: MOST_OBJECTS - first]
    for number, part in enumerate(large, start=first + 1):
        labels[parts == part] = number
    return len(large)


def _nearest(at: np.ndarray, centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Number (P,) from 1 on of the centre that each vote is for; 0 for none."""
    if not len(centres):
        return np.zeros(len(at), np.uint8)
    squared = (at**2).sum(axis=1)[:, None] - 2 * at @ centres.T + (centres**2).sum(axis=1)
    best = squared.argmin(axis=1)
    near = squared[np.arange(len(at)), best] < reach**2
    return np.where(near, best + 1, 0).astype(np.uint8)


def _sound(
    labels: np.ndarray, chance: np.ndarray, surety: list[float], settings: VoteSettings
) -> tuple[np.ndarray, list[float]]:
    """Leave out specks, and number what is left from 1 on."""
    out, scores = np.zeros_like(labels), []
    for number, of_centre in enumerate(surety, start=1):
        mask = (labels == number).astype(np.uint8)
        size = int(mask.sum())
        if size < settings.least_cells:
            continue
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        kept = stats[:, cv2.CC_STAT_AREA] >= max(settings.least_part * size, 4)
        kept[0] = False
        mask = kept[parts]
        if np.count_nonzero(mask) < settings.least_cells:
            continue
        scores.append(float(chance[mask].mean() * of_centre**0.25))
        out[mask] = len(scores)
    return out, scores


def sharpened(labels: np.ndarray, cell_z: np.ndarray, frame: Frame) -> np.ndarray:
    """Give coarse labels the size of the image, with edges where the depth has them.

    A pixel near the edge of a label takes that of the one of four cells around it that is nearest, across the image
    and in depth.

    Parameters
    ----------
    labels : (h, w) uint8
        Of cells that cover the image.
    cell_z : (h, w) float32
        Depth of the cells [m]; 0 where none is known.
    frame : Frame
        Of which the depth image is taken.

    Returns
    -------
    (H, W) uint8
        Labels.
    """
    (h, w), (height, width) = labels.shape, frame.depth.shape
    row, column = (
        np.minimum(((np.arange(full) + 0.5) * cells / full).astype(int), cells - 1)
        for full, cells in ((height, h), (width, w))
    )
    out = labels.take(row, axis=0).take(column, axis=1)
    kernel = np.ones((3, 3), np.uint8)
    edge = cv2.dilate(labels, kernel) != cv2.erode(labels, kernel)
    pixels = np.flatnonzero(edge.take(row, axis=0).take(column, axis=1))
    v, u = pixels // width, pixels % width
    if not len(v):
        return out
    z = metres(frame.depth[v, u], frame.depth_unit_m)
    with np.errstate(invalid="ignore"):
        seen = (z > 0) & np.isfinite(z)
    v, u, z = v[seen], u[seen], z[seen]
    y, x = (v + 0.5) * h / height - 0.5, (u + 0.5) * w / width - 0.5
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    best, nearest = out[v, u], np.full(len(v), np.inf)
    for r, c in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        far = (y - r) ** 2 + (x - c) ** 2
        r, c = r.clip(0, h - 1), c.clip(0, w - 1)
        there = cell_z[r, c]
        cost = far + ((z - there) / (STEP_M * np.maximum(z, 0.3) ** 2)) ** 2
        cost[there <= 0] = np.inf
        better = cost < nearest
        nearest[better], best[better] = cost[better], labels[r, c][better]
    out[v, u] = best
    return out


def without_surface(labels: np.ndarray, grid: DepthGrid, frame: Frame) -> np.ndarray:
    """Take pixels of the surface that things stand on out of the labels: around feet, and seen through holes.

    Parameters
    ----------
    labels : (H, W) uint8
        Of the image.
    grid : DepthGrid
        Of the frame, with its surface.
    frame : Frame
        Of which the depth image is taken.

    Returns
    -------
    (H, W) uint8
        Labels. Flat objects keep all their pixels, and so do all where no surface is known.
    """
    pixels = np.flatnonzero(labels)
    if not math.isfinite(grid.offset) or not len(pixels):
        return labels
    z = metres(frame.depth.reshape(-1)[pixels], frame.depth_unit_m)
    rays = pixel_rays(frame.intrinsics, frame.depth.shape)
    up = grid.up.astype(np.float32)
    with np.errstate(invalid="ignore", over="ignore"):
        height = (rays.x[pixels] * up[0] + rays.y[pixels] * up[1] + up[2]) * z - np.float32(grid.offset)
        seen = np.isfinite(height) & (z > 0)
        raised = seen & (height > RAISED_M)
        low = seen & (np.abs(height) < SURFACE_M)
    of = labels.reshape(-1)[pixels]
    share = np.bincount(of[raised], minlength=256) / np.maximum(np.bincount(of[seen], minlength=256), 1)
    out = labels.copy()
    out.reshape(-1)[pixels[low & (share[of] > RAISED_SHARE)]] = 0
    return out


def cells_z(grid: DepthGrid) -> np.ndarray:
    """Take the depth of the cells of the answer, each two by two pixels of the grid.

    Parameters
    ----------
    grid : DepthGrid
        Of the frame.

    Returns
    -------
    (ceil(h / 2), ceil(w / 2)) float32
        The nearest of the pixels; 0 where none is known [m].
    """
    h, w = grid.z.shape
    padded = np.zeros((-(-h // 2) * 2, -(-w // 2) * 2), np.float32)
    padded[:h, :w] = grid.z
    padded[padded == 0] = np.inf
    nearest = padded.reshape(padded.shape[0] // 2, 2, -1, 2).min(axis=(1, 3))
    return np.where(np.isfinite(nearest), nearest, 0).astype(np.float32)
