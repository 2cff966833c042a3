"""The debug image over DDS: what the node gives, drawn on the colour image, and only for those who look."""

import time
from dataclasses import replace

import numpy as np
import pytest
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.drawing import REJECTED_COLOUR, depth_picture
from clipose_ros.ros.conversions import colour_view, frame_messages, image_message, stamp_message

COLOUR = "rgb/image_rect_color"
DEBUG_IMAGE = "clipose/debug_image"
GREY = 77


@pytest.fixture(scope="module", autouse=True)
def running(node):
    """A node that runs."""


@pytest.fixture
def header():
    return Header(stamp=stamp_message(time.time_ns()), frame_id="optical")


def colour_message(scene, header, channels=3, encoding="rgb8"):
    return image_message(np.full((*scene.frame.depth.shape, channels), GREY, np.uint8), encoding, header)


@pytest.fixture
def pictures(client, wait_until):
    """Pictures by stamp as they come, while a test looks at them; the node subscribes to colour as long."""
    received = {}
    subscription = client.node.create_subscription(
        Image, DEBUG_IMAGE, lambda image: received.update({image.header.stamp.nanosec: image}), 1
    )
    wait_until(lambda: client.node.count_subscribers(COLOUR) == 1)
    yield received
    client.destroy(subscription)


@pytest.fixture(scope="module")
def camera(client):
    return client.node.create_publisher(Image, COLOUR, qos_profile_sensor_data)


@pytest.fixture
def picture_of(client, pictures, camera, wait_until):
    """The picture of a frame, whose colour image, if there is one, is sent before it."""

    def picture_of(scene, header, colour=None):
        if colour is not None:
            wait_until(camera.get_subscription_count)
            camera.publish(colour)
        client.ask(*frame_messages(*scene, header))
        wait_until(lambda: header.stamp.nanosec in pictures)
        picture = pictures[header.stamp.nanosec]
        assert picture.header == header and picture.encoding == "rgb8"
        return colour_view(picture)

    return picture_of


def test_without_a_subscriber_there_is_no_subscription_to_colour(client, spheres, header):
    client.ask(*frame_messages(*spheres, header))
    assert client.node.count_subscribers(COLOUR) == 0


@pytest.mark.parametrize(("encoding", "channels"), [("rgb8", 3), ("bgra8", 4), ("mono8", 1)])
def test_boxes_are_drawn_on_the_colour_image_of_the_stamp(picture_of, spheres, encoding, channels):
    for _ in range(10):  # best effort may lose a colour image: then it is not waited for
        header = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
        picture = picture_of(spheres, header, colour_message(spheres, header, channels, encoding))
        if (picture == GREY).mean() > 0.5:
            break
    drawn = (picture != GREY).any(axis=2)
    v, u = np.nonzero(spheres.detections.masks)
    around = np.zeros_like(drawn)
    around[max(0, v.min() - 100) : v.max() + 100, max(0, u.min() - 100) : u.max() + 100] = True
    assert 1000 < drawn[around].sum() < 0.5 * around.sum()
    assert not drawn[~around].any()


def test_without_colour_of_the_stamp_the_poses_do_not_wait_and_depth_is_the_background(picture_of, spheres, header):
    earlier = Header(stamp=stamp_message(time.time_ns() - 1_000_000_000), frame_id="optical")
    picture = picture_of(spheres, header, colour_message(spheres, earlier))
    assert np.mean(picture == depth_picture(spheres.frame.depth)) > 0.9


def test_colour_of_another_size_or_encoding_is_replaced_by_depth(picture_of, spheres, header):
    picture = picture_of(spheres, header, colour_message(spheres, header, encoding="8UC3"))
    assert np.mean(picture == depth_picture(spheres.frame.depth)) > 0.9
    later = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
    smaller = image_message(np.full((240, 320, 3), GREY, np.uint8), "rgb8", later)
    assert np.mean(picture_of(spheres, later, smaller) == depth_picture(spheres.frame.depth)) > 0.9


def test_rejected_instances_are_marked(picture_of, spheres, header):
    first, second = spheres.detections.instances
    odd = replace(spheres.detections, instances=(first, replace(second, category="shoe")))
    picture = picture_of(spheres._replace(detections=odd), header)
    marked = (picture == REJECTED_COLOUR).all(axis=2)
    of_the_other = np.zeros_like(marked)
    v, u = np.nonzero(spheres.detections.masks == 2)
    of_the_other[v.min() - 2 : v.max() + 3, u.min() - 2 : u.max() + 3] = True
    assert marked[of_the_other].sum() > 100  # outline and name
    assert marked[450:].sum() > 500  # the reason, below
    assert not marked[:450][~of_the_other[:450]].any()


def test_colour_is_no_longer_subscribed_to_when_nobody_looks(client, spheres, header, wait_until):
    wait_until(lambda: client.node.count_subscribers(COLOUR) == 0)
    assert client.ask(*frame_messages(*spheres, header)).poses
