import json

import pytest

from clipose_ros.core.types import Rejection
from clipose_ros.formats.pose_files import read_poses, read_truth

POSE = {"class": "mug", "R": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "t": [0, 0, 1], "size": [0.1, 0.1, 0.1]}


@pytest.fixture
def write(tmp_path):
    """Writes a file of poses and gives its path."""

    def write(content):
        path = tmp_path / "poses.json"
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return path

    return write


def test_poses_and_rejections_are_read_by_frame_and_instance(write):
    rejection = {"instance": 2, "class": "can", "rejected": "points: expected at least 32, got 0"}
    content = json.dumps([{"frame": "0000", "instances": [{"instance": 1, **POSE}, rejection]}])
    for data in (content.encode(), b"\xef\xbb\xbf" + content.replace("}, {", "},\r\n{").encode()):
        poses = read_poses(write(data))
        assert list(poses) == [("0000", 1), ("0000", 2)] and poses["0000", 1].score == 1.0
        assert poses["0000", 2] == Rejection("can", "points: expected at least 32, got 0")


def test_the_truth_knows_hidden_handles_and_hidden_objects(write):
    mugs = [{"instance": number, **POSE, "handle_visibility": seen} for number, seen in ((1, 0), (2, 1), (4, None))]
    bowl = {"instance": 3, **POSE, "class": "bowl", "handle_visibility": 0, "lying": False}
    hidden = [{"class": "can", "t": [0.1, 0.2, 1.0]}]
    truth = read_truth(write([{"frame": "0000", "instances": [*mugs, bowl], "hidden": hidden, "up": [0, -1, 0]}]))
    assert len(truth.poses) == 4 and truth.hidden_handles == {("0000", 1)}
    (can,) = truth.hidden_objects["0000"]
    assert can.category == "can" and can.translation.tolist() == [0.1, 0.2, 1.0]


def test_the_truth_knows_what_lies(write):
    lies = ({"lying": True}, {"lying": False}, {"lying": None}, {})
    instances = [{"instance": number, **POSE, **further} for number, further in enumerate(lies)]
    assert read_truth(write([{"frame": "0000", "instances": instances}])).lying == {("0000", 0)}
    with pytest.raises(ValueError, match="lying: expected true or false, got 'no'"):
        read_truth(write([{"frame": "0000", "instances": [{"instance": 1, **POSE, "lying": "no"}]}]))


def test_a_truth_with_a_rejection_is_refused(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps([{"frame": "0", "instances": [{"instance": 1, "class": "mug", "rejected": "?"}]}]))
    with pytest.raises(ValueError, match="truth: expected a pose for every instance, got a rejection .*exchanged"):
        read_truth(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "expected JSON"),
        ("{}", "poses: expected a list of frames, got dict"),
        ('[{"frame": ["0"], "instances": [{"instance": 1}]}]', "frame: expected a name or a number"),
        ('[{"frame": "0", "instances": [{"instance": 1.5}]}]', "instance: expected a name or a number, got 1.5"),
        ('["0"]', "expected frames as clipose estimate writes them"),
        ('[{"frame": "0"}]', "expected the key 'instances'"),
        ('[{"frame": "0", "instances": [{"instance": 1, "class": "mug"}]}]', "expected the key 'R'"),
        (
            '[{"frame": "0", "instances": [{"instance": 1, "class": "mug", "R": [1], "t": [0], "size": [1, 1, 1]}]}]',
            "R: expected finite",
        ),
    ],
)
def test_broken_pose_files_are_refused_with_their_path(tmp_path, text, message):
    path = tmp_path / "poses.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"poses.json: {message}"):
        read_poses(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"R": [[2, 0, 0], [0, 2, 0], [0, 0, 2]]}, "R: expected a rotation matrix, without scale and mirror"),
        ({"R": [[-1, 0, 0], [0, 1, 0], [0, 0, 1]]}, "R: expected a rotation matrix, without scale and mirror"),
        ({"size": [0.1, -0.1, 0.1]}, "size: expected lengths of more than 0"),
        ({"score": "high"}, "score: expected a finite number, got 'high'"),
        ({"score": None}, "score: expected a finite number, got None"),
        ({"score": float("nan")}, "score: expected a finite number, got nan"),
        ({"t": [0.1, 0.2, -0.9]}, "t: expected objects before the camera, got z < 0; turn OpenGL's axes"),
        ({"t": [100, -200, 850]}, "t: expected metres, got objects 879 away; divide t and size by 1000"),
    ],
)
def test_numbers_that_are_no_pose_are_refused(write, change, message):
    """NOCS_CVPR2019#44 (scale in R), BundleTrack#67 (OpenGL's axes): each pose would count as wrong."""
    path = write([{"frame": "0", "instances": [{"instance": 1, **POSE, **change}]}])
    for read in (read_poses, read_truth):
        with pytest.raises(ValueError, match=f"poses.json: {message}"):
            read(path)
