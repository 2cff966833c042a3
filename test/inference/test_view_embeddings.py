"""Embeddings of views at run time: crops in, vectors of the network's out, and networks of another kind refused."""

from __future__ import annotations

import hashlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from clipose_ros.inference.card import NetworkFile
from clipose_ros.inference.view_embeddings import BRIGHTEST, MOST_AT_ONCE, ViewEmbedder

SIDE, WIDTH = 8, 5
WEIGHTS = np.random.default_rng(1).normal(size=(4 * SIDE * SIDE, WIDTH)).astype(np.float32)


@pytest.fixture
def network(tmp_path):
    """One layer, whose numbers are divided by their length."""
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["crops"], ["flat"]),
            helper.make_node("MatMul", ["flat", "w"], ["whole"]),
            helper.make_node("LpNormalization", ["whole"], ["embeddings"], axis=1),
        ],
        "retrieval",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ("batch", 4, SIDE, SIDE))],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ("batch", WIDTH))],
        [numpy_helper.from_array(WEIGHTS, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, str(tmp_path / "retrieval.onnx"))
    digest = hashlib.sha256((tmp_path / "retrieval.onnx").read_bytes()).hexdigest()
    shapes = {"crops": ("batch", 4, SIDE, SIDE)}, {"embeddings": ("batch", WIDTH)}
    return NetworkFile("retrieval.onnx", digest, *shapes)


def test_crops_come_to_the_network_as_colours_and_mask(tmp_path, network):
    embedder = ViewEmbedder(tmp_path, network)
    assert (embedder.side, embedder.width) == (SIDE, WIDTH)
    rng, count = np.random.default_rng(0), MOST_AT_ONCE + 3
    paints = (2 * BRIGHTEST * rng.random((count, SIDE, SIDE, 3))).astype(np.float32)
    masks = rng.random((count, SIDE, SIDE)).astype(np.float32)
    found = embedder.embed(paints, masks)
    crops = np.concatenate([np.minimum(paints, BRIGHTEST), masks[..., None]], axis=3).transpose(0, 3, 1, 2)
    wanted = crops.reshape(count, -1) @ WEIGHTS
    np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted, axis=1, keepdims=True), atol=1e-5)


@pytest.mark.parametrize(
    "inputs, outputs, reason",
    [
        (
            {"crops": ("batch", 3, 8, 8)},
            {"embeddings": ("batch", 5)},
            r"inputs.crops: expected \[batch, 4, side, side\]",
        ),
        (
            {"crops": ("batch", 4, 8, 9)},
            {"embeddings": ("batch", 5)},
            r"inputs.crops: expected \[batch, 4, side, side\]",
        ),
        ({"crops": ("batch", 4, "h", "h")}, {"embeddings": ("batch", 5)}, "inputs.crops: expected"),
        ({"image": ("batch", 4, 8, 8)}, {"embeddings": ("batch", 5)}, "inputs.crops: expected"),
        ({"crops": ("batch", 4, 8, 8)}, {"embeddings": ("batch", "n")}, "outputs.embeddings: expected"),
    ],
)
def test_networks_of_another_kind_are_refused(tmp_path, inputs, outputs, reason):
    with pytest.raises(ValueError, match=reason):
        ViewEmbedder(tmp_path, NetworkFile("retrieval.onnx", "0" * 64, inputs, outputs))
