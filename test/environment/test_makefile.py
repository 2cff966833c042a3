"""The Makefile before its first rule: which folders it works in, what it removes, and what it takes of the caller's
environment. Real make, in folders made for the test.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("Makefile", "package.xml", "requirements-training.txt", "clipose_ros/__init__.py")
MADE = (".venv/bin/tool", "build/a", "install/a", "log/a")  # what `make clean` removes
SPLIT_OR_EXPANDED = [*" \t\n\r\v$#:%'\"\\;&|<>()*?[]{}~!`=,^", "é", "\u00a0", "日"]
STAMPS = ("venv", "runtime", "package", "messages", "training")

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


def checkout(folder):
    """A checkout, as far as the Makefile looks at it, with what earlier runs made."""
    for name in NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    for name in MADE:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("mine")
    return folder


def make(*arguments, cwd, **environment):
    """What make says; it must not take options of the make that runs the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    said = subprocess.run(["make", *arguments], cwd=cwd, env=kept | environment, capture_output=True, timeout=60)
    said.stdout, said.stderr = said.stdout.decode(), said.stderr.decode()  # as they are: a carriage return is no line
    return said


def content(folder):
    """All files below a folder, with what is in them."""
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("character", SPLIT_OR_EXPANDED, ids=lambda character: f"U+{ord(character):04X}")
@pytest.mark.parametrize("place", ["within", "end"])
def test_a_path_that_make_or_the_shell_takes_apart_is_refused_before_anything_is_done(tmp_path, character, place):
    outer = tmp_path / (f"work{character}copy" if place == "within" else f"work{character}")
    folder = checkout(outer / "c" if place == "within" else outer)
    for name in ("work", "copy", "c"):  # what the parts of the path would be
        if not (tmp_path / name).exists():
            (tmp_path / name / "build").mkdir(parents=True)
            (tmp_path / name / "thesis.txt").write_text("precious")
    elsewhere, before = tmp_path / "elsewhere", content(tmp_path)
    elsewhere.mkdir()
    for arguments, cwd in (
        (["clean"], folder),
        (["env"], folder),
        (["help"], folder),
        ([], folder),
        (["--no-print-directory", "-C", str(folder), "clean"], elsewhere),
        (["-f", str(folder / "Makefile"), "clean"], elsewhere),
    ):
        said = make(*arguments, cwd=cwd)
        assert said.returncode == 2 and not said.stdout
        (line,) = (
            said.stderr.replace(str(folder), "").removesuffix("\n").split("\n")
        )  # make names the file that it reads
        assert "expected" in line, line
        assert content(tmp_path) == before
    assert not list(elsewhere.iterdir())


def test_a_folder_that_is_no_checkout_is_left_alone(tmp_path):
    """The Makefile of a checkout, started from elsewhere with -f, through a link, or from standard input."""
    folder, elsewhere = checkout(tmp_path / "c"), tmp_path / "elsewhere"
    for name in MADE:
        (elsewhere / name).parent.mkdir(parents=True)
        (elsewhere / name).write_text("mine")
    before = content(elsewhere)
    said = make("-f", str(folder / "Makefile"), "clean", cwd=elsewhere)
    assert said.returncode == 2 and "Try: make -C" in said.stderr
    (elsewhere / "Makefile").symlink_to(folder / "Makefile")
    said = make("clean", cwd=elsewhere)
    assert said.returncode == 2 and "expected a checkout of clipose_ros" in said.stderr
    (elsewhere / "Makefile").unlink()
    assert content(elsewhere) == before


@pytest.mark.parametrize("arguments", [[], ["VENV=../precious"], ["CURDIR=../precious"], ["-f", "Makefile"]])
def test_clean_removes_what_make_has_made_and_nothing_else(tmp_path, arguments):
    folder = checkout(tmp_path / "c++@1_2-3.4")
    (tmp_path / "precious").mkdir()
    shutil.rmtree(folder / "build")
    (folder / "build").symlink_to(tmp_path / "precious")
    (tmp_path / "precious" / "thesis.txt").write_text("precious")
    said = make(*arguments, "clean", cwd=folder)
    assert said.returncode == 0, said.stderr
    assert set(content(tmp_path)) == {Path("c++@1_2-3.4") / name for name in NEEDED} | {Path("precious/thesis.txt")}


def test_help_names_the_targets(tmp_path):
    said = make(cwd=checkout(tmp_path / "c"))
    assert said.returncode == 0 and all(f"make {name}" in said.stdout for name in ("demo", "test", "env", "clean"))


@pytest.fixture
def built(tmp_path):
    """A checkout whose environment was made for it, with a Python that tells its arguments and variables."""
    folder = checkout(tmp_path / "here")
    for name in ("requirements.txt", "pyproject.toml", "setup.py", "CMakeLists.txt", "wheel_paths.cmake"):
        shutil.copy(ROOT / name, folder)
    site = folder / ".venv" / "lib" / "python3.11" / "site-packages"
    site.mkdir(parents=True)
    (folder / ".venv" / "pyvenv.cfg").write_text(f"command = /usr/bin/python3 -m venv {folder}/.venv\n")
    (site / "clipose_ros_messages.pth").write_text(f"{folder}/install/clipose_ros/lib/python3.11/site-packages\n")
    python = folder / ".venv" / "bin" / "python"
    python.write_text('#!/bin/sh\necho "ran $*"\nenv\n')
    python.chmod(0o755)
    for name in STAMPS:
        (folder / ".venv" / f".stamp-{name}").touch()
    return folder


@pytest.mark.parametrize("complete", [True, False])
def test_an_environment_that_was_made_for_another_folder_is_made_again(built, tmp_path, complete):
    """Of a checkout that was moved or copied; complete: its messages had been built."""
    if not complete:
        next(built.rglob("*.pth")).unlink()
    assert "rm -rf" not in make("-n", "demo", cwd=built).stdout
    moved = tmp_path / "there"
    shutil.copytree(built, moved, symlinks=True)
    shutil.move(moved, tmp_path / "moved")
    planned = make("-n", "demo", cwd=tmp_path / "moved").stdout
    assert f"== .venv was made for {built}, not for this folder: it is made again" in planned
    assert "rm -rf .venv build/clipose_ros install\n" in planned and "python3 -m venv .venv" in planned
    assert "pip --disable-pip-version-check install -r requirements.txt" in planned and "colcon build" in planned
    assert "rm -rf" not in make("-n", "help", cwd=tmp_path / "moved").stdout


def test_the_tests_begin_with_formatter_and_linter(built):
    """CI runs `make test`; with the ruff that is pinned, of the environment."""
    planned = make("-n", "test", cwd=built).stdout.splitlines()
    steps = [line for line in planned if line.startswith(".venv/bin/python -m")]
    words = [line.split()[2:5] for line in steps]
    assert words == [["ruff", "format", "--check"], ["ruff", "check", "clipose_ros"], ["pytest", "test"]]
    assert all(
        {"clipose_ros", "training", "test", "launch", "scripts", "setup.py"} <= set(s.split()) for s in steps[:2]
    )
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


POISON = {
    "RMW_IMPLEMENTATION": "rmw_cyclonedds_cpp",
    "ROS_DOMAIN_ID": "300",
    "ROS_DISCOVERY_SERVER": "10.0.0.1:11811",
    "ROS_SECURITY_ENABLE": "true",
    "AMENT_PREFIX_PATH": "/opt/ros/humble",
    "LD_LIBRARY_PATH": "/opt/ros/humble/lib",
    "PYTHONPATH": "/opt/ros/humble/lib/python3.10/site-packages",
    "PYTHONOPTIMIZE": "2",
    "PYTHONWARNINGS": "error",
    "FASTRTPS_DEFAULT_PROFILES_FILE": "/nowhere.xml",
    "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
    "RCUTILS_LOGGING_USE_STDOUT": "maybe",
    "PIP_TARGET": "/nowhere",
    "DESTDIR": "/nowhere",
    "ROS_LOG_DIR": "/proc/nowhere",
}


def test_the_callers_environment_cannot_lead_a_run_astray(built):
    said = make("demo", "DEMO_SECONDS=3", cwd=built, HOME="/proc/nowhere", PIP_INDEX_URL="https://kept", **POISON)
    assert said.returncode == 0, said.stderr
    lines = said.stdout.splitlines()
    assert "ran -m clipose_ros.ros.lab.demo --seconds 3" in lines
    seen = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("ran"))
    assert not {name: seen[name] for name in POISON if name in seen and name != "ROS_LOG_DIR"}
    assert seen["ROS_LOG_DIR"] == f"{built}/log/ros"
    assert seen["PIP_INDEX_URL"] == "https://kept"  # of the user's, what harms nobody stays
