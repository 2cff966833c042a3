"""CleanPose's parts against literal implementations, its numbers beside the paper's, and its tables as options."""

import dataclasses
import json
from argparse import Namespace
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import tyro
from torch import nn

from clipose_ros import estimators
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Observation, PoseEstimate
from clipose_ros.estimators.cleanpose import CleanPose as CleanPoseEstimator
from clipose_ros.inference.card import write_card
from clipose_ros.inference.session import Session
from training import cleanpose
from training.distillation import DistillationWeights, distillation_losses, feature_losses, load_teacher
from training.export import NETWORK, PARITY, network_card, parity
from training.growth import grown
from training.losses import LossWeights, pose_losses
from training.losses import keypoints as terms
from training.networks import (
    CleanPoseConfig,
    CleanPoseLiteConfig,
    DistilledConfig,
    FrontDoorConfig,
    PatchTransformerConfig,
    PointNetConfig,
    make_network,
    network_config,
)
from training.networks.cleanpose import Distilled
from training.networks.front_door import FeatureQueue, FrontDoor
from training.networks.keypoints import Aggregation, Attention, KeypointDetector
from training.networks.pointbert import PointBertBlock, PointBertConfig, read_ulip2
from training.networks.pointnet2 import (
    PointNet2,
    ball_neighbours,
    chosen_farthest,
    farthest_points,
    squared_distances,
)
from training.onnx_networks import write_onnx
from training.onnx_operators import TRANSLATIONS
from training.optimisation.checkpoint import load_network, read_checkpoint
from training.train import TrainConfig, learning_rate, plain_settings, train

TINY_ENCODER = PointNetConfig(points=64, levels=(32, 16, 8, 4), widths=(4, 4, 4, 4), propagation=(8, 8, 8, 8))
TINY = CleanPoseConfig(
    encoder=TINY_ENCODER, image_features=8, keypoints=6, detector_layers=1, coordinate_layers=1, hidden=16,
    neighbours=(4,), bins=8, rebuilt=2, front_door=FrontDoorConfig(own_layers=1, cross_layers=1, length=10, drawn=4),
)  # fmt: skip
LITE = CleanPoseLiteConfig(
    points=64, patches=8, neighbours=4, width=16, layers=2, heads=2, keypoints=6,
    front_door=FrontDoorConfig(own_layers=1, cross_layers=1, length=10, drawn=4),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Operations on points


def test_farthest_points_are_chosen_one_by_one():
    points = torch.randn(2, 50, 3)
    for cloud, chosen in zip(points.numpy(), farthest_points(points, 12).tolist(), strict=True):
        expected = [0]
        while len(expected) < 12:
            distances = np.linalg.norm(cloud[:, None] - cloud[expected], axis=-1).min(1)
            expected.append(int(distances.argmax()))
        assert chosen == expected


def test_the_farthest_of_the_farthest_are_the_first_of_them():
    points = torch.randn(2, 60, 3)
    many = farthest_points(points, 30)
    chosen = points.gather(1, many[..., None].expand(-1, -1, 3))
    torch.testing.assert_close(farthest_points(chosen, 10), torch.arange(10).expand(2, -1))


def test_the_farthest_points_are_the_same_in_onnx_runtime(tmp_path):
    """Of clouds with points that occur twice, too, and of batches of any size: rounding chooses no others."""

    class Chooser(nn.Module):
        def forward(self, points):
            return chosen_farthest(points, 24)

    path = tmp_path / "chooser.onnx"
    torch.onnx.export(
        Chooser().eval(),
        (torch.randn(3, 40, 3),),
        input_names=["points"],
        dynamic_shapes=({0: torch.export.Dim("batch", min=1, max=256)},),
        dynamo=True,
        verbose=False,
        custom_translation_table=TRANSLATIONS,
    ).save(path)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert any(node.op_type == "Loop" for node in onnx.load(path).graph.node)
    few = torch.randn(7, 12, 3)
    for points in (torch.randn(1, 40, 3), torch.randn(64, 40, 3), few[:, torch.randint(12, (40,))]):
        (got,) = session.run(None, {"points": points.numpy()})
        np.testing.assert_array_equal(got, farthest_points(points, 24))


def test_a_ball_holds_the_first_points_within_and_repeats_the_first():
    points = torch.rand(1, 40, 3)
    centres, radius, count = points[:, :7], 0.4, 6
    found = ball_neighbours(squared_distances(centres, points), radius, count)
    for centre, near in zip(centres[0].numpy(), found[0].tolist(), strict=True):
        inside = np.flatnonzero(np.linalg.norm(points[0].numpy() - centre, axis=1) < radius)[:count].tolist()
        assert near == inside + [inside[0]] * (count - len(inside))


def test_point_features_do_not_depend_on_other_clouds():
    network = PointNet2(TINY_ENCODER).eval()
    points = 0.05 * torch.randn(3, 64, 3)
    whole = network(points)
    assert whole.shape == (3, 64, 8)
    torch.testing.assert_close(network(points[1:2])[0], whole[1])


def test_features_are_carried_to_points_by_the_three_nearest():
    """With an encoder whose last layers are the identity on what is carried."""
    network = PointNet2(TINY_ENCODER).eval()
    points = 0.05 * torch.randn(1, 64, 3)
    carried = []
    network.propagation[0].register_forward_pre_hook(lambda module, inputs: carried.append(inputs[0]))
    coarse = []
    network.propagation[1].register_forward_hook(lambda module, inputs, output: coarse.append(output))
    network(points)
    centres = points[0, farthest_points(points, 32)[0]].numpy()
    for point, got in zip(points[0].numpy(), carried[0][0].detach().numpy(), strict=True):
        distances = np.linalg.norm(centres - point, axis=1)
        near = distances.argsort()[:3]
        weights = 1 / (distances[near] + 1e-8)
        expected = (weights / weights.sum()) @ coarse[0][0].detach().numpy()[near]
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


# Attention, keypoints, front door


def test_attention_equals_that_of_torch():
    own, theirs = Attention(16, 4), nn.MultiheadAttention(16, 4, batch_first=True)
    nn.init.normal_(own.qkv.bias)
    theirs.in_proj_weight.data, theirs.in_proj_bias.data = own.qkv.weight.data, own.qkv.bias.data
    theirs.out_proj.weight.data, theirs.out_proj.bias.data = own.proj.weight.data, own.proj.bias.data
    x, source = torch.randn(3, 5, 16), torch.randn(3, 7, 16)
    torch.testing.assert_close(own(x, source), theirs(x, source, source)[0])
    which = torch.tensor([2, 0, 2, 1])
    x = torch.randn(4, 5, 16)
    torch.testing.assert_close(own(x, source, which), own(x, source[which]))


def test_keypoints_are_means_of_the_points_that_are_most_like_the_queries():
    detector = KeypointDetector(3, 8, layers=0, heads=2, hidden=8)
    features = torch.randn(2, 20, 8)
    heat = detector(features)
    torch.testing.assert_close(heat.sum(-1), torch.ones(2, 3))
    cosine = nn.functional.cosine_similarity(detector.queries[None, :, None], features[:, None], dim=-1)
    torch.testing.assert_close(heat, (cosine / 0.1).softmax(-1))


def test_aggregation_sends_no_gradient_through_far_points():
    block = Aggregation(8, neighbours=2)
    points = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [5, 0, 0], [9, 0, 0]]]).repeat(2, 1, 1)
    of_points = torch.randn(2, 4, 8, requires_grad=True)
    block(torch.randn(2, 3, 8), torch.zeros(2, 3, 3), of_points, points).sum().backward()
    assert of_points.grad[:, :2].abs().sum() > 0 and of_points.grad[:, 2:].abs().sum() == 0


@pytest.mark.parametrize("blended", [True, False])
def test_front_door_is_equations_13_to_16(blended):
    config = FrontDoorConfig(blended=blended, own_layers=1, cross_layers=1, length=6, drawn=3)
    door = FrontDoor(config, 8, heads=2, hidden=8).eval()
    x, category = torch.randn(4, 5, 8), torch.tensor([0, 5, 5, 2])
    own = door.own[0](door.own_in(x))
    cross = door.cross[0](door.cross_in(x), door.queue.features[category][:, [0, 2, 4]])
    expected = nn.functional.layer_norm(own + cross, (8,))
    if blended:
        share = torch.sigmoid(door.gate_new(expected) + door.gate_old(x))
        expected = share * expected + (1 - share) * x
    torch.testing.assert_close(door(x, category), expected)


# The queue


@pytest.mark.parametrize("store", ["queue", "bank"])
def test_the_queue_is_first_in_first_out(store):
    queue = FeatureQueue(FrontDoorConfig(length=4, drawn=2, store=store, begun="random"), 1)
    groups = 6 if store == "queue" else 1
    length = 4 if store == "queue" else 24
    literal = [list(of_group.flatten().tolist()) for of_group in queue.features]
    for step, batch in enumerate((5, 40, 1, 9)):
        category = torch.randint(6, (batch,))
        features = 100.0 * step + torch.arange(batch)[:, None]
        queue.renew(features, category)
        for one, feature in zip(category.tolist(), features[:, 0].tolist(), strict=True):
            of_group = literal[one if store == "queue" else 0]
            del of_group[0]
            of_group.append(feature)
    assert queue.features.shape == (groups, length, 1)
    for held, expected in zip(queue.features[..., 0], literal, strict=True):
        assert sorted(held.tolist()) == pytest.approx(sorted(expected))


def test_the_first_objects_of_a_category_fill_its_queue():
    queue = FeatureQueue(FrontDoorConfig(length=5, drawn=2, update="none"), 1)
    before = queue.features.clone()
    queue.renew(torch.tensor([[1.0], [2], [3]]), torch.tensor([4, 0, 4]))
    assert queue.features[4, :, 0].tolist() == [1, 3, 1, 3, 1] and queue.features[0, :, 0].tolist() == [2] * 5
    torch.testing.assert_close(queue.features[1], before[1])
    queue.renew(torch.tensor([[7.0]]), torch.tensor([4]))
    assert queue.features[4, :, 0].tolist() == [1, 3, 1, 3, 1]


def test_a_feature_replaces_the_one_most_like_it():
    queue = FeatureQueue(FrontDoorConfig(length=3, drawn=1, update="similarity", begun="random"), 2)
    queue.features[:] = torch.tensor([[1.0, 0], [0, 1], [-1, 0]])
    queue.renew(torch.tensor([[0.1, 2.0], [0.0, 3.0]]), torch.tensor([2, 2]))  # of two for one place, the later
    assert queue.features[2].tolist() == [[1, 0], [0, 3], [-1, 0]]
    assert queue.features[1].tolist() == [[1, 0], [0, 1], [-1, 0]]


@pytest.mark.parametrize("selection", ["random", "clusters", "first_clusters"])
def test_draws_are_new_in_training_and_always_the_same_at_inference(selection):
    queue = FeatureQueue(FrontDoorConfig(length=30, drawn=4, selection=selection), 3)
    queue.renew(torch.randn(120, 3), torch.arange(120) % 6)
    assert len({tuple(queue().flatten().tolist()) for _ in range(5)}) > 1
    queue.eval()
    assert len({tuple(queue().flatten().tolist()) for _ in range(5)}) == 1
    assert queue().shape == (6, 4, 3)


def test_one_feature_of_each_cluster_is_drawn():
    queue = FeatureQueue(FrontDoorConfig(length=12, drawn=3, selection="clusters", begun="random"), 2)
    queue.features[:] = torch.tensor([[0.0, 0], [9, 0], [0, 9]]).repeat_interleave(4, 0) + 0.1 * torch.rand(6, 12, 2)
    for drawn in (queue(), queue.eval()()):
        nearest = torch.cdist(drawn, torch.tensor([[0.0, 0], [9, 0], [0, 9]]).expand(6, -1, -1)).argmin(-1)
        assert nearest.sort(-1).values.tolist() == [[0, 1, 2]] * 6


# The networks


@pytest.mark.parametrize("config", [TINY, LITE, replace(TINY, image_width=0)])
def test_networks_say_what_the_interface_wants_and_learn(config):
    network = make_network(config).train()
    points, category = 0.4 * torch.randn(5, 64, 3), torch.tensor([0, 1, 2, 3, 5])
    output = network(points, category)
    assert output["y_axis"].shape == output["offset"].shape == output["size"].shape == (5, 3)
    torch.testing.assert_close(output["y_axis"].norm(dim=-1), torch.ones(5))
    output["y_axis"].sum().backward()
    assert network.front_door.queue.place.max() > 0
    network.eval()
    one = network(points, category)
    two = network(points, category)
    assert set(one) == {"y_axis", "x_axis", "confidence", "offset", "size"}
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert ((one["confidence"] >= 0) & (one["confidence"] <= 1)).all()
    for value, batched in zip(network(points[:2], category[:2]).values(), one.values(), strict=True):
        torch.testing.assert_close(value, batched[:2], rtol=1e-4, atol=1e-5)
    assert network_config(json.loads(json.dumps(dataclasses.asdict(config)))) == config


def test_image_features_have_a_say_and_their_absence_is_zero_at_first():
    network = make_network(TINY).eval()
    points, category = 0.4 * torch.randn(2, 64, 3), torch.tensor([2, 5])
    without = network(points, category)
    with_image = network.posed(points, category, torch.randn(2, 64, 384))
    assert not torch.equal(without["offset"], with_image["offset"])
    torch.testing.assert_close(network.posed(points, category, torch.zeros(2, 64, 384)), without)


def test_pose_of_the_papers_network_moves_with_the_cloud():
    network = make_network(TINY).eval()
    points, category = 0.4 * torch.randn(2, 64, 3), torch.tensor([2, 5])
    one, two = network(points, category), network(points + 0.3, category)
    torch.testing.assert_close(two["offset"], one["offset"] + 0.3, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(two["y_axis"], one["y_axis"], rtol=1e-2, atol=1e-2)


def test_the_compact_variant_begins_as_the_compact_network_it_grows_out_of():
    small = PatchTransformerConfig(points=64, patches=8, neighbours=4, width=16, layers=2, heads=2)
    points, category, ground = 0.4 * torch.randn(3, 64, 3), torch.tensor([0, 3, 5]), torch.rand(3, 4)
    compact = make_network(small).eval()
    large = grown(compact, make_network(LITE)).eval()
    torch.testing.assert_close(large(points, category, ground), compact(points, category, ground))
    large.train()(points, category, ground)["y_axis"].sum().backward()
    assert large.join.weight.grad.abs().sum() > 0
    with pytest.raises(RuntimeError, match="but for layers and patches"):
        grown(make_network(LITE), compact)


def test_every_hidden_matrix_of_the_compact_variant_is_one_for_muon():
    network = make_network(LITE)
    matrices = network.hidden_matrices()
    names = {id(p): name for name, p in network.named_parameters()}
    stacked = {names[id(p)] for p in matrices[3]}
    assert {"front_door.own.0.own.qkv.weight", "front_door.cross.0.cross.qkv.weight", "blocks.1.qkv.weight"} <= stacked
    assert "detector.layers.0.mlp.0.weight" in {names[id(p)] for p in matrices[1]}
    assert len(names) > len(matrices[1]) + len(matrices[3]) == len({id(p) for m in matrices.values() for p in m})


@pytest.mark.parametrize("selection", ["random", "clusters"])
def test_the_compact_variant_says_the_same_in_onnx_runtime(tmp_path, selection):
    network = make_network(replace(LITE, front_door=replace(LITE.front_door, selection=selection)))
    network(0.4 * torch.randn(30, 64, 3), torch.arange(30) % 6)
    nn.init.normal_(network.eval().join.weight, std=0.1)
    write_onnx(network, tmp_path / "model.onnx")
    card = network_card(network, tmp_path / "model.onnx", 0.8)
    assert max(parity(network, Session(tmp_path, card.network(NETWORK)), batches=(1, 4)).values()) < PARITY["fp32"][0]
    write_card(card, tmp_path)
    estimator = estimators.load(str(tmp_path))
    assert isinstance(estimator, CleanPoseEstimator) and estimator.needs.surface
    points = np.random.default_rng(0).normal((0.1, 0.0, 0.9), 0.03, (500, 3)).astype(np.float32)
    seen = Observation(points, "mug", surface=np.array([0.0, -0.8, -0.6, -0.6]))
    (one,), (two,) = estimator.estimate([seen]), estimators.load(str(tmp_path)).estimate([seen])
    assert isinstance(one, PoseEstimate) and one.rotation.tobytes() == two.rotation.tobytes()


# Distillation


def test_residual_distillation_begins_with_the_feature_itself():
    feature = torch.randn(4, 8)
    unit = nn.functional.normalize(feature, dim=-1)
    module = Distilled(DistilledConfig(width=5), 8)
    torch.testing.assert_close(module(feature), unit @ module.project.weight.T)
    first, _, last = module.layers
    nn.init.normal_(last.weight)
    changed = unit + 0.1 * nn.functional.gelu(unit @ first.weight.T) @ last.weight.T
    torch.testing.assert_close(module(feature), changed @ module.project.weight.T)
    plain = Distilled(DistilledConfig(width=5, unit_length=False), 8)
    torch.testing.assert_close(plain(feature), feature @ plain.project.weight.T)


def test_distillation_is_the_distance_of_equation_20():
    made, feature = torch.randn(4, 8), torch.randn(4, 8)
    expected = 0.01 * np.linalg.norm(made.numpy() - feature.numpy(), axis=1).mean()
    losses = feature_losses(made, {"feature": feature}, DistillationWeights())
    assert losses["taught_feature"].item() == pytest.approx(expected, rel=1e-5)
    contrast = DistillationWeights(feature=0.0, feature_contrast=1.0)
    assert set(feature_losses(made, {"feature": feature}, contrast)) == {"taught_feature_contrast"}
    with pytest.raises(ValueError, match="distilled.width: expected that of the teacher's feature, 3, got 8"):
        feature_losses(made, {"feature": feature[:, :3]}, DistillationWeights())


PUBLISHED = {  # names and shapes in ULIP-2's file, here of a tiny network
    "encoder.first_conv.0.weight": (128, 3, 1), "encoder.first_conv.0.bias": (128,),
    **{f"encoder.first_conv.1.{name}": (128,) for name in ("weight", "bias", "running_mean", "running_var")},
    "encoder.first_conv.1.num_batches_tracked": (), "encoder.first_conv.3.weight": (256, 128, 1),
    "encoder.first_conv.3.bias": (256,), "encoder.second_conv.0.weight": (512, 512, 1),
    "encoder.second_conv.0.bias": (512,),
    **{f"encoder.second_conv.1.{name}": (512,) for name in ("weight", "bias", "running_mean", "running_var")},
    "encoder.second_conv.1.num_batches_tracked": (), "encoder.second_conv.3.weight": (16, 512, 1),
    "encoder.second_conv.3.bias": (16,), "reduce_dim.weight": (24, 16), "reduce_dim.bias": (24,),
    "cls_token": (1, 1, 24), "cls_pos": (1, 1, 24), "pos_embed.0.weight": (128, 3), "pos_embed.0.bias": (128,),
    "pos_embed.2.weight": (24, 128), "pos_embed.2.bias": (24,), "norm.weight": (24,), "norm.bias": (24,),
    **{f"blocks.blocks.0.norm{i}.{name}": (24,) for i in (1, 2) for name in ("weight", "bias")},
    "blocks.blocks.0.attn.qkv.weight": (72, 24), "blocks.blocks.0.attn.proj.weight": (24, 24),
    "blocks.blocks.0.attn.proj.bias": (24,), "blocks.blocks.0.mlp.fc1.weight": (96, 24),
    "blocks.blocks.0.mlp.fc1.bias": (96,), "blocks.blocks.0.mlp.fc2.weight": (24, 96),
    "blocks.blocks.0.mlp.fc2.bias": (24,),
}  # fmt: skip
TINY_BERT = PointBertConfig(width=24, layers=1, heads=3, patches=8, neighbours=4, patch_width=16)


def test_the_published_weights_of_ulip_2_are_read_without_executing_anything(tmp_path):
    state = {name: torch.rand(shape) for name, shape in PUBLISHED.items()}
    saved = {f"module.point_encoder.{name}": value for name, value in state.items()} | {"module.visual": torch.ones(1)}
    torch.save({"state_dict": saved, "args": Namespace(lr=1e-3)}, tmp_path / "ulip2.pt")
    network = read_ulip2(tmp_path / "ulip2.pt", TINY_BERT).eval()
    torch.testing.assert_close(network.first[3].weight, state["encoder.first_conv.3.weight"][..., 0])
    torch.testing.assert_close(network.blocks[0].fc2.bias, state["blocks.blocks.0.mlp.fc2.bias"])
    taught = network(0.4 * torch.randn(3, 40, 3), torch.tensor([0, 2, 5]))
    assert taught["feature"].shape == (3, 48)
    losses = distillation_losses({"distilled": torch.zeros(3, 48)}, taught, {}, DistillationWeights())
    assert set(losses) == {"taught_feature"}  # it knows no poses
    with pytest.raises(ValueError, match="expected ULIP-2's PointBERT of 12 layers on points without colour"):
        load_teacher(tmp_path / "ulip2.pt")
    torch.save({"state_dict": {"weight": torch.ones(1)}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="expected a checkpoint of training.train, got one without network"):
        load_teacher(tmp_path / "other.pt")


def test_a_layer_of_pointbert_is_that_of_torch():
    own = PointBertBlock(24, 3)
    theirs = nn.TransformerEncoderLayer(24, 3, 96, 0.0, "gelu", batch_first=True, norm_first=True)
    theirs.self_attn.in_proj_weight.data, theirs.self_attn.out_proj.weight.data = (
        own.qkv.weight.data,
        own.proj.weight.data,
    )
    nn.init.zeros_(theirs.self_attn.in_proj_bias)
    theirs.self_attn.out_proj.bias.data = own.proj.bias.data
    for name in ("weight", "bias"):
        getattr(theirs.linear1, name).data, getattr(theirs.linear2, name).data = (
            getattr(layer, name).data for layer in (own.fc1, own.fc2)
        )
    x = torch.randn(2, 7, 24)
    torch.testing.assert_close(own(x), theirs(x))


# Losses


def rotations(count: int) -> torch.Tensor:
    rotation = torch.linalg.qr(torch.randn(count, 3, 3))[0]
    return rotation * torch.linalg.det(rotation)[:, None, None]


def test_canonical_rotation_is_that_of_nocs():
    rotation, category = rotations(6), torch.arange(6)
    got = terms.canonical_about_y(rotation, category)
    for c, (before, after) in enumerate(zip(rotation.double().numpy(), got.numpy(), strict=True)):
        if CATEGORIES[c] not in ("bottle", "bowl", "can"):
            np.testing.assert_array_equal(after, before)
            continue
        theta_x, theta_y = before[0, 0] + before[2, 2], before[0, 2] - before[2, 0]
        norm = np.hypot(theta_x, theta_y)
        s_map = np.array([[theta_x / norm, 0, -theta_y / norm], [0, 1, 0], [theta_y / norm, 0, theta_x / norm]])
        np.testing.assert_allclose(after, before @ s_map, atol=1e-5)
    upside_down = torch.diag(torch.tensor([1.0, -1, -1]))[None]
    assert terms.canonical_about_y(upside_down, torch.tensor([0])).isfinite().all()


def test_terms_of_the_keypoints_are_the_published_formulas():
    keypoints, points, scale = 0.02 * torch.rand(2, 5, 3), torch.rand(2, 9, 3), torch.tensor([1.0, 0.5])
    foreground = (torch.arange(9) % 2).float().expand(2, -1).clone()
    true, size, offset = rotations(2), 0.1 + torch.rand(2, 3), torch.rand(2, 3)
    chamfer, spread = terms.chamfer_loss(keypoints, points, foreground, scale), terms.diversity_loss(keypoints, scale)
    rebuilt = terms.rebuilding_loss(keypoints, points, foreground, scale)
    coordinates = terms.keypoint_coordinates(keypoints, offset, true, size, scale)
    loss = terms.coordinate_loss(coordinates + 0.05 * torch.arange(3), coordinates)
    for i, unit in enumerate(scale.tolist()):
        own, cloud = unit * keypoints[i].numpy(), unit * points[i, 1::2].numpy()
        distances = np.linalg.norm(own[:, None] - cloud, axis=-1)
        assert chamfer[i].item() == pytest.approx(distances.min(1).mean(), rel=1e-4)
        both = 0.5 * distances.min(1).mean() + 0.5 * distances.min(0).mean()
        assert rebuilt[i].item() == pytest.approx(both, rel=1e-4)
        pairs = np.linalg.norm(own[:, None] - own, axis=-1) + np.eye(5)
        expected = (1 - np.minimum(pairs, 0.01) / 0.01).sum() / 20
        assert spread[i].item() == pytest.approx(expected, abs=1e-5)
        in_metres = (own - unit * offset[i].numpy()) / np.linalg.norm(size[i].numpy()) @ true[i].numpy()
        np.testing.assert_allclose(coordinates[i], in_metres, atol=1e-5)
        assert loss[i].item() == pytest.approx(0.05**2 / 0.2 + 0.1 - 0.05, rel=1e-4)
    nothing = torch.zeros(2, 9)
    assert terms.chamfer_loss(keypoints, points, nothing, scale).tolist() == [0, 0]
    assert terms.rebuilding_loss(keypoints, points, nothing, scale).tolist() == [0, 0]
    same = keypoints.clone().requires_grad_()
    (
        terms.diversity_loss(same * 0, scale) + terms.chamfer_loss(same, same.detach(), torch.ones(2, 5), scale)
    ).sum().backward()
    assert same.grad.isfinite().all()


def test_the_pose_loss_is_equation_21():
    true, guess = rotations(3), rotations(3)
    scale, size = torch.full((3,), 0.2), torch.rand(3, 3)
    output = {"rotation": guess, "offset": torch.randn(3, 3), "size": torch.rand(3, 3)}
    truth = {"y_axis": true[:, :, 1], "x_axis": true[:, :, 0], "x_weight": torch.ones(3), "offset": torch.zeros(3, 3)}
    truth |= {"size": size, "scale": scale, "rotation": true, "category": torch.tensor([2, 4, 5])}
    losses = pose_losses(output, truth, LossWeights.cleanpose())
    columns = np.linalg.norm((guess - true).numpy(), axis=1).mean()
    translation = 0.2 * np.linalg.norm(output["offset"].numpy(), axis=1).mean()
    extents = np.linalg.norm((output["size"] - size).numpy(), axis=1).mean()
    assert losses["total"].item() == pytest.approx(0.3 * (columns + translation + extents), rel=1e-5)


# The paper's numbers

IMPLEMENTATION, SUPPLEMENT, CODE = "section 5, implementation details", "supplement B, equation 28", "AG-Pose's code"
NUMBERS = {
    "network.encoder.points": (1024, IMPLEMENTATION),
    "network.encoder.levels": ([512, 256, 128, 64], CODE),
    "network.encoder.radii_m": ([[0.01, 0.02], [0.02, 0.04], [0.04, 0.08], [0.08, 0.16]], CODE),
    "network.encoder.widths": ([16, 32, 64, 128], CODE),
    "network.encoder.propagation": ([128, 256, 256, 512], f"{CODE}; {IMPLEMENTATION}: C1 = 128"),
    "network.image_width": (384, f"{CODE}: DINOv2 ViT-S"),
    "network.backbone": ("dinov2", IMPLEMENTATION),
    "network.backbone_weights": ("facebook/dinov2-small", IMPLEMENTATION),
    "network.image_features": (128, f"{IMPLEMENTATION}: C2"),
    "network.keypoints": (96, IMPLEMENTATION),
    "network.detector_layers": (4, CODE),
    "network.coordinate_layers": (2, CODE),
    "network.heads": (4, CODE),
    "network.hidden": (256, f"{CODE}; {IMPLEMENTATION}: C = 256"),
    "network.neighbours": ([16, 32], CODE),
    "network.bins": (64, CODE),
    "network.rebuilt": (10, CODE),
    "network.front_door.used": (True, "table 4"),
    "network.front_door.blended": (True, "equation 16; table 5b"),
    "network.front_door.own_layers": (2, "CleanPose's code"),
    "network.front_door.cross_layers": (4, "CleanPose's code"),
    "network.front_door.store": ("queue", "table 5a"),
    "network.front_door.update": ("fifo", "table 5a"),
    "network.front_door.length": (80, "table 6a"),
    "network.front_door.drawn": (12, "table 6b"),
    "network.front_door.selection": ("random", "table 7c"),
    "network.distilled.width": (768, f"{IMPLEMENTATION}: C3"),
    "network.distilled.policy": ("residual", "table 5c"),
    "network.distilled.share": (0.1, f"{IMPLEMENTATION}: μ"),
    "distillation.feature": (0.01, f"{IMPLEMENTATION}: α2"),
    "weights.keypoint_chamfer": (1.0, f"{SUPPLEMENT}: λ1"),
    "weights.keypoint_diversity": (5.0, f"{SUPPLEMENT}: λ2"),
    "weights.keypoint_coordinates": (1.0, f"{SUPPLEMENT}: λ3"),
    "weights.rotation_columns": (0.3, f"{SUPPLEMENT}: λ4"),
    "weights.offset_norm": (0.3, f"{SUPPLEMENT}: λ4"),
    "weights.size_norm": (0.3, f"{SUPPLEMENT}: λ4"),
    "weights.rebuilt": (0.0, f"{SUPPLEMENT} has no such term"),
    "weights.rebuilt_offsets": (0.0, f"{SUPPLEMENT} has no such term"),
    "steps": (120_000, IMPLEMENTATION),
    "batch": (24, IMPLEMENTATION),
    "optimiser": ("adamw", f"{IMPLEMENTATION}: Adam"),
    "weight_decay": (0.0, CODE),
    "schedule": ("triangular2", IMPLEMENTATION),
    "learning_rate": (5e-4, IMPLEMENTATION),
    "final": (2e-5 / 5e-4, IMPLEMENTATION),
    "warm_up": (20_000, CODE),
    "share": ([3.0, 1.0], f"{CODE}: 30 of CAMERA25 to 10 of REAL275"),
    "batches.scale_jitter": (0.2, f"{CODE}: 0.8 to 1.2"),
    "batches.augmentation.rigid": (1.0, IMPLEMENTATION),
    "batches.augmentation.rigid_deg": (20.0, IMPLEMENTATION),
    "batches.augmentation.rigid_m": (0.02, IMPLEMENTATION),
}
OF_THE_CODE = {"keypoint_chamfer": 2.0, "keypoint_coordinates": 2.0, "rebuilt": 15.0, "rebuilt_offsets": 1.0}
OF_THE_CODE |= {"keypoint_diversity": 10.0, "rotation_columns": 0.3, "offset_norm": 0.3, "size_norm": 0.3}


def flat(settings: dict, prefix: str = "") -> dict:
    leaves = {}
    for name, value in settings.items():
        leaves |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return leaves


def test_settings_are_the_papers():
    settings = flat(plain_settings(replace(cleanpose.PAPER, data=(), output=""), None))
    assert {name: settings[name] for name in NUMBERS} == {name: value for name, (value, _) in NUMBERS.items()}
    others = ("y_axis", "x_axis", "hypotheses", "perpendicular", "offset", "size", "coordinates", "foreground")
    assert all(settings[f"weights.{name}"] == 0 for name in others)


def test_weights_of_the_code_are_there_by_name():
    weights = dataclasses.asdict(LossWeights.cleanpose("code"))
    assert {name: value for name, value in weights.items() if value} == OF_THE_CODE | {"confidence": 1.0}
    assert (terms.APART_M, terms.ROUND) == (0.01, 0.1)


@pytest.mark.parametrize(("schedule", "second"), [("triangular", 1.0), ("triangular2", 0.5)])
def test_the_rate_rises_and_falls_in_triangles(schedule, second):
    config = TrainConfig(data=(), output="", schedule=schedule, warm_up=10, final=0.1, learning_rate=1.0)
    optimiser = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    cycle = torch.optim.lr_scheduler.CyclicLR(optimiser, 0.1, 1.0, 10, mode=schedule, cycle_momentum=False)
    for step in range(45):
        assert learning_rate(step, config) == pytest.approx(optimiser.param_groups[0]["lr"])
        optimiser.step()
        cycle.step()
    assert learning_rate(30, config) == pytest.approx(0.1 + 0.9 * second)


# The paper's tables

SMALL = (
    "--share 1 --steps 1 --batch 6 --log-every 1 --checkpoint-every 1 --batches.points 64 --network.encoder.points 64 "
    "--network.encoder.levels 32 16 8 4 --network.encoder.widths 4 4 4 4 --network.encoder.propagation 8 8 8 8 "
    "--network.image-features 8 --network.keypoints 6 --network.detector-layers 1 --network.coordinate-layers 1 "
    "--network.hidden 16 --network.neighbours 4 8 --network.bins 8 --network.rebuilt 2 --network.distilled.width 32"
)
DOOR = "--network.front-door."
TABLES = {
    "4.1 neither": f"{DOOR}no-used --network.distilled.width 0",
    "4.2 causal": "--network.distilled.width 0",
    "4.3 distillation": f"{DOOR}no-used",
    "4.4 both": "",
    "5a queue without update": f"{DOOR}update none",
    "5a queue by similarity": f"{DOOR}update similarity",
    "5a bank without update": f"{DOOR}store bank {DOOR}update none",
    "5a bank by similarity": f"{DOOR}store bank {DOOR}update similarity",
    "5b without fusion": f"{DOOR}no-blended",
    "5c contrastive": (
        "--network.distilled.policy projection --distillation.feature 0 --distillation.feature-contrast 1"
    ),
    "5c MLP": "--network.distilled.policy mlp",
    "6a 500": f"{DOOR}length 500",
    "6b 48": f"{DOOR}drawn 48",
    "6c 0.1": "--distillation.feature 0.1",
    "points alone": "--backbone none --network.image-width 0",
    "7a random": f"{DOOR}begun random",
    "7c clusters": f"{DOOR}selection clusters",
    "7c clusters, by similarity": f"{DOOR}selection first_clusters {DOOR}update similarity",
}


@pytest.fixture(scope="module")
def teacher(views, config, tmp_path_factory):
    """A compact network, whose feature has 32 numbers."""
    network = PatchTransformerConfig(points=64, patches=16, neighbours=4, width=16, layers=1, heads=2)
    batches, output = replace(config.batches, points=64), tmp_path_factory.mktemp("teacher")
    return train(replace(config, output=output, steps=2, network=network, batches=batches))


@pytest.mark.parametrize("options", TABLES.values(), ids=TABLES)
def test_every_row_of_the_tables_is_a_configuration(views, teacher, tmp_path, options):
    arguments = ["--data", str(views), "--output", str(tmp_path), *SMALL.split(), *options.split()]
    arguments += [] if "--backbone" in options else ["--backbone", "small"]
    if "distilled.width 0" not in options:
        arguments += ["--teacher", str(teacher), "--distillation.coordinates", "0"]
    tyro.cli(cleanpose.main, args=arguments)
    losses = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[0])
    assert np.isfinite(losses["total"]) and {"rotation_columns", "keypoint_diversity"} <= losses.keys()
    assert any(name.startswith("taught_feature") for name in losses) == ("--teacher" in arguments)
    network, _ = load_network(tmp_path / "checkpoint.pt")
    assert hasattr(network, "front_door") == ("no-used" not in options)


def test_a_run_of_the_compact_variant_goes_on_and_its_queue_is_no_average(views, config, tmp_path):
    lite = CleanPoseLiteConfig(
        patches=16, neighbours=8, width=16, layers=1, heads=2, keypoints=6, front_door=LITE.front_door
    )
    whole = replace(config, output=tmp_path / "whole", network=lite)
    train(whole)
    train(replace(whole, output=tmp_path / "parts", steps=2))
    train(replace(whole, output=tmp_path / "parts"))
    one, two = (read_checkpoint(tmp_path / name / "checkpoint.pt") for name in ("whole", "parts"))
    for name, value in one["network"].items():
        assert torch.equal(value, two["network"][name])
        if name.startswith("front_door.queue"):
            assert torch.equal(one["average"][f"module.{name}"], value)
    assert not torch.equal(one["average"]["module.norm.weight"], one["network"]["norm.weight"])
