"""Small renders from all directions, and their embeddings: either finds the rotation that a picture shows."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("numba")

from clipose_ros.core.types import Frame, InstanceView, Intrinsics
from clipose_ros.estimators.gspose import GsPose
from clipose_ros.estimators.gspose_settings import GsPoseSettings
from clipose_ros.estimators.hypothesis_search import HypothesisSearch
from clipose_ros.estimators.pose_refinement import PoseRefiner
from clipose_ros.estimators.sightings import around_mask, crop_around
from clipose_ros.inference.card import find_model, read_card
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.surface_tables import surface_tables
from clipose_ros.objects.view_templates import embedding_distances, poses_by_templates, view_templates
from clipose_ros.rendering.cpu import CpuRasterizer

spec = importlib.util.spec_from_file_location("box_scene", Path(__file__).with_name("conftest.py"))
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)

INTRINSICS = Intrinsics(box_scene.FOCAL, box_scene.FOCAL, box_scene.WIDTH / 2, box_scene.HEIGHT / 2)


class Pixels:
    """Embeds a crop as its own pixels."""

    side = 24

    def embed(self, paints, masks):
        flat = np.concatenate([paints, masks[..., None]], axis=3).reshape(len(masks), -1)
        return flat / np.linalg.norm(flat, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def learned(box_library):
    (learned,) = ObjectLibrary(box_library).read_all()
    return learned


@pytest.fixture(scope="module")
def tables(learned):
    return surface_tables(learned)


@pytest.fixture(scope="module")
def templates(learned, tables):
    return view_templates(tables.gaussians, learned.diagonal_m, CpuRasterizer(), Pixels())


def angle_deg(rotation, truth):
    return np.degrees(np.arccos(np.clip((np.trace(rotation @ truth.T) - 1) / 2, -1, 1)))


@pytest.mark.parametrize("view", [(33.0, 35.0, 0.45, 20.0), (215.0, 15.0, 0.35, -70.0), (100.0, 60.0, 0.4, 170.0)])
def test_the_most_alike_has_about_the_rotation(templates, view):
    truth, translation = box_scene.looking_at_box(*view)
    colour, _, mask = box_scene.picture_of_box(truth, translation)
    rotations, _, wrongness = poses_by_templates(templates, colour, mask, INTRINSICS)
    distances = embedding_distances(templates, Pixels(), colour, mask)
    assert distances.shape == wrongness.shape and distances.min() > -1e-5
    assert angle_deg(rotations[wrongness.argmin()], truth) < 15
    best = rotations[distances.argsort()[:10]]  # pixels are no embedding to boast of
    assert min(angle_deg(rotation, truth) for rotation in best) < 15


def test_templates_are_embedded_where_that_is_asked_for(learned, tables, templates):
    assert view_templates(tables.gaussians, learned.diagonal_m, CpuRasterizer()).embeddings is None
    assert templates.embeddings.shape == (len(templates.rotations), 4 * Pixels.side**2)
    np.testing.assert_allclose(np.linalg.norm(templates.embeddings, axis=1), 1, atol=1e-5)


def test_embeddings_make_up_for_renders_that_tell_nothing(learned, tables, templates):
    truth, translation = box_scene.looking_at_box(33.0, 35.0, 0.45, 20.0)
    colour, _, mask = box_scene.picture_of_box(truth, translation)
    view = InstanceView(Frame(0, "", np.zeros(mask.shape, np.float32), INTRINSICS, colour), mask)
    search = HypothesisSearch(PoseRefiner(GsPoseSettings(blind_hypotheses=6)))
    small = crop_around(view, around_mask(view, learned.diagonal_m), learned.diagonal_m, 32, mask.astype(np.float32))
    blank = np.zeros_like(templates.masks), np.zeros_like(templates.paints)
    without_renders = replace(templates, masks=blank[0], known=blank[0], paints=blank[1])
    for made, embedder in ((templates, None), (templates, Pixels()), (without_renders, Pixels())):
        found = search.by_templates(tables, made, view, small, embedder)
        assert len(found) <= 6 and min(angle_deg(one.rotation, truth) for one in found) < 15


def test_retrieval_without_a_network_says_so(box_library):
    folder = find_model("gspose", None)
    card = replace(read_card(folder), networks={}, settings={"retrieval": True})
    with pytest.raises(ValueError, match="networks: expected retrieval for estimator gspose, got"):
        GsPose(folder, card, objects_dir=box_library)
    with pytest.raises(ValueError, match="retrieval: expected true or false, got 3"):
        GsPoseSettings(retrieval=3)
