"""A node with CLIPose and GS-Pose: learned objects get poses over DDS, and come and go while it runs."""

import importlib.util
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.ros.conversions import frame_messages, image_message, stamp_message

pytest.importorskip("numba")
spec = importlib.util.spec_from_file_location("box_scene", Path(__file__).parents[1] / "objects" / "conftest.py")
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)

VIEW = box_scene.looking_at_box(33.0, 35.0)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """A folder with the box, learned; the second name is not in it yet."""
    from clipose_ros.formats.reference_views import read_reference_views
    from clipose_ros.objects.learning import learn
    from clipose_ros.objects.library import ObjectLibrary
    from clipose_ros.rendering.cpu import CpuRasterizer

    folder = tmp_path_factory.mktemp("learned")
    poses = [*box_scene.ring(6, 20.0), *box_scene.ring(6, 55.0)]
    views = read_reference_views(box_scene.write_box_views(folder / "views", poses))
    box = learn("box", views, CpuRasterizer()).learned
    ObjectLibrary(folder / "objects").add(box)
    ObjectLibrary(folder / "later").add(replace(box, name="crate"))
    return folder


@pytest.fixture(scope="module")
def node(start_process, tiny_model, client, library):
    from sensor_msgs.msg import Image

    client.colour = client.node.create_publisher(Image, "rgb/image_rect_color", 10)
    arguments = [f"models:=[{tiny_model},gspose]", f"objects_dir:={library / 'objects'}"]
    process = start_process("node", *(part for text in arguments for part in ("-p", text)))
    client.connect("rgb/image_rect_color")
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


def ask(client, names):
    """The answer to a frame that shows the box, once for each name."""
    rotation, translation = VIEW
    colour, depth, mask = box_scene.picture_of_box(rotation, translation)
    intrinsics = Intrinsics(box_scene.FOCAL, box_scene.FOCAL, box_scene.WIDTH / 2, box_scene.HEIGHT / 2)
    half = np.cumsum(mask, axis=1) > mask.sum(axis=1, keepdims=True) // 2
    labels = np.where(mask, np.where(half, len(names), 1), 0).astype(np.uint8)
    frame = Frame(0, "optical", (1000 * depth).astype(np.uint16), intrinsics, colour)
    header = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
    instances = tuple(Instance(i, name, id=str(i)) for i, name in enumerate(names, 1))
    messages = frame_messages(frame, Detections(instances, labels), header)
    picture = image_message(colour, "rgb8", header)
    for _ in range(30):
        client.colour.publish(picture)
        client.send(*messages)
        deadline = time.monotonic() + 1
        while time.monotonic() < deadline:
            if (answer := client.answer(header.stamp)) is not None:
                return answer
            time.sleep(0.01)
    pytest.fail("no answer")


def test_a_learned_object_and_a_category_get_their_poses_in_one_frame(node, client):
    answer = ask(client, ["box"])
    (pose,) = answer.poses
    assert pose.category == "box"
    rotation, translation = VIEW
    centre = rotation @ box_scene.CENTRE + translation
    found = pose.pose.position
    assert np.linalg.norm([found.x - centre[0], found.y - centre[1], found.z - centre[2]]) < 0.01
    both = ask(client, ["box", "can"])
    assert {one.category for one in both.poses} | {one.category for one in both.rejections} == {"box", "can"}


def test_objects_come_and_go_while_the_node_runs(node, client, call, library, wait_until):
    assert "expected one of" in ask(client, ["crate"]).rejections[0].reason
    for path in (library / "later").iterdir():
        shutil.copy(path, library / "objects")
    said = call(Trigger, "reload_objects")
    assert said.success and said.message.endswith("box, crate; added crate")
    assert [one.category for one in ask(client, ["crate"]).poses] == ["crate"]
    wait_until(lambda: client.counters().get("objects") == "box, crate")
    assert "crate" in client.counters()["names"]
    for path in (library / "objects").glob("crate.*"):
        path.unlink()
    assert call(Trigger, "reload_objects").message.endswith("box; removed crate")
    assert "expected one of" in ask(client, ["crate"]).rejections[0].reason


def test_a_library_that_is_broken_changes_nothing(node, client, call, library):
    card = library / "objects" / "box.yaml"
    text = card.read_text()
    card.write_text(text.replace("version: 1", "version: 99"))
    said = call(Trigger, "reload_objects")
    assert not said.success and "learn the object again" in said.message
    card.write_text(text)
    assert [one.category for one in ask(client, ["box"]).poses] == ["box"]
