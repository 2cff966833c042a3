"""Without depth, the light on a plain box tells how many of its sides are seen."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.core.types import Intrinsics
from clipose_ros.estimators.shading import KNOWN, LACK, SHADED, SPARE, UNEVEN, compare_shaded
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.rendering.gaussians import discs

HALF, SIDE_PX, FAR_M = np.array([0.06, 0.04, 0.03]), 64, 0.5
CAMERA = np.array([200.0, 200.0, 31.5, 31.5])
LIGHT = np.array([0.5, -0.3, -0.1])  # of the object's frame: brighter where normals go along it


def turned(about_y_deg: float) -> np.ndarray:
    a = np.radians(about_y_deg)
    return np.array([[np.cos(a), 0, np.sin(a)], [0, 1.0, 0], [-np.sin(a), 0, np.cos(a)]])


def plain_box(seen_ends: bool = True):
    """Discs on all six sides, grey, with normals behind colours; the ends along x may be of unknown colour."""
    points, normals = [], []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        steps = [np.arange(-HALF[other], HALF[other] + 1e-9, 0.004) for other in others]
        across = np.stack(np.meshgrid(*steps), axis=-1).reshape(-1, 2)
        for sign in (-1, 1):
            side = np.zeros((len(across), 3))
            side[:, others], side[:, axis] = across, sign * HALF[axis]
            points.append(side)
            normals.append(np.tile(sign * np.eye(3)[axis], (len(across), 1)))
    points, normals = np.concatenate(points), np.concatenate(normals)
    known = np.ones(len(points)) if seen_ends else (np.abs(normals[:, 0]) < 0.5).astype(float)
    features = np.concatenate([np.full((len(points), 3), 0.4), known[:, None], normals], axis=1)
    return discs(points, normals, np.full(len(points), 0.0025), features)


def picture(box, rotation):
    """The box in a light from the side, with a gain in each channel: colour and mask."""
    drawn = CpuRasterizer().render(box, rotation, np.array([0, 0, FAR_M]), Intrinsics(*CAMERA), (SIDE_PX, SIDE_PX))
    alpha = np.maximum(drawn.alpha, 1e-6)[..., None]
    bright = 1 + drawn.image[..., 4:] / alpha @ LIGHT
    colour = drawn.image[..., :3] / alpha * bright[..., None] * np.array([1.3, 0.9, 0.7])
    return np.ascontiguousarray(colour, np.float32), (drawn.alpha > 0.5).astype(np.float32)


def judged(box, rotation, colour, mask):
    found = np.zeros(5)
    solid = box.means, box.covariances, box.normals, box.opacities
    compare_shaded(solid, box.features, rotation, np.array([0, 0, FAR_M]), CAMERA, colour, mask, found)
    return found


def test_a_pose_with_as_many_sides_explains_the_light_and_one_with_fewer_does_not():
    box = plain_box()
    colour, mask = picture(box, turned(40))
    right, wrong = judged(box, turned(40), colour, mask), judged(box, turned(0), colour, mask)
    assert right[SHADED] < 0.03 and right[SPARE] + right[LACK] < 0.02 and right[KNOWN] > 0.99
    assert wrong[SHADED] > 3 * right[SHADED] and wrong[SHADED] > 0.08


def test_a_side_of_unknown_colour_is_taken_as_even():
    box = plain_box(seen_ends=False)
    colour, mask = picture(box, turned(40))
    even = judged(box, turned(40), colour, mask)
    colour[::2] *= 0.5  # stripes
    assert 0.3 < even[KNOWN] < 0.9
    assert even[UNEVEN] < 0.05 < 0.2 < judged(box, turned(40), colour, mask)[UNEVEN]


def test_pixels_that_do_not_count_do_not_count():
    box = plain_box()
    colour, mask = picture(box, turned(40))
    hidden = mask.copy()
    hidden[:, :32] = -1
    colour[:, :32] = 0.9  # of what is in front
    found = judged(box, turned(40), colour, hidden)
    assert found[SHADED] < 0.03 and found[SPARE] + found[LACK] < 0.03
