"""Training losses: small pure functions, and their weighted sum. Directions are unit vectors; lengths are in network units."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class LossWeights:
    y_axis: float = 2.0
    x_axis: float = 2.0
    perpendicular: float = 0.25
    offset: float = 6.0
    size: float = 3.0
    confidence: float = 1.0
    coordinates: float = 4.0
    foreground: float = 0.25


def chord(predicted: Tensor, true: Tensor) -> Tensor:
    """Distance of two directions (..., 3) on the unit sphere: 2 sin(angle / 2), linear near zero, so that small errors keep a gradient."""
    return ((predicted - true).square().sum(-1) + 1e-8).sqrt()


def confidence_target(error: Tensor) -> Tensor:
    """exp(-13.7 d²) of a direction's chord error d (GPV-Pose): 0.9 at 5°, 0.66 at 10°."""
    return torch.exp(-13.7 * error.detach().square())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Mean of values (B,) under weights (B,); 0 where all weights are 0."""
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)


def pose_losses(output: dict[str, Tensor], truth: dict[str, Tensor], weights: LossWeights = LossWeights()) -> dict[str, Tensor]:
    """Every term, already weighted, and their sum as "total".

    truth: y_axis, x_axis (B, 3) view frame; x_weight (B,): 0 for axis-symmetric objects, small where nothing visible tells x; offset (B, 3);
    scale (B,) metres per network unit; size (B, 3) [m]; coordinates (B, P, 3); foreground (B, P) float.
    """
    y_error, x_error = chord(output["y_axis"], truth["y_axis"]), chord(output["x_axis"], truth["x_axis"])
    xw = truth["x_weight"]
    asymmetric = (xw > 0).float()
    confidence = output["confidence"]
    coordinate_error = F.smooth_l1_loss(output["coordinates"], truth["coordinates"], beta=0.05, reduction="none").sum(-1)
    terms = {
        "y_axis": weights.y_axis * y_error.mean(),
        "x_axis": weights.x_axis * weighted_mean(x_error, xw),
        "perpendicular": weights.perpendicular * weighted_mean((output["y_axis"] * output["x_axis"]).sum(-1).abs(), asymmetric),
        "offset": weights.offset * ((output["offset"] - truth["offset"]).square().sum(-1) + 1e-8).sqrt().mean(),
        "size": weights.size * ((output["size"] - truth["size"]).abs().sum(-1) / truth["scale"]).mean(),
        # Squared, so that a confidence is the *expected* target; the papers' L1 gives its median: 0 wherever more than half fail.
        "confidence": weights.confidence
        * (
            (confidence[:, 0] - confidence_target(y_error)).square().mean()
            + weighted_mean((confidence[:, 1] - confidence_target(x_error)).square(), asymmetric)
        ),
        "coordinates": weights.coordinates * (coordinate_error * truth["foreground"]).sum() / truth["foreground"].sum().clamp(min=1),
        "foreground": weights.foreground * F.binary_cross_entropy_with_logits(output["foreground"], truth["foreground"]),
    }
    terms["total"] = torch.stack(list(terms.values())).sum()
    return terms
