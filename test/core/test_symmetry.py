import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.symmetry import canonical_rotation, closest_to


def test_canonical_rotation_keeps_y_and_turns_x_towards_the_camera_x():
    for truth in Rotation.random(50, random_state=1).as_matrix():
        rotation = canonical_rotation(truth[:, 1])
        np.testing.assert_allclose(rotation[:, 1], truth[:, 1])
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
        assert np.linalg.det(rotation) == pytest.approx(1)
        turns = Rotation.from_euler("y", np.arange(0, 360, 5)[:, None], degrees=True).as_matrix()
        assert rotation[0, 0] >= (truth @ turns)[:, 0, 0].max() - 1e-9


def test_the_spin_of_a_symmetric_object_is_removed():
    truth = Rotation.from_euler("xyz", [30, 200, 10], degrees=True).as_matrix()
    spun = truth @ Rotation.from_euler("y", 77, degrees=True).as_matrix()
    np.testing.assert_allclose(canonical_rotation(truth[:, 1]), canonical_rotation(spun[:, 1]), atol=1e-12)


@pytest.mark.parametrize("y_axis", [[1.0, 0, 0], [-1.0, 0, 0]])
def test_an_object_along_the_camera_x_axis_still_has_a_rotation(y_axis):
    rotation = canonical_rotation(np.array(y_axis))
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(rotation[:, 1], y_axis)


def test_closest_to_follows_the_previous_x_and_refuses_a_parallel_one():
    rotation = closest_to(np.array([0.0, 1, 0]), np.array([0.1, 0.7, 0.1]))
    np.testing.assert_allclose(rotation[:, 0], np.array([1, 0, 1]) / np.sqrt(2))
    with pytest.raises(ValueError, match="previous_x: expected a direction not parallel"):
        closest_to(np.array([0.0, 1, 0]), np.array([0.0, -2, 0]))
