"""Hypotheses: poses, and how wrong they look; which of them differ, and what half turns of them there are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.objects.learned_object import LearnedObject

OTHER_DEG, LARGEST_MARGIN = 30.0, 0.3  # what differs by more is another pose, and how far that can be behind
SAME_TURN_DEG = 15.0  # between hypotheses that are one
FAR_WEIGHT = 0.22  # of the logarithm of the distance, without depth: about twice the settings' blind_wrong_by
PIXEL_SHARE = 30.0  # neighbouring pixels err together: so many count as one
LEAST_SPREAD_M, LEAST_SPREAD_RAD = 0.004, math.radians(1)  # a sensor's offset, and the model's own errors


@dataclass(frozen=True)
class Hypothesis:
    """A pose, and how wrong it looks.

    Parameters
    ----------
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Camera frame [m].
    wrongness : float
        Of points and image; 0 where all is as it should be.
    information : (6, 6) float64, optional
        As `refine` writes it.
    margin : float
        How much less wrong it is than the best one that is really another.
    blind : bool
        Whether there was no depth.
    tracked : bool
        Whether it was found near a track's prior, and no other was looked for.
    """

    rotation: np.ndarray
    translation: np.ndarray
    wrongness: float
    information: np.ndarray | None = None
    margin: float = LARGEST_MARGIN
    blind: bool = False
    tracked: bool = False


def doubt_of(one: Hypothesis) -> float:
    """Say how much speaks against a hypothesis, to choose among several.

    Without depth, a small side that is near can look like a large one that is far. There is more room far away: it
    grows with the square of the distance.

    Parameters
    ----------
    one : Hypothesis
        With its wrongness.

    Returns
    -------
    float
        Its wrongness, less what its distance speaks for it.
    """
    return one.wrongness - one.blind * FAR_WEIGHT * math.log(max(one.translation[2], 1e-3))


def different(ranked: Sequence[Hypothesis], most: int, apart_deg: float) -> list[Hypothesis]:
    """Choose the first ones that differ from all before them by an angle.

    Parameters
    ----------
    ranked : sequence of Hypothesis
        The best first.
    most : int
        How many at most.
    apart_deg : float
        Between two of them, at least [deg].

    Returns
    -------
    list of Hypothesis
        In the same order.
    """
    least_trace, chosen = 1 + 2 * math.cos(math.radians(apart_deg)), []
    rotations = np.array([one.rotation for one in ranked]).reshape(-1, 9)
    free = np.ones(len(rotations), bool)
    for i, one in enumerate(ranked):
        if free[i]:
            chosen.append(one)
            if len(chosen) == most:
                break
            free &= rotations @ rotations[i] < least_trace
    return chosen


def half_turned(some: Sequence[Hypothesis], known: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Turn hypotheses by half a turn about each axis of their boxes, as far as the results are not known yet.

    Parameters
    ----------
    some : sequence of Hypothesis
        Which to turn.
    known : sequence of Hypothesis
        What is there already.

    Returns
    -------
    list of Hypothesis
        The new ones.
    """
    least_trace, new = 1 + 2 * math.cos(math.radians(SAME_TURN_DEG)), []
    for one in some:
        for axis in range(3):
            turned = one.rotation @ _half_turn(axis)
            if all((turned * other.rotation).sum() < least_trace for other in (*known, *new)):
                new.append(Hypothesis(turned, one.translation, one.wrongness))
    return new


def is_other(rotation: np.ndarray, best: np.ndarray, learned: LearnedObject) -> bool:
    """Say whether a rotation shows an object otherwise than the best one does: its symmetries do not count.

    Parameters
    ----------
    rotation, best : (3, 3) float
        R_camera_object.
    learned : LearnedObject
        The object.

    Returns
    -------
    bool
        True for another.
    """
    least_cosine = math.cos(math.radians(OTHER_DEG))
    if learned.symmetry is Symmetry.Y:
        return float(rotation[:, 1] @ best[:, 1]) < least_cosine
    same = [np.eye(3), *(_half_turn("xyz".index(name)) for name in learned.half_turns)]
    return all(((rotation @ turn) * best).sum() < 1 + 2 * least_cosine for turn in same)


def covariance_of(one: Hypothesis, symmetry: Symmetry, rotation: np.ndarray) -> np.ndarray | None:
    """Make the covariance of a pose of the normal equations of its refinement.

    Parameters
    ----------
    one : Hypothesis
        After refinement.
    symmetry : Symmetry
        Of the object.
    rotation : (3, 3) float
        R_camera_object, as it is published.

    Returns
    -------
    (6, 6) float or None
        Of the position [m] and of turns about the camera's axes [rad]; None where nothing was refined.
    """
    if one.information is None or not one.information.any():
        return None
    x, y, z = one.translation
    # from (x / z, y / z, log z) to position
    shift = np.array([[z, 0, x], [0, z, y], [0, 0, z]])
    information = one.information / PIXEL_SHARE + np.diag([1e-1] * 3 + [1.0] * 3)
    spread = np.linalg.inv(information)
    change = np.zeros((6, 6))
    change[:3, 3:], change[3:, :3] = shift, np.eye(3)
    covariance = change @ spread @ change.T
    covariance += np.diag([LEAST_SPREAD_M**2] * 3 + [LEAST_SPREAD_RAD**2] * 3)
    if symmetry is Symmetry.Y:  # any turn about y
        axis = rotation[:, 1]
        covariance[3:, 3:] += math.pi**2 / 3 * np.outer(axis, axis)
    return (covariance + covariance.T) / 2


def _half_turn(axis: int) -> np.ndarray:
    turn = -np.eye(3)
    turn[axis, axis] = 1
    return turn
