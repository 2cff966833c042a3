"""The inner loops of the CPU rasteriser, compiled by numba.

A Gaussian is projected to an ellipse (EWA splatting: the covariance through the projection's derivative), the ellipses
are sorted from front to back, and each is laid over the pixels of its bounding box, with what the ones in front of it
let through.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

NEAR_M = 0.01  # what is nearer to the camera is not drawn [m]
LOW_PASS_PX2 = 0.15  # added to the variance of each ellipse, so that none falls between the pixels [px²]
ELLIPSE = 9  # numbers that describe one
LEAST_ALPHA = 1 / 255  # less is nothing
MOST_ALPHA = 0.99  # of one Gaussian: no pixel is ever quite hidden by one
OPAQUE = 1e-3  # a pixel that lets less through is done
LEVELS = 2048  # of depth, in which Gaussians are sorted
LEAST_FACING = 0.02  # cosine between a normal and the ray back to the camera: less is a back side


@njit(cache=True, fastmath=True)
def project(means, covariances, normals, opacities, rotation, translation, camera, width, height, ellipses, boxes):
    """Project Gaussians to ellipses.

    Parameters
    ----------
    means : (N, 3) float32
        Object frame [m].
    covariances : (N, 6) float32
        xx, xy, xz, yy, yz, zz, object frame [m²].
    normals : (N, 3) float32
        Object frame, of length 1; of length 0 for a Gaussian that is seen from both sides.
    opacities : (N,) float32
        0..1.
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Of the object's origin, camera frame [m].
    camera : (4,) float64
        fx, fy, cx, cy [px].
    width, height : int
        Of the image [px].
    ellipses : (N, 9) float32
        Written: u, v [px], the inverse covariance's xx, xy, yy [1/px²], the depth [m] in the middle, the opacity, and
        how the depth changes to the right and down [m/px].
    boxes : (N, 4) int32
        Written: first column, column after the last, first row, row after the last.

    Returns
    -------
    (M,) int32
        The Gaussians that are in the image, from front to back.
    """
    n = len(means)
    fx, fy, cx, cy = camera[0], camera[1], camera[2], camera[3]
    r00, r01, r02 = rotation[0, 0], rotation[0, 1], rotation[0, 2]
    r10, r11, r12 = rotation[1, 0], rotation[1, 1], rotation[1, 2]
    r20, r21, r22 = rotation[2, 0], rotation[2, 1], rotation[2, 2]
    seen = np.empty(n, np.int32)
    count = 0
    nearest, furthest = np.inf, 0.0
    for i in range(n):
        a, b, c = means[i, 0], means[i, 1], means[i, 2]
        x = r00 * a + r01 * b + r02 * c + translation[0]
        y = r10 * a + r11 * b + r12 * c + translation[1]
        z = r20 * a + r21 * b + r22 * c + translation[2]
        if z < NEAR_M:
            continue
        a, b, c = normals[i, 0], normals[i, 1], normals[i, 2]
        if a != 0.0 or b != 0.0 or c != 0.0:
            facing = -(
                (r00 * a + r01 * b + r02 * c) * x
                + (r10 * a + r11 * b + r12 * c) * y
                + (r20 * a + r21 * b + r22 * c) * z
            )
            if facing < LEAST_FACING * math.sqrt(x * x + y * y + z * z):
                continue
        u, v = fx * x / z + cx, fy * y / z + cy
        # rows of the projection's derivative times the rotation
        jx, jy = fx / z, fy / z
        kx, ky = -fx * x / (z * z), -fy * y / (z * z)
        m00, m01, m02 = jx * r00 + kx * r20, jx * r01 + kx * r21, jx * r02 + kx * r22
        m10, m11, m12 = jy * r10 + ky * r20, jy * r11 + ky * r21, jy * r12 + ky * r22
        xx, xy, xz = covariances[i, 0], covariances[i, 1], covariances[i, 2]
        yy, yz, zz = covariances[i, 3], covariances[i, 4], covariances[i, 5]
        s0, s1, s2 = xx * m00 + xy * m01 + xz * m02, xy * m00 + yy * m01 + yz * m02, xz * m00 + yz * m01 + zz * m02
        t0, t1, t2 = xx * m10 + xy * m11 + xz * m12, xy * m10 + yy * m11 + yz * m12, xz * m10 + yz * m11 + zz * m12
        suu = m00 * s0 + m01 * s1 + m02 * s2
        suv = m10 * s0 + m11 * s1 + m12 * s2
        svv = m10 * t0 + m11 * t1 + m12 * t2
        sharp = max(suu * svv - suv * suv, 0.0)
        suu += LOW_PASS_PX2
        svv += LOW_PASS_PX2
        determinant = suu * svv - suv * suv
        opacity = opacities[i] * math.sqrt(sharp / determinant)  # wider, but no more of it: outlines would grow
        if opacity <= LEAST_ALPHA:
            continue
        reach = math.sqrt(2.0 * math.log(opacity / LEAST_ALPHA))  # standard deviations to the least alpha
        du, dv = reach * math.sqrt(suu), reach * math.sqrt(svv)
        left, right = max(0, math.ceil(u - du)), min(width, math.floor(u + du) + 1)
        top, bottom = max(0, math.ceil(v - dv)), min(height, math.floor(v + dv) + 1)
        if left >= right or top >= bottom:
            continue
        ellipses[i, 0], ellipses[i, 1] = u, v
        ellipses[i, 2], ellipses[i, 3], ellipses[i, 4] = svv / determinant, -suv / determinant, suu / determinant
        ellipses[i, 5], ellipses[i, 6] = z, opacity
        # what depth is to be expected beside the middle: a slanted disc is not all as near as its middle
        szu, szv = r20 * s0 + r21 * s1 + r22 * s2, r20 * t0 + r21 * t1 + r22 * t2
        ellipses[i, 7] = (svv * szu - suv * szv) / determinant
        ellipses[i, 8] = (suu * szv - suv * szu) / determinant
        boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3] = left, right, top, bottom
        seen[count] = i
        count += 1
        nearest, furthest = min(nearest, z), max(furthest, z)
    return _sorted_by_depth(seen[:count], ellipses, nearest, furthest)


@njit(cache=True, fastmath=True)
def _level(z, nearest, scale):
    """Of a depth, which was rounded since the nearest was found: where all are alike, that is more than all levels."""
    return int(min(max((z - nearest) * scale, 0.0), LEVELS - 1.0))


@njit(cache=True, fastmath=True)
def _sorted_by_depth(seen, ellipses, nearest, furthest):
    """A counting sort: a comparison sort would take longer than to draw the image."""
    starts = np.zeros(LEVELS + 1, np.int32)
    scale = (LEVELS - 1) / max(furthest - nearest, 1e-9)
    for i in seen:
        starts[_level(ellipses[i, 5], nearest, scale) + 1] += 1
    for level in range(LEVELS):
        starts[level + 1] += starts[level]
    ordered = np.empty_like(seen)
    for i in seen:
        level = _level(ellipses[i, 5], nearest, scale)
        ordered[starts[level]] = i
        starts[level] += 1
    return ordered


@njit(cache=True, fastmath=True)
def composite(order, ellipses, boxes, features, image, depth, through):
    """Lay ellipses over an image, from front to back.

    Parameters
    ----------
    order : (M,) int32
        The Gaussians that are in the image, from front to back.
    ellipses, boxes
        As `project` writes them.
    features : (N, C) float32
        Colours, or whatever else a Gaussian carries.
    image : (H, W, C) float32
        Written: the features, each times its weight; 0 where nothing is.
    depth : (H, W) float32
        Written: the depths, each times its weight [m].
    through : (H, W) float32
        Written: the share of the background that is seen, 1 - alpha.
    """
    channels = features.shape[1]
    image[:] = 0.0
    depth[:] = 0.0
    through[:] = 1.0
    for i in order:
        u, v, z = ellipses[i, 0], ellipses[i, 1], ellipses[i, 5]
        xx, xy, yy = ellipses[i, 2], ellipses[i, 3], ellipses[i, 4]
        opacity, right, down = ellipses[i, 6], ellipses[i, 7], ellipses[i, 8]
        most = np.float32(2.0 * math.log(opacity / LEAST_ALPHA))
        for row in range(boxes[i, 2], boxes[i, 3]):
            dv = np.float32(row) - v
            for column in range(boxes[i, 0], boxes[i, 1]):
                let = through[row, column]
                if let < OPAQUE:
                    continue
                du = np.float32(column) - u
                distance = xx * du * du + np.float32(2.0) * xy * du * dv + yy * dv * dv
                if distance > most:
                    continue
                alpha = min(opacity * math.exp(np.float32(-0.5) * distance), np.float32(MOST_ALPHA))
                weight = alpha * let
                through[row, column] = let - weight
                depth[row, column] += weight * (z + right * du + down * dv)
                for k in range(channels):
                    image[row, column, k] += weight * features[i, k]
