"""The paper's ablations as options: each runs a step of `training.clipose`, tiny, with an untrained CLIP."""

import json

import numpy as np
import pytest
import torch
import tyro

from training import clipose
from training.networks import CliposeConfig, FusionConfig, HSEncoderConfig, make_network, network_config
from training.networks.fusion import CrossAttention
from training.optimisation.checkpoint import load_network, read_checkpoint

TINY = (
    "--share 1 --steps 1 --batch 4 --warm-up 1 --log-every 1 --checkpoint-every 1 --network.hidden 16 8 "
    "--network.dense 8 --network.encoder.points 256 --batches.points 256 --network.encoder.supports 1 "
    "--network.encoder.channels 8 8 8 8 8 --alignment.clip random"
)
NO_ALIGNMENT = "--alignment.point-image 0 --alignment.point-text 0 --alignment.image-category 0"
TABLE_VI = {
    0: ("none", "image"),
    1: ("concat_before", "image"),
    2: ("concat_after", "text"),
    3: ("points_query", "image"),
    4: ("points_query", "text"),
    5: ("points_key", "image"),
    6: ("points_key", "text"),
    7: ("encoder_plus", "image"),
    8: ("encoder_concat", "text"),
}
OTHERS = {
    "III D2, one-hot": "--network.one-hot",
    "IV append": "--alignment.prompts.position append",
    "V joint training": "--alignment.joint-text",
    "V 1 to 12": "--alignment.prompts.layers 1 12",
    "VII 3D-GCN": "--network.encoder.no-hybrid",
    "VIII 0.2": "--alignment.temperature 0.2",
    "IX random": "--alignment.text-pose random",
    "IX without": "--alignment.text-pose none",
}


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def trained(views, output, options: str) -> dict:
    """Run the command, and give the line of its log."""
    tyro.cli(clipose.main, args=["--data", str(views), "--output", str(output), *f"{TINY} {options}".split()])
    return json.loads((output / "log.jsonl").read_text().splitlines()[0])


@pytest.mark.parametrize("row", TABLE_VI)
def test_fusion_of_table_6_is_a_configuration(views, tmp_path, row):
    manner, feature = TABLE_VI[row]
    fusion = f"--network.fusion.manner {manner} --network.fusion.feature {feature} --network.fusion.width 32"
    losses = trained(views, tmp_path, f"{NO_ALIGNMENT} {fusion}")
    assert np.isfinite(losses["total"]) and "point_image" not in losses and losses["reconstruction"] > 0
    saved = read_checkpoint(tmp_path / "checkpoint.pt")
    config = network_config(json.loads(saved["config"])["network"])
    assert config.fusion == FusionConfig(manner, feature, 32)
    if row:
        with pytest.raises(
            ValueError, match=f"expected a network that needs the cloud alone, .* the {feature} feature"
        ):
            load_network(tmp_path / "checkpoint.pt")
        learned = {name.partition(".")[0] for name in saved["alignment"]}
        assert learned == ({"image_tower"} if feature == "image" else set())  # prompts and projection; no text is tuned
    else:
        load_network(tmp_path / "checkpoint.pt")


@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_other_ablations_are_options(views, tmp_path, options):
    losses = trained(views, tmp_path, options)
    assert np.isfinite(losses["total"]) and {"point_image", "point_text", "image_category"} <= losses.keys()


def fused_network(manner: str, feature: str = "image", **options) -> torch.nn.Module:
    torch.manual_seed(0)
    encoder = HSEncoderConfig(points=128, neighbours=4, supports=1, channels=(8, 8, 8, 8, 8))
    fusion = FusionConfig(manner, feature, 12)
    return make_network(CliposeConfig(encoder=encoder, hidden=(16, 8), dense=8, dropout=0.0, fusion=fusion, **options))


@pytest.mark.parametrize(("manner", "feature"), list(TABLE_VI.values())[1:])
def test_every_manner_mixes_both_features_into_the_pose(manner, feature):
    network = fused_network(manner, feature).train()
    points = 0.4 * torch.randn(3, 128, 3)
    other = torch.randn(3, 12, requires_grad=True)
    output = network(points, torch.tensor([0, 2, 5]), other)
    (output["y_axis"].sum() + output["offset"].sum() + output["size"].sum()).backward()
    assert other.grad.abs().sum(1).min() > 0
    reached = network.encoder.layers[0].convolution.project.weight.grad
    # the cloud as Q asks a single key, so that its features have no say: that is why the paper finds 0.1 %
    assert (reached is None or not reached.any()) == (manner == "points_query")
    with pytest.raises(ValueError, match=f"other: expected the {feature} feature of 12 numbers, got none"):
        network(points, torch.tensor([0, 2, 5]))
    with pytest.raises(ValueError, match="got 5 numbers"):
        network(points, torch.tensor([0, 2, 5]), torch.zeros(3, 5))


def test_a_feature_fused_before_pooling_stands_beside_every_point():
    network = fused_network("concat_before", one_hot=True).eval()
    pyramid = network.encoder(0.4 * torch.randn(2, 128, 3))
    other = torch.randn(2, 12)
    finest = network.fused(pyramid, other).features[0]
    assert finest.shape == (2, 128, 16 + 12) and torch.equal(finest[:, :, :12], other[:, None].expand(-1, 128, -1))


def test_attention_equals_equation_16():
    torch.manual_seed(0)
    layer = CrossAttention(5, 4, 6)
    asking, asked = torch.randn(3, 5), torch.randn(2, 4)
    q, k, v = (m.weight.detach().numpy() @ x.T.numpy() + m.bias.detach().numpy()[:, None] for m, x in
               ((layer.query, asking), (layer.key, asked), (layer.value, asked)))  # fmt: skip
    scores = np.exp(q.T @ k / np.sqrt(6))
    expected = scores / scores.sum(1, keepdims=True) @ v.T
    np.testing.assert_allclose(layer(asking[None], asked[None])[0].detach(), expected, atol=1e-6)


def test_fusion_without_clip_or_of_another_width_is_refused(views, tmp_path, config):
    from training.train import main

    with pytest.raises(ValueError, match="fusion.width: expected that of random, 32, got 512"):
        trained(views, tmp_path / "a", "--network.fusion.manner concat_after")
    command = ["--data", str(views), "--output", str(tmp_path / "b"), "--optimiser", "adamw", "network:clipose"]
    with pytest.raises(ValueError, match="fusion: expected none without CLIP's branch"):
        tyro.cli(main, args=[*command, "--network.fusion.manner", "concat_after"])
    with pytest.raises(ValueError, match="manner: expected none or a manner of table VI, got plus"):
        FusionConfig("plus")
