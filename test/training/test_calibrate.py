"""A calibrated score is a probability."""

import numpy as np

from clipose_ros.estimators.clipose import CliposeSettings
from clipose_ros.inference.card import read_card
from training.calibrate import CalibrationConfig, calibrate, fitted, reliability
from training.export import export


def drawn(count, seed):
    """Overconfident estimates: what says c is right in c² of the cases."""
    rng = np.random.default_rng(seed)
    confidence = rng.random(count)
    return confidence, rng.random(count) < confidence**2


def test_the_fitted_curve_is_the_true_probability():
    curve = fitted(*drawn(20_000, seed=0))
    for confidence in (0.2, 0.5, 0.8):
        assert abs(curve(confidence) - confidence**2) < 0.04


def test_calibrated_scores_are_reliable_on_other_views():
    curve = fitted(*drawn(20_000, seed=0))
    confidence, success = drawn(20_000, seed=1)
    before, after = (
        max(abs(row["mean_score"] - row["success"]) for row in reliability(score, success))
        for score in (confidence, np.array([curve(c) for c in confidence]))
    )
    assert before > 0.2 and after < 0.05


def test_a_curve_rises_even_where_the_data_falls():
    rng = np.random.default_rng(0)
    confidence = rng.random(2000)
    curve = fitted(confidence, rng.random(2000) < 1 - confidence)
    assert list(curve.probability) == sorted(curve.probability)


def test_calibrating_writes_the_curves_and_their_reliability_to_the_card(checkpoint, views, tmp_path):
    export(checkpoint, tmp_path / "tiny")
    before = read_card(tmp_path / "tiny")
    calibrate(CalibrationConfig(tmp_path / "tiny", views, draws=1, points=512))
    after = read_card(tmp_path / "tiny")
    curves = CliposeSettings.of(after).calibration
    assert curves and set(curves) <= set(after.names)
    assert after.accuracy["reliability_on_held_out_views"]
    assert (after.networks, after.symmetry, after.training) == (before.networks, before.symmetry, before.training)
