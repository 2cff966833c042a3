"""Results in the format of NOCS: one pickle per image with its ground truths and its predictions, as published
evaluations read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.formats.pickles import load_pickle

MAXIMUM_RESULT_BYTES = 16 * 1024 * 1024  # an image has kilobytes; some authors add the masks
MAXIMUM_BOXES = 1000  # per image: with n of them, matching takes memory for n² pairs


@dataclass(frozen=True)
class Boxes:
    """Oriented boxes of one image.

    class_ids: (N,) index of CATEGORIES + 1. poses: (N, 4, 4) T_camera_object [m], which may carry a scale; sizes: (N,
    3) extents in the units that this scale makes metres. usable: (N,) False where pose or size describe no box; such a
    one never matches.
    """

    class_ids: np.ndarray
    poses: np.ndarray
    sizes: np.ndarray
    usable: np.ndarray

    def select(self, index: np.ndarray) -> Boxes:
        """Some of the boxes, by integer or bool index."""
        return Boxes(self.class_ids[index], self.poses[index], self.sizes[index], self.usable[index])


@dataclass(frozen=True)
class NocsImage:
    """One result file. handle_visible: (G,) bool per ground truth, means something for mugs only. scores: (P,), -inf
    where it was NaN.
    """

    name: str
    truths: Boxes
    handle_visible: np.ndarray
    predictions: Boxes
    scores: np.ndarray


@dataclass(frozen=True)
class NocsResults:
    """All images of a folder, in the order of their names.

    skipped: reason by file name. remarks: how often something was not as it should be in the files that were read.
    """

    images: list[NocsImage]
    skipped: dict[str, str]
    remarks: dict[str, int]


def result_files(folder: Path) -> list[Path]:
    """The pickles of a folder by name. Raises ValueError where there are none."""
    files = sorted(folder.glob("*.pkl"))
    if not files:
        raise ValueError(f"results: expected a folder with *.pkl files, got {folder}")
    return files


def read_results(files: Iterable[Path]) -> NocsResults:
    """Read result files; what cannot be read is skipped by name.

    Raises ValueError, with the first reason, where nothing can.
    """
    images, skipped, remarks = [], {}, Counter()
    for path in files:
        try:
            images.append(_image(path.name, load_pickle(path, MAXIMUM_RESULT_BYTES), remarks))
        except (ValueError, OSError) as error:
            skipped[path.name] = str(error).removeprefix(f"{path}: ")
    if not images:
        name, reason = next(iter(skipped.items()), ("no file", "nothing to read"))
        raise ValueError(
            f"results: expected at least one readable file, got {len(skipped)} that are not; {name}: {reason}"
        )
    return NocsResults(images, skipped, dict(sorted(remarks.items())))


def _image(name: str, result: Any, remarks: Counter[str]) -> NocsImage:
    if not isinstance(result, dict):
        raise ValueError(f"result: expected a dictionary, got {type(result).__name__}")
    remarked: Counter[str] = Counter()  # kept only when the whole file is
    truths = _boxes(result, "gt", remarked)
    predictions = _boxes(result, "pred", remarked)
    scores = _array(result, "pred_scores", len(predictions.class_ids))
    remarked["prediction: score is NaN, ranked last"] += np.isnan(scores).sum()
    if "gt_handle_visibility" in result:
        handle_visible = _array(result, "gt_handle_visibility", len(truths.class_ids)) != 0
    else:
        handle_visible = np.ones(len(truths.class_ids), bool)  # as the published evaluation does
        remarked["image: no gt_handle_visibility, all handles taken as visible"] += 1
    remarks.update({reason: int(count) for reason, count in remarked.items() if count})
    return NocsImage(name, truths, handle_visible, predictions, np.where(np.isnan(scores), -np.inf, scores))


def _boxes(result: dict, prefix: str, remarks: Counter[str]) -> Boxes:
    who = {"gt": "ground truth", "pred": "prediction"}[prefix]
    class_ids = _array(result, f"{prefix}_class_ids")
    if len(class_ids) > MAXIMUM_BOXES:
        raise ValueError(f"{prefix}_class_ids: expected at most {MAXIMUM_BOXES}, got {len(class_ids)}")
    poses = _array(result, f"{prefix}_RTs", len(class_ids), 4, 4)
    sizes = _array(result, f"{prefix}_scales", len(class_ids), 3)
    with np.errstate(all="ignore"):  # what overflows or is NaN is about to be found out
        determinants = np.linalg.det(poses[:, :3, :3])
    known = np.isin(class_ids, np.arange(1, len(CATEGORIES) + 1))
    finite_pose = np.isfinite(poses).all(axis=(1, 2)) & np.isfinite(determinants)
    rigid_pose = finite_pose & (determinants > 0)
    sized = np.isfinite(sizes).all(axis=1) & (sizes > 0).all(axis=1)
    remarks[f"{who}: class is none of the six, left out"] += (~known).sum()
    remarks[f"{who}: pose is not finite, matches nothing"] += (known & ~finite_pose).sum()
    remarks[f"{who}: pose has a determinant <= 0, matches nothing"] += (known & finite_pose & ~rigid_pose).sum()
    remarks[f"{who}: size is not positive, matches nothing"] += (known & rigid_pose & ~sized).sum()
    return Boxes(class_ids, poses, sizes, rigid_pose & sized)


def _array(result: dict, key: str, *shape: int) -> np.ndarray:
    """Numbers of a result as float64, of this shape; of any length (N,) where none is given.

    Lists count as arrays, empty ones have any shape.
    """
    if key not in result:
        raise ValueError(f"{key}: expected in the result, got none")
    try:
        array = np.asarray(result[key], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}: expected numbers, got {error}") from error
    shape = shape or (array.size,)
    if array.size == 0 and 0 in shape:
        return array.reshape(shape)
    if array.shape != shape:
        raise ValueError(f"{key}: expected {shape}, got {array.shape}")
    return array
