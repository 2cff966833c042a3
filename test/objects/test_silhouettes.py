"""An object is learned from colour views with masks alone, as the hull of its silhouettes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView, ReferenceViews
from clipose_ros.objects.learning import doubts, learn
from clipose_ros.objects.silhouettes import carve, hull_excess_m
from clipose_ros.rendering.cpu import CpuRasterizer

from .conftest import CENTRE, FACES, FOCAL, HEIGHT, SIZE, WIDTH, looking_at_box, picture_of_box, ring

CAMERA = Intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
AROUND = [*ring(8, 5.0), *ring(8, 50.0)]


def box_views(poses) -> ReferenceViews:
    views = []
    for i, (rotation, translation) in enumerate(poses):
        colour, _, mask = picture_of_box(rotation, translation)
        views.append(ReferenceView(f"{i:04d}", colour, None, mask, rotation, translation))
    return ReferenceViews(CAMERA, tuple(views))


@pytest.fixture(scope="module")
def lesson():
    return learn("box", box_views(AROUND), CpuRasterizer())


def test_a_box_gets_its_size_and_its_place_from_its_outlines(lesson):
    box = lesson.learned
    np.testing.assert_allclose(box.size, SIZE, atol=0.007)
    np.testing.assert_allclose(box.centre, CENTRE, atol=0.004)
    assert (box.size > SIZE - 0.003).all()  # a hull holds the object
    # outwards, and across the faces: the normals are those of the nearest face, all but at the edges
    face = np.abs(np.abs(box.points) - box.size / 2).argmin(axis=1)
    every = np.arange(len(box.points))
    outwards = np.sign(box.points[every, face]) * box.normals[every, face]
    assert np.median(outwards) > 0.95 and np.quantile(outwards, 0.1) > 0.4


def test_each_face_gets_its_own_colour(lesson):
    box = lesson.learned
    for axis, side in ((0, -1), (0, 1), (1, 1), (2, -1), (2, 1)):
        shown = box.seen & (side * box.normals[:, axis] > 0.9)
        mean = box.colours[shown].mean(axis=0)
        paint = FACES[2 * axis + (side > 0)]
        assert np.corrcoef(mean, paint)[0, 1] > 0.97, (axis, side, mean)


def test_its_quality_and_what_the_hull_may_be_too_large_by_are_told(lesson):
    quality = lesson.learned.quality
    assert quality["psnr_db"] > 18 and 0 < quality["hull_excess_mm"] < 20
    assert not [doubt for doubt in doubts(quality) if "hull" in doubt]


def test_the_hull_is_nowhere_larger_than_it_is_said_to_be():
    for poses in (ring(4, 5.0), ring(8, 35.0), AROUND):
        views = box_views(poses)
        hull = carve(views)
        beyond = np.abs(hull.points - CENTRE) - SIZE / 2
        assert beyond.max() < hull_excess_m(hull, views.views) + 0.004


def test_a_board_ends_the_hull_below():
    """From above alone, a hull hangs down below what it stands on."""
    views = box_views(ring(8, 40.0))
    low = CENTRE[1] - SIZE[1] / 2
    assert carve(views).points[:, 1].min() < low - 0.01
    on_board = carve(replace(views, floor_y_m=low))
    assert abs(on_board.points[:, 1].min() - low) < 0.002
    below = on_board.points[:, 1] < low + 0.002
    assert (on_board.normals[below, 1] < -0.5).mean() > 0.5 and not on_board.seen[on_board.normals[:, 1] < -0.9].any()


def test_one_mask_that_lacks_a_part_is_named():
    views = box_views(AROUND)
    cut = views.views[3].mask.copy()
    cut[:, : WIDTH // 2] = False
    spoilt = replace(views, views=(*views.views[:3], replace(views.views[3], mask=cut), *views.views[4:]))
    for references, names in ((views, []), (spoilt, ["0003"])):
        told = []
        carve(references, progress=told.append)
        assert [text.split()[1] for text in told] == names


def test_few_views_are_told_with_what_the_hull_may_be_too_large_by():
    few = learn("box", box_views(ring(4, 20.0)), CpuRasterizer()).learned.quality
    assert any("too large" in doubt and "mm to a side" in doubt for doubt in doubts(few))
    assert any("at least 8 without depth" in doubt for doubt in doubts({**few, "hull_excess_share": 0.05}))


def test_views_from_one_side_are_refused():
    poses = [looking_at_box(azimuth, elevation) for azimuth in (-20, 0, 20) for elevation in (5, 15, 30)]
    with pytest.raises(ValueError, match=r"references: expected views .*around the object"):
        learn("box", box_views(poses), CpuRasterizer())


def test_masks_that_exclude_each_other_are_refused():
    views = box_views(AROUND)
    moved = tuple(
        replace(view, translation=view.translation + np.array([0.1 * (-1) ** i, 0, 0]))
        for i, view in enumerate(views.views)
    )
    with pytest.raises(ValueError, match="references: expected masks that leave a body"):
        carve(replace(views, views=moved))


def test_a_folder_with_depth_for_some_views_is_refused_with_what_to_do():
    views = box_views(AROUND)
    depth_m = np.ones((HEIGHT, WIDTH), np.float32)
    mixed = replace(views, views=(replace(views.views[0], depth_m=depth_m), *views.views[1:]))
    with pytest.raises(ValueError, match="for each view, or for none .*none for 15 of 16: 0001, 0002"):
        learn("box", mixed, CpuRasterizer())
