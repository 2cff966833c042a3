"""The door to the segmenters: by the word that people choose one with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, get_args

from clipose_ros.core.admission import class_names
from clipose_ros.core.validation import expect
from clipose_ros.estimators.compiled_code import VARIABLE, find_place_for_compiled_code
from clipose_ros.inference.card import CARD_FILE, find_model, read_card
from clipose_ros.inference.session import SessionConfig
from clipose_ros.segmenters.segmenter import Segmenter

log = logging.getLogger(__name__)

SegmenterName = Literal["none", "depth", "mask_rcnn", "objects"]
CategorySegmenterName = Literal["none", "depth", "mask_rcnn"]  # those that need no learned objects
SEGMENTER_DEFAULT: CategorySegmenterName = "none"
# The model of each word. Module and class, by the word in the card.
MODELS = {"depth": "segmenter-depth", "mask_rcnn": "segmenter-mask-rcnn", "objects": "segmenter-objects"}
SEGMENTERS = {
    "depth-segmenter": ("clipose_ros.segmenters.depth", "DepthSegmenter"),
    "mask-rcnn-segmenter": ("clipose_ros.segmenters.mask_rcnn", "MaskRcnnSegmenter"),
    "objects-segmenter": ("clipose_ros.segmenters.object_segmenter", "ObjectSegmenter"),
}
LEARNERS = frozenset({"objects-segmenter"})  # those that take a folder of learned objects, too; numba compiles them
NEED_COLOUR = frozenset({"mask_rcnn", "objects"})
MAKE_MASK_RCNN = "none is shipped: python -m training.mask_rcnn makes one, see docs/mask_rcnn.md"


@dataclass(frozen=True)
class SegmenterOptions:
    """What people say of a segmenter beside its name.

    Parameters
    ----------
    segmenter_model : str
        Name in the models folder, or path (with a slash), of the segmenter's model; empty: the usual one.
    segmenter_classes : tuple of str
        "from:to", a class of mask_rcnn and our name (cup:mug); only these are found. Empty: as the model's card says.
    segmenter_min_score : float
        What is found with a lower score is left out; 0: as the model's card says.

    Raises
    ------
    ValueError
        With the name of the option, for values out of range.
    """

    segmenter_model: str = ""
    segmenter_classes: tuple[str, ...] = ()
    segmenter_min_score: float = 0.0

    def __post_init__(self) -> None:
        class_names(self.segmenter_classes, "segmenter_classes")
        expect("segmenter_min_score", 0 <= self.segmenter_min_score <= 1, "0 to 1", self.segmenter_min_score)

    def check(self, name: str) -> None:
        """Refuse options that a segmenter has not.

        Parameters
        ----------
        name : str
            One of `SegmenterName`.

        Raises
        ------
        ValueError
            With the name of the option.
        """
        given = {key: value for key, value in vars(self).items() if value}
        if name == SEGMENTER_DEFAULT and given:
            key, value = next(iter(given.items()))
            raise ValueError(f"{key}: expected nothing without a segmenter, got {value}")
        expect(
            "segmenter_classes",
            name == "mask_rcnn" or not self.segmenter_classes,
            f"nothing with {name}, which knows our names",
            ", ".join(self.segmenter_classes),
        )

    def settings(self) -> Mapping[str, Any]:
        """Give what replaces the settings of the card.

        Returns
        -------
        mapping of str to object
            By key.
        """
        classes = class_names(self.segmenter_classes, "segmenter_classes")
        return {
            **({"categories": classes} if classes else {}),
            **({"least_score": self.segmenter_min_score} if self.segmenter_min_score else {}),
        }


def needs_colour(name: str) -> bool:
    """Say whether a segmenter looks at the colour image.

    Parameters
    ----------
    name : str
        One of `SegmenterName`.

    Returns
    -------
    bool
        Whether every frame must have one.
    """
    return name in NEED_COLOUR


def load_segmenter(
    name: str,
    models_dir: Path | None = None,
    config: SessionConfig = SessionConfig(),
    warm: bool = True,
    options: SegmenterOptions = SegmenterOptions(),
    objects_dir: Path | None = None,
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
    options : SegmenterOptions
        Which model, and what replaces its settings.
    objects_dir : Path, optional
        Folder of learned objects, for the segmenter that finds these.

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
    options.check(name)
    if name not in MODELS:
        return None
    folder = _folder(name, options.segmenter_model or MODELS[name], models_dir)
    kind = read_card(folder).estimator
    wanted = f"{name.replace('_', '-')}-segmenter"
    expect(f"{folder}: estimator", kind == wanted, f"{wanted} for segmenter {name}", kind)
    return segmenter_of(folder, config, warm, options.settings(), objects_dir)


def _folder(name: str, model: str, models_dir: Path | None) -> Path:
    """Folder of the model: in the folder of models, if it is there, else in the usual places."""
    here = models_dir is not None and "/" not in model and (models_dir / model / CARD_FILE).is_file()
    try:
        return find_model(model, models_dir if here else None, segmenters=True)
    except ValueError as error:
        advice = f"; {MAKE_MASK_RCNN}" if model == MODELS["mask_rcnn"] else ""
        raise ValueError(f"segmenter {name}: {error}{advice}") from error


def segmenter_of(
    folder: Path,
    config: SessionConfig = SessionConfig(),
    warm: bool = True,
    settings: Mapping[str, Any] | None = None,
    objects_dir: Path | None = None,
) -> Segmenter:
    """Load the segmenter of a model folder.

    Parameters
    ----------
    folder : Path
        With a card.
    config : SessionConfig
        Where and how networks run.
    warm : bool
        Whether to run it once.
    settings : mapping of str to object, optional
        What replaces settings of the card.
    objects_dir : Path, optional
        Folder of learned objects, for the segmenter that finds these.

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
    card = replace(card, settings={**card.settings, **(settings or {})})
    module, kind = SEGMENTERS[card.estimator]
    learner = card.estimator in LEARNERS
    if learner and (place := find_place_for_compiled_code()):
        log.warning("no folder for compiled code can be written: it is compiled to %s; set %s", place, VARIABLE)
    more = {"objects_dir": objects_dir} if learner else {}
    segmenter = getattr(import_module(module), kind)(folder, card, config, **more)
    if warm:
        segmenter.warm_up()
    return segmenter
