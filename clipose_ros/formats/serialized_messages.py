"""Images, calibrations and instances read from the bytes of ROS messages, pixels in place, without ROS.

What is read has the fields of the ROS message under the same names. Format: CDR as the DDS-RTPS specification (10.2.1)
has it; numbers are aligned to their size.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from clipose_ros.core.types import Instance
from clipose_ros.core.validation import expect

BYTE_ORDERS = {b"\x00\x00": ">", b"\x00\x01": "<"}  # by what the message begins with
HEADER_BYTES = 4
NUMBERS = {order: {kind: struct.Struct(order + kind) for kind in "BHiIfd"} for order in BYTE_ORDERS.values()}
MOST_INSTANCES = 2**16  # labels have 16 bits
MOST_COEFFICIENTS = 64  # of a lens; no model has so many

Message = TypeVar("Message")


@dataclass(frozen=True, slots=True)
class SerializedStamp:
    """A `builtin_interfaces/Time`.

    Parameters
    ----------
    sec, nanosec
        As of the ROS message.
    """

    sec: int
    nanosec: int


@dataclass(frozen=True, slots=True)
class SerializedHeader:
    """A `std_msgs/Header`.

    Parameters
    ----------
    stamp, frame_id
        As of the ROS message.
    """

    stamp: SerializedStamp
    frame_id: str


@dataclass(frozen=True, slots=True)
class SerializedImage:
    """A `sensor_msgs/Image` whose data is a view of the bytes that came.

    Parameters
    ----------
    header, height, width, encoding, is_bigendian, step, data
        As of the ROS message.
    """

    header: Any
    height: int
    width: int
    encoding: str
    is_bigendian: int
    step: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class SerializedCompressedImage:
    """A `sensor_msgs/CompressedImage` whose data is a view of the bytes that came.

    Parameters
    ----------
    header, format, data
        As of the ROS message.
    """

    header: Any
    format: str
    data: memoryview


@dataclass(frozen=True, slots=True)
class SerializedRegion:
    """A `sensor_msgs/RegionOfInterest`.

    Parameters
    ----------
    x_offset, y_offset, height, width, do_rectify
        As of the ROS message.
    """

    x_offset: int
    y_offset: int
    height: int
    width: int
    do_rectify: int


@dataclass(frozen=True, slots=True)
class SerializedCameraInfo:
    """A `sensor_msgs/CameraInfo`.

    Parameters
    ----------
    header, height, width, distortion_model, d, k, r, p, binning_x, binning_y, roi
        As of the ROS message.
    """

    header: Any
    height: int
    width: int
    distortion_model: str
    d: tuple[float, ...]
    k: tuple[float, ...]
    r: tuple[float, ...]
    p: tuple[float, ...]
    binning_x: int
    binning_y: int
    roi: SerializedRegion


@dataclass(frozen=True, slots=True)
class SerializedInstances:
    """A `clipose_ros/InstanceArray`.

    Parameters
    ----------
    header, label_image, instances
        As of the ROS message.
    """

    header: Any
    label_image: SerializedImage
    instances: tuple[Instance, ...]


class MessageReader:
    """Reads the fields of a message one after the other.

    Parameters
    ----------
    message : bytes
        That begins with one of `BYTE_ORDERS`. Methods raise struct.error where the bytes end: see `read_serialized`.
    """

    def __init__(self, message: bytes) -> None:
        self._numbers = NUMBERS[BYTE_ORDERS[bytes(message[:2])]]
        self._bytes = memoryview(message)[HEADER_BYTES:]  # what numbers are aligned in
        self._at = 0

    def header(self) -> Any:
        """Read a header.

        Returns
        -------
        object
            With the fields of `std_msgs/Header`.
        """
        return SerializedHeader(SerializedStamp(self._number("i"), self._number("I")), self._string())

    def image(self) -> SerializedImage:
        """Read an image.

        Returns
        -------
        SerializedImage
            It.
        """
        header, height, width, encoding = self.header(), self._number("I"), self._number("I"), self._string()
        return SerializedImage(header, height, width, encoding, self._number("B"), self._number("I"), self._sequence())

    def compressed_image(self) -> SerializedCompressedImage:
        """Read a compressed image.

        Returns
        -------
        SerializedCompressedImage
            It.
        """
        return SerializedCompressedImage(self.header(), self._string(), self._sequence())

    def camera_info(self) -> SerializedCameraInfo:
        """Read a calibration.

        Returns
        -------
        SerializedCameraInfo
            It.

        Raises
        ------
        ValueError
            For more coefficients of a lens than any model has.
        """
        header, height, width, model = self.header(), self._number("I"), self._number("I"), self._string()
        count = self._number("I")
        expect("camera_info d", count <= MOST_COEFFICIENTS, f"at most {MOST_COEFFICIENTS} numbers", count)
        d, k, r, p = (tuple([self._number("d") for _ in range(length)]) for length in (count, 9, 9, 12))
        binning_x, binning_y = self._number("I"), self._number("I")
        roi = SerializedRegion(*(self._number(kind) for kind in "IIIIB"))
        return SerializedCameraInfo(header, height, width, model, d, k, r, p, binning_x, binning_y, roi)

    def instances(self) -> SerializedInstances:
        """Read instances.

        Returns
        -------
        SerializedInstances
            They.

        Raises
        ------
        ValueError
            For more of them than there are labels.
        """
        header, labels, count = self.header(), self.image(), self._number("I")
        expect("instances", count < MOST_INSTANCES, f"fewer than {MOST_INSTANCES}, as labels have 16 bits", count)
        return SerializedInstances(header, labels, tuple([self._instance() for _ in range(count)]))

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


def read_serialized(message: bytes, fields: Callable[[MessageReader], Message], kind: str) -> Message:
    """Read a message.

    Parameters
    ----------
    message : bytes
        As DDS delivers it, or as a recording holds it.
    fields : callable
        Of a `MessageReader`: what it reads.
    kind : str
        What errors call the message.

    Returns
    -------
    object
        What `fields` gives.

    Raises
    ------
    ValueError
        For bytes that are cut short or no plain CDR.
    """
    begin = bytes(message[:4])
    expect("message", begin[:2] in BYTE_ORDERS, f"{kind} in plain CDR", f"{begin.hex() or 'nothing'} first")
    try:
        return fields(MessageReader(message))
    except struct.error as error:
        raise ValueError(f"message: expected a whole {kind}, got {len(message)} bytes") from error
