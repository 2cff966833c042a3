"""Train the point network on generated views.

    python -m training.train --data data/views --output runs/lite

Goes on from `OUTPUT/checkpoint.pt` where there is one: the same steps, bit for bit, as an uninterrupted run on the same shards.
"""

from __future__ import annotations

import dataclasses
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import torch
import tyro
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from training.dataset import BatchConfig, ViewPool, make_batch
from training.losses import LossWeights, pose_losses
from training.networks.patch_transformer import PatchTransformer, PatchTransformerConfig


@dataclass(frozen=True)
class TrainConfig:
    data: Path
    output: Path
    steps: int = 20_000
    batch: int = 64
    learning_rate: float = 1.5e-3
    warm_up: int = 500
    flat: float = 0.3  # share of the steps at full rate; then a cosine to 1 %
    weight_decay: float = 0.02
    clip: float = 1.0
    ema: float = 0.999
    seed: int = 0
    category_share: tuple[float, ...] = (0.09, 0.09, 0.27, 0.09, 0.21, 0.25)  # of each batch, in the order of CATEGORIES: more for the harder ones
    validation_shards: int = 1  # the last shards by name; no training view shows their shapes
    log_every: int = 100
    checkpoint_every: int = 1_000
    device: str = "cpu"
    network: PatchTransformerConfig = field(default_factory=PatchTransformerConfig)
    batches: BatchConfig = field(default_factory=BatchConfig)
    weights: LossWeights = field(default_factory=LossWeights)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Linear warm-up, flat, cosine to 1 %."""
    if step < config.warm_up:
        return config.learning_rate * (step + 1) / config.warm_up
    flat_until = max(config.warm_up, config.flat * config.steps)
    done = min(1.0, max(0.0, (step - flat_until) / max(1.0, config.steps - flat_until)))
    return config.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


class BatchDrawer:
    """Random rows of a pool, the categories in fixed shares."""

    def __init__(self, pool: ViewPool, share: tuple[float, ...], generator: torch.Generator) -> None:
        self.pool, self.generator = pool, generator
        self.rows = [(pool.arrays["category"] == c).nonzero()[:, 0] for c in range(len(CATEGORIES))]
        present = torch.tensor([s if len(r) else 0.0 for s, r in zip(share, self.rows, strict=True)])
        self.share = present / present.sum()

    def draw(self, batch: int) -> Tensor:
        categories = torch.multinomial(self.share, batch, replacement=True, generator=self.generator)
        return torch.stack([self.rows[c][torch.randint(len(self.rows[c]), (1,), generator=self.generator)[0]] for c in categories.tolist()])


@torch.no_grad()
def validate(network: PatchTransformer, pool: ViewPool, config: TrainConfig, views: int = 1200) -> dict[str, dict[str, float]]:
    """Share of views within 5° 5 cm and 10° 5 cm by category, and the median errors, on augmented held-out views (always the same draws)."""
    network.eval()
    generator = torch.Generator(device=config.device).manual_seed(12345)
    errors: dict[str, list[Tensor]] = {c: [] for c in CATEGORIES}
    for index in torch.arange(min(views, len(pool))).split(200):
        truth = make_batch(pool.rows(index, torch.device(config.device)), config.network.patches, config.batches, generator)
        output = network(truth["points"], truth["category"])
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


def train(config: TrainConfig) -> Path:
    """Train; returns the path of the last checkpoint."""
    config.output.mkdir(parents=True, exist_ok=True)
    shards = sorted(config.data.glob("shard_*.npz"))
    if len(shards) <= config.validation_shards:
        raise ValueError(f"data: expected more than {config.validation_shards} shard_*.npz in {config.data}, got {len(shards)}")
    pool, held_out = ViewPool(shards[: -config.validation_shards]), ViewPool(shards[-config.validation_shards :])

    torch.manual_seed(config.seed)
    device = torch.device(config.device)
    network = PatchTransformer(config.network).to(device).train()
    average = torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(config.ema), use_buffers=True)
    decayed = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW([{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}], lr=config.learning_rate)
    drawing = torch.Generator().manual_seed(config.seed)
    augmenting = torch.Generator(device=device).manual_seed(config.seed + 1)

    path = config.output / "checkpoint.pt"
    step, seconds = 0, 0.0
    if path.exists():
        saved = torch.load(path, weights_only=True, map_location=device)
        network.load_state_dict(saved["network"])
        average.load_state_dict(saved["average"])
        optimiser.load_state_dict(saved["optimiser"])
        drawing.set_state(saved["drawing"].cpu())
        augmenting.set_state(saved["augmenting"].cpu())
        step, seconds = saved["step"], saved["seconds"]

    drawer = BatchDrawer(pool, config.category_share, drawing)

    def next_batch() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """A batch, and the generators' states from which it was drawn."""
        states = {"drawing": drawing.get_state(), "augmenting": augmenting.get_state()}
        truth = make_batch(pool.rows(drawer.draw(config.batch), device), config.network.patches, config.batches, augmenting)
        kept = truth.pop("usable")
        return {name: value[kept] for name, value in truth.items()}, states

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "average": average.state_dict(),
            "optimiser": optimiser.state_dict(),
            **coming.result()[1],  # drawn again after a resume
            "step": step,
            "seconds": seconds,
            "views": len(pool),
            "config": json.dumps(dataclasses.asdict(config), default=str),
        }
        unfinished = path.with_suffix(".tmp")
        torch.save(state, unfinished)
        unfinished.rename(path)

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    running: dict[str, float] = {}
    with Progress(*columns) as progress, (config.output / "log.jsonl").open("a") as log, ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next_batch)
        task = progress.add_task("training", total=config.steps, completed=step)
        started = time.monotonic()
        while step < config.steps:
            truth, _ = coming.result()
            coming = ahead.submit(next_batch)
            for group in optimiser.param_groups:
                group["lr"] = learning_rate(step, config)
            losses = pose_losses(network(truth["points"], truth["category"]), truth, config.weights)
            optimiser.zero_grad(set_to_none=True)
            losses["total"].backward()
            nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            optimiser.step()
            average.update_parameters(network)
            step += 1
            for name, value in losses.items():
                running[name] = running.get(name, 0.0) + value.item() / config.log_every
            if step % config.log_every == 0:
                now = time.monotonic()
                seconds, started = seconds + now - started, now
                line = {"step": step, "seconds": round(seconds), "views_per_s": round(step * config.batch / seconds)}
                log.write(json.dumps(line | {k: round(v, 4) for k, v in running.items()}) + "\n")
                log.flush()
                progress.update(task, completed=step, description=f"training, loss {running['total']:.3f}")
                running = {}
            if step % config.checkpoint_every == 0 or step == config.steps:
                save()
                report = validate(average.module, held_out, config)
                log.write(json.dumps({"step": step, "validation": report}) + "\n")
                log.flush()
                mean = sum(r["10deg_5cm"] for r in report.values()) / len(report)
                by_category = ", ".join(f"{c} {r['10deg_5cm']:.2f}" for c, r in report.items())
                progress.console.print(f"step {step}: within 10° 5 cm {by_category}, mean {mean:.3f}")
    return path


if __name__ == "__main__":
    train(tyro.cli(TrainConfig))
