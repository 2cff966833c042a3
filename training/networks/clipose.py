"""CLIPose's network: the HS encoder, a head for each axis, one for translation and size, and the two dense heads that
serve training.

What differs from the paper:

- Points come in the view-aligned frame of `clipose_ros.core.normalization`, centred on their median and divided by the
  category's scale,
  where the paper takes metres less the mean. So offset and size are residuals in units of that scale: what a head must
  learn is of the same magnitude for a can and a laptop, and no head has to undo the place of the object in the image.
- The first layer of every head is applied to each level of the encoder's pyramid before the levels are brought to full
  resolution. Coarse features
  are only repeated there, so this is the same function at less than half the multiply-adds.
- Layers before a batch normalisation have no bias: it would be subtracted again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clipose_ros.core.categories import CATEGORIES, MEAN_SIZES
from training.categories import category_scales
from training.networks.hs_encoder import HSEncoder, HSEncoderConfig, PointNorm, Pyramid, rows

FACES = 6  # of the object's box: y+, x+, z+, x-, z-, y-


@dataclass(frozen=True)
class CliposeConfig:
    """The defaults are the paper's.

    hidden: widths of the pose heads' layers. dense: width of the dense heads' first layers.
    one_hot: tell the heads the category (paper, Table III, D2: it hurts). The sizes depend on it in either case.
    """

    kind: Literal["clipose"] = "clipose"
    encoder: HSEncoderConfig = field(default_factory=HSEncoderConfig)
    hidden: tuple[int, int] = (1024, 256)
    dense: int = 512
    dropout: float = 0.2
    one_hot: bool = False

    def __post_init__(self) -> None:
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"hidden: expected two positive widths, got {self.hidden}")
        if self.dense < 4:
            raise ValueError(f"dense: expected at least 4, got {self.dense}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 or more and less than 1, got {self.dropout}")

    @property
    def points(self) -> int:
        return self.encoder.points


class PyramidLinear(nn.Linear):
    """A bias-free linear layer on the concatenated levels of a pyramid at full resolution -> (B, N, C), without
    concatenating them.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, bias=False)

    def forward(self, pyramid: Pyramid) -> Tensor:
        finest, *coarser = pyramid.features
        own, *weights = self.weight.split([f.shape[-1] for f in pyramid.features], dim=1)
        result = F.linear(finest, own)
        for features, weight, parent in zip(coarser, weights, pyramid.parents, strict=True):
            result = result + rows(F.linear(features, weight), parent)
        return result


def point_layer(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width_in, width_out, bias=False), PointNorm(width_out), nn.ReLU())


def pyramid_layer(width_in: int, width_out: int) -> nn.Sequential:
    return nn.Sequential(PyramidLinear(width_in, width_out), PointNorm(width_out), nn.ReLU())


class PoseHead(nn.Module):
    """Per-point layers, maximum over the cloud, one more layer, dropout, and the output (B, out)."""

    def __init__(self, config: CliposeConfig, width_in: int, out: int) -> None:
        super().__init__()
        wide, narrow = config.hidden
        self.per_point = nn.Sequential(*pyramid_layer(width_in, wide), *point_layer(wide, narrow))
        self.whole = nn.Sequential(*point_layer(narrow, narrow), nn.Dropout(config.dropout), nn.Linear(narrow, out))

    def forward(self, pyramid: Pyramid) -> Tensor:
        return self.whole(self.per_point(pyramid).amax(1))


class DenseHeads(nn.Module):
    """What every point says, in training: where its mirror image lies, and which way and how far the faces of the box
    are (GPV-Pose).
    """

    def __init__(self, width_in: int, width_global: int, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.shared = nn.Sequential(
            *pyramid_layer(width_in, width), *point_layer(width, width), *point_layer(width, half)
        )
        self.reconstruction = nn.Sequential(*point_layer(half, quarter), nn.Linear(quarter, 3))
        self.faces = nn.Sequential(
            *point_layer(width_global + half + 3, width),
            *point_layer(width, half),
            *point_layer(half, quarter),
            nn.Linear(quarter, FACES * 5),
        )

    def forward(self, pyramid: Pyramid, points: Tensor) -> dict[str, Tensor]:
        shared = self.shared(pyramid)
        whole = pyramid.features[-1].amax(1, keepdim=True).expand(-1, points.shape[1], -1)
        faces = self.faces(torch.cat([whole, shared, points], dim=-1)).unflatten(-1, (FACES, 5))
        return {
            "reconstruction": self.reconstruction(shared),
            "face_normals": F.normalize(faces[..., :3], dim=-1),
            "face_distances": faces[..., 3],
            "face_confidences": faces[..., 4].sigmoid(),
        }


class Clipose(nn.Module):
    """Normalised cloud and category -> pose in the network frame (the interface is `training.networks.PoseNetwork`)."""

    def __init__(self, config: CliposeConfig = CliposeConfig()) -> None:
        super().__init__()
        self.config = config
        self.encoder = HSEncoder(config.encoder)
        width = sum(self.encoder.widths) + (len(CATEGORIES) if config.one_hot else 0)
        self.y_head, self.x_head = PoseHead(config, width, 4), PoseHead(config, width, 4)
        self.box_head = PoseHead(config, width + 3, 6)
        self.dense_heads = DenseHeads(width, self.encoder.widths[-1], config.dense)
        self.register_buffer("mean_sizes", torch.tensor([MEAN_SIZES[c].tolist() for c in CATEGORIES]))
        self.register_buffer("scales", category_scales())

    def forward(self, points: Tensor, category: Tensor) -> dict[str, Tensor]:
        """points (B, N, 3) float32 normalised, in raster order; category (B,) int64.

        Returns y_axis, x_axis (B, 3) unit; confidence (B, 2) in 0..1 of (y, x); offset (B, 3) [scale]; size (B, 3) [m];
        in training also reconstruction (B, N, 3) [scale, network frame], face_normals (B, N, 6, 3) unit, face_distances
        (B, N, 6) [scale], face_confidences (B, N, 6) in 0..1, faces in the order y+, x+, z+, x-, z-, y-, and feature
        (B, F), the last layer of the encoder
        averaged over its points: a linear projection of it is the average of the projected points, in whichever order
        the paper has it.
        """
        encoded = self.encoder(points)
        pyramid = encoded
        if self.config.one_hot:
            known = F.one_hot(category, len(CATEGORIES)).to(points.dtype)
            pyramid = beside(encoded, known[:, None].expand(-1, points.shape[1], -1))
        y, x, box = self.y_head(pyramid), self.x_head(pyramid), self.box_head(beside(pyramid, points))
        result = {
            "y_axis": F.normalize(y[:, 1:], dim=-1),
            "x_axis": F.normalize(x[:, 1:], dim=-1),
            "confidence": torch.sigmoid(torch.stack([y[:, 0], x[:, 0]], dim=-1)),
            "offset": box[:, :3],
            "size": (self.mean_sizes[category] + self.scales[category][:, None] * box[:, 3:]).clamp(min=0.005),
        }
        if self.training:
            result |= self.dense_heads(pyramid, points) | {"feature": encoded.features[-1].mean(1)}
        return result


def beside(pyramid: Pyramid, values: Tensor) -> Pyramid:
    """The pyramid with values (B, N, C) beside the features of its finest level."""
    finest, *coarser = pyramid.features
    return Pyramid((torch.cat([values.to(finest.dtype), finest], dim=-1), *coarser), pyramid.parents)
