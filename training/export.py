"""Export a trained network to ONNX with its card, after checking that ONNX Runtime says the same as torch.

    python -m training.export --checkpoint runs/lite/checkpoint.pt --output models/clipose-lite
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
import tyro
import yaml
from torch import Tensor, nn

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES, MEAN_SIZES
from clipose_ros.inference.card import ModelCard, write_card
from clipose_ros.inference.session import Session
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig, category_scales

OUTPUTS = ("y_axis", "x_axis", "confidence", "offset", "size")
PARITY = 1e-4  # largest difference allowed between torch and ONNX Runtime, in each output's own unit


class Exported(nn.Module):
    """The network with its outputs in the order of `OUTPUTS`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, points: Tensor, category: Tensor) -> tuple[Tensor, ...]:
        output = self.network(points, category)
        return tuple(output[name] for name in OUTPUTS)


def load_network(checkpoint: Path) -> tuple[PatchTransformer, dict[str, Any]]:
    """The averaged weights of a checkpoint, ready for inference, and the rest of what it says."""
    saved = torch.load(checkpoint, weights_only=True, map_location="cpu")
    config = json.loads(saved["config"])
    network = PatchTransformer(PatchTransformerConfig(**config["network"]))
    weights = {name.removeprefix("module."): value for name, value in saved["average"].items() if name.startswith("module.")}
    network.load_state_dict(weights)
    return network.eval(), saved


def write_onnx(network: PatchTransformer, path: Path) -> None:
    """One self-contained ONNX file with a free batch dimension."""
    points, category = example(3, network.config.points)
    batch = torch.export.Dim("batch", min=1, max=256)
    program = torch.onnx.export(
        Exported(network).eval(),
        (points, category),
        input_names=["points", "category"],
        output_names=list(OUTPUTS),
        dynamic_shapes=({0: batch}, {0: batch}),
        dynamo=True,
        verbose=False,
    )
    program.save(str(path), external_data=False)
    onnx.checker.check_model(str(path))


def example(batch: int, points: int) -> tuple[Tensor, Tensor]:
    """Clouds that fill about the space that real ones fill; always the same."""
    generator = torch.Generator().manual_seed(batch)
    return 0.4 * torch.randn(batch, points, 3, generator=generator), torch.arange(batch) % len(CATEGORIES)


def parity(network: PatchTransformer, session: Session, batches: tuple[int, ...] = (1, 3, 8)) -> dict[str, float]:
    """Largest absolute difference between torch and ONNX Runtime by output."""
    worst = dict.fromkeys(OUTPUTS, 0.0)
    for batch in batches:
        points, category = example(batch, network.config.points)
        with torch.no_grad():
            expected = network(points, category)
        got = session.run({"points": points.numpy(), "category": category.numpy()})
        for name in OUTPUTS:
            worst[name] = max(worst[name], float(np.abs(expected[name].numpy() - got[name]).max()))
    return worst


def commit() -> str:
    """Of the code that exports; unknown outside a git checkout."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def export(checkpoint: Path, output: Path, accuracy: Path | None = None, remark: str = "") -> None:
    """Write model.onnx and card.yaml.

    accuracy: YAML mapping for the card's `accuracy`, as measured with `clipose evaluate`; without it the card says nothing about accuracy.
    remark: what the card should say about the training beyond its figures.
    Raises ValueError when ONNX Runtime and torch differ by more than PARITY.
    """
    network, saved = load_network(checkpoint)
    config = json.loads(saved["config"])
    output.mkdir(parents=True, exist_ok=True)
    path = output / "model.onnx"
    write_onnx(network, path)
    card = ModelCard(
        name=output.name,
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        categories=CATEGORIES,
        mean_sizes=MEAN_SIZES,
        axis_symmetric=tuple(sorted(AXIS_SYMMETRIC)),
        scale=dict(zip(CATEGORIES, category_scales().tolist(), strict=True)),
        outlier_radius=config["batches"]["outlier_radius"],
        inputs={"points": ("batch", network.config.points, 3), "category": ("batch",)},
        outputs={name: ("batch", 2 if name == "confidence" else 3) for name in OUTPUTS},
        points=network.config.points,
        training={
            "network": "training.networks.patch_transformer",
            **config["network"],
            "parameters": sum(p.numel() for p in network.parameters()),
            "data": f"{saved['views']} generated views (training.views), augmented anew at each step (training.sensor)",
            "steps": saved["step"],
            "batch": config["batch"],
            "seconds": round(saved["seconds"]),
            "device": config["device"],
            "commit": commit(),
            **({"remark": remark} if remark else {}),
        },
        accuracy=yaml.safe_load(accuracy.read_text()) if accuracy else {},
    )
    write_card(card, output)
    difference = parity(network, Session(output, card))
    print("largest difference torch - ONNX Runtime: " + ", ".join(f"{name} {value:.1e}" for name, value in difference.items()))
    if max(difference.values()) > PARITY:
        raise ValueError(f"parity: expected at most {PARITY}, got {difference}")
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    tyro.cli(export)
