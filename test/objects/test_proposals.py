"""Which parts of an image may be objects, beside a segmenter's instances."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clipose_ros.core.types import Frame
from clipose_ros.segmenters.depth_channels import depth_grid
from clipose_ros.segmenters.likeness import sight_of
from clipose_ros.segmenters.proposals import continued_share, halves, halves_by_place, risen_parts

spec = importlib.util.spec_from_file_location("table_scenes", Path(__file__).with_name("table_scenes.py"))
table = importlib.util.module_from_spec(spec)
spec.loader.exec_module(table)

WARM = table.Box((0.12, 0.08, 0.05), table.WARM, (-0.1, 0.0), 30.0)
COLD = table.Box((0.06, 0.14, 0.06), table.COLD, (0.1, 0.05), -20.0)


@pytest.fixture(scope="module")
def scene():
    frame, labels = table.frame_of_boxes([WARM, COLD])
    return frame, sight_of(frame), labels


def test_the_plane_of_a_patch_of_the_table_goes_on_and_that_of_a_box_does_not(scene):
    _, sight, labels = scene
    patch = np.zeros(labels.shape, bool)
    patch[180:210, 200:250] = True
    assert not (labels[patch] > 0).any()
    assert continued_share(sight, patch) > 0.9
    assert continued_share(sight, labels == 1) < 0.3 and continued_share(sight, labels == 2) < 0.3
    assert continued_share(sight, np.zeros(labels.shape, bool)) == 0


@pytest.mark.parametrize("blind", [False, True])
def test_two_boxes_that_became_one_part_are_cut(scene, blind):
    frame, sight, labels = scene
    parts = halves_by_place(frame.colour, labels > 0) if blind else halves(sight, labels > 0)
    shares = [
        max(np.count_nonzero(part & (labels == k)) / np.count_nonzero(part | (labels == k)) for part in parts)
        for k in (1, 2)
    ]
    assert len(parts) == 2 and min(shares) > 0.9
    nothing = np.zeros(labels.shape, bool)
    assert halves(sight, nothing) == [] and halves_by_place(frame.colour, nothing) == []


def test_what_rises_from_the_table_in_no_instance_is_found(scene):
    frame, _, labels = scene
    grid = depth_grid(frame)
    (part,) = risen_parts(grid, labels == 1, 150)
    assert np.count_nonzero(part & (labels == 2)) > 0.8 * np.count_nonzero(part | (labels == 2))
    assert risen_parts(grid, labels > 0, 150) == []
    nothing = depth_grid(replace(frame, depth=np.zeros_like(frame.depth)))
    assert risen_parts(nothing, labels > 0, 150) == []


def test_a_sight_holds_no_depth_that_is_none():
    depth = np.array([[np.nan, np.inf, -1.0, 0.0, 1e9, 0.5]], np.float32)
    assert sight_of(Frame(0, "", depth, table.CAMERA)).depth_m.tolist() == [[0, 0, 0, 0, 0, 0.5]]
