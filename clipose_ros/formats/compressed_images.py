"""Images of `sensor_msgs/CompressedImage`: JPEG and PNG in colour or grey, and depth as image_transport compresses it.

compressedDepth begins with 12 bytes: an enumeration and the two numbers of its inverse depth. PNG or RVL follows; the
depth of 32FC1 is stored as its inverse in 16 bits. RVL: Wilson, Fast Lossless Depth Image Compression, 2017.
The transport for colour, `compressed`, keeps depth of 16 bits where its format is PNG: the file alone, without the 12
bytes. As JPEG, its default, it keeps 8 bits of it, which are no depth.
"""

from __future__ import annotations

import struct
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.validation import expect

DEPTH_FORMAT = "compressedDepth"
DEPTH_ENCODINGS = ("16UC1", "32FC1", "mono16")
PLAIN_FORMAT = f"an encoding; {DEPTH_FORMAT}, or a PNG of 16 bits"
LOSSLESS = f"JPEG keeps 8 bits of depth: send {DEPTH_FORMAT}, or set the transport's parameter format to png"
CONFIGURATION = struct.Struct("<iff")  # enumeration, quantization a and b
RVL_SIZE = struct.Struct("<II")  # columns, rows
PNG_MAGIC, JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
PNG_SIZE = struct.Struct(">II")  # width and height, after the name of the first chunk
PNG_SIZE_AT = 16
PNG_KIND_AT, PNG_GREY_16 = 24, b"\x10\x00"  # bits of a channel and kind of pixels
JPEG_SEGMENT, JPEG_SIZE = struct.Struct(">BBH"), struct.Struct(">HH")
JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # the segments that tell the size
COLOUR_FLAGS = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION  # depth is not turned, either
MOST_PIXELS = 2**26  # 8192x8192
MOST_NIBBLES = 11  # of a number of 32 bits


def is_compressed_depth(image: Any, named: bool) -> bool:
    """Tell depth from colour.

    Parameters
    ----------
    image : CompressedImage
        The message, or what has its fields. Its format is such as `16UC1; compressedDepth rvl`, or
        `16UC1; png compressed `.
    named : bool
        Whether the name of the topic says that it is depth: a PNG of 16 bits may be an infrared image, too.

    Returns
    -------
    bool
        Whether it is depth.

    Raises
    ------
    ValueError
        For depth as JPEG, which is depth no longer.
    """
    if DEPTH_FORMAT in image.format:
        return True
    encoding = image.format.partition(";")[0].strip()
    head = bytes(image.data[: PNG_KIND_AT + len(PNG_GREY_16)])
    if not head.startswith(PNG_MAGIC):
        expect("depth format", encoding not in ("16UC1", "32FC1"), PLAIN_FORMAT, f"{image.format!r}; {LOSSLESS}")
        return False
    return head[PNG_KIND_AT:] == PNG_GREY_16 and (named or encoding == "16UC1")


def inflate_depth(image: Any) -> np.ndarray:
    """Decompress a depth image.

    Parameters
    ----------
    image : CompressedImage
        The message, or what has its fields.

    Returns
    -------
    (H, W) uint16 or float32
        Depth, in millimetres or metres unless the camera has another unit; 0 or NaN where there is none.

    Raises
    ------
    ValueError
        For another format, and for data that does not decompress or is too large.
    """
    encoding, _, how = (part.strip() for part in image.format.partition(";"))
    if not how.startswith(DEPTH_FORMAT):
        data = bytes(image.data)
        expect("depth format", data.startswith(PNG_MAGIC), PLAIN_FORMAT, f"{image.format!r}; {LOSSLESS}")
        return _stored_depth(data)
    expect("depth encoding", encoding in DEPTH_ENCODINGS, " or ".join(DEPTH_ENCODINGS), repr(encoding))
    data = bytes(image.data)
    head = CONFIGURATION.size
    expect("depth data", len(data) > head, f"more than {head} bytes", len(data))
    _, a, b = CONFIGURATION.unpack_from(data)
    if how.endswith("rvl"):
        stored = _inflate_rvl(data[head:])
    else:
        stored = _stored_depth(data[head:])
    if encoding != "32FC1":
        return stored
    with np.errstate(all="ignore"):
        metres = np.float32(a) / (stored.astype(np.float32) - np.float32(b))
    metres[stored == 0] = np.nan
    return metres


def inflate_colour(image: Any) -> np.ndarray:
    """Decompress a colour or grey image.

    Parameters
    ----------
    image : CompressedImage
        The message, or what has its fields: JPEG or PNG. What its format calls the pixels does not matter: both hold
        them as they are to be shown.

    Returns
    -------
    (H, W, 3) uint8
        RGB.

    Raises
    ------
    ValueError
        For data that is neither, does not decompress or is too large.
    """
    return cv2.cvtColor(_decoded("colour", bytes(image.data), COLOUR_FLAGS), cv2.COLOR_BGR2RGB)


def compressed_size(image: Any) -> tuple[int, int]:
    """Tell the size of a compressed image, without decompressing it.

    Parameters
    ----------
    image : CompressedImage
        JPEG or PNG.

    Returns
    -------
    (int, int)
        Height and width [px].

    Raises
    ------
    ValueError
        For another image.
    """
    width, height = _image_size("colour", bytes(image.data))
    return height, width


def check_pixels(name: str, data: bytes) -> None:
    """Refuse a PNG or JPEG of more pixels than any camera has, before memory is taken for them.

    Parameters
    ----------
    name : str
        Of the image, for the error.
    data : bytes
        The whole file.

    Raises
    ------
    ValueError
        For another image, and for one that says that it is larger, or has no pixels.
    """
    width, height = _image_size(name, data)
    expect(name, 0 < width * height <= MOST_PIXELS, f"1 to {MOST_PIXELS} pixels", f"{width}x{height}")


def _stored_depth(data: bytes) -> np.ndarray:
    """The pixels of a PNG of 16 bits."""
    stored = _decoded("depth", data, cv2.IMREAD_UNCHANGED)
    expect("depth data", stored.ndim == 2 and stored.dtype == np.uint16, "a PNG of 16 bits", "another image")
    return stored


def _decoded(name: str, data: bytes, flags: int) -> np.ndarray:
    """Pixels of a PNG or JPEG, whose size is looked at before memory is taken."""
    check_pixels(name, data)
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as error:
        raise ValueError(f"{name}: expected an image, got one that OpenCV refuses: {error.err}") from error
    expect(name, pixels is not None, "an image", "one that does not decode")
    return pixels


def _image_size(name: str, data: bytes) -> tuple[int, int]:
    """Width and height, as the header of the image says."""
    try:
        if data.startswith(PNG_MAGIC):
            return PNG_SIZE.unpack_from(data, PNG_SIZE_AT)
        if data.startswith(JPEG_MAGIC):
            at = len(JPEG_MAGIC)
            while True:
                mark, kind, length = JPEG_SEGMENT.unpack_from(data, at)
                if mark != 0xFF:
                    break
                if kind in JPEG_FRAMES:
                    height, width = JPEG_SIZE.unpack_from(data, at + JPEG_SEGMENT.size + 1)
                    return width, height
                at += 1 if kind == 0xFF else 2 + length  # any number of 0xFF may stand before a segment
    except struct.error:
        pass
    raise ValueError(f"{name}: expected a PNG or a JPEG, got {len(data)} bytes of something else")


def _inflate_rvl(data: bytes) -> np.ndarray:
    """Depth (H, W) of RVL: runs of zeros and of differences, all as numbers of 3 bits per nibble.

    The values of all nibbles are computed at once; only the runs are walked through.
    """
    expect("depth data", len(data) >= RVL_SIZE.size, f"{RVL_SIZE.size} bytes of size before RVL", len(data))
    columns, rows = RVL_SIZE.unpack_from(data)
    pixels = columns * rows
    expect("depth", 0 < pixels <= MOST_PIXELS, f"1 to {MOST_PIXELS} pixels", f"{columns}x{rows}")
    numbers = _rvl_numbers(np.frombuffer(data, np.uint8, offset=RVL_SIZE.size))
    values, lengths = numbers.tolist(), []
    number = at = 0
    while at < pixels and number + 1 < len(values):  # the length of each run tells where the next one begins
        zeros, others = values[number], values[number + 1]
        lengths += (zeros, others)
        at, number = at + zeros + others, number + 2 + others
    expect("depth data", at == pixels and number <= len(values), f"RVL of {pixels} pixels", "of another number")
    seen = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    of_pixels = np.ones(number, bool)
    of_pixels[_begins_of_runs(lengths)] = False
    steps = numbers[:number][of_pixels]
    depth = np.zeros(pixels, np.uint16)
    depth[seen] = np.cumsum((steps >> 1) ^ -(steps & 1))  # 0 -1 1 -2 2: signs are in the last bit
    return depth.reshape(rows, columns)


def _begins_of_runs(lengths: list[int]) -> np.ndarray:
    """Places (2 N,) of the lengths of N pairs of runs among the numbers: two, and those of the second run follow."""
    begins = np.cumsum([0, *(2 + others for others in lengths[1::2])])[:-1]
    return np.stack([begins, begins + 1], axis=1).ravel()


def _rvl_numbers(data: np.ndarray) -> np.ndarray:
    """Numbers (N,) int64 in nibbles of words of 32 bits, the highest first: 3 bits each, and whether more come."""
    words = data[: len(data) // 4 * 4].view("<u4")
    nibbles = ((words[:, None] >> np.arange(28, -4, -4, dtype=np.uint32)) & 15).astype(np.int64).ravel()
    ends = np.flatnonzero(nibbles < 8)
    if not len(ends):
        return np.zeros(0, np.int64)
    begins = np.concatenate([[0], ends[:-1] + 1])
    nibbles = nibbles[: ends[-1] + 1]
    place = np.arange(len(nibbles)) - np.repeat(begins, ends - begins + 1)
    expect("depth data", place.max() < MOST_NIBBLES, "RVL with numbers of 32 bits", "longer ones")
    return np.add.reduceat((nibbles & 7) << (3 * place), begins)
