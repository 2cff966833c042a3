from dataclasses import replace

import numpy as np
import pytest

from clipose_ros.core.backprojection import DepthRange, backproject, metres, pinhole, project
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics

INTRINSICS = Intrinsics(fx=600.0, fy=500.0, cx=3.5, cy=2.5)


def scene(depth, labels, instances=(1,)):
    found = Detections(tuple(Instance(label, "mug") for label in instances), labels)
    return Frame(0, "camera", depth, INTRINSICS), found


def points(depth, labels, instances=(1,), **settings):
    return [cloud.points for cloud in backproject(*scene(depth, labels, instances), **settings)]


def test_pinhole_equation_at_one_pixel():
    point = pinhole(np.array([603.5]), np.array([252.5]), np.array([2.0]), INTRINSICS)
    np.testing.assert_allclose(point, [[2.0, 1.0, 2.0]])
    assert point.dtype == np.float32


def test_project_inverts_pinhole():
    rng = np.random.default_rng(0)
    u, v, z = rng.uniform(0, 640, 50), rng.uniform(0, 480, 50), rng.uniform(0.2, 4, 50)
    np.testing.assert_allclose(project(pinhole(u, v, z, INTRINSICS), INTRINSICS), np.stack([u, v], axis=1), atol=1e-3)


@pytest.mark.parametrize("label_type", [np.uint8, np.uint16, np.int32, np.int64])
@pytest.mark.parametrize("unit", ["mm", "m"])
def test_every_instance_gets_the_points_of_a_plain_loop_in_raster_order(unit, label_type):
    rng = np.random.default_rng(1)
    depth_mm = rng.integers(0, 6000, (6, 8)).astype(np.uint16)
    labels = rng.integers(0, 4, (6, 8)).astype(label_type)
    depth = depth_mm if unit == "mm" else (depth_mm / np.float32(1000)).astype(np.float32)
    clouds = points(depth, labels, instances=(3, 1, 2))
    for label, cloud in zip((3, 1, 2), clouds):
        expected = []
        for v in range(6):
            for u in range(8):
                z = depth_mm[v, u] / 1000
                if labels[v, u] == label and 0.1 <= z <= 5.0:
                    expected.append([(u - 3.5) / 600 * z, (v - 2.5) / 500 * z, z])
        assert cloud.dtype == np.float32
        np.testing.assert_allclose(cloud, expected, rtol=1e-6)


def test_invalid_depths_are_left_out():
    depth = np.array([[np.nan, np.inf, -np.inf, -1.0, 0.0, 0.05, 0.5, 9.0]], dtype=np.float32)
    (cloud,) = points(depth, np.ones((1, 8), dtype=np.uint8))
    np.testing.assert_array_equal(cloud[:, 2], np.float32([0.5]))


def test_depth_range_is_inclusive_and_configurable():
    depth = np.array([[199, 200, 300, 301]], dtype=np.uint16)
    (cloud,) = points(depth, np.ones((1, 4), dtype=np.uint8), depth_range=DepthRange(0.2, 0.3))
    np.testing.assert_allclose(cloud[:, 2], [0.2, 0.3])


def test_an_instance_without_valid_pixels_is_empty_and_keeps_its_place():
    depth = np.full((4, 4), 1000, dtype=np.uint16)
    labels = np.zeros((4, 4), dtype=np.uint8)
    labels[1, 1], labels[2, 2] = 5, 7
    depth[2, 2] = 0
    clouds = points(depth, labels, instances=(300, 7, 5))
    assert [cloud.shape for cloud in clouds] == [(0, 3), (0, 3), (1, 3)]
    assert points(depth, labels, instances=()) == []


@pytest.mark.parametrize(("most", "left"), [(100, 48), (48, 48), (47, 24), (10, 10), (1, 1)])
def test_of_an_instance_with_many_points_every_so_manieth_is_taken(most, left):
    depth = np.random.default_rng(2).integers(500, 900, (8, 8)).astype(np.uint16)
    labels = np.repeat([[1] * 6 + [2] * 2], 8, axis=0)
    every, few = (points(depth, labels, instances=(2, 1), most=number) for number in (64, most))
    assert [len(cloud) for cloud in every] == [16, 48] and len(few[1]) == left
    for all_points, cloud in zip(every, few):
        assert len(cloud) <= most
        np.testing.assert_array_equal(cloud, all_points[:: -(-len(all_points) // most)])


def test_label_zero_is_refused():
    image = np.full((2, 2), 1000, dtype=np.uint16)
    with pytest.raises(ValueError, match="instances: expected labels other than 0"):
        points(image, np.zeros((2, 2), dtype=np.uint8), instances=(0,))


@pytest.mark.parametrize("limits", [(0.0, 1.0), (2.0, 1.0), (0.1, np.inf), (np.nan, 1.0)])
def test_impossible_depth_ranges_are_refused(limits):
    with pytest.raises(ValueError, match="depth_range: expected"):
        DepthRange(*limits)


def test_masks_of_their_own_give_the_points_that_labels_give_and_may_overlap():
    rng = np.random.default_rng(3)
    depth, labels = rng.integers(500, 900, (8, 8)).astype(np.uint16), rng.integers(0, 4, (8, 8))
    masks = np.stack([labels == label for label in (3, 1, 2)])
    for cloud, expected in zip(points(depth, masks, (3, 1, 2)), points(depth, labels, (3, 1, 2)), strict=True):
        np.testing.assert_array_equal(cloud, expected)
    everything, corner = points(depth, np.stack([np.ones((8, 8), bool), np.eye(8, dtype=bool)]), (1, 2))
    assert len(everything) == 64 and len(corner) == 8
    np.testing.assert_array_equal(corner, everything[::9])
    assert points(depth, np.zeros((0, 8, 8), bool), ()) == []


def test_every_point_knows_its_pixel():
    depth, labels = np.random.default_rng(4).integers(0, 900, (6, 9)).astype(np.uint16), np.ones((6, 9), np.uint8)
    (cloud,) = backproject(*scene(depth, labels))
    u, v = cloud.pixels % 9, cloud.pixels // 9
    np.testing.assert_array_equal(cloud.points, pinhole(u, v, depth[v, u] / np.float32(1000), INTRINSICS))


def test_the_unit_of_depth_is_the_cameras():
    """16UC1 of a D405 is tenth millimetres; and a driver may write millimetres into floats."""
    rng = np.random.default_rng(5)
    depth_mm = rng.integers(0, 6000, (6, 8)).astype(np.uint16)
    frame, found = scene(depth_mm, np.ones((6, 8), np.uint8))
    (expected,) = backproject(frame, found)
    for depth, unit_m in (
        (depth_mm * np.uint16(10), 0.0001),
        (depth_mm.astype(np.float32), 0.001),
        (depth_mm // np.uint16(1), 0.001),
    ):
        (cloud,) = backproject(replace(frame, depth=depth, depth_unit_m=unit_m), found)
        np.testing.assert_array_equal(cloud.points, expected.points)
        assert cloud.points.dtype == np.float32


@pytest.mark.parametrize("unit_m", [0.0, -0.001, np.nan, np.inf])
def test_a_unit_that_is_none_is_refused(unit_m):
    with pytest.raises(ValueError, match="depth_unit_m: expected more than 0 m"):
        Frame(0, "camera", np.zeros((2, 2), np.uint16), INTRINSICS, depth_unit_m=unit_m)


def test_metres_are_not_copied():
    depth = np.ones((2, 2), np.float32)
    assert metres(depth) is depth and metres(depth, 1.0) is depth
