"""How far an image shows a learned object in a pose: its render against depth and colours, pixel by pixel."""

from __future__ import annotations

import math
from dataclasses import astuple, dataclass

import cv2
import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.rendering.gaussians import Gaussians, Rasterizer

FARTHEST_M = 100.0  # a depth beyond is none
SIDE_PX = 96  # of the compared image, at most
COVERED = 0.5  # of a pixel, from which on it shows the object
NEAR_M, NEAR_SHARE = 0.01, 0.008  # what is so near to the surface shows it, and by depth: sensors are off by more there
KNOWN_SHARE = 0.6  # of a pixel's weight must be of discs with a known colour
LEAST_PIXELS = 20  # of known colour, to compare colours at all
SHADE = 0.08  # so far do colours vary by light alone, by their brightness
NOT_KNOWN = 0.5, 0.5, 0.5  # of colour, tint and texture
DARKEST = 0.04  # mean brightness that colours are divided by, at least


@dataclass(frozen=True)
class Likeness:
    """What speaks for an object in a pose, all 0..1.

    Parameters
    ----------
    explained : float
        Share of the proposal's pixels with depth that lie on the object's surface.
    missing : float
        Share of the object's pixels where the camera sees through it, to something further away.
    shown : float
        Share of the object's pixels that nothing hides.
    colour : float
        Mean difference of the colours, by their brightness, after one gain for all channels; 0.5 where none are known.
    tint : float
        How far the gains of the channels are apart.
    texture : float
        How far colours vary otherwise than those of the render: 1 minus their correlation; 0 where neither varies.
    """

    explained: float
    missing: float
    shown: float
    colour: float
    tint: float
    texture: float

    def features(self) -> np.ndarray:
        """Give the numbers in their order.

        Returns
        -------
        (6,) float
            Of this likeness.
        """
        return np.array(astuple(self))


@dataclass(frozen=True)
class Sight:
    """A frame for comparisons: float32, with 0 where nothing is known.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of the image.
    depth_m : (H, W) float32
        0 where nothing is known [m].
    colour : (H, W, 3) uint8, optional
        RGB.
    """

    intrinsics: Intrinsics
    depth_m: np.ndarray
    colour: np.ndarray | None


def sight_of(frame: Frame) -> Sight:
    """Prepare a frame for comparisons.

    Parameters
    ----------
    frame : Frame
        What the camera saw. Every value is possible in the depth.

    Returns
    -------
    Sight
        The same, with depths that are none as 0.
    """
    depth_m = metres(frame.depth, frame.depth_unit_m)
    with np.errstate(invalid="ignore"):
        depth_m = np.where((depth_m > 0) & (depth_m < FARTHEST_M), depth_m, np.float32(0))
    return Sight(frame.intrinsics, depth_m.astype(np.float32, copy=False), frame.colour)


def likeness(
    sight: Sight,
    mask: np.ndarray,
    gaussians: Gaussians,
    radius_m: float,
    rotation: np.ndarray,
    translation: np.ndarray,
    rasterizer: Rasterizer,
) -> Likeness:
    """Compare what an image shows with the render of an object.

    Parameters
    ----------
    sight : Sight
        The frame.
    mask : (H, W) bool
        Pixels that may be the object's.
    gaussians : Gaussians
        The object, with four features: the colour, and 1 where it is known.
    radius_m : float
        Of a sphere around the object [m].
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Camera frame [m].
    rasterizer : Rasterizer
        Draws.

    Returns
    -------
    Likeness
        Of this object in this pose.
    """
    given = sight.intrinsics
    left, top, right, bottom = _box(sight, mask, radius_m, translation)
    step = max(1, math.ceil(max(right - left, bottom - top) / SIDE_PX))
    part = np.s_[top:bottom:step, left:right:step]
    depth_m, mask = sight.depth_m[part], mask[part]
    camera = Intrinsics(given.fx / step, given.fy / step, (given.cx - left) / step, (given.cy - top) / step)
    height, width = mask.shape
    drawn = rasterizer.render(gaussians, rotation, translation, camera, (width, height))
    covered = drawn.alpha > COVERED
    near_m = NEAR_M + NEAR_SHARE * drawn.depth_m
    seen = depth_m > 0
    on_surface = covered & seen & (np.abs(depth_m - drawn.depth_m) < near_m)
    hidden = covered & seen & (depth_m < drawn.depth_m - near_m)
    inner = cv2.erode(covered.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    through = inner & seen & (depth_m > drawn.depth_m + near_m)
    pixels = max(np.count_nonzero(covered), 1)
    of_mask = cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8), borderValue=1) > 0
    of_mask = (of_mask if of_mask.any() else mask) & seen
    counted = max(np.count_nonzero(inner & seen & ~hidden), 1)
    colour, tint, texture = NOT_KNOWN
    if sight.colour is not None:
        known = on_surface & mask & (drawn.image[..., 3] > KNOWN_SHARE * drawn.alpha)
        if np.count_nonzero(known) >= LEAST_PIXELS:
            whole = sight.colour[top:bottom, left:right].astype(np.float32) / 255
            whole = cv2.blur(whole, (step, step)) if step > 1 else whole
            painted = drawn.image[known][:, :3] / drawn.alpha[known][:, None]
            colour, tint, texture = colour_differences(
                whole[::step, ::step][known].astype(np.float64), painted.astype(np.float64)
            )
    return Likeness(
        np.count_nonzero(of_mask & on_surface) / max(np.count_nonzero(of_mask), 1),
        np.count_nonzero(through) / counted,
        1 - np.count_nonzero(hidden) / pixels,
        colour,
        tint,
        texture,
    )


def _box(sight: Sight, mask: np.ndarray, radius_m: float, translation: np.ndarray) -> tuple[int, int, int, int]:
    """Left, top, right and bottom (the last ones excluded) of the mask and of the sphere together, in the image."""
    height, width = mask.shape
    left, top, across, down = cv2.boundingRect(mask.astype(np.uint8))
    right, bottom = left + across, top + down
    given, z = sight.intrinsics, float(translation[2])
    u, v = given.fx * translation[0] / z + given.cx, given.fy * translation[1] / z + given.cy
    reach_u, reach_v = given.fx * radius_m / z, given.fy * radius_m / z
    left, right = min(left, math.floor(u - reach_u)), max(right, math.ceil(u + reach_u) + 1)
    top, bottom = min(top, math.floor(v - reach_v)), max(bottom, math.ceil(v + reach_v) + 1)
    left, top = int(np.clip(left, 0, width - 1)), int(np.clip(top, 0, height - 1))
    return left, top, int(np.clip(right, left + 1, width)), int(np.clip(bottom, top + 1, height))


def colour_differences(seen: np.ndarray, painted: np.ndarray) -> tuple[float, float, float]:
    """Compare colours pixel by pixel.

    Parameters
    ----------
    seen : (N, 3) float
        In the image, 0..1.
    painted : (N, 3) float
        Of the render, 0..1.

    Returns
    -------
    colour, tint, texture : float
        As of `Likeness`.
    """
    gains = (seen * painted).sum(axis=0) / np.maximum((painted * painted).sum(axis=0), 1e-6)
    gain = float((seen * painted).sum() / max((painted * painted).sum(), 1e-6))
    brightness = max(float(seen.mean()), DARKEST)
    colour = float(np.abs(seen - gain * painted).mean()) / brightness
    tint = float(np.std(np.log(np.clip(gains, 0.05, 20.0))))
    seen, painted = seen - seen.mean(axis=0), painted - painted.mean(axis=0)
    painted *= gain
    shade = len(seen) * 3 * (SHADE * brightness) ** 2
    power = math.sqrt(((seen**2).sum() + shade) * ((painted**2).sum() + shade))
    return min(colour, 1.0), min(tint, 1.0), float(np.clip(1 - ((seen * painted).sum() + shade) / power, 0, 1))


def shown_mask(
    sight: Sight,
    mask: np.ndarray,
    gaussians: Gaussians,
    rotation: np.ndarray,
    translation: np.ndarray,
    rasterizer: Rasterizer,
) -> np.ndarray:
    """Say which pixels show an object: those of its render whose depth fits, and those of its mask without depth.

    Parameters
    ----------
    sight : Sight
        The frame.
    mask : (H, W) bool
        Pixels that may be the object's.
    gaussians : Gaussians
        The object.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Camera frame [m].
    rasterizer : Rasterizer
        Draws.

    Returns
    -------
    (H, W) bool
        Its pixels.
    """
    height, width = mask.shape
    drawn = rasterizer.render(gaussians, rotation, translation, sight.intrinsics, (width, height))
    covered, seen = drawn.alpha > COVERED, sight.depth_m > 0
    near = np.abs(sight.depth_m - drawn.depth_m) < NEAR_M + NEAR_SHARE * drawn.depth_m
    return covered & ((seen & near) | (mask & ~seen))
