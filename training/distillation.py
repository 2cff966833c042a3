"""Learning from a teacher: what the frozen, larger network says about the same clouds, as further targets."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from training.losses import chord, weighted_mean


@dataclass(frozen=True)
class DistillationWeights:
    """Weight of each term, where a teacher is given. 0 leaves it out.

    Parameters
    ----------
    y_axis, x_axis : float
        Directions.
    offset : float
        Centre of the box.
    size : float
        Extents of the box.
    coordinates : float
        Object coordinates of common points.
    """

    y_axis: float = 1.0
    x_axis: float = 1.0
    offset: float = 3.0
    size: float = 1.5
    coordinates: float = 2.0


def frozen(teacher: nn.Module) -> nn.Module:
    """Freeze a teacher, which still gives what a network gives in training alone.

    It has no gradients, no dropout and no batch statistics of its own.

    Parameters
    ----------
    teacher : nn.Module
        Changed in place.

    Returns
    -------
    nn.Module
        The same.
    """
    teacher = teacher.requires_grad_(False).eval()
    # of the outermost module alone: that one decides on the outputs, its parts on how they compute
    teacher.training = True
    return teacher


def distillation_losses(
    output: dict[str, Tensor], taught: dict[str, Tensor], truth: dict[str, Tensor], weights: DistillationWeights
) -> dict[str, Tensor]:
    """Pull the output to the teacher's, in the units of `losses.pose_losses`, so that weights compare.

    Coordinates are compared where both networks give them, at the centres that both have.

    Parameters
    ----------
    output, taught : dict of Tensor
        What the network and its teacher say.
    truth : dict of Tensor
        scale (B,); x_weight (B,), 0 where the x axis means nothing and the teacher's is arbitrary; foreground (B, P),
        as for `losses.pose_losses`.
    weights : DistillationWeights
        Of the terms.

    Returns
    -------
    dict of Tensor
        The terms, weighted.

    Raises
    ------
    ValueError
        When neither network's centres are among those of the other.
    """
    terms = {}
    if weights.y_axis > 0:
        terms["taught_y_axis"] = weights.y_axis * chord(output["y_axis"], taught["y_axis"]).mean()
    if weights.x_axis > 0:
        terms["taught_x_axis"] = weights.x_axis * weighted_mean(
            chord(output["x_axis"], taught["x_axis"]), truth["x_weight"]
        )
    if weights.offset > 0:
        terms["taught_offset"] = weights.offset * chord(output["offset"], taught["offset"]).mean()
    if weights.size > 0:
        terms["taught_size"] = weights.size * ((output["size"] - taught["size"]).abs().sum(-1) / truth["scale"]).mean()
    if weights.coordinates > 0 and {"coordinates"} <= output.keys() & taught.keys():
        own, other = common_centres(output["coordinates"], taught["coordinates"])
        foreground, _ = common_centres(truth["foreground"], own)
        error = F.smooth_l1_loss(own, other, beta=0.05, reduction="none").sum(-1)
        terms["taught_coordinates"] = weights.coordinates * (error * foreground).sum() / foreground.sum().clamp(min=1)
    return terms


def common_centres(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Pick the entries that belong to the same points: centres are every N/P-th and N/Q-th point of the cloud.

    Parameters
    ----------
    first : (B, P, ...) Tensor
        Of one network.
    second : (B, Q, ...) Tensor
        Of the other.

    Returns
    -------
    first, second : (B, min(P, Q), ...) Tensor
        At common points.

    Raises
    ------
    ValueError
        Where P is neither a multiple nor a divisor of Q.
    """
    p, q = first.shape[1], second.shape[1]
    if max(p, q) % min(p, q):
        raise ValueError(f"patches of the teacher: expected a multiple or a divisor of {p}, got {q}")
    return first[:, :: max(1, p // q)], second[:, :: max(1, q // p)]
