"""Rotations of reference views: transposed ones are refused, although each sees the object's middle at its origin."""

import json

import numpy as np
import pytest

from clipose_ros.formats.reference_views import read_reference_views

from .conftest import CENTRE, looking_at_box, ring, write_box_views

POSES = [*ring(6, 20.0), *ring(6, 55.0)]


def spoil(folder, change):
    poses = {name: change(pose) for name, pose in json.loads((folder / "poses.json").read_text()).items()}
    (folder / "poses.json").write_text(json.dumps(poses))


def about_the_middle(pose):
    """The same pose in a frame whose origin is the box's middle."""
    rotation = np.array(pose["R"])
    return {"R": pose["R"], "t": (rotation @ CENTRE + pose["t"]).tolist()}


def transposed(pose):
    return {"R": np.transpose(pose["R"]).tolist(), "t": pose["t"]}


@pytest.mark.parametrize("poses", [POSES, ring(5, 40.0)])
def test_transposed_rotations_are_refused_with_the_cure(tmp_path, poses):
    folder = write_box_views(tmp_path / "box", poses)
    spoil(folder, about_the_middle)
    assert len(read_reference_views(folder).views) == len(poses)
    spoil(folder, transposed)
    with pytest.raises(
        ValueError, match=r"poses.json: R: expected R_camera_object, row by row, .*: transpose R, which"
    ):
        read_reference_views(folder)


def test_views_from_one_side_and_views_without_depth_are_left_alone(tmp_path):
    """Their rotations tell nothing, or there is no surface."""
    one_side = write_box_views(tmp_path / "side", [looking_at_box(angle, 30.0) for angle in (0, 4, 8, 12)])
    assert len(read_reference_views(one_side).views) == 4
    blind = write_box_views(tmp_path / "blind", POSES, with_depth=False)
    spoil(blind, about_the_middle)
    spoil(blind, transposed)
    assert len(read_reference_views(blind).views) == 12
