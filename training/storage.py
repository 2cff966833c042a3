"""Files that are whole or not there, also after a power cut or on a full disk."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_whole(path: Path, write: Callable[[BinaryIO], object], previous: Path | None = None) -> None:
    """Write a file beside its place, bring it to the disk and only then put it there.

    Parameters
    ----------
    path : Path
        Of the file. One that is there is replaced in one step.
    write : callable
        Takes the open file and writes the content.
    previous : Path, optional
        Where the file that was there before is kept.

    Raises
    ------
    OSError
        Where the disk is full or not writable. The file that was there before is untouched.
    """
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with unfinished.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        if previous is not None and path.exists():
            _keep(path, previous)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    _sync_folder(path.parent)


def made_folder(output: Path) -> Path:
    """Make a folder for what a command writes, where it is not there yet.

    Parameters
    ----------
    output : Path
        Of the folder.

    Returns
    -------
    Path
        The same.

    Raises
    ------
    ValueError
        Where it, or what it would lie in, is a file.
    OSError
        Where it cannot be made.
    """
    try:
        output.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        file = next(path for path in (output, *output.parents) if path.exists() and not path.is_dir())
        raise ValueError(f"output: expected a folder, got {output}, where {file} is a file") from None
    return output


def archive_flaw(path: Path) -> str | None:
    """Say what keeps a file from being a zip archive, which shards and checkpoints are.

    Parameters
    ----------
    path : Path
        Of an existing file.

    Returns
    -------
    str or None
        What it is instead. None for an archive with a table of contents.
    """
    if zipfile.is_zipfile(path):
        return None
    size = path.stat().st_size
    if size == 0:
        return "an empty file"
    with path.open("rb") as file:
        begun = file.read(4) == b"PK\x03\x04"
    return f"one that is cut off after {size} bytes" if begun else f"a file of another kind, {size} bytes long"


def _keep(path: Path, previous: Path) -> None:
    """Give the file the name `previous`, too; it never lacks its own."""
    second = previous.with_name(f"{previous.name}.{os.getpid()}.tmp")
    second.unlink(missing_ok=True)
    try:
        try:
            os.link(path, second)
        except OSError:  # a file system without links
            shutil.copyfile(path, second)
            with second.open("rb+") as file:
                os.fsync(file.fileno())
        second.replace(previous)
    finally:
        second.unlink(missing_ok=True)  # a link to the same file is not renamed


def _sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
