"""Terms of the two predicted directions and of their confidences, one value for each object."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def chord(predicted: Tensor, true: Tensor) -> Tensor:
    """Distance of two directions (..., 3) on the unit sphere: 2 sin(angle / 2), linear near zero, so that small errors
    keep a gradient.
    """
    return ((predicted - true).square().sum(-1) + 1e-8).sqrt()


def absolute(predicted: Tensor, true: Tensor, beta: float = 0.0) -> Tensor:
    """Mean absolute difference of the last axis, (..., 3) -> (...): CLIPose eqs. 9-11, the L1 of GPV-Pose.

    `beta` > 0 makes it the smooth L1, square below that difference: d² / (2 beta), and d - beta / 2 above.
    """
    return F.smooth_l1_loss(predicted, true, beta=beta, reduction="none").mean(-1)


def cosine(predicted: Tensor, true: Tensor) -> Tensor:
    """2 (1 - cos angle) of two unit directions (..., 3): GPV-Pose's second rotation term, the square of the chord."""
    return 2 * (1 - (predicted * true).sum(-1))


def skew(y_axis: Tensor, x_axis: Tensor) -> Tensor:
    """|r_y · r_x| of unit directions (..., 3): 0 where they are perpendicular (GPV-Pose)."""
    return (y_axis * x_axis).sum(-1).abs()


def confidence_target(error: Tensor) -> Tensor:
    """exp(-13.7 d²) of a direction's chord error d (GPV-Pose): 0.9 at 5°, 0.66 at 10°. Its gradient goes on to the
    direction.
    """
    return torch.exp(-13.7 * error.square())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values (B,) under weights (B,); 0 where all weights are 0."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
