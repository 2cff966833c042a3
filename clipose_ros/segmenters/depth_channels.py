"""What a depth segmenter's networks see: channels of a small image, and of the objects found in it.

All of them are metric, so that the size of things tells what they are: how high a pixel lies above the surface that
things stand on, which way it faces, and how many metres a pixel spans. The trainer computes them with this module, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.backprojection import DepthRange, metres
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.support import SupportSettings, Surface, find_surfaces
from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.core.vectors import crosses

GRID_WIDTH, GRID_HEIGHT = 320, 240
CHANNELS = 8
CROP, CROP_CHANNELS = 40, 8
RANGE = DepthRange(0.15, 8.0)
SURFACES = SupportSettings(grid=40, guesses=48)
STEEP = math.cos(math.radians(75))  # as the pipeline's: between the normal of a table and up in the image
LEAST_UPRIGHT = 0.1  # of the samples of the largest surface: a patch that happens to face up is no table
PARALLEL, ABOVE_M, SHARE = 0.97, 0.3, 0.15  # a table above the floor, which may be seen more of
SMOOTHING = 5  # pixels over which the direction of a surface is taken
RELIEF = 25  # pixels over which a pixel is compared with what is around it
RELIEF_M, HEIGHT_M, LENGTH_M, PIXEL_M = 0.03, 0.1, 0.1, 0.003  # units of the channels
LOW_M = 0.008  # unit of heights near the surface


@dataclass(frozen=True)
class DepthGrid:
    """A depth image, resampled to at most `GRID_WIDTH` x `GRID_HEIGHT` pixels, in either orientation.

    Parameters
    ----------
    z : (h, w) float32
        Depth [m]; 0 where none is valid.
    rows, columns : (h,), (w,) int
        Where its pixels lie in the image.
    intrinsics : Intrinsics
        Of the grid.
    up : (3,) float
        Direction up, camera frame: of the surface, else that of the image.
    offset : float
        Of the surface, so that its points have up · p = offset; NaN where none was found [m].
    """

    z: np.ndarray
    rows: np.ndarray
    columns: np.ndarray
    intrinsics: Intrinsics
    up: np.ndarray
    offset: float

    def sampled(self, image: np.ndarray) -> np.ndarray:
        """Take the pixels of the grid out of an image.

        Parameters
        ----------
        image : (H, W) array
            Of the size that the grid was made of.

        Returns
        -------
        (h, w) array
            Of its nearest pixels.
        """
        return _sampled(image, self.rows, self.columns)

    def points(self) -> np.ndarray:
        """Back-project all pixels.

        Returns
        -------
        (3, h, w) float32
            x, y, z in the camera frame [m]; 0 where no depth is valid.
        """
        rays = pixel_rays(self.intrinsics, self.z.shape)
        shape = self.z.shape
        return np.stack([rays.x.reshape(shape) * self.z, rays.y.reshape(shape) * self.z, self.z])


def depth_grid(frame: Frame) -> DepthGrid:
    """Resample a depth image of any size, and find the surface that things stand on.

    Parameters
    ----------
    frame : Frame
        Depth and intrinsics. Every value is possible in the depth.

    Returns
    -------
    DepthGrid
        Of the nearest pixels; none is invented.
    """
    height, width = frame.depth.shape
    fit = min(GRID_WIDTH / width, GRID_HEIGHT / height), min(GRID_HEIGHT / width, GRID_WIDTH / height)
    scale = min(1.0, max(fit)) if width and height else 1.0
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    rows, columns = (((np.arange(n) + 0.5) * full / n).astype(int) for n, full in zip(shape, (height, width)))
    z = metres(_sampled(frame.depth, rows, columns), frame.depth_unit_m)
    z = cv2.bitwise_and(z, z, mask=cv2.inRange(z, RANGE.minimum, RANGE.maximum))  # what is not a number is in no range
    by_x, by_y = shape[1] / width, shape[0] / height
    seen = frame.intrinsics
    intrinsics = Intrinsics(
        seen.fx * by_x, seen.fy * by_y, (seen.cx + 0.5) * by_x - 0.5, (seen.cy + 0.5) * by_y - 0.5, seen.distortion
    )
    if seen.distortion is not None:
        known = pixel_rays(intrinsics, shape).known.reshape(shape)
        z = np.where(known, z, 0)
    up, offset = _standing_on(z, intrinsics)
    return DepthGrid(z, rows, columns, intrinsics, up, offset)


def _sampled(image: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """The pixels (h, w) of an image in these rows and columns; by steps where they are even, which is quick."""
    (height, width), h, w = image.shape, len(rows), len(columns)
    if height % h == 0 and width % w == 0:
        return image[rows[0] :: height // h, columns[0] :: width // w]
    return image.take(rows, axis=0).take(columns, axis=1)


def _standing_on(z: np.ndarray, intrinsics: Intrinsics) -> tuple[np.ndarray, float]:
    """Up, and the offset of the surface that things stand on."""
    nothing = Detections((), np.zeros(z.shape, np.uint8))
    surfaces = find_surfaces(Frame(0, "", z, intrinsics), nothing, RANGE, (), SURFACES)
    surface = lowest_table(surfaces)
    if surface is None:
        return np.array([0.0, -1.0, 0.0]), math.nan
    return surface.normal, surface.offset


def lowest_table(surfaces: list[Surface]) -> Surface | None:
    """Choose the surface that things stand on.

    Parameters
    ----------
    surfaces : list of Surface
        Of a frame, the largest first.

    Returns
    -------
    Surface or None
        The largest that faces up in the image, or any where none does that is large enough; the one well above it where
        that is parallel. None where there is no surface.
    """
    least = LEAST_UPRIGHT * max((len(surface.samples) for surface in surfaces), default=0)
    upright = [surface for surface in surfaces if -surface.normal[1] > STEEP and len(surface.samples) > least]
    upright = upright or surfaces
    if not upright:
        return None
    largest = upright[0]
    above = [
        surface
        for surface in upright[1:]
        if surface.normal @ largest.normal > PARALLEL
        and surface.offset > largest.offset + ABOVE_M
        and len(surface.samples) > SHARE * len(largest.samples)
    ]
    return above[0] if above else largest


def _axes(up: np.ndarray) -> np.ndarray:
    """Right, up and away (3, 3) as rows: level axes of the scene, camera frame."""
    away = np.array([0.0, 0.0, 1.0]) if abs(up[2]) < 0.9 else np.array([0.0, -1.0, 0.0])
    away = away - (away @ up) * up
    away /= np.linalg.norm(away)
    return np.stack([crosses(away, -up), up, away])


def image_channels(grid: DepthGrid, low_heights: bool = True) -> np.ndarray:
    """Compute what the segmenting network sees.

    Parameters
    ----------
    grid : DepthGrid
        Of the frame.
    low_heights : bool
        Whether the last channel shows how high things near the surface are: what lies flat and is thin. Networks that
        were trained without see there whether the surface is known.

    Returns
    -------
    (CHANNELS, h, w) float32
        Logarithm of the metres that a pixel spans, height above the surface, whether the depth is valid, the three
        components of the direction that it faces (right, up, away), relief against what is around it, and the height
        once more, from 2 cm below to 3 cm above the surface, in a smaller unit. 0 where the depth is not valid, and
        heights where no surface is known.
    """
    z = grid.z
    x, y = (rays.reshape(z.shape) for rays in pixel_rays(grid.intrinsics, z.shape)[:2])
    # what can be is written in place: memory costs more than arithmetic
    out = np.empty((CHANNELS, *z.shape), np.float32)
    seen = (z > 0).view(np.uint8)
    valid = out[2]
    valid[:] = seen
    no_zero = np.maximum(z, np.float32(1e-3))
    spans = no_zero * np.float32(1 / (grid.intrinsics.fx * PIXEL_M))
    np.multiply(cv2.log(spans, dst=spans), valid, out=out[0])
    if math.isfinite(grid.offset):
        height = cv2.addWeighted(x, grid.up[0] / HEIGHT_M, y, grid.up[1] / HEIGHT_M, grid.up[2] / HEIGHT_M, dst=spans)
        height *= z
        height -= np.float32(grid.offset / HEIGHT_M)
        np.clip(height, -3, 6, out=out[1])
        out[1] *= valid
        if low_heights:
            height *= np.float32(HEIGHT_M / LOW_M)
            np.clip(height, -2.5, 4, out=out[7])
            out[7] *= valid
        else:
            out[7] = valid
    else:
        out[1] = out[7] = 0
    _facing(np.divide(valid, no_zero, out=no_zero), seen, (x, y), grid, out[2:6])
    relief = _mean_of_seen(z, seen, RELIEF)
    cv2.addWeighted(relief, 1 / RELIEF_M, z, -1 / RELIEF_M, 0, dst=relief)
    np.clip(relief, -3, 3, out=out[6])
    out[6] *= valid
    return out


def _mean_of_seen(values: np.ndarray, seen: np.ndarray, size: int) -> np.ndarray:
    """Means (h, w) of the seen pixels around each; values are 0 where nothing is seen."""
    mean = cv2.boxFilter(values, -1, (size, size), borderType=cv2.BORDER_REPLICATE)
    share = cv2.boxFilter(seen, cv2.CV_32F, (size, size), borderType=cv2.BORDER_REPLICATE)
    mean /= np.maximum(share, np.float32(1e-3), out=share)
    return mean


def _facing(
    inverse: np.ndarray, seen: np.ndarray, rays: tuple[np.ndarray, np.ndarray], grid: DepthGrid, out: np.ndarray
) -> None:
    """Write unit normals (3, h, w), towards the camera: right, up, away, behind whether a pixel is valid.

    Inverse depth is linear on a plane.
    """
    smooth = _mean_of_seen(inverse, seen, SMOOTHING)
    kernel = np.array([[-0.5, 0.0, 0.5]], np.float32)
    by_x, by_y = (
        cv2.filter2D(smooth, -1, along, borderType=cv2.BORDER_REPLICATE)
        for along in (kernel * np.float32(grid.intrinsics.fx), kernel.T * np.float32(grid.intrinsics.fy))
    )
    part, ahead = rays[0] * by_x, smooth
    ahead -= part
    ahead -= np.multiply(rays[1], by_y, out=part)
    scale = cv2.magnitude(cv2.magnitude(by_x, by_y), ahead)
    np.divide(out[0], np.maximum(scale, np.float32(1e-6), out=scale), out=scale)
    for row, (right, down, away) in zip(out[1:], (-_axes(grid.up)).tolist()):
        cv2.addWeighted(by_x, right, by_y, down, 0, dst=part)  # both terms in one pass, and then the third
        cv2.scaleAdd(ahead, away, part, dst=part)
        np.multiply(part, scale, out=row)


def object_crops(grid: DepthGrid, masks: list[tuple[np.ndarray, tuple[int, int, int, int]]]) -> np.ndarray:
    """Compute what the network that names objects sees of each.

    Parameters
    ----------
    grid : DepthGrid
        Of the frame.
    masks : list of ((h, w) bool, (top, bottom, left, right))
        Of each object on the grid, the box around it with the last row and column left out.

    Returns
    -------
    (K, CROP_CHANNELS, CROP, CROP) float32
        Of a box a little larger than the object: its mask; whether the depth is valid; metres to the right of the
        object's median, up from the surface, and away; up once more, from its own lowest points; whether the surface
        is known; and the logarithm of the metres that a pixel of the crop spans.
    """
    out = np.zeros((len(masks), CROP_CHANNELS, CROP, CROP), np.float32)
    if not masks:
        return out
    h, w = grid.z.shape
    boxes = np.array([box for _, box in masks])
    side = 1.2 * np.maximum(boxes[:, 1] - boxes[:, 0], boxes[:, 3] - boxes[:, 2]) + 4
    at = (np.arange(CROP) + 0.5) * side[:, None] / CROP - side[:, None] / 2
    rows = np.floor(at + (boxes[:, 0] + boxes[:, 1])[:, None] / 2).astype(int)
    columns = np.floor(at + (boxes[:, 2] + boxes[:, 3])[:, None] / 2).astype(int)
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    place = rows.clip(0, h - 1)[:, :, None] * w + columns.clip(0, w - 1)[:, None, :]
    own = np.stack([mask.reshape(-1).take(at) for (mask, _), at in zip(masks, place)]) & inside
    z = grid.z.reshape(-1).take(place)
    valid = (z > 0) & inside
    seen = own & valid
    rays = pixel_rays(grid.intrinsics, grid.z.shape)
    x, y = rays.x.take(place), rays.y.take(place)
    x *= z
    y *= z
    here = []
    for to_right, to_down, ahead in _axes(grid.up).tolist():
        along = x * np.float32(to_right)
        along += y * np.float32(to_down)
        along += z * np.float32(ahead)
        here.append(along)
    known = math.isfinite(grid.offset)
    starts = np.zeros((4, len(masks), 1, 1), np.float32)
    pixel = np.ones(len(masks))
    shown = seen.any(axis=(1, 2))
    for i in np.flatnonzero(shown):
        right, up, away, depth = (np.sort(axis[i][seen[i]]) for axis in (*here, z))
        lowest = _quantile(up, 0.03)
        floor = grid.offset if known else lowest
        starts[:, i, 0, 0] = _quantile(right, 0.5), floor, _quantile(away, 0.5), lowest
        pixel[i] = side[i] / CROP * _quantile(depth, 0.5) / grid.intrinsics.fx
    from_start = np.stack([*here, here[1]])
    from_start -= starts
    from_start *= np.float32(1 / LENGTH_M)
    np.clip(from_start, -4, 4, out=from_start)
    from_start *= valid
    out[:, 0], out[:, 1], out[:, 2:6], out[:, 6] = own, valid, from_start.swapaxes(0, 1), known
    out[:, 7] = np.log(pixel / PIXEL_M)[:, None, None]
    out[~shown] = 0
    return out


def _quantile(ordered: np.ndarray, share: float) -> float:
    """As `numpy.quantile` of values in order, without its fixed costs."""
    place = share * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (place - low) * (ordered[high] - ordered[low]))
