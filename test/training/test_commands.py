"""Commands of training that refuse their input end with one sentence."""

import subprocess
import sys

import pytest


def test_folders_without_views_are_refused_with_a_sentence(tmp_path):
    pytest.importorskip("numba")
    command = [sys.executable, "-m", "training.novel_scores", str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert f"training.novel_scores: {tmp_path / 'poses.json'}: expected a file" in process.stderr
