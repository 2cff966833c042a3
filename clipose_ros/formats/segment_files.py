"""Instances on disk: NNNN_mask.png and NNNN_meta.txt of the NOCS folder format, and segments.json with the scores."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Detections
from clipose_ros.core.validation import expect
from clipose_ros.formats.images import read_labels
from clipose_ros.formats.nocs_folder import DISTRACTOR, read_classes
from clipose_ros.formats.whole_files import whole_file, write_image

SEGMENTS_FILE = "segments.json"
BACKGROUND, HIDDEN = 255, 254  # in masks: no object, and, in true ones, an object too hidden to count


class LabelledImage(NamedTuple):
    """Which pixels show which object.

    Attributes
    ----------
    numbers : (H, W) uint8
        Instance number of each pixel; BACKGROUND, or HIDDEN.
    names : dict of int to str
        Category of each instance; that of a distractor is its model's name, or other.
    """

    numbers: np.ndarray
    names: dict[int, str]


def write_detections(folder: Path, name: str, detections: Detections) -> dict[str, Any]:
    """Write the mask and the meta file of a frame.

    Parameters
    ----------
    folder : Path
        To write into.
    name : str
        NNNN of the frame.
    detections : Detections
        At most 254 instances; their numbers in the files are their places, from 1 on.

    Returns
    -------
    dict
        The entry of the frame in segments.json.

    Raises
    ------
    OSError
        Where the files cannot be written.
    """
    flat = detections.flat()
    expect("instances", len(flat.instances) < HIDDEN, f"fewer than {HIDDEN}", len(flat.instances))
    numbers = np.full(flat.shape, BACKGROUND, np.uint8)
    lines, entries = [], []
    for number, instance in enumerate(flat.instances, start=1):
        numbers[flat.masks == instance.label] = number
        known = instance.category in CATEGORIES
        class_id = CATEGORIES.index(instance.category) + 1 if known else DISTRACTOR
        lines.append(f"{number} {class_id} {instance.category}\n")
        entries.append({"instance": number, "class": instance.category, "score": round(instance.score, 4)})
    write_image(folder / f"{name}_mask.png", numbers)
    with whole_file(folder / f"{name}_meta.txt") as unfinished:
        unfinished.write_text("".join(lines), encoding="utf-8")
    return {"frame": name, "instances": entries}


def write_segments(folder: Path, entries: Iterable[dict[str, Any]]) -> None:
    """Write segments.json.

    Parameters
    ----------
    folder : Path
        To write into.
    entries : iterable of dict
        Of each frame, as `write_detections` gives them.
    """
    with whole_file(folder / SEGMENTS_FILE) as unfinished:
        unfinished.write_text(json.dumps(list(entries), indent=1) + "\n", encoding="utf-8")


def read_labelled(folder: Path, name: str, kind: str = "mask") -> LabelledImage:
    """Read the instances of a frame.

    Parameters
    ----------
    folder : Path
        Of the files.
    name : str
        NNNN of the frame.
    kind : str
        mask, or true_mask for what is really visible.

    Returns
    -------
    LabelledImage
        The instances of the meta file.

    Raises
    ------
    ValueError
        With the path, for files that are missing or broken.
    """
    numbers = read_labels(folder / f"{name}_{kind}.png") - np.uint8(1)  # back: 0 becomes the background, 255
    classes = read_classes(folder / f"{name}_meta.txt")
    names = {
        number: CATEGORIES[line.class_id - 1] if line.class_id != DISTRACTOR else line.model or "other"
        for number, line in classes.items()
    }
    return LabelledImage(numbers, names)
