"""What a GPU may round and what it may not: switches are put back, and bfloat16 keeps the direction of the gradient."""

from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import clipose
from training.data.dataset import BatchConfig, make_batch
from training.data.rows import ViewPool
from training.networks import CliposeConfig, HSEncoderConfig, PatchTransformerConfig, make_network
from training.networks.hs_encoder import neighbours
from training.optimisation.precision import ExactLinear, exact, exact_product, rounded_products, unlowered
from training.train import TrainConfig, batch_losses, make_accelerator

MATMUL = torch.backends.cuda.matmul
SMALL = CliposeConfig(
    encoder=HSEncoderConfig(supports=3, channels=(32, 32, 64, 64, 128)), hidden=(128, 64), dense=64, dropout=0.0
)


def test_the_switch_of_tf32_is_put_back_whatever_happens():
    before = MATMUL.fp32_precision
    with pytest.raises(RuntimeError), rounded_products(True):
        assert MATMUL.fp32_precision == "tf32"
        with rounded_products(False):
            assert MATMUL.fp32_precision == "ieee"
        assert MATMUL.fp32_precision == "tf32"
        raise RuntimeError
    assert MATMUL.fp32_precision == before


def test_without_anything_to_switch_off_nothing_is_switched():
    points = torch.zeros(3)
    assert isinstance(exact(points), nullcontext) and isinstance(unlowered(points), nullcontext)
    with rounded_products(True):  # of a GPU, which these points are not on
        assert isinstance(exact(points), nullcontext)
    with torch.autocast("cpu", torch.bfloat16):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16
        with exact(points):
            assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32


def test_exact_products_are_those_of_the_operator():
    first, second = torch.randn(2, 5, 4), torch.randn(2, 4, 3)
    assert torch.equal(exact_product(first, second), first @ second)


def test_a_last_layer_answers_in_full():
    layer, plain = ExactLinear(8, 3), torch.nn.Linear(8, 3)
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(5, 8)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.float32 and plain(x).dtype == torch.bfloat16
        full = x.double() @ layer.weight.double().T + layer.bias.double()
        torch.testing.assert_close(layer(x), full.float())
    assert torch.equal(layer(x), plain(x))


def test_the_compact_network_finds_its_patches_in_full():
    """In bfloat16 the points of a small, distant patch would be one point."""
    network = make_network(PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2))
    points = 3 + 0.01 * torch.randn(2, 1024, 3)
    tokens, _ = network.encoder(points, torch.zeros(len(points), 4, device=points.device))
    with torch.autocast("cpu", torch.bfloat16):
        lowered, _ = network.encoder(points, torch.zeros(len(points), 4, device=points.device))
        near = neighbours(points, 4)
    assert torch.equal(near, neighbours(points, 4))
    assert (lowered - tokens).norm() < 0.02 * tokens.norm()


@pytest.mark.parametrize(
    ("config", "least"),
    [(TrainConfig((), Path()), 0.999), (replace(clipose.PAPER, data=(), output=Path(), network=SMALL), 0.95)],
    ids=["compact", "paper"],
)
def test_bfloat16_keeps_the_direction_of_the_gradient(views, config, least):
    pool = ViewPool([views / "shard_000001.npz"])
    rows = pool.rows(torch.arange(6), torch.device("cpu"))
    truth = make_batch(rows, 64, BatchConfig(), torch.Generator().manual_seed(0))
    assert truth.pop("usable").all()
    torch.manual_seed(0)
    network, accelerator, gradients = make_network(config.network).train(), make_accelerator(config), []
    for precision in ("fp32", "bf16"):
        network.zero_grad()
        batch_losses(network, truth, replace(config, precision=precision), accelerator)["total"].backward()
        gradients.append(torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > least
