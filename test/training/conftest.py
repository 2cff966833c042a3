"""Views and a trained network, both tiny, made once for all tests of training."""

import numpy as np
import pytest

from clipose_ros.inference.card import write_card
from training.export import network_card
from training.networks import PatchTransformerConfig, make_network
from training.onnx_networks import write_onnx
from training.train import TrainConfig, train
from training.views import draw_shard


@pytest.fixture(scope="session")
def views(tmp_path_factory):
    """Folder of two shards."""
    folder = tmp_path_factory.mktemp("views")
    for seed in (1, 2):
        np.savez(folder / f"shard_{seed:06d}.npz", **draw_shard(seed=seed, views=24))
    return folder


@pytest.fixture(scope="session")
def config(views) -> TrainConfig:
    network = PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2)
    return TrainConfig(
        data=(views,),
        output=views / "run",
        steps=4,
        batch=6,
        warm_up=2,
        flat=1.0,
        log_every=2,
        checkpoint_every=2,
        network=network,
    )


@pytest.fixture(scope="session")
def checkpoint(config):
    return train(config)


@pytest.fixture(scope="session")
def blind(tmp_path_factory):
    """Folder of a model that is told nothing of surfaces."""
    folder = tmp_path_factory.mktemp("models") / "blind"
    folder.mkdir()
    network = PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2, ground=False, hypotheses=1)
    network = make_network(network).eval()
    write_onnx(network, folder / "model.onnx")
    write_card(network_card(network, folder / "model.onnx", outlier_radius=0.8, draws=2), folder)
    return folder
