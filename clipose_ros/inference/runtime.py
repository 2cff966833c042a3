"""The door to ONNX Runtime: its builds are packages that install one module, so none is a dependency of this one."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

CURE = "pip install clipose_ros[cpu], or clipose_ros[gpu] for an NVIDIA GPU"


def load_runtime() -> ModuleType:
    """Import ONNX Runtime, when a network is about to be loaded and not before.

    Returns
    -------
    module
        onnxruntime.

    Raises
    ------
    RuntimeError
        None of its builds is installed, or what is left of one does not load. The message names the cure.
    """
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeError(f"onnxruntime: expected one of its builds, got none ({error}); {CURE}") from error
    if not hasattr(runtime, "InferenceSession"):  # two builds shared one folder, and one of them was removed
        where = ", ".join(getattr(runtime, "__path__", ()))
        raise RuntimeError(f"onnxruntime: expected one of its builds, got an empty folder ({where}); remove it; {CURE}")
    return runtime


def unreadable(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """Tell what ONNX Runtime raises for a file that is no network, or none that it can run.

    Parameters
    ----------
    runtime : module
        onnxruntime.

    Returns
    -------
    tuple of type
        They have no common type of their own.
    """
    state = runtime.capi.onnxruntime_pybind11_state
    return state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented
