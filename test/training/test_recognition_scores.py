"""The scores of what looks like a learned object: fitted weights keep the sign that their numbers have by meaning."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from training.recognition_scores import SIGNS, fitted


def test_what_speaks_against_an_object_never_speaks_for_it():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.3
    features = rng.normal(size=(400, len(SIGNS)))
    features[:, 0] -= 3 * right  # wrongness, as it should be
    features[:, 4] += 2 * right  # difference of colours, which by chance is larger where the object is
    weights = fitted(features, right)
    assert weights[1] < -0.5 and weights[5] == 0
    assert all(weight * sign >= 0 for weight, sign in zip(weights[1:], SIGNS))
    scores = 1 / (1 + np.exp(-(weights[0] + features @ weights[1:])))
    assert scores[right].mean() > 0.6 > 0.2 > scores[~right].mean()
    assert len(fitted(features[:, :4], right)) == 5
