"""From a network's two axis directions and their confidences to a rotation (CLIPose eqs. 7-8, after GPV-Pose).

The functions work on one object at a time and in plain floats. With so few numbers, one operation of numpy takes
longer than a dozen of Python.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from operator import mul

import numpy as np

from clipose_ros.core.vectors import cross, inner, unit

MINIMUM_SINE = 1e-3  # of the angle between y and x: below it (0.06°) they span no plane
MINIMUM_CONFIDENCE = 1e-6  # of both together: below it they do not say which axis should move
AGREEMENT = math.cos(math.radians(30))  # two estimates of a direction agree within 30°
NOWHERE = (0.0, 0.0, 0.0)  # no direction


def rotation_from_normals(
    y: Sequence[float], x: Sequence[float], confidence_y: float, confidence_x: float
) -> np.ndarray | None:
    """Find the rotation whose y and x axes are closest to two predicted directions.

    The directions need not be perpendicular. They share the defect theta - pi/2 of the angle theta between them: y
    turns by the part c_x / (c_x + c_y) of it, and x turns by the rest the other way. So the surer direction moves
    less. This minimises c_y a_y^2 + c_x a_x^2, where a_y and a_x are the angles by which they turn.

    Parameters
    ----------
    y, x : sequence of 3 float
        Predicted directions of the axes, of any positive length. The rotation is in the same frame.
    confidence_y, confidence_x : float
        Confidences c_y and c_x, at least 0.

    Returns
    -------
    (3, 3) float or None
        Rotation with the columns x, y, z. None if a direction is zero or not finite, y is parallel to x, both
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
    # A vector that turns towards another is a sum of the two.
    x_of_x, y_of_x = math.sin(angle - turn_x) / sine, math.sin(turn_x) / sine
    y_of_y, x_of_y = math.sin(angle - turn_y) / sine, math.sin(turn_y) / sine
    return np.array([(x_of_x * a + y_of_x * b, x_of_y * a + y_of_y * b, c / sine) for a, b, c in zip(x, y, z)])


def dominant_direction(
    directions: Sequence[Sequence[float]], confidence: Sequence[float]
) -> tuple[Sequence[float], float]:
    """Find the direction on which K estimates agree: the mean of those near the best supported one.

    The mean of all would be wrong where they split between two opposite answers: it would be neither.

    Parameters
    ----------
    directions : sequence of K sequences of 3 float
        Estimates of one direction, unit vectors.
    confidence : sequence of K float
        Confidence of each, at least 0.

    Returns
    -------
    direction : sequence of 3 float
        Of any length. Zero if no estimate has both a direction and a confidence.
    confidence : float
        Mean of the confidences, where estimates that disagree count as 0.
    """
    if len(directions) == 1:
        return directions[0] if confidence[0] > 0 else NOWHERE, confidence[0]
    supports = ([c * (inner(one, other) > AGREEMENT) for other, c in zip(directions, confidence)] for one in directions)
    support = max(supports, key=sum)
    return [sum(map(mul, support, along)) for along in zip(*directions)], sum(support) / len(support)
