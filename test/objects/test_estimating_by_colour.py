"""`clipose estimate --depth off` takes no notice of depth."""

from __future__ import annotations

import json
import shutil

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.cli import main as command


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["clipose", *map(str, arguments)])
    command.main()


def test_depth_that_is_off_does_not_count(box_folder, box_library, tmp_path, monkeypatch):
    folder = shutil.copytree(box_folder, tmp_path / "box")
    poses = json.loads((folder / "poses.json").read_text())
    kept = dict(list(poses.items())[1:8:3])
    (folder / "poses.json").write_text(json.dumps(kept))
    for name in kept:  # a wall in front of all, which would be believed
        depth = cv2.imread(str(folder / f"{name}_depth.png"), cv2.IMREAD_UNCHANGED)
        cv2.imwrite(str(folder / f"{name}_depth.png"), np.full_like(depth, 150))
    given = ["estimate", folder, "--model", "gspose", "--objects", box_library, "--depth", "off"]
    run(monkeypatch, *given, "--output", tmp_path / "poses.json")
    found = {entry["frame"]: entry["instances"][0] for entry in json.loads((tmp_path / "poses.json").read_text())}
    assert set(found) == set(kept)
    for name, truth in kept.items():
        cosine = (np.trace(np.array(found[name]["R"]) @ np.array(truth["R"]).T) - 1) / 2
        assert np.degrees(np.arccos(np.clip(cosine, -1, 1))) < 5
        assert np.linalg.norm(np.array(found[name]["t_reference"]) - truth["t"]) < 0.02  # of 0.4 m


def test_depth_is_on_or_off(box_folder, box_library, tmp_path, monkeypatch):
    with pytest.raises(SystemExit):
        run(monkeypatch, "estimate", box_folder, "--output", tmp_path / "poses.json", "--depth", "maybe")
