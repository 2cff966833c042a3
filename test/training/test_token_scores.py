"""The scores of objects found by tokens: fitted weights never speak against an object."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.formats.reference_views import ReferenceView
from training.recognition_scores import fitted
from training.token_scores import SIGNS, TIMES_WRONG, composed, main


def test_what_is_alike_never_speaks_against_an_object():
    rng = np.random.default_rng(0)
    right = rng.random(400) < 0.3
    features = rng.normal(size=(400, len(SIGNS)))
    features[:, 0] += 3 * right
    features[:, 2] -= 2 * right  # less alike, by chance
    weights = fitted(features, right, SIGNS, TIMES_WRONG)
    assert weights[1] > 0.5 and weights[3] == 0 and (weights[1:] * SIGNS >= 0).all()


def test_one_object_alone_is_refused(tmp_path):
    with pytest.raises(ValueError, match="references: expected two objects or more, got 1"):
        main((tmp_path,))


def test_objects_of_several_views_are_put_into_one_picture():
    views = []
    for number, paint in enumerate(((200, 0, 0), (0, 200, 0), (0, 0, 200))):
        colour, mask = np.full((120, 160, 3), 20, np.uint8), np.zeros((120, 160), bool)
        mask[40:80, 50:100] = True
        colour[mask] = paint
        views.append(ReferenceView(f"{number:04d}", colour, None, mask, np.eye(3), np.array([0.0, 0, 1])))
    colour, labels = composed(views, np.random.default_rng(1))
    assert colour.shape == (120, 160, 3) and set(np.unique(labels)) <= {0, 1, 2, 3} and (labels == 3).any()
    for number in np.unique(labels[labels > 0]):
        inside = colour[labels == number].astype(float).mean(axis=0)
        assert inside.argmax() == number - 1
    assert views[0].mask.sum() == 2000  # what was given is as it was
