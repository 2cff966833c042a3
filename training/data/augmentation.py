"""CLIPose's augmentations of posed clouds: box scale, box-cage taper, rigid motion and point noise.

They are those of HS-Pose and GPV-Pose. What a sensor does is in `training.data.sensor`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from training.categories import among
from training.optimisation.precision import exact_product


class PosedClouds(NamedTuple):
    """Clouds and the poses of their objects, all in one frame.

    Parameters
    ----------
    points : (B, N, 3) float32
        Of the clouds [m].
    rotation : (B, 3, 3) float32
        R_frame_object.
    translation : (B, 3) float32
        Centre of the object's tight box [m].
    size : (B, 3) float32
        Extents of that box [m].
    surface : (B, 4) float32
        Below the object, as in `training.data.row_format`.
    """

    points: Tensor
    rotation: Tensor
    translation: Tensor
    size: Tensor
    surface: Tensor


@dataclass(frozen=True)
class AugmentationConfig:
    """Shares of the clouds that each augmentation changes. 0 switches it off.

    The paper has 0.3 of box scale, taper and rigid motion each, 0.2 of noise and no mirror (`training.clipose`).

    Parameters
    ----------
    mirrored : float
        Share that is reflected in the camera's plane x = 0.
    box_scale : float
        Share that is stretched along the object's axes.
    box_factor : (float, float)
        Least and greatest stretch of each axis.
    taper : float
        Share of the bowls and mugs that is widened at one end.
    taper_factor : (float, float)
        Least and greatest width of the top and of the bottom, as a factor.
    rigid : float
        Share that is turned and shifted.
    rigid_m : float
        Largest shift along each axis [m].
    rigid_deg : float
        Largest turn about each axis [deg].
    noise : float
        Share whose points are moved.
    noise_range : (float, float)
        Least and greatest move of a point along each axis of the camera, as a factor of its offset from the object's
        centre. The default is as wide as HS-Pose's 0 to 0.2; that range makes an object a tenth larger, and its label
        not.
    """

    mirrored: float = 0.5
    box_scale: float = 0.0
    box_factor: tuple[float, float] = (0.8, 1.2)
    taper: float = 0.0
    taper_factor: tuple[float, float] = (0.8, 1.2)
    rigid: float = 0.0
    rigid_m: float = 0.05
    rigid_deg: float = 15.0
    noise: float = 0.0
    noise_range: tuple[float, float] = (-0.1, 0.1)

    def __post_init__(self) -> None:
        for name in ("mirrored", "box_scale", "taper", "rigid", "noise"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name}: expected a share in 0..1, got {getattr(self, name)}")


def drawn_mirrors(category: Tensor, config: AugmentationConfig, generator: torch.Generator) -> Tensor:
    """Draw which clouds are reflected.

    A mirror turns a camera's grip to the wrong hand; the others have the plane of symmetry z = 0, and stay what they
    are.

    Parameters
    ----------
    category : (B,) int64
        Index into CATEGORIES.
    config : AugmentationConfig
        How often.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B,) bool
        These.
    """
    if config.mirrored == 0:
        return torch.zeros_like(category, dtype=torch.bool)
    chance = torch.rand(len(category), generator=generator, device=category.device)
    return (chance < config.mirrored) & ~among(category, "camera")


def augmented(
    clouds: PosedClouds,
    category: Tensor,
    config: AugmentationConfig,
    generator: torch.Generator,
    mirrors: Tensor | None = None,
) -> PosedClouds:
    """Apply the augmentations that are switched on.

    Parameters
    ----------
    clouds : PosedClouds
        In the camera's frame.
    category : (B,) int64
        Index into CATEGORIES.
    config : AugmentationConfig
        What to apply how often.
    generator : torch.Generator
        Of the clouds' device.
    mirrors : (B,) bool, optional
        As from `drawn_mirrors`, which is asked without it.

    Returns
    -------
    PosedClouds
        In the same frame.
    """
    batch, device = len(category), category.device

    def draw(low: float, high: float, share: float, width: int, neutral: float) -> Tensor:
        """(B, width) uniform in low..high for a share of the clouds, `neutral` for the others."""
        values = low + (high - low) * torch.rand(batch, width, generator=generator, device=device)
        return torch.where(torch.rand(batch, 1, generator=generator, device=device) < share, values, neutral)

    if config.mirrored > 0:
        clouds = mirrored(clouds, drawn_mirrors(category, config, generator) if mirrors is None else mirrors)
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
    """Reflect clouds in the camera's plane x = 0, and the poses of objects that are symmetric about their plane z = 0.

    Parameters
    ----------
    clouds : PosedClouds
        In the camera's frame.
    which : (B,) bool
        The clouds that are reflected.

    Returns
    -------
    PosedClouds
        Proper rotations stay proper.
    """
    x = torch.where(which, -1.0, 1.0)[:, None]
    # of x in the camera's frame, of z in the object's
    flip = torch.cat([x, torch.ones_like(x), torch.ones_like(x)], dim=1)
    rotation = flip[:, :, None] * clouds.rotation * flip[:, None].flip(-1)
    surface = clouds.surface * torch.cat([flip, torch.ones_like(x)], dim=1)
    return PosedClouds(clouds.points * flip[:, None], rotation, clouds.translation * flip, clouds.size, surface)


def box_scaled(clouds: PosedClouds, factor: Tensor, symmetric: Tensor) -> PosedClouds:
    """Stretch objects along their own axes.

    Parameters
    ----------
    clouds : PosedClouds
        In any frame.
    factor : (B, 3) float
        Of x, y and z of each object.
    symmetric : (B,) bool
        Objects that are round about y: x and z get the mean of their factors.

    Returns
    -------
    PosedClouds
        Sizes follow, poses stay.
    """
    mean = (factor[:, 0] + factor[:, 2]) / 2
    round_factor = torch.stack([mean, factor[:, 1], mean], dim=-1)
    factor = torch.where(symmetric[:, None], round_factor, factor)
    local = to_object(clouds) * factor[:, None]
    return clouds._replace(points=from_object(local, clouds), size=clouds.size * factor)


def tapered(clouds: PosedClouds, top: Tensor, bottom: Tensor, widest_at_top: Tensor) -> PosedClouds:
    """Widen objects at their upper and lower ends, linearly in between.

    The box of a body that is widest at its top (bowl) follows the top. Of a cylinder with a handle half-way up at +x
    (mug), z and -x follow the wider end, and +x the middle: the centre moves along x. This is exact for such shapes and
    near for others. Where both factors are 1 nothing changes.

    Parameters
    ----------
    clouds : PosedClouds
        In any frame.
    top, bottom : (B,) float
        Factors of the width at the upper and at the lower end.
    widest_at_top : (B,) bool
        Bowls; else mugs.

    Returns
    -------
    PosedClouds
        With the tight boxes of the tapered objects.
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
    """Turn clouds and objects about the objects' centres, then shift them.

    Parameters
    ----------
    clouds : PosedClouds
        In any frame.
    rotation : (B, 3, 3) float
        The turn.
    shift : (B, 3) float
        The shift [m].

    Returns
    -------
    PosedClouds
        Sizes stay.
    """
    centre = clouds.translation[:, None]
    points = exact_product(clouds.points - centre, rotation.transpose(1, 2)) + centre + shift[:, None]
    turned = exact_product(rotation, clouds.rotation)
    return clouds._replace(points=points, rotation=turned, translation=clouds.translation + shift)


def euler_rotation(angles: Tensor) -> Tensor:
    """Compose rotations about x, then y, then z.

    Parameters
    ----------
    angles : (B, 3) float
        About the fixed axes [rad].

    Returns
    -------
    (B, 3, 3) float
        Rotations.
    """
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
    """Bring points into the frame of their object.

    Parameters
    ----------
    clouds : PosedClouds
        In any frame.

    Returns
    -------
    (B, N, 3) float
        Points, object frame [m].
    """
    return exact_product(clouds.points - clouds.translation[:, None], clouds.rotation)


def from_object(local: Tensor, clouds: PosedClouds) -> Tensor:
    """Bring points out of the frame of their object: the inverse of `to_object`.

    Parameters
    ----------
    local : (B, N, 3) float
        Points, object frame [m].
    clouds : PosedClouds
        Whose poses count.

    Returns
    -------
    (B, N, 3) float
        Points in the frame of the clouds [m].
    """
    return exact_product(local, clouds.rotation.transpose(1, 2)) + clouds.translation[:, None]
