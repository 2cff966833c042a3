"""Objects as vision_msgs/Detection3DArray. vision_msgs is not on PyPI: what needs it is skipped without."""

import itertools
import sys
import time

import numpy as np
import pytest
import rclpy
from std_msgs.msg import Header

from clipose_ros.bench.latency import IMAGE_SHAPE
from clipose_ros.core.types import Detections
from clipose_ros.msg import ObjectPose
from clipose_ros.ros.conversions import frame_messages, stamp_message
from clipose_ros.ros.detections import detections

STEP_NS = 100_000_000
TEST_NS = 100_000_000_000  # every test begins so much later than the one before: its tracks are new

NOTHING = Detections((), np.zeros(IMAGE_SHAPE, np.uint8))


@pytest.fixture(scope="module")
def vision_msgs():
    return pytest.importorskip("vision_msgs.msg", reason="vision_msgs is not on PyPI")


@pytest.fixture(scope="module")
def starts_ns():
    return itertools.count(time.time_ns(), TEST_NS)


@pytest.fixture(scope="module")
def messages(client, vision_msgs):
    """Detections as they come."""
    messages = []
    client.node.create_subscription(vision_msgs.Detection3DArray, "clipose/detections", messages.append, 10)
    return messages


@pytest.fixture
def show(messages, node, client, spheres, starts_ns, wait_until):
    """The poses and the detections of a step of 0.1 s of the two spheres, or of nothing."""

    def ask(header, empty):
        return client.ask(*frame_messages(spheres.frame, NOTHING if empty else spheres.detections, header))

    def at(time_ns):
        return Header(stamp=stamp_message(time_ns), frame_id="optical")

    while not messages:  # the subscription has not been discovered yet
        ask(at(next(starts_ns)), empty=True)
    start_ns = next(starts_ns)

    def show(step, empty=False):
        poses = ask(at(start_ns + step * STEP_NS), empty)
        wait_until(lambda: any(message.header == poses.header for message in messages))
        return poses, next(message for message in messages if message.header == poses.header)

    return show


def test_detections_say_what_the_poses_say_in_both_of_their_fields(show):
    poses, message = show(0)
    assert len(message.detections) == len(poses.poses) == 2
    for detection, pose in zip(message.detections, poses.poses):
        (result,) = detection.results
        assert detection.header == message.header
        assert detection.bbox.center == result.pose.pose == pose.pose
        assert detection.bbox.size == pose.size
        assert result.hypothesis.class_id == pose.category and result.hypothesis.score == pytest.approx(pose.score)
        assert detection.id == str(pose.track) != "0"
        assert np.array_equal(result.pose.covariance, pose.covariance) and result.pose.covariance[0] > 0


def test_detections_come_empty_too_and_without_what_is_not_measured(show):
    for step in range(3):
        assert len(show(step)[1].detections) == 2
    poses, message = show(3, empty=True)
    assert len(poses.coasting) == 2 and message.detections == []


def test_untracked_detections_carry_the_detectors_id_and_the_estimators_covariance(show, set_parameter):
    assert set_parameter("tracking", False).successful
    poses, message = show(0)
    first, second = message.detections
    assert (first.id, second.id) == ("1", "2") and poses.poses[0].tracking == ObjectPose.UNTRACKED
    covariance = first.results[0].pose.covariance
    assert np.array_equal(covariance, poses.poses[0].covariance) and covariance[0] > 0
    assert set_parameter("tracking", True).successful


def test_without_vision_msgs_there_are_none_unless_they_are_asked_for(dds, monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "vision_msgs"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "vision_msgs", None)  # cannot be imported
    context = rclpy.Context()
    rclpy.init(context=context)
    node = rclpy.create_node("bare", context=context)
    assert detections(node, "auto") is None and detections(node, "never") is None
    with pytest.raises(
        RuntimeError, match=r"^vision_msgs: expected the ROS package, for ~/detections \(detections: always\), got none"
    ):
        detections(node, "always")
    node.destroy_node()
    rclpy.shutdown(context=context)
