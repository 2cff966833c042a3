"""Trained networks as ONNX files: what is exported, and with which inputs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnxconverter_common.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16
from torch import Tensor, nn

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.estimators.cleanpose import IMAGE_MAP, PICTURE, PLACES
from clipose_ros.inference.card import NetworkFile
from training.networks.backbone import Sight
from training.onnx_files import write_model
from training.onnx_operators import TRANSLATIONS

OUTPUTS = ("y_axis", "x_axis", "confidence", "offset", "size")
SEARCH_ARITHMETIC = {
    "Add",
    "Sub",
    "Mul",
    "Neg",
    "Pow",
    "MatMul",
    "ReduceSum",
    "Transpose",
    "Unsqueeze",
    "Slice",
    "Gather",
    "Reshape",
}


def sight_of(network: nn.Module) -> Sight | None:
    """Give the image backbone of a network.

    Parameters
    ----------
    network : Module
        Any.

    Returns
    -------
    Sight or None
        None where it has none.
    """
    return getattr(network, "sight", None)


def inputs_of(network: nn.Module) -> tuple[str, ...]:
    """Name what an exported network takes beside points and category.

    A backbone is a network of its own: draws, passes and refinements of an object share its map.

    Parameters
    ----------
    network : Module
        With `also`.

    Returns
    -------
    tuple of str
        `also`, with the map in place of the picture.
    """
    return tuple(IMAGE_MAP if name == PICTURE else name for name in network.also)


class ExportedSight(nn.Module):
    """The image backbone of a network.

    Parameters
    ----------
    sight : Sight
        The backbone.
    """

    def __init__(self, sight: Sight) -> None:
        super().__init__()
        self.backbone = sight.backbone

    def forward(self, picture: Tensor) -> Tensor:
        """Compute the map.

        Parameters
        ----------
        picture : (B, 3, side, side) float32
            RGB, 0..1.

        Returns
        -------
        (B, D, h, w) float32
            Features.
        """
        return self.backbone(picture)


class Exported(nn.Module):
    """The network with its outputs in the order of `OUTPUTS`, and without its image backbone.

    Parameters
    ----------
    network : Module
        Gives a dictionary of outputs.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor, category: Tensor, *also: Tensor) -> tuple[Tensor, ...]:
        """Run the network.

        Parameters
        ----------
        points : (B, N, 3) Tensor
            Clouds in the network's units.
        category : (B,) Tensor
            Indices into CATEGORIES.
        *also : Tensor
            What else the network takes: `inputs_of`.

        Returns
        -------
        tuple of Tensor
            The outputs.
        """
        if sight_of(self.network) is None:
            output = self.network(points, category, *also)
        else:
            *told, maps, places = also
            features = self.network.image_features(maps, places)
            output = self.network.posed(points, category, *told, image_features=features)
        return tuple(output[name] for name in OUTPUTS)


def write_onnx(network: nn.Module, path: Path, precision: str = "fp32") -> None:
    """Write one self-contained ONNX file with a free batch dimension.

    Parameters
    ----------
    network : Module
        With a `config`.
    path : Path
        To write.
    precision : str
        fp32 or fp16, of what is inside; inputs and outputs are float32 in either.
    """
    inputs = example(3, network)
    batch = torch.export.Dim("batch", min=1, max=256)
    program = torch.onnx.export(
        Exported(network).eval(),
        tuple(inputs.values()),
        input_names=list(inputs),
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch}, {0: batch}, *([tuple({0: batch} for _ in network.also)] if network.also else [])),
        dynamo=True,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    )
    model = program.model_proto
    write_model(half_precision(model) if precision == "fp16" else model, path)


def write_sight(sight: Sight, path: Path, precision: str = "fp32") -> NetworkFile:
    """Write the image backbone of a network to a file of its own.

    Parameters
    ----------
    sight : Sight
        The backbone.
    path : Path
        To write.
    precision : str
        As of `write_onnx`.

    Returns
    -------
    NetworkFile
        Its entry in a card.
    """
    picture = torch.rand(3, 3, sight.side, sight.side, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        cells = sight(picture[:1]).shape[2:]
    program = torch.onnx.export(
        ExportedSight(sight).eval(),
        (picture,),
        input_names=[PICTURE],
        output_names=[IMAGE_MAP],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=256)},),
        dynamo=True,
        verbose=False,
    )
    model = program.model_proto
    return NetworkFile(
        file=path.name,
        sha256=write_model(half_precision(model) if precision == "fp16" else model, path),
        inputs={PICTURE: ("batch", 3, sight.side, sight.side)},
        outputs={IMAGE_MAP: ("batch", sight.width, *cells)},
        precision=precision,
    )


def half_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """Convert a model to float16, but for inputs, outputs and what decides which points are neighbours.

    Parameters
    ----------
    model : ModelProto
        In float32.

    Returns
    -------
    ModelProto
        In float16.
    """
    return convert_float_to_float16(
        model, keep_io_types=True, op_block_list=DEFAULT_OP_BLOCK_LIST, node_block_list=search_nodes(model.graph)
    )


def search_nodes(graph: onnx.GraphProto) -> list[str]:
    """Find the nodes that compute what a TopK compares.

    They lie back from each TopK, over arithmetic without weights, to points or features. Squared distances are small
    differences of large numbers; in float16 they would pick other neighbours.

    Parameters
    ----------
    graph : GraphProto
        Of the model.

    Returns
    -------
    list of str
        Names of the nodes.
    """
    weights = {tensor.name for tensor in graph.initializer if np.prod(tensor.dims) > 1}
    producers = {output: node for node in graph.node for output in node.output}
    waiting = [node.input[0] for node in graph.node if node.op_type == "TopK"]
    found: dict[str, None] = {}
    while waiting:
        node = producers.get(waiting.pop())
        if (
            node is not None
            and node.name not in found
            and node.op_type in SEARCH_ARITHMETIC
            and not weights.intersection(node.input)
        ):
            found[node.name] = None
            waiting.extend(node.input)
    return list(found)


def example(batch: int, network: nn.Module) -> dict[str, Tensor]:
    """Draw inputs like real ones; always the same.

    Parameters
    ----------
    batch : int
        Clouds.
    network : Module
        Of which the number of points is taken, and which inputs there are.

    Returns
    -------
    dict of Tensor
        By the name of the input: points (B, N, 3) in the network's units, category (B,), and ground of every kind
        that there is, where the network takes it; the map of a picture, 0 for every third, and places in it, where it
        has a backbone.
    """
    generator = torch.Generator().manual_seed(batch)
    points = 0.4 * torch.randn(batch, network.config.points, 3, generator=generator)
    if getattr(network.config, "refines", False):
        place = [1.0, 1.0, 0.3, 0.0, 1.0, 0.0, 0.0, -0.6, 0.8]
        known = torch.tensor([[1] * 9, [1, 0, 0, 1, 1, 1, 1, 1, 1], [0, 0, 0, 0, 0, 0, 1, 1, 1]])
    else:
        place, known = [1.0, 0.6, 1.0, 0.3], torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    others = {"ground": known[torch.arange(batch) % 3] * torch.tensor(place)}
    if (sight := sight_of(network)) is not None:
        with torch.no_grad():
            others[IMAGE_MAP] = sight(torch.rand(batch, 3, sight.side, sight.side, generator=generator))
        others[IMAGE_MAP][1::3] = 0  # no picture
        others[PLACES] = torch.rand(batch, network.config.points, 2, generator=generator)
    category = torch.arange(batch) % len(CATEGORIES)
    return {"points": points, "category": category} | {name: others[name] for name in inputs_of(network)}
