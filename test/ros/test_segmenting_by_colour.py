"""A pose node that segments by colour, in its own process, asked over DDS: depth waits for its colour image."""

import signal
import time

import numpy as np
import pytest
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from clipose_ros.ros.conversions import frame_messages, image_message, stamp_message

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def colour(client):
    publisher = client.node.create_publisher(Image, "rgb/image_rect_color", 10)
    yield publisher
    client.destroy(publisher)


@pytest.fixture(scope="module", autouse=True)
def segmenting_node(start_process, tiny_model, tiny_mask_rcnn, client, colour):
    """The process of a node that segments by colour, and finds cups."""
    parameters = (
        f"models:={tiny_model}",
        "segmenter:=mask_rcnn",
        f"segmenter_model:={tiny_mask_rcnn}/",
        "segmenter_classes:=['cup:mug']",
        "tracking:=false",
        "diagnostics_s:=0.1",
    )
    process = start_process("node", *(word for parameter in parameters for word in ("-p", parameter)))
    client.connect("rgb/image_rect_color")
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0


def test_a_frame_is_complete_with_its_colour_image(client, spheres, colour, wait_until):
    white = np.full((*spheres.frame.depth.shape, 3), 255, np.uint8)
    alone, whole = (Header(stamp=stamp_message(time.time_ns()), frame_id="some_optical_frame") for _ in range(2))
    client.send(*frame_messages(*spheres, alone)[:2])
    wait_until(lambda: client.counters().get("messages waiting") == "1")
    depth, camera_info, _ = frame_messages(*spheres, whole)
    answer = client.ask(depth, camera_info, None, more=[(colour, image_message(white, "rgb8", whole))])
    assert [(pose.category, pose.id) for pose in answer.poses] == [("mug", "1")]
    wait_until(lambda: client.counters().get("dropped: depth without partners") == "1")
    assert client.answer(alone.stamp) is None
    counters = client.counters()
    assert counters["segmenter"] == "segmenter-mask-rcnn" and counters["segmenter provider"] == "cpu"
