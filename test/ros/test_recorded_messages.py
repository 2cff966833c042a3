"""Recordings hold what rclpy serialises, and what is recorded here is what rclpy reads."""

import numpy as np
import pytest
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, RegionOfInterest
from std_msgs.msg import Header

from clipose_ros.formats.message_definitions import TYPES
from clipose_ros.formats.recorded_topics import FIELDS
from clipose_ros.formats.serialized_messages import read_serialized
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.conversions import frame_messages, image_message, stamp_message

CLASSES = dict(zip(TYPES, (Image, CompressedImage, CameraInfo, InstanceArray), strict=True))


def fields(message):
    """Values by name, of ROS messages and of what is read without ROS."""
    if isinstance(message, memoryview | bytes) or hasattr(message, "typecode") or isinstance(message, np.ndarray):
        return list(message)
    if isinstance(message, tuple | list):
        return [fields(part) for part in message]
    names = [name for name in getattr(message, "__slots__", ()) if name != "_check_fields"]
    return {name.lstrip("_"): fields(getattr(message, name)) for name in names} if names else message


@pytest.fixture
def sent(recorded):
    """A message of each type, with odd lengths of names so that numbers must be aligned."""
    frame, detections = recorded.frame(1)
    header = Header(stamp=stamp_message(frame.stamp_ns), frame_id="odd")
    depth, info, instances = frame_messages(frame, detections, header)
    info.d, info.roi = [0.1, 0.2, 0.3], RegionOfInterest(x_offset=1, y_offset=2, height=3, width=4, do_rectify=True)
    return {
        "sensor_msgs/msg/Image": depth,
        "sensor_msgs/msg/CompressedImage": CompressedImage(header=header, format="png!", data=[1, 2, 3]),
        "sensor_msgs/msg/CameraInfo": info,
        "clipose_ros/msg/InstanceArray": instances,
    }


@pytest.mark.parametrize("kind", TYPES)
def test_what_rclpy_serialises_is_read(sent, kind):
    read = read_serialized(serialize_message(sent[kind]), *FIELDS[kind])
    expected = fields(sent[kind])
    if "instances" in expected:
        assert [(i.label, i.category, i.score, i.id) for i in read.instances] == [
            (i.label, i.category, i.score, i.id) for i in sent[kind].instances
        ]
        read, expected = read.label_image, expected["label_image"]
    assert fields(read) == expected


def test_what_is_recorded_is_what_rclpy_reads(recorded, tmp_path):
    rows = recorded.messages(recorded.write(tmp_path / "a.mcap", 1))
    frame, detections = recorded.frame(0)
    header = Header(stamp=stamp_message(frame.stamp_ns), frame_id=frame.frame_id)
    depth, info, instances = frame_messages(frame, detections, header)
    expected = [info, image_message(frame.colour, "rgb8", header), depth, instances]
    assert [deserialize_message(data, CLASSES[kind]) for _, kind, data, _ in rows] == expected
