"""Images of NOCS folders: colour, depth and instance masks, each checked for being what its name says."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.formats.compressed_images import JPEG_MAGIC, PNG_MAGIC, check_pixels

MOST_BYTES = 2**29  # more than the pixels that are read at most have
DEPTH_FORMS = "16-bit millimetres in one channel, or the 8-bit code of CAMERA25 (mm = G * 256 + R)"
DEPTH_CURE = "save the camera's own 16-bit image (z16, mono16), not its picture for people"
NEAREST_CODED_MM, FARTHEST_CODED_MM = 256, 20_000
LEAST_CODED_SHARE = 0.001  # of the coloured pixels; in CAMERA25, what lies behind the objects is 32 m away
LARGEST_CARRY_MM = 64
LARGEST_STEP = 8  # of G, between neighbours on one surface
LEAST_DEPTHS = 8
LEAST_CARRIED_SHARE = 0.25  # depth: 0.6 and more, colour maps: 0.01 and less
NEAR_MM, FAR_MM = 100, 20_000  # outside of these, hardly a depth camera sees anything
DOUBTFUL_SHARE = 0.95
# A PNG's first chunk: length and name, then width, height, bits, kind and three bytes more, then the checksum.
PNG_HEAD = struct.Struct(">4x4sIIBB")
PNG_HEAD_AT, PNG_KIND_AT, PNG_HEAD_END = 8, 25, 29
PALETTE, GREY = 3, 0  # kinds of PNG
BACKGROUND, BACKGROUND_16 = 255, 65535  # of masks of 8 and of 16 bits


def read_image(path: Path, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """Read an image of any kind, whose size is looked at before memory is taken.

    Parameters
    ----------
    path : Path
        Of the file.
    flags : int
        How OpenCV is to read it.

    Returns
    -------
    (H, W) or (H, W, C) array
        Its pixels, in OpenCV's order of channels.

    Raises
    ------
    ValueError
        With the path, where there is no image, or one that is larger than any camera's.
    """
    expect(str(path), path.is_file(), "a file", "none")
    size = path.stat().st_size
    expect(str(path), size <= MOST_BYTES, f"an image of at most {MOST_BYTES} bytes", size)
    return _decoded_image(path, path.read_bytes(), flags)


def _decoded_image(path: Path, data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    if data.startswith((PNG_MAGIC, JPEG_MAGIC)):
        check_pixels(str(path), data)
    try:
        image = cv2.imdecode(np.frombuffer(data or b"\0", np.uint8), flags)
    except cv2.error as error:  # an image that claims to be larger than OpenCV reads
        raise ValueError(f"{path}: expected an image, got one that OpenCV refuses: {error.err}") from error
    expect(str(path), image is not None, "an image", "something that does not decode; copy or download the file again")
    return image


def read_colour(path: Path) -> np.ndarray:
    """Read a colour image.

    Parameters
    ----------
    path : Path
        PNG or JPEG.

    Returns
    -------
    (H, W, 3) uint8
        RGB, as the pixels are stored. What EXIF says of how to hold the picture is for people: depth and masks of the
        same camera are not turned, either.

    Raises
    ------
    ValueError
        With the path, where there is no image.
    """
    return cv2.cvtColor(read_image(path, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION), cv2.COLOR_BGR2RGB)


def read_depth(path: Path) -> np.ndarray:
    """Read a depth image.

    Parameters
    ----------
    path : Path
        Of a 16-bit image, or of one in the code of CAMERA25.

    Returns
    -------
    (H, W) uint16
        Depth [mm], 0 where there is none.

    Raises
    ------
    ValueError
        As `read_depth_or_code`.
    """
    return read_depth_or_code(path)[0]


def read_depth_or_code(path: Path) -> tuple[np.ndarray, bool]:
    """Read a depth image, and tell how it is written.

    Parameters
    ----------
    path : Path
        Of a 16-bit image, or of one in the code of CAMERA25.

    Returns
    -------
    (H, W) uint16
        Depth [mm], 0 where there is none.
    bool
        Whether it was in the code of CAMERA25.

    Raises
    ------
    ValueError
        With the path, where there is no image, or one that holds no depth: colours or grey for people, 8 bits, floats.
    """
    image = read_image(path)
    if image.ndim == 2 and image.dtype == np.uint16:
        return image, False
    flaw = _flaw_of_code(image)
    expect(str(path), not flaw, DEPTH_FORMS, f"{flaw}: not depth; {DEPTH_CURE}")
    return _decoded(image), True


def unit_doubt(depth_mm: np.ndarray) -> str:
    """Say why a depth image is likely not in millimetres.

    Parameters
    ----------
    depth_mm : (H, W) uint16
        Depth [mm], 0 where there is none.

    Returns
    -------
    str
        The doubt, with the likely unit; empty where there is none.
    """
    valid = depth_mm[depth_mm > 0]
    if valid.size == 0:
        return ""
    for doubtful, where in ((valid < NEAR_MM, f"nearer than {NEAR_MM} mm"), (valid > FAR_MM, f"beyond {FAR_MM} mm")):
        if np.count_nonzero(doubtful) > DOUBTFUL_SHARE * valid.size:
            median = np.median(valid)
            unit = "0.1 mm" if median > FAR_MM else "metres" if median < 10 else "centimetres"
            return f"nearly all of the depth lies {where}: it seems to be in {unit}; convert it to millimetres"
    return ""


def read_labels(path: Path) -> np.ndarray:
    """Read an instance mask: the instance number of each pixel, 255 for the background.

    Parameters
    ----------
    path : Path
        Image with one channel, of 8 or 16 bits, or with the number in red (CAMERA25) or in all three. Of a PNG with a
        palette (DAVIS, labelme), its indices are the numbers. 65535 is background, too.

    Returns
    -------
    (H, W) uint8
        0 for the background, otherwise the instance number + 1.

    Raises
    ------
    ValueError
        With the path, where there is no image or one of another kind.
    """
    image = _numbers(path)
    if image.dtype == np.uint16 and image.ndim == 2:
        image = np.where(image == BACKGROUND_16, np.uint16(BACKGROUND), image)
        fits = image.max(initial=0) <= BACKGROUND
        expect(str(path), fits, f"instance numbers 0 to 254, background {BACKGROUND}", f"{image.max(initial=0)}")
        image = image.astype(np.uint8)
    expect(
        str(path),
        image.dtype == np.uint8,
        f"a mask of 8 or 16 bits (instance numbers 0 to 254, background {BACKGROUND})",
        f"{image.dtype} in {image.shape[2] if image.ndim == 3 else 1} channel(s); save the instance numbers as 8 bits",
    )
    if image.ndim == 3:
        blue, green, red = (image[:, :, channel] for channel in range(3))
        red_alone = (blue == green).all() and ((blue == 0) | (blue == red)).all()
        expect(
            str(path),
            red_alone,
            "a mask with the instance number in red alone or in all channels",
            "a picture in colours; save the instance numbers, not their colours",
        )
        image = red
    return image + np.uint8(1)  # wraps 255, the background, to 0


def read_object_mask(path: Path) -> np.ndarray:
    """Read the mask of one object.

    Parameters
    ----------
    path : Path
        Image with one channel, or with several that are the same, or with a palette; 0 where the object is not.

    Returns
    -------
    (H, W) bool
        Its pixels.

    Raises
    ------
    ValueError
        With the path, where there is no image or one of another kind.
    """
    image = _numbers(path)
    if image.ndim == 3 and (image[:, :, :3] == image[:, :, :1]).all():  # whatever is in a fourth, which is alpha
        image = image[:, :, 0]
    grey = image.ndim == 2 and image.dtype in (np.uint8, np.uint16)
    expect(str(path), grey, "a mask in one channel, 0 where the object is not", f"{image.dtype} {image.shape}")
    return image > 0


def _numbers(path: Path) -> np.ndarray:
    """The pixels of a mask: of a PNG with a palette, the indices instead of the colours."""
    image = read_image(path)
    data = path.read_bytes()
    if not data.startswith(PNG_MAGIC):
        return image
    name, _, _, bits, kind = PNG_HEAD.unpack_from(data, PNG_HEAD_AT)
    if name != b"IHDR" or kind != PALETTE:
        return image
    # OpenCV gives no indices. Called grey, the same file is an image of them, which has all of the range of 8 bits.
    head = bytearray(data[PNG_HEAD_AT + 4 : PNG_HEAD_END])
    head[PNG_KIND_AT - PNG_HEAD_AT - 4] = GREY
    checksum = struct.pack(">I", zlib.crc32(head))
    rest = _without_palette(data[PNG_HEAD_END + 4 :])
    grey = _decoded_image(path, data[: PNG_HEAD_AT + 4] + bytes(head) + checksum + rest)
    return grey // np.uint8(255 // (2**bits - 1))


def _without_palette(chunks: bytes) -> bytes:
    """What follows the head of a PNG, without the chunks that speak of colours: no grey image has them."""
    kept, at = [], 0
    while at + 8 <= len(chunks):
        (length,) = struct.unpack_from(">I", chunks, at)
        end = at + 12 + length
        if chunks[at + 4 : at + 8] in (b"IDAT", b"IEND"):
            kept.append(chunks[at:end])
        at = end
    return b"".join(kept)


def check_size(path: Path, image: np.ndarray, depth: np.ndarray) -> None:
    """Refuse an image of another size than the depth image that it belongs to.

    Parameters
    ----------
    path : Path
        Of the image.
    image : (H, W) or (H, W, C) array
        Colour or masks.
    depth : (H, W) array
        As it was read.

    Raises
    ------
    ValueError
        With the path and both sizes.
    """
    expect(str(path), image.shape[:2] == depth.shape[:2], f"{_size(depth)} as the depth image", _size(image))


def _size(image: np.ndarray) -> str:
    return f"{image.shape[1]}x{image.shape[0]}"


def _flaw_of_code(image: np.ndarray) -> str:
    """Why an image is not depth in the code of CAMERA25; empty where it is.

    The code writes the high byte to G and the low one to R, so where depth passes a multiple of 256 mm, R wraps as G
    steps: the depth of neighbours on a surface stays close. Channels of a colour map or a photograph do not carry:
    each step of G is a leap of 256 mm. B tells nothing: zero in some files, in CAMERA25's own a preview for people.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] not in (3, 4):
        channels = 1 if image.ndim == 2 else image.shape[2]
        return f"{8 * image.itemsize}-bit {'floats' if image.dtype.kind == 'f' else 'values'} in {channels} channel(s)"
    coloured = image[:, :, :3].any(axis=2)
    if not coloured.any():
        return ""  # an image without depth
    blue, green, red = (image[:, :, channel] for channel in range(3))
    if np.array_equal(blue, green) and np.array_equal(green, red):
        return "8-bit grey in three channels"
    depth = _decoded(image)
    seen = np.count_nonzero((depth >= NEAREST_CODED_MM) & (depth <= FARTHEST_CODED_MM))
    if seen < LEAST_CODED_SHARE * np.count_nonzero(coloured) or not _carries(green, depth):
        return "colours (a colour map or a photograph)"
    return ""


def _carries(high: np.ndarray, depth_mm: np.ndarray) -> bool:
    """Whether depth (H, W) stays close where its high byte (H, W) makes a small step between neighbours."""
    steps = carried = 0
    for one, other in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        step = np.abs(high[one].astype(np.int16) - high[other])
        on_surface = (step > 0) & (step <= LARGEST_STEP) & (depth_mm[one] > 0) & (depth_mm[other] > 0)
        leap = np.abs(depth_mm[one][on_surface].astype(np.int32) - depth_mm[other][on_surface])
        steps += leap.size
        carried += np.count_nonzero(leap <= LARGEST_CARRY_MM)
    if steps == 0:  # all within one step of 256 mm: a surface has many depths there, a colour map hardly two colours
        return len(np.unique(depth_mm)) >= LEAST_DEPTHS
    return carried >= LEAST_CARRIED_SHARE * steps


def _decoded(image: np.ndarray) -> np.ndarray:
    return image[:, :, 1].astype(np.uint16) * 256 + image[:, :, 2]  # OpenCV's order is B, G, R
