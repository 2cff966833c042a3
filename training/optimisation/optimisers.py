"""The optimisers of all trainers: AdamW, alone or with Muon, or Ranger."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import nn

from training.optimisation.muon import Muon, MuonWithAdamW


class Optimised(Protocol):
    """What the settings of a run say of its optimiser.

    Attributes
    ----------
    optimiser : str
        muon, adamw or ranger.
    learning_rate : float
        At full rate.
    weight_decay : float
        Of matrices, decoupled.
    """

    optimiser: str
    learning_rate: float
    weight_decay: float


def make_optimiser(
    network: nn.Module, others: Iterable[nn.Parameter], config: Optimised
) -> torch.optim.Optimizer | MuonWithAdamW:
    """Make AdamW, alone or with Muon for the hidden matrices, or Ranger.

    Ranger is RAdam with lookahead and centralised gradients. Vectors are not decayed.

    Parameters
    ----------
    network : nn.Module
        What is trained.
    others : iterable of nn.Parameter
        Parameters beside the network's.
    config : TrainConfig
        Which optimiser, and its rates.

    Returns
    -------
    torch.optim.Optimizer or MuonWithAdamW
        Over all of them.

    Raises
    ------
    ValueError
        For Muon and a network that does not name its hidden matrices.
    """
    parameters = [*network.parameters(), *others]
    hidden: dict[int, list[nn.Parameter]] = {}
    if config.optimiser == "muon":
        if not hasattr(network, "hidden_matrices"):
            raise ValueError(
                f"optimiser: expected adamw or ranger for {type(network).__name__}, which names no hidden matrices, "
                "got muon"
            )
        hidden = network.hidden_matrices()
        taken = {id(p) for matrices in hidden.values() for p in matrices}
        parameters = [p for p in parameters if id(p) not in taken]
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.optimiser == "ranger":
        from pytorch_optimizer import Ranger  # here: the import takes seconds

        # Without `degenerated_to_sgd` this library walks *up* the gradient until the variance is known, for the first
        # five steps.
        return Ranger(groups, lr=config.learning_rate, betas=(0.95, 0.999), k=6, alpha=0.5, degenerated_to_sgd=True)
    adamw = torch.optim.AdamW(groups, lr=config.learning_rate)
    if not hidden:
        return adamw
    stacks = [{"params": matrices, "parts": parts} for parts, matrices in hidden.items()]
    return MuonWithAdamW(Muon(stacks, lr=config.learning_rate, weight_decay=config.weight_decay), adamw)
