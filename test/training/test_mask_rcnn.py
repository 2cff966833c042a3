"""Mask R-CNN of torchvision against the runtime, where both are: the environment of requirements-mask-rcnn.txt.

Everywhere else what needs torchvision is skipped.
"""

import sys

import numpy as np
import pytest
import torch

from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.mask_rcnn import pasted
from training.mask_rcnn import ExportSize, export, load_torchvision, read_state

SIX = ("bottle", "bowl", "camera", "can", "laptop", "mug")


@pytest.fixture(scope="module")
def vision():
    try:
        return load_torchvision()
    except ValueError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="module")
def model(vision):
    """With weights that mean nothing; the boxes that it finds are as sure as each other, or nearly."""
    torch.manual_seed(3)
    network = vision.models.detection.maskrcnn_resnet50_fpn_v2(
        weights=None,
        weights_backbone=None,
        num_classes=1 + len(SIX),
        min_size=96,
        max_size=128,
        box_detections_per_img=16,
        rpn_pre_nms_top_n_test=60,
        rpn_post_nms_top_n_test=60,
    )
    return network.eval()


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    torch.save({"model": model.state_dict(), "epoch": 3}, folder / "mine.pt")
    size = ExportSize(shorter_side=96, longest_side=128, proposals=60, detections=16)
    export(folder / "mine", str(folder / "mine.pt"), SIX, size=size, least_score=0.1)
    return folder / "mine"


@pytest.mark.parametrize("shape", [(480, 640), (96, 128), (240, 320)])
def test_the_runtime_finds_what_torchvision_finds_in_the_image(model, exported, shape):
    colour = np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)
    with torch.inference_mode():
        (expected,) = model([torch.tensor(colour).permute(2, 0, 1) / 255])
    frame = Frame(0, "camera", np.ones(shape, np.uint16), Intrinsics(500, 500, shape[1] / 2, shape[0] / 2), colour)
    found = segmenter_of(exported).segment(frame)
    count = len(found.instances)
    assert count == int((expected["scores"] >= 0.1).sum()) > 3
    names = [SIX[label - 1] for label in expected["labels"][:count].tolist()]
    assert [instance.category for instance in found.instances] == names
    np.testing.assert_allclose([one.score for one in found.instances], expected["scores"][:count], atol=1e-3)
    theirs = expected["masks"][:count, 0].numpy() > 0.5
    assert (theirs != found.masks).mean() < 2e-3


def test_where_nothing_is_found_there_are_no_detections(model, tmp_path):
    state = {name: value.clone() for name, value in model.state_dict().items()}
    state["roi_heads.box_predictor.cls_score.bias"][0] = 50.0  # all is background
    torch.save(state, tmp_path / "blind.pt")
    size = ExportSize(shorter_side=96, longest_side=128, proposals=20)
    export(tmp_path / "blind", str(tmp_path / "blind.pt"), SIX, size=size)
    colour = np.full((48, 64, 3), 200, np.uint8)
    found = segmenter_of(tmp_path / "blind").segment(
        Frame(0, "camera", np.ones((48, 64), np.uint16), Intrinsics(50, 50, 32, 24), colour)
    )
    assert found.instances == () and found.masks.shape == (0, 48, 64)


def test_masks_are_pasted_as_torchvision_does(vision):
    paste = vision.models.detection.roi_heads.paste_masks_in_image
    generator = np.random.default_rng(2)
    for _ in range(40):
        small = generator.random((28, 28), dtype=np.float32)
        x, y = np.sort(generator.uniform(0, 90, 2)), np.sort(generator.uniform(0, 60, 2))
        box = np.array([x[0], y[0], x[1], y[1]], np.float32)
        theirs = paste(torch.tensor(small)[None, None], torch.tensor(box)[None], (60, 90))[0, 0].numpy()
        ours = pasted(small, box, (60, 90))
        clear = np.abs(theirs - 0.5) > 1e-4
        assert (ours == (theirs > 0.5))[clear].all()


def test_weights_and_classes_must_fit(vision, exported, tmp_path):
    weights = str(exported.parent / "mine.pt")
    with pytest.raises(ValueError, match="--classes: expected 6 names, as the weights have classes, got 2"):
        export(tmp_path, weights, ("cup", "bowl"))
    torch.save({"layer": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="--weights: expected a state dict of a Mask R-CNN of torchvision"):
        export(tmp_path, str(tmp_path / "other.pt"), ("cup",))
    with pytest.raises(ValueError, match="--classes: expected none with weights coco"):
        export(tmp_path, classes=("cup",))


def test_a_file_that_is_no_state_dict_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a state dict, as torch.save writes it, got no file"):
        read_state(tmp_path / "nothing.pt")
    (tmp_path / "text.pt").write_text("weights")
    with pytest.raises(ValueError, match="text.pt: expected a state dict, as torch.save writes it, got: "):
        read_state(tmp_path / "text.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(ValueError, match="expected a state dict: a mapping of names to arrays, got list"):
        read_state(tmp_path / "list.pt")


def test_without_torchvision_the_environment_for_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ValueError, match="torchvision: expected one that fits torch.*requirements-mask-rcnn.txt"):
        load_torchvision()


def test_the_network_has_the_size_of_torchvisions_images():
    assert ExportSize().image() == (800, 1066) and ExportSize(720, 1280).image() == (749, 1333)
    with pytest.raises(ValueError, match="--shorter-side: expected 1 or more, got 0"):
        ExportSize(shorter_side=0)
