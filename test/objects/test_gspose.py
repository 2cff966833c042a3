"""Poses of a learned object in views that it was not learned from."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros import estimators
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics, Observation, PoseEstimate, Rejection
from clipose_ros.pipeline import Pipeline

spec = importlib.util.spec_from_file_location("box_scene", Path(__file__).with_name("conftest.py"))
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)

INTRINSICS = Intrinsics(box_scene.FOCAL, box_scene.FOCAL, box_scene.WIDTH / 2, box_scene.HEIGHT / 2)


@pytest.fixture(scope="module")
def estimator(box_library):
    return estimators.load("gspose", objects_dir=box_library, warm=False)


def seen(rotation, translation, colour=True):
    picture, depth, mask = box_scene.picture_of_box(rotation, translation)
    frame = Frame(0, "camera", depth.astype(np.float32), INTRINSICS, picture if colour else None)
    return frame, mask


def pose_of(estimator, frame, mask, name="box"):
    result = Pipeline(estimator).process(frame, Detections((Instance(1, name),), mask.astype(np.uint8)))
    return result.results[0][1]


def angle_deg(rotation, truth):
    return np.degrees(np.arccos(np.clip((np.trace(rotation @ truth.T) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("view", [(33.0, 35.0, 0.45, 20.0), (215.0, 15.0, 0.35, -70.0)])
def test_a_new_view_gives_the_right_pose(estimator, view):
    rotation, translation = box_scene.looking_at_box(*view)
    pose = pose_of(estimator, *seen(rotation, translation))
    assert isinstance(pose, PoseEstimate)
    assert angle_deg(pose.rotation, rotation) < 4
    centre = rotation @ box_scene.CENTRE + translation
    assert np.linalg.norm(pose.translation - centre) < 0.006
    assert pose.score > 0.5
    assert np.linalg.eigvalsh(pose.covariance).min() > 0


def test_what_an_occluder_hides_does_not_count(estimator):
    rotation, translation = box_scene.looking_at_box(33.0, 35.0)
    frame, mask = seen(rotation, translation)
    columns = np.flatnonzero(mask.any(axis=0))
    hidden = slice(columns[0], columns[0] + len(columns) * 2 // 5)
    depth, colour, shown = frame.depth.copy(), frame.colour.copy(), mask.copy()
    depth[:, hidden], colour[:, hidden], shown[:, hidden] = 0.2, 90, False
    pose = pose_of(estimator, replace(frame, depth=depth, colour=colour), shown)
    assert angle_deg(pose.rotation, rotation) < 6


def test_what_lies_beside_the_mask_speaks_against_a_pose_unless_it_is_hidden():
    from clipose_ros.estimators.surface_alignment import judge_outlines

    rotation, translation = box_scene.looking_at_box(90.0, 0.0)  # at its smallest face
    _, mask = seen(rotation, translation)
    half = box_scene.SIZE / 2
    discs = half * np.repeat([[1.0, 0, 0], [0, 0, 1]], 4, axis=0)
    discs[:4] += half * [[0, 1, 1], [0, -1, 1], [0, 1, -1], [0, -1, -1]] * 0.8
    discs[4:] += half * [[1, 1, 0], [-1, 1, 0], [1, -1, 0], [-1, -1, 0]] * 0.8
    facings = np.repeat([[1.0, 0, 0], [0, 0, 1]], 4, axis=0)
    quarter = np.array([[0.0, 0, -1], [0, 1, 0], [1, 0, 0]])  # shows its largest face instead
    rotations = np.ascontiguousarray([rotation, rotation @ quarter.T])
    centre = rotation @ box_scene.CENTRE + translation
    camera = np.array([INTRINSICS.fx, INTRINSICS.fy, INTRINSICS.cx, INTRINSICS.cy])
    open_view, hidden = np.zeros(2), np.zeros(2)
    for shares, wall_m in ((open_view, 1.0), (hidden, 0.2)):
        depth = np.where(mask, 0.37, wall_m).astype(np.float32)
        judge_outlines(rotations, np.array([centre] * 2), discs, facings, camera, mask, depth, 0.012, shares)
    assert open_view[0] == 0 and open_view[1] > 0.9
    assert hidden.max() == 0


def test_half_turns_of_the_best_hypotheses_are_tried(estimator):
    from clipose_ros.estimators.hypotheses import Hypothesis, half_turned

    rotation, translation = box_scene.looking_at_box(33.0, 35.0)
    known = Hypothesis(rotation @ np.diag([1.0, -1, -1]), translation, 0.1)
    found = half_turned([Hypothesis(rotation, translation, 0.0)], [known])
    assert sorted(tuple(np.rint(np.diag(rotation.T @ one.rotation))) for one in found) == [(-1, -1, 1), (-1, 1, -1)]


def test_without_depth_the_farther_of_two_that_look_alike_is_chosen():
    from clipose_ros.estimators.hypotheses import Hypothesis, doubt_of

    near, far = (Hypothesis(np.eye(3), np.array([0, 0, z]), 0.2) for z in (0.4, 0.8))
    assert doubt_of(near) == doubt_of(far)
    assert doubt_of(replace(far, blind=True)) < doubt_of(replace(near, blind=True)) - 0.1


@pytest.mark.parametrize("view", [(33.0, 35.0, 0.45, 20.0), (215.0, 15.0, 0.35, -70.0)])
def test_colour_alone_has_to_do_where_there_is_no_depth(estimator, view):
    rotation, translation = box_scene.looking_at_box(*view)
    frame, mask = seen(rotation, translation)
    off = mask.copy()
    off[:-1] |= mask[1:]  # a mask that is too large does not move the object nearer
    pose = pose_of(estimator, replace(frame, depth=np.zeros_like(frame.depth)), off)
    assert isinstance(pose, PoseEstimate)
    assert angle_deg(pose.rotation, rotation) < 5
    centre = rotation @ box_scene.CENTRE + translation
    assert np.linalg.norm(pose.translation - centre) < 0.022  # of 0.45 m: two pixels of the outline
    again = pose_of(estimator, replace(frame, depth=np.zeros_like(frame.depth)), off)
    assert again.rotation.tobytes() == pose.rotation.tobytes()


def test_outlines_are_moved_to_where_the_colours_change():
    from clipose_ros.estimators.outlines import outline_by_colour

    colour = np.full((120, 120, 3), 200.0)
    true = np.zeros((120, 120), bool)
    true[20:90, 15:85] = True
    colour[true] = (90, 40, 30)
    colour[20:90, 84] = (145, 120, 115)  # a column of pixels that are half the object's
    colour = (colour + np.random.default_rng(0).integers(-4, 5, colour.shape)).astype(np.uint8)
    kernel = np.ones((7, 7), np.uint8)
    for change in (cv2.dilate, cv2.erode):
        shares, _ = outline_by_colour(colour, change(true.astype(np.uint8), kernel) > 0)
        assert np.count_nonzero((shares > 0.4) ^ true) < 0.02 * true.sum()
        assert 0.3 < shares[30:80, 84].mean() < 0.7
    covered, doubtful = outline_by_colour(colour, true, least_told=1.2)
    assert np.count_nonzero((covered > 0.4) ^ true) < 0.02 * true.sum() and doubtful.mean() < 0.04
    plain = np.full_like(colour, 120)
    half = plain.copy()
    half[:, 50:] = colour[:, 50:]
    doubtful = outline_by_colour(half, true, least_told=1.2)[1]  # on the left, nothing tells where it ends
    assert doubtful[:, :40].sum() > 1.5 * doubtful[:, 60:].sum() and not doubtful[55, 50] and not doubtful[5, 5]
    assert (outline_by_colour(plain, true)[0] == true).mean() > 0.9
    assert not outline_by_colour(plain, np.zeros_like(true))[0].any()


def test_the_same_frame_gives_the_same_pose(estimator):
    frame, mask = seen(*box_scene.looking_at_box(60.0, 30.0))
    first, second = pose_of(estimator, frame, mask), pose_of(estimator, frame, mask)
    assert first.rotation.tobytes() == second.rotation.tobytes() and first.score == second.score


def test_a_prior_that_fits_is_refined(estimator):
    rotation, translation = box_scene.looking_at_box(33.0, 35.0)
    frame, mask = seen(rotation, translation)
    found = pose_of(estimator, frame, mask)
    moved_rotation, moved_translation = box_scene.looking_at_box(38.0, 35.0)
    frame, mask = seen(moved_rotation, moved_translation)
    from clipose_ros.core.types import InstanceView

    points = np.zeros((1, 3), np.float32)
    observation = Observation(points, "box", prior=found, view=InstanceView(frame, mask))
    pose = estimator.estimate([observation])[0]
    assert angle_deg(pose.rotation, moved_rotation) < 4


def test_hopeless_objects_are_rejected_and_said_why(estimator):
    frame, mask = seen(*box_scene.looking_at_box(60.0, 30.0))
    assert "expected one of box" in pose_of(estimator, frame, mask, "teapot").reason
    blind = replace(frame, depth=np.zeros_like(frame.depth), colour=None)
    assert "points: expected at least" in pose_of(estimator, blind, mask).reason
    without = estimator.estimate([Observation(np.ones((50, 3), np.float32), "box")])[0]
    assert isinstance(without, Rejection) and "view" in without.reason


def test_without_a_library_it_says_what_to_do():
    with pytest.raises(ValueError, match="clipose learn"):
        estimators.load("gspose")
