"""Images and instances read from the bytes that DDS delivers, pixels in place.

rclpy copies each pixel four times on its way into a message, 0.5 ms for a label image on a small computer. What is read
here has the fields of the ROS message under the same names, and its header is ROS's.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from clipose_ros.formats.serialized_messages import (
    BYTE_ORDERS,
    MessageReader,
    SerializedCompressedImage,
    SerializedImage,
    SerializedInstances,
)
from clipose_ros.msg import InstanceArray


def read_image(message: bytes) -> SerializedImage | Image:
    """Read an image.

    Parameters
    ----------
    message : bytes
        As DDS delivers it.

    Returns
    -------
    SerializedImage or Image
        The ROS message itself where it does not come as plain CDR.

    Raises
    ------
    ValueError
        For bytes that are cut short.
    """
    return _read(message, _Reader.image, Image)


def read_compressed_image(message: bytes) -> SerializedCompressedImage | CompressedImage:
    """Read a compressed image.

    Parameters
    ----------
    message : bytes
        As DDS delivers it.

    Returns
    -------
    SerializedCompressedImage or CompressedImage
        The ROS message itself where it does not come as plain CDR.

    Raises
    ------
    ValueError
        For bytes that are cut short.
    """
    return _read(message, _Reader.compressed_image, CompressedImage)


def read_instances(message: bytes) -> SerializedInstances | InstanceArray:
    """Read instances.

    Parameters
    ----------
    message : bytes
        As DDS delivers it.

    Returns
    -------
    SerializedInstances or InstanceArray
        The ROS message itself where it does not come as plain CDR.

    Raises
    ------
    ValueError
        For bytes that are cut short.
    """
    return _read(message, _Reader.instances, InstanceArray)


def _read(message: bytes, fields: Callable[[_Reader], Any], kind: type) -> Any:
    if message[:2] not in BYTE_ORDERS:
        return deserialize_message(message, kind)
    try:
        return fields(_Reader(message))
    except struct.error as error:
        raise ValueError(f"message: expected a whole {kind.__name__}, got {len(message)} bytes") from error


class _Reader(MessageReader):
    """Gives headers that can be published again."""

    def header(self) -> Header:
        return Header(stamp=Time(sec=self._number("i"), nanosec=self._number("I")), frame_id=self._string())
