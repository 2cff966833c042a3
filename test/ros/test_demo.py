"""What the demo says of a run."""

import io

import pytest
from rich.console import Console

from clipose_ros.core.metrics import PoseError
from clipose_ros.msg import ObjectPose, ObjectPoseArray
from clipose_ros.ros.lab.demo import Found, Record, object_table


def test_frames_count_as_played_once_the_node_is_there_and_as_answered_if_they_were_played():
    """Frame 0 came before the node; the truth of frame 1 was not heard; 3 has no answer."""
    record = Record(
        poses={stamp: ObjectPoseArray() for stamp in (1, 2, 4)},
        truth={stamp: ObjectPoseArray() for stamp in (0, 2, 3, 4)},
    )
    assert record.played() == [2, 3, 4]
    assert record.answered() == [2, 4]


def object_pose(id, category, x_m, tracking=ObjectPose.CONFIRMED):
    message = ObjectPose(id=id, category=category, tracking=tracking)
    message.pose.position.x, message.pose.position.z, message.pose.orientation.w = x_m, 1.0, 1.0
    message.size.x = message.size.y = message.size.z = 0.1
    return message


def test_without_masks_an_object_has_the_pose_that_is_nearest_to_it():
    """The mug is found and takes the nearer of two poses, the can is called a bottle, the bowl has no pose."""
    truth = [("1", "mug", 0.0), ("2", "can", 0.5), ("3", "bowl", 1.0)]
    poses = [
        object_pose("a", "mug", 0.05),
        object_pose("b", "mug", 0.02),
        object_pose("c", "bottle", 0.51),
        object_pose("d", "camera", 2.0, ObjectPose.COASTING),
    ]
    record = Record({7: ObjectPoseArray(poses=poses)}, {7: ObjectPoseArray(poses=[object_pose(*one) for one in truth])})
    found = record.found()
    (mug,), (can,), (bowl,) = found["1", "mug"], found["2", "can"], found["3", "bowl"]
    assert mug.category == "mug" and mug.error.translation_m == pytest.approx(0.02)
    assert (can.category, can.error) == ("bottle", None) and (bowl.category, bowl.error) == ("", None)
    assert record.false_poses() == 1  # the second mug; what coasts was not measured


def test_both_halves_stand_side_by_side():
    error = PoseError(2.0, 0.01, 0.1)
    errors = {("1", "mug"): [error, None], ("2", "can"): [error]}
    found = {("1", "mug"): [Found("mug", error), Found(""), Found("can")]}
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(object_table(errors, found), object_table(errors))
    lines = console.export_text().splitlines()
    mug, can = (next(line for line in lines if name in line) for name in ("mug", "can"))
    assert "2.0  1.0  10 │ 2, 1" in mug and "2.0  1.0  10 │ 3, 1, 1" in mug
    assert "1, 0" in can and "│ 0, 0, 0" in can
    assert any("no masks" in line for line in lines[:6]) and not any("no masks" in line for line in lines[8:])
