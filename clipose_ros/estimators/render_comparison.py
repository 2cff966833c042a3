"""Renders of a learned object against the image, and the pose by Levenberg-Marquardt, compiled by numba.

The image is a small square crop: its colour, what part of a pixel the mask covers (-1 outside the image) and its depth
(0 where nothing is known). Pixels beside the mask that are nearer to the camera than the object are occluders, and do
not count.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from clipose_ros.estimators.surface_alignment import turn_of
from clipose_ros.rendering.kernels import ELLIPSE, composite, project

OCCLUDER_M = 0.012  # so much nearer than the object is in front of it [m]
BORDER, WHOLE = 2, 0.9  # pixels around one, and what the mask covers of each, for colours without depth
KNOWN_SHARE = 0.6  # of a pixel's weight must be of discs with a known colour
NOISE_COLOUR, NOISE_EDGE, NOISE_DEPTH_M = 0.1, 0.4, 0.004
FARTHEST_DEPTH_M = 0.02  # further from the surface is another surface [m]
TURN_STEP, SHIFT_STEP = 0.01, 0.4  # of the numeric derivative: [rad], [px]
SPARE, LACK, BOTH, DEPTH, TEXTURE, GAIN_TEXTURE, KNOWN, HIDDEN = range(8)  # columns of a comparison


@njit(cache=True, fastmath=True)
def _draw(solid, features, rotation, translation, camera, ellipses, boxes, image, depth, through):
    """Project, then composite: see `clipose_ros.rendering.kernels`. `solid`: means, covariances, normals, opacities."""
    height, width = through.shape
    order = project(
        solid[0], solid[1], solid[2], solid[3], rotation, translation, camera, width, height, ellipses, boxes
    )
    composite(order, ellipses, boxes, features, image, depth, through)


@njit(cache=True, fastmath=True)
def _inside(mask, row, column):
    """Whether a pixel lies in the mask with all around it: the colours of others are half those of the background."""
    height, width = mask.shape
    if row < BORDER or column < BORDER or row >= height - BORDER or column >= width - BORDER:
        return False
    for other_row in range(row - BORDER, row + BORDER + 1, BORDER):
        for other_column in range(column - BORDER, column + BORDER + 1, BORDER):
            if mask[other_row, other_column] < WHOLE:
                return False
    return True


@njit(cache=True, fastmath=True)
def _prepare(image, depth, through, colour, mask, seen_m, gains, weights, blind):
    """Gains of the channels, robust weights of the pixels (H, W, 5: edge, colours, depth), and the cost of a pose."""
    height, width = through.shape
    sums_im, sums_mm = np.zeros(3), np.full(3, 1e-6)
    for row in range(height):
        for column in range(width):
            alpha = 1 - through[row, column]
            if alpha > 0.5 and mask[row, column] > 0.5 and image[row, column, 3] > KNOWN_SHARE * alpha:
                for k in range(3):
                    paint = image[row, column, k] / alpha
                    sums_im[k] += colour[row, column, k] * paint
                    sums_mm[k] += paint * paint
    for k in range(3):
        gains[k] = min(max(sums_im[k] / sums_mm[k], 0.2), 5.0)
    cost = 0.0
    for row in range(height):
        for column in range(width):
            for k in range(5):
                weights[row, column, k] = 0.0
            covered, alpha = mask[row, column], 1 - through[row, column]
            if covered < 0:
                continue
            nearer = seen_m[row, column]
            if covered <= 0.5 and alpha > 0.05 and 0 < nearer < depth[row, column] / alpha - OCCLUDER_M:
                continue
            edge = (alpha - covered) / NOISE_EDGE
            weights[row, column, 0] = 1 / (1 + edge * edge) / NOISE_EDGE**2
            cost += math.log(1 + edge * edge)
            if covered <= 0.5 or alpha < 0.5:
                continue
            if image[row, column, 3] > KNOWN_SHARE * alpha and (not blind or _inside(mask, row, column)):
                for k in range(3):
                    off = (gains[k] * image[row, column, k] - colour[row, column, k] * alpha) / NOISE_COLOUR
                    weights[row, column, 1 + k] = 1 / (1 + off * off) / NOISE_COLOUR**2 / 3
                    cost += math.log(1 + off * off) / 3
            if nearer > 0 and alpha > 0.8 and covered > 0.8:
                off = (depth[row, column] - nearer * alpha) / NOISE_DEPTH_M
                if abs(off) < FARTHEST_DEPTH_M / NOISE_DEPTH_M:
                    weights[row, column, 4] = 1 / (1 + off * off) / NOISE_DEPTH_M**2
                cost += min(math.log(1 + off * off), math.log(1 + (FARTHEST_DEPTH_M / NOISE_DEPTH_M) ** 2))
    return cost


@njit(cache=True, fastmath=True)
def refine(solid, features, rotation, translation, camera, colour, mask, seen_m, steps, information, blind=False):
    """Improve a pose by what its render lacks.

    Parameters
    ----------
    solid : tuple of arrays
        Means, covariances, normals and opacities of the object's Gaussians, as `project` takes them.
    features : (N, 4) float32
        Colours, and 1 where they are known.
    rotation : (3, 3) float64
        R_camera_object. It turns about the object's origin, its centre.
    translation : (3,) float64
        Camera frame [m].
    camera : (4,) float64
        fx, fy, cx, cy of the crop [px].
    colour : (H, W, 3) float32
        RGB, 0..1.
    mask : (H, W) float32
        What part of each pixel the mask covers; -1 outside the image.
    seen_m : (H, W) float32
        Depth [m].
    steps : int
        The most steps.
    information : (6, 6) float64
        Written: the normal equations at the last step, of the turn about the camera's axes [rad], and of the shift in
        the image (x / z, y / z) and of log z.
    blind : bool
        Whether there is no depth. Then the distance hangs on the outline, and colours must not move it: where those of
        the background mix in, a pixel that the object covers less would look less wrong.

    Returns
    -------
    rotation : (3, 3) float64
        Improved.
    translation : (3,) float64
        Improved.
    """
    height, width = mask.shape
    count = len(features)
    ellipses, boxes = np.zeros((count, ELLIPSE), np.float32), np.zeros((count, 4), np.int32)
    image, moved_image = np.zeros((height, width, 4), np.float32), np.zeros((height, width, 4), np.float32)
    depth, through = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    moved_depth, moved_through = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    weights = np.zeros((height, width, 5), np.float32)
    slopes = np.zeros((6, height, width, 5), np.float32)
    gains = np.ones(3)
    delta = np.zeros(6)
    best_rotation, best_translation, best_cost = rotation, translation, np.inf
    damping = 1e-2
    system, right = np.zeros((6, 6)), np.zeros(6)
    for step in range(steps + 1):
        _draw(solid, features, rotation, translation, camera, ellipses, boxes, image, depth, through)
        cost = _prepare(image, depth, through, colour, mask, seen_m, gains, weights, blind)
        if cost < best_cost:
            small = best_cost - cost < 1e-3 * cost
            best_rotation, best_translation, best_cost = rotation, translation, cost
            damping = max(damping * 0.3, 1e-4)
            if step == steps:
                break
            shift = SHIFT_STEP / camera[0]
            for axis in range(6):
                delta[:] = 0.0
                delta[axis] = TURN_STEP if axis < 3 else shift if axis < 5 else 2 * TURN_STEP
                turned, shifted = moved_pose(rotation, translation, delta)
                _draw(
                    solid, features, turned, shifted, camera, ellipses, boxes, moved_image, moved_depth, moved_through
                )
                for row in range(height):
                    for column in range(width):
                        alpha, moved = 1 - through[row, column], 1 - moved_through[row, column]
                        slope = slopes[axis, row, column]
                        slope[0] = (moved - alpha) / delta[axis]
                        for k in range(3):
                            change = gains[k] * (moved_image[row, column, k] - image[row, column, k])
                            paint = (
                                gains[k] * image[row, column, k] / max(alpha, 0.1) if blind else colour[row, column, k]
                            )
                            slope[1 + k] = (change - paint * (moved - alpha)) / delta[axis]
                        change = moved_depth[row, column] - depth[row, column]
                        slope[4] = (change - seen_m[row, column] * (moved - alpha)) / delta[axis]
            system[:] = 0.0
            right[:] = 0.0
            for row in range(height):
                for column in range(width):
                    alpha = 1 - through[row, column]
                    for k in range(5):
                        weight = weights[row, column, k]
                        if weight == 0:
                            continue
                        if k == 0:
                            off = alpha - mask[row, column]
                        elif k < 4:
                            off = gains[k - 1] * image[row, column, k - 1] - colour[row, column, k - 1] * alpha
                        else:
                            off = depth[row, column] - seen_m[row, column] * alpha
                        for a in range(6):
                            scaled = weight * slopes[a, row, column, k]
                            right[a] -= scaled * off
                            for b in range(a + 1):
                                system[a, b] += scaled * slopes[b, row, column, k]
            for a in range(6):
                for b in range(a):
                    system[b, a] = system[a, b]
            information[:] = system
            if small:
                break
        else:
            damping *= 10
            if step == steps or damping > 1e3:
                break
        damped = system.copy()
        for a in range(6):
            damped[a, a] += damping * system[a, a] + 1e-3
        change = np.linalg.solve(damped, right)
        angle = math.sqrt(change[0] ** 2 + change[1] ** 2 + change[2] ** 2)
        if angle > 0.2:
            change *= 0.2 / angle
        rotation, translation = moved_pose(best_rotation, best_translation, change)
    return best_rotation, best_translation


@njit(cache=True, fastmath=True)
def moved_pose(rotation, translation, change):
    """Turn a pose about the object's origin, and shift it.

    Parameters
    ----------
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Camera frame [m].
    change : (6,) float64
        Turn about the camera's axes [rad], then what is added to x / z, y / z and log z.

    Returns
    -------
    rotation : (3, 3) float64
        Turned.
    translation : (3,) float64
        Shifted.
    """
    z = translation[2] * math.exp(change[5])
    shifted = np.empty(3)
    shifted[0] = (translation[0] / translation[2] + change[3]) * z
    shifted[1] = (translation[1] / translation[2] + change[4]) * z
    shifted[2] = z
    return turn_of(change[:3]) @ rotation, shifted


@njit(cache=True, fastmath=True)
def compare(solid, features, rotation, translation, camera, colour, mask, seen_m, found):
    """Judge a pose by its render.

    Parameters
    ----------
    solid, features, rotation, translation, camera, colour, mask, seen_m
        As `refine` takes them.
    found : (8,) float64
        Written. Shares of all pixels that the object and the mask cover together: SPARE that the render alone covers,
        LACK that the mask alone covers, BOTH. DEPTH: mean difference in units of 10 mm, each at most 1. TEXTURE:
        residual of the colours after gain and contrast, GAIN_TEXTURE: after gain alone, both by the mean brightness.
        KNOWN: share of the pixels with known colour. HIDDEN: of the object, the share behind occluders.
    """
    height, width = mask.shape
    count = len(features)
    ellipses, boxes = np.zeros((count, ELLIPSE), np.float32), np.zeros((count, 4), np.int32)
    image = np.zeros((height, width, 4), np.float32)
    depth, through = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    _draw(solid, features, rotation, translation, camera, ellipses, boxes, image, depth, through)
    spare, lack, both, hidden, far, depths, known = 0.0, 0.0, 0.0, 0.0, 0.0, 1e-6, 1e-6
    s_i, s_m, s_ii, s_im, s_mm = np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3), np.zeros(3)
    for row in range(height):
        for column in range(width):
            covered, alpha = mask[row, column], 1 - through[row, column]
            if covered < 0:
                continue
            nearer = seen_m[row, column]
            if alpha <= 0.5:
                if covered > 0.5:
                    lack += covered - alpha
                continue
            if covered <= 0.5:
                if 0 < nearer < depth[row, column] / alpha - OCCLUDER_M:
                    hidden += 1
                else:
                    spare += alpha - covered
                continue
            both += 1
            if nearer > 0 and alpha > 0.8:
                far += min(1.0, abs(nearer - depth[row, column] / alpha) / 0.01)
                depths += 1
            if image[row, column, 3] > KNOWN_SHARE * alpha:
                known += 1
                for k in range(3):
                    value, paint = colour[row, column, k], image[row, column, k] / alpha
                    s_i[k] += value
                    s_m[k] += paint
                    s_ii[k] += value * value
                    s_im[k] += value * paint
                    s_mm[k] += paint * paint
    of_gain, common, of_image, of_model, brightness = 0.0, 0.0, 0.0, 0.0, 0.0
    for k in range(3):
        of_gain += s_ii[k] - s_im[k] * s_im[k] / (s_mm[k] + 1e-9)
        common += s_im[k] - s_i[k] * s_m[k] / known
        of_image += s_ii[k] - s_i[k] * s_i[k] / known
        of_model += s_mm[k] - s_m[k] * s_m[k] / known
        brightness += s_i[k] / (3 * known)
    brightness = max(brightness, 0.05)
    left = of_image - max(common, 0.0) ** 2 / (of_model + 1e-9)
    total = spare + lack + both + 1e-6
    found[SPARE], found[LACK], found[BOTH] = spare / total, lack / total, both / total
    found[DEPTH] = far / depths if depths > 10 else 0.5
    enough = known > 10
    found[TEXTURE] = math.sqrt(max(left, 0.0) / (3 * known)) / brightness if enough else 0.3
    found[GAIN_TEXTURE] = math.sqrt(max(of_gain, 0.0) / (3 * known)) / brightness if enough else 0.3
    found[KNOWN] = known / (both + 1e-6)
    found[HIDDEN] = hidden / (total + hidden)
