"""The six NOCS categories: ids, symmetry and mean sizes."""

from __future__ import annotations

import numpy as np

# Index = NOCS class id - 1. The one-hot order of every model.
CATEGORIES = ("bottle", "bowl", "camera", "can", "laptop", "mug")

# Of these only the y axis is meaningful.
AXIS_SYMMETRIC = frozenset({"bottle", "bowl", "can"})

# REAL275 mean extents x, y, z [m] (HS-Pose, GPV-Pose `get_mean_shape`).
MEAN_SIZES = {
    "bottle": np.array([0.087, 0.220, 0.089]),
    "bowl": np.array([0.165, 0.080, 0.165]),
    "camera": np.array([0.088, 0.128, 0.156]),
    "can": np.array([0.068, 0.146, 0.072]),
    "laptop": np.array([0.346, 0.200, 0.335]),
    "mug": np.array([0.146, 0.083, 0.114]),
}
