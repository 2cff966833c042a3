"""From the answers of the network that finds objects to instances: every pixel votes for the centre of its object.

The answers are coarse; the masks' edges then follow the edges of the depth image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.types import Frame
from clipose_ros.core.validation import expect, expect_shares
from clipose_ros.segmenters.depth_channels import DepthGrid

OFFSET_UNIT = 16.0  # of the offsets, in cells of the answer
SURFACE_M = 0.004  # pixels so near to the surface show it; half of the thinnest book
# of a flat object only those that are so low, and if they are fewer: seen between its parts, or through its holes
LOWER_M, LOWER_SHARE = 0.001, 0.5
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
        expect("reach", self.reach > 0, "more than 0", self.reach)
        expect_shares(self, "reach_share", "least_part")


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
    if not math.isfinite(answer.sum()):
        answer = np.nan_to_num(answer, nan=-20.0, posinf=20.0, neginf=-20.0)
    shown = answer[0] > _logit(settings.object)
    cells = np.flatnonzero(shown)
    labels = np.zeros(answer.shape[1:], np.uint8)
    if not len(cells):
        return labels, []
    way = OFFSET_UNIT * answer[2:].reshape(2, -1).take(cells, axis=1).clip(-20, 20)
    centres = _centres(answer[1], settings)
    reach = settings.reach + settings.reach_share * np.sqrt(way[0] * way[0] + way[1] * way[1])
    v, u = np.divmod(cells, answer.shape[2])
    way[0] += u
    way[1] += v
    labels.reshape(-1)[cells] = _nearest(way, centres, reach)
    surety = _chance(answer[1, centres[:, 1].astype(int), centres[:, 0].astype(int)]).tolist()
    free = shown & (labels == 0)
    surety += [settings.centre] * _add_left_over(labels, free, len(surety), settings)
    return _sound(labels, answer[0], surety, settings)


def _logit(chance: float) -> float:
    """The logit of a probability."""
    return math.log(chance / (1 - chance))


def _chance(logits: np.ndarray) -> np.ndarray:
    """The probabilities of logits."""
    return 1 / (1 + np.exp(-logits.clip(-20, 20)))


def _centres(heat: np.ndarray, settings: VoteSettings) -> np.ndarray:
    """Local maxima (K, 2) of logits, column and row: the surest first."""
    around = cv2.dilate(heat, np.ones((settings.apart, settings.apart), np.uint8)).reshape(-1)
    width, heat = heat.shape[1], heat.reshape(-1)
    sure = np.flatnonzero(heat > _logit(settings.centre))
    sure = sure[heat.take(sure) == around.take(sure)]
    order = np.argsort(-heat.take(sure), kind="stable")[: 4 * MOST_OBJECTS]
    v, u = np.divmod(sure, width)
    kept: list[tuple[int, int]] = []
    for at in zip(u[order].tolist(), v[order].tolist()):  # equal maxima side by side are one
        if len(kept) < MOST_OBJECTS and all(max(abs(at[0] - a), abs(at[1] - b)) > settings.apart // 2 for a, b in kept):
            kept.append(at)
    return np.array(kept, np.float32).reshape(-1, 2)


def _add_left_over(labels: np.ndarray, free: np.ndarray, first: int, settings: VoteSettings) -> int:
    """Number large parts of the free cells, after the first labels; how many there are."""
    if np.count_nonzero(free) < settings.left_over:
        return 0
    count, parts, stats, _ = cv2.connectedComponentsWithStats(free.astype(np.uint8), connectivity=8)
    large = [part for part in range(1, count) if stats[part, cv2.CC_STAT_AREA] >= settings.left_over]
    large = large[: MOST_OBJECTS - first]
    for number, part in enumerate(large, start=first + 1):
        labels[parts == part] = number
    return len(large)


def _nearest(at: np.ndarray, centres: np.ndarray, reach: np.ndarray) -> np.ndarray:
    """Number (P,) from 1 on of the centre that each vote (2, P) is for; 0 for none."""
    least, best = reach * reach, np.zeros(at.shape[1], np.uint8)
    for number, (u, v) in enumerate(centres.tolist(), start=1):  # few: quicker than a table of all
        across, down = at[0] - u, at[1] - v
        squared = across * across
        squared += down * down
        nearer = squared < least
        least = np.minimum(least, squared)
        best[nearer] = number
    return best


def _sound(
    labels: np.ndarray, logits: np.ndarray, surety: list[float], settings: VoteSettings
) -> tuple[np.ndarray, list[float]]:
    """Leave out specks, and number what is left from 1 on."""
    out, scores = np.zeros_like(labels), []
    sizes = _counts(labels).astype(int).tolist()
    for number, of_centre in enumerate(surety, start=1):
        size = sizes[number]
        if size < settings.least_cells:
            continue
        mask = cv2.compare(labels, number, cv2.CMP_EQ)
        left, top, width, height = cv2.boundingRect(mask)
        box = np.s_[top : top + height, left : left + width]
        mask = np.ascontiguousarray(mask[box])
        count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
        if count > 2:
            kept = stats[:, cv2.CC_STAT_AREA] >= max(settings.least_part * size, 4)
            kept[0] = False
            mask = kept.take(parts).view(np.uint8)
            if np.count_nonzero(mask) < settings.least_cells:
                continue
        scores.append(cv2.mean(_chance(logits[box]), mask)[0] * of_centre**0.25)
        np.copyto(out[box], np.uint8(len(scores)), where=mask.view(bool))
    return out, scores


def _counts(labels: np.ndarray, where: np.ndarray | None = None) -> np.ndarray:
    """How many pixels have each of 256 labels, of uint8; only those where a mask, of bytes, is not 0."""
    return cv2.calcHist([labels], [0], where, [256], [0, 256]).reshape(-1)


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
    out = _enlarged(labels, height, width)
    # the four cells around a pixel: only where they differ there is something to choose
    around = cv2.copyMakeBorder(labels, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    first = around[:-1, :-1]
    blocks = (first != around[:-1, 1:]) | (first != around[1:, :-1]) | (first != around[1:, 1:])
    v, u = np.divmod(np.flatnonzero(blocks), w + 1)
    if not len(v):
        return out
    # pixels (rows, columns, blocks) of the blocks between four cells; long last sides are quick in numpy
    (rows, down, in_column), (columns, across, in_row) = (
        [side.take(of, axis=1) for side in _between(cells, full)] for of, cells, full in ((v, h, height), (u, w, width))
    )
    pixels = rows[:, None] * np.int32(width) + columns
    z = metres(frame.depth.reshape(-1).take(pixels), frame.depth_unit_m)
    with np.errstate(invalid="ignore", over="ignore"):
        seen = (z > 0) & (z < np.inf) & in_column[:, None] & in_row
        unit = np.float32(1 / STEP_M) / np.square(np.maximum(z, np.float32(0.3)))
        known_z = cv2.copyMakeBorder(np.where(cell_z > 0, cell_z, np.float32(np.inf)), 1, 1, 1, 1, cv2.BORDER_REPLICATE)
        flat_z, flat_labels = known_z.reshape(-1), around.reshape(-1)
        out_flat = out.reshape(-1)
        best = out_flat.take(pixels)
        nearest = np.full(pixels.shape, np.inf, np.float32)
        cell = v * (w + 2) + u
        far_across = [np.square(across - np.float32(right)) for right in (0, 1)]
        for below in (0, 1):
            far_down = np.square(down - np.float32(below))[:, None]
            for right in (0, 1):
                here = cell + (below * (w + 2) + right)
                cost = flat_z.take(here) - z
                cost *= unit
                cost *= cost
                cost += far_down
                cost += far_across[right]
                best = np.where(cost < nearest, flat_labels.take(here), best)
                np.minimum(nearest, cost, out=nearest)
    out_flat[pixels[seen]] = best[seen]
    return out


def _enlarged(labels: np.ndarray, height: int, width: int) -> np.ndarray:
    """The label of the cell that each pixel (height, width) lies in."""
    h, w = labels.shape
    if height % h == 0 and width % w == 0:
        return labels.repeat(width // w, axis=1).repeat(height // h, axis=0)
    row, column = (
        np.minimum(((np.arange(full) + 0.5) * cells / full).astype(int), cells - 1)
        for full, cells in ((height, h), (width, w))
    )
    return labels.take(row, axis=0).take(column, axis=1)


@lru_cache(maxsize=16)
def _between(cells: int, full: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Along one side, which pixels lie between the middles of one cell and the next, from before the first to the last.

    Each (most, cells + 1): the pixels; how far past the first middle they lie [cells]; and whether there is one.
    """
    place = (np.arange(full) + 0.5) * cells / full - 0.5
    begin = np.floor(place).astype(int)
    counts = np.bincount(begin + 1, minlength=cells + 1)
    first = np.concatenate([[0], counts.cumsum()[:-1]])
    steps = np.arange(counts.max())
    pixels = (first + steps[:, None]).clip(0, full - 1).astype(np.int32)
    past = (place - begin).astype(np.float32)[pixels]
    return pixels, past, steps[:, None] < counts


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
        Labels. Flat objects keep what is a little higher than the surface, what hardly is all, and so do all objects
        where no surface is known.
    """
    left, top, width, height = cv2.boundingRect(labels)
    if not math.isfinite(grid.offset) or not height:
        return labels
    box = np.s_[top : top + height, left : left + width]
    rays = pixel_rays(frame.intrinsics, frame.depth.shape)
    x, y = (axis.reshape(labels.shape)[box] for axis in (rays.x, rays.y))
    z, part, (right, down, ahead) = metres(frame.depth[box], frame.depth_unit_m), labels[box], grid.up.tolist()
    height_m = cv2.addWeighted(x, right, y, down, ahead)
    with np.errstate(invalid="ignore", over="ignore"):
        height_m *= z
    height_m -= np.float32(grid.offset)
    # what has no depth, or one that is no number, is at no height
    seen = cv2.inRange(z, 1e-6, 1e6)
    raised = cv2.bitwise_and(seen, cv2.compare(height_m, RAISED_M, cv2.CMP_GT))
    low, lower = (cv2.bitwise_and(seen, cv2.inRange(height_m, -SURFACE_M, most)) for most in (SURFACE_M, LOWER_M))
    # of each label: how many pixels are seen, raised, and as low as the surface; every second row tells as much
    count, risen, sunk = (_counts(part[::2], what[::2]) for what in (seen, raised, lower))
    tall, thick = risen > RAISED_SHARE * np.maximum(count, 1), sunk < LOWER_SHARE * count
    of_surface = [
        cv2.bitwise_and(where, cv2.LUT(part, which.view(np.uint8))) for where, which in ((low, tall), (lower, thick))
    ]
    out = labels.copy()
    np.copyto(out[box], 0, where=cv2.bitwise_or(*of_surface).view(bool))
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
    if h % 2 or w % 2:
        padded = np.zeros((h + h % 2, w + w % 2), np.float32)
        padded[:h, :w] = grid.z
    else:
        padded = np.ascontiguousarray(grid.z)
    # bits of floats that are not negative are in the order of the floats; one less, and 0 comes last
    order = padded.view(np.uint32) - np.uint32(1)
    by_row = np.minimum(order[::2], order[1::2])
    return (np.minimum(by_row[:, ::2], by_row[:, 1::2]) + np.uint32(1)).view(np.float32)
