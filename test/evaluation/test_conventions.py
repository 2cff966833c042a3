"""Poses by other conventions than the truth's: what makes all of a file wrong is named."""

import re
from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.types import PoseEstimate
from clipose_ros.evaluation.conventions import convention_doubts

CATEGORIES = ("bottle", "bowl", "camera", "can", "laptop", "mug")
BODY_OF_OPTICAL = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])


@pytest.fixture(scope="module")
def truth():
    """Objects on a table that a camera looks down on, from several sides."""
    rng = np.random.default_rng(0)
    level = Rotation.from_euler("x", 210, degrees=True)
    turns = Rotation.from_euler("y", rng.uniform(0, 360, 24)[:, None], degrees=True)
    return [
        PoseEstimate(
            CATEGORIES[i % 6],
            1.0,
            (level * turn).as_matrix(),
            rng.uniform((-0.3, -0.2, 0.7), (0.3, 0.2, 1.1)),
            rng.uniform(0.05, 0.3, 3),
        )
        for i, turn in enumerate(turns)
    ]


def noisy(pose, rng):
    """As an estimate is: a few degrees, centimetres and percent off."""
    return replace(
        pose,
        rotation=Rotation.from_rotvec(rng.normal(0, 0.03, 3)).as_matrix() @ pose.rotation,
        translation=pose.translation + rng.normal(0, 0.01, 3),
        size=pose.size * rng.uniform(0.9, 1.1, 3),
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda p: replace(p, rotation=p.rotation.T),
            "R: expected T_camera_object, row by row, got rotations that fit",
        ),
        (
            lambda p: replace(p, translation=BODY_OF_OPTICAL @ p.translation),
            "t: expected the camera's optical frame .*, got positions that fit the truth from a body frame",
        ),
        (lambda p: replace(p, size=0.5 * p.size), r"size: .*, got 0\.\d+ times those: half extents: double them"),
        (lambda p: replace(p, size=2 * p.size), "times those: twice the extents: halve them"),
        (lambda p: replace(p, size=100 * p.size), "times those: centimetres: divide them by 100"),
        (lambda p: replace(p, size=1000 * p.size), "times those: millimetres: divide them by 1000"),
        (
            lambda p: replace(p, category="Mug") if p.category == "mug" else p,
            r"categories: expected mug, got Mug \(4 times\): write it as the truth does",
        ),
    ],
)
def test_another_convention_is_named(truth, change, said):
    rng = np.random.default_rng(1)
    (doubt,) = convention_doubts([(change(noisy(true, rng)), true) for true in truth])
    assert re.search(said, doubt)


@pytest.mark.parametrize(
    "change",
    [
        lambda p, rng: p,
        lambda p, rng: replace(p, rotation=Rotation.random(rng=rng).as_matrix()),
        lambda p, rng: replace(p, rotation=p.rotation @ np.diag([1.0, -1, -1])),  # upside down
        lambda p, rng: replace(p, translation=p.translation + [0.5, 0, 0]),
        lambda p, rng: replace(p, size=p.size * rng.uniform(0.3, 3)),
        lambda p, rng: replace(p, size=p.size * 1.3),
        lambda p, rng: replace(p, category="bottle"),
    ],
)
def test_what_is_right_or_wrong_in_another_way_is_left_alone(truth, change):
    rng = np.random.default_rng(2)
    assert convention_doubts([(change(noisy(true, rng), rng), true) for true in truth]) == ()


def test_few_objects_tell_nothing(truth):
    assert convention_doubts([]) == ()
    assert convention_doubts([(replace(true, rotation=true.rotation.T), true) for true in truth[:4]]) == ()
