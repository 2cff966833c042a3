"""Depth and colour as image_transport compresses them, through a real node over DDS."""

import time

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from clipose_ros import estimators
from clipose_ros.formats.compressed_images import CONFIGURATION
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message

DEPTH, COLOUR = "/wifi/depth/image_raw", "/wifi/color/image_raw"
NODE = ("-p", "image_transport:=compressed", "-p", "diagnostics_s:=0.1", "-p", "tracking:=false")
REMAPPED = ("-r", f"depth_registered/image_rect:={DEPTH}", "-r", f"rgb/image_rect_color:={COLOUR}")


def compressed(pixels, image_format, header, head=b""):
    """A message with the pixels as PNG."""
    data = head + cv2.imencode(".png", pixels)[1].tobytes()
    return CompressedImage(header=header, format=image_format, data=data)


def compressed_depth(frame, header):
    return compressed(frame.depth, "16UC1; compressedDepth png", header, CONFIGURATION.pack(0, 0.0, 0.0))


@pytest.fixture(scope="module", autouse=True)
def node(start_process, tiny_model, client, wait_until, depth_publisher):
    process = start_process("node", "-p", f"models:={tiny_model}", *NODE, *REMAPPED)
    heard = [f"publishers: {DEPTH}/compressedDepth", "publishers: rgb/camera_info", "publishers: instances"]
    wanted = [*heard, "subscribers: ~/poses_9dof"]
    wait_until(lambda: all(int(client.counters().get(key, 0)) for key in wanted))
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="module")
def depth_publisher(client):
    return client.node.create_publisher(CompressedImage, f"{DEPTH}/compressedDepth", 10)


@pytest.fixture
def header():
    return Header(stamp=stamp_message(time.time_ns()), frame_id="optical")


def test_poses_are_those_of_the_raw_image(client, depth_publisher, spheres, header, tiny_model):
    depth, camera_info, instances = frame_messages(*spheres, header)
    # the client's own depth goes to a topic that this node does not hear
    message = client.ask(
        depth, camera_info, instances, more=[(depth_publisher, compressed_depth(spheres.frame, header))]
    )
    answer = np.array([pose_estimate_from(pose).translation for pose in message.poses])
    results = Pipeline(estimators.load(str(tiny_model))).process(*spheres).results
    np.testing.assert_allclose(answer, [pose.translation for _, pose in results], atol=1e-6)
    assert client.counters()["image_transport"] == "compressed"


def test_data_that_does_not_decompress_costs_its_frame_alone(client, depth_publisher, spheres, header, wait_until):
    depth, camera_info, instances = frame_messages(*spheres, header)
    broken = CompressedImage(header=header, format="16UC1; compressedDepth png", data=b"x" * 40)
    message = client.ask(depth, camera_info, instances, more=[(depth_publisher, broken)])
    assert not message.poses and len(message.rejections) == 2
    wait_until(lambda: any(key.startswith("failed: depth: expected a PNG or a JPEG") for key in client.counters()))
    later = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
    depth, camera_info, instances = frame_messages(*spheres, later)
    again = client.ask(depth, camera_info, instances, more=[(depth_publisher, compressed_depth(spheres.frame, later))])
    assert len(again.poses) == 2
