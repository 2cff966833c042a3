"""Mask R-CNN around a network that always answers the same: see `write_tiny_mask_rcnn`."""

from dataclasses import replace

import numpy as np
import pytest

from clipose_ros import estimators
from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.types import PoseEstimate
from clipose_ros.inference.session import SessionConfig
from clipose_ros.pipeline import Pipeline
from clipose_ros.segmenters.choice import SegmenterOptions, load_segmenter, needs_colour, segmenter_of
from clipose_ros.segmenters.mask_rcnn import MaskRcnnSettings, fitted_image, pasted

WHITE = 255


def coloured(frame, value=WHITE):
    return replace(frame, colour=np.full((*frame.depth.shape, 3), value, np.uint8))


@pytest.fixture
def frame():
    return coloured(spheres_on_table(2, ["can"]).frame)


def iou(a, b):
    return (a & b).sum() / (a | b).sum()


def test_objects_are_found_where_the_network_says_with_our_names(write_mask_rcnn, frame):
    found = segmenter_of(write_mask_rcnn()).segment(frame)
    _, truth = spheres_on_table(2, ["can"])
    assert [(one.label, one.category, one.score, one.id) for one in found.instances] == [
        (1, "can", 0.9, "1"),
        (2, "mug", 0.8, "2"),
    ]
    assert found.masks.shape == (2, *frame.depth.shape)
    assert all(iou(truth.masks == number, found.masks[number - 1]) > 0.9 for number in (1, 2))


def test_the_surest_come_first_and_other_classes_are_left_alone(write_mask_rcnn, frame):
    boxes = [(10 * i, 10, 10 * i + 8, 30) for i in range(5)]
    folder = write_mask_rcnn(boxes=boxes, labels=(2, 1, 3, 4, 0), scores=(0.6, 0.9, 0.7, 0.9, 0.9))
    found = segmenter_of(folder).segment(frame)
    assert [one.category for one in found.instances] == ["can", "mug"]  # neither person, nor what is no class


def test_darker_images_make_the_tiny_network_less_sure_and_the_threshold_counts(write_mask_rcnn, frame):
    segmenter = segmenter_of(write_mask_rcnn())
    assert len(segmenter.segment(coloured(frame, 150)).instances) == 1  # 0.9 and 0.8 of 150 / 255; at least 0.5
    assert segmenter.segment(coloured(frame, 0)).instances == ()
    assert segmenter.segment(coloured(frame, 0)).masks.shape == (0, *frame.depth.shape)


def test_no_more_objects_than_the_settings_allow(write_mask_rcnn, frame):
    boxes = [(i, i, i + 40, i + 40) for i in range(100)]
    scores = np.linspace(0.6, 0.99, 100)
    many = {"boxes": boxes, "labels": [2] * 100, "scores": scores}
    found = segmenter_of(write_mask_rcnn(**many)).segment(frame)
    assert len(found.instances) == 64 and found.instances[0].score == pytest.approx(0.99)
    assert len(segmenter_of(write_mask_rcnn(**many, most_objects=3)).segment(frame).instances) == 3


def test_masks_may_overlap(write_mask_rcnn, frame):
    boxes = [(100, 100, 140, 140), (120, 100, 160, 140)]
    found = segmenter_of(write_mask_rcnn(boxes=boxes, masks=np.ones((2, 28, 28)))).segment(frame)
    assert found.overlap and (found.masks[0] & found.masks[1]).any()


def test_answers_that_are_no_numbers_cost_their_instance_alone(write_mask_rcnn, frame):
    boxes = [(np.nan, 0, 10, 10), (0, 0, np.inf, 10), (10, 10, 50, 50), (20, 20, 60, 60)]
    folder = write_mask_rcnn(boxes=boxes, labels=(2, 2, 3, 2), scores=(0.9, 0.9, 0.9, np.nan))
    found = segmenter_of(folder).segment(frame)
    assert [one.category for one in found.instances] == ["can"]


@pytest.mark.parametrize("shape", [(480, 640), (720, 1280), (640, 480), (1, 1), (3, 700), (61, 83)])
def test_frames_of_any_size(write_mask_rcnn, shape):
    """The box lies in the upper left quarter of the network's image, and so of any other."""
    frame, _ = spheres_on_table(0, ["can"])
    seen = replace(frame, depth=np.zeros(shape, np.uint16), colour=np.full((*shape, 3), WHITE, np.uint8))
    found = segmenter_of(write_mask_rcnn(boxes=[(0, 0, 100, 100)], labels=(2,), scores=(0.9,))).segment(seen)
    assert found.masks.shape == (1, *shape) and found.masks.any()


def test_a_frame_without_colour_is_refused_in_a_sentence(write_mask_rcnn):
    with pytest.raises(ValueError, match="colour: expected an image, since Mask R-CNN finds objects by their looks"):
        segmenter_of(write_mask_rcnn()).segment(spheres_on_table(1, ["can"]).frame)
    assert needs_colour("mask_rcnn") and not needs_colour("depth")


def test_the_pipeline_poses_what_was_found(tiny_model, write_mask_rcnn, frame):
    pipeline = Pipeline(estimators.load(str(tiny_model)), segmenter_of(write_mask_rcnn()))
    result = pipeline.process(frame)
    assert [type(answer) for _, answer in result.results] == [PoseEstimate, PoseEstimate]
    assert "segmentation" in result.stages_ms


def test_an_image_is_fitted_with_its_sides_in_proportion_and_filled_beside():
    colour = np.zeros((100, 50, 3), np.uint8)
    fitted = fitted_image(colour, (200, 300), (0.1, 0.2, 0.3))
    assert (fitted.pixels[:, :, :100] == 0).all() and fitted.scale.tolist() == [0.5, 0.5]
    assert np.allclose(fitted.pixels[:, 5, 100:].T, (0.1, 0.2, 0.3))


def test_a_mask_is_cut_at_the_borders_of_the_image():
    mask = pasted(np.ones((28, 28), np.float32), np.array([-30.0, -20.0, 9.6, 500.0]), (40, 60))
    assert mask[:, :9].all() and not mask[:, 11:].any()
    assert not pasted(np.ones((28, 28), np.float32), np.array([9.0, 9.0, 3.0, 3.0]), (40, 60)).any()


def test_options_replace_what_the_card_says(write_mask_rcnn, frame):
    folder = write_mask_rcnn(name="mine")
    options = SegmenterOptions("mine", ("tin:bottle",), 0.85)
    segmenter = load_segmenter("mask_rcnn", folder.parent, options=options)
    assert segmenter.names == ("bottle",)
    assert [one.category for one in segmenter.segment(frame).instances] == ["bottle"]
    options = SegmenterOptions(f"{folder}/", ("cup:mug", "tin:can"), 0.85)
    found = load_segmenter("mask_rcnn", options=options).segment(frame)
    assert [one.category for one in found.instances] == ["can"]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "mask_rcnn",
            {"segmenter_classes": ("glass:mug",)},
            "categories: expected classes of the network .person, cup",
        ),
        ("mask_rcnn", {"segmenter_classes": ("mug",)}, "segmenter_classes: expected entries of the form from:to"),
        ("mask_rcnn", {"segmenter_min_score": 1.5}, "segmenter_min_score: expected 0 to 1, got 1.5"),
        ("none", {"segmenter_model": "mine"}, "segmenter_model: expected nothing without a segmenter, got mine"),
        ("depth", {"segmenter_classes": ("cup:mug",)}, "segmenter_classes: expected nothing with depth"),
        ("depth", {"segmenter_model": "segmenter-mask-rcnn"}, "expected depth-segmenter for segmenter depth, got mask"),
    ],
)
def test_options_that_do_not_fit_are_refused(write_mask_rcnn, name, options, message):
    models = write_mask_rcnn().parent
    with pytest.raises(ValueError, match=message):
        load_segmenter(name, models, options=SegmenterOptions(**options))


def test_without_a_model_the_way_to_one_is_said(tmp_path):
    with pytest.raises(ValueError, match="got segmenter-mask-rcnn; none is shipped: python -m training.mask_rcnn"):
        load_segmenter("mask_rcnn", tmp_path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"inputs": {"image": (1, 3, "height", "width")}},
            r"inputs.image: expected \[1, 3, height, width\] as numbers",
        ),
        ({"inputs": {"image": (1, 3, 240, 321)}}, "inputs.image: expected"),
        (
            {"outputs": {"boxes": ("n", 4), "labels": ("n",), "scores": ("n",)}},
            "outputs: expected boxes, labels, scores",
        ),
        (
            {"outputs": {"boxes": ("n", 5), "labels": ("n",), "scores": ("n",), "masks": ("n", 1, 28, 28)}},
            "outputs.boxes",
        ),
    ],
)
def test_a_card_that_does_not_fit_the_network_is_refused(write_mask_rcnn, changes, message):
    with pytest.raises(ValueError, match=message):
        segmenter_of(write_mask_rcnn(**changes))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": ()}, "classes: expected a list of names"),
        ({"categories": {}}, "categories: expected a mapping of class to name, with an entry"),
        ({"categories": {"glass": "mug"}}, "categories: expected classes of the network"),
        ({"least_score": 2.0}, "least_score: expected 0 to 1"),
        ({"least_mask": "half"}, "least_mask: expected 0 to 1, got half"),
        ({"most_objects": 0}, "most_objects: expected 1 to 255"),
        ({"fill": (0.0, 1.0)}, "fill: expected three numbers"),
    ],
)
def test_settings_that_are_none_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        MaskRcnnSettings(**({"classes": ("cup",), "categories": {"cup": "mug"}} | change))


def test_a_provider_that_cannot_be_had_is_refused(write_mask_rcnn):
    with pytest.raises(RuntimeError, match="provider: expected"):
        segmenter_of(write_mask_rcnn(), SessionConfig("cuda"))
