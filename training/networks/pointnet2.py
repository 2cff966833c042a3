"""PointNet++ with several scales (Qi et al. 2017), as AG-Pose and CleanPose use it, in plain torch.

What differs from the published code: centres begin with the first point and are the farthest of *all* others, where its
CUDA kernel passes over points within 3.2 cm of the origin (meant for padding at zero, of which there is none here).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from training.networks.hs_encoder import PointNorm, rows

SAMPLES = (16, 32)  # points in a ball, on the two scales of a level
LEVELS = 4


@dataclass(frozen=True)
class PointNetConfig:
    """Size of the encoder. The defaults are CleanPose's.

    Parameters
    ----------
    points : int
        Of a cloud.
    levels : tuple of 4 int
        Centres on each level, fewer on each.
    radii_m : tuple of 4 (float, float)
        Of the balls on the two scales of each level [m].
    widths : tuple of 4 int
        Of the first two layers of each scale; the third has twice that.
    propagation : tuple of 4 int
        Widths on the way back, the one at the points first.
    """

    points: int = 1024
    levels: tuple[int, int, int, int] = (512, 256, 128, 64)
    radii_m: tuple[tuple[float, float], ...] = ((0.01, 0.02), (0.02, 0.04), (0.04, 0.08), (0.08, 0.16))
    widths: tuple[int, int, int, int] = (16, 32, 64, 128)
    propagation: tuple[int, int, int, int] = (128, 256, 256, 512)

    def __post_init__(self) -> None:
        for name in ("levels", "radii_m", "widths", "propagation"):
            if len(getattr(self, name)) != LEVELS:
                raise ValueError(f"{name}: expected {LEVELS} entries, got {len(getattr(self, name))}")
        falling = all(more > fewer for more, fewer in zip((self.points, *self.levels), self.levels, strict=False))
        if not falling or self.levels[-1] < 3:
            raise ValueError(f"levels: expected ever fewer than points {self.points}, 3 or more, got {self.levels}")


def farthest_points(points: Tensor, count: int) -> Tensor:
    """Choose points one by one, each the farthest from those before. The first is the first.

    The chosen are in the order of choice: so the first of them are what a smaller `count` chooses, and what is chosen
    out of them in turn.

    Parameters
    ----------
    points : (B, N, 3) float32
        In any unit.
    count : int
        How many.

    Returns
    -------
    (B, count) int64
        Indices into N.
    """
    planes = [plane.contiguous() for plane in points.unbind(-1)]
    nearest = torch.full_like(planes[0], torch.inf)
    last = torch.zeros(len(points), 1, dtype=torch.int64, device=points.device)
    chosen = []
    for _ in range(count):
        chosen.append(last)
        nearest = torch.minimum(nearest, sum((plane - plane.gather(1, last)).square() for plane in planes))
        last = nearest.argmax(1, keepdim=True)
    return torch.cat(chosen, dim=1)


@torch.library.custom_op("clipose::farthest_points", mutates_args=())
def chosen_farthest(points: Tensor, count: int) -> Tensor:
    """Choose points as `farthest_points` does, as one operator.

    Whoever traces a network (`torch.export`) sees this operator instead of its hundreds of steps, which a file in ONNX
    has as a loop (`training.onnx_operators`).

    Parameters
    ----------
    points : (B, N, 3) float32
        In any unit.
    count : int
        How many.

    Returns
    -------
    (B, count) int64
        Indices into N.
    """
    return farthest_points(points, count)


@chosen_farthest.register_fake
def _shape_of_chosen(points: Tensor, count: int) -> Tensor:
    return points.new_empty((points.shape[0], count), dtype=torch.int64)


FARTHEST_POINTS = torch.ops.clipose.farthest_points.default  # as a traced network has the operator


def squared_distances(centres: Tensor, points: Tensor) -> Tensor:
    """Compute squared distances, in full.

    Parameters
    ----------
    centres : (B, M, 3) float32
        In any unit.
    points : (B, N, 3) float32
        In the same one.

    Returns
    -------
    (B, M, N) float32
        Of each pair.
    """
    return sum((centres[:, :, None, axis] - points[:, None, :, axis]).square() for axis in range(3))


def ball_neighbours(distances: Tensor, radius: float, count: int) -> Tensor:
    """Find the first points, in their order, within a radius; the first of them again where there are fewer.

    Parameters
    ----------
    distances : (B, M, N) float32
        Squared. Each centre is a point, too.
    radius : float
        Of the ball.
    count : int
        How many.

    Returns
    -------
    (B, M, count) int64
        Indices into N.
    """
    total = distances.shape[-1]
    index = torch.arange(total, device=distances.device, dtype=torch.int32)
    inside = torch.where(distances < radius**2, index, total)
    found = inside.topk(min(count, total), dim=-1, largest=False, sorted=True).values.long()
    return torch.where(found < total, found, found[..., :1])


def shared_layers(*widths: int) -> nn.Sequential:
    """Make layers with batch normalisation and ReLU for the last of (..., C).

    Parameters
    ----------
    *widths : int
        Of the input and of each layer.

    Returns
    -------
    nn.Sequential
        The layers.
    """
    layers: list[nn.Module] = []
    for width_in, width_out in zip(widths, widths[1:], strict=False):
        layers += [nn.Linear(width_in, width_out, bias=False), PointNorm(width_out), nn.ReLU()]
    return nn.Sequential(*layers)


class PointNet2(nn.Module):
    """Points to a feature of each.

    Parameters
    ----------
    config : PointNetConfig
        Its size.
    """

    def __init__(self, config: PointNetConfig = PointNetConfig()) -> None:
        super().__init__()
        self.config = config
        before = (0, *(4 * width for width in config.widths))  # of the features on each level
        self.scales = nn.ModuleList(
            nn.ModuleList(shared_layers(width_in + 3, width, width, 2 * width) for _ in SAMPLES)
            for width_in, width in zip(before, config.widths, strict=False)
        )
        coarser = (*config.propagation[1:], before[-1])
        self.propagation = nn.ModuleList(
            shared_layers(from_coarse + skipped, width, width)
            for from_coarse, skipped, width in zip(coarser, before, config.propagation, strict=False)
        )

    @property
    def width(self) -> int:
        """Of the feature of a point."""
        return self.config.propagation[0]

    def forward(self, points: Tensor) -> Tensor:
        """Compute features.

        Parameters
        ----------
        points : (B, N, 3) float32
            About their mean [m].

        Returns
        -------
        (B, N, width) float
            Of every point.
        """
        places, features = [points], [None]
        with torch.no_grad():
            chosen = chosen_farthest(points, self.config.levels[0])
        for level, scales in enumerate(self.scales):
            finer, known = places[-1], features[-1]
            centres = rows(points, chosen[:, : self.config.levels[level]])
            distances = squared_distances(centres, finer)
            pooled = []
            for layers, radius, count in zip(scales, self.config.radii_m[level], SAMPLES, strict=True):
                near = ball_neighbours(distances, radius, count)
                group = rows(finer, near) - centres[:, :, None]
                if known is not None:
                    group = torch.cat([group.to(known.dtype), rows(known, near)], dim=-1)
                pooled.append(layers(group).amax(2))
            places.append(centres)
            features.append(torch.cat(pooled, dim=-1))
        for level in reversed(range(LEVELS)):
            squared, near = squared_distances(places[level], places[level + 1]).topk(3, dim=-1, largest=False)
            # at least so far apart, not so much added: the exporter takes an addend of 1e-8 for none
            closeness = 1 / squared.sqrt().clamp(min=1e-8)
            share = (closeness / closeness.sum(-1, keepdim=True))[..., None]
            carried = (rows(features[level + 1], near) * share).sum(2)
            if features[level] is not None:
                carried = torch.cat([carried, features[level].to(carried.dtype)], dim=-1)
            features[level] = self.propagation[level](carried)
        return features[0]
