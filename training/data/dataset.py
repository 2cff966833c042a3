"""From rows of views to batches of augmented, normalised clouds with their targets."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.core.categories import AXIS_SYMMETRIC
from clipose_ros.core.sampling import BOX_GROWTH, BOX_MARGIN_M, LEAST_INSIDE
from training.categories import among, category_scales
from training.data.augmentation import AugmentationConfig, PosedClouds, augmented, drawn_mirrors
from training.data.network_frames import (
    axis_rotation,
    facing_rotation,
    known_ground,
    known_place,
    level_rotation,
    quaternion_rotation,
    view_rotation,
)
from training.data.picture_augmentation import PictureAugmentation, augmented_pictures
from training.data.row_format import DEPTH_UNIT_M, GRID, LEAST_COLOUR_PX, TARGET
from training.data.sensor import (
    SensorConfig,
    detected_mask,
    mask_shift,
    measured_depth,
    pushed_background,
    sample_cloud,
    shadows,
)
from training.optimisation.precision import exact_product

STRAIGHT = math.cos(math.radians(4))  # between up and an axis of an object that stands or lies straight
NEARLY_STRAIGHT = math.cos(math.radians(12))  # between up and what is seen of it, for a pose to be set onto that


@dataclass(frozen=True)
class GroundConfig:
    """What a network is told of the surfaces below its clouds, and how wrong that is.

    Parameters
    ----------
    known : float
        Share of the rows with a surface whose normal is told. The paper has none.
    height_known : float
        Share of these whose height is told, too.
    tilt_deg : float
        Standard deviation of the normal's error [deg].
    poor : float
        Share of the normals whose error is larger.
    poor_tilt_deg : float
        Standard deviation of these [deg].
    height_m : float
        Standard deviation of the height's error [m].
    wrong : float
        Share of the surfaces that are another: a wall, a box, another shelf.
    wrong_tilt_deg : float
        Largest angle between the two [deg].
    wrong_height_m : float
        Largest distance between the two [m].
    """

    known: float = 0.72
    height_known: float = 0.88
    tilt_deg: float = 0.8
    poor: float = 0.15
    poor_tilt_deg: float = 2.5
    height_m: float = 0.003
    wrong: float = 0.05
    wrong_tilt_deg: float = 90.0
    wrong_height_m: float = 0.06

    def __post_init__(self) -> None:
        for name in ("known", "height_known", "poor", "wrong"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"ground.{name}: expected a share in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class PriorConfig:
    """Poses that a network refines, by how far they are from the truth.

    Parameters
    ----------
    given : bool
        Whether clouds come in the frame of such a pose.
    turn_deg, tilt_deg : float
        Standard deviations of the turn about the object's y axis, and of the tilt of that [deg].
    far : float
        Share whose errors are larger.
    far_factor : float
        By so much.
    at_rest : float
        Share of the objects that stand or lie straight whose poses do so, too, on the surface as it is seen: they are
        turned about up instead of tilted.
    swapped : float
        Share that is turned by half a turn about one of the object's axes, too.
    lost : float
        Share that is turned in any way at all: what a network says of such a pose tells it from a good one.
    offset : float
        Standard deviation of the centre along each axis [scale].
    size : float
        Standard deviation of the extents' logarithm.
    growth, margin_m : float
        Of the box of the pose: points outside of what that makes are background.
    """

    given: bool = False
    turn_deg: float = 7.0
    tilt_deg: float = 5.0
    far: float = 0.25
    far_factor: float = 4.0
    at_rest: float = 0.5
    swapped: float = 0.2
    lost: float = 0.06
    offset: float = 0.03
    size: float = 0.07
    growth: float = BOX_GROWTH
    margin_m: float = BOX_MARGIN_M

    def __post_init__(self) -> None:
        for name in ("far", "at_rest", "swapped", "lost"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"prior.{name}: expected a share in 0..1, got {getattr(self, name)}")


@dataclass(frozen=True)
class BatchConfig:
    """How rows become clouds and targets.

    Parameters
    ----------
    points : int
        Of a cloud.
    outlier_radius : float
        Points farther from the median are left out, as at run time [category's scale].
    scale_jitter : float
        Clouds and sizes are multiplied by up to 1 ± this.
    hidden_cue : float
        Share of a mug's visible pixels below which its handle counts as hidden.
    hidden_weight : float
        Weight of the x axis of such a mug. The paper has 0, as GPV-Pose.
    simulate : bool
        Whether rendered views go through the sensor model. The paper has no such model.
    mask_noise : float
        Share of the views outside of the sensor model whose mask gets a detector's errors. The paper has 0.5.
    sensor : SensorConfig
        Errors of camera and detector.
    augmentation : AugmentationConfig
        Changes of the posed clouds.
    ground : GroundConfig
        What is told of surfaces.
    prior : PriorConfig
        What a network that refines begins with.
    pictures : PictureAugmentation
        Changes of the pictures, for networks that see them.

    Raises
    ------
    ValueError
        If surfaces are told beside augmentations that take an object off its surface.
    """

    points: int = 1024
    outlier_radius: float = 0.8
    scale_jitter: float = 0.12
    hidden_cue: float = 0.01
    hidden_weight: float = 0.15
    simulate: bool = True
    mask_noise: float = 0.0
    sensor: SensorConfig = field(default_factory=SensorConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    ground: GroundConfig = field(default_factory=GroundConfig)
    prior: PriorConfig = field(default_factory=PriorConfig)
    pictures: PictureAugmentation = field(default_factory=PictureAugmentation)

    def __post_init__(self) -> None:
        moving = [name for name in ("box_scale", "taper", "rigid") if getattr(self.augmentation, name) > 0]
        if self.ground.known > 0 and moving:
            raise ValueError(f"ground.known: expected 0 with {', '.join(moving)}, got {self.ground.known}")


def seen_surfaces(surface: Tensor, config: GroundConfig, generator: torch.Generator) -> Tensor:
    """Draw what is found out about the surfaces below objects.

    Parameters
    ----------
    surface : (B, 4) float
        As in `training.data.row_format`.
    config : GroundConfig
        How often and how well they are known.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, 4) float
        As for `core.normalization.to_network`.
    """

    def chance(share: float) -> Tensor:
        return torch.rand(len(surface), generator=generator, device=surface.device) < share

    def normal(*shape: int) -> Tensor:
        return torch.randn(len(surface), *shape, generator=generator, device=surface.device)

    up, offset = surface[:, :3], surface[:, 3]
    known, high, wrong = up.any(-1) & chance(config.known), chance(config.height_known), chance(config.wrong)
    tilt = normal() * torch.where(chance(config.poor), config.poor_tilt_deg, config.tilt_deg)
    spread = 2 * torch.rand(2, len(surface), generator=generator, device=surface.device) - 1
    tilt = torch.where(wrong, config.wrong_tilt_deg * spread[0], tilt).deg2rad()[:, None]
    across = normal(3)
    across = F.normalize(across - (across * up).sum(-1, keepdim=True) * up, dim=-1)
    tilted = tilt.cos() * up + tilt.sin() * across
    offset = offset + torch.where(wrong, config.wrong_height_m * spread[1], config.height_m * normal())
    offset = torch.where(high, offset, torch.nan)
    return torch.where(known[:, None], torch.cat([tilted, offset[:, None]], dim=-1), 0.0)


def drawn_priors(
    clouds: PosedClouds, seen: Tensor, scale: Tensor, config: PriorConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw poses that are somewhat wrong.

    Parameters
    ----------
    clouds : PosedClouds
        With the true poses and surfaces.
    seen : (B, 4) float
        Surfaces as from `seen_surfaces`.
    scale : (B,) float
        One unit of the network [m].
    config : PriorConfig
        How wrong.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    rotation : (B, 3, 3) float
        R_camera_object of the poses.
    translation : (B, 3) float
        t_camera_object [m].
    size : (B, 3) float
        Extents [m].
    """
    count, device = len(scale), scale.device

    def chance(share: float) -> Tensor:
        return torch.rand(count, generator=generator, device=device) < share

    def normal(*shape: int) -> Tensor:
        return torch.randn(count, *shape, generator=generator, device=device)

    y = torch.eye(3, device=device)[1].expand(count, 3)
    factor = torch.where(chance(config.far), config.far_factor, 1.0)
    turn, spin = ((config.turn_deg * factor * normal()).deg2rad() for _ in range(2))
    tilt = (config.tilt_deg * factor * normal()).deg2rad()
    about = 2 * torch.pi * torch.rand(count, generator=generator, device=device)
    level = torch.stack([about.cos(), torch.zeros_like(about), about.sin()], dim=-1)
    turned = exact_product(clouds.rotation, axis_rotation(y, turn))
    tilted = exact_product(turned, axis_rotation(level, tilt))

    up, seen_up = clouds.surface[:, :3], seen[:, :3]
    straight = exact_product(up[:, None], clouds.rotation)[:, 0].abs()  # cosines between up and the object's axes
    rests = (straight[:, :2].amax(-1) > STRAIGHT) | (straight[:, 1] < math.sqrt(1 - STRAIGHT**2))
    rests = rests & ((up * seen_up).sum(-1) > NEARLY_STRAIGHT) & chance(config.at_rest)
    across = torch.linalg.cross(up, seen_up)
    settled = axis_rotation(F.normalize(across, dim=-1), across.norm(dim=-1).clamp(max=1).asin())
    resting = exact_product(axis_rotation(seen_up, spin), exact_product(settled, turned))

    rotation = torch.where(rests[:, None, None], resting, tilted)
    which = torch.eye(3, device=device)[torch.randint(3, (count,), generator=generator, device=device)]
    half = 2 * which.diag_embed() - torch.eye(3, device=device)
    rotation = torch.where(chance(config.swapped)[:, None, None], exact_product(rotation, half), rotation)
    quaternion = F.normalize(normal(4), dim=-1)
    rotation = torch.where(chance(config.lost)[:, None, None], quaternion_rotation(quaternion), rotation)
    moved = clouds.translation + (config.offset * factor * scale)[:, None] * normal(3)
    return rotation, moved, clouds.size * (config.size * normal(3)).exp()


def only_inside(points: Tensor, foreground: Tensor, inside: Tensor) -> tuple[Tensor, Tensor]:
    """Put repetitions of the points inside a box in the places of those outside, in their order.

    Parameters
    ----------
    points : (B, N, 3) float
        Clouds.
    foreground : (B, N) float
        Of the points.
    inside : (B, N) bool
        Which points are inside. A cloud that has few of them stays as it is.

    Returns
    -------
    points, foreground : Tensor
        With the same shapes.
    """
    index = inside_first(inside)
    return points.gather(1, index[..., None].expand(-1, -1, 3)), foreground.gather(1, index)


def inside_first(inside: Tensor) -> Tensor:
    """Say which points take the places of others in `only_inside`.

    Parameters
    ----------
    inside : (B, N) bool
        Which points are inside.

    Returns
    -------
    (B, N) int64
        Their indices.
    """
    length, device = inside.shape[1], inside.device
    count = inside.sum(1)
    enough = count >= LEAST_INSIDE * length
    order = (~inside).byte().argsort(dim=1, stable=True)
    spread = torch.arange(length, device=device) * count.clamp(min=1)[:, None] // length
    return torch.where(enough[:, None], order.gather(1, spread), torch.arange(length, device=device))


def make_batch(
    rows: dict[str, Tensor], patches: int, config: BatchConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Augment and normalise views, on the device of their tensors.

    Parameters
    ----------
    rows : dict of Tensor
        Arrays of `row_format.ROW_TYPES`. The sensor model is applied to all but those that say `measured`.
    patches : int
        Points of each cloud that get object coordinates, evenly spaced.
    config : BatchConfig
        How clouds are made.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    dict of Tensor
        The network's input: points (B, N, 3) normalised, category (B,), and ground (B, 4), or (B, 9) beside priors; the
        targets that `losses.pose_losses` names, with rotation (B, 3, 3) R_network_object, of axis-symmetric objects the
        one that faces the camera; camera (B, 3), the camera's place in the network frame [scale]; camera_rotation
        (B, 3, 3) and camera_translation (B, 3) [m], the pose as the data have it, of which the texts of the alignment
        speak; and usable (B,) bool, False where too few points are left. Where pictures are asked for, also picture
        (B, 3, S, S) float32 RGB, 0..1, black all over where there is none, and places (B, N, 2), where the points are
        in it, as shares of its sides.
    """
    category = rows["category"]
    scale = category_scales().to(category.device)[category]
    points, foreground, usable, places = observed_clouds(rows, config.outlier_radius * scale, config, generator)

    stretch = 1 + config.scale_jitter * (2 * torch.rand(len(points), generator=generator, device=points.device) - 1)
    clouds = PosedClouds(
        points * stretch[:, None, None],
        rows["rotation"],
        rows["translation"] * stretch[:, None],
        rows["size"] * stretch[:, None],
        surfaces_of(rows) * torch.where(torch.arange(4, device=points.device) == 3, stretch[:, None], 1.0),
    )
    mirrors = drawn_mirrors(category, config.augmentation, generator)
    clouds = augmented(clouds, category, config.augmentation, generator, mirrors)
    points, rotation, translation, size, surface = clouds

    centre = points.median(dim=1).values
    usable = usable & (centre[:, 2] > 0.05)
    centre = torch.where(usable[:, None], centre, torch.tensor([0.0, 0.0, 1.0], device=centre.device))
    surface = seen_surfaces(surface, config.ground, generator)
    symmetric = among(category, *AXIS_SYMMETRIC)
    if config.prior.given:
        prior = config.prior
        R_camera_prior, centre, box = drawn_priors(clouds, surface, scale, prior, generator)
        facing = facing_rotation(R_camera_prior, -centre)
        R_camera_prior = torch.where(symmetric[:, None, None], facing, R_camera_prior)
        R_network_camera = R_camera_prior.transpose(1, 2)
        local = exact_product(points - centre[:, None], R_camera_prior)
        inside = (local.abs() <= (0.5 * prior.growth * box + prior.margin_m)[:, None]).all(-1)
        points, foreground = only_inside(points, foreground, inside)
        places = places.gather(1, inside_first(inside)[..., None].expand(-1, -1, 2))
        ground = known_place(centre, R_network_camera, surface, scale)
    else:
        level = surface[:, :3].any(-1)[:, None, None]
        R_network_camera = torch.where(level, level_rotation(centre, surface[:, :3]), view_rotation(centre))
        ground = known_ground(centre, surface, scale)
    normalised = exact_product(points - centre[:, None], R_network_camera.transpose(1, 2)) / scale[:, None, None]
    offset = exact_product(R_network_camera, (translation - centre)[..., None])[..., 0] / scale[:, None]
    camera = -exact_product(R_network_camera, centre[..., None])[..., 0]
    rotation = exact_product(R_network_camera, rotation)
    rotation = torch.where(symmetric[:, None, None], facing_rotation(rotation, camera), rotation)

    step = config.points // patches
    coordinates = exact_product(normalised[:, ::step] - offset[:, None], rotation)  # R^T (p - t), row by row
    # What lies outside the object's box cannot be its surface, whatever the clean label says (outliers, smeared edges).
    inside = (coordinates.abs() <= 0.55 * (size / scale[:, None])[:, None] + 0.03).all(-1)
    hidden = among(category, "mug") & (rows["cue"] < config.hidden_cue)
    x_weight = torch.where(symmetric, 0.0, torch.where(hidden, config.hidden_weight, 1.0))
    seen = {}
    if config.pictures.given:  # last: what is drawn before is the same for a network without
        picture, places = augmented_pictures(pictures_of(rows), places, mirrors, config.pictures, generator)
        seen = {"picture": picture, "places": places}
    return seen | {
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
        "foreground": foreground[:, ::step] * inside,
        "rotation": rotation,
        "camera": camera / scale[:, None],
        "ground": ground,
        # as the data have them: the texts of the alignment are made of these, and its images show them
        "camera_rotation": rows["rotation"],
        "camera_translation": rows["translation"],
    }


def pictures_of(rows: dict[str, Tensor]) -> Tensor:
    """Give the pictures of rows.

    Parameters
    ----------
    rows : dict of Tensor
        As for `make_batch`.

    Returns
    -------
    (B, S, S, 3) uint8
        RGB, black all over where the rows have none.
    """
    if "colour" in rows:
        return rows["colour"]
    return rows["label"].new_zeros(len(rows["category"]), LEAST_COLOUR_PX, LEAST_COLOUR_PX, 3)


def surfaces_of(rows: dict[str, Tensor]) -> Tensor:
    """Give the surfaces below the objects of rows.

    Parameters
    ----------
    rows : dict of Tensor
        As for `make_batch`.

    Returns
    -------
    (B, 4) float32
        As in `training.data.row_format`, zero where the rows have none.
    """
    return rows["surface"] if "surface" in rows else rows["translation"].new_zeros(len(rows["category"]), 4)


def observed_clouds(
    rows: dict[str, Tensor], radius: Tensor, config: BatchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Draw what camera and detector make of views: simulated for rendered ones, as it is for measured ones.

    Parameters
    ----------
    rows : dict of Tensor
        As for `make_batch`.
    radius : (B,) float
        Of the cut about the median [m].
    config : BatchConfig
        How clouds are made.
    generator : torch.Generator
        Of the rows' device.

    Returns
    -------
    points : (B, N, 3) float32
        Camera frame [m].
    foreground : (B, N) float32
        1 where a point's pixel shows the object, else 0.
    usable : (B,) bool
        False where too few points are left.
    places : (B, N, 2) float32
        Where the picture shows the points, as shares of its sides: mask and colour lie beside the depth together.
    """
    measured = rows.get("measured")
    if not config.simulate:
        return _measured_clouds(rows, radius, config, generator)
    if measured is None or not measured.any():
        return _simulated_clouds(rows, radius, config, generator)
    if measured.all():
        return _measured_clouds(rows, radius, config, generator)
    parts = [(_simulated_clouds, ~measured), (_measured_clouds, measured)]
    made = [
        cloud({name: array[which] for name, array in rows.items()}, radius[which], config, generator)
        for cloud, which in parts
    ]
    order = torch.cat([which.nonzero()[:, 0] for _, which in parts]).argsort()
    return tuple(torch.cat(pair)[order] for pair in zip(*made, strict=True))


def _simulated_clouds(
    rows: dict[str, Tensor], radius: Tensor, config: BatchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    depth = rows["depth"].float() * DEPTH_UNIT_M
    target = rows["label"] == TARGET
    shift = mask_shift(rows["pixels"], config.sensor, generator)
    mask = detected_mask(target, rows["pixels"], config.sensor, generator, shift)
    depth = pushed_background(depth, target, config.sensor, generator)
    shadow = shadows(depth, rows["rays"][:, 1], config.sensor, generator)
    depth = torch.where(shadow, 0.0, measured_depth(depth, config.sensor, generator))
    points, pixel, usable = sample_cloud(depth, mask, rows["rays"], config.points, radius, config.sensor, generator)
    return points, target.flatten(1).gather(1, pixel).float(), usable, _places(pixel, shift)


def _measured_clouds(
    rows: dict[str, Tensor], radius: Tensor, config: BatchConfig, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    depth = rows["depth"].float() * DEPTH_UNIT_M
    mask = target = rows["label"] == TARGET
    if config.mask_noise > 0:
        noisy = torch.rand(len(depth), 1, 1, generator=generator, device=depth.device) < config.mask_noise
        mask = torch.where(noisy, detected_mask(target, rows["pixels"], config.sensor, generator), target)
    points, pixel, usable = sample_cloud(
        depth, mask, rows["rays"], config.points, radius, replace(config.sensor, intrinsics=0.0), generator
    )
    return points, target.flatten(1).gather(1, pixel).float(), usable, _places(pixel)


def _places(pixel: Tensor, shift: tuple[Tensor, Tensor] | None = None) -> Tensor:
    """Places (B, N, 2) of crop pixels (B, N) in the picture, as shares of its sides."""
    columns, rows = pixel % GRID, pixel // GRID
    if shift is not None:  # the picture moves with the mask
        columns, rows = columns - shift[0][:, 0], rows - shift[1][:, 0]
    return (torch.stack([columns, rows], dim=-1).float() + 0.5) / GRID
