"""From what the network says to a rotation: two axis directions with confidences (CLIPose eqs. 7-8, after GPV-Pose).

One object at a time and in plain floats: of so few numbers, numpy takes longer for one operation than Python for a
dozen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np

from clipose_ros.core.vectors import cross, inner, unit

MINIMUM_SINE = 1e-3  # below it y and x span no plane: 0.06°
MINIMUM_CONFIDENCE = 1e-6  # below it the confidences say nothing about who should yield
AGREEMENT = math.cos(math.radians(30))  # of two estimates of one direction
NOWHERE = (0.0, 0.0, 0.0)


def rotation_from_normals(
    y: Sequence[float], x: Sequence[float], confidence_y: float, confidence_x: float
) -> np.ndarray | None:
    """Rotation whose y and x axes are closest to two predicted directions that need not be perpendicular.

    The defect theta - pi/2 of the angle between them is shared: y turns by the part c_x / (c_x + c_y), x by the rest
    the other way, so the surer direction moves less. This minimises c_y a_y^2 + c_x a_x^2 over the turned angles a.

    Parameters: y, x, three numbers each, of any positive length; confidence_y, confidence_x >= 0.
    Returns: R (3, 3) with columns x, y, z; None where a direction is zero or not finite, y is parallel to x, both
    confidences are zero, or one is negative.
    """
    y, x, total = unit(y), unit(x), confidence_y + confidence_x
    if not (y and x and total > MINIMUM_CONFIDENCE and min(confidence_y, confidence_x) >= 0):
        return None
    z = cross(x, y)
    sine, cosine = math.hypot(*z), inner(x, y)
    if sine <= MINIMUM_SINE:
        return None
    angle = math.atan2(sine, cosine)
    turn_y = confidence_x / total * (angle - math.pi / 2)  # towards x
    turn_x = angle - math.pi / 2 - turn_y  # towards y
    # In their plane, a vector turned towards another is a sum of the two.
    x_of_x, y_of_x = math.sin(angle - turn_x) / sine, math.sin(turn_x) / sine
    y_of_y, x_of_y = math.sin(angle - turn_y) / sine, math.sin(turn_y) / sine
    return np.array([(x_of_x * a + y_of_x * b, x_of_y * a + y_of_y * b, c / sine) for a, b, c in zip(x, y, z)])


def dominant_direction(
    directions: Sequence[Sequence[float]], confidence: Sequence[float]
) -> tuple[Sequence[float], float]:
    """What K estimates of a direction agree on: the mean of those near the best supported one.

    The mean of all would be neither of two opposite answers.

    Parameters: directions, K times three numbers, unit; confidence, K numbers >= 0.
    Returns: a direction of any length, zero where no estimate has one and a confidence; its confidence: those in
    disagreement count as 0.
    """
    if len(directions) == 1:
        return directions[0] if confidence[0] > 0 else NOWHERE, confidence[0]
    supports = ([c * (inner(one, other) > AGREEMENT) for other, c in zip(directions, confidence)] for one in directions)
    support = max(supports, key=sum)
    return [sum(map(mul, support, along)) for along in zip(*directions)], sum(support) / len(support)
