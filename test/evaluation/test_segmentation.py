"""Scores of masks against what is really visible."""

import numpy as np
import pytest

from clipose_ros.core.types import Detections, Instance
from clipose_ros.evaluation.segmentation import SegmentationScores, evaluate, match, true_frames
from clipose_ros.formats.segment_files import BACKGROUND, HIDDEN, LabelledImage, read_labelled, write_detections


def labelled(names, **boxes):
    """An image of 40 x 40 with a box (top, bottom, left, right) for each instance, by `n1`, `n2`, …"""
    numbers = np.full((40, 40), BACKGROUND, np.uint8)
    for name, (top, bottom, left, right) in boxes.items():
        numbers[top:bottom, left:right] = int(name[1:])
    return LabelledImage(numbers, names)


TRUTH = labelled({1: "mug", 2: "can"}, n1=(0, 10, 0, 10), n2=(0, 10, 20, 30))


def scores(*found):
    return SegmentationScores(tuple(match(one, TRUTH) for one in found))


def test_what_is_found_exactly_is_right_in_all():
    one = scores(TRUTH)
    assert one.precision() == 1 and one.false_per_frame() == 0 and one.overlap() == 1
    row = one.rows()["all"]
    assert row == {"objects": 2, "found": 1, "found_well": 1, "named": 1, "found_and_named": 1}


def test_an_object_of_another_category_is_found_and_not_named():
    one = scores(LabelledImage(TRUTH.numbers, {1: "mug", 2: "bottle"}))
    assert one.rows()["can"] == {"objects": 1, "found": 1, "found_well": 1, "named": 0, "found_and_named": 0}
    assert one.rows()["all"]["named"] == 0.5 and one.precision() == 1


def test_a_mask_that_covers_half_is_found_but_not_well():
    one = scores(labelled({5: "mug", 6: "can"}, n5=(0, 10, 0, 6), n6=(0, 10, 20, 30)))  # IoU 0.6 and 1
    assert one.rows()["mug"]["found"] == 1 and one.rows()["mug"]["found_well"] == 0
    assert one.overlap() == pytest.approx(2 * 160 / (200 + 160))


def test_what_is_no_object_is_false_and_lowers_the_precision():
    one = scores(labelled({1: "mug", 2: "can", 3: "other"}, n1=(0, 10, 0, 10), n2=(0, 10, 20, 30), n3=(20, 30, 0, 10)))
    assert one.false_per_frame() == 1 and one.precision() == pytest.approx(2 / 3)


def test_two_objects_in_one_mask_are_one_object_at_most():
    one = scores(labelled({1: "mug"}, n1=(0, 10, 0, 30)))
    assert one.rows()["all"]["found"] == 0 and one.false_per_frame() == 1


def test_nothing_found_is_nothing_right():
    one = scores(LabelledImage(np.full((40, 40), BACKGROUND, np.uint8), {}))
    assert one.rows()["all"]["found"] == 0 and one.precision() is None and one.overlap() == 0
    assert one.rows()["mug"]["named"] is None


def test_what_is_too_hidden_to_count_is_neither_missed_nor_false():
    truth = labelled({1: "mug"}, n1=(0, 10, 0, 10), n254=(20, 30, 20, 30))
    found = labelled({1: "mug", 2: "can"}, n1=(0, 10, 0, 10), n2=(20, 30, 20, 30))
    frame = match(found, truth)
    assert (len(frame.truth), frame.instances, frame.false) == (1, 1, 0) and HIDDEN == 254


def test_files_are_read_back_as_they_were_written_and_frames_that_cannot_be_read_are_named(tmp_path):
    labels = np.zeros((40, 40), np.uint8)
    labels[0:10, 0:10], labels[0:10, 20:30] = 7, 9
    found = Detections((Instance(7, "mug", 0.9), Instance(9, "other", 0.4)), labels)
    entry = write_detections(tmp_path, "0000", found)
    assert entry["instances"] == [
        {"instance": 1, "class": "mug", "score": 0.9},
        {"instance": 2, "class": "other", "score": 0.4},
    ]
    read = read_labelled(tmp_path, "0000")
    assert read.names == {1: "mug", 2: "other"}
    assert ((read.numbers == 1) == (labels == 7)).all() and ((read.numbers == 2) == (labels == 9)).all()
    for name in ("0000", "0001"):
        (tmp_path / f"{name}_true_mask.png").write_bytes((tmp_path / "0000_mask.png").read_bytes())
    assert true_frames(tmp_path) == ["0000", "0001"]
    one, skipped = evaluate(tmp_path, tmp_path, true_frames(tmp_path))
    assert one.rows()["all"]["found_and_named"] == 1 and "0001_mask.png: expected a file" in skipped["0001"]
    with pytest.raises(ValueError, match="expected at least one frame that can be compared, got 0001"):
        evaluate(tmp_path, tmp_path, ["0001"])
