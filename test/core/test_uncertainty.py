"""A confidence stands for a deviation, and the covariance of a pose says about which axes of the camera it lies."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.uncertainty import (
    FREE_SPIN,
    FREE_TILT,
    SHARPNESS,
    Uncertainty,
    estimate_covariance,
    narrowed,
    tilt_variance,
    turn_variance,
    turned_covariance,
)

UPRIGHT = np.diag([1.0, -1.0, -1.0])
ASKEW = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()


def mean_confidence(axis, turns):
    """What a network learns to say of an axis that such small turns (N, 3) move."""
    moved = Rotation.from_rotvec(turns).apply(axis)
    return np.exp(-SHARPNESS / 2 * np.square(moved - axis).sum(axis=1)).mean()


@pytest.mark.parametrize("deg", [1.0, 3.0, 8.0, 15.0])
def test_the_deviation_of_directions_is_recovered_from_the_confidence_that_they_deserve(deg):
    drawn = np.random.default_rng(0).normal(scale=np.radians(deg), size=(200_000, 3))
    tilts = mean_confidence([0, 1, 0], drawn * [1, 0, 1])
    turns = mean_confidence([1, 0, 0], drawn * [0, 1, 0])
    assert np.degrees(np.sqrt(tilt_variance(tilts))) == pytest.approx(deg, rel=0.03)
    assert np.degrees(np.sqrt(turn_variance(turns))) == pytest.approx(deg, rel=0.03)


def test_without_any_confidence_nothing_is_known_and_with_all_of_it_not_everything():
    rng = np.random.default_rng(0)
    anywhere = np.linalg.norm(Rotation.random(50_000, rng=rng).as_matrix()[:, :, 1] - [0, 1, 0], axis=1)
    angles = 2 * np.arcsin(anywhere / 2)
    assert pytest.approx(np.square(angles).mean() / 2, rel=0.02) == FREE_TILT  # of its two components
    for confidence in (0.0, -0.1, 1e-300, float("nan")):
        assert (tilt_variance(confidence), turn_variance(confidence)) == (FREE_TILT, FREE_SPIN)
    for confidence in (1.0, 1.0001):
        assert 0 < tilt_variance(confidence) == turn_variance(confidence) < np.radians(0.5) ** 2


def test_a_mug_whose_handle_is_hidden_is_unsure_about_its_y_axis_and_sure_across():
    covariance = estimate_covariance(ASKEW, 0.95, 0.2, Symmetry.NONE, position_m=0.005)
    x, y, z = ASKEW.T
    across, about = [np.degrees(np.sqrt(axis @ covariance[3:, 3:] @ axis)) for axis in (x, y)]
    assert across < 3 and about > 50
    assert z @ covariance[3:, 3:] @ z == pytest.approx(x @ covariance[3:, 3:] @ x)
    np.testing.assert_array_equal(covariance[:3], np.hstack([0.005**2 * np.eye(3), np.zeros((3, 3))]))


def test_what_is_alike_all_around_y_turns_freely_whatever_x_is_worth():
    sure = estimate_covariance(ASKEW, 0.95, 0.99, Symmetry.Y, 0.005)
    np.testing.assert_array_equal(sure, estimate_covariance(ASKEW, 0.95, 0.01, Symmetry.Y, 0.005, turn=0.1))
    y = ASKEW[:, 1]
    assert y @ sure[3:, 3:] @ y == pytest.approx(FREE_SPIN)


@pytest.mark.parametrize("symmetry", Symmetry)
@pytest.mark.parametrize(("confidence_y", "confidence_x"), [(0.9, 0.9), (0.99, 0.05), (0.1, 1.0), (0.0, 0.0)])
def test_it_is_a_covariance_and_turns_with_the_frame(confidence_y, confidence_x, symmetry):
    before, after = (
        estimate_covariance(rotation, confidence_y, confidence_x, symmetry, 0.01) for rotation in (UPRIGHT, ASKEW)
    )
    frame = ASKEW @ UPRIGHT.T
    np.testing.assert_allclose(turned_covariance(before, frame, frame), after, atol=1e-12)
    np.testing.assert_array_equal(after, after.T)
    assert np.linalg.eigvalsh(after).min() > 0


def test_factors_multiply_deviations():
    plain, wider = (estimate_covariance(np.eye(3), 0.9, 0.8, Symmetry.NONE, 0.01, *factors) for factors in ((), (2, 3)))
    np.testing.assert_allclose(np.diag(wider) / np.diag(plain), [1, 1, 1, 4, 9, 4])


def test_what_is_told_narrows_and_the_rest_stays():
    root = np.random.default_rng(0).normal(size=(6, 6))
    covariance, told = root @ root.T, np.eye(6)[[1, 3]]
    after = narrowed(covariance, told, np.array([1e-4, 1e6]))
    assert after[1, 1] == pytest.approx(1e-4) and np.linalg.eigvalsh(after).min() > 0
    others = [0, 2, 3, 4, 5]  # 3 was known better before
    np.testing.assert_allclose(after[np.ix_(others, others)], covariance[np.ix_(others, others)])


@pytest.mark.parametrize("values", [(0.0,), (0.01, -1.0), (0.01, 1.0, float("inf")), (0.01, "wide"), (0.01, True)])
def test_impossible_uncertainties_are_refused(values):
    with pytest.raises(ValueError, match=r"uncertainty\.\w+: expected a number between 0 and 1000, got"):
        Uncertainty(*values)
