"""TF: objects as frames, and poses in a target frame. tf2_ros is not on PyPI: what needs it is skipped without."""

import itertools
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from geometry_msgs.msg import Quaternion, Transform, TransformStamped, Vector3
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from std_msgs.msg import Header
from std_srvs.srv import Trigger

from clipose_ros.bench.latency import IMAGE_SHAPE
from clipose_ros.core.types import Detections, Instance, PoseEstimate, Rejection, TrackedPose, TrackState
from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.pipeline import FrameResult
from clipose_ros.ros.camera_transforms import NoTransform, camera_transforms
from clipose_ros.ros.conversions import frame_messages, pose_estimate_from, stamp_message, stamp_ns
from clipose_ros.ros.settings import PoseNodeParameters
from clipose_ros.ros.target_frame import moved_pose, placed
from clipose_ros.ros.transforms import ObjectTransforms, frame_id_warning, object_prefix, object_transforms

STEP_NS = 100_000_000
STAMPS_NS = itertools.count(time.time_ns(), STEP_NS)
CAMERA, MOVING, UNKNOWN = "optical", "moving_optical", "unknown_optical"
MAP = "map"
QUARTER_TURN = Rotation.from_euler("z", 90, degrees=True)
TRANSLATION = np.array([1.0, 2.0, 3.0])

NOTHING = Detections((), np.zeros(IMAGE_SHAPE, np.uint8))


@pytest.fixture(scope="module")
def tf2_ros():
    return pytest.importorskip("tf2_ros", reason="tf2_ros is not on PyPI")


def transform(time_ns, child, rotation, translation):
    """Of a child in MAP."""
    x, y, z, w = rotation.as_quat()
    transform = Transform(
        translation=Vector3(**dict(zip("xyz", map(float, translation)))), rotation=Quaternion(x=x, y=y, z=z, w=w)
    )
    return TransformStamped(
        header=Header(stamp=stamp_message(time_ns), frame_id=MAP), child_frame_id=child, transform=transform
    )


@pytest.fixture(scope="module")
def mapping_node(tf2_ros, start_process, tiny_model, client):
    """A node that gives poses in MAP, where CAMERA stands, and broadcasts the objects."""
    arguments = (
        f"models:={tiny_model}",
        "tf:=true",
        "tf_prefix:=seen",
        f"target_frame:={MAP}",
        f"gravity_frame:={MAP}",
    )
    process = start_process("node", *(word for argument in arguments for word in ("-p", argument)))
    client.camera = tf2_ros.StaticTransformBroadcaster(client.node)  # its publisher lives as long as it is known here
    client.camera.sendTransform(transform(0, CAMERA, QUARTER_TURN, TRANSLATION))
    client.connect()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture
def frame(mapping_node, spheres):
    """The messages of a frame of the two spheres or of nothing, 0.1 s later than the one before."""

    def frame(frame_id=CAMERA, empty=False):
        header = Header(stamp=stamp_message(next(STAMPS_NS)), frame_id=frame_id)
        return frame_messages(spheres.frame, NOTHING if empty else spheres.detections, header)

    return frame


def positions(poses):
    return np.array([pose_estimate_from(pose).translation for pose in poses.poses])


def test_confirmed_objects_are_frames_at_the_stamp_and_others_are_not(tf2_ros, client, frame, wait_until):
    buffer = tf2_ros.Buffer()
    listener = tf2_ros.TransformListener(buffer, client.node)

    def known(poses):
        frames = [f"seen/{pose.category}_{pose.track}" for pose in poses.poses]
        return all(buffer.can_transform(MAP, frame, Time.from_msg(poses.header.stamp)) for frame in frames)

    tentative = [client.ask(*frame()), client.ask(*frame())]
    assert {pose.tracking for poses in tentative for pose in poses.poses} == {ObjectPose.TENTATIVE}
    shown = []

    def discovered():
        shown.append(client.ask(*frame()))
        return any(map(known, shown))

    wait_until(discovered)
    poses = client.ask(*frame())
    wait_until(lambda: known(poses))
    for pose in poses.poses:
        found = buffer.lookup_transform(MAP, f"seen/{pose.category}_{pose.track}", Time.from_msg(poses.header.stamp))
        translation, q, estimate = found.transform.translation, found.transform.rotation, pose_estimate_from(pose)
        assert found.header == poses.header
        np.testing.assert_allclose([translation.x, translation.y, translation.z], estimate.translation, atol=1e-12)
        np.testing.assert_allclose(Rotation.from_quat([q.x, q.y, q.z, q.w]).as_matrix(), estimate.rotation, atol=1e-12)
    assert not any(map(known, tentative))

    unseen = client.ask(*frame(empty=True))
    assert len(unseen.coasting) == 2
    coasting = unseen.coasting[0]
    with pytest.raises(tf2_ros.ExtrapolationException):
        buffer.lookup_transform(MAP, f"seen/{coasting.category}_{coasting.track}", Time.from_msg(unseen.header.stamp))
    listener.unregister()


def test_poses_are_in_the_target_frame_as_the_camera_was_at_the_stamp(tf2_ros, client, frame):
    standing = client.ask(*frame())
    assert standing.header.frame_id == MAP and standing.poses
    inputs = frame(MOVING)
    now_ns = stamp_ns(inputs[0].header.stamp)
    broadcaster = tf2_ros.TransformBroadcaster(client.node)
    end = time.monotonic() + 30
    while (moving := client.answer(inputs[0].header.stamp)) is None and time.monotonic() < end:
        for time_ns, x in ((now_ns - STEP_NS, 0.0), (now_ns + STEP_NS, 1.0)):  # now, it is halfway
            broadcaster.sendTransform(transform(time_ns, MOVING, Rotation.identity(), (x, 0, 0)))
        client.send(*inputs)
        time.sleep(0.2)
    in_camera = QUARTER_TURN.inv().apply(positions(standing) - TRANSLATION)
    # the tracker has moved them a little
    np.testing.assert_allclose(positions(moving) - [0.5, 0, 0], in_camera, atol=2e-3)


def test_a_frame_without_transform_is_counted_not_published_and_what_it_lost_is_told_later(
    client, frame, call, wait_until
):
    for _ in range(3):
        tracks = [pose.track for pose in client.ask(*frame()).poses]
    assert call(Trigger, "reset").success
    cause = f"failed: target_frame: expected a transform from {UNKNOWN} to {MAP} at the image's stamp within 0.1 s"
    asked = []

    def counted():
        inputs = frame(UNKNOWN)
        asked.append(inputs[0].header.stamp)
        client.send(*inputs)
        time.sleep(0.2)
        return int(client.counters().get(cause, 0)) > 0

    wait_until(counted)
    assert not any(client.answer(stamp) for stamp in asked)
    assert set(tracks) <= set(client.ask(*frame()).lost)


# Without tf2_ros


class Broadcaster:
    """Keeps what is to be broadcast."""

    def __init__(self):
        self.sent = []

    def sendTransform(self, transforms):
        self.sent += transforms


def confirmed_mug(frame_id):
    header = Header(stamp=stamp_message(5), frame_id=frame_id)
    mug = ObjectPose(category="mug", track=3, tracking=ObjectPose.CONFIRMED)
    return ObjectPoseArray(header=header, poses=[mug])


@pytest.mark.parametrize(
    ("wanted", "node", "prefix"),
    [
        ("auto", "/clipose", "clipose"),
        ("auto", "/cam1/clipose", "cam1/clipose"),
        ("auto", "/robot/cam2/left", "robot/cam2/left"),
        ("seen", "/cam1/clipose", "seen"),
        ("", "/cam1/clipose", ""),
    ],
)
def test_nodes_of_two_cameras_have_no_child_in_common_unless_it_is_asked_for(wanted, node, prefix):
    assert object_prefix(wanted, node) == prefix


@pytest.mark.parametrize(("prefix", "child"), [("cam1/clipose", "cam1/clipose/mug_3"), ("", "mug_3")])
@pytest.mark.parametrize("frame_id", ["camera", "/camera"])
def test_objects_are_children_of_the_camera_as_tf2_names_it(prefix, child, frame_id):
    broadcaster = Broadcaster()
    ObjectTransforms(broadcaster, prefix).publish(confirmed_mug(frame_id))
    (sent,) = broadcaster.sent
    assert (sent.header.frame_id, sent.child_frame_id, sent.header.stamp) == ("camera", child, stamp_message(5))


def test_without_a_frame_nothing_is_broadcast():
    broadcaster = Broadcaster()
    ObjectTransforms(broadcaster, "clipose").publish(confirmed_mug(""))
    assert broadcaster.sent == []


def test_names_of_frames_are_judged_with_the_cure():
    assert frame_id_warning("camera_optical_frame") is None
    for frame_id, expected, cure in (("", "got none", "driver"), ("/cam", "got '/cam'", "'cam'")):
        text, advice = frame_id_warning(frame_id)
        assert text.startswith("frame_id: expected") and expected in text and cure in advice


def test_placed_poses_are_those_of_the_product_of_the_transforms():
    rotation, translation = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix(), np.array([0.5, -2.0, 3.0])
    own = Rotation.from_rotvec([1.0, 0.2, -0.4]).as_matrix(), np.array([0.1, 0.2, 0.9])
    pose, rejection = (
        PoseEstimate("mug", 0.9, *own, np.array([0.1, 0.2, 0.3])),
        Rejection("can", "points: expected more"),
    )
    tracked = TrackedPose(
        "mug",
        0.9,
        *own,
        pose.size,
        track=7,
        state=TrackState.COASTING,
        age_ns=5,
        covariance=np.diag([1.0, 2, 3, 4, 5, 6]),
    )
    one, two = Instance(1, "mug"), Instance(2, "can")
    result = placed(
        FrameResult(5, CAMERA, ((one, pose), (two, rejection)), {}, None, ((one, tracked),), (3,)),
        rotation,
        translation,
        MAP,
    )
    assert (result.stamp_ns, result.frame_id, result.lost, result.results[1]) == (5, MAP, (3,), (two, rejection))
    for moved in (result.results[0][1], result.coasting[0][1]):
        corner = np.array([0.05, -0.1, 0.15])
        np.testing.assert_allclose(
            moved.rotation @ corner + moved.translation, rotation @ (own[0] @ corner + own[1]) + translation
        )
        assert np.array_equal(moved.size, pose.size)
    assert (moved.track, moved.state, moved.age_ns) == (7, TrackState.COASTING, 5)
    assert result.results[0][1].covariance is None
    quarter = placed(result, QUARTER_TURN.as_matrix() @ rotation.T, np.zeros(3), "x").coasting[0][1]
    # x and y have changed places
    np.testing.assert_allclose(quarter.covariance, np.diag([2.0, 1, 3, 5, 4, 6]), atol=1e-12)
    alone = moved_pose(replace(pose, covariance=tracked.covariance), QUARTER_TURN.as_matrix(), translation)
    np.testing.assert_allclose(alone.covariance, quarter.covariance, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "wanted_by"),
    [
        (lambda: object_transforms(None, "clipose"), "tf: true"),
        (lambda: camera_transforms(None, PoseNodeParameters(target_frame=MAP)), "target_frame: map"),
        (lambda: camera_transforms(None, PoseNodeParameters(gravity_frame="odom")), "gravity_frame: odom"),
        (
            lambda: camera_transforms(None, PoseNodeParameters(target_frame=MAP, gravity_frame="odom")),
            "target_frame: map and gravity_frame: odom",
        ),
    ],
)
def test_without_tf2_ros_it_is_refused(monkeypatch, make, wanted_by):
    for module in [name for name in sys.modules if name.partition(".")[0] == "tf2_ros"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "tf2_ros", None)  # cannot be imported
    with pytest.raises(RuntimeError, match=f"^tf2_ros: expected the ROS package, for {wanted_by}, got none"):
        make()


class Buffer:
    """Keeps the stamps of a camera's transforms as tf2 does: none that is 10 s older than the newest."""

    def __init__(self, node):
        self.stamps_ns = []

    def set(self, stamp_ns):
        if stamp_ns >= max(self.stamps_ns, default=0) - 10_000_000_000:
            self.stamps_ns.append(stamp_ns)

    def clear(self):
        self.stamps_ns.clear()

    def lookup_transform(self, frame, camera, time, timeout):
        if time.nanoseconds not in self.stamps_ns:
            raise LookupError("extrapolation into the past")
        return time.nanoseconds


def test_a_recording_that_is_played_again_has_transforms_again(monkeypatch):
    """Without simulated time, nobody else tells tf2 that the time went back."""
    stand_in = SimpleNamespace(Buffer=Buffer, TransformListener=lambda *_: None, TransformException=LookupError)
    monkeypatch.setitem(sys.modules, "tf2_ros", stand_in)
    transforms = camera_transforms(None, PoseNodeParameters(target_frame=MAP))
    answered = []
    for second in [*range(1, 31), *range(1, 31)]:
        stamp_ns = second * 1_000_000_000
        transforms._buffer.set(stamp_ns)  # as the listener does, before the image is complete
        try:
            answered.append(transforms.look_up(MAP, CAMERA, stamp_message(stamp_ns)) == stamp_ns)
        except NoTransform:
            answered.append(False)
    assert answered[:30] == [True] * 30
    # that of the first image came before anybody knew
    assert answered[31:] == [True] * 29


def test_nobody_listens_to_tf_for_nothing():
    assert camera_transforms(None, PoseNodeParameters()) is None


def test_frames_need_tracks():
    with pytest.raises(ValueError, match="tf: expected false without tracking"):
        PoseNodeParameters(tf=True, tracking=False)
