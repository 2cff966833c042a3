"""Colour in every encoding that cameras send becomes RGB; what does not is refused with the cure."""

import sys
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.formats.colour_encodings import COLOUR_ENCODINGS
from clipose_ros.ros.conversions import colour_view, image_message

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (4, 6, 3), np.uint8)
SIXTEEN = RGB.astype(np.uint16) * 256 + RNG.integers(0, 256, RGB.shape).astype(np.uint16)
HEADER = Header(frame_id="optical")


def padded(image, bytes_more):
    """The message with longer rows, which end with garbage."""
    rows = np.frombuffer(image.data, np.uint8).reshape(-1, image.step)
    wide = np.full((len(rows), image.step + bytes_more), 0xEE, np.uint8)
    wide[:, : image.step] = rows
    image.data, image.step = wide.tobytes(), image.step + bytes_more
    return image


def big_endian(image):
    """The message in the other order of bytes, of 16 bits."""
    image.data = np.frombuffer(image.data, np.uint16).byteswap().tobytes()
    image.is_bigendian = 1 - image.is_bigendian
    return image


def with_alpha(rgb):
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 7, rgb.dtype)], axis=2)


def mosaic(pattern, colour, dtype=np.uint8):
    """(8, 10) of one colour behind a Bayer filter, of whose first four pixels `pattern` names the colours."""
    pixels = np.empty((8, 10), dtype)
    for i, name in enumerate(pattern):
        pixels[i // 2 :: 2, i % 2 :: 2] = colour["rgb".index(name)]
    return pixels


@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[:, :, ::-1]),
        ("rgba8", with_alpha(RGB)),
        ("bgra8", with_alpha(RGB[:, :, ::-1])),
        ("rgb16", SIXTEEN),
        ("bgr16", SIXTEEN[:, :, ::-1]),
        ("rgba16", with_alpha(SIXTEEN)),
        ("bgra16", with_alpha(SIXTEEN[:, :, ::-1])),
    ],
)
@pytest.mark.parametrize("padding", [0, 2, 6])
def test_orders_of_channels_alpha_and_bits(encoding, pixels, padding):
    image = padded(image_message(pixels, encoding, HEADER), padding)
    np.testing.assert_array_equal(colour_view(image), RGB)
    if pixels.dtype == np.uint16:
        np.testing.assert_array_equal(colour_view(big_endian(image)), RGB)


@pytest.mark.parametrize(("encoding", "pixels"), [("mono8", RGB[:, :, 0]), ("mono16", SIXTEEN[:, :, 0])])
def test_grey_is_three_times_the_same(encoding, pixels):
    expected = np.repeat(RGB[:, :, :1], 3, axis=2)
    np.testing.assert_array_equal(colour_view(padded(image_message(pixels, encoding, HEADER), 4)), expected)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize("pattern", ["rggb", "bggr", "gbrg", "grbg"])
def test_bayer_patterns_are_read_from_their_first_pixel_on(pattern, padding):
    colour = (200, 100, 50)
    image = image_message(mosaic(pattern, colour), f"bayer_{pattern}8", HEADER)
    np.testing.assert_array_equal(colour_view(padded(image, padding)), np.full((8, 10, 3), colour))
    deep = image_message(mosaic(pattern, np.array(colour) * 256 + 9, np.uint16), f"bayer_{pattern}16", HEADER)
    np.testing.assert_array_equal(colour_view(padded(deep, padding)), np.full((8, 10, 3), colour))
    np.testing.assert_array_equal(colour_view(big_endian(deep)), np.full((8, 10, 3), colour))


# Y, U and V of pure colours, ITU-R BT.601, and what they are as RGB.
@pytest.mark.parametrize(
    ("yuv", "rgb"),
    [
        ((81, 90, 240), (254, 0, 0)),
        ((145, 54, 34), (0, 255, 1)),
        ((41, 240, 110), (0, 0, 255)),
        ((235, 128, 128), (255, 255, 255)),
    ],
)
@pytest.mark.parametrize("padding", [0, 4])
def test_yuv_in_all_its_orders(yuv, rgb, padding):
    y, u, v = yuv
    shape, expected = (4, 6), np.full((4, 6, 3), rgb)
    packed = {"uyvy": (u, y, v, y), "yuv422": (u, y, v, y), "yuyv": (y, u, y, v), "yuv422_yuy2": (y, u, y, v)}
    for encoding, block in packed.items():
        pixels = np.tile(np.array(block, np.uint8).reshape(1, 2, 2), (4, 3, 1))
        seen = colour_view(padded(image_message(pixels, encoding, HEADER), padding))
        np.testing.assert_allclose(seen, expected, atol=2)
    for encoding, pair in {"nv12": (u, v), "nv21": (v, u)}.items():
        planes = np.concatenate([np.full(shape, y), np.tile(pair, (2, 3))]).astype(np.uint8)
        image = padded(image_message(planes, encoding, HEADER), padding)
        image.height = 4  # of the image; the data has another plane below
        np.testing.assert_allclose(colour_view(image), expected, atol=2)


@pytest.mark.parametrize(
    ("encoding", "shape", "message"),
    [
        ("yuv422", (4, 5, 2), "colour: expected blocks of 2x1 px for its encoding, got 5x4"),
        ("nv12", (5, 6), "colour: expected blocks of 2x2 px for its encoding, got 6x5"),
        ("bayer_rggb8", (3, 3), "colour: expected blocks of 2x2 px for its encoding, got 3x3"),
        ("nv12", (4, 6), "colour data: expected 36 bytes for 6 rows, got 24"),
        ("bgra8", (4, 6), "colour step: expected at least 24 bytes"),
    ],
)
def test_sizes_that_an_encoding_cannot_have_are_refused(encoding, shape, message):
    with pytest.raises(ValueError, match=message):
        colour_view(image_message(np.zeros(shape, np.uint8), encoding, HEADER))


@pytest.mark.parametrize("encoding", ["8UC3", "nv24", "jpeg", "32FC3", ""])
def test_an_unknown_encoding_is_refused_with_its_name_and_the_cure(encoding, monkeypatch):
    monkeypatch.setitem(sys.modules, "cv_bridge", None)  # cannot be imported
    with pytest.raises(ValueError, match="colour encoding: expected one of rgb8, .*cv-bridge") as refused:
        colour_view(image_message(RGB, encoding, HEADER))
    assert f"got {encoding!r}" in str(refused.value)


def stand_in(convert):
    """A module in place of cv_bridge, which is not on PyPI."""
    module = ModuleType("cv_bridge")
    module.CvBridge = type("CvBridge", (), {"imgmsg_to_cv2": staticmethod(convert)})
    return module


def test_where_cv_bridge_is_installed_it_is_asked_for_the_others(monkeypatch):
    def convert(image, encoding):
        assert (image.encoding, encoding) == ("8UC3", "rgb8")
        return np.frombuffer(image.data, np.uint8).reshape(image.height, image.width, 3)

    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in(convert))
    np.testing.assert_array_equal(colour_view(image_message(RGB, "8UC3", HEADER)), RGB)
    np.testing.assert_array_equal(colour_view(image_message(RGB, "rgb8", HEADER)), RGB)


def test_what_cv_bridge_refuses_is_refused(monkeypatch):
    def convert(image, encoding):
        raise RuntimeError("[nonsense] is not a color format")

    monkeypatch.setitem(sys.modules, "cv_bridge", stand_in(convert))
    with pytest.raises(ValueError, match="colour encoding: expected one of .*cv_bridge: .nonsense. is not a color"):
        colour_view(image_message(RGB, "nonsense", HEADER))
    short = image_message(RGB, "8UC3", HEADER)
    short.data = short.data[:-1]
    with pytest.raises(ValueError, match="colour data: expected 72 bytes for 4 rows, got 71"):
        colour_view(short)


@given(st.data())
def test_any_image_in_any_encoding_is_rgb_of_its_size_or_refused(data):
    encoding = data.draw(st.sampled_from(sorted(COLOUR_ENCODINGS)))
    size = st.integers(0, 7) | st.integers(0, 2**32 - 1)
    image = Image(
        encoding=encoding,
        height=data.draw(size),
        width=data.draw(size),
        step=data.draw(st.integers(0, 60) | size),
        is_bigendian=data.draw(st.integers(0, 255)),
        data=data.draw(st.binary(max_size=300)),
    )
    try:
        seen = colour_view(image)
    except ValueError as error:
        assert "expected" in str(error) and "got" in str(error)
    else:
        assert seen.shape == (image.height, image.width, 3) and seen.dtype == np.uint8
