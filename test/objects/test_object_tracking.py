"""Learned objects are tracked by a few steps from where the track expects them, and sought where that does not fit."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros import estimators
from clipose_ros.bench.object_tracking import TrackingBenchConfig, draw_sequence, measure_tracking, track_sequence
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import InstanceView, Observation, PoseEstimate
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.pipeline import Pipeline
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.tracking.tracker import Tracker


@pytest.fixture(scope="module")
def estimator(box_library):
    return estimators.load("gspose", objects_dir=box_library, warm=False)


@pytest.fixture(scope="module")
def box(box_library):
    return ObjectLibrary(box_library).read("box")


def tracked(estimator):
    return Pipeline(estimator, tracker=Tracker(symmetry=estimator.symmetry))


def turn_deg(rotation, truth):
    return np.degrees(np.linalg.norm(cv2.Rodrigues(rotation @ truth.T)[0]))


def test_a_moving_camera_keeps_its_objects(estimator, box):
    frames = list(draw_sequence([box], CpuRasterizer(), np.arange(12) / 30))
    row = track_sequence(tracked(estimator), frames, [box], [box])
    assert row["sought"] == 0 and row["missed"] == 0 and row["right"] == 1
    assert row["rotation_deg"] < 2.5 and row["translation_mm"] < 5


def test_an_object_that_is_not_where_it_was_expected_is_found_again(estimator, box):
    one = next(draw_sequence([box], CpuRasterizer(), [0.5]))
    (rotation, origin), view = one.poses[0], InstanceView(one.frame, one.detections.masks == 1)
    near = PoseEstimate("box", 0.9, cv2.Rodrigues(np.array([0.0, 0.05, 0]))[0] @ rotation, origin + 0.005, box.size)
    lost = replace(near, rotation=cv2.Rodrigues(np.array([0.0, 1.5, 0]))[0] @ rotation)
    for prior, stages in ((near, {"preparation", "refinement"}), (lost, {"search", "alignment"})):
        stopwatch = Stopwatch()
        observation = Observation(np.zeros((1, 3), np.float32), "box", prior=prior, view=view)
        (pose,) = estimator.estimate([observation], stopwatch)
        assert stages <= set(stopwatch.stages_ms) and ("search" in stopwatch.stages_ms) == (prior is lost)
        assert turn_deg(pose.rotation, rotation) < 3 and np.linalg.norm(pose.translation - origin) < 0.008
        assert pose.score > 0.5


def test_a_camera_that_jumps_finds_its_objects_again(estimator, box):
    frames = list(draw_sequence([box], CpuRasterizer(), [0, 1 / 30, 2 / 30, 3 / 30, 6.0, 6 + 1 / 30, 6 + 2 / 30]))
    row = track_sequence(tracked(estimator), frames, [box], [box])
    assert row["right"] == 1 and 0 < row["sought"] < 0.5


def test_sequences_are_the_same_each_time_and_hide_what_is_behind(box):
    first, second = (list(draw_sequence([box, box], CpuRasterizer(), [0.1], seed=3))[0] for _ in range(2))
    np.testing.assert_array_equal(first.frame.colour, second.frame.colour)
    np.testing.assert_array_equal(first.frame.depth, second.frame.depth)
    assert set(np.unique(first.detections.masks)) == {0, 1, 2}


def test_the_bench_measures_a_library(box_library):
    (row,) = measure_tracking(TrackingBenchConfig(box_library, instances=(1,), seconds=0.2))
    assert row["frames"] == 6 and row["instances"] == 1 and 0 < row["p50_ms"] < row["first_ms"]
    with pytest.raises(ValueError, match="--instances: expected at most the 1 objects"):
        measure_tracking(TrackingBenchConfig(box_library, instances=(2,)))
