"""Plots as files. They need matplotlib, which is optional and slow to import."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from clipose_ros.core.validation import expect

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def new_figure(path: Path, width: float, height: float) -> Figure:
    """Make an empty figure for a file, after a check that matplotlib can write it.

    Parameters
    ----------
    path : Path
        Of the file; its name tells the format.
    width, height : float
        Of the picture [inch].

    Returns
    -------
    Figure
        Without axes.

    Raises
    ------
    RuntimeError
        Where matplotlib is not installed.
    ValueError
        For a format that it cannot write.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise RuntimeError("plot: expected matplotlib to be installed, got none; pip install matplotlib") from error
    figure = Figure(figsize=(width, height), layout="constrained")
    formats = figure.canvas.get_supported_filetypes()
    expect(
        f"plot {path}",
        path.suffix[1:].lower() in formats,
        f"a name that ends in one of {', '.join(formats)}",
        path.name,
    )
    return figure


def write_figure(figure: Figure, path: Path) -> None:
    """Write a figure; folders that the path names and that are not there are made.

    Parameters
    ----------
    figure : Figure
        What was drawn.
    path : Path
        As `new_figure` has checked it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
