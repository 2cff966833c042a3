"""Encodings of colour images, by their names in sensor_msgs, and how their pixels become RGB."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.validation import expect


@dataclass(frozen=True)
class ColourEncoding:
    """One encoding of colour.

    Parameters
    ----------
    scalar : type
        Type of a channel.
    channels : int
        Channels of a pixel.
    to_rgb : callable
        Makes (H, W, 3) uint8 RGB of (H * planes, W[, C]) pixels.
    block : (int, int)
        Height and width of the blocks that share chroma or a Bayer pattern [px].
    planes : float
        Rows of data for each row of the image.
    """

    scalar: type
    channels: int
    to_rgb: Callable[[np.ndarray], np.ndarray]
    block: tuple[int, int] = (1, 1)
    planes: float = 1.0

    def check(self, shape: tuple[int, int]) -> None:
        """Refuse a size that this encoding cannot have.

        Parameters
        ----------
        shape : (int, int)
            Height and width [px].

        Raises
        ------
        ValueError
            If the image is not made of whole blocks.
        """
        (height, width), (of_height, of_width) = shape, self.block
        whole = height % of_height == 0 and width % of_width == 0
        expect("colour", whole, f"blocks of {of_width}x{of_height} px for its encoding", f"{width}x{height}")


def _converted(code: int) -> Callable[[np.ndarray], np.ndarray]:
    """Convert by OpenCV, Bayer patterns of 16 bits, too."""
    return lambda pixels: _eight_bits(cv2.cvtColor(pixels, code))


def _eight_bits(pixels: np.ndarray) -> np.ndarray:
    """Keep the upper eight of sixteen bits."""
    return (pixels >> 8).astype(np.uint8) if pixels.dtype == np.uint16 else pixels


def _rgb(pixels: np.ndarray) -> np.ndarray:
    return _eight_bits(pixels[:, :, :3])


def _bgr(pixels: np.ndarray) -> np.ndarray:
    return _eight_bits(pixels[:, :, 2::-1])


_GREY = _converted(cv2.COLOR_GRAY2RGB)
_UYVY = ColourEncoding(np.uint8, 2, _converted(cv2.COLOR_YUV2RGB_UYVY), block=(1, 2))
_YUYV = ColourEncoding(np.uint8, 2, _converted(cv2.COLOR_YUV2RGB_YUY2), block=(1, 2))
# OpenCV names a pattern after the second and third pixel of its second row, ROS after its first four pixels.
_BAYER = {
    "rggb": cv2.COLOR_BAYER_BG2RGB,
    "bggr": cv2.COLOR_BAYER_RG2RGB,
    "gbrg": cv2.COLOR_BAYER_GR2RGB,
    "grbg": cv2.COLOR_BAYER_GB2RGB,
}

COLOUR_ENCODINGS = {
    **{
        f"{order}{bits}": ColourEncoding(scalar, len(order), _rgb if order.startswith("rgb") else _bgr)
        for order in ("rgb", "bgr", "rgba", "bgra")
        for bits, scalar in ((8, np.uint8), (16, np.uint16))
    },
    "mono8": ColourEncoding(np.uint8, 1, _GREY),
    "mono16": ColourEncoding(np.uint16, 1, _GREY),
    "uyvy": _UYVY,
    "yuv422": _UYVY,  # the older name
    "yuyv": _YUYV,
    "yuv422_yuy2": _YUYV,  # the older name
    "nv12": ColourEncoding(np.uint8, 1, _converted(cv2.COLOR_YUV2RGB_NV12), block=(2, 2), planes=1.5),
    "nv21": ColourEncoding(np.uint8, 1, _converted(cv2.COLOR_YUV2RGB_NV21), block=(2, 2), planes=1.5),
    **{
        f"bayer_{pattern}{bits}": ColourEncoding(scalar, 1, _converted(code), block=(2, 2))
        for pattern, code in _BAYER.items()
        for bits, scalar in ((8, np.uint8), (16, np.uint16))
    },
}
