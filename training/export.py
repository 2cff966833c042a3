r"""Export a trained network to ONNX with its card, after checking that ONNX Runtime says the same as torch.

python -m training.export --checkpoint runs/lite/checkpoint.pt --output models/clipose-lite
python -m training.export --checkpoint runs/lite/checkpoint.pt --output models/clipose-lite-fp16 --precision fp16
python -m training.export --checkpoint runs/base/checkpoint.pt --output models/clipose-base --view models/clipose-old \
    --refine runs/refine/checkpoint.pt
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import yaml
from torch import nn

from clipose_ros.core.categories import CATEGORIES, NOCS_RESTS, nocs_symmetry
from clipose_ros.estimators.cleanpose import IMAGE, IMAGE_MAP, PICTURE, PLACES
from clipose_ros.estimators.clipose import GROUND, NETWORK, OF_VIEW, REFINE, VIEW, CliposeSettings
from clipose_ros.inference.card import ModelCard, NetworkFile, read_card, read_network, write_card
from clipose_ros.inference.session import Session
from training.command import run
from training.networks.complexity import complexity
from training.networks.patch_transformer import category_scales
from training.onnx_networks import OUTPUTS, Exported, example, inputs_of, sight_of, write_onnx, write_sight
from training.optimisation.checkpoint import load_network
from training.storage import made_folder

# By precision, how far ONNX Runtime may be from torch, in each output's own unit (unit vectors, 0..1, network units,
# metres), and for which share of the clouds. Half precision keeps 11 bits: a point that moves by so much may change
# places in a search, and a cloud with two likely poses may change sides; rounding nothing but the input does as much.
PARITY = {"fp32": (1e-4, 1.0), "fp16": (1e-2, 0.9)}
ESTIMATOR = {"cleanpose": "cleanpose", "cleanpose_lite": "cleanpose"}  # by the kind of a network; else clipose


def with_sight(card: ModelCard, folder: Path, network: nn.Module, precision: str = "fp32") -> ModelCard:
    """Add the image backbone of a network, where it has one.

    Parameters
    ----------
    card : ModelCard
        Of the network.
    folder : Path
        Its folder, to which the backbone is written.
    network : Module
        The network.
    precision : str
        Of the weights.

    Returns
    -------
    ModelCard
        Of both.

    Raises
    ------
    ValueError
        If ONNX Runtime and torch differ by more than PARITY says.
    """
    sight = sight_of(network)
    if sight is None:
        return card
    file = write_sight(sight, folder / "image.onnx", precision)
    pictures = torch.rand(5, 3, sight.side, sight.side, generator=torch.Generator().manual_seed(5))
    pictures[2] = 0
    with torch.no_grad():
        expected = sight(pictures).numpy()
    got = Session(folder, file).run({PICTURE: pictures.numpy()})[IMAGE_MAP]
    difference = float(np.abs(expected - got).max() / max(1.0, np.abs(expected).max()))
    print(f"largest difference torch - ONNX Runtime of the image backbone, as a share of its largest: {difference:.1e}")
    bound, _ = PARITY[precision]
    if difference > bound:
        raise ValueError(f"parity of the image backbone: expected at most {bound}, got {difference:.1e}")
    return replace(card, networks={**card.networks, IMAGE: file})


def parity(
    network: nn.Module, session: Session, batches: tuple[int, ...] = (1, 3, 8, 32), share: float = 1.0
) -> dict[str, float]:
    """Measure how far ONNX Runtime is from torch.

    Parameters
    ----------
    network : Module
        In torch.
    session : Session
        The same network in ONNX Runtime.
    batches : tuple of int
        Clouds in each comparison.
    share : float
        Of the clouds, those that differ least, count.

    Returns
    -------
    dict of str to float
        Largest absolute difference by output.
    """
    differences: dict[str, list[np.ndarray]] = {name: [] for name in OUTPUTS}
    for batch in batches:
        inputs = example(batch, network)
        with torch.no_grad():
            expected = dict(zip(OUTPUTS, Exported(network)(*inputs.values()), strict=True))
        got = session.run({name: value.numpy() for name, value in inputs.items()})
        for name in OUTPUTS:
            differences[name].append(np.abs(expected[name].numpy() - got[name]).max(-1))
    return {name: float(np.quantile(np.concatenate(parts), share)) for name, parts in differences.items()}


def commit() -> str:
    """Name the commit of the code that exports.

    Returns
    -------
    str
        Its hash; unknown outside a git checkout.
    """
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=Path(__file__).parent, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else "unknown"


def network_file(network: nn.Module, path: Path, precision: str) -> NetworkFile:
    """Describe a network that `write_onnx` wrote, as a card does.

    Parameters
    ----------
    network : Module
        With a `config`.
    path : Path
        The ONNX file.
    precision : str
        Of the weights.

    Returns
    -------
    NetworkFile
        Its entry.
    """
    shapes: dict[str, tuple[str | int, ...]] = {GROUND: ("batch", getattr(network.config, "told", 0))}
    if (sight := sight_of(network)) is not None:
        with torch.no_grad():
            cells = sight(torch.zeros(1, 3, sight.side, sight.side)).shape[2:]
        shapes |= {IMAGE_MAP: ("batch", sight.width, *cells), PLACES: ("batch", network.config.points, 2)}
    told = {name: shapes[name] for name in inputs_of(network)}
    return NetworkFile(
        file=path.name,
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        inputs={"points": ("batch", network.config.points, 3), "category": ("batch",), **told},
        outputs={name: ("batch", 2 if name == "confidence" else 3) for name in OUTPUTS},
        precision=precision,
    )


def network_card(
    network: nn.Module,
    path: Path,
    outlier_radius: float,
    precision: str = "fp32",
    draws: int = 1,
    passes: int = 1,
    **others: Any,
) -> ModelCard:
    """Make the card of a network that `write_onnx` wrote, named by its folder.

    Parameters
    ----------
    network : Module
        With a `config`.
    path : Path
        The ONNX file.
    outlier_radius, draws, passes
        As of `CliposeSettings`.
    precision : str
        Of the weights.
    **others
        Fields of the card that the network does not say.

    Returns
    -------
    ModelCard
        The card.
    """
    points = network.config.points
    scale = dict(zip(CATEGORIES, category_scales().tolist(), strict=True))
    return ModelCard(
        name=path.parent.name,
        estimator=ESTIMATOR.get(getattr(network.config, "kind", ""), "clipose"),
        names=CATEGORIES,
        networks={NETWORK: network_file(network, path, precision)},
        symmetry={category: nocs_symmetry(category) for category in CATEGORIES},
        rests=NOCS_RESTS,
        settings=CliposeSettings(scale, outlier_radius, points, draws, passes).as_mapping(),
        licence="Apache-2.0",
        **others,
    )


def with_view(card: ModelCard, folder: Path, view: Path) -> ModelCard:
    """Add the network of another model, for objects below which no surface is known.

    Parameters
    ----------
    card : ModelCard
        Of a network that is told of surfaces.
    folder : Path
        Its folder, to which the other network is copied.
    view : Path
        Folder of the other model.

    Returns
    -------
    ModelCard
        Of both.

    Raises
    ------
    ValueError
        If the two do not fit each other.
    """
    other = read_card(view)
    network, settings, mine = other.network(NETWORK), CliposeSettings.of(other), CliposeSettings.of(card)
    if GROUND in network.inputs or GROUND not in card.network(NETWORK).inputs:
        raise ValueError(f"view: expected a network without the input {GROUND} beside one with it, got {view}")
    for name in ("scale", "outlier_radius", "points"):
        if getattr(settings, name) != getattr(mine, name):
            raise ValueError(f"view: expected the {name} of {card.name}, {getattr(mine, name)}, got {view}'s")
    (folder / "view.onnx").write_bytes(read_network(view, network))
    values = settings.as_mapping()
    return replace(
        card,
        networks={**card.networks, VIEW: replace(network, file="view.onnx")},
        settings={**card.settings, "view": {name: values[name] for name in OF_VIEW}},
        training={**card.training, VIEW: dict(other.training)},
    )


def with_refiner(
    card: ModelCard,
    folder: Path,
    checkpoint: Path,
    refinements: int = CliposeSettings.refinements,
    precision: str = "fp32",
) -> ModelCard:
    """Add a network that refines poses.

    Parameters
    ----------
    card : ModelCard
        Of the network whose poses it refines.
    folder : Path
        Its folder, to which the other network is written.
    checkpoint : Path
        Of the other network.
    refinements : int
        How often it betters a pose.
    precision : str
        Of its weights.

    Returns
    -------
    ModelCard
        Of both.

    Raises
    ------
    ValueError
        If it is no network that refines, or if ONNX Runtime and torch differ by more than PARITY says.
    """
    network, saved = load_network(checkpoint)
    if not getattr(network.config, "refines", False):
        raise ValueError(f"refine: expected a network that refines (network.refines), got another in {checkpoint}")
    path = folder / "refine.onnx"
    write_onnx(network, path, precision)
    card = replace(
        card,
        networks={**card.networks, REFINE: network_file(network, path, precision)},
        settings={**card.settings, "refinements": refinements},
        training={**card.training, REFINE: how_trained(network, saved)},
    )
    check_parity(network, Session(folder, card.network(REFINE)), precision)
    return card


def how_trained(network: nn.Module, saved: dict[str, Any]) -> dict[str, Any]:
    """Say how a network was trained, for people to read in a card.

    Parameters
    ----------
    network : Module
        With a `config`.
    saved : dict
        What its checkpoint holds.

    Returns
    -------
    dict
        Plain values.
    """
    config, cost = json.loads(saved["config"]), complexity(network)
    return {
        "network": type(network).__module__,
        **config["network"],
        "parameters": sum(cost.parameters.values()),
        "multiply_adds": sum(cost.multiply_adds.values()),
        "data": f"{saved['views']} views, through the sensor model anew at each step unless measured",
        "steps": saved["step"],
        "batch": config["batch"],
        "seconds": round(saved["seconds"]),
        "device": config["device"],
        "commit": commit(),
    }


def check_parity(network: nn.Module, session: Session, precision: str) -> None:
    """Print how far ONNX Runtime is from torch, and refuse what is too far.

    Parameters
    ----------
    network : Module
        In torch.
    session : Session
        The same network in ONNX Runtime.
    precision : str
        Of its weights.

    Raises
    ------
    ValueError
        When they differ by more than PARITY says.
    """
    bound, share = PARITY[precision]
    difference = parity(network, session, share=share)
    said = ", ".join(f"{name} {value:.1e}" for name, value in difference.items())
    print(f"largest difference torch - ONNX Runtime over a share of {share} of the clouds: {said}")
    if max(difference.values()) > bound:
        raise ValueError(f"parity: expected at most {bound} for a share of {share} of the clouds, got {difference}")


def export(
    checkpoint: Path,
    output: Path,
    accuracy: Path | None = None,
    remark: str = "",
    precision: Literal["fp32", "fp16"] = "fp32",
    draws: int = 1,
    passes: int = 1,
    view: Path | None = None,
    refine: Path | None = None,
    refinements: int = CliposeSettings.refinements,
) -> None:
    """Write model.onnx and card.yaml.

    Parameters
    ----------
    checkpoint : Path
        As the trainer writes it.
    output : Path
        Folder of the model.
    accuracy : Path, optional
        YAML mapping for the card's `accuracy`, as measured with `clipose evaluate`; without it the card says nothing
        about accuracy.
    remark : str
        What the card should say about the training beyond its figures.
    precision : str
        Of weights and values inside; inputs and outputs are float32. fp16 is for GPUs: a CPU converts back at each
        step.
    draws, passes : int
        As in the card.
    view : Path, optional
        Folder of another model, whose network is to serve the objects below which no surface is known. It is copied to
        view.onnx, and its calibration to the card.
    refine : Path, optional
        Checkpoint of a network that refines (`network.refines`), which is written to refine.onnx.
    refinements : int
        How often it does so.

    Raises
    ------
    ValueError
        When ONNX Runtime and torch differ by more than PARITY says, or the two networks do not fit each other.
    """
    network, saved = load_network(checkpoint)
    config = json.loads(saved["config"])
    made_folder(output)
    path = output / "model.onnx"
    write_onnx(network, path, precision)
    card = network_card(
        network,
        path,
        outlier_radius=config["batches"]["outlier_radius"],
        precision=precision,
        draws=draws,
        passes=passes,
        training=how_trained(network, saved) | ({"remark": remark} if remark else {}),
        accuracy=yaml.safe_load(accuracy.read_text()) if accuracy else {},
    )
    check_parity(network, Session(output, card.network(NETWORK)), precision)
    card = with_sight(card, output, network, precision)
    if view is not None:
        card = with_view(card, output, view)
    if refine is not None:
        card = with_refiner(card, output, refine, refinements, precision)
    write_card(card, output)  # last: without a card that fits it, a network that is wrong is no model
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    run(export)
