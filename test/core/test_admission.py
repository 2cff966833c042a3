from clipose_ros.core.admission import refusals, unanswered
from clipose_ros.core.types import Instance


def instance(label, score=0.5):
    return Instance(label, "mug", score)


def test_good_instances_are_not_refused():
    assert refusals([]) == {}
    assert refusals([instance(1), instance(65535), instance(3, 0.0)]) == {}


def test_what_is_wrong_with_one_costs_one():
    refused = refusals([instance(0), instance(1, float("nan")), instance(2, float("inf")), instance(3)])
    assert refused == {
        0: "label: expected another one than that of the background, got 0",
        1: "score: expected a finite number, got nan",
        2: "score: expected a finite number, got inf",
    }


def test_of_overlapping_masks_the_highest_score_has_the_pixels():
    assert list(refusals([instance(7, 0.2), instance(7, 0.9), instance(7, 0.5)])) == [2, 0]
    assert list(refusals([instance(7, 0.5), instance(7, 0.5)])) == [1]
    assert list(refusals([instance(7, 0.2), instance(7, float("nan"))])) == [1]  # what is refused has no pixels


def test_of_too_many_the_highest_scores_are_kept():
    instances = [instance(label, score) for label, score in ((1, 0.1), (2, 0.9), (3, 0.5), (4, 0.5), (2, 0.8))]
    refused = refusals(instances, maximum=2)
    assert set(refused) == {0, 3, 4}
    assert refused[3] == "instances: expected at most 2, got 5, where 2 others scored as high or higher"
    assert refused[4].startswith("label: expected one instance for each, got 2 again")


def test_a_name_that_is_meant_is_told_where_capitals_and_spaces_alone_differ():
    assert unanswered("cup", ("can", "mug")) == "category: expected one of can, mug, got cup"
    for name in ("Mug", " mug", "MUG"):
        assert unanswered(name, ("can", "mug")) == f"category: expected one of can, mug, got {name!r}; write mug"
    assert unanswered("", ("can",)) == "category: expected one of can, got "
