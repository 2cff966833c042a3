"""Outlines of what is learned are where the masks of its views end."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.formats.reference_views import read_reference_views
from clipose_ros.objects.hull import close_unseen
from clipose_ros.objects.mask_fit import reach_masks
from clipose_ros.objects.surface_tables import disc_radii
from clipose_ros.objects.surfels import fuse
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.rendering.gaussians import discs


def shares_of_masks(surfels, references):
    """Area of each render by that of its mask."""
    drawn = discs(surfels.points, surfels.normals, disc_radii(surfels.points, surfels.spacing_m), surfels.colours)
    found = []
    for view in references.views:
        size = view.mask.shape[::-1]
        alpha = CpuRasterizer().render(drawn, view.rotation, view.translation, references.intrinsics, size).alpha
        found.append((alpha > 0.5).sum() / view.mask.sum())
    return np.array(found)


@pytest.fixture(scope="module")
def references(box_folder):
    return read_reference_views(box_folder)


@pytest.fixture(scope="module")
def closed(references):
    return close_unseen(fuse(references.views, references.intrinsics), references.views, references.intrinsics)


def test_what_masks_show_beyond_the_discs_is_reached(references, closed):
    before = shares_of_masks(closed, references)
    reached = reach_masks(closed, references.views, references.intrinsics, CpuRasterizer())
    after = shares_of_masks(reached, references)
    assert np.median(before) < 0.96
    assert abs(np.median(after) - 1) < 0.4 * abs(np.median(before) - 1)
    assert np.linalg.norm(reached.points - closed.points, axis=1).max() < 3 * closed.spacing_m
    np.testing.assert_array_equal(reached.colours, closed.colours)


def test_masks_that_lack_parts_of_the_object_move_nothing(references, closed):
    kernel = np.ones((5, 5), np.uint8)
    views = [replace(view, mask=cv2.erode(view.mask.astype(np.uint8), kernel) > 0) for view in references.views]
    same = reach_masks(closed, views, references.intrinsics, CpuRasterizer())
    np.testing.assert_array_equal(same.points, closed.points)
