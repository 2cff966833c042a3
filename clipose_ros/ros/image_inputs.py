"""On which topics images come, and as what: raw, or as image_transport compresses them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image

from clipose_ros.ros.serialized import read_compressed_image, read_image
from clipose_ros.ros.topics import COLOUR, DEPTH

ImageTransport = Literal["raw", "compressed"]
RAW, COMPRESSED = "raw", "compressed"
SUFFIXES = {DEPTH: "compressedDepth", COLOUR: "compressed"}  # that image_transport appends


@dataclass(frozen=True)
class ImageInput:
    """A topic of images.

    Parameters
    ----------
    topic : str
        Its name.
    kind : type
        Of its messages.
    read : callable
        Reads the bytes of one. Pixels are decompressed by whoever takes the frame.
    """

    topic: str
    kind: type
    read: Callable[[bytes], Any]


def image_input(node: Node, topic: str, transport: ImageTransport) -> ImageInput:
    """Say where a node hears its images.

    Parameters
    ----------
    node : Node
        With its remappings.
    topic : str
        DEPTH or COLOUR.
    transport : str
        raw or compressed.

    Returns
    -------
    ImageInput
        As image_transport has it, the compressed topic lies below the raw one, wherever that is remapped to.
    """
    if transport == RAW:
        return ImageInput(topic, Image, read_image)
    return compressed_input(node.resolve_topic_name(topic), topic)


def compressed_input(name: str, topic: str) -> ImageInput:
    """Say where image_transport compresses an image to.

    Parameters
    ----------
    name : str
        Of the raw image.
    topic : str
        DEPTH or COLOUR.

    Returns
    -------
    ImageInput
        The topic below it.
    """
    return ImageInput(f"{name}/{SUFFIXES[topic]}", CompressedImage, read_compressed_image)
