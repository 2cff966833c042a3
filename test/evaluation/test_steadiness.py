from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros import estimators
from clipose_ros.core.types import PoseEstimate
from clipose_ros.evaluation.steadiness import ErrorSeries, measure_steadiness
from clipose_ros.pipeline import Pipeline

DEMO = Path(__file__).resolve().parents[2] / "launch" / "demo"


def pose(category, degrees_about_y, degrees_about_x, shift_m):
    rotation = Rotation.from_euler("xy", [degrees_about_x, degrees_about_y], degrees=True).as_matrix()
    return PoseEstimate(category, 0.9, rotation, np.array([shift_m, 0, 1.0]), np.full(3, 0.1))


@pytest.mark.parametrize(("category", "mean_deg", "jitter_deg"), [("mug", 6.0, 12.0), ("can", 0.0, 0.0)])
def test_error_and_jitter_are_those_of_the_hand(category, mean_deg, jitter_deg):
    """A pose that spins by plus and minus six degrees about its axis, and steps by 1 cm to and fro."""
    series, truth = ErrorSeries(), pose(category, 0, 0, 0)
    for k in range(5):
        series.add(pose(category, 6 * (-1) ** k, 0, 0.01 * (k % 2)), truth)
    mean, mean_cm, size, p95, p95_cm, jitter, jitter_cm = series.row()
    assert (mean, size, p95, jitter) == pytest.approx((mean_deg, 0, mean_deg, jitter_deg), abs=1e-9)
    assert (mean_cm, p95_cm, jitter_cm) == pytest.approx((0.4, 1.0, 1.0), abs=1e-9)


def test_every_object_of_the_demo_keeps_its_identity_and_becomes_steadier(write_model):
    """The tiny network gives the mean of the visible points: not the truth, but as unsteady as the masks are."""
    found = measure_steadiness(Pipeline(estimators.load(str(write_model()))), DEMO, rate_hz=15)
    assert [category for _, category in sorted(found.alone)] == ["laptop", "mug", "bowl", "bottle", "can", "camera"]
    assert all(len(tracks) == 1 for tracks in found.tracks.values()) and len(found.times_ms) == 32
    for key in found.alone:
        assert found.tracked[key].row()[-1] < found.alone[key].row()[-1]
