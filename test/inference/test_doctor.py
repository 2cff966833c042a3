"""clipose doctor without ROS: Python, builds of ONNX Runtime, providers, models; its lines and exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipose_ros.cli import main as cli
from clipose_ros.doctor import machine
from clipose_ros.doctor.findings import Level, fail, ok, warn, worst
from clipose_ros.doctor.machine import builds_finding, model_finding, models_findings, provider_finding, python_finding
from clipose_ros.inference.builds import built_providers

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("python", "level"), [((3, 11, 0), Level.OK), ((3, 14, 1), Level.OK), ((3, 10, 12), Level.FAIL)]
)
def test_python_must_be_new_enough(python, level):
    assert python_finding(python).level == level


def test_two_builds_of_onnxruntime_shadow_each_other():
    assert builds_finding({"onnxruntime": "1.2"}, "1.2").level == Level.OK
    assert "not from a Python package" in builds_finding({}, "1.2").text
    both = builds_finding({"onnxruntime": "1.2", "onnxruntime-gpu": "1.1"}, "1.1")
    assert both.level == Level.WARN and "onnxruntime 1.2, onnxruntime-gpu 1.1" in both.text
    assert both.cure == "pip uninstall onnxruntime onnxruntime-gpu, then pip install onnxruntime-gpu"


def test_a_provider_must_start_only_where_it_is_wanted(tiny_model):
    assert provider_finding("cpu", True, "cpu" in built_providers(), tiny_model).level == Level.OK
    assert provider_finding("cuda", False, False, tiny_model).level == Level.OK
    assert provider_finding("cuda", True, False, tiny_model).level == Level.FAIL


@pytest.mark.skipif("cuda" in built_providers(), reason="this build of ONNX Runtime has CUDA, which may start")
def test_a_provider_that_is_said_to_be_there_is_really_tried(tiny_model):
    unwanted, wanted = (provider_finding("cuda", wanted, True, tiny_model) for wanted in (False, True))
    assert (unwanted.level, wanted.level) == (Level.WARN, Level.FAIL)
    assert "expected one that this onnxruntime has" in wanted.text and "nvidia-smi" in wanted.cure


def test_a_model_is_loaded_checked_and_run(write_model):
    folder = write_model()
    assert model_finding(folder).level == Level.OK and " ms on the CPU" in model_finding(folder).text
    (folder / "model.onnx").write_bytes(b"not the network")
    broken = model_finding(folder)
    assert broken.level == Level.FAIL and "expected sha256" in broken.text and broken.cure


def test_a_model_of_learned_objects_is_sound_without_any():
    finding = model_finding(ROOT / "models" / "gspose")
    assert finding.level == Level.OK and "answers learned objects" in finding.text


def test_models_of_the_first_folder_count_and_none_is_a_failure(write_model, tmp_path):
    models = write_model().parent
    assert [finding.subject for finding in models_findings([models, models])] == ["model: tiny"]
    (none,) = models_findings([tmp_path / "nowhere"])
    assert none.level == Level.FAIL and "nowhere" in none.text


def test_the_worst_finding_counts():
    assert worst([]) == Level.OK
    assert worst([ok("a", ""), warn("b", "", "c"), ok("d", "")]) == Level.WARN
    assert worst([fail("a", "", "c"), warn("b", "", "c")]) == Level.FAIL


@pytest.fixture
def doctor(monkeypatch, capsys):
    """Runs the command without looking at topics; exit status and output."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["clipose", "doctor", "--seconds", "0", *arguments])
        try:
            cli.main()
        except SystemExit as exit:
            return exit.code, capsys.readouterr().out
        return 0, capsys.readouterr().out

    return run


def test_the_command_prints_lines_for_people_and_json_for_programs(doctor, write_model):
    models = str(write_model().parent)
    status, lines = doctor("--models-dir", models)
    assert status == 0 and "model: tiny: clipose, 6 names" in lines and "0 FAIL" in lines
    status, text = doctor("--models-dir", models, "--json")
    report = json.loads(text)
    assert status == 0 and report["worst"] in ("OK", "WARN")
    assert {"provider: cpu", "model: tiny"} <= {
        finding["subject"] for finding in report["findings"] if finding["level"] == "OK"
    }


def test_the_command_fails_with_the_cure_when_something_fails(doctor, tmp_path):
    status, lines = doctor("--models-dir", str(tmp_path))
    assert status == 1 and "FAIL  models: none in" in lines and "→ build the package" in lines
    levels = [line.split()[0] for line in lines.splitlines()[:-1] if not line.startswith(" ")]
    assert levels == sorted(levels, key=["OK", "WARN", "FAIL"].index)  # what is wrong is read last


def test_an_interruption_keeps_what_was_found(doctor, monkeypatch):
    """As by `timeout --signal=INT 4 clipose doctor`."""

    def interrupted(*_):
        yield ok("python", "new enough")
        raise KeyboardInterrupt

    monkeypatch.setattr(machine, "examine", interrupted)
    _, lines = doctor()
    assert "OK    python: new enough" in lines and "WARN  doctor: interrupted" in lines
    assert "ros: ROS_DOMAIN_ID" in lines  # what surrounds ROS was first


@pytest.mark.parametrize("package", ["numpy", "cv2"])
def test_a_package_that_cannot_be_imported_is_a_finding(tmp_path, package):
    """Another Python's numpy on PYTHONPATH; OpenCV without libGL.so.1."""
    reason = "libGL.so.1: cannot open shared object file"
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text(f"raise ImportError({reason!r})")

    def run(*arguments):
        code = "from clipose_ros.cli.command import main; main()"
        variables = os.environ | {"PYTHONPATH": str(tmp_path)}
        command = [sys.executable, "-c", code, *arguments]
        return subprocess.run(command, env=variables, cwd=ROOT, capture_output=True, text=True, timeout=60)

    said = run("doctor")
    assert said.returncode == 1 and "Traceback" not in said.stderr
    assert f"FAIL  packages: {reason}" in said.stdout and "ros: ROS_DOMAIN_ID" in said.stdout
    assert json.loads(run("doctor", "--json").stdout)["worst"] == "FAIL"
    said = run("estimate", "launch/demo", "--output", str(tmp_path / "poses.json"))
    assert said.returncode == 1 and said.stderr.endswith(f"clipose: {reason}. Try: clipose doctor\n")
