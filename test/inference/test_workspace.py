"""A part of the image to look at, around segmenters of the tests."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.segmenters.choice import SegmenterOptions, load_segmenter


@pytest.fixture
def scene():
    """Two spheres side by side, in a white image."""
    frame, truth = spheres_on_table(2, ["can"])
    return replace(frame, colour=np.full((*frame.depth.shape, 3), 255, np.uint8)), truth


@pytest.fixture
def left(tmp_path, scene):
    """The image of a workspace that ends between the spheres."""
    _, truth = scene
    columns = [np.nonzero(truth.masks == number)[1].mean() for number in (1, 2)]
    inside = np.zeros(truth.masks.shape, np.uint8)
    inside[:, : int(np.mean(columns))] = 255
    cv2.imwrite(str(tmp_path / "left.png"), inside)
    return tmp_path / "left.png", int(np.argmin(columns)) + 1


@pytest.mark.parametrize("word", ["depth", "mask_rcnn"])
def test_only_what_lies_within_is_found(write_segmenter, write_mask_rcnn, scene, left, word):
    models = {"depth": write_segmenter, "mask_rcnn": write_mask_rcnn}[word]().parent
    (frame, truth), (path, number) = scene, left
    segmenter = load_segmenter(word, models, options=SegmenterOptions(segmenter_workspace=str(path)))
    found = segmenter.segment(frame)
    assert len(found.instances) == 1 and len(load_segmenter(word, models).segment(frame).instances) == 2
    sphere = truth.masks == number
    assert (found.mask(0) & sphere).sum() > 0.6 * sphere.sum()
    assert not (found.flat().masks[truth.masks == 3 - number]).any()  # nor its pixels in the label image
    assert "% of the image" in segmenter.facts()["segmenter workspace"]


def test_an_image_that_is_no_workspace_is_refused(write_segmenter, scene, tmp_path):
    models = write_segmenter().parent

    def load(image):
        cv2.imwrite(str(tmp_path / "a.png"), image)
        return load_segmenter("depth", models, options=SegmenterOptions(segmenter_workspace=str(tmp_path / "a.png")))

    with pytest.raises(ValueError, match="a.png: expected a part of the image that is not 0, the workspace, got none"):
        load(np.zeros((480, 640), np.uint8))
    with pytest.raises(ValueError, match="a.png: expected an 8-bit mask in one channel"):
        load(np.zeros((480, 640, 3), np.uint8))
    with pytest.raises(ValueError, match="depth: expected 320x240 as the workspace .*a.png, got 640x480"):
        load(np.ones((240, 320), np.uint8)).segment(scene[0])
    with pytest.raises(ValueError, match="b.png: expected a file, got none"):
        load_segmenter("depth", models, options=SegmenterOptions(segmenter_workspace=str(tmp_path / "b.png")))
