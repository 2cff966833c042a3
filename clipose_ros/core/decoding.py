"""From what the network says to a rotation: two axis directions with confidences (CLIPose eqs. 7-8, after GPV-Pose)."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.vectors import cross, dot, unit

MINIMUM_SINE = 1e-3  # below it y and x span no plane: 0.06°
MINIMUM_CONFIDENCE = 1e-6  # below it the confidences say nothing about who should yield
AGREEMENT = np.cos(np.deg2rad(30))  # of two estimates of one direction


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
    z = cross(x, y)
    sine = np.sqrt(dot(z, z))
    total = confidence_x + confidence_y
    valid = y_valid & x_valid & (sine > MINIMUM_SINE) & (total > MINIMUM_CONFIDENCE) & (np.minimum(confidence_x, confidence_y) >= 0)
    sine, total = np.where(valid, sine, 1.0), np.where(valid, total, 1.0)
    angle = np.arctan2(sine, dot(y, x))
    turn_y = confidence_x / total * (angle - np.pi / 2)
    turn_x = angle - np.pi / 2 - turn_y
    rotation = np.stack([between(x, y, turn_x, angle, sine), between(y, x, turn_y, angle, sine), z / sine[:, None]], axis=-1)
    return np.where(valid[:, None, None], rotation, np.eye(3)), valid


def between(a: np.ndarray, b: np.ndarray, turn: np.ndarray, angle: np.ndarray, sine: np.ndarray) -> np.ndarray:
    """Unit vectors a (B, 3) turned towards unit vectors b (B, 3) by `turn` (B,) [rad], where `angle` (B,) lies between them and `sine` is its sine."""
    return (np.sin(angle - turn) / sine)[:, None] * a + (np.sin(turn) / sine)[:, None] * b


def dominant_direction(directions: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What K estimates of a direction agree on: the mean of those near the best supported one. The mean of all would be neither of two opposite answers.

    Parameters: directions (B, K, 3) unit; confidence (B, K) >= 0.
    Returns: (B, 3), zero where no estimate has a direction and a confidence; its confidence (B,): those in disagreement count as 0.
    """
    agree = directions @ directions.swapaxes(1, 2) > AGREEMENT
    best = (agree * confidence[:, None]).sum(axis=2).argmax(axis=1)
    member = agree[np.arange(len(agree)), best] * confidence
    return unit((member[:, None] @ directions)[:, 0])[0], member.mean(axis=1)
