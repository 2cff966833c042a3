"""Estimated poses against the truth: one row per category, with misses and rejections counted as wrong."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy.optimize import linear_sum_assignment

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import PoseError, pose_error, rates_within_limits, success_rates
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.evaluation.conventions import convention_doubts
from clipose_ros.formats.pose_files import HiddenObject, InstanceKey, PosesByInstance, Truth

HIDDEN_RADIUS_M = 0.1  # from a hidden object: a pose of its class nearer than this is of it


@dataclass(frozen=True)
class Scored:
    """How well a true object was found.

    Parameters
    ----------
    category : str
        Its class.
    error : PoseError or None
        None for an object without a pose. A mug whose handle is hidden counts by its axis.
    lying : bool
        It lies, by the truth; otherwise it stands.
    """

    category: str
    error: PoseError | None
    lying: bool


@dataclass(frozen=True)
class Evaluation:
    """What a file of poses is worth.

    Parameters
    ----------
    objects : list of Scored
        In the order of the truth.
    rejected, missing : dict of str to int
        How many of them have no pose, by category.
    mugs_in_full : list of PoseError or None
        Of the mugs, all by their whole rotation; empty where no handle is hidden.
    unmatched_truths : int
        Objects without an entry in the poses; they are among the missing.
    unmatched_poses : int
        Poses without a true object; they are not scored.
    hidden_poses : int
        Poses of objects that are too hidden to count; they are not among the unmatched.
    matched_by_value : int
        Objects whose frame or instance is written otherwise in the two files: 0 for "0000", "1" for 1.
    either_end : list of str
        Categories of which a pose with swapped ends is right, too.
    of_other_categories : int
        Objects whose entry in the poses is of another category; they are among the missing.
    doubts : tuple of str
        By which other conventions poses would fit, see `convention_doubts`.
    """

    objects: list[Scored]
    rejected: dict[str, int]
    missing: dict[str, int]
    mugs_in_full: list[PoseError | None]
    unmatched_truths: int
    unmatched_poses: int
    hidden_poses: int
    matched_by_value: int
    either_end: list[str]
    of_other_categories: int = 0
    doubts: tuple[str, ...] = ()

    @property
    def errors(self) -> dict[str, list[PoseError | None]]:
        """Of all objects, by category."""
        return _by_category(self.objects)

    @property
    def by_rest(self) -> dict[str, dict[str, list[PoseError | None]]]:
        """Errors of the objects that lie and of those that stand, by category; empty where none lies."""
        if not any(scored.lying for scored in self.objects):
            return {}
        return {
            rest: _by_category(scored for scored in self.objects if scored.lying == lying)
            for rest, lying in (("lying", True), ("standing", False))
        }

    @property
    def rows(self) -> dict[str, list[PoseError | None]]:
        """Errors by row of a table: below each category mugs in full, then what lies of it and what stands."""
        rows, by_rest = {}, self.by_rest
        for category, errors in self.errors.items():
            rows[category] = errors
            if category == "mug" and self.mugs_in_full:
                rows["mug, full rotation"] = self.mugs_in_full
            if category in by_rest.get("lying", ()):
                rows |= {f"{category}, {rest}": of[category] for rest, of in by_rest.items() if category in of}
        return rows

    @property
    def rates(self) -> dict[str, dict[str, float]]:
        """Share of the objects within n degrees and m centimetres by category, and the mean of the categories, 0..1."""
        return success_rates(self.errors)

    @property
    def medians(self) -> dict[str, dict[str, float | None]]:
        """Median errors of the objects that have a pose, by category; None where none has."""
        return {category: medians_of(errors) for category, errors in self.errors.items()}

    def as_json(self) -> dict:
        """Give what `clipose evaluate --json` prints.

        Returns
        -------
        dict
            Rates, medians and counts; `mug_full_rotation` is None where no handle is hidden, `by_rest` where nothing
            lies.
        """
        return {
            "pose": self.rates,
            "median": self.medians,
            "instances": {category: len(errors) for category, errors in self.errors.items()},
            "rejected": self.rejected,
            "missing": self.missing,
            "mug_full_rotation": _accuracy(self.mugs_in_full) if self.mugs_in_full else None,
            "by_rest": {rest: _accuracy_of_each(errors) for rest, errors in self.by_rest.items()} or None,
            "either_end": self.either_end,
            "unmatched_truths": self.unmatched_truths,
            "unmatched_poses": self.unmatched_poses,
            "hidden_poses": self.hidden_poses,
            "matched_by_value": self.matched_by_value,
            "of_other_categories": self.of_other_categories,
        }


def _by_category(objects: Iterable[Scored]) -> dict[str, list[PoseError | None]]:
    errors: dict[str, list[PoseError | None]] = {}
    for scored in sorted(objects, key=lambda scored: scored.category):
        errors.setdefault(scored.category, []).append(scored.error)
    return errors


def _accuracy(errors: list[PoseError | None]) -> dict[str, dict]:
    return {"pose": rates_within_limits(errors), "median": medians_of(errors)}


def _accuracy_of_each(errors: dict[str, list[PoseError | None]]) -> dict[str, dict]:
    """By category, with counts, and the mean of the rates."""
    by_category = {category: {**_accuracy(some), "instances": len(some)} for category, some in errors.items()}
    return {**by_category, "mean": {"pose": success_rates(errors).get("mean")}}


def medians_of(errors: Collection[PoseError | None]) -> dict[str, float | None]:
    """Take the median errors of the objects that have a pose.

    Parameters
    ----------
    errors : collection of PoseError or None
        None for an object without a pose.

    Returns
    -------
    dict of str to float or None
        `rotation_deg`, `translation_cm` and `size_relative` [1]; None where no object has a pose.
    """
    found = [error for error in errors if error is not None]

    def median(values: list[float]) -> float | None:
        return float(np.median(values)) if values else None

    return {
        "rotation_deg": median([error.rotation_deg for error in found]),
        "translation_cm": median([error.translation_m * 100 for error in found]),
        "size_relative": median([error.size_relative for error in found]),
    }


def evaluate(
    poses: PosesByInstance, truth: Truth, either_end: Collection[str] = (), by_place: bool = False
) -> Evaluation:
    """Compare poses with the truth by frame and instance, or by place.

    A pose of another category is missing; poses without a truth are not scored. Mugs whose handle is hidden are scored
    by their axis, as NOCS does.

    Parameters
    ----------
    poses : dict of (frame, instance) to PoseEstimate or Rejection
        What was estimated.
    truth : Truth
        What is right. Where frames and instances are the same numbers written otherwise (0 and "0000"), they match.
    either_end : collection of str
        Categories of which a pose is right up to a half turn that swaps the ends of the object.
    by_place : bool
        Pair true objects and poses of one category in a frame by their centres, as `pairs_by_place` does: a segmenter
        numbers what it finds itself.

    Returns
    -------
    Evaluation
        Of every true object.

    Raises
    ------
    ValueError
        Where the truth has no object, none of a category in `either_end`, or no frame and instance in common with the
        poses.
    """
    expect("truth", len(truth.poses) > 0, "at least one object", "none")
    categories = sorted({true.category for true in truth.poses.values()})
    unknown = sorted(set(either_end) - set(categories))
    expect("--either-end", not unknown, f"some of {', '.join(categories)}", ", ".join(unknown))
    keys = pairs_by_place(poses, truth.poses) if by_place else match_keys(poses, truth.poses)
    objects: list[Scored] = []
    rejected, missing = dict.fromkeys(categories, 0), dict.fromkeys(categories, 0)
    mugs_in_full: list[PoseError | None] = []
    for key, true in truth.poses.items():
        pose = poses.get(keys.get(key))
        error = in_full = None
        if pose is None or pose.category != true.category:
            missing[true.category] += 1
        elif isinstance(pose, Rejection):
            rejected[true.category] += 1
        else:
            swappable = true.category in either_end
            error = in_full = pose_error(pose, true, nocs_symmetry(true.category), swappable)
            if key in truth.hidden_handles:
                error = pose_error(pose, true, Symmetry.Y, swappable)
        objects.append(Scored(true.category, error, key in truth.lying))
        if true.category == "mug":
            mugs_in_full.append(in_full)
    with_truth = set(keys.values())
    without_truth = {key: pose for key, pose in poses.items() if key not in with_truth}
    hidden = _of_hidden_objects(without_truth, truth)
    return Evaluation(
        objects,
        rejected,
        missing,
        mugs_in_full if truth.hidden_handles else [],
        unmatched_truths=len(truth.poses) - len(keys),
        unmatched_poses=len(without_truth) - hidden,
        hidden_poses=hidden,
        matched_by_value=0 if by_place else sum(key != other for key, other in keys.items()),
        either_end=sorted(set(either_end)),
        of_other_categories=sum(poses[keys[key]].category != truth.poses[key].category for key in keys),
        doubts=convention_doubts(
            [(pose, truth.poses[key]) for key, other in keys.items() if isinstance(pose := poses[other], PoseEstimate)]
        ),
    )


def pairs_by_place(
    poses: PosesByInstance,
    truth: Mapping[InstanceKey, PoseEstimate],
    apart: Callable[[InstanceKey, InstanceKey], float] | None = None,
) -> dict[InstanceKey, InstanceKey]:
    """Find the pose of each true object, whatever the numbers of the instances are.

    Parameters
    ----------
    poses : dict of (frame, instance) to PoseEstimate or Rejection
        What was estimated. Frames match as in `match_keys`.
    truth : dict of (frame, instance) to PoseEstimate
        What is right.
    apart : callable, optional
        How far the pose of one key is from the truth of another; from 1 on they are no pair. Without it, the distance
        of the centres as a share of half the true box's diagonal.

    Returns
    -------
    dict of (frame, instance) to (frame, instance)
        The poses' key by the truth's: one to one within frames and categories, the sum of the distances least.
    """

    def centres_apart(mine: InstanceKey, true: InstanceKey) -> float:
        distance = np.linalg.norm(poses[mine].translation - truth[true].translation)
        return float(distance / (np.linalg.norm(truth[true].size) / 2))

    apart = apart or centres_apart
    groups: dict[tuple, tuple[list[InstanceKey], list[InstanceKey]]] = {}
    for key, true in truth.items():
        groups.setdefault((frame_of(key), true.category), ([], []))[0].append(key)
    for key, pose in poses.items():
        group = groups.get((frame_of(key), pose.category))
        if group is not None and isinstance(pose, PoseEstimate):
            group[1].append(key)
    pairs = {}
    for true, mine in groups.values():
        if not mine:
            continue
        # one that is too far away is no pair: it costs the same wherever it goes
        costs = np.array([[min(apart(one, key), 1.0) for one in mine] for key in true])
        for row, column in zip(*linear_sum_assignment(costs)):
            if costs[row, column] < 1:
                pairs[true[row]] = mine[column]
    return pairs


def match_keys(poses: Collection[InstanceKey], truth: Collection[InstanceKey]) -> dict[InstanceKey, InstanceKey]:
    """Find the entry of the poses for each of the truth's.

    Parameters
    ----------
    poses, truth : collection of (frame, instance)
        As two files have them. Where both are numbers, written as text or not, they match by value, unless one file
        has two entries of the same value.

    Returns
    -------
    dict of (frame, instance) to (frame, instance)
        The poses' key by the truth's, of those that both files have.

    Raises
    ------
    ValueError
        Where there is none: with an example of each and what it may be.
    """
    by_value = {_value(key): key for key in poses}
    if len(by_value) == len(poses) and len({_value(key) for key in truth}) == len(truth):
        found = {key: by_value[_value(key)] for key in truth if _value(key) in by_value}
    else:
        found = {key: key for key in truth if key in poses}
    if not found:
        expect("poses", len(poses) > 0, "at least one instance", "none")
        raise ValueError(
            f"poses and truth: expected a frame and instance that both have, got none: {_shown(next(iter(poses)))} for "
            f"instance in the poses, {_shown(next(iter(truth)))} in the truth; {_likely_cause(poses, truth)}"
        )
    return found


def frame_of(key: InstanceKey) -> str | int:
    """Give the frame of a key as its value, so that 0 and "0000" are one.

    Parameters
    ----------
    key : (frame, instance)
        Of a pose.

    Returns
    -------
    str or int
        A number where it is one.
    """
    return _value(key)[0]


def _value(key: InstanceKey) -> InstanceKey:
    """A key with numbers for what is a number in text."""
    frame, instance = (int(part) if isinstance(part, str) and part.strip().isdecimal() else part for part in key)
    return frame, instance


def _shown(key: InstanceKey) -> str:
    return f"frame {key[0]!r} instance {key[1]!r}"


def _likely_cause(poses: Collection[InstanceKey], truth: Collection[InstanceKey]) -> str:
    """Why two files have no key in common, and what to do about it."""
    mine, true = ({_value(key) for key in keys} for keys in (poses, truth))
    if not {frame for frame, _ in mine} & {frame for frame, _ in true}:
        return "no frame has the same name in both: are they of the same folder?"
    for shift, where in ((1, "1 in the poses and from 0 in the truth"), (-1, "0 in the poses and from 1 in the truth")):
        if any(isinstance(number, int) and (frame, number + shift) in mine for frame, number in true):
            return f"the frames agree, the instances seem to be numbered from {where}: number them as the masks do"
    if len(mine) < len(poses) or len(true) < len(truth):
        return "the same numbers are written in several ways within one file: write each frame and instance in one way"
    return "the frames agree, the instances are numbered otherwise: number them as the masks do"


def _of_hidden_objects(poses: Mapping[InstanceKey, PoseEstimate | Rejection], truth: Truth) -> int:
    """How many poses are those of objects that are too hidden to count."""
    hidden = {_value((frame, 0))[0]: objects for frame, objects in truth.hidden_objects.items()}
    return sum(
        any(_is_of(pose, of_frame) for of_frame in hidden.get(_value(key)[0], ()))
        for key, pose in poses.items()
        if isinstance(pose, PoseEstimate)
    )


def _is_of(pose: PoseEstimate, hidden: HiddenObject) -> bool:
    near = np.linalg.norm(pose.translation - hidden.translation) < HIDDEN_RADIUS_M
    return pose.category == hidden.category and bool(near)
