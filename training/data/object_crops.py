"""Crops of objects for the network that names them, made in batches on the device of the scenes.

Of each batch: objects as the masks network finds them, what it finds that is none, and true masks as a detector might
find them: grown, shrunk, moved and cut.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from clipose_ros.segmenters.centre_votes import (
    LOWER_M,
    LOWER_SHARE,
    OFFSET_UNIT,
    RAISED_M,
    RAISED_SHARE,
    SURFACE_M,
    VoteSettings,
)
from clipose_ros.segmenters.depth_channels import CROP, CROP_CHANNELS, LENGTH_M, PIXEL_M
from training.data.scene_batches import Scenes, cells_of
from training.data.scene_format import IGNORED, MOST_OBJECTS, NOTHING

RIGHT, WRONG = 0.5, 0.25  # IoU from which on a mask is that of an object, and below which it may be of nothing
MOST_FOUND = 20  # instances of a scene


@dataclass(frozen=True)
class CropShares:
    """How many crops are cut of a scene, on average.

    Parameters
    ----------
    true : float
        With true masks, worn.
    found : float
        With masks that the network finds.
    pieces : float
        Of the background, of any shape.
    """

    true: float = 1.0
    found: float = 1.5
    pieces: float = 0.125


def found_instances(answer: Tensor, settings: VoteSettings = VoteSettings()) -> Tensor:
    """Gather the votes, nearly as `centre_votes.instances_of` does: what counts for no centre is left out.

    Parameters
    ----------
    answer : (B, 4, h, w) Tensor
        Of the masks network.
    settings : VoteSettings
        How.

    Returns
    -------
    (B, h, w) int64 Tensor
        0 for what is no object; the objects from 1 to MOST_FOUND.
    """
    answer = answer.float()
    batch, _, h, w = answer.shape
    chance = answer[:, :2].clamp(-20, 20).sigmoid()
    heat = chance[:, 1]
    around = F.max_pool2d(heat[:, None], settings.apart, stride=1, padding=settings.apart // 2)[:, 0]
    peaks = torch.where((heat == around) & (heat > settings.centre), heat, 0.0).flatten(1)
    sure, place = peaks.topk(MOST_FOUND, dim=1)
    at_u, at_v = (place % w).float(), (place // w).float()
    columns, rows = (torch.arange(n, device=answer.device, dtype=torch.float32) for n in (w, h))
    way = OFFSET_UNIT * answer[:, 2:]
    to_u, to_v = columns + way[:, 0], rows[:, None] + way[:, 1]
    apart = (to_u[:, None] - at_u[:, :, None, None]) ** 2 + (to_v[:, None] - at_v[:, :, None, None]) ** 2
    apart = torch.where((sure > 0)[:, :, None, None], apart, math.inf)
    nearest, which = apart.min(dim=1)
    reach = settings.reach + settings.reach_share * torch.hypot(way[:, 0], way[:, 1])
    found = torch.where((chance[:, 0] > settings.object) & (nearest < reach**2), which + 1, 0)
    cells = torch.zeros(batch, MOST_FOUND + 1, device=answer.device)
    cells = cells.scatter_add(1, found.flatten(1), torch.ones_like(found.flatten(1), dtype=torch.float32))
    small = torch.take_along_dim(cells, found.flatten(1), 1).view(batch, h, w) < settings.least_cells
    return torch.where(small, 0, found)


def overlaps(found: Tensor, label: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Compare instances with the truth.

    Parameters
    ----------
    found : (B, h, w) int64 Tensor
        Instances, as `found_instances` gives them.
    label : (B, h, w) int64 Tensor
        True labels of the cells.

    Returns
    -------
    iou : (B, MOST_FOUND, MOST_OBJECTS) Tensor
        Of each instance with each object.
    ignored : (B, MOST_FOUND) Tensor
        Share of each instance that is IGNORED.
    cells : (B, MOST_FOUND) Tensor
        Of each instance.
    """
    batch, last = len(found), MOST_OBJECTS + 1
    true = torch.where(label == IGNORED, last, label)
    pairs = (found * (last + 1) + true).flatten(1)
    both = torch.zeros(batch, (MOST_FOUND + 1) * (last + 1), device=found.device)
    both = both.scatter_add(1, pairs, torch.ones_like(pairs, dtype=torch.float32))
    both = both.view(batch, MOST_FOUND + 1, last + 1)
    of_found, of_true = both.sum(2), both.sum(1)
    inside = both[:, 1:, 1:last]
    union = of_found[:, 1:, None] + of_true[:, None, 1:last] - inside
    return inside / union.clamp(min=1), both[:, 1:, last] / of_found[:, 1:].clamp(min=1), of_found[:, 1:]


def _drawn(weight: Tensor, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Rows and columns of (B, K) in proportion to their weight, and whether they have any."""
    flat = weight.flatten()
    chosen = torch.multinomial(flat + 1e-9, count, replacement=True, generator=generator)
    return chosen // weight.shape[1], chosen % weight.shape[1], flat[chosen] > 0


def _grown(mask: Tensor) -> Tensor:
    tall = F.pad(mask, (0, 0, 1, 1))
    tall = tall[:, :-2] | tall[:, 1:-1] | tall[:, 2:]
    wide = F.pad(tall, (1, 1))
    return wide[:, :, :-2] | wide[:, :, 1:-1] | wide[:, :, 2:]


def _shrunk(mask: Tensor) -> Tensor:
    return ~_grown(~mask)


def _doubled(cells: Tensor) -> Tensor:
    return cells.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2)


def worn(mask: Tensor, generator: torch.Generator) -> Tensor:
    """Make of true masks what a detector might find.

    Parameters
    ----------
    mask : (K, H, W) bool Tensor
        True ones.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (K, H, W) bool Tensor
        Moved, grown or shrunk at the edge, coarse, and sometimes cut.
    """
    count, height, width = mask.shape

    def chance(share: float) -> Tensor:
        return (torch.rand(count, generator=generator, device=mask.device) < share)[:, None, None]

    mask = torch.where(chance(0.4), _doubled(mask[:, ::2, ::2]), mask)
    right, down = torch.randint(-1, 2, (2,), generator=generator, device=mask.device).tolist()
    mask = torch.where(chance(0.4), mask.roll((down, right), (1, 2)), mask)
    kind = torch.rand(count, generator=generator, device=mask.device)[:, None, None]
    mask = torch.where(kind < 0.25, _grown(mask), torch.where(kind > 0.8, _shrunk(mask), mask))
    top, bottom, left, right = boxes_of(mask)
    angle, share = (torch.rand(count, generator=generator, device=mask.device) for _ in range(2))
    rows, columns = (torch.arange(n, device=mask.device, dtype=torch.float32) for n in (height, width))
    across = (rows[:, None] - 0.5 * (top + bottom)[:, None, None]) * (6.2832 * angle).sin()[:, None, None]
    across = across + (columns - 0.5 * (left + right)[:, None, None]) * (6.2832 * angle).cos()[:, None, None]
    side = torch.maximum(bottom - top, right - left)
    cut = across > ((0.1 + 0.8 * share) * 0.5 * side)[:, None, None]
    return mask & ~(cut & chance(0.15))


def boxes_of(mask: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the boxes around masks.

    Parameters
    ----------
    mask : (K, H, W) bool Tensor
        Of objects.

    Returns
    -------
    top, bottom, left, right : (K,) int64 Tensor
        The last row and column left out; for an empty mask, the whole image.
    """
    by_row, by_column = mask.any(2).int(), mask.any(1).int()
    ends = []
    for line in (by_row, by_column):
        ends += [line.argmax(1), line.shape[1] - line.flip(1).argmax(1)]
    return ends[0], ends[1], ends[2], ends[3]


def _quantile(ordered: Tensor, count: Tensor, share: float) -> Tensor:
    """As `numpy.quantile` of the first count (K,) of each ordered row (K, ..., P)."""
    place = (share * (count - 1).clamp(min=0)).view(-1, *[1] * (ordered.ndim - 1)).expand(*ordered.shape[:-1], 1)
    low = place.floor().long()
    high = torch.minimum(low + 1, (count - 1).clamp(min=0).view(-1, *[1] * (ordered.ndim - 1)).expand_as(low))
    below, above = torch.take_along_dim(ordered, low, -1), torch.take_along_dim(ordered, high, -1)
    return (below + (place - low) * (above - below))[..., 0]


def crops_of(scenes: Scenes, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Compute what the names network sees: the twin of `depth_channels.object_crops`.

    Parameters
    ----------
    scenes : Scenes
        The batch.
    image : (K,) int64 Tensor
        Which scene each mask is of.
    mask : (K, H, W) bool Tensor
        Of the objects.

    Returns
    -------
    crops : (K, CROP_CHANNELS, CROP, CROP) float32 Tensor
        Channels; 0 where nothing of the object is seen.
    seen : (K,) int64 Tensor
        Pixels of the crop in which it is.
    """
    count, h, w = mask.shape
    device = mask.device
    top, bottom, left, right = boxes_of(mask)
    side = 1.2 * torch.maximum(bottom - top, right - left).double() + 4
    at = (torch.arange(CROP, device=device, dtype=torch.float64) + 0.5) * side[:, None] / CROP - side[:, None] / 2
    rows = (at + ((top + bottom) / 2)[:, None]).floor().long()
    columns = (at + ((left + right) / 2)[:, None]).floor().long()
    inside = ((rows >= 0) & (rows < h))[:, :, None] & ((columns >= 0) & (columns < w))[:, None, :]
    rows, columns = rows.clamp(0, h - 1), columns.clamp(0, w - 1)
    place = (rows[:, :, None] * w + columns[:, None, :]).flatten(1)
    own = torch.take_along_dim(mask.flatten(1), place, 1).view(count, CROP, CROP) & inside
    z = scenes.z.flatten(1)[image[:, None], place].view(count, CROP, CROP)
    valid = (z > 0) & inside
    shown = own & valid
    seen = shown.flatten(1).sum(1)
    fx, fy, cx, cy = scenes.intrinsics[image].T[:, :, None]
    x, y = ((columns - cx) / fx)[:, None, :] * z, ((rows - cy) / fy)[:, :, None] * z
    camera = torch.stack([x, y, z], dim=1)
    axes = scenes.axes()[image]
    points = torch.stack([sum(axes[:, row, i, None, None] * camera[:, i] for i in range(3)) for row in range(3)], dim=1)
    all_four = torch.cat([points, z[:, None]], dim=1).flatten(2)
    ordered = torch.where(shown.flatten(1)[:, None], all_four, math.inf).sort(dim=2).values
    middle = _quantile(ordered, seen, 0.5)
    lowest = _quantile(ordered[:, 1], seen, 0.03)
    offset = scenes.offset[image]
    known = offset.isfinite()
    floor = torch.where(known, offset, lowest)
    starts = torch.stack([middle[:, 0], floor, middle[:, 2], lowest], dim=1)[:, :, None, None]
    metric = ((points[:, [0, 1, 2, 1]] - starts) / LENGTH_M).clamp(-4, 4) * valid[:, None]
    pixel = (side.float() / CROP * middle[:, 3] / fx[:, 0] / PIXEL_M).clamp(min=1e-6).log()
    flat = torch.stack([known.float(), pixel], dim=1)[:, :, None, None].expand(-1, -1, CROP, CROP)
    crops = torch.cat([own[:, None], valid[:, None], metric, flat], dim=1)
    return torch.where((seen > 0)[:, None, None, None], crops, 0.0), seen


def off_surface(scenes: Scenes, image: Tensor, mask: Tensor) -> Tensor:
    """Take pixels of the surface out of masks: the twin of `centre_votes.without_surface`.

    Parameters
    ----------
    scenes : Scenes
        The batch.
    image : (K,) int64 Tensor
        Which scene each mask is of.
    mask : (K, H, W) bool Tensor
        Of the objects.

    Returns
    -------
    (K, H, W) bool Tensor
        Without those pixels.
    """
    height, valid = scenes.height(), scenes.z > 0
    low, raised = ((height.abs() < SURFACE_M) & valid)[image], ((height > RAISED_M) & valid)[image]
    lower = low & (height < LOWER_M)[image]
    seen = (mask & (valid & height.isfinite())[image]).flatten(1).sum(1).clamp(min=1)
    tall = (mask & raised).flatten(1).sum(1) / seen > RAISED_SHARE
    thick = (mask & lower).flatten(1).sum(1) / seen < LOWER_SHARE
    return mask & ~((low & tall[:, None, None]) | (lower & thick[:, None, None]))


def name_rows(
    scenes: Scenes, answer: Tensor, generator: torch.Generator, shares: CropShares = CropShares()
) -> dict[str, Tensor]:
    """Cut objects out of scenes.

    Parameters
    ----------
    scenes : Scenes
        The batch.
    answer : (B, 4, h, w) Tensor
        Of the masks network to it.
    generator : torch.Generator
        Of the same device.
    shares : CropShares
        How many.

    Returns
    -------
    dict of Tensor
        `input` (K, CROP_CHANNELS, CROP, CROP), `name` (K,), and `weight` (K,): 0 where there is none to ask for.
    """
    batch, device = len(scenes.z), scenes.z.device
    cells = cells_of(scenes.label)
    present = torch.zeros(batch, IGNORED + 1, device=device).scatter_(1, cells.flatten(1), 1.0)[:, 1 : MOST_OBJECTS + 1]
    # true masks
    image, number, some = _drawn(present, max(1, round(shares.true * batch)), generator)
    images, names, weights = [image], [scenes.category[image, number]], [some.float()]
    masks = [worn(scenes.label[image] == (number + 1)[:, None, None], generator)]
    # found ones
    found = found_instances(answer)
    iou, ignored, count = overlaps(found, cells)
    best, which = iou.max(2)
    right, wrong = (best >= RIGHT) & (count > 0), (best < WRONG) & (count > 0) & (ignored < 0.2)
    image, number, some = _drawn(right + 2.0 * wrong, max(1, round(shares.found * batch)), generator)
    coarse = _doubled(found[image] == (number + 1)[:, None, None])
    right, object_ = right[image, number], which[image, number]
    true = scenes.label[image] == (object_ + 1)[:, None, None]
    # at run time, edges follow those of the depth: so does one half
    sharp = (true & _grown(coarse)) | _shrunk(coarse)
    follows = right & (torch.rand(len(image), generator=generator, device=device) < 0.5)
    masks.append(torch.where(follows[:, None, None], sharp, coarse))
    images.append(image)
    names.append(torch.where(right, scenes.category[image, object_], NOTHING))
    weights.append(some.float())
    # pieces of the background
    image = torch.randint(batch, (max(1, round(shares.pieces * batch)),), generator=generator, device=device)
    h, w = scenes.z.shape[1:]
    at, size = (torch.rand(2, len(image), 2, generator=generator, device=device)).unbind(0)
    size = torch.exp(1.5 + 2.7 * size)
    rows, columns = (torch.arange(n, device=device, dtype=torch.float32) for n in (h, w))
    by_row = ((rows - at[:, :1] * h) / size[:, :1]) ** 2
    by_column = ((columns - at[:, 1:] * w) / size[:, 1:]) ** 2
    piece = by_row[:, :, None] + by_column[:, None, :] < 1
    occupied = scenes.label[image] > 0
    share = (piece & occupied).flatten(1).sum(1) / piece.flatten(1).sum(1).clamp(min=1)
    masks.append(piece & ~occupied)
    images.append(image)
    names.append(torch.full_like(image, NOTHING))
    weights.append((share < 0.15).float())

    image, mask = torch.cat(images), torch.cat(masks)
    crops, seen = crops_of(scenes, image, off_surface(scenes, image, mask))
    return {"input": crops, "name": torch.cat(names), "weight": torch.cat(weights) * (seen > 20)}


def varied(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Draw crops of objects a little larger, smaller or slimmer, mirrored, moved, and partly hidden.

    Parameters
    ----------
    crops : (K, CROP_CHANNELS, CROP, CROP) Tensor
        As `crops_of` gives them.
    generator : torch.Generator
        Of the same device.

    Returns
    -------
    (K, CROP_CHANNELS, CROP, CROP) Tensor
        Varied.
    """
    count, _, height, width = crops.shape
    device = crops.device

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    sign = torch.ones(CROP_CHANNELS, 1, 1, device=device)
    sign[2] = -1  # metres to the right
    crops = torch.where((drawn(count) < 0.5)[:, None, None, None], crops.flip(3) * sign, crops)
    sizes = torch.exp(0.05 * torch.randn(count, 3, generator=generator, device=device))  # right, up, away
    metric = crops[:, 2:6] * sizes[:, [0, 1, 2, 1], None, None]
    pixel = crops[:, 7:] + sizes.log().mean(1)[:, None, None, None]
    crops = torch.cat([crops[:, :2], metric, crops[:, 6:7], pixel], dim=1)
    edge, side = drawn(count, 2), 0.15 + 0.35 * drawn(count, 2)
    rows, columns = (torch.linspace(0, 1, n, device=device) for n in (height, width))
    hidden = ((rows >= edge[:, :1]) & (rows < edge[:, :1] + side[:, :1]))[:, :, None]
    hidden = hidden & ((columns >= edge[:, 1:]) & (columns < edge[:, 1:] + side[:, 1:]))[:, None, :]
    hidden = hidden & (drawn(count) < 0.25)[:, None, None]
    kept = torch.ones(CROP_CHANNELS, 1, 1, device=device)
    kept[:6] = 0
    return torch.where(hidden[:, None], crops * kept, crops)
