import struct
import zlib

import cv2
import numpy as np
import pytest

from clipose_ros.formats.images import (
    read_colour,
    read_depth,
    read_depth_or_code,
    read_labels,
    read_object_mask,
    unit_doubt,
)

V, U = np.mgrid[:120, :160]
# Table, box and wall, with the noise of a sensor and holes, from 0.6 to 1.6 m; [mm].
SCENE_MM = np.where(V < 40, 1600 - U, np.where((U > 60) & (U < 100) & (V < 90), 640 + V // 8, 600 + 6 * (119 - V)))
SCENE_MM = (SCENE_MM + np.random.default_rng(0).integers(-3, 4, SCENE_MM.shape)).astype(np.uint16)
SCENE_MM[50:60, 20:40] = 0


def coded(depth_mm, channels=4, blue=0):
    """Depth as CAMERA25 writes it, in OpenCV's order: B, G, R, A."""
    image = np.full((*depth_mm.shape, channels), 255, np.uint8)
    image[..., 0], image[..., 1], image[..., 2] = blue, depth_mm // 256, depth_mm % 256
    return image


def grey(alpha):
    return cv2.convertScaleAbs(SCENE_MM, alpha=alpha)


@pytest.fixture
def write(tmp_path):
    """Writes an image, or bytes, and gives the path."""

    def write(image, name="0000_depth.png"):
        path = tmp_path / name
        path.write_bytes(image if isinstance(image, bytes) else cv2.imencode(path.suffix, image)[1].tobytes())
        return path

    return write


def test_depth_of_16_bits_is_read_as_it_is(write):
    depth, was_coded = read_depth_or_code(write(SCENE_MM))
    np.testing.assert_array_equal(depth, SCENE_MM)
    assert depth.dtype == np.uint16 and not was_coded


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("blue", [0, np.clip(SCENE_MM // 22, 0, 255)], ids=["no preview", "preview in blue"])
def test_the_code_of_camera25_is_read_with_and_without_alpha_and_preview(write, channels, blue):
    depth, was_coded = read_depth_or_code(write(coded(SCENE_MM, channels, blue)))
    np.testing.assert_array_equal(depth, SCENE_MM)
    assert was_coded


@pytest.mark.parametrize(
    "depth_mm",
    [np.where(SCENE_MM > 700, 32001, SCENE_MM), 800 + V, np.zeros_like(V)],
    ids=["background of 32 m", "within 256 mm", "no depth"],
)
def test_the_code_is_read_whatever_of_a_scene_it_shows(write, depth_mm):
    np.testing.assert_array_equal(read_depth(write(coded(depth_mm.astype(np.uint16)))), depth_mm)


COLOUR_MAPS = ["JET", "TURBO", "VIRIDIS", "HOT", "BONE", "HSV", "RAINBOW", "PLASMA", "AUTUMN", "OCEAN"]


@pytest.mark.parametrize("alpha", [0.01, 0.03, 0.1, 0.25])
@pytest.mark.parametrize("name", COLOUR_MAPS)
def test_a_colour_map_of_depth_is_no_depth(write, name, alpha):
    picture = cv2.applyColorMap(grey(alpha), getattr(cv2, f"COLORMAP_{name}"))
    for image in (picture, picture[..., ::-1], cv2.cvtColor(picture, cv2.COLOR_BGR2BGRA)):
        with pytest.raises(
            ValueError, match="0000_depth.png: expected 16-bit millimetres .*: not depth; save the camera's"
        ):
            read_depth(write(np.ascontiguousarray(image)))


@pytest.mark.parametrize(
    ("image", "what"),
    [
        (cv2.cvtColor(grey(0.01), cv2.COLOR_GRAY2BGR), "8-bit grey in three channels"),
        (cv2.cvtColor(grey(0.1), cv2.COLOR_GRAY2BGRA), "8-bit grey in three channels"),
        (grey(0.1), "8-bit values in 1 channel"),
        (cv2.cvtColor(SCENE_MM, cv2.COLOR_GRAY2BGR), "16-bit values in 3 channel"),
        (np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8), "colours"),
        (np.full((120, 160, 3), (40, 90, 200), np.uint8), "colours"),
    ],
)
def test_what_is_no_depth_is_named(write, image, what):
    with pytest.raises(ValueError) as raised:
        read_depth(write(image))
    assert f"got {what}" in str(raised.value) and "not depth; save the camera's own 16-bit image" in str(raised.value)


def test_metres_as_floats_are_no_depth(write, tmp_path):
    write(SCENE_MM.astype(np.float32) / 1000, "metres.tiff").rename(tmp_path / "0000_depth.png")
    with pytest.raises(ValueError, match="got 32-bit floats in 1 channel"):
        read_depth(tmp_path / "0000_depth.png")


@pytest.mark.parametrize(
    ("factor", "unit"), [(0.001, "metres"), (0.05, "centimetres"), (1, ""), (0.3, ""), (40, "0.1 mm")]
)
def test_depth_that_cannot_be_millimetres_is_doubted_with_its_unit(factor, unit):
    doubt = unit_doubt(np.round(SCENE_MM * factor).clip(0, 65535).astype(np.uint16))
    assert (f"seems to be in {unit}; convert it to millimetres" in doubt) if unit else doubt == ""


def test_an_image_without_depth_has_no_unit_to_doubt():
    assert unit_doubt(np.zeros((4, 5), np.uint16)) == ""


def test_masks_carry_the_number_in_one_channel_in_red_or_in_all(write):
    mask = np.full((12, 16), 255, np.uint8)
    mask[3, 3] = 7
    red = np.full((12, 16, 4), 255, np.uint8)
    red[3, 3] = (0, 0, 7, 255)
    for image in (mask, red, red[..., :3], cv2.cvtColor(mask, cv2.COLOR_GRAY2BGR)):
        labels = read_labels(write(np.ascontiguousarray(image)))
        assert np.flatnonzero(labels).tolist() == [3 * 16 + 3] and labels[3, 3] == 8


def chunk(name, data):
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def palette_png(numbers, bits):
    """As DAVIS, labelme and Pillow's mode P have masks; all colours are the same, so that they tell nothing."""
    rows = [np.packbits(np.unpackbits(row[:, None], axis=1)[:, -bits:].ravel()).tobytes() for row in numbers]
    head = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], bits, 3, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    transparency = chunk(b"tRNS", bytes([0, 255]))
    parts = chunk(b"IHDR", head), chunk(b"PLTE", b"\x20\x40\x60" * 2**bits), transparency, chunk(b"IDAT", data)
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_of_masks_with_a_palette_the_indices_are_the_numbers(write, bits):
    """labelme and DAVIS: OpenCV gives the colours of such a mask, which people choose."""
    numbers = np.arange(12 * 16).reshape(12, 16).astype(np.uint8) & np.uint8(2**bits - 1)
    file = write(palette_png(numbers, bits))
    np.testing.assert_array_equal(read_labels(file), numbers + 1)
    np.testing.assert_array_equal(read_object_mask(file), numbers > 0)


def test_masks_of_16_bits_are_read_where_their_numbers_fit(write):
    mask = np.full((12, 16), 65535, np.uint16)
    mask[3, 3], mask[3, 4] = 7, 255
    labels = read_labels(write(mask))
    assert labels.dtype == np.uint8 and np.flatnonzero(labels).tolist() == [3 * 16 + 3] and labels[3, 3] == 8
    np.testing.assert_array_equal(read_object_mask(write(mask * (mask == 7))), mask == 7)


def test_the_mask_of_one_object_may_have_its_value_in_all_channels(write):
    mask = np.zeros((12, 16, 4), np.uint8)
    mask[3, 3, :3], mask[..., 3] = 255, 255  # as painting programs save it
    for image in (mask, mask[..., :3]):
        assert np.flatnonzero(read_object_mask(write(np.ascontiguousarray(image)))).tolist() == [3 * 16 + 3]
    mask[3, 3, 0] = 9
    with pytest.raises(ValueError, match="expected a mask in one channel"):
        read_object_mask(write(mask))


def test_masks_of_other_kinds_are_refused(write):
    with pytest.raises(ValueError, match="expected instance numbers 0 to 254, background 255, got"):
        read_labels(write(SCENE_MM))
    with pytest.raises(ValueError, match="got a picture in colours; save the instance numbers, not their colours"):
        read_labels(write(cv2.applyColorMap(grey(0.1), cv2.COLORMAP_JET)))


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_colour_is_as_the_camera_saw_it_whatever_exif_says(write, orientation):
    """opencv#8854: a picture that is turned for people no longer lies on its depth image, which is not turned."""
    colour = np.zeros((120, 160, 3), np.uint8)
    colour[:, :, 0], colour[:, :, 1] = U, V
    jpeg = cv2.imencode(".jpg", colour[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])[1].tobytes()
    tags = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0" + bytes([orientation]) + bytes(7)
    turned = jpeg[:2] + b"\xff\xe1" + (len(tags) + 2).to_bytes(2, "big") + tags + jpeg[2:]
    read = read_colour(write(turned, "0000_color.jpg"))
    assert read.shape == colour.shape and np.abs(read.astype(int) - colour).max() < 20


def test_colour_is_read_from_png_and_jpeg(write):
    colour = np.full((12, 16, 3), (30, 120, 200), np.uint8)  # B, G, R
    np.testing.assert_array_equal(read_colour(write(colour, "a.png")), colour[..., ::-1])
    assert np.abs(read_colour(write(colour, "a.jpg")).astype(int) - colour[..., ::-1]).max() < 8


@pytest.mark.parametrize("content", [b"", b"no image", cv2.imencode(".png", SCENE_MM)[1].tobytes()[:-200]])
def test_what_does_not_decode_is_named_with_the_cure(write, content):
    with pytest.raises(
        ValueError, match="0000_depth.png: expected an image, got something that does not decode; copy or"
    ):
        read_depth(write(content))


@pytest.mark.parametrize("read", [read_colour, read_depth, read_labels, read_object_mask])
def test_an_image_that_says_it_is_larger_than_any_cameras_takes_no_memory(write, read):
    """A few kilobytes of zeros unpack to gigabytes."""
    image = bytearray(cv2.imencode(".png", SCENE_MM)[1].tobytes())
    image[16:24] = struct.pack(">II", 30_000, 30_000)
    with pytest.raises(ValueError, match="0000_depth.png: expected 1 to 67108864 pixels, got 30000x30000"):
        read(write(bytes(image)))


def test_a_file_that_is_larger_than_any_image_is_not_read(tmp_path):
    path = tmp_path / "0000_depth.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # it has holes: nothing is written
    with pytest.raises(ValueError, match="0000_depth.png: expected an image of at most 536870912 bytes"):
        read_depth(path)
