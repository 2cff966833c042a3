"""Terms that hold points against the pose: projections, point matching, reconstruction, and predicted coordinates.

Points are in the network frame [scale]; terms of clouds are (B,), a mean over points in metres, as CLIPose and GPV-Pose
weigh them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from training.categories import among
from training.losses.directions import absolute

MIRRORED = frozenset({"laptop", "mug"})  # in the plane z = 0 of their frame


def object_points(points: Tensor, offset: Tensor, rotation: Tensor) -> Tensor:
    """Bring points into the object frame: Rᵀ (p - t).

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    offset : (B, 3) float
        Centre [scale].
    rotation : (B, 3, 3) float
        R_network_object.

    Returns
    -------
    (B, N, 3) float
        Object frame [scale].
    """
    return (points - offset[:, None]) @ rotation


def projection_loss(points: Tensor, offset: Tensor, axis: Tensor, coordinate: Tensor, scale: Tensor) -> Tensor:
    """Compute |(p - t̂) · r̂ - q| (GPV-Pose, weight 1).

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    offset : (B, 3) float
        Predicted centre t̂ [scale].
    axis : (B, 3) float
        Predicted direction r̂.
    coordinate : (B, N) float
        q, the true object coordinate along it [scale].
    scale : (B,) float
        Metres per network unit.

    Returns
    -------
    (B,) float
        [m].
    """
    along = torch.einsum("bni,bi->bn", points - offset[:, None], axis)
    return (along - coordinate).abs().mean(1) * scale


def point_matching_loss(points: Tensor, offset: Tensor, rotation: Tensor, canonical: Tensor, scale: Tensor) -> Tensor:
    """Compare R̂ᵀ (p - t̂) with the true canonical points by L1 (GPV-Pose, weight 2).

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    offset : (B, 3) float
        Predicted centre [scale].
    rotation : (B, 3, 3) float
        Predicted R_network_object.
    canonical : (B, N, 3) float
        Rᵀ (p - t) [scale].
    scale : (B,) float
        Metres per network unit.

    Returns
    -------
    (B,) float
        [m].
    """
    return absolute(object_points(points, offset, rotation), canonical).mean(1) * scale


def counterpart(points: Tensor, y_axis: Tensor, z_axis: Tensor, offset: Tensor, category: Tensor) -> Tensor:
    """Put points where the object's symmetry puts them, t + M (p - t): ε of CLIPose eq. 13.

    M = 2 y yᵀ - 1 turns bottles, bowls and cans by 180° about y; M = 1 - 2 z zᵀ mirrors laptops and mugs; M = 1 leaves
    cameras.

    Parameters
    ----------
    points : (B, N, 3) float
        Network frame [scale].
    y_axis, z_axis : (B, 3) float
        Unit, of the true or the predicted pose.
    offset : (B, 3) float
        Its centre [scale].
    category : (B,) int64
        Index into CATEGORIES.

    Returns
    -------
    (B, N, 3) float
        Network frame [scale].
    """
    identity = torch.eye(3, dtype=points.dtype, device=points.device)
    turn = 2 * y_axis[:, :, None] * y_axis[:, None] - identity
    mirror = identity - 2 * z_axis[:, :, None] * z_axis[:, None]
    symmetry = torch.where(among(category, *MIRRORED)[:, None, None], mirror, identity)
    symmetry = torch.where(among(category, *AXIS_SYMMETRIC)[:, None, None], turn, symmetry)
    return offset[:, None] + (points - offset[:, None]) @ symmetry  # symmetric matrices: M = Mᵀ


def mirror_known(category: Tensor, x_weight: Tensor) -> Tensor:
    """Say whether something tells the mirror plane.

    Parameters
    ----------
    category : (B,) int64
        Index into CATEGORIES.
    x_weight : (B,) float
        Of the x axis.

    Returns
    -------
    (B,) bool
        False for mugs without a visible handle, whose weight is below 1.
    """
    return ~among(category, *MIRRORED) | (x_weight >= 1)


def has_counterpart(category: Tensor) -> Tensor:
    """Say whether the reconstruction says something about the pose.

    Parameters
    ----------
    category : (B,) int64
        Index into CATEGORIES.

    Returns
    -------
    (B,) bool
        False for cameras.
    """
    return among(category, *AXIS_SYMMETRIC, *MIRRORED)


def reconstruction_loss(reconstruction: Tensor, target: Tensor, scale: Tensor) -> Tensor:
    """Compute ‖P' - ε‖₁ of reconstructed points and a `counterpart` of the cloud (weight 1 in GPV-Pose).

    With the counterpart under the true pose it is CLIPose eq. 13. Under the predicted pose it ties the pose to the
    reconstruction.

    Parameters
    ----------
    reconstruction : (B, N, 3) float
        P', network frame [scale].
    target : (B, N, 3) float
        ε, network frame [scale].
    scale : (B,) float
        Metres per network unit.

    Returns
    -------
    (B,) float
        [m].
    """
    return absolute(reconstruction, target).mean(1) * scale


def coordinate_distance_loss(coordinates: Tensor, true: Tensor, weights: Tensor, partners: int = 32) -> Tensor:
    """Compare distances within predicted coordinates, | ‖q̂_i - q̂_j‖ - ‖q_i - q_j‖ |: a rigid motion keeps them.

    Each point meets those `partners` places or fewer down the list, at even steps: all pairs up to P = 2 partners + 1,
    linear in P beyond.

    Parameters
    ----------
    coordinates, true : (B, P, 3) float
        Predicted and true object coordinates [scale].
    weights : (B, P) float
        Of a point, 0 for background. A pair weighs their product.
    partners : int
        Of each point, at most.

    Returns
    -------
    () float
        Weighted mean over the batch's pairs [scale].
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
