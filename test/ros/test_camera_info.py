"""Calibrations: which matrix holds for raw and rectified images, and what is made of every driver's distortion."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, RegionOfInterest
from std_msgs.msg import Header

from clipose_ros.core.backprojection import project
from clipose_ros.core.distortion import FisheyeDistortion, PolynomialDistortion
from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.camera_info import (
    check_camera_info,
    distortion_from,
    distortion_warning,
    geometry_warning,
    intrinsics_from,
    is_distorted,
)
from clipose_ros.ros.conversions import camera_info_message

K = [500.0, 0.0, 320.0, 0.0, 510.0, 240.0, 0.0, 0.0, 1.0]
P = [400.0, 0.0, 322.0, 0.0, 0.0, 410.0, 242.0, 0.0, 0.0, 0.0, 1.0, 0.0]
FIVE = [-0.054, 0.058, -0.0003, 0.0007, -0.019]
EIGHT = [14.2, 6.5, 0.0003, -0.0001, 0.28, 14.6, 10.1, 1.7]
FOUR = [-0.01, 0.03, -0.02, 0.004]
RAW, RECTIFIED = "/camera/aligned_depth_to_color/image_raw", "/depth_registered/image_rect"


def camera_info(model="plumb_bob", d=FIVE, **fields):
    return CameraInfo(**{"width": 640, "height": 480, "distortion_model": model, "d": d, "k": K, "p": P} | fields)


def test_a_rectified_image_has_p_and_no_lens_and_a_raw_one_has_k_and_its_lens():
    assert intrinsics_from(camera_info(), (480, 640)) == Intrinsics(400, 410, 322, 242)
    raw = intrinsics_from(camera_info(), (480, 640), rectified=False)
    assert raw == Intrinsics(500, 510, 320, 240, PolynomialDistortion(tuple(FIVE)))


@pytest.mark.parametrize(
    ("model", "d", "kind"),
    [
        ("plumb_bob", FIVE, PolynomialDistortion),
        ("plumb_bob", FIVE[:4], PolynomialDistortion),
        ("plumb_bob", EIGHT, PolynomialDistortion),  # as Orbbec's driver sends them
        ("rational_polynomial", EIGHT, PolynomialDistortion),
        ("rational_polynomial", [*EIGHT, 0.1, 0.2, 0.3, 0.4], PolynomialDistortion),
        ("rational_polynomial", [*EIGHT, 0.1, 0.2, 0.3, 0.4, 0.01, 0.02], PolynomialDistortion),
        ("equidistant", FOUR, FisheyeDistortion),
        ("equidistant", [0.0] * 4, FisheyeDistortion),
        ("equidistant", [*FOUR, 0.0], FisheyeDistortion),  # as older realsense2_camera sends a T265's
        ("fisheye", FOUR, FisheyeDistortion),
        ("Inverse Brown Conrady", FIVE, PolynomialDistortion),
        ("modified_brown_conrady", FIVE, PolynomialDistortion),
        ("Kannala Brandt4", FOUR, FisheyeDistortion),
        ("", FIVE, PolynomialDistortion),
    ],
)
def test_the_models_of_ros_and_what_drivers_call_them_are_read(model, d, kind):
    lens = distortion_from(camera_info(model, d))
    assert isinstance(lens, kind) and lens.coefficients == tuple(d[: 4 if kind is FisheyeDistortion else None])


@pytest.mark.parametrize(("model", "d"), [("plumb_bob", [0.0] * 5), ("", []), ("none", []), ("fov", [0.0])])
def test_a_lens_of_zeros_is_none(model, d):
    info = camera_info(model, d)
    assert not is_distorted(info) and distortion_from(info) is None
    check_camera_info(info, rectified=False)


@pytest.mark.parametrize(
    ("model", "d", "message"),
    [
        ("fov", [0.9], "camera_info distortion_model: expected one of plumb_bob, .*, got 'fov'"),
        ("double_sphere", [0.5, 0.2], "camera_info distortion_model: expected one of"),
        ("plumb_bob", [0.1, 0.2, 0.3], "camera_info d: expected 4, 5, 8, 12, 14 numbers for plumb_bob, got 3"),
        ("equidistant", [0.1], "camera_info d: expected 4 numbers for equidistant, got 1"),
        ("equidistant", FIVE, "camera_info d: expected 4 numbers for equidistant, got 5"),
        ("equidistant", [], "camera_info d: expected 4 numbers for equidistant, got 0"),
        ("plumb_bob", [float("nan")] * 5, "distortion: expected finite numbers"),
    ],
)
def test_what_cannot_be_undistorted_is_refused_where_it_matters(model, d, message):
    check_camera_info(camera_info(model, d))
    with pytest.raises(ValueError, match=message):
        check_camera_info(camera_info(model, d), rectified=False)


def test_a_raw_image_needs_k():
    with pytest.raises(ValueError, match="intrinsics: expected"):
        check_camera_info(camera_info(k=[0.0] * 9), rectified=False)


@pytest.mark.parametrize("focal", [0.9, 1e308])
def test_a_calibration_in_shares_of_the_image_or_in_nothing_at_all_is_refused(focal):
    with pytest.raises(ValueError, match="intrinsics: expected focal lengths of 2 to 1e.06 px, got fx"):
        check_camera_info(camera_info(k=[focal, 0.0, 0.5, 0.0, focal, 0.5, 0.0, 0.0, 1.0], p=[0.0] * 12))


@given(*[st.integers(0, 4)] * 2, *[st.integers(0, 50)] * 2, st.sampled_from(("plumb_bob", "fisheye")))
def test_a_point_is_seen_at_its_pixel_cut_and_binned(bin_x, bin_y, left, top, model):
    """A pixel u of the whole raw image is (u - x_offset) / binning of the one that is published."""
    info = camera_info(model, FIVE if model == "plumb_bob" else FOUR)
    points = np.array([[0.1, -0.2, 0.9], [-0.3, 0.1, 0.7], [0.0, 0.0, 1.0]])
    whole = project(points, intrinsics_from(info, (480, 640), rectified=False))
    bins = np.array([max(bin_x, 1), max(bin_y, 1)])
    info.roi = RegionOfInterest(x_offset=left, y_offset=top, width=40 * int(bins[0]), height=30 * int(bins[1]))
    info.binning_x, info.binning_y = bin_x, bin_y
    cut = project(points, intrinsics_from(info, (30, 40), rectified=False))
    np.testing.assert_allclose(cut, (whole - [left, top]) / bins, atol=1e-9)


@pytest.mark.parametrize(
    "lens",
    [
        None,
        PolynomialDistortion(tuple(FIVE)),
        PolynomialDistortion(tuple(EIGHT)),
        FisheyeDistortion(tuple(FOUR)),
    ],
)
def test_intrinsics_with_a_lens_survive_the_message(lens):
    intrinsics = Intrinsics(600.5, 601.5, 3.25, 1.75, lens)
    message = camera_info_message(intrinsics, (3, 4), Header())
    assert intrinsics_from(message, (3, 4), rectified=False) == intrinsics
    assert intrinsics_from(message, (3, 4)) == Intrinsics(600.5, 601.5, 3.25, 1.75)


def test_a_size_that_does_not_fit_says_what_was_cut_and_binned():
    info = camera_info(binning_x=2, binning_y=2)
    expected = r"camera_info: expected the size of the depth image, 640x480, got 320x240 \(640x480, binned by 2x2\)"
    with pytest.raises(ValueError, match=expected):
        intrinsics_from(info, (480, 640))
    info.roi.width, info.roi.height = 100, 80
    with pytest.raises(ValueError, match=r"got 50x40 \(640x480, cut to 100x80, binned by 2x2\)"):
        intrinsics_from(info, (480, 640))


def test_an_ignored_lens_is_warned_of_with_what_it_costs_and_the_cure():
    text, cure = distortion_warning(camera_info(), RAW)
    assert text.startswith(f"{RAW}: expected a rectified image, called *_rect*, got another")
    assert "plumb_bob" in text and "points at 1 m are off by up to" in text and "rectified:=false" in cure
    text, cure = distortion_warning(camera_info("fov", [0.9]), RAW)
    assert "fov" in text and "rectified image" in cure and "rectified:=false" not in cure


def test_a_lens_that_is_taken_care_of_is_not_warned_of():
    none = camera_info(d=[0.0] * 5)
    assert distortion_warning(camera_info(), RECTIFIED) is None
    assert distortion_warning(camera_info(), RAW, rectified=False) is None
    assert distortion_warning(none, RAW) is None and distortion_warning(none, RECTIFIED, rectified=False) is None


def test_a_rectified_image_is_not_undistorted_without_a_word():
    text, cure = distortion_warning(camera_info(), RECTIFIED, rectified=False)
    assert "expected a raw image, as rectified is false" in text and "rectified:=true" in cure


def sized(w, h, fx, fy, cx, cy, **roi):
    return CameraInfo(width=w, height=h, k=[fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0], roi=RegionOfInterest(**roi))


@pytest.mark.parametrize(
    ("info", "said"),
    [
        (sized(640, 480, 600.0, 600.0, 319.5, 239.5), None),
        (sized(1280, 720, 640.0, 640.0, 600.0, 390.0), None),
        (sized(640, 480, 600.0, 600.0, 319.5, 239.5, x_offset=0, y_offset=100, width=200, height=120), None),
        (sized(320, 240, 600.0, 600.0, 319.5, 239.5), "principal point near the middle of its 320x240 px, got fx 600"),
        (sized(1280, 720, 600.0, 600.0, 319.5, 239.5), "principal point near the middle of its 1280x720 px"),
        (sized(3840, 2160, 13489.9, 13487.8, 11447.9, 6276.5), "principal point near the middle"),
        (sized(640, 480, 6000.0, 6000.0, 319.5, 239.5), "a usual field of view"),
        (sized(640, 480, 600.0, 450.0, 319.5, 239.5), "fx near fy"),
    ],
)
def test_intrinsics_of_another_resolution_are_warned_of(info, said):
    """orbbec/OrbbecSDK_ROS1#7, ros_astra_camera#84: K is not scaled with the image."""
    warning = geometry_warning(info)
    assert warning is None if said is None else said in warning[0] and "another resolution" in warning[0]


def test_a_region_that_ends_at_the_last_pixel_is_the_whole_image():
    """As a driver of Ensenso's writes it; any other part is one that the image does not have."""
    whole = RegionOfInterest(width=639, height=479)
    assert intrinsics_from(camera_info(roi=whole), (480, 640)) == Intrinsics(400, 410, 322, 242)
    assert intrinsics_from(camera_info(roi=whole), (479, 639)) == Intrinsics(400, 410, 322, 242)
    for other in (RegionOfInterest(width=638, height=478), RegionOfInterest(width=639, height=479, x_offset=1)):
        with pytest.raises(ValueError, match="expected the size of the depth image, 640x480, got"):
            intrinsics_from(camera_info(roi=other), (480, 640))
