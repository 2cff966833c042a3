"""Feature fusion (CLIPose, table VI): the cloud's features together with those of an image or a text, before the heads.

The paper tries eight ways, finds all worse than the alignment and keeps none. One row of the table is one
configuration of `FusionConfig`; it says where the paper leaves something open.

| ID | Major | Specific | manner | feature |
|---|---|---|---|---|
| 0 | – | – | none | – |
| 1 | concat | before pooling | concat_before | image |
| 2 | concat | after pooling | concat_after | text |
| 3, 4 | cross-attention | cloud as Q | points_query | image, text |
| 5, 6 | cross-attention | cloud as K, V | points_key | image, text |
| 7 | transformer encoder | plus | encoder_plus | image |
| 8 | transformer encoder | concat | encoder_concat | text |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

Manner = Literal[
    "none", "concat_before", "concat_after", "points_query", "points_key", "encoder_plus", "encoder_concat"
]
ATTENTION = ("points_query", "points_key", "encoder_plus", "encoder_concat")
EXPANSION = 4  # of the encoder's MLP, as in the paper's [37]


@dataclass(frozen=True)
class FusionConfig:
    """Whether and how a second feature joins the cloud's.

    The second feature is the pooled one of CLIP's tower after its projection, one vector for each object, as the paper
    calls it. So the attention with the cloud as Q has one key, and its output is the same for every point.

    Parameters
    ----------
    manner : str
        Where the two meet. "none": they do not.
    feature : "image" or "text"
        Whose. The text is that of inference, of the category alone: one with the true pose would tell the answer.
    width : int
        Of the second feature: CLIP's ViT-B/16 projects to 512.
    """

    manner: Manner = "none"
    feature: Literal["image", "text"] = "image"
    width: int = 512

    def __post_init__(self) -> None:
        if self.manner not in ("none", "concat_before", "concat_after", *ATTENTION):
            raise ValueError(f"manner: expected none or a manner of table VI, got {self.manner}")
        if self.width < 1:
            raise ValueError(f"width: expected a positive number, got {self.width}")


class CrossAttention(nn.Module):
    """softmax(Q Kᵀ / √d) V of two sets of tokens (equation 16), one head.

    Parameters
    ----------
    query_width, key_width : int
        Of the tokens that ask and of those that are asked.
    width : int
        d, and that of the output.
    """

    def __init__(self, query_width: int, key_width: int, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(query_width, width)
        self.key, self.value = nn.Linear(key_width, width), nn.Linear(key_width, width)

    def forward(self, asking: Tensor, asked: Tensor) -> Tensor:
        """Gather from the asked tokens what concerns the asking ones.

        Parameters
        ----------
        asking : (B, Q, D) float32
            Become Q.
        asked : (B, K, E) float32
            Become K and V.

        Returns
        -------
        (B, Q, width) float32
            One token for each that asks.
        """
        query, key = self.query(asking), self.key(asked)
        weights = (query @ key.transpose(1, 2) * query.shape[-1] ** -0.5).softmax(-1)
        return weights @ self.value(asked)


class AttentionFusion(nn.Module):
    """The manners of table VI that replace the per-point features, by attention.

    Parameters
    ----------
    config : FusionConfig
        One of `ATTENTION`.
    width : int
        Of the per-point features, in and out.
    """

    def __init__(self, config: FusionConfig, width: int) -> None:
        super().__init__()
        self.manner = config.manner
        asked = (config.width, width) if config.manner == "points_key" else (width, config.width)
        self.attention = CrossAttention(*asked, width)
        if config.manner in ("encoder_plus", "encoder_concat"):
            self.skip = nn.Linear(2 * width, width) if config.manner == "encoder_concat" else None
            self.norms = nn.ModuleList([nn.LayerNorm(width), nn.LayerNorm(width)])
            self.mlp = nn.Sequential(
                nn.Linear(width, EXPANSION * width), nn.ReLU(), nn.Linear(EXPANSION * width, width)
            )

    def forward(self, features: Tensor, other: Tensor) -> Tensor:
        """Fuse.

        Parameters
        ----------
        features : (B, N, width) float32
            Of the points.
        other : (B, D) float32
            Of the image or the text.

        Returns
        -------
        (B, N, width) float32
            Fused features. With the cloud as K and V one vector, at every point.
        """
        other = other[:, None]
        if self.manner == "points_key":
            return self.attention(other, features).expand_as(features)
        attended = self.attention(features, other)
        if self.manner == "points_query":
            return attended
        skipped = features + attended if self.skip is None else self.skip(torch.cat([features, attended], dim=-1))
        features = self.norms[0](skipped)
        return self.norms[1](features + self.mlp(features))
