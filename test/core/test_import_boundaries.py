"""Dependencies point one way: an import runs in a process of its own, which is asked what came along."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def modules_of(package):
    files = (ROOT / "clipose_ros" / package).glob("*.py")
    return [f"clipose_ros.{package}.{file.stem}" for file in sorted(files) if file.stem != "__init__"]


def imported_with(*modules):
    """Top-level packages that importing the modules brings in."""
    code = f"import sys, json, {', '.join(modules)}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_core_needs_numpy_alone():
    brought = imported_with(*modules_of("core"))
    assert "numpy" in brought and not brought & {
        "torch",
        "rclpy",
        "onnxruntime",
        "cv2",
        "matplotlib",
        "yaml",
        "tyro",
        "rich",
        "training",
    }


def test_the_runtime_needs_neither_torch_nor_ros():
    brought = imported_with(
        *modules_of("inference"), *modules_of("estimators"), "clipose_ros.pipeline", "clipose_ros.cli.main"
    )
    assert "cv2" in brought and not brought & {"torch", "rclpy", "matplotlib", "training"}


@pytest.mark.parametrize(("library", "home"), [("onnxruntime", "inference"), ("rclpy", "ros")])
def test_one_folder_imports_it(library, home):
    sources = {
        path.relative_to(ROOT / "clipose_ros"): path.read_text() for path in (ROOT / "clipose_ros").rglob("*.py")
    }
    users = {
        path.parts[0] for path, text in sources.items() if f"import {library}" in text or f"from {library}" in text
    }
    assert users <= {home}


def test_tracking_needs_arrays_alone():
    brought = imported_with(*modules_of("tracking"))
    assert {"numpy", "scipy"} <= brought and not brought & {
        "torch",
        "rclpy",
        "onnxruntime",
        "cv2",
        "yaml",
        "tyro",
        "rich",
        "training",
    }
