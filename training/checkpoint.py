"""Checkpoints: everything that a run needs to go on, in one file of tensors and plain values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from training.networks import make_network, network_config


def write_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace the file in one step: an interrupted run leaves a whole one."""
    unfinished = path.with_suffix(".tmp")
    torch.save(state, unfinished)
    unfinished.rename(path)


def read_checkpoint(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """What `write_checkpoint` wrote; nothing in the file is executed. Raises ValueError when it is no checkpoint."""
    saved = torch.load(path, weights_only=True, map_location=device)
    missing = {"network", "average", "config", "step"} - set(saved if isinstance(saved, dict) else ())
    if missing:
        raise ValueError(
            f"{path}: expected a checkpoint of training.train, got one without {', '.join(sorted(missing))}"
        )
    return saved


def load_network(checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The averaged weights of a checkpoint, ready for inference, and the rest of what it says."""
    saved = read_checkpoint(checkpoint)
    network = make_network(network_config(json.loads(saved["config"])["network"]))
    weights = {
        name.removeprefix("module."): value for name, value in saved["average"].items() if name.startswith("module.")
    }
    network.load_state_dict(weights)
    return network.eval(), saved
