"""Calibrated scores of a segmenter: probabilities, in the card."""

import numpy as np
import pytest

from clipose_ros.core.calibration import Calibration
from clipose_ros.inference.card import read_card, settings_from
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.depth import DepthSegmenterSettings
from training.calibrate_segmenter import best_least, calibrate_segmenter, instance_outcomes
from training.measure_segmenter import scene_frames
from training.scenes import SceneConfig


def test_the_card_holds_what_scores_mean(tiny_segmenter):
    before = segmenter_of(tiny_segmenter)
    calibrate_segmenter(tiny_segmenter, scenes=12, seed=5)
    card = read_card(tiny_segmenter)
    settings = settings_from(DepthSegmenterSettings, card)
    assert settings.calibration is not None and 0 <= settings.least_score < 1
    rows = card.accuracy["reliability_on_generated_scenes"]
    assert sum(row["instances"] for row in rows) > 0 and all(0 <= row["success"] <= 1 for row in rows)
    after = segmenter_of(tiny_segmenter)
    for frame, _ in scene_frames(77, 3, SceneConfig(empty=0.0)):
        scores = {i.category: i.score for i in after.segment(frame).instances}
        assert all(settings.least_score <= score <= max(settings.calibration.probability) for score in scores.values())
        assert len(after.segment(frame).instances) <= len(before.segment(frame).instances)


def test_without_instances_nothing_is_fitted(write_segmenter):
    with pytest.raises(ValueError, match="model: expected one that finds at least 20 instances in 2 scenes"):
        calibrate_segmenter(write_segmenter(surest="nothing"), scenes=2)


def test_outcomes_count_what_is_there(tiny_segmenter):
    score, right, scene, objects = instance_outcomes(segmenter_of(tiny_segmenter), 6, 3, SceneConfig(empty=0.0))
    assert len(score) == len(right) == len(scene) and objects >= right.sum() and scene.max(initial=0) < 6


def test_the_least_score_leaves_out_what_is_rather_wrong():
    score = np.array([0.95, 0.9, 0.8, 0.3, 0.2, 0.1])
    right = np.array([True, True, True, False, False, True])
    assert 0.3 < best_least(score, right, objects=4) <= 0.8
    assert best_least(score, np.ones(6, bool), objects=6) <= 0.1


def test_settings_read_the_calibration_back():
    settings = DepthSegmenterSettings(calibration=Calibration((0.1, 0.9), (0.0, 0.8)))
    assert DepthSegmenterSettings(**settings.as_mapping()) == settings
    assert "calibration" not in DepthSegmenterSettings().as_mapping()
    with pytest.raises(ValueError, match="calibration"):
        DepthSegmenterSettings(calibration={"confidence": [0.5], "probability": [0.1, 0.2]})
