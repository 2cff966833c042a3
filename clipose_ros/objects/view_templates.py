"""Small renders of an object from all directions, to find hypotheses where there is no depth.

A mask and its colours are compared with all of them at once, in many turns about the camera's axis. Place and scale
come from the mask's centre and area.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.objects.surface_tables import sphere_directions
from clipose_ros.rendering.gaussians import Gaussians, Rasterizer

DIRECTIONS, TURNS = 320, 24  # from which the object is drawn, and how often a query is turned about the camera's axis
SIDE_PX = 32  # of a template
DISTANCE = 4.0  # of the camera, by the object's diagonal
GROWTH = 2.2  # of a template's side, by the root of the area that the object covers
OUTLINE_WEIGHT = 1.0  # of the outlines' difference, beside that of the colours
DARKEST = 0.05  # mean brightness that colours are divided by, at least


@dataclass(frozen=True)
class ViewTemplates:
    """Renders of one object, D of them, with S pixels each.

    Parameters
    ----------
    rotations : (D, 3, 3) float
        R_camera_object of a camera that looks at the object's origin.
    masks : (D, S) float32
        What part of each pixel the object covers.
    paints : (D, S, 3) float32
        Colours by their mean brightness, each times the mask and whether the colour is known.
    known : (D, S) float32
        The mask where the colour is known.
    extents_m : (D,) float
        Root of the area that the object covers, at its distance [m].
    offsets_m : (D, 2) float
        From the object's origin to the middle of the area, in the image: right and down [m].
    """

    rotations: np.ndarray
    masks: np.ndarray
    paints: np.ndarray
    known: np.ndarray
    extents_m: np.ndarray
    offsets_m: np.ndarray


def view_templates(gaussians: Gaussians, diagonal_m: float, rasterizer: Rasterizer) -> ViewTemplates:
    """Draw the templates of an object.

    Parameters
    ----------
    gaussians : Gaussians
        The object, with four features: the colour, and 1 where it is known.
    diagonal_m : float
        Of its tight box [m].
    rasterizer : Rasterizer
        Draws them.

    Returns
    -------
    ViewTemplates
        From `DIRECTIONS` directions.
    """
    side, distance = 2 * SIDE_PX, DISTANCE * diagonal_m
    focal = side * DISTANCE / 1.15
    camera = Intrinsics(focal, focal, side / 2, side / 2)
    rotations = np.array([_looking_from(direction) for direction in sphere_directions(DIRECTIONS)])
    masks, paints, known, extents, offsets = [], [], [], [], []
    for rotation in rotations:
        drawn = rasterizer.render(gaussians, rotation, np.array([0, 0, distance]), camera, (side, side))
        features = np.divide(
            drawn.image, drawn.alpha[..., None], out=np.zeros_like(drawn.image), where=drawn.alpha[..., None] > 0
        )
        middle, extent = middle_and_extent(drawn.alpha > 0.5)
        mask, colour, sure = (
            cuts(image, middle, extent, (0.0,))[0] for image in (drawn.alpha, features[..., :3], features[..., 3])
        )
        sure = mask * (sure > 0.5)
        masks.append(mask.ravel())
        known.append(sure.ravel())
        paints.append(levelled(colour, sure).reshape(-1, 3))
        extents.append(extent * distance / focal)
        offsets.append((middle - side / 2) * distance / focal)
    packed = (np.array(values, np.float32) for values in (masks, paints, known))
    return ViewTemplates(rotations, *packed, np.array(extents), np.array(offsets))


def middle_and_extent(mask: np.ndarray) -> tuple[np.ndarray, float]:
    """Find the middle of a mask and the root of its area.

    Parameters
    ----------
    mask : (H, W) bool
        Some pixels.

    Returns
    -------
    middle : (2,) float
        Column and row [px].
    extent : float
        Root of the area [px]; at least 1.
    """
    rows, columns = np.nonzero(mask)
    if not len(rows):
        return np.array([mask.shape[1] / 2, mask.shape[0] / 2]), 1.0
    return np.array([columns.mean(), rows.mean()]), max(1.0, math.sqrt(len(rows)))


def cuts(image: np.ndarray, middle: np.ndarray, extent: float, turns: Sequence[float]) -> np.ndarray:
    """Cut a template's square out of an image, in several turns.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) float32
        What to cut.
    middle : (2,) float
        Column and row of its middle [px].
    extent : float
        Root of the object's area [px].
    turns : sequence of float
        T turns of the square in the image, from right to down [rad].

    Returns
    -------
    (T, SIDE_PX, SIDE_PX) or (T, SIDE_PX, SIDE_PX, 3) float32
        0 beyond the image.
    """
    scale, half = GROWTH * extent / SIDE_PX, (SIDE_PX - 1) / 2
    image = np.asarray(image, np.float32)
    if scale > 1.3:
        image = cv2.GaussianBlur(image, (0, 0), 0.45 * scale)
    squares = []
    for turn in turns:
        along = scale * np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
        warp = np.concatenate([along, (middle - along @ [half, half])[:, None]], axis=1)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        squares.append(cv2.warpAffine(image, warp, (SIDE_PX, SIDE_PX), flags=flags))
    return np.array(squares)


def levelled(colour: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Divide colours by their mean brightness, and weigh them.

    Parameters
    ----------
    colour : (H, W, 3) float32
        RGB, 0..1.
    weight : (H, W) float32
        Of the pixels.

    Returns
    -------
    (H, W, 3) float32
        Each times its weight.
    """
    mean = float((colour.mean(axis=-1) * weight).sum() / max(float(weight.sum()), 1e-6))
    return colour * weight[..., None] / max(mean, DARKEST)


def poses_by_templates(
    templates: ViewTemplates, colour: np.ndarray, mask: np.ndarray, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compare what a mask shows with all templates, in all turns.

    Parameters
    ----------
    templates : ViewTemplates
        Of the object.
    colour : (H, W, 3) uint8
        RGB.
    mask : (H, W) bool
        The object's pixels.
    intrinsics : Intrinsics
        Of the image.

    Returns
    -------
    rotations : (TURNS * D, 3, 3) float
        R_camera_object.
    translations : (TURNS * D, 3) float
        Camera frame [m].
    wrongness : (TURNS * D,) float
        Difference of the outlines and of the colours.
    """
    middle, extent = middle_and_extent(mask)
    reach = int(GROWTH * extent) + 2
    left, top = (max(0, int(x) - reach) for x in middle)
    part = np.s_[top : int(middle[1]) + reach, left : int(middle[0]) + reach]
    image, covered, inner = colour[part].astype(np.float32) / 255, mask[part].astype(np.float32), middle - [left, top]
    turns = 2 * np.pi * np.arange(TURNS) / TURNS
    masks = cuts(covered, inner, extent, turns)
    paints = np.array([levelled(square, one) for square, one in zip(cuts(image, inner, extent, turns), masks)])
    masks, paints = masks.reshape(TURNS, -1), paints.reshape(TURNS, -1)
    both = masks @ templates.masks.T
    union = masks.sum(axis=1)[:, None] + templates.masks.sum(axis=1) - both
    seen = masks @ templates.known.T
    squares = (paints**2).reshape(TURNS, -1, 3).sum(axis=2) @ templates.known.T
    squares += masks @ (templates.paints**2).sum(axis=2).T
    flat = templates.paints.reshape(len(templates.paints), -1)
    apart = np.sqrt(np.maximum(squares - 2 * paints @ flat.T, 0) / (3 * np.maximum(seen, 1)))
    wrongness = OUTLINE_WEIGHT * (1 - both / np.maximum(union, 1e-6)) + np.where(seen > 0.1 * both, apart, 0.5)
    rotations, translations = _placed(templates, turns, middle, extent, intrinsics)
    return rotations, translations, wrongness.ravel().astype(np.float64)


def _placed(
    templates: ViewTemplates, turns: np.ndarray, middle: np.ndarray, extent: float, intrinsics: Intrinsics
) -> tuple[np.ndarray, np.ndarray]:
    """Poses of all turns and templates, where the mask's middle and area say."""
    ray = np.array([(middle[0] - intrinsics.cx) / intrinsics.fx, (middle[1] - intrinsics.cy) / intrinsics.fy, 1.0])
    unit = ray / np.linalg.norm(ray)
    axis = np.cross([0, 0, 1.0], unit)
    sine = np.linalg.norm(axis)
    tilt = cv2.Rodrigues(axis / sine * math.asin(min(sine, 1.0)))[0] if sine > 1e-9 else np.eye(3)
    rotations, translations = [], []
    for turn in turns:
        turned = np.array([[math.cos(turn), -math.sin(turn), 0], [math.sin(turn), math.cos(turn), 0], [0, 0, 1]])
        rotations.append(tilt @ turned @ templates.rotations)
        offsets = np.concatenate([templates.offsets_m, np.zeros((len(templates.offsets_m), 1))], axis=1)
        depth_m = math.sqrt(intrinsics.fx * intrinsics.fy) * templates.extents_m / extent
        translations.append(depth_m[:, None] * ray - offsets @ (tilt @ turned).T)
    return np.concatenate(rotations), np.concatenate(translations)


def _looking_from(direction: np.ndarray) -> np.ndarray:
    """R_camera_object of a camera in this direction that looks at the origin."""
    helper = np.array([0.0, 1, 0]) if abs(direction[1]) < 0.9 else np.array([1.0, 0, 0])
    right = np.cross(-direction, helper)
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(-direction, right), -direction])
