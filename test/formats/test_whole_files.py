import os
import subprocess
import sys

import numpy as np
import pytest

from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.formats.pose_files import write_poses
from clipose_ros.formats.recording_files import RecordingWriter
from clipose_ros.formats.whole_files import whole_file, write_image
from clipose_ros.pipeline import FrameResult

FULL = "/dev/full"  # each write to it finds the disk full
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="this system has no /dev/full")


@pytest.fixture
def full_disk(monkeypatch):
    """Every file that is being written is on a full disk."""
    monkeypatch.setattr("clipose_ros.formats.whole_files.os.getpid", lambda: "full")

    def make(path):
        path.with_name(f".{path.name}.full.part").symlink_to(FULL)
        return path

    return make


def test_a_file_is_there_when_it_is_whole_and_keeps_its_mode(tmp_path):
    path = tmp_path / "made" / "poses.json"
    with whole_file(path) as unfinished:
        unfinished.write_text("first")
        assert not path.exists()
    path.chmod(0o640)
    with whole_file(path) as unfinished:
        unfinished.write_text("second")
        assert path.read_text() == "first"
    assert path.read_text() == "second" and path.stat().st_mode & 0o777 == 0o640
    assert [entry.name for entry in path.parent.iterdir()] == ["poses.json"]


def test_an_error_leaves_what_was_there(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text("before")
    with pytest.raises(ValueError, match="of its own"), whole_file(path) as unfinished:
        unfinished.write_text("half")
        raise ValueError("of its own")
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


def test_a_link_stays_one_and_what_is_no_file_is_written_itself(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real" / "poses.json")
    with whole_file(tmp_path / "link") as unfinished:
        unfinished.write_text("through")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real" / "poses.json").read_text() == "through"
    os.mkfifo(tmp_path / "pipe")
    with whole_file(tmp_path / "pipe") as itself:
        assert itself == tmp_path / "pipe"


WRITE = """
from clipose_ros.formats.whole_files import *
with whole_file(Path("/dev/stdout")) as itself, itself.open("a") as file:
    file.write("poses")
"""


def test_what_is_written_to_dev_stdout_arrives_in_a_pipe_and_at_the_end_of_a_file(tmp_path):
    """`clipose estimate FOLDER --output /dev/stdout | jq`."""
    command = [sys.executable, "-c", WRITE]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"poses"
    (tmp_path / "log").write_text("before ")
    with (tmp_path / "log").open("a") as log:
        subprocess.run(command, stdout=log, check=True)
    assert (tmp_path / "log").read_text() == "before poses"


@needs_full
def test_poses_of_before_survive_a_full_disk(tmp_path, full_disk):
    """herbie#513, openhab-core#2989: the file was cut off, and what was in it lost."""
    path = full_disk(tmp_path / "poses.json")
    path.write_text("before")
    with pytest.raises(OSError, match=r"poses.json: expected a file that can be written, got: No space left on device"):
        write_poses(path, [("0000", FrameResult(0, "eye", (), {}))])
    assert path.read_text() == "before" and len(list(tmp_path.iterdir())) == 1


@needs_full
def test_a_recording_and_a_picture_that_found_no_room_are_not_there(tmp_path, full_disk):
    pytest.importorskip("mcap_ros2")
    frame = Frame(0, "eye", np.ones((480, 640), np.uint16), Intrinsics(600.0, 600.0, 319.5, 239.5))
    with (
        pytest.raises(OSError, match="r.mcap: expected a file that can be written, got: No space left"),
        RecordingWriter(full_disk(tmp_path / "r.mcap")) as writer,
    ):
        writer.write_frame(frame, Detections((), np.zeros((480, 640), np.uint8)))
    with pytest.raises(OSError, match="0000.png: expected a file that can be written, got: No space left"):
        write_image(full_disk(tmp_path / "0000.png"), np.zeros((48, 64, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
