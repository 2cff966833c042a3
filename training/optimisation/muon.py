"""Muon (Jordan et al. 2024): momentum whose matrices are orthogonalised.

So every direction of a weight matrix learns at the same pace.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # odd quintic whose iterates take all singular values to about 1


def orthogonalised(matrices: Tensor, steps: int = 5) -> Tensor:
    """Approach the nearest (semi-)orthogonal matrices by Newton-Schulz iteration, in the precision of the given ones.

    Parameters
    ----------
    matrices : (M, R, C) Tensor
        Of one shape.
    steps : int
        Iterations.

    Returns
    -------
    (M, R, C) Tensor
        Singular values are near 1.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.transpose(-1, -2) if tall else matrices
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(-1, -2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(-1, -2) if tall else x


class Muon(torch.optim.Optimizer):
    """Muon for the weight matrices of hidden layers.

    What is no matrix, embeddings and output layers belong to AdamW. torch.optim.Muon orthogonalises one matrix at a
    time in bfloat16, which costs a CPU a third of a step. Here those of a shape go together, in float32. Updates have
    AdamW's root mean square of about 0.2 (Moonshot 2025), so that AdamW's learning rate serves both.

    Parameters
    ----------
    parameters : iterable
        Matrices, or groups of them.
    lr : float
        Learning rate.
    momentum : float
        Share of the old direction that is kept.
    weight_decay : float
        Decoupled, per unit of the learning rate.
    parts : int
        A matrix whose rows are so many stacked matrices (query, key, value) is orthogonalised part by part.
    """

    def __init__(
        self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0, parts: int = 1
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "parts": parts})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Update the parameters that have gradients.

        Parameters
        ----------
        closure : None
            For the interface; not called.
        """
        for group in self.param_groups:
            alike: dict[tuple[int, int], list[Tensor]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    alike[tuple(parameter.shape)].append(parameter)
            for (rows, columns), parameters in alike.items():
                parts = group["parts"]
                directions = []
                for parameter in parameters:
                    state = self.state[parameter]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(parameter)
                    state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                    directions.append(parameter.grad.lerp(state["momentum"], group["momentum"]))  # Nesterov
                stacked = torch.stack(directions).view(-1, rows // parts, columns)
                updates = orthogonalised(stacked).view(-1, rows, columns)
                rate = group["lr"] * 0.2 * max(rows // parts, columns) ** 0.5
                for parameter, update in zip(parameters, updates, strict=True):
                    parameter.mul_(1 - group["lr"] * group["weight_decay"]).sub_(rate * update)


class MuonWithAdamW:
    """Muon for hidden matrices and AdamW for all else, behind the interface of one optimiser.

    Parameters
    ----------
    muon : Muon
        For the matrices.
    adamw : torch.optim.AdamW
        For the rest.
    """

    def __init__(self, muon: Muon, adamw: torch.optim.AdamW) -> None:
        self.muon, self.adamw = muon, adamw

    @property
    def param_groups(self) -> list[dict]:
        """The groups of both."""
        return [*self.muon.param_groups, *self.adamw.param_groups]

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients of both.

        Parameters
        ----------
        set_to_none : bool
            Rather than to zero.
        """
        self.muon.zero_grad(set_to_none)
        self.adamw.zero_grad(set_to_none)

    def step(self) -> None:
        """Update the parameters of both."""
        self.muon.step()
        self.adamw.step()

    def state_dict(self) -> dict:
        """Give the state of both.

        Returns
        -------
        dict
            By name.
        """
        return {"muon": self.muon.state_dict(), "adamw": self.adamw.state_dict()}

    def load_state_dict(self, state: dict) -> None:
        """Take the state of both.

        Parameters
        ----------
        state : dict
            As `state_dict` gives it.
        """
        self.muon.load_state_dict(state["muon"])
        self.adamw.load_state_dict(state["adamw"])
