"""Images and instances of ROS messages as arrays. The only place that knows about steps and byte order.

A message is what has the fields: of a live topic, or of a recording. Images become views of the bytes: nothing
is copied, except to turn big-endian pixels into native ones, and colour into RGB.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Instance
from clipose_ros.core.validation import expect
from clipose_ros.formats.colour_encodings import COLOUR_ENCODINGS

# encoding: (type of a channel, channels)
# mono16 is 16UC1 by the name that OpenNI, time-of-flight cameras and older drivers give it.
DEPTH_ENCODINGS = {"16UC1": (np.uint16, 1), "32FC1": (np.float32, 1), "mono16": (np.uint16, 1)}
LABEL_ENCODINGS = {"mono8": (np.uint8, 1), "8UC1": (np.uint8, 1), "mono16": (np.uint16, 1), "16UC1": (np.uint16, 1)}


def stamp_ns(stamp: Any) -> int:
    """Read the time of a header.

    Parameters
    ----------
    stamp : Time
        Of the header.

    Returns
    -------
    int
        Time [ns].
    """
    return stamp.sec * NS_PER_S + stamp.nanosec


def image_view(name: str, image: Any, encodings: dict[str, tuple[type, int]]) -> np.ndarray:
    """Look at the pixels of an image message, in its memory.

    Parameters
    ----------
    name : str
        What errors call the image.
    image : Image
        The message, or what has its fields.
    encodings : dict of str to (type, int)
        Type of a channel and number of channels, of each encoding that is allowed.

    Returns
    -------
    (H, W) or (H, W, C) array
        Pixels.

    Raises
    ------
    ValueError
        For another encoding, and for sizes that contradict each other.
    """
    known = image.encoding in encodings
    expect(f"{name} encoding", known, " or ".join(encodings), f"{image.encoding!r}{_cure(name, image.encoding)}")
    return _pixels(name, image, *encodings[image.encoding])


def depth_view(image: Any) -> np.ndarray:
    """Look at the pixels of a depth image.

    Parameters
    ----------
    image : Image
        With an encoding of REP 118, 16UC1 or 32FC1, or mono16, which some drivers call 16UC1.

    Returns
    -------
    (H, W) uint16 or float32
        Depths, in millimetres or metres unless the camera has another unit.

    Raises
    ------
    ValueError
        As `image_view`.
    """
    return image_view("depth", image, DEPTH_ENCODINGS)


def label_view(image: Any) -> np.ndarray:
    """Look at the pixels of a label image.

    Parameters
    ----------
    image : Image
        Of 8 or 16 bits.

    Returns
    -------
    (H, W) uint8 or uint16
        Labels, 0 is background.

    Raises
    ------
    ValueError
        As `image_view`.
    """
    return image_view("label_image", image, LABEL_ENCODINGS)


def colour_view(image: Any) -> np.ndarray:
    """Read a colour image.

    Parameters
    ----------
    image : Image
        In an encoding of `COLOUR_ENCODINGS`.

    Returns
    -------
    (H, W, 3) uint8
        RGB; of rgb8 and bgr8 a view of the message.

    Raises
    ------
    ValueError
        For another encoding, and as `image_view`.
    """
    encoding = COLOUR_ENCODINGS.get(image.encoding)
    expect("colour encoding", encoding is not None, f"one of {', '.join(COLOUR_ENCODINGS)}", repr(image.encoding))
    encoding.check((image.height, image.width))
    return encoding.to_rgb(_pixels("colour", image, encoding.scalar, encoding.channels, encoding.planes))


def instances_from(message: Any) -> tuple[Instance, ...]:
    """Read the instances of a message.

    Parameters
    ----------
    message : InstanceArray
        Of a frame.

    Returns
    -------
    tuple of Instance
        In order.
    """
    return tuple(Instance(i.label, i.category, i.score, i.id) for i in message.instances)


def detections_from(message: Any, shape: tuple[int, int]) -> Detections:
    """Read what was found in a frame.

    Parameters
    ----------
    message : InstanceArray
        Of the frame.
    shape : (int, int)
        Height and width of the depth image [px].

    Returns
    -------
    Detections
        Instances and label image. Where nothing was detected there may be no label image.

    Raises
    ------
    ValueError
        For an encoding that is none of labels, and for another size than `shape`.
    """
    instances = instances_from(message)
    labels = label_view(message.label_image) if instances else np.zeros(shape, np.uint8)
    if labels.shape != tuple(shape):
        cure = "segment the image that depth is registered to, at its size"
        raise ValueError(f"labels: expected {tuple(shape)} as depth, got {labels.shape}; {cure}")
    return Detections(instances, labels)


def _cure(name: str, encoding: str) -> str:
    """What to do about an encoding that is none of depth."""
    if name != "depth":
        return ""
    if "ompressed" in encoding:
        return "; give the raw topic: ros2 run image_transport republish compressedDepth raw"
    if encoding in COLOUR_ENCODINGS:
        return "; give the camera's depth, not a picture of it"
    return "; let its publisher send 16UC1 [mm] or 32FC1 [m]"


def _pixels(name: str, image: Any, scalar: type, channels: int, planes: float = 1.0) -> np.ndarray:
    """Pixels (planes * H, W[, C]) in the memory of the message; only those in the other order of bytes are copied."""
    dtype, rows = np.dtype(scalar), int(image.height * planes)
    row_bytes = image.width * channels * dtype.itemsize
    expect(name, image.height > 0 and image.width > 0, "pixels", f"{image.width}x{image.height}")
    if image.step < row_bytes:
        expected = f"at least {row_bytes} bytes for {image.width} px of {image.encoding}"
        raise ValueError(f"{name} step: expected {expected}, got {image.step}")
    if len(image.data) < image.step * (rows - 1) + row_bytes:
        expected = f"{image.step * rows} bytes for {rows} rows"
        raise ValueError(f"{name} data: expected {expected}, got {len(image.data)}")
    wire = dtype.newbyteorder(">" if image.is_bigendian else "<")
    shape, strides = (rows, image.width, channels), (image.step, channels * dtype.itemsize, dtype.itemsize)
    pixels = np.ndarray(shape, wire, buffer=image.data, strides=strides).astype(dtype, copy=False)
    return pixels[:, :, 0] if channels == 1 else pixels
