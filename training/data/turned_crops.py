"""Masked crops of views of objects in any turn, as the network of `training.retrieval` sees them, on any device.

The crop's square follows from the mask as it is seen, as in `clipose_ros.objects.view_templates`: its middle is that of
the mask, its side `GROWTH` times the root of the mask's area. What hides a part of the object moves and shrinks it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.objects.view_templates import DARKEST, GROWTH

SUPER = 2  # samples along a pixel's side
BRIGHTEST = 4.0  # of a levelled colour


@dataclass(frozen=True)
class CropVariation:
    """What is drawn anew whenever a view is seen as a camera sees it.

    Parameters
    ----------
    hidden : float
        Share of the views of which something hides a part.
    least_seen : float
        Of an object's pixels, a share; where more would be hidden, nothing is.
    torn : float
        How far the mask's outline is off, of the share of the object around a pixel.
    gain : float
        Standard deviation of the logarithm of each channel's gain.
    gamma : float
        Of the logarithm of the exponent of brightness.
    noise : float
        Greatest standard deviation of a pixel, of white.
    """

    hidden: float = 0.4
    least_seen: float = 0.4
    torn: float = 0.3
    gain: float = 0.12
    gamma: float = 0.15
    noise: float = 0.04


def camera_views(picture: Tensor, generator: torch.Generator, variation: CropVariation) -> tuple[Tensor, Tensor]:
    """Show views as a camera and a segmenter do: before something, behind something, with a mask that is off.

    Parameters
    ----------
    picture : (N, S, S, 4) uint8 Tensor
        RGB, and 255 where the object is.
    generator : torch.Generator
        Of the device.
    variation : CropVariation
        How much.

    Returns
    -------
    colour : (N, 3, S, S) float32 Tensor
        RGB, 0..1.
    mask : (N, 1, S, S) float32 Tensor
        0 or 1.
    """
    count, side, device = len(picture), picture.shape[1], picture.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=device)

    colour, mask = clean_views(picture)
    order = torch.randperm(count, generator=generator, device=device)
    colour = torch.where(mask > 0, colour, colour[order].flip(2))
    # another object, moved anywhere
    order = torch.randperm(count, generator=generator, device=device)
    moved = torch.eye(2, 3, device=device).repeat(count, 1, 1)
    moved[:, :, 2] = 2.4 * (uniform(count, 2) - 0.5)
    grid = F.affine_grid(moved, [count, 1, side, side], align_corners=False)
    front = F.grid_sample(torch.cat([colour, mask], 1)[order], grid, align_corners=False)
    covers = (front[:, 3:] > 0.5) & (uniform(count, 1, 1, 1) < variation.hidden)
    left = (mask * ~covers).sum((2, 3), keepdim=True) / mask.sum((2, 3), keepdim=True).clamp(min=1)
    covers = covers & (left >= variation.least_seen)
    colour, mask = torch.where(covers, front[:, :3], colour), mask * ~covers
    # an outline that is off, by more in some places
    shares = F.avg_pool2d(mask, 7, stride=1, padding=3, count_include_pad=False)
    off = F.interpolate(normal(count, 1, 6, 6), size=(side, side), mode="bilinear")
    level = 0.5 + variation.torn * (0.5 * off + normal(count, 1, 1, 1)) / 2
    torn = (shares > level.clamp(0.1, 0.9)).float()
    mask = torch.where(torn.sum((2, 3), keepdim=True) > 20, torn, mask)
    colour = colour.clamp(1e-3, 1) ** torch.exp(variation.gamma * normal(count, 1, 1, 1))
    colour = colour * torch.exp(variation.gain * normal(count, 3, 1, 1))
    colour = colour + variation.noise * uniform(count, 1, 1, 1) * normal(count, 3, side, side)
    return colour.clamp(0, 1), mask


def clean_views(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Show views as they are.

    Parameters
    ----------
    picture : (N, S, S, 4) uint8 Tensor
        RGB, and 255 where the object is.

    Returns
    -------
    colour : (N, 3, S, S) float32 Tensor
        RGB, 0..1.
    mask : (N, 1, S, S) float32 Tensor
        0 or 1.
    """
    image = picture.permute(0, 3, 1, 2).float() / 255
    return image[:, :3], (image[:, 3:] > 0.5).float()


def turned_crops(colour: Tensor, mask: Tensor, turn: Tensor, side: int) -> Tensor:
    """Cut the squares around masks out of views, turned.

    Parameters
    ----------
    colour : (N, 3, S, S) float32 Tensor
        RGB, 0..1.
    mask : (N, 1, S, S) float32 Tensor
        0 or 1.
    turn : (N,) float32 Tensor
        The square's turn in the view, from right to down [rad].
    side : int
        Of the crops [px].

    Returns
    -------
    (N, 4, side, side) float32 Tensor
        Levelled colour times the mask, and the mask.
    """
    size = mask.shape[-1]
    places = (torch.arange(size, device=mask.device) + 0.5) * (2 / size) - 1  # -1..1, as grid_sample has them
    area = mask.sum((1, 2, 3)).clamp(min=1)
    middle = torch.stack([(mask.sum(2) @ places)[:, 0], (mask.sum(3) @ places)[:, 0]], 1) / area[:, None]
    scale = GROWTH * area.sqrt() / size
    cosine, sine = scale * turn.cos(), scale * turn.sin()
    rows = torch.stack([torch.stack([cosine, -sine, middle[:, 0]], 1), torch.stack([sine, cosine, middle[:, 1]], 1)], 1)
    grid = F.affine_grid(rows, [len(mask), 1, SUPER * side, SUPER * side], align_corners=False)
    cut = F.avg_pool2d(F.grid_sample(torch.cat([colour, mask], 1), grid, align_corners=False), SUPER)
    share = cut[:, 3:]
    paint = cut[:, :3] * share
    mean = paint.mean(1, keepdim=True).sum((2, 3), keepdim=True) / share.sum((2, 3), keepdim=True).clamp(min=1e-6)
    return torch.cat([(paint / mean.clamp(min=DARKEST)).clamp(max=BRIGHTEST), share], 1)


def upright_turns(rotation: Tensor, up: Tensor) -> Tensor:
    """Say how views must be turned so that a direction of the object points up in the image.

    Parameters
    ----------
    rotation : (..., 3, 3) float32 Tensor
        R_camera_object.
    up : (..., 3) float32 Tensor
        Of the object.

    Returns
    -------
    (...) float32 Tensor
        Turns of the square [rad].
    """
    seen = (rotation @ up[..., None])[..., 0]
    return torch.atan2(seen[..., 1], seen[..., 0]) + torch.pi / 2


def turned_rotations(rotation: Tensor, turn: Tensor) -> Tensor:
    """Give the rotations that turned crops show.

    Parameters
    ----------
    rotation : (..., 3, 3) float32 Tensor
        R_camera_object.
    turn : (...) float32 Tensor
        Of the square [rad].

    Returns
    -------
    (..., 3, 3) float32 Tensor
        R_camera_object of a camera that is turned by so much about its axis.
    """
    cosine, sine, zero = turn.cos(), turn.sin(), torch.zeros_like(turn)
    rows = [cosine, sine, zero, -sine, cosine, zero, zero, zero, torch.ones_like(turn)]
    return torch.stack(rows, -1).unflatten(-1, (3, 3)) @ rotation
