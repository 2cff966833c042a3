"""Workspaces as people write them: six numbers, and a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import Workspace
from clipose_ros.formats.images import read_image


def read_area(path: Path) -> np.ndarray:
    """Read the part of the image that is looked at.

    Parameters
    ----------
    path : Path
        A picture as large as the depth image.

    Returns
    -------
    (H, W) bool
        True where it is not 0.

    Raises
    ------
    ValueError
        For a file that is no picture.
    """
    try:
        # as deep as it is: of 16 bits, 1 is not 0
        return read_image(path.expanduser(), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) > 0
    except ValueError as error:
        raise ValueError(f"workspace_mask: expected a picture that can be read, got {error}") from error


def read_workspace(box: str = "", mask: str = "") -> Workspace:
    """Read a workspace.

    Parameters
    ----------
    box : str
        Six numbers with spaces or commas between them: x_min x_max y_min y_max z_min z_max [m]; -inf and inf are open
        ends. Empty: no box.
    mask : str
        A picture as large as the depth image; pixels that are not 0 are looked at. Empty: all are.

    Returns
    -------
    Workspace
        Checked.

    Raises
    ------
    ValueError
        For what is no box, and for a file that is no picture.
    """
    try:
        numbers = tuple(float(word) for word in box.replace(",", " ").split())
    except ValueError:
        numbers = (0.0,)  # no box
    expect("workspace", len(numbers) in (0, 6), "six numbers: x_min x_max y_min y_max z_min z_max", repr(box))
    return Workspace(numbers, read_area(Path(mask)) if mask else None)
