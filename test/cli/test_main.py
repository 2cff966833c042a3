import dataclasses
import inspect
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

import pytest

from clipose_ros.cli.main import COMMANDS


def test_a_number_that_is_none_is_said_in_plain_words(clipose, tmp_path):
    for option, value, words in (("--threads", "0.5", "a whole number"), ("--min-score", "high", "a number")):
        with pytest.raises(SystemExit) as stopped:
            clipose("estimate", tmp_path, "--output", tmp_path / "p.json", option, value)
        assert stopped.value.code == 2 and f"{option}: expected {words}, got '{value}'" in clipose.stderr


def test_the_version_is_that_of_the_package():
    command = [sys.executable, "-m", "clipose_ros.cli.command", "--version"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    manifest = Path(__file__).resolve().parents[2] / "package.xml"
    assert said.split() == ["clipose_ros", ElementTree.parse(manifest).findtext("version")]


@pytest.mark.parametrize("command", COMMANDS)
def test_each_option_of_each_command_has_its_help(clipose, command):
    with pytest.raises(SystemExit):
        clipose(command, "--help")
    said = " ".join(clipose.stdout.replace("│", " ").split())
    documented = inspect.getdoc(COMMANDS[command]).split("----------\n")[1]
    for name, parameter in inspect.signature(COMMANDS[command]).parameters.items():
        if dataclasses.is_dataclass(parameter.default):  # its fields are options
            fields = dataclasses.fields(parameter.default)
            assert all(f"--{field.name.replace('_', '-')}" in said for field in fields)
            continue
        words = documented.split(f"{name}\n    ")[1].split("\n")[0].split()
        assert " ".join(words[:3]) in said
    assert "Parameters" not in said


def test_in_a_copy_of_the_checkout_the_original_is_named(clipose, tmp_path, monkeypatch):
    (tmp_path / ".venv").mkdir()
    (tmp_path / "clipose_ros").mkdir()
    (tmp_path / "clipose_ros" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit):
        clipose("evaluate")
    assert f"clipose: warning: the checkout was moved or copied: in {tmp_path}, the code of" in clipose.stderr
    assert "run make env again" in clipose.stderr


@pytest.fixture
def truth(tmp_path):
    """A pose file, which is its own truth."""
    entry = {"instance": 1, "class": "mug", "R": [[1, 0, 0], [0, 1, 0], [0, 0, 1]], "t": [0, 0, 1], "size": [1, 1, 1]}
    path = tmp_path / "poses.json"
    path.write_text(json.dumps([{"frame": "0000", "instances": [entry]}]))
    return path


def command(*arguments, **variables):
    """`clipose` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "clipose_ros.cli.command", *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | variables,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a suite in the background ignores it
    )  # fmt: skip


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8:strict"])
def test_tables_are_printed_in_whatever_encoding_there_is(truth, encoding):
    """Textualize/rich#212: a container without a locale has ASCII, and a degree sign ended the command."""
    process = command("evaluate", "--poses", truth, "--truth", truth, PYTHONIOENCODING=encoding)
    said, errors = process.communicate()
    assert process.returncode == 0 and b"mug" in said and errors == b""


def test_a_path_that_is_no_text_is_printed_all_the_same(folder, write_model, tmp_path):
    output = os.fsencode(tmp_path) + b"/caf\xe9.json"
    arguments = ["estimate", folder, "--output", os.fsdecode(output), "--model", f"{write_model()}/"]
    process = subprocess.run(
        [sys.executable, "-m", "clipose_ros.cli.command", *map(str, arguments)],
        capture_output=True, env=os.environ | {"PYTHONIOENCODING": "utf-8:strict"}, check=True,
    )  # fmt: skip
    assert b"2 frames, 4 poses" in process.stdout and os.path.exists(output)


def test_a_reader_that_has_gone_ends_the_command_in_silence(truth):
    process = command("evaluate", "--poses", truth, "--truth", truth)
    process.stdout.close()  # as `| head -0` does
    assert process.stderr.read() == b"" and process.wait() in (1, 141)  # 1: rich found it first


def test_an_interrupt_is_no_traceback(tmp_path):
    os.mkfifo(tmp_path / "poses.json")  # a file that never comes
    process = command("evaluate", "--poses", tmp_path / "poses.json", "--truth", tmp_path / "poses.json")
    with open(tmp_path / "poses.json", "wb"):  # opens once the command reads
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[1] == b"clipose: interrupted\n" and process.returncode == 130


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_keep_nothing_from_being_done(truth, closed):
    """Started by a daemon: what is opened next must not take their numbers, and be printed into."""
    run = f"{sys.executable} -m clipose_ros.cli.command evaluate --poses {truth} --truth {truth} --json {closed}"
    process = subprocess.run(["sh", "-c", run], capture_output=True, text=True)
    assert process.returncode == 0 and process.stderr == ""
    assert bool(process.stdout) == (">&-" not in closed.replace("2>&-", ""))


def test_a_working_folder_that_was_deleted_is_said(truth, tmp_path):
    (tmp_path / "gone").mkdir()
    run = f"rmdir ../gone && exec {sys.executable} -m clipose_ros.cli.command evaluate --poses {truth} --truth {truth}"
    process = subprocess.run(["sh", "-c", run], capture_output=True, text=True, cwd=tmp_path / "gone")
    assert process.returncode == 1 and "Traceback" not in process.stderr
    assert "clipose: working folder: expected one, got one that was deleted" in process.stderr
