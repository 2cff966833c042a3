"""Which estimate of a frame belongs to which track."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def associate(cost: np.ndarray, unmatched: float) -> tuple[np.ndarray, np.ndarray]:
    """The pairs of tracks and estimates with the least total cost, where a pair that is not made costs `unmatched`.

    Parameters: cost (T, D) of giving estimate d to track t, infinite where that is not allowed.
    Returns: tracks (P,) in ascending order, estimates (P,), each at most once.
    """
    tracks, estimates = linear_sum_assignment(np.minimum(cost, unmatched))
    made = cost[tracks, estimates] < unmatched
    return tracks[made], estimates[made]
