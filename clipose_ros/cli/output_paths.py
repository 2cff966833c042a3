"""Checks of where a command is to write, before it works for minutes. They make nothing."""

from __future__ import annotations

import os
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.formats.extras import extra_module
from clipose_ros.formats.plot_files import new_figure


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
