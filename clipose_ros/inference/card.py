"""The model card: what a network file is, what it expects and gives, and how good it is.

`models/<name>/card.yaml` beside the ONNX file.
"""

from __future__ import annotations

import bisect
import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from clipose_ros.core.validation import expect

DEFAULT_MODEL = "clipose-lite"
CARD_FILE = "card.yaml"
MAXIMUM_CARD_BYTES = 64 * 1024


@dataclass(frozen=True)
class Calibration:
    """From a network's confidence to the probability that the pose is within 10° 5 cm: straight lines between knots."""

    confidence: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        for key, values in (("confidence", self.confidence), ("probability", self.probability)):
            ascending = (
                len(values) > 0
                and all(isinstance(v, (int, float)) and 0 <= v <= 1 for v in values)
                and list(values) == sorted(values)
            )
            expect(f"calibration.{key}", ascending, "ascending numbers in 0..1", values)
        expect(
            "calibration",
            len(self.confidence) == len(self.probability),
            f"{len(self.confidence)} probabilities",
            len(self.probability),
        )

    def __call__(self, confidence: float) -> float:
        # numpy's interpolation would first make arrays of all knots
        i = bisect.bisect_right(self.confidence, confidence)
        if i in (0, len(self.confidence)):
            return float(self.probability[max(i - 1, 0)])
        (a, b), (low, high) = self.confidence[i - 1 : i + 1], self.probability[i - 1 : i + 1]
        return low + (high - low) * (confidence - a) / (b - a)


@dataclass(frozen=True)
class ModelCard:
    """What `card.yaml` holds; its keys are these fields.

    file: the ONNX file beside the card; sha256: of that file, hexadecimal. categories: in the order of the network's
    `category` index.
    mean_sizes: mean extents x, y, z [m] and scale: one unit of the network [m], both by category.
    axis_symmetric: categories whose x axis means nothing.
    points: points per cloud. outlier_radius: points further than this from the median of the cloud are cut, in units of
    `scale`.
    inputs, outputs: shapes by name, a string for a free dimension. precision: of the weights.
    draws: clouds drawn from each object's points; the pose is what the network's answers to them agree on.
    passes: how often an object is estimated, each time from the points in the box of the time before.
    calibration: by category, confidences (ascending) and at each the share of poses within 10° 5 cm; empty where it was
    not measured.
    training, accuracy: free, for people to read.
    """

    name: str
    file: str
    sha256: str
    categories: tuple[str, ...]
    mean_sizes: Mapping[str, np.ndarray]
    axis_symmetric: tuple[str, ...]
    scale: Mapping[str, float]
    outlier_radius: float
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    points: int = 1024
    precision: str = "fp32"
    draws: int = 1
    passes: int = 1
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        expect("name", isinstance(self.name, str) and self.name, "a name", self.name)
        expect(
            "file",
            isinstance(self.file, str) and self.file and Path(self.file).name == self.file,
            "a file name without folders",
            self.file,
        )
        expect("sha256", re.fullmatch("[0-9a-f]{64}", str(self.sha256)), "64 hexadecimal digits", self.sha256)
        expect(
            "categories",
            self.categories and len(set(self.categories)) == len(self.categories),
            "different names, at least one",
            self.categories,
        )
        expect(
            "axis_symmetric",
            set(self.axis_symmetric) <= set(self.categories),
            f"some of {', '.join(self.categories)}",
            self.axis_symmetric,
        )
        for key, by_category in (("mean_sizes", self.mean_sizes), ("scale", self.scale)):
            expect(
                key,
                set(by_category) == set(self.categories),
                f"the keys {', '.join(self.categories)}",
                ", ".join(map(str, by_category)),
            )
        for category, size in self.mean_sizes.items():
            expect(f"mean_sizes.{category}", size.shape == (3,) and _positive(size), "three positive lengths [m]", size)
        for category, scale in self.scale.items():
            expect(f"scale.{category}", _positive(scale), "a positive length [m]", scale)
        expect("outlier_radius", _positive(self.outlier_radius), "a positive number", self.outlier_radius)
        expect("points", isinstance(self.points, int) and self.points > 0, "a positive integer", self.points)
        expect("draws", isinstance(self.draws, int) and 1 <= self.draws <= 16, "an integer from 1 to 16", self.draws)
        expect("passes", isinstance(self.passes, int) and 1 <= self.passes <= 4, "an integer from 1 to 4", self.passes)
        expect(
            "calibration",
            set(self.calibration) <= set(self.categories),
            f"some of {', '.join(self.categories)}",
            ", ".join(self.calibration),
        )
        expect("precision", isinstance(self.precision, str), "a text such as fp32", self.precision)
        expect("training", isinstance(self.training, Mapping), "a mapping", self.training)
        expect("accuracy", isinstance(self.accuracy, Mapping), "a mapping", self.accuracy)


def read_card(folder: Path) -> ModelCard:
    """The card of a model folder.

    Raises ValueError, with the path of the card, for anything that is missing, unknown or malformed.
    """
    path = folder / CARD_FILE
    try:
        if not path.is_file():
            raise ValueError(f"{CARD_FILE}: expected a file, got none")
        if path.stat().st_size > MAXIMUM_CARD_BYTES:
            raise ValueError(f"{CARD_FILE}: expected at most {MAXIMUM_CARD_BYTES} bytes, got {path.stat().st_size}")
        return _card_from(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def write_card(card: ModelCard, folder: Path) -> None:
    """Write `card.yaml` so that `read_card` gives the same card again."""
    data = dataclasses.asdict(card)
    data["mean_sizes"] = {category: [float(length) for length in size] for category, size in card.mean_sizes.items()}
    data["scale"] = {category: float(scale) for category, scale in card.scale.items()}
    for key in ("categories", "axis_symmetric"):
        data[key] = list(data[key])
    for key in ("inputs", "outputs"):
        data[key] = {name: list(shape) for name, shape in data[key].items()}
    data["calibration"] = {
        category: {name: list(values) for name, values in knots.items()}
        for category, knots in data["calibration"].items()
    }
    (folder / CARD_FILE).write_text(yaml.safe_dump(data, sort_keys=False, width=150), encoding="utf-8")


def read_model(folder: Path, card: ModelCard) -> bytes:
    """The network file of a card.

    Raises ValueError when its SHA-256 is not the card's: weights and card must belong together.
    """
    path = folder / card.file
    if not path.is_file():
        raise ValueError(f"{path}: expected the network file that {CARD_FILE} names, got none")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    if digest != card.sha256:
        raise ValueError(f"{path}: expected sha256 {card.sha256} as {CARD_FILE} says, got {digest}")
    return content


def find_model(model: str = DEFAULT_MODEL, models_dir: Path | None = None) -> Path:
    """Folder of a model, by name in the models folders or by path (anything with a slash).

    Parameters: models_dir, the only folder to look in when given; otherwise the checkout's, then those of the sourced
    ROS workspaces, then the Python environment's. Raises ValueError, with the names that there are, when the model is
    not found.
    """
    if "/" in model:
        candidates = [Path(model).expanduser()]
    else:
        candidates = [folder / model for folder in ([models_dir] if models_dir else models_folders())]
    for candidate in candidates:
        if (candidate / CARD_FILE).is_file():
            return candidate
    known = sorted({card.parent.name for candidate in candidates for card in candidate.parent.glob(f"*/{CARD_FILE}")})
    searched = ", ".join(str(candidate.parent) for candidate in candidates)
    raise ValueError(f"model: expected one of {', '.join(known) or '(none)'} in {searched}, got {model}")


def models_folders() -> list[Path]:
    """Where models may lie, existing or not, in the order of search."""
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    return [
        Path(__file__).resolve().parents[2] / "models",
        *(Path(prefix) / "share" / "clipose_ros" / "models" for prefix in prefixes),
    ]


def _card_from(data: Any) -> ModelCard:
    expect("card", isinstance(data, dict), "a mapping", type(data).__name__)
    fields = {f.name: f for f in dataclasses.fields(ModelCard)}
    unknown = [str(key) for key in data if key not in fields]
    expect("keys", not unknown, f"only {', '.join(fields)}", ", ".join(unknown))
    required = {
        name
        for name, f in fields.items()
        if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    }
    missing = sorted(required - data.keys())
    expect("keys", not missing, f"all of {', '.join(sorted(required))}", f"none for {', '.join(missing)}")
    for key in ("categories", "axis_symmetric"):
        expect(key, isinstance(data[key], list), "a list of names", data[key])
    for key in ("mean_sizes", "scale", "inputs", "outputs"):
        expect(key, isinstance(data[key], dict), "a mapping", data[key])
    calibration = data.get("calibration", {})
    expect("calibration", isinstance(calibration, dict), "a mapping of categories", calibration)
    for category, knots in calibration.items():
        valid = (
            isinstance(knots, dict)
            and set(knots) == {"confidence", "probability"}
            and all(isinstance(v, list) for v in knots.values())
        )
        expect(f"calibration.{category}", valid, "lists confidence and probability", knots)
    return ModelCard(
        **{
            **data,
            "calibration": {
                category: Calibration(**{name: tuple(values) for name, values in knots.items()})
                for category, knots in calibration.items()
            },
            "categories": tuple(data["categories"]),
            "axis_symmetric": tuple(data["axis_symmetric"]),
            "mean_sizes": {
                category: np.asarray(size, dtype=np.float64) for category, size in data["mean_sizes"].items()
            },
            "inputs": {name: tuple(shape) for name, shape in data["inputs"].items()},
            "outputs": {name: tuple(shape) for name, shape in data["outputs"].items()},
        }
    )


def _positive(value: Any) -> bool:
    array = np.asarray(value)
    return array.dtype.kind in "if" and bool(np.all(np.isfinite(array) & (array > 0)))
