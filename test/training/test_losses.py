"""Losses against values computed by hand."""

import dataclasses
import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from training.losses import (
    TERMS,
    LossWeights,
    chord,
    confidence_target,
    faces,
    keypoints,
    points,
    pose_losses,
    weighted_mean,
)

OF_CLEANPOSE = ("rotation", "keypoints", "keypoint_coordinates", "rebuilt", "rebuilt_offsets")
EVERY = LossWeights(**dict.fromkeys(TERMS, 1.0))


def truth_and_output() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    y, x = torch.tensor([[0.0, 1.0, 0.0]] * 2), torch.tensor([[1.0, 0.0, 0.0]] * 2)
    truth = {
        "y_axis": y,
        "x_axis": x,
        "x_weight": torch.tensor([1.0, 0.0]),
        "offset": torch.zeros(2, 3),
        "scale": torch.tensor([0.2, 0.5]),
        "size": torch.full((2, 3), 0.1),
        "coordinates": torch.zeros(2, 4, 3),
        "foreground": torch.ones(2, 4),
    }
    output = {
        "y_axis": y,
        "x_axis": x,
        "confidence": torch.ones(2, 2),
        "offset": torch.zeros(2, 3),
        "size": torch.full((2, 3), 0.1),
        "coordinates": torch.zeros(2, 4, 3),
        "foreground": torch.full((2, 4), 40.0),
    }
    return truth, output


def test_chord_is_twice_the_sine_of_half_the_angle():
    for degrees in (5.0, 60.0, 180.0):
        a = math.radians(degrees)
        got = chord(torch.tensor([math.cos(a), math.sin(a), 0.0]), torch.tensor([1.0, 0.0, 0.0]))
        assert got.item() == pytest.approx(2 * math.sin(a / 2), abs=1e-4)


def test_confidence_target_is_one_for_a_right_direction_and_falls():
    assert confidence_target(torch.tensor(0.0)).item() == 1
    assert confidence_target(torch.tensor(2 * math.sin(math.radians(5)))).item() == pytest.approx(
        math.exp(-13.7 * (2 * math.sin(math.radians(5))) ** 2)
    )


def test_weighted_mean_of_no_weight_is_zero():
    assert weighted_mean(torch.tensor([3.0, 5.0]), torch.tensor([0.0, 0.0])).item() == 0
    assert weighted_mean(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 3.0])).item() == 4.5


def test_perfect_output_costs_nothing():
    truth, output = truth_and_output()
    # the root's guard leaves 1e-4 a term
    assert pose_losses(output, truth)["total"].item() == pytest.approx(0, abs=2e-3)


def test_x_axis_of_an_axis_symmetric_object_is_free():
    truth, output = truth_and_output()
    output["x_axis"] = torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    assert pose_losses(output, truth)["x_axis"].item() == pytest.approx(0, abs=1e-3)
    output["x_axis"] = torch.tensor([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])
    assert pose_losses(output, truth)["x_axis"].item() == pytest.approx(LossWeights().x_axis * math.sqrt(2), rel=1e-3)


def test_size_is_scored_relative_to_the_category():
    truth, output = truth_and_output()
    output["size"] = torch.tensor([[0.12, 0.1, 0.1], [0.1, 0.1, 0.1]])
    assert pose_losses(output, truth)["size"].item() == pytest.approx(LossWeights().size * 0.5 * 0.02 / 0.2, rel=1e-3)


def test_background_patches_have_no_coordinates_to_learn():
    truth, output = truth_and_output()
    truth["foreground"][:, 0] = 0
    output["coordinates"][:, 0] = 9.0
    assert pose_losses(output, truth)["coordinates"].item() == 0


def scene(x_weight: float = 1.0) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """An object of each category in a random pose with a random cloud, and the output of a network that has learned
    everything.
    """
    generator = torch.Generator().manual_seed(0)
    b, n, p = len(CATEGORIES), 32, 8
    rotation = torch.tensor(Rotation.random(b, random_state=0).as_matrix(), dtype=torch.float32)
    cloud, offset = torch.randn(b, n, 3, generator=generator), 0.3 * torch.randn(b, 3, generator=generator)
    scale, size = torch.linspace(0.1, 0.5, b), 0.1 + 0.1 * torch.rand(b, 3, generator=generator)
    coordinates = points.object_points(cloud[:, :: n // p], offset, rotation)
    symmetric = torch.tensor([c in AXIS_SYMMETRIC for c in CATEGORIES])
    truth = {
        "points": cloud,
        "category": torch.arange(b),
        "rotation": rotation,
        "y_axis": rotation[:, :, 1],
        "x_axis": rotation[:, :, 0],
        "x_weight": torch.where(symmetric, 0.0, x_weight),
        "offset": offset,
        "size": size,
        "scale": scale,
        "coordinates": coordinates,
        "foreground": torch.ones(b, p),
        "camera": torch.tensor([0.0, 0.0, -3.0]).expand(b, 3),
    }
    planes = faces.box_planes(faces.face_normals(rotation), offset, size / (2 * scale[:, None]))
    canonical, found = keypoints.canonical_about_y(rotation, torch.arange(b)), cloud[:, :: n // p]
    output = {
        "y_axis": rotation[:, :, 1],
        "x_axis": rotation[:, :, 0],
        "confidence": torch.ones(b, 2),
        "offset": offset,
        "size": size,
        "coordinates": coordinates,
        "foreground": torch.full((b, p), 40.0),
        "reconstruction": points.counterpart(cloud, rotation[:, :, 1], rotation[:, :, 2], offset, torch.arange(b)),
        "face_normals": planes.normal[:, None].expand(-1, n, -1, -1),
        "face_distances": faces.face_distances(cloud, planes),
        "face_confidences": torch.ones(b, n, 6),
        "rotation": canonical,
        "keypoints": found,
        "keypoint_coordinates": keypoints.keypoint_coordinates(found, offset, canonical, size, scale),
        "rebuilt": found,
        "rebuilt_offsets": torch.zeros(b, p, 3),
    }
    return truth, output


def noisy(output: dict[str, torch.Tensor], share: float = 0.3) -> dict[str, torch.Tensor]:
    """The output with errors everywhere, and gradients."""
    generator = torch.Generator().manual_seed(1)
    output = output | {"foreground": torch.zeros_like(output["foreground"])}
    moved = {name: value + share * torch.randn(value.shape, generator=generator) for name, value in output.items()}
    for name in ("y_axis", "x_axis", "face_normals"):
        moved[name] = F.normalize(moved[name], dim=-1)
    for name in ("confidence", "face_confidences"):
        moved[name] = moved[name].clamp(0.05, 0.95)
    return {name: value.detach().requires_grad_() for name, value in moved.items()}


def literal_default_losses(output: dict[str, torch.Tensor], truth: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The compact network's terms written out: what checkpoints and their logs were made with."""
    y_error = ((output["y_axis"] - truth["y_axis"]).square().sum(-1) + 1e-8).sqrt()
    x_error = ((output["x_axis"] - truth["x_axis"]).square().sum(-1) + 1e-8).sqrt()
    xw = truth["x_weight"]
    asymmetric = (xw > 0).float()

    def mean(values, weights):
        return (values * weights).sum() / weights.sum().clamp(min=1e-6)

    y_target, x_target = (torch.exp(-13.7 * error.detach().square()) for error in (y_error, x_error))
    difference = F.smooth_l1_loss(output["coordinates"], truth["coordinates"], beta=0.05, reduction="none").sum(-1)
    terms = {
        "y_axis": 2.0 * y_error.mean(),
        "x_axis": 2.0 * mean(x_error, xw),
        "perpendicular": 0.25 * mean((output["y_axis"] * output["x_axis"]).sum(-1).abs(), asymmetric),
        "offset": 6.0 * ((output["offset"] - truth["offset"]).square().sum(-1) + 1e-8).sqrt().mean(),
        "size": 3.0 * ((output["size"] - truth["size"]).abs().sum(-1) / truth["scale"]).mean(),
        "confidence": (output["confidence"][:, 0] - y_target).square().mean()
        + mean((output["confidence"][:, 1] - x_target).square(), asymmetric),
        "coordinates": 4.0 * (difference * truth["foreground"]).sum() / truth["foreground"].sum().clamp(min=1),
        "foreground": 0.25 * F.binary_cross_entropy_with_logits(output["foreground"], truth["foreground"]),
    }
    return terms | {"total": torch.stack(list(terms.values())).sum()}


def test_default_terms_and_their_gradients_are_the_literal_ones_bit_for_bit():
    truth, output = scene(x_weight=0.15)
    output = {name: value for name, value in output.items() if name not in OF_CLEANPOSE}
    truth["foreground"][0, :3] = 0
    results = []
    for losses in (pose_losses, literal_default_losses):
        predicted = noisy(output)
        terms = losses(predicted, truth)
        terms["total"].backward()
        results.append((terms, {name: value.grad for name, value in predicted.items() if value.grad is not None}))
    (got, got_gradients), (expected, expected_gradients) = results
    assert list(got) == list(expected)
    assert got_gradients.keys() == expected_gradients.keys() and len(got_gradients) == 7
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert all(torch.equal(got_gradients[name], expected_gradients[name]) for name in expected_gradients)


def test_every_weight_names_a_term():
    assert {f.name for f in dataclasses.fields(LossWeights)} - {"smooth_beta"} == set(TERMS)


def test_everything_learned_costs_nothing():
    truth, output = scene()
    losses = pose_losses(output, truth, EVERY)
    assert set(losses) == {*TERMS, "total"} - {"hypotheses"}
    for name in losses.keys() - {"total"}:
        assert losses[name].item() == pytest.approx(0, abs=2e-3 if name == "size" else 3e-4), name


def test_the_nearest_hypothesis_learns_and_each_says_how_likely_it_is_right():
    """As in multiple choice learning with a small share for all (Rupprecht et al., 2017)."""
    truth = {
        "y_axis": torch.tensor([[0.0, 1.0, 0.0]]),
        "x_axis": torch.tensor([[1.0, 0.0, 0.0]]),
        "x_weight": torch.tensor([1.0]),
        "offset": torch.zeros(1, 3),
        "size": torch.ones(1, 3),
        "scale": torch.ones(1),
    }
    flipped = torch.tensor([[[0.0, -1.0, 0.0], [0.0, 1.0, 0.0]]]).requires_grad_()
    x_axes = torch.tensor([[[1.0, 0.0, 0.0], [0.8, 0.0, 0.6]]]).requires_grad_()
    confidences = torch.tensor([[[0.0, 1.0], [1.0, 0.5]]])
    output = {"y_axis": flipped[:, 0], "x_axis": x_axes[:, 0], "confidence": confidences[:, 0]}
    output |= {"y_axes": flipped, "x_axes": x_axes, "confidences": confidences}
    losses = pose_losses(output, truth, LossWeights(y_axis=1.0, x_axis=1.0, hypotheses=0.5, confidence=1.0))
    sideways = 0.4**0.5  # chord of the second hypothesis' x axis
    assert losses["y_axis"].item() == pytest.approx(0, abs=1e-3)
    assert losses["x_axis"].item() == pytest.approx(sideways, abs=1e-3)
    assert losses["hypotheses"].item() == pytest.approx(0.5 * (2 + sideways) / 2, abs=1e-3)
    right = math.exp(-13.7 * 0.4)
    assert losses["confidence"].item() == pytest.approx((0.5 - right) ** 2 / 2, abs=1e-3)
    (losses["y_axis"] + losses["x_axis"]).backward()
    assert flipped.grad[0, 0].abs().sum() == 0 and x_axes.grad[0, 0].abs().sum() == 0
    assert x_axes.grad[0, 1].abs().sum() > 0


@pytest.mark.parametrize("name", sorted({*TERMS} - {"hypotheses", "keypoint_diversity"}))
def test_every_term_sees_an_error_and_gives_finite_gradients(name):
    truth, output = scene()
    predicted = noisy(output)
    losses = pose_losses(predicted, truth, dataclasses.replace(LossWeights(**dict.fromkeys(TERMS, 0.0)), **{name: 1.0}))
    assert list(losses) == [name, "total"]
    assert losses[name].item() > 5e-3
    losses["total"].backward()
    gradients = [value.grad for value in predicted.values() if value.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients) and max(g.abs().max() for g in gradients) > 0


@pytest.mark.parametrize("hidden", [False, True])
def test_what_symmetry_hides_is_free(hidden):
    """Of axis-symmetric objects: x, its confidence, the x and z faces. In the paper's training a mug whose handle is
    hidden is one of them.
    """
    truth, output = scene(x_weight=0.0)
    keep = torch.tensor([CATEGORIES.index(c) for c in (["mug"] if hidden else sorted(AXIS_SYMMETRIC))])
    truth, output = ({name: value[keep] for name, value in part.items()} for part in (truth, output))
    weights = LossWeights.clipose()
    right = pose_losses(output, truth, weights)
    generator = torch.Generator().manual_seed(2)
    output["x_axis"] = F.normalize(torch.randn(len(keep), 3, generator=generator), dim=-1)
    output["confidence"] = torch.tensor([[1.0, 0.3]] * len(keep))
    for name in ("face_normals", "face_distances", "face_confidences"):
        output[name] = output[name].clone()
        output[name][:, :, 1:5] += 1
    wrong = pose_losses(output, truth, weights)
    for name in right:
        assert wrong[name].item() == pytest.approx(right[name].item(), abs=1e-5), name


def test_a_mug_without_a_visible_handle_has_no_reconstruction():
    truth, output = scene(x_weight=0.15)
    mug = CATEGORIES.index("mug")
    output["reconstruction"] = output["reconstruction"].clone()
    output["reconstruction"][mug] += 5
    weights = LossWeights.clipose()
    assert pose_losses(output, truth, weights)["reconstruction"].item() == pytest.approx(0, abs=1e-5)
    assert pose_losses(output, truth, weights)["reconstruction_pose"].item() == pytest.approx(0, abs=1e-5)
    truth["x_weight"][mug] = 1
    expected = 5 * truth["scale"][mug].item() / len(CATEGORIES)
    assert pose_losses(output, truth, weights)["reconstruction"].item() == pytest.approx(expected, rel=1e-4)


def test_the_papers_confidences_are_learned_from_both_sides():
    """GPV-Pose's targets pass their gradient on to what they measure; those of the compact network do not."""
    truth, output = scene()
    learn = {
        "confidence_l1": {"confidence", "y_axis", "x_axis"},
        "face_confidences": {"face_confidences", "face_normals", "face_distances"},
        "confidence": {"confidence"},
    }
    for term, names in learn.items():
        predicted = noisy(output, 0.1)
        pose_losses(predicted, truth, dataclasses.replace(LossWeights(**dict.fromkeys(TERMS, 0.0)), **{term: 1.0}))[
            term
        ].backward()
        assert {name for name, value in predicted.items() if value.grad is not None and value.grad.any()} == names


def test_published_terms_are_weighted_and_in_metres():
    """Errors along y of 0.1 units of 0.2 m, and of 3 cm in height: L1 takes a third of each."""
    truth, output = truth_and_output()
    output["offset"] = torch.tensor([[0.0, 0.1, 0.0], [0.0, 0.0, 0.0]])
    output["size"] = torch.tensor([[0.1, 0.13, 0.1], [0.1, 0.1, 0.1]])
    output["x_axis"] = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])  # the second object is axis-symmetric: free
    weights = dataclasses.replace(LossWeights.clipose(), projection=0.0, point_matching=0.0)  # the truth has no cloud
    losses = pose_losses(output, truth, weights)
    assert losses["offset_l1"].item() == pytest.approx(8 * 0.02 / 3 / 2)
    assert losses["size_l1"].item() == pytest.approx(8 * 0.03 / 3 / 2, rel=1e-5)
    assert losses["x_axis_l1"].item() == pytest.approx(8 * 2 / 3)
    assert losses["x_axis_cosine"].item() == pytest.approx(8 * 2)
    assert losses["perpendicular"].item() == 0
    # a mean over both objects, of which one alone has an x to be sure of
    assert losses["confidence_l1"].item() == pytest.approx((1 - math.exp(-13.7 * 2)) / 2, abs=1e-6)
    assert losses["total"].item() == pytest.approx(
        sum(value.item() for name, value in losses.items() if name != "total"), rel=1e-6
    )
    smooth = pose_losses(output, truth, dataclasses.replace(weights, smooth_beta=0.5))
    assert smooth["x_axis_l1"].item() == pytest.approx(8 * 2 * 0.75 / 3)


def test_terms_without_their_output_are_left_out():
    """At evaluation a network gives the pose alone."""
    truth, output = scene()
    pose = {name: output[name] for name in ("y_axis", "x_axis", "confidence", "offset", "size")}
    assert set(pose_losses(pose, truth)) == {
        "y_axis",
        "x_axis",
        "perpendicular",
        "offset",
        "size",
        "confidence",
        "total",
    }


def test_a_term_without_its_truth_is_refused():
    truth, output = truth_and_output()
    with pytest.raises(ValueError, match="truth: expected rotation, points for the term projection, got coordinates"):
        pose_losses(output, truth, LossWeights.clipose())
    del truth["scale"]
    with pytest.raises(ValueError, match="truth: expected scale, got "):
        pose_losses(output, truth)


def test_weights_that_leave_nothing_to_learn_are_refused():
    truth, output = truth_and_output()
    with pytest.raises(ValueError, match="weights: expected at least one term"):
        pose_losses(output, truth, LossWeights(**dict.fromkeys(TERMS, 0.0)))
    for wrong in (-1.0, math.nan):
        with pytest.raises(ValueError, match="size: expected a number >= 0"):
            LossWeights(size=wrong)


@pytest.mark.parametrize("broken", ["parallel axes", "no confidence", "votes in one point"])
def test_gradients_stay_finite_for_degenerate_output(broken):
    truth, output = scene()
    output = {name: value.clone() for name, value in output.items()}
    if broken == "parallel axes":
        output["x_axis"] = output["y_axis"].clone()
    if broken == "no confidence":
        output["confidence"], output["face_confidences"] = (
            torch.zeros_like(output["confidence"]),
            torch.zeros_like(output["face_confidences"]),
        )
    if broken == "votes in one point":
        truth["points"], output["face_distances"] = (
            torch.zeros_like(truth["points"]),
            torch.zeros_like(output["face_distances"]),
        )
    predicted = {name: value.requires_grad_() for name, value in output.items()}
    losses = pose_losses(predicted, truth, EVERY)
    losses["total"].backward()
    assert all(torch.isfinite(value).all() for value in losses.values())
    for name, value in predicted.items():
        assert torch.isfinite(value.grad).all() and value.grad.abs().max() < 1e6, name
