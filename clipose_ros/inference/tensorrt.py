"""Options of ONNX Runtime's TensorRT provider, and where its engines are kept.

An engine takes minutes to build. So it is kept, and used again only for exactly what it was built for.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.inference.builds import installed_builds
from clipose_ros.inference.card import NetworkFile
from clipose_ros.inference.runtime import load_runtime

LIKELY_BATCH = 5  # number of objects for which TensorRT tunes its kernels; other numbers work, too
BATCH = "batch"  # name of the free dimension in a card
TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # names under which TensorRT is installed


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on.

    If one of these differs, another engine is built. So a stale engine is never loaded.

    Parameters
    ----------
    model : str
        SHA-256 of the network file.
    onnxruntime, tensorrt : str
        Versions.
    gpu : str
        Name, compute capability and driver.
    precision : str
        Number format of the engine.
    largest_batch : int
        Most clouds in one call.
    """

    model: str
    onnxruntime: str
    tensorrt: str
    gpu: str
    precision: str
    largest_batch: int

    def folder(self, cache: Path) -> Path:
        """Give the folder of the engine, which may not exist yet.

        Parameters
        ----------
        cache : Path
            Folder of all engines.

        Returns
        -------
        Path
            Folder, named by the model, the precision and a digest of the whole key.
        """
        digest = hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()
        return cache / f"{self.model[:12]}-{self.precision}-{digest[:16]}"


def cache_folder() -> Path:
    """Give the folder of this user's engines.

    Returns
    -------
    Path
        Folder, which may not exist yet.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipose_ros" / "tensorrt"


def engine_key(network: NetworkFile, precision: str, largest_batch: int) -> EngineKey:
    """Make the key of an engine on this machine.

    Parameters
    ----------
    network : NetworkFile
        The network that it runs.
    precision : str
        Number format of the engine.
    largest_batch : int
        Most clouds in one call.

    Returns
    -------
    EngineKey
        The key.

    Raises
    ------
    RuntimeError
        If there is no ONNX Runtime, or no NVIDIA GPU that says its name.
    """
    return EngineKey(
        network.sha256, load_runtime().__version__, installed_version(), gpu_name(), precision, largest_batch
    )


def installed_version() -> str:
    """Give the version of TensorRT's Python package.

    TensorRT as system libraries has no such version. Only ONNX Runtime's own names of engines tell its versions apart.

    Returns
    -------
    str
        Version, or "unknown" if there is no such package.
    """
    return next(iter(installed_builds(TENSORRT_PACKAGES).values()), "unknown")


def gpu_name() -> str:
    """Ask nvidia-smi about the first GPU.

    Returns
    -------
    str
        Its name, compute capability and driver.

    Raises
    ------
    RuntimeError
        If nvidia-smi is not there, or knows no GPU.
    """
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"provider tensorrt: expected an NVIDIA GPU that nvidia-smi knows, got {error}") from error


def provider_options(network: NetworkFile, key: EngineKey, cache: Path) -> dict[str, str]:
    """Give the options of TensorrtExecutionProvider.

    They ask for one engine for batches of 1 to `key.largest_batch`, kept in the folder of its key.

    Parameters
    ----------
    network : NetworkFile
        The network. Its free dimensions are those of the batch.
    key : EngineKey
        What the engine is for.
    cache : Path
        Folder of all engines.

    Returns
    -------
    dict of str to str
        Options by ONNX Runtime's names.

    Raises
    ------
    ValueError
        If an input has a free dimension beside the batch.
    """
    free = {n for shape in network.inputs.values() for n in shape if not isinstance(n, int)}
    expect("inputs", free <= {BATCH}, f"fixed dimensions but {BATCH!r}, for TensorRT", ", ".join(sorted(free)))
    folder = key.folder(cache)
    options = {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_fp16_enable": "1" if key.precision == "fp16" else "0",
    }
    for bound, batch in (("min", 1), ("opt", min(LIKELY_BATCH, key.largest_batch)), ("max", key.largest_batch)):
        shapes = (
            f"{name}:" + "x".join(str(batch if n == BATCH else n) for n in shape)
            for name, shape in network.inputs.items()
        )
        options[f"trt_profile_{bound}_shapes"] = ",".join(shapes)
    return options
