"""Train the networks of the depth segmenter.

    python -m training.scenes --output data/scenes
    python -m training.segmenter --part masks --data data/scenes --output runs/masks
    python -m training.object_crops --data data/scenes --masks runs/masks/checkpoint.pt --output data/crops
    python -m training.segmenter --part names --data data/crops --output runs/names
    python -m training.export_segmenter --masks runs/masks/checkpoint.pt --names runs/names/checkpoint.pt \
        --output models/segmenter-depth

A run goes on from `OUTPUT/checkpoint.pt` where there is one. Everything random in a step follows from the seed and the
number of the step.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import cv2
import numpy as np
import torch
import torch.nn.functional as F
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.segmenters.depth_channels import DepthGrid, depth_grid, image_channels
from training.checkpoint import read_checkpoint, restore, write_checkpoint
from training.command import run
from training.networks.segmentation import (
    OFFSET_UNIT,
    MaskNetwork,
    MaskNetworkConfig,
    NameNetwork,
    NameNetworkConfig,
)
from training.processes import torch_threads
from training.rows import mapped_arrays
from training.run_log import RunLog
from training.scene_format import DEPTH_UNIT_M, IGNORED, NOTHING, SEGMENT_CATEGORIES
from training.train import learning_rate, make_optimiser

Part = Literal["masks", "names"]
NETWORKS = {"masks": (MaskNetwork, MaskNetworkConfig), "names": (NameNetwork, NameNetworkConfig)}
SHARDS = {"masks": "scenes_*.npz", "names": "crops_*.npz"}
SIEVES = {"laptop": 0.5}  # share of the objects that are perforated; of others 0.05
FREE = ("data", "output", "steps", "log_every", "checkpoint_every", "threads")


@dataclass(frozen=True)
class SegmenterTrainConfig:
    """One training run.

    Parameters
    ----------
    part : "masks" or "names"
        Which of the two networks.
    data : Path
        Folder of shards: scenes for masks, crops for names.
    output : Path
        Folder of the run: checkpoints and log.
    steps : int
        How far the run goes.
    batch : int
        Scenes, or crops, in a step.
    optimiser : "muon", "adamw" or "ranger"
        As of the trainer of poses.
    learning_rate : float
        At full rate.
    warm_up : int
        Steps until then.
    flat : float
        Share of the steps at full rate; then a cosine.
    final : float
        Share of the rate that is left in the end.
    weight_decay : float
        Of matrices, decoupled.
    clip : float
        Largest norm of a gradient.
    ema : float
        What a step leaves of the running average of the weights, which is exported.
    seed : int
        Of all that is random.
    validation_shards : int
        The first shards by name are held out. No other shows their shapes.
    surface_unknown : float
        Share of the scenes whose surface is kept from the network.
    log_every : int
        Steps between lines of the log.
    checkpoint_every : int
        Steps between checkpoints.
    threads : int
        Of torch.
    """

    part: Part
    data: Path
    output: Path
    steps: int = 6000
    batch: int = 12
    optimiser: Literal["muon", "adamw", "ranger"] = "muon"
    learning_rate: float = 2e-3
    warm_up: int = 100
    flat: float = 0.3
    final: float = 0.01
    weight_decay: float = 0.02
    clip: float = 5.0
    ema: float = 0.998
    seed: int = 0
    validation_shards: int = 1
    surface_unknown: float = 0.04
    log_every: int = 50
    checkpoint_every: int = 250
    threads: int = 1

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validation_shards", "log_every", "checkpoint_every", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")


class Shards:
    """Rows of the shards of a folder, mapped from disk.

    Parameters
    ----------
    paths : list of Path
        Of the shards.
    """

    def __init__(self, paths: list[Path]) -> None:
        self._shards = [mapped_arrays(path) for path in paths]
        lengths = [len(next(iter(shard.values()))) for shard in self._shards]
        self._ends = np.cumsum(lengths)

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    def row(self, index: int) -> dict[str, np.ndarray]:
        """Read one row.

        Parameters
        ----------
        index : int
            Its number.

        Returns
        -------
        dict of ndarray
            By name.
        """
        shard = int(self._ends.searchsorted(index, side="right"))
        place = index - (int(self._ends[shard - 1]) if shard else 0)
        return {name: array[place] for name, array in self._shards[shard].items()}

    def column(self, name: str) -> np.ndarray:
        """Read one array of all rows.

        Parameters
        ----------
        name : str
            Of the array.

        Returns
        -------
        ndarray
            With a row for each row.
        """
        return np.concatenate([shard[name] for shard in self._shards])


def open_shards(config: SegmenterTrainConfig) -> tuple[Shards, Shards]:
    """Open the rows to train on, and those held out.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.

    Returns
    -------
    rows, held_out : Shards
        The rows.

    Raises
    ------
    ValueError
        Where there are too few shards, or one is broken.
    """
    paths = sorted(config.data.glob(SHARDS[config.part]))
    if len(paths) <= config.validation_shards:
        raise ValueError(
            f"data: expected more than {config.validation_shards} {SHARDS[config.part]} in {config.data}, "
            f"got {len(paths)}"
        )
    return Shards(paths[config.validation_shards :]), Shards(paths[: config.validation_shards])


def scene_grid(row: dict[str, np.ndarray], flipped: bool = False) -> tuple[DepthGrid, np.ndarray]:
    """Make of a scene what the runtime makes of a frame.

    Parameters
    ----------
    row : dict of ndarray
        As `scene_format.SCENE_ARRAYS`.
    flipped : bool
        Whether left and right change places.

    Returns
    -------
    grid : DepthGrid
        What the camera saw.
    label : (h, w) uint8
        Of its pixels.
    """
    depth, label = row["depth"].astype(np.float32) * np.float32(DEPTH_UNIT_M), row["label"]
    fx, fy, cx, cy = row["intrinsics"].tolist()
    if flipped:
        depth, label, cx = np.ascontiguousarray(depth[:, ::-1]), label[:, ::-1], depth.shape[1] - 1 - cx
    return depth_grid(Frame(0, "", depth, Intrinsics(fx, fy, cx, cy))), label


def perforated(
    grid: DepthGrid, label: np.ndarray, row: dict[str, np.ndarray], rng: np.random.Generator
) -> tuple[DepthGrid, np.ndarray]:
    """Make sieves of some objects: what stands below is seen through them, as through a badly scanned shape or a mesh.

    Parameters
    ----------
    grid : DepthGrid
        What the camera saw.
    label : (h, w) uint8
        Of its pixels.
    row : dict of ndarray
        Of the scene.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    grid : DepthGrid
        With holes.
    label : (h, w) uint8
        Where the holes are background.
    """
    if not math.isfinite(grid.offset):
        return grid, label
    z, label = grid.z.copy(), label.copy()
    h, w = z.shape
    for number in range(1, int(label[label < IGNORED].max(initial=0)) + 1):
        if rng.random() >= SIEVES.get(SEGMENT_CATEGORIES[row["category"][number - 1]], 0.05):
            continue
        cell = int(rng.integers(2, 6))
        noise = cv2.resize(rng.normal(size=(h // cell, w // cell)).astype(np.float32), (w, h))
        hole = (label == number) & (noise > rng.uniform(-0.15, 0.5))
        rays = pixel_rays(grid.intrinsics, z.shape)
        with np.errstate(divide="ignore"):
            below = grid.offset / np.tensordot(grid.up, np.stack([rays.x, rays.y, np.ones_like(rays.x)]), 1).reshape(
                h, w
            )
        hole &= (below > z - 0.02) & (below < 8)
        z[hole & (z > 0)] = (below + rng.normal(0, 0.0015, below.shape) * below**2)[hole & (z > 0)]
        label[hole] = 0
    return replace(grid, z=z.astype(np.float32)), label


def mask_targets(label: np.ndarray) -> dict[str, np.ndarray]:
    """Make the truth of the network that finds objects, at half of the label image.

    Parameters
    ----------
    label : (H, W) uint8
        As of scenes.

    Returns
    -------
    dict of ndarray
        `object` and `centre` (h, w) in 0..1, `offset` (2, h, w) [OFFSET_UNIT cells], and `weight` (h, w), 0 where
        nothing is asked: small objects weigh more than their pixels, large ones less.
    """
    cells = label[::2, ::2]
    h, w = cells.shape
    found = (cells > 0) & (cells != IGNORED)
    v, u = np.nonzero(found)
    of = cells[v, u].astype(int)
    count = np.bincount(of, minlength=1)
    heat, offset = np.zeros((h, w), np.float32), np.zeros((2, h, w), np.float32)
    weight = (cells != IGNORED).astype(np.float32)
    if len(of):
        at_u, at_v = (np.bincount(of, axis) / np.maximum(count, 1) for axis in (u, v))
        offset[0, v, u], offset[1, v, u] = (at_u[of] - u) / OFFSET_UNIT, (at_v[of] - v) / OFFSET_UNIT
        weight[v, u] = np.clip((120 / count[of]) ** 0.5, 0.4, 4.0)
        rows, columns = np.arange(h)[:, None], np.arange(w)
        for number in np.flatnonzero(count):
            reach = 2 * min(max(0.11 * math.sqrt(count[number]), 1.2), 4.0) ** 2
            spread = np.exp(-((rows - round(at_v[number])) ** 2) / reach) * np.exp(
                -((columns - round(at_u[number])) ** 2) / reach
            )
            heat = np.maximum(heat, spread.astype(np.float32))
    return {"object": found.astype(np.float32), "centre": heat, "offset": offset, "weight": weight}


def mask_batch(rows: Shards, indices: np.ndarray, config: SegmenterTrainConfig, seed: list[int]) -> dict[str, Tensor]:
    """Make a batch for the network that finds objects.

    Parameters
    ----------
    rows : Shards
        Scenes.
    indices : (B,) int
        Of the scenes.
    config : SegmenterTrainConfig
        The run.
    seed : list of int
        Of what is drawn; empty: nothing is.

    Returns
    -------
    dict of Tensor
        `input`, and what `mask_targets` gives, stacked.
    """
    rng = np.random.default_rng(seed) if seed else None
    made = []
    for index in indices:
        row = rows.row(int(index))
        grid, label = scene_grid(row, rng is not None and rng.random() < 0.5)
        if rng is not None:
            grid, label = perforated(grid, label, row, rng)
        if rng is not None and rng.random() < config.surface_unknown:
            grid = replace(grid, up=np.array([0.0, -1.0, 0.0]), offset=math.nan)
        made.append({"input": image_channels(grid)} | mask_targets(label))
    return {name: torch.from_numpy(np.stack([one[name] for one in made])) for name in made[0]}


def mask_losses(answer: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute what the errors of the network that finds objects cost.

    Parameters
    ----------
    answer : (B, 4, h, w) Tensor
        Of the network.
    truth : dict of Tensor
        As `mask_batch` gives it.

    Returns
    -------
    dict of Tensor
        Every term, and their sum as "total".
    """
    weight = truth["weight"]
    logit, centre = answer[:, 0], answer[:, 1]
    each = F.binary_cross_entropy_with_logits(logit, truth["object"], reduction="none")
    mask = 6 * (each * weight).mean()
    probability = logit.sigmoid()
    overlap = (probability * truth["object"] * weight).sum((1, 2))
    dice = 1 - ((2 * overlap + 20) / (((probability + truth["object"]) * weight).sum((1, 2)) + 20)).mean()
    # CenterNet's focal loss
    heat, peak = centre.sigmoid().clamp(1e-4, 1 - 1e-4), truth["centre"]
    hit = (peak > 0.99).float()
    focal = hit * (1 - heat) ** 2 * -heat.log() + (1 - hit) * (1 - peak) ** 4 * heat**2 * -(1 - heat).log()
    asked = (weight > 0).float()
    middle = (focal * asked).sum() / hit.sum().clamp(min=1)
    at = truth["object"] * weight
    offset = 4 * ((answer[:, 2:] - truth["offset"]).abs().sum(1) * at).sum() / at.sum().clamp(min=1)
    terms = {"mask": mask, "dice": dice, "centre": middle, "offset": offset}
    return terms | {"total": mask + dice + middle + offset}


def name_batch(rows: Shards, indices: np.ndarray, config: SegmenterTrainConfig, seed: list[int]) -> dict[str, Tensor]:
    """Make a batch for the network that names objects.

    Parameters
    ----------
    rows : Shards
        Crops.
    indices : (B,) int
        Of the crops.
    config : SegmenterTrainConfig
        The run.
    seed : list of int
        Of what is drawn; empty: nothing is.

    Returns
    -------
    dict of Tensor
        `input`, and `name` (B,).
    """
    read = [rows.row(int(index)) for index in indices]
    crops = torch.from_numpy(np.stack([row["crop"] for row in read]).astype(np.float32))
    names = torch.from_numpy(np.array([row["name"] for row in read], np.int64))
    if seed:
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        crops = _varied(crops, generator)
    return {"input": crops, "name": names}


def _varied(crops: Tensor, generator: torch.Generator) -> Tensor:
    """Crops of objects a little larger, smaller or slimmer, mirrored, moved, and partly hidden."""
    count, _, height, width = crops.shape

    def drawn(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    turned = (drawn(count) < 0.5)[:, None, None, None]
    mirrored = crops.flip(3)
    mirrored[:, 2] *= -1  # metres to the right
    crops = torch.where(turned, mirrored, crops)
    sizes = torch.exp(0.05 * torch.randn(count, 3, generator=generator))  # right, up, away
    metric = crops[:, 2:6] * sizes[:, [0, 1, 2, 1], None, None]
    pixel = crops[:, 7:] + sizes.log().mean(1)[:, None, None, None]
    crops = torch.cat([crops[:, :2], metric, crops[:, 6:7], pixel], dim=1)
    moved = torch.roll(crops, tuple((drawn(2) * 5 - 2.5).round().int().tolist()), (2, 3))
    edge, side = drawn(count, 2), 0.15 + 0.35 * drawn(count, 2)
    rows, columns = torch.linspace(0, 1, height), torch.linspace(0, 1, width)
    hidden = ((rows >= edge[:, :1]) & (rows < edge[:, :1] + side[:, :1]))[:, :, None]
    hidden = hidden & ((columns >= edge[:, 1:]) & (columns < edge[:, 1:] + side[:, 1:]))[:, None, :]
    hidden = hidden & (drawn(count) < 0.25)[:, None, None]
    kept = torch.ones(1, moved.shape[1], 1, 1)
    kept[:, :6] = 0
    return torch.where(hidden[:, None], moved * kept, moved)


def name_losses(answer: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute what the errors of the network that names objects cost.

    Parameters
    ----------
    answer : (B, names) Tensor
        Logits.
    truth : dict of Tensor
        As `name_batch` gives it.

    Returns
    -------
    dict of Tensor
        The loss as "total", and the share of right names, of what is something, as "right".
    """
    something = truth["name"] != NOTHING
    right = (answer.argmax(1) == truth["name"])[something].float().mean()
    return {"right": right, "total": F.cross_entropy(answer, truth["name"], label_smoothing=0.03)}


BATCHES = {"masks": (mask_batch, mask_losses), "names": (name_batch, name_losses)}


@torch.no_grad()
def validate(network: nn.Module, held_out: Shards, config: SegmenterTrainConfig, most: int = 1000) -> dict[str, float]:
    """Measure a network on rows held out.

    Parameters
    ----------
    network : nn.Module
        As it is left.
    held_out : Shards
        The rows.
    config : SegmenterTrainConfig
        The run.
    most : int
        Rows at most.

    Returns
    -------
    dict of float
        Mean of each term of the losses.
    """
    make, losses = BATCHES[config.part]
    network.eval()
    most = min(len(held_out), most if config.part == "names" else most // 10)
    parts = []
    for index in np.array_split(np.arange(most), max(1, most // config.batch)):
        batch = make(held_out, index, config, [])
        parts.append({name: float(value) for name, value in losses(network(batch["input"]), batch).items()})
    network.train()
    return {name: round(float(np.mean([part[name] for part in parts])), 4) for name in parts[0]}


def settings_of(config: SegmenterTrainConfig) -> dict[str, Any]:
    """Give the settings of a run as a checkpoint holds them.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.

    Returns
    -------
    dict
        Plain values, with those of the network.
    """
    network = NETWORKS[config.part][1]()
    return json.loads(json.dumps(dataclasses.asdict(config) | {"network": dataclasses.asdict(network)}, default=str))


def load_part(checkpoint: Path, part: Part) -> tuple[nn.Module, dict[str, Any]]:
    """Load the averaged weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        Of the file.
    part : "masks" or "names"
        Which network it must be of.

    Returns
    -------
    network : nn.Module
        Ready for inference.
    saved : dict
        What the checkpoint says.

    Raises
    ------
    ValueError
        Where the file is no checkpoint of this network.
    """
    saved = read_checkpoint(checkpoint)
    settings = json.loads(saved["config"])
    if settings.get("part") != part:
        raise ValueError(f"{checkpoint}: expected a checkpoint of training.segmenter --part {part}, got another")
    kind, config = NETWORKS[part]
    values = {name: tuple(v) if isinstance(v, list) else v for name, v in settings["network"].items()}
    network = kind(config(**values))
    averaged = {
        name.removeprefix("module."): value for name, value in saved["average"].items() if name.startswith("module.")
    }
    network.load_state_dict(averaged)
    return network.eval(), saved


def _begun(path: Path, config: SegmenterTrainConfig) -> dict[str, Any] | None:
    """The checkpoint that a run goes on from; None where it begins."""
    if not path.exists():
        return None
    saved = read_checkpoint(path)
    before, now = json.loads(saved["config"]), settings_of(config)
    changed = [f"{name} {now[name]} (begun with {before.get(name)})" for name in now if before.get(name) != now[name]]
    changed = [text for text in changed if text.split()[0] not in FREE]
    if changed:
        raise ValueError(
            f"{path}: expected the settings that the run was begun with, got others: {'; '.join(changed)}; "
            "give those again, or take another --output"
        )
    return saved


def train(config: SegmenterTrainConfig) -> Path:
    """Train one of the networks.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run. It goes on from `config.output / "checkpoint.pt"` where there is one.

    Returns
    -------
    Path
        Of the last checkpoint. The one before lies beside it.

    Raises
    ------
    ValueError
        For settings, data or a checkpoint that cannot be used.
    """
    with torch_threads(config.threads):
        return _train(config)


def _train(config: SegmenterTrainConfig) -> Path:
    """Train, on as many threads as there are."""
    rows, held_out = open_shards(config)
    torch.manual_seed(config.seed)
    network = NETWORKS[config.part][0]().train().to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )
    optimiser = make_optimiser(network, [], config)
    parts = {"network": network, "average": average, "optimiser": optimiser}
    config.output.mkdir(parents=True, exist_ok=True)
    path = config.output / "checkpoint.pt"
    first, before_s = 0, 0.0
    if (saved := _begun(path, config)) is not None:
        restore(path, saved, parts)
        first, before_s = saved["step"], saved["seconds"]
    make, losses = BATCHES[config.part]
    start = time.monotonic()
    sums: dict[str, list[float]] = {}
    columns = TextColumn("steps"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with closing(RunLog(config.output, False, first, True)) as log, Progress(*columns) as progress:
        task = progress.add_task("", total=config.steps, completed=first)
        for step in range(first, config.steps):
            drawn = np.random.default_rng([config.seed, 1, step]).integers(len(rows), size=config.batch)
            batch = make(rows, drawn, config, [config.seed, 2, step])
            torch.manual_seed(config.seed + step)  # for dropout
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            terms = losses(network(batch["input"].contiguous(memory_format=torch.channels_last)), batch)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            if nn.utils.clip_grad_norm_(network.parameters(), config.clip).isfinite():
                optimiser.step()
                average.update_parameters(network)
            for name, value in terms.items():
                sums.setdefault(name, []).append(float(value.detach()))
            progress.advance(task)
            done, seconds = step + 1, before_s + time.monotonic() - start
            if done % config.log_every == 0:
                means = {name: round(float(np.nanmean(values)), 4) for name, values in sums.items()}
                log.write(done, {"seconds": round(seconds)} | means)
                sums.clear()
            if done % config.checkpoint_every == 0 or done == config.steps:
                log.write(done, {"validation": validate(average.module, held_out, config)})
                states = {name: part.state_dict() for name, part in parts.items()}
                described = {"config": json.dumps(settings_of(config)), "rows": len(rows), "seconds": seconds}
                write_checkpoint(path, states | described | {"step": done})
    return path


def main(config: Annotated[SegmenterTrainConfig, tyro.conf.arg(name="")]) -> None:
    """Train the network of the configuration.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.
    """
    train(config)


if __name__ == "__main__":
    run(main)
