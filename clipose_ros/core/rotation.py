"""Other forms of rotation matrices, at a tenth of scipy's cost: its rotations check and convert what here is known to
be one.
"""

from __future__ import annotations

import math

import numpy as np

from clipose_ros.core.vectors import dot

# A vector times these is the matrix of its cross product: [v] w = v x w.
CROSS = np.array(
    [[[0, 0, 0], [0, 0, -1], [0, 1, 0]], [[0, 0, 1], [0, 0, 0], [-1, 0, 0]], [[0, -1, 0], [1, 0, 0], [0, 0, 0]]],
    dtype=float,
)


def turned(rotations: np.ndarray, rotation_vectors: np.ndarray) -> np.ndarray:
    """Rotations (B, 3, 3), turned about vectors (B, 3) by their lengths [rad], by Rodrigues' formula in half angles."""
    # no angle: the quotient below becomes its limit
    half = np.maximum(np.sqrt(dot(rotation_vectors, rotation_vectors)) / 2, 1e-30)[:, None]
    turn = ((np.sin(half) / half * rotation_vectors) @ CROSS.reshape(3, 9)).reshape(-1, 3, 3)
    return rotations + turn @ (np.cos(half)[..., None] * rotations + turn @ rotations / 2)


def quaternion(rotation: np.ndarray) -> tuple[float, float, float, float]:
    """Unit quaternion x, y, z, w of a rotation (3, 3), its largest component positive."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    # Four times each product of two components (Shepperd). Each row is the quaternion, scaled; the one with the largest
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
