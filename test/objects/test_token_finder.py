"""Learned objects are found in images without depth, by tokens of an image backbone."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model
from clipose_ros.inference.image_tokens import BackboneIdentity, ImageTokens
from clipose_ros.objects.learned_object import card_file, is_same
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.object_tokens import KINDS, ObjectTokens, learn_tokens, token_crop
from clipose_ros.objects.view_colours import view_histograms
from clipose_ros.segmenters.choice import load_segmenter
from clipose_ros.segmenters.colour_recognition import SEARCH, ColourRecogniser, ColourRecognitionSettings
from clipose_ros.segmenters.recognition import Recogniser
from clipose_ros.segmenters.token_finder import TokenFinder, TokenFinderSettings, TokenObject

spec = importlib.util.spec_from_file_location("table_scenes", Path(__file__).with_name("table_scenes.py"))
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

WARM, COLD, STRANGER, put = table.WARM_BOX, table.COLD_BOX, table.STRANGER, table.put
LEFT, RIGHT, FRONT, BACK = table.PLACES


def views_of(box):
    views = []
    for k, turn_deg in enumerate(range(0, 360, 45)):
        turned = put(box, (0.0, 0.0), float(turn_deg))
        colour, _, labels = table.picture([turned])
        views.append(ReferenceView(f"{k:04d}", colour, None, labels == 1, *turned.pose()))
    return views


@pytest.fixture(scope="module")
def backbone():
    return ImageTokens(find_model(DEFAULT_BACKBONE))


@pytest.fixture(scope="module")
def boxes(backbone):
    return [
        replace(table.learned_box(name, box), tokens=learn_tokens(views_of(box), backbone))
        for name, box in (("warm", WARM), ("cold", COLD))
    ]


@pytest.fixture(scope="module")
def library(tmp_path_factory, boxes):
    folder = tmp_path_factory.mktemp("objects")
    for learned in boxes:
        ObjectLibrary(folder).add(learned)
    return folder


@pytest.fixture(scope="module")
def segmenter(library):
    return load_segmenter("objects", warm=False, objects_dir=library)


@pytest.fixture(scope="module")
def scene():
    """Two warm boxes, a cold one, and one that nobody learned."""
    return table.frame_of_boxes(
        [put(WARM, LEFT, 30.0), put(COLD, RIGHT, -20.0), put(STRANGER, BACK, 10.0), put(WARM, FRONT, 100.0)]
    )


def blinded(frame):
    return replace(frame, depth=np.zeros_like(frame.depth))


def overlap(mask, other):
    return np.count_nonzero(mask & other) / np.count_nonzero(mask | other)


def test_objects_and_copies_are_found_without_depth_and_nothing_else(segmenter, scene):
    frame, labels = scene
    found = segmenter.segment(blinded(frame))
    names = {1: "warm", 2: "cold", 4: "warm"}
    assert sorted(one.category for one in found.instances) == sorted(names.values())
    for i, one in enumerate(found.instances):
        shares = {number: overlap(found.mask(i), labels == number) for number in names}
        best = max(shares, key=shares.get)
        assert shares[best] > 0.5 and names.pop(best) == one.category
    scores = [one.score for one in found.instances]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.5


def test_an_object_is_found_where_its_half_of_the_image_has_no_depth(segmenter, scene):
    frame, labels = scene
    depth = frame.depth.copy()
    depth[:, : frame.depth.shape[1] // 2] = np.nan
    found = segmenter.segment(replace(frame, depth=depth))
    for number, name in ((1, "warm"), (2, "cold"), (4, "warm")):
        shares = [overlap(found.mask(i), labels == number) for i in range(len(found.instances))]
        assert max(shares) > 0.5 and found.instances[int(np.argmax(shares))].category == name
    assert len(found.instances) == 3


def test_a_table_with_other_things_gives_none(segmenter):
    for boxes in ([put(STRANGER, LEFT, 20.0), put(STRANGER, RIGHT, 50.0)], []):
        assert segmenter.segment(blinded(table.frame_of_boxes(boxes)[0])).instances == ()


def test_no_pixels_are_bad_enough_to_raise(segmenter, scene):
    frame, _ = scene
    rng = np.random.default_rng(0)
    for colour in (np.zeros((240, 320, 3)), np.full((240, 320, 3), 255), rng.integers(0, 256, (240, 320, 3))):
        strange = replace(blinded(frame), colour=colour.astype(np.uint8))
        assert segmenter.segment(strange).instances == ()
    assert segmenter.segment(replace(blinded(frame), colour=None)).instances == ()


def test_the_same_image_gives_the_same_detections(segmenter, scene):
    first, second = (segmenter.segment(blinded(scene[0])) for _ in range(2))
    assert first.instances == second.instances and np.array_equal(first.masks, second.masks)


def test_an_image_of_any_size_is_looked_at(backbone, boxes):
    finder = TokenFinder(backbone, [TokenObject(one.name, one.tokens, view_histograms(one)) for one in boxes])
    for shape in ((1, 1, 3), (5, 300, 3), (700, 40, 3)):
        for one in finder.found(np.full(shape, 90, np.uint8)):
            assert one.mask.shape == shape[:2]


def test_an_object_that_is_larger_than_what_was_looked_at_is_looked_at_whole(backbone, boxes, monkeypatch):
    finder = TokenFinder(backbone, [TokenObject(one.name, one.tokens, view_histograms(one)) for one in boxes])
    frame, labels = table.frame_of_boxes([put(replace(WARM, size=(0.24, 0.16, 0.1)), (0.0, 0.0), 20.0)])
    left, top, width, height = cv2.boundingRect((labels == 1).astype(np.uint8))
    corner = (left + 0.1 * width, top + 0.3 * height, 0.4 * width, 0.4 * height)
    monkeypatch.setattr(finder, "_boxes", lambda colour: [corner])
    (found,) = finder.found(frame.colour)
    assert not found.is_cut and overlap(found.mask, labels == 1) > 0.85


@pytest.fixture(scope="module")
def by_colour(library):
    recogniser = Recogniser(library)
    return ColourRecogniser(None, recogniser, recogniser.poses(SEARCH))


def test_a_pose_tells_the_object_from_another_without_depth(by_colour, scene):
    frame, labels = scene
    right, wrong = (by_colour.sighting(frame.colour, labels == 1, frame.intrinsics, name) for name in ("warm", "cold"))
    assert right.is_borne_out and not wrong.is_borne_out
    assert right.features[0] < wrong.features[0] and (right.features[1:3] > wrong.features[1:3]).all()
    assert right.features[5] < 0.3 < wrong.features[5]
    assert overlap(right.mask, labels == 1) > 0.9


def test_a_render_mends_an_outline_that_is_off(by_colour, scene):
    frame, labels = scene
    truth = labels == 1
    rough = cv2.dilate(truth.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    mended = by_colour.sighting(frame.colour, rough, frame.intrinsics, "warm")
    assert mended.is_borne_out and overlap(mended.mask, truth) > 0.9 > overlap(rough, truth)


def test_two_objects_that_touch_and_were_taken_for_one_are_cut(segmenter, monkeypatch):
    frame, labels = table.frame_of_boxes([put(WARM, (-0.07, 0.0), 10.0), put(COLD, (0.035, 0.0), 10.0)])
    by_colour = segmenter._finder
    finder = by_colour._finder
    both = finder.of_mask(frame.colour, labels > 0)
    monkeypatch.setattr(finder, "found", lambda colour, least_pixels: [both])
    found = by_colour.found(frame.colour, frame.intrinsics)
    for number, name in ((1, "warm"), (2, "cold")):
        assert max(overlap(one.mask, labels == number) for one in found if one.name == name) > 0.7


def test_objects_are_found_by_colour_near_the_border_of_the_image_too(by_colour, scene):
    frame, labels = scene
    half = frame.colour[:, np.flatnonzero((labels == 1).any(axis=0)).mean().astype(int) :]
    part = labels[:, -half.shape[1] :] == 1
    camera = replace(frame.intrinsics, cx=frame.intrinsics.cx - frame.colour.shape[1] + half.shape[1])
    found = by_colour.sighting(np.ascontiguousarray(half), part, camera, "warm")
    assert found is None or (found.mask.shape == part.shape and np.isfinite(found.features).all())


def test_weights_for_poses_are_as_many_as_there_are_features():
    with pytest.raises(ValueError, match="weights: expected 12 numbers"):
        ColourRecognitionSettings(weights=(1.0,) * 6)


def test_tokens_come_back_from_the_library_with_their_backbone(backbone, boxes, library):
    back = ObjectLibrary(library).read("warm")
    assert is_same(back, boxes[0]) and back.tokens.backbone == backbone.identity
    assert back.tokens.kinds.dtype == np.float16 and len(back.tokens.kinds) <= KINDS and len(back.tokens.views) == 8
    assert not is_same(back, replace(back, tokens=None)) and not is_same(replace(back, tokens=None), back)


def test_tokens_are_the_same_for_the_same_views(backbone, boxes):
    again = learn_tokens(views_of(WARM), backbone)
    assert np.array_equal(again.kinds, boxes[0].tokens.kinds) and np.array_equal(again.views, boxes[0].tokens.views)


def test_an_object_of_another_backbone_is_refused_with_what_to_do(boxes, library, tmp_path):
    tokens = replace(boxes[0].tokens, backbone=BackboneIdentity("backbone-other", 64 * "a"))
    ObjectLibrary(tmp_path).add(replace(boxes[0], tokens=tokens))
    with pytest.raises(
        ValueError, match=r"warm: expected tokens of the image backbone .*, got those of backbone-other"
    ):
        load_segmenter("objects", warm=False, objects_dir=tmp_path)
    with pytest.raises(ValueError, match="learn the object again"):
        load_segmenter("objects", warm=False, objects_dir=tmp_path)


def test_a_library_that_cannot_be_taken_leaves_all_as_it_was(boxes, scene, tmp_path):
    ObjectLibrary(tmp_path).add(boxes[0])
    segmenter = load_segmenter("objects", warm=False, objects_dir=tmp_path)
    tokens = replace(boxes[1].tokens, backbone=BackboneIdentity("backbone-other", 64 * "a"))
    ObjectLibrary(tmp_path).add(replace(boxes[1], tokens=tokens))
    with pytest.raises(ValueError, match="cold: expected tokens of the image backbone"):
        segmenter.reload()
    assert segmenter.names == ("warm",)
    ObjectLibrary(tmp_path).add(boxes[1], replace=True)
    segmenter.reload()
    assert segmenter.names == ("cold", "warm") and len(segmenter.segment(blinded(scene[0])).instances) == 3


def test_objects_without_tokens_are_found_by_depth_and_that_is_said(scene, tmp_path):
    for name, box in (("warm", WARM), ("cold", COLD)):
        ObjectLibrary(tmp_path).add(table.learned_box(name, box))
    assert "version: 1\n" in card_file(tmp_path, "warm").read_text()
    segmenter = load_segmenter("objects", warm=False, objects_dir=tmp_path)
    assert segmenter.facts()["segmenter objects without depth"].startswith("none: learned without an image backbone")
    assert len(segmenter.segment(scene[0]).instances) == 3
    assert segmenter.segment(blinded(scene[0])).instances == ()


def test_tokens_that_cannot_be_are_refused(boxes, tmp_path):
    made_by, good = boxes[0].tokens.backbone, boxes[0].tokens.kinds
    for kinds in (good[:0], good.astype(np.float32), np.full_like(good, np.nan), good[:, :5]):
        with pytest.raises(ValueError, match=r"tokens\.(kinds|views): expected"):
            ObjectTokens(made_by, kinds, boxes[0].tokens.views)
    ObjectLibrary(tmp_path).add(boxes[0])
    card = card_file(tmp_path, "warm")
    card.write_text(card.read_text().replace("sha256: " + made_by.sha256, "sha256: none"))
    with pytest.raises(ValueError, match=r"backbone.sha256: expected 64 hexadecimal digits, got none"):
        ObjectLibrary(tmp_path).read("warm")


def test_a_crop_moves_masks_there_and_back():
    mask = np.zeros((240, 320), bool)
    mask[100:140, 50:130] = True
    crop = token_crop(np.zeros((240, 320, 3), np.uint8), (50, 100, 80, 40))
    assert overlap(crop.back(crop.moved(mask) > 0.5, mask.shape), mask) > 0.9


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scales": ()}, "scales: expected 1 to 4 of 0.1 to 4"),
        ({"least_similar": 2}, "least_similar: expected -1 to 1"),
        ({"most_components": 0}, "most_components: expected 1 to 255"),
    ],
)
def test_settings_out_of_range_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        TokenFinderSettings(**values)
