import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.spatial.transform import Rotation

from clipose_ros.core.decoding import dominant_direction, rotation_from_normals, unit

ONE = np.ones(1)


def direction(degrees):
    """In the x-y plane, counted from +x."""
    return np.array([[np.cos(np.radians(degrees)), np.sin(np.radians(degrees)), 0.0]])


def angle_deg(rotation):
    return np.degrees(np.arctan2(rotation[0, 1, :2], rotation[0, 0, :2]))  # of the x and y columns


def test_perpendicular_axes_are_kept():
    truth = Rotation.random(20, random_state=0).as_matrix()
    rotation, valid = rotation_from_normals(truth[:, :, 1], truth[:, :, 0], np.full(20, 0.3), np.full(20, 0.9))
    np.testing.assert_allclose(rotation, truth, atol=1e-12)
    assert valid.all()


@pytest.mark.parametrize(("confidence_y", "confidence_x", "x_deg", "y_deg"), [(1, 1, -5, 85), (1, 0, -10, 80), (0, 1, 0, 90), (3, 1, -7.5, 82.5)])
def test_acute_axes_open_by_hand_computed_shares(confidence_y, confidence_x, x_deg, y_deg):
    """x at 0 degrees, y at 80: the ten missing degrees are shared."""
    rotation, valid = rotation_from_normals(direction(80), direction(0), confidence_y * ONE, confidence_x * ONE)
    np.testing.assert_allclose(angle_deg(rotation), [x_deg, y_deg], atol=1e-9)
    assert valid.all()


def test_obtuse_axes_close():
    rotation, _ = rotation_from_normals(direction(110), direction(0), ONE, ONE)
    np.testing.assert_allclose(angle_deg(rotation), [10, 100], atol=1e-9)


def test_result_is_a_rotation_that_minimises_the_weighted_squared_angles():
    rng = np.random.default_rng(3)
    y, x = rng.normal(size=(2, 30, 3))
    y, x = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (y, x))
    confidence_y, confidence_x = rng.uniform(0.05, 1, (2, 30))
    rotation, valid = rotation_from_normals(y, x, confidence_y, confidence_x)
    assert valid.all()
    np.testing.assert_allclose(rotation.transpose(0, 2, 1) @ rotation, np.broadcast_to(np.eye(3), (30, 3, 3)), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1.0)
    for i in range(30):
        theta = np.arccos(y[i] @ x[i])
        best = minimize_scalar(lambda a: confidence_y[i] * a**2 + confidence_x[i] * (theta - np.pi / 2 - a) ** 2).x
        assert np.arccos(np.clip(rotation[i, :, 1] @ y[i], -1, 1)) == pytest.approx(abs(best), abs=1e-5)


def test_input_length_does_not_matter():
    y, x = np.array([[0.1, 2.0, 0.3]]), np.array([[1.0, 0.2, -0.4]])
    expected, _ = rotation_from_normals(y, x, ONE, ONE)
    np.testing.assert_allclose(rotation_from_normals(7 * y, 0.1 * x, ONE, ONE)[0], expected)


def test_degenerate_input_is_flagged_and_leaves_the_others_alone():
    y = np.array([[0, 1, 0], [0, 1, 0], [0, 1, 0], [0, 0, 0], [np.nan, 1, 0], [0, 1, 0]], dtype=float)
    x = np.array([[1, 0, 0], [0, 2, 0], [0, -1, 0], [1, 0, 0], [1, 0, 0], [1, 0, 0]], dtype=float)
    confidence = np.array([1, 1, 1, 1, 1, 0.0])
    rotation, valid = rotation_from_normals(y, x, confidence, confidence)
    assert valid.tolist() == [True, False, False, False, False, False]
    np.testing.assert_allclose(rotation[0], np.eye(3))
    assert np.isfinite(rotation).all()


def test_dominant_direction_is_the_mean_of_those_that_agree():
    """Three near +x, one at -x: the odd one out counts as no confidence, and does not pull the mean."""
    directions, _ = unit(np.array([[1, 0.1, 0], [1, -0.1, 0], [1, 0, 0], [-1, 0, 0]]))
    direction, confidence = dominant_direction(directions[None], np.array([[0.8, 0.8, 0.4, 0.6]]))
    np.testing.assert_allclose(direction, [[1, 0, 0]], atol=1e-12)
    assert confidence == pytest.approx([0.5])


def test_dominant_direction_of_one_estimate_is_that_estimate():
    direction, confidence = dominant_direction(np.array([[[0.0, 0.6, 0.8]], [[0.0, 0.0, 0.0]]]), np.array([[0.3], [0.9]]))
    np.testing.assert_allclose(direction, [[0, 0.6, 0.8], [0, 0, 0]], atol=1e-12)
    assert confidence[0] == pytest.approx(0.3)


def test_dominant_direction_follows_confidence_not_numbers():
    directions = np.array([[[0.0, 0, 1], [0, 0, 1], [0, 1, 0]]])
    direction, confidence = dominant_direction(directions, np.array([[0.1, 0.1, 0.9]]))
    np.testing.assert_allclose(direction, [[0, 1, 0]], atol=1e-12)
    assert confidence == pytest.approx([0.3])
