"""Sizes of objects against those of their kinds: a wrong unit is told, and what happens in sound scenes is not."""

import numpy as np
import pytest

from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.object_sizes import ObjectSizes, range_warning, unit_warning
from clipose_ros.core.types import Frame, Intrinsics


def cloud(across_m, points=500):
    """An object that is so large across the line of sight, with some background in its mask."""
    rng = np.random.default_rng(0)
    side = across_m / np.sqrt(2) / 0.9  # of which the inner nine tenths count
    cloud = np.append(rng.uniform(-side / 2, side / 2, (points, 2)), np.full((points, 1), 0.8), axis=1)
    cloud[: points // 50] += 2.0
    return cloud


def suspicion(*shares, frames=3):
    """Of objects whose visible part has this share of the usual diagonal of their kind, in each of some frames."""
    sizes = ObjectSizes()
    for _ in range(frames):
        sizes.add([cloud(0.2 * share) for share in shares], [0.2] * len(shares))
    return sizes.suspicion()


@pytest.mark.parametrize("shares", [(0.7,), (0.46, 0.7, 1.03), (1.6,), (0.3,), (1.03, 1.03, 1.03), (0.46, 0.46, 0.5)])
def test_objects_of_sound_scenes_are_not_suspected(shares):
    """The extremes of rendered and genuine frames."""
    assert suspicion(*shares) is None


@pytest.mark.parametrize("factor", [10.0, 8.0, 4.0, 0.1])
@pytest.mark.parametrize("shares", [(0.7,), (0.5, 0.7, 1.0)])
def test_all_objects_too_large_or_small_are_suspected_by_their_factor(shares, factor):
    found = suspicion(*(share * factor for share in shares))
    assert found == pytest.approx(factor, rel=0.15)


def test_the_more_objects_the_sooner():
    assert suspicion(1.5) is None and suspicion(1.5, 1.5, 1.5) is not None
    assert suspicion(7.0, frames=2) is None and suspicion(7.0, 7.0, 7.0, frames=1) is not None


def test_one_object_that_is_cut_wrong_does_not_make_the_others_suspect():
    assert suspicion(0.7, 0.6, 7.0) is None


def test_objects_of_unknown_size_and_empty_clouds_say_nothing():
    sizes = ObjectSizes()
    for _ in range(9):
        sizes.add([cloud(5.0), np.empty((0, 3))], [None, 0.2])
    assert len(sizes) == 0 and sizes.suspicion() is None


def test_the_warning_names_unit_and_cure():
    text, cure = unit_warning(9.6, 0.001)
    assert text.startswith("depth: expected objects") and "got 9.6 times that" in text and "1 mm" in text
    assert cure == "if its unit is 0.1 mm: depth_scale_m:=0.0001"
    assert unit_warning(1.9, 0.001)[1] == cure
    assert unit_warning(0.1, 0.0001)[1] == "if its unit is 1 mm: depth_scale_m:=0.001"
    assert unit_warning(900.0, 1.0)[1] == "if its unit is 1 mm: depth_scale_m:=0.001"


def frame(depth, unit_m=None):
    return Frame(0, "eye", depth, Intrinsics(600.0, 600.0, 79.5, 59.5), depth_unit_m=unit_m)


@pytest.mark.parametrize(
    ("depth", "unit_m", "cure"),
    [
        (np.full((120, 160), 873.0, np.float32), None, "if its unit is 1 mm: depth_scale_m:=0.001; else min_depth_m"),
        (np.full((120, 160), 8730, np.uint16), None, "if its unit is 0.1 mm: depth_scale_m:=0.0001; else min_depth_m"),
        (np.full((120, 160), 2, np.uint16), None, "if its unit is 1000 mm: depth_scale_m:=1; else min_depth_m"),
        (np.full((120, 160), 873, np.uint16), 0.0001, "if its unit is 1 mm: depth_scale_m:=0.001; else min_depth_m"),
    ],
)
def test_depth_that_is_out_of_range_all_over_is_said_with_the_likely_unit(depth, unit_m, cure):
    """ensenso/ros_driver#60: millimetres in 32FC1. Every object is rejected, and nobody knows why."""
    text, advice = range_warning(frame(depth, unit_m), DepthRange())
    assert text.startswith("depth: expected 0.1 to 5 m, got nearly all of the image nearer or further")
    assert advice.startswith(cure)


def test_depth_of_which_some_is_in_range_or_next_to_nothing_is_seen_says_nothing():
    hall = np.full((120, 160), 9.0, np.float32)
    hall[:, :20] = 0.9
    covered = np.full((120, 160), np.nan, np.float32)
    covered[0, 0] = 9.0
    for depth in (hall, covered, np.zeros((120, 160), np.uint16)):
        assert range_warning(frame(depth), DepthRange()) is None
