"""A network in ONNX Runtime: one provider, chosen openly, and one batched call."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from clipose_ros.core.processors import usable_cores
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import NetworkFile, read_network
from clipose_ros.inference.cores import Cores
from clipose_ros.inference.providers import PRECISIONS, PROVIDERS, Precision, Provider
from clipose_ros.inference.runtime import load_cuda_libraries, load_runtime, unreadable
from clipose_ros.inference.tensorrt import cache_folder, engine_key, provider_options

log = logging.getLogger(__name__)

WAIT_US, WAIT_SINCE = 200, (1, 27)  # how long cores wait awake, and the onnxruntime whose releases have that limit

# CUDA's own choices are products in TF32, with 10 bits of mantissa, and a search of all convolutions for each batch of
# a new size, in the frame that has it.
CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


@dataclass(frozen=True)
class SessionConfig:
    """Where and how a network runs.

    Parameters
    ----------
    provider : str
        What it runs on, a key of `PROVIDERS`.
    threads : int
        Cores that share the clouds of a frame on the CPU; one core works on one cloud. 0 takes every core that the
        process may use.
    allow_cpu : bool
        Whether to fall back to the CPU if the provider cannot be had. Otherwise that is an error.
    precision : str
        Number format of TensorRT's engine, one of `PRECISIONS`. Other providers run the network as it is.
    largest_batch : int
        Most clouds in one call to TensorRT, whose engine is built for it. More clouds take several calls.

    Raises
    ------
    ValueError
        If a value is not possible.
    """

    provider: Provider = "cpu"
    threads: int = 0
    allow_cpu: bool = False
    precision: Precision = "fp32"
    largest_batch: int = 32

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider: expected one of {', '.join(PROVIDERS)}, got {self.provider}")
        expect("threads", type(self.threads) is int and self.threads >= 0, "0 (all cores) or more, whole", self.threads)
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected {' or '.join(PRECISIONS)}, got {self.precision}")
        whole = type(self.largest_batch) is int and self.largest_batch >= 1
        expect("largest_batch", whole, "1 or more, whole", self.largest_batch)


class ProviderUnavailable(RuntimeError):
    """A provider that cannot be had.

    Parameters
    ----------
    reason : str
        Why, as `name: expected …, got …`; the message adds what a caller of `Session` can do about it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; set allow_cpu to run on the CPU instead")
        self.reason = reason


class Session:
    """The network of a model folder, loaded, checked against its card and warmed up.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    network : NetworkFile
        What the card says of the network.
    config : SessionConfig
        Where and how the network runs.
    together : bool
        Whether the CPU's cores work on each call together, as a large network that sees a whole image wants it.
        Without, each core works on its share of the batch.

    Attributes
    ----------
    network : NetworkFile
        As above.
    threads : int
        Cores that it uses on the CPU.
    provider : str
        What it really runs on, a key of `PROVIDERS`.
    precision : str
        Number format in which it really runs.

    Raises
    ------
    ValueError
        If file and card disagree, or the file is no ONNX network.
    RuntimeError
        If there is no ONNX Runtime, or the provider cannot be had. ONNX Runtime alone would silently run on the CPU.
    """

    def __init__(
        self, folder: Path, network: NetworkFile, config: SessionConfig = SessionConfig(), together: bool = False
    ) -> None:
        self.network = network
        self.threads = config.threads or usable_cores()
        onnxruntime = load_runtime()
        options = onnxruntime.SessionOptions()
        # Every core runs the whole network on its share of the clouds: an operator of a small network is over before
        # another core has woken up to help.
        options.intra_op_num_threads = self.threads if together else 1
        options.inter_op_num_threads = 1
        if together:
            wait_briefly(options, onnxruntime.__version__)
        options.log_severity_level = 3  # refusals are raised below; ONNX Runtime's warnings about them are noise
        providers = _with_options(_available(config), network, config)
        lacking = load_cuda_libraries(onnxruntime) if providers[0][0] not in PROVIDERS["cpu"] else []
        wanted, reasons = providers[0][0], [f"{', '.join(lacking)} cannot be loaded"] if lacking else []
        try:
            self._session = _started(onnxruntime, read_network(folder, network), options, providers, reasons)
        except unreadable(onnxruntime) as error:
            raise ValueError(
                f"{folder / network.file}: expected an ONNX network that onnxruntime {onnxruntime.__version__} runs, "
                f"got one of which it says: {' '.join(str(error).split())}{_cure(str(error))}"
            ) from error
        self.provider = _check_provider(self._session.get_providers()[0], wanted, config, reasons)
        self.precision = config.precision if self.provider == "tensorrt" else network.precision
        self._largest_batch = config.largest_batch
        self._shares = 1 if together else self.threads
        self._cores = Cores(self._shares)
        _check_signature("inputs", network.inputs, self._session.get_inputs())
        _check_signature("outputs", network.outputs, self._session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the network on a batch of B clouds.

        The CPU's cores share the clouds. TensorRT gets as many at once as its engine takes.

        Parameters
        ----------
        inputs : mapping of str to (B, ...) array
            The network's inputs by name.

        Returns
        -------
        dict of str to (B, ...) array
            The network's outputs by name.
        """
        names, batch = list(self.network.outputs), len(next(iter(inputs.values())))
        parts = self._parts(batch)
        bounds = pairwise(-(-batch * part // parts) for part in range(parts + 1))
        calls = [
            partial(self._session.run, names, {name: value[a:b] for name, value in inputs.items()}) for a, b in bounds
        ]
        outputs = self._cores.run(calls) if self.provider == "cpu" else [call() for call in calls]
        return dict(zip(names, outputs[0] if len(outputs) == 1 else map(np.concatenate, zip(*outputs))))

    def _parts(self, batch: int) -> int:
        """Give the number of calls for a batch: side by side on the CPU, one after the other with TensorRT."""
        parts = {"cpu": min(self._shares, batch), "tensorrt": -(-batch // self._largest_batch)}.get(self.provider, 1)
        return max(parts, 1)


def wait_briefly(options: Any, version: str) -> None:
    """Let cores wait awake for the next operator, but not for the next frame.

    Cores that sleep are too late for small operators: a network of 5 ms takes 7. Those that stay awake for as long as
    ONNX Runtime likes, up to a third of a second, take the time of what else the machine does.

    Parameters
    ----------
    options : onnxruntime.SessionOptions
        Of a session, to be changed.
    version : str
        Of ONNX Runtime. One that cannot limit the wait gets none.
    """
    limited = tuple(int(part) for part in version.split(".")[:2] if part.isdigit()) >= WAIT_SINCE
    options.add_session_config_entry("session.intra_op.allow_spinning", str(int(limited)))
    if limited:
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(WAIT_US))


def _started(
    runtime: ModuleType, content: bytes, options: Any, providers: list[tuple[str, dict[str, str]]], reasons: list[str]
) -> Any:
    """Start a network on the first provider that starts, and add to the reasons why others do not.

    ONNX Runtime's own fallback would print on the standard output, forget the options, and also replace a provider that
    fails later, when the network runs.
    """
    try:
        return runtime.InferenceSession(content, options, providers=providers, enable_fallback=0)
    except RuntimeError as error:
        if len(providers) == 1:
            raise
        reasons.append(" ".join(str(error).split()))
        return _started(runtime, content, options, providers[1:], reasons)


def _cure(reason: str) -> str:
    """What to do about a network that ONNX Runtime refuses: one of a newer version says so."""
    newer = any(word in reason for word in ("IR version", "pset"))
    return "; install a newer onnxruntime, or export the model for this one" if newer else ""


def _with_options(
    providers: tuple[str, ...], network: NetworkFile, config: SessionConfig
) -> list[tuple[str, dict[str, str]]]:
    """Give the providers with their options; the CPU alone if TensorRT finds no GPU and that is allowed."""
    try:
        return [(name, _options(name, network, config)) for name in providers]
    except RuntimeError as error:
        _refuse_or_warn(str(error), config)
        return [(name, {}) for name in PROVIDERS["cpu"]]


def _options(provider: str, network: NetworkFile, config: SessionConfig) -> dict[str, str]:
    """Give the options of a provider. Make the folder in which TensorRT keeps its engine."""
    if provider == PROVIDERS["cuda"][0]:
        return dict(CUDA_OPTIONS)
    if provider != PROVIDERS["tensorrt"][0]:
        return {}
    key, cache = engine_key(network, config.precision, config.largest_batch), cache_folder()
    try:
        key.folder(cache).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RuntimeError(
            f"{cache}: expected a folder for TensorRT's engines, got {error}; set XDG_CACHE_HOME to one"
        ) from error
    return provider_options(network, key, cache)


def _available(config: SessionConfig) -> tuple[str, ...]:
    """List the providers to ask for, best first.

    A provider that this build of ONNX Runtime lacks is refused before the model is loaded.
    """
    built = load_runtime().get_available_providers()
    wanted = PROVIDERS[config.provider]
    if wanted[0] in built:
        return tuple(provider for provider in wanted if provider in built)
    _refuse_or_warn(
        f"provider: expected one that this onnxruntime has ({', '.join(built)}), got {config.provider}", config
    )
    return PROVIDERS["cpu"]


def _check_provider(got: str, wanted: str, config: SessionConfig, reasons: Sequence[str] = ()) -> str:
    """Give our name of the provider that really runs; refuse another one than the wanted one, with the first reason."""
    name = next(name for name, providers in PROVIDERS.items() if providers[0] == got)
    if got != wanted:
        what = reasons[0] if reasons else "its libraries or the device are missing"
        missing = f"provider: expected {wanted} after creation, got {got}: {what}"
        _refuse_or_warn(missing, config, name)
    return name


def _refuse_or_warn(message: str, config: SessionConfig, instead: Provider = "cpu") -> None:
    """Refuse to run on another provider than the wanted one, unless that is permitted."""
    if not config.allow_cpu:
        raise ProviderUnavailable(message)
    log.warning("%s; running on %s, as allow_cpu permits", message, instead)


def _check_signature(key: str, expected: Mapping[str, tuple[int | str, ...]], got: list) -> None:
    """Refuse a network whose names or fixed dimensions are not those of the card."""
    shapes = {value.name: value.shape for value in got}
    if set(shapes) != set(expected):
        raise ValueError(f"{key}: expected {', '.join(expected)} as the card says, got {', '.join(shapes)}")
    for name, shape in expected.items():
        fixed = len(shape) == len(shapes[name]) and all(
            a == b for a, b in zip(shape, shapes[name]) if isinstance(a, int) and isinstance(b, int)
        )
        if not fixed:
            raise ValueError(f"{key}.{name}: expected {list(shape)} as the card says, got {shapes[name]}")
