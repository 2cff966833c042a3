"""The point encoder of HS-Pose, the modified 3D-GCN that CLIPose builds on.

It has five graph layers on three levels of the cloud: a cloud of N points becomes features at N, N / 4 and N / 16
points. A layer looks at the nearest points in *feature* space and weighs them by the direction in which they lie
(RF-F), adds what the whole cloud says (ORL) and a shortcut of its input (STE).

What differs from the published code, and why:

- Pooling keeps every fourth point instead of a random quarter, so the same cloud always gives the same output. The
  cloud is in raster order, so every fourth point covers the silhouette more evenly than a random quarter does.
- A point is taken out of its own neighbours by its index. The published code drops the nearest one, which is another
  point wherever a point occurs twice; and clouds of small objects are full of such points.
- The search in feature space sees the place of a point, too. Next to the features that weighs little, but pooling gives
  the same features to points at different places, in clouds of few distinct points, and which of them counts as near
  must not depend on how a machine rounds.
- Of the neighbour searches only the seven different ones are done: in space once a level, in feature space once a
  layer. None needs a gradient.
- Of the responses to all neighbours only the strongest is kept in memory: one support after the other, as a whole they
  are 1.8 GB for 24 clouds.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.optimisation.precision import exact, unlowered

POOLING = 4  # points that become one, and neighbours that it hears
# points whose responses to one support are held at a time in inference: they stay in the cache, a whole level's do not
BLOCK = 256


@dataclass(frozen=True)
class HSEncoderConfig:
    """Widths and neighbourhoods. The defaults are those of HS-Pose and CLIPose.

    Parameters
    ----------
    points : int
        Of a cloud.
    neighbours : int, optional
        That a layer looks at, at most an eighth of a level's points. By default 20, of the plain 3D-GCN 10.
    supports : int
        Directions that a channel knows.
    channels : tuple of 5 int
        Of the layers: the first two on all points, the next two on every 4th, the last on every 16th.
    aggregate : "mean" or "sum", optional
        Of the responses to the supports. By default the mean, of the plain 3D-GCN the sum.
    hybrid : bool
        False leaves out RF-F, ORL and STE: the plain 3D-GCN of GPV-Pose (CLIPose, table VII).
    """

    points: int = 1024
    neighbours: int | None = None
    supports: int = 7
    channels: tuple[int, int, int, int, int] = (128, 128, 256, 256, 512)
    aggregate: Literal["mean", "sum"] | None = None
    hybrid: bool = True

    def __post_init__(self) -> None:
        if self.points < 128 or self.points % POOLING**2:
            raise ValueError(f"points: expected a multiple of {POOLING**2}, at least 128, got {self.points}")
        if self.nearest < POOLING:
            raise ValueError(f"neighbours: expected at least {POOLING}, got {self.neighbours}")
        if self.supports < 1:
            raise ValueError(f"supports: expected at least 1, got {self.supports}")
        if len(self.channels) != 5 or min(self.channels) < 1:
            raise ValueError(f"channels: expected five positive widths, got {self.channels}")
        if self.aggregate not in ("mean", "sum", None):
            raise ValueError(f"aggregate: expected mean or sum, got {self.aggregate}")

    @property
    def nearest(self) -> int:
        """Points that a layer looks at, at most."""
        return self.neighbours if self.neighbours is not None else 20 if self.hybrid else 10

    @property
    def averages(self) -> bool:
        """Whether the responses to the supports are averaged; else they are summed."""
        return self.hybrid if self.aggregate is None else self.aggregate == "mean"


class Pyramid(NamedTuple):
    """Features of a cloud on levels of falling resolution.

    Attributes
    ----------
    features : tuple of (B, n, C) float32
        By level, the finest first; that one has all N points.
    parents : tuple of (B, N) int64
        For each coarser level the index of its point nearest to each of the N points: `rows(features[i], parents[i -
        1])` is the level at full resolution.
    """

    features: tuple[Tensor, ...]
    parents: tuple[Tensor, ...]


def rows(values: Tensor, index: Tensor) -> Tensor:
    """Take rows by index, as whole rows: far faster than `gather` in ONNX Runtime.

    Parameters
    ----------
    values : (B, n, C) float
        Rows of each cloud.
    index : (B, ...) int64
        Into n.

    Returns
    -------
    (B, ..., C) float
        The rows.
    """
    batch, count, width = values.shape
    start = torch.arange(batch, device=index.device) * count
    flat = (index.flatten(1) + start[:, None]).flatten()
    return values.reshape(batch * count, width).index_select(0, flat).reshape(*index.shape, width)


def distance_order(queries: Tensor, points: Tensor) -> Tensor:
    """Compute squared distances less a constant of each query, which does not change their order. No gradient.

    It is always in single precision: half of it could not tell the neighbours of a dense cloud apart.

    Parameters
    ----------
    queries : (B, m, C) float
        From where.
    points : (B, n, C) float
        To where.

    Returns
    -------
    (B, m, n) float32
        In order of the distances, query by query.
    """
    queries, points = queries.detach().float(), points.detach().float()
    with exact(queries):
        return points.square().sum(-1)[:, None] - 2 * queries @ points.transpose(1, 2)


def neighbours(points: Tensor, count: int) -> Tensor:
    """Find the nearest other points of each.

    Parameters
    ----------
    points : (B, n, C) float
        Points or features.
    count : int
        How many.

    Returns
    -------
    (B, n, count) int64
        Their indices, nearest first.
    """
    found = distance_order(points, points).topk(count + 1, dim=-1, largest=False).indices
    itself = found == torch.arange(points.shape[1], device=points.device)[:, None]
    passed = itself[..., :count].cumsum(-1) > 0  # from the point itself on, the next one takes the place
    return torch.where(passed, found[..., 1:], found[..., :count])


def directions(points: Tensor, index: Tensor) -> Tensor:
    """Point from points to others.

    Parameters
    ----------
    points : (B, n, 3) float
        All.
    index : (B, n, K) int64
        Of the others.

    Returns
    -------
    (B, n, K, 3) float
        Unit. Zero towards a point at the same place.
    """
    return F.normalize(rows(points, index) - points[:, :, None], dim=-1)


class PointNorm(nn.Module):
    """Batch normalisation of the last of (..., C): over all points of all clouds.

    Parameters
    ----------
    width : int
        C.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise.

        Parameters
        ----------
        x : (..., C) float
            Features.

        Returns
        -------
        (..., C) float
            Normalised.
        """
        n = self.norm
        if self.training:
            return n(x.flatten(0, -2)).reshape(x.shape)
        gain = n.weight * (n.running_var + n.eps).rsqrt()  # constants: ONNX Runtime folds them
        return x * gain + (n.bias - n.running_mean * gain)


class SurfaceConvolution(nn.Module):
    """3D-GCN's surface layer: the directions in which the neighbours lie.

    f = aggregate over supports s of max over neighbours k of ReLU(d_k · w_s), all vectors unit.

    Parameters
    ----------
    config : HSEncoderConfig
        Supports and aggregation.
    width : int
        Channels.
    """

    def __init__(self, config: HSEncoderConfig, width: int) -> None:
        super().__init__()
        self.mean = config.averages
        bound = 1 / math.sqrt(config.supports * width)
        self.supports = nn.Parameter(torch.empty(config.supports, 3, width).uniform_(-bound, bound))

    def forward(self, towards: Tensor) -> Tensor:
        """Respond.

        Parameters
        ----------
        towards : (B, n, K, 3) float
            Unit, to the neighbours.

        Returns
        -------
        (B, n, C) float
            Features.
        """
        blocks = towards.split(BLOCK, dim=1)
        strongest = [
            torch.cat([(block @ support).amax(2) for block in blocks], dim=1).relu()
            for support in F.normalize(self.supports, dim=1)
        ]
        total = torch.stack(strongest).sum(0)
        return total / len(strongest) if self.mean else total


class Convolution(nn.Module):
    """3D-GCN's graph convolution.

    f'_i = f_i W_0 + b_0 + aggregate over supports s of max over neighbours k of ReLU(d_ik · w_s) (f_k W_s + b_s), all
    of them (C,).

    Parameters
    ----------
    config : HSEncoderConfig
        Supports and aggregation.
    width_in, width_out : int
        Channels.
    """

    def __init__(self, config: HSEncoderConfig, width_in: int, width_out: int) -> None:
        super().__init__()
        self.count, self.mean = config.supports, config.averages
        bound = 1 / math.sqrt((config.supports + 1) * width_out)
        self.project = nn.Linear(width_in, (config.supports + 1) * width_out)
        self.supports = nn.Parameter(torch.empty(config.supports, 3, width_out))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def forward(self, features: Tensor, index: Tensor, towards: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        features : (B, n, C_in) float
            Of the points.
        index : (B, n, K) int64
            Of the neighbours.
        towards : (B, n, K, 3) float
            Unit, to the neighbours.

        Returns
        -------
        (B, n, C_out) float
            Features.
        """
        centre, *values = self.project(features).chunk(self.count + 1, dim=-1)
        strongest = [
            self.strongest(v, support, index, towards)
            for v, support in zip(values, F.normalize(self.supports, dim=1), strict=True)
        ]
        total = torch.stack(strongest).sum(0)
        return centre + (total / self.count if self.mean else total)

    def strongest(self, values: Tensor, support: Tensor, index: Tensor, towards: Tensor) -> Tensor:
        """Compute max over neighbours of ReLU(cosine) · value for one support.

        In training the winner is found without a record for the backward pass and then computed again with one, which
        is the same function with the same gradient: a maximum passes its gradient to the winner alone.

        Parameters
        ----------
        values : (B, n, C) float
            Of the points, for this support.
        support : (3, C) float
            Unit.
        index : (B, n, K) int64
            Of the neighbours.
        towards : (B, n, K, 3) float
            Unit, to the neighbours.

        Returns
        -------
        (B, n, C) float
            Responses.
        """
        if not self.training:
            blocks = zip(index.split(BLOCK, dim=1), towards.split(BLOCK, dim=1), strict=True)
            return torch.cat([((t @ support).relu() * rows(values, i)).amax(2) for i, t in blocks], dim=1)
        with torch.no_grad():
            winner = ((towards @ support).relu() * rows(values, index)).argmax(2)  # (B, n, C)
        value = values.gather(1, index.gather(2, winner))
        direction = towards.gather(2, winner[..., None].expand(-1, -1, -1, 3))  # (B, n, C, 3)
        return (direction * support.t()).sum(-1).relu() * value


class GlobalContext(nn.Module):
    """ORL: a residual from each feature and the mean over the cloud of the strongest nearby features.

    Parameters
    ----------
    width : int
        Channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        bound = 1 / math.sqrt(2 * width)
        self.weight = nn.Parameter(torch.empty(width, 2 * width).uniform_(-bound, bound))

    def forward(self, features: Tensor, near: Tensor) -> Tensor:
        """Add the residual.

        Parameters
        ----------
        features : (B, n, C) float
            Of the points.
        near : (B, n, K) int64
            Neighbours in space.

        Returns
        -------
        (B, n, C) float
            Features.
        """
        context = rows(features, near).amax(2).mean(1)
        own, shared = self.weight.chunk(2, dim=1)  # [f, g] W = f W_f + g W_g, and g is the same for all points
        return features + F.linear(features, own) + F.linear(context, shared)[:, None]


class HSSurface(nn.Module):
    """The first layer.

    Parameters
    ----------
    config : HSEncoderConfig
        Of the encoder.
    width : int
        Channels.
    """

    def __init__(self, config: HSEncoderConfig, width: int) -> None:
        super().__init__()
        self.convolution = SurfaceConvolution(config, width)
        self.context = GlobalContext(width) if config.hybrid else None
        self.shortcut = nn.Linear(3, width, bias=False) if config.hybrid else None

    def forward(self, points: Tensor, near: Tensor) -> Tensor:
        """Make features of points.

        Parameters
        ----------
        points : (B, n, 3) float
            Network frame [scale].
        near : (B, n, K) int64
            Neighbours in space.

        Returns
        -------
        (B, n, C) float
            Features.
        """
        features = self.convolution(directions(points, near))
        return features if self.context is None else self.context(features, near) + self.shortcut(points)


class HSLayer(nn.Module):
    """A further layer.

    Parameters
    ----------
    config : HSEncoderConfig
        Of the encoder.
    width_in, width_out : int
        Channels.
    """

    def __init__(self, config: HSEncoderConfig, width_in: int, width_out: int) -> None:
        super().__init__()
        self.convolution = Convolution(config, width_in, width_out)
        self.context = GlobalContext(width_out) if config.hybrid else None
        self.shortcut = nn.Linear(width_in, width_out, bias=False) if config.hybrid else None

    def forward(self, features: Tensor, points: Tensor, near: Tensor) -> Tensor:
        """Make features of features.

        Parameters
        ----------
        features : (B, n, C_in) float
            Of the points.
        points : (B, n, 3) float
            Network frame [scale].
        near : (B, n, K) int64
            Neighbours in space.

        Returns
        -------
        (B, n, C_out) float
            Features.
        """
        if self.context is None:
            return self.convolution(features, near, directions(points, near))
        index = neighbours(torch.cat([features, points], dim=-1), near.shape[-1])
        convolved = self.convolution(features, index, directions(points, index))
        return self.context(convolved, near) + self.shortcut(features)


class HSEncoder(nn.Module):
    """Points to a pyramid of three levels: channels 0 + 1, 2 + 3 and 4 of the configuration, 1280 in all.

    Parameters
    ----------
    config : HSEncoderConfig
        Widths and neighbourhoods.
    """

    def __init__(self, config: HSEncoderConfig = HSEncoderConfig()) -> None:
        super().__init__()
        self.config = config
        c = config.channels
        self.surface = HSSurface(config, c[0])
        self.layers = nn.ModuleList(HSLayer(config, a, b) for a, b in zip(c, c[1:]))
        self.norms = nn.ModuleList(PointNorm(width) for width in c[1:4])

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each level."""
        c = self.config.channels
        return c[0] + c[1], c[2] + c[3], c[4]

    def near(self, points: Tensor) -> Tensor:
        """Find the neighbours in space of a level.

        Parameters
        ----------
        points : (B, n, 3) float
            Of the level [scale].

        Returns
        -------
        (B, n, K) int64
            Nearest first.
        """
        return neighbours(points, min(self.config.nearest, points.shape[1] // 8))

    def forward(self, points: Tensor) -> Pyramid:
        """Encode clouds, out of autocast: rounded features would have other neighbours (`optimisation.precision`).

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale], in raster order.

        Returns
        -------
        Pyramid
            Of features.
        """
        with unlowered(points):
            return self.encoded(points)

    def encoded(self, points: Tensor) -> Pyramid:
        """Encode clouds in whatever precision holds.

        Parameters
        ----------
        points : (B, N, 3) float32
            As for `forward`.

        Returns
        -------
        Pyramid
            Of features.
        """
        layers, norms = self.layers, self.norms
        near = self.near(points)
        f0 = self.surface(points, near).relu()
        f1 = norms[0](layers[0](f0, points, near)).relu()

        middle, pooled = pool(points, f1, near)
        near = self.near(middle)
        f2 = norms[1](layers[1](pooled, middle, near)).relu()
        f3 = norms[2](layers[2](f2, middle, near)).relu()

        coarse, pooled = pool(middle, f3, near)
        f4 = layers[3](pooled, coarse, self.near(coarse))

        parents = tuple(distance_order(points, level).argmin(-1) for level in (middle, coarse))
        return Pyramid((torch.cat([f0, f1], dim=-1), torch.cat([f2, f3], dim=-1), f4), parents)


def pool(points: Tensor, features: Tensor, near: Tensor) -> tuple[Tensor, Tensor]:
    """Keep every fourth point, with the strongest features of its four neighbours.

    Parameters
    ----------
    points : (B, n, 3) float
        Of a level.
    features : (B, n, C) float
        Of its points.
    near : (B, n, K) int64
        Neighbours in space, nearest first.

    Returns
    -------
    points : (B, n / 4, 3) float
        That are kept.
    features : (B, n / 4, C) float
        Of them.
    """
    return points[:, ::POOLING], rows(features, near[:, ::POOLING, :POOLING]).amax(2)
