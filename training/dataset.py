"""From shards of clean views to batches of augmented, normalised clouds with their targets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from training.networks.patch_transformer import category_scales
from training.sensor import SensorConfig, detected_mask, measured_depth, pushed_background, sample_cloud
from training.views import DEPTH_UNIT_M, TARGET, VIEW_ARRAYS


@dataclass(frozen=True)
class BatchConfig:
    points: int = 1024
    outlier_radius: float = 0.8  # of the category's scale: the cut about the median, as at run time
    scale_jitter: float = 0.12  # sizes are multiplied by up to 1 ± this
    hidden_cue: float = 0.01  # below this share of visible pixels the heading cue of a mug counts as hidden
    hidden_weight: float = 0.15  # of the x axis then
    sensor: SensorConfig = field(default_factory=SensorConfig)


class ViewPool:
    """All views of a folder of shards, in memory."""

    def __init__(self, shards: list[Path]) -> None:
        if not shards:
            raise ValueError("shards: expected at least one file, got none")
        loaded = []
        for path in shards:
            with np.load(path, allow_pickle=False) as file:
                loaded.append({name: file[name] for name in VIEW_ARRAYS})
        self.arrays = {name: torch.from_numpy(np.concatenate([shard[name] for shard in loaded])) for name in VIEW_ARRAYS}

    def __len__(self) -> int:
        return len(self.arrays["category"])

    def rows(self, index: Tensor, device: torch.device) -> dict[str, Tensor]:
        return {name: array[index].to(device) for name, array in self.arrays.items()}


def view_rotation(centre: Tensor) -> Tensor:
    """Torch twin of `core.normalization.view_rotation`: (B, 3) -> R_view_camera (B, 3, 3)."""
    x, y, z = (centre / centre.norm(dim=-1, keepdim=True)).unbind(-1)
    k = 1 / (1 + z)
    return torch.stack([1 - x * x * k, -x * y * k, -x, -x * y * k, 1 - y * y * k, -y, x, y, z], dim=-1).unflatten(-1, (3, 3))


def facing_rotation(rotation: Tensor) -> Tensor:
    """Of the equivalent rotations of an axis-symmetric object, R_view_object (B, 3, 3), the one whose x axis points most towards the camera: -z of the view frame."""
    y = rotation[:, :, 1]
    towards = torch.zeros_like(y)
    towards[:, 2] = -1
    x = towards - (towards * y).sum(-1, keepdim=True) * y
    x = x + 1e-6 * rotation[:, :, 0]  # seen exactly along its axis, any x will do
    x = x / x.norm(dim=-1, keepdim=True)
    return torch.stack([x, y, torch.cross(x, y, dim=-1)], dim=-1)


def make_batch(rows: dict[str, Tensor], patches: int, config: BatchConfig, generator: torch.Generator) -> dict[str, Tensor]:
    """Augment and normalise views.

    Returns: points (B, N, 3) normalised and category (B,), the network's input; the targets that `losses.pose_losses` names;
    usable (B,) bool, False for views of which too few points were left.
    """
    category = rows["category"]
    scale = category_scales().to(category.device)[category]
    depth = rows["depth"].float() * DEPTH_UNIT_M
    target = rows["label"] == TARGET
    mask = detected_mask(target, rows["pixels"], config.sensor, generator)
    measured = measured_depth(pushed_background(depth, target, config.sensor, generator), config.sensor, generator)
    points, pixel, usable = sample_cloud(measured, mask, rows["rays"], config.points, config.outlier_radius * scale, config.sensor, generator)

    stretch = 1 + config.scale_jitter * (2 * torch.rand(len(points), generator=generator, device=points.device) - 1)
    points = points * stretch[:, None, None]
    translation, size = rows["translation"] * stretch[:, None], rows["size"] * stretch[:, None]

    centre = points.median(dim=1).values
    usable = usable & (centre[:, 2] > 0.05)
    centre = torch.where(usable[:, None], centre, torch.tensor([0.0, 0.0, 1.0], device=centre.device))
    R_view_camera = view_rotation(centre)
    normalised = (points - centre[:, None]) @ R_view_camera.transpose(1, 2) / scale[:, None, None]
    offset = torch.einsum("bij,bj->bi", R_view_camera, translation - centre) / scale[:, None]
    rotation = R_view_camera @ rows["rotation"]
    symmetric = torch.tensor([c in AXIS_SYMMETRIC for c in CATEGORIES], device=category.device)[category]
    rotation = torch.where(symmetric[:, None, None], facing_rotation(rotation), rotation)

    step = config.points // patches
    coordinates = (normalised[:, ::step] - offset[:, None]) @ rotation  # R^T (p - t), row by row
    foreground = target.flatten(1).gather(1, pixel[:, ::step]).float()
    # What lies outside the object's box cannot be its surface, whatever the clean label says (outliers, smeared edges).
    inside = (coordinates.abs() <= 0.55 * (size / scale[:, None])[:, None] + 0.03).all(-1)
    mug = category == CATEGORIES.index("mug")
    hidden = mug & (rows["cue"] < config.hidden_cue)
    x_weight = torch.where(symmetric, 0.0, torch.where(hidden, config.hidden_weight, 1.0))
    return {
        "points": normalised,
        "category": category,
        "usable": usable,
        "y_axis": rotation[:, :, 1],
        "x_axis": rotation[:, :, 0],
        "x_weight": x_weight,
        "offset": offset,
        "size": size,
        "scale": scale,
        "coordinates": coordinates,
        "foreground": foreground * inside,
    }
