"""A grown network begins as the one that it grew out of."""

from dataclasses import replace

import pytest
import torch

from training.growth import grown
from training.networks import CliposeConfig, HSEncoderConfig, make_network
from training.networks.patch_transformer import PatchTransformerConfig

SMALL = PatchTransformerConfig(points=64, patches=8, neighbours=4, width=16, layers=2, heads=2)


def test_more_layers_change_nothing_at_first():
    torch.manual_seed(0)
    small, large = make_network(SMALL).eval(), make_network(replace(SMALL, layers=5)).eval()
    points, category = torch.randn(3, 64, 3), torch.tensor([0, 3, 5])
    before = small(points, category)
    after = grown(small, large)(points, category)
    for name, value in before.items():
        torch.testing.assert_close(after[name], value)


def test_further_layers_can_learn():
    torch.manual_seed(0)
    large = grown(make_network(SMALL), make_network(replace(SMALL, layers=3))).train()
    large(torch.randn(3, 64, 3), torch.tensor([0, 3, 5]))["offset"].square().sum().backward()
    assert all(block.proj.weight.grad.abs().sum() > 0 for block in large.blocks)


def test_more_patches_take_the_same_weights():
    small = make_network(SMALL)
    large = grown(small, make_network(replace(SMALL, patches=16)))
    assert all(torch.equal(value, large.state_dict()[name]) for name, value in small.state_dict().items())


@pytest.mark.parametrize("change", [{"width": 32}, {"expansion": 3}])
def test_what_is_no_growth_is_refused(change):
    with pytest.raises(RuntimeError):
        grown(make_network(SMALL), make_network(replace(SMALL, **change)))


def test_the_papers_network_is_no_start_for_the_compact_one():
    encoder = HSEncoderConfig(points=128, neighbours=4, supports=1, channels=(8,) * 5)
    paper = make_network(CliposeConfig(encoder=encoder, hidden=(16, 8), dense=8))
    with pytest.raises(RuntimeError):
        grown(paper, make_network(SMALL))


def test_what_is_told_of_surfaces_and_new_hypotheses_change_little_at_first():
    torch.manual_seed(0)
    small = make_network(replace(SMALL, ground=False, hypotheses=1)).eval()
    large = grown(small, make_network(SMALL)).eval()
    points, category, ground = torch.randn(3, 64, 3), torch.tensor([0, 3, 5]), torch.rand(3, 4)
    before, after = small(points, category), large(points, category, ground)
    for name in ("offset", "size"):
        torch.testing.assert_close(after[name], before[name])
    assert (after["y_axis"] * before["y_axis"]).sum(-1).min() > 0.5


def test_fewer_layers_are_the_first_the_last_and_some_between():
    large = make_network(replace(SMALL, layers=4))
    small = grown(large, make_network(replace(SMALL, layers=3)))
    for block, source in zip(small.blocks, (0, 1, 3), strict=True):
        assert torch.equal(block.qkv.weight, large.blocks[source].qkv.weight)


def test_a_network_that_refines_begins_with_all_but_what_it_is_told():
    small, large = make_network(SMALL), make_network(replace(SMALL, refines=True))
    told = "encoder.position.0.weight"
    grown(small, large)
    before, after = small.state_dict(), large.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items() if name != told)
    assert torch.equal(after[told][:, :3], before[told][:, :3]) and not after[told][:, 3:].any()
