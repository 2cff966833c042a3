"""From what the network says to a rotation: two axis directions with confidences (CLIPose eqs. 7-8, after GPV-Pose)."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from clipose_ros.core.vectors import cross, unit

MINIMUM_SINE = 1e-3  # below it y and x span no plane: 0.06°
MINIMUM_CONFIDENCE = 1e-6  # below it the confidences say nothing about who should yield
SHORTEST = 1e-9  # length of what has a direction
IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
AGREEMENT = np.cos(np.deg2rad(30))  # of two estimates of one direction


def rotation_from_normals(y: np.ndarray, x: np.ndarray, confidence_y: np.ndarray, confidence_x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rotation whose y and x axes are closest to two predicted directions that need not be perpendicular.

    The defect theta - pi/2 of the angle between them is shared: y turns by the part c_x / (c_x + c_y), x by the rest the other way,
    so the surer direction moves less. This minimises c_y a_y^2 + c_x a_x^2 over the turned angles a.

    Parameters: y, x (B, 3) of any positive length; confidence_y, confidence_x (B,) >= 0.
    Returns: R (B, 3, 3) with columns x, y, z; valid (B,) bool: False, with the identity as a placeholder that must not be used, where a direction
    is zero or not finite, y is parallel to x, both confidences are zero, or one is negative.
    """
    rotations = [_right_angle(*of_one) for of_one in zip(y.tolist(), x.tolist(), confidence_y.tolist(), confidence_x.tolist())]
    valid = np.array([rotation is not None for rotation in rotations], dtype=bool)
    return np.array([IDENTITY if rotation is None else rotation for rotation in rotations]).reshape(-1, 3, 3), valid


def _right_angle(y: Sequence[float], x: Sequence[float], confidence_y: float, confidence_x: float) -> tuple[tuple[float, ...], ...] | None:
    """Rows of the rotation of one object, in plain floats; None where there is none."""
    length_y, length_x, total = math.hypot(*y), math.hypot(*x), confidence_y + confidence_x
    if not (SHORTEST < length_y < math.inf and SHORTEST < length_x < math.inf):
        return None
    y, x = [a / length_y for a in y], [a / length_x for a in x]
    z = cross(x, y)
    sine, cosine = math.hypot(*z), sum(a * b for a, b in zip(x, y))
    if not (sine > MINIMUM_SINE and total > MINIMUM_CONFIDENCE and min(confidence_y, confidence_x) >= 0):
        return None
    angle = math.atan2(sine, cosine)
    turn_y = confidence_x / total * (angle - math.pi / 2)  # towards x
    turn_x = angle - math.pi / 2 - turn_y  # towards y
    # In their plane, a vector turned towards another is a sum of the two.
    x_of_x, y_of_x = math.sin(angle - turn_x) / sine, math.sin(turn_x) / sine
    y_of_y, x_of_y = math.sin(angle - turn_y) / sine, math.sin(turn_y) / sine
    return tuple((x_of_x * a + y_of_x * b, x_of_y * a + y_of_y * b, c / sine) for a, b, c in zip(x, y, z))


def dominant_direction(directions: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What K estimates of a direction agree on: the mean of those near the best supported one. The mean of all would be neither of two opposite answers.

    Parameters: directions (B, K, 3) unit; confidence (B, K) >= 0.
    Returns: (B, 3), zero where no estimate has a direction and a confidence; its confidence (B,): those in disagreement count as 0.
    """
    if directions.shape[1] == 1:
        return unit(directions[:, 0] * (confidence > 0))[0], confidence[:, 0]
    agree = directions @ directions.swapaxes(1, 2) > AGREEMENT
    best = (agree * confidence[:, None]).sum(axis=2).argmax(axis=1)
    member = agree[np.arange(len(agree)), best] * confidence
    return unit((member[:, None] @ directions)[:, 0])[0], member.mean(axis=1)
