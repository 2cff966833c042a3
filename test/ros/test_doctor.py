"""clipose doctor on ROS: the installation, each thing that can be wrong with an input, and real topics over DDS, sound
and broken.
"""

from dataclasses import replace

import numpy as np
import pytest
import rclpy
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from clipose_ros.bench.latency import INTRINSICS, spheres_on_table
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.findings import Level, worst
from clipose_ros.msg import ObjectPoseArray
from clipose_ros.ros.conversions import camera_info_message, image_message, instance_array_message, stamp_message
from clipose_ros.ros.doctor import Topics, examine
from clipose_ros.ros.input_findings import (
    camera_info_finding,
    depth_finding,
    lost_share,
    masks_finding,
    match_finding,
    rate_finding,
    stamp_finding,
)
from clipose_ros.ros.installation import declared_fields, definitions_finding, optional_finding

MS = 1_000_000
NOW_NS = 1_700_000_000_000_000_000
HEADER = Header(stamp=stamp_message(NOW_NS), frame_id="camera")
FRAME, FOUND = spheres_on_table(2, ("can", "mug"))


def depth_image(pixels=FRAME.depth):
    return image_message(pixels, "32FC1" if pixels.dtype == np.float32 else "16UC1", HEADER)


def expect_finding(finding, level, text=""):
    assert finding.level == level and text in finding.text, finding
    assert bool(finding.cure) == (level != Level.OK)


# The installation.


def test_built_messages_are_compared_with_their_definitions(tmp_path):
    expect_finding(definitions_finding(), Level.OK)
    (tmp_path / "ObjectRejection.msg").write_text(
        "string id\nstring category\nuint8 CODE=3 # no field\nfloat32[<=4] news # of a later version\n"
    )
    expect_finding(definitions_finding(tmp_path), Level.FAIL, "ObjectRejection: expected the fields id, category, news")
    (tmp_path / "ObjectRejection.msg").rename(tmp_path / "Unheard.msg")
    expect_finding(definitions_finding(tmp_path), Level.FAIL, "no such message")


def test_fields_are_told_from_constants_and_comments():
    definition = "# string a\nuint8 A=1\nuint8 B = 1\nstd_msgs/Header header  # h\n"
    definition += "float64[36] c\nObjectPose[] d\nstring<=8 e\nint32 f 5\n"
    assert declared_fields(definition) == ["header", *"cdef"]


def test_optional_packages_say_what_is_lost_without():
    assert optional_finding("vision_msgs", "no detections", lambda name: None).text == "not installed: no detections"
    assert optional_finding("rclpy", "everything").text == "installed"


# The inputs, from messages.


@pytest.mark.parametrize(
    ("pixels", "level", "text"),
    [
        (FRAME.depth, Level.OK, "16UC1"),
        (FRAME.depth.astype(np.float32) / 1000, Level.OK, "32FC1"),
        (FRAME.depth // 1000 + 1, Level.FAIL, "look like metres"),
        (FRAME.depth.astype(np.float32), Level.FAIL, "look like millimetres"),
        (np.zeros((480, 640), np.uint16), Level.FAIL, "no pixel"),
        (np.full((480, 640), np.nan, np.float32), Level.FAIL, "no pixel"),
        (np.full((480, 640), 9000, np.uint16), Level.WARN, "0% of the pixels"),
    ],
)
def test_depth_has_a_unit_and_valid_pixels(pixels, level, text):
    expect_finding(depth_finding("depth", depth_image(pixels)), level, text)


def test_depth_of_another_encoding_is_refused():
    image = depth_image()
    image.encoding = "mono16"
    expect_finding(depth_finding("depth", image), Level.FAIL, "encoding")


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({}, Level.OK, "56° wide"),
        ({"cx": 700.0}, Level.FAIL, "principal point"),
        ({"fx": 60.0, "fy": 60.0}, Level.WARN, "field of view"),
        ({"fy": 300.0}, Level.WARN, "fx differs"),
    ],
)
def test_the_calibration_is_plausible(change, level, text):
    info = camera_info_message(replace(INTRINSICS, **change), (480, 640), HEADER)
    expect_finding(camera_info_finding("info", info, depth_image()), level, text)


def test_the_calibration_is_that_of_the_depth_image():
    expect_finding(
        camera_info_finding("info", camera_info_message(INTRINSICS, (240, 320), HEADER), depth_image()),
        Level.FAIL,
        "expected the size",
    )
    other = Header(stamp=HEADER.stamp, frame_id="depth")
    expect_finding(
        camera_info_finding("info", camera_info_message(INTRINSICS, (480, 640), other), depth_image()),
        Level.WARN,
        "frame_id",
    )
    expect_finding(camera_info_finding("info", CameraInfo(header=HEADER), None), Level.FAIL)


def test_masks_fit_the_depth_image():
    def judge(depth=FRAME.depth, header=HEADER, **change):
        return masks_finding(
            "masks", instance_array_message(replace(FOUND, **change), header), depth_image(depth), CATEGORIES
        )

    expect_finding(judge(), Level.OK, "2 objects")
    expect_finding(judge(instances=()), Level.WARN, "no objects")
    small = instance_array_message(FOUND, HEADER)
    small.label_image = image_message(FOUND.masks[::2, ::2], "mono8", HEADER)
    expect_finding(
        masks_finding("masks", small, depth_image(), CATEGORIES),
        Level.FAIL,
        "expected 640x480 as the depth image, got 320x240",
    )
    expect_finding(judge(instances=(*FOUND.instances, replace(FOUND.instances[0], label=9))), Level.WARN, "labels 9")
    expect_finding(judge(instances=(replace(FOUND.instances[0], category="cup"),)), Level.WARN, "got cup")
    expect_finding(
        judge(depth=np.where(FOUND.masks > 0, 0, FRAME.depth).astype(np.uint16)),
        Level.WARN,
        "0% of the objects' pixels",
    )
    expect_finding(judge(header=Header(stamp=HEADER.stamp, frame_id="depth")), Level.WARN, "frame_id")


def test_stamps_are_of_this_clock():
    for age_s, level, text in (
        (0.02, Level.OK, "20 ms"),
        (3.0, Level.WARN, "3.0 s old"),
        (-0.5, Level.WARN, "future"),
        (1.7e9, Level.WARN, "simulated"),
    ):
        expect_finding(stamp_finding("stamps", [NOW_NS], [age_s]), level, text)
    expect_finding(stamp_finding("stamps", [0], [1.7e9]), Level.FAIL, "zero")


def test_losses_are_told_from_the_steps_of_the_stamps():
    sent = np.arange(31) * 33 * MS
    assert lost_share(sent.tolist()) == 0 and lost_share(sent[:3].tolist()) == 0
    kept = np.delete(sent, [3, 8, 9, 15, 16, 17, 22])
    assert lost_share(kept.tolist()) == pytest.approx(7 / 31)
    expect_finding(rate_finding("rate", sent.tolist(), (sent / 1e9).tolist(), 1), Level.OK, "30.3 Hz")
    expect_finding(rate_finding("rate", kept.tolist(), (kept / 1e9).tolist(), 1), Level.WARN, "23% are lost")
    expect_finding(rate_finding("rate", [], [], 3), Level.FAIL, "nothing came in 3 s")


def test_masks_are_joined_by_stamp():
    depth = {k * 33 * MS: k * 0.033 for k in range(30)}
    expect_finding(
        match_finding("joined", depth, {k * 33 * MS: k * 0.033 + 0.2 for k in range(0, 20, 3)}),
        Level.OK,
        "7 of 7 masks",
    )
    expect_finding(
        match_finding("joined", depth, {k * 33 * MS: k * 0.033 + 0.2 for k in range(20)}),
        Level.OK,
        "come 200 ms after it",
    )
    expect_finding(
        match_finding("joined", depth, {k * 33 * MS: k * 0.033 + 1.5 for k in range(20)}), Level.WARN, "1500 ms"
    )
    expect_finding(
        match_finding("joined", depth, {(k * 33 + 12) * MS: 0.0 for k in range(20)}), Level.FAIL, "12.0 ms away"
    )
    expect_finding(
        match_finding("joined", depth, {(k * 33 + k % 2) * MS: k * 0.033 for k in range(20)}), Level.WARN, "10 of 20"
    )
    expect_finding(match_finding("joined", depth, {10**12: 1.0}), Level.WARN, "no masks from the time")


# Topics over DDS.


def by_subject(findings):
    return {finding.subject: finding for finding in findings}


def test_a_sound_camera_and_a_node_are_found_sound(dds, start_process, tiny_model, client, wait_until):
    start_process("lab.player", "-p", f"folder:={share_folder('launch') / 'demo'}", "-p", "rate_hz:=5.0")
    start_process("node", "-p", f"models:={tiny_model}", "-p", "diagnostics_s:=0.2", "-p", "silence_s:=30.0")
    wait_until(lambda: client.received["poses_9dof"] and client.received["diagnostics"])
    client.destroy(*client.publishers.values())  # the client of this module would be a second camera
    client.publishers.clear()
    wait_until(lambda: client.node.count_publishers("depth_registered/image_rect") == 1)
    found = by_subject(examine(seconds=4.0))
    assert worst(list(found.values())) < Level.FAIL, found
    assert found["/depth_registered/image_rect: image"].level == Level.OK
    assert found["/rgb/camera_info: calibration"].level == Level.OK
    assert "6 objects" in found["/instances: masks"].text
    assert "running" in found["node /clipose"].text and "frames" in found["node /clipose"].text


@pytest.fixture
def broken(dds):
    """A node that publishes on topics of its own: nothing, or what is wrong."""
    context = rclpy.Context()
    rclpy.init(context=context)
    yield rclpy.create_node("broken", context=context)
    rclpy.shutdown(context=context)


def test_broken_publishers_are_named(broken):
    best_effort = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
    broken.create_publisher(Image, "/b/depth", best_effort)
    broken.create_publisher(CameraInfo, "/b/info", 1)
    broken.create_publisher(Image, "/b/masks", 1)
    twins = [broken.create_publisher(ObjectPoseArray, "/b/clipose/poses_9dof", 1) for _ in range(2)]
    findings = examine(Topics("/b/depth", "/b/info", "/b/masks", reliable=True), seconds=0.5)
    found = by_subject(findings)
    of_node = [finding.text for finding in findings if finding.subject == "node /b/clipose"]
    assert of_node == [f"{len(twins)} of this name publish poses", "runs, but says nothing on /diagnostics"]
    expect_finding(found["/b/depth: publisher"], Level.FAIL, "incompatible QoS")
    expect_finding(found["/b/info: rate"], Level.FAIL, "nothing came in 0.5 s")
    expect_finding(
        found["/b/masks: publisher"], Level.FAIL, "expected clipose_ros/msg/InstanceArray, got sensor_msgs/msg/Image"
    )


def test_topics_that_nobody_publishes_are_one_warning(dds):
    findings = examine(Topics("/n/depth", "/n/info", "/n/masks"), seconds=0.0)
    expect_finding(findings[0], Level.WARN, "nobody publishes /n/depth, /n/info, /n/masks")


def test_one_topic_that_nobody_publishes_is_a_failure(broken):
    broken.create_publisher(Image, "/o/depth", 1)
    found = by_subject(examine(Topics("/o/depth", "/o/info", "/o/masks"), seconds=0.0))
    expect_finding(found["/o/info: publisher"], Level.FAIL, "nobody publishes")
