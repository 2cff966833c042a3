import json

import numpy as np
import pytest


def test_evaluate_scores_rejected_missing_and_misnamed_objects_as_wrong(clipose, write_model, folder, tmp_path):
    clipose("estimate", folder, "--output", tmp_path / "poses.json", "--model", write_model())
    frames = json.loads((tmp_path / "poses.json").read_text())
    truth = json.loads((tmp_path / "poses.json").read_text())
    for frame in truth:
        frame["instances"][2] = {**frame["instances"][1], "instance": 2, "class": "bowl", "model": "m"}
    frames[0]["instances"][1]["class"] = "bottle"
    del frames[1]["instances"][0]
    (tmp_path / "poses.json").write_text(json.dumps(frames))
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    report = json.loads(
        clipose("evaluate", "--poses", tmp_path / "poses.json", "--truth", tmp_path / "truth.json", "--json")
    )
    assert report["instances"] == {"bowl": 2, "can": 2, "mug": 2}
    assert report["rejected"] == {"bowl": 2, "can": 0, "mug": 0} and report["missing"] == {
        "bowl": 0,
        "can": 1,
        "mug": 1,
    }
    at_5deg_2cm = {category: rates["5deg_2cm"] for category, rates in report["pose"].items()}
    assert at_5deg_2cm == {"bowl": 0, "can": 0.5, "mug": 0.5, "mean": pytest.approx(1 / 3)}
    assert report["median"]["mug"]["translation_cm"] == 0 and report["median"]["bowl"]["rotation_deg"] is None
    table = clipose("evaluate", "--poses", tmp_path / "poses.json", "--truth", tmp_path / "truth.json")
    assert "bowl" in table and "33.3" in table


def file_of(path, *frames):
    """Writes frames, each (name, instances, further keys), of instances (number, class, degrees about y, keys)."""
    path.write_text(
        json.dumps(
            [
                {"frame": name, "instances": [entry(*instance) for instance in instances], **further}
                for name, instances, further in frames
            ]
        )
    )
    return path


def entry(number, category, degrees, further):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    pose = {"R": [[c, 0, s], [0, 1, 0], [-s, 0, c]], "t": [0, 0, 1], "size": [0.1, 0.1, 0.1]}
    return {"instance": number, "class": category, **pose, **further}


HIDDEN = {"handle_visibility": 0}


def test_mugs_whose_handle_is_hidden_count_by_their_axis_and_are_shown_both_ways(clipose, tmp_path):
    truth = file_of(
        tmp_path / "truth.json", ("0", [(1, "mug", 0, HIDDEN), (2, "mug", 0, {"handle_visibility": 1})], {})
    )
    poses = file_of(tmp_path / "poses.json", ("0", [(1, "mug", 90, {}), (2, "mug", 90, {})], {}))
    report = json.loads(clipose("evaluate", "--poses", poses, "--truth", truth, "--json"))
    assert report["pose"]["mug"]["5deg_2cm"] == report["pose"]["mean"]["5deg_2cm"] == 0.5
    assert report["median"]["mug"]["rotation_deg"] == pytest.approx(45)
    assert report["mug_full_rotation"]["pose"]["5deg_2cm"] == 0
    assert report["mug_full_rotation"]["median"]["rotation_deg"] == pytest.approx(90)
    table = clipose("evaluate", "--poses", poses, "--truth", truth)
    assert "mug, full rotation" in table and "mugs whose handle is hidden count by their axis" in table


def test_without_hidden_handles_there_is_one_row_of_mugs(clipose, tmp_path):
    truth = file_of(tmp_path / "truth.json", ("0", [(1, "mug", 0, {})], {}))
    report = json.loads(clipose("evaluate", "--poses", truth, "--truth", truth, "--json"))
    assert report["mug_full_rotation"] is None and report["pose"]["mug"]["5deg_2cm"] == 1
    assert "full rotation" not in clipose("evaluate", "--poses", truth, "--truth", truth)


def test_what_lies_and_what_stands_has_rows_of_its_own(clipose, tmp_path):
    cans = [(1, "can", 0, {"lying": True}), (2, "can", 0, {"lying": False}), (3, "bowl", 0, {"lying": False})]
    truth = file_of(tmp_path / "truth.json", ("0", cans, {}))
    poses = file_of(tmp_path / "poses.json", ("0", cans[1:], {}))
    rows = [line.split() for line in clipose("evaluate", "--poses", poses, "--truth", truth).splitlines()]
    counts = [row[:-8] for row in rows if row and row[0] in ("bowl", "can", "can,")]
    assert counts == [
        ["bowl", "1", "0"],
        ["can", "2", "1"],
        ["can,", "lying", "1", "1"],
        ["can,", "standing", "1", "0"],
    ]
    report = json.loads(clipose("evaluate", "--poses", poses, "--truth", truth, "--json"))
    assert report["by_rest"]["lying"]["can"]["pose"]["5deg_2cm"] == 0
    assert report["by_rest"]["standing"]["mean"]["pose"]["5deg_2cm"] == 1


@pytest.mark.parametrize("names", [["can", "mug"], ["can,mug"], ["mug,", "can"]])
def test_either_end_is_said_in_the_table_and_in_the_json(clipose, tmp_path, names):
    truth = file_of(tmp_path / "truth.json", ("0", [(1, "can", 0, {}), (2, "mug", 0, {})], {}))
    upside_down = {"R": [[1, 0, 0], [0, -1, 0], [0, 0, -1]]}
    poses = file_of(tmp_path / "poses.json", ("0", [(1, "can", 0, upside_down), (2, "mug", 0, upside_down)], {}))
    command = ("evaluate", "--poses", poses, "--truth", truth)
    report = json.loads(clipose(*command, "--either-end", *names, "--json"))
    assert report["either_end"] == ["can", "mug"] and report["pose"]["mean"]["5deg_2cm"] == 1
    assert "can, mug: a pose with swapped ends is right" in clipose(*command, "--either-end", *names)
    assert json.loads(clipose(*command, "--json"))["either_end"] == []
    assert "swapped ends" not in clipose(*command)
    with pytest.raises(SystemExit, match="--either-end: expected some of can, mug, got cup"):
        clipose(*command, "--either-end", "cup")


def test_what_only_one_file_has_is_counted_and_said(clipose, tmp_path):
    hidden = {"hidden": [{"class": "can", "t": [0, 0.05, 1]}], "up": [0, -1, 0]}
    truth = file_of(tmp_path / "truth.json", ("0000", [(1, "mug", 0, {"lying": True}), (2, "mug", 0, {})], hidden))
    mine = [(number, category, 0, {}) for number, category in ((1, "mug"), (8, "can"), (9, "bowl"))]
    poses = file_of(tmp_path / "poses.json", (0, mine, {}))
    report = json.loads(clipose("evaluate", "--poses", poses, "--truth", truth, "--json"))
    counts = {key: report[key] for key in ("unmatched_truths", "unmatched_poses", "hidden_poses", "matched_by_value")}
    assert counts == {"unmatched_truths": 1, "unmatched_poses": 1, "hidden_poses": 1, "matched_by_value": 1}
    assert report["pose"]["mean"]["5deg_2cm"] == 0.5
    table = clipose("evaluate", "--poses", poses, "--truth", truth)
    for text in (
        "1 objects of the truth have no entry",
        "1 entries of the poses have no object",
        "1 poses are of objects",
        "1 objects matched by value",
    ):
        assert text in table


def test_files_without_a_common_key_end_in_an_error(clipose, tmp_path):
    truth = file_of(tmp_path / "truth.json", ("0000", [(1, "mug", 0, {})], {}))
    poses = file_of(tmp_path / "poses.json", ("scene_1/0000", [(1, "mug", 0, {})], {}))
    with pytest.raises(
        SystemExit, match="got none: frame 'scene_1/0000' instance 1 for instance in the poses, frame '0000'"
    ):
        clipose("evaluate", "--poses", poses, "--truth", truth)


def test_files_that_are_not_there_are_named(clipose, tmp_path):
    truth = file_of(tmp_path / "truth.json", ("0000", [(1, "mug", 0, {})], {}))
    with pytest.raises(SystemExit, match="none.json: expected a file with poses, got No such file"):
        clipose("evaluate", "--poses", tmp_path / "none.json", "--truth", truth)


def test_poses_of_another_convention_are_told_in_a_report_of_either_form(clipose, tmp_path):
    degrees = (20, 50, 70, 110, 200, 300)
    truth = file_of(tmp_path / "t.json", ("0", [(i, "laptop", angle, {}) for i, angle in enumerate(degrees)], {}))
    poses = file_of(tmp_path / "p.json", ("0", [(i, "laptop", -angle, {}) for i, angle in enumerate(degrees)], {}))
    assert clipose("evaluate", "--poses", poses, "--truth", truth)
    assert f"{poses}: R: expected T_camera_object, row by row, got rotations that fit" in clipose.stderr
    assert json.loads(clipose("evaluate", "--poses", poses, "--truth", truth, "--json"))["instances"] == {"laptop": 6}
    assert "row by row" in clipose.stderr
