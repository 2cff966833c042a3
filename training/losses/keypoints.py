"""Terms of AG-Pose and CleanPose: the pose as a whole, and the keypoints of each object. One value for each object.

Lengths are in metres, as the published weights expect.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from training.categories import among
from training.optimisation.precision import exact_product

APART_M = 0.01  # keypoints nearer to each other than this are too near
ROUND = 0.1  # below it the error of coordinates counts squared


def canonical_about_y(rotation: Tensor, category: Tensor) -> Tensor:
    """Turn axis-symmetric objects about y until the rotation is as near to none as it can be (NOCS, AG-Pose).

    Parameters
    ----------
    rotation : (B, 3, 3) float
        Of an object.
    category : (B,) int64
        Index into CATEGORIES.

    Returns
    -------
    (B, 3, 3) float
        With the same y axis; of other categories the same.
    """
    cosine, sine = rotation[:, 0, 0] + rotation[:, 2, 2], rotation[:, 0, 2] - rotation[:, 2, 0]
    length = torch.hypot(cosine, sine)
    turned = length > 1e-6  # an object upside down has no such turn
    cosine = torch.where(turned, cosine / length.clamp(min=1e-6), 1.0)
    sine = torch.where(turned, sine / length.clamp(min=1e-6), 0.0)
    zero, one = torch.zeros_like(cosine), torch.ones_like(cosine)
    about_y = torch.stack([cosine, zero, -sine, zero, one, zero, sine, zero, cosine], dim=-1).unflatten(-1, (3, 3))
    symmetric = among(category, *AXIS_SYMMETRIC)[:, None, None]
    return torch.where(symmetric, exact_product(rotation, about_y), rotation)


def columns_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Average the distances of the columns of two rotations.

    Parameters
    ----------
    predicted, true : (B, 3, 3) float
        Of objects.

    Returns
    -------
    (B,) float
        0 to 2.
    """
    return (predicted - true).norm(dim=1).mean(-1)


def chamfer_loss(keypoints: Tensor, points: Tensor, foreground: Tensor, scale: Tensor) -> Tensor:
    """Average the distances of keypoints from the nearest point of the object (equation 25).

    Parameters
    ----------
    keypoints : (B, K, 3) float
        Network frame [scale].
    points : (B, P, 3) float
        Of the cloud [scale].
    foreground : (B, P) float
        1 for points of the object.
    scale : (B,) float
        Metres per unit.

    Returns
    -------
    (B,) float
        In metres. 0 for a cloud without a point of the object.
    """
    distance, seen = _distances(keypoints, points, foreground)
    return torch.where(seen, distance.amin(2).mean(1), 0.0) * scale


def diversity_loss(keypoints: Tensor, scale: Tensor, apart_m: float = APART_M) -> Tensor:
    """Say how many pairs of keypoints are too near, and how much (equations 23-24).

    As the published code has it: a share of the distance, and a mean over the pairs. The paper writes a sum in metres.

    Parameters
    ----------
    keypoints : (B, K, 3) float
        In network units.
    scale : (B,) float
        Metres per unit.
    apart_m : float
        Pairs farther apart cost nothing [m].

    Returns
    -------
    (B,) float
        0 where all are apart, 1 where all are one.
    """
    metres = keypoints * scale[:, None, None]
    count = metres.shape[1]
    distance = _pair_distances(metres, metres)
    near = (1 - distance / apart_m).clamp(min=0) * (1 - torch.eye(count, device=metres.device))
    return near.sum((1, 2)) / max(1, count * (count - 1))


def keypoint_coordinates(keypoints: Tensor, offset: Tensor, rotation: Tensor, size: Tensor, scale: Tensor) -> Tensor:
    """Compute the true object coordinates of keypoints (equation 26): Rᵀ (p - t) / ‖s‖.

    Parameters
    ----------
    keypoints : (B, K, 3) float
        Network frame [scale].
    offset : (B, 3) float
        True centre of the box [scale].
    rotation : (B, 3, 3) float
        True R_network_object.
    size : (B, 3) float
        True extents [m].
    scale : (B,) float
        Metres per unit.

    Returns
    -------
    (B, K, 3) float
        In units of the box's diagonal.
    """
    unit = (scale / size.norm(dim=-1).clamp(min=1e-8))[:, None, None]
    return exact_product((keypoints - offset[:, None]) * unit, rotation)


def coordinate_loss(predicted: Tensor, true: Tensor) -> Tensor:
    """Compute the smooth L1 of object coordinates (equation 27), a sum over the axes.

    Parameters
    ----------
    predicted, true : (B, K, 3) float
        In units of the box's diagonal.

    Returns
    -------
    (B,) float
        Mean over the keypoints.
    """
    return F.smooth_l1_loss(predicted, true, beta=ROUND, reduction="none").sum(-1).mean(1)


def rebuilding_loss(rebuilt: Tensor, points: Tensor, foreground: Tensor, scale: Tensor) -> Tensor:
    """Compare a rebuilt object with its points: half the chamfer distance of each side.

    Parameters
    ----------
    rebuilt : (B, M, 3) float
        Network frame [scale].
    points : (B, P, 3) float
        Of the cloud [scale].
    foreground : (B, P) float
        1 for points of the object.
    scale : (B,) float
        Metres per unit.

    Returns
    -------
    (B,) float
        In metres. 0 for a cloud without a point of the object.
    """
    distance, seen = _distances(rebuilt, points, foreground)
    share = foreground / foreground.sum(1, keepdim=True).clamp(min=1)
    from_points = (distance.amin(1).nan_to_num(posinf=0.0) * share).sum(1)
    return torch.where(seen, 0.5 * distance.amin(2).mean(1) + 0.5 * from_points, 0.0) * scale


def _pair_distances(first: Tensor, second: Tensor) -> Tensor:
    """Distances (B, M, N), with a gradient of 0 where two points are the same."""
    return torch.cdist(first, second, compute_mode="donot_use_mm_for_euclid_dist")


def _distances(first: Tensor, points: Tensor, foreground: Tensor) -> tuple[Tensor, Tensor]:
    """Distances (B, M, P), infinite for what is not the object, and which clouds (B,) show it at all."""
    seen = foreground.any(1)
    hidden = (foreground <= 0) & seen[:, None]
    return _pair_distances(first, points).masked_fill(hidden[:, None], torch.inf), seen
