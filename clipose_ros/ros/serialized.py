"""Images and instances read from the bytes that DDS delivers, pixels in place.

rclpy copies each pixel four times on its way into a message, 0.5 ms for a label image on a small computer. What is read
here has the fields of the ROS message under the same names. Format: CDR as the DDS-RTPS specification (10.2.1) has it;
numbers are aligned to their size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.core.types import Instance
from clipose_ros.msg import InstanceArray

BYTE_ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}  # by what the message begins with
HEADER_BYTES = 4
NUMBERS = {order: {kind: struct.Struct(order + kind) for kind in "BHiIf"} for order in BYTE_ORDERS.values()}


@dataclass(frozen=True, slots=True)
class SerializedImage:
    """A `sensor_msgs/Image` whose data is a view of the bytes that came.

    Parameters
    ----------
    header, height, width, encoding, is_bigendian, step, data
        As of the ROS message.
    """

    header: Header
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class SerializedInstances:
    """A `clipose_ros/InstanceArray`.

    Parameters
    ----------
    header, label_image, instances
        As of the ROS message.
    """

    header: Header
    label_image: SerializedImage
    instances: tuple[Instance, ...]


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


class _Reader:
    """Reads the fields of a message one after the other; struct.error where the bytes end."""

    def __init__(self, message: bytes) -> None:
        self._numbers = NUMBERS[BYTE_ORDERS[message[:2]]]
        self._bytes = memoryview(message)[HEADER_BYTES:]  # what numbers are aligned in
        self._at = 0

    def instances(self) -> SerializedInstances:
        header, labels = self._header(), self.image()
        return SerializedInstances(header, labels, tuple([self._instance() for _ in range(self._number("I"))]))

    def image(self) -> SerializedImage:
        header, height, width, encoding = self._header(), self._number("I"), self._number("I"), self._string()
        return SerializedImage(header, height, width, encoding, self._number("B"), self._number("I"), self._sequence())

    def _header(self) -> Header:
        return Header(stamp=Time(sec=self._number("i"), nanosec=self._number("I")), frame_id=self._string())

    def _instance(self) -> Instance:
        return Instance(self._number("H"), self._string(), self._number("f"), self._string())

    def _number(self, kind: str) -> int | float:
        number = self._numbers[kind]
        at = -(-self._at // number.size) * number.size
        self._at = at + number.size
        return number.unpack_from(self._bytes, at)[0]

    def _string(self) -> str:
        return str(self._sequence()[:-1], "utf-8", "replace")  # without the zero at its end

    def _sequence(self) -> memoryview:
        """Bytes, after their number."""
        count = self._number("I")
        taken = self._bytes[self._at : self._at + count]
        if len(taken) < count:
            raise struct.error
        self._at += count
        return taken
