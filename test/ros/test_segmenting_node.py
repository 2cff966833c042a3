"""A pose node with a segmenter, in its own process, asked over DDS: a depth image alone is enough."""

import signal
import time

import numpy as np
import pytest
from std_msgs.msg import Header

from clipose_ros import estimators
from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.types import PoseEstimate
from clipose_ros.formats.image_messages import detections_from
from clipose_ros.msg import InstanceArray
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message
from clipose_ros.segmenters.choice import segmenter_of

PATIENCE_S = 30.0


@pytest.fixture(scope="module", autouse=True)
def segmenting_node(start_process, tiny_model, tiny_segmenter, client):
    """The process of a node that segments by itself."""
    models = f"models:={tiny_model}", f"models_dir:={tiny_segmenter.parent}"
    parameters = *models, "segmenter:=depth", "tracking:=false", "diagnostics_s:=0.1"
    process = start_process("node", *(word for parameter in parameters for word in ("-p", parameter)))
    client.connect()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


@pytest.fixture
def header():
    return Header(stamp=stamp_message(time.time_ns()), frame_id="some_optical_frame")


@pytest.fixture
def published(client, wait_until):
    """What comes on ~/instances."""
    heard = []
    subscription = client.node.create_subscription(InstanceArray, "clipose/instances", heard.append, 10)
    wait_until(lambda: client.counters().get("subscribers: ~/instances") == "1")
    yield heard
    client.destroy(subscription)


def test_a_depth_image_alone_gives_the_poses_of_the_pipeline(client, spheres, header, tiny_model, tiny_segmenter):
    depth, camera_info, _ = frame_messages(*spheres, header)
    answer = client.ask(depth, camera_info, None)
    assert answer.header == header
    pipeline = Pipeline(estimators.load(str(tiny_model)), segmenter_of(tiny_segmenter))
    expected = pipeline.process(spheres.frame).results
    assert len(answer.poses) == len(expected) == 2 and not answer.rejections
    for message, (instance, pose) in zip(answer.poses, expected):
        assert isinstance(pose, PoseEstimate) and (message.id, message.category) == (instance.id, "can")
        np.testing.assert_allclose(pose_estimate_from(message).translation, pose.translation, atol=1e-6)


def test_what_was_found_is_published_as_instances_with_the_header_of_the_image(
    client, spheres, header, published, tiny_segmenter, wait_until
):
    depth, camera_info, _ = frame_messages(*spheres, header)
    client.ask(depth, camera_info, None)
    wait_until(lambda: published)
    message = published[0]
    assert message.header == header
    assert [instance.category for instance in message.instances] == ["can", "can"]
    found = detections_from(message, spheres.frame.depth.shape)
    expected = segmenter_of(tiny_segmenter).segment(spheres.frame)
    assert (found.masks == expected.masks).all()


def test_masks_that_come_in_time_are_taken_instead(client, spheres, header, wait_until):
    """The tiny segmenter would call both spheres cans."""
    depth, camera_info, instances = frame_messages(*spheres, header)
    wait_until(lambda: client.send(instances=instances) or client.counters()["messages waiting"] == "1")
    answer = client.ask(depth, camera_info, instances)
    assert [pose.category for pose in answer.poses] == ["can", "mug"]


def test_an_empty_table_is_answered_with_no_poses(client, header):
    depth, camera_info, _ = frame_messages(*spheres_on_table(0, ("can",)), header)
    answer = client.ask(depth, camera_info, None)
    assert answer.header == header and not answer.poses and not answer.rejections


def test_the_diagnostics_tell_of_the_segmenter_and_how_long_it_takes(client, spheres, header, wait_until):
    depth, camera_info, _ = frame_messages(*spheres, header)
    client.ask(depth, camera_info, None)
    wait_until(lambda: any("segmentation" in key for key in client.counters()))
    counters = client.counters()
    assert counters["segmenter"] == "segmenter-depth" and counters["segmenter provider"] == "cpu"
    assert not any("instances" in key and "silent" in value for key, value in counters.items())
