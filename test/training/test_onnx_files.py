"""ONNX files that are the same whenever and wherever they are exported."""

import hashlib

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper

from training.onnx_files import write_model


def doubled(trace):
    """A network that doubles, as torch exports it: with the stack trace of each node."""
    node = helper.make_node("Add", ["x", "x"], ["y"])
    node.metadata_props.add(key="pkg.torch.onnx.stack_trace", value=trace)
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2]) for name in ("x", "y")]
    graph = helper.make_graph([node], "doubled", values[:1], values[1:])
    graph.metadata_props.add(key="where", value=trace)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)


def test_a_file_holds_no_traces_and_answers_as_before(tmp_path):
    digests = [write_model(doubled(f"/home/{who}/net.py"), tmp_path / f"{who}.onnx") for who in ("me", "you")]
    data = (tmp_path / "me.onnx").read_bytes()
    assert digests[0] == digests[1] == hashlib.sha256(data).hexdigest()
    assert b"/home" not in data and not onnx.load(str(tmp_path / "me.onnx")).graph.node[0].metadata_props
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    np.testing.assert_array_equal(session.run(None, {"x": np.array([1, 2], np.float32)})[0], [2, 4])
