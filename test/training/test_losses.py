"""Losses against values computed by hand."""

import math

import pytest
import torch

from training.losses import LossWeights, chord, confidence_target, pose_losses, weighted_mean


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
    assert confidence_target(torch.tensor(2 * math.sin(math.radians(5)))).item() == pytest.approx(math.exp(-13.7 * (2 * math.sin(math.radians(5))) ** 2))


def test_weighted_mean_of_no_weight_is_zero():
    assert weighted_mean(torch.tensor([3.0, 5.0]), torch.tensor([0.0, 0.0])).item() == 0
    assert weighted_mean(torch.tensor([3.0, 5.0]), torch.tensor([1.0, 3.0])).item() == 4.5


def test_perfect_output_costs_nothing():
    truth, output = truth_and_output()
    assert pose_losses(output, truth)["total"].item() == pytest.approx(0, abs=2e-3)  # the root's guard leaves 1e-4 a term


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
