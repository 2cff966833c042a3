"""The six categories of NOCS: ids, symmetry and mean sizes.

They serve the code that reads or scores NOCS's files, or trains on its categories. Every other caller asks the
estimator which names it answers and which symmetry they have.
"""

from __future__ import annotations

import numpy as np

from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry

# Index = NOCS class id - 1. The one-hot order of every model.
CATEGORIES = ("bottle", "bowl", "camera", "can", "laptop", "mug")

# Only the y axis of these is meaningful.
AXIS_SYMMETRIC = frozenset({"bottle", "bowl", "can"})

# Mean extents along x, y, z in REAL275 [m] (HS-Pose, GPV-Pose `get_mean_shape`).
MEAN_SIZES = {
    "bottle": np.array([0.087, 0.220, 0.089]),
    "bowl": np.array([0.165, 0.080, 0.165]),
    "camera": np.array([0.088, 0.128, 0.156]),
    "can": np.array([0.068, 0.146, 0.072]),
    "laptop": np.array([0.346, 0.200, 0.335]),
    "mug": np.array([0.146, 0.083, 0.114]),
}


# Ways in which the objects rest: standing first. A camera's lens points along +x: it lies on its back, or on the lens.
NOCS_RESTS = {
    "bottle": (Rest.Y, Rest.MINUS_Y, Rest.SIDE),
    "bowl": (Rest.Y, Rest.MINUS_Y),
    "camera": (Rest.Y, Rest.X, Rest.MINUS_X),
    "can": (Rest.Y, Rest.MINUS_Y, Rest.SIDE),
    "laptop": (Rest.Y,),
    "mug": (Rest.Y, Rest.MINUS_Y, Rest.SIDE),
}


def nocs_symmetry(category: str) -> Symmetry:
    """Say which turns of a category NOCS's evaluation ignores.

    Parameters
    ----------
    category : str
        One of the six. Any other name has no symmetry.

    Returns
    -------
    Symmetry
        Of the category.
    """
    return Symmetry.Y if category in AXIS_SYMMETRIC else Symmetry.NONE
