"""What must be right before a pose node can work here: Python, packages, ONNX Runtime's providers, the models.

No ROS.
"""

from __future__ import annotations

import platform
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import scipy

from clipose_ros import estimators
from clipose_ros.doctor.findings import Finding, Level, fail, ok, warn
from clipose_ros.estimators.loading import LEARNERS
from clipose_ros.inference.builds import built_providers, imported_version, installed_builds
from clipose_ros.inference.card import CARD_FILE, DEFAULT_MODEL, NetworkFile, find_model, models_folders, read_card
from clipose_ros.inference.image_tokens import ESTIMATOR, ImageTokens
from clipose_ros.inference.providers import PROVIDERS
from clipose_ros.inference.runtime import CURE
from clipose_ros.inference.session import Session, SessionConfig
from clipose_ros.inference.tensorrt import cache_folder, engine_key
from clipose_ros.segmenters.choice import MODELS, segmenter_of

OLDEST_PYTHON = (3, 11)
TIMED_RUNS = 5
GPU_CURES = {
    "cuda": "pip uninstall onnxruntime, pip install clipose_ros[gpu], and check the driver with nvidia-smi",
    "tensorrt": "pip uninstall onnxruntime, pip install clipose_ros[gpu], check with nvidia-smi, then clipose build",
}


def examine(provider: str = SessionConfig.provider, models_dir: Path | None = None) -> Iterator[Finding]:
    """Look at this machine.

    Parameters
    ----------
    provider : str
        The one that the node is to run on. That the others do not start is no failure.
    models_dir : Path, optional
        Where to look for models, instead of the usual places.

    Yields
    ------
    Finding
        Each as soon as it is found.
    """
    yield from (python_finding(), packages_finding(), runtime := runtime_finding())
    runs, model = runtime.level < Level.FAIL, _default_model(models_dir)
    if runs and model is not None:
        built = built_providers()
        for name in PROVIDERS:
            yield provider_finding(name, name == provider, name in built, model)
    yield from models_findings([models_dir] if models_dir else models_folders(), runs)


def python_finding(python: Sequence[int] = sys.version_info) -> Finding:
    """Judge whether Python is new enough.

    Parameters
    ----------
    python : sequence of int
        Its version. By default that of this process.

    Returns
    -------
    Finding
        FAIL for one that is too old.
    """
    text = ".".join(map(str, python[:3]))
    if tuple(python[:2]) >= OLDEST_PYTHON:
        return ok("python", f"{text}, {platform.system()} {platform.machine()}")
    return fail(
        "python", f"expected {'.'.join(map(str, OLDEST_PYTHON))} or newer, got {text}", "install a newer Python"
    )


def packages_finding() -> Finding:
    """Tell the versions of the libraries that everything goes through.

    Returns
    -------
    Finding
        OK: without them this code would not run.
    """
    return ok("packages", f"numpy {np.__version__}, scipy {scipy.__version__}, opencv {cv2.__version__}")


def runtime_finding() -> Finding:
    """Judge whether ONNX Runtime can be imported, and is one build.

    Returns
    -------
    Finding
        FAIL where there is none.
    """
    try:
        return builds_finding(installed_builds(), imported_version())
    except RuntimeError as error:
        return fail("onnxruntime", _first_line(error).removeprefix("onnxruntime: ").removesuffix(f"; {CURE}"), CURE)


def builds_finding(builds: Mapping[str, str], imported: str) -> Finding:
    """Judge whether one build of ONNX Runtime is installed.

    Parameters
    ----------
    builds : mapping of str to str
        Versions by package.
    imported : str
        Version of what is imported.

    Returns
    -------
    Finding
        WARN for more than one.
    """
    names = ", ".join(f"{name} {version}" for name, version in builds.items())
    if len(builds) > 1:
        keep = next((name for name in builds if name != "onnxruntime"), "onnxruntime")
        cure = f"pip uninstall {' '.join(builds)}, then pip install {keep}"
        return warn(
            "onnxruntime",
            f"expected one build, got {names}: they share one folder, and the last one has overwritten the others",
            cure,
        )
    return ok("onnxruntime", names or f"{imported}, not from a Python package")


def provider_finding(provider: str, wanted: bool, built: bool, model: Path) -> Finding:
    """Judge whether a provider really starts: a model is loaded and run on it.

    Parameters
    ----------
    provider : str
        cpu, cuda or tensorrt.
    wanted : bool
        Whether it has to start.
    built : bool
        Whether ONNX Runtime has it.
    model : Path
        Folder of the model.

    Returns
    -------
    Finding
        FAIL where one that is wanted does not start, WARN for another.
    """
    subject = f"provider: {provider}"
    if not built and not wanted:
        return ok(subject, "not in this build of onnxruntime, and not asked for")
    bad = fail if wanted else warn
    cure = GPU_CURES.get(provider, "reinstall onnxruntime")
    if not built:
        return bad(subject, "not in this build of onnxruntime", cure)
    try:
        read_card(model)
    except ValueError:  # a finding of its own
        return warn(subject, f"not tried: {model.name} cannot be read", "see what is said of the model")
    try:
        missing = _missing_engines(read_card(model).networks.values()) if provider == "tensorrt" else []
        if missing:
            return warn(
                subject, f"not tried: its engine is not built yet ({missing[0]})", "clipose build, which takes minutes"
            )
        milliseconds = _run_ms(model, SessionConfig(provider))
    except Exception as error:  # whatever a driver answers: it is the finding
        return bad(subject, _first_line(error), cure)
    return ok(subject, f"starts; one object in {milliseconds:.1f} ms")


def models_findings(folders: Sequence[Path], runs: bool = True) -> Iterator[Finding]:
    """Judge each model: its card, its SHA-256, whether it loads and runs on the CPU.

    Parameters
    ----------
    folders : sequence of Path
        Where models may lie. Of two with one name, that in the first folder counts.
    runs : bool
        Whether there is an ONNX Runtime. Without it only the cards are read.

    Yields
    ------
    Finding
        One for each model, or FAIL where there is none.
    """
    models: dict[str, Path] = {}
    for folder in folders:
        for card in sorted(folder.glob(f"*/{CARD_FILE}")):
            models.setdefault(card.parent.name, card.parent)
    if not models:
        names = ", ".join(map(str, folders))
        yield fail("models", f"none in {names}", "build the package with colcon, or give --models-dir")
    for folder in models.values():
        yield model_finding(folder, runs)


def model_finding(folder: Path, runs: bool = True) -> Finding:
    """Judge whether card and network of a folder belong together, load and run.

    Parameters
    ----------
    folder : Path
        Of the model.
    runs : bool
        Whether there is an ONNX Runtime. Without it only the card is read.

    Returns
    -------
    Finding
        FAIL where it cannot be used.
    """
    subject = f"model: {folder.name}"
    try:
        card = read_card(folder)
        if not card.networks:
            return ok(subject, f"{card.estimator}, no network; it answers learned objects (see clipose objects)")
        if not runs:
            return warn(subject, "its card is sound; its network is not tried without onnxruntime", CURE)
        if card.estimator in LEARNERS:  # without a folder of objects there is nothing to estimate
            for network in card.networks.values():
                Session(folder, network, SessionConfig())
        else:
            milliseconds = _run_ms(folder, SessionConfig())
    except Exception as error:  # ONNX Runtime has errors of its own kinds for a broken network
        text = _first_line(error)
        cure = "fetch the folder again, or export it again: card and network must come from the same export"
        return fail(subject, text if str(folder) in text else f"{folder}: {text}", cure)
    networks = ", ".join(
        f"{network.precision}, sha256 {network.sha256[:12]} fits" for network in card.networks.values()
    )
    if card.estimator in LEARNERS:
        return ok(subject, f"{card.estimator}, {networks}; it answers learned objects (see clipose objects)")
    what = f"{card.estimator}, {len(card.names)} names, {networks}"
    unit = "frame" if card.is_segmenter else "picture" if card.estimator == ESTIMATOR else "object"
    return ok(subject, f"{what}; one {unit} in {milliseconds:.1f} ms on the CPU")


def _default_model(models_dir: Path | None) -> Path | None:
    """Find the model that providers are tried with. None where there is none, which is a finding about the models."""
    try:
        return find_model(DEFAULT_MODEL, models_dir)
    except ValueError:
        folders = [models_dir] if models_dir else models_folders()
        cards = (card for folder in folders for card in sorted(folder.glob(f"*/{CARD_FILE}")))
        return next((card.parent for card in cards if card.parent.name not in MODELS.values()), None)


def _run_ms(folder: Path, config: SessionConfig) -> float:
    """Time the fastest of a few runs for one object [ms], after one that warms up; raise what there is to complain.

    Of a segmenter, for a frame; of an image backbone, for a small picture.
    """
    card = read_card(folder)
    estimator: Any
    if card.estimator == ESTIMATOR:
        estimator = ImageTokens(folder, config)
    else:
        estimator = segmenter_of(folder, config) if card.is_segmenter else estimators.load(f"{folder}/", config=config)
    times = []
    for _ in range(TIMED_RUNS):
        begin = time.perf_counter()
        estimator.warm_up()
        times.append(time.perf_counter() - begin)
    return min(times) * 1e3


def _missing_engines(networks: Iterable[NetworkFile]) -> list[Path]:
    """List where TensorRT's engines should lie and do not. Raises RuntimeError without a GPU."""
    keys = (engine_key(network, SessionConfig.precision, SessionConfig.largest_batch) for network in networks)
    return [folder for key in keys if not any((folder := key.folder(cache_folder())).glob("*.engine"))]


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
