import numpy as np
import pytest

from clipose_ros.core.types import PoseEstimate
from clipose_ros.evaluation.poses import evaluate, match_keys, pairs_by_place
from clipose_ros.formats.pose_files import Truth


def test_keys_that_are_equal_match():
    assert match_keys([("a", 1), ("b", 1)], [("b", 1), ("c", 1)]) == {("b", 1): ("b", 1)}


@pytest.mark.parametrize(
    ("mine", "true"),
    [((0, 1), ("0000", 1)), (("0", "1"), ("0000", 1)), (("0000", "01"), (0, 1)), (("scene", "2"), ("scene", 2))],
)
def test_numbers_match_by_value_however_they_are_written(mine, true):
    assert match_keys([mine], [true]) == {true: mine}


def test_values_that_one_file_has_twice_match_only_as_they_are_written():
    assert match_keys([("0", 1), ("00", 1)], [("0", 1), (0, 1)]) == {("0", 1): ("0", 1)}


@pytest.mark.parametrize(
    ("mine", "true", "cause"),
    [
        ([("left/0", 1)], [("0", 1)], "no frame has the same name in both: are they of the same folder?"),
        ([(0, 1)], [("0", 0)], "numbered from 1 in the poses and from 0 in the truth"),
        ([(0, 0)], [("0", 1)], "numbered from 0 in the poses and from 1 in the truth"),
        ([(0, 7)], [("0", 1)], "the instances are numbered otherwise"),
        ([(0, 1), ("00", 1)], [("0", 1)], "the same numbers are written in several ways within one file"),
    ],
)
def test_no_common_key_is_an_error_with_an_example_of_each_and_the_likely_cause(mine, true, cause):
    with pytest.raises(ValueError) as raised:
        match_keys(mine, true)
    assert f"frame {mine[0][0]!r} instance {mine[0][1]!r} for instance in the poses" in str(raised.value)
    assert f"frame {true[0][0]!r} instance {true[0][1]!r} in the truth; " in str(raised.value)
    assert cause in str(raised.value)


def test_empty_files_are_refused():
    with pytest.raises(ValueError, match="truth: expected at least one object, got none"):
        evaluate({}, Truth({}))
    with pytest.raises(ValueError, match="poses: expected at least one instance, got none"):
        match_keys([], [(0, 1)])


UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0])


def pose(category, rotation=np.eye(3)):
    return PoseEstimate(category, 1.0, rotation, np.array([0.0, 0.0, 1.0]), np.full(3, 0.1))


def numbered(*poses):
    """Poses by frame and instance: all in frame 0."""
    return {("0", number): found for number, found in enumerate(poses)}


def rates_of(evaluation):
    return {category: rates["5deg_2cm"] for category, rates in evaluation.rates.items()}


def test_swapped_ends_are_right_only_for_the_categories_that_are_named():
    truth = Truth(numbered(pose("can"), pose("mug"), pose("mug")))
    poses = numbered(pose("can", UPSIDE_DOWN), pose("mug", UPSIDE_DOWN), pose("mug"))
    assert rates_of(evaluate(poses, truth)) == {"can": 0, "mug": 0.5, "mean": 0.25}
    assert rates_of(evaluate(poses, truth, ["can"])) == {"can": 1, "mug": 0.5, "mean": 0.75}
    assert rates_of(evaluate(poses, truth, ["mug", "can"])) == {"can": 1, "mug": 1, "mean": 1}


def test_swapped_ends_of_a_mug_without_visible_handle_count_by_its_axis():
    truth = Truth(numbered(pose("mug")), hidden_handles=frozenset([("0", 0)]))
    spun = UPSIDE_DOWN @ np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]])
    evaluation = evaluate(numbered(pose("mug", spun)), truth, ["mug"])
    assert evaluation.errors["mug"][0].rotation_deg == 0
    assert evaluation.mugs_in_full[0].rotation_deg == pytest.approx(90)


def test_either_end_of_a_category_that_the_truth_lacks_is_refused():
    truth = Truth(numbered(pose("mug"), pose("can")))
    with pytest.raises(ValueError, match="--either-end: expected some of can, mug, got cup"):
        evaluate(truth.poses, truth, ["can", "cup"])


def test_what_lies_and_what_stands_is_scored_apart_and_not_in_the_mean():
    truth = Truth(numbered(pose("can"), pose("can"), pose("can"), pose("mug")), lying=frozenset([("0", 1)]))
    poses = numbered(pose("can"), pose("can", UPSIDE_DOWN), pose("can"))
    evaluation = evaluate(poses, truth)
    assert {name: len(errors) for name, errors in evaluation.rows.items()} == {
        "can": 3,
        "can, lying": 1,
        "can, standing": 2,
        "mug": 1,
    }
    assert rates_of(evaluation) == {"can": pytest.approx(2 / 3), "mug": 0, "mean": pytest.approx(1 / 3)}
    by_rest = evaluation.as_json()["by_rest"]
    found = {rest: {name: row["pose"]["5deg_2cm"] for name, row in rows.items()} for rest, rows in by_rest.items()}
    assert found == {"lying": {"can": 0, "mean": 0}, "standing": {"can": 1, "mug": 0, "mean": 0.5}}
    assert by_rest["lying"]["can"]["median"]["rotation_deg"] == pytest.approx(180)
    assert by_rest["standing"]["mug"]["median"]["rotation_deg"] is None
    assert [rows["can"]["instances"] for rows in by_rest.values()] == [1, 2]


def test_where_all_objects_lie_no_row_says_what_stands():
    truth = Truth(numbered(pose("can")), lying=frozenset([("0", 0)]))
    evaluation = evaluate(truth.poses, truth)
    assert list(evaluation.rows) == ["can", "can, lying"]
    assert evaluation.as_json()["by_rest"]["standing"] == {"mean": {"pose": None}}


def test_where_nothing_lies_there_are_no_further_rows():
    truth = Truth(numbered(pose("can"), pose("mug")))
    evaluation = evaluate(truth.poses, truth)
    assert list(evaluation.rows) == ["can", "mug"] and evaluation.as_json()["by_rest"] is None


def at(category, x, size=0.1):
    return PoseEstimate(category, 1.0, np.eye(3), np.array([x, 0.0, 1.0]), np.full(3, size))


def test_places_pair_what_is_numbered_otherwise():
    """One to one within frames and categories; what is further away than half the box's diagonal is no pair."""
    truth = {
        ("0000", 1): at("mug", 0.0),
        ("0000", 2): at("mug", 0.3),
        ("0000", 3): at("can", 0.6),
        ("0001", 1): at("can", 0.0),
    }
    poses = {("0", 7): at("mug", 0.31), ("0", 8): at("mug", 0.02), ("0", 9): at("bowl", 0.6), ("1", 1): at("can", 0.2)}
    assert pairs_by_place(poses, truth) == {("0000", 1): ("0", 8), ("0000", 2): ("0", 7)}
    by_place = evaluate(poses, Truth(truth), by_place=True)
    assert [scored.error is not None for scored in by_place.objects] == [True, True, False, False]
    assert by_place.missing == {"can": 2, "mug": 0} and by_place.unmatched_poses == 2


def test_entries_of_other_categories_are_counted():
    assert (
        evaluate(numbered(pose("can"), pose("mug")), Truth(numbered(pose("mug"), pose("mug")))).of_other_categories == 1
    )
