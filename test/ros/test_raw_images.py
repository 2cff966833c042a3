"""Raw images and depth in other units through the node, over DDS; and what it warns of."""

import time
from dataclasses import replace

import numpy as np
import pytest
from std_msgs.msg import Header

from clipose_ros import estimators
from clipose_ros.core.distortion import PolynomialDistortion
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message

LENS = PolynomialDistortion((-0.8, 0.3, 0.001, -0.002, 0.0))
UNIT_M = 0.0001
RAW = "camera/depth/image_raw"
UNKNOWN_LENS = "refused: camera_info distortion_model: expected one of plumb_bob, rational_polynomial, equidistant"
IGNORED_LENS = f"warned: /{RAW}: expected a rectified image, called *_rect*"
NO_FRAME = "warned: depth_registered/image_rect frame_id: expected the name of the camera's optical frame"
SLASHED_FRAME = "warned: depth_registered/image_rect frame_id: expected a name without / in front, as tf2 has it"
OUT_OF_RANGE = "warned: depth: expected 0.1 to 5 m"
OTHER_RESOLUTION = "warned: camera_info: expected a principal point near the middle of its 640x480 px"
OTHER_UNIT = "warned: depth: expected objects of about the usual size"


@pytest.fixture
def header():
    return lambda frame_id="optical": Header(stamp=stamp_message(time.time_ns()), frame_id=frame_id)


def counted(client, cause):
    return int(client.counters().get(cause, 0))


def positions(message):
    return np.array([pose_estimate_from(pose).translation for pose in message.poses])


def expected_positions(model, scene):
    results = Pipeline(estimators.load(str(model))).process(*scene).results
    return np.array([pose.translation for _, pose in results])


class TestRawCamera:
    """A camera with a lens, whose depth is in tenth millimetres, and a node that is told so."""

    @pytest.fixture(scope="class", autouse=True)
    def node(self, start_process, tiny_model, client):
        arguments = (f"models:={tiny_model}", "rectified:=false", f"depth_scale_m:={UNIT_M}", "diagnostics_s:=0.1")
        process = start_process(
            "node", *(word for argument in arguments for word in ("-p", argument)), "-p", "tracking:=false"
        )
        client.connect()
        yield process
        process.kill()
        process.wait()

    @pytest.fixture
    def raw(self, spheres):
        frame = replace(
            spheres.frame,
            depth=spheres.frame.depth * np.uint16(10),
            intrinsics=replace(spheres.frame.intrinsics, distortion=LENS),
            depth_unit_m=UNIT_M,
        )
        return spheres._replace(frame=frame)

    def test_poses_are_those_of_the_undistorted_points(self, client, raw, spheres, header, tiny_model):
        answer = positions(client.ask(*frame_messages(*raw, header())))
        np.testing.assert_allclose(answer, expected_positions(tiny_model, raw), atol=1e-6)
        ignored = expected_positions(tiny_model, spheres)
        assert np.linalg.norm(answer - ignored, axis=1).max() > 0.001
        np.testing.assert_allclose(answer[:, 2], ignored[:, 2], atol=2e-3)

    def test_a_calibration_with_an_unknown_lens_is_refused_and_the_one_before_holds(
        self, client, raw, header, wait_until
    ):
        before = positions(client.ask(*frame_messages(*raw, header())))
        refused = counted(client, UNKNOWN_LENS)
        depth, info, instances = frame_messages(*raw, header())
        info.distortion_model = "fov"
        np.testing.assert_allclose(positions(client.ask(depth, info, instances)), before, atol=1e-6)
        wait_until(lambda: counted(client, UNKNOWN_LENS) > refused)

    def test_the_unit_is_right_and_so_is_the_name(self, client, raw, header):
        client.ask(*frame_messages(*raw, header()))
        assert not any(key.startswith(OTHER_UNIT) for key in client.counters())
        assert client.counters()["rectified"] == "False" and client.counters()["depth_scale_m"] == str(UNIT_M)


class TestUntoldNode:
    """A node with default parameters on a raw camera without a frame, in tenth millimetres."""

    @pytest.fixture(scope="class", autouse=True)
    def node(self, start_process, output_of, tiny_model, client):
        remapped = f"depth_registered/image_rect:={RAW}"
        process = start_process("node", "-p", f"models:={tiny_model}", "-p", "diagnostics_s:=0.1", "-r", remapped)
        output = output_of(process)
        kind = client.inputs["depth"][0]
        usual, client.publishers["depth"] = client.publishers["depth"], client.node.create_publisher(kind, RAW, 10)
        client.connect()
        yield output
        client.destroy(client.publishers["depth"])
        client.publishers["depth"] = usual
        process.kill()
        process.wait()

    def test_a_lens_that_is_ignored_is_said_once(self, node, client, spheres, header, wait_until):
        lens = replace(spheres.frame.intrinsics, distortion=LENS)
        raw = replace(spheres.frame, intrinsics=lens)
        for _ in range(3):
            assert client.ask(*frame_messages(raw, spheres.detections, header())).poses
        wait_until(lambda: counted(client, IGNORED_LENS) == 1)
        assert sum("rectified:=false" in line for line in node.lines) == 1

    @pytest.mark.parametrize(
        ("frame_id", "cause", "said"),
        [("", NO_FRAME, "nothing goes to TF"), ("/cam", SLASHED_FRAME, "on TF it is 'cam'")],
    )
    def test_frames_that_tf_does_not_bear_are_counted_and_said_once(
        self, node, client, spheres, header, wait_until, frame_id, cause, said
    ):
        before = counted(client, cause)
        for _ in range(3):
            answer = client.ask(*frame_messages(*spheres, header(frame_id)))
            assert answer.header.frame_id == frame_id and len(answer.poses) == 2
        wait_until(lambda: counted(client, cause) >= before + 3)
        assert sum(said in line for line in node.lines) == 1

    def test_two_cameras_on_one_topic_are_said_once(self, node, client, spheres, header, wait_until):
        cause = f"warned: {client.inputs['depth'][1]} frame_id: expected 'left' as before"
        tracks = []
        for frame_id in ("left", "right", "left", "right"):
            answer = client.ask(*frame_messages(*spheres, header(frame_id)))
            tracks.append({pose.track for pose in answer.poses})
        assert len(set.union(*tracks)) == sum(map(len, tracks))  # none goes on in the other camera's frame
        wait_until(lambda: counted(client, cause) == 2)
        assert sum("expected 'left' as before, got 'right'" in line for line in node.lines) == 1

    def test_millimetres_in_floats_are_said_once_with_the_cure(self, node, client, spheres, header, wait_until):
        """ensenso/ros_driver#60: each object is rejected for having no points, which tells nobody why."""
        floats = replace(spheres.frame, depth=spheres.frame.depth.astype(np.float32))

        def said():
            assert not client.ask(*frame_messages(floats, spheres.detections, header())).poses
            return counted(client, OUT_OF_RANGE)

        wait_until(said)
        client.ask(*frame_messages(floats, spheres.detections, header()))
        assert sum("if its unit is 1 mm: depth_scale_m:=0.001" in line for line in node.lines) == 1

    def test_intrinsics_of_another_resolution_are_said_once(self, node, client, spheres, header, wait_until):
        """orbbec/OrbbecSDK_ROS1#7: the driver does not scale K with the image, and poses are wrong in silence."""
        whole = spheres.frame.intrinsics
        half = replace(whole, fx=whole.fx / 2, fy=whole.fy / 2, cx=whole.cx / 2, cy=whole.cy / 2)
        for _ in range(3):
            client.ask(*frame_messages(replace(spheres.frame, intrinsics=half), spheres.detections, header()))
        wait_until(lambda: counted(client, OTHER_RESOLUTION) == 1)
        assert sum("are these the intrinsics of another resolution?" in line for line in node.lines) == 1
        client.ask(*frame_messages(*spheres, header()))

    def test_objects_that_look_far_too_large_are_said_once_with_the_cure(
        self, node, client, spheres, header, wait_until
    ):
        enlarged = replace(spheres.frame, depth=spheres.frame.depth * np.uint16(5))

        def said():
            client.ask(*frame_messages(enlarged, spheres.detections, header()))
            return counted(client, OTHER_UNIT)

        wait_until(said)
        client.ask(*frame_messages(enlarged, spheres.detections, header()))
        assert counted(client, OTHER_UNIT) == 1
        assert sum("depth_scale_m:=0.0001" in line for line in node.lines) == 1
