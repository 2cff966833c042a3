"""Keypoints that a network finds in each cloud itself, and what it says about them (AG-Pose, whose names differ).

A learned query for each keypoint looks at the points and becomes the instance's own. Where it is most like a point's
feature, there is its keypoint: a mean of the points under these weights. Keypoints then gather what is near them, and
say their object coordinates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipose_ros.core.categories import CATEGORIES
from training.networks.hs_encoder import PointNorm, rows
from training.networks.pointnet2 import squared_distances
from training.optimisation.precision import ExactLinear, exact

SHARPNESS = 10.0  # of the heatmap: one over its temperature
NEIGHBOUR_TEMPERATURE = 5.0


class Attention(nn.Module):
    """Multi-head attention of tokens to others, or to one another.

    Parameters
    ----------
    width, heads : int
        Of the tokens; a divisor of that.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        nn.init.xavier_uniform_(self.qkv.weight)
        for layer in (self.qkv, self.proj):
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, source: Tensor, which: Tensor | None = None) -> Tensor:
        """Attend. The products run on one long matrix: so they take the bias along, which those of (B, T, C) do not.

        Parameters
        ----------
        x : (B, T, C) float
            Tokens that ask.
        source : (B, S, C) float
            Tokens that are asked; (G, S, C) of groups, where `which` says which.
        which : (B,) int64, optional
            Group of each.

        Returns
        -------
        (B, T, C) float
            The answers.
        """
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        q, k, v = (
            F.linear(of.flatten(0, 1), weight, bias).view(-1, of.shape[1], self.heads, of.shape[2] // self.heads)
            for of, (weight, bias) in zip((x, source, source), parts, strict=True)
        )
        if which is not None:  # after the products, of which there are as many as groups
            k, v = k.index_select(0, which), v.index_select(0, which)
        share = (q.transpose(1, 2) @ k.permute(0, 2, 3, 1) * q.shape[-1] ** -0.5).softmax(-1)
        return self.proj((share @ v.transpose(1, 2)).transpose(1, 2).reshape(-1, x.shape[-1])).view(x.shape)


class AttentionLayer(nn.Module):
    """Tokens look at others (where there are), then at one another, and think: pre-norm, with residuals.

    Parameters
    ----------
    width, heads, hidden : int
        Of the tokens, of the attention, and of the layer between.
    crosses : bool
        Whether they look at others first.
    """

    def __init__(self, width: int, heads: int, hidden: int, crosses: bool) -> None:
        super().__init__()
        self.cross_norm = nn.LayerNorm(width) if crosses else None
        self.cross = Attention(width, heads) if crosses else None
        self.norm1, self.own = nn.LayerNorm(width), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, others: Tensor | None = None, which: Tensor | None = None) -> Tensor:
        """Run the layer.

        Parameters
        ----------
        x : (B, T, C) float
            Tokens.
        others : (B, S, C) or (G, S, C) float, optional
            What they look at, where the layer crosses.
        which : (B,) int64, optional
            Group of each, where the others are those of groups.

        Returns
        -------
        (B, T, C) float
            Tokens.
        """
        if self.cross is not None:
            x = x + self.cross(self.cross_norm(x), others, which)
        h = self.norm1(x)
        x = x + self.own(h, h)
        return x + self.mlp(self.norm2(x).flatten(0, 1)).view(x.shape)


def attention_layers(count: int, width: int, heads: int, hidden: int, crosses: bool) -> nn.ModuleList:
    """Make layers of one kind.

    Parameters
    ----------
    count, width, heads, hidden : int
        Of layers; and as for `AttentionLayer`.
    crosses : bool
        As for `AttentionLayer`.

    Returns
    -------
    nn.ModuleList
        The layers.
    """
    return nn.ModuleList(AttentionLayer(width, heads, hidden, crosses) for _ in range(count))


def attention_matrices(module: nn.Module) -> dict[int, list[nn.Parameter]]:
    """Give the weight matrices of all attention layers within a module, for Muon.

    Parameters
    ----------
    module : nn.Module
        With `AttentionLayer`s.

    Returns
    -------
    dict of list of nn.Parameter
        By the number of matrices that each stacks.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, AttentionLayer)]
    matrices = [(name, p) for layer in layers for name, p in layer.named_parameters() if p.ndim == 2]
    return {
        3: [p for name, p in matrices if "qkv" in name],
        1: [p for name, p in matrices if "qkv" not in name],
    }


class KeypointDetector(nn.Module):
    """Queries to heatmaps over the points of a cloud (AG-Pose's instance-adaptive keypoint detector).

    Parameters
    ----------
    keypoints, width, layers, heads, hidden : int
        Numbers of keypoints and of layers, and widths.
    """

    def __init__(self, keypoints: int, width: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(keypoints, width))
        nn.init.xavier_normal_(self.queries)
        self.layers = attention_layers(layers, width, heads, hidden, crosses=True)

    def forward(self, features: Tensor, whole: Tensor | None = None) -> Tensor:
        """Find the keypoints.

        Parameters
        ----------
        features : (B, N, C) float
            Of the points.
        whole : (B, C) float, optional
            Of the object, added to the queries.

        Returns
        -------
        (B, K, N) float32
            The share of each point in each keypoint.
        """
        queries = self.queries.expand(features.shape[0], -1, -1)
        if whole is not None:
            queries = queries + whole[:, None]
        for layer in self.layers:
            queries = layer(queries, features)
        with exact(features):
            alike = F.normalize(queries.float(), dim=-1) @ F.normalize(features.float(), dim=-1).transpose(1, 2)
            return (SHARPNESS * alike).softmax(-1)


def place_layers(width: int) -> nn.Sequential:
    """Make the layers that describe a place or an offset.

    Parameters
    ----------
    width : int
        Of the description.

    Returns
    -------
    nn.Sequential
        For (..., 3).
    """
    return nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, width))


class Aggregation(nn.Module):
    """Tell keypoints what is near them, and how they lie to one another (AG-Pose's geometric-aware aggregation).

    Parameters
    ----------
    width : int
        Of the features.
    neighbours : int
        Points near each keypoint.
    """

    def __init__(self, width: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.ask = nn.Sequential(nn.Linear(width, width), PointNorm(width), nn.ReLU(), nn.Linear(width, width))
        self.offset, self.between, self.place = (place_layers(width) for _ in range(3))
        self.near = nn.Sequential(nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, width))
        self.fuse = nn.Sequential(
            *(nn.Linear(3 * width, width), PointNorm(width), nn.ReLU()),
            *(nn.Linear(width, width), PointNorm(width), nn.ReLU()),
        )
        self.out = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, features: Tensor, keypoints: Tensor, of_points: Tensor, points: Tensor) -> Tensor:
        """Gather.

        Parameters
        ----------
        features : (B, K, C) float
            Of the keypoints.
        keypoints : (B, K, 3) float32
            In any unit. No gradient goes to them.
        of_points : (B, N, C) float
            Features of the points.
        points : (B, N, 3) float32
            In that unit.

        Returns
        -------
        (B, K, C) float
            Features of the keypoints.
        """
        nearest = squared_distances(keypoints, points).topk(self.neighbours, dim=-1, largest=False).indices
        offsets = self.offset(keypoints[:, :, None] - rows(points, nearest))
        near = self.near(torch.cat([rows(of_points, nearest).to(offsets.dtype), offsets], dim=-1))
        alike = F.cosine_similarity(self.ask(features).float()[:, :, None], near.float(), dim=-1)
        share = (alike / NEIGHBOUR_TEMPERATURE).softmax(-1)
        features = F.relu((share[..., None] * near).sum(2) + features)
        between = self.between(keypoints[:, :, None] - keypoints[:, None]).mean(2)
        whole = features.mean(1, keepdim=True).expand_as(features)
        parts = [features, whole, (self.place(keypoints) + between).to(features.dtype)]
        features = F.relu(self.fuse(torch.cat(parts, dim=-1)) + features)
        return F.relu(features + self.out(features))


class CoordinateHead(nn.Module):
    """Object coordinates of keypoints: the expectation over bins, of each category its own.

    Parameters
    ----------
    width, layers, heads, hidden, bins : int
        Of features, attention and bins.
    """

    def __init__(self, width: int, layers: int, heads: int, hidden: int, bins: int) -> None:
        super().__init__()
        wide = 2 * width
        self.mlp = nn.Sequential(
            *(nn.Linear(width, wide), PointNorm(wide), nn.ReLU()),
            *(nn.Linear(wide, wide), PointNorm(wide), nn.ReLU()),
            *(nn.Linear(wide, width), PointNorm(width)),
        )
        self.layers = attention_layers(layers, width, heads, hidden, crosses=False)
        last = ExactLinear(wide, len(CATEGORIES) * 3 * bins)
        self.bins = nn.Sequential(nn.Linear(width, wide), nn.ReLU(), nn.Linear(wide, wide), nn.ReLU(), last)
        self.register_buffer("centres", (torch.arange(bins) + 0.5) / bins - 0.5, persistent=False)

    def forward(self, features: Tensor, category: Tensor) -> Tensor:
        """Say the coordinates.

        Parameters
        ----------
        features : (B, K, C) float
            Of the keypoints.
        category : (B,) int64
            Index into CATEGORIES.

        Returns
        -------
        (B, K, 3) float32
            Object frame, in units of the diagonal of the object's box.
        """
        features = self.mlp(features)
        for layer in self.layers:
            features = layer(features)
        said = self.bins(features).unflatten(-1, (len(CATEGORIES), 3, -1)).movedim(2, 1)  # (B, categories, K, 3, bins)
        of_category = rows(said.flatten(2), category[:, None])[:, 0].view(said.shape[0], *said.shape[2:])
        return (of_category.softmax(-1) * self.centres).sum(-1)


class Reconstructor(nn.Module):
    """What the object looks like about its keypoints, for a loss of training alone.

    Parameters
    ----------
    width : int
        Of the features.
    each : int
        Points about each keypoint.
    """

    def __init__(self, width: int, each: int) -> None:
        super().__init__()

        def layers(*widths: int) -> nn.Sequential:
            pairs = zip(widths, widths[1:], strict=False)
            return nn.Sequential(*[layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())][:-1])

        self.place, self.feature = layers(3, 64, 128, width), layers(width, width, width)
        self.decode: Callable[[Tensor], Tensor] = layers(2 * width, 512, 512, 3 * each)

    def forward(self, keypoints: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """Rebuild.

        Parameters
        ----------
        keypoints : (B, K, 3) float32
            Of each object [m].
        features : (B, K, C) float
            Of the keypoints.

        Returns
        -------
        rebuilt : (B, K each, 3) float32
            Points of the object [m].
        offsets : (B, K each, 3) float32
            Of them from their keypoints [m].
        """
        features = self.feature(features)
        whole = (self.place(keypoints) + features).mean(1, keepdim=True).expand_as(features)
        offsets = self.decode(torch.cat([whole, features], dim=-1)).float().unflatten(-1, (-1, 3))
        return (keypoints[:, :, None] + offsets).flatten(1, 2), offsets.flatten(1, 2)
