"""What is measured of a segmenter, on folders and generated scenes, with the plain one beside it."""

import json

import cv2
import numpy as np
import pytest

from clipose_ros import estimators
from clipose_ros.bench.latency import INTRINSICS, spheres_on_table, write_frame
from clipose_ros.evaluation.segmentation import SegmentationScores
from clipose_ros.pipeline import Pipeline
from clipose_ros.segmenters.choice import segmenter_of
from training.measure_segmenter import PlaneAndParts, folder_matches, found_poses, scene_matches
from training.scenes import SceneConfig


@pytest.fixture
def spheres(tmp_path):
    """A folder of one frame, with true masks."""
    folder = tmp_path / "spheres"
    write_frame(folder, *spheres_on_table(3, ["can"]))
    (folder / "0000_mask.png").rename(folder / "0000_true_mask.png")
    return folder


def test_the_plain_segmenter_finds_what_stands_apart(spheres):
    row = SegmentationScores(tuple(folder_matches(PlaneAndParts(), spheres))).rows()["all"]
    assert row["objects"] == row["found"] * 3 == 3


def test_poses_are_those_of_the_objects_that_were_found(spheres, tiny_model, tiny_segmenter):
    pipeline = Pipeline(estimators.load(str(tiny_model)), segmenter_of(tiny_segmenter))
    poses, others = found_poses(pipeline, spheres)
    assert set(poses) == {("0000", 0), ("0000", 1), ("0000", 2)} and others == 0
    assert json.loads((spheres / "intrinsics.json").read_text())["fx"] == INTRINSICS.fx
    colour = cv2.imread(str(spheres / "0000_true_mask.png"), cv2.IMREAD_UNCHANGED)
    across = [poses["0000", number].translation[0] for number in range(3)]
    assert across == sorted(across) and set(np.unique(colour)) == {0, 1, 2, 255}


def test_what_is_found_in_empty_scenes_is_false(tiny_segmenter):
    matches = scene_matches(segmenter_of(tiny_segmenter), 7, 3, SceneConfig(empty=1.0))
    assert len(matches) == 3 and all(one.truth == () and one.false == one.instances for one in matches)
