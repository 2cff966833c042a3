"""Commands of training that refuse their input end with one sentence."""

import subprocess
import sys

import pytest

from training.storage import made_folder


def test_folders_without_views_are_refused_with_a_sentence(tmp_path):
    pytest.importorskip("numba")
    command = [sys.executable, "-m", "training.novel_scores", str(tmp_path)]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert f"training.novel_scores: {tmp_path / 'poses.json'}: expected a file" in process.stderr


@pytest.mark.parametrize(
    ("refused", "module", "options"),
    [
        ("scenes: expected 1 or more, got 0", "scenes", ["--scenes", "0"]),
        ("workers: expected 1 or more, got 0", "views", ["--workers", "0"]),
        ("views: expected 1 or more, got 0", "views", ["--views", "0"]),
        ("learning_rate: expected a rate of more than 0, got nan", "train", ["--data", ".", "--learning-rate", "nan"]),
    ],
)
def test_numbers_that_make_nothing_are_refused_with_a_sentence(tmp_path, refused, module, options):
    command = [sys.executable, "-m", f"training.{module}", "--output", str(tmp_path / "made"), *options]
    process = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert f"training.{module}: {refused}" in process.stderr
    assert not (tmp_path / "made").exists()


def test_a_file_is_no_folder_to_write_to(tmp_path):
    (tmp_path / "file").write_text("mine")
    assert made_folder(tmp_path / "new" / "folder").is_dir()
    for output in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ValueError, match=r"^output: expected a folder, got .*, where .*file is a file$"):
            made_folder(output)
    assert (tmp_path / "file").read_text() == "mine"
