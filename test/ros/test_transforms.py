"""Objects as frames of TF. tf2_ros is not on PyPI: what needs it is skipped without."""

import itertools
import signal
import sys
import time

import numpy as np
import pytest
from clipose_ros.msg import InstanceArray, ObjectPose
from rclpy.time import Time
from std_msgs.msg import Header

from clipose_ros.benchmark import spheres_on_table
from clipose_ros.ros.conversions import camera_info_message, image_message, instance_array_message, stamp_message
from clipose_ros.ros.parameters import PoseNodeParameters
from clipose_ros.ros.transforms import object_transforms

STEP_NS = 100_000_000
FRAME_ID = "optical"


@pytest.fixture(scope="module")
def tf2_ros():
    return pytest.importorskip("tf2_ros", reason="tf2_ros is not on PyPI")


@pytest.fixture(scope="module")
def spheres():
    return spheres_on_table(2, ("can", "mug"))


@pytest.fixture(scope="module")
def broadcasting_node(tf2_ros, start_process, tiny_model, client, wait_until):
    process = start_process("node", "-p", f"model:={tiny_model}", "-p", "tf:=true", "-p", "tf_prefix:=seen")
    wait_until(client.connected)
    wait_until(lambda: client.node.count_publishers("/tf"))
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture
def show(broadcasting_node, client, spheres):
    """The poses of the next frame, 0.1 s later, of the two spheres or of nothing."""
    stamps_ns = itertools.count(time.time_ns(), STEP_NS)

    def show(empty=False):
        header = Header(stamp=stamp_message(next(stamps_ns)), frame_id=FRAME_ID)
        instances = InstanceArray(header=header) if empty else instance_array_message(spheres, header)
        return client.ask(image_message(spheres.depth, "16UC1", header), camera_info_message(spheres.intrinsics, spheres.depth.shape, header), instances)

    return show


def test_confirmed_objects_are_frames_at_the_stamp_and_others_are_not(tf2_ros, client, show, wait_until):
    buffer = tf2_ros.Buffer()
    tf2_ros.TransformListener(buffer, client.node)

    def known(poses):
        frames = [f"seen/{pose.category}_{pose.track}" for pose in poses.poses]
        return all(buffer.can_transform(FRAME_ID, frame, Time.from_msg(poses.header.stamp)) for frame in frames)

    tentative = [show(), show()]
    assert {pose.tracking for poses in tentative for pose in poses.poses} == {ObjectPose.TENTATIVE}
    wait_until(lambda: known(show()))  # until the listener has been discovered, too
    poses = show()
    wait_until(lambda: known(poses))
    for pose in poses.poses:
        transform = buffer.lookup_transform(FRAME_ID, f"seen/{pose.category}_{pose.track}", Time.from_msg(poses.header.stamp))
        translation, position = transform.transform.translation, pose.pose.position
        assert transform.header == poses.header
        np.testing.assert_allclose([translation.x, translation.y, translation.z], [position.x, position.y, position.z])
        assert transform.transform.rotation == pose.pose.orientation
    assert not any(known(poses) for poses in tentative)

    unseen = show(empty=True)
    assert len(unseen.coasting) == 2
    time_of_unseen = Time.from_msg(unseen.header.stamp)
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform(FRAME_ID, f"seen/{unseen.coasting[0].category}_{unseen.coasting[0].track}", time_of_unseen)


def test_without_tf2_ros_it_is_refused(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "tf2_ros"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # cannot be imported
    with pytest.raises(RuntimeError, match="^tf2_ros: expected the ROS package, for tf: true, got none"):
        object_transforms(None, "clipose")


def test_frames_need_tracks():
    with pytest.raises(ValueError, match="tf: expected false without tracking"):
        PoseNodeParameters(tf=True, tracking=False)
