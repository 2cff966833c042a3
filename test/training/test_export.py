"""What is exported says the same in ONNX Runtime as in torch, in either precision."""

import hashlib
from dataclasses import replace

import numpy as np
import onnx
import pytest

from clipose_ros import estimators
from clipose_ros.core.types import Observation, PoseEstimate
from clipose_ros.estimators.clipose import NETWORK
from clipose_ros.inference.card import read_card, write_card
from clipose_ros.inference.session import Session
from training.export import PARITY, export, network_card, parity
from training.networks import PatchTransformerConfig, make_network
from training.onnx_networks import half_precision, search_nodes, write_onnx
from training.optimisation.checkpoint import load_network
from training.train import train

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.fixture(scope="module")
def models(checkpoint, tmp_path_factory):
    """Folder with the model "tiny" and, made from it, "tiny_half"."""
    folder = tmp_path_factory.mktemp("models")
    export(checkpoint, folder / "tiny")
    (folder / "tiny_half").mkdir()
    content = half_precision(onnx.load(folder / "tiny" / "model.onnx")).SerializeToString()
    (folder / "tiny_half" / "model.onnx").write_bytes(content)
    card = read_card(folder / "tiny")
    network = replace(card.network(NETWORK), precision="fp16", sha256=hashlib.sha256(content).hexdigest())
    write_card(replace(card, networks={NETWORK: network}), folder / "tiny_half")
    return folder


@pytest.mark.parametrize(("name", "precision"), [("tiny", "fp32"), ("tiny_half", "fp16")])
def test_exported_network_equals_torch_for_each_batch_size(checkpoint, models, name, precision):
    network, _ = load_network(checkpoint)
    session = Session(models / name, read_card(models / name).network(NETWORK))
    bound, share = PARITY[precision]
    for batch in (1, 3, 8):
        assert max(parity(network, session, batches=(batch,), share=share).values()) <= bound


def test_a_network_that_says_something_else_than_torch_gets_no_card(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("training.export.parity", lambda *arguments, **options: {"y_axis": 0.5})
    with pytest.raises(ValueError, match="parity: expected at most"):
        export(checkpoint, tmp_path / "wrong")
    assert not (tmp_path / "wrong" / "card.yaml").exists()


def test_a_network_that_is_told_nothing_has_a_free_batch_too(tmp_path):
    config = PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2, ground=False, hypotheses=1)
    network = make_network(config).eval()
    write_onnx(network, tmp_path / "model.onnx")
    card = network_card(network, tmp_path / "model.onnx", outlier_radius=0.8)
    session = Session(tmp_path, card.network(NETWORK))
    assert max(parity(network, session, batches=(1, 5)).values()) <= PARITY["fp32"][0]
    assert set(card.network(NETWORK).inputs) == {"points", "category"}


def test_a_second_network_serves_objects_without_a_surface_as_it_does_alone(checkpoint, blind, tmp_path):
    export(checkpoint, tmp_path / "two", view=blind)
    points = (np.random.default_rng(0).uniform(-0.04, 0.04, (400, 3)) + (0.1, 0.0, 0.9)).astype(np.float32)
    unknown = Observation(points, "mug")
    told = replace(unknown, surface=np.array([0.0, -0.8, -0.6, -0.6]))
    two, alone = (estimators.load(str(folder)) for folder in (tmp_path / "two", blind))
    first, second = two.estimate([unknown, told])
    (expected,) = alone.estimate([unknown])
    assert (first.score, first.rotation.tobytes()) == (expected.score, expected.rotation.tobytes())
    assert second.rotation.tobytes() != expected.rotation.tobytes()
    assert read_card(tmp_path / "two").training["view"] == dict(read_card(blind).training)


def test_a_network_that_refines_is_exported_beside_and_asked_last(checkpoint, config, blind, tmp_path):
    path = train(replace(config, output=tmp_path / "run", network=replace(config.network, refines=True)))
    export(checkpoint, tmp_path / "one")
    export(checkpoint, tmp_path / "two", view=blind, refine=path)
    points = (np.random.default_rng(0).uniform(-0.04, 0.04, (400, 3)) + (0.1, 0.0, 0.9)).astype(np.float32)
    seen = [Observation(points, "mug", surface=surface) for surface in (None, np.array([0.0, -0.8, -0.6, -0.6]))]
    one, two = (estimators.load(str(tmp_path / name)) for name in ("one", "two"))
    assert all(isinstance(pose, PoseEstimate) for pose in two.estimate(seen))
    assert two.estimate(seen)[1].score != one.estimate(seen)[1].score
    assert set(read_card(tmp_path / "two").networks) == {"pose", "view", "refine"}
    with pytest.raises(ValueError, match="refine: expected a network that refines"):
        export(checkpoint, tmp_path / "three", refine=checkpoint)


def test_a_second_network_that_is_told_of_surfaces_is_refused(checkpoint, models, tmp_path):
    with pytest.raises(ValueError, match="view: expected a network without the input ground beside one with it, got"):
        export(checkpoint, tmp_path / "two", view=models / "tiny")
    assert not (tmp_path / "two" / "card.yaml").exists()


@pytest.mark.parametrize("name", ["tiny", "tiny_half"])
def test_exported_network_runs_in_the_estimator(models, name):
    estimator = estimators.load(name, models)
    cloud = np.random.default_rng(0).uniform(-0.04, 0.04, (400, 3)) + (0.1, 0.0, 0.9)
    (result,) = estimator.estimate([Observation(cloud.astype(np.float32), "mug")])
    assert isinstance(result, PoseEstimate)
    np.testing.assert_allclose(result.rotation.T @ result.rotation, np.eye(3), atol=1e-6)


def test_half_precision_keeps_inputs_outputs_and_searches(models):
    whole, half = (onnx.load(models / name / "model.onnx") for name in ("tiny", "tiny_half"))
    for value in (*half.graph.input, *half.graph.output):
        assert value.type.tensor_type.elem_type != HALF
    searches = set(search_nodes(whole.graph))
    operations = {node.name: node.op_type for node in whole.graph.node}
    assert {"Sub", "MatMul", "ReduceSum"} <= {operations[name] for name in searches}
    # but the order of the points
    weights = [
        tensor
        for tensor in half.graph.initializer
        if np.prod(tensor.dims) > 100 and tensor.data_type != onnx.TensorProto.INT64
    ]
    assert weights and all(tensor.data_type == HALF for tensor in weights)


def test_card_says_what_the_network_costs(checkpoint, models):
    network, saved = load_network(checkpoint)
    training = read_card(models / "tiny").training
    # the dense head serves training alone
    assert 0 < training["parameters"] < sum(p.numel() for p in network.parameters())
    assert training["multiply_adds"] > training["parameters"] / 2
    assert training["steps"] == saved["step"] == 4


def test_a_model_that_differs_from_torch_is_refused(checkpoint, models, tmp_path, monkeypatch):
    def changed(network, path, precision):
        model = onnx.load(models / "tiny" / "model.onnx")
        weight = next(
            tensor for tensor in model.graph.initializer if tensor.data_type == FLOAT and np.prod(tensor.dims) > 100
        )
        weight.CopyFrom(onnx.numpy_helper.from_array(1.1 * onnx.numpy_helper.to_array(weight), weight.name))
        onnx.save(model, path)

    monkeypatch.setattr("training.export.write_onnx", changed)
    with pytest.raises(ValueError, match="parity: expected at most 0.0001 for a share of 1.0"):
        export(checkpoint, tmp_path / "wrong")
