import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from clipose_ros.core.decoding import dominant_direction, rotation_from_normals


def direction(degrees):
    """In the x-y plane, counted from +x."""
    return np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0


def angle_deg(rotation):
    return np.degrees(np.arctan2(rotation[1, :2], rotation[0, :2]))  # of the x and y columns


def test_perpendicular_axes_are_kept():
    for truth in Rotation.random(20, random_state=0).as_matrix():
        np.testing.assert_allclose(rotation_from_normals(truth[:, 1], truth[:, 0], 0.3, 0.9), truth, atol=1e-12)


@pytest.mark.parametrize(
    ("confidence_y", "confidence_x", "x_deg", "y_deg"),
    [(1, 1, -5, 85), (1, 0, -10, 80), (0, 1, 0, 90), (3, 1, -7.5, 82.5)],
)
def test_acute_axes_open_by_hand_computed_shares(confidence_y, confidence_x, x_deg, y_deg):
    """x at 0 degrees, y at 80: the ten missing degrees are shared."""
    rotation = rotation_from_normals(direction(80), direction(0), confidence_y, confidence_x)
    np.testing.assert_allclose(angle_deg(rotation), [x_deg, y_deg], atol=1e-9)


def test_obtuse_axes_close():
    np.testing.assert_allclose(
        angle_deg(rotation_from_normals(direction(110), direction(0), 1, 1)), [10, 100], atol=1e-9
    )


def test_result_is_a_rotation_that_minimises_the_weighted_squared_angles():
    rng = np.random.default_rng(3)
    for _ in range(30):
        y, x = (v / np.linalg.norm(v) for v in rng.normal(size=(2, 3)))
        confidence_y, confidence_x = rng.uniform(0.05, 1, 2)
        rotation = rotation_from_normals(y, x, confidence_y, confidence_x)
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        theta = np.arccos(y @ x)
        best = minimize_scalar(lambda a: confidence_y * a**2 + confidence_x * (theta - np.pi / 2 - a) ** 2).x
        assert np.arccos(np.clip(rotation[:, 1] @ y, -1, 1)) == pytest.approx(abs(best), abs=1e-5)


def test_input_length_does_not_matter():
    y, x = np.array([0.1, 2.0, 0.3]), np.array([1.0, 0.2, -0.4])
    np.testing.assert_allclose(rotation_from_normals(7 * y, 0.1 * x, 1, 1), rotation_from_normals(y, x, 1, 1))


@pytest.mark.parametrize(
    ("y", "x", "confidence_y", "confidence_x"),
    [
        ((0, 1, 0), (0, 2, 0), 1, 1),
        ((0, 1, 0), (0, -1, 0), 1, 1),
        ((0, 0, 0), (1, 0, 0), 1, 1),
        ((0, 1, 0), (0, 0, 0), 1, 1),
        ((np.nan, 1, 0), (1, 0, 0), 1, 1),
        ((0, 1, 0), (1, 0, 0), 0, 0),
        ((0, 1, 0), (1, 0, 0), 1, -0.1),
    ],
)
def test_degenerate_input_has_no_rotation(y, x, confidence_y, confidence_x):
    assert rotation_from_normals(y, x, confidence_y, confidence_x) is None


def test_dominant_direction_is_the_mean_of_those_that_agree():
    """Three near +x, one at -x: the odd one out counts as no confidence, and does not pull the mean."""
    directions = [direction(5), direction(-5), direction(0), direction(180)]
    mean, confidence = dominant_direction(directions, [0.8, 0.8, 0.4, 0.6])
    np.testing.assert_allclose(mean / np.linalg.norm(mean), [1, 0, 0], atol=1e-12)
    assert confidence == pytest.approx(0.5)


def test_dominant_direction_of_one_estimate_is_that_estimate():
    assert dominant_direction([(0.0, 0.6, 0.8)], [0.3]) == ((0.0, 0.6, 0.8), 0.3)


@pytest.mark.parametrize(
    ("directions", "confidence"),
    [([(0.0, 0.6, 0.8)], [0.0]), ([(0.0, 0.6, 0.8)] * 2, [0.0, 0.0]), ([(0.0, 0.0, 0.0)] * 2, [0.9, 0.9])],
)
def test_estimates_without_confidence_or_direction_agree_on_none(directions, confidence):
    assert not any(dominant_direction(directions, confidence)[0])


def test_dominant_direction_follows_confidence_not_numbers():
    mean, confidence = dominant_direction([(0.0, 0.0, 1.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0)], [0.1, 0.1, 0.9])
    np.testing.assert_allclose(mean / np.linalg.norm(mean), [0, 1, 0], atol=1e-12)
    assert confidence == pytest.approx(0.3)
