"""The baseline of `clipose bench`: the network of the paper, exported as it is, in a model folder like any other.

    python -m training.plain_baseline --output build/bench/clipose-paper

Its weights are random: what it takes does not depend on them. It is the network of `training.networks.clipose`, whose
heads project before they upsample and whose layers work in blocks; an export of the published code is slower still.
"""

from __future__ import annotations

from pathlib import Path

import torch

from clipose_ros.inference.card import write_card
from training.command import run
from training.export import commit, network_card
from training.networks import CliposeConfig, PatchTransformerConfig, make_network
from training.onnx_networks import write_onnx
from training.storage import made_folder


def write_baseline(
    output: Path, config: CliposeConfig | PatchTransformerConfig = CliposeConfig(), seed: int = 0
) -> None:
    """Write model.onnx and card.yaml, each object estimated once from one draw of its points, as in the paper.

    Parameters
    ----------
    output : Path
        Folder to write.
    config : CliposeConfig or PatchTransformerConfig
        The network.
    seed : int
        Of its random weights.
    """
    torch.manual_seed(seed)
    network = make_network(config)
    made_folder(output)
    path = output / "model.onnx"
    write_onnx(network, path)
    training = {
        "network": type(network).__module__,
        "steps": 0,
        "commit": commit(),
        "remark": "random weights, for latency only",
    }
    card = network_card(network, path, outlier_radius=1.0, training=training)
    write_card(card, output)  # last: with a card the folder is complete


def main(output: Path = Path("build/bench/clipose-paper")) -> None:
    """Write the folder, which takes a minute or two.

    Parameters
    ----------
    output : Path
        Folder to write.
    """
    write_baseline(output)
    print(f"{output}: written")


if __name__ == "__main__":
    run(main, __doc__)
