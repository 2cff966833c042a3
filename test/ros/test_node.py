"""The pose node in its own process, asked over DDS."""

import time
from dataclasses import replace

import numpy as np
import pytest
from rclpy.qos import ReliabilityPolicy
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from clipose_ros import estimators
from clipose_ros.bench.latency import RADIUS_M, spheres_on_table
from clipose_ros.core.backprojection import pinhole
from clipose_ros.core.types import PoseEstimate
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.pipeline import Pipeline
from clipose_ros.ros.conversions import frame_messages, image_message, pose_estimate_from, stamp_message

FRAME_ID = "some_optical_frame"
CATEGORIES = ("can", "mug", "laptop")

pytestmark = pytest.mark.usefixtures("node")


@pytest.fixture(scope="module")
def spheres():
    return spheres_on_table(3, CATEGORIES)


@pytest.fixture
def header():
    return Header(stamp=stamp_message(time.time_ns()), frame_id=FRAME_ID)


def test_poses_are_those_of_the_pipeline(client, spheres, header, tiny_model):
    """What comes out of the node is what the same model gives for the frame in memory, and near the spheres."""
    answer = client.ask(*frame_messages(*spheres, header))
    assert answer.header == header
    assert [pose.id for pose in answer.poses] == ["1", "2", "3"] and not answer.rejections
    expected = Pipeline(estimators.load(str(tiny_model))).process(*spheres).results
    for message, (instance, pose) in zip(answer.poses, expected):
        assert isinstance(pose, PoseEstimate) and message.category == instance.category
        published = pose_estimate_from(message)
        np.testing.assert_allclose(published.rotation, pose.rotation, atol=1e-6)
        np.testing.assert_allclose(published.translation, pose.translation, atol=1e-6)
        np.testing.assert_allclose(published.size, pose.size, atol=1e-6)
        v, u = np.nonzero(spheres.detections.masks == instance.label)
        surface = pinhole(u, v, spheres.frame.depth[v, u] / 1000, spheres.frame.intrinsics).mean(axis=0)
        assert np.linalg.norm(published.translation - surface) < RADIUS_M / 2


def test_depth_in_metres_gives_the_same_poses(client, spheres, header):
    in_metres = replace(spheres.frame, depth=spheres.frame.depth.astype(np.float32) / 1000)
    answer = client.ask(*frame_messages(in_metres, spheres.detections, header))
    later = Header(stamp=stamp_message(time.time_ns()), frame_id=FRAME_ID)
    expected = client.ask(*frame_messages(*spheres, later))
    for pose, other in zip(answer.poses, expected.poses, strict=True):
        np.testing.assert_allclose(
            pose_estimate_from(pose).translation, pose_estimate_from(other).translation, atol=1e-4
        )


def test_pose_array_and_markers_have_the_same_header_and_poses(client, spheres, header):
    poses = client.ask(*frame_messages(*spheres, header))
    array = client.answer_soon(header.stamp, "poses")
    assert array.header == header
    assert array.poses == [pose.pose for pose in poses.poses]
    markers = client.answer_soon(header.stamp, "markers").markers
    boxes = [marker for marker in markers if marker.ns == "box" and marker.action == Marker.ADD]
    assert [marker.pose for marker in boxes] == array.poses
    assert all(marker.header == header for marker in markers)


def test_no_instances_give_an_empty_answer(client, spheres, header):
    depth, camera_info, _ = frame_messages(*spheres, header)
    answer = client.ask(depth, camera_info, InstanceArray(header=header))
    assert answer.header == header and answer.poses == [] and answer.rejections == []
    assert client.answer_soon(header.stamp, "poses").poses == []


def test_unknown_class_is_rejected_and_the_others_are_not(client, spheres, header):
    depth, camera_info, instances = frame_messages(*spheres, header)
    instances.instances[1].category = "shoe"
    answer = client.ask(depth, camera_info, instances)
    assert [pose.id for pose in answer.poses] == ["1", "3"]
    (rejection,) = answer.rejections
    assert (rejection.id, rejection.category) == ("2", "shoe") and "shoe" in rejection.reason


def test_empty_mask_is_rejected(client, spheres, header):
    depth, camera_info, instances = frame_messages(*spheres, header)
    instances.instances.append(ObjectInstance(label=99, category="mug", score=1.0, id="ghost"))
    answer = client.ask(depth, camera_info, instances)
    assert len(answer.poses) == 3
    (rejection,) = answer.rejections
    assert rejection.id == "ghost" and "points" in rejection.reason


@pytest.mark.parametrize(("value", "dtype"), [(0, np.uint16), (np.nan, np.float32), (np.inf, np.float32)])
def test_invalid_depth_everywhere_rejects_everything(client, spheres, header, value, dtype):
    depth = np.full(spheres.frame.depth.shape, value, dtype)
    answer = client.ask(*frame_messages(replace(spheres.frame, depth=depth), spheres.detections, header))
    assert answer.header == header and answer.poses == []
    assert [rejection.id for rejection in answer.rejections] == ["1", "2", "3"]


def test_late_masks_are_joined_with_their_own_depth(client, spheres, header, wait_until):
    """Three newer depth images come between an image and its masks; that they are empty must not matter."""
    depth, camera_info, instances = frame_messages(*spheres, header)
    first_ns = time.time_ns()
    client.send(depth, camera_info)
    for i in range(3):
        newer = Header(stamp=stamp_message(first_ns + (i + 1) * 33_000_000), frame_id=FRAME_ID)
        client.send(depth=image_message(np.zeros_like(spheres.frame.depth), "16UC1", newer))
    wait_until(lambda: client.counters()["messages waiting"] == "4")
    answer = client.ask(depth, camera_info, instances)
    assert answer.header == header and len(answer.poses) == 3


def test_a_broken_frame_costs_only_itself(client, spheres, header, wait_until):
    wait_until(client.counters)
    failures = int(client.counters()["failures"])
    depth, camera_info, instances = frame_messages(*spheres, header)
    instances.label_image = image_message(np.ones((3, 4), np.uint16), "16UC1", header)
    client.ask(depth, camera_info, instances)
    for _ in range(2):
        client.send(depth, camera_info, instances)
    later = Header(stamp=stamp_message(time.time_ns()), frame_id=FRAME_ID)
    assert len(client.ask(*frame_messages(*spheres, later)).poses) == 3
    rejections = client.answer(header.stamp).rejections
    assert [rejection.id for rejection in rejections] == ["1", "2", "3"]
    (reason,) = {rejection.reason for rejection in rejections}
    assert reason.startswith("labels: expected (480, 640) as depth, got (3, 4); segment the image that depth is")
    wait_until(lambda: int(client.counters()["failures"]) == failures + 1)


def test_a_recording_that_starts_again_is_answered_again(client, spheres, header):
    client.ask(*frame_messages(*spheres, header))
    earlier = Header(stamp=stamp_message(time.time_ns() - 100_000_000_000), frame_id=FRAME_ID)
    assert client.ask(*frame_messages(*spheres, earlier)).header == earlier


def test_inputs_are_best_effort_and_outputs_reliable(client):
    (depth,) = client.node.get_subscriptions_info_by_topic("/depth_registered/image_rect")
    (poses,) = client.node.get_publishers_info_by_topic("/clipose/poses_9dof")
    assert depth.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert poses.qos_profile.reliability == ReliabilityPolicy.RELIABLE
