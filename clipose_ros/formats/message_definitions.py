"""Definitions of the messages that recordings are read for and written with, as ROS 2 has them since Foxy."""

from __future__ import annotations

import re

IMAGE = "sensor_msgs/msg/Image"
COMPRESSED_IMAGE = "sensor_msgs/msg/CompressedImage"
CAMERA_INFO_TYPE = "sensor_msgs/msg/CameraInfo"
INSTANCE_ARRAY = "clipose_ros/msg/InstanceArray"

_SEPARATOR = "=" * 80
_IMAGE_FIELDS = """std_msgs/Header header
uint32 height
uint32 width
string encoding
uint8 is_bigendian
uint32 step
uint8[] data
"""
_FIELDS = {
    IMAGE: _IMAGE_FIELDS,
    COMPRESSED_IMAGE: "std_msgs/Header header\nstring format\nuint8[] data\n",
    CAMERA_INFO_TYPE: """std_msgs/Header header
uint32 height
uint32 width
string distortion_model
float64[] d
float64[9] k
float64[9] r
float64[12] p
uint32 binning_x
uint32 binning_y
sensor_msgs/RegionOfInterest roi
""",
    INSTANCE_ARRAY: """std_msgs/Header header
sensor_msgs/Image label_image
clipose_ros/ObjectInstance[] instances
""",
}
_PARTS = {
    "std_msgs/Header": "builtin_interfaces/Time stamp\nstring frame_id\n",
    "builtin_interfaces/Time": "int32 sec\nuint32 nanosec\n",
    "sensor_msgs/RegionOfInterest": "uint32 x_offset\nuint32 y_offset\nuint32 height\nuint32 width\nbool do_rectify\n",
    "sensor_msgs/Image": _IMAGE_FIELDS,
    "clipose_ros/ObjectInstance": "uint16 label\nstring category\nfloat32 score\nstring id\n",
}
TYPES = tuple(_FIELDS)
MOST_NAME = 256  # characters of the name of a type
MOST_DEFINITION_BYTES = 2**16  # a definition with all of its comments has 7 KB


def message_definition(kind: str) -> str:
    """Write a definition with all that it is made of, as recordings hold it (`ros2msg`).

    Parameters
    ----------
    kind : str
        One of `TYPES`.

    Returns
    -------
    str
        The definition.
    """
    text, parts = _FIELDS[kind], {}
    todo = [text]
    while todo:
        for part in re.findall(r"^(\w+/\w+)", todo.pop(), re.MULTILINE):
            if part not in parts:
                parts[part] = _PARTS[part]
                todo.append(parts[part])
    return text + "".join(f"{_SEPARATOR}\nMSG: {part}\n{fields}" for part, fields in parts.items())


def known_type(name: str) -> str:
    """Find a type by its name, in any of the ways to write that.

    Parameters
    ----------
    name : str
        Such as `sensor_msgs/msg/Image`, `sensor_msgs/Image` or DDS's `sensor_msgs::msg::dds_::Image_`.

    Returns
    -------
    str
        One of `TYPES`; empty where it is none of them.
    """
    package, *_, message = re.split(r"/|::", name[:MOST_NAME]) if re.search(r"/|::", name) else ("", "")
    kind = f"{package}/msg/{message.removesuffix('_')}"
    return kind if kind in TYPES else ""


def is_known(kind: str, definition: str) -> bool:
    """Compare a recording's definition with the one that is read here.

    Some writers leave out the parts of a message, or give nothing but its name: what is not defined is as ROS 2 has it.

    Parameters
    ----------
    kind : str
        One of `TYPES`.
    definition : str
        In the form `ros2msg`.

    Returns
    -------
    bool
        Whether both have the same fields in the same order, here and in all parts that the recording defines.
    """
    if len(definition) > MOST_DEFINITION_BYTES:
        return False
    ours, theirs = _layout(kind, message_definition(kind)), _layout(kind, definition)
    return all(ours.get(name) == fields for name, fields in theirs.items())


def _layout(kind: str, definition: str) -> dict[str, list[str]]:
    """Types and names of the fields by message, without packages, comments, constants and defaults."""
    layout: dict[str, list[str]] = {}
    name = kind.rpartition("/")[2]
    for line in definition.splitlines():
        line = line.partition("#")[0].strip()
        if line.startswith("==="):
            continue
        if line.startswith("MSG:"):
            name = line.rpartition("/")[2].strip()
        elif len(words := line.split()) > 1 and "=" not in line:
            layout.setdefault(name, []).append(" ".join([words[0].rpartition("/")[2], *words[1:2]]))
    return layout
