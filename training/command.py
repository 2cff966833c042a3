"""How a command of `training` ends: a refusal is one sentence, any other failure a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro

from clipose_ros.cli.quiet_end import quiet_end
from clipose_ros.formats.text_files import print_in_any_encoding


def run(command: Callable[..., Any], description: str | None = None) -> None:
    """Run a function with the arguments of the command line.

    What the file system or a check refuses (`name: expected …, got …`) ends the process with that sentence and status
    1, Ctrl-C with a word. An error that nobody foresaw keeps its traceback.

    Parameters
    ----------
    command : callable
        Its parameters are the options.
    description : str, optional
        For `--help`; the docstring without.
    """
    print_in_any_encoding()
    try:
        with quiet_end(_name()):
            tyro.cli(command, description=description)
    except OSError as error:
        sys.exit(_sentence(error))
    except ValueError as error:
        if ": expected " not in str(error):
            raise
        sys.exit(_sentence(error))


def _sentence(error: Exception) -> str:
    """The error after the name of the command: `training.train: data: expected …`."""
    return f"{_name()}: {error}"


def _name() -> str:
    spec = sys.modules["__main__"].__spec__
    return spec.name.removesuffix(".__main__") if spec else "training"
