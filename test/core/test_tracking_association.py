from itertools import combinations, permutations

import numpy as np
import pytest

from clipose_ros.tracking.association import associate

UNMATCHED = 10.0


def least_cost(cost, allowed):
    """Of all ways to pair some tracks with some estimates, the cost of the best: pairs, and UNMATCHED for each pair
    that could have been made.
    """
    T, D = cost.shape
    costs = []
    for count in range(min(T, D) + 1):
        for tracks in combinations(range(T), count):
            for estimates in permutations(range(D), count):
                if all(allowed[t, d] for t, d in zip(tracks, estimates)):
                    costs.append(sum(cost[t, d] for t, d in zip(tracks, estimates)) + UNMATCHED * (min(T, D) - count))
    return min(costs)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2), (1, 1)])
def test_no_other_pairing_costs_less(shape):
    rng = np.random.default_rng(sum(shape))
    for _ in range(20):
        cost, allowed = rng.uniform(-4, 14, shape), rng.random(shape) < 0.6
        tracks, estimates = associate(np.where(allowed, cost, np.inf), UNMATCHED)
        assert allowed[tracks, estimates].all() and (cost[tracks, estimates] < UNMATCHED).all()
        assert len(set(tracks)) == len(set(estimates)) == len(tracks)
        total = cost[tracks, estimates].sum() + UNMATCHED * (min(shape) - len(tracks))
        assert total == pytest.approx(least_cost(cost, allowed))


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
def test_nothing_to_pair(shape):
    tracks, estimates = associate(np.zeros(shape), UNMATCHED)
    assert len(tracks) == len(estimates) == 0


def test_a_good_pair_is_not_given_up_for_two_bad_ones():
    cost = np.array([[0.0, 8.0], [8.0, np.inf]])
    tracks, estimates = associate(cost, UNMATCHED)
    assert (tracks.tolist(), estimates.tolist()) == ([0], [0])
