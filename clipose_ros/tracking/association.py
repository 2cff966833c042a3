"""Which estimate of a frame belongs to which track."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import linear_sum_assignment

from clipose_ros.core.types import Instance, TrackedPose
from clipose_ros.core.vectors import median_point


def associate(cost: np.ndarray, unmatched: float) -> tuple[np.ndarray, np.ndarray]:
    """Find the pairs of tracks and estimates with the least total cost.

    Parameters
    ----------
    cost : (T, D) float
        Cost of giving estimate d to track t, infinite where that is not allowed.
    unmatched : float
        Cost of a pair that is not made. A pair that costs as much or more is not made.

    Returns
    -------
    tracks : (P,) int
        Index of the track of each pair, ascending.
    estimates : (P,) int
        Index of the estimate of each pair. Each occurs at most once.
    """
    tracks, estimates = linear_sum_assignment(np.minimum(cost, unmatched))
    made = cost[tracks, estimates] < unmatched
    return tracks[made], estimates[made]


def priors_of(
    tracked: Sequence[tuple[Instance, TrackedPose]], instances: Sequence[Instance], clouds: Sequence[np.ndarray]
) -> list[TrackedPose | None]:
    """Say where tracks expect the instances of a frame, before these are estimated.

    Parameters
    ----------
    tracked : sequence of (Instance, TrackedPose)
        Tracks at the time of the frame, each with the instance that it was last.
    instances : sequence of Instance
        Instances of the frame.
    clouds : sequence of (N, 3) float
        Points of each instance, camera frame [m].

    Returns
    -------
    list of (TrackedPose or None)
        For each instance the nearest track of its category. Its centre is less than its box's diagonal away from the
        middle of the points. Each track serves one instance at most; the detector's own id decides between two.
    """
    cost = np.full((len(tracked), len(instances)), np.inf)
    for column, (instance, points) in enumerate(zip(instances, clouds)):
        if not len(points):
            continue
        middle = median_point(points)
        for row, (last, pose) in enumerate(tracked):
            away = np.linalg.norm(pose.translation - middle) / np.linalg.norm(pose.size)
            if pose.category == instance.category and away < 1:
                cost[row, column] = away - (instance.id != "" and instance.id == last.id)
    priors: list[TrackedPose | None] = [None] * len(instances)
    for row, column in zip(*associate(cost, unmatched=1.0)):
        priors[column] = tracked[row][1]
    return priors
