"""Train the network that embeds views of objects by their rotation, as GS-Pose's paper does, on generated objects.

    python -m training.turned_views --output data/turned --objects 20000
    python -m training.retrieval --data data/turned --output runs/retrieval

On a GPU, from views that are drawn meanwhile (`training.data.growing`):

    python -m training.turned_views --output turned --objects 60000 --workers 3 &
    python -m training.retrieval --data turned --output runs/retrieval --device cuda --precision bf16 --batch 96 \
        --growing 20000 --budget-s 400

Each view of an object, as a camera sees it (hidden in part, with a mask that is off, in another light), is told from
all its views, clean, each upright and turned further. The target is a share for each that falls with the angle between
the rotations, as a Gaussian of `spread_deg`: the nearer, the more alike shall the embeddings be. Half turns and near
misses are among the others.
"""

from __future__ import annotations

import dataclasses
import json
import math
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

from clipose_ros.core.validation import expect
from training.command import run
from training.data.growing import GrowingRows
from training.data.rows import mapped_arrays
from training.data.turned_crops import (
    CropVariation,
    camera_views,
    clean_views,
    turned_crops,
    turned_rotations,
    upright_turns,
)
from training.networks.retrieval import RetrievalNetwork, RetrievalNetworkConfig
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
from training.turned_views import SHARDS, VIEW_GROUP_ARRAYS

FREE = (
    *("data", "output", "steps", "budget_s", "log_every", "checkpoint_s", "threads", "device", "precision", "growing"),
)
HELD_OUT_SEED = 77
JITTER_DEG = 10.0  # a query is turned in steps of 15 deg
LEAST_TURN_DEG = 20.0  # of the further turn
NEAR_DEG = (15.0, 30.0)  # what validation counts


@dataclass(frozen=True)
class RetrievalTrainConfig:
    """One training run.

    Parameters
    ----------
    data : Path
        Folder of shards of `training.turned_views`.
    output : Path
        Folder of the run: checkpoints and log.
    steps : int
        How far the run goes.
    budget_s : float, optional
        How long it may train [s]. Where that comes first, the learning rate follows the time, and the run ends with it.
    batch : int
        Objects in a step.
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
    temperature : float
        Of the similarities.
    spread_deg : float
        Of the target: how fast the share falls with the angle [deg].
    validation_shards : int
        The first shards by name, or the first that come, are held out. No other shows their objects.
    growing : int
        Hold up to so many objects on the device, the newest, and take further shards while they are written
        (`training.data.growing`). 0: hold the shards that are there, in the memory of the host.
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
    network : RetrievalNetworkConfig
        What is trained.
    variation : CropVariation
        What is drawn anew whenever a view is seen.
    """

    data: Path
    output: Path
    steps: int = 8000
    budget_s: float | None = None
    batch: int = 16
    optimiser: Literal["muon", "adamw", "ranger"] = "muon"
    learning_rate: float = 2e-3
    warm_up: int = 100
    flat: float = 0.3
    final: float = 0.01
    weight_decay: float = 0.02
    clip: float = 5.0
    ema: float = 0.998
    seed: int = 0
    temperature: float = 0.07
    spread_deg: float = 12.0
    validation_shards: int = 1
    growing: int = 0
    log_every: int = 50
    checkpoint_s: float = 60.0
    threads: int = 1
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16"] = "fp32"
    network: RetrievalNetworkConfig = field(default_factory=RetrievalNetworkConfig)
    variation: CropVariation = field(default_factory=CropVariation)

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validation_shards", "log_every", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("temperature", "spread_deg"):
            expect(name, 0 < getattr(self, name) < math.inf, "more than 0", getattr(self, name))
        if self.budget_s is not None and not self.budget_s > 0:
            raise ValueError(f"budget_s: expected more than 0 s, got {self.budget_s}")
        if self.growing and self.growing < self.batch:
            raise ValueError(f"growing: expected 0 or at least {self.batch} objects, a batch, got {self.growing}")


class HeldObjects:
    """The objects of some shards, in the memory of a device.

    Parameters
    ----------
    paths : list of Path
        Of the shards.
    device : torch.device
        Where they are held.

    Raises
    ------
    ValueError
        Where a shard is broken.
    """

    def __init__(self, paths: list[Path], device: torch.device = torch.device("cpu")) -> None:
        shards = [view_groups(mapped_arrays(path)) for path in paths]
        self._rows = {
            name: torch.from_numpy(np.concatenate([shard[name] for shard in shards])).to(device)
            for name in VIEW_GROUP_ARRAYS
        }

    def __len__(self) -> int:
        return len(self._rows["symmetric"])

    @property
    def taken(self) -> int:
        """Objects that have come so far: all of them."""
        return len(self)

    def drawn(self, index: Tensor) -> dict[str, Tensor]:
        """Give rows by their number.

        Parameters
        ----------
        index : (K,) int64 Tensor
            On the device.

        Returns
        -------
        dict of Tensor
            With K rows.
        """
        return {name: array[index] for name, array in self._rows.items()}

    def close(self) -> None:
        """There is nothing to end."""


def view_groups(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Check that a shard is one of turned views.

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
    if missing := [name for name in VIEW_GROUP_ARRAYS if name not in arrays]:
        raise ValueError(f"shard: expected arrays {', '.join(VIEW_GROUP_ARRAYS)}, got none of {', '.join(missing)}")
    return {name: arrays[name] for name in VIEW_GROUP_ARRAYS}


def open_objects(config: RetrievalTrainConfig) -> tuple[HeldObjects | GrowingRows, HeldObjects]:
    """Open the objects to train on, and those held out.

    Parameters
    ----------
    config : RetrievalTrainConfig
        The run.

    Returns
    -------
    rows : HeldObjects or GrowingRows
        To train on.
    held_out : HeldObjects
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
        rows = GrowingRows(config.data, SHARDS, config.growing, device, view_groups, config.validation_shards)
        rows.start(least=min(4 * config.batch, config.growing))
        return rows, HeldObjects(rows.held_out, device)
    paths = sorted(config.data.glob(SHARDS))
    if len(paths) <= config.validation_shards:
        raise ValueError(
            f"data: expected more than {config.validation_shards} {SHARDS} in {config.data}, got {len(paths)}"
        )
    split = config.validation_shards
    return HeldObjects(paths[split:], device), HeldObjects(paths[:split], device)


def angles_deg(one: Tensor, other: Tensor, symmetric: Tensor) -> Tensor:
    """Say how far views are turned from others of the same object.

    Parameters
    ----------
    one : (B, Q, 3, 3) float32 Tensor
        R_camera_object.
    other : (B, K, 3, 3) float32 Tensor
        Of other views.
    symmetric : (B,) bool Tensor
        Whether turns about y show nothing.

    Returns
    -------
    (B, Q, K) float32 Tensor
        Angles [deg].
    """
    cosine = (torch.einsum("bqij,bkij->bqk", one, other) - 1) / 2
    of_axis = torch.einsum("bqi,bki->bqk", one[..., 1], other[..., 1])
    return torch.where(symmetric[:, None, None], of_axis, cosine).clamp(-1, 1).acos().rad2deg()


def seen_batch(
    rows: dict[str, Tensor], side: int, generator: torch.Generator, variation: CropVariation
) -> tuple[Tensor, Tensor, Tensor]:
    """Make the crops of a batch, and say how far they are turned from one another.

    Parameters
    ----------
    rows : dict of Tensor
        B objects of V views.
    side : int
        Of the crops [px].
    generator : torch.Generator
        Of the device.
    variation : CropVariation
        Of the queries.

    Returns
    -------
    queries : (B * V, 4, side, side) float32 Tensor
        Upright but for some degrees.
    templates : (B * 2 V, 4, side, side) float32 Tensor
        V upright ones, and V that are turned further, object by object.
    angle_deg : (B, V, 2 V) float32 Tensor
        Between both; infinite between a view and itself.
    """
    picture, rotation = rows["picture"].flatten(0, 1), rows["rotation"]
    (batch, views), device = rotation.shape[:2], rotation.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, device=device)

    up = F.normalize(torch.randn(batch, 1, 3, generator=generator, device=device), dim=-1).expand(-1, views, -1)
    upright = upright_turns(rotation, up)
    jittered = upright + math.radians(JITTER_DEG) * (2 * uniform(batch, views) - 1)
    least = math.radians(LEAST_TURN_DEG)
    turned = upright + least + (2 * math.pi - 2 * least) * uniform(batch, views)
    queries = turned_crops(*camera_views(picture, generator, variation), jittered.flatten(), side)
    both = torch.cat([upright, turned], 1)
    colour, mask = (
        values.unflatten(0, (batch, views)).repeat(1, 2, 1, 1, 1).flatten(0, 1) for values in clean_views(picture)
    )
    templates = turned_crops(colour, mask, both.flatten(), side)
    angle = angles_deg(
        turned_rotations(rotation, jittered), turned_rotations(rotation.repeat(1, 2, 1, 1), both), rows["symmetric"]
    )
    itself = F.pad(torch.eye(views, dtype=torch.bool, device=device), (0, views))
    return queries, templates, angle.masked_fill(itself, math.inf)


def retrieval_losses(
    queries: Tensor, templates: Tensor, angle_deg: Tensor, config: RetrievalTrainConfig
) -> dict[str, Tensor]:
    """Compute what embeddings cost that say wrong which views are near.

    Parameters
    ----------
    queries : (B * V, D) float32 Tensor
        Embeddings.
    templates : (B * K, D) float32 Tensor
        Embeddings.
    angle_deg : (B, V, K) float32 Tensor
        Between both; infinite where they shall not be compared.
    config : RetrievalTrainConfig
        The run.

    Returns
    -------
    dict of Tensor
        The loss as "total"; and of the queries that have a template within that angle, the share whose most similar
        one is within `NEAR_DEG`.
    """
    batch, views, count = angle_deg.shape
    alike = queries.view(batch, views, -1) @ templates.view(batch, count, -1).transpose(1, 2)
    compared = angle_deg.isfinite()
    logits = (alike / config.temperature).masked_fill(~compared, -1e4)
    weight = torch.exp(-0.5 * (angle_deg / config.spread_deg) ** 2)
    asked = weight.amax(2) > math.exp(-0.5 * (1.5) ** 2)
    target = weight / weight.sum(2, keepdim=True).clamp(min=1e-6)
    each = -(target * logits.log_softmax(2)).sum(2) + torch.special.entr(target).sum(2).neg()
    total = (each * asked).sum() / asked.sum().clamp(min=1)
    best = angle_deg.gather(2, logits.detach().argmax(2, keepdim=True))[..., 0]
    near = {f"within_{bound:.0f}": _share(best <= bound, angle_deg.amin(2) <= bound) for bound in NEAR_DEG}
    return near | {"total": total}


def _share(right: Tensor, asked: Tensor) -> Tensor:
    """How many of those asked are right; NaN where there are none."""
    return (right & asked).sum() / asked.sum()


def _lowered(config: RetrievalTrainConfig) -> Any:
    """The context in which the network runs."""
    return torch.autocast(config.device, dtype=torch.bfloat16) if config.precision == "bf16" else nullcontext()


def step_losses(
    network: RetrievalNetwork, rows: dict[str, Tensor], config: RetrievalTrainConfig, generator: torch.Generator
) -> dict[str, Tensor]:
    """Compute the losses on one batch.

    Parameters
    ----------
    network : RetrievalNetwork
        What is trained.
    rows : dict of Tensor
        Objects.
    config : RetrievalTrainConfig
        The run.
    generator : torch.Generator
        Of the device.

    Returns
    -------
    dict of Tensor
        As `retrieval_losses` gives them.
    """
    with torch.no_grad():
        queries, templates, angle = seen_batch(rows, config.network.side, generator, config.variation)
        crops = torch.cat([queries, templates]).contiguous(memory_format=torch.channels_last)
    with _lowered(config):
        embedded = network(crops).float()
    return retrieval_losses(*embedded.split([len(queries), len(templates)]), angle, config)


@torch.no_grad()
def validate(
    network: RetrievalNetwork, held_out: HeldObjects, config: RetrievalTrainConfig, most: int = 192
) -> dict[str, float]:
    """Measure the network on objects held out.

    Parameters
    ----------
    network : RetrievalNetwork
        As it is left.
    held_out : HeldObjects
        The objects.
    config : RetrievalTrainConfig
        The run.
    most : int
        Objects at most.

    Returns
    -------
    dict of float
        Mean of each term of the losses.
    """
    network.eval()
    device, sums = torch.device(config.device), {}
    generator = torch.Generator(device).manual_seed(HELD_OUT_SEED)
    for index in torch.arange(min(len(held_out), most), device=device).split(config.batch):
        for name, value in step_losses(network, held_out.drawn(index), config, generator).items():
            sums.setdefault(name, []).append(float(value))
    network.train()
    return {name: round(float(np.nanmean(values)), 4) for name, values in sums.items()}


def load_retrieval(checkpoint: Path) -> tuple[RetrievalNetwork, dict[str, Any]]:
    """Load the averaged weights of a checkpoint.

    Parameters
    ----------
    checkpoint : Path
        Of the file: `checkpoint.pt` or `averaged.pt`.

    Returns
    -------
    network : RetrievalNetwork
        Ready for inference.
    saved : dict
        What the checkpoint says.

    Raises
    ------
    ValueError
        Where the file is no checkpoint of this network.
    """
    saved = read_checkpoint(checkpoint)
    sizes = json.loads(saved["config"])["network"]
    names = {entry.name for entry in dataclasses.fields(RetrievalNetworkConfig)}
    if set(sizes) != names:
        raise ValueError(f"{checkpoint}: expected a checkpoint of training.retrieval, got another")
    network = RetrievalNetwork(
        RetrievalNetworkConfig(**{name: tuple(v) if isinstance(v, list) else v for name, v in sizes.items()})
    )
    network.load_state_dict(averaged_weights(saved))
    return network.eval(), saved


def train(config: RetrievalTrainConfig) -> Path:
    """Train the network.

    Parameters
    ----------
    config : RetrievalTrainConfig
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
        rows, held_out = open_objects(config)
        with closing(rows):
            return _train(config, rows, held_out)


def _save(path: Path, parts: dict[str, Any], described: dict[str, Any]) -> None:
    """Write the checkpoint, and the averaged weights alone."""
    states = {name: part.state_dict() for name, part in parts.items()}
    write_checkpoint(path, states | described)
    alone = {"network": {}, "average": {name: value.cpu() for name, value in states["average"].items()}} | described
    write_whole(path.with_name("averaged.pt"), lambda file: torch.save(alone, file))


def _train(config: RetrievalTrainConfig, rows: HeldObjects | GrowingRows, held_out: HeldObjects) -> Path:
    """Train, on as many threads as there are."""
    device = torch.device(config.device)
    torch.manual_seed(config.seed)
    network = RetrievalNetwork(config.network).train().to(device=device, memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
    )
    optimiser = make_optimiser(network, [], config)
    parts = {"network": network, "average": average, "optimiser": optimiser}
    made_folder(config.output)
    path = config.output / "checkpoint.pt"
    step, seconds = 0, 0.0
    usual = RetrievalTrainConfig(config.data, config.output)
    if (saved := saved_run(path, plain_settings(config), plain_settings(usual), FREE)) is not None:
        restore(path, saved, parts)
        step, seconds = saved["step"], saved["seconds"]
    saved_at = time.monotonic()
    generator = torch.Generator(device)
    log = RunLog(config.output, False, step, True)
    with closing(log), Loop(config.steps, config.budget_s, config.log_every, log, step, seconds) as loop:
        for number, spent in loop:
            drawn = np.random.default_rng([config.seed, 1, number]).integers(len(rows), size=config.batch)
            generator.manual_seed(int(np.random.SeedSequence([config.seed, 2, number]).generate_state(1)[0]))
            for group in optimiser.param_groups:
                group["lr"] = cosine(number, config, spent)
            terms = step_losses(network, rows.drawn(torch.from_numpy(drawn).to(device)), config, generator)
            optimiser.zero_grad(set_to_none=True)
            terms["total"].backward()
            sound = bool(nn.utils.clip_grad_norm_(network.parameters(), config.clip).isfinite())
            if sound:
                optimiser.step()
                average.update_parameters(network)
            loop.took(terms, sound, {"objects": rows.taken})
            if time.monotonic() - saved_at > config.checkpoint_s or loop.ends:
                log.write(loop.step, {"validation": validate(average.module, held_out, config)})
                described = {"config": json.dumps(plain_settings(config)), "rows": rows.taken, "seconds": loop.seconds}
                _save(path, parts, described | {"step": loop.step})
                saved_at = time.monotonic()
    return path


def main(config: Annotated[RetrievalTrainConfig, tyro.conf.arg(name="")]) -> None:
    """Train the network of the configuration.

    Parameters
    ----------
    config : RetrievalTrainConfig
        The run.
    """
    train(config)


if __name__ == "__main__":
    run(main)
