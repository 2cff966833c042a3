"""`clipose segment`, `clipose estimate --segmenter` and `clipose evaluate --segments`, with networks of the tests."""

import json

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer


@pytest.fixture
def depth_only(folder):
    """The folder of frames, with nothing but depth and intrinsics."""
    for path in folder.iterdir():
        if not path.name.endswith(("_depth.png", "intrinsics.json")):
            path.unlink()
    return folder


def test_objects_of_depth_images_are_written_as_masks_categories_and_scores(
    clipose, write_segmenter, depth_only, tmp_path
):
    models = write_segmenter().parent
    said = clipose("segment", depth_only, "--output", tmp_path / "found", "--models-dir", models)
    assert "2 frames, 4 objects, 0 skipped" in said  # the third sphere has no depth
    segments = json.loads((tmp_path / "found" / "segments.json").read_text())
    assert [frame["frame"] for frame in segments] == ["0000", "0001"]
    assert [entry["instance"] for entry in segments[0]["instances"]] == [1, 2]
    assert all(entry["class"] == "can" and 0 < entry["score"] <= 1 for entry in segments[0]["instances"])
    mask = cv2.imread(str(tmp_path / "found" / "0001_mask.png"), cv2.IMREAD_UNCHANGED)
    assert set(np.unique(mask)) == {1, 2, 255}
    assert (tmp_path / "found" / "0001_meta.txt").read_text() == "1 4 can\n2 4 can\n"


def test_what_is_outside_of_the_workspace_is_left_out(clipose, write_model, write_segmenter, depth_only, tmp_path):
    models = write_segmenter().parent
    arguments = "--models-dir", models, "--workspace", "-9", "9", "-9", "inf", "0", "0.1"
    assert "2 frames, 0 objects" in clipose("segment", depth_only, "--output", tmp_path / "found", *arguments)
    picture = np.full((480, 640), 255, np.uint8)
    cv2.imwrite(str(tmp_path / "area.png"), picture)
    area = "--models-dir", models, "--workspace-mask", tmp_path / "area.png"
    assert "2 frames, 4 objects" in clipose("segment", depth_only, "--output", tmp_path / "all", *area)
    model = "--model", f"{write_model()}/", *arguments
    said = clipose("estimate", depth_only, "--output", tmp_path / "none.json", "--segmenter", "depth", *model)
    assert "2 frames, 0 poses, 0 rejected" in said
    with pytest.raises(SystemExit, match="--workspace: expected --segmenter depth, whose findings it judges, got none"):
        clipose("estimate", depth_only, "--output", tmp_path / "none.json", *model)


def test_found_masks_are_read_like_any_others(clipose, write_model, write_segmenter, depth_only, tmp_path):
    """Masks written into the folder itself give the poses that finding them at once gives."""
    models = write_segmenter().parent
    model = write_model()
    arguments = "--model", f"{model}/", "--models-dir", models
    clipose("estimate", depth_only, "--output", tmp_path / "at once.json", "--segmenter", "depth", *arguments)
    clipose("segment", depth_only, "--output", depth_only, "--models-dir", models)
    clipose("estimate", depth_only, "--output", tmp_path / "after.json", *arguments)
    at_once, after = (json.loads((tmp_path / name).read_text()) for name in ("at once.json", "after.json"))
    assert at_once == after and len(at_once[0]["instances"]) == 2


def test_masks_of_others_are_not_replaced_and_its_own_are(clipose, write_segmenter, folder, tmp_path):
    """cdcseacave/openMVS#22, hovernet_inference#8: an output folder that is the input's lost what was in it."""
    models = write_segmenter().parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(SystemExit, match=r"--output: .* 0000_mask.png and others would be lost; give another folder"):
        clipose("segment", folder, "--output", folder, "--models-dir", models)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    for _ in range(2):
        clipose("segment", folder, "--output", tmp_path / "found", "--models-dir", models)


@pytest.mark.parametrize("name", ["intrinsics.json", "truth.json", "0000_meta.txt", "0001_Depth.PNG"])
def test_poses_are_not_written_over_what_is_read(clipose, write_model, folder, name):
    (folder / name).touch()
    before = (folder / name).read_bytes()
    for _ in range(2):  # a file of its own is replaced, also where it lies among the images
        clipose("estimate", folder, "--output", folder / "poses.json", "--model", f"{write_model()}/")
    with pytest.raises(SystemExit, match=rf"--output: expected a file of its own, got .*{name}, which is an input"):
        clipose("estimate", folder, "--output", folder / name, "--model", f"{write_model()}/")
    assert (folder / name).read_bytes() == before


def test_poses_are_not_written_over_their_recording(clipose, folder, tmp_path):
    clipose("record", folder, "--output", tmp_path / "r.mcap")
    before = (tmp_path / "r.mcap").read_bytes()
    (tmp_path / "link.json").symlink_to("r.mcap")
    for output in ("r.mcap", "link.json"):
        with pytest.raises(SystemExit, match="--output: expected a file of its own"):
            clipose("estimate", tmp_path / "r.mcap", "--output", tmp_path / output)
    assert (tmp_path / "r.mcap").read_bytes() == before


def test_a_recording_without_masks_gives_the_poses_of_the_folder(
    clipose, write_model, write_segmenter, folder, tmp_path
):
    clipose("record", folder, "--output", tmp_path / "whole.mcap", "--rate-hz", 10)
    without_topic(tmp_path / "whole.mcap", tmp_path / "depth.mcap", "/instances")
    arguments = "--model", f"{write_model()}/", "--models-dir", write_segmenter().parent, "--segmenter", "depth"
    said = clipose("estimate", tmp_path / "depth.mcap", "--output", tmp_path / "recording.json", *arguments)
    assert "2 frames, 4 poses, 0 rejected, 0 found that no model answers, 0 skipped" in said
    clipose("estimate", folder, "--output", tmp_path / "folder.json", *arguments)
    of_recording, of_folder = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("recording", "folder"))
    assert [frame["instances"] for frame in of_recording] == [frame["instances"] for frame in of_folder]


def without_topic(source, target, topic):
    """Copy a recording but for a topic."""
    with source.open("rb") as read, target.open("wb") as written:
        reader, writer = make_reader(read), Writer(written)
        writer.start()
        for schema, channel, message in reader.iter_messages():
            if channel.topic == topic:
                continue
            kept = writer.register_schema(schema.name, schema.encoding, schema.data)
            number = writer.register_channel(channel.topic, channel.message_encoding, kept)
            writer.add_message(number, message.log_time, message.data, message.publish_time)
        writer.finish()


def test_objects_of_no_category_are_counted_apart_and_have_no_pose(
    clipose, write_model, write_segmenter, depth_only, tmp_path
):
    models = write_segmenter(surest="other").parent
    output = tmp_path / "poses.json"
    arguments = "--model", f"{write_model()}/", "--models-dir", models, "--segmenter", "depth"
    said = clipose("estimate", depth_only, "--output", output, *arguments)
    assert "2 frames, 0 poses, 0 rejected, 4 found that no model answers, 0 skipped" in said
    (one, _) = json.loads(output.read_text())[0]["instances"]
    assert one["class"] == "other" and "an object that no model answers" in one["rejected"]


def test_masks_of_the_folder_are_not_read_where_objects_are_found(
    clipose, write_model, write_segmenter, folder, tmp_path
):
    models = write_segmenter().parent
    (folder / "0000_mask.png").write_bytes(b"none")
    output = tmp_path / "poses.json"
    arguments = "--model", f"{write_model()}/", "--models-dir", models, "--segmenter", "depth"
    assert "2 frames, 4 poses" in clipose("estimate", folder, "--output", output, *arguments)


def test_segments_are_scored_against_true_masks(clipose, write_segmenter, folder, tmp_path):
    models = write_segmenter().parent
    for path in list(folder.glob("*_mask.png")):
        path.rename(folder / path.name.replace("_mask", "_true_mask"))
    found = tmp_path / "found"
    clipose("segment", folder, "--output", found, "--models-dir", models)
    assert "false objects a frame" in clipose("evaluate", "--segments", found, "--truth", folder)
    scores = json.loads(clipose("evaluate", "--segments", found, "--truth", folder, "--json"))
    rows = scores["categories"]
    assert (rows["can"]["found"], rows["can"]["named"], rows["bowl"]["found"]) == (1, 1, 0)
    assert rows["mug"]["found"] == 1 and rows["mug"]["named"] == 0
    assert scores["precision"] == 1 and scores["false_per_frame"] == 0 and scores["frames"] == 2


def test_a_frame_that_cannot_be_read_is_skipped_or_with_strict_an_error(clipose, write_segmenter, depth_only, tmp_path):
    models = write_segmenter().parent
    (depth_only / "0000_depth.png").write_bytes(b"half a")
    arguments = "segment", depth_only, "--output", tmp_path / "found", "--models-dir", models
    assert "1 frames, 2 objects, 1 skipped" in clipose(*arguments)
    assert "skipped 0000" in clipose.stderr
    with pytest.raises(SystemExit, match="0000_depth.png: expected an image"):
        clipose(*arguments, "--strict")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--segments", "."), "evaluate: expected --poses with --truth .*, got --segments"),
        (("--segments", ".", "--truth", "."), "expected NNNN_true_mask.png, got none in the folder"),
    ],
)
def test_what_segments_are_scored_against_is_needed(clipose, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=message):
        clipose("evaluate", *arguments)
