"""A calibrated score is a probability, and calibrated deviations are those of the errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import NOCS_RESTS
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Observation, PoseEstimate
from clipose_ros.core.uncertainty import SHARPNESS, Uncertainty, estimate_covariance, tilt_variance, turn_variance
from clipose_ros.estimators.clipose import CliposeSettings
from clipose_ros.inference.card import read_card
from training.calibrate import (
    CalibrationConfig,
    Outcomes,
    at_rest,
    calibrate,
    coverage,
    fitted,
    reliability,
    stated_deviations,
    tilt_and_turn,
    uncertainty,
)
from training.data.dataset import BatchConfig, GroundConfig
from training.export import export
from training.losses.directions import confidence_target


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


def erring(count, position_m, tilt, turn, seed=0):
    """Estimates whose errors are normal: the angles' are so many times wider than the confidences say."""
    rng = np.random.default_rng(seed)
    deviation = rng.uniform(0.02, 0.2, (count, 2))
    normal = rng.normal(size=(count, 6))
    error = [
        position_m * np.linalg.norm(normal[:, :3], axis=1),
        tilt * deviation[:, 0] * np.linalg.norm(normal[:, 3:5], axis=1),
        turn * deviation[:, 1] * np.abs(normal[:, 5]),
    ]
    return Outcomes(np.zeros(count, int), np.ones(count), np.ones(count, bool), np.column_stack(error), deviation)


def test_an_uncertainty_is_the_deviation_of_the_errors_also_where_some_are_all_wrong():
    found = erring(20_000, position_m=0.006, tilt=1.5, turn=0.7)
    fit = uncertainty(found, Symmetry.NONE)
    np.testing.assert_allclose(list(vars(fit).values()), [0.006, 1.5, 0.7], rtol=0.03)
    np.testing.assert_allclose(coverage(found, fit), 0.9, atol=0.01)
    flipped = found.error.copy()
    flipped[:1000] = (0.1, np.pi, np.pi)
    np.testing.assert_allclose(
        list(vars(uncertainty(replace(found, error=flipped), Symmetry.NONE)).values()), [0.006, 1.5, 0.7], rtol=0.1
    )
    assert uncertainty(found, Symmetry.Y).turn == 1


def test_errors_of_nothing_are_a_small_uncertainty():
    found = erring(20, 0.01, 1, 1)
    fit = uncertainty(replace(found, error=np.zeros_like(found.error)), Symmetry.NONE)
    assert fit == Uncertainty(1e-4, 1e-4, 1e-4)


def test_a_rotation_is_a_turn_about_y_and_a_tilt_of_it():
    turn, tilt = Rotation.from_euler("y", -0.8), Rotation.from_rotvec([0.3, 0, 0.4])
    np.testing.assert_allclose(tilt_and_turn((tilt * turn).as_matrix()), (0.5, 0.8))
    np.testing.assert_allclose(tilt_and_turn((turn * tilt).as_matrix()), (0.5, 0.8))
    np.testing.assert_allclose(tilt_and_turn(Rotation.from_euler("y", np.pi).as_matrix()), (0, np.pi), atol=1e-9)


def test_the_deviations_of_the_confidences_are_read_from_the_covariance():
    rotation = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    covariance = estimate_covariance(rotation, 0.9, 0.3, Symmetry.NONE, 0.01)
    pose = PoseEstimate("mug", 0.5, rotation, np.zeros(3), np.ones(3), covariance=covariance)
    np.testing.assert_allclose(stated_deviations(pose), np.sqrt([tilt_variance(0.9), turn_variance(0.3)]))


def test_confidences_are_trained_as_they_are_read():
    d = torch.tensor([0.0, 0.1, 0.3])
    assert confidence_target(d).tolist() == pytest.approx(torch.exp(-SHARPNESS / 2 * d**2).tolist())


@pytest.mark.parametrize(("tilt_deg", "told", "settles"), [(6, True, True), (40, True, False), (6, False, False)])
def test_success_is_that_of_the_pose_at_rest(tilt_deg, told, settles):
    """As the pipeline has it: what nearly stands is set onto a surface that is known, what leans is not."""

    class Estimator:
        def rests(self, name):
            return NOCS_RESTS[name]

        def symmetry(self, name):
            return Symmetry.Y

    up = np.array([0.0, -1.0, 0.0])
    rotation = Rotation.from_euler("z", 180 + tilt_deg, degrees=True).as_matrix()
    pose = PoseEstimate("can", 0.9, rotation, np.array([0.0, 0.3, 1.0]), np.array([0.07, 0.12, 0.07]))
    cloud = np.random.default_rng(0).uniform([-0.03, 0.24, 0.97], [0.03, 0.36, 1.03], (200, 3)).astype(np.float32)
    observation = Observation(cloud, "can", surface=np.array([*up, -0.36]) if told else None)
    settled = at_rest(pose, observation, Estimator())
    assert (settled is not pose) == settles
    if settles:
        np.testing.assert_allclose(settled.rotation[:, 1], up, atol=1e-9)
    level = Observation(cloud, "can", surface=np.array([*up, np.nan]))  # up alone
    assert at_rest(pose, level, Estimator()) is pose


def test_calibrating_writes_the_curves_and_their_reliability_to_the_card(checkpoint, views, tmp_path):
    export(checkpoint, tmp_path / "tiny")
    before = read_card(tmp_path / "tiny")
    calibrate(CalibrationConfig(tmp_path / "tiny", views, draws=1, points=512))
    after = read_card(tmp_path / "tiny")
    settings = CliposeSettings.of(after)
    curves, errors = settings.calibration, settings.uncertainty
    assert curves and set(curves) == set(errors) <= set(after.names)
    assert all(of_one.turn == 1 for name, of_one in errors.items() if name in ("bottle", "bowl", "can"))
    assert after.accuracy["reliability_on_held_out_views"]
    assert (after.networks, after.symmetry, after.training) == (before.networks, before.symmetry, before.training)


def test_of_two_networks_the_one_that_is_told_of_surfaces_is_calibrated(checkpoint, blind, views, tmp_path):
    export(checkpoint, tmp_path / "two", view=blind)
    before = read_card(tmp_path / "two").settings["view"]
    untold = BatchConfig(ground=GroundConfig(known=0.0))
    calibrate(CalibrationConfig(tmp_path / "two", views, draws=1, points=512, batches=untold))
    settings = CliposeSettings.of(read_card(tmp_path / "two"))
    assert settings.calibration and settings.uncertainty and settings.view == before
