"""The door to the estimators: a model's card says which one it is for, and nobody else names one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from clipose_ros.core.validation import expect
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.estimators.router import Router
from clipose_ros.inference.card import DEFAULT_MODEL, find_model, read_card
from clipose_ros.inference.session import SessionConfig

# Module and class by the word in the card. A class is made of the model's folder, its card, how networks are to run,
# and a seed; it raises ValueError for a card that does not fit and RuntimeError for a provider that cannot be had.
ESTIMATORS = {"clipose": ("clipose_ros.estimators.clipose", "Clipose")}


def load(
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    config: SessionConfig = SessionConfig(),
    seed: int = 0,
    warm: bool = True,
) -> Estimator:
    """Find a model, check it and load the estimator that its card asks for.

    Parameters
    ----------
    model : str
        Name in the models folders, or path: anything with a slash.
    models_dir : Path, optional
        The only folder to look in.
    config : SessionConfig
        Where and how networks run.
    seed : int
        Of everything that is drawn.
    warm : bool
        Run it once, so that the first frame is as fast as the others.

    Returns
    -------
    Estimator
        Ready to estimate.

    Raises
    ------
    ValueError
        When the model is not found, its card is malformed or of an unknown estimator, or a network is not the card's.
    RuntimeError
        When the provider cannot be had.
    """
    folder = find_model(model, models_dir)
    card = read_card(folder)
    expect(f"{folder}: estimator", card.estimator in ESTIMATORS, f"one of {', '.join(ESTIMATORS)}", card.estimator)
    module, name = ESTIMATORS[card.estimator]
    estimator = getattr(import_module(module), name)(folder, card, config, seed)
    if warm:
        estimator.warm_up()
    return estimator


def load_all(
    models: Sequence[str], models_dir: Path | None = None, config: SessionConfig = SessionConfig(), seed: int = 0
) -> Estimator:
    """Load several models: each object goes to the first that answers its name.

    Parameters
    ----------
    models : sequence of str
        At least one, each as of `load`.
    models_dir, config, seed
        As of `load`.

    Returns
    -------
    Estimator
        Of a single model its own, else a `Router`.

    Raises
    ------
    ValueError, RuntimeError
        As `load`.
    """
    expect("models", models, "at least one name or path", "none")
    estimators = [load(model, models_dir, config, seed) for model in models]
    return estimators[0] if len(estimators) == 1 else Router(estimators)
