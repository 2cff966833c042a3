"""Learned objects are found on a table without masks; what was not learned is left alone."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros import estimators
from clipose_ros.core.types import Detections, Frame, Instance, PoseEstimate
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.pipeline import Pipeline
from clipose_ros.segmenters.choice import SegmenterOptions, load_segmenter

spec = importlib.util.spec_from_file_location("table_scenes", Path(__file__).with_name("table_scenes.py"))
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

WARM, COLD, STRANGER, put = table.WARM_BOX, table.COLD_BOX, table.STRANGER, table.put
LEFT, RIGHT, FRONT, BACK = table.PLACES


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("objects")
    for name, box in (("warm", WARM), ("cold", COLD)):
        ObjectLibrary(folder).add(table.learned_box(name, box))
    return folder


@pytest.fixture(scope="module")
def segmenter(library):
    return load_segmenter("objects", warm=False, objects_dir=library)


@pytest.fixture(scope="module")
def scene():
    """Two warm boxes, a cold one behind one of them, and one that nobody learned."""
    return table.frame_of_boxes(
        [put(WARM, LEFT, 30.0), put(COLD, RIGHT, -20.0), put(STRANGER, BACK, 10.0), put(WARM, FRONT, 100.0)]
    )


def overlap(mask, other):
    return np.count_nonzero(mask & other) / np.count_nonzero(mask | other)


def test_learned_objects_and_copies_are_found_and_nothing_else(segmenter, scene):
    frame, labels = scene
    found = segmenter.segment(frame)
    assert sorted(one.category for one in found.instances) == ["cold", "warm", "warm"]
    names = {1: "warm", 2: "cold", 4: "warm"}
    for i, one in enumerate(found.instances):
        shares = {number: overlap(found.mask(i), labels == number) for number in names}
        best = max(shares, key=shares.get)
        assert shares[best] > 0.8 and names.pop(best) == one.category
    scores = [one.score for one in found.instances]
    assert scores == sorted(scores, reverse=True) and scores[-1] >= 0.5


def test_a_table_with_other_things_gives_none(segmenter):
    others = [put(STRANGER, LEFT, 20.0), put(replace(STRANGER, size=(0.05, 0.1, 0.05)), RIGHT, 50.0)]
    assert segmenter.segment(table.frame_of_boxes(others)[0]).instances == ()
    assert segmenter.segment(table.frame_of_boxes([])[0]).instances == ()


def test_the_same_frame_gives_the_same_detections(segmenter, scene):
    first, second = segmenter.segment(scene[0]), segmenter.segment(scene[0])
    assert first.instances == second.instances and np.array_equal(first.masks, second.masks)


def test_bad_pixels_cost_no_more_than_themselves(segmenter, scene):
    frame, _ = scene
    depth = frame.depth.copy()
    rng = np.random.default_rng(0)
    bad = rng.random(depth.shape)
    depth[bad < 0.02], depth[bad > 0.98], depth[(bad > 0.5) & (bad < 0.51)] = np.nan, np.inf, -1.0
    found = segmenter.segment(replace(frame, depth=depth))
    assert sorted(one.category for one in found.instances) == ["cold", "warm", "warm"]
    for value in (np.nan, 0.0, np.inf, -1.0):
        nothing = segmenter.segment(replace(frame, depth=np.full_like(depth, value)))
        assert nothing.instances == () and nothing.masks.shape == depth.shape
    noise = rng.integers(0, 2**16, depth.shape).astype(np.uint16)
    assert segmenter.segment(replace(frame, depth=noise)).masks.shape == depth.shape


class OneInstance:
    """Takes everything for one object."""

    def __init__(self, mask):
        self.mask = mask

    def segment(self, frame):
        return Detections((Instance(1, "other"),), self.mask.astype(np.uint8))


def test_two_objects_that_were_proposed_as_one_are_told_apart(segmenter, monkeypatch):
    frame, labels = table.frame_of_boxes([put(WARM, (-0.05, 0.0), 20.0), put(COLD, (0.05, 0.0), -20.0)])
    monkeypatch.setattr(segmenter, "_proposer", OneInstance(labels > 0))
    found = segmenter.segment(frame)
    assert sorted(one.category for one in found.instances) == ["cold", "warm"]
    for i, one in enumerate(found.instances):
        assert overlap(found.mask(i), labels == (1 if one.category == "warm" else 2)) > 0.7


def test_what_the_proposals_lack_is_found_by_its_rising_from_the_table(segmenter, monkeypatch, scene):
    frame, labels = scene
    monkeypatch.setattr(segmenter, "_proposer", OneInstance(labels == 2))
    assert sorted(one.category for one in segmenter.segment(frame).instances) == ["cold", "warm", "warm"]


def test_without_colour_shapes_are_told_apart(segmenter, scene):
    found = segmenter.segment(replace(scene[0], colour=None))
    assert {one.category for one in found.instances} <= {"cold", "warm"} and len(found.instances) <= 4


def test_found_objects_get_their_poses(segmenter, library, scene):
    frame, _ = scene
    result = Pipeline(estimators.load("gspose", objects_dir=library, warm=False), segmenter).process(frame)
    poses = [pose for _, pose in result.results if isinstance(pose, PoseEstimate)]
    centre = put(COLD, RIGHT, -20.0).pose()[1]
    (cold,) = (pose for pose in poses if pose.category == "cold")
    assert np.linalg.norm(cold.translation - centre) < 0.005
    assert "segmentation" in result.stages_ms


def test_objects_come_and_go(library, tmp_path, scene):
    shelf = ObjectLibrary(tmp_path / "objects")
    shelf.add(ObjectLibrary(library).read("warm"))
    segmenter = load_segmenter("objects", warm=False, objects_dir=shelf.folder)
    assert segmenter.names == ("warm",) and segmenter.facts()["segmenter objects"] == "warm"
    assert {one.category for one in segmenter.segment(scene[0]).instances} == {"warm"}
    shelf.add(ObjectLibrary(library).read("cold"))
    segmenter.reload()
    assert {one.category for one in segmenter.segment(scene[0]).instances} == {"cold", "warm"}
    (shelf.folder / "warm.yaml").write_text("version: 99")
    with pytest.raises(ValueError):
        segmenter.reload()
    assert segmenter.names == ("cold", "warm")


def test_what_is_missing_is_said(library, scene):
    with pytest.raises(ValueError, match="objects: expected a folder of learned objects for segmenter objects"):
        load_segmenter("objects")
    with pytest.raises(ValueError, match="segmenter_classes: expected nothing with objects, which knows our names"):
        load_segmenter("objects", objects_dir=library, options=SegmenterOptions(segmenter_classes=("a:b",)))


def test_a_model_must_answer_the_objects(segmenter, tiny_model):
    with pytest.raises(ValueError, match="models: expected one that answers what segmenter objects finds: gspose"):
        Pipeline(estimators.load(str(tiny_model)), segmenter)


def test_least_scores_replace_that_of_the_card(library, scene):
    strict = load_segmenter(
        "objects", warm=False, objects_dir=library, options=SegmenterOptions(segmenter_min_score=0.9999)
    )
    assert all(one.score >= 0.9999 for one in strict.segment(scene[0]).instances)


def test_a_lens_that_distorts_is_refused(segmenter, scene):
    from clipose_ros.core.distortion import PolynomialDistortion

    frame = scene[0]
    intrinsics = replace(frame.intrinsics, distortion=PolynomialDistortion((0.1, 0.0, 0.0, 0.0, 0.0)))
    with pytest.raises(ValueError, match="image: expected a rectified one"):
        segmenter.segment(Frame(0, "", frame.depth, intrinsics, frame.colour))
