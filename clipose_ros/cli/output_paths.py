"""Checks of where a command is to write, before it works for minutes. They make nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.formats.extras import extra_module
from clipose_ros.formats.frame_files import FrameFiles
from clipose_ros.formats.plot_files import new_figure
from clipose_ros.formats.segment_files import SEGMENTS_FILE


def check_output_file(option: str, path: Path | None) -> None:
    """Check that a file can be written.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the file; None where it was not asked for.

    Raises
    ------
    ValueError
        Where it is a folder, or may not be written, or its folder can neither be used nor made.
    """
    if path is None:
        return
    expect(option, not path.is_dir(), "a file to write", f"the folder {path}; name a file in it")
    if path.exists():
        expect(option, os.access(path, os.W_OK), "a file that may be written", f"{path}, which may not")
    else:
        _check_place(option, path, path.absolute().parent)


def check_output_folder(option: str, path: Path | None) -> None:
    """Check that files can be written into a folder that is there or can be made.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the folder; None where it was not asked for.

    Raises
    ------
    ValueError
        Where it is a file, or may not be written or made.
    """
    if path is not None:
        _check_place(option, path, path.absolute())


def check_not_read(option: str, path: Path | None, inputs: Iterable[Path]) -> None:
    """Check that what is written does not take the place of what is read.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the file to write; None where it was not asked for.
    inputs : iterable of Path
        Files that are read, or would be.

    Raises
    ------
    ValueError
        Where it is one of them.
    """
    if path is None or not path.exists():
        return
    same = next((one for one in inputs if one.exists() and one.samefile(path)), None)
    expect(option, same is None, "a file of its own", f"{path}, which is an input and would be lost; give another name")


def check_own_masks(option: str, folder: Path, names: Iterable[str]) -> None:
    """Check that masks and meta files that are written replace none but those of an earlier run.

    Parameters
    ----------
    option : str
        That gave the folder.
    folder : Path
        To write into.
    names : iterable of str
        Of the frames.

    Raises
    ------
    ValueError
        Where a file would be lost that another program wrote, or a person.
    """
    if not folder.is_dir() or (folder / SEGMENTS_FILE).is_file():
        return
    files = FrameFiles(folder)
    others = (files.find(name, (kind,)) for name in names for kind in ("mask.png", "meta.txt"))
    lost = next((path for path in others if path.exists()), None)
    expect(
        option,
        lost is None,
        f"a folder without masks and meta files, or with the {SEGMENTS_FILE} of an earlier run",
        f"{folder}, whose {lost.name if lost else ''} and others would be lost; give another folder",
    )


def check_plot_file(option: str, path: Path | None) -> None:
    """Check that a plot can be drawn and written.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the picture; None where it was not asked for.

    Raises
    ------
    ValueError
        As `check_output_file`, and for a format that matplotlib cannot write.
    RuntimeError
        Where matplotlib is not installed.
    """
    check_output_file(option, path)
    if path is not None:
        new_figure(path, 1, 1)


def check_csv_file(option: str, path: Path | None) -> None:
    """Check that a file of comma-separated values can be written.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the file; None where it was not asked for.

    Raises
    ------
    ValueError
        As `check_output_file`, and for another ending than .csv, without which bop_toolkit finds no results.
    """
    if path is not None:
        expect(option, path.suffix == ".csv", "a file that ends with .csv", path)
        check_output_file(option, path)


def check_view_file(option: str, path: Path | None) -> None:
    """Check that a Rerun recording can be written.

    Parameters
    ----------
    option : str
        That gave the path.
    path : Path or None
        Of the recording; None where it was not asked for.

    Raises
    ------
    ValueError
        As `check_output_file`, and for another ending than .rrd, which the viewer would not open.
    RuntimeError
        Where rerun-sdk is not installed.
    """
    if path is not None:
        expect(option, path.suffix == ".rrd", "a file that ends with .rrd", path)
        check_output_file(option, path)
        extra_module("rerun", "view")


def _check_place(option: str, path: Path, folder: Path) -> None:
    there = next(place for place in (folder, *folder.parents) if place.exists())
    expect(option, there.is_dir(), f"a folder for {path}", f"the file {there}")
    expect(
        option,
        os.access(there, os.W_OK | os.X_OK),
        f"a folder that may be written for {path}",
        f"{there}, which may not",
    )
