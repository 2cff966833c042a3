"""The point networks behind one interface, and their choice by configuration.

On a command line with a field of type `NetworkConfig`: `network:clipose --network.hidden 512 256` or
`network:compact --network.width 192`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Protocol

import tyro
from torch import Tensor

from training.networks.cleanpose import (
    CleanPose,
    CleanPoseConfig,
    CleanPoseLite,
    CleanPoseLiteConfig,
    DistilledConfig,
)
from training.networks.clipose import Clipose, CliposeConfig
from training.networks.front_door import FrontDoorConfig
from training.networks.fusion import FusionConfig
from training.networks.hs_encoder import HSEncoderConfig
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig
from training.networks.pointnet2 import PointNetConfig

NetworkConfig = (
    Annotated[PatchTransformerConfig, tyro.conf.subcommand("compact")]
    | Annotated[CliposeConfig, tyro.conf.subcommand("clipose")]
    | Annotated[CleanPoseConfig, tyro.conf.subcommand("cleanpose")]
    | Annotated[CleanPoseLiteConfig, tyro.conf.subcommand("cleanpose-lite")]
)


class PoseNetwork(Protocol):
    """What every network is: an `nn.Module` with its configuration and the function below.

    Attributes
    ----------
    config : NetworkConfig
        It has `points`.
    also : tuple of str
        Entries of a batch that it takes beside points and category.
    """

    config: NetworkConfig
    also: tuple[str, ...]

    def __call__(self, points: Tensor, category: Tensor, *also: Tensor) -> dict[str, Tensor]:
        """Estimate poses from normalised clouds.

        Parameters
        ----------
        points : (B, N, 3) float32
            Network frame, in raster order: level or view-aligned, centred on the median, divided by the category's
            scale (`clipose_ros.core.normalization`).
        category : (B,) int64
            Index into CATEGORIES.
        *also : Tensor
            ground (B, 4), of the same module, where the network takes it; picture (B, 3, S, S) and places (B, N, 2), as
            `training.data.dataset.make_batch` gives them, where it has a backbone of images.

        Returns
        -------
        dict of Tensor
            Always: y_axis, x_axis (B, 3) unit; confidence (B, 2) in 0..1 of (y, x); offset (B, 3) [scale] of the box
            centre from the frame's origin; size (B, 3) [m]. In training the compact network adds coordinates (B, P, 3)
            in the object frame [scale] and foreground (B, P) logits, both of points[:, :: N // P]. CLIPose adds
            reconstruction (B, N, 3) [scale, network frame], face_normals (B, N, 6, 3) unit, face_distances (B, N, 6)
            [scale], face_confidences (B, N, 6) in 0..1 (faces y+, x+, z+, x-, z-, y-), and feature (B, F), the global
            feature of the cloud for the contrastive branch.
        """


# by the "kind" of a configuration
NETWORKS: dict[str, tuple[type, type]] = {
    "compact": (PatchTransformerConfig, PatchTransformer),
    "clipose": (CliposeConfig, Clipose),
    "cleanpose": (CleanPoseConfig, CleanPose),
    "cleanpose_lite": (CleanPoseLiteConfig, CleanPoseLite),
}
# fields that are configurations themselves
PARTS: dict[type, dict[str, type]] = {
    CliposeConfig: {"encoder": HSEncoderConfig, "fusion": FusionConfig},
    CleanPoseConfig: {"encoder": PointNetConfig, "front_door": FrontDoorConfig, "distilled": DistilledConfig},
    CleanPoseLiteConfig: {"front_door": FrontDoorConfig, "distilled": DistilledConfig},
}


def make_network(config: NetworkConfig) -> PoseNetwork:
    """Make the network of a configuration, with random weights.

    Parameters
    ----------
    config : NetworkConfig
        Which network.

    Returns
    -------
    PoseNetwork
        In training mode.
    """
    _, network = NETWORKS[getattr(config, "kind", "compact")]
    return network(config)


def network_config(mapping: Mapping[str, Any]) -> NetworkConfig:
    """Read a configuration from what `dataclasses.asdict` and JSON made of it.

    Parameters
    ----------
    mapping : mapping
        Without a "kind" it is that of a patch transformer.

    Returns
    -------
    NetworkConfig
        With defaults for what the mapping lacks.

    Raises
    ------
    ValueError
        For an unknown kind or key.
    """
    kind = mapping.get("kind")
    if kind is None:
        # checkpoints of networks that were told nothing of surfaces do not say so
        return PatchTransformerConfig(
            **{"ground": False, "hypotheses": 1, **known_fields(PatchTransformerConfig, mapping)}
        )
    if kind == "compact" or kind not in NETWORKS:
        kinds = ", ".join(name for name in NETWORKS if name != "compact")
        raise ValueError(f"kind: expected {kinds} or none (patch transformer), got {kind}")
    config, _ = NETWORKS[kind]
    fields = known_fields(config, mapping)
    for name, part in PARTS[config].items():
        if name in fields:
            fields[name] = part(**known_fields(part, fields[name]))
    return config(**fields)


def known_fields(config: type, mapping: Mapping[str, Any]) -> dict[str, Any]:
    """Check that a mapping holds fields of a dataclass alone.

    Parameters
    ----------
    config : type
        The dataclass.
    mapping : mapping
        By field.

    Returns
    -------
    dict
        With tuples for JSON's lists.

    Raises
    ------
    ValueError
        For keys that are no fields.
    """
    names = [field.name for field in dataclasses.fields(config)]
    unknown = [str(key) for key in mapping if key not in names]
    if unknown:
        raise ValueError(f"{config.__name__}: expected only {', '.join(names)}, got {', '.join(unknown)}")
    return {name: _as_tuple(value) for name, value in mapping.items()}


def _as_tuple(value: Any) -> Any:
    """Give tuples for JSON's lists, within lists, too."""
    return tuple(_as_tuple(item) for item in value) if isinstance(value, list) else value
