"""Distortion against OpenCV, in whose equations and order of coefficients ROS calibrations are written."""

import cv2
import numpy as np
import pytest

from clipose_ros.core.backprojection import backproject, pinhole, project
from clipose_ros.core.distortion import FisheyeDistortion, PolynomialDistortion
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics

SHAPE = (120, 160)
D405 = (-0.054, 0.058, -0.0003, 0.0007, -0.019)
AZURE_KINECT = (14.2, 6.5, 0.0003, -0.0001, 0.28, 14.6, 10.1, 1.7)
LENSES = {
    "four numbers": PolynomialDistortion((-0.2, 0.05, 0.001, -0.002)),
    "plumb_bob": PolynomialDistortion(D405),
    "rational_polynomial": PolynomialDistortion(AZURE_KINECT),
    "thin prism": PolynomialDistortion((*AZURE_KINECT, 0.02, -0.01, 0.005, 0.003)),
    "tilted sensor": PolynomialDistortion((*AZURE_KINECT, 0.02, -0.01, 0.005, 0.003, 0.02, -0.03)),
    "equidistant": FisheyeDistortion((-0.01, 0.03, -0.02, 0.004)),
    "ideal fisheye": FisheyeDistortion((0.0, 0.0, 0.0, 0.0)),
}

every_lens = pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)


def intrinsics(lens):
    return Intrinsics(150.0, 151.0, 79.0, 61.5, lens)


def pixels_by_opencv(points, k):
    """(N, 2) [px] of points (N, 3)."""
    matrix, none = np.array([[k.fx, 0, k.cx], [0, k.fy, k.cy], [0, 0, 1]]), np.zeros(3)
    numbers = np.array(k.distortion.coefficients)
    if isinstance(k.distortion, FisheyeDistortion):
        return cv2.fisheye.projectPoints(points[None], none, none, matrix, numbers)[0][0]
    return cv2.projectPoints(points, none, none, matrix, numbers)[0][:, 0]


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    z = rng.uniform(0.2, 2.0, 300)
    return np.stack([rng.uniform(-0.5, 0.5, 300) * z, rng.uniform(-0.4, 0.4, 300) * z, z], axis=1)


@every_lens
def test_points_are_seen_where_opencv_sees_them(lens, points):
    np.testing.assert_allclose(project(points, intrinsics(lens)), pixels_by_opencv(points, intrinsics(lens)), atol=1e-6)


@every_lens
def test_points_that_opencv_projects_are_found_again(lens, points):
    u, v = pixels_by_opencv(points, intrinsics(lens)).T
    np.testing.assert_allclose(pinhole(u, v, points[:, 2], intrinsics(lens)), points, atol=1e-5)


@every_lens
def test_a_cloud_of_a_raw_image_is_seen_at_its_pixels_and_is_what_every_pixel_alone_gives(lens):
    k, rng = intrinsics(lens), np.random.default_rng(1)
    depth, labels = rng.integers(300, 900, SHAPE).astype(np.uint16), rng.integers(0, 3, SHAPE).astype(np.uint8)
    found = Detections((Instance(2, "mug"), Instance(1, "can")), labels)
    clouds = backproject(Frame(0, "camera", depth, k), found, most=10**6)
    assert sum(len(cloud.points) for cloud in clouds) == np.count_nonzero(labels)
    for cloud in clouds:
        v, u = np.divmod(cloud.pixels, SHAPE[1])
        assert cloud.points.dtype == np.float32
        np.testing.assert_allclose(pixels_by_opencv(cloud.points.astype(float), k), np.stack([u, v], axis=1), atol=1e-3)
        np.testing.assert_allclose(cloud.points, pinhole(u, v, depth[v, u] / np.float32(1000), k), atol=1e-6)


def test_an_ignored_lens_costs_millimetres():
    """What the parameter is for: at one metre a D405's colour image is off by some."""
    k = intrinsics(PolynomialDistortion(D405))
    corner = np.array([0.0]), np.array([0.0]), np.array([1.0])
    apart = np.linalg.norm(pinhole(*corner, k) - pinhole(*corner, Intrinsics(k.fx, k.fy, k.cx, k.cy)))
    assert 0.005 < apart < 0.05


def test_where_a_polynomial_turns_back_there_is_no_ray():
    """It grows to r = 0.82: a pixel further out shows nothing, and no ray is seen twice."""
    lens = PolynomialDistortion((-0.5, 0.0, 0.0, 0.0))
    assert lens.farthest == pytest.approx(np.sqrt(2 / 3), abs=2e-3)
    rays = lens.undistort(np.array([[0.0, 0.0], [0.5, 0.0], [0.56, 0.0], [0.9, 0.0], [3.0, 2.0]]))
    np.testing.assert_array_equal(np.isnan(rays).any(axis=1), [False, False, True, True, True])
    assert 0.5 < rays[1, 0] < lens.farthest
    np.testing.assert_array_equal(np.isnan(lens.distort(np.array([[0.8, 0.0], [0.9, 0.0]]))).any(axis=1), [False, True])


@pytest.mark.parametrize("numbers", [(-0.3, 0.1, 0.0, 0.0, -0.01), (-0.3, 0.0, 0.0, 0.0, 0.0, -0.7, 0.0, 0.0)])
def test_a_ray_that_is_found_is_seen_where_it_was_looked_for(numbers):
    """Wherever that is: also where the polynomial runs away or has a pole."""
    lens, seen = PolynomialDistortion(numbers), np.random.default_rng(2).uniform(-6, 6, (500, 2))
    rays = lens.undistort(seen)
    found = ~np.isnan(rays).any(axis=1)
    assert 0 < found.sum() < 500 and np.hypot(*rays[found].T).max() <= lens.farthest
    np.testing.assert_allclose(lens.distort(rays[found]), seen[found], atol=2e-6)


def test_a_fisheye_has_no_rays_from_the_side():
    lens = FisheyeDistortion((0.0, 0.0, 0.0, 0.0))
    rays = lens.undistort(np.array([[0.0, 0.0], [1.2, 0.0], [np.pi / 2, 0.0], [3.0, 3.0]]))
    np.testing.assert_allclose(rays[:2], [[0, 0], [np.tan(1.2), 0]])
    assert np.isnan(rays[2:]).all() and np.isnan(lens.distort(np.array([9.0, 0.0]))).all()


def test_pixels_without_a_ray_are_no_points_and_the_others_stay():
    k = Intrinsics(60.0, 60.0, 79.5, 59.5, PolynomialDistortion((-0.5, 0.0, 0.0, 0.0)))
    found = Detections((Instance(1, "mug"),), np.ones(SHAPE, np.uint8))
    (cloud,) = backproject(Frame(0, "camera", np.full(SHAPE, 800, np.uint16), k), found, most=10**6)
    known = pixel_rays(k, SHAPE).known
    assert 0 < len(cloud.points) == known.sum() < known.size and np.isfinite(cloud.points).all()
    np.testing.assert_array_equal(cloud.pixels, np.flatnonzero(known))


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (9, 1), (8, 8), (33, 17)])
def test_images_of_any_size_have_rays(shape):
    k = Intrinsics(150.0, 151.0, 3.0, 4.0, PolynomialDistortion(D405))
    rays = pixel_rays(k, shape)
    v, u = np.divmod(np.arange(shape[0] * shape[1]), shape[1])
    np.testing.assert_allclose(np.stack([rays.x, rays.y], 1), pinhole(u, v, np.ones(len(u)), k)[:, :2], atol=1e-6)


def test_rays_of_a_calibration_are_computed_once():
    k = intrinsics(PolynomialDistortion(D405))
    again = intrinsics(PolynomialDistortion(tuple(D405)))
    assert pixel_rays(k, SHAPE) is pixel_rays(again, SHAPE)
    assert pixel_rays(k, SHAPE) is not pixel_rays(intrinsics(None), SHAPE)
    with pytest.raises(ValueError, match="read-only"):
        pixel_rays(k, SHAPE).x[0] = 1


@pytest.mark.parametrize("kind", [PolynomialDistortion, FisheyeDistortion])
def test_numbers_that_are_none_or_too_few_are_refused(kind):
    with pytest.raises(ValueError, match="distortion: expected .*4.* numbers, got 3"):
        kind((0.1, 0.2, 0.3))
    with pytest.raises(ValueError, match="distortion: expected finite numbers"):
        kind((0.1, np.nan, 0.0, 0.0))
