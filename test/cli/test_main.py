import dataclasses
import inspect

import pytest

from clipose_ros.cli.main import COMMANDS


def test_a_number_that_is_none_is_said_in_plain_words(clipose, tmp_path):
    for option, value, words in (("--threads", "0.5", "a whole number"), ("--min-score", "high", "a number")):
        with pytest.raises(SystemExit) as stopped:
            clipose("estimate", tmp_path, "--output", tmp_path / "p.json", option, value)
        assert stopped.value.code == 2 and f"{option}: expected {words}, got '{value}'" in clipose.stderr


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
