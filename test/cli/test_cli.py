import json
import shutil
import sys

import cv2
import numpy as np
import pytest

from clipose_ros.bench.latency import INTRINSICS, spheres_on_table
from clipose_ros.bench.report import read_report, rows, write_report
from clipose_ros.cli import main as cli
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.evaluation.poses import evaluate
from clipose_ros.formats.pose_files import read_poses


@pytest.fixture
def clipose(monkeypatch, capsys):
    """Runs the command with arguments and gives what it prints."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipose", *map(str, arguments)])
        cli.main()
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path):
    """Two frames with three spheres each; the third has class bowl and no depth."""
    path = tmp_path / "frames"
    path.mkdir()
    frame, detections = spheres_on_table(3, ["mug", "can", "bowl"])
    depth = np.where(detections.masks == 3, 0, frame.depth).astype(np.uint16)
    for name in ("0000", "0001"):
        cv2.imwrite(str(path / f"{name}_depth.png"), depth)
        cv2.imwrite(str(path / f"{name}_mask.png"), detections.masks - np.uint8(1))  # 0 becomes 255
        cv2.imwrite(str(path / f"{name}_color.png"), np.full((*depth.shape, 3), 90, np.uint8))
        (path / f"{name}_meta.txt").write_text(
            "".join(f"{i} {CATEGORIES.index(c) + 1} x\n" for i, c in enumerate(("mug", "can", "bowl")))
        )
    (path / "intrinsics.json").write_text(json.dumps({k: getattr(INTRINSICS, k) for k in ("fx", "fy", "cx", "cy")}))
    return path


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


def test_a_truth_with_a_rejection_or_no_pose_is_refused(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps([{"frame": "0", "instances": [{"instance": 1, "class": "mug", "rejected": "?"}]}]))
    with pytest.raises(ValueError, match="truth: expected a pose"):
        evaluate({}, read_poses(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Expecting"),
        ('[{"frame": "0"}]', "expected the key 'instances'"),
        ('[{"frame": "0", "instances": [{"instance": 1, "class": "mug"}]}]', "expected the key 'R'"),
        (
            '[{"frame": "0", "instances": [{"instance": 1, "class": "mug", "R": [1], "t": [0, 0, 1], "size": [1, 1, 1]}]}]',
            "R: expected finite",
        ),
    ],
)
def test_broken_pose_files_are_refused_with_their_path(tmp_path, text, message):
    path = tmp_path / "poses.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"poses.json: {message}"):
        read_poses(path)


def test_bench_prints_what_the_architecture_promises(clipose, write_model):
    report = json.loads(
        clipose("bench", "--model", write_model(), "--instances", 1, 2, "--frames", 3, "--threads", 1, "--json")
    )
    assert (report["provider"], report["precision"], report["threads"], report["model"]) == ("cpu", "fp32", 1, "tiny")
    assert [row["instances"] for row in report["results"]] == [1, 2]
    assert set(report["results"][0]) == {"instances", "p50_ms", "p95_ms", "p99_ms", "stages"}


def test_bench_of_several_models_writes_one_report_that_the_next_is_compared_with(clipose, write_model, tmp_path):
    model, stored, picture = write_model(), tmp_path / "before.json", tmp_path / "latency.png"
    paper = tmp_path / "paper"
    shutil.copytree(model, paper)
    once = (
        "bench",
        "--model",
        model,
        "--baseline",
        paper,
        "--instances",
        0,
        1,
        "--frames",
        6,
        "--rounds",
        2,
        "--threads",
        1,
    )
    table = clipose(*once, "--output", stored, "--plot", picture)
    assert (
        all(text in table for text in ("memory", "p95", "network", "of the baseline")) and picture.stat().st_size > 1000
    )
    report = read_report(stored)
    # the cards' names are equal
    assert report["baseline"] == str(paper) and [entry["model"] for entry in report["memory"]] == [
        str(model),
        str(paper),
    ]
    before = json.loads(json.dumps(report))
    for factor, status in ((1e-3, 1), (1e3, None)):
        for entry in report["memory"]:
            for row, old in zip(entry["results"], rows(before).values()):
                row["rounds"] = {key: [ms * factor for ms in values] for key, values in old["rounds"].items()}
        write_report(report, stored)
        if status:
            with pytest.raises(SystemExit) as stopped:
                clipose(*once, "--against", stored)
            assert stopped.value.code == status
        else:
            said = clipose(*once, "--against", stored)
            assert "0 slower by more than their noise" in said
            # whole, however long: which figure it is that changed
            assert "".join(f"memory {model} ×1 p95".split()) in "".join(said.split())


def test_errors_of_the_user_end_in_one_line(clipose, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        clipose("bench", "--model", "huge", "--models-dir", tmp_path)
    assert str(stopped.value).startswith("clipose: model: expected one of (none)")
