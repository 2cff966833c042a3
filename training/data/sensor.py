"""What a depth camera and a detector do to a clean crop, drawn anew for a whole batch on the device of its tensors.

Genuine frames differ from rendered ones in ways that decide accuracy. The mask is registered to the depth only to a few
pixels, so that about a tenth of its points lie on the background *behind* the object. The depth carries an offset of
some millimetres, waves, quantisation and holes. The mask itself has bays, holes and cuts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class SensorConfig:
    """Spread of each error. A pair is the range of a uniform draw for each view; pixels are image pixels.

    Parameters
    ----------
    shift_px : (float, float)
        Standard deviation of the offset between mask and depth [px].
    boundary_px : float
        Scale on which the mask boundary wanders [px].
    boundary_level : (float, float)
        Level at which the softened mask is cut. Below 0.5 it grows.
    pushed : float
        Share of views whose background is moved away: the generated scenes have too few edges of tables.
    push_m : (float, float)
        How far [m].
    hole_share : (float, float)
        Share of the depth pixels in holes.
    speckle_share : float
        Share of single depth pixels without a measurement.
    cheese : float
        Share of views whose mask has many holes.
    cheese_share : (float, float)
        Share of the mask in these holes.
    cut : float
        Share of views that lose a part to an occluder or a poor mask.
    axial_noise : (float, float)
        Standard deviation at 1 m [m]; grows with z².
    disparity_step : (float, float)
        Quantisation at 1 m [m]; grows with z².
    wave_m : (float, float)
        Low-frequency error [m].
    strong_wave : float
        Share of views with four times the wave: dark screens, glossy glaze.
    long_wave : float
        Share of views whose waves are three times as long.
    bias : float
        Standard deviation of the relative depth offset.
    edge_mix : (float, float)
        How far depth is smeared across edges; 1 is the mean of both sides.
    smoothed : float
        Share of views whose depth is a mean over small windows, as stereo matching gives it.
    shadow : float
        Share of views of cameras with a projector or a second eye, which does not see all that the first one sees.
    baseline_m : (float, float)
        Between the two [m].
    outlier_share : float
        Share of depth pixels that are astray by centimetres.
    intrinsics : float
        Standard deviation of the relative focal error.
    """

    shift_px: tuple[float, float] = (0.0, 5.5)
    boundary_px: float = 3.0
    boundary_level: tuple[float, float] = (0.08, 0.75)
    pushed: float = 0.5
    push_m: tuple[float, float] = (0.0, 0.5)
    hole_share: tuple[float, float] = (0.02, 0.14)
    speckle_share: float = 0.02
    cheese: float = 0.25
    cheese_share: tuple[float, float] = (0.05, 0.55)
    cut: float = 0.25
    axial_noise: tuple[float, float] = (0.0005, 0.0035)
    disparity_step: tuple[float, float] = (0.0005, 0.003)
    wave_m: tuple[float, float] = (0.0, 0.005)
    strong_wave: float = 0.12
    long_wave: float = 0.0
    bias: float = 0.005
    edge_mix: tuple[float, float] = (0.0, 0.8)
    smoothed: float = 0.2
    shadow: float = 0.4
    baseline_m: tuple[float, float] = (0.015, 0.08)
    outlier_share: float = 0.01
    intrinsics: float = 0.01


def _uniform(low_high: tuple[float, float], batch: int, like: Tensor, generator: torch.Generator) -> Tensor:
    low, high = low_high
    return low + (high - low) * torch.rand(batch, 1, 1, generator=generator, device=like.device)


def _chance(share: float, batch: int, like: Tensor, generator: torch.Generator) -> Tensor:
    return torch.rand(batch, 1, 1, generator=generator, device=like.device) < share


def _waves(like: Tensor, cell: float, generator: torch.Generator) -> Tensor:
    """Smooth fields shaped as `like` (B, H, W), of unit variance (nearly), with waves about `cell` pixels long."""
    batch, *shape = like.shape
    cells = [max(2, round(length / cell)) for length in shape]
    coarse = torch.randn(batch, *cells, generator=generator, device=like.device)
    rows, columns = (_between(few, many, like.device) for few, many in zip(cells, shape, strict=True))
    # products, not torch's interpolation: that took a sixth of a step on a GPU
    return 1.4 * (rows @ coarse) @ columns.T


@cache
def _between(few: int, many: int, device: torch.device) -> Tensor:
    """Weights (many, few) that interpolate linearly from one to the other, the ends onto the ends."""
    place = torch.linspace(0, few - 1, many, device=device)[:, None]
    return (1 - (place - torch.arange(few, device=device)).abs()).clamp(min=0)


def _box_mean(image: Tensor, reach: int) -> Tensor:
    """Mean over (2 reach + 1)² pixels, the border repeated: slices added up, several times faster on a CPU than pooling
    one channel.
    """
    padded = F.pad(image[:, None], (reach,) * 4, mode="replicate")[:, 0]
    rows, columns = image.shape[1:]
    summed = sum(padded[:, i : i + rows] for i in range(2 * reach + 1))
    return sum(summed[:, :, i : i + columns] for i in range(2 * reach + 1)) / (2 * reach + 1) ** 2


def _shift(image: Tensor, dx: Tensor, dy: Tensor) -> Tensor:
    """Move each image of (batch, height, width) by whole pixels (batch, 1, 1); the border is repeated."""
    batch, height, width = image.shape
    rows = (torch.arange(height, device=image.device)[None, :, None] - dy).clamp(0, height - 1)
    columns = (torch.arange(width, device=image.device)[None, None, :] - dx).clamp(0, width - 1)
    return image[torch.arange(batch, device=image.device)[:, None, None], rows, columns]


def mask_shift(pixels: Tensor, config: SensorConfig, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Draw how far mask and colour lie beside the depth.

    Parameters
    ----------
    pixels : (B,) float
        Image pixels per pixel of the crops.
    config : SensorConfig
        Spread of the errors.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    dx, dy : (B, 1, 1) int64
        To the right and down, in pixels of the crops.
    """
    px = pixels[:, None, None]
    shift = _uniform(config.shift_px, len(pixels), px, generator) / px
    dx, dy = (
        (torch.randn(len(pixels), 1, 1, generator=generator, device=px.device) * shift).round().long() for _ in range(2)
    )
    return dx, dy


def detected_mask(
    target: Tensor,
    pixels: Tensor,
    config: SensorConfig,
    generator: torch.Generator,
    shift: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Draw what a detector makes of the true mask.

    Parameters
    ----------
    target : (B, H, W) bool
        The true mask.
    pixels : (B,) float
        Image pixels per pixel of these crops.
    config : SensorConfig
        Spread of the errors.
    generator : torch.Generator
        Of the same device.
    shift : (Tensor, Tensor), optional
        As from `mask_shift`, which is asked without it.

    Returns
    -------
    (B, H, W) bool
        The detected mask.
    """
    batch, height, width = target.shape
    px = pixels[:, None, None]
    dx, dy = mask_shift(pixels, config, generator) if shift is None else shift
    mask = _shift(target, dx, dy).float()

    # The boundary wanders by about `boundary_px`: soften the mask over that reach, disturb it, cut it at a level drawn
    # for the view.
    smooth = _box_mean(mask, 2)
    reach = (config.boundary_px / (2.5 * px)).clamp(max=1.0)
    soft = mask + reach * (smooth - mask) + 0.12 * reach * _waves(smooth, 4.5, generator)
    mask = (smooth > 0) & (soft > _uniform(config.boundary_level, batch, px, generator))

    holes = _waves(smooth, 3.3, generator)
    share = _uniform(config.cheese_share, batch, px, generator)
    # The quantile of a unit normal, near enough for a spread.
    cheese = (holes > 1.4142 * torch.erfinv(1 - 2 * share)) & _chance(config.cheese, batch, px, generator)

    # A straight cut: the part of the crop beyond a line through a random point near the object's rim.
    rows, columns = (torch.linspace(-1, 1, length, device=px.device) for length in (height, width))
    angle = _uniform((0, 6.2832), batch, px, generator)
    across = columns[None, None, :] * torch.cos(angle) + rows[None, :, None] * torch.sin(angle)
    cut = (across > _uniform((0.05, 0.75), batch, px, generator)) & _chance(config.cut, batch, px, generator)
    return mask & ~cheese & ~cut


def pushed_background(depth: Tensor, target: Tensor, config: SensorConfig, generator: torch.Generator) -> Tensor:
    """Move all but the target back along the rays, by a distance drawn for the view.

    Parameters
    ----------
    depth : (B, H, W) float
        Clean [m].
    target : (B, H, W) bool
        The true mask.
    config : SensorConfig
        How often and how far.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, H, W) float
        Depth [m].
    """
    push = _uniform(config.push_m, len(depth), depth, generator) * _chance(config.pushed, len(depth), depth, generator)
    return torch.where(target | (depth == 0), depth, depth + push)


def shadows(depth: Tensor, tangent: Tensor, config: SensorConfig, generator: torch.Generator) -> Tensor:
    """Find what a projector or a second eye beside the camera does not see.

    The two are apart along the rows, so what hides a pixel from one of them lies in its row. What is outside of the
    crop casts no shadow.

    Parameters
    ----------
    depth : (B, H, W) float
        Clean [m]; 0 where nothing is.
    tangent : (B,) float
        Between neighbouring pixels, of the angle to the optical axis.
    config : SensorConfig
        How often, and how far apart.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, H, W) bool
        True for pixels without a measurement.
    """
    batch, _, width = depth.shape
    baseline = _uniform(config.baseline_m, batch, depth, generator) * _chance(config.shadow, batch, depth, generator)
    right = _chance(0.5, batch, depth, generator)
    seen = torch.where(right, depth, depth.flip(-1))  # with the second at the right
    tangent = tangent[:, None, None]
    there = tangent * torch.arange(width, device=depth.device) - baseline / seen.clamp(min=0.05)
    nearest = torch.where(seen > 0, there, torch.inf).flip(-1).cummin(-1).values.flip(-1)
    hidden = there > nearest + 0.5 * tangent
    return torch.where(right, hidden, hidden.flip(-1))


def measured_depth(depth: Tensor, config: SensorConfig, generator: torch.Generator) -> Tensor:
    """Draw what a depth camera makes of clean depth.

    Parameters
    ----------
    depth : (B, H, W) float
        Clean [m]; 0 where nothing is.
    config : SensorConfig
        Spread of the errors.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, H, W) float
        Depth [m]; 0 where nothing was measured.
    """
    batch = len(depth)
    seen = depth > 0
    mean = _box_mean(depth, 1)
    step = (mean - depth).abs() > 0.008
    even = torch.rand(depth.shape, generator=generator, device=depth.device)
    mix = _uniform(config.edge_mix, batch, depth, generator) * even
    level = depth
    if config.smoothed > 0:  # as with long waves below
        level = torch.where(_chance(config.smoothed, batch, depth, generator), mean, depth)
    depth = torch.where(step, depth + mix * (mean - depth), level)

    z2 = depth * depth
    fine = torch.randn(depth.shape, generator=generator, device=depth.device)
    coarse = _box_mean(fine, 1) * 3
    noise = (
        torch.where(_chance(0.5, batch, depth, generator), fine, coarse)
        * _uniform(config.axial_noise, batch, depth, generator)
        * z2
    )
    wave = _uniform(config.wave_m, batch, depth, generator) * torch.where(
        _chance(config.strong_wave, batch, depth, generator), 4.0, 1.0
    )
    waves = _waves(depth, 10.0, generator)
    if config.long_wave > 0:  # none is drawn where none is wanted, so that seeds give what they gave
        waves = torch.where(_chance(config.long_wave, batch, depth, generator), _waves(depth, 32.0, generator), waves)
    noise = noise + wave * waves
    bias = 1 + config.bias * torch.randn(batch, 1, 1, generator=generator, device=depth.device)
    quantum = _uniform(config.disparity_step, batch, depth, generator)
    disparity = (1 / ((depth * bias + noise).clamp(min=0.05)) / quantum).round()
    measured = 1 / (disparity * quantum).clamp(min=1e-3)

    # one draw serves twice: it is independent of `fine`, and edges are few
    astray = (even - 0.5).abs() < config.outlier_share / 2
    measured = torch.where(astray, measured + 0.08 * fine, measured)

    share = _uniform(config.hole_share, batch, depth, generator)
    hole = _waves(depth, 2.4, generator) > 1.4142 * torch.erfinv(1 - 2 * share)
    hole |= even > 1 - config.speckle_share
    return torch.where(seen & ~hole, measured.clamp(min=0.05), 0.0)


def sample_cloud(
    depth: Tensor,
    mask: Tensor,
    rays: Tensor,
    samples: int,
    radius: Tensor,
    config: SensorConfig,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """Draw clouds from masked crops: the batched torch twin of `core.backprojection` and `core.sampling`.

    Parameters
    ----------
    depth : (B, G, G) float
        Measured [m].
    mask : (B, G, G) bool
        Detected.
    rays : (B, 4) float
        As in `training.data.row_format`.
    samples : int
        Points of a cloud.
    radius : (B,) float
        Of the cut about the median [m].
    config : SensorConfig
        Its focal error.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    points : (B, samples, 3) float32
        Camera frame [m].
    pixel : (B, samples) int64
        Index into the crop.
    usable : (B,) bool
        False where too few points are left.
    """
    batch, side, _ = depth.shape
    grid = torch.arange(side, device=depth.device, dtype=depth.dtype)
    focal = 1 + config.intrinsics * torch.randn(batch, 1, 1, generator=generator, device=depth.device)
    x = (rays[:, 0, None, None] + rays[:, 1, None, None] * grid[None, None, :]) * focal * depth
    y = (rays[:, 2, None, None] + rays[:, 3, None, None] * grid[None, :, None]) * focal * depth
    points = torch.stack([x, y, depth], dim=-1).flatten(1, 2)

    valid = (mask & (depth > 0)).flatten(1)
    first = _stratified(valid, samples, generator)
    median = torch.take_along_dim(points, first[..., None], 1).median(dim=1).values
    near = (points - median[:, None]).square().sum(-1) <= radius[:, None] ** 2
    valid = valid & near
    pixel = _stratified(valid, samples, generator)
    return torch.take_along_dim(points, pixel[..., None], 1), pixel, valid.sum(1) >= 32


def _stratified(valid: Tensor, samples: int, generator: torch.Generator) -> Tensor:
    """As `core.sampling.stratified_indices`, for each row of valid (B, P): indices (B, samples) of set pixels in raster
    order (0 where none is set).
    """
    count = valid.sum(1)
    start = count.cumsum(0) - count
    order = torch.cat([valid.nonzero()[:, 1], torch.zeros(1, dtype=torch.long, device=valid.device)])
    strata = torch.arange(samples, device=valid.device) + torch.rand(
        len(valid), samples, generator=generator, device=valid.device
    )
    rank = torch.minimum((strata * (count[:, None] / samples)).long(), (count[:, None] - 1).clamp(min=0))
    chosen = order[(start[:, None] + rank).clamp(max=len(order) - 1)]
    return torch.where(count[:, None] > 0, chosen, 0)
