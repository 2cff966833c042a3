import json
import sys

import cv2
import numpy as np
import pytest

from clipose_ros.bench.latency import INTRINSICS, spheres_on_table
from clipose_ros.cli import main as cli
from clipose_ros.core.categories import CATEGORIES


@pytest.fixture
def clipose(monkeypatch, capsys):
    """Runs the command with arguments and gives what it prints; the last run left `stdout` and `stderr`."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipose", *map(str, arguments)])
        try:
            cli.main()
        finally:
            captured = capsys.readouterr()
            run.stdout, run.stderr = captured
        return run.stdout

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
