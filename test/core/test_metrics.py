import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.metrics import PoseError, box_corners, pose_error, rotation_error_deg, success_rates
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate


def turned(sequence, degrees):
    return Rotation.from_euler(sequence, degrees, degrees=True).as_matrix()


def pose(category, rotation=np.eye(3), translation=(0.0, 0.0, 1.0), size=(0.1, 0.2, 0.4)):
    return PoseEstimate(category, 1.0, rotation, np.array(translation), np.array(size))


@pytest.mark.parametrize("degrees", [0, 7, 90, 180])
def test_rotation_error_is_the_angle_of_the_difference(degrees):
    truth = turned("xyz", [10, 20, 30])
    assert rotation_error_deg(truth @ turned("z", degrees), truth, Symmetry.NONE) == pytest.approx(degrees, abs=1e-5)


def test_spin_about_y_does_not_count_for_axis_symmetric_objects():
    truth = turned("xyz", [10, 20, 30])
    spun = truth @ turned("y", 130)
    assert rotation_error_deg(spun, truth, Symmetry.Y) == pytest.approx(0, abs=1e-5)
    assert rotation_error_deg(spun, truth, Symmetry.NONE) == pytest.approx(130)
    assert rotation_error_deg(truth @ turned("x", 12), truth, Symmetry.Y) == pytest.approx(12)


def test_rounding_beyond_one_gives_zero_and_not_nan():
    assert rotation_error_deg(np.eye(3) * (1 + 1e-12), np.eye(3), Symmetry.NONE) == 0.0


def test_pose_error_by_hand():
    error = pose_error(pose("can", turned("y", 50), (0.03, 0.04, 1.0), (0.11, 0.2, 0.3)), pose("can"), Symmetry.Y)
    assert error.rotation_deg == pytest.approx(0, abs=1e-5)
    assert error.translation_m == pytest.approx(0.05)
    assert error.size_relative == pytest.approx((0.1 + 0 + 0.25) / 3)
    assert pose_error(pose("mug", turned("y", 50)), pose("mug"), Symmetry.NONE).rotation_deg == pytest.approx(50)


@pytest.mark.parametrize("symmetry", list(Symmetry))
@pytest.mark.parametrize("axis", "xz")
def test_with_either_end_right_half_turns_that_swap_the_ends_are_no_error(symmetry, axis):
    truth = pose("can", turned("xyz", [10, 20, 30]))
    swapped = pose("can", truth.rotation @ turned(axis, 180))
    assert pose_error(swapped, truth, symmetry).rotation_deg == pytest.approx(180)
    assert pose_error(swapped, truth, symmetry, either_end=True).rotation_deg == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("symmetry", list(Symmetry))
def test_with_either_end_right_the_smaller_error_counts(symmetry):
    for degrees, error in ((12, 12), (90, 90), (170, 10)):
        tilted = pose("can", turned("x", degrees))
        assert pose_error(tilted, pose("can"), symmetry, either_end=True).rotation_deg == pytest.approx(error)


def test_with_either_end_right_a_turn_about_y_is_an_error_of_what_has_no_symmetry():
    about_y = pose("mug", turned("y", 50))
    assert pose_error(about_y, pose("mug"), Symmetry.NONE, either_end=True).rotation_deg == pytest.approx(50)


def test_success_rates_count_misses_as_wrong_and_limits_as_right():
    errors = {
        "mug": [PoseError(5, 0.02, 0), PoseError(5.1, 0.02, 0), PoseError(4, 0.051, 0), None],
        "can": [PoseError(1, 0.01, 0)],
    }
    rates = success_rates(errors)
    assert rates["mug"] == {"5deg_2cm": 0.25, "5deg_5cm": 0.25, "10deg_2cm": 0.5, "10deg_5cm": 0.5, "10deg_10cm": 0.75}
    assert rates["mean"]["5deg_2cm"] == pytest.approx((0.25 + 1) / 2)
    assert success_rates({"mug": [None]})["mean"]["10deg_10cm"] == 0
    assert success_rates({}) == {}


def test_box_corners_of_a_turned_box():
    corners = box_corners(pose("mug", turned("z", 90)))
    # object (-x, -y, -z); 90 degrees about z take x to y and y to -x
    np.testing.assert_allclose(corners[0], [0.1, -0.05, 0.8])
    np.testing.assert_allclose(corners[7], [-0.1, 0.05, 1.2])
    np.testing.assert_allclose(corners.max(axis=0) - corners.min(axis=0), [0.2, 0.1, 0.4])
