"""ONNX files that are the same whenever and wherever a network is exported."""

from __future__ import annotations

import hashlib
from pathlib import Path

import onnx


def write_model(model: onnx.ModelProto, path: Path) -> str:
    """Write a checked ONNX file, without what torch says of where in its program each node comes from.

    Those stack traces are a tenth of a small file, hold paths of the machine, and differ from run to run.

    Parameters
    ----------
    model : ModelProto
        It is changed.
    path : Path
        To write.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.
    """
    for graph in (model.graph, *model.functions):
        for part in (*graph.node, *graph.value_info, *getattr(graph, "initializer", ()), graph):
            del part.metadata_props[:]
            part.doc_string = ""
    del model.metadata_props[:]
    onnx.save(model, str(path))
    onnx.checker.check_model(str(path))
    return hashlib.sha256(path.read_bytes()).hexdigest()
