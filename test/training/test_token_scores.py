"""The scores of objects found by tokens: fitted weights never speak against an object."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from training.recognition_scores import fitted
from training.token_scores import SIGNS, TIMES_WRONG, main


def test_what_is_alike_never_speaks_against_an_object():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.3
    features = rng.normal(size=(400, len(SIGNS)))
    features[:, 0] += 3 * right
    features[:, 2] -= 2 * right  # less alike, by chance
    weights = fitted(features, right, SIGNS, TIMES_WRONG)
    assert weights[1] > 0.5 and weights[3] == 0 and (weights[1:] >= 0).all()


def test_one_object_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="references: expected two objects or more, got 1"):
        main((tmp_path,))
