"""Terms of predicted surfaces: Chamfer distances for a completion decoder, and distances within predicted object
coordinates.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nearest(source: Tensor, target: Tensor, chunk: int = 256) -> Tensor:
    """Index (B, S) of the point of target (B, T, 3) that is nearest to each of source (B, S, 3); B x chunk x T
    distances at a time, no gradient.
    """
    with torch.no_grad():
        exact = "donot_use_mm_for_euclid_dist"  # the product form loses close points to rounding, all the more in TF32
        return torch.cat(
            [torch.cdist(part, target, compute_mode=exact).argmin(-1) for part in source.split(chunk, dim=1)], dim=1
        )


def one_sided_chamfer(source: Tensor, target: Tensor, chunk: int = 256) -> Tensor:
    """Mean distance (B,) of the points of source (B, S, 3) from the nearest of target (B, T, 3), in their unit;
    gradients flow into both.
    """
    index = nearest(source, target, chunk)
    closest = target.gather(1, index[..., None].expand(-1, -1, 3))
    return ((source - closest).square().sum(-1) + 1e-8).sqrt().mean(1)


def chamfer(first: Tensor, second: Tensor, chunk: int = 256) -> Tensor:
    """Symmetric Chamfer distance (B,): the sum of both one-sided ones.

    One side alone rewards a decoder that draws a part of the surface.
    """
    return one_sided_chamfer(first, second, chunk) + one_sided_chamfer(second, first, chunk)


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
