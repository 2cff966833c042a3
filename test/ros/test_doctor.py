"""clipose doctor on ROS: the installation, each thing that can be wrong with an input, and real topics over DDS, sound
and broken.
"""

import threading
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, CompressedImage, Image, PointCloud2, RegionOfInterest
from std_msgs.msg import Header

from clipose_ros.bench.latency import INTRINSICS, Scene, spheres_on_table
from clipose_ros.core.backprojection import backproject
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.object_sizes import ObjectSizes
from clipose_ros.core.types import Detections, Intrinsics
from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.findings import Level, worst
from clipose_ros.msg import InstanceArray, ObjectPoseArray
from clipose_ros.ros.conversions import (
    camera_info_message,
    frame_messages,
    image_message,
    instance_array_message,
    stamp_message,
)
from clipose_ros.ros.doctor import Listener, Reading, Topics, examine, listen
from clipose_ros.ros.input_findings import (
    camera_info_finding,
    depth_finding,
    frame_finding,
    lens_finding,
    lost_share,
    masks_finding,
    match_finding,
    rate_finding,
    same_frame_finding,
    stamp_finding,
    unit_finding,
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
    image.encoding = "rgb8"
    expect_finding(depth_finding("depth", image), Level.FAIL, "encoding")


def test_depth_called_mono16_is_millimetres_as_16uc1():
    image = depth_image()
    image.encoding = "mono16"
    expect_finding(depth_finding("depth", image), Level.OK, "mono16")
    image = depth_image(np.ones((480, 640), np.uint16))
    image.encoding = "mono16"
    expect_finding(depth_finding("depth", image), Level.FAIL, "look like metres")


@pytest.mark.parametrize(
    ("change", "level", "text"),
    [
        ({}, Level.OK, "56° wide"),
        ({"cx": 700.0}, Level.FAIL, "principal point"),
        ({"fx": 60.0, "fy": 60.0}, Level.WARN, "field of view"),
        ({"fy": 300.0}, Level.WARN, "fx near fy"),
        ({"cx": 160.0, "cy": 120.0}, Level.WARN, "principal point near the middle"),
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
    expect_finding(camera_info_finding("info", CameraInfo(header=HEADER), None), Level.FAIL)
    expect_finding(same_frame_finding("frame", "depth", "camera"), Level.WARN, "expected 'camera'")
    expect_finding(same_frame_finding("frame", "camera", "camera"), Level.OK)


def test_a_calibration_that_is_binned_or_cut_as_the_image_is_not_says_so():
    for change in ({"binning_x": 2, "binning_y": 2}, {"roi": RegionOfInterest(width=320, height=240)}):
        info = camera_info_message(INTRINSICS, (480, 640), HEADER)
        for name, value in change.items():
            setattr(info, name, value)
        finding = camera_info_finding("info", info, depth_image())
        expect_finding(finding, Level.FAIL, "expected the size of the depth image, 640x480, got 320x240 (640x480")
        assert "neither binned nor cut" in finding.cure
        small = image_message(FRAME.depth[::2, ::2], "16UC1", HEADER)
        expect_finding(camera_info_finding("info", info, small), Level.OK)


def test_the_lens_is_taken_care_of_or_warned_of():
    info = camera_info_message(INTRINSICS, (480, 640), HEADER)
    expect_finding(lens_finding("lens", info, "/camera/image_raw"), Level.OK, "no distortion")
    info.d = [-0.05, 0.06, 0.0, 0.0, -0.02]
    expect_finding(lens_finding("lens", info, "/camera/image_rect"), Level.OK, "called rectified")
    expect_finding(lens_finding("lens", info, "/camera/image_raw", rectified=False), Level.OK, "undistorts")
    finding = lens_finding("lens", info, "/camera/image_raw")
    expect_finding(finding, Level.WARN, "points at 1 m are off by up to")
    assert "rectified:=false" in finding.cure
    expect_finding(lens_finding("lens", info, "/camera/image_rect", rectified=False), Level.WARN, "undistorted twice")
    info.distortion_model = "fov"
    expect_finding(camera_info_finding("info", info, depth_image()), Level.OK)
    expect_finding(camera_info_finding("info", info, depth_image(), rectified=False), Level.FAIL, "'fov'")


@pytest.mark.parametrize(
    ("frame_id", "level", "cure"),
    [("camera", Level.OK, ""), ("", Level.WARN, "driver"), ("/camera", Level.WARN, "'camera'")],
)
def test_frames_have_names_that_tf_bears(frame_id, level, cure):
    finding = frame_finding("frame", frame_id)
    expect_finding(finding, level, "")
    assert cure in finding.cure


def test_depth_in_another_unit_is_read_in_it():
    tenths = depth_image(FRAME.depth * np.uint16(10))
    expect_finding(depth_finding("depth", tenths, unit_m=0.0001), Level.OK, "median 1.0")
    metres = depth_image(FRAME.depth // 1000 + 1)
    expect_finding(depth_finding("depth", metres, unit_m=1.0), Level.OK)


def test_objects_of_impossible_sizes_are_blamed_on_the_unit():
    sizes = ObjectSizes()
    clouds = [cloud.points for cloud in backproject(FRAME, FOUND)]
    for _ in range(2):
        sizes.add(clouds, [0.2, 0.2])
    expect_finding(unit_finding("unit", sizes, 0.001), Level.OK, "4 objects")
    sizes = ObjectSizes()
    for _ in range(2):
        sizes.add([10 * cloud for cloud in clouds], [0.2, 0.2])
    finding = unit_finding("unit", sizes, 0.001)
    expect_finding(finding, Level.WARN, "another unit than 1 mm")
    assert "depth_scale_m:=0.0001" in finding.cure


def test_masks_fit_the_depth_image():
    def judge(depth=FRAME.depth, names=CATEGORIES, **change):
        masks = instance_array_message(replace(FOUND, **change), HEADER)
        return masks_finding("masks", masks, depth_image(depth), names)

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
    expect_finding(judge(names=()), Level.OK, "2 objects")


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
    expect_finding(rate_finding("rate", [], [], 3, kept=True), Level.FAIL, "nothing came in 3 s")
    expect_finding(rate_finding("rate", [0], [0.1], 3, kept=True), Level.OK, "sent once, and kept")


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
    near = match_finding("joined", depth, {(k * 33 + 1) * MS: 0.0 for k in range(20)})
    assert near.cure.endswith("; or join the nearest: max_stamp_difference_s:=0.002")
    far = match_finding("joined", depth, {(k * 33 + 17) * MS: 0.0 for k in range(19)})
    assert "max_stamp_difference_s" not in far.cure  # it would join one mask with two images
    expect_finding(
        match_finding("joined", depth, {(k * 33 + k % 2) * MS: k * 0.033 for k in range(20)}), Level.WARN, "10 of 20"
    )
    expect_finding(match_finding("joined", depth, {10**12: 1.0}), Level.WARN, "no masks from the time")


def test_masks_whose_stamps_are_nearly_those_of_images_are_joined_on_request():
    depth = {k * 33 * MS: k * 0.033 for k in range(30)}
    near = {(k * 33 + 1) * MS: k * 0.033 + 0.2 for k in range(20)}
    finding = match_finding("joined", depth, near)
    expect_finding(finding, Level.FAIL, "1.0 ms away")
    assert "max_stamp_difference_s:=0.002" in finding.cure
    halfway = {(k * 33 + 16) * MS + MS // 2: k * 0.033 for k in range(20)}
    assert "max_stamp_difference_s" not in match_finding("joined", depth, halfway).cure
    expect_finding(match_finding("joined", depth, near, max_difference_s=0.002), Level.OK, "come 200 ms after it")


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


@pytest.mark.parametrize(
    ("kind", "name", "cure"),
    [
        (CompressedImage, "depth", "republish"),
        (PointCloud2, "depth", "depth image that the cloud is made of"),
        (Image, "masks", "mask_adapter"),
    ],
)
def test_a_topic_of_another_type_is_named_with_what_makes_the_right_one(broken, kind, name, cure):
    broken.create_publisher(kind, f"/t/{name}", 1)
    found = by_subject(examine(Topics("/t/depth", "/t/info", "/t/masks"), seconds=0.0))
    finding = found[f"/t/{name}: publisher"]
    expect_finding(finding, Level.FAIL, f"got sensor_msgs/msg/{kind.__name__}")
    assert cure in finding.cure


def small(scene):
    """A quarter of the size: the doctor and the camera share a process here."""
    k = scene.frame.intrinsics
    quarter = Intrinsics(k.fx / 4, k.fy / 4, k.cx / 4, k.cy / 4)
    frame = replace(scene.frame, depth=scene.frame.depth[::4, ::4].copy(), intrinsics=quarter)
    return Scene(frame, Detections(scene.detections.instances, scene.detections.masks[::4, ::4].copy()))


@pytest.fixture
def camera(broken):
    """Publishes small frames on /c/… every 50 ms while the doctor listens, as a test damages them; depth below
    /c/depth, where something compresses it.
    """
    kinds = {"info": CameraInfo, "masks": InstanceArray}
    publishers = {name: broken.create_publisher(kind, f"/c/{name}", 5) for name, kind in kinds.items()}
    stop, threads = threading.Event(), []

    def examined(
        damage=lambda depth, info, masks: None,
        scene=small(Scene(FRAME, FOUND)),
        frame_id="camera",
        latched=False,
        compress=None,
        **listening,
    ):
        kind, end = (CompressedImage, "/compressedDepth") if compress else (Image, "")
        publishers["depth"] = broken.create_publisher(kind, f"/c/depth{end}", 5)
        if latched:
            broken.destroy_publisher(publishers["info"])
            kept = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
            publishers["info"] = broken.create_publisher(CameraInfo, "/c/info", kept)

        def play():
            sent = 0
            while not stop.wait(0.05):
                header = Header(stamp=stamp_message(time.time_ns()), frame_id=frame_id)
                depth, info, masks = frame_messages(*scene, header)
                damage(depth, info, masks)
                depth = compress(depth) if compress else depth
                for name, message in (("depth", depth), ("info", info), ("masks", masks)):
                    if name != "info" or not latched or not sent:
                        publishers[name].publish(message)
                sent += 1

        threads.append(threading.Thread(target=play))
        threads[0].start()
        time.sleep(0.5)
        return by_subject(examine(Topics("/c/depth", "/c/info", "/c/masks", **listening), seconds=1.0))

    yield examined
    stop.set()
    for thread in threads:
        thread.join()


def test_a_calibration_that_was_sent_once_and_kept_is_heard(camera):
    found = camera(latched=True)
    expect_finding(found["/c/info: rate"], Level.OK, "sent once, and kept")
    expect_finding(found["/c/info: calibration"], Level.OK, "56° wide")
    assert "/c/info: stamps" not in found


def test_a_sound_camera_has_no_warning(camera):
    found = camera()
    assert {found[key].level for key in found if key.startswith("/c/")} == {Level.OK}
    assert {"/c/depth: frame", "/c/info: frame", "/c/masks: frame", "/c/info: lens", "/c/depth: unit"} <= found.keys()


def png(depth, image_format="16UC1; compressedDepth png"):
    pixels = np.frombuffer(bytes(depth.data), np.uint16).reshape(depth.height, depth.width)
    data = (bytes(12) if "compressedDepth" in image_format else b"") + cv2.imencode(".png", pixels)[1].tobytes()
    return CompressedImage(header=depth.header, format=image_format, data=data)


@pytest.mark.parametrize("image_format", ["16UC1; compressedDepth png", "16UC1; png compressed "])
def test_a_camera_whose_depth_is_compressed_is_judged_as_one_whose_is_not(camera, image_format):
    found = camera(compress=lambda depth: png(depth, image_format), image_transport="compressed")
    assert {found[key].level for key in found if key.startswith("/c/")} == {Level.OK}
    depth = "/c/depth/compressedDepth"
    assert {f"{depth}: image", f"{depth}: frame", f"{depth}: unit", "/c/masks: masks", "/c/info: lens"} <= found.keys()


def test_depth_that_does_not_decompress_is_a_failure(camera):
    def jpeg(depth):
        return CompressedImage(header=depth.header, format="16UC1; jpeg compressed ", data=b"\xff\xd8")

    finding = camera(compress=jpeg, image_transport="compressed")["/c/depth/compressedDepth: image"]
    expect_finding(finding, Level.FAIL, "JPEG keeps 8 bits of depth")


def test_depth_that_comes_in_the_other_way_is_told_with_the_parameter(camera):
    finding = camera(compress=png)["/c/depth: publisher"]
    expect_finding(finding, Level.FAIL, "nobody publishes, but /c/depth/compressedDepth is there")
    assert "image_transport:=compressed" in finding.cure


def test_raw_depth_is_told_where_compressed_is_listened_to(camera):
    finding = camera(image_transport="compressed")["/c/depth/compressedDepth: publisher"]
    expect_finding(finding, Level.FAIL, "nobody publishes, but /c/depth is there")
    assert "image_transport:=raw" in finding.cure


@pytest.mark.parametrize(
    ("frame_id", "text", "cure"), [("", "got none", "driver"), ("/cam", "got '/cam'", "call it 'cam'")]
)
def test_the_name_of_a_cameras_frame_has_a_finding_of_its_own(camera, frame_id, text, cure):
    finding = camera(frame_id=frame_id)["/c/depth: frame"]
    expect_finding(finding, Level.WARN, text)
    assert cure in finding.cure


def test_each_fault_of_a_camera_has_a_finding_of_its_own(camera):
    """Binned, of another frame, distorted, and in tenth millimetres: all at once."""

    def damage(depth, info, masks):
        info.header = Header(stamp=info.header.stamp, frame_id="other")
        info.binning_x = info.binning_y = 2
        info.d = [-0.2, 0.05, 0.0, 0.0, 0.0]

    found = camera(damage)
    expect_finding(found["/c/info: frame"], Level.WARN, "got 'other'")
    expect_finding(found["/c/info: calibration"], Level.FAIL, "binned by 2x2")
    expect_finding(found["/c/info: lens"], Level.WARN, "distortion (plumb_bob)")


def test_depth_in_tenth_millimetres_is_told_from_the_objects(camera):
    scene = spheres_on_table(3, CATEGORIES)
    near = replace(scene.frame, depth=scene.frame.depth * np.uint16(3))  # 0.3 m away, times ten
    finding = camera(scene=small(scene._replace(frame=near)))["/c/depth: unit"]
    expect_finding(finding, Level.WARN, "another unit than 1 mm")
    assert "depth_scale_m:=0.0001" in finding.cure


def test_names_and_settings_are_those_of_the_running_node(dds, start_process, write_model, client, wait_until):
    model = write_model(names=("gadget",), symmetry={}, scale={"gadget": 0.2})
    arguments = (f"models:={model}", "rectified:=false", "depth_scale_m:=0.0001", "diagnostics_s:=0.1")
    start_process("node", *(word for argument in arguments for word in ("-p", argument)), "-r", "__ns:=/named")
    wait_until(lambda: "/named/clipose" in [d.status[0].name for d in client.received["diagnostics"]])
    context = rclpy.Context()
    rclpy.init(context=context)
    listener = Listener(Topics("/named/depth_registered/image_rect"), context=context)
    other = Listener(Topics("/nowhere/depth"), context=context)
    listen(listener, 20.0, until=lambda: listener.reading().names)
    assert listener.reading() == Reading(("gadget",), False, 0.0001)
    assert other.reading() == Reading()
    rclpy.shutdown(context=context)
