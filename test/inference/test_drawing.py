"""What the debug image shows of a frame."""

from dataclasses import replace

import numpy as np
import pytest

from clipose_ros.bench.latency import IMAGE_SHAPE, INTRINSICS, spheres_on_table
from clipose_ros.core.backprojection import project
from clipose_ros.core.distortion import PolynomialDistortion
from clipose_ros.core.metrics import box_corners
from clipose_ros.core.types import Detections, Instance, PoseEstimate, Rejection, TrackedPose, TrackState
from clipose_ros.drawing import (
    BOX_COLOURS,
    COASTING_COLOUR,
    EDGES,
    REJECTED_COLOUR,
    depth_picture,
    draw_pose,
    draw_results,
)


@pytest.fixture
def scene():
    return spheres_on_table(2, ("can", "mug"))


@pytest.fixture
def image():
    return np.zeros((*IMAGE_SHAPE, 3), np.uint8)


def pixels_of(image, colour):
    """Which pixels have a colour, (H, W) bool."""
    return (image == colour).all(axis=2)


def pose(kind=PoseEstimate, **fields):
    return kind("can", 0.9, np.eye(3), np.array([0.0, 0.0, 1.0]), np.full(3, 0.1), **fields)


def tracked(state):
    return pose(TrackedPose, track=3, state=state, age_ns=10**8, covariance=np.eye(6))


def test_an_estimated_and_a_rejected_instance_have_different_colours(scene, image):
    one, other = scene.detections.instances
    draw_results(
        image,
        INTRINSICS,
        scene.detections,
        [(one, pose()), (other, Rejection("mug", "points: expected at least 32, got 12"))],
    )
    assert pixels_of(image, BOX_COLOURS[0]).sum() > 300
    rejected = pixels_of(image, REJECTED_COLOUR)
    outlined = scene.detections.masks == 2
    assert rejected[outlined].sum() > 100  # its outline is on the mask
    # the reason is below, and nothing elsewhere
    assert rejected[450:].sum() > 500 and not image[:440][~outlined[:440] & rejected[:440]].any()


def test_reasons_of_instances_without_pixels_are_listed_too(scene, image):
    ghosts = [
        (Instance(label, "mug", id=str(label)), Rejection("mug", "points: expected at least 32, got 0"))
        for label in (7, 8, 9)
    ]
    draw_results(image, INTRINSICS, Detections((ghosts[0][0],), scene.detections.masks), ghosts[:1])
    one = pixels_of(image, REJECTED_COLOUR).sum()
    found = Detections(tuple(instance for instance, _ in ghosts), scene.detections.masks)
    draw_results(image, INTRINSICS, found, ghosts)
    assert pixels_of(image, REJECTED_COLOUR).sum() == pytest.approx(3 * one, rel=0.05)


@pytest.mark.parametrize(
    ("state", "grey"), [(TrackState.CONFIRMED, False), (TrackState.TENTATIVE, False), (TrackState.COASTING, True)]
)
def test_predicted_poses_are_grey(scene, image, state, grey):
    instance = scene.detections.instances[0]
    draw_results(image, INTRINSICS, scene.detections, [(instance, tracked(state))])
    assert (pixels_of(image, COASTING_COLOUR).sum() > 300) == grey
    draw_results(image, INTRINSICS, scene.detections, [], [(instance, tracked(TrackState.COASTING))])
    assert pixels_of(image, COASTING_COLOUR).sum() > 300


@pytest.mark.parametrize(("dtype", "unit"), [(np.uint16, 1000), (np.float32, 1)])
def test_near_is_lighter_than_far_and_invalid_is_black(dtype, unit):
    depth = (np.linspace(0.5, 2.0, 100 * 100).reshape(100, 100) * unit).astype(dtype)
    invalid = np.zeros(depth.shape, bool)
    invalid[10:20, 10:20] = True
    depth[invalid] = 0 if dtype == np.uint16 else np.nan
    picture = depth_picture(depth)
    grey = picture[:, :, 0].astype(int)
    assert picture.shape == (100, 100, 3) and (picture == picture[:, :, :1]).all()
    assert (grey[invalid] == 0).all() and (grey[~invalid] > 0).all()
    assert (np.diff(grey[~invalid]) <= 0).all() and grey[0, 0] > grey[-1, -1] + 100


@pytest.mark.parametrize(
    "depth",
    [np.zeros(IMAGE_SHAPE, np.uint16), np.full(IMAGE_SHAPE, np.inf, np.float32), np.full(IMAGE_SHAPE, 800, np.uint16)],
)
def test_depth_without_range_makes_a_picture_too(depth):
    picture = depth_picture(depth)
    assert picture.shape == (*IMAGE_SHAPE, 3) and len(np.unique(picture)) == 1


def test_boxes_bend_as_a_raw_image_does(image):
    """An edge goes through where the lens shows its middle, not through the middle of where it shows its ends."""
    wide = replace(INTRINSICS, distortion=PolynomialDistortion((-0.4, 0.1, 0.0, 0.0)))
    large = PoseEstimate("can", 0.9, np.eye(3), np.array([0.15, 0.0, 1.0]), np.full(3, 0.45))
    draw_pose(image, large, wide, colour=BOX_COLOURS[0])
    corners = box_corners(large)
    bows = []
    for a, b in EDGES:
        ends, middle = project(corners[[a, b]], wide), project(corners[[a, b]].mean(axis=0), wide)
        bows.append((np.linalg.norm(ends.mean(axis=0) - middle), tuple(middle), tuple(ends.mean(axis=0))))
    bow, *places = max(bows)
    drawn = [
        pixels_of(image[round(v) - 2 : round(v) + 3, round(u) - 2 : round(u) + 3], BOX_COLOURS[0]) for u, v in places
    ]
    assert bow > 6 and drawn[0].any() and not drawn[1].any()


def test_what_the_lens_does_not_show_is_not_drawn(image):
    turning_back = replace(INTRINSICS, distortion=PolynomialDistortion((-0.5, 0.0, 0.0, 0.0)))
    draw_pose(image, PoseEstimate("can", 0.9, np.eye(3), np.array([2.0, 0.0, 1.0]), np.full(3, 0.1)), turning_back)
    assert not image.any()
