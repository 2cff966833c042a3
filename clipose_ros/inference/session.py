"""A network in ONNX Runtime: one provider, chosen openly, and one batched call."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from clipose_ros.inference.card import NetworkFile, read_network
from clipose_ros.inference.cores import Cores
from clipose_ros.inference.providers import PRECISIONS, PROVIDERS, Precision, Provider
from clipose_ros.inference.runtime import load_runtime, unreadable
from clipose_ros.inference.tensorrt import cache_folder, engine_key, provider_options

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SessionConfig:
    """Where and how a network runs.

    threads: cores that share the clouds of a frame on the CPU, each cloud being one core's work; 0 takes every core
    that the process may use.
    allow_cpu: accept the CPU when the provider cannot be had.
    precision: of TensorRT's engine; the others run the network as it is.
    largest_batch: of clouds in one call to TensorRT, whose engine is built for it; more are given to it in parts.
    """

    provider: Provider = "cpu"
    threads: int = 0
    allow_cpu: bool = False
    precision: Precision = "fp32"
    largest_batch: int = 32

    def __post_init__(self) -> None:
        if self.provider not in PROVIDERS:
            raise ValueError(f"provider: expected one of {', '.join(PROVIDERS)}, got {self.provider}")
        if self.threads < 0:
            raise ValueError(f"threads: expected 0 (all cores) or more, got {self.threads}")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision: expected {' or '.join(PRECISIONS)}, got {self.precision}")
        if self.largest_batch < 1:
            raise ValueError(f"largest_batch: expected 1 or more, got {self.largest_batch}")


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

    Raises ValueError when file and card disagree, RuntimeError without ONNX Runtime and when the provider cannot be
    had: ONNX Runtime alone would silently run on the CPU.
    """

    def __init__(self, folder: Path, network: NetworkFile, config: SessionConfig = SessionConfig()) -> None:
        self.network = network
        self.threads = config.threads or len(os.sched_getaffinity(0))
        onnxruntime = load_runtime()
        options = onnxruntime.SessionOptions()
        # Every core runs the whole network on its share of the clouds: an operator of a small network is over before
        # another core is awake to help.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3  # refusals are raised below; ONNX Runtime's warnings about them are noise
        providers = _with_options(_available(config), network, config)
        try:
            self._session = onnxruntime.InferenceSession(read_network(folder, network), options, providers=providers)
        except unreadable(onnxruntime) as error:
            raise ValueError(
                f"{folder / network.file}: expected an ONNX network, got what ONNX Runtime says of it: {error}"
            ) from error
        self.provider = _check_provider(self._session.get_providers()[0], providers[0][0], config)
        self.precision = config.precision if self.provider == "tensorrt" else network.precision
        self._largest_batch = config.largest_batch
        self._cores = Cores(self.threads)
        _check_signature("inputs", network.inputs, self._session.get_inputs())
        _check_signature("outputs", network.outputs, self._session.get_outputs())

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Outputs by name for inputs by name; the clouds are shared out among the cores, or in parts of what a TensorRT
        engine takes at once.
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
        """In how many calls a batch is run: at once on the CPU, one after the other where a TensorRT engine takes no
        more.
        """
        parts = {"cpu": min(self.threads, batch), "tensorrt": -(-batch // self._largest_batch)}.get(self.provider, 1)
        return max(parts, 1)


def _with_options(
    providers: tuple[str, ...], network: NetworkFile, config: SessionConfig
) -> list[tuple[str, dict[str, str]]]:
    """Providers with what each is told; the CPU alone where TensorRT finds no GPU and that is allowed."""
    try:
        return [(name, _options(name, network, config)) for name in providers]
    except RuntimeError as error:
        _refuse_or_warn(str(error), config)
        return [(name, {}) for name in PROVIDERS["cpu"]]


def _options(provider: str, network: NetworkFile, config: SessionConfig) -> dict[str, str]:
    """What a provider is told. Makes the folder in which TensorRT keeps its engine."""
    if provider != PROVIDERS["tensorrt"][0]:
        return {}
    key, cache = engine_key(network, config.precision, config.largest_batch), cache_folder()
    key.folder(cache).mkdir(parents=True, exist_ok=True)
    return provider_options(network, key, cache)


def _available(config: SessionConfig) -> tuple[str, ...]:
    """Providers to ask for, best first; refuses before the model is loaded when this build of ONNX Runtime lacks the
    wanted one.
    """
    built = load_runtime().get_available_providers()
    wanted = PROVIDERS[config.provider]
    if wanted[0] in built:
        return tuple(provider for provider in wanted if provider in built)
    _refuse_or_warn(
        f"provider: expected one that this onnxruntime has ({', '.join(built)}), got {config.provider}", config
    )
    return PROVIDERS["cpu"]


def _check_provider(got: str, wanted: str, config: SessionConfig) -> str:
    """Short name of the provider that really runs."""
    if got != wanted:
        _refuse_or_warn(
            f"provider: expected {wanted} after creation, got {got}: its libraries or the device are missing", config
        )
    return next(name for name, providers in PROVIDERS.items() if providers[0] == got)


def _refuse_or_warn(message: str, config: SessionConfig) -> None:
    if not config.allow_cpu:
        raise ProviderUnavailable(message)
    log.warning("%s; running on the CPU, as allow_cpu permits", message)


def _check_signature(key: str, expected: Mapping[str, tuple[int | str, ...]], got: list) -> None:
    """The names and fixed dimensions of the network are those of the card."""
    shapes = {value.name: value.shape for value in got}
    if set(shapes) != set(expected):
        raise ValueError(f"{key}: expected {', '.join(expected)} as the card says, got {', '.join(shapes)}")
    for name, shape in expected.items():
        fixed = len(shape) == len(shapes[name]) and all(
            a == b for a, b in zip(shape, shapes[name]) if isinstance(a, int) and isinstance(b, int)
        )
        if not fixed:
            raise ValueError(f"{key}.{name}: expected {list(shape)} as the card says, got {shapes[name]}")
