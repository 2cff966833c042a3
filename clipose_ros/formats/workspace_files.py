"""Workspaces as people write them: six numbers, and a picture."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import Workspace


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
    picture = cv2.imread(str(path.expanduser()), cv2.IMREAD_GRAYSCALE)
    expect("workspace_mask", picture is not None, "a picture that can be read", path)
    return picture > 0


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
