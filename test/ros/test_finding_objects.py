"""A node that finds learned objects itself, asked over DDS: depth and colour are enough."""

import importlib.util
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from clipose_ros.core.types import Detections
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.ros.conversions import frame_messages, image_message, stamp_message

pytest.importorskip("numba")
spec = importlib.util.spec_from_file_location("table_scenes", Path(__file__).parents[1] / "objects" / "table_scenes.py")
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

WARM, COLD = table.Box((0.12, 0.08, 0.05), table.WARM), table.Box((0.06, 0.14, 0.06), table.COLD)
LEFT, RIGHT = replace(WARM, at=(-0.12, 0.0), turn_deg=30.0), replace(COLD, at=(0.1, 0.05), turn_deg=-20.0)


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A library with the warm box; the cold one is not in it yet."""
    library = ObjectLibrary(tmp_path_factory.mktemp("objects"))
    library.add(table.learned_box("warm", WARM))
    return library


@pytest.fixture(scope="module", autouse=True)
def finding_node(start_process, client, shelf):
    from sensor_msgs.msg import Image

    client.colour = client.node.create_publisher(Image, "rgb/image_rect_color", 10)
    parameters = "models:=[gspose]", f"objects_dir:={shelf.folder}", "segmenter:=objects", "tracking:=false"
    process = start_process("node", *(word for parameter in parameters for word in ("-p", parameter)))
    client.connect("rgb/image_rect_color")
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def ask(client, boxes):
    """The answer to a frame of some boxes, without masks."""
    frame, labels = table.frame_of_boxes(boxes)
    header = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
    depth, camera_info, _ = frame_messages(frame, Detections((), labels), header)
    picture = image_message(frame.colour, "rgb8", header)
    for _ in range(30):
        client.colour.publish(picture)
        client.send(depth, camera_info)
        deadline = time.monotonic() + 2
        while time.monotonic() < deadline:
            if (answer := client.answer(header.stamp)) is not None:
                return answer
            time.sleep(0.01)
    pytest.fail("no answer")


def test_learned_objects_get_poses_without_masks_and_others_nothing(client):
    answer = ask(client, [LEFT, RIGHT])
    assert [pose.category for pose in answer.poses] == ["warm"] and not answer.rejections
    found = answer.poses[0].pose.position
    assert np.linalg.norm(np.array([found.x, found.y, found.z]) - LEFT.pose()[1]) < 0.005
    assert not ask(client, []).poses


def test_an_object_that_is_learned_meanwhile_is_found_too(client, call, shelf, wait_until):
    shelf.add(table.learned_box("cold", COLD))
    assert call(Trigger, "reload_objects").success
    assert sorted(pose.category for pose in ask(client, [LEFT, RIGHT]).poses) == ["cold", "warm"]
    wait_until(lambda: client.counters().get("segmenter objects") == "cold, warm")
    assert client.counters()["segmenter"] == "segmenter-objects"
