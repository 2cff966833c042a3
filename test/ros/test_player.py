"""The player in its own process, and the demo that compares poses with the truth it plays."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.formats.camera_info import intrinsics_from
from clipose_ros.formats.image_messages import depth_view, label_view
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.recording_files import write_recording
from clipose_ros.msg import InstanceArray, ObjectPoseArray
from clipose_ros.ros.conversions import colour_view, pose_estimate_from, stamp_ns

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "colour": (Image, "rgb/image_rect_color"),
    "depth": (Image, "depth_registered/image_rect"),
    "camera_info": (CameraInfo, "rgb/camera_info"),
    "instances": (InstanceArray, "instances"),
    "truth": (ObjectPoseArray, "player/truth"),
}
FRAMES = 3


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three frames of spheres; the red channel of frame k is 50 k, and the true translation is (k, 0, 1)."""
    folder = tmp_path_factory.mktemp("sequence")
    (frame, detections), truth = spheres_on_table(2, ("can", "mug")), []
    for k in range(FRAMES):
        name = f"{k:04d}"
        colour = np.zeros((*frame.depth.shape, 3), np.uint8)
        colour[:, :, 2] = 50 * k  # OpenCV's order is B, G, R
        cv2.imwrite(str(folder / f"{name}_color.png"), colour)
        cv2.imwrite(str(folder / f"{name}_depth.png"), frame.depth)
        cv2.imwrite(str(folder / f"{name}_mask.png"), detections.masks - np.uint8(1))
        lines = [f"{i.label - 1} {CATEGORIES.index(i.category) + 1} sphere\n" for i in detections.instances]
        (folder / f"{name}_meta.txt").write_text("".join(lines))
        instance = {"R": np.eye(3).tolist(), "t": [k, 0, 1], "size": [0.1, 0.1, 0.1], "model": "sphere"}
        truth.append(
            {
                "frame": name,
                "instances": [{"instance": i.label - 1, "class": i.category, **instance} for i in detections.instances],
            }
        )
    (folder / "truth.json").write_text(json.dumps(truth))
    intrinsics = frame.intrinsics
    (folder / "intrinsics.json").write_text(
        json.dumps({"fx": intrinsics.fx, "fy": intrinsics.fy, "cx": intrinsics.cx, "cy": intrinsics.cy})
    )
    return folder


@pytest.fixture(scope="module")
def recording(folder):
    """The folder as a recording."""
    path = folder.parent / f"{folder.name}.mcap"
    write_recording(path, (NocsFolder(folder).read(f"{k:04d}") for k in range(FRAMES)))
    return path


@pytest.fixture
def play(client, start_process, wait_until, tmp_path):
    """Plays something; gives the messages by kind of eight frames or more that arrived whole, each with its place in
    the player's log.
    """
    subscriptions = []
    tools = client, start_process, wait_until, tmp_path / "log", subscriptions
    yield lambda source, topics, *parameters: _play(*tools, source, topics, *parameters)
    client.destroy(*subscriptions)


@pytest.fixture
def played(play, folder):
    """What is published of the folder."""
    return play(f"folder:={folder}", TOPICS)


def _play(client, start_process, wait_until, log, subscriptions, source, topics, *parameters):
    frames = {}
    for key, (kind, topic) in topics.items():
        subscriptions.append(
            client.node.create_subscription(
                kind,
                topic,
                lambda message, key=key: frames.setdefault(stamp_ns(message.header.stamp), {}).__setitem__(
                    key, message
                ),
                10,
            )
        )
    settings = source, "rate_hz:=10.0", "frame_id:=eye", f"log:={log}", *parameters
    player = start_process("lab.player", *(word for setting in settings for word in ("-p", setting)))

    def whole():
        # a list: the client's thread adds to it
        return {stamp: messages for stamp, messages in list(frames.items()) if len(messages) == len(topics)}

    wait_until(lambda: len(whole()) >= 8)
    player.send_signal(signal.SIGINT)
    assert player.wait(10) == 0
    places = {int(line.split()[0]): place for place, line in enumerate(log.read_text().splitlines())}
    steps = np.diff(list(places))
    assert (steps > 0).all() and np.median(steps) > 5e7  # not twice as fast as asked; a busy machine may be slower
    return [(places[stamp], messages) for stamp, messages in whole().items()]


def test_player_publishes_the_folder_in_a_loop_with_fresh_stamps(played):
    reference = spheres_on_table(2, ("can", "mug"))
    indices = set()
    for place, messages in played:
        assert {message.header.frame_id for message in messages.values()} == {"eye"}
        assert messages["instances"].label_image.header == messages["instances"].header
        np.testing.assert_array_equal(depth_view(messages["depth"]), reference.frame.depth)
        np.testing.assert_array_equal(label_view(messages["instances"].label_image), reference.detections.masks)
        assert intrinsics_from(messages["camera_info"], reference.frame.depth.shape) == reference.frame.intrinsics
        index = colour_view(messages["colour"])[0, 0, 0] // 50
        assert index == place % FRAMES
        assert [pose_estimate_from(pose).translation.tolist() for pose in messages["truth"].poses] == [
            [index, 0, 1]
        ] * 2
        assert [(i.category, i.id) for i in messages["instances"].instances] == [
            (p.category, p.id) for p in messages["truth"].poses
        ]
        indices.add(int(index))
    assert indices == set(range(FRAMES))


def test_player_publishes_a_recording_as_it_does_the_folder(play, recording):
    reference = spheres_on_table(2, ("can", "mug"))
    topics = {key: topic for key, topic in TOPICS.items() if key != "truth"}
    indices = set()
    for place, messages in play(f"recording:={recording}", topics):
        assert {message.header.frame_id for message in messages.values()} == {"eye"}
        np.testing.assert_array_equal(depth_view(messages["depth"]), reference.frame.depth)
        np.testing.assert_array_equal(label_view(messages["instances"].label_image), reference.detections.masks)
        assert intrinsics_from(messages["camera_info"], reference.frame.depth.shape) == reference.frame.intrinsics
        index = colour_view(messages["colour"])[0, 0, 0] // 50
        assert index == place % FRAMES
        assert [(i.category, i.id) for i in messages["instances"].instances] == [("can", "0"), ("mug", "1")]
        indices.add(int(index))
    assert indices == set(range(FRAMES))


@pytest.mark.parametrize("kind", ["folder", "recording"])
def test_player_plays_a_camera_alone(play, client, folder, recording, kind):
    """With masks:=false no instances come; a truth still does."""
    instances = []
    heard = client.node.create_subscription(InstanceArray, "instances", instances.append, 10)
    wanted = ("depth", "colour", "camera_info", *(("truth",) if kind == "folder" else ()))
    source = {"folder": folder, "recording": recording}[kind]
    played = play(f"{kind}:={source}", {key: TOPICS[key] for key in wanted}, "masks:=false")
    client.destroy(heard)
    assert len(played) >= 8 and not instances
    if kind == "folder":
        assert all(len(messages["truth"].poses) == 2 for _, messages in played)


def test_player_plays_learned_objects_by_their_names(play, folder, tmp_path):
    """An object of class 0 is one where its model's name is among `objects`; else it is a distractor."""
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    for k in range(FRAMES):
        (tmp_path / f"{k:04d}_meta.txt").write_text("0 0 blue_cup\n1 0 tin\n")
    (_, messages), *_ = play(f"folder:={tmp_path}", {"instances": TOPICS["instances"]}, "objects:=[blue_cup]")
    assert [(one.category, one.id) for one in messages["instances"].instances] == [("blue_cup", "0")]


def test_player_says_what_of_a_recording_it_leaves_out_and_ends(dds, start_process, recording, tmp_path):
    broken = tmp_path / "a.mcap"
    broken.write_bytes(recording.read_bytes()[: recording.stat().st_size * 8 // 10])
    process = start_process("lab.player", "-p", f"recording:={broken}", "-p", "rate_hz:=50.0", "-p", "loop:=false")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in output
    assert "a.mcap: cut off after" in output and "playing" in output and "depth /depth_registered/image_rect" in output


def test_player_refuses_what_is_no_recording_with_a_sentence(dds, start_process, tmp_path):
    (tmp_path / "a.mcap").write_bytes(b"no recording")
    process = start_process("lab.player", "-p", f"recording:={tmp_path / 'a.mcap'}")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1 and "Traceback" not in output and "expected an MCAP file, got another one" in output


def test_player_ends_after_the_last_frame_when_it_does_not_loop(dds, start_process, folder):
    process = start_process("lab.player", "-p", f"folder:={folder}", "-p", "rate_hz:=50.0", "-p", "loop:=false")
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in output


def test_the_log_tells_when_the_last_message_of_each_frame_was_published(dds, start_process, folder, tmp_path):
    log, begin_ns = tmp_path / "log", time.time_ns()
    player = start_process(
        "lab.player", "-p", f"folder:={folder}", "-p", "loop:=false", "-p", "rate_hz:=20.0", "-p", f"log:={log}"
    )
    assert player.wait(30) == 0
    frames = [tuple(map(int, line.split())) for line in log.read_text().splitlines()]
    assert (
        len(frames) == FRAMES
        and all(begin_ns < stamp < published for stamp, published in frames)
        and frames == sorted(frames)
    )


def test_a_log_that_cannot_be_written_ends_the_player_with_a_sentence(dds, start_process, folder, tmp_path):
    log = tmp_path / "nowhere" / "log"
    process = start_process("lab.player", "-p", f"folder:={folder}", "-p", f"log:={log}")
    said = process.communicate(timeout=30)[0]
    assert process.returncode == 1 and "Traceback" not in said
    assert f"log: expected a file that can be written, got {log}: No such file or directory" in said


def test_demo_refuses_poses_that_are_not_those_of_the_objects(folder, tiny_model, tmp_path):
    """The truth of this folder is nowhere near the spheres: the demo prints its table, draws its picture and fails."""
    picture = tmp_path / "demo.png"
    arguments = ["--folder", str(folder), "--model", str(tiny_model), "--seconds", "2", "--output", str(picture)]
    arguments += ["--segmenter", "none"]
    demo = subprocess.run(
        [sys.executable, "-m", "clipose_ros.ros.lab.demo", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert demo.returncode == 1 and "median" in demo.stderr, demo.stdout + demo.stderr
    assert "stamp to publish" in demo.stdout and "picture" in demo.stdout, demo.stdout + demo.stderr
    assert cv2.imread(str(picture)).shape == (480, 640, 3)
