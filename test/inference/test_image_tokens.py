"""Image backbones at run time: any image gives its map of tokens, in windows where the network wants these."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clipose_ros.inference.card import DEFAULT_BACKBONE, ModelCard, NetworkFile, find_model, write_card
from clipose_ros.inference.image_tokens import ImageTokens

STRIDE, WIDTH = 8, 5


@pytest.fixture
def write_backbone(tmp_path):
    def write(name, side=None, stride=STRIDE, estimator="image-backbone"):
        """A convolution with a kernel as large as its stride; `side` of its windows [px], or any."""
        folder = tmp_path / name
        folder.mkdir()
        weights = np.random.default_rng(1).normal(size=(WIDTH, 3, STRIDE, STRIDE)).astype(np.float32)
        sides, cells = ((side, side), (side // STRIDE,) * 2) if side else (("height", "width"), ("rows", "columns"))
        graph = helper.make_graph(
            [helper.make_node("Conv", ["image", "w"], ["tokens"], strides=[STRIDE, STRIDE])],
            "backbone",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ("batch", 3, *sides))],
            [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ("batch", WIDTH, *cells))],
            [numpy_helper.from_array(weights, "w")],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
        onnx.save(model, str(folder / "backbone.onnx"))
        network = NetworkFile(
            "backbone.onnx",
            hashlib.sha256((folder / "backbone.onnx").read_bytes()).hexdigest(),
            {"image": ("batch", 3, *sides)},
            {"tokens": ("batch", WIDTH, *cells)},
        )
        write_card(ModelCard(name, estimator, (), {"backbone": network}, settings={"stride": stride}), folder)
        return folder

    return write


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (100, 130, 3)).astype(np.uint8)


def test_windows_that_are_joined_give_the_map_of_the_whole(write_backbone, picture):
    whole = ImageTokens(write_backbone("whole")).map(picture)
    joined = ImageTokens(write_backbone("windows", side=48)).map(picture)
    assert whole.shape == (13, 17, WIDTH) and whole.dtype == np.float32
    np.testing.assert_allclose(joined, whole, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=-1), 1, atol=1e-5)


def test_an_image_smaller_than_a_window_is_seen(write_backbone, picture):
    whole = ImageTokens(write_backbone("whole")).map(picture[:20, :9])
    assert whole.shape == (3, 2, WIDTH)
    np.testing.assert_allclose(ImageTokens(write_backbone("windows", side=48)).map(picture[:20, :9]), whole, atol=1e-5)


def test_many_images_give_what_each_gives_alone(write_backbone, picture):
    tokens = ImageTokens(write_backbone("whole"))
    images = [np.roll(picture, shift, axis=0) for shift in range(11)]
    for image, found in zip(images, tokens.maps(images)):
        np.testing.assert_allclose(found, tokens.map(image), atol=1e-6)
    assert tokens.maps([]) == []


def test_a_backbone_is_told_by_the_hash_of_its_network(write_backbone):
    one, other = (ImageTokens(write_backbone(name, side)) for name, side in (("one", None), ("other", 48)))
    assert one.identity.name == "one" and one.identity.sha256 != other.identity.sha256
    assert str(one.identity) == f"one ({one.identity.sha256[:12]})"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"stride": 0}, "settings.stride: expected 1 to 64, whole, got 0"),
        ({"estimator": "clipose"}, "estimator: expected image-backbone, got clipose"),
        ({"side": 40, "stride": 16}, "inputs.image: expected multiples of the stride 16"),
    ],
)
def test_what_is_no_backbone_is_refused(write_backbone, values, message):
    with pytest.raises(ValueError, match=message):
        ImageTokens(write_backbone("broken", **values))


def test_an_image_that_is_none_is_refused(write_backbone, picture):
    tokens = ImageTokens(write_backbone("whole"))
    for image in (picture[..., 0], picture.astype(np.float32), np.zeros((0, 5, 3), np.uint8)):
        with pytest.raises(ValueError, match="image: expected"):
            tokens.map(image)


def test_the_shipped_one_is_small_and_runs():
    tokens = ImageTokens(find_model(DEFAULT_BACKBONE))
    tokens.warm_up()
    assert (find_model(DEFAULT_BACKBONE) / "backbone.onnx").stat().st_size < 16e6
    again = [tokens.map(np.full((50, 70, 3), 80, np.uint8)) for _ in range(2)]
    assert again[0].shape == (4, 5, 120) and np.array_equal(*again)
