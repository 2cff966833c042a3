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

from training.networks.clipose import Clipose, CliposeConfig
from training.networks.fusion import FusionConfig
from training.networks.hs_encoder import HSEncoderConfig
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig

NetworkConfig = (
    Annotated[PatchTransformerConfig, tyro.conf.subcommand("compact")]
    | Annotated[CliposeConfig, tyro.conf.subcommand("clipose")]
)


class PoseNetwork(Protocol):
    """What every network is: an `nn.Module` with its configuration and the function below.

    Attributes
    ----------
    config : PatchTransformerConfig or CliposeConfig
        It has `points`.
    also : tuple of str
        Entries of a batch that it takes beside points and category.
    """

    config: PatchTransformerConfig | CliposeConfig
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
            ground (B, 4), of the same module, where the network takes it.

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


def make_network(config: PatchTransformerConfig | CliposeConfig) -> Clipose | PatchTransformer:
    """Make the network of a configuration, with random weights.

    Parameters
    ----------
    config : PatchTransformerConfig or CliposeConfig
        Which network.

    Returns
    -------
    Clipose or PatchTransformer
        In training mode.
    """
    return Clipose(config) if isinstance(config, CliposeConfig) else PatchTransformer(config)


def network_config(mapping: Mapping[str, Any]) -> PatchTransformerConfig | CliposeConfig:
    """Read a configuration from what `dataclasses.asdict` and JSON made of it.

    Parameters
    ----------
    mapping : mapping
        Without a "kind" it is that of a patch transformer.

    Returns
    -------
    PatchTransformerConfig or CliposeConfig
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
    if kind != "clipose":
        raise ValueError(f"kind: expected clipose or none (patch transformer), got {kind}")
    fields = known_fields(CliposeConfig, mapping)
    if "encoder" in fields:
        fields["encoder"] = HSEncoderConfig(**known_fields(HSEncoderConfig, fields["encoder"]))
    if "fusion" in fields:
        fields["fusion"] = FusionConfig(**known_fields(FusionConfig, fields["fusion"]))
    return CliposeConfig(**fields)


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
    return {name: tuple(value) if isinstance(value, list) else value for name, value in mapping.items()}
