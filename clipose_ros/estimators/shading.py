"""Renders against an image without depth: colours after a light from one direction, compiled by numba.

Light is not what it was when an object was learned. Each channel has a gain, and all share a light that makes what
faces it brighter: so the edge between two sides of a plain box is explained by a pose that shows two sides, and by no
other. What no view saw is taken as of one colour.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from clipose_ros.estimators.render_comparison import KNOWN_SHARE
from clipose_ros.rendering.kernels import ELLIPSE, composite, project

SPARE, LACK, SHADED, KNOWN, UNEVEN = range(5)  # columns of a comparison
ALTERNATIONS = 3  # of gains and light
PRIOR = 0.03  # of no light from the side, by what the pixels tell
LEAST_PIXELS = 10
LEAST_BRIGHTNESS = 0.05


@njit(cache=True, fastmath=True)
def compare_shaded(solid, features, rotation, translation, camera, colour, mask, found):
    """Judge a pose by its render, without depth.

    Parameters
    ----------
    solid : tuple of arrays
        Means, covariances, normals and opacities of the object's Gaussians, as `project` takes them.
    features : (N, 7) float32
        Colours, 1 where they are known, and normals.
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Camera frame [m].
    camera : (4,) float64
        fx, fy, cx, cy of the crop [px].
    colour : (H, W, 3) float32
        RGB, 0..1.
    mask : (H, W) float32
        What part of each pixel the mask covers; -1 where a pixel does not count.
    found : (5,) float64
        Written. Shares of all pixels that the object and the mask cover together: SPARE that the render alone covers,
        LACK that the mask alone covers. SHADED: residual of known colours after gains and light, by the mean
        brightness. KNOWN: share of the common pixels with known colour. UNEVEN: spread of the image where colours are
        not known, by its mean brightness.
    """
    height, width = mask.shape
    count = len(features)
    ellipses, boxes = np.zeros((count, ELLIPSE), np.float32), np.zeros((count, 4), np.int32)
    image = np.zeros((height, width, 7), np.float32)
    depth, through = np.zeros((height, width), np.float32), np.zeros((height, width), np.float32)
    order = project(
        solid[0], solid[1], solid[2], solid[3], rotation, translation, camera, width, height, ellipses, boxes
    )
    composite(order, ellipses, boxes, features, image, depth, through)
    spare, lack, both, known, other = 0.0, 0.0, 0.0, 1e-6, 1e-6
    squares = np.zeros(3)  # of the image
    alike, alike_by = np.zeros(3), np.zeros((3, 3))  # image times paint, and that times the normal
    paints, paints_by, paints_twice = np.full(3, 1e-6), np.zeros((3, 3)), np.zeros((3, 3, 3))
    sums, others, others_squared = np.zeros(3), np.zeros(3), np.zeros(3)
    for row in range(height):
        for column in range(width):
            covered, alpha = mask[row, column], 1 - through[row, column]
            if covered < 0:
                continue
            if alpha <= 0.5:
                if covered > 0.5:
                    lack += covered - alpha
                continue
            if covered <= 0.5:
                spare += alpha - covered
                continue
            both += 1
            if image[row, column, 3] > KNOWN_SHARE * alpha:
                known += 1
                for k in range(3):
                    value, paint = colour[row, column, k], image[row, column, k] / alpha
                    sums[k] += value
                    squares[k] += value * value
                    alike[k] += value * paint
                    paints[k] += paint * paint
                    for a in range(3):
                        normal = image[row, column, 4 + a] / alpha
                        alike_by[k, a] += value * paint * normal
                        paints_by[k, a] += paint * paint * normal
                        for b in range(a + 1):
                            paints_twice[k, a, b] += paint * paint * normal * image[row, column, 4 + b] / alpha
            else:
                other += 1
                for k in range(3):
                    others[k] += colour[row, column, k]
                    others_squared[k] += colour[row, column, k] ** 2
    for k in range(3):
        for a in range(3):
            for b in range(a):
                paints_twice[k, b, a] = paints_twice[k, a, b]
    light, gains = np.zeros(3), np.zeros(3)
    for _ in range(ALTERNATIONS):
        system, right = np.zeros((3, 3)), np.zeros(3)
        for k in range(3):
            across = paints[k] + 2 * (light @ paints_by[k]) + light @ paints_twice[k] @ light
            gains[k] = min(max((alike[k] + light @ alike_by[k]) / max(across, 1e-9), 0.2), 5.0)
            system += gains[k] ** 2 * paints_twice[k]
            right += gains[k] * alike_by[k] - gains[k] ** 2 * paints_by[k]
            for a in range(3):
                system[a, a] += PRIOR * gains[k] ** 2 * paints[k]
        light = np.linalg.solve(system, right)
    left = 0.0
    for k in range(3):
        across = paints[k] + 2 * (light @ paints_by[k]) + light @ paints_twice[k] @ light
        gain = min(max((alike[k] + light @ alike_by[k]) / max(across, 1e-9), 0.2), 5.0)
        left += squares[k] - 2 * gain * (alike[k] + light @ alike_by[k]) + gain**2 * across
    brightness = max((sums[0] + sums[1] + sums[2]) / (3 * known), LEAST_BRIGHTNESS)
    total = spare + lack + both + 1e-6
    found[SPARE], found[LACK] = spare / total, lack / total
    found[SHADED] = math.sqrt(max(left, 0.0) / (3 * known)) / brightness if known > LEAST_PIXELS else 0.3
    found[KNOWN] = known / (known + other)
    spread = 0.0
    for k in range(3):
        spread += others_squared[k] - others[k] ** 2 / other
    brightness = max((others[0] + others[1] + others[2]) / (3 * other), LEAST_BRIGHTNESS)
    found[UNEVEN] = math.sqrt(max(spread, 0.0) / (3 * other)) / brightness if other > LEAST_PIXELS else 0.0
