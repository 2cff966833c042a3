"""Results in the format of NOCS: pickles with the ground truths and predictions of an image, or of a list of images,
as published evaluations read them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.validation import expect
from clipose_ros.formats.pickles import load_pickle

MAXIMUM_RESULT_BYTES = 64 * 1024 * 1024  # an image has kilobytes, the whole test set of REAL275 some 15 megabytes
MAXIMUM_IMAGES = 100_000  # in one file; CAMERA25 has 25 000
MAXIMUM_BOXES = 1000  # per image: with n of them, matching takes memory for n² pairs
VISIBILITY_KEYS = ("gt_handle_visibility", "handle_visibility")  # of results, and of the published truths


@dataclass(frozen=True)
class Boxes:
    """Oriented boxes of one image.

    Parameters
    ----------
    class_ids : (N,) float
        Index of CATEGORIES + 1.
    poses : (N, 4, 4) float
        T_camera_object [m], which may carry a scale.
    sizes : (N, 3) float
        Extents in the units that this scale makes metres.
    usable : (N,) bool
        False where pose or size describe no box; such a one never matches.
    """

    class_ids: np.ndarray
    poses: np.ndarray
    sizes: np.ndarray
    usable: np.ndarray

    def select(self, index: np.ndarray) -> Boxes:
        """Take some of the boxes.

        Parameters
        ----------
        index : (M,) int or (N,) bool
            Which.

        Returns
        -------
        Boxes
            Those.
        """
        return Boxes(self.class_ids[index], self.poses[index], self.sizes[index], self.usable[index])


@dataclass(frozen=True)
class NocsImage:
    """The result of one image.

    Parameters
    ----------
    name : str
        Of its file; of an image in a list, with its index.
    truths : Boxes
        G true objects.
    handle_visible : (G,) bool
        Means something for mugs only.
    predictions : Boxes
        P predicted objects.
    scores : (P,) float
        Of the predictions; -inf where it was NaN.
    """

    name: str
    truths: Boxes
    handle_visible: np.ndarray
    predictions: Boxes
    scores: np.ndarray


@dataclass(frozen=True)
class NocsResults:
    """All images of a folder or file.

    Parameters
    ----------
    images : list of NocsImage
        In the order of the files' names.
    skipped : dict of str to str
        Why an image or file was not read, by its name.
    remarks : dict of str to int
        How often something was not as it should be in what was read.
    """

    images: list[NocsImage]
    skipped: dict[str, str]
    remarks: dict[str, int]


def result_files(path: Path) -> list[Path]:
    """Find the pickles of results.

    Parameters
    ----------
    path : Path
        A folder of them, or one file.

    Returns
    -------
    list of Path
        By name.

    Raises
    ------
    ValueError
        Where there are none.
    """
    if path.is_file():
        return [path]
    files = sorted(path.glob("*.pkl"))
    expect("results", files, "a folder with *.pkl files, or one such file", path)
    return files


def read_results(files: Iterable[Path]) -> NocsResults:
    """Read result files, one image in each or a list of images; what cannot be read is skipped by name.

    Parameters
    ----------
    files : iterable of Path
        Pickles, as `result_files` finds them.

    Returns
    -------
    NocsResults
        Of all files.

    Raises
    ------
    ValueError
        With the first reason, where nothing can be read.
    """
    images, skipped, remarks = [], {}, Counter()
    for path in files:
        try:
            named = _named(path.name, load_pickle(path, MAXIMUM_RESULT_BYTES))
        except (ValueError, OSError) as error:
            skipped[path.name] = str(error).removeprefix(f"{path}: ")
            continue
        for name, result in named:
            try:
                images.append(_image(name, result, remarks))
            except ValueError as error:
                skipped[name] = str(error)
    if not images:
        name, reason = next(iter(skipped.items()), ("no file", "nothing to read"))
        raise ValueError(
            f"results: expected at least one readable image, got {len(skipped)} that are not; {name}: {reason}"
        )
    return NocsResults(images, skipped, dict(sorted(remarks.items())))


def _named(name: str, content: Any) -> list[tuple[str, Any]]:
    """The images of a file: it may be of one, or have a list of many."""
    if isinstance(content, (list, tuple)):
        expect("result", len(content) <= MAXIMUM_IMAGES, f"at most {MAXIMUM_IMAGES} images", len(content))
        return [(f"{name}[{i}]", image) for i, image in enumerate(content)]
    return [(name, content)]


def _image(name: str, result: Any, remarks: Counter[str]) -> NocsImage:
    expect("result", isinstance(result, dict), "a dictionary or a list of them", type(result).__name__)
    remarked: Counter[str] = Counter()  # kept only when the whole file is
    truths = _boxes(result, "gt", remarked)
    predictions = _boxes(result, "pred", remarked)
    scores = _array(result, "pred_scores", len(predictions.class_ids))
    remarked["prediction: score is NaN, ranked last"] += np.isnan(scores).sum()
    visibility_key = next((key for key in VISIBILITY_KEYS if key in result), None)
    if visibility_key:
        handle_visible = _array(result, visibility_key, len(truths.class_ids)) != 0
    else:
        handle_visible = np.ones(len(truths.class_ids), bool)  # as the published evaluation does
        remarked["image: no gt_handle_visibility, all handles taken as visible"] += 1
    remarks.update({reason: int(count) for reason, count in remarked.items() if count})
    return NocsImage(name, truths, handle_visible, predictions, np.where(np.isnan(scores), -np.inf, scores))


def _boxes(result: dict, prefix: str, remarks: Counter[str]) -> Boxes:
    who = {"gt": "ground truth", "pred": "prediction"}[prefix]
    class_ids = _array(result, f"{prefix}_class_ids")
    expect(f"{prefix}_class_ids", len(class_ids) <= MAXIMUM_BOXES, f"at most {MAXIMUM_BOXES}", len(class_ids))
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
    """Numbers of a result as float64, of this shape; of any length (N,) where none is given. Lists count as arrays."""
    expect(key, key in result, "in the result", "none")
    try:
        array = np.asarray(result[key], dtype=np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{key}: expected numbers, got {error}") from error
    shape = shape or (array.size,)
    if array.size == 0 and 0 in shape:
        return array.reshape(shape)
    expect(key, array.shape == shape, shape, array.shape)
    return array
