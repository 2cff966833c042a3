"""Batches of scenes, made on the device of their tensors: what a camera saw, channels, and the truth of the masks.

The channels are those of `clipose_ros.segmenters.depth_channels`, which sees one frame at a time and needs no torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.segmenters.centre_votes import OFFSET_UNIT
from clipose_ros.segmenters.depth_channels import HEIGHT_M, LOW_M, PIXEL_M, RELIEF, RELIEF_M, SMOOTHING
from training.data.scene_format import DEPTH_UNIT_M, IGNORED, MOST_OBJECTS
from training.data.sensor import SensorConfig, measured_depth, shadows

# without a bias: the surface is found on the clean depth, and what is measured must stand on it
SENSOR = SensorConfig(
    hole_share=(0.0, 0.1),
    speckle_share=0.01,
    axial_noise=(0.0002, 0.0035),
    wave_m=(0.0, 0.003),
    long_wave=0.5,
    bias=0.0,
    outlier_share=0.004,
)


@dataclass(frozen=True)
class SceneVariation:
    """What is drawn anew whenever a scene is seen.

    Parameters
    ----------
    surface_unknown : float
        Share of the scenes whose surface is kept from the networks.
    surface_off_m : float
        Standard deviation of the surface's place [m].
    surface_off_deg : float
        Of its direction [deg].
    size : float
        Standard deviation of the logarithm by which a scene, with all in it, is larger than it was.
    """

    surface_unknown: float = 0.04
    surface_off_m: float = 0.0012
    surface_off_deg: float = 0.25
    size: float = 0.06


@dataclass(frozen=True)
class Scenes:
    """A batch of frames with their truth.

    Parameters
    ----------
    z : (B, H, W) float32 Tensor
        Depth [m]; 0 where none is valid.
    label : (B, H, W) int64 Tensor
        As `scene_format.SCENE_ARRAYS`.
    category : (B, MOST_OBJECTS) int64 Tensor
        Of the objects.
    intrinsics : (B, 4) float32 Tensor
        fx, fy, cx, cy [px].
    up : (B, 3) float32 Tensor
        Direction up, camera frame.
    offset : (B,) float32 Tensor
        Of the surface [m]; NaN where none is known.
    """

    z: Tensor
    label: Tensor
    category: Tensor
    intrinsics: Tensor
    up: Tensor
    offset: Tensor

    def rays(self) -> tuple[Tensor, Tensor]:
        """Give the rays through the pixels.

        Returns
        -------
        x, y : (B, 1, W), (B, H, 1) Tensor
            At z = 1.
        """
        h, w = self.z.shape[1:]
        fx, fy, cx, cy = self.intrinsics.T
        columns, rows = (torch.arange(n, device=self.z.device, dtype=torch.float32) for n in (w, h))
        x = (columns[None] - cx[:, None]) / fx[:, None]
        y = (rows[None] - cy[:, None]) / fy[:, None]
        return x[:, None, :], y[:, :, None]

    def height(self) -> Tensor:
        """Measure how high the pixels lie above the surface.

        Returns
        -------
        (B, H, W) Tensor
            Heights [m]; NaN where no surface is known.
        """
        x, y = self.rays()
        along = x * self.up[:, 0, None, None] + y * self.up[:, 1, None, None] + self.up[:, 2, None, None]
        return along * self.z - self.offset[:, None, None]

    def axes(self) -> Tensor:
        """Give the level axes of the scenes.

        Returns
        -------
        (B, 3, 3) Tensor
            Right, up and away as rows, camera frame.
        """
        forward, down = torch.eye(3, device=self.up.device)[2], -torch.eye(3, device=self.up.device)[1]
        away = torch.where((self.up[:, 2:].abs() < 0.9), forward, down)
        away = away - (away * self.up).sum(1, keepdim=True) * self.up
        away = away / away.norm(dim=1, keepdim=True)
        return torch.stack([torch.linalg.cross(away, -self.up), self.up, away], dim=1)


def seen_scenes(
    rows: dict[str, Tensor], generator: torch.Generator, variation: SceneVariation | None = SceneVariation()
) -> Scenes:
    """Draw what a camera sees of scenes.

    Parameters
    ----------
    rows : dict of Tensor
        As `scene_format.SCENE_ARRAYS`, depth as int32.
    generator : torch.Generator
        Of the same device.
    variation : SceneVariation or None
        What is drawn beside the noise of the sensor. None: neither that, nor are scenes mirrored.

    Returns
    -------
    Scenes
        The batch.
    """
    clean, label = rows["depth"].float() * DEPTH_UNIT_M, rows["label"]
    intrinsics, up, offset = rows["intrinsics"].clone(), rows["surface"][:, :3].clone(), rows["surface"][:, 3].clone()
    if variation is not None:
        batch, device = len(clean), clean.device
        larger = torch.exp(variation.size * torch.randn(batch, generator=generator, device=device).clamp(-2.5, 2.5))
        clean, offset = clean * larger[:, None, None], offset * larger
        mirrored = torch.rand(batch, generator=generator, device=device) < 0.5
        clean = torch.where(mirrored[:, None, None], clean.flip(2), clean)
        label = torch.where(mirrored[:, None, None], label.flip(2), label)
        intrinsics[:, 2] = torch.where(mirrored, clean.shape[2] - 1 - intrinsics[:, 2], intrinsics[:, 2])
        up[:, 0] = torch.where(mirrored, -up[:, 0], up[:, 0])
        drawn = torch.randn(batch, 4, generator=generator, device=device)
        up = F.normalize(up + math.radians(variation.surface_off_deg) * drawn[:, :3], dim=1)
        # turned about what is seen, not about the camera: the depth of the middle stays
        before = F.normalize(rows["surface"][:, :3], dim=1)
        before = torch.where(mirrored[:, None], before * before.new_tensor([-1.0, 1.0, 1.0]), before)
        pivot = torch.where(before[:, 2].abs() > 0.1, offset / before[:, 2], 0.0).clamp(0.0, 1.5)
        offset = offset + pivot * (up - before)[:, 2] + variation.surface_off_m * drawn[:, 3]
        unknown = torch.rand(batch, generator=generator, device=device) < variation.surface_unknown
        offset = torch.where(unknown, math.nan, offset)
    up = torch.where(offset.isnan()[:, None], up.new_tensor([0.0, -1.0, 0.0]), up)
    shadow = shadows(clean, 1 / intrinsics[:, 0], SENSOR, generator)
    z = torch.where(shadow, 0.0, measured_depth(clean, SENSOR, generator))
    return Scenes(z, label.long(), rows["category"].long(), intrinsics, up, offset)


def measured(depth: np.ndarray, seed: int) -> np.ndarray:
    """Draw what a sensor makes of the depth of scenes.

    Parameters
    ----------
    depth : (N, HEIGHT, WIDTH) uint16
        Of scenes [DEPTH_UNIT_M].
    seed : int
        Decides.

    Returns
    -------
    (N, HEIGHT, WIDTH) float32
        Depth [m]; 0 where nothing was measured.
    """
    generator = torch.Generator().manual_seed(seed)
    clean = torch.from_numpy(depth.astype(np.float32) * np.float32(DEPTH_UNIT_M))
    return torch.cat([measured_depth(part, SENSOR, generator) for part in clean.split(16)]).numpy()


def _box_mean(image: Tensor, side: int) -> Tensor:
    """Mean over side x side pixels of (B, H, W), the border repeated."""
    padded = F.pad(image[:, None], (side // 2,) * 4, mode="replicate")[:, 0]
    return _running_sum(_running_sum(padded, side, 1), side, 2) / side**2


def _running_sum(image: Tensor, length: int, dim: int) -> Tensor:
    """Sums of so many neighbours along a dimension, by doubling: torch pools one channel much more slowly on a CPU."""
    count = image.shape[dim] - length + 1
    total: Tensor | None = None
    size, done = 1, 0
    while True:
        if length & size:
            part = image.narrow(dim, done, count)
            total, done = part if total is None else total + part, done + size
        if 2 * size > length:
            return total
        left = image.shape[dim] - size
        image, size = image.narrow(dim, 0, left) + image.narrow(dim, size, left), 2 * size


def channels_of(scenes: Scenes, low_heights: bool = True) -> Tensor:
    """Compute what the masks network sees: the twin of `depth_channels.image_channels`.

    Parameters
    ----------
    scenes : Scenes
        The batch.
    low_heights : bool
        As there.

    Returns
    -------
    (B, CHANNELS, H, W) float32 Tensor
        Channels.
    """
    z, (x, y) = scenes.z, scenes.rays()
    fx, fy = scenes.intrinsics[:, 0, None, None], scenes.intrinsics[:, 1, None, None]
    valid = (z > 0).float()
    safe = torch.where(z > 0, z, 1.0)
    known = scenes.offset.isfinite()[:, None, None]
    height = torch.where(known, scenes.height(), 0.0)
    low = (height / LOW_M).clamp(-2.5, 4) if low_heights else known.float()
    share = _box_mean(valid, SMOOTHING).clamp(min=1e-3)
    smooth = _box_mean(valid / safe, SMOOTHING) / share
    wide = F.pad(smooth[:, None], (1, 1, 1, 1), mode="replicate")[:, 0]
    by_x = 0.5 * fx * (wide[:, 1:-1, 2:] - wide[:, 1:-1, :-2])
    by_y = 0.5 * fy * (wide[:, 2:, 1:-1] - wide[:, :-2, 1:-1])
    normal = torch.stack([by_x, by_y, smooth - x * by_x - y * by_y], dim=1)
    normal = -normal * (valid / (normal * normal).sum(1).sqrt().clamp(min=1e-6))[:, None]
    axes = scenes.axes()
    facing = [sum(axes[:, row, i, None, None] * normal[:, i] for i in range(3)) for row in range(3)]
    relief = ((_box_mean(z, RELIEF) / _box_mean(valid, RELIEF).clamp(min=1e-3) - z) / RELIEF_M).clamp(-3, 3)
    pixel = (safe / (fx * PIXEL_M)).log()
    height = (height / HEIGHT_M).clamp(-3, 6)
    return torch.stack([pixel * valid, height * valid, valid, *facing, relief * valid, low * valid], dim=1)


def cells_of(label: Tensor) -> Tensor:
    """Take the labels of the cells of the answer.

    Parameters
    ----------
    label : (B, H, W) Tensor
        Of pixels.

    Returns
    -------
    (B, H / 2, W / 2) Tensor
        Of the pixel at the top left of each cell.
    """
    return label[:, ::2, ::2]


def targets_of(label: Tensor) -> dict[str, Tensor]:
    """Make the truth of the network that finds objects, at half of the label image.

    Parameters
    ----------
    label : (B, H, W) int64 Tensor
        As of scenes.

    Returns
    -------
    dict of Tensor
        `object` and `centre` (B, h, w) in 0..1, `offset` (B, 2, h, w) [OFFSET_UNIT cells], and `weight` (B, h, w), 0
        where nothing is asked: small objects weigh more than their pixels, large ones less.
    """
    cells = cells_of(label)
    batch, h, w = cells.shape
    ignored = cells == IGNORED
    of = torch.where(ignored, 0, cells).flatten(1)
    columns, rows = (torch.arange(n, device=label.device, dtype=torch.float32) for n in (w, h))
    u, v = columns.expand(h, w).flatten(), rows[:, None].expand(h, w).flatten()

    def summed(values: Tensor) -> Tensor:
        empty = torch.zeros(batch, MOST_OBJECTS + 1, device=label.device)
        return empty.scatter_add(1, of, values.expand(batch, -1))

    count = summed(torch.ones_like(u))
    size = count.clamp(min=1)
    at_u, at_v = summed(u) / size, summed(v) / size
    found = (of > 0).view(batch, h, w)
    own_u, own_v, own = (torch.take_along_dim(values, of, 1) for values in (at_u, at_v, size))
    offset = torch.stack([own_u - u, own_v - v], dim=1).view(batch, 2, h, w) / OFFSET_UNIT * found[:, None]
    weight = torch.where(found, ((120 / own) ** 0.5).clamp(0.7, 4.0).view(batch, h, w), (~ignored).float())
    reach = 2 * (0.11 * count[:, 1:].sqrt()).clamp(1.2, 4.0) ** 2
    by_row = torch.exp(-((rows - at_v[:, 1:, None].round()) ** 2) / reach[..., None]) * (count[:, 1:, None] > 0)
    by_column = torch.exp(-((columns - at_u[:, 1:, None].round()) ** 2) / reach[..., None])
    heat = (by_row[..., None] * by_column[:, :, None]).amax(1)
    return {"object": found.float(), "centre": heat, "offset": offset, "weight": weight}
