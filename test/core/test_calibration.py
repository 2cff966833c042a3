import numpy as np
import pytest

from clipose_ros.core.calibration import Calibration


@pytest.mark.parametrize("knots", [((0.1, 0.4, 0.4, 0.9), (0.0, 0.2, 0.6, 0.8)), ((0.3,), (0.7,))])
def test_a_calibration_is_straight_lines_between_its_knots_and_level_beyond(knots):
    confidences = np.concatenate([np.linspace(0, 1, 41), knots[0]])
    np.testing.assert_allclose(
        [Calibration(*knots)(c) for c in confidences.tolist()], np.interp(confidences, *knots), atol=1e-15
    )


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        (((0.5, 0.1), (0.0, 1.0)), "calibration.confidence: expected ascending numbers"),
        (((0.1, 0.5), (1.0,)), "calibration: expected 2 probabilities, got 1"),
        (((), ()), "calibration.confidence: expected ascending numbers"),
        (((0.1,), (1.5,)), "calibration.probability: expected ascending numbers"),
    ],
)
def test_impossible_knots_are_refused(knots, message):
    with pytest.raises(ValueError, match=message):
        Calibration(*knots)


def test_what_is_no_confidence_gets_the_least_probability():
    assert Calibration((0.2, 0.8), (0.1, 0.9))(float("nan")) == 0.1
