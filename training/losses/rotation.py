"""The rotation that two predicted directions stand for, with gradients: torch twin of `clipose_ros.core.decoding`."""

from __future__ import annotations

import torch
from torch import Tensor


def unit(vectors: Tensor) -> Tensor:
    """Bring vectors to length 1.

    Parameters
    ----------
    vectors : (..., 3) float
        Of any length.

    Returns
    -------
    (..., 3) float
        Shorter ones than about 1e-4 shrink to zero instead, so that no gradient is infinite.
    """
    return vectors / (vectors.square().sum(-1, keepdim=True) + 1e-8).sqrt()


def calibrated_rotation(y_axis: Tensor, x_axis: Tensor, confidence: Tensor) -> Tensor:
    """Find the rotation closest to two directions, the surer one turned less (CLIPose eqs. 7-8).

    With w = unit(x - (x·y) y), the direction in their plane that is perpendicular to y, and φ = c_x / (c_x + c_y) (θ -
    π/2), y turns to cos φ y + sin φ w and x to cos φ w - sin φ y. No acos, and no axis of rotation that is lost where y
    and x are perpendicular.

    Parameters
    ----------
    y_axis, x_axis : (B, 3) float
        Unit.
    confidence : (B, 2) float
        Of (y, x), at least 0, taken as given: no gradient flows into it.

    Returns
    -------
    (B, 3, 3) float
        With columns x, y, z. Where y is parallel to x the columns x and z are zero: the two span no plane.
    """
    c_y, c_x = confidence.detach().unbind(-1)
    dot = (y_axis * x_axis).sum(-1, keepdim=True)
    across = x_axis - dot * y_axis
    sine = (across.square().sum(-1, keepdim=True) + 1e-8).sqrt()
    across = across / sine
    turn = (c_x / (c_x + c_y).clamp(min=1e-6))[:, None] * -torch.atan2(dot, sine)  # θ - π/2 = -atan2(cos θ, sin θ)
    y = turn.cos() * y_axis + turn.sin() * across
    x = turn.cos() * across - turn.sin() * y_axis
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)


def predicted_rotation(
    y_axis: Tensor, x_axis: Tensor, confidence: Tensor, rotation: Tensor, x_weight: Tensor
) -> Tensor:
    """Find the calibrated rotation of a prediction.

    Where nothing tells x, the true x is lent to it with c_x = 0, and y stays as predicted (GPV-Pose). It is lent to
    axis-symmetric objects and to mugs whose handle is hidden.

    Parameters
    ----------
    y_axis, x_axis : (B, 3) float
        Predicted, unit.
    confidence : (B, 2) float
        Of (y, x).
    rotation : (B, 3, 3) float
        True R_network_object.
    x_weight : (B,) float
        Below 1 where nothing tells x.

    Returns
    -------
    (B, 3, 3) float
        R_network_object.
    """
    told = x_weight >= 1
    x_axis = torch.where(told[:, None], x_axis, rotation[:, :, 0])
    return calibrated_rotation(y_axis, x_axis, torch.stack([confidence[:, 0], confidence[:, 1] * told], dim=-1))
