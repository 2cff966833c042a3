"""Changes of pictures, drawn anew at each step: other crops, mirrors, light and colours, and no picture at all."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class PictureAugmentation:
    """How much pictures change. 0 switches each off.

    Parameters
    ----------
    given : bool
        Whether a network sees pictures.
    dropped : float
        Share of the pictures that are taken away: without colour, a network goes by the points.
    zoom : (float, float)
        Least and greatest share of the side that a crop shows.
    moved : float
        Largest move of the crop, as a share of its side.
    brightness, contrast, saturation : float
        Largest change of each, as a share.
    balance : float
        Standard deviation of each channel's gain.
    grey : float
        Share of the pictures without colours.
    """

    given: bool = False
    dropped: float = 0.25
    zoom: tuple[float, float] = (0.9, 1.15)
    moved: float = 0.05
    brightness: float = 0.4
    contrast: float = 0.3
    saturation: float = 0.5
    balance: float = 0.08
    grey: float = 0.05

    def __post_init__(self) -> None:
        for name in ("dropped", "grey"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"pictures.{name}: expected a share in 0..1, got {getattr(self, name)}")
        if not 0 < self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"pictures.zoom: expected 0 < least <= greatest, got {self.zoom}")


def augmented_pictures(
    colour: Tensor, places: Tensor, mirrors: Tensor, config: PictureAugmentation, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Change pictures, and the places of points with them.

    Parameters
    ----------
    colour : (B, S, S, 3) uint8
        RGB.
    places : (B, N, 2) float32
        Of points, as shares of the sides.
    mirrors : (B,) bool
        Pictures that are mirrored.
    config : PictureAugmentation
        How much.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    picture : (B, 3, S, S) float32
        RGB, 0..1; black all over where there is none, and black where the old crop has ended.
    places : (B, N, 2) float32
        Of the points in it.
    """
    batch, device = len(colour), colour.device

    def drawn(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(batch, *shape, generator=generator, device=device)

    picture = colour.permute(0, 3, 1, 2).float() / 255
    zoom = drawn(*config.zoom, 1)
    centre = drawn(-2 * config.moved, 2 * config.moved, 2)
    sign = torch.where(mirrors, -1.0, 1.0)[:, None]
    # a place x, -1..1, of the new picture shows centre + zoom x of the old one; across, mirrored
    scale = torch.cat([zoom * sign, zoom], dim=1)
    theta = torch.cat([scale.diag_embed(), centre[:, :, None]], dim=2)
    grid = F.affine_grid(theta, list(picture.shape), align_corners=False)
    picture = F.grid_sample(picture, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    places = ((2 * places - 1 - centre[:, None]) / scale[:, None] + 1) / 2

    shown = (picture > 0).any(1, keepdim=True)
    grey = picture.mean(1, keepdim=True)
    colourless = (drawn(0, 1, 1, 1, 1) < config.grey).float()
    saturation = (1 + drawn(-config.saturation, config.saturation, 1, 1, 1)) * (1 - colourless)
    picture = grey + saturation * (picture - grey)
    gain = torch.randn(batch, 3, 1, 1, generator=generator, device=device) * config.balance
    picture = picture * (gain.exp() * (1 + drawn(-config.brightness, config.brightness, 1, 1, 1)))
    pixels = shown.sum((1, 2, 3), keepdim=True).clamp(min=1)
    mean = (picture * shown).sum((2, 3), keepdim=True).mean(1, keepdim=True) / pixels
    contrast = 1 + drawn(-config.contrast, config.contrast, 1, 1, 1)
    picture = (mean + contrast * (picture - mean)).clamp(0, 1)
    kept = drawn(0, 1, 1, 1, 1) >= config.dropped
    return picture * (shown & kept), places
