"""`--segmenter objects` of the commands: learned objects on a table, without masks."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import BackboneIdentity, backbone_identity
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.object_tokens import ObjectTokens

spec = importlib.util.spec_from_file_location("table_scenes", Path(__file__).parents[1] / "objects" / "table_scenes.py")
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

WARM, COLD = table.Box((0.12, 0.08, 0.05), table.WARM), table.Box((0.06, 0.14, 0.06), table.COLD)
SCENE = [replace(WARM, at=(-0.12, 0.0), turn_deg=30.0), replace(COLD, at=(0.1, 0.05)), replace(WARM, at=(0.05, 0.14))]


@pytest.fixture(scope="module")
def shelf(tmp_path_factory):
    """A library of two boxes, frames with three of them and with none, and the truth."""
    folder = tmp_path_factory.mktemp("shelf")
    for name, box in (("warm", WARM), ("cold", COLD)):
        ObjectLibrary(folder / "objects").add(table.learned_box(name, box))
    (folder / "frames").mkdir()
    for number, boxes in enumerate((SCENE, [])):
        colour, depth, _ = table.picture(boxes)
        cv2.imwrite(str(folder / f"frames/{number:04d}_color.png"), cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / f"frames/{number:04d}_depth.png"), np.round(1000 * depth).astype(np.uint16))
    camera = table.CAMERA
    fields = {"fx": camera.fx, "fy": camera.fy, "cx": camera.cx, "cy": camera.cy}
    (folder / "frames/intrinsics.json").write_text(json.dumps(fields))
    instances = []
    for number, (name, box) in enumerate(zip(("warm", "cold", "warm"), SCENE), start=1):
        rotation, translation = box.pose()
        pose = {"R": rotation.tolist(), "t": translation.tolist(), "size": list(box.size)}
        # numbered otherwise than what is found
        instances.append({"instance": 10 * number, "class": name, **pose})
    (folder / "truth.json").write_text(json.dumps([{"frame": "0000", "instances": instances}]))
    corners = np.stack(np.meshgrid([-0.5, 0.5], [-0.5, 0.5], [-0.5, 0.5]), axis=-1).reshape(-1, 3)
    sizes = {"warm": WARM.size, "cold": COLD.size}
    points = {f"{name}_points": corners * size for name, size in sizes.items()}
    np.savez(folder / "models.npz", **points)
    return folder


def test_masks_and_names_of_learned_objects_are_written(clipose, shelf, tmp_path):
    found = "--segmenter", "objects", "--objects", shelf / "objects"
    said = clipose("segment", shelf / "frames", "--output", tmp_path / "found", *found)
    assert "2 frames, 3 objects, 0 skipped" in said
    first, second = json.loads((tmp_path / "found/segments.json").read_text())
    assert sorted(one["class"] for one in first["instances"]) == ["cold", "warm", "warm"]
    assert second["instances"] == []
    meta = (tmp_path / "found/0000_meta.txt").read_text().split("\n")
    assert sorted(line[2:] for line in meta if line) == ["0 cold", "0 warm", "0 warm"]


def test_poses_without_masks_are_counted_by_their_place(clipose, shelf, tmp_path):
    poses = tmp_path / "poses.json"
    found = "--segmenter", "objects", "--model", "gspose", "--objects", shelf / "objects"
    assert "2 frames, 3 poses, 0 rejected" in clipose("estimate", shelf / "frames", "--output", poses, *found)
    truth = "--truth", shelf / "truth.json", "--models", shelf / "models.npz"
    told = json.loads(clipose("evaluate", "--poses", poses, *truth, "--by-place", "--json"))
    assert told["all"]["instances"] == 3 and told["all"]["add"] == 1.0
    assert told["found"] == {"false": 0, "frames": 1}
    assert "0 poses of no object in 1 frames" in clipose("evaluate", "--poses", poses, *truth, "--by-place")


def test_a_recording_gives_the_poses_of_the_folder(clipose, shelf, tmp_path):
    frames, found = tmp_path / "frames", ("--segmenter", "objects", "--objects", shelf / "objects")
    shutil.copytree(shelf / "frames", frames)
    clipose("segment", frames, "--output", frames, *found)  # a recording is written with masks
    clipose("record", frames, "--output", tmp_path / "frames.mcap", "--rate-hz", 10)
    for name, source in (("folder", shelf / "frames"), ("recording", tmp_path / "frames.mcap")):
        poses = "--model", "gspose", "--output", tmp_path / f"{name}.json"
        assert "2 frames, 3 poses" in clipose("estimate", source, *poses, *found)
    poses = [json.loads((tmp_path / f"{name}.json").read_text()) for name in ("folder", "recording")]
    assert [frame["instances"] for frame in poses[0]] == [frame["instances"] for frame in poses[1]]


def test_frames_without_colour_are_left_out_and_counted(clipose, shelf, tmp_path):
    frames = tmp_path / "frames"
    shutil.copytree(shelf / "frames", frames)
    (frames / "0001_color.png").unlink()
    found = "--segmenter", "objects", "--objects", shelf / "objects"
    assert "1 frames, 3 objects, 1 skipped" in clipose("segment", frames, "--output", tmp_path / "found", *found)
    assert "0001: colour: expected an image, as the segmenter needs it" in clipose.stderr


def test_objects_without_tokens_are_not_found_without_depth(clipose, shelf, tmp_path):
    found = "--segmenter", "objects", "--model", "gspose", "--objects", shelf / "objects", "--depth", "off"
    assert "2 frames, 0 poses" in clipose("estimate", shelf / "frames", "--output", tmp_path / "poses.json", *found)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--segmenter", "objects"), "objects: expected a folder of learned objects for segmenter objects"),
        (("--segmenter", "depth", "--depth", "off"), "--depth: expected auto with --segmenter depth, which needs it"),
    ],
)
def test_what_does_not_fit_is_said(clipose, shelf, write_model, tmp_path, arguments, message):
    model = "--model", f"{write_model()}/"
    with pytest.raises(SystemExit, match=message):
        clipose("estimate", shelf / "frames", "--output", tmp_path / "poses.json", *model, *arguments)


def test_a_model_that_answers_the_objects_is_asked_for(clipose, shelf, write_model, tmp_path):
    wrong = "--model", f"{write_model()}/", "--segmenter", "objects", "--objects", shelf / "objects"
    with pytest.raises(SystemExit, match="models: expected one that answers what segmenter objects finds: gspose"):
        clipose("estimate", shelf / "frames", "--output", tmp_path / "poses.json", *wrong)


def test_numbers_and_places_are_not_mixed_up(clipose, shelf, tmp_path):
    with pytest.raises(SystemExit, match="--by-place: expected --poses and --truth with it"):
        clipose("evaluate", "--segments", tmp_path, "--truth", shelf, "--by-place")


def test_learned_objects_are_recorded_where_their_folder_is_given(clipose, shelf, tmp_path):
    frames, learned = tmp_path / "frames", ("--objects", shelf / "objects")
    shutil.copytree(shelf / "frames", frames)
    clipose("segment", frames, "--output", frames, "--segmenter", "objects", *learned)
    asked = "--model", "gspose", *learned
    for name, options in (("with", learned), ("without", ())):
        clipose("record", frames, "--output", tmp_path / f"{name}.mcap", *options)
        said = "1 of 2 frames: all instances are of class 0, of models that nobody asked for" in clipose.stderr
        assert said == (name == "without")
        said = clipose("estimate", tmp_path / f"{name}.mcap", "--output", tmp_path / f"{name}.json", *asked)
        assert ("2 frames, 3 poses" in said) == (name == "with")


def test_objects_that_no_model_answers_are_not_dropped_in_silence(clipose, shelf, write_model, tmp_path):
    frames, learned = tmp_path / "frames", ("--objects", shelf / "objects")
    shutil.copytree(shelf / "frames", frames)
    clipose("segment", frames, "--output", frames, "--segmenter", "objects", *learned)
    plain = "estimate", frames, "--output", tmp_path / "poses.json", "--model", f"{write_model()}/"
    assert "0 poses" in clipose(*plain)
    assert "1 of 2 frames: all instances are of class 0" in clipose.stderr
    with pytest.raises(SystemExit, match="--objects: expected --model gspose, or --segmenter objects, with it, got"):
        clipose(*plain, *learned)


def test_help_names_it(clipose):
    for command in ("segment", "estimate"):
        with pytest.raises(SystemExit):
            clipose(command, "--help")
        assert "{none,depth,mask_rcnn,objects}" in clipose.stdout or "{depth,mask_rcnn,objects}" in clipose.stdout


def test_one_broken_object_does_not_hide_the_others(clipose, shelf, tmp_path):
    library = shutil.copytree(shelf / "objects", tmp_path / "objects")
    (library / "warm.npz").write_bytes(b"")
    assert [one["name"] for one in json.loads(clipose("objects", library, "--json"))] == ["cold"]
    assert f"to go on with the others: clipose objects {library} --remove warm, or learn it again" in clipose.stderr
    clipose("objects", library, "--remove", "warm")
    assert [one["name"] for one in json.loads(clipose("objects", library, "--json"))] == ["cold"]
    assert not clipose.stderr


def test_objects_of_another_backbone_are_named_each(clipose, shelf, tmp_path):
    tokens, here = np.full((2, 4), 0.5, np.float16), backbone_identity(find_model(DEFAULT_BACKBONE))
    library = ObjectLibrary(tmp_path)
    for name, made in (("same", here), ("other", BackboneIdentity(here.name, 64 * "a")), ("none", None)):
        box = replace(table.learned_box(name, WARM), tokens=ObjectTokens(made, tokens, tokens) if made else None)
        library.add(box)
    told = {one["name"]: one["backbone_is_here"] for one in json.loads(clipose("objects", tmp_path, "--json"))}
    assert told == {"same": True, "other": False, "none": None}
    (said,) = clipose.stderr.splitlines()
    assert said.startswith(
        f"other: expected tokens of the image backbone {here}, got those of {here.name} (aaaaaaaaaaaa)"
    )
    assert "--replace" in said
    assert "another" in clipose("objects", tmp_path)


def test_objects_are_listed_where_no_backbone_is(clipose, shelf, tmp_path):
    tokens = np.full((2, 4), 0.5, np.float16)
    made = ObjectTokens(BackboneIdentity("backbone-other", 64 * "a"), tokens, tokens)
    ObjectLibrary(tmp_path / "objects").add(replace(table.learned_box("warm", WARM), tokens=made))
    (tmp_path / "models").mkdir()
    (one,) = json.loads(clipose("objects", tmp_path / "objects", "--models-dir", tmp_path / "models", "--json"))
    assert one["backbone"] == "backbone-other" and one["backbone_is_here"] is None
    assert f"expected one of (none) in {tmp_path / 'models'}" in clipose.stderr
