"""The trainer resumes exactly; what it exports says the same in ONNX Runtime as in torch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipose_ros.core.types import Observation, PoseEstimate
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.inference.card import read_card
from clipose_ros.inference.session import Session
from training.export import PARITY, export, load_network, parity
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig
from training.train import TrainConfig, learning_rate, train
from training.views import draw_shard

TINY = PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2)


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> TrainConfig:
    data = tmp_path_factory.mktemp("views")
    for seed in (1, 2):
        np.savez(data / f"shard_{seed:06d}.npz", **draw_shard(seed=seed, views=24))
    return TrainConfig(data=data, output=data / "run", steps=4, batch=6, warm_up=2, log_every=2, checkpoint_every=2, network=TINY)


@pytest.fixture(scope="module")
def checkpoint(config):
    return train(config)


def test_learning_rate_warms_up_stays_and_decays():
    config = TrainConfig(data=None, output=None, steps=1000, warm_up=100, flat=0.5, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.01)
    assert learning_rate(99, config) == learning_rate(499, config) == pytest.approx(1.0)
    assert 0.4 < learning_rate(750, config) < 0.6
    assert learning_rate(1000, config) == pytest.approx(0.01)


def test_resumed_training_equals_uninterrupted_training(config, checkpoint, tmp_path):
    interrupted = replace(config, output=tmp_path)
    half = train(replace(interrupted, steps=2, flat=1.0))
    # The rate must be that of the long run: with a flat schedule it does not depend on the number of steps.
    whole = train(replace(config, output=tmp_path / "whole", flat=1.0))
    resumed = train(replace(interrupted, flat=1.0))
    assert half == resumed
    one, two = (torch.load(path, weights_only=True) for path in (whole, resumed))
    assert one["step"] == two["step"] == 4
    for part in ("network", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name


def test_a_folder_without_shards_is_named(config, tmp_path):
    with pytest.raises(ValueError, match="data: expected more than 1 shard"):
        train(replace(config, data=tmp_path))


def test_exported_network_equals_torch_for_each_batch_size(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "tiny")
    network, _ = load_network(checkpoint)
    session = Session(tmp_path / "tiny", read_card(tmp_path / "tiny"))
    difference = parity(network, session, batches=(1, 3, 8))
    assert max(difference.values()) <= PARITY


def test_exported_network_runs_in_the_estimator(checkpoint, tmp_path):
    export(checkpoint, tmp_path / "tiny")
    estimator = Clipose.load("tiny", tmp_path)
    cloud = np.random.default_rng(0).uniform(-0.04, 0.04, (400, 3)) + (0.1, 0.0, 0.9)
    (result,) = estimator.estimate([Observation(cloud.astype(np.float32), "mug")])
    assert isinstance(result, PoseEstimate)
    np.testing.assert_allclose(result.rotation.T @ result.rotation, np.eye(3), atol=1e-6)


def test_dense_outputs_exist_only_in_training():
    network = PatchTransformer(TINY)
    points, category = torch.randn(2, 1024, 3), torch.tensor([0, 5])
    assert {"coordinates", "foreground"} <= set(network.train()(points, category))
    assert set(network.eval()(points, category)) == {"y_axis", "x_axis", "confidence", "offset", "size"}


def test_network_is_bit_identical_from_run_to_run():
    network = PatchTransformer(TINY).eval()
    points, category = torch.randn(2, 1024, 3), torch.tensor([0, 5])
    one, two = (network(points, category) for _ in range(2))
    for name in one:
        assert torch.equal(one[name], two[name])
