"""Terms that hold the cloud against the pose: projections, point matching, and the symmetric reconstruction.

Points are in the network frame [scale]; every term is (B,), a mean over points in metres, as CLIPose and GPV-Pose weigh
it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from training.categories import among
from training.losses.directions import absolute

MIRRORED = frozenset({"laptop", "mug"})  # in the plane z = 0 of their frame


def object_points(points: Tensor, offset: Tensor, rotation: Tensor) -> Tensor:
    """Rᵀ (p - t): points (B, N, 3), offset (B, 3) and R_network_object (B, 3, 3) -> object frame (B, N, 3) [scale]."""
    return (points - offset[:, None]) @ rotation


def projection_loss(points: Tensor, offset: Tensor, axis: Tensor, coordinate: Tensor, scale: Tensor) -> Tensor:
    """|(p - t̂) · r̂ - q| for a direction r̂ (B, 3), q (B, N) the true object-frame coordinate along it (GPV-Pose,
    weight 1).
    """
    along = torch.einsum("bni,bi->bn", points - offset[:, None], axis)
    return (along - coordinate).abs().mean(1) * scale


def point_matching_loss(points: Tensor, offset: Tensor, rotation: Tensor, canonical: Tensor, scale: Tensor) -> Tensor:
    """L1 of R̂ᵀ (p - t̂) and the true canonical points (B, N, 3), Rᵀ (p - t) (GPV-Pose, weight 2)."""
    return absolute(object_points(points, offset, rotation), canonical).mean(1) * scale


def counterpart(points: Tensor, y_axis: Tensor, z_axis: Tensor, offset: Tensor, category: Tensor) -> Tensor:
    """ε of CLIPose eq. 13: the points where the object's symmetry puts them, t + M (p - t).

    M = 2 y yᵀ - 1 turns bottles, bowls and cans by 180° about y; M = 1 - 2 z zᵀ mirrors laptops and mugs; M = 1 leaves
    cameras.

    Parameters: points (B, N, 3); unit y_axis, z_axis (B, 3) and offset (B, 3) of the pose, true or predicted; category
    (B,).
    """
    identity = torch.eye(3, dtype=points.dtype, device=points.device)
    turn = 2 * y_axis[:, :, None] * y_axis[:, None] - identity
    mirror = identity - 2 * z_axis[:, :, None] * z_axis[:, None]
    symmetry = torch.where(among(category, *MIRRORED)[:, None, None], mirror, identity)
    symmetry = torch.where(among(category, *AXIS_SYMMETRIC)[:, None, None], turn, symmetry)
    return offset[:, None] + (points - offset[:, None]) @ symmetry  # symmetric matrices: M = Mᵀ


def mirror_known(category: Tensor, x_weight: Tensor) -> Tensor:
    """False for mugs without a visible handle, x_weight (B,) < 1: nothing tells their mirror plane. (B,) bool."""
    return ~among(category, *MIRRORED) | (x_weight >= 1)


def has_counterpart(category: Tensor) -> Tensor:
    """False for cameras, whose reconstruction says nothing about the pose. (B,) bool."""
    return among(category, *AXIS_SYMMETRIC, *MIRRORED)


def reconstruction_loss(reconstruction: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """‖P' - ε‖₁ [m] of reconstructed points (B, N, 3) and a `counterpart` of the cloud (weight 1 in GPV-Pose).

    With the counterpart under the true pose it is CLIPose eq. 13; under the predicted pose it ties the pose to the
    reconstruction.
    """
    return absolute(reconstruction, target).mean(1) * scale


def coordinate_distance_loss(coordinates: Tensor, true: Tensor, weights: Tensor, partners: int = 32) -> Tensor:
    """| ‖q̂_i - q̂_j‖ - ‖q_i - q_j‖ | over pairs of object coordinates (B, P, 3): a rigid motion keeps them, whatever
    the pose.

    Each point meets those `partners` places or fewer down the list, at even steps: all pairs up to P = 2 partners + 1,
    linear in P beyond. weights (B, P): of a point, 0 for background; a pair weighs their product. Returns: weighted
    mean over the batch's pairs, ().
    """
    count = coordinates.shape[1]
    half = count // 2
    steps = torch.arange(1, half + 1, device=coordinates.device)
    steps = steps[:: -(-half // partners)] if half > partners else steps
    other = (torch.arange(count, device=coordinates.device) + steps[:, None]) % count  # (S, P)

    def distances(points: Tensor) -> Tensor:
        return ((points[:, None] - points[:, other]).square().sum(-1) + 1e-8).sqrt()

    pair = weights[:, None] * weights[:, other]
    return ((distances(coordinates) - distances(true)).abs() * pair).sum() / pair.sum().clamp(min=1)
