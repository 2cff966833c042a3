"""What is installed: pyproject.toml, the pinned requirements and package.xml name the same packages, and each extra
brings what its part imports.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
import xml.etree.ElementTree as ElementTree
from importlib.metadata import PathDistribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
BASE = {canonicalize_name(name) for name in PROJECT["dependencies"]}
EXTRAS = {
    extra: {canonicalize_name(Requirement(line).name) for line in lines}
    for extra, lines in PROJECT["optional-dependencies"].items()
}
# rosdep's names; the others come from pip alone, as package.xml says.
ROSDEP = {
    "numpy": "python3-numpy",
    "scipy": "python3-scipy",
    "opencv-python-headless": "python3-opencv",
    "pyyaml": "python3-yaml",
    "psutil": "python3-psutil",
}
PIP_ALONE = {"tyro", "rich"}
TOOLS = {"efficientnet-lite-pytorch", "pytest", "hypothesis", "atheris", "ruff"}  # of the tests and of CI
# To build the messages, and ROS itself, which on a robot are ROS's own.
BUILD = re.compile(r"ros-.*|colcon-.*|catkin-pkg|lark-parser|empy")


def pins(name):
    """Versions by name of a requirements file."""
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line.partition("#")[0]) for line in lines if line and line[0] not in "#-"]
    return {canonicalize_name(requirement.name): str(requirement.specifier) for requirement in requirements}


RUNTIME, TRAINING = pins("requirements.txt"), pins("requirements-training.txt")


def test_what_ci_installs_is_pinned_and_is_what_the_project_declares():
    assert all(re.fullmatch(r"==[\w.]+", version) for version in (RUNTIME | TRAINING).values())
    assert {name for name in RUNTIME if not BUILD.fullmatch(name)} == BASE | EXTRAS["cpu"] | EXTRAS["recordings"]
    assert TRAINING.keys() - TOOLS == EXTRAS["training"] | EXTRAS["view"] | EXTRAS["gspose"]
    assert TRAINING.keys() >= TOOLS


def test_rosdep_installs_what_it_has_names_for():
    package = ElementTree.parse(ROOT / "package.xml").getroot()
    declared = {element.text for element in package.iter("exec_depend") if element.text.startswith("python3-")}
    assert set(ROSDEP) | PIP_ALONE == BASE
    assert declared == set(ROSDEP.values())
    text = (ROOT / "package.xml").read_text(encoding="utf-8")
    (comment,) = re.findall(r"<!-- rosdep has no key .*?-->", text)
    assert all(name in comment for name in PIP_ALONE | EXTRAS["cpu"] | {"onnxruntime-gpu"})


def test_no_build_of_onnxruntime_is_a_dependency_of_all():
    builds = {extra: {name for name in names if name.startswith("onnxruntime")} for extra, names in EXTRAS.items()}
    assert not {name for name in BASE if name.startswith("onnxruntime")}
    assert {extra: names for extra, names in builds.items() if names} == {
        "cpu": {"onnxruntime"},
        "gpu": {"onnxruntime-gpu"},
    }


@pytest.fixture(scope="module")
def metadata(tmp_path_factory):
    """What pip would read of this checkout, built without the network."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in ("pyproject.toml", "setup.py", "package.xml", "LICENSE", "README.md"):
        shutil.copy(ROOT / name, folder)
    (folder / "clipose_ros").mkdir()
    shutil.copy(ROOT / "clipose_ros" / "__init__.py", folder / "clipose_ros")
    code = "from setuptools.build_meta import prepare_metadata_for_build_wheel as f; print('built', f('.'))"
    run = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    return PathDistribution(folder / run.stdout.split()[-1])


@pytest.mark.parametrize("extra", [None, *EXTRAS])
def test_an_extra_resolves_to_its_packages(metadata, extra):
    requirements = [Requirement(text) for text in metadata.requires]
    chosen = [r for r in requirements if r.marker is None or r.marker.evaluate({"extra": extra or ""})]
    assert {canonicalize_name(requirement.name) for requirement in chosen} == BASE | EXTRAS.get(extra, set())
    assert set(metadata.metadata.get_all("Provides-Extra")) == set(EXTRAS)


def test_every_command_of_the_wheel_can_be_called(metadata):
    commands = {entry.name: entry for entry in metadata.entry_points if entry.group == "console_scripts"}
    assert commands.keys() == PROJECT["scripts"].keys() and all(callable(entry.load()) for entry in commands.values())


def imported(folder):
    """Top-level names that the modules of a folder import, anywhere in them."""
    names = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


@pytest.mark.parametrize(
    ("folder", "brought"),
    [
        ("clipose_ros/core", {"numpy"}),
        *((f"clipose_ros/{room}", BASE) for room in ("cli", "doctor", "inference", "tracking")),
        ("clipose_ros/formats", BASE | {"matplotlib"}),  # a plot asks for it, and says so
        ("training", BASE | EXTRAS["training"] | EXTRAS["cpu"] | {"tokenizers"}),  # which transformers brings
    ],
)
def test_what_a_part_imports_is_brought(folder, brought):
    packages = packages_distributions()
    needed = {name: {canonicalize_name(d) for d in packages.get(name, ())} for name in imported(folder)}
    ours = {"clipose_ros", "training"}
    assert {name for name, distributions in needed.items() if name not in ours and not distributions & brought} == set()
