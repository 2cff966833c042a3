"""Muon against the singular value decomposition that it stands for, and the split of a network's weights between Muon
and AdamW.
"""

import pytest
import torch
from torch import nn

from training.networks import make_network
from training.networks.clipose import CliposeConfig
from training.networks.patch_transformer import PatchTransformerConfig
from training.optimisation.muon import Muon, orthogonalised
from training.optimisation.optimisers import make_optimiser
from training.train import TrainConfig

SMALL = PatchTransformerConfig(points=64, patches=8, neighbours=4, width=16, layers=2, heads=2)


@pytest.mark.parametrize("shape", [(16, 16), (32, 16), (16, 32)])
def test_orthogonalised_keeps_the_singular_vectors_and_levels_the_values(shape):
    matrices = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    u, _, vh = torch.linalg.svd(matrices, full_matrices=False)
    got = torch.linalg.svdvals(orthogonalised(matrices))
    assert got.min() > 0.5 and got.max() < 1.3
    # diagonal, where the vectors are those of the matrix
    inner = u.transpose(1, 2) @ orthogonalised(matrices) @ vh.transpose(1, 2)
    torch.testing.assert_close(inner, torch.diag_embed(inner.diagonal(dim1=1, dim2=2)), atol=1e-6, rtol=0)


def test_stacked_matrices_are_updated_as_if_they_were_apart():
    stacked = nn.Parameter(torch.zeros(24, 8))
    apart = [nn.Parameter(torch.zeros(8, 8)) for _ in range(3)]
    gradient = (
        torch.randn(24, 8, generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 100.0, 0.01]).repeat_interleave(8)[:, None]
    )
    stacked.grad = gradient
    for parameter, part in zip(apart, gradient.split(8), strict=True):
        parameter.grad = part
    Muon([stacked], lr=0.1, parts=3).step()
    Muon(apart, lr=0.1).step()
    torch.testing.assert_close(stacked.detach(), torch.cat([p.detach() for p in apart]))


def test_an_update_has_the_size_of_one_of_adamw():
    """About 0.2 of the learning rate in root mean square, whatever the gradient's scale."""
    for scale in (1e-4, 1e4):
        weight = nn.Parameter(torch.zeros(64, 64))
        weight.grad = scale * torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
        Muon([weight], lr=1.0).step()
        assert 0.15 < weight.detach().square().mean().sqrt() < 0.25


def test_every_weight_has_one_optimiser_and_only_hidden_matrices_have_muon():
    network = make_network(SMALL)
    optimiser = make_optimiser(network, [], TrainConfig(data=(), output=None, optimiser="muon"))
    held = [id(p) for group in optimiser.param_groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in network.parameters())
    names = {id(p): name for name, p in network.named_parameters()}
    under_muon = {names[id(p)] for group in optimiser.muon.param_groups for p in group["params"]}
    assert under_muon == {name for name, p in network.named_parameters() if name.startswith("blocks.") and p.ndim == 2}


def test_a_network_without_hidden_matrices_is_refused():
    with pytest.raises(ValueError, match="optimiser: expected adamw or ranger for Clipose"):
        make_optimiser(make_network(CliposeConfig()), [], TrainConfig(data=(), output=None, optimiser="muon"))
