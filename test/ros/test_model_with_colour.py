"""A pose node whose model looks at colour crops, in its own process, asked over DDS: a frame waits for its colour."""

import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros import estimators
from clipose_ros.core.types import PoseEstimate
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.conversions import frame_messages, image_message, pose_estimate_from, stamp_message

PATIENCE_S = 30.0
COLOUR = "rgb/image_rect_color"


@pytest.fixture(scope="module")
def seeing_node(start_process, output_of, tiny_seeing_model, client):
    """What the process of a node with a model of CleanPose that has an image backbone says."""
    parameters = f"models:={tiny_seeing_model}", "tracking:=false", "diagnostics_s:=0.1", "silence_s:=1.0"
    process = start_process("node", *(word for parameter in parameters for word in ("-p", parameter)))
    output = output_of(process)
    client.connect()
    yield output
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    output.of_ended()


@pytest.fixture
def header():
    return Header(stamp=stamp_message(time.time_ns()), frame_id="some_optical_frame")


def test_without_colour_the_node_waits_and_says_for_what(client, spheres, seeing_node, header, wait_until):
    client.send(*frame_messages(*spheres, header))
    wait_until(lambda: int(client.counters().get("messages waiting", 0)) >= 1)
    wait_until(lambda: seeing_node.said(f"{COLOUR}: expected messages, got none for 1 s"))
    assert seeing_node.said("nobody publishes): start its publisher")
    assert client.answer(header.stamp) is None
    assert client.counters()["colour"] == f"crops of {8} px"


def test_with_colour_the_poses_are_those_of_the_pipeline(
    client, spheres, seeing_node, header, tiny_seeing_model, wait_until
):
    publisher = client.node.create_publisher(Image, COLOUR, 10)
    wait_until(lambda: client.counters().get(f"publishers: {COLOUR}") == "1")
    pixels = np.random.default_rng(0).integers(0, 256, (*spheres.frame.depth.shape, 3)).astype(np.uint8)
    depth, camera_info, instances = frame_messages(*spheres, header)
    more = [(publisher, image_message(pixels, "rgb8", header))]
    answer = client.ask(depth, camera_info, instances, more=more)
    client.destroy(publisher)
    pipeline = Pipeline(estimators.load(str(tiny_seeing_model)))
    seen = pipeline.process(replace(spheres.frame, colour=pixels), spheres.detections).results
    blind = pipeline.process(spheres.frame, spheres.detections).results
    assert len(answer.poses) == len(seen) == 2 and not answer.rejections
    for message, (instance, pose), (_, without) in zip(answer.poses, seen, blind, strict=True):
        assert isinstance(pose, PoseEstimate) and message.category == instance.category
        np.testing.assert_allclose(pose_estimate_from(message).translation, pose.translation, atol=1e-6)
        assert pose.translation[0] - without.translation[0] > 0.005  # its colour had a say
