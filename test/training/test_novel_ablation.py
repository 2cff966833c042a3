"""The paper's refinement of learned objects, for comparison, finds the way; the ways to estimate differ as they say."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.estimators.sightings import Crop
from clipose_ros.formats.reference_views import read_reference_views
from clipose_ros.objects.learning import learn
from clipose_ros.objects.surface_tables import surface_tables
from clipose_ros.rendering.cpu import CpuRasterizer
from training.novel_ablation import BySimilarity, dissimilarity, refined_by_similarity, ways

place = Path(__file__).parents[1] / "objects" / "conftest.py"
spec = importlib.util.spec_from_file_location("box_scene", place)
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)


def test_pictures_that_are_equal_are_not_dissimilar():
    picture = np.random.default_rng(0).uniform(size=(64, 64, 3)).astype(np.float32)
    assert dissimilarity(picture, picture) == pytest.approx(0, abs=1e-6)
    assert dissimilarity(picture, 1 - picture) > 1


def test_similarity_leads_to_the_pose(tmp_path):
    folder = box_scene.write_box_views(tmp_path / "box", [*box_scene.ring(4, 20.0), *box_scene.ring(3, 55.0)])
    learned = learn("box", read_reference_views(folder), CpuRasterizer()).learned
    rotation, translation = box_scene.looking_at_box(33.0, 35.0)
    picture, _, mask = box_scene.picture_of_box(rotation, translation)
    part = np.s_[28:92, 48:112]
    camera = np.array([box_scene.FOCAL, box_scene.FOCAL, box_scene.WIDTH / 2 - 48, box_scene.HEIGHT / 2 - 28])
    covered = mask[part].astype(np.float32)
    crop = Crop(camera, (picture[part] / 255).astype(np.float32), covered, np.zeros((64, 64), np.float32))
    middle = rotation @ learned.centre + translation
    # off by 7 degrees and 11 mm
    start = cv2.Rodrigues(np.array([0.05, 0.1, -0.05]))[0] @ rotation, middle + [0.004, -0.003, 0.01]
    found, at, steps = refined_by_similarity(surface_tables(learned), *start, crop, most_steps=60)
    turn = np.degrees(np.linalg.norm(cv2.Rodrigues(found @ rotation.T)[0]))
    assert turn < 5 and np.linalg.norm(at[:2] - middle[:2]) < 0.003 and steps <= 60


def test_rows_are_chosen_by_their_words():
    assert [way.name for way in ways(["search"])] == ["search alone"]
    assert ways(["AdamW"])[0].make_refiner is BySimilarity
    assert len({way.name for way in ways()}) == len(ways())
