"""From what the network says to a rotation: two axis directions with confidences (CLIPose eqs. 7-8, after GPV-Pose)."""

from __future__ import annotations

import numpy as np

MINIMUM_SINE = 1e-3  # below it y and x span no plane: 0.06°
MINIMUM_CONFIDENCE = 1e-6  # below it the confidences say nothing about who should yield
AGREEMENT = np.cos(np.deg2rad(30))  # of two estimates of one direction


def turn(vectors: np.ndarray, axes: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Rodrigues' rotation of `vectors` (B, 3) about unit `axes` (B, 3) by `angles` (B,) [rad]."""
    cosine, sine = np.cos(angles)[:, None], np.sin(angles)[:, None]
    along = np.sum(axes * vectors, axis=1, keepdims=True)
    return vectors * cosine + np.cross(axes, vectors) * sine + axes * along * (1 - cosine)


def rotation_from_normals(y: np.ndarray, x: np.ndarray, confidence_y: np.ndarray, confidence_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation whose y and x axes are closest to two predicted directions that need not be perpendicular.

    The defect theta - pi/2 of the angle between them is shared: y turns by the part c_x / (c_x + c_y), x by the rest the other way,
    so the surer direction moves less. This minimises c_y a_y^2 + c_x a_x^2 over the turned angles a.

    Parameters: y, x (B, 3) of any positive length; confidence_y, confidence_x (B,) >= 0.
    Returns: R (B, 3, 3) with columns x, y, z; valid (B,) bool: False, with the identity as a placeholder that must not be used, where a direction
    is zero or not finite, y is parallel to x, both confidences are zero, or one is negative.
    """
    y, y_valid = unit(y)
    x, x_valid = unit(x)
    axis = np.cross(y, x)
    sine = np.linalg.norm(axis, axis=1)
    total = confidence_x + confidence_y
    valid = y_valid & x_valid & (sine > MINIMUM_SINE) & (total > MINIMUM_CONFIDENCE) & (np.minimum(confidence_x, confidence_y) >= 0)
    axis = axis / np.where(valid, sine, 1.0)[:, None]
    defect = np.arctan2(sine, np.sum(y * x, axis=1)) - np.pi / 2
    share_y = confidence_x / np.where(valid, total, 1.0)
    y = turn(y, axis, share_y * defect)
    x = turn(x, axis, -(1.0 - share_y) * defect)
    z = np.cross(x, y)
    z, _ = unit(z)
    rotation = np.stack([np.cross(y, z), y, z], axis=-1)
    return np.where(valid[:, None, None], rotation, np.eye(3)), valid


def dominant_direction(directions: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What K estimates of a direction agree on: the mean of those near the best supported one. The mean of all would be neither of two opposite answers.

    Parameters: directions (B, K, 3) unit; confidence (B, K) >= 0.
    Returns: (B, 3), zero where no estimate has a direction and a confidence; its confidence (B,): those in disagreement count as 0.
    """
    agree = np.einsum("bki,bji->bkj", directions, directions) > AGREEMENT
    support = (agree * confidence[:, None]).sum(axis=2)
    member = np.take_along_axis(agree, support.argmax(axis=1)[:, None, None], axis=1)[:, 0] * confidence
    return unit(np.einsum("bk,bki->bi", member, directions))[0], member.mean(axis=1)


def unit(vectors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vectors (B, 3) at length 1, and which of them have a direction at all: (B,) bool; the others become zero."""
    vectors = np.asarray(vectors, dtype=np.float64)
    length = np.linalg.norm(vectors, axis=1)
    valid = np.isfinite(length) & (length > 1e-9)
    return np.where(valid[:, None], vectors, 0.0) / np.where(valid, length, 1.0)[:, None], valid
