"""Grow a trained network: more layers, other patches, the same function where the patches are the same."""

from __future__ import annotations

import torch
from torch import nn

from training.networks.patch_transformer import PatchTransformer


def grown(small: nn.Module, large: nn.Module) -> nn.Module:
    """`large` with the weights of `small`.

    A patch transformer may have more layers, which are spread evenly between those of `small` and begin as the identity (a residual block whose last
    projections are zero), and other patches, more or fewer. Raises RuntimeError where the networks differ in anything else.
    """
    if not isinstance(large, PatchTransformer):
        large.load_state_dict(small.state_dict())
        return large
    weights = {name: value for name, value in small.state_dict().items() if not name.startswith("blocks.")}
    missing = large.load_state_dict(weights, strict=False)
    if missing.unexpected_keys or any(not name.startswith("blocks.") for name in missing.missing_keys) or len(large.blocks) < len(small.blocks):
        raise RuntimeError(f"network: expected that of the start with more layers or patches, got {missing} and {len(large.blocks)} layers")
    kept = torch.linspace(0, len(large.blocks) - 1, len(small.blocks)).round().long().tolist()
    for index, block in enumerate(large.blocks):
        if index in kept:
            block.load_state_dict(small.blocks[kept.index(index)].state_dict())
        else:
            for last in (block.proj, block.mlp[-1]):
                nn.init.zeros_(last.weight)
                nn.init.zeros_(last.bias)
    return large
