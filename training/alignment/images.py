"""Object crops as CLIP's image tower takes them: 224 x 224 pixels, normalised.

They come from colour, or are shaded from depth where there is no colour.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers.utils.constants import OPENAI_CLIP_MEAN, OPENAI_CLIP_STD

from training.data.row_format import BACKGROUND, DEPTH_UNIT_M, OTHER, TARGET
from training.data.row_format import COLOUR_PX as SIDE

LABELS = 1 + max(BACKGROUND, TARGET, OTHER)


def normalised(colour: Tensor) -> Tensor:
    """Normalise colour with CLIP's mean and spread.

    Parameters
    ----------
    colour : (B, 3, H, W) float
        RGB in 0..1.

    Returns
    -------
    (B, 3, H, W) float
        As the image tower takes it.
    """
    mean, spread = (
        torch.tensor(values, device=colour.device)[:, None, None] for values in (OPENAI_CLIP_MEAN, OPENAI_CLIP_STD)
    )
    return (colour - mean) / spread


def clip_images(crops: Tensor) -> Tensor:
    """Make images from square colour crops.

    Parameters
    ----------
    crops : (B, H, H, 3) uint8
        RGB.

    Returns
    -------
    (B, 3, 224, 224) float32
        Normalised.

    Raises
    ------
    ValueError
        For another type or shape: a crop that is not square would be distorted.
    """
    if crops.dtype != torch.uint8 or crops.ndim != 4 or crops.shape[1] != crops.shape[2] or crops.shape[3] != 3:
        raise ValueError(
            f"crops: expected uint8 (B, H, H, 3), got {str(crops.dtype).removeprefix('torch.')} {tuple(crops.shape)}"
        )
    colour = crops.permute(0, 3, 1, 2).float() / 255
    # bicubic overshoots
    return normalised(F.interpolate(colour, (SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1))


def _tangent(points: Tensor, dim: int) -> Tensor:
    """Step to the next pixel along `dim` of points (B, H, W, 3): forward or backward, whichever is shorter, so that
    edges stay sharp.
    """
    step = points.diff(dim=dim)
    first, last = step.narrow(dim, 0, 1), step.narrow(dim, -1, 1)
    forward, backward = torch.cat([step, last], dim), torch.cat([first, step], dim)
    return torch.where(
        forward.square().sum(-1, keepdim=True) <= backward.square().sum(-1, keepdim=True), forward, backward
    )


def surface_normals(depth: Tensor, rays: Tensor) -> Tensor:
    """Compute the normals of surfaces that a depth image shows.

    Parameters
    ----------
    depth : (B, H, W) float
        Along the optical axis [m]; 0 where nothing was seen.
    rays : (B, 4) float
        As in `training.data.row_format`.

    Returns
    -------
    (B, H, W, 3) float
        Unit, camera frame, towards the camera. 0 where the depth is 0.
    """
    _, height, width = depth.shape
    columns, rows = (torch.arange(length, device=depth.device, dtype=depth.dtype) for length in (width, height))
    x = (rays[:, 0, None, None] + rays[:, 1, None, None] * columns[None, None, :]) * depth
    y = (rays[:, 2, None, None] + rays[:, 3, None, None] * rows[None, :, None]) * depth
    points = torch.stack([x, y, depth], dim=-1)
    # down x right looks at the camera
    normal = F.normalize(torch.linalg.cross(_tangent(points, 1), _tangent(points, 2)), dim=-1, eps=1e-20)
    return torch.where((depth > 0)[..., None], normal, 0.0)


def shaded_images(depth: Tensor, labels: Tensor, rays: Tensor, generator: torch.Generator) -> Tensor:
    """Paint views without colour: each label has its own random colour, lit by a random light from the camera's side.

    Parameters
    ----------
    depth : (B, H, W) float
        Along the optical axis [m]; 0 where nothing was seen.
    labels : (B, H, W) uint8
        As in `training.data.row_format`.
    rays : (B, 4) float
        As in `training.data.row_format`.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, 3, 224, 224) float32
        Normalised.
    """

    def drawn(*shape: int) -> Tensor:
        return torch.rand(len(depth), *shape, generator=generator, device=depth.device)

    # from above (-y) and from the camera (-z)
    light = torch.stack([2 * drawn() - 1, -drawn() - 0.2, -drawn() - 0.3], dim=-1)
    lambert = torch.einsum("bhwi,bi->bhw", surface_normals(depth, rays), F.normalize(light, dim=-1)).clamp(min=0)
    ambient = 0.2 + 0.4 * drawn(1, 1)
    # black, as colour crops are outside the image
    brightness = torch.where(depth > 0, ambient + (1 - ambient) * lambert, 0.0)
    albedo = 0.15 + 0.8 * drawn(LABELS, 3)
    colour = albedo[torch.arange(len(depth), device=depth.device)[:, None, None], labels.long()] * brightness[..., None]
    return normalised(F.interpolate(colour.permute(0, 3, 1, 2), (SIDE, SIDE), mode="bilinear", antialias=True))


def row_images(rows: dict[str, Tensor], generator: torch.Generator) -> Tensor:
    """Make the images of view rows: their colour crop where they have one, else shaded from their depth.

    Parameters
    ----------
    rows : dict of Tensor
        Arrays of `row_format.ROW_TYPES`.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (B, 3, 224, 224) float32
        Normalised.
    """
    shaded = shaded_images(rows["depth"].float() * DEPTH_UNIT_M, rows["label"], rows["rays"], generator)
    if "colour" not in rows:
        return shaded
    pictured = (rows["colour"] > 0).flatten(1).any(1)  # all zero is no picture
    return torch.where(pictured[:, None, None, None], clip_images(rows["colour"]), shaded)
