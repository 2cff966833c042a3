"""Rotation matrices: turned by rotation vectors, and as quaternions.

This costs a tenth of scipy's rotations, which check and convert every matrix. Here it is known to be a rotation.
"""

from __future__ import annotations

import math

import numpy as np

from clipose_ros.core.vectors import dot

# The product of a vector v and these is the matrix [v] of its cross product: [v] w = v x w.
CROSS = np.array(
    [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]],
    dtype=float,
)


def turned(rotations: np.ndarray, rotation_vectors: np.ndarray) -> np.ndarray:
    """Turn rotations about axes of their target frame, by Rodrigues' formula in half angles.

    Parameters
    ----------
    rotations : (B, 3, 3) float
        For example R_camera_object.
    rotation_vectors : (B, 3) float
        Axes of the turns, in the camera frame for R_camera_object. Their lengths are the angles [rad].

    Returns
    -------
    (B, 3, 3) float
        exp(rotation_vectors) @ rotations.
    """
    # Without an angle, the quotient below becomes its limit.
    half = np.maximum(np.sqrt(dot(rotation_vectors, rotation_vectors)) / 2, 1e-30)[:, None]
    turn = ((np.sin(half) / half * rotation_vectors) @ CROSS.reshape(3, 9)).reshape(-1, 3, 3)
    return rotations + turn @ (np.cos(half)[..., None] * rotations + turn @ rotations / 2)


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Give the unit quaternion of a rotation.

    Parameters
    ----------
    rotation : (3, 3) float
        Rotation matrix.

    Returns
    -------
    x, y, z, w : float
        Quaternion of length 1. Its largest component is positive.
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    # Four times each product of two components (Shepperd). Each row is the quaternion, scaled. The row with the largest
    # square keeps all digits.
    products = (
        (1 + xx - yy - zz, xy + yx, xz + zx, zy - yz),
        (xy + yx, 1 - xx + yy - zz, yz + zy, xz - zx),
        (xz + zx, yz + zy, 1 - xx - yy + zz, yx - xy),
        (zy - yz, xz - zx, yx - xy, 1 + xx + yy + zz),
    )
    x, y, z, w = max((row[i], row) for i, row in enumerate(products))[1]
    length = math.hypot(x, y, z, w)
    return x / length, y / length, z / length, w / length
