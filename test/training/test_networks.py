"""The HS encoder and CLIPose's heads against literal implementations, and what must hold for any cloud."""

import dataclasses
import json
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor

from clipose_ros.core.categories import CATEGORIES
from training.networks import NetworkConfig, hs_encoder, make_network, network_config
from training.networks.clipose import Clipose, CliposeConfig, PyramidLinear
from training.networks.complexity import complexity
from training.networks.hs_encoder import (
    Convolution,
    GlobalContext,
    HSEncoder,
    HSEncoderConfig,
    HSLayer,
    PointNorm,
    Pyramid,
    SurfaceConvolution,
    directions,
    neighbours,
    pool,
    rows,
)
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig
from training.onnx_networks import OUTPUTS, write_onnx

TINY_ENCODER = HSEncoderConfig(points=128, neighbours=6, supports=3, channels=(8, 8, 12, 12, 16))
PLAIN_ENCODER = dataclasses.replace(TINY_ENCODER, hybrid=False, aggregate="sum")
TINY = CliposeConfig(encoder=TINY_ENCODER, hidden=(24, 16), dense=16, dropout=0.0)


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def cloud(batch: int = 2, points: int = 128, seed: int = 1) -> Tensor:
    return 0.4 * torch.randn(batch, points, 3, generator=torch.Generator().manual_seed(seed))


def categories(batch: int) -> Tensor:
    return torch.arange(batch) % len(CATEGORIES)


def lively(network: torch.nn.Module) -> torch.nn.Module:
    """Batch statistics that are not the initial ones, as after training."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    return network


def literal_convolution(layer: Convolution, features: np.ndarray, index: np.ndarray, towards: np.ndarray) -> np.ndarray:
    """The equation of one cloud, point by point: features (n, C_in), index (n, K), towards (n, K, 3)."""
    weight, bias = layer.project.weight.detach().double().numpy(), layer.project.bias.detach().double().numpy()
    supports = layer.supports.detach().double().numpy()
    width = supports.shape[2]
    result = np.zeros((len(features), width))
    for i, c in np.ndindex(*result.shape):
        responses = []
        for s in range(len(supports)):
            unit = supports[s, :, c] / np.linalg.norm(supports[s, :, c])
            row = (s + 1) * width + c
            best = -np.inf
            for k, neighbour in enumerate(index[i]):
                best = max(best, max(0.0, towards[i, k] @ unit) * (weight[row] @ features[neighbour] + bias[row]))
            responses.append(best)
        result[i, c] = weight[c] @ features[i] + bias[c] + (np.mean(responses) if layer.mean else np.sum(responses))
    return result


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
@pytest.mark.parametrize("training", [True, False])
def test_convolution_equals_its_equation(aggregate, training):
    config = dataclasses.replace(TINY_ENCODER, aggregate=aggregate)
    points = cloud(2, 16)
    index = neighbours(points, 5)
    towards, features = directions(points, index), torch.randn(2, 16, 7)
    layer = Convolution(config, 7, 4).train(training)
    got = layer(features, index, towards).detach().numpy()
    for b in range(2):
        want = literal_convolution(layer, features[b].double().numpy(), index[b].numpy(), towards[b].double().numpy())
        np.testing.assert_allclose(got[b], want, atol=2e-6)


@pytest.mark.parametrize("aggregate", ["mean", "sum"])
def test_surface_layer_equals_its_equation(aggregate):
    layer = SurfaceConvolution(dataclasses.replace(TINY_ENCODER, aggregate=aggregate), 5)
    points = cloud(1, 16)[0].double().numpy()
    index = neighbours(torch.from_numpy(points)[None].float(), 4)[0].numpy()
    got = layer(directions(torch.from_numpy(points)[None].float(), torch.from_numpy(index)[None]))[0].detach().numpy()
    supports = layer.supports.detach().double().numpy()
    for i, c in np.ndindex(*got.shape):
        responses = []
        for s in range(len(supports)):
            unit = supports[s, :, c] / np.linalg.norm(supports[s, :, c])
            cosines = [(points[j] - points[i]) @ unit / np.linalg.norm(points[j] - points[i]) for j in index[i]]
            responses.append(max(0.0, *cosines))
        assert got[i, c] == pytest.approx(np.mean(responses) if aggregate == "mean" else np.sum(responses), abs=2e-6)


def test_the_plain_encoder_brings_its_own_neighbourhood_and_aggregation():
    """CLIPose's table VII takes GPV-Pose's 3D-GCN as it is: ten neighbours, responses added up."""
    assert (HSEncoderConfig().nearest, HSEncoderConfig().averages) == (20, True)
    plain = HSEncoderConfig(hybrid=False)
    assert (plain.nearest, plain.averages) == (10, False)
    encoder = HSEncoder(plain)
    assert encoder.near(cloud(1, 256)).shape[-1] == 10 and not encoder.layers[0].convolution.mean
    given = HSEncoderConfig(hybrid=False, neighbours=16, aggregate="mean")
    assert (given.nearest, given.averages) == (16, True)


def test_blocks_of_points_do_not_change_a_layer(monkeypatch):
    """More points than a block: in eval mode they are taken block by block, in training whole."""
    monkeypatch.setattr(hs_encoder, "BLOCK", 16)
    points = cloud(2, 40)
    index, features = neighbours(points, 4), torch.randn(2, 40, 6)
    layer = Convolution(TINY_ENCODER, 6, 8)
    inputs = (features, index, directions(points, index))
    torch.testing.assert_close(layer.eval()(*inputs), layer.train()(*inputs))


def test_gradient_of_the_winner_is_that_of_the_maximum():
    points = cloud(2, 32)
    index, features = neighbours(points, 6), torch.randn(2, 32, 7, requires_grad=True)
    towards = directions(points, index)
    layer = Convolution(TINY_ENCODER, 7, 5)
    inputs, upstream = [features, *layer.parameters()], torch.randn(2, 32, 5)
    by_winner, by_maximum = (
        torch.autograd.grad((layer.train(mode)(features, index, towards) * upstream).sum(), inputs)
        for mode in (True, False)
    )
    for a, b in zip(by_winner, by_maximum, strict=True):
        torch.testing.assert_close(a, b)


def test_context_is_the_concatenation_that_it_replaces():
    layer, features, near = GlobalContext(5), torch.randn(2, 16, 5), neighbours(cloud(2, 16), 4)
    context = torch.stack([features[b][near[b]].amax(1).mean(0) for b in range(2)])
    joined = torch.cat([features, context[:, None].expand_as(features)], dim=-1)
    torch.testing.assert_close(layer(features, near), features + joined @ layer.weight.t())


def test_neighbours_are_the_nearest_other_points():
    points = cloud(2, 40)
    got = neighbours(points, 7)
    squared = torch.cdist(points.double(), points.double()).numpy()
    for b, i in np.ndindex(2, 40):
        order = [j for j in np.argsort(squared[b, i], kind="stable") if j != i]
        assert got[b, i].tolist() == order[:7]


@pytest.mark.parametrize("copies", [2, 4, 12])
def test_a_point_that_occurs_often_is_never_its_own_neighbour(copies):
    points = cloud(1, 24).repeat_interleave(copies, dim=1)[:, :48]
    near = neighbours(points, 6)
    assert (near != torch.arange(48)[:, None]).all()
    assert all(len(set(row)) == 6 for row in near[0].tolist())
    twins = rows(points, near[..., : min(copies - 1, 6)])
    torch.testing.assert_close(twins, points[:, :, None].expand_as(twins))


def test_of_equal_features_the_nearer_points_count():
    """Also where two searches round differently: without the places, any of the other points would do."""
    points = cloud(1, 32)
    layer, features = HSLayer(TINY_ENCODER, 4, 3), torch.rand(1, 1, 4).expand(1, 32, 4)
    near = neighbours(points, 5)
    flat = HSLayer(dataclasses.replace(TINY_ENCODER, hybrid=False, aggregate="mean"), 4, 3)
    flat.convolution.load_state_dict(layer.convolution.state_dict())
    layer.context.weight.data.zero_()
    layer.shortcut.weight.data.zero_()
    torch.testing.assert_close(layer(features, points, near), flat(features, points, near))


def test_pooling_keeps_every_fourth_point_with_the_strongest_of_its_four_neighbours():
    points, features = cloud(2, 32), torch.randn(2, 32, 3)
    near = neighbours(points, 6)
    kept, pooled = pool(points, features, near)
    assert torch.equal(kept, points[:, [0, 4, 8, 12, 16, 20, 24, 28]])
    for b, i in np.ndindex(2, 8):
        assert torch.equal(pooled[b, i], features[b, near[b, 4 * i, :4]].max(0).values)


def test_coarse_features_come_from_the_nearest_kept_point():
    points = cloud()
    pyramid = HSEncoder(TINY_ENCODER).eval()(points)
    assert [tuple(f.shape) for f in pyramid.features] == [(2, 128, 16), (2, 32, 24), (2, 8, 16)]
    for parent, step in zip(pyramid.parents, (4, 16), strict=True):
        assert torch.equal(parent, torch.cdist(points, points[:, ::step]).argmin(-1))


def dense(pyramid: Pyramid) -> Tensor:
    """All levels at full resolution, concatenated: the plain form (B, N, C)."""
    return torch.cat(
        [pyramid.features[0], *(rows(f, p) for f, p in zip(pyramid.features[1:], pyramid.parents, strict=True))], dim=-1
    )


@pytest.mark.parametrize("training", [True, False])
def test_heads_that_project_before_upsampling_equal_the_plain_form(monkeypatch, training):
    """Outputs and gradients of the whole network, batch statistics included."""
    points, category = cloud(3), categories(3)
    network = lively(Clipose(TINY)).train(training)
    state = {name: value.clone() for name, value in network.state_dict().items()}

    def run() -> tuple[dict[str, Tensor], tuple[Tensor, ...], dict[str, Tensor]]:
        network.load_state_dict(state)
        output = network(points, category)
        used = [p for name, p in network.named_parameters() if training or not name.startswith("dense_heads")]
        generator = torch.Generator().manual_seed(5)
        loss = sum((value * torch.randn(value.shape, generator=generator)).sum() for value in output.values())
        return output, torch.autograd.grad(loss, used), {n: b.clone() for n, b in network.named_buffers()}

    output, gradients, buffers = run()
    monkeypatch.setattr(PyramidLinear, "forward", lambda self, pyramid: F.linear(dense(pyramid), self.weight))
    plain, plain_gradients, plain_buffers = run()
    for name in output:
        torch.testing.assert_close(output[name], plain[name], atol=2e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")
    for a, b in zip(gradients, plain_gradients, strict=True):
        torch.testing.assert_close(a, b, atol=1e-3 * b.abs().max().clamp(min=1).item(), rtol=1e-3)
    for name in buffers:
        torch.testing.assert_close(buffers[name], plain_buffers[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("training", [True, False])
def test_point_norm_is_batch_normalisation(training):
    layer = lively(PointNorm(5)).train(training)
    x = torch.randn(3, 7, 5)
    reference = torch.nn.BatchNorm1d(5).train(training)
    reference.load_state_dict(layer.norm.state_dict())
    torch.testing.assert_close(layer(x), reference(x.transpose(1, 2)).transpose(1, 2))
    torch.testing.assert_close(layer.norm.running_var, reference.running_var)


def test_outputs_keep_the_interface():
    network, points, category = lively(Clipose(TINY)), cloud(3), categories(3)
    inference = network.eval()(points, category)
    training = network.train()(points, category)
    always = {"y_axis": (3, 3), "x_axis": (3, 3), "confidence": (3, 2), "offset": (3, 3), "size": (3, 3)}
    added = {
        "reconstruction": (3, 128, 3),
        "face_normals": (3, 128, 6, 3),
        "face_distances": (3, 128, 6),
        "face_confidences": (3, 128, 6),
        "feature": (3, 16),
    }
    assert {name: tuple(value.shape) for name, value in inference.items()} == always
    assert {name: tuple(value.shape) for name, value in training.items()} == always | added
    for name in ("y_axis", "x_axis", "face_normals"):
        torch.testing.assert_close(training[name].norm(dim=-1), torch.ones(training[name].shape[:-1]))
    for name in ("confidence", "face_confidences"):
        assert ((training[name] > 0) & (training[name] < 1)).all()
    assert (inference["size"] > 0).all()


def test_same_cloud_gives_the_same_output_bit_for_bit():
    network, points, category = lively(Clipose(TINY)).eval(), cloud(), categories(2)
    first = network(points, category)
    torch.manual_seed(99)  # the published pooling draws from the global generator
    second = network(points, category)
    for name in first:
        assert torch.equal(first[name], second[name]), name


def test_one_cloud_of_a_batch_does_not_see_the_others():
    network, points, category = lively(Clipose(TINY)).eval(), cloud(3), categories(3)
    together, alone = network(points, category), network(points[1:2], category[1:2])
    for name in together:
        torch.testing.assert_close(together[name][1:2], alone[name], atol=1e-5, rtol=1e-4)


def test_order_of_the_points_that_pooling_drops_is_free():
    """Layers before the first pooling are equivariant; after it, only the points that are kept have an order."""
    points, category = cloud(), categories(2)
    order = torch.arange(128)
    dropped = order[order % 4 != 0]
    order[dropped] = dropped[torch.randperm(len(dropped))]
    network = lively(Clipose(TINY)).eval()
    before, after = network.encoder(points), network.encoder(points[:, order])
    torch.testing.assert_close(before.features[0][:, order], after.features[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(before.features[2], after.features[2], atol=1e-5, rtol=1e-4)
    one, other = network(points, category), network(points[:, order], category)
    for name in one:
        torch.testing.assert_close(one[name], other[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [TINY, dataclasses.replace(TINY, one_hot=True, encoder=PLAIN_ENCODER)])
@pytest.mark.parametrize("distinct", [1, 5, 128])
def test_gradients_are_finite_and_reach_every_parameter(config, distinct):
    """Also of clouds of few points, many times repeated."""
    points = cloud(4)[:, torch.arange(128) * distinct // 128]
    network = Clipose(config).train()
    output = network(points, categories(4))
    assert all(value.isfinite().all() for value in output.values())
    sum(value.square().sum() + value.sum() for value in output.values()).backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


def test_neighbours_are_found_in_single_precision_under_autocast():
    points = 1 + 0.01 * cloud(1, 256)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        lowered = neighbours(points, 8)
    assert torch.equal(lowered, neighbours(points, 8))


def test_a_step_in_reduced_precision_gives_finite_gradients():
    network = Clipose(TINY).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = network(cloud(4), categories(4))
    sum(value.float().square().sum() for value in output.values()).backward()
    assert all(p.grad.isfinite().all() for p in network.parameters())


def test_one_hot_tells_the_heads_the_category():
    points = cloud(1).expand(2, -1, -1)
    blind, told = (
        lively(Clipose(dataclasses.replace(TINY, one_hot=o))).eval()(points, torch.tensor([2, 5]))
        for o in (False, True)
    )
    assert torch.equal(blind["y_axis"][0], blind["y_axis"][1])
    assert not torch.equal(told["y_axis"][0], told["y_axis"][1])


def test_exported_network_equals_torch_for_any_batch(tmp_path):
    # the exporter is slow
    network = lively(Clipose(dataclasses.replace(TINY, encoder=dataclasses.replace(TINY_ENCODER, supports=1)))).eval()
    path = tmp_path / "model.onnx"
    write_onnx(network, path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    for batch in (1, 2, 5):
        points, category = cloud(batch, seed=batch), categories(batch)
        points[0, 64:] = points[0, :64]  # points that occur twice, as in the cloud of a small object
        with torch.no_grad():
            want = network(points, category)
        got = dict(
            zip(
                OUTPUTS,
                session.run(list(OUTPUTS), {"points": points.numpy(), "category": category.numpy()}),
                strict=True,
            )
        )
        for name in OUTPUTS:
            np.testing.assert_allclose(
                got[name], want[name].numpy(), atol=1e-4, err_msg=f"{name} of a batch of {batch}"
            )


def test_cost_of_the_paper_network():
    """Parameters as measured of the research network (8.06 M, of which 0.03 M are biases before normalisations); the
    encoder's layers by hand.
    """
    cost = complexity(make_network(CliposeConfig()))
    assert sum(cost.parameters.values()) == pytest.approx(8.06e6, rel=0.006)
    assert sum(cost.multiply_adds.values()) == pytest.approx(3.0e9, rel=0.03)
    assert set(cost.parameters) == {"encoder", "y_head", "x_head", "box_head"}
    head = 1024 * 256 * 1024 + 256 * 512 * 1024 + 64 * 512 * 1024 + 1024 * 1024 * 256 + 256 * 256 + 256 * 4
    assert cost.multiply_adds["y_head"] == head


@pytest.mark.parametrize("config", [PatchTransformerConfig(width=64), TINY, CliposeConfig(one_hot=True)])
def test_configuration_survives_json(config):
    assert network_config(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_pose_heads_together_say_what_each_says_alone():
    heads, x = make_network(PatchTransformerConfig(width=16, layers=1, heads=2)).pose_heads, torch.randn(5, 32)
    for head, together in zip(heads.values(), heads(x), strict=True):
        torch.testing.assert_close(together, head(x))


def test_patches_of_a_stride_see_every_so_many_th_point_alone():
    network = make_network(
        PatchTransformerConfig(points=64, patches=8, neighbours=4, stride=2, width=16, layers=1, heads=2)
    ).eval()
    points, others = torch.randn(2, 64, 3), torch.randn(2, 64, 3)
    others[:, ::2] = points[:, ::2]
    with torch.no_grad():
        assert torch.equal(
            network(points, torch.tensor([0, 1]))["offset"], network(others, torch.tensor([0, 1]))["offset"]
        )


def test_mapping_of_an_old_checkpoint_is_a_patch_transformer():
    """Of a time when there were no surfaces, and one hypothesis."""
    expected = PatchTransformerConfig(patches=32, width=96, ground=False, hypotheses=1)
    assert network_config({"points": 1024, "patches": 32, "width": 96}) == expected
    assert isinstance(make_network(PatchTransformerConfig(width=16, layers=1, heads=2)), PatchTransformer)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"kind": "pointnet"}, "kind: expected clipose, cleanpose, cleanpose_lite or none"),
        (
            {"patches": 32, "stride": 16, "neighbours": 65},
            "neighbours: expected at most the candidates, 64 with a stride of 16, got 65",
        ),
        ({"widht": 3}, "PatchTransformerConfig: expected only .* got widht"),
        ({"kind": "clipose", "encoder": {"k": 20}}, "HSEncoderConfig: expected only .* got k"),
        ({"kind": "clipose", "encoder": {"channels": [8, 8]}}, "channels: expected five positive widths"),
        ({"kind": "clipose", "encoder": {"points": 1000}}, "points: expected a multiple of 16"),
        ({"kind": "clipose", "encoder": {"aggregate": "max"}}, "aggregate: expected mean or sum, got max"),
        ({"kind": "clipose", "dropout": 1.0}, "dropout: expected 0 or more"),
    ],
)
def test_wrong_configuration_is_named(mapping: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        network_config(mapping)


def test_command_line_chooses_the_network():
    def parse(*arguments: str):
        return tyro.cli(main, args=list(arguments))

    def main(network: NetworkConfig = PatchTransformerConfig()) -> object:
        return network

    assert parse() == PatchTransformerConfig()
    assert parse("network:compact", "--network.width", "192") == PatchTransformerConfig(width=192)
    chosen = parse("network:clipose", "--network.one-hot", "--network.encoder.aggregate", "sum")
    assert chosen == CliposeConfig(one_hot=True, encoder=HSEncoderConfig(aggregate="sum"))
