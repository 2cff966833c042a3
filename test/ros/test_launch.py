"""`launch` is not on PyPI: the launch files must compile, and load where it is installed."""

import importlib.util
import py_compile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))


def test_there_are_launch_files():
    assert [path.name for path in LAUNCH_FILES] == ["demo.launch.py", "pose.launch.py"]


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_compile(path, tmp_path):
    py_compile.compile(str(path), cfile=str(tmp_path / "compiled"), doraise=True)


@pytest.mark.skipif(importlib.util.find_spec("launch_ros") is None, reason="launch_ros is not installed: it is not on PyPI")
@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_launch_files_load(path):
    spec = importlib.util.spec_from_file_location("launch_file", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.generate_launch_description().entities


def test_rviz_configuration_shows_the_markers_of_the_node():
    displays = yaml.safe_load((ROOT / "launch" / "pose.rviz").read_text())["Visualization Manager"]["Displays"]
    assert "clipose/markers" in [display.get("Topic", {}).get("Value") for display in displays]


def test_package_and_python_metadata_have_one_version():
    version = ElementTree.parse(ROOT / "package.xml").findtext("version")
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text()
