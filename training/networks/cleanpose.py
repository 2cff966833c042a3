"""CleanPose (Lin et al. 2025): keypoints of each instance, front-door adjustment, and a category's knowledge distilled.

`CleanPose` is the paper's network on points and the features of a frozen image backbone at their pixels.
`CleanPoseLite` has the same parts (keypoints, front door, queue, residual distillation) on the tokens of our compact
network, whose heads it keeps: what it adds begins as nothing, so that it can grow out of a trained compact network.

What differs from the paper in both:

- Points come in the view-aligned (or level) frame of `clipose_ros.core.normalization`, centred on their median and
  divided by the category's scale. `CleanPose` goes back to metres about the mean within.
- There is a confidence of the two axes, for the score. It learns from features that it does not change.
- Without an image, a learned vector stands for its features, zero at first. In `CleanPoseLite` they are zero.

Both take, where their configuration names an image backbone (`training.networks.backbone`), a picture and the places of
the points in it beside what they took before. All that follows from the backbone's map is in `posed`: an export has two
files, one for each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from training.categories import category_scales
from training.networks.backbone import DINOV2, BackboneName, Sight, gathered
from training.networks.front_door import FrontDoor, FrontDoorConfig
from training.networks.keypoints import (
    Aggregation,
    CoordinateHead,
    KeypointDetector,
    Reconstructor,
    attention_matrices,
)
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig
from training.networks.pointnet2 import PointNet2, PointNetConfig
from training.optimisation.precision import ExactLinear, exact, unlowered

QUEUE = "front_door.queue"
SEEN = ("picture", "places")  # entries of a batch that a network with a backbone takes

Backbone = Annotated[BackboneName, tyro.conf.arg(prefix_name=False)]  # --backbone, whatever has it
BackboneWeights = Annotated[str, tyro.conf.arg(prefix_name=False)]


@dataclass(frozen=True)
class DistilledConfig:
    """How a feature of the cloud is compared with that of a teacher (`training.distillation`).

    Parameters
    ----------
    width : int
        Of the teacher's feature: 768 for ULIP-2's PointBERT. 0: nothing is compared.
    policy : "residual", "mlp" or "projection"
        Layers before the projection, beside what they change or instead of it, or none (table 5c).
    share : float
        μ of equation 19.
    unit_length : bool
        Divide the pooled feature by its length first, as the published code does.
    """

    width: int = 768
    policy: Literal["residual", "mlp", "projection"] = "residual"
    share: float = 0.1
    unit_length: bool = True


class Distilled(nn.Module):
    """A pooled feature to one like the teacher's (equations 18-20). For training alone.

    Parameters
    ----------
    config : DistilledConfig
        Manner and width.
    width : int
        Of the feature.
    """

    def __init__(self, config: DistilledConfig, width: int) -> None:
        super().__init__()
        self.config = config
        if config.policy != "projection":
            first, last = nn.Linear(width, width, bias=False), nn.Linear(width, width, bias=False)
            nn.init.kaiming_normal_(first.weight)
            if config.policy == "residual":
                nn.init.zeros_(last.weight)
            self.layers = nn.Sequential(first, nn.GELU(), last)
        self.project = ExactLinear(width, config.width, bias=False)
        nn.init.normal_(self.project.weight, std=config.width**-0.5)

    def forward(self, feature: Tensor) -> Tensor:
        """Transform.

        Parameters
        ----------
        feature : (B, C) float
            Mean over the points.

        Returns
        -------
        (B, width) float32
            To be compared.
        """
        feature = feature.float()
        if self.config.unit_length:
            feature = F.normalize(feature, dim=-1)
        if self.config.policy == "residual":
            feature = feature + self.config.share * self.layers(feature)
        elif self.config.policy == "mlp":
            feature = self.layers(feature)
        return self.project(feature)


@dataclass(frozen=True)
class CleanPoseConfig:
    """Size and parts of the network. The defaults are the paper's.

    Parameters
    ----------
    kind : "cleanpose"
        Tells the configuration from others.
    encoder : PointNetConfig
        Of the points.
    image_width : int
        Of image features that are given where no backbone is named: 384 for DINOv2 ViT-S. 0: points alone.
    image_features : int
        Width that they are brought to.
    keypoints : int
        Of an object.
    detector_layers, coordinate_layers : int
        Of attention, in the detector and in the coordinate head.
    heads, hidden : int
        Of attention.
    neighbours : tuple of int
        Points near each keypoint, for each block of the aggregation.
    bins : int
        Of an object coordinate.
    rebuilt : int
        Points that each keypoint rebuilds in training.
    front_door : FrontDoorConfig
        The causal parts.
    distilled : DistilledConfig
        What learns from a teacher.
    backbone : "none", "small", "efficientnet-lite2" or "dinov2"
        Of images; frozen, but for the small one. The paper has DINOv2.
    backbone_weights : str
        Of DINOv2: its name at the hub, or a folder.
    """

    kind: Literal["cleanpose"] = "cleanpose"
    encoder: PointNetConfig = field(default_factory=PointNetConfig)
    image_width: int = 384
    image_features: int = 128
    keypoints: int = 96
    detector_layers: int = 4
    coordinate_layers: int = 2
    heads: int = 4
    hidden: int = 256
    neighbours: tuple[int, ...] = (16, 32)
    bins: int = 64
    rebuilt: int = 10
    front_door: FrontDoorConfig = field(default_factory=FrontDoorConfig)
    distilled: DistilledConfig = field(default_factory=DistilledConfig)
    backbone: Backbone = "none"
    backbone_weights: BackboneWeights = DINOV2

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"heads: expected a divisor of the width {self.width}, got {self.heads}")

    @property
    def points(self) -> int:
        """Points of a cloud."""
        return self.encoder.points

    @property
    def patches(self) -> int:
        """Points whose foreground and coordinates the losses need: all."""
        return self.encoder.points

    @property
    def width(self) -> int:
        """Of a point's feature."""
        return self.encoder.propagation[0] + (self.image_features if self.has_image_features else 0)

    @property
    def has_image_features(self) -> bool:
        """Whether features of images stand beside those of points."""
        return self.image_width > 0 or self.backbone != "none"


def relu_layers(*widths: int) -> nn.Sequential:
    """Make linear layers with ReLU.

    Parameters
    ----------
    *widths : int
        Of the input and of each layer.

    Returns
    -------
    nn.Sequential
        The layers.
    """
    pairs = zip(widths, widths[1:], strict=False)
    return nn.Sequential(*[layer for pair in pairs for layer in (nn.Linear(*pair), nn.ReLU())])


class PoseEstimator(nn.Module):
    """Keypoints, their object coordinates and features to a pose.

    Parameters
    ----------
    width : int
        Of the features.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.seen, self.canonical = relu_layers(3, 32, 64), relu_layers(3, 32, 64)
        self.each = relu_layers(64 + width + 64, 512, 256)
        self.both = relu_layers(512, 512, 512)
        self.rotation, self.translation, self.size = (
            nn.Sequential(*relu_layers(512, 512, 256), ExactLinear(256, out)) for out in (6, 3, 3)
        )
        self.confidence = nn.Sequential(*relu_layers(512, 64), ExactLinear(64, 2))

    def forward(self, keypoints: Tensor, coordinates: Tensor, features: Tensor) -> tuple[Tensor, ...]:
        """Estimate.

        Parameters
        ----------
        keypoints : (B, K, 3) float32
            About the mean of the points [m].
        coordinates : (B, K, 3) float32
            Object frame, in units of the box's diagonal.
        features : (B, K, C) float
            Of the keypoints.

        Returns
        -------
        rotation : (B, 3, 3) float32
            Exact in its y axis.
        translation, size : (B, 3) float32
            In metres.
        confidence : (B, 2) float32
            Of y and x, 0..1.
        """
        seen, canonical = self.seen(keypoints), self.canonical(coordinates)
        each = self.each(torch.cat([seen, features.to(seen.dtype), canonical], dim=-1))
        whole = self.both(torch.cat([each, each.mean(1, keepdim=True).expand_as(each)], dim=-1)).mean(1)
        x_raw, y_raw = self.rotation(whole).split(3, dim=-1)
        y = F.normalize(y_raw, dim=-1)
        z = F.normalize(torch.linalg.cross(x_raw, y), dim=-1)
        rotation = torch.stack([torch.linalg.cross(y, z), y, z], dim=-1)
        return rotation, self.translation(whole), self.size(whole), self.confidence(whole.detach()).sigmoid()


class Seeing:
    """What networks with an image backbone have in common. Beside a `sight`, they need a `config`."""

    config: CleanPoseConfig | CleanPoseLiteConfig
    sight: Sight | None

    def image_features(self, maps: Tensor, places: Tensor) -> Tensor:
        """Take features of the image at the points that the network joins them to.

        Parameters
        ----------
        maps : (B, D, h, w) float
            Of the backbone, 0 where there is no image.
        places : (B, N, 2) float32
            Of all points in the image, as shares of its sides.

        Returns
        -------
        (B, P, D) float
            Features at the centres of the patches: every N/P-th point.
        """
        return gathered(maps, places[:, :: self.config.points // self.config.patches])

    def seen_features(self, *seen: Tensor) -> Tensor | None:
        """Compute features of pictures at places.

        Parameters
        ----------
        *seen : Tensor
            Nothing, or picture (B, 3, S, S) and places (B, N, 2).

        Returns
        -------
        (B, P, D) float or None
            As of `image_features`; None without pictures.
        """
        if not seen:
            return None
        picture, places = seen
        return self.image_features(self.sight(picture), places)


class CleanPose(Seeing, nn.Module):
    """Normalised cloud and category to a pose in the network frame (the interface is `training.networks.PoseNetwork`).

    Parameters
    ----------
    config : CleanPoseConfig
        Size and parts.
    """

    def __init__(self, config: CleanPoseConfig = CleanPoseConfig()) -> None:
        super().__init__()
        self.config = c = config
        self.also: tuple[str, ...] = SEEN if c.backbone != "none" else ()
        self.sight = Sight(c.backbone, c.backbone_weights) if c.backbone != "none" else None
        self.encoder = PointNet2(c.encoder)
        if c.has_image_features:
            self.image = nn.Linear(c.image_width if self.sight is None else self.sight.width, c.image_features)
            self.no_image = nn.Parameter(torch.zeros(c.image_features))
        self.detector = KeypointDetector(c.keypoints, c.width, c.detector_layers, c.heads, c.hidden)
        self.aggregation = nn.ModuleList(Aggregation(c.width, near) for near in c.neighbours)
        if c.front_door.used:
            self.front_door = FrontDoor(c.front_door, c.width, c.heads, c.hidden)
        self.coordinates = CoordinateHead(c.width, c.coordinate_layers, c.heads, c.hidden, c.bins)
        self.estimator = PoseEstimator(c.width)
        self.reconstructor = Reconstructor(c.width, c.rebuilt) if c.rebuilt else None
        self.distilled = Distilled(c.distilled, self.encoder.width) if c.distilled.width else None
        self.register_buffer("scales", category_scales())

    @property
    def remembered(self) -> tuple[str, ...]:
        """Buffers that are no weights, which an average of weights takes as they are."""
        return remembered(self.config.front_door)

    def forward(self, points: Tensor, category: Tensor, *seen: Tensor) -> dict[str, Tensor]:
        """Estimate poses.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale].
        category : (B,) int64
            Index into CATEGORIES.
        *seen : Tensor
            Nothing, or picture (B, 3, S, S) and places (B, N, 2), as `training.data.dataset.make_batch` gives them.

        Returns
        -------
        dict of Tensor
            As `posed` gives it.
        """
        return self.posed(points, category, image_features=self.seen_features(*seen))

    def posed(self, points: Tensor, category: Tensor, image_features: Tensor | None = None) -> dict[str, Tensor]:
        """Estimate poses from points and features of the image.

        Parameters
        ----------
        points, category : Tensor
            As for `forward`.
        image_features : (B, N, D) float, optional
            Of the image at the points. A point whose features are all 0 has none.

        Returns
        -------
        dict of Tensor
            As `PoseNetwork` says, with rotation (B, 3, 3) R_network_object; in training also keypoints (B, K, 3)
            [scale, network frame], keypoint_coordinates (B, K, 3) in units of the box's diagonal, rebuilt and
            rebuilt_offsets (B, M, 3) [scale], feature (B, F) and distilled (B, D).
        """
        scale = self.scales[category][:, None, None]
        metres = points * scale
        mean = metres.mean(1, keepdim=True)
        metres = metres - mean
        with unlowered(points):  # rounded features have other winners (`training.optimisation.precision`)
            of_points = self.encoder(metres)
        features = of_points
        if self.config.has_image_features:
            seen = self.no_image.expand(*points.shape[:2], -1)
            if image_features is not None:
                pictured = (image_features != 0).any(-1, keepdim=True)
                seen = torch.where(pictured, self.image(image_features), seen)
            features = torch.cat([of_points, seen.to(of_points.dtype)], dim=-1)
        heat = self.detector(features)
        with exact(points):
            keypoints = heat @ metres
        of_keypoints = heat.to(features.dtype) @ features
        for block in self.aggregation:
            of_keypoints = block(of_keypoints, keypoints.detach(), features, metres)
        if self.config.front_door.used:
            of_keypoints = self.front_door(of_keypoints, category)
        coordinates = self.coordinates(of_keypoints, category)
        rotation, translation, size, confidence = self.estimator(keypoints, coordinates.detach(), of_keypoints)
        result = {
            "y_axis": rotation[..., 1],
            "x_axis": rotation[..., 0],
            "confidence": confidence,
            "offset": (translation + mean[:, 0]) / scale[:, 0],
            "size": size if self.training else size.clamp(min=0.005),
        }
        if self.training:
            result |= {"rotation": rotation, "keypoints": (keypoints + mean) / scale, "feature": of_points.mean(1)}
            result |= {"keypoint_coordinates": coordinates}
            if self.reconstructor is not None:
                rebuilt, offsets = self.reconstructor(keypoints, of_keypoints)
                result |= {"rebuilt": (rebuilt + mean) / scale, "rebuilt_offsets": offsets / scale}
            if self.distilled is not None:
                result |= {"distilled": self.distilled(of_points.mean(1))}
        return result


def remembered(config: FrontDoorConfig) -> tuple[str, ...]:
    """Name the buffers of the queue.

    Parameters
    ----------
    config : FrontDoorConfig
        The causal parts.

    Returns
    -------
    tuple of str
        Within the network; none where it has no queue.
    """
    return (f"{QUEUE}.features", f"{QUEUE}.place", f"{QUEUE}.fixed") if config.used else ()


@dataclass(frozen=True)
class CleanPoseLiteConfig(PatchTransformerConfig):
    """Size and parts of the compact variant: what the compact network has, and what it has beyond.

    Parameters
    ----------
    kind : "cleanpose_lite"
        Tells the configuration from others.
    keypoints : int
        Of an object. 0: none, and no front door.
    detector_layers : int
        Of attention, in the detector.
    front_door : FrontDoorConfig
        The causal parts, with one layer of each kind.
    distilled : DistilledConfig
        What learns from a teacher; by default nothing does.
    backbone : "none", "small", "efficientnet-lite2" or "dinov2"
        Of images; frozen, but for the small one.
    backbone_weights : str
        Of DINOv2: its name at the hub, or a folder.
    """

    kind: Literal["cleanpose_lite"] = "cleanpose_lite"
    keypoints: int = 16
    detector_layers: int = 1
    front_door: FrontDoorConfig = field(default_factory=lambda: FrontDoorConfig(own_layers=1, cross_layers=1))
    distilled: DistilledConfig = field(default_factory=lambda: DistilledConfig(width=0))
    backbone: Backbone = "none"
    backbone_weights: BackboneWeights = DINOV2


class CleanPoseLite(Seeing, PatchTransformer):
    """Normalised cloud and category to a pose in the network frame (the interface is `training.networks.PoseNetwork`).

    Keypoints are found among the tokens' centres, by queries to which the category's token is added. They say their
    object coordinates, and what they know joins what the heads of the compact network see. Features of the image,
    normalised, join the tokens of the patches at whose centres they are.

    Parameters
    ----------
    config : CleanPoseLiteConfig
        Size and parts.
    """

    def __init__(self, config: CleanPoseLiteConfig = CleanPoseLiteConfig()) -> None:
        super().__init__(config)
        c, width, hidden = config, config.width, config.width
        self.sight = Sight(c.backbone, c.backbone_weights) if c.backbone != "none" else None
        if self.sight is not None:
            self.also = (*self.also, *SEEN)
            # without biases: no image has no say
            self.image = nn.Sequential(
                nn.LayerNorm(self.sight.width, elementwise_affine=False),
                nn.Linear(self.sight.width, width, bias=False),
                nn.GELU(),
                nn.Linear(width, width, bias=False),
            )
            nn.init.zeros_(self.image[-1].weight)
        if c.keypoints:
            self.detector = KeypointDetector(c.keypoints, width, c.detector_layers, c.heads, hidden)
            self.place = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, width))
            if c.front_door.used:
                self.front_door = FrontDoor(c.front_door, width, c.heads, hidden)
            self.coordinates = nn.Sequential(nn.Linear(width, width), nn.GELU(), ExactLinear(width, 3))
            self.each = nn.Sequential(nn.Linear(width + 6, 2 * width), nn.GELU())
            self.join = nn.Linear(2 * width, 2 * width)
            nn.init.zeros_(self.join.weight)
            nn.init.zeros_(self.join.bias)
        self.distilled = Distilled(c.distilled, 2 * width) if c.distilled.width else None

    @property
    def remembered(self) -> tuple[str, ...]:
        """Buffers that are no weights, which an average of weights takes as they are."""
        return remembered(self.config.front_door) if self.config.keypoints else ()

    def hidden_matrices(self) -> dict[int, list[nn.Parameter]]:
        """Give the weight matrices of all layers of attention, for Muon.

        Returns
        -------
        dict of list of nn.Parameter
            By the number of matrices that each stacks: query, key and value are one parameter.
        """
        more = attention_matrices(self)
        return {parts: matrices + more[parts] for parts, matrices in super().hidden_matrices().items()}

    def forward(self, points: Tensor, category: Tensor, *also: Tensor) -> dict[str, Tensor]:
        """Estimate poses.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame [scale], in raster order.
        category : (B,) int64
            Index into CATEGORIES.
        *also : Tensor
            ground (B, 4) or (B, 9), as for the compact network, where this one is told of surfaces; then picture
            (B, 3, S, S) and places (B, N, 2), as `training.data.dataset.make_batch` gives them. Any may be left out
            from the end.

        Returns
        -------
        dict of Tensor
            As `posed` gives it.
        """
        told = 1 if self.config.ground else 0
        return self.posed(points, category, *also[:told], image_features=self.seen_features(*also[told:]))

    def posed(
        self,
        points: Tensor,
        category: Tensor,
        ground: Tensor | None = None,
        image_features: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """Estimate poses from points and features of the image.

        Parameters
        ----------
        points, category : Tensor
            As for `forward`.
        ground : (B, 4) or (B, 9) float32, optional
            As for the compact network.
        image_features : (B, P, D) float, optional
            Of the image at the centres of the patches, 0 where there is none.

        Returns
        -------
        dict of Tensor
            As the compact network, in training also keypoints (B, K, 3) [scale, network frame], keypoint_coordinates
            (B, K, 3) in units of the box's diagonal, and distilled (B, D).
        """
        beside = None if image_features is None else self.image(image_features)
        x, centres = self.encoded(points, category, ground, beside)
        pooled, tokens, more = self.pooled(x), x[:, 1:], {}
        if self.training and self.distilled is not None:
            more["distilled"] = self.distilled(pooled)
        if self.config.keypoints:
            heat = self.detector(tokens, x[:, 0])
            with exact(points):
                keypoints = heat @ centres
            features = heat.to(tokens.dtype) @ tokens + self.place(keypoints)
            if self.config.front_door.used:
                features = self.front_door(features, category)
            coordinates = self.coordinates(features)
            places = torch.cat([keypoints, coordinates.detach()], dim=-1).to(features.dtype)
            pooled = pooled + self.join(self.each(torch.cat([features, places], dim=-1)).mean(1))
            if self.training:
                more |= {"keypoints": keypoints, "keypoint_coordinates": coordinates}
        return self.said(pooled, category) | (self.dense(x, centres) | more if self.training else {})
