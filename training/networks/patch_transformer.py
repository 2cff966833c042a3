"""The compact point network: patches of raw points are the tokens of a small transformer.

The patches are gathered from the input, which needs no gradient, so the backward pass has no gather: it trains on two
CPU cores and runs in a few milliseconds. The heads are CLIPose's: a plane normal with a confidence for y and for x, the
residual of the translation and of the size. Beyond the paper there are several such rotations: where a cloud has two
likely ones (which end of a lying can is its top?), one regression would say their mean, which is neither. The one with
the greatest confidence counts. The two dense heads, object coordinates and foreground of each patch centre, serve
training alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES, MEAN_SIZES
from training.categories import category_scales
from training.optimisation.precision import ExactLinear, exact


@dataclass(frozen=True)
class PatchTransformerConfig:
    """Size of the network.

    Parameters
    ----------
    points : int
        Of a cloud.
    patches : int
        Tokens, a divisor of the points.
    neighbours : int
        Points of a patch.
    stride : int
        Every so many-th point is a candidate for the patches.
    patch_scale : float
        That a patch is expected to span [scale].
    width : int
        Of a token.
    layers, heads : int
        Of the transformer.
    expansion : int
        Of the MLP in each layer.
    ground : bool
        Whether the network is told where up is, and how high above a surface the cloud lies.
    hypotheses : int
        Rotations among which the network chooses.
    refines : bool
        Whether the clouds come in the frame of a pose, and the network is told where up and the camera are.
    """

    points: int = 1024
    patches: int = 64
    neighbours: int = 24
    stride: int = 1
    patch_scale: float = 0.2
    width: int = 128
    layers: int = 4
    heads: int = 4
    expansion: int = 2
    ground: bool = True
    hypotheses: int = 4
    refines: bool = False

    def __post_init__(self) -> None:
        if self.points % self.patches:
            raise ValueError(f"patches: expected a divisor of points {self.points}, got {self.patches}")
        if not (self.stride >= 1 and self.neighbours <= self.candidates):
            raise ValueError(
                f"neighbours: expected at most the candidates, {self.candidates} with a stride of {self.stride}, "
                f"got {self.neighbours}"
            )
        if self.refines and not self.ground:
            raise ValueError("ground: expected true for a network that refines, got false")
        if self.hypotheses < 1:
            raise ValueError(f"hypotheses: expected 1 or more, got {self.hypotheses}")

    @property
    def told(self) -> int:
        """Numbers that the network is told of surfaces and the camera."""
        return 0 if not self.ground else 9 if self.refines else 4

    @property
    def candidates(self) -> int:
        """Points that can be in patches."""
        return self.patches * -(-(self.points // self.patches) // max(self.stride, 1))


class PatchEncoder(nn.Module):
    """Points to tokens.

    Every (points / patches)-th point is a centre. Its nearest points, relative to it, are pooled.

    Parameters
    ----------
    config : PatchTransformerConfig
        Size of the network.
    """

    def __init__(self, config: PatchTransformerConfig) -> None:
        super().__init__()
        self.config = config
        # Every (N / P)-th point first: these are the centres, and as the cloud is in raster order they cover the
        # silhouette evenly. So begun, the search for the nearest has near ones early and can dismiss most of the others
        # at once: in raster order it takes ONNX Runtime 2.5 times as long.
        order = torch.arange(config.points).view(config.patches, -1)[:, :: config.stride].t().flatten()
        self.register_buffer("order", order, persistent=False)
        # narrow until pooled: it runs on every point of every patch
        self.embed = nn.Sequential(nn.Linear(6, 32), nn.ReLU(), nn.Linear(32, 64))
        self.project = nn.Linear(64, config.width)
        self.position = nn.Sequential(nn.Linear(3 + config.told, 64), nn.ReLU(), nn.Linear(64, config.width))

    def forward(self, points: Tensor, ground: Tensor) -> tuple[Tensor, Tensor]:
        """Make tokens.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale], in raster order.
        ground : (B, 4) or (B, 9) float32
            As from `clipose_ros.core.normalization`: `known_ground`, or for a network that refines `known_place`.

        Returns
        -------
        tokens : (B, P, width) float
            Of the patches.
        centres : (B, P, 3) float32
            Of the patches [scale].
        """
        c = self.config
        points = points.index_select(1, self.order)
        centres = points[:, : c.patches]  # (B, P, 3)
        # |p - c|^2 but for |c|^2, which changes no order
        with exact(points):
            distance = points.square().sum(-1)[:, None] - 2 * centres @ points.transpose(1, 2)
        nearest = distance.topk(c.neighbours, dim=-1, largest=False, sorted=False).indices
        nearest = nearest.transpose(1, 2)  # (B, K, P): all that follows runs over whole rows of P
        first = torch.arange(points.shape[0], device=points.device)[:, None, None] * c.candidates
        patch = points.flatten(0, 1).index_select(0, (nearest + first).flatten())  # (B K P, 3)
        # The first layer sees [(p - c) / patch_scale, p]: one product for all that is linear in p, one for what is
        # linear in c.
        hidden, _, pooled = self.embed
        local, absolute = hidden.weight[:, :3] / c.patch_scale, hidden.weight[:, 3:]
        with exact(points):  # the difference of two that are nearly the same
            of_patch = F.linear(patch, local + absolute, hidden.bias).view(
                -1, c.neighbours, c.patches, hidden.out_features
            )
            of_centre = F.linear(centres, local)[:, None]
        features = F.linear(F.relu(of_patch - of_centre).flatten(0, 2), pooled.weight).view(
            -1, c.neighbours, c.patches, pooled.out_features
        )
        place, *others = self.position
        at = F.linear(centres, place.weight[:, :3], place.bias)
        if c.ground:
            at = at + F.linear(ground, place.weight[:, 3:])[:, None]
        for layer in others:
            at = layer(at)
        return self.project(features.amax(1) + pooled.bias) + at, centres


class Block(nn.Module):
    """Pre-norm self-attention and MLP.

    Parameters
    ----------
    width, heads, expansion : int
        As in the configuration.
    """

    def __init__(self, width: int, heads: int, expansion: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, expansion * width), nn.GELU(), nn.Linear(expansion * width, width))

    def forward(self, x: Tensor, tokens: int) -> Tensor:
        """Run the layer on one long matrix: its products take the bias along, which those of (B, T, width) do not.

        Parameters
        ----------
        x : (B T, width) float
            Tokens of all clouds.
        tokens : int
            T, of a cloud.

        Returns
        -------
        (B T, width) float
            Tokens.
        """
        width, h = x.shape[-1] // self.heads, self.norm1(x)
        # three products, because taking one apart costs more
        parts = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3))
        # (B, heads, T, width)
        q, k, v = (
            F.linear(h, weight, bias).view(-1, tokens, self.heads, width).transpose(1, 2) for weight, bias in parts
        )
        attention = (q @ k.transpose(2, 3) * width**-0.5).softmax(-1)
        x = x + self.proj((attention @ v).transpose(1, 2).reshape(x.shape))
        return x + self.mlp(self.norm2(x))


class PoseHeads(nn.ModuleDict):
    """Heads of two linear layers for the same input, computed as one: their small products cost less together."""

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """Compute what each head says.

        Parameters
        ----------
        x : (B, D) float
            Of the clouds.

        Returns
        -------
        tuple of (B, out) float32
            In the order of the heads.
        """
        first, last = zip(*((head[0], head[-1]) for head in self.values()))
        hidden = F.gelu(
            F.linear(x, torch.cat([layer.weight for layer in first]), torch.cat([layer.bias for layer in first]))
        )
        with exact(hidden):
            weight = torch.block_diag(*(layer.weight for layer in last))
            said = F.linear(hidden.float(), weight, torch.cat([layer.bias for layer in last]))
        return said.split([layer.out_features for layer in last], dim=-1)


class PatchTransformer(nn.Module):
    """Normalised cloud and category to a pose in the network frame (the interface is `training.networks.PoseNetwork`).

    Parameters
    ----------
    config : PatchTransformerConfig
        Size of the network.
    """

    def __init__(self, config: PatchTransformerConfig = PatchTransformerConfig()) -> None:
        super().__init__()
        self.config = config
        self.also = ("ground",) if config.ground else ()
        width = config.width
        self.encoder = PatchEncoder(config)
        self.category = nn.Embedding(len(CATEGORIES), width)
        self.blocks = nn.ModuleList(Block(width, config.heads, config.expansion) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)
        axes = 4 * config.hypotheses  # a confidence and a direction for each
        self.pose_heads = PoseHeads(
            {
                name: nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, out))
                for name, out in {"y": axes, "x": axes, "offset": 3, "size": 3}.items()
            }
        )
        self.dense_head = ExactLinear(width, 4)
        self.register_buffer("mean_sizes", torch.tensor([MEAN_SIZES[c].tolist() for c in CATEGORIES]))
        self.register_buffer("scales", category_scales())
        symmetric = torch.tensor([c in AXIS_SYMMETRIC for c in CATEGORIES])
        self.register_buffer("symmetric", symmetric, persistent=False)
        nn.init.normal_(self.category.weight, std=0.5)

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Give the weight matrices of the blocks, for Muon.

        Returns
        -------
        dict of list of nn.Parameter
            By the number of matrices that each stacks: query, key and value are one parameter.
        """
        matrices = {name: p for name, p in self.blocks.named_parameters() if p.ndim == 2}
        return {
            3: [p for name, p in matrices.items() if "qkv" in name],
            1: [p for name, p in matrices.items() if "qkv" not in name],
        }

    def forward(self, points: Tensor, category: Tensor, ground: Tensor | None = None) -> dict[str, Tensor]:
        """Estimate poses.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale], in raster order.
        category : (B,) int64
            Index into CATEGORIES.
        ground : (B, 4) or (B, 9) float32, optional
            As from `clipose_ros.core.normalization`: `known_ground`, or for a network that refines `known_place`.
            Without it, nothing is known.

        Returns
        -------
        dict of Tensor
            As `PoseNetwork` says, in training also centres (B, P, 3) [scale], of the K hypotheses y_axes, x_axes
            (B, K, 3) and confidences (B, K, 2), and feature (B, 2 width), of the whole cloud.
        """
        x, centres = self.encoded(points, category, ground)
        return self.said(self.pooled(x), category) | (self.dense(x, centres) if self.training else {})

    def encoded(
        self, points: Tensor, category: Tensor, ground: Tensor | None, beside: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Run all layers but the heads.

        Parameters
        ----------
        points, category, ground : Tensor
            As for `forward`.
        beside : (B, P, width) float, optional
            What is known of the patches beside their points, added to their tokens.

        Returns
        -------
        tokens : (B, 1 + P, width) float
            The category's first, then those of the patches.
        centres : (B, P, 3) float32
            Of the patches [scale].
        """
        if ground is None:
            ground = points.new_zeros(
                points.shape[0], max(self.config.told, 4)
            )  # not len(): the batch stays free in an export
        tokens, centres = self.encoder(points, ground)
        if beside is not None:
            tokens = tokens + beside.to(tokens.dtype)
        x = torch.cat([self.category(category)[:, None], tokens], dim=1)
        length = x.shape[1]
        x = x.flatten(0, 1)
        for block in self.blocks:
            x = block(x, length)
        return self.norm(x).view(-1, length, self.config.width), centres

    def pooled(self, tokens: Tensor) -> Tensor:
        """Make one feature of a cloud.

        Parameters
        ----------
        tokens : (B, 1 + P, width) float
            As `encoded` gives them.

        Returns
        -------
        (B, 2 width) float
            The category's token, and the mean of the others.
        """
        return torch.cat([tokens[:, 0], tokens[:, 1:].mean(1)], dim=-1)

    def said(self, pooled: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Run the heads of the pose.

        Parameters
        ----------
        pooled : (B, 2 width) float
            Of the clouds.
        category : (B,) int64
            Index into CATEGORIES.

        Returns
        -------
        dict of Tensor
            As `forward` gives them, but for the dense ones.
        """
        y, xr, offset, size = self.pose_heads(pooled)
        y, xr = (said.unflatten(-1, (self.config.hypotheses, 4)) for said in (y, xr))
        y_axes, x_axes = F.normalize(y[..., 1:], dim=-1), F.normalize(xr[..., 1:], dim=-1)
        confidences = torch.sigmoid(torch.cat([y[..., :1], xr[..., :1]], dim=-1))
        y_axis, x_axis, confidence = y_axes[:, 0], x_axes[:, 0], confidences[:, 0]
        if self.config.hypotheses > 1:
            trust = confidences[..., 0] * torch.where(self.symmetric[category][:, None], 1.0, confidences[..., 1])
            best = trust.argmax(1)[:, None, None]
            y_axis, x_axis, confidence = (
                of_all.gather(1, best.expand(-1, -1, of_all.shape[-1]))[:, 0]
                for of_all in (y_axes, x_axes, confidences)
            )
        result = {
            "y_axis": y_axis,
            "x_axis": x_axis,
            "confidence": confidence,
            "offset": offset,
            "size": (self.mean_sizes[category] + self.scales[category][:, None] * size).clamp(min=0.005),
        }
        if self.training:
            result |= {"y_axes": y_axes, "x_axes": x_axes, "confidences": confidences, "feature": pooled}
        return result

    def dense(self, tokens: Tensor, centres: Tensor) -> dict[str, Tensor]:
        """Run the heads of the patches, for training.

        Parameters
        ----------
        tokens, centres : Tensor
            As `encoded` gives them.

        Returns
        -------
        dict of Tensor
            centres, coordinates and foreground.
        """
        dense = self.dense_head(tokens[:, 1:])
        return {"centres": centres, "coordinates": dense[..., :3], "foreground": dense[..., 3]}
