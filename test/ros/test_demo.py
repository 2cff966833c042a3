"""What the demo says of a run."""

from clipose_ros.msg import ObjectPoseArray
from clipose_ros.ros.lab.demo import Record


def test_frames_count_as_played_once_the_node_is_there_and_as_answered_if_they_were_played():
    """Frame 0 came before the node; the truth of frame 1 was not heard; 3 has no answer."""
    record = Record(
        poses={stamp: ObjectPoseArray() for stamp in (1, 2, 4)},
        truth={stamp: ObjectPoseArray() for stamp in (0, 2, 3, 4)},
    )
    assert record.played() == [2, 3, 4]
    assert record.answered() == [2, 4]
