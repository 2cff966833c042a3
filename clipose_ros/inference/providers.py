"""What a network may run on, by our names and by ONNX Runtime's.

This needs no ONNX Runtime.
"""

from __future__ import annotations

from typing import Literal, get_args

Provider = Literal["cpu", "cuda", "tensorrt"]
Precision = Literal["fp32", "fp16"]  # of TensorRT's engine; other providers run the network as it is

# ONNX Runtime's names, best first: an operator that the first cannot run goes to the next.
PROVIDERS: dict[Provider, tuple[str, ...]] = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
