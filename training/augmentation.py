"""CLIPose's augmentations of posed clouds that the sensor model does not cover: box scale, box-cage taper, rigid motion
(as HS-Pose and GPV-Pose).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from training.categories import among
from training.precision import exact_product


class PosedClouds(NamedTuple):
    """points (B, N, 3) [m] in some frame, and there the pose of each cloud's object: rotation (B, 3, 3), translation
    (B, 3) [m], size (B, 3) [m].
    """

    points: Tensor
    rotation: Tensor
    translation: Tensor
    size: Tensor


@dataclass(frozen=True)
class AugmentationConfig:
    """Shares of the clouds that each augmentation changes: 0 switches it off.

    The paper has no mirror, 0.3 of box scale, taper and rigid motion each, and 0.2 of noise (`training.clipose`).
    """

    mirrored: float = 0.5
    box_scale: float = 0.0
    box_factor: tuple[float, float] = (0.8, 1.2)  # of each axis
    taper: float = 0.0
    taper_factor: tuple[float, float] = (0.8, 1.2)  # of the width at the top and at the bottom
    rigid: float = 0.0
    rigid_m: float = 0.05  # along each axis, at most
    rigid_deg: float = 15.0  # about each axis, at most
    noise: float = 0.0
    # uniform, of a point's offset from the object's centre along each axis of the camera: HS-Pose's 0 to 0.2 about its
    # mean, without the growth of a tenth that its labels do not follow
    noise_range: tuple[float, float] = (-0.1, 0.1)

    def __post_init__(self) -> None:
        for name in ("mirrored", "box_scale", "taper", "rigid", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share in 0..1, got {getattr(self, name)}")


def augmented(
    clouds: PosedClouds, category: Tensor, config: AugmentationConfig, generator: torch.Generator
) -> PosedClouds:
    """Clouds and poses after the augmentations that are switched on. category: (B,) int64."""
    batch, device = len(category), category.device

    def draw(low: float, high: float, share: float, width: int, neutral: float) -> Tensor:
        """(B, width) uniform in low..high for a share of the clouds, `neutral` for the others."""
        values = low + (high - low) * torch.rand(batch, width, generator=generator, device=device)
        return torch.where(torch.rand(batch, 1, generator=generator, device=device) < share, values, neutral)

    if config.mirrored > 0:
        # A mirror turns a camera's grip to the wrong hand; the others have the plane of symmetry z = 0 and stay what
        # they are.
        clouds = mirrored(
            clouds,
            (torch.rand(batch, generator=generator, device=device) < config.mirrored) & ~among(category, "camera"),
        )
    if config.box_scale > 0:
        clouds = box_scaled(
            clouds, draw(*config.box_factor, config.box_scale, 3, 1.0), among(category, *AXIS_SYMMETRIC)
        )
    if config.taper > 0:
        top, bottom = draw(*config.taper_factor, config.taper, 2, 1.0).unbind(-1)
        bowl, mug = among(category, "bowl"), among(category, "mug")
        either = bowl | mug
        clouds = tapered(clouds, torch.where(either, top, 1.0), torch.where(either, bottom, 1.0), bowl)
    if config.rigid > 0:
        motion = draw(-1.0, 1.0, config.rigid, 6, 0.0)
        clouds = moved(
            clouds, euler_rotation((config.rigid_deg * motion[:, :3]).deg2rad()), config.rigid_m * motion[:, 3:]
        )
    if config.noise > 0:
        which = torch.rand(batch, 1, 1, generator=generator, device=device) < config.noise
        low, high = config.noise_range
        factor = low + (high - low) * torch.rand(clouds.points.shape, generator=generator, device=device)
        noise = torch.where(which, factor, 0.0) * (clouds.points - clouds.translation[:, None])
        clouds = clouds._replace(points=clouds.points + noise)
    return clouds


def mirrored(clouds: PosedClouds, which: Tensor) -> PosedClouds:
    """Clouds with those of `which` (B,) bool reflected in the camera's plane x = 0, and the poses of objects that are
    symmetric about their plane z = 0.
    """
    x = torch.where(which, -1.0, 1.0)[:, None]
    # of x in the camera's frame, of z in the object's
    flip = torch.cat([x, torch.ones_like(x), torch.ones_like(x)], dim=1)
    rotation = flip[:, :, None] * clouds.rotation * flip[:, None].flip(-1)
    return PosedClouds(clouds.points * flip[:, None], rotation, clouds.translation * flip, clouds.size)


def box_scaled(clouds: PosedClouds, factor: Tensor, symmetric: Tensor) -> PosedClouds:
    """Clouds whose objects are stretched along their own axes by factor (B, 3); by the mean of x and z where they are
    symmetric (B,) about y.
    """
    mean = (factor[:, 0] + factor[:, 2]) / 2
    round_factor = torch.stack([mean, factor[:, 1], mean], dim=-1)
    factor = torch.where(symmetric[:, None], round_factor, factor)
    local = to_object(clouds) * factor[:, None]
    return clouds._replace(points=from_object(local, clouds), size=clouds.size * factor)


def tapered(clouds: PosedClouds, top: Tensor, bottom: Tensor, widest_at_top: Tensor) -> PosedClouds:
    """Clouds whose objects are widened by top (B,) at their upper and by bottom (B,) at their lower end, linearly in
    between.

    The box of a body that is widest at its top (bowl) follows the top. Of a cylinder with a handle half-way up at +x
    (mug), z and -x follow the wider end, +x the middle: the centre moves along x. Exact for such shapes, near for
    others. Where both factors are 1 nothing changes.
    """
    local = to_object(clouds)
    height = (local[..., 1] / clouds.size[:, None, 1] + 0.5).clamp(0, 1)
    factor = bottom[:, None] + (top - bottom)[:, None] * height
    local = local * torch.stack([factor, torch.ones_like(factor), factor], dim=-1)
    wide = torch.where(widest_at_top, top, torch.maximum(top, bottom))
    handle = torch.where(widest_at_top, top, (top + bottom) / 2)
    shift = clouds.size[:, 0] * (handle - wide) / 4
    size = clouds.size * torch.stack([(wide + handle) / 2, torch.ones_like(wide), wide], dim=-1)
    translation = clouds.translation + shift[:, None] * clouds.rotation[:, :, 0]
    return clouds._replace(points=from_object(local, clouds), translation=translation, size=size)


def moved(clouds: PosedClouds, rotation: Tensor, shift: Tensor) -> PosedClouds:
    """Clouds and objects turned about the object's centre by rotation (B, 3, 3), then shifted (B, 3) [m]."""
    centre = clouds.translation[:, None]
    points = exact_product(clouds.points - centre, rotation.transpose(1, 2)) + centre + shift[:, None]
    turned = exact_product(rotation, clouds.rotation)
    return PosedClouds(points, turned, clouds.translation + shift, clouds.size)


def euler_rotation(angles: Tensor) -> Tensor:
    """Rotations (B, 3, 3) about x, then y, then z, by angles (B, 3) [rad]."""
    (cx, cy, cz), (sx, sy, sz) = angles.cos().unbind(-1), angles.sin().unbind(-1)
    rows = [
        cz * cy,
        cz * sy * sx - sz * cx,
        cz * sy * cx + sz * sx,
        sz * cy,
        sz * sy * sx + cz * cx,
        sz * sy * cx - cz * sx,
        -sy,
        cy * sx,
        cy * cx,
    ]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def to_object(clouds: PosedClouds) -> Tensor:
    """Points (B, N, 3) [m] in the frame of their object."""
    return exact_product(clouds.points - clouds.translation[:, None], clouds.rotation)


def from_object(local: Tensor, clouds: PosedClouds) -> Tensor:
    """The inverse of `to_object`."""
    return exact_product(local, clouds.rotation.transpose(1, 2)) + clouds.translation[:, None]
