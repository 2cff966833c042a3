"""How well objects were found: masks and categories against the masks of what is really visible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.validation import expect
from clipose_ros.formats.segment_files import BACKGROUND, HIDDEN, LabelledImage, read_labelled

FOUND, FOUND_WELL = 0.5, 0.75  # IoU
ALL = "all"


@dataclass(frozen=True)
class FrameMatch:
    """What was found in one frame.

    Parameters
    ----------
    truth : tuple of (str, float, str)
        Of each true object: category, IoU with the instance that it is matched to (0 without one), and the category of
        that.
    instances : int
        That were found, without those that show what is too hidden to count.
    false : int
        Of these, those that are matched to no object with an IoU of FOUND.
    shared, found_pixels, true_pixels : int
        Pixels that matched masks have in common, of all masks found, and of all true ones.
    found : mapping of int to int
        Number of the instance that each object was found as, with an IoU of FOUND, by the number of the object.
    """

    truth: tuple[tuple[str, float, str], ...]
    instances: int
    false: int
    shared: int
    found_pixels: int
    true_pixels: int
    found: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class SegmentationScores:
    """Scores of a folder.

    Parameters
    ----------
    frames : tuple of FrameMatch
        One for each frame.
    """

    frames: tuple[FrameMatch, ...]

    def rows(self) -> dict[str, dict[str, float | int | None]]:
        """Score each category of the truth, and all.

        Returns
        -------
        dict of dict
            `objects`; `found` and `found_well`, the shares with an IoU of FOUND and FOUND_WELL; `named`, the share of
            those found whose category is right; `found_and_named`, of all objects. None where nothing is to count.
        """
        by_name: dict[str, list[tuple[float, bool]]] = {}
        for name, iou, given in (one for frame in self.frames for one in frame.truth):
            by_name.setdefault(name, []).append((iou, given == name))
        known = [name for name in CATEGORIES if name in by_name]
        rows = {name: by_name[name] for name in (*known, *sorted(by_name.keys() - set(CATEGORIES)))}
        return {name: _row(of) for name, of in {**rows, ALL: [one for of in rows.values() for one in of]}.items()}

    def precision(self) -> float | None:
        """Share of the instances found that are objects.

        Returns
        -------
        float or None
            None where nothing was found.
        """
        found = sum(frame.instances for frame in self.frames)
        return 1 - sum(frame.false for frame in self.frames) / found if found else None

    def false_per_frame(self) -> float:
        """Mean number of instances that are no object.

        Returns
        -------
        float
            Of a frame.
        """
        return sum(frame.false for frame in self.frames) / max(1, len(self.frames))

    def overlap(self) -> float | None:
        """Overlap F: pixels that matched masks share, against those of all masks, as UOIS counts them.

        Returns
        -------
        float or None
            None where there is neither an object nor an instance.
        """
        total = sum(frame.found_pixels + frame.true_pixels for frame in self.frames)
        return 2 * sum(frame.shared for frame in self.frames) / total if total else None

    def as_json(self) -> dict[str, Any]:
        """Give all scores.

        Returns
        -------
        dict
            Plain values.
        """
        return {
            "frames": len(self.frames),
            "categories": self.rows(),
            "precision": self.precision(),
            "false_per_frame": self.false_per_frame(),
            "overlap_f": self.overlap(),
        }


def match(found: LabelledImage, truth: LabelledImage) -> FrameMatch:
    """Match the instances of a frame to its objects, one to one, so that the overlaps are largest.

    Parameters
    ----------
    found, truth : LabelledImage
        Of images of one size.

    Returns
    -------
    FrameMatch
        An instance that mostly shows what is too hidden to count is left out.

    Raises
    ------
    ValueError
        If the sizes differ.
    """
    expect("masks", found.numbers.shape == truth.numbers.shape, f"{truth.numbers.shape}", found.numbers.shape)
    pairs = found.numbers.ravel().astype(np.int64) * 256 + truth.numbers.ravel()
    common = np.bincount(pairs, minlength=256 * 256).reshape(256, 256)
    sizes, true_sizes = common.sum(axis=1), common.sum(axis=0)
    hidden = common[:, HIDDEN] > 0.5 * np.maximum(sizes, 1)
    ours = [number for number in found.names if sizes[number] and not hidden[number]]
    theirs = [number for number in truth.names if true_sizes[number] and number not in (HIDDEN, BACKGROUND)]
    shared = common[np.ix_(ours, theirs)]
    both = sizes[ours][:, None] + true_sizes[theirs][None, :]
    iou = shared / np.maximum(both - shared, 1)
    best = dict(zip(*(index.tolist() for index in linear_sum_assignment(-iou)[::-1])))
    objects = tuple(
        (truth.names[number], float(iou[best[j], j]), found.names[ours[best[j]]])
        if j in best
        else (truth.names[number], 0.0, "")
        for j, number in enumerate(theirs)
    )
    right = sum(value >= FOUND for _, value, _ in objects)
    # by F, as UOIS matches
    rows, columns = linear_sum_assignment(-2 * shared / np.maximum(both, 1))
    pixels = int(shared[rows, columns].sum()), int(sizes[ours].sum()), int(true_sizes[theirs].sum())
    found_as = {theirs[j]: ours[i] for j, i in best.items() if iou[i, j] >= FOUND}
    return FrameMatch(objects, len(ours), len(ours) - right, *pixels, found_as)


def evaluate(segments: Path, truth: Path, names: Iterable[str]) -> tuple[SegmentationScores, dict[str, str]]:
    """Score the frames of a folder of segments.

    Parameters
    ----------
    segments : Path
        With NNNN_mask.png and NNNN_meta.txt.
    truth : Path
        With NNNN_true_mask.png and NNNN_meta.txt.
    names : iterable of str
        NNNN of the frames.

    Returns
    -------
    scores : SegmentationScores
        Of the frames that can be read.
    skipped : dict of str to str
        Why the others cannot.

    Raises
    ------
    ValueError
        Where no frame can be read.
    """
    frames, skipped = [], {}
    for name in names:
        try:
            frames.append(match(read_labelled(segments, name), read_labelled(truth, name, "true_mask")))
        except (ValueError, OSError) as error:
            skipped[name] = str(error)
    reasons = "; ".join(f"{name}: {reason}" for name, reason in list(skipped.items())[:1]) or "none at all"
    expect(str(segments), frames, "at least one frame that can be compared", reasons)
    return SegmentationScores(tuple(frames)), skipped


def true_frames(truth: Path) -> list[str]:
    """List the frames of a folder that have a true mask.

    Parameters
    ----------
    truth : Path
        The folder.

    Returns
    -------
    list of str
        NNNN, sorted.

    Raises
    ------
    ValueError
        Where there is none.
    """
    ending = "_true_mask.png"
    expect(str(truth), truth.is_dir(), "a folder", "none")
    names = sorted(path.name.removesuffix(ending) for path in truth.glob(f"*{ending}"))
    expect(str(truth), names, f"NNNN{ending}", "none in the folder")
    return names


def _row(of: Sequence[tuple[float, bool]]) -> Mapping[str, float | int | None]:
    found = [named for iou, named in of if iou >= FOUND]
    return {
        "objects": len(of),
        "found": len(found) / len(of) if of else None,
        "found_well": sum(iou >= FOUND_WELL for iou, _ in of) / len(of) if of else None,
        "named": sum(found) / len(found) if found else None,
        "found_and_named": sum(found) / len(of) if of else None,
    }
