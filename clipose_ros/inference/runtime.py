"""The door to ONNX Runtime.

Its builds are packages that install the same module, so none of them is a dependency of this package.
"""

from __future__ import annotations

import io
from contextlib import redirect_stdout
from importlib import import_module
from types import ModuleType

CURE = "pip install clipose_ros[cpu], or clipose_ros[gpu] for an NVIDIA GPU"


def load_runtime() -> ModuleType:
    """Import ONNX Runtime.

    Call it when a network is about to be loaded, not before.

    Returns
    -------
    module
        onnxruntime.

    Raises
    ------
    RuntimeError
        If no build is installed, or only the remains of one, which do not load. The message says what to install.
    """
    try:
        runtime = import_module("onnxruntime")
    except ImportError as error:
        raise RuntimeError(f"onnxruntime: expected one of its builds, got none ({error}); {CURE}") from error
    if not hasattr(runtime, "InferenceSession"):  # two builds shared its folder, and one was removed
        where = ", ".join(getattr(runtime, "__path__", ()))
        raise RuntimeError(f"onnxruntime: expected one of its builds, got an empty folder ({where}); remove it; {CURE}")
    return runtime


def load_cuda_libraries(runtime: ModuleType) -> list[str]:
    """Load CUDA's libraries from the Python packages that bring them, such as nvidia-cublas.

    They lie where the system does not look, and ONNX Runtime does not look there either unless it is asked to.

    Parameters
    ----------
    runtime : module
        onnxruntime. A release without `preload_dlls`, or a build without CUDA, loads nothing.

    Returns
    -------
    list of str
        Libraries that neither the packages nor the system have.
    """
    preload = getattr(runtime, "preload_dlls", None)
    if preload is None:
        return []
    said = io.StringIO()
    with redirect_stdout(said):  # it prints, also what is missing; the standard output is for results
        preload()
    words = (line.split() for line in said.getvalue().splitlines() if line.startswith("Failed to load "))
    return [line[3].rstrip(":") for line in words]


def unreadable(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """List the exceptions that ONNX Runtime raises for a file that it cannot run as a network.

    Parameters
    ----------
    runtime : module
        onnxruntime.

    Returns
    -------
    tuple of type
        Types of exceptions. They have no base class of their own.
    """
    state = runtime.capi.onnxruntime_pybind11_state
    # Fail: of a file that is newer than this ONNX Runtime
    return state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf, state.NotImplemented
