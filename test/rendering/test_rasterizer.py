"""The compiled rasteriser draws what the textbook's draws, and what geometry says."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.core.types import Intrinsics
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.rendering.gaussians import Gaussians, discs
from clipose_ros.rendering.reference import ReferenceRasterizer

spec = importlib.util.spec_from_file_location("drawn_clouds", Path(__file__).with_name("drawn_clouds.py"))
drawn_clouds = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawn_clouds)
cloud, turned = drawn_clouds.cloud, drawn_clouds.turned

INTRINSICS = Intrinsics(fx=150.0, fy=140.0, cx=23.5, cy=19.5)
SIZE = (48, 40)
FAR = np.array([0.01, -0.005, 0.5])


@pytest.mark.parametrize("degrees", [0.0, 35.0, 140.0])
@pytest.mark.parametrize("two_sided", [True, False])
def test_it_agrees_with_the_reference(degrees, two_sided):
    gaussians = cloud(two_sided=two_sided)
    expected = ReferenceRasterizer().render(gaussians, turned(degrees), FAR, INTRINSICS, SIZE)
    drawn = CpuRasterizer().render(gaussians, turned(degrees), FAR, INTRINSICS, SIZE)
    # The compiled one sorts by 2048 levels of depth and stops at pixels that are opaque.
    np.testing.assert_allclose(drawn.alpha, expected.alpha, atol=2e-3)
    np.testing.assert_allclose(drawn.image, expected.image, atol=5e-3)
    solid = expected.alpha > 0.1
    np.testing.assert_allclose(drawn.depth_m[solid], expected.depth_m[solid], atol=1e-3)


def test_one_alone_is_drawn_at_any_distance():
    """Its level of depth is what rounding left: it once lay far outside of all levels, and ended the process."""
    alone = cloud(count=1)
    for distance in np.linspace(0.3, 3.0, 28):
        far = np.array([0.0, 0.0, distance])
        expected = ReferenceRasterizer().render(alone, np.eye(3), far, INTRINSICS, SIZE)
        drawn = CpuRasterizer().render(alone, np.eye(3), far, INTRINSICS, SIZE)
        np.testing.assert_allclose(drawn.alpha, expected.alpha, atol=2e-3)


def test_covariances_turn_with_the_object():
    # A needle along x, turned by a quarter about z, stands upright in the image.
    needle = Gaussians(
        np.zeros((1, 3), np.float32),
        np.float32([[0.03**2, 0, 0, 0.002**2, 0, 0.002**2]]),
        np.zeros((1, 3), np.float32),
        np.float32([0.9]),
        np.ones((1, 1), np.float32),
    )
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    lying = CpuRasterizer().render(needle, np.eye(3), FAR, INTRINSICS, SIZE).alpha
    standing = CpuRasterizer().render(needle, quarter, FAR, INTRINSICS, SIZE).alpha
    assert (lying.max(axis=0) > 0.1).sum() > 3 * (lying.max(axis=1) > 0.1).sum()
    assert (standing.max(axis=1) > 0.1).sum() > 3 * (standing.max(axis=0) > 0.1).sum()


@pytest.mark.parametrize("distance_m", [0.1, 0.3, 0.7, 1.0, 3.3])
def test_a_sheet_that_faces_the_camera_is_drawn(distance_m):
    """All its depths are alike but for rounding, which must not take them out of the levels that they are sorted in."""
    across = np.linspace(-0.02, 0.02, 12)
    points = np.stack([*np.meshgrid(across, across), np.zeros((12, 12))], axis=-1).reshape(-1, 3)
    sheet = discs(points, np.tile([0.0, 0, -1], (144, 1)), np.full(144, 0.003), np.ones((144, 1)))
    at = np.array([0, 0, distance_m])
    drawn = CpuRasterizer().render(sheet, np.eye(3), at, INTRINSICS, SIZE)
    np.testing.assert_allclose(
        drawn.alpha, ReferenceRasterizer().render(sheet, np.eye(3), at, INTRINSICS, SIZE).alpha, atol=2e-3
    )


def test_what_is_in_front_hides_what_is_behind():
    points = np.array([[0, 0, 0.0], [0, 0, -0.05]])
    facing = np.tile([0.0, 0, -1], (2, 1))
    pair = discs(points, facing, np.full(2, 0.05), np.array([[1.0, 0], [0, 1.0]]))
    drawn = CpuRasterizer().render(pair, np.eye(3), np.array([0, 0, 0.5]), INTRINSICS, SIZE)
    middle = drawn.image[20, 24]
    assert middle[1] > 0.9 > 0.1 > middle[0]
    assert drawn.depth_m[20, 24] == pytest.approx(0.45, abs=0.005)


def test_the_back_of_a_disc_is_not_drawn():
    away = discs(np.zeros((1, 3)), np.array([[0.0, 0, 1]]), np.full(1, 0.05), np.ones((1, 1)))
    assert CpuRasterizer().render(away, np.eye(3), np.array([0, 0, 0.5]), INTRINSICS, SIZE).alpha.max() == 0


def test_nothing_is_drawn_of_what_is_behind_the_camera_or_beside_the_image():
    gaussians = cloud()
    for where in ([0, 0, -0.5], [3.0, 0, 0.5]):
        drawn = CpuRasterizer().render(gaussians, np.eye(3), np.array(where, float), INTRINSICS, SIZE)
        assert drawn.alpha.max() == drawn.depth_m.max() == drawn.image.max() == 0


def test_what_is_smaller_than_a_pixel_covers_no_more_than_it_is():
    toward = np.array([[0.0, 0, -1]])
    small = discs(np.zeros((1, 3)), toward, np.full(1, 0.001), np.ones((1, 1)))
    camera = Intrinsics(fx=200.0, fy=200.0, cx=23.5, cy=19.5)
    alpha = CpuRasterizer().render(small, np.eye(3), np.array([0, 0, 0.5]), camera, SIZE).alpha
    area_px2 = 0.95 * 2 * np.pi * (0.001 * 200 / 0.5) ** 2
    assert alpha.sum() == pytest.approx(area_px2, rel=0.05)


def test_a_slanted_disc_has_the_depth_of_its_plane():
    normal = np.array([[np.sin(1.0), 0, -np.cos(1.0)]])
    slanted = discs(np.zeros((1, 3)), normal, np.full(1, 0.03), np.ones((1, 1)))
    drawn = CpuRasterizer().render(slanted, np.eye(3), np.array([0, 0, 0.5]), INTRINSICS, SIZE)
    rays = (np.arange(SIZE[0]) - INTRINSICS.cx) / INTRINSICS.fx
    plane = -normal[0, 2] * 0.5 / -(normal[0, 0] * rays + normal[0, 2])
    row = drawn.alpha[20] > 0.2
    assert row.sum() > 8
    np.testing.assert_allclose(drawn.depth_m[20][row], plane[row], atol=0.007)  # to first order


def test_the_same_gives_the_same():
    first, second = (CpuRasterizer().render(cloud(), turned(20), FAR, INTRINSICS, SIZE) for _ in range(2))
    assert first.image.tobytes() == second.image.tobytes()


def test_arrays_of_another_type_are_refused():
    made = cloud()
    with pytest.raises(ValueError, match="means: expected .* float32"):
        Gaussians(made.means.astype(float), made.covariances, made.normals, made.opacities, made.features)
