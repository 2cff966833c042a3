"""Which estimate of a frame belongs to which track."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def associate(cost: np.ndarray, allowed: np.ndarray, unmatched: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of tracks and estimates with the least total cost, where a pair that is not made costs `unmatched`.

    Parameters: cost (T, D) of giving estimate d to track t; allowed (T, D) bool. Returns: tracks (P,), estimates (P,), each at most once.
    """
    possible = allowed & (cost < unmatched)
    tracks, estimates = linear_sum_assignment(np.where(possible, cost, unmatched))
    made = possible[tracks, estimates]
    return tracks[made], estimates[made]
