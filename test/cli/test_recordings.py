"""`clipose record` and `clipose estimate` on recordings."""

import json
import shutil
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "launch" / "demo"


@pytest.fixture
def recording(clipose, folder, tmp_path):
    """The folder of two frames as a recording."""
    clipose("record", folder, "--output", tmp_path / "new" / "a.mcap", "--rate-hz", 10)
    return tmp_path / "new" / "a.mcap"


@pytest.fixture
def estimate(clipose, write_model, tmp_path):
    """Runs `clipose estimate` with the tiny model; gives what it prints."""
    model = write_model()
    return lambda source, *arguments: clipose(
        "estimate", source, "--output", tmp_path / "poses.json", "--model", model, *arguments
    )


def poses(path):
    """Frames of a poses.json without their stamps, and the stamps."""
    frames = json.loads(path.read_text())
    return [{**frame, "stamp_ns": None} for frame in frames], [frame.get("stamp_ns") for frame in frames]


def test_the_demo_as_a_recording_gives_the_same_poses_as_the_folder(clipose, tmp_path):
    clipose("record", DEMO, "--output", tmp_path / "demo.mcap")
    for name, source in (("folder", DEMO), ("recording", tmp_path / "demo.mcap")):
        clipose("estimate", source, "--output", tmp_path / f"{name}.json", "--draw", tmp_path / name)
    of_folder, of_recording = (poses(tmp_path / f"{name}.json") for name in ("folder", "recording"))
    assert of_folder[0] == of_recording[0] and len(of_folder[0]) == 32  # floats of JSON: bit for bit
    assert of_folder[1] == [None] * 32 and sorted(of_recording[1]) == of_recording[1]
    for picture in (tmp_path / "folder").iterdir():
        assert picture.read_bytes() == (tmp_path / "recording" / picture.name).read_bytes()


def test_record_says_what_it_wrote_and_estimate_which_topics_it_reads(clipose, estimate, recording, folder):
    assert "2 frames on /rgb/camera_info, /rgb/image_rect_color, /depth_reg" in clipose.stdout
    assert "2 frames, 4 poses, 2 rejected, 0 skipped" in estimate(recording)
    assert "depth /depth_registered/image_rect, camera_info /rgb/camera_info, instances /instances" in clipose.stderr


def test_record_skips_what_cannot_be_read_and_counts_it(clipose, folder, tmp_path):
    (folder / "0000_mask.png").unlink()
    assert "1 frames on" in clipose("record", folder, "--output", tmp_path / "a.mcap")
    assert "skipped 0000:" in clipose.stderr
    (folder / "0001_mask.png").unlink()
    with pytest.raises(SystemExit, match="expected at least one frame that can be read"):
        clipose("record", folder, "--output", tmp_path / "b.mcap")
    assert not (tmp_path / "b.mcap").exists()
    with pytest.raises(SystemExit, match="--output: expected a file that ends with .mcap"):
        clipose("record", folder, "--output", tmp_path / "b.bag")


def test_a_recording_that_is_cut_off_is_estimated_up_to_there_with_a_warning(clipose, estimate, recording, tmp_path):
    data = recording.read_bytes()
    recording.write_bytes(data[: len(data) * 6 // 10])
    assert "1 frames, 2 poses, 1 rejected, 0 skipped" in estimate(recording)
    assert "a.mcap: cut off after" in clipose.stderr and "what comes before is read" in clipose.stderr


def test_what_is_left_out_is_counted_with_its_reason(clipose, estimate, recorded, recording, tmp_path):
    rows = recorded.messages(recording)
    path = recorded.rewrite(tmp_path / "b.mcap", [row for i, row in enumerate(rows) if i != 3])  # the first masks
    assert "1 frames, 2 poses, 1 rejected, 1 skipped" in estimate(path)
    assert "left out: 1 × depth without partners" in clipose.stderr
    assert [frame["frame"] for frame in json.loads((tmp_path / "poses.json").read_text())] == ["0001"]


def test_without_any_frame_nothing_is_written_and_the_reason_is_said(estimate, recorded, recording, tmp_path):
    rows = recorded.messages(recording)
    path = recorded.rewrite(tmp_path / "b.mcap", rows[:3] + rows[7:])  # depth of one frame, masks of another
    with pytest.raises(SystemExit) as raised:
        estimate(path)
    assert "expected at least one frame that can be read, got none in 1 depth images; " in str(raised.value)
    assert "messages whose partners had not come by the end" in str(raised.value)
    assert not (tmp_path / "poses.json").exists()


def test_strict_ends_where_a_depth_image_has_no_masks(estimate, recorded, recording, tmp_path):
    rows = recorded.messages(recording)
    path = recorded.rewrite(tmp_path / "b.mcap", rows[:3] + rows[4:])
    with pytest.raises(SystemExit, match="1 × depth without partners"):
        estimate(path, "--strict")
    assert not (tmp_path / "poses.json").exists()


def test_options_of_recordings_are_refused_for_a_folder(estimate, folder):
    with pytest.raises(SystemExit, match="expected a recording, since there are options of one"):
        estimate(folder, "--depth-topic", "/depth")


def test_a_folder_of_rosbag2_is_told_from_a_folder_of_images(clipose, estimate, recorded, recording, tmp_path):
    bag = tmp_path / "bag"
    bag.mkdir()
    shutil.move(recording, bag / "bag_0.mcap")
    recorded.write_metadata(bag, "bag_0.mcap")
    assert "2 frames" in estimate(bag)
    with pytest.raises(SystemExit, match="none.mcap: expected a recording .*, got nothing there"):
        estimate(tmp_path / "none.mcap")


def test_without_the_packages_the_extra_is_named(clipose, estimate, recording, monkeypatch):
    monkeypatch.setitem(sys.modules, "mcap.records", None)
    with pytest.raises(
        SystemExit, match=r"recordings: expected the package mcap, got none .* clipose_ros\[recordings\]"
    ):
        estimate(recording)
