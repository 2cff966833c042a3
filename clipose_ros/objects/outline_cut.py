"""Outlines of masks moved to where the colours of an image change."""

from __future__ import annotations

import cv2
import numpy as np
from scipy import ndimage

ROUNDS = 2
SEED = 0
MARGIN = 0.35  # of a mask's box, around it: background that colours are learned of
LEAST_MARGIN_PX = 16
CERTAIN_PX, LIKELY_PX, FARTHEST_PX = 2, 2, 6  # inside a mask is the object; beyond it may be; further is background

TOLD_PX = 640  # longer side of the image whose outlines are judged
WITHIN_PX, NEAR_PX, FAR_PX = 2.5, -3.5, -9.5  # from an outline inwards: colours that are compared
LEAST_CONTRAST, STEEPER = 4.0, 1.2  # of Lab, and by what changes further out


def cut_outline(
    colour: np.ndarray,
    mask: np.ndarray,
    certain_px: int = CERTAIN_PX,
    likely_px: int = 1,
    farthest_px: int = FARTHEST_PX,
    doubted: np.ndarray | None = None,
) -> np.ndarray:
    """Move the outline of a mask to where the colours change (GrabCut).

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    mask : (H, W) bool
        Near the object.
    certain_px : int
        What is so far inside stays.
    likely_px : int
        What is so near outside is taken for the object at first, as masks made of depth end before it does.
    farthest_px : int
        What is further outside is background.
    doubted : (H, W) bool, optional
        Pixels that are not certain, however far inside.

    Returns
    -------
    (H, W) bool
        The mask that ends at an edge; unchanged where colours tell nothing.
    """
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    if not width:
        return mask
    margin = max(LEAST_MARGIN_PX, farthest_px + 4, round(MARGIN * max(width, height)))
    part = np.s_[max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin]
    inside = mask[part].astype(np.uint8)
    labels = np.full(inside.shape, cv2.GC_BGD, np.uint8)
    labels[_grown(inside, farthest_px) > 0] = cv2.GC_PR_BGD
    labels[_grown(inside, likely_px) > 0] = cv2.GC_PR_FGD
    labels[_grown(inside, -certain_px) > 0] = cv2.GC_FGD
    if doubted is not None:
        labels[(labels == cv2.GC_FGD) & doubted[part]] = cv2.GC_PR_FGD
    if not (labels == cv2.GC_BGD).any() or not np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).any():
        return mask
    cv2.setRNGSeed(SEED)  # GrabCut's groups of colours begin by chance
    try:
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(np.ascontiguousarray(colour[part]), labels, None, *models, ROUNDS, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # an image of one colour has no groups
        return mask
    found = np.isin(labels, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8)
    moved = np.zeros_like(mask)
    moved[part] = cv2.morphologyEx(found, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
    return moved


def outline_told(colour: np.ndarray, mask: np.ndarray, plain: bool = True) -> float:
    """Say how much of a mask's outline is where colours change.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    mask : (H, W) bool
        Of an object.
    plain : bool
        Whether inside and outside must differ by more than what is outside differs from what is further out: shadows
        have soft outlines. The pattern of a printed board has not.

    Returns
    -------
    float
        Share of the outline where they do, 0..1; 0 for an empty mask.
    """
    scale = min(1.0, TOLD_PX / max(mask.shape))
    covered = cv2.resize(mask.astype(np.float32), None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    image = cv2.resize(colour, covered.shape[::-1], interpolation=cv2.INTER_AREA)
    lab = cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 1.0)
    inside = (covered > 0.5).astype(np.uint8)
    rows, columns = np.nonzero(inside & (cv2.erode(inside, np.ones((3, 3), np.uint8)) == 0))
    if not len(rows):
        return 0.0
    smooth = cv2.GaussianBlur(covered, (0, 0), 2.5)
    slope = np.stack([cv2.Sobel(smooth, cv2.CV_32F, *way)[rows, columns] for way in ((0, 1), (1, 0))])
    slope /= np.maximum(np.linalg.norm(slope, axis=0), 1e-9)  # inwards

    def at(pixels: float) -> np.ndarray:
        place = np.stack([rows, columns]) + pixels * slope
        channels = [ndimage.map_coordinates(lab[..., k], place, order=1, mode="nearest") for k in range(3)]
        return np.stack(channels, axis=-1)

    within, near, far = at(WITHIN_PX), at(NEAR_PX), at(FAR_PX)
    across, along = np.linalg.norm(within - near, axis=1), np.linalg.norm(near - far, axis=1)
    return float(((across > LEAST_CONTRAST) & (across > STEEPER * along * plain)).mean())


def _grown(mask: np.ndarray, pixels: int) -> np.ndarray:
    """A mask grown by some pixels, or shrunk where these are less than 0."""
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * abs(pixels) + 1,) * 2)
    return cv2.dilate(mask, kernel) if pixels > 0 else cv2.erode(mask, kernel)
