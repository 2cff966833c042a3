"""Export a Mask R-CNN of torchvision to ONNX with its card, for `segmenter: mask_rcnn`, after comparing it with torch.

    python3 -m venv build/mask-rcnn && build/mask-rcnn/bin/pip install -r requirements-mask-rcnn.txt
    build/mask-rcnn/bin/python -m training.mask_rcnn --output models/segmenter-mask-rcnn             # weights of COCO
    build/mask-rcnn/bin/python -m training.mask_rcnn --weights mine.pt --output models/mine \
        --classes bottle bowl camera can laptop mug                                                 # yours

It has an environment of its own: no torchvision of PyPI runs beside the CPU build of torch that all else here has.
"""

from __future__ import annotations

import hashlib
import importlib
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

import numpy as np
import onnx
import torch
import tyro
from torch import nn

from clipose_ros.core.admission import MAX_INSTANCES, class_names
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import ModelCard, NetworkFile, write_card
from clipose_ros.inference.session import Session
from clipose_ros.segmenters.mask_rcnn import (
    BOXES,
    IMAGE,
    LABELS,
    MASKS,
    NETWORK,
    SCORES,
    MaskRcnnSettings,
)
from training.command import run
from training.storage import made_folder

OPSET = 17
COCO = "coco"
COCO_CATEGORIES = {"bottle": "bottle", "cup": "mug", "bowl": "bowl", "laptop": "laptop"}
STRIDE = 32  # torchvision pads images to multiples of this
LEAST_SCORE = 0.05  # of what the network gives; the runtime asks for more
CELLS = 28  # a side of the masks
# Between torch and ONNX Runtime: the largest difference; of masks, the largest mean over one. Weights that mean
# nothing, as a test has them, blow up what is left of rounding.
BOX_PARITY_PX, SCORE_PARITY, MASK_PARITY = 0.1, 1e-3, 0.01
ENVIRONMENT = "pip install -r requirements-mask-rcnn.txt, in an environment of its own"


@dataclass(frozen=True)
class ExportSize:
    """How large the network is.

    Parameters
    ----------
    height, width : int
        Of the camera's images, whose proportion the network's image gets [px].
    shorter_side, longest_side : int
        Of the network's image, as torchvision limits them [px]. Smaller is faster, and sees less.
    proposals : int
        Regions that are looked at. Fewer is faster, and finds less.
    detections : int
        The most that it gives.

    Raises
    ------
    ValueError
        For sizes that are none.
    """

    height: int = 480
    width: int = 640
    shorter_side: int = 800
    longest_side: int = 1333
    proposals: int = 1000
    detections: int = MAX_INSTANCES

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            expect(f"--{name.replace('_', '-')}", value >= 1, "1 or more", value)

    def image(self) -> tuple[int, int]:
        """Give the size of the network's image.

        Returns
        -------
        (int, int)
            Height and width [px], as torchvision's transform has them.
        """
        sides = self.height, self.width
        scale = min(self.shorter_side / min(sides), self.longest_side / max(sides))
        return int(self.height * scale), int(self.width * scale)


class FixedSizeMaskRcnn(nn.Module):
    """A Mask R-CNN of torchvision for one image of one size, without the resizing and pasting around it.

    Parameters
    ----------
    model : Module
        Of `torchvision.models.detection`.
    size : (int, int)
        Height and width of the image [px].
    """

    def __init__(self, model: nn.Module, size: tuple[int, int]) -> None:
        super().__init__()
        self.model, self.size = model, size
        self.register_buffer("mean", torch.tensor(model.transform.image_mean).reshape(3, 1, 1))
        self.register_buffer("deviation", torch.tensor(model.transform.image_std).reshape(3, 1, 1))

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Detect.

        Parameters
        ----------
        image : (1, 3, H, W) float32
            RGB from 0 to 1.

        Returns
        -------
        tuple of Tensor
            Boxes (D, 4) in pixels, labels (D,), scores (D,) and masks (D, 1, 28, 28), the surest first.
        """
        image_list = importlib.import_module("torchvision.models.detection.image_list").ImageList
        below, right = (-side % STRIDE for side in self.size)
        padded = nn.functional.pad((image - self.mean) / self.deviation, (0, right, 0, below))
        images = image_list(padded, [self.size])
        features = self.model.backbone(images.tensors)
        proposals, _ = self.model.rpn(images, features)
        (found,), _ = self.model.roi_heads(features, proposals, images.image_sizes)
        return found["boxes"], found["labels"], found["scores"], found["masks"]


def load_torchvision() -> ModuleType:
    """Import torchvision, which only its own environment has.

    Returns
    -------
    module
        torchvision.

    Raises
    ------
    ValueError
        Where it is not there, or does not fit torch.
    """
    try:
        return importlib.import_module("torchvision")
    except (ImportError, RuntimeError) as error:
        raise ValueError(f"torchvision: expected one that fits torch, got: {error}; {ENVIRONMENT}") from error


def build_model(state: Mapping[str, torch.Tensor], size: ExportSize) -> nn.Module:
    """Make the Mask R-CNN that a state dict is of.

    Parameters
    ----------
    state : mapping of str to Tensor
        Of `maskrcnn_resnet50_fpn_v2` or `maskrcnn_resnet50_fpn`, with any number of classes.
    size : ExportSize
        How large.

    Returns
    -------
    Module
        Ready for inference.

    Raises
    ------
    ValueError
        Where the state dict is of another network.
    """
    detection = load_torchvision().models.detection
    heads = "roi_heads.box_predictor.cls_score.weight"
    expect("--weights", heads in state, f"a state dict of a Mask R-CNN of torchvision, with {heads}", "none such")
    kind = "maskrcnn_resnet50_fpn" if "roi_heads.box_head.fc6.weight" in state else "maskrcnn_resnet50_fpn_v2"
    model = getattr(detection, kind)(
        weights=None,
        weights_backbone=None,
        num_classes=len(state[heads]),
        box_detections_per_img=size.detections,
        box_score_thresh=LEAST_SCORE,
        rpn_pre_nms_top_n_test=size.proposals,
        rpn_post_nms_top_n_test=size.proposals,
    )
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"--weights: expected a state dict of {kind}, got: {str(error)[:400]}") from error
    return model.eval()


def read_state(path: Path) -> Mapping[str, torch.Tensor]:
    """Read a state dict, of arrays alone: nothing in the file is run.

    Parameters
    ----------
    path : Path
        As torch.save wrote it; a mapping with it under `model`, as torchvision's references save, will do.

    Returns
    -------
    mapping of str to Tensor
        The state dict.

    Raises
    ------
    ValueError
        With the path, where it is none.
    """
    expect(str(path), path.is_file(), "a state dict, as torch.save writes it", "no file")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch has many for what is no such file
        raise ValueError(f"{path}: expected a state dict, as torch.save writes it, got: {str(error)[:200]}") from error
    state = saved.get("model", saved) if isinstance(saved, Mapping) else saved
    sound = isinstance(state, Mapping) and all(isinstance(value, torch.Tensor) for value in state.values())
    expect(str(path), sound, "a state dict: a mapping of names to arrays", type(state).__name__)
    return state


def write_network(network: FixedSizeMaskRcnn, path: Path, detections: int) -> NetworkFile:
    """Write the ONNX file.

    Parameters
    ----------
    network : FixedSizeMaskRcnn
        Ready for inference.
    path : Path
        To write.
    detections : int
        The most that the network gives.

    Returns
    -------
    NetworkFile
        Its entry in the card.
    """
    names = [BOXES, LABELS, SCORES, MASKS]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the old exporter, the only one that knows torchvision's detections
        torch.onnx.export(
            network,
            (torch.rand(1, 3, *network.size, generator=torch.Generator().manual_seed(1)),),
            str(path),
            input_names=[IMAGE],
            output_names=names,
            opset_version=OPSET,
            dynamo=False,
        )
    # ONNX Runtime's TensorRT provider wants the shape of every value to be told
    onnx.save(onnx.shape_inference.infer_shapes(onnx.load(str(path))), str(path))
    onnx.checker.check_model(str(path))
    many = f"up to {detections}"
    shapes = (many, 4), (many,), (many,), (many, 1, CELLS, CELLS)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return NetworkFile(path.name, digest, {IMAGE: (1, 3, *network.size)}, dict(zip(names, shapes)))


def check_parity(network: FixedSizeMaskRcnn, session: Session, images: Sequence[np.ndarray]) -> str:
    """Compare ONNX Runtime with torch.

    Parameters
    ----------
    network : FixedSizeMaskRcnn
        In torch.
    session : Session
        The same in ONNX Runtime.
    images : sequence of (1, 3, H, W) float32
        To compare on.

    Returns
    -------
    str
        The largest differences, in words.

    Raises
    ------
    ValueError
        Where they find different objects, or the same elsewhere.
    """
    worst, count = dict.fromkeys((BOXES, SCORES, MASKS), 0.0), 0
    for image in images:
        with torch.inference_mode():
            expected = dict(zip((BOXES, LABELS, SCORES, MASKS), (one.numpy() for one in network(torch.tensor(image)))))
        got = session.run({IMAGE: image})
        same = sorted(expected[LABELS].tolist()) == sorted(got[LABELS].tolist())
        expect("parity: labels", same, expected[LABELS].tolist(), got[LABELS].tolist())
        count += len(got[LABELS])
        for index, label in enumerate(expected[LABELS]):  # equal scores may come in another order
            apart = np.abs(got[BOXES] - expected[BOXES][index]).max(axis=1)
            partner = int(np.where(got[LABELS] == label, apart, np.inf).argmin())
            for key in worst:
                off = np.abs(expected[key][index] - got[key][partner])
                worst[key] = max(worst[key], float(off.mean() if key == MASKS else off.max()))
    for key, most in ((BOXES, BOX_PARITY_PX), (SCORES, SCORE_PARITY), (MASKS, MASK_PARITY)):
        expect(f"parity: {key}", worst[key] <= most, f"at most {most}", worst[key])
    return (
        f"{count} detections; largest difference of boxes {worst[BOXES]:.1e} px, scores {worst[SCORES]:.1e}, masks "
        + (f"{worst[MASKS]:.1e}")
    )


def export(
    output: Path,
    weights: str = COCO,
    classes: tuple[str, ...] = (),
    categories: tuple[str, ...] = (),
    size: Annotated[ExportSize, tyro.conf.arg(name="")] = ExportSize(),
    least_score: float = 0.5,
    licence: str = "not stated",
) -> None:
    """Write detections.onnx and card.yaml.

    Parameters
    ----------
    output : Path
        Folder of the model; segmenter-mask-rcnn in a folder of models is found by its name.
    weights : str
        File of a state dict; coco lets torchvision download its weights of COCO.
    classes : tuple of str
        The classes of a state dict of yours, from label 1 on; the background, 0, is left out.
    categories : tuple of str
        "from:to", a class and our name; other classes are left alone. Without: of COCO bottle, cup (our mug), bowl and
        laptop; of a state dict of yours all classes, by their names.
    size : ExportSize
        How large the network is.
    least_score : float
        Instances below are left out; the node and the commands may set another one from 0.05 on.
    licence : str
        Of the weights, for the card.

    Raises
    ------
    ValueError
        For weights and classes that do not fit each other, where ONNX Runtime and torch differ, and without
        torchvision.
    """
    vision = load_torchvision()
    if weights == COCO:
        expect("--classes", not classes, f"none with weights {COCO}, which have their own", ", ".join(classes))
        pretrained = vision.models.detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        state, classes = pretrained.get_state_dict(check_hash=True), tuple(pretrained.meta["categories"][1:])
        named: dict[str, str] = COCO_CATEGORIES
    else:
        state = read_state(Path(weights).expanduser())
        named = {name: name for name in classes}
    named = class_names(categories, "--categories") or named
    settings = MaskRcnnSettings(classes, named, least_score)
    model = build_model(state, size)
    known = len(state["roi_heads.box_predictor.cls_score.weight"]) - 1
    expect("--classes", len(classes) == known, f"{known} names, as the weights have classes", len(classes))
    network = FixedSizeMaskRcnn(model, size.image()).eval()
    made_folder(output)
    entry = write_network(network, output / "detections.onnx", size.detections)
    generator = np.random.default_rng(0)
    images = [generator.random((1, 3, *network.size), np.float32) for _ in range(2)]
    print(check_parity(network, Session(output, entry, together=True), images))
    card = ModelCard(
        name=output.name,
        estimator="mask-rcnn-segmenter",
        names=tuple(dict.fromkeys(named.values())),
        networks={NETWORK: entry},
        settings=settings.as_mapping(),
        training=_origin(weights, vision, model, size),
        licence=licence,
    )
    write_card(card, output)  # last: without a card that fits it, a network that is wrong is no model
    height, width = network.size
    print(f"{output}: {height}x{width}, {known} classes, of which {', '.join(f'{a} is {b}' for a, b in named.items())}")


def _origin(weights: str, vision: ModuleType, model: nn.Module, size: ExportSize) -> dict[str, Any]:
    """Where the network is from, for the card."""
    return {
        "weights": weights if weights == COCO else Path(weights).name,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "torchvision": vision.__version__,
        "exported": vars(size),
    }


if __name__ == "__main__":
    run(export)
