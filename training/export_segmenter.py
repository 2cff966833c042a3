"""Export the two networks of the depth segmenter to ONNX with their card, after checking them against torch.

python -m training.export_segmenter --checkpoint runs/segmenter/averaged.pt --output models/segmenter-depth
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch import nn

from clipose_ros.inference.card import ModelCard, NetworkFile, write_card
from clipose_ros.inference.session import Session
from clipose_ros.segmenters.depth import MASKS, NAMES, DepthSegmenterSettings
from clipose_ros.segmenters.depth_channels import CHANNELS, CROP, CROP_CHANNELS
from training.command import run
from training.data.scene_format import SEGMENT_CATEGORIES
from training.export import commit
from training.onnx_files import write_model
from training.segmenter import load_networks
from training.storage import made_folder

PARITY = 2e-3  # of the logits, and of offsets in their unit
FREE = torch.export.Dim.AUTO
Part = Literal["masks", "names"]


def write_part(network: nn.Module, part: Part, path: Path) -> NetworkFile:
    """Write the ONNX file of one network.

    Parameters
    ----------
    network : Module
        Ready for inference.
    part : "masks" or "names"
        Which.
    path : Path
        To write.

    Returns
    -------
    NetworkFile
        Its entry in the card.
    """
    if part == "masks":
        # sides of an example, and which of them are free
        example, free = torch.zeros(1, CHANNELS, 240, 320), {2: FREE, 3: FREE}
        inputs, outputs = {"channels": (1, CHANNELS, "height", "width")}, {"answer": (1, 4, "rows", "columns")}
    else:
        example, free = torch.zeros(3, CROP_CHANNELS, CROP, CROP), {0: FREE}
        answers = len(SEGMENT_CATEGORIES) + 1
        inputs, outputs = {"crops": ("batch", CROP_CHANNELS, CROP, CROP)}, {"name": ("batch", answers)}
    program = torch.onnx.export(
        network,
        (example,),
        input_names=list(inputs),
        output_names=list(outputs),
        dynamic_shapes=(free,),
        dynamo=True,
        verbose=False,
    )
    return NetworkFile(path.name, write_model(program.model_proto, path), inputs, outputs)


def difference(network: nn.Module, session: Session, shapes: list[tuple[int, ...]]) -> float:
    """Measure how far ONNX Runtime is from torch.

    Parameters
    ----------
    network : Module
        In torch.
    session : Session
        The same in ONNX Runtime.
    shapes : list of tuple of int
        Of the inputs to compare.

    Returns
    -------
    float
        Largest absolute difference.
    """
    (name, answer), worst = (*session.network.inputs, *session.network.outputs), 0.0
    for shape in shapes:
        given = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = network(given).numpy()
        worst = max(worst, float(np.abs(expected - session.run({name: given.numpy()})[answer]).max()))
    return worst


def _trained(saved: dict[str, Any]) -> dict[str, Any]:
    config = json.loads(saved["config"])
    kept = ("network", "batch", "optimiser", "learning_rate", "device", "precision", "variation", "crops")
    trained = {key: config[key] for key in kept}
    return {**trained, "steps": saved["step"], "rows": saved["rows"], "seconds": round(saved["seconds"])}


def export(
    checkpoint: Path, output: Path, accuracy: Path | None = None, remark: str = "", settings: Path | None = None
) -> None:
    """Write masks.onnx, names.onnx and card.yaml.

    Parameters
    ----------
    checkpoint : Path
        Of `training.segmenter`: `checkpoint.pt` or `averaged.pt`.
    output : Path
        Folder of the model.
    accuracy : Path, optional
        YAML mapping for the card's `accuracy`.
    remark : str
        What the card should say about the training beyond its figures.
    settings : Path, optional
        YAML mapping of the runtime's settings that are not the defaults.

    Raises
    ------
    ValueError
        When ONNX Runtime and torch differ by more than PARITY.
    """
    made_folder(output)
    both, saved = load_networks(checkpoint)
    networks, counts = {}, {}
    shapes = {
        "masks": [(1, CHANNELS, 240, 320), (1, CHANNELS, 192, 320), (1, CHANNELS, 16, 32)],
        "names": [(n, CROP_CHANNELS, CROP, CROP) for n in (1, 2, 7)],
    }
    parts: tuple[tuple[Part, str, nn.Module], ...] = (("masks", MASKS, both.masks), ("names", NAMES, both.names))
    for part, key, network in parts:
        networks[key] = write_part(network, part, output / f"{part}.onnx")
        off = difference(network, Session(output, networks[key]), shapes[part])
        print(f"{part}: largest difference torch - ONNX Runtime {off:.1e}")
        if off > PARITY:
            raise ValueError(f"parity of {part}: expected at most {PARITY}, got {off}")
        counts[part] = sum(parameter.numel() for parameter in network.parameters())
    given = yaml.safe_load(settings.read_text()) if settings else {}
    card = ModelCard(
        name=output.name,
        estimator="depth-segmenter",
        names=SEGMENT_CATEGORIES,
        networks=networks,
        settings=DepthSegmenterSettings(**{"low_heights": both.masks.config.low_heights} | given).as_mapping(),
        training={
            "parameters": counts,
            **_trained(saved),
            "commit": commit(),
            **({"remark": remark} if remark else {}),
        },
        accuracy=yaml.safe_load(accuracy.read_text()) if accuracy else {},
        licence="Apache-2.0",
    )
    write_card(card, output)  # last: without a card that fits it, a network that is wrong is no model


if __name__ == "__main__":
    run(export)
