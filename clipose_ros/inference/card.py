"""The model card: which estimator a model is for, its networks, and how good it is.

`models/<name>/card.yaml` lies beside the ONNX files. What only one kind of estimator understands is in `settings`,
which that estimator reads and checks itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.validation import expect

Kind = TypeVar("Kind")

DEFAULT_MODEL = "clipose-lite"
DEFAULT_BACKBONE = "backbone-efficientnet-lite2"
LFS_POINTER = b"version https://git-lfs"
CARD_FILE = "card.yaml"
MAXIMUM_CARD_BYTES = 64 * 1024


@dataclass(frozen=True)
class NetworkFile:
    """One network of a model.

    Parameters
    ----------
    file : str
        ONNX file beside the card.
    sha256 : str
        Digest of that file, hexadecimal.
    inputs, outputs : mapping of str to tuple of (int or str)
        Shapes by name. A string stands for a free dimension.
    precision : str
        Number format of the weights, such as fp32.

    Raises
    ------
    ValueError
        If a value is malformed.
    """

    file: str
    sha256: str
    inputs: Mapping[str, tuple[int | str, ...]]
    outputs: Mapping[str, tuple[int | str, ...]]
    precision: str = "fp32"

    def __post_init__(self) -> None:
        named = isinstance(self.file, str) and self.file and Path(self.file).name == self.file
        expect("file", named, "a file name without folders", self.file)
        expect("sha256", re.fullmatch("[0-9a-f]{64}", str(self.sha256)), "64 hexadecimal digits", self.sha256)
        for key in ("inputs", "outputs"):
            shapes = getattr(self, key)
            listed = isinstance(shapes, Mapping) and all(isinstance(shape, (list, tuple)) for shape in shapes.values())
            expect(key, listed, "a shape, as a list, for each name", shapes)
            object.__setattr__(self, key, {name: tuple(shape) for name, shape in shapes.items()})
        expect("precision", isinstance(self.precision, str), "a text such as fp32", self.precision)


@dataclass(frozen=True)
class ModelCard:
    """What `card.yaml` holds. Its keys are these fields.

    Parameters
    ----------
    name : str
        Name of the model.
    estimator : str
        Kind of estimator that runs the model, as `clipose_ros.estimators` knows it.
    names : tuple of str
        Categories or objects that the model answers. A network with a category index counts in this order.
    networks : mapping of str to NetworkFile
        The model's networks, by their purpose.
    symmetry : mapping of str to Symmetry
        Symmetry of each name. A name that is left out has none.
    rests : mapping of str to tuple of Rest
        Ways in which the objects of each name rest on a surface. A name that is left out is never set onto one.
    settings : mapping
        What the estimator needs beside the networks. Only the estimator knows the keys.
    training, accuracy : mapping
        Anything, for people to read.
    licence : str
        Licence of the weights.

    Raises
    ------
    ValueError
        If a value is malformed.
    """

    name: str
    estimator: str
    names: tuple[str, ...]
    networks: Mapping[str, NetworkFile]
    symmetry: Mapping[str, Symmetry] = field(default_factory=dict)
    rests: Mapping[str, tuple[Rest, ...]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    training: Mapping[str, Any] = field(default_factory=dict)
    accuracy: Mapping[str, Any] = field(default_factory=dict)
    licence: str = "not stated"

    def __post_init__(self) -> None:
        for key in ("name", "estimator", "licence"):
            expect(key, isinstance(getattr(self, key), str) and getattr(self, key), "a text", getattr(self, key))
        listed = isinstance(self.names, (list, tuple)) and all(isinstance(name, str) for name in self.names)
        expect("names", listed, "a list of names", self.names)
        expect("names", len(set(self.names)) == len(self.names), "different names", self.names)
        object.__setattr__(self, "names", tuple(self.names))
        for key in ("networks", "symmetry", "rests", "settings", "training", "accuracy"):
            expect(key, isinstance(getattr(self, key), Mapping), "a mapping", getattr(self, key))
        known = f"some of {', '.join(self.names)}"
        expect("symmetry", set(self.symmetry) <= set(self.names), known, ", ".join(map(str, self.symmetry)))
        for name, symmetry in self.symmetry.items():
            expect(f"symmetry.{name}", symmetry in list(Symmetry), f"one of {', '.join(Symmetry)}", symmetry)
        object.__setattr__(self, "symmetry", {name: Symmetry(value) for name, value in self.symmetry.items()})
        expect("rests", set(self.rests) <= set(self.names), known, ", ".join(map(str, self.rests)))
        for name, rests in self.rests.items():
            listed = isinstance(rests, (list, tuple)) and all(rest in list(Rest) for rest in rests)
            expect(f"rests.{name}", listed, f"a list of {', '.join(Rest)}", rests)
        object.__setattr__(self, "rests", {name: tuple(map(Rest, rests)) for name, rests in self.rests.items()})

    @property
    def is_segmenter(self) -> bool:
        """Whether the model finds objects, and estimates none: the names of such estimators end in -segmenter."""
        return self.estimator.endswith("-segmenter")

    def network(self, key: str) -> NetworkFile:
        """Look up a network.

        Parameters
        ----------
        key : str
            Purpose of the network, as the card calls it.

        Returns
        -------
        NetworkFile
            The network.

        Raises
        ------
        ValueError
            If the model has no such network.
        """
        expect("networks", key in self.networks, f"{key} for estimator {self.estimator}", ", ".join(self.networks))
        return self.networks[key]


def read_card(folder: Path) -> ModelCard:
    """Read the card of a model folder.

    Parameters
    ----------
    folder : Path
        Folder of the model, with `card.yaml` in it.

    Returns
    -------
    ModelCard
        The card.

    Raises
    ------
    ValueError
        If anything is missing, unknown or malformed. The message begins with the path of the card.
    """
    path = folder / CARD_FILE
    try:
        expect(CARD_FILE, path.is_file(), "a file", "none")
        size = path.stat().st_size
        expect(CARD_FILE, size <= MAXIMUM_CARD_BYTES, f"at most {MAXIMUM_CARD_BYTES} bytes", size)
        return _card_from(yaml.safe_load(path.read_text(encoding="utf-8-sig")))
    except RecursionError as error:
        raise ValueError(f"{path}: expected a card, got what is nested too deeply") from error
    except (ValueError, TypeError, OSError, yaml.YAMLError) as error:
        raise ValueError(f"{path}: {error}") from error


def write_card(card: ModelCard, folder: Path) -> None:
    """Write `card.yaml` so that `read_card` gives the same card again.

    Parameters
    ----------
    card : ModelCard
        The card. Its settings, training and accuracy hold plain numbers, texts, lists and mappings.
    folder : Path
        Folder of the model.
    """
    data = dataclasses.asdict(card)
    data["names"] = list(card.names)
    data["symmetry"] = {name: str(symmetry) for name, symmetry in card.symmetry.items()}
    data["rests"] = {name: [str(rest) for rest in rests] for name, rests in card.rests.items()}
    for network in data["networks"].values():
        for key in ("inputs", "outputs"):
            network[key] = {name: list(shape) for name, shape in network[key].items()}
    (folder / CARD_FILE).write_text(yaml.safe_dump(data, sort_keys=False, width=150), encoding="utf-8")


def read_network(folder: Path, network: NetworkFile) -> bytes:
    """Read a network file of a model.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    network : NetworkFile
        What the card says of the file.

    Returns
    -------
    bytes
        Content of the ONNX file.

    Raises
    ------
    ValueError
        If there is no such file, or its SHA-256 is not the card's: weights and card must belong together.
    """
    path = folder / network.file
    expect(str(path), path.is_file(), f"the network file that {CARD_FILE} names", "none")
    content = path.read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    expect(str(path), digest == network.sha256, f"sha256 {network.sha256} as {CARD_FILE} says", _flaw(content, digest))
    return content


def _flaw(content: bytes, digest: str) -> str:
    """What a file is that is not the card's, and what to do about it."""
    if content.startswith(LFS_POINTER):
        return "a pointer of Git LFS, not the file; run: git lfs install && git lfs pull"
    again = "get the model's folder again, as a whole"
    return f"{digest} of {len(content)} bytes; {again}" if content else f"an empty file; {again}"


def find_model(model: str = DEFAULT_MODEL, models_dir: Path | None = None, segmenters: bool | None = None) -> Path:
    """Find the folder of a model.

    Parameters
    ----------
    model : str
        Name in the models folders, or a path. Anything with a slash is a path; `name/` may be either.
    models_dir : Path, optional
        The only folder to look in. Without it: the checkout's, then those of the sourced ROS workspaces, then the
        Python environment's.
    segmenters : bool, optional
        Which names the message of an error lists: of segmenters, or of models that estimate. By default all.

    Returns
    -------
    Path
        The folder, which has a card.

    Raises
    ------
    ValueError
        If the model is not found. The message lists the names that there are.
    """
    candidates = [Path(model).expanduser()] if "/" in model else []
    if candidates and candidates[0].is_file():
        raise ValueError(f"model: expected a folder, got a file; give {candidates[0].parent}")
    expect("models_dir", models_dir is None or models_dir.is_dir(), "a folder", models_dir)
    if "/" not in (name := model.rstrip("/")):
        candidates += [folder / name for folder in ([models_dir] if models_dir else models_folders())]
    for candidate in candidates:
        if (candidate / CARD_FILE).is_file():
            return candidate
    known = known_models([candidate.parent for candidate in candidates], segmenters)
    searched = ", ".join(str(candidate.parent) for candidate in candidates)
    raise ValueError(f"model: expected one of {', '.join(known) or '(none)'} in {searched}, got {model}")


def known_models(folders: Sequence[Path], segmenters: bool | None = None) -> list[str]:
    """List the names of the models in folders.

    Parameters
    ----------
    folders : sequence of Path
        Of models. Some may not exist.
    segmenters : bool, optional
        List segmenters alone, or models that estimate alone. By default all. A card that cannot be read may be either.

    Returns
    -------
    list of str
        Sorted, each once.
    """
    cards = {card for folder in folders for card in folder.glob(f"*/{CARD_FILE}")}
    return sorted({card.parent.name for card in cards if segmenters is None or _may_be(card.parent, segmenters)})


def _may_be(folder: Path, segmenter: bool) -> bool:
    """Say whether a model may be a segmenter, or one that estimates."""
    try:
        return read_card(folder).is_segmenter == segmenter
    except ValueError:
        return True


def models_folders() -> list[Path]:
    """List the folders in which models may lie.

    Returns
    -------
    list of Path
        Folders in the order of the search. Some may not exist.
    """
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)), sys.prefix]
    return [
        Path(__file__).resolve().parents[2] / "models",
        *(Path(prefix) / "share" / "clipose_ros" / "models" for prefix in prefixes),
    ]


def record_from(kind: type[Kind], data: Any, **values: Any) -> Kind:
    """Make a dataclass instance from a mapping that a person may have written.

    Parameters
    ----------
    kind : type
        The dataclass.
    data : object
        What YAML gave.
    **values : object
        Values of fields that replace those in `data`.

    Returns
    -------
    kind
        The instance.

    Raises
    ------
    ValueError
        If `data` is no mapping, has a key that is no field, lacks a field without a default, or has a value of another
        kind.
    """
    expect("card", isinstance(data, Mapping), "a mapping", type(data).__name__)
    fields = {f.name: f for f in dataclasses.fields(kind)}
    unknown = [str(key) for key in data if key not in fields]
    expect("keys", not unknown, f"only {', '.join(fields)}", ", ".join(unknown))
    missing = dataclasses.MISSING
    required = {name for name, f in fields.items() if f.default is missing and f.default_factory is missing}
    lacking = sorted(required - data.keys())
    expect("keys", not lacking, f"all of {', '.join(sorted(required))}", f"none for {', '.join(lacking)}")
    try:
        return kind(**{**data, **values})
    except TypeError as error:  # of a comparison: a word or a list in place of a number
        raise ValueError(f"values: expected those of {', '.join(fields)} in their kinds, got {error}") from error


def settings_from(kind: type[Kind], card: ModelCard) -> Kind:
    """Read and check the settings of a card.

    Parameters
    ----------
    kind : type
        The dataclass of the settings.
    card : ModelCard
        Of a model that has such settings.

    Returns
    -------
    kind
        The settings.

    Raises
    ------
    ValueError
        If they are malformed.
    """
    try:
        return record_from(kind, card.settings)
    except ValueError as error:
        raise ValueError(f"settings.{error}") from error


def _card_from(data: Any) -> ModelCard:
    """Make a card of what YAML gave."""
    expect("card", isinstance(data, Mapping), "a mapping", type(data).__name__)
    if "networks" not in data and "file" in data:
        raise ValueError(
            "networks: expected a mapping, got a card of clipose_ros 0.1; export the model again, or see CHANGELOG.rst"
        )
    networks = data.get("networks")
    expect("networks", isinstance(networks, Mapping), "a mapping of names to networks", networks)
    return record_from(ModelCard, data, networks={key: _network_from(key, of_key) for key, of_key in networks.items()})


def _network_from(key: str, data: Any) -> NetworkFile:
    """Make a network's entry of what YAML gave, with its key in the errors."""
    try:
        return record_from(NetworkFile, data)
    except ValueError as error:
        raise ValueError(f"networks.{key}.{error}") from error
