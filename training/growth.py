"""Begin with a trained network of another shape: other layers and patches, surfaces told, more hypotheses."""

from __future__ import annotations

import torch
from torch import nn

from training.networks.patch_transformer import PatchTransformer

APART = 0.02  # standard deviation of what sets new hypotheses apart; weights of their layer are about 0.05


def grown(small: nn.Module, large: nn.Module) -> nn.Module:
    """Give a network the weights of another.

    A patch transformer may have more layers than the other. They are spread evenly between those of `small` and begin
    as the identity: a residual block whose last projections are zero. It may also have fewer, spread evenly over those
    of `small`, and other patches. If it is told other things of surfaces, it begins by ignoring them. Further
    hypotheses begin near those that are there. CleanPose's parts begin with no say.

    Parameters
    ----------
    small : nn.Module
        Trained.
    large : nn.Module
        Changed in place.

    Returns
    -------
    nn.Module
        `large`.

    Raises
    ------
    RuntimeError
        Where the networks differ in anything else.
    """
    if not (isinstance(small, PatchTransformer) and isinstance(large, PatchTransformer)):
        large.load_state_dict(small.state_dict())
        return large
    weights = {name: value for name, value in small.state_dict().items() if not name.startswith("blocks.")}
    place = "encoder.position.0.weight"
    if large.config.told != small.config.told:
        told = weights[place].new_zeros(len(weights[place]), large.config.told)
        weights[place] = torch.cat([weights[place][:, :3], told], dim=1)
    copies, rest = divmod(large.config.hypotheses, small.config.hypotheses)
    if copies > 1 and rest == 0:
        for name in [f"pose_heads.{axis}.2.{kind}" for axis in "yx" for kind in ("weight", "bias")]:
            near = weights[name].repeat(copies, *[1] * (weights[name].ndim - 1))
            near[len(weights[name]) :] += APART * torch.randn_like(near[len(weights[name]) :])
            weights[name] = near
    missing = large.load_state_dict(weights, strict=False)
    parts = {name.partition(".")[0] for name in small.state_dict()}  # others are new, and begin as nothing
    if missing.unexpected_keys or any(name.partition(".")[0] in parts - {"blocks"} for name in missing.missing_keys):
        raise RuntimeError(f"network: expected that of the start but for layers and patches, got {missing}")
    fewer, more = sorted((len(small.blocks), len(large.blocks)))
    places = torch.linspace(0, more - 1, fewer).long().tolist()  # of the layers of the one among those of the other
    sources = (
        places
        if more == len(small.blocks)
        else [places.index(layer) if layer in places else None for layer in range(more)]
    )
    for block, source in zip(large.blocks, sources, strict=True):
        if source is not None:
            block.load_state_dict(small.blocks[source].state_dict())
        else:
            for last in (block.proj, block.mlp[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
    return large
