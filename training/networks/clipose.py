"""CLIPose's network: the HS encoder, heads for the axes and for translation and size, and two dense heads for training.

What differs from the paper:

- Points come in the view-aligned frame of `clipose_ros.core.normalization`, centred on their median and divided by the
  category's scale, where the paper takes metres less the mean. So offset and size are residuals in units of that scale:
  what a head must learn is of the same magnitude for a can and a laptop, and no head has to undo the place of the
  object in the image.
- The first layer of every head is applied to each level of the encoder's pyramid before the levels are brought to full
  resolution. Coarse features are only repeated there, so this is the same function at less than half the multiply-adds.
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
from training.networks.fusion import ATTENTION, AttentionFusion, FusionConfig
from training.networks.hs_encoder import HSEncoder, HSEncoderConfig, PointNorm, Pyramid, rows
from training.optimisation.precision import ExactLinear

FACES = 6  # of the object's box: y+, x+, z+, x-, z-, y-


@dataclass(frozen=True)
class CliposeConfig:
    """Widths and options of the network. The defaults are the paper's.

    Parameters
    ----------
    kind : "clipose"
        Tells the configuration from others.
    encoder : HSEncoderConfig
        Of the points.
    hidden : (int, int)
        Widths of the pose heads' layers.
    dense : int
        Width of the dense heads' first layers.
    dropout : float
        Share in the pose heads.
    one_hot : bool
        Tell the heads the category (paper, table III, D2: it hurts). The sizes depend on it in either case.
    fusion : FusionConfig
        Let a feature of CLIP join the cloud's (paper, table VI: it hurts, too).
    """

    kind: Literal["clipose"] = "clipose"
    encoder: HSEncoderConfig = field(default_factory=HSEncoderConfig)
    hidden: tuple[int, int] = (1024, 256)
    dense: int = 512
    dropout: float = 0.2
    one_hot: bool = False
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"hidden: expected two positive widths, got {self.hidden}")
        if self.dense < 4:
            raise ValueError(f"dense: expected at least 4, got {self.dense}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout: expected 0 or more and less than 1, got {self.dropout}")

    @property
    def points(self) -> int:
        """Points of a cloud."""
        return self.encoder.points


class PyramidLinear(nn.Linear):
    """A bias-free linear layer on the concatenated levels of a pyramid at full resolution, without concatenating them.

    Parameters
    ----------
    width_in, width_out : int
        Channels of all levels together, and of the result.
    """

    def __init__(self, width_in: int, width_out: int) -> None:
        super().__init__(width_in, width_out, bias=False)

    def forward(self, pyramid: Pyramid) -> Tensor:
        """Multiply each level by its part of the weights, and add them up at full resolution.

        Parameters
        ----------
        pyramid : Pyramid
            Of features.

        Returns
        -------
        (B, N, width_out) float32
            At every point.
        """
        finest, *coarser = pyramid.features
        own, *weights = self.weight.split([f.shape[-1] for f in pyramid.features], dim=1)
        result = F.linear(finest, own)
        for features, weight, parent in zip(coarser, weights, pyramid.parents, strict=True):
            result = result + rows(F.linear(features, weight), parent)
        return result


def point_layer(width_in: int, width_out: int) -> nn.Sequential:
    """Make a layer with batch normalisation and ReLU.

    Parameters
    ----------
    width_in, width_out : int
        Channels.

    Returns
    -------
    nn.Sequential
        For (..., width_in).
    """
    return nn.Sequential(nn.Linear(width_in, width_out, bias=False), PointNorm(width_out), nn.ReLU())


def pyramid_layer(width_in: int, width_out: int) -> nn.Sequential:
    """Make a layer on a pyramid, with batch normalisation and ReLU.

    Parameters
    ----------
    width_in, width_out : int
        Channels.

    Returns
    -------
    nn.Sequential
        For a `Pyramid`.
    """
    return nn.Sequential(PyramidLinear(width_in, width_out), PointNorm(width_out), nn.ReLU())


class PoseHead(nn.Module):
    """Per-point layers, maximum over the cloud, one more layer, dropout, and the output.

    A feature that is fused after the pooling is projected to the width of the pooled one and stands beside it.

    Parameters
    ----------
    config : CliposeConfig
        Widths, dropout, fusion.
    width_in : int
        Channels of the pyramid.
    out : int
        Numbers of the output.
    """

    def __init__(self, config: CliposeConfig, width_in: int, out: int) -> None:
        super().__init__()
        wide, narrow = config.hidden
        self.per_point = nn.Sequential(*pyramid_layer(width_in, wide), *point_layer(wide, narrow))
        joined = config.fusion.manner == "concat_after"
        self.other = nn.Linear(config.fusion.width, narrow) if joined else None
        self.whole = nn.Sequential(
            *point_layer(2 * narrow if joined else narrow, narrow), nn.Dropout(config.dropout), ExactLinear(narrow, out)
        )

    def forward(self, pyramid: Pyramid, other: Tensor | None = None) -> Tensor:
        """Compute the output of each cloud.

        Parameters
        ----------
        pyramid : Pyramid
            Of features.
        other : (B, D) float32, optional
            The feature that is fused after the pooling.

        Returns
        -------
        (B, out) float32
            Not limited.
        """
        pooled = self.per_point(pyramid).amax(1)
        return self.whole(pooled if self.other is None else torch.cat([pooled, self.other(other)], dim=-1))


class DenseHeads(nn.Module):
    """What every point says in training (GPV-Pose): its mirror image, and where the faces of the box are.

    Parameters
    ----------
    width_in : int
        Channels of the pyramid.
    width_global : int
        Of the feature of the whole cloud.
    width : int
        Of the first layers.
    """

    def __init__(self, width_in: int, width_global: int, width: int) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        self.shared = nn.Sequential(
            *pyramid_layer(width_in, width), *point_layer(width, width), *point_layer(width, half)
        )
        self.reconstruction = nn.Sequential(*point_layer(half, quarter), ExactLinear(quarter, 3))
        self.faces = nn.Sequential(
            *point_layer(width_global + half + 3, width),
            *point_layer(width, half),
            *point_layer(half, quarter),
            ExactLinear(quarter, FACES * 5),
        )

    def forward(self, pyramid: Pyramid, whole: Tensor, points: Tensor) -> dict[str, Tensor]:
        """Compute what every point says.

        Parameters
        ----------
        pyramid : Pyramid
            Of features.
        whole : (B, G) float32
            The feature of the whole cloud.
        points : (B, N, 3) float32
            Network frame [scale].

        Returns
        -------
        dict of Tensor
            reconstruction, face_normals, face_distances and face_confidences, as `PoseNetwork` says.
        """
        shared = self.shared(pyramid)
        whole = whole[:, None].expand(-1, points.shape[1], -1)
        faces = self.faces(torch.cat([whole, shared, points], dim=-1)).unflatten(-1, (FACES, 5))
        return {
            "reconstruction": self.reconstruction(shared),
            "face_normals": F.normalize(faces[..., :3], dim=-1),
            "face_distances": faces[..., 3],
            "face_confidences": faces[..., 4].sigmoid(),
        }


class Clipose(nn.Module):
    """Normalised cloud and category to a pose in the network frame (the interface is `training.networks.PoseNetwork`).

    Parameters
    ----------
    config : CliposeConfig
        Widths and options.
    """

    def __init__(self, config: CliposeConfig = CliposeConfig()) -> None:
        super().__init__()
        self.config = config
        self.also: tuple[str, ...] = ()
        self.encoder = HSEncoder(config.encoder)
        width = sum(self.encoder.widths) + (len(CATEGORIES) if config.one_hot else 0)
        width += config.fusion.width if config.fusion.manner == "concat_before" else 0
        self.fusion = AttentionFusion(config.fusion, width) if config.fusion.manner in ATTENTION else None
        self.y_head, self.x_head = PoseHead(config, width, 4), PoseHead(config, width, 4)
        self.box_head = PoseHead(config, width + 3, 6)
        self.dense_heads = DenseHeads(width, self.encoder.widths[-1], config.dense)
        self.register_buffer("mean_sizes", torch.tensor([MEAN_SIZES[c].tolist() for c in CATEGORIES]))
        self.register_buffer("scales", category_scales())

    @property
    def feature_width(self) -> int:
        """Width of the feature of the whole cloud, for the alignment."""
        return self.encoder.widths[-1]

    def forward(self, points: Tensor, category: Tensor, other: Tensor | None = None) -> dict[str, Tensor]:
        """Estimate poses.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale], in raster order.
        category : (B,) int64
            Index into CATEGORIES.
        other : (B, D) float32, optional
            The feature of CLIP that the configuration fuses with the cloud's.

        Returns
        -------
        dict of Tensor
            As `PoseNetwork` says. The feature is the last layer of the encoder averaged over its points: a linear
            projection of it is the average of the projected points, in whichever order the paper has it.

        Raises
        ------
        ValueError
            Where the feature to fuse is missing or of another width.
        """
        encoded = self.encoder(points)
        pyramid = encoded
        if self.config.one_hot:
            known = F.one_hot(category, len(CATEGORIES)).to(points.dtype)
            pyramid = beside(encoded, known[:, None].expand(-1, points.shape[1], -1))
        pyramid = self.fused(pyramid, other)
        y, x = self.y_head(pyramid, other), self.x_head(pyramid, other)
        box = self.box_head(beside(pyramid, points), other)
        result = {
            "y_axis": F.normalize(y[:, 1:], dim=-1),
            "x_axis": F.normalize(x[:, 1:], dim=-1),
            "confidence": torch.sigmoid(torch.stack([y[:, 0], x[:, 0]], dim=-1)),
            "offset": box[:, :3],
            "size": (self.mean_sizes[category] + self.scales[category][:, None] * box[:, 3:]).clamp(min=0.005),
        }
        if self.training:
            result |= self.dense_heads(pyramid, encoded.features[-1].amax(1), points)
            result |= {"feature": encoded.features[-1].mean(1)}
        return result

    def fused(self, pyramid: Pyramid, other: Tensor | None) -> Pyramid:
        """Fuse the features that the heads see, where the configuration says so.

        Parameters
        ----------
        pyramid : Pyramid
            Of the cloud.
        other : (B, D) float32 or None
            The feature of CLIP.

        Returns
        -------
        Pyramid
            For the heads.

        Raises
        ------
        ValueError
            Where the feature to fuse is missing or of another width.
        """
        config = self.config.fusion
        if config.manner != "none" and (other is None or other.shape[-1] != config.width):
            got = "none" if other is None else f"{other.shape[-1]} numbers"
            raise ValueError(f"other: expected the {config.feature} feature of {config.width} numbers, got {got}")
        if config.manner == "concat_before":
            return beside(pyramid, other[:, None].expand(-1, pyramid.features[0].shape[1], -1))
        return pyramid if self.fusion is None else Pyramid((self.fusion(at_every_point(pyramid), other),), ())


def at_every_point(pyramid: Pyramid) -> Tensor:
    """Concatenate all levels at full resolution.

    Parameters
    ----------
    pyramid : Pyramid
        Of features.

    Returns
    -------
    (B, N, C) float32
        With the channels of all levels.
    """
    finest, *coarser = pyramid.features
    return torch.cat([finest, *(rows(f, parent) for f, parent in zip(coarser, pyramid.parents, strict=True))], dim=-1)


def beside(pyramid: Pyramid, values: Tensor) -> Pyramid:
    """Put values beside the features of the finest level.

    Parameters
    ----------
    pyramid : Pyramid
        Of features.
    values : (B, N, C) float
        Of every point.

    Returns
    -------
    Pyramid
        With C channels more, which come first.
    """
    finest, *coarser = pyramid.features
    return Pyramid((torch.cat([values.to(finest.dtype), finest], dim=-1), *coarser), pyramid.parents)
