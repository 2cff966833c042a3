"""ONNX Runtime that is not there, or only half of it: who needs it says so in one sentence, and nobody else minds."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import pytest

from clipose_ros.inference.providers import PROVIDERS, Provider
from clipose_ros.inference.runtime import load_cuda_libraries

ROOT = Path(__file__).resolve().parents[2]
EXTRAS = "pip install clipose_ros[cpu], or clipose_ros[gpu]"
WITHOUT = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name == "onnxruntime":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
from clipose_ros.cli.main import main
main()
"""


@pytest.fixture
def clipose_without():
    """Runs the command in a process that has no ONNX Runtime."""

    def run(*arguments):
        return subprocess.run(
            [sys.executable, "-c", WITHOUT, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=60
        )

    return run


def test_a_command_that_needs_it_ends_with_the_extras(clipose_without, tmp_path):
    said = clipose_without("estimate", "launch/demo", "--output", tmp_path / "poses.json")
    assert said.returncode == 1 and EXTRAS in said.stderr and "Traceback" not in said.stderr
    assert said.stderr.startswith("clipose: onnxruntime: expected one of its builds, got none")
    assert not list(tmp_path.iterdir())


def test_a_command_that_does_not_need_it_works(clipose_without, tmp_path):
    truth = "launch/demo/truth.json"
    said = clipose_without("evaluate", "--poses", truth, "--truth", truth)
    assert said.returncode == 0, said.stderr


def test_doctor_says_it_and_goes_on(clipose_without):
    said = clipose_without("doctor", "--seconds", "0")
    assert said.returncode == 1 and not said.stderr
    assert "FAIL  onnxruntime: expected one of its builds, got none" in said.stdout and EXTRAS in said.stdout
    assert "model: clipose-lite: its card is sound" in said.stdout and "1 FAIL" in said.stdout


def test_what_is_left_of_a_build_is_told_from_one(tmp_path):
    """pip uninstall of one of two builds takes the files of both, and leaves their folder."""
    (tmp_path / "onnxruntime").mkdir()
    code = "from clipose_ros.inference.runtime import load_runtime; load_runtime()"
    hidden = f"import sys; sys.path = [{str(tmp_path)!r}] + [p for p in sys.path if 'site-packages' not in p]; {code}"
    said = subprocess.run([sys.executable, "-c", hidden], cwd=ROOT, capture_output=True, text=True, timeout=60)
    last = said.stderr.splitlines()[-1]
    assert last.startswith("RuntimeError: onnxruntime: expected one of its builds, got an empty folder"), said.stderr
    assert str(tmp_path / "onnxruntime") in last and EXTRAS in last


def test_every_provider_has_its_names():
    assert tuple(PROVIDERS) == get_args(Provider)


def test_the_libraries_that_cuda_lacks_are_told_and_the_output_stays_clean(capsys):
    """As onnxruntime-gpu 1.31.1 prints it on a machine without them."""

    def preload_dlls():
        for name in ("libcublasLt.so.13", "libcurand.so.10"):
            print(f"Failed to load {name}: {name}: cannot open shared object file: No such file or directory")
        print("Please follow https://onnxruntime.ai/docs/install/#cuda-and-cudnn to install CUDA.")

    runtime = SimpleNamespace(preload_dlls=preload_dlls)
    assert load_cuda_libraries(runtime) == ["libcublasLt.so.13", "libcurand.so.10"]
    assert load_cuda_libraries(SimpleNamespace()) == []  # a release of before it could
    assert capsys.readouterr().out == ""
