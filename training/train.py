"""Train a network, on one machine or many.

    python -m training.train --data data/views --output runs/lite
    accelerate launch --multi_gpu -m training.train --data data/views --output runs/lite --device cuda --precision bf16

A run goes on from `OUTPUT/checkpoint.pt` where there is one: the same steps, bit for bit, as an uninterrupted run on a
CPU with the same rows and as many processes. For that, everything random in a step follows from the seed and the number
of the step. Settings other than those that the run was begun with are refused by name, but for `FREE`.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import torch
import tyro
from accelerate import Accelerator
from torch import Tensor, nn

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from clipose_ros.core.validation import expect
from training.command import run
from training.data.dataset import BatchConfig, make_batch
from training.data.growing import GrowingRows
from training.data.rows import BROKEN, Rows, ViewPool
from training.data.sources import (
    DESCRIBING,
    STEPPING,
    batch_maker,
    batches_of,
    centres,
    open_growing,
    open_sources,
    row_reader,
    step_seed,
)
from training.distillation import DistillationWeights, distillation_losses, load_teacher
from training.growth import grown
from training.losses import LossWeights, pose_losses
from training.networks import NetworkConfig, make_network
from training.networks.cleanpose import SEEN
from training.networks.fusion import FusionConfig
from training.networks.patch_transformer import PatchTransformerConfig
from training.optimisation.checkpoint import load_network, restore, saved_run, write_checkpoint
from training.optimisation.loop import Loop
from training.optimisation.optimisers import make_optimiser
from training.optimisation.precision import exact, rounded_products
from training.optimisation.processes import gathered, reduce_gradients
from training.optimisation.run_log import RunLog
from training.optimisation.schedule import cosine, triangles
from training.storage import made_folder

if TYPE_CHECKING:
    from training.alignment.branch import Alignment, AlignmentConfig


# Settings that a run may change when it goes on: where and how it runs, what it says, and how far it goes. With another
# number of steps the learning rate follows the schedule of that number.
WHERE_ALONE = ("device", "workers", "in_memory", "tensorboard", "log_every", "checkpoint_every")
FREE = (*WHERE_ALONE, "output", "data", "steps", "budget_s")

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class TrainConfig:
    """One training run. Its checkpoint says with which settings it was made.

    Parameters
    ----------
    data : tuple of Path
        Folders of shards, each a source of its own.
    output : Path
        Folder of the run: checkpoints and log.
    start : Path, optional
        Checkpoint whose averaged weights a new run begins with. A network with more layers or patches grows out of it.
    share : tuple of float
        Of the batch that each source gets, in any unit.
    steps : int
        How far the run goes.
    budget_s : float, optional
        How long it may train [s], all its parts together. Where that comes first, the learning rate follows the time,
        and the run ends with it: for machines that are lent by the minute. Such a run cannot be repeated bit for bit.
    batch : int
        Views in a step, over all processes.
    optimiser : "muon", "adamw" or "ranger"
        Muon takes the hidden matrices of the compact network and leaves the rest to AdamW.
    learning_rate : float
        At full rate.
    warm_up : int
        Steps until then.
    schedule : "cosine", "triangular" or "triangular2"
        The triangles rise from the final share of the rate over the warm-up and fall as long, again and again; those of
        the latter are half as high each time.
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
    category_share : tuple of float
        Of each source, in the order of CATEGORIES: more for the harder ones.
    validation_shards : int
        The last shards of the first source by name are held out. No training view shows their shapes.
    in_memory : bool
        Read the shards whole at the start. Else they are mapped, and the system keeps what fits.
    workers : int
        Processes that read rows ahead. 0: a thread does.
    growing : int
        Hold up to so many rows on the device, and take further shards of the folder while they are written, in the
        places of the oldest (`training.data.growing`). 0: read the shards that are there, from disk.
    log_every : int
        Steps between lines of the log.
    checkpoint_every : int
        Steps between checkpoints.
    tensorboard : bool
        Write its events, too.
    device : "cpu" or "cuda"
        What trains.
    precision : "fp32", "bf16" or "fp16"
        Of the layers' products where they bear it (`training.optimisation.precision`). Losses and weights stay in fp32.
    tf32 : bool
        On a GPU, let products of fp32 keep 11 bits where they bear it.
    network : NetworkConfig
        What is trained.
    batches : BatchConfig
        How clouds are made.
    weights : LossWeights
        What their errors cost.
    teacher : Path, optional
        Checkpoint of a network whose outputs are further targets, or ULIP-2's PointBERT, whose feature is one.
    distillation : DistillationWeights
        Of these targets.
    """

    data: tuple[Path, ...]
    output: Path
    start: Path | None = None
    share: tuple[float, ...] = (1.0,)
    steps: int = 20_000
    budget_s: float | None = None
    batch: int = 64
    optimiser: Literal["muon", "adamw", "ranger"] = "muon"
    learning_rate: float = 1.5e-3
    warm_up: int = 500
    schedule: Literal["cosine", "triangular", "triangular2"] = "cosine"
    flat: float = 0.3
    final: float = 0.01
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    category_share: tuple[float, ...] = (0.09, 0.09, 0.27, 0.09, 0.21, 0.25)
    validation_shards: int = 1
    in_memory: bool = False
    workers: int = 0
    growing: int = 0
    log_every: int = 100
    checkpoint_every: int = 1_000
    tensorboard: bool = False
    device: Literal["cpu", "cuda"] = "cpu"
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    tf32: bool = True
    network: NetworkConfig = field(default_factory=PatchTransformerConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    weights: LossWeights = field(default_factory=LossWeights)
    teacher: Path | None = None
    distillation: DistillationWeights = field(default_factory=DistillationWeights)

    def __post_init__(self) -> None:
        if len(self.category_share) != len(CATEGORIES):
            raise ValueError(f"category_share: expected {len(CATEGORIES)} numbers, got {len(self.category_share)}")
        for name in ("steps", "batch", "validation_shards", "log_every", "checkpoint_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        expect("learning_rate", 0 < self.learning_rate < math.inf, "a rate of more than 0", self.learning_rate)
        for name in ("flat", "final", "ema"):
            expect(name, 0 <= getattr(self, name) <= 1, "a share in 0..1", getattr(self, name))
        if self.budget_s is not None and not self.budget_s > 0:
            raise ValueError(f"budget_s: expected more than 0 s, got {self.budget_s}")
        if self.growing and (self.growing < self.batch or len(self.data) != 1):
            raise ValueError(
                f"growing: expected 0, or one folder and at least {self.batch} rows, a batch, got {len(self.data)} "
                f"folders and {self.growing} rows"
            )
        if self.precision == "fp16" and self.device == "cpu":
            raise ValueError("precision: expected fp32 or bf16 on a CPU, got fp16")


def learning_rate(step: int, config: TrainConfig, spent: float = 0.0) -> float:
    """Warm up linearly, stay flat, and fall along a cosine to the final share; or rise and fall in triangles.

    Parameters
    ----------
    step : int
        From 0.
    config : TrainConfig
        The schedule.
    spent : float
        Share of the time that is over, where there is a budget: it counts where more of that is over than of the steps.

    Returns
    -------
    float
        Of this step.
    """
    if config.schedule == "cosine":
        return cosine(step, config, spent)
    return triangles(step, config, halved=config.schedule == "triangular2")


def batch_losses(
    network: nn.Module,
    truth: dict[str, Tensor],
    config: TrainConfig,
    accelerator: Accelerator,
    teacher: nn.Module | None = None,
    alignment: Alignment | None = None,
    generator: torch.Generator | None = None,
) -> dict[str, Tensor]:
    """Compute every loss term, and their sum as "total".

    The *sum* over the processes of its gradients is that of the batch of all processes together. For that the losses
    see the outputs of all processes: means under weights, and pairs of samples, mean what they mean in one process. Two
    things do not: batch normalisation, whose statistics are those of a process unless `torch.nn.SyncBatchNorm` (GPUs)
    takes over, and the contrast of the alignment, whose negatives are those of a process.

    Parameters
    ----------
    network : nn.Module
        In training.
    truth : dict of Tensor
        As `batch_maker` gives it.
    config : TrainConfig
        Weights and precision.
    accelerator : Accelerator
        Of the run.
    teacher : nn.Module, optional
        A frozen one.
    alignment : Alignment, optional
        CLIP's branch.
    generator : torch.Generator, optional
        Draws the poses of random texts.

    Returns
    -------
    dict of Tensor
        Scalars on the device.
    """
    points, category = truth["points"], truth["category"]
    with torch.autocast(points.device.type, PRECISIONS[config.precision], enabled=config.precision != "fp32"):
        other = () if alignment is None or alignment.fused is None else (alignment.other(truth["image"], category),)
        also = [truth[name] for name in network.also]
        output = {name: value.float() for name, value in network(points, category, *also, *other).items()}
        terms = {}
        if alignment is not None:
            posed = truth["camera_rotation"], truth["camera_translation"]
            terms = alignment(output["feature"], truth["image"], category, *posed, generator)
    terms = {name: value.float() / accelerator.num_processes for name, value in terms.items()}
    whole_truth = gathered({name: value for name, value in truth.items() if name not in ("image", *SEEN)}, accelerator)
    whole_output = gathered(output, accelerator)
    with exact(points):
        losses = pose_losses(whole_output, whole_truth, config.weights)
    if teacher is not None:
        with torch.no_grad():
            taught = gathered(teacher(points, category, *(truth[name] for name in teacher.also)), accelerator)
        with exact(points):
            terms |= distillation_losses(whole_output, taught, whole_truth, config.distillation)
    return losses | terms | {"total": torch.stack([losses["total"], *terms.values()]).sum()}


@torch.no_grad()
def validate(
    network: nn.Module,
    pool: ViewPool,
    config: TrainConfig,
    device: torch.device,
    views: int = 1200,
    other: Callable[[dict[str, Tensor], torch.Generator], tuple[Tensor, ...]] = lambda rows, generator: (),
) -> dict[str, dict[str, float]]:
    """Measure a network on augmented held-out views, always the same draws.

    Parameters
    ----------
    network : nn.Module
        In training, as it is left.
    pool : ViewPool
        Views held out.
    config : TrainConfig
        How clouds are made.
    device : torch.device
        Of the network.
    views : int
        At most so many.
    other : callable
        Gives, for rows and a generator, what the network sees beside their clouds.

    Returns
    -------
    dict of dict of float
        By category: shares within 5° 5 cm and 10° 5 cm, and the median errors `deg`, `cm` and `size` (relative).
    """
    network.eval()
    generator = torch.Generator(device=device).manual_seed(12345)
    errors: dict[str, list[Tensor]] = {c: [] for c in CATEGORIES}
    for index in torch.from_numpy(np.flatnonzero(pool.category != BROKEN)[:views]).split(200):
        rows = pool.rows(index, device)
        truth = make_batch(rows, centres(config), batches_of(config), generator)
        also = [truth[name] for name in network.also]
        output = network(truth["points"], truth["category"], *also, *other(rows, generator))
        cm = 100 * (output["offset"] - truth["offset"]).norm(dim=-1) * truth["scale"]
        y = torch.acos((output["y_axis"] * truth["y_axis"]).sum(-1).clamp(-1, 1)).rad2deg()
        x = torch.acos((output["x_axis"] * truth["x_axis"]).sum(-1).clamp(-1, 1)).rad2deg()
        size = ((output["size"] - truth["size"]).abs() / truth["size"]).mean(-1)
        for c, name in enumerate(CATEGORIES):
            keep = (truth["category"] == c) & truth["usable"]
            degrees = y if name in AXIS_SYMMETRIC else torch.maximum(y, x)
            errors[name].append(torch.stack([degrees[keep], cm[keep], size[keep]], dim=-1))
    network.train()
    report = {}
    for name, parts in errors.items():
        degrees, cm, size = torch.cat(parts).unbind(-1)
        if len(degrees):
            report[name] = {
                "5deg_5cm": ((degrees <= 5) & (cm <= 5)).float().mean().item(),
                "10deg_5cm": ((degrees <= 10) & (cm <= 5)).float().mean().item(),
                "deg": degrees.median().item(),
                "cm": cm.median().item(),
                "size": size.median().item(),
            }
    return report


def make_accelerator(config: TrainConfig) -> Accelerator:
    """Join the processes of this run, and choose the device of this one.

    Parameters
    ----------
    config : TrainConfig
        The run.

    Returns
    -------
    Accelerator
        With rank, device and messages.

    Raises
    ------
    ValueError
        Where what was asked for cannot be had.
    """
    accelerator = Accelerator(cpu=config.device == "cpu")
    if accelerator.device.type != config.device:
        raise ValueError(f"device: expected {config.device}, got {accelerator.device.type}: torch sees no other here")
    if accelerator.mixed_precision != "no":
        raise ValueError(
            f"mixed_precision: expected it as --precision of the trainer, got {accelerator.mixed_precision} from "
            "accelerate"
        )
    if config.batch % accelerator.num_processes:
        raise ValueError(f"batch: expected a multiple of {accelerator.num_processes} processes, got {config.batch}")
    return accelerator


def make_alignment(
    network: nn.Module, config: AlignmentConfig, device: torch.device
) -> tuple[Alignment, Callable[..., Tensor]]:
    """Make CLIP's branch for a network.

    Parameters
    ----------
    network : nn.Module
        What is aligned.
    config : AlignmentConfig
        How.
    device : torch.device
        Of both.

    Returns
    -------
    alignment : Alignment
        In training.
    images : callable
        Makes its images from rows, with a generator.

    Raises
    ------
    ValueError
        For a network that gives no feature of the whole cloud, or fuses one of another width than CLIP's.
    """
    from training.alignment.branch import (
        Alignment,  # here: transformers takes seconds to import, and most runs do without
    )
    from training.alignment.images import row_images

    if not hasattr(network, "feature_width"):
        raise ValueError(f"network: expected one that gives a feature to align, got {type(network).__name__}")
    fusion = network.config.fusion
    alignment = Alignment(network.feature_width, config, None if fusion.manner == "none" else fusion.feature)
    if fusion.manner != "none" and fusion.width != alignment.width:
        raise ValueError(f"fusion.width: expected that of {config.clip}, {alignment.width}, got {fusion.width}")
    return alignment.to(device).train(), row_images


class Trainer:
    """A network and all that trains it, one step at a time.

    Parameters
    ----------
    config : TrainConfig
        The run.
    accelerator : Accelerator
        Processes and device.
    aligned : AlignmentConfig, optional
        How to align the clouds with images and texts.
    """

    def __init__(self, config: TrainConfig, accelerator: Accelerator, aligned: AlignmentConfig | None = None) -> None:
        self.config, self.accelerator = config, accelerator
        device = accelerator.device
        torch.manual_seed(config.seed)
        network = make_network(config.network).to(device).train()
        if config.start is not None:
            try:
                grown(load_network(config.start)[0], network)
            except RuntimeError as error:
                raise ValueError(
                    "start: expected a checkpoint of this network, but for layers, patches, and ground or hypotheses "
                    f"that it lacks, got {config.start}: {str(error).splitlines()[-1].strip()}"
                ) from error
        if accelerator.num_processes > 1 and device.type == "cuda":
            network = nn.SyncBatchNorm.convert_sync_batchnorm(network)
        self.network = network
        self.average = torch.optim.swa_utils.AveragedModel(
            network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True
        )
        if aligned is None and getattr(config.network, "fusion", FusionConfig()).manner != "none":
            raise ValueError("fusion: expected none without CLIP's branch (training.clipose has it), got one")
        self.alignment, self.images = (None, None) if aligned is None else make_alignment(network, aligned, device)
        self.teacher = None if config.teacher is None else load_teacher(config.teacher).to(device)
        if self.teacher is not None and SEEN[0] in self.teacher.also and not batches_of(config).pictures.given:
            raise ValueError(
                "teacher: expected one that goes by points alone beside a network without --backbone, got one that "
                "sees pictures"
            )
        others = [] if self.alignment is None else list(self.alignment.trainable().values())
        self.parameters = [*network.parameters(), *others]
        self.optimiser = make_optimiser(network, others, config)
        self.scaler = torch.amp.GradScaler(device.type, enabled=config.precision == "fp16")

    @property
    def parts(self) -> dict[str, Any]:
        """Whatever has a state that a checkpoint must hold."""
        parts = {
            "network": self.network,
            "average": self.average,
            "optimiser": self.optimiser,
            "scaler": self.scaler,
        }
        return parts | ({} if self.alignment is None else {"alignment": self.alignment})

    def other(self, rows: dict[str, Tensor], generator: torch.Generator) -> tuple[Tensor, ...]:
        """Give what the network sees of rows beside their clouds.

        Parameters
        ----------
        rows : dict of Tensor
            Arrays of `row_format.ROW_TYPES`.
        generator : torch.Generator
            Paints views without a picture.

        Returns
        -------
        tuple of (B, D) float32
            The feature that it fuses; empty where it fuses none.
        """
        if self.alignment is None or self.alignment.fused is None:
            return ()
        return (self.alignment.other(self.images(rows, generator), rows["category"]),)

    def step(self, truth: dict[str, Tensor], number: int, spent: float = 0.0) -> tuple[dict[str, Tensor], bool]:
        """Learn from one batch.

        Parameters
        ----------
        truth : dict of Tensor
            As `batch_maker` gives it.
        number : int
            Of the step, from 0: what is drawn in it follows from that.
        spent : float
            As for `learning_rate`.

        Returns
        -------
        losses : dict of Tensor
            Every term and their sum, on the device.
        sound : bool
            False where the gradient was not finite and the step was left out.
        """
        config, rank = self.config, self.accelerator.process_index
        torch.manual_seed(step_seed(config, STEPPING, number, rank))  # for dropout
        for group in self.optimiser.param_groups:
            group["lr"] = learning_rate(number, config, spent)
        describing = torch.Generator().manual_seed(step_seed(config, DESCRIBING, number, rank))
        losses = batch_losses(self.network, truth, config, self.accelerator, self.teacher, self.alignment, describing)
        self.optimiser.zero_grad(set_to_none=True)
        self.scaler.scale(losses["total"]).backward()
        reduce_gradients(self.parameters, self.accelerator)
        self.scaler.unscale_(self.optimiser)
        sound = bool(nn.utils.clip_grad_norm_(self.parameters, config.clip).isfinite())
        if sound:
            self.scaler.step(self.optimiser)
            self.average.update_parameters(self.network)
            for name in getattr(self.network, "remembered", ()):  # no weights: a mean of them means nothing
                self.average.module.get_buffer(name).copy_(self.network.get_buffer(name))
        self.scaler.update()
        return losses, sound


def tells_nothing(truth: dict[str, Tensor], config: TrainConfig) -> bool:
    """Say whether a network that should be told of surfaces hears of none, because the views are without.

    Parameters
    ----------
    truth : dict of Tensor
        Of a batch.
    config : TrainConfig
        The run.

    Returns
    -------
    bool
        Whether that is so.
    """
    told = batches_of(config).ground.known > 0 and getattr(config.network, "ground", False)
    return told and not truth["ground"][:, 0].any()


def begun(
    path: Path, settings: dict[str, Any], usual: dict[str, Any], pool: ViewPool | GrowingRows
) -> dict[str, Any] | None:
    """Read the checkpoint that a run goes on from.

    Parameters
    ----------
    path : Path
        Of the checkpoint.
    settings, usual : dict
        Of this run, and its defaults, as JSON gives them back.
    pool : ViewPool or GrowingRows
        What it trains on.

    Returns
    -------
    dict or None
        What the checkpoint holds. None where the run begins.

    Raises
    ------
    ValueError
        Where the checkpoint cannot be read, or was made with other settings (but for `FREE`) or with other data.
    """
    saved = saved_run(path, settings, usual, FREE)
    if saved is None:
        return None
    if isinstance(pool, ViewPool) and saved.get("views", len(pool)) != len(pool):
        left_out = "".join(f"; left out {count}: {reason}" for reason, count in pool.skipped.items())
        raise ValueError(
            f"data: expected the {saved['views']} views that the run was begun with, got {len(pool)}{left_out}; "
            "give those again, or take another --output"
        )
    return saved


def plain_settings(config: TrainConfig, aligned: AlignmentConfig | None) -> dict[str, Any]:
    """Give the settings of a run as a checkpoint holds them.

    Parameters
    ----------
    config : TrainConfig
        The run.
    aligned : AlignmentConfig or None
        Its alignment.

    Returns
    -------
    dict
        Plain values, as JSON gives them back.
    """
    alignment = None if aligned is None else dataclasses.asdict(aligned)
    return json.loads(json.dumps(dataclasses.asdict(config) | {"alignment": alignment}, default=str))


def train(config: TrainConfig, sources: Sequence[Rows] = (), aligned: AlignmentConfig | None = None) -> Path:
    """Train.

    Parameters
    ----------
    config : TrainConfig
        The run. It goes on from `config.output / "checkpoint.pt"` where there is one.
    sources : sequence of Rows
        Rows beside the folders of the configuration.
    aligned : AlignmentConfig, optional
        How to align the clouds with images and texts through CLIP. What it trains beside the network is in the
        checkpoint, too, and no export takes it along.

    Returns
    -------
    Path
        Of the last checkpoint. The one before lies beside it.

    Raises
    ------
    ValueError
        For settings, data or a checkpoint that cannot be used.
    OSError
        Where a checkpoint cannot be written. Those that are there stay as they are.
    """
    path = made_folder(config.output) / "checkpoint.pt"
    accelerator = make_accelerator(config)
    if config.growing:
        pool, held_out, rows_from = open_growing(config, accelerator)
    else:
        pool, held_out, drawer = open_sources(config, sources)
        rows_from = partial(row_reader, config, pool, drawer, accelerator=accelerator)
    settings = plain_settings(config, aligned)
    usual = TrainConfig(data=(), output=config.output, network=type(config.network)())
    saved = begun(path, settings, plain_settings(usual, aligned and type(aligned)()), pool)

    trainer = Trainer(config, accelerator, aligned)
    step, seconds = 0, 0.0
    if saved is not None:
        restore(path, saved, trainer.parts)
        step, seconds = saved["step"], saved["seconds"]
        del saved
        if step >= config.steps:
            accelerator.print(f"{path}: has {step} of {config.steps} steps, so there is nothing to do")
            return path

    def save() -> None:
        """Write what goes on from here, and say how good it is."""
        state = {name: part.state_dict() for name, part in trainer.parts.items()}
        facts = {"step": loop.step, "seconds": loop.seconds, "views": len(pool)}
        facts["processes"] = accelerator.num_processes
        write_checkpoint(path, state | facts | {"config": json.dumps(settings)})
        report = validate(trainer.average.module, held_out, config, accelerator.device, other=trainer.other)
        log.write(loop.step, {"validation": report})
        mean = sum(r["10deg_5cm"] for r in report.values()) / len(report)
        by_category = ", ".join(f"{c} {r['10deg_5cm']:.2f}" for c, r in report.items())
        loop.say(f"step {loop.step}: within 10° 5 cm {by_category}, mean {mean:.3f}")

    next_batch = batch_maker(rows_from(step), config, accelerator, trainer.images)
    log = RunLog(config.output, config.tensorboard, step, accelerator.is_main_process)
    loop = Loop(config.steps, config.budget_s, config.log_every, log, step, seconds, shown=accelerator.is_main_process)
    rounding = rounded_products(config.tf32) if accelerator.device.type == "cuda" else nullcontext()
    with rounding, loop, ThreadPoolExecutor(1) as ahead, closing(log):
        for reason, count in pool.skipped.items():
            loop.say(f"left out {count}: {reason}")
            loop.left_out[reason] += count
        coming = ahead.submit(next_batch, step)
        for number, spent in loop:
            truth, left_out = coming.result()
            loop.left_out.update(left_out)
            if number == step and tells_nothing(truth, config):
                loop.say(
                    "data: expected views with a surface for a network that is told of it, got none in a batch; draw "
                    "them anew (training.views), or train with --network.no-ground"
                )
            if number + 1 < config.steps:
                coming = ahead.submit(next_batch, number + 1)
            losses, sound = trainer.step(truth, number, spent)
            loop.took(losses, sound, {"views_per_s": round((number + 1) * config.batch / max(loop.seconds, 1e-9))})
            if loop.step % config.checkpoint_every == 0 or loop.ends:
                if accelerator.is_main_process:
                    save()
                accelerator.wait_for_everyone()
    return path


def main(config: Annotated[TrainConfig, tyro.conf.arg(name="")]) -> None:
    """Train the network of the configuration.

    Parameters
    ----------
    config : TrainConfig
        The run.
    """
    train(config)


if __name__ == "__main__":
    run(main)
