"""The door to the estimators.

A model's card says which estimator it is for. No other module names one.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.estimators.compiled_code import VARIABLE, find_place_for_compiled_code
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.estimators.router import Router
from clipose_ros.inference.card import DEFAULT_MODEL, ModelCard, find_model, known_models, models_folders, read_card
from clipose_ros.inference.session import SessionConfig

log = logging.getLogger(__name__)

# Module and class, by the word in the card. A class takes the model's folder, its card, how networks run, and a seed.
# It raises ValueError for a card that does not fit, and RuntimeError for a provider that cannot be had.
ESTIMATORS = {
    "cleanpose": ("clipose_ros.estimators.cleanpose", "CleanPose"),
    "clipose": ("clipose_ros.estimators.clipose", "Clipose"),
    "gspose": ("clipose_ros.estimators.gspose", "GsPose"),
}
COMPILED = ("gspose",)  # those with code that numba compiles
LEARNERS = ("gspose",)  # those that take a folder of learned objects, too


def estimator_class(folder: Path, card: ModelCard) -> type[Estimator]:
    """Find the class that a model's card asks for.

    Parameters
    ----------
    folder : Path
        Of the model, to be named.
    card : ModelCard
        Its card.

    Returns
    -------
    type of Estimator
        It takes the folder, the card, how networks run, and a seed.

    Raises
    ------
    ValueError
        Where the card asks for an unknown one.
    RuntimeError
        Where numba is missing that compiles its code.
    """
    expect(f"{folder}: estimator", card.estimator in ESTIMATORS, f"one of {', '.join(ESTIMATORS)}", card.estimator)
    if card.estimator in COMPILED and (place := find_place_for_compiled_code()):
        log.warning(
            "no folder for compiled code can be written: it is compiled each time, to %s; set %s", place, VARIABLE
        )
    module, name = ESTIMATORS[card.estimator]
    return getattr(import_module(module), name)


def load(
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    config: SessionConfig = SessionConfig(),
    seed: int = 0,
    warm: bool = True,
    objects_dir: Path | None = None,
) -> Estimator:
    """Find a model, check it and load the estimator that its card asks for.

    Parameters
    ----------
    model : str
        Name in the models folders, or a path. Anything with a slash is a path.
    models_dir : Path, optional
        The only folder to look in.
    config : SessionConfig
        Where and how networks run.
    seed : int
        Seed of everything that is drawn at random.
    warm : bool
        Whether to run it once, so that the first frame is as fast as the others.
    objects_dir : Path, optional
        Folder of learned objects, for estimators that answer them.

    Returns
    -------
    Estimator
        Ready to estimate.

    Raises
    ------
    ValueError
        If the model is not found, its card is malformed or for an unknown estimator, or a network is not the card's.
    RuntimeError
        If there is no ONNX Runtime, or the provider cannot be had.
    """
    folder = find_model(model, models_dir, segmenters=False)
    card = read_card(folder)
    if card.is_segmenter:
        others = known_models([models_dir] if models_dir else models_folders(), segmenters=False)
        raise ValueError(
            f"model: expected one that estimates poses ({', '.join(others) or 'there is none'}), got {model}, a "
            "segmenter; give it by --segmenter, in the node by the parameter segmenter"
        )
    made = estimator_class(folder, card)
    more = {"objects_dir": objects_dir} if card.estimator in LEARNERS else {}
    estimator = made(folder, card, config, seed, **more)
    if warm:
        estimator.warm_up()
    return estimator


def load_all(
    models: Sequence[str],
    models_dir: Path | None = None,
    config: SessionConfig = SessionConfig(),
    seed: int = 0,
    objects_dir: Path | None = None,
) -> Estimator:
    """Load several models as one estimator.

    Each object goes to the first model that answers its name.

    Parameters
    ----------
    models : sequence of str
        At least one, each as `load` takes it.
    models_dir, config, seed, objects_dir
        As `load` takes them, for all models.

    Returns
    -------
    Estimator
        The estimator of a single model, or a `Router` over several.

    Raises
    ------
    ValueError, RuntimeError
        As `load`. Also ValueError if there is no model.
    """
    expect("models", models, "at least one name or path", "none")
    expect("models", len(set(models)) == len(models), "each once", ", ".join(models))
    estimators = [load(model, models_dir, config, seed, objects_dir=objects_dir) for model in models]
    answered: set[str] = set()
    for model, estimator in zip(models, estimators):
        if answered and answered.issuperset(estimator.names):
            log.warning("models: %s is never asked: those before it answer all its names", model)
        answered |= set(estimator.names)
    return estimators[0] if len(estimators) == 1 else Router(estimators)
