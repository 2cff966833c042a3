"""ULIP-2's PointBERT as a teacher: a frozen transformer over patches of a cloud, and the reader of its weights.

The weights are not part of this project: `pretrained_models_ckpt_zero-sho_classification_pointbert_ULIP-2.pt`, from the
authors of ULIP-2, has what is needed under `state_dict`. Its feature of a cloud has 768 numbers: the class token, and
the maximum of the others.
"""

from __future__ import annotations

import re
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from training.categories import category_scales
from training.networks.hs_encoder import PointNorm, rows
from training.networks.pointnet2 import farthest_points, squared_distances

ENCODER = "point_encoder."  # of the names in the published file
RENAMED = (
    (r"^encoder\.(first|second)_conv\.1\.", r"\1.1.norm."),
    (r"^encoder\.(first|second)_conv\.", r"\1."),
    (r"^blocks\.blocks\.", "blocks."),
    (r"\.attn\.", "."),
    (r"\.mlp\.fc([12])\.", r".fc\1."),
)


@dataclass(frozen=True)
class PointBertConfig:
    """Size of the network. The defaults are those of the published weights that CleanPose takes.

    Parameters
    ----------
    width, layers, heads : int
        Of the transformer.
    patches, neighbours : int
        Of the cloud.
    patch_width : int
        Of a patch's feature.
    """

    width: int = 384
    layers: int = 12
    heads: int = 6
    patches: int = 512
    neighbours: int = 32
    patch_width: int = 256


class PointBertBlock(nn.Module):
    """Pre-norm self-attention without biases of query, key and value, and MLP.

    Parameters
    ----------
    width, heads : int
        Of the tokens; a divisor of that.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layer.

        Parameters
        ----------
        x : (B, T, width) float
            Tokens.

        Returns
        -------
        (B, T, width) float
            Tokens.
        """
        parts = self.qkv(self.norm1(x)).chunk(3, dim=-1)
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        x = x + self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x))))


class PointBert(nn.Module):
    """Normalised cloud and category to a feature, for `training.distillation`.

    Parameters
    ----------
    config : PointBertConfig
        Its size.
    """

    def __init__(self, config: PointBertConfig = PointBertConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.also: tuple[str, ...] = ()
        self.first = nn.Sequential(nn.Linear(3, 128), PointNorm(128), nn.ReLU(), nn.Linear(128, 256))
        self.second = nn.Sequential(nn.Linear(512, 512), PointNorm(512), nn.ReLU(), nn.Linear(512, c.patch_width))
        self.reduce_dim = nn.Linear(c.patch_width, c.width)
        self.cls_token, self.cls_pos = (nn.Parameter(torch.randn(1, 1, c.width)) for _ in range(2))
        self.pos_embed = nn.Sequential(nn.Linear(3, 128), nn.GELU(), nn.Linear(128, c.width))
        self.blocks = nn.ModuleList(PointBertBlock(c.width, c.heads) for _ in range(c.layers))
        self.norm = nn.LayerNorm(c.width)
        self.register_buffer("scales", category_scales(), persistent=False)

    def forward(self, points: Tensor, category: Tensor) -> dict[str, Tensor]:
        """Describe clouds.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale]. The network sees them about their mean, in metres, as in CleanPose's training.
        category : (B,) int64
            Index into CATEGORIES.

        Returns
        -------
        dict of Tensor
            feature (B, 2 width).
        """
        metres = points * self.scales[category][:, None, None]
        return {"feature": self.described(metres - metres.mean(1, keepdim=True))}

    def described(self, points: Tensor) -> Tensor:
        """Describe clouds about their mean.

        Parameters
        ----------
        points : (B, N, 3) float32
            In metres.

        Returns
        -------
        (B, 2 width) float
            Of each.
        """
        centres = rows(points, farthest_points(points, self.config.patches))
        near = squared_distances(centres, points).topk(self.config.neighbours, dim=-1, largest=False).indices
        each = self.first(rows(points, near) - centres[:, :, None])
        whole = each.amax(2, keepdim=True).expand_as(each)
        patches = self.reduce_dim(self.second(torch.cat([whole, each], dim=-1)).amax(2))
        count = len(points)
        x = torch.cat([self.cls_token.expand(count, -1, -1), patches], dim=1)
        place = torch.cat([self.cls_pos.expand(count, -1, -1), self.pos_embed(centres)], dim=1)
        for block in self.blocks:
            x = block(x + place)
        x = self.norm(x)
        return torch.cat([x[:, 0], x[:, 1:].amax(1)], dim=-1)


def renamed(published: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give the weights of the point encoder the names that they have here.

    Parameters
    ----------
    published : mapping of str to Tensor
        `state_dict` of ULIP-2's file, with or without `module.` before each name.

    Returns
    -------
    dict of Tensor
        For `PointBert`; without the towers of images and texts.
    """
    weights = {}
    for name, value in published.items():
        name = name.removeprefix("module.")
        if not name.startswith(ENCODER):
            continue
        name = name.removeprefix(ENCODER)
        if name.startswith("encoder.") and value.ndim == 3:  # a convolution of one point
            value = value.squeeze(-1)
        for pattern, name_here in RENAMED:
            name = re.sub(pattern, name_here, name)
        weights[name] = value
    return weights


def is_ulip2(saved: Any) -> bool:
    """Say whether what a file holds is ULIP-2's.

    Parameters
    ----------
    saved : object
        As torch reads it.

    Returns
    -------
    bool
        Whether it has the weights of a point encoder.
    """
    state = saved.get("state_dict") if isinstance(saved, dict) else None
    return isinstance(state, dict) and any(name.removeprefix("module.").startswith(ENCODER) for name in state)


def read_ulip2(path: Path, config: PointBertConfig = PointBertConfig()) -> PointBert | None:
    """Read ULIP-2's published PointBERT. Nothing in the file is executed.

    Parameters
    ----------
    path : Path
        Of the file.
    config : PointBertConfig
        Size of its network.

    Returns
    -------
    PointBert or None
        With its weights. None where the file is not ULIP-2's.

    Raises
    ------
    ValueError
        Where it is ULIP-2's, but of another network.
    """
    try:
        with torch.serialization.safe_globals([Namespace]):  # its file keeps the arguments of its training
            saved = torch.load(path, weights_only=True, map_location="cpu")
    except Exception:  # whatever keeps torch from reading it is said by who reads checkpoints
        return None
    if not is_ulip2(saved):
        return None
    network = PointBert(config)
    try:
        network.load_state_dict(renamed(saved["state_dict"]))
    except RuntimeError as error:
        raise ValueError(
            f"{path}: expected ULIP-2's PointBERT of {config.layers} layers on points without colour, got another: "
            f"{str(error).splitlines()[-1].strip()}"
        ) from error
    return network
