import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.rotation import quaternion, turned


@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-6, 0.3, 3.0, np.pi, 7.0])
def test_turns_are_those_of_scipy_whatever_the_angle(angle):
    axes = np.random.default_rng(0).normal(size=(20, 3))
    vectors = angle * axes / np.linalg.norm(axes, axis=1, keepdims=True)
    rotations = Rotation.random(20, random_state=1)
    expected = (Rotation.from_rotvec(vectors) * rotations).as_matrix()
    np.testing.assert_allclose(turned(rotations.as_matrix(), vectors), expected, atol=1e-14)


def test_no_turns_at_all():
    assert turned(np.zeros((0, 3, 3)), np.zeros((0, 3))).shape == (0, 3, 3)


def test_quaternions_are_those_of_scipy_wherever_the_axis_points():
    halves = Rotation.from_rotvec(np.pi * np.concatenate([np.eye(3), -np.eye(3)]))
    for rotation in Rotation.concatenate([Rotation.random(200, random_state=0), halves, Rotation.identity(1)]):
        ours, expected = np.array(quaternion(rotation.as_matrix())), rotation.as_quat()
        np.testing.assert_allclose(ours * np.sign(ours @ expected), expected, atol=1e-14)
        assert np.linalg.norm(ours) == pytest.approx(1, abs=1e-15) and max(ours) == max(abs(ours))


def test_a_rotation_of_float32_has_a_unit_quaternion():
    rotation = Rotation.random(random_state=3)
    rounded = quaternion(rotation.as_matrix().astype(np.float32))
    np.testing.assert_allclose(np.linalg.norm(rounded), 1, atol=1e-15)
    np.testing.assert_allclose(np.abs(rotation.as_quat() @ rounded), 1, atol=1e-7)
