"""Observed points against the surface of a learned object, compiled by numba.

The nearest disc of a point is looked up in a grid over the object, so that thousands of poses can be judged in
milliseconds. Points, normals and colours are those of the camera image, float64; the object's arrays are those of
`SurfaceTables`.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

DISTANCE, FACING, COLOUR, MATCHED = range(4)  # columns of what judges a pose
POINT_SHARE = 0.15  # of a step: how far a point is drawn to its disc's centre, not to its plane alone
LEAST_FACING = 0.2  # cosine of the observed and the disc's normal: less is likely another side
UNSEEN_WEIGHT = 0.5  # of discs that no view saw: their place is a guess
LARGEST_TURN = 0.3  # of one step [rad]


@njit(cache=True, fastmath=True)
def align_shifts(rotations, translations, points, normals, colours, grid, low, cell, discs, facings, paints, seen,
                 reach, steps, judged):  # fmt: skip
    """Find the best shift for each rotation, and judge the poses.

    Parameters
    ----------
    rotations : (K, 3, 3) float64
        R_camera_object.
    translations : (K, 3) float64
        First guesses, camera frame [m]; overwritten.
    points, normals, colours : (N, 3) float64
        What was observed: camera frame [m], and RGB 0..1.
    grid : (X, Y, Z) int32
        The nearest disc of each cell.
    low : (3,) float64
        Corner of the grid, object frame [m].
    cell : float
        Side of a cell [m].
    discs, facings, paints : (M, 3) float64
        Centres [m], normals and colours of the discs, object frame.
    seen : (M,) float64
        1 for discs whose colour is known, 0 for others.
    reach : float
        Distance from which on a point is an outlier [m].
    steps : int
        How often the shift is improved.
    judged : (K, 4) float64
        Written: the mean distance in units of `reach`, each at most 1; the mean cosine of the normals; the colours'
        residual after a gain for each channel; the share of the points within reach.
    """
    count = len(points)
    size_x, size_y, size_z = grid.shape
    for k in range(len(rotations)):
        r = rotations[k]
        t = translations[k]
        for step in range(steps + 1):
            last = step == steps
            a00, a01, a02, a11, a12, a22 = 1e-9, 0.0, 0.0, 1e-9, 0.0, 1e-9
            b0, b1, b2 = 0.0, 0.0, 0.0
            distance_sum, facing_sum, matched, painted = 0.0, 0.0, 0.0, 0.0
            ii0, ii1, ii2, im0, im1, im2, mm0, mm1, mm2 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for i in range(count):
                x, y, z = points[i, 0] - t[0], points[i, 1] - t[1], points[i, 2] - t[2]
                q0 = r[0, 0] * x + r[1, 0] * y + r[2, 0] * z
                q1 = r[0, 1] * x + r[1, 1] * y + r[2, 1] * z
                q2 = r[0, 2] * x + r[1, 2] * y + r[2, 2] * z
                c0, c1, c2 = (q0 - low[0]) / cell, (q1 - low[1]) / cell, (q2 - low[2]) / cell
                outside = c0 < 0 or c1 < 0 or c2 < 0 or c0 >= size_x or c1 >= size_y or c2 >= size_z
                u = min(max(int(c0), 0), size_x - 1)
                v = min(max(int(c1), 0), size_y - 1)
                w = min(max(int(c2), 0), size_z - 1)
                j = grid[u, v, w]
                d0, d1, d2 = q0 - discs[j, 0], q1 - discs[j, 1], q2 - discs[j, 2]
                squared = d0 * d0 + d1 * d1 + d2 * d2
                n0, n1, n2 = facings[j, 0], facings[j, 1], facings[j, 2]
                if not last:
                    weight = 1.0 / (1.0 + squared / (reach * reach))
                    a00 += weight * (n0 * n0 + POINT_SHARE)
                    a01 += weight * n0 * n1
                    a02 += weight * n0 * n2
                    a11 += weight * (n1 * n1 + POINT_SHARE)
                    a12 += weight * n1 * n2
                    a22 += weight * (n2 * n2 + POINT_SHARE)
                    along = n0 * d0 + n1 * d1 + n2 * d2
                    b0 += weight * (n0 * along + POINT_SHARE * d0)
                    b1 += weight * (n1 * along + POINT_SHARE * d1)
                    b2 += weight * (n2 * along + POINT_SHARE * d2)
                    continue
                distance = math.sqrt(squared)
                if outside or distance >= reach:
                    distance_sum += 1.0
                    continue
                distance_sum += distance / reach
                matched += 1.0
                m0 = r[0, 0] * normals[i, 0] + r[1, 0] * normals[i, 1] + r[2, 0] * normals[i, 2]
                m1 = r[0, 1] * normals[i, 0] + r[1, 1] * normals[i, 1] + r[2, 1] * normals[i, 2]
                m2 = r[0, 2] * normals[i, 0] + r[1, 2] * normals[i, 1] + r[2, 2] * normals[i, 2]
                facing_sum += max(0.0, m0 * n0 + m1 * n1 + m2 * n2)
                if seen[j] > 0:
                    painted += 1.0
                    i0, i1, i2 = colours[i, 0], colours[i, 1], colours[i, 2]
                    p0, p1, p2 = paints[j, 0], paints[j, 1], paints[j, 2]
                    ii0 += i0 * i0
                    ii1 += i1 * i1
                    ii2 += i2 * i2
                    im0 += i0 * p0
                    im1 += i1 * p1
                    im2 += i2 * p2
                    mm0 += p0 * p0
                    mm1 += p1 * p1
                    mm2 += p2 * p2
            if last:
                residual = ii0 + ii1 + ii2
                residual -= im0 * im0 / (mm0 + 1e-9) + im1 * im1 / (mm1 + 1e-9) + im2 * im2 / (mm2 + 1e-9)
                judged[k, DISTANCE] = distance_sum / count
                judged[k, FACING] = facing_sum / count
                judged[k, COLOUR] = math.sqrt(max(residual, 0.0) / (3 * painted)) if painted >= 10 else 0.1
                judged[k, MATCHED] = matched / count
            else:
                f00, f01, f02 = a11 * a22 - a12 * a12, a02 * a12 - a01 * a22, a01 * a12 - a02 * a11
                f11, f12, f22 = a00 * a22 - a02 * a02, a01 * a02 - a00 * a12, a00 * a11 - a01 * a01
                determinant = a00 * f00 + a01 * f01 + a02 * f02
                s0 = (f00 * b0 + f01 * b1 + f02 * b2) / determinant
                s1 = (f01 * b0 + f11 * b1 + f12 * b2) / determinant
                s2 = (f02 * b0 + f12 * b1 + f22 * b2) / determinant
                for axis in range(3):
                    t[axis] += r[axis, 0] * s0 + r[axis, 1] * s1 + r[axis, 2] * s2


@njit(cache=True, fastmath=True)
def judge_outlines(rotations, translations, discs, facings, camera, mask, seen_m, nearer_m, shares):
    """Say what share of an object's visible side lies beside the mask, where nothing hides it.

    Parameters
    ----------
    rotations : (K, 3, 3) float64
        R_camera_object.
    translations : (K, 3) float64
        Camera frame [m].
    discs, facings : (M, 3) float64
        Centres [m] and normals of some discs that are spread evenly, object frame.
    camera : (4,) float64
        fx, fy, cx, cy of the whole image [px].
    mask : (H, W) bool
        The object's pixels.
    seen_m : (H, W) float32
        Depth [m], 0 where nothing is known.
    nearer_m : float
        What is nearer than a disc by so much hides it [m].
    shares : (K,) float64
        Written: 0 where all lies in the mask, 1 where nothing does. Beyond the image nothing counts.
    """
    height, width = mask.shape
    for k in range(len(rotations)):
        r, t = rotations[k], translations[k]
        beside, counted = 0.0, 1e-9
        for j in range(len(discs)):
            a, b, c = discs[j, 0], discs[j, 1], discs[j, 2]
            x = r[0, 0] * a + r[0, 1] * b + r[0, 2] * c + t[0]
            y = r[1, 0] * a + r[1, 1] * b + r[1, 2] * c + t[1]
            z = r[2, 0] * a + r[2, 1] * b + r[2, 2] * c + t[2]
            if z <= 0.01:
                continue
            a, b, c = facings[j, 0], facings[j, 1], facings[j, 2]
            n0 = r[0, 0] * a + r[0, 1] * b + r[0, 2] * c
            n1 = r[1, 0] * a + r[1, 1] * b + r[1, 2] * c
            n2 = r[2, 0] * a + r[2, 1] * b + r[2, 2] * c
            if -(n0 * x + n1 * y + n2 * z) < LEAST_FACING * math.sqrt(x * x + y * y + z * z):
                continue
            column, row = int(camera[0] * x / z + camera[2] + 0.5), int(camera[1] * y / z + camera[3] + 0.5)
            if column < 0 or row < 0 or column >= width or row >= height:
                continue
            if mask[row, column]:
                counted += 1
            elif not 0 < seen_m[row, column] < z - nearer_m:
                counted += 1
                beside += 1
        shares[k] = beside / counted


@njit(cache=True, fastmath=True)
def turn_of(vector):
    """Make a rotation of a rotation vector.

    Parameters
    ----------
    vector : (3,) float64
        Axis times angle [rad].

    Returns
    -------
    (3, 3) float64
        The rotation.
    """
    angle = math.sqrt(vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2)
    cross = np.zeros((3, 3))
    cross[0, 1], cross[0, 2], cross[1, 2] = -vector[2], vector[1], -vector[0]
    cross[1, 0], cross[2, 0], cross[2, 1] = vector[2], -vector[1], vector[0]
    if angle < 1e-9:
        return np.eye(3) + cross
    return np.eye(3) + math.sin(angle) / angle * cross + (1 - math.cos(angle)) / angle**2 * (cross @ cross)


@njit(cache=True, fastmath=True)
def align_to_surface(rotation, translation, points, normals, colours, grid, low, cell, discs, facings, paints, slopes,
                     seen, first_reach, last_reach, steps, noise_m, noise_colour, judged):  # fmt: skip
    """Improve a pose by shape and colour: each point to the plane of its disc, and its colour to that of its place.

    Parameters
    ----------
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Camera frame [m].
    points, normals, colours, grid, low, cell, discs, facings, paints, seen
        As `align_shifts` takes them.
    slopes : (M, 3, 3) float64
        How the colour of each disc changes along the surface: channel by axis, object frame [1/m].
    first_reach, last_reach : float
        Distance from which on a point is an outlier, in the first and in the last step [m].
    steps : int
        Gauss-Newton steps; 0 judges the pose only.
    noise_m, noise_colour : float
        Standard deviations of distances [m] and of colours.
    judged : (4,) float64
        Written, as `align_shifts`; distances in units of `last_reach`.

    Returns
    -------
    rotation : (3, 3) float64
        Of the improved pose.
    translation : (3,) float64
        Of the improved pose.
    """
    count = len(points)
    size_x, size_y, size_z = grid.shape
    gains = np.ones(3)
    row = np.empty(6)
    system, right = np.empty((6, 6)), np.empty(6)
    ii, im, mm = np.empty(3), np.empty(3), np.empty(3)
    for step in range(steps + 1):
        reach = first_reach * (last_reach / first_reach) ** min(1.0, step / max(1, steps - 1))
        if steps == 0:
            reach = last_reach
        system[:] = 0.0
        right[:] = 0.0
        ii[:] = 0.0
        im[:] = 0.0
        mm[:] = 0.0
        distance_sum, facing_sum, matched, painted, colour_sum = 0.0, 0.0, 0.0, 1e-9, 0.0
        for i in range(count):
            x, y, z = points[i, 0] - translation[0], points[i, 1] - translation[1], points[i, 2] - translation[2]
            q0 = rotation[0, 0] * x + rotation[1, 0] * y + rotation[2, 0] * z
            q1 = rotation[0, 1] * x + rotation[1, 1] * y + rotation[2, 1] * z
            q2 = rotation[0, 2] * x + rotation[1, 2] * y + rotation[2, 2] * z
            c0, c1, c2 = (q0 - low[0]) / cell, (q1 - low[1]) / cell, (q2 - low[2]) / cell
            if c0 < 0 or c1 < 0 or c2 < 0 or c0 >= size_x or c1 >= size_y or c2 >= size_z:
                distance_sum += 1.0
                continue
            j = grid[int(c0), int(c1), int(c2)]
            d0, d1, d2 = q0 - discs[j, 0], q1 - discs[j, 1], q2 - discs[j, 2]
            n0, n1, n2 = facings[j, 0], facings[j, 1], facings[j, 2]
            along = d0 * n0 + d1 * n1 + d2 * n2
            distance = math.sqrt(d0 * d0 + d1 * d1 + d2 * d2)
            distance_sum += min(1.0, distance / last_reach)
            m0 = rotation[0, 0] * normals[i, 0] + rotation[1, 0] * normals[i, 1] + rotation[2, 0] * normals[i, 2]
            m1 = rotation[0, 1] * normals[i, 0] + rotation[1, 1] * normals[i, 1] + rotation[2, 1] * normals[i, 2]
            m2 = rotation[0, 2] * normals[i, 0] + rotation[1, 2] * normals[i, 1] + rotation[2, 2] * normals[i, 2]
            facing = m0 * n0 + m1 * n1 + m2 * n2
            facing_sum += max(0.0, facing)
            if distance >= reach:
                continue
            matched += 1.0
            weight = (1.0 - (distance / reach) ** 2) ** 2
            if facing < LEAST_FACING:
                weight *= LEAST_FACING
            if seen[j] == 0.0:
                weight *= UNSEEN_WEIGHT
            # n · (w × q) = w · (q × n)
            row[0], row[1], row[2] = q1 * n2 - q2 * n1, q2 * n0 - q0 * n2, q0 * n1 - q1 * n0
            row[3], row[4], row[5] = n0, n1, n2
            scale = weight / (noise_m * noise_m)
            for a in range(6):
                right[a] -= scale * row[a] * along
                for b in range(a + 1):
                    system[a, b] += scale * row[a] * row[b]
            if seen[j] == 0.0:
                continue
            painted += weight
            e0, e1, e2 = d0 - along * n0, d1 - along * n1, d2 - along * n2
            for channel in range(3):
                g0, g1, g2 = slopes[j, channel, 0], slopes[j, channel, 1], slopes[j, channel, 2]
                paint = paints[j, channel] + g0 * e0 + g1 * e1 + g2 * e2
                value = colours[i, channel]
                ii[channel] += weight * value * value
                im[channel] += weight * value * paint
                mm[channel] += weight * paint * paint
                if step == 0 and steps > 0:
                    continue
                off = paint - value / gains[channel]
                colour_sum += weight * min(off * off, 0.09)
                scale = weight / (noise_colour * noise_colour) / (1.0 + (off / (2 * noise_colour)) ** 2)
                row[0], row[1], row[2] = q1 * g2 - q2 * g1, q2 * g0 - q0 * g2, q0 * g1 - q1 * g0
                row[3], row[4], row[5] = g0, g1, g2
                for a in range(6):
                    right[a] -= scale * row[a] * off
                    for b in range(a + 1):
                        system[a, b] += scale * row[a] * row[b]
        if steps == 0:  # the gains were not known before
            colour_sum = 0.0
            for channel in range(3):
                gain = im[channel] / (mm[channel] + 1e-9)
                colour_sum += max(ii[channel] - gain * im[channel], 0.0) / max(gain, 0.2) ** 2
        for channel in range(3):
            gains[channel] = min(max(im[channel] / (mm[channel] + 1e-9), 0.2), 5.0)
        judged[DISTANCE], judged[FACING] = distance_sum / count, facing_sum / count
        judged[COLOUR] = math.sqrt(colour_sum / (3 * painted)) if painted > 5 else 0.1
        judged[MATCHED] = matched / count
        if step == steps:
            break
        for a in range(6):
            for b in range(a):
                system[b, a] = system[a, b]
            system[a, a] = system[a, a] * (1 + 1e-3) + 1e-6
        change = np.linalg.solve(system, right)
        angle = math.sqrt(change[0] ** 2 + change[1] ** 2 + change[2] ** 2)
        if angle > LARGEST_TURN:
            change *= LARGEST_TURN / angle
        rotation = rotation @ turn_of(change[:3]).T  # the points move by the change, the object against it
        translation = translation - rotation @ change[3:]
    return rotation, translation
