"""Learning from a teacher: what the frozen, larger network says about the same clouds, as further targets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from training.alignment.contrastive import noise_contrastive
from training.losses import chord, weighted_mean
from training.networks.pointbert import read_ulip2
from training.optimisation.checkpoint import load_network

CONTRAST_TEMPERATURE = 0.07


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
    feature : float
        L2 between the teacher's feature of the cloud and what the network makes like it (CleanPose eq. 20: α2).
    feature_contrast : float
        The same as a contrast within the batch (CleanPose, table 5c).
    """

    y_axis: float = 1.0
    x_axis: float = 1.0
    offset: float = 3.0
    size: float = 1.5
    coordinates: float = 2.0
    feature: float = 0.01
    feature_contrast: float = 0.0


def load_teacher(path: Path) -> nn.Module:
    """Read a teacher: a checkpoint of `training.train`, or ULIP-2's published PointBERT.

    Parameters
    ----------
    path : Path
        Of the file.

    Returns
    -------
    nn.Module
        Frozen.

    Raises
    ------
    ValueError
        Where it is neither.
    """
    return frozen(read_ulip2(path) or load_network(path)[0])


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

    Coordinates are compared where both networks give them, at the centres that both have; the pose where the teacher
    gives one.

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
    if "y_axis" not in taught:  # a teacher that knows shapes, but no poses
        weights = replace(weights, y_axis=0.0, x_axis=0.0, offset=0.0, size=0.0)
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
    if "distilled" in output and (weights.feature > 0 or weights.feature_contrast > 0):
        terms |= feature_losses(output["distilled"], taught, weights)
    return terms


def feature_losses(distilled: Tensor, taught: dict[str, Tensor], weights: DistillationWeights) -> dict[str, Tensor]:
    """Pull what a network makes of its feature to that of the teacher.

    Parameters
    ----------
    distilled : (B, D) float
        Of the network.
    taught : dict of Tensor
        What the teacher says.
    weights : DistillationWeights
        Of the terms.

    Returns
    -------
    dict of Tensor
        The terms, weighted.

    Raises
    ------
    ValueError
        Where the teacher gives no feature, or one of another width.
    """
    width = taught["feature"].shape[-1] if "feature" in taught else None
    if width != distilled.shape[-1]:
        raise ValueError(f"distilled.width: expected that of the teacher's feature, {width}, got {distilled.shape[-1]}")
    terms = {}
    if weights.feature > 0:
        terms["taught_feature"] = weights.feature * (distilled - taught["feature"]).norm(dim=-1).mean()
    if weights.feature_contrast > 0:
        contrast = noise_contrastive(distilled, taught["feature"], CONTRAST_TEMPERATURE)
        terms["taught_feature_contrast"] = weights.feature_contrast * contrast
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
