"""Outlines of objects where the colours say that they are: masks are off by pixels, and so would be the distance."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import cKDTree

REACH_PX, REACH_BY_EXTENT = 5, 0.1  # how far an outline may be off: pixels, but no more than this by the mask's extent
MARGIN_PX = 10  # around the mask: what the background looks like
NEIGHBOURS = 3
SAME_COLOUR, SAME_PLACE_PX = 0.04, 6.0  # how alike pixels are: RGB 0..1, and distance
MOST_TOLD = 3.0  # of one pixel, in squares of these
SMOOTH_PX = 1.0
PRIOR, LEAST_TOLD = 0.3, 1.0  # what the mask itself tells of a pixel, and what all must tell together
LEAST_CONTRAST, STRETCH = 4.0, 1.2  # of mixtures, by SAME_COLOUR, and of their shares, which noise draws to a half
MOST_CHANGE = 0.35  # of the area: more is another object, or a background of the same colour


def outline_by_colour(
    colour: np.ndarray, mask: np.ndarray, least_told: float | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Move a mask's outline to where the colours change.

    Of the pixels in a band along the outline, those belong to the object that look more like the nearest ones that
    surely do than like the nearest ones that surely do not.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    mask : (H, W) bool
        The object's pixels, about.
    least_told : float, optional
        With it, the mask says nothing of the pixels along its outline, and what the colours tell less of is doubtful,
        in squares of how alike pixels of one colour are.

    Returns
    -------
    shares : (H, W) float32
        What part of each pixel is the object's, 0..1: along the outline, pixels are mixtures. The mask as it was where
        the colours do not tell.
    doubtful : (H, W) bool
        Pixels along the outline of which the colours tell too little; none without `least_told`.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return mask.astype(np.float32), np.zeros_like(mask)
    reach = int(min(REACH_PX, max(1, REACH_BY_EXTENT * np.sqrt(np.count_nonzero(mask)))))
    margin = reach + MARGIN_PX
    top, left = max(0, rows[0] - margin), max(0, columns[0] - margin)
    part = np.s_[top : rows[-1] + 1 + margin, left : columns[-1] + 1 + margin]
    covered = mask[part].astype(np.uint8)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    inside, outside = cv2.erode(covered, kernel) > 0, cv2.dilate(covered, kernel) == 0
    band = ~inside & ~outside
    if np.count_nonzero(inside) < NEIGHBOURS or np.count_nonzero(outside) < NEIGHBOURS:
        return mask.astype(np.float32), np.zeros_like(mask)
    row, column = np.indices(covered.shape)
    place = np.stack([row, column], axis=-1) / SAME_PLACE_PX
    looks = np.concatenate([colour[part] / (255 * SAME_COLOUR), place], axis=-1)
    # Only pixels near to the band are among the nearest.
    near = cv2.dilate(band.astype(np.uint8), np.ones((2 * MARGIN_PX + 1,) * 2, np.uint8)) > 0
    apart, mixed = [], []
    for sure in (outside, inside):
        chosen = sure & near if np.count_nonzero(sure & near) >= NEIGHBOURS else sure
        distance, nearest = cKDTree(looks[chosen]).query(looks[band], k=NEIGHBOURS)
        apart.append((distance**2).mean(axis=1))
        mixed.append(np.linalg.norm(looks[chosen][nearest].mean(axis=1)[:, :3] - looks[band][:, :3], axis=1))
    told = np.where(inside, MOST_TOLD, -MOST_TOLD).astype(np.float32)
    told[band] = np.clip(apart[0] - apart[1], -MOST_TOLD, MOST_TOLD)
    told = cv2.GaussianBlur(told, (0, 0), SMOOTH_PX)
    doubt = LEAST_TOLD - np.where(covered > 0, PRIOR, -PRIOR) if least_told is None else 0.0
    found = inside | (band & (told > doubt))
    if abs(int(found.sum()) - int(covered.sum())) > MOST_CHANGE * covered.sum():
        return mask.astype(np.float32), np.zeros_like(mask)
    share = found.astype(np.float32)
    along = cv2.dilate(share, np.ones((3, 3))) > cv2.erode(share, np.ones((3, 3)))
    told_apart = np.zeros(band.shape, bool)
    told_apart[band] = mixed[0] + mixed[1] > LEAST_CONTRAST
    ratio = np.zeros(band.shape, np.float32)
    ratio[band] = np.clip(0.5 + STRETCH * (mixed[0] / np.maximum(mixed[0] + mixed[1], 1e-6) - 0.5), 0, 1)
    chosen = along & told_apart
    share[chosen] = ratio[chosen]
    moved, doubtful = mask.astype(np.float32), np.zeros_like(mask)
    moved[part] = share
    if least_told is not None:
        doubtful[part] = band & (np.abs(told) < least_told)
    return moved, doubtful
