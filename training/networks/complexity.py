"""What a network costs at inference: parameters and multiply-adds by group, for the card.

python -m training.networks.complexity network:clipose
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from training.command import run
from training.networks import NetworkConfig, make_network
from training.networks.patch_transformer import PatchTransformerConfig


@dataclass(frozen=True)
class Complexity:
    """Costs by group, which is a child module of the network.

    Parameters
    ----------
    parameters : dict of int
        Those on which the outputs at inference depend.
    multiply_adds : dict of int
        Of the matrix products for one cloud. FLOP counts are twice that.
    """

    parameters: dict[str, int]
    multiply_adds: dict[str, int]


def complexity(network: nn.Module) -> Complexity:
    """Count on one cloud in eval mode, on the network's device. The network's mode is as before afterwards.

    Parameters
    ----------
    network : nn.Module
        A `PoseNetwork`.

    Returns
    -------
    Complexity
        By group.
    """
    device = next(network.parameters()).device
    points = torch.randn(1, network.config.points, 3, generator=torch.Generator().manual_seed(0)).to(device)
    was_training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counted:
        output = network(points, torch.zeros(1, dtype=torch.int64, device=device))
    network.train(was_training)

    names, weights = zip(*network.named_parameters(), strict=True)
    gradients = torch.autograd.grad(sum(value.sum() for value in output.values()), weights, allow_unused=True)
    parameters: Counter[str] = Counter()
    for name, weight, gradient in zip(names, weights, gradients, strict=True):
        if gradient is not None:
            parameters[name.split(".")[0]] += weight.numel()

    flops = {
        name.partition(".")[2]: sum(by_operation.values())
        for name, by_operation in counted.get_flop_counts().items()
        if "." in name
    }
    multiply_adds: Counter[str] = Counter()
    for name, count in flops.items():
        if not any(name.startswith(f"{other}.") for other in flops):  # a module's count includes its children's
            multiply_adds[name.split(".")[0]] += count // 2
    return Complexity(dict(parameters), dict(multiply_adds))


def main(network: NetworkConfig = PatchTransformerConfig()) -> None:
    """Print the table of a configuration.

    Parameters
    ----------
    network : NetworkConfig
        Which network.
    """
    cost = complexity(make_network(network))
    for group in cost.parameters | cost.multiply_adds:
        print(
            f"{group:12} {cost.parameters.get(group, 0) / 1e6:8.3f} M parameters "
            f"{cost.multiply_adds.get(group, 0) / 1e9:8.3f} G multiply-adds"
        )
    print(
        f"{'all':12} {sum(cost.parameters.values()) / 1e6:8.3f} M parameters "
        f"{sum(cost.multiply_adds.values()) / 1e9:8.3f} G multiply-adds"
    )


if __name__ == "__main__":
    run(main)
