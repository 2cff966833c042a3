"""What is outside of a workspace is left alone."""

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.workspace import CameraPlace, Workspace
from clipose_ros.formats.workspace_files import read_area, read_workspace

INTRINSICS = Intrinsics(100.0, 100.0, 49.5, 39.5)


@pytest.fixture
def seen():
    """A frame with two objects: the left one 0.5 m away, the right one 1 m."""
    depth, masks = np.full((80, 100), 2.0, np.float32), np.zeros((80, 100), np.uint8)
    for label, (left, z) in {1: (10, 0.5), 2: (60, 1.0)}.items():
        depth[30:50, left : left + 20], masks[30:50, left : left + 20] = z, label
    return Frame(0, "", depth, INTRINSICS), Detections((Instance(1, "can"), Instance(2, "mug")), masks)


def names(detections):
    return [instance.category for instance in detections.instances]


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        ("", ["can", "mug"]),
        ("-1 1 -1 1 0 0.7", ["can"]),
        ("-1, 1, -1, 1, 0.7, inf", ["mug"]),
        ("0 inf -inf inf -inf inf", ["mug"]),
        ("-1 1 -1 1 3 4", []),
    ],
)
def test_a_box_in_the_frame_of_the_camera(seen, box, expected):
    kept = read_workspace(box).kept(*seen)
    assert names(kept) == expected
    assert set(np.unique(kept.masks)) == {0} | {instance.label for instance in kept.instances}


def test_a_box_in_the_frame_of_the_robot(seen):
    """A camera that looks down from 1.2 m: what is 0.5 m away from it is an arm, 0.7 m above the floor."""
    down = CameraPlace(np.array([[1.0, 0, 0], [0, -1.0, 0], [0, 0, -1.0]]), np.array([0.0, 0.0, 1.2]))
    assert names(Workspace((-1, 1, -1, 1, -0.1, 0.4)).kept(*seen, down)) == ["mug"]


def test_half_of_an_object_inside_is_enough(seen):
    frame, detections = seen
    middle = (20 - 49.5) / 100 * 0.5  # of the left one, 20 pixels wide
    assert names(Workspace((middle - 0.003, 9, -9, 9, 0, 0.7)).kept(frame, detections)) == ["can"]
    assert names(Workspace((middle + 0.02, 9, -9, 9, 0, 0.7)).kept(frame, detections)) == []


def test_a_mask_of_the_image(seen, tmp_path):
    frame, detections = seen
    picture = np.zeros(frame.depth.shape, np.uint8)
    picture[:, :50] = 255
    cv2.imwrite(str(tmp_path / "area.png"), picture)
    assert names(read_workspace(mask=str(tmp_path / "area.png")).kept(frame, detections)) == ["can"]
    with pytest.raises(ValueError, match=r"workspace mask: expected \(80, 100\) pixels as the depth image, got"):
        Workspace(mask=np.ones((4, 4), bool)).kept(frame, detections)


def test_masks_that_overlap_and_pixels_without_depth(seen):
    frame, detections = seen
    apart = Detections(detections.instances, np.stack([detections.masks == 1, detections.masks == 2]))
    assert names(Workspace((-1, 1, -1, 1, 0, 0.7)).kept(frame, apart)) == ["can"]
    blind = Frame(0, "", np.full_like(frame.depth, np.nan), INTRINSICS)
    assert names(Workspace((-1, 1, -1, 1, 0, 0.7)).kept(blind, apart)) == ["can", "mug"]


@pytest.mark.parametrize("box", ["1 2 3", "1 0 0 1 0 1", "a b c d e f", "0 1 0 1 0 nan", "5"])
def test_what_is_no_box_is_refused(box):
    with pytest.raises(ValueError, match="workspace: expected six numbers"):
        read_workspace(box)


def test_what_is_no_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="workspace_mask: expected a picture that can be read, got"):
        read_workspace(mask=str(tmp_path / "none.png"))
    with pytest.raises(ValueError, match="workspace mask: expected a picture of one channel"):
        Workspace(mask=np.zeros((4, 4), bool))


def test_a_picture_of_16_bits_is_as_good_as_one_of_8(tmp_path):
    picture = np.zeros((8, 10), np.uint16)
    picture[:, :5] = 1
    cv2.imwrite(str(tmp_path / "area.png"), picture)
    np.testing.assert_array_equal(read_area(tmp_path / "area.png"), picture > 0)


def test_a_workspace_without_limits_is_none():
    assert not Workspace() and not read_workspace() and Workspace((0, 1, 0, 1, 0, 1))
