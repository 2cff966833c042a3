"""What ONNX Runtime's TensorRT provider needs to know: engines take minutes to build, so they are kept, each for
exactly what it was built for.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from clipose_ros.inference.card import NetworkFile
from clipose_ros.inference.runtime import load_runtime

LIKELY_BATCH = 5  # objects for which TensorRT tunes its kernels; others work, too
PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")  # under which names TensorRT is installed


@dataclass(frozen=True)
class EngineKey:
    """Everything that an engine depends on: where one of these differs, another engine is built, and no stale one is
    ever loaded.
    """

    model: str  # sha256 of the network file
    onnxruntime: str
    tensorrt: str
    gpu: str  # name, compute capability and driver
    precision: str
    largest_batch: int

    def folder(self, cache: Path) -> Path:
        """Where the engine lies, or will: named by the model, the precision and a digest of the whole key."""
        digest = hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()
        return cache / f"{self.model[:12]}-{self.precision}-{digest[:16]}"


def cache_folder() -> Path:
    """Of this user's engines."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "clipose_ros" / "tensorrt"


def engine_key(network: NetworkFile, precision: str, largest_batch: int) -> EngineKey:
    """The key on this machine. Raises RuntimeError where no NVIDIA GPU can be asked for its name."""
    return EngineKey(
        network.sha256, load_runtime().__version__, installed_version(), gpu_name(), precision, largest_batch
    )


def installed_version() -> str:
    """Of TensorRT's Python package; TensorRT as system libraries is told apart by ONNX Runtime's own engine names
    alone.
    """
    for package in PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "unknown"


def gpu_name() -> str:
    """Name, compute capability and driver of the first GPU, as nvidia-smi says."""
    query = ["nvidia-smi", "--query-gpu=name,compute_cap,driver_version", "--format=csv,noheader", "--id=0"]
    try:
        return subprocess.run(query, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        raise RuntimeError(f"provider tensorrt: expected an NVIDIA GPU that nvidia-smi knows, got {error}") from error


def provider_options(network: NetworkFile, key: EngineKey, cache: Path) -> dict[str, str]:
    """Options of TensorrtExecutionProvider: one engine for batches of 1 to `key.largest_batch`, kept in the folder of
    its key.
    """
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
            f"{name}:" + "x".join(str(n) if isinstance(n, int) else str(batch) for n in shape)
            for name, shape in network.inputs.items()
        )
        options[f"trt_profile_{bound}_shapes"] = ",".join(shapes)
    return options
