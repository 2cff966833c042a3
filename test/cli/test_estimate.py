import json
import os
import shutil

import cv2
import numpy as np
import pytest


@pytest.fixture
def estimate(clipose, write_model, folder, tmp_path):
    """Runs `clipose estimate` on the folder, or another, with the tiny model; gives what it prints."""
    model = write_model()

    def run(*arguments, source=folder, output=tmp_path / "poses.json"):
        return clipose("estimate", source, "--output", output, "--model", model, *arguments)

    return run


def test_estimate_writes_every_instance_and_the_same_file_twice(clipose, write_model, folder, tmp_path):
    model = write_model()
    for name in ("a.json", "b.json"):
        clipose(
            "estimate",
            folder,
            "--output",
            tmp_path / name,
            "--model",
            "tiny",
            "--models-dir",
            model.parent,
            "--draw",
            tmp_path / "pictures",
        )
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    frames = json.loads((tmp_path / "a.json").read_text())
    assert [frame["frame"] for frame in frames] == ["0000", "0001"]
    mug, can, bowl = frames[0]["instances"]
    assert set(mug) == {"instance", "class", "score", "R", "t", "size"}
    assert (mug["instance"], mug["class"], can["class"]) == (0, "mug", "can")
    assert bowl == {"instance": 2, "class": "bowl", "rejected": "points: expected at least 32, got 0"}
    picture = cv2.imread(str(tmp_path / "pictures" / "0001.png"))
    assert picture.shape == (480, 640, 3) and (picture != 90).any()


def test_a_frame_with_a_missing_or_broken_file_is_skipped_counted_and_named(estimate, clipose, folder, tmp_path):
    (folder / "0000_mask.png").unlink()
    (folder / "0002_meta.txt").write_text("0 6 mug\n")  # nothing else of it was copied
    said = estimate()
    assert "1 frames, 2 poses, 1 rejected, 2 skipped" in said
    assert [frame["frame"] for frame in json.loads((tmp_path / "poses.json").read_text())] == ["0001"]
    assert f"skipped 0000: {folder}/0000_mask.png: expected a file, got none" in clipose.stderr
    assert f"skipped 0002: {folder}/0002_depth.png: expected a file, got none" in clipose.stderr


def test_strict_ends_at_the_first_frame_that_cannot_be_read_and_writes_nothing(estimate, folder, tmp_path):
    (folder / "0001_depth.png").write_bytes(b"half a")
    with pytest.raises(SystemExit, match="0001_depth.png: expected an image"):
        estimate("--strict", output=tmp_path / "new" / "poses.json")
    assert not (tmp_path / "new").exists()


def test_a_folder_of_which_no_frame_can_be_read_is_an_error_before_the_model_is_loaded(clipose, folder, tmp_path):
    for mask in folder.glob("*_mask.png"):
        mask.unlink()
    with pytest.raises(
        SystemExit, match="expected at least one frame that can be read, got 2 that cannot; 0000: .*mask"
    ):
        clipose("estimate", folder, "--output", tmp_path / "poses.json", "--model", "none")
    assert not (tmp_path / "poses.json").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (".", "--output: expected a file to write, got the folder"),
        ("file/poses.json", "--output: expected a folder for .*poses.json, got the file"),
    ],
)
def test_the_output_is_checked_before_anything_else(clipose, tmp_path, output, message):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=message):
        clipose("estimate", tmp_path / "no frames", "--output", tmp_path / output, "--model", "none")


def test_a_place_that_may_not_be_written_is_said_first(clipose, tmp_path, monkeypatch):
    closed, file = tmp_path / "closed", tmp_path / "closed.json"
    closed.mkdir()
    file.touch()
    allowed = os.access  # root may write everywhere, whatever the mode says
    monkeypatch.setattr(os, "access", lambda path, mode: path not in (closed, file) and allowed(path, mode))
    with pytest.raises(
        SystemExit, match="--output: expected a folder that may be written for .*, got .*closed, which may"
    ):
        clipose("estimate", tmp_path / "no frames", "--output", closed / "new" / "poses.json")
    with pytest.raises(
        SystemExit, match="--output: expected a file that may be written, got .*closed.json, which may not"
    ):
        clipose("estimate", tmp_path / "no frames", "--output", file)


def test_the_folder_for_pictures_is_checked_too(clipose, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match="--draw: expected a folder for .*, got the file"):
        clipose("estimate", tmp_path, "--output", tmp_path / "p.json", "--draw", tmp_path / "file")


def test_folders_of_the_output_are_made(estimate, tmp_path):
    estimate(output=tmp_path / "new" / "folder" / "poses.json")
    assert len(json.loads((tmp_path / "new" / "folder" / "poses.json").read_text())) == 2


def test_a_frame_without_colour_has_poses_and_no_picture(estimate, clipose, folder, tmp_path):
    (folder / "0000_color.png").unlink()
    assert "2 frames" in estimate("--draw", tmp_path / "pictures")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["0001.png"]
    assert "1 of 2 frames: no colour image, so no picture" in clipose.stderr


def test_doubts_about_the_frames_are_counted(estimate, clipose, folder):
    for name in ("0000", "0001"):
        path = folder / f"{name}_depth.png"
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED) // 1000)
    estimate()
    assert "2 of 2 frames: nearly all of the depth lies nearer than 100 mm: it seems to be in metres" in clipose.stderr


@pytest.mark.parametrize(
    ("factor", "said"),
    [
        (5, "depth: expected objects of about the usual size, got"),  # as TUM's depth, 5000 for a metre
        (10, "depth: expected 0.1 to 5 m, got nearly all of the image nearer or further: no object has a pose"),
    ],
)
def test_depth_of_another_unit_is_said_with_the_cure(estimate, clipose, folder, factor, said):
    """realsense-ros#41, BlenderProc#727: depth images have scales, and poses were wrong or missing in silence."""
    estimate()
    assert "depth: expected" not in clipose.stderr
    for path in folder.glob("*_depth.png"):
        depth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED).astype(np.uint32) * factor
        cv2.imwrite(str(path), depth.clip(0, 65535).astype(np.uint16))
    estimate()
    assert said in clipose.stderr and "onvert it to millimetres" in clipose.stderr


def test_the_home_folder_is_meant_by_a_tilde(estimate, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.move(folder, tmp_path / "my frames")
    assert "2 frames" in estimate(source="~/my frames", output="~/poses.json")
    assert (tmp_path / "poses.json").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--provider", "cuda"), r"provider: .*got cuda; add --allow-cpu to run on the CPU instead"),
        (("--min-score", "1.5"), "--min-score: expected 0 to 1, got 1.5"),
        (("--seed", "-1"), "--seed: expected 0 or more, got -1"),
        (("--colour", "off", "--depth", "off"), "--colour: expected auto with --depth off, got off"),
        (("--threads", "-1"), "threads: expected 0"),
    ],
)
def test_wrong_options_end_in_one_line_that_names_options_of_the_command(estimate, arguments, message):
    with pytest.raises(SystemExit, match=message):
        estimate(*arguments)


def test_colour_off_changes_nothing_for_a_model_that_goes_by_points(estimate, tmp_path):
    estimate("--colour", "off", output=tmp_path / "off.json")
    estimate()
    assert (tmp_path / "off.json").read_bytes() == (tmp_path / "poses.json").read_bytes()


def test_a_model_that_looks_at_colour_goes_by_points_where_there_is_none(clipose, tiny_seeing_model, folder, tmp_path):
    """The tiny one sees grey objects farther to the right."""

    def places(name, *arguments):
        output = tmp_path / f"{name}.json"
        clipose("estimate", folder, "--output", output, "--model", f"{tiny_seeing_model}/", *arguments)
        frame = json.loads(output.read_text())[0]
        return np.array([one["t"] for one in frame["instances"] if "t" in one])

    seen, hidden = places("seen"), places("hidden", "--colour", "off")
    (folder / "0000_color.png").unlink()
    np.testing.assert_array_equal(places("without"), hidden)
    assert len(seen) == 2 and (seen[:, 0] - hidden[:, 0] > 0.005).all()


def test_allow_cpu_runs_on_the_cpu_and_says_so(estimate, caplog):
    assert "4 poses" in estimate("--provider", "cuda", "--allow-cpu")
    assert "running on cpu" in caplog.text


def test_a_model_that_is_not_there_is_answered_with_those_that_are(clipose, write_model, folder, tmp_path):
    models = write_model().parent
    with pytest.raises(SystemExit, match="model: expected one of tiny in .*, got tin"):
        clipose("estimate", folder, "--output", tmp_path / "p.json", "--model", "tin", "--models-dir", models)


def test_poses_below_the_least_score_are_rejections_with_the_reason(estimate, clipose, tmp_path):
    """The tiny network is sure of a mug by the mean of its two axes, 0.45, and of a can by one, 0.81."""
    assert "2 frames, 2 poses, 4 rejected" in estimate("--min-score", "0.6")
    assert "2 rejected: score: expected at least 0.6\n2 rejected: points: expected at least 32\n" in clipose.stderr
    mug, can, _ = json.loads((tmp_path / "poses.json").read_text())[0]["instances"]
    assert mug["rejected"] == "score: expected at least 0.6, got 0.45" and can["score"] == pytest.approx(0.81)


def test_several_models_share_the_instances(clipose, write_model, folder, tmp_path):
    model = write_model()
    other = tmp_path / "other"
    shutil.copytree(model, other / "tiny")
    output = tmp_path / "poses.json"
    clipose("estimate", folder, "--output", output, "--model", f"{model}/", f"{other / 'tiny'}/")
    assert [entry["class"] for entry in json.loads(output.read_text())[0]["instances"]] == ["mug", "can", "bowl"]
