r"""Export the network of `training.retrieval` to ONNX, and put it into the card of a GS-Pose model.

python -m training.export_retrieval --checkpoint runs/retrieval/averaged.pt --model models/gspose

ONNX Runtime must say the same as torch. Weights are stored in float16, and computed with in float32.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from clipose_ros.core.validation import expect
from clipose_ros.inference.card import NetworkFile, read_card, write_card
from clipose_ros.inference.session import Session
from clipose_ros.inference.view_embeddings import CHANNELS, CROPS, EMBEDDINGS, NETWORK
from training.command import run
from training.export import commit
from training.export_backbone import stored_in_half
from training.networks.retrieval import RetrievalNetwork
from training.onnx_files import write_model
from training.retrieval import load_retrieval

PARITY = 1e-2  # of the numbers of an embedding: float16 keeps 11 bits of a weight
LARGEST_BATCH = 4096
FILE = "retrieval.onnx"


def write_retrieval(network: RetrievalNetwork, path: Path) -> NetworkFile:
    """Write the ONNX file of a network.

    Parameters
    ----------
    network : RetrievalNetwork
        Ready for inference.
    path : Path
        To write.

    Returns
    -------
    NetworkFile
        Its entry in a card.
    """
    side, width = network.config.side, network.config.width
    program = torch.onnx.export(
        network,
        (torch.rand(2, CHANNELS, side, side),),
        input_names=[CROPS],
        output_names=[EMBEDDINGS],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=LARGEST_BATCH)},),
        dynamo=True,
        verbose=False,
    )
    return NetworkFile(
        file=path.name,
        sha256=write_model(stored_in_half(program.model_proto), path),
        inputs={CROPS: ("batch", CHANNELS, side, side)},
        outputs={EMBEDDINGS: ("batch", width)},
        precision="fp16 (weights)",
    )


def check_parity(network: RetrievalNetwork, session: Session) -> float:
    """Compare ONNX Runtime with torch.

    Parameters
    ----------
    network : RetrievalNetwork
        In torch.
    session : Session
        The same in ONNX Runtime.

    Returns
    -------
    float
        The largest difference.

    Raises
    ------
    ValueError
        When that is more than PARITY.
    """
    worst = 0.0
    for batch in (1, 3):
        side = network.config.side
        crops = torch.rand(batch, CHANNELS, side, side, generator=torch.Generator().manual_seed(5))
        with torch.no_grad():
            wanted = network(crops).numpy()
        worst = max(worst, float(np.abs(wanted - session.run({CROPS: crops.numpy()})[EMBEDDINGS]).max()))
    expect("parity", worst <= PARITY, f"at most {PARITY}", f"{worst:.1e}")
    return worst


def export(checkpoint: Path, model: Path) -> None:
    """Write retrieval.onnx, and name it in card.yaml.

    Parameters
    ----------
    checkpoint : Path
        Of the run: `averaged.pt` or `checkpoint.pt`.
    model : Path
        Folder of a GS-Pose model.

    Raises
    ------
    ValueError
        For another checkpoint or model, or where ONNX Runtime and torch differ by more than PARITY.
    """
    card = read_card(model)
    expect(f"{model}: estimator", card.estimator == "gspose", "gspose", card.estimator)
    network, saved = load_retrieval(checkpoint)
    file = write_retrieval(network, model / FILE)
    worst = check_parity(network, Session(model, file))
    described = {"steps": saved["step"], "objects": saved["rows"], "commit": commit()}
    training = {**card.training, NETWORK: described}
    settings = {**card.settings, "retrieval": True}
    # last: without a card that fits it, a network that is wrong is no model
    write_card(replace(card, networks={**card.networks, NETWORK: file}, settings=settings, training=training), model)
    print(f"{model / FILE}: {(model / FILE).stat().st_size / 1e6:.2f} MB, torch and ONNX Runtime differ by {worst:.1e}")


if __name__ == "__main__":
    run(export)
