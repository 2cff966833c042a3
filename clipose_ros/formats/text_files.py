"""Text and JSON as people's editors leave them: with a byte order mark or without, with the line ends of any system;
and terminals as they are.
"""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import Any

STDERR = 2  # the last of the standard streams


def read_text(path: Path) -> str:
    """Read a UTF-8 file; a byte order mark at its begin is dropped.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    str
        The text.

    Raises
    ------
    ValueError
        With the path, where the bytes are no UTF-8.
    OSError
        Where the file cannot be read.
    """
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected UTF-8 text, got {error}; save the file as UTF-8") from error


def read_json(path: Path) -> Any:
    """Read a JSON file; a byte order mark at its begin is dropped.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    Any
        What the file holds.

    Raises
    ------
    ValueError
        With the path, where it is no JSON.
    OSError
        Where the file cannot be read.
    """
    try:
        return json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}: expected JSON, got {error}") from error
    except RecursionError as error:
        raise ValueError(f"{path}: expected JSON, got lists or mappings that are nested too deeply") from error


def open_streams() -> None:
    """Open what whoever started the process has closed of its standard streams: what is printed there is lost.

    Else Python has None for them, and the next file or socket that is opened gets their number, and what libraries
    print.
    """
    while (number := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(number, True)
    os.close(number)
    for number, name, mode in ((0, "stdin", "r"), (1, "stdout", "w"), (STDERR, "stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, mode, encoding="utf-8", closefd=False))


def print_in_any_encoding() -> None:
    """From now on, print a ? for what a terminal or a pipe cannot show, instead of ending with an error.

    A container without a locale has ASCII; and a path may hold bytes that are no text at all.
    """
    open_streams()
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=errors)
