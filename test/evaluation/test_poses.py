import pytest

from clipose_ros.evaluation.poses import evaluate, match_keys
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
