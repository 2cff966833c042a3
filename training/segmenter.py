"""Train the two networks of the depth segmenter, together.

    python -m training.scenes --output data/scenes
    python -m training.segmenter --data data/scenes --output runs/segmenter
    python -m training.export_segmenter --checkpoint runs/segmenter/averaged.pt --output models/segmenter-depth
    python -m training.quantise_segmenter --model models/segmenter-depth
    python -m training.calibrate_segmenter --model models/segmenter-depth

On a GPU, from scenes that are drawn meanwhile (`training.data.growing`):

    python -m training.scenes --output scenes --scenes 150000 --workers 14 &
    python -m training.segmenter --data scenes --output runs/segmenter --device cuda --precision bf16 --batch 96 \
        --growing 150000 --budget-s 3600

A step draws a batch of scenes on the device, with the sensor's noise: the first network learns from it, and what that
finds is, with worn true masks, what the second learns from. A run goes on from `OUTPUT/checkpoint.pt` where there is
one; `--start` begins it with the weights of another, as that of the shipped networks did, and with `--names-only` the
second network alone goes on, which is work for a CPU. With shards that are whole (no `--growing`), everything random in
a step follows from the seed and the number of the step.
"""

from __future__ import annotations

import dataclasses
import json
import time
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
import tyro
from torch import Tensor, nn

from clipose_ros.segmenters.depth_channels import CHANNELS
from training.command import run
from training.data.growing import GrowingRows
from training.data.object_crops import CropShares, found_instances, name_rows, overlaps, varied
from training.data.rows import mapped_arrays
from training.data.scene_batches import SceneVariation, cells_of, channels_of, seen_scenes, targets_of
from training.data.scene_format import NOTHING, SCENE_ARRAYS
from training.networks.segmentation import (
    MaskNetworkConfig,
    NameNetworkConfig,
    SegmenterNetworks,
    SegmenterNetworksConfig,
)
from training.optimisation.checkpoint import (
    averaged_weights,
    plain_settings,
    read_checkpoint,
    restore,
    saved_run,
    write_checkpoint,
)
from training.optimisation.loop import Loop
from training.optimisation.optimisers import make_optimiser
from training.optimisation.precision import rounded_products
from training.optimisation.processes import torch_threads
from training.optimisation.run_log import RunLog
from training.optimisation.schedule import cosine
from training.storage import made_folder, write_whole

SHARDS = "scenes_*.npz"
FREE = (
    *("data", "output", "steps", "budget_s", "log_every", "checkpoint_s", "threads", "device", "precision", "growing"),
)
HELD_OUT_SEED = 77


@dataclass(frozen=True)
class SegmenterTrainConfig:
    """One training run.

    Parameters
    ----------
    data : Path
        Folder of shards of scenes.
    output : Path
        Folder of the run: checkpoints and log.
    start : Path, optional
        Checkpoint whose averaged weights a new run begins with. Layers that it lacks begin at random.
    names_only : bool
        Whether the first network stays as it was begun with, and the second alone learns, from what that finds.
    steps : int
        How far the run goes.
    budget_s : float, optional
        How long it may train [s]. Where that comes first, the learning rate follows the time, and the run ends with it.
    batch : int
        Scenes in a step.
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
        The first shards by name, or the first that come, are held out. No other shows their shapes.
    growing : int
        Hold up to so many scenes on the device, the newest, and take further shards while they are written
        (`training.data.growing`). 0: read the shards that are there, from disk.
    log_every : int
        Steps between lines of the log.
    checkpoint_s : float
        Seconds between checkpoints.
    threads : int
        Of torch on the CPU.
    device : "cpu" or "cuda"
        What trains.
    precision : "fp32" or "bf16"
        Of the layers' products. Losses and weights stay in fp32.
    network : SegmenterNetworksConfig
        What is trained.
    variation : SceneVariation
        What is drawn anew whenever a scene is seen.
    crops : CropShares
        Which crops the second network learns from.
    """

    data: Path
    output: Path
    start: Path | None = None
    names_only: bool = False
    steps: int = 6000
    budget_s: float | None = None
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
    growing: int = 0
    log_every: int = 50
    checkpoint_s: float = 60.0
    threads: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    network: SegmenterNetworksConfig = field(default_factory=SegmenterNetworksConfig)
    variation: SceneVariation = field(default_factory=SceneVariation)
    crops: CropShares = field(default_factory=CropShares)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validation_shards", "log_every", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        if self.budget_s is not None and not self.budget_s > 0:
            raise ValueError(f"budget_s: expected more than 0 s, got {self.budget_s}")
        if self.names_only and self.start is None:
            raise ValueError("names_only: expected a start, whose first network stays, got none; give --start")
        if self.growing and self.growing < self.batch:
            raise ValueError(f"growing: expected 0 or at least {self.batch} scenes, a batch, got {self.growing}")


class Shards:
    """Scenes of the shards of a folder, mapped from disk.

    Parameters
    ----------
    paths : list of Path
        Of the shards.
    device : torch.device
        Where rows are wanted.

    Raises
    ------
    ValueError
        Where a shard is broken.
    """

    def __init__(self, paths: list[Path], device: torch.device = torch.device("cpu")) -> None:
        self._shards, self._device = [scene_arrays(mapped_arrays(path)) for path in paths], device
        self._ends = np.cumsum([len(shard["label"]) for shard in self._shards])

    def __len__(self) -> int:
        return int(self._ends[-1]) if len(self._ends) else 0

    @property
    def taken(self) -> int:
        """Scenes that have come so far: all of them."""
        return len(self)

    def drawn(self, index: Tensor) -> dict[str, Tensor]:
        """Give rows by their number.

        Parameters
        ----------
        index : (K,) int64 Tensor
            Their numbers.

        Returns
        -------
        dict of Tensor
            With K rows on the device; those of uint16 come as int32.
        """
        shards = self._ends.searchsorted(index.cpu().numpy(), side="right")
        places = index.cpu().numpy() - np.concatenate([[0], self._ends[:-1]])[shards]
        rows = {
            name: np.stack([self._shards[shard][name][place] for shard, place in zip(shards, places, strict=True)])
            for name in SCENE_ARRAYS
        }
        rows["depth"] = rows["depth"].astype(np.int32)
        return {name: torch.from_numpy(array).to(self._device) for name, array in rows.items()}

    def close(self) -> None:
        """There is nothing to end."""


def scene_arrays(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check that a shard is one of scenes.

    Parameters
    ----------
    arrays : dict of ndarray
        Of the shard.

    Returns
    -------
    dict of ndarray
        Those that are known.

    Raises
    ------
    ValueError
        Where one is missing.
    """
    if missing := [name for name in SCENE_ARRAYS if name not in arrays]:
        raise ValueError(f"shard: expected arrays {', '.join(SCENE_ARRAYS)}, got none of {', '.join(missing)}")
    return {name: arrays[name] for name in SCENE_ARRAYS}


def open_scenes(config: SegmenterTrainConfig) -> tuple[Shards | GrowingRows, Shards]:
    """Open the scenes to train on, and those held out.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.

    Returns
    -------
    rows : Shards or GrowingRows
        To train on.
    held_out : Shards
        To measure on.

    Raises
    ------
    ValueError
        Where there are too few shards, or one is broken.
    TimeoutError
        Where shards that are awaited do not come.
    """
    device = torch.device(config.device)
    if config.growing:
        rows = GrowingRows(config.data, SHARDS, config.growing, device, scene_arrays, config.validation_shards)
        rows.start(least=min(4 * config.batch, config.growing))
        return rows, Shards(rows.held_out, device)
    paths = sorted(config.data.glob(SHARDS))
    if len(paths) <= config.validation_shards:
        raise ValueError(
            f"data: expected more than {config.validation_shards} {SHARDS} in {config.data}, got {len(paths)}"
        )
    return Shards(paths[config.validation_shards :], device), Shards(paths[: config.validation_shards], device)


def mask_losses(answer: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute what the errors of the network that finds objects cost.

    Parameters
    ----------
    answer : (B, 4, h, w) Tensor
        Of the network.
    truth : dict of Tensor
        As `targets_of` gives it.

    Returns
    -------
    dict of Tensor
        Every term, and their sum as "total".
    """
    answer, weight = answer.float(), truth["weight"]
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


def name_losses(answer: Tensor, truth: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute what the errors of the network that names objects cost.

    Parameters
    ----------
    answer : (K, names) Tensor
        Logits.
    truth : dict of Tensor
        As `name_rows` gives it.

    Returns
    -------
    dict of Tensor
        The loss as "total", and the share of right names, of what is something, as "right".
    """
    answer, weight = answer.float(), truth["weight"]
    something = weight * (truth["name"] != NOTHING)
    right = ((answer.argmax(1) == truth["name"]) * something).sum() / something.sum().clamp(min=1)
    each = F.cross_entropy(answer, truth["name"], label_smoothing=0.03, reduction="none")
    return {"right": right, "total": (each * weight).sum() / weight.sum().clamp(min=1)}


def lowered(config: SegmenterTrainConfig) -> Any:
    """Give the context in which the networks run.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.

    Returns
    -------
    context manager
        Autocast to bf16, or nothing.
    """
    return torch.autocast(config.device, dtype=torch.bfloat16) if config.precision == "bf16" else nullcontext()


def step_losses(
    network: SegmenterNetworks, rows: dict[str, Tensor], config: SegmenterTrainConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute the losses of both networks on one batch.

    Parameters
    ----------
    network : SegmenterNetworks
        Both.
    rows : dict of Tensor
        Scenes.
    config : SegmenterTrainConfig
        The run.
    generator : torch.Generator
        Of the device.

    Returns
    -------
    dict of Tensor
        Every term, and their sum as "total".
    """
    scenes = seen_scenes(rows, generator, config.variation)
    channels = channels_of(scenes, config.network.masks.low_heights).contiguous(memory_format=torch.channels_last)
    with lowered(config), torch.set_grad_enabled(not config.names_only):
        answer = network.masks(channels)
    masks = mask_losses(answer, targets_of(scenes.label))
    with torch.no_grad():
        crops = name_rows(scenes, answer.detach(), generator, config.crops)
        seen = varied(crops["input"], generator).contiguous(memory_format=torch.channels_last)
    with lowered(config):
        named = network.names(seen)
    names = name_losses(named, crops)
    total = names["total"] + (0 if config.names_only else masks["total"])
    del masks["total"]
    return masks | {"name": names["total"].detach(), "named": names["right"], "total": total}


@torch.no_grad()
def validate(
    network: SegmenterNetworks, held_out: Shards, config: SegmenterTrainConfig, most: int = 192
) -> dict[str, float]:
    """Measure the networks on scenes held out.

    Parameters
    ----------
    network : SegmenterNetworks
        As it is left.
    held_out : Shards
        The scenes.
    config : SegmenterTrainConfig
        The run.
    most : int
        Scenes at most.

    Returns
    -------
    dict of float
        Mean of each term of the losses; the share of the objects that are `found` (IoU of at least 0.5), and the
        instances of a scene that are no object (`false`), before they are named.
    """
    network.eval()
    device = torch.device(config.device)
    generator = torch.Generator(device).manual_seed(HELD_OUT_SEED)
    sums: dict[str, list[float]] = {}
    found = asked = false = scenes_seen = 0
    for index in torch.arange(min(len(held_out), most)).split(config.batch):
        scenes = seen_scenes(held_out.drawn(index), generator, None)
        answer = network.masks(channels_of(scenes, config.network.masks.low_heights)).float()
        crops = name_rows(scenes, answer, generator, config.crops)
        names = name_losses(network.names(crops["input"]), crops)
        terms = mask_losses(answer, targets_of(scenes.label)) | {"name": names["total"], "named": names["right"]}
        for name, value in terms.items():
            sums.setdefault(name, []).append(float(value))
        cells = cells_of(scenes.label)
        iou, ignored, count = overlaps(found_instances(answer), cells)
        present = (cells[:, None] == torch.arange(1, iou.shape[2] + 1, device=device)[:, None, None]).flatten(2).any(2)
        found += int((iou.amax(1) >= 0.5)[present].sum())
        asked += int(present.sum())
        false += int(((count > 0) & (iou.amax(2) < 0.5) & (ignored < 0.5)).sum())
        scenes_seen += len(index)
    network.train()
    network.masks.train(not config.names_only)
    means = {name: round(float(np.mean(values)), 4) for name, values in sums.items()}
    return means | {"found": round(found / max(asked, 1), 4), "false": round(false / max(scenes_seen, 1), 4)}


def load_networks(checkpoint: Path) -> tuple[SegmenterNetworks, dict[str, Any]]:
    """Load the averaged weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        Of the file: `checkpoint.pt` or `averaged.pt`.

    Returns
    -------
    network : SegmenterNetworks
        Ready for inference.
    saved : dict
        What the checkpoint says.

    Raises
    ------
    ValueError
        Where the file is no checkpoint of these networks.
    """
    saved = read_checkpoint(checkpoint)
    sizes = json.loads(saved["config"])["network"]
    if not {"masks", "names"} <= set(sizes):
        raise ValueError(f"{checkpoint}: expected a checkpoint of training.segmenter, got another")
    read = [{key: tuple(v) if isinstance(v, list) else v for key, v in sizes[part].items()} for part in sizes]
    of = dict(zip(sizes, read, strict=True))
    of["masks"] = {"low_heights": False, "separable": False} | of["masks"]  # runs that do not say so knew neither
    network = SegmenterNetworks(
        SegmenterNetworksConfig(MaskNetworkConfig(**of["masks"]), NameNetworkConfig(**of["names"]))
    )
    network.load_state_dict(averaged_weights(saved))
    return network.eval(), saved


def begin_with(checkpoint: Path, network: SegmenterNetworks) -> None:
    """Give networks the averaged weights of a run.

    Parameters
    ----------
    checkpoint : Path
        Of the run. Where its first network saw no low heights, and this one does, it begins by ignoring them.
    network : SegmenterNetworks
        Changed in place. Layers beyond those of the run, and convolutions that are separable in one of both alone,
        keep their own weights.

    Raises
    ------
    ValueError
        Where the file is no checkpoint of these networks, or of others.
    """
    begun, _ = load_networks(checkpoint)
    weights, own, before, now = begun.state_dict(), network.state_dict(), begun.masks.config, network.masks.config
    free = {name: getattr(before, name) for name in ("depth", "separable", "low_heights")}
    same = before == dataclasses.replace(now, **free)
    if not same or begun.names.config != network.names.config:
        raise ValueError(f"start: expected a checkpoint of networks of these sizes, got {checkpoint} with {before}")
    if now.low_heights and not before.low_heights:
        # whether the surface is known, which it mostly is, goes into whether the depth is valid
        stem = weights["masks.stem.weight"].view(-1, CHANNELS, 9)
        stem[:, 2] += stem[:, 7]
        stem[:, 7] = 0
    kept = {name: value for name, value in weights.items() if name in own and own[name].shape == value.shape}
    network.load_state_dict(kept, strict=False)


def train(config: SegmenterTrainConfig) -> Path:
    """Train both networks.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run. It goes on from `config.output / "checkpoint.pt"` where there is one.

    Returns
    -------
    Path
        Of the last checkpoint. The one before lies beside it, and so does `averaged.pt`: the averaged weights alone.

    Raises
    ------
    ValueError
        For settings, data or a checkpoint that cannot be used.
    """
    torch.backends.cudnn.benchmark = config.device == "cuda"  # all batches are of one shape
    with torch_threads(config.threads), rounded_products(True):
        rows, held_out = open_scenes(config)
        with closing(rows):
            return _train(config, rows, held_out)


def _save(path: Path, parts: dict[str, Any], described: dict[str, Any]) -> None:
    """Write the checkpoint, and the averaged weights alone."""
    states = {name: part.state_dict() for name, part in parts.items()}
    write_checkpoint(path, states | described)
    alone = {"network": {}, "average": {name: value.cpu() for name, value in states["average"].items()}} | described
    write_whole(path.with_name("averaged.pt"), lambda file: torch.save(alone, file))


def _train(config: SegmenterTrainConfig, rows: Shards | GrowingRows, held_out: Shards) -> Path:
    """Train, on as many threads as there are."""
    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    network = SegmenterNetworks(config.network).train()
    if config.start is not None:
        begin_with(config.start, network)
    if config.names_only:
        network.masks.eval().requires_grad_(False)
    network = network.to(device=device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )
    optimiser = make_optimiser(network, [], config)
    parts = {"network": network, "average": average, "optimiser": optimiser}
    made_folder(config.output)
    path = config.output / "checkpoint.pt"
    step, seconds = 0, 0.0
    usual = SegmenterTrainConfig(config.data, config.output)
    if (saved := saved_run(path, plain_settings(config), plain_settings(usual), FREE)) is not None:
        restore(path, saved, parts)
        step, seconds = saved["step"], saved["seconds"]
    saved_at = time.monotonic()
    generator = torch.Generator(device)
    log = RunLog(config.output, False, step, True)
    with closing(log), Loop(config.steps, config.budget_s, config.log_every, log, step, seconds) as loop:
        for number, spent in loop:
            drawn = np.random.default_rng([config.seed, 1, number]).integers(len(rows), size=config.batch)
            seed = int(np.random.SeedSequence([config.seed, 2, number]).generate_state(1)[0])
            generator.manual_seed(seed)
            torch.manual_seed(seed)  # for dropout
            for group in optimiser.param_groups:
                group["lr"] = cosine(number, config, spent)
            terms = step_losses(network, rows.drawn(torch.from_numpy(drawn).to(device)), config, generator)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            sound = bool(nn.utils.clip_grad_norm_(network.parameters(), config.clip).isfinite())
            if sound:
                optimiser.step()
                average.update_parameters(network)
            loop.took(terms, sound, {"scenes": rows.taken})
            if time.monotonic() - saved_at > config.checkpoint_s or loop.ends:
                log.write(loop.step, {"validation": validate(average.module, held_out, config)})
                described = {"config": json.dumps(plain_settings(config)), "rows": rows.taken, "seconds": loop.seconds}
                _save(path, parts, described | {"step": loop.step})
                saved_at = time.monotonic()
    return path


def main(config: Annotated[SegmenterTrainConfig, tyro.conf.arg(name="")]) -> None:
    """Train the networks of the configuration.

    Parameters
    ----------
    config : SegmenterTrainConfig
        The run.
    """
    train(config)


if __name__ == "__main__":
    run(main)
