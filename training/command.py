"""How a command of `training` ends: a refusal is one sentence, any other failure a traceback."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import tyro


def run(command: Callable[..., Any], description: str | None = None) -> None:
    """Run a function with the arguments of the command line.

    What the file system or a check refuses (`name: expected …, got …`) ends the process with that sentence and status
    1. An error that nobody foresaw keeps its traceback.

    Parameters
    ----------
    command : callable
        Its parameters are the options.
    description : str, optional
        For `--help`; the docstring without.
    """
    try:
        tyro.cli(command, description=description)
    except OSError as error:
        sys.exit(_sentence(error))
    except ValueError as error:
        if ": expected " not in str(error):
            raise
        sys.exit(_sentence(error))


def _sentence(error: Exception) -> str:
    """The error after the name of the command: `training.train: data: expected …`."""
    spec = sys.modules["__main__"].__spec__
    return f"{spec.name.removesuffix('.__main__') if spec else 'training'}: {error}"
