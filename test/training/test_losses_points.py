"""Rotation, point, reconstruction and coordinate terms: by hand, against numpy twins and numerical gradients."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.spatial.transform import Rotation
from torch.autograd import gradcheck

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.decoding import rotation_from_normals
from training.losses import points
from training.losses.directions import absolute, cosine, skew
from training.losses.points import coordinate_distance_loss
from training.losses.rotation import calibrated_rotation, predicted_rotation, unit


def tensor(array):
    return torch.as_tensor(np.asarray(array, float))


def directions(seed, count):
    vectors = np.random.default_rng(seed).normal(size=(count, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def numbers(seed, *shape):
    return tensor(np.random.default_rng(seed).normal(size=shape))


def rotations(seed, count):
    return tensor(Rotation.random(count, random_state=seed).as_matrix())


# Directions


def test_absolute_is_the_mean_of_three_and_smooth_below_beta():
    a, b = tensor([[0.0, 0.0, 0.0]]), tensor([[0.1, 1.0, 0.0]])
    assert absolute(a, b).item() == pytest.approx(1.1 / 3)
    assert absolute(a, b, beta=0.5).item() == pytest.approx((0.1**2 / (2 * 0.5) + 1 - 0.25) / 3)


@pytest.mark.parametrize("degrees", [0, 60, 90, 180])
def test_cosine_and_skew_by_hand(degrees):
    a = math.radians(degrees)
    turned, x = tensor([[math.cos(a), math.sin(a), 0]]), tensor([[1, 0, 0]])
    assert cosine(turned, x).item() == pytest.approx(2 * (1 - math.cos(a)))
    assert skew(turned, x).item() == pytest.approx(abs(math.cos(a)))


# The predicted rotation


def test_calibrated_rotation_is_that_of_the_runtime():
    y, x = directions(0, 50), directions(1, 50)
    confidence = np.random.default_rng(2).uniform(0.05, 1, (50, 2))
    confidence[:10, 1] = 0
    expected = np.stack([rotation_from_normals(*of_one) for of_one in zip(y, x, confidence[:, 0], confidence[:, 1])])
    apart = np.linalg.norm(np.cross(y, x), axis=1) > 0.1
    assert apart.sum() > 40
    np.testing.assert_allclose(
        calibrated_rotation(tensor(y), tensor(x), tensor(confidence))[apart], expected[apart], atol=2e-6
    )


def test_where_x_is_unknown_y_stays_and_the_true_x_is_lent():
    truth = rotations(3, 3)
    y = unit(truth[:, :, 1] + 0.2 * tensor(directions(4, 3)))
    x = tensor(directions(5, 3))
    got = predicted_rotation(y, x, torch.full((3, 2), 0.5, dtype=torch.float64), truth, tensor([0, 0.15, 1]))
    np.testing.assert_allclose(got[:2, :, 1], y[:2], atol=1e-7)
    lent = truth[:2, :, 0] - (truth[:2, :, 0] * y[:2]).sum(-1, keepdim=True) * y[:2]
    np.testing.assert_allclose(got[:2, :, 0], lent / lent.norm(dim=-1, keepdim=True), atol=1e-7)
    np.testing.assert_allclose(got[2], calibrated_rotation(y, x, torch.full((3, 2), 0.5, dtype=torch.float64))[2])


@pytest.mark.parametrize("angle", [0.0, 1e-5, math.pi / 2, math.pi])
def test_gradients_of_the_rotation_are_finite_even_where_y_is_parallel_to_x(angle):
    y = torch.tensor([[0.0, 1.0, 0.0]], requires_grad=True)
    x = torch.tensor([[math.sin(angle), math.cos(angle), 0.0]], requires_grad=True)
    calibrated_rotation(y, x, torch.zeros(1, 2)).square().sum().backward()
    calibrated_rotation(y, x, torch.tensor([[0.2, 0.9]])).sum().backward()
    assert torch.isfinite(y.grad).all() and torch.isfinite(x.grad).all()


def test_gradients_of_the_rotation_are_the_numerical_ones_and_none_leads_into_the_confidence():
    y, x = (tensor(directions(seed, 4)).requires_grad_() for seed in (6, 7))
    confidence = torch.rand(4, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert gradcheck(lambda y, x: calibrated_rotation(y, x, confidence), (y, x))
    confidence.requires_grad_()
    calibrated_rotation(y, x, confidence).sum().backward()
    assert confidence.grad is None


# The cloud under the pose


def test_a_right_pose_costs_no_point_term():
    rotation, offset, cloud, scale = rotations(8, 2), numbers(8, 2, 3), numbers(9, 2, 7, 3), tensor([0.2, 0.3])
    canonical = points.object_points(cloud, offset, rotation)
    expected = np.einsum("bji,bnj->bni", rotation.numpy(), cloud.numpy() - offset.numpy()[:, None])
    np.testing.assert_allclose(canonical, expected, atol=1e-12)
    for i in range(3):
        assert points.projection_loss(cloud, offset, rotation[:, :, i], canonical[..., i], scale).abs().max() < 1e-12
    assert points.point_matching_loss(cloud, offset, rotation, canonical, scale).abs().max() < 1e-12


def test_a_shift_along_y_costs_its_length_in_metres():
    """0.5 units of 0.2 m."""
    cloud, eye, zero, scale = (
        numbers(10, 1, 7, 3),
        torch.eye(3, dtype=torch.float64)[None],
        torch.zeros(1, 3, dtype=torch.float64),
        tensor([0.2]),
    )
    offset = tensor([[0, 0.5, 0]])
    assert points.projection_loss(cloud, offset, eye[:, 1], cloud[..., 1], scale).item() == pytest.approx(0.1)
    assert points.projection_loss(cloud, offset, eye[:, 0], cloud[..., 0], scale).item() == pytest.approx(0)
    assert points.point_matching_loss(cloud, offset, eye, cloud, scale).item() == pytest.approx(0.1 / 3)
    assert points.point_matching_loss(cloud, zero, eye, cloud, scale).item() == 0


SIGNS = {
    "bottle": [-1, 1, -1],
    "bowl": [-1, 1, -1],
    "can": [-1, 1, -1],
    "laptop": [1, 1, -1],
    "mug": [1, 1, -1],
    "camera": [1, 1, 1],
}


@pytest.mark.parametrize("category", CATEGORIES)
def test_counterpart_flips_the_signs_of_canonical_coordinates(category):
    rotation, offset, cloud = rotations(11, 2), numbers(11, 2, 3), numbers(12, 2, 7, 3)
    index = torch.full((2,), CATEGORIES.index(category))
    got = points.counterpart(cloud, rotation[:, :, 1], rotation[:, :, 2], offset, index)
    flipped = points.object_points(cloud, offset, rotation).numpy() * SIGNS[category]
    expected = np.einsum("bij,bnj->bni", rotation.numpy(), flipped) + offset.numpy()[:, None]
    np.testing.assert_allclose(got, expected, atol=1e-12)


def test_only_mugs_with_a_visible_handle_have_a_known_mirror_and_cameras_have_none():
    category = torch.tensor([CATEGORIES.index(c) for c in ("mug", "mug", "laptop", "camera", "can")])
    assert points.mirror_known(category, torch.tensor([1, 0.15, 1, 1, 0])).tolist() == [True, False, True, True, True]
    assert points.has_counterpart(category).tolist() == [True, True, True, False, True]


def test_reconstruction_loss_is_in_metres():
    target = numbers(13, 1, 5, 3)
    assert points.reconstruction_loss(target + 0.5, target, tensor([0.2])).item() == pytest.approx(0.1)


def test_gradients_of_the_point_terms_are_the_numerical_ones():
    rotation, cloud, scale = rotations(14, 6), numbers(14, 6, 3, 3), tensor(np.linspace(0.2, 0.7, 6))
    canonical, reconstruction = numbers(15, 6, 3, 3), numbers(16, 6, 3, 3)

    def terms(y, x, offset):
        return (
            points.projection_loss(cloud, offset, y, canonical[..., 1], scale),
            points.point_matching_loss(cloud, offset, rotation, canonical, scale),
            points.reconstruction_loss(
                reconstruction,
                points.counterpart(cloud, y, unit(torch.linalg.cross(x, y)), offset, torch.arange(6)),
                scale,
            ),
        )

    inputs = [
        tensor(directions(17, 6)).requires_grad_(),
        tensor(directions(18, 6)).requires_grad_(),
        numbers(19, 6, 3).requires_grad_(),
    ]
    assert gradcheck(terms, inputs)


# Distances within predicted coordinates


def test_rigidly_moved_coordinates_cost_nothing():
    true = numbers(26, 2, 20, 3)
    moved = true @ rotations(26, 2) + numbers(27, 2, 1, 3)
    assert coordinate_distance_loss(moved, true, torch.ones(2, 20, dtype=torch.float64)).item() < 1e-12


@pytest.mark.parametrize("count", [20, 21])
def test_stretched_coordinates_cost_the_stretch_of_the_mean_distance(count):
    """Every pair meets; with an even count those half-way round meet twice."""
    true = numbers(28, 1, count, 3)
    loss = coordinate_distance_loss(1.5 * true, true, torch.ones(1, count, dtype=torch.float64)).item()
    distances = pdist(true[0].numpy())
    if count % 2 == 0:
        i, j = np.triu_indices(count, 1)
        distances = np.concatenate([distances, distances[j - i == count // 2]])
    assert loss == pytest.approx(0.5 * distances.mean(), rel=1e-6)


def test_background_coordinates_form_no_pairs():
    true = numbers(29, 1, 20, 3)
    weights = (torch.arange(20) > 2).double()[None]
    moved = true.clone()
    moved[:, :3] += 9
    assert coordinate_distance_loss(moved, true, weights).item() == 0
    assert coordinate_distance_loss(moved, true, torch.zeros(1, 20)).item() == 0


def test_long_lists_are_compared_by_a_bounded_number_of_partners():
    true = numbers(30, 1, 1024, 3)
    loss = coordinate_distance_loss(1.5 * true, true, torch.ones(1, 1024), partners=16).item()
    assert loss == pytest.approx(0.5 * pdist(true[0].numpy()).mean(), rel=0.02)


def test_gradients_of_the_distances_are_the_numerical_ones_and_finite_at_zero():
    coordinates, true = numbers(31, 2, 7, 3).requires_grad_(), numbers(32, 2, 7, 3)
    weights = torch.rand(2, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert gradcheck(lambda c: coordinate_distance_loss(c, true, weights), (coordinates,))
    collapsed = torch.zeros(1, 7, 3, requires_grad=True)
    coordinate_distance_loss(collapsed, true[:1].float(), torch.ones(1, 7)).backward()
    assert torch.isfinite(collapsed.grad).all()
