"""Boxes in MoveIt's planning scene: added once confirmed, moved, kept while coasting, removed when lost. moveit_msgs is
not on PyPI.
"""

import pytest
from geometry_msgs.msg import Point, Pose, Vector3
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.conversions import stamp_message
from clipose_ros.ros.examples.moveit_bridge import (
    MoveItBridgeParameters,
    Operation,
    SceneBoxes,
    SceneChange,
    collision_object,
)

STEP_NS = 100_000_000


def mug(track=7, tracking=ObjectPose.CONFIRMED, x=0.1, height=0.1):
    return ObjectPose(
        category="mug",
        track=track,
        tracking=tracking,
        pose=Pose(position=Point(x=x)),
        size=Vector3(x=0.12, y=height, z=0.08),
    )


def frame(step, *poses, coasting=(), lost=()):
    header = Header(stamp=stamp_message(step * STEP_NS), frame_id="camera")
    return ObjectPoseArray(header=header, poses=list(poses), coasting=list(coasting), lost=list(lost))


@pytest.fixture
def boxes():
    return SceneBoxes(MoveItBridgeParameters(period_s=0.2, padding_m=0.01))


def test_an_object_is_added_when_it_is_confirmed_and_not_before(boxes):
    assert boxes.update(frame(0, mug(tracking=ObjectPose.TENTATIVE), mug(track=0, tracking=ObjectPose.UNTRACKED))) == []
    (change,) = boxes.update(frame(1, mug()))
    assert (change.operation, change.id, change.pose) == (Operation.ADD, "mug_7", mug().pose)
    assert change.size == pytest.approx((0.14, 0.12, 0.10))


def test_it_is_moved_at_the_period_and_added_anew_when_its_size_has_changed(boxes):
    boxes.update(frame(0, mug()))
    assert boxes.update(frame(1, mug(x=0.2))) == []
    assert boxes.update(frame(2, mug(x=0.2))) == [SceneChange(Operation.MOVE, "mug_7", mug(x=0.2).pose)]
    (change,) = boxes.update(frame(4, mug(height=0.13)))
    assert (change.operation, change.id) == (Operation.ADD, "mug_7") and change.size[1] == pytest.approx(0.15)


def test_a_clock_that_goes_back_does_not_stop_the_moves(boxes):
    boxes.update(frame(100, mug()))
    assert [change.operation for change in boxes.update(frame(3, mug()))] == [Operation.MOVE]


def test_it_stays_while_it_coasts_and_goes_when_it_is_lost(boxes):
    boxes.update(frame(0, mug()))
    assert boxes.update(frame(5, coasting=[mug(tracking=ObjectPose.COASTING)])) == []
    assert boxes.update(frame(6, lost=[7])) == [SceneChange(Operation.REMOVE, "mug_7")]
    assert boxes.update(frame(7)) == []


def test_objects_that_a_reset_has_forgotten_go(boxes):
    boxes.update(frame(0, mug(1), mug(2)))
    changes = boxes.update(frame(5, mug(2), mug(3)))
    assert [(change.operation, change.id) for change in changes] == [
        (Operation.REMOVE, "mug_1"),
        (Operation.MOVE, "mug_2"),
        (Operation.ADD, "mug_3"),
    ]


def test_a_frame_that_has_no_name_changes_nothing(boxes):
    """MoveIt would take its poses for ones in the planning frame."""
    nameless = frame(0, mug())
    nameless.header.frame_id = ""
    assert boxes.update(nameless) == []
    assert [change.operation for change in boxes.update(frame(1, mug()))] == [Operation.ADD]


def test_boxes_of_two_cameras_have_different_names():
    (change,) = SceneBoxes(prefix="cam1/").update(frame(0, mug()))
    assert change.id == "cam1/mug_7"


def test_without_moveit_msgs_the_bridge_ends_and_names_it(dds, start_process, output_of):
    process = start_process("examples.moveit_bridge", "-p", "padding_m:=-1.0")
    output = output_of(process).of_ended()
    assert process.returncode == 1 and "Traceback" not in output
    assert "moveit_msgs: expected" in output or "padding_m: expected 0 or more, got -1.0" in output


def test_messages_are_boxes_of_moveit():
    moveit_msgs = pytest.importorskip("moveit_msgs.msg", reason="moveit_msgs is not on PyPI")
    kind, header = moveit_msgs.CollisionObject, frame(0).header
    added = collision_object(SceneChange(Operation.ADD, "mug_7", mug().pose, (0.1, 0.2, 0.3)), header, moveit_msgs)
    assert added.operation == kind.ADD and added.header == header and added.pose == mug().pose
    assert added.primitives == [
        SolidPrimitive(type=SolidPrimitive.BOX, dimensions=[0.1, 0.2, 0.3])
    ] and added.primitive_poses == [Pose()]
    moved = collision_object(SceneChange(Operation.MOVE, "mug_7", mug().pose), header, moveit_msgs)
    assert moved.operation == kind.MOVE and moved.pose == mug().pose and not moved.primitives
    removed = collision_object(SceneChange(Operation.REMOVE, "mug_7"), header, moveit_msgs)
    assert removed.operation == kind.REMOVE and removed.id == "mug_7" and not removed.primitives
