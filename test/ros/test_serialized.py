"""Messages read from their bytes are those that rclpy reads from them."""

import array
import contextlib
import struct

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from hypothesis import given
from hypothesis import strategies as st
from rclpy.serialization import serialize_message
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.formats.image_messages import instances_from
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.serialized import SerializedImage, read_image, read_instances

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
UINT32 = st.integers(0, 2**32 - 1)
HEADERS = st.builds(Header, stamp=st.builds(Time, sec=st.integers(-(2**31), 2**31 - 1), nanosec=UINT32), frame_id=TEXTS)
IMAGES = st.builds(
    Image,
    header=HEADERS,
    height=UINT32,
    width=UINT32,
    encoding=TEXTS,
    is_bigendian=st.integers(0, 255),
    step=UINT32,
    data=st.binary(max_size=40).map(lambda data: array.array("B", data)),
)
FLOATS = st.floats(width=32)
OBJECTS = st.builds(ObjectInstance, label=st.integers(0, 2**16 - 1), category=TEXTS, score=FLOATS, id=TEXTS)
ARRAYS = st.builds(InstanceArray, header=HEADERS, label_image=IMAGES, instances=st.lists(OBJECTS, max_size=4))


def assert_same_image(got, expected):
    assert isinstance(got, SerializedImage)
    for name in ("header", "height", "width", "encoding", "is_bigendian", "step"):
        assert getattr(got, name) == getattr(expected, name)
    assert bytes(got.data) == expected.data.tobytes()


@given(IMAGES)
def test_images(image):
    assert_same_image(read_image(serialize_message(image)), image)


@given(ARRAYS)
def test_instances(expected):
    got = read_instances(serialize_message(expected))
    assert got.header == expected.header
    assert_same_image(got.label_image, expected.label_image)
    assert repr(instances_from(got)) == repr(instances_from(expected))  # NaN is not equal to itself, but written alike


def test_pixels_stay_where_they_are():
    message = serialize_message(Image(height=1, width=4, encoding="mono8", step=4, data=array.array("B", b"abcd")))
    assert np.shares_memory(np.frombuffer(read_image(message).data, np.uint8), np.frombuffer(message, np.uint8))


def test_the_other_byte_order():
    header = struct.pack(">iI I4s", 7, 8, 4, b"cam\0")
    message = b"\x00\x00\x00\x00" + header + struct.pack(">II I6s B x I I3s", 1, 3, 6, b"mono8\0", 1, 3, 3, b"xyz")
    image = read_image(message)
    assert (image.header.stamp.sec, image.header.stamp.nanosec, image.header.frame_id) == (7, 8, "cam")
    assert (image.height, image.width, image.encoding, image.is_bigendian, image.step, bytes(image.data)) == (
        1,
        3,
        "mono8",
        1,
        3,
        b"xyz",
    )


@given(ARRAYS, st.data())
def test_what_is_cut_short_is_refused(instances, data):
    message = serialize_message(instances)
    with pytest.raises(ValueError, match="message: expected a whole InstanceArray, got"):
        # up to three bytes at the end are padding
        read_instances(message[: data.draw(st.integers(4, len(message) - 4))])


@given(st.binary(max_size=80), st.sampled_from([b"\x00\x00\x00\x00", b"\x00\x01\x00\x00"]))
def test_any_bytes_are_instances_or_refused(data, begin):
    with contextlib.suppress(ValueError):
        read_instances(begin + data)
