"""ADD and ADD-S against numbers that a hand can compute."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from clipose_ros.core.types import PoseEstimate, Rejection
from clipose_ros.evaluation.novel_objects import (
    ObjectModel,
    evaluate_novel,
    novel_error,
    parse_half_turns,
    read_models,
)
from clipose_ros.formats.pose_files import Truth, read_reference_origins, read_view_truth

# Four corners of a square of 2 x 2 around the y axis: alike after a quarter turn.
SQUARE = ObjectModel(np.array([[1.0, 0, 1], [1, 0, -1], [-1, 0, -1], [-1, 0, 1]]), math.sqrt(8))
EYE, ORIGIN = np.eye(3), np.zeros(3)


def about_y(degrees):
    a = math.radians(degrees)
    return np.array([[math.cos(a), 0, math.sin(a)], [0, 1, 0], [-math.sin(a), 0, math.cos(a)]])


def pose(rotation=EYE, translation=ORIGIN, score=0.9):
    return PoseEstimate("square", score, rotation, np.asarray(translation, float), np.ones(3))


def test_a_shift_is_the_distance_of_every_point():
    error = novel_error(EYE, np.array([0.3, 0, 0.4]), EYE, ORIGIN, SQUARE)
    assert error.add_m == pytest.approx(0.5)
    assert error.translation_cm == pytest.approx(50)
    assert error.rotation_deg == pytest.approx(0)


def test_a_quarter_turn_moves_each_corner_by_a_side_and_the_set_not_at_all():
    error = novel_error(about_y(90), ORIGIN, EYE, ORIGIN, SQUARE)
    assert error.add_m == pytest.approx(2.0)
    assert error.adds_m == pytest.approx(0.0, abs=1e-9)
    assert error.rotation_deg == pytest.approx(90)


def test_half_a_turn_is_right_where_the_object_has_it():
    plain = novel_error(about_y(180), ORIGIN, EYE, ORIGIN, SQUARE)
    symmetric = novel_error(about_y(180), ORIGIN, EYE, ORIGIN, SQUARE, "y")
    assert plain.add_m == pytest.approx(math.sqrt(8)) and plain.rotation_deg == pytest.approx(180)
    assert symmetric.add_m == pytest.approx(0, abs=1e-9) and symmetric.rotation_deg == pytest.approx(0, abs=1e-5)
    other = novel_error(np.diag([1.0, -1, -1]), ORIGIN, EYE, ORIGIN, SQUARE, "y")
    assert other.rotation_deg == pytest.approx(180)


def test_misses_and_rejections_are_wrong():
    truth = Truth({("0", 1): pose(), ("0", 2): pose(), ("0", 3): pose(), ("1", 1): pose()})
    near = [0.1, 0, 0]
    poses = {
        ("0", 1): pose(translation=near),
        ("0", 2): Rejection("square", "too few"),
        ("1", 1): pose(about_y(90), score=0.2),
    }
    origins = {("0", 1): np.array(near), ("1", 1): ORIGIN}
    found = evaluate_novel(poses, origins, truth, {}, {"square": SQUARE})
    rates = found.as_json()["all"]
    assert rates["instances"] == 4
    assert rates["add"] == 0.25  # a tenth of the diameter is .28
    assert rates["adds"] == 0.5
    assert rates["10deg5cm"] == 0  # 10 cm off
    assert found.scores == [(0.9, True), (0.2, False)]


def test_the_origin_of_the_references_counts_not_the_centre_of_the_box(tmp_path):
    entry = {"instance": 1, "class": "square", "score": 1, "R": EYE.tolist(), "t": [5, 5, 5], "size": [1, 1, 1]}
    path = tmp_path / "poses.json"
    path.write_text(
        json.dumps([{"frame": "0", "instances": [{**entry, "t_reference": [0, 0, 1]}, {**entry, "instance": 2}]}])
    )
    origins = read_reference_origins(path)
    assert origins[("0", 1)].tolist() == [0, 0, 1] and origins[("0", 2)].tolist() == [5, 5, 5]


def test_the_poses_of_reference_views_are_a_truth(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text(json.dumps({"0007": {"R": EYE.tolist(), "t": [0, 0, 1]}}))
    truth = read_view_truth(path, "square")
    assert list(truth.poses) == [("0007", 1)] and truth.poses[("0007", 1)].category == "square"


def test_models_are_read_with_or_without_a_diameter(tmp_path):
    path = tmp_path / "models.npz"
    np.savez(path, square_points=SQUARE.points)
    assert read_models(path)["square"].diameter_m == pytest.approx(math.sqrt(8))
    np.savez(path, square_points=SQUARE.points, square_diameter=3.0)
    assert read_models(path)["square"].diameter_m == 3.0


@pytest.mark.parametrize(
    "arrays", [{"other": np.ones(3)}, {"a_points": np.ones((2, 2))}, {"a_points": np.full((2, 3), np.nan)}]
)
def test_what_holds_no_models_is_refused(tmp_path, arrays):
    path = tmp_path / "models.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=r"models.npz: .*expected"):
        read_models(path)


def test_objects_in_models_files_run_no_code(tmp_path):
    path = tmp_path / "models.npz"
    np.savez(path, a_points=np.array([{"evil": 1}], dtype=object))
    with pytest.raises(ValueError, match="models.npz"):
        read_models(path)


def test_half_turns_are_read_and_others_refused():
    assert parse_half_turns(["milk:y", "box:xyz"]) == {"milk": "y", "box": "xyz"}
    assert parse_half_turns(["box:y", "milk:y", "box:zx"]) == {"milk": "y", "box": "xyz"}
    for wrong in ("milk", "milk:", ":y", "milk:w"):
        with pytest.raises(ValueError, match="--half-turn: expected NAME:AXES"):
            parse_half_turns([wrong])
    truth = Truth({("0", 1): pose()})
    with pytest.raises(ValueError, match="--half-turn: expected some of square, got cube"):
        evaluate_novel({("0", 1): pose()}, {("0", 1): ORIGIN}, truth, {}, {"square": SQUARE}, {"cube": "y"})


def test_objects_found_without_masks_are_paired_by_place_one_to_one():
    """Copies may come in any order; poses that are of no object are counted, and so are objects without a pose."""
    at = {1: [0.0, 0, 0], 2: [10.0, 0, 0], 3: [20.0, 0, 0]}
    truth = Truth({("0", number): pose(translation=place) for number, place in at.items()})
    found = {
        ("0000", 1): pose(translation=[10.1, 0, 0]),
        ("0000", 2): pose(translation=[0.0, 0, 0.1]),
        ("0000", 3): pose(translation=[0.0, 1.0, 0]),  # nearer to the first one than any other, which has one already
        ("0000", 4): pose(translation=[40.0, 0, 0]),
        ("0000", 5): Rejection("square", "too few"),
        ("0001", 1): pose(),  # of a frame that is empty
    }
    origins = {key: one.translation for key, one in found.items() if not isinstance(one, Rejection)}
    result = evaluate_novel(found, origins, truth, {}, {"square": SQUARE}, by_place=True)
    shares = [None if one is None else round(one.add_m, 3) for one in result.errors["square"]]
    assert shares == [0.1, 0.1, None]
    assert result.as_json()["found"] == {"false": 3, "frames": 1}
    assert evaluate_novel({}, {}, truth, {}, {"square": SQUARE}, by_place=True).errors["square"] == [None] * 3
