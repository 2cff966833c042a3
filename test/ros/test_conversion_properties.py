"""What the conversions do with any message, against plain references: what does not fit is a ValueError, nothing else,
and no byte outside is read.
"""

import array
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats import image_messages
from clipose_ros.formats.camera_info import intrinsics_from
from clipose_ros.ros import conversions

# Colour whose pixels are its message's bytes; others are in test_colour.py.
PLAIN_COLOURS = {"rgb8": (np.uint8, 3), "bgr8": (np.uint8, 3)}
VIEWS = (
    (image_messages.depth_view, image_messages.DEPTH_ENCODINGS),
    (image_messages.label_view, image_messages.LABEL_ENCODINGS),
    (conversions.colour_view, PLAIN_COLOURS),
)
FORMATS = {np.uint8: "B", np.uint16: "H", np.float32: "f"}
PAIRS = [(view, encodings, encoding) for view, encodings in VIEWS for encoding in encodings]
UINT32 = st.integers(0, 6) | st.integers(0, 2**32 - 1)


def plain_pixels(image, scalar, channels):
    """(H, W, C), pixel after pixel, as the definition of sensor_msgs/Image has it.

    Raises struct.error where the data end.
    """
    form = (">" if image.is_bigendian else "<") + str(channels) + FORMATS[scalar]
    data = image.data.tobytes()
    size = struct.calcsize(form)
    pixels = np.array(
        [
            [struct.unpack_from(form, data, v * image.step + u * size) for u in range(image.width)]
            for v in range(image.height)
        ]
    )
    return pixels[..., ::-1] if image.encoding == "bgr8" else pixels


@st.composite
def good_images(draw):
    """An image of any size, encoding, byte order and padding, and how to look at it."""
    view, encodings, encoding = draw(st.sampled_from(PAIRS))
    scalar, channels = encodings[encoding]
    height, width, padding = draw(st.integers(1, 5)), draw(st.integers(1, 5)), draw(st.integers(0, 9))
    step = width * channels * np.dtype(scalar).itemsize + padding
    length = step * height - draw(st.integers(0, padding)) + draw(st.integers(0, 5))
    data = array.array("B", draw(st.binary(min_size=length, max_size=length)))
    return (
        view,
        encodings,
        Image(
            height=height,
            width=width,
            encoding=encoding,
            step=step,
            is_bigendian=draw(st.sampled_from((0, 1, 255))),
            data=data,
        ),
    )


@given(good_images())
def test_every_layout_gives_the_pixels_of_the_plain_loop(case):
    view, encodings, image = case
    pixels = plain_pixels(image, *encodings[image.encoding])
    seen = view(image)
    assert seen.dtype == encodings[image.encoding][0]
    np.testing.assert_array_equal(seen.reshape(pixels.shape), pixels)


@given(
    st.sampled_from(VIEWS),
    st.builds(
        Image,
        height=UINT32,
        width=UINT32,
        encoding=st.sampled_from([encoding for _, _, encoding in PAIRS] + ["", "64FC1", "16UC1; compressedDepth"]),
        step=UINT32 | st.integers(0, 40),
        is_bigendian=st.integers(0, 255),
        data=st.binary(max_size=60).map(lambda data: array.array("B", data)),
    ),
)
def test_any_image_is_seen_as_it_is_or_refused(view_and_encodings, image):
    view, encodings = view_and_encodings
    try:
        seen = view(image)
    except ValueError as error:
        assert "expected" in str(error) and "got" in str(error)
        return
    plain = plain_pixels(image, *encodings[image.encoding])
    np.testing.assert_array_equal(seen.reshape(plain.shape), plain)


@given(
    st.floats(10, 5000), st.floats(10, 5000), st.floats(-1000, 5000), st.floats(-1000, 5000),
    st.integers(0, 4), st.integers(0, 4), st.integers(0, 50), st.integers(0, 50),
    st.integers(1, 40), st.integers(1, 40), st.booleans(),
)  # fmt: skip
def test_a_point_is_seen_at_its_pixel_cut_and_binned(fx, fy, cx, cy, bin_x, bin_y, left, top, width, height, from_p):
    """A pixel u of the whole image is (u - x_offset) / binning of the one that is published."""
    bins = max(bin_x, 1), max(bin_y, 1)
    roi = RegionOfInterest(x_offset=left, y_offset=top, width=width * bins[0], height=height * bins[1])
    matrices = (
        {"p": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0]}
        if from_p
        else {"k": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0]}
    )
    info = CameraInfo(width=9999, height=9999, binning_x=bin_x, binning_y=bin_y, roi=roi, **matrices)
    K = intrinsics_from(info, (height, width))
    x, y = 0.3, -0.2
    assert K.fx * x + K.cx == pytest.approx((fx * x + cx - left) / bins[0], abs=1e-6)
    assert K.fy * y + K.cy == pytest.approx((fy * y + cy - top) / bins[1], abs=1e-6)


@given(npst.arrays(np.float64, 9), npst.arrays(np.float64, 12), *[UINT32] * 8)
def test_any_camera_info_is_understood_or_refused(k, p, width, height, bin_x, bin_y, left, top, roi_width, roi_height):
    roi = RegionOfInterest(x_offset=left, y_offset=top, width=roi_width, height=roi_height)
    info = CameraInfo(width=width, height=height, k=k, p=p, binning_x=bin_x, binning_y=bin_y, roi=roi)
    try:
        intrinsics = intrinsics_from(info, (3, 4))
    except ValueError as error:
        assert "expected" in str(error) and "got" in str(error)
    else:
        assert (
            np.isfinite([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]).all()
            and min(intrinsics.fx, intrinsics.fy) > 0
        )


@given(st.integers(-(2**31) * 10**9, 2**31 * 10**9 - 1))
def test_every_time_survives_the_message(time_ns):
    stamp = conversions.stamp_message(time_ns)
    assert conversions.stamp_ns(stamp) == time_ns and 0 <= stamp.nanosec < 10**9


@given(*[st.floats(2, 1e4)] * 2, *[st.floats(-1e4, 1e4)] * 2)
def test_intrinsics_survive_the_message(fx, fy, cx, cy):
    intrinsics = Intrinsics(fx, fy, cx, cy)
    info = conversions.camera_info_message(intrinsics, (3, 4), conversions.Header())
    assert intrinsics_from(info, (3, 4)) == intrinsics
