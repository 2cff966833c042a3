"""Terms of the two predicted directions and of their confidences, one value for each object."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def chord(predicted: Tensor, true: Tensor) -> Tensor:
    """Measure the distance of two directions on the unit sphere: 2 sin(angle / 2).

    It is linear near zero, so that small errors keep a gradient.

    Parameters
    ----------
    predicted, true : (..., 3) float
        Unit.

    Returns
    -------
    (...) float
        0 to 2.
    """
    return ((predicted - true).square().sum(-1) + 1e-8).sqrt()


def absolute(predicted: Tensor, true: Tensor, beta: float = 0.0) -> Tensor:
    """Average the absolute difference over the last axis: the L1 of CLIPose eqs. 9-11 and GPV-Pose.

    Parameters
    ----------
    predicted, true : (..., D) float
        In any unit.
    beta : float
        Above 0 it is the smooth L1, square below that difference: d² / (2 beta), and d - beta / 2 above.

    Returns
    -------
    (...) float
        In that unit.
    """
    return F.smooth_l1_loss(predicted, true, beta=beta, reduction="none").mean(-1)


def cosine(predicted: Tensor, true: Tensor) -> Tensor:
    """Compute 2 (1 - cos angle), GPV-Pose's second rotation term and the square of the chord.

    Parameters
    ----------
    predicted, true : (..., 3) float
        Unit.

    Returns
    -------
    (...) float
        0 to 4.
    """
    return 2 * (1 - (predicted * true).sum(-1))


def skew(y_axis: Tensor, x_axis: Tensor) -> Tensor:
    """Compute |r_y · r_x|, which is 0 where the two are perpendicular (GPV-Pose).

    Parameters
    ----------
    y_axis, x_axis : (..., 3) float
        Unit.

    Returns
    -------
    (...) float
        0 to 1.
    """
    return (y_axis * x_axis).sum(-1).abs()


def confidence_target(error: Tensor) -> Tensor:
    """Compute the confidence that a direction deserves: exp(-13.7 d²), 0.9 at 5° and 0.66 at 10° (GPV-Pose).

    The gradient goes on to the direction; detach the error where it shall not.

    Parameters
    ----------
    error : (...) float
        Chord d.

    Returns
    -------
    (...) float
        0 to 1.
    """
    return torch.exp(-13.7 * error.square())


def weighted_mean(values: Tensor, weights: Tensor) -> Tensor:
    """Average under weights.

    Parameters
    ----------
    values, weights : (B,) float
        Of the objects.

    Returns
    -------
    () float
        0 where all weights are 0.
    """
    return (values * weights).sum() / weights.sum().clamp(min=1e-6)
