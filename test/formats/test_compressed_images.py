"""Compressed images against the pixels that they were made of."""

import struct
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipose_ros.formats.compressed_images import compressed_size, inflate_colour, inflate_depth, is_compressed_depth

RNG = np.random.default_rng(0)
DEPTH_MM = np.where(RNG.random((24, 32)) < 0.3, 0, RNG.integers(1, 65536, (24, 32))).astype(np.uint16)
COLOUR = cv2.resize(RNG.integers(0, 256, (3, 4, 3)).astype(np.uint8), (32, 24))


def message(image_format, data):
    return SimpleNamespace(format=image_format, data=memoryview(data))


def png(pixels):
    return cv2.imencode(".png", pixels)[1].tobytes()


def header(a=0.0, b=0.0):
    return struct.pack("<iff", 0, a, b)


def rvl(depth):
    """RVL as its paper has it: a number at a time, nibble by nibble."""
    nibbles, flat, i, previous = [], [int(value) for value in depth.ravel()], 0, 0

    def write(number):
        while True:
            number, nibble = number >> 3, number & 7
            nibbles.append(nibble | (8 if number else 0))
            if not number:
                return

    while i < len(flat):
        zeros = next((k for k, value in enumerate(flat[i:]) if value), len(flat) - i)
        begin = i + zeros
        others = next((k for k, value in enumerate(flat[begin:]) if not value), len(flat) - begin)
        write(zeros)
        write(others)
        for value in flat[begin : begin + others]:
            step = value - previous
            write(2 * step if step >= 0 else -2 * step - 1)
            previous = value
        i = begin + others
    nibbles += [0] * (-len(nibbles) % 8)
    words = [
        sum(nibble << (28 - 4 * k) for k, nibble in enumerate(nibbles[i : i + 8])) for i in range(0, len(nibbles), 8)
    ]
    return struct.pack(f"<II{len(words)}I", depth.shape[1], depth.shape[0], *words)


@pytest.mark.parametrize("encoding", ["16UC1", "mono16"])
@pytest.mark.parametrize("compress", [png, rvl])
def test_depth_in_millimetres_is_what_it_was(compress, encoding):
    how = f"{encoding}; compressedDepth {compress.__name__}"
    depth = inflate_depth(message(how, header() + compress(DEPTH_MM)))
    np.testing.assert_array_equal(depth, DEPTH_MM)
    assert depth.dtype == np.uint16


def test_the_older_name_of_the_format_means_png():
    np.testing.assert_array_equal(inflate_depth(message("16UC1; compressedDepth", header() + png(DEPTH_MM))), DEPTH_MM)


@pytest.mark.parametrize("image_format", ["16UC1; png compressed ", "png"])
def test_depth_that_the_transport_for_colour_kept_as_png_is_what_it_was(image_format):
    np.testing.assert_array_equal(inflate_depth(message(image_format, png(DEPTH_MM))), DEPTH_MM)


def test_depth_is_told_from_colour_by_its_format_its_pixels_and_its_topic():
    jpeg = cv2.imencode(".jpg", COLOUR)[1].tobytes()
    for image_format, data, named, depth in (
        ("16UC1; compressedDepth rvl", header(), False, True),
        ("16UC1; png compressed ", png(DEPTH_MM), False, True),
        ("png", png(DEPTH_MM), True, True),
        ("mono16; png compressed ", png(DEPTH_MM), False, False),  # of an infrared camera
        ("png", png(DEPTH_MM.astype(np.uint8)), True, False),  # a picture of depth
        ("rgb8; jpeg compressed bgr8", jpeg, True, False),
    ):
        assert is_compressed_depth(message(image_format, data), named) == depth, image_format
    with pytest.raises(ValueError, match="JPEG keeps 8 bits of depth: send compressedDepth, or set .* format to png"):
        is_compressed_depth(message("16UC1; jpeg compressed ", jpeg), named=False)


@pytest.mark.parametrize("compress", [png, rvl])
def test_depth_in_metres_is_stored_as_its_inverse(compress):
    """As compressed_depth_image_transport writes it: a = q (q + 1), b = 1 - q / depth_max, stored = a / depth + b."""
    quantization, farthest_m = 100.0, 10.0
    a, b = quantization * (quantization + 1), 1 - quantization * (quantization + 1) / farthest_m
    metres = RNG.uniform(0.3, 9.9, (24, 32)).astype(np.float32)
    metres[3:5] = np.nan
    with np.errstate(invalid="ignore"):
        stored = np.where(np.isnan(metres), 0, a / metres + b).astype(np.uint16)
    depth = inflate_depth(message(f"32FC1; compressedDepth {compress.__name__}", header(a, b) + compress(stored)))
    assert depth.dtype == np.float32 and np.isnan(depth[3:5]).all()
    np.testing.assert_allclose(depth, metres, atol=2 * farthest_m**2 / a)


@given(st.lists(st.integers(0, 65535), min_size=1, max_size=60))
def test_rvl_of_any_row_is_what_it_was(values):
    row = np.array([values], np.uint16)
    np.testing.assert_array_equal(inflate_depth(message("16UC1; compressedDepth rvl", header() + rvl(row))), row)


@given(st.binary(max_size=80))
def test_any_bytes_give_depth_or_a_value_error(data):
    for how in ("rvl", "png"):
        try:
            inflate_depth(message(f"16UC1; compressedDepth {how}", data))
        except ValueError as error:
            assert "expected" in str(error) and "got" in str(error)


def test_colour_and_grey_come_as_rgb():
    np.testing.assert_array_equal(inflate_colour(message("rgb8; png compressed bgr8", png(COLOUR[:, :, ::-1]))), COLOUR)
    grey = inflate_colour(message("mono8; png compressed ", png(COLOUR[:, :, 0])))
    np.testing.assert_array_equal(grey, np.repeat(COLOUR[:, :, :1], 3, axis=2))
    jpeg = cv2.imencode(".jpg", COLOUR[:, :, ::-1])[1].tobytes()
    assert np.abs(inflate_colour(message("rgb8; jpeg compressed bgr8", jpeg)).astype(int) - COLOUR).mean() < 8
    assert compressed_size(message("", jpeg)) == compressed_size(message("", png(COLOUR))) == (24, 32)


def test_a_jpeg_that_asks_to_be_turned_is_not():
    """Depth is not turned, either."""
    jpeg = cv2.imencode(".jpg", COLOUR[:, :, ::-1])[1].tobytes()
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = jpeg[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + jpeg[2:]
    assert inflate_colour(message("", turned)).shape == COLOUR.shape


def claiming(width, height):
    """A PNG of a few bytes that claims to be larger."""
    return png(COLOUR)[:16] + struct.pack(">II", width, height) + png(COLOUR)[24:]


@pytest.mark.parametrize(
    ("image_format", "data", "said"),
    [
        ("16UC1; compressedDepth png", header() + png(DEPTH_MM.astype(np.uint8)), "expected a PNG of 16 bits"),
        ("16UC1; compressedDepth png", header() + png(DEPTH_MM)[:99], "expected an image, got one"),
        ("16UC1; compressedDepth png", header(), "depth data: expected more than 12 bytes, got 12"),
        ("16UC1; compressedDepth png", header() + claiming(100_000, 100_000), "1 to 67108864 pixels, got 1000"),
        ("16UC1; compressedDepth rvl", header() + struct.pack("<II", 2**31, 2**31), "expected 1 to 67108864 pixels"),
        ("16UC1; compressedDepth rvl", header() + rvl(DEPTH_MM)[:-40], "expected RVL of 768 pixels"),
        ("16UC1; compressedDepth rvl", header() + struct.pack("<II", 9, 9) + b"\xff" * 40, "RVL of 81 pixels"),
        ("mono8; compressedDepth png", header() + png(DEPTH_MM), "depth encoding: expected 16UC1 or 32FC1 or mono16"),
        ("16UC1; jpeg compressed", header(), "expected an encoding; compressedDepth, or a PNG of 16 bits, got '16UC1"),
        ("16UC1; png compressed ", png(DEPTH_MM.astype(np.uint8)), "expected a PNG of 16 bits"),
    ],
)  # fmt: skip
def test_what_is_no_depth_is_said(image_format, data, said):
    with pytest.raises(ValueError) as raised:
        inflate_depth(message(image_format, data))
    assert said in str(raised.value)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"\xff\xd8\xff", b"\xff\xd8" + b"\xff" * 50, claiming(9999, 9999)])
def test_what_is_no_colour_is_said(data):
    with pytest.raises(ValueError, match="colour: expected"):
        inflate_colour(message("rgb8; jpeg", data))
