"""The door to the segmenters: by the word that people choose one with."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Literal, get_args

from clipose_ros.core.validation import expect
from clipose_ros.inference.card import find_model, read_card
from clipose_ros.inference.session import SessionConfig
from clipose_ros.segmenters.segmenter import Segmenter

SegmenterName = Literal["none", "depth"]
SEGMENTER_DEFAULT: SegmenterName = "none"
# The model of each word. Module and class, by the word in the card.
MODELS = {"depth": "segmenter-depth"}
SEGMENTERS = {"depth-segmenter": ("clipose_ros.segmenters.depth", "DepthSegmenter")}


def load_segmenter(
    name: str, models_dir: Path | None = None, config: SessionConfig = SessionConfig(), warm: bool = True
) -> Segmenter | None:
    """Find the model of a segmenter, check it and load it.

    Parameters
    ----------
    name : str
        One of `SegmenterName`.
    models_dir : Path, optional
        A folder of models. Where it has none for segmentation, the usual places are searched.
    config : SessionConfig
        Where and how networks run.
    warm : bool
        Whether to run it once, so that the first frame is as fast as the others.

    Returns
    -------
    Segmenter or None
        None for none.

    Raises
    ------
    ValueError
        If the word is unknown, the model is not found or malformed, or a network is not the card's.
    RuntimeError
        If there is no ONNX Runtime, or the provider cannot be had.
    """
    expect("segmenter", name in get_args(SegmenterName), f"one of {', '.join(get_args(SegmenterName))}", name)
    if name not in MODELS:
        return None
    here = models_dir is not None and (models_dir / MODELS[name] / "card.yaml").is_file()
    return segmenter_of(find_model(MODELS[name], models_dir if here else None), config, warm)


def segmenter_of(folder: Path, config: SessionConfig = SessionConfig(), warm: bool = True) -> Segmenter:
    """Load the segmenter of a model folder.

    Parameters
    ----------
    folder : Path
        With a card.
    config : SessionConfig
        Where and how networks run.
    warm : bool
        Whether to run it once.

    Returns
    -------
    Segmenter
        Ready for the first frame.

    Raises
    ------
    ValueError, RuntimeError
        As `load_segmenter`.
    """
    card = read_card(folder)
    expect(f"{folder}: estimator", card.estimator in SEGMENTERS, f"one of {', '.join(SEGMENTERS)}", card.estimator)
    module, kind = SEGMENTERS[card.estimator]
    segmenter = getattr(import_module(module), kind)(folder, card, config)
    if warm:
        segmenter.warm_up()
    return segmenter
