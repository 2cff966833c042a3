"""`--segmenter mask_rcnn` of the commands, with a network of the tests that is less sure of darker images."""

import json

import cv2
import numpy as np
import pytest
from mcap.reader import make_reader
from mcap.writer import Writer

BY_COLOUR = "--segmenter", "mask_rcnn", "--segmenter-min-score", 0.2  # the folder's images are dark


@pytest.fixture
def models(write_mask_rcnn, write_model):
    """A folder of models with what poses, and what finds."""
    write_model()
    return "--model", "tiny", "--models-dir", write_mask_rcnn().parent


def test_objects_are_found_by_colour_and_written_as_masks(clipose, folder, models, tmp_path):
    said = clipose("segment", folder, "--output", tmp_path / "found", *models[2:], *BY_COLOUR)
    assert "2 frames, 4 objects, 0 skipped" in said
    segments = json.loads((tmp_path / "found" / "segments.json").read_text())
    assert [entry["class"] for entry in segments[1]["instances"]] == ["can", "mug"]
    assert set(np.unique(cv2.imread(str(tmp_path / "found" / "0000_mask.png"), cv2.IMREAD_UNCHANGED))) == {1, 2, 255}


def test_what_is_found_by_colour_is_posed(clipose, folder, models, tmp_path):
    output = tmp_path / "poses.json"
    said = clipose("estimate", folder, "--output", output, *models, *BY_COLOUR, "--segmenter-classes", "cup:can")
    assert "2 frames, 2 poses, 0 rejected, 0 found that no model answers, 0 skipped" in said
    (one,) = json.loads(output.read_text())[0]["instances"]
    assert one["class"] == "can" and len(one["t"]) == 3


def test_frames_without_colour_are_skipped_and_where_all_are_that_is_said(clipose, folder, models, tmp_path):
    output = tmp_path / "poses.json"
    (folder / "0001_color.png").unlink()
    assert "1 frames, 2 poses" in clipose("estimate", folder, "--output", output, *models, *BY_COLOUR)
    assert "skipped 0001: colour: expected an image, as the segmenter needs it, got none" in clipose.stderr
    (folder / "0000_color.png").unlink()
    with pytest.raises(SystemExit, match="at least one frame that can be read.*colour: expected an image"):
        clipose("estimate", folder, "--output", output, *models, *BY_COLOUR)
    with pytest.raises(SystemExit, match="at least one frame that can be read.*colour: expected an image"):
        clipose("segment", folder, "--output", tmp_path / "found", *models[2:], *BY_COLOUR)


def rewritten(source, target, left_out=(), last=()):
    """Copy a recording without some topics; messages of others come last of their stamp."""
    with source.open("rb") as read, target.open("wb") as written:
        reader, writer = make_reader(read), Writer(written)
        writer.start()
        messages = [one for one in reader.iter_messages() if one[1].topic not in left_out]
        messages.sort(key=lambda one: (one[2].log_time, one[1].topic in last))
        for schema, channel, message in messages:
            kept = writer.register_schema(schema.name, schema.encoding, schema.data)
            number = writer.register_channel(channel.topic, channel.message_encoding, kept)
            writer.add_message(number, message.log_time, message.data, message.publish_time)
        writer.finish()


def test_a_recording_gives_the_poses_of_the_folder_though_colour_comes_after_depth(clipose, folder, models, tmp_path):
    clipose("record", folder, "--output", tmp_path / "whole.mcap", "--rate-hz", 10)
    colour = "/rgb/image_rect_color"
    rewritten(tmp_path / "whole.mcap", tmp_path / "late.mcap", ("/instances",), (colour,))
    clipose("estimate", tmp_path / "late.mcap", "--output", tmp_path / "recording.json", *models, *BY_COLOUR)
    clipose("estimate", folder, "--output", tmp_path / "folder.json", *models, *BY_COLOUR)
    of_recording, of_folder = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("recording", "folder"))
    assert [frame["instances"] for frame in of_recording] == [frame["instances"] for frame in of_folder]
    assert len(of_folder[0]["instances"]) == 2
    rewritten(tmp_path / "whole.mcap", tmp_path / "grey.mcap", (colour,))
    with pytest.raises(SystemExit, match="grey.mcap: expected a topic of colour images, got only /depth_registered"):
        clipose("estimate", tmp_path / "grey.mcap", "--output", tmp_path / "grey.json", *models, *BY_COLOUR)


def test_latency_has_the_segmenter_as_a_stage(clipose, write_model, write_mask_rcnn):
    segmenter = "--segmenter", "mask_rcnn", "--segmenter-model", f"{write_mask_rcnn()}/"
    numbers = "--instances", 1, "--frames", 2, "--rounds", 1, "--json"
    report = json.loads(clipose("bench", "--model", f"{write_model()}/", *segmenter, *numbers))
    assert report["segmenter"] == "mask_rcnn" and "segmentation" in json.dumps(report["results"])
