"""The evaluation of REAL275 and CAMERA25: average precision over IoU and over pose errors, as NOCS and its followers
score it.

Each image and class is matched for all thresholds at once; the average precision of a class is then taken over the
whole set.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from clipose_ros.core.metrics import THRESHOLDS
from clipose_ros.formats.nocs_results import Boxes, NocsImage

IouVariant = Literal["original", "catre"]
MugRotation = Literal["published", "full"]

IOU_THRESHOLDS = np.arange(101) / 100
REPORTED_IOU = [25, 50, 75]  # per cent, and so the index into IOU_THRESHOLDS
GATE = 10  # per cent likewise: what does not match at this IoU is left out of the gated pose precision
ROTATION_CURVE_DEG = np.arange(61.0)
TRANSLATION_CURVE_CM = np.arange(21) / 2
ANY_ROTATION_DEG, ANY_TRANSLATION_CM = 360.0, 100.0

# (T, 2) [deg, cm]: the reported pairs, then rotation alone, then translation alone.
POSE_THRESHOLDS = np.array(
    [
        *THRESHOLDS,
        *((deg, ANY_TRANSLATION_CM) for deg in ROTATION_CURVE_DEG),
        *((ANY_ROTATION_DEG, cm) for cm in TRANSLATION_CURVE_CM),
    ]
)

MUG_ID = CATEGORIES.index("mug") + 1
CORNER_SIGNS = (np.arange(8)[:, None] >> np.arange(3) & 1) - 0.5  # (8, 3)
SPINS = 20  # rotations about y that a symmetric object may have had


@dataclass(frozen=True)
class NocsProtocol:
    """What differs between published evaluations.

    Parameters
    ----------
    iou : "original" or "catre"
        Original takes, as NOCS did by mistake, the largest and smallest of x, y, z of each corner; catre takes boxes
        along the camera's axes. The gate of the pose precision uses the same.
    mugs : "published" or "full"
        Published scores a mug whose handle is not visible like a bowl; full always scores its whole rotation.
    recentre_mugs : bool
        Move the origin of mugs from the centre of the tight box to the axis of the body, as object-deformnet and its
        followers do.
    """

    iou: IouVariant = "catre"
    mugs: MugRotation = "published"
    recentre_mugs: bool = False

    def describe(self) -> str:
        """Say in one line, for people, how it scores.

        Returns
        -------
        str
            IoU, gate and mugs.
        """
        iou = {
            "original": "original (as published, bounds over x, y, z of each corner)",
            "catre": "catre (boxes along the camera's axes)",
        }[self.iou]
        mugs = {"published": "without visible handle by their y axis", "full": "always by their whole rotation"}[
            self.mugs
        ]
        origin = "re-centred on their body" if self.recentre_mugs else "boxes as they are in the files"
        return f"IoU: {iou}; pose precision is gated by {self.gate}; mugs: {mugs}, {origin}"

    @property
    def gate(self) -> str:
        """What a prediction must reach to count in the gated pose precision, for people."""
        return f"IoU {GATE / 100:g} ({self.iou})"


@dataclass(frozen=True)
class Precision:
    """Average precision, 0 .. 1; nan for a category without ground truth.

    Rows are CATEGORIES, then the mean of those that have ground truth.

    Parameters
    ----------
    iou : (7, 101) float
        At IOU_THRESHOLDS.
    pose, pose_ungated : (7, T) float
        At POSE_THRESHOLDS, of what matches at the gate's IoU and of everything.
    truths, predictions : (6,) int
        How many there are.
    """

    iou: np.ndarray
    pose: np.ndarray
    pose_ungated: np.ndarray
    truths: np.ndarray
    predictions: np.ndarray

    def as_json(self) -> dict:
        """Give what `clipose evaluate --results --json` prints of it.

        Returns
        -------
        dict
            Precision at the reported thresholds by category and "mean", None for nan, and the counts.
        """
        pose_names = [f"{deg}deg_{cm}cm" for deg, cm in THRESHOLDS]
        return {
            "iou": _by_category(self.iou[:, REPORTED_IOU], map(str, REPORTED_IOU)),
            "pose": _by_category(self.pose[:, : len(pose_names)], pose_names),
            "pose_ungated": _by_category(self.pose_ungated[:, : len(pose_names)], pose_names),
            "instances": dict(zip(CATEGORIES, self.truths.tolist())),
            "predictions": dict(zip(CATEGORIES, self.predictions.tolist())),
        }


def rotation_curve(pose: np.ndarray) -> np.ndarray:
    """Take the columns at ROTATION_CURVE_DEG and any translation.

    Parameters
    ----------
    pose : (7, T) float
        `Precision.pose` or `Precision.pose_ungated`.

    Returns
    -------
    (7, N) float
        Average precision, 0 .. 1.
    """
    return pose[:, len(THRESHOLDS) : -len(TRANSLATION_CURVE_CM)]


def translation_curve(pose: np.ndarray) -> np.ndarray:
    """Take the columns at TRANSLATION_CURVE_CM and any rotation.

    Parameters
    ----------
    pose : (7, T) float
        `Precision.pose` or `Precision.pose_ungated`.

    Returns
    -------
    (7, N) float
        Average precision, 0 .. 1.
    """
    return pose[:, -len(TRANSLATION_CURVE_CM) :]


def evaluate(images: Iterable[NocsImage], protocol: NocsProtocol = NocsProtocol()) -> Precision:
    """Score the predictions of images.

    Parameters
    ----------
    images : iterable of NocsImage
        Of a whole set.
    protocol : NocsProtocol
        How to score.

    Returns
    -------
    Precision
        Over all images.

    Raises
    ------
    ValueError
        Where there is no ground truth of any category.
    """
    iou = [_Ranking(len(IOU_THRESHOLDS)) for _ in CATEGORIES]
    gated, ungated = ([_Ranking(len(POSE_THRESHOLDS)) for _ in CATEGORIES] for _ in range(2))
    for image in images:
        present = {*image.truths.class_ids, *image.predictions.class_ids}
        for i, category in enumerate(CATEGORIES):
            if i + 1 not in present:
                continue
            pairs = _pairs(image, category, protocol)
            matches = greedy_matches(-pairs.iou, pairs.iou > IOU_THRESHOLDS[:, None, None])
            iou[i].add(pairs, matches)
            ungated[i].add(pairs, _pose_matches(pairs))
            kept = pairs.matched(matches[GATE])
            gated[i].add(kept, _pose_matches(kept))
    truths = np.array([ranking.truths for ranking in iou])
    if not truths.any():
        raise ValueError(f"results: expected ground truths of {', '.join(CATEGORIES)}, got none")
    tables = (_table(rankings, truths > 0) for rankings in (iou, gated, ungated))
    return Precision(*tables, truths, np.array([ranking.predictions for ranking in iou]))


def rotation_errors_deg(predicted: np.ndarray, true: np.ndarray, y_only: np.ndarray) -> np.ndarray:
    """Measure the angles between all predicted and all true poses.

    Parameters
    ----------
    predicted : (P, 4, 4) float
        T_camera_object, with or without scale.
    true : (G, 4, 4) float
        Likewise.
    y_only : (G,) bool
        Take the angle between the y axes.

    Returns
    -------
    (P, G) float
        0 .. 180 [deg].
    """
    rotations = [
        poses[:, :3, :3] / np.cbrt(np.linalg.det(poses[:, :3, :3]))[:, None, None] for poses in (predicted, true)
    ]
    y_axes = [rotation[:, :, 1] / np.linalg.norm(rotation[:, :, 1], axis=1, keepdims=True) for rotation in rotations]
    between_axes = y_axes[0] @ y_axes[1].T
    whole = (np.einsum("pij,gij->pg", *rotations) - 1) / 2
    # The published code does not clip: rounding beyond 1 gave it NaN, and NaN a match.
    return np.degrees(np.arccos(np.clip(np.where(y_only, between_axes, whole), -1.0, 1.0)))


def box_ious(predicted: Boxes, true: Boxes, symmetric: np.ndarray, variant: IouVariant) -> np.ndarray:
    """Measure the intersection over union of all predicted and all true boxes.

    Parameters
    ----------
    predicted, true : Boxes
        P and G boxes.
    symmetric : (G,) bool
        Take the best of 20 spins of the prediction about y.
    variant : "original" or "catre"
        See `NocsProtocol`.

    Returns
    -------
    (P, G) float
        0 .. 1.
    """
    angles = 2 * np.pi * np.arange(SPINS if symmetric.any() else 1) / SPINS
    # (P, spins, 8, 3)
    corners = (CORNER_SIGNS * predicted.sizes[:, None])[:, None] @ np.swapaxes(_y_rotations(angles), 1, 2)
    low, high = _extremes(_transformed(corners, predicted.poses[:, None]), variant)
    true_low, true_high = _extremes(_transformed(CORNER_SIGNS * true.sizes[:, None], true.poses), variant)  # (G, k)
    # (P, G, spins, k)
    overlap = np.minimum(high[:, None], true_high[:, None]) - np.maximum(low[:, None], true_low[:, None])
    intersection = np.prod(np.maximum(overlap, 0), axis=-1)
    union = np.prod(high - low, axis=-1)[:, None] + np.prod(true_high - true_low, axis=-1)[:, None] - intersection
    iou = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return np.where(symmetric, iou.max(axis=2), iou[:, :, 0])


def greedy_matches(cost: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """Match greedily: each prediction takes the cheapest of the ground truths that it may have and nobody has.

    Parameters
    ----------
    cost : (P, G) float
        Predictions by descending score.
    allowed : (T, P, G) bool
        Which pairs may match, at T thresholds.

    Returns
    -------
    (T, P) int
        Index of the ground truth, -1 for none.
    """
    thresholds, predictions, truths = allowed.shape
    matches = np.full((thresholds, predictions), -1)
    if truths == 0:
        return matches
    free = np.ones((thresholds, truths), bool)
    for i, nearest in enumerate(np.argsort(cost, axis=1, kind="stable")):
        candidates = allowed[:, i, nearest] & free[:, nearest]
        found = candidates.any(axis=1)
        matches[found, i] = nearest[candidates[found].argmax(axis=1)]
        free[found, matches[found, i]] = False
    return matches


def average_precision(scores: np.ndarray, hits: np.ndarray, truths: int) -> np.ndarray:
    """Measure the area under the envelope of precision over recall, all points.

    Parameters
    ----------
    scores : (P,) float
        Equal ones rank in the order given.
    hits : (T, P) bool
        Which predictions are right, at T thresholds.
    truths : int
        How many ground truths there are.

    Returns
    -------
    (T,) float
        0 .. 1; 0 without ground truths.
    """
    if truths == 0:
        return np.zeros(len(hits))
    hits = hits[:, np.argsort(-scores, kind="stable")]
    precision = np.cumsum(hits, axis=1) / np.arange(1, hits.shape[1] + 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (envelope * hits).sum(axis=1) / truths  # each hit raises the recall by 1 / truths


def recentred(boxes: Boxes) -> Boxes:
    """Move the origin of mugs to the axis of the body, with a box that is symmetric about it; other classes stay.

    The body is round, so its width is the box's along z, and what the box is longer along x is the handle. The model
    moves along x by T0 = (size_x - size_z) / 2, hence T' = T - sR T0 and size_x' = 2 max |x + T0| = size_x + 2 T0. The
    scale s stays, because size is in its units. A box that is shorter along x than along z has no handle and stays.
    (The published meta files give T0 by model; results do not name models.)

    Parameters
    ----------
    boxes : Boxes
        Of any classes.

    Returns
    -------
    Boxes
        As many, in the same order.
    """
    shift = np.where(boxes.class_ids == MUG_ID, np.maximum(boxes.sizes[:, 0] - boxes.sizes[:, 2], 0) / 2, 0)  # (N,)
    poses, sizes = boxes.poses.copy(), boxes.sizes.copy()
    poses[:, :3, 3] -= poses[:, :3, 0] * shift[:, None]
    sizes[:, 0] += 2 * shift
    return replace(boxes, poses=poses, sizes=sizes)


@dataclass(frozen=True)
class _Pairs:
    """Predictions (by descending score) and ground truths of one image and class. iou, rotation_deg, translation_cm:
    (P, G); scores: (P,).
    """

    scores: np.ndarray
    iou: np.ndarray
    rotation_deg: np.ndarray
    translation_cm: np.ndarray

    def matched(self, match: np.ndarray) -> _Pairs:
        """The predictions with a match (P,) other than -1, and the ground truths that they match."""
        kept = match >= 0
        pairs = np.ix_(kept, np.sort(match[kept]))
        return _Pairs(self.scores[kept], self.iou[pairs], self.rotation_deg[pairs], self.translation_cm[pairs])


class _Ranking:
    """The predictions of one category over all images, with what they hit at T thresholds."""

    def __init__(self, thresholds: int) -> None:
        self.truths = 0
        self._scores = [np.zeros(0)]
        self._hits = [np.zeros((thresholds, 0), bool)]

    @property
    def predictions(self) -> int:
        return sum(map(len, self._scores))

    def add(self, pairs: _Pairs, matches: np.ndarray) -> None:
        self.truths += pairs.iou.shape[1]
        self._scores.append(pairs.scores)
        self._hits.append(matches >= 0)

    def average_precision(self) -> np.ndarray:
        return average_precision(np.concatenate(self._scores), np.concatenate(self._hits, axis=1), self.truths)


def _pairs(image: NocsImage, category: str, protocol: NocsProtocol) -> _Pairs:
    class_id = CATEGORIES.index(category) + 1
    mine = image.truths.class_ids == class_id
    ranked = np.argsort(-image.scores, kind="stable")
    ranked = ranked[image.predictions.class_ids[ranked] == class_id]
    true, predicted = image.truths.select(mine), image.predictions.select(ranked)
    shape = (len(ranked), len(true.class_ids))
    iou, rotation, translation = np.full(shape, -1.0), np.full(shape, np.inf), np.full(shape, np.inf)
    if predicted.usable.any() and true.usable.any():
        usable = np.ix_(predicted.usable, true.usable)
        predicted, symmetric = (
            predicted.select(predicted.usable),
            _symmetric(category, image.handle_visible[mine], protocol)[true.usable],
        )
        true = true.select(true.usable)
        rotation[usable] = rotation_errors_deg(predicted.poses, true.poses, symmetric)
        if protocol.recentre_mugs:
            predicted, true = recentred(predicted), recentred(true)
        iou[usable] = box_ious(predicted, true, symmetric, protocol.iou)
        translation[usable] = 100 * np.linalg.norm(predicted.poses[:, None, :3, 3] - true.poses[:, :3, 3], axis=-1)
    return _Pairs(image.scores[ranked], iou, rotation, translation)


def _symmetric(category: str, handle_visible: np.ndarray, protocol: NocsProtocol) -> np.ndarray:
    """(G,) of which ground truths of a category only the y axis counts."""
    if category == "mug" and protocol.mugs == "published":
        return ~handle_visible
    return np.full(len(handle_visible), category in AXIS_SYMMETRIC)


def _pose_matches(pairs: _Pairs) -> np.ndarray:
    degrees, centimetres = POSE_THRESHOLDS.T[:, :, None, None]
    allowed = (pairs.rotation_deg <= degrees) & (pairs.translation_cm <= centimetres)
    return greedy_matches(pairs.rotation_deg + pairs.translation_cm, allowed)


def _y_rotations(angles: np.ndarray) -> np.ndarray:
    """Rotations about y by angles (N,) [rad]: (N, 3, 3)."""
    cosine, sine, zero, one = np.cos(angles), np.sin(angles), np.zeros_like(angles), np.ones_like(angles)
    return np.stack([cosine, zero, sine, zero, one, zero, -sine, zero, cosine], axis=-1).reshape(-1, 3, 3)


def _transformed(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Points (..., 8, 3) of objects in the camera frame [m], by poses (..., 4, 4)."""
    return points @ np.swapaxes(poses[..., :3, :3], -1, -2) + poses[..., None, :3, 3]


def _extremes(corners: np.ndarray, variant: IouVariant) -> tuple[np.ndarray, np.ndarray]:
    """What a variant takes for the lower and upper bounds of corners (..., 8, 3): (..., 3) along the camera's axes or
    (..., 8) by corner.
    """
    axis = -2 if variant == "catre" else -1
    return corners.min(axis=axis), corners.max(axis=axis)


def _table(rankings: list[_Ranking], present: np.ndarray) -> np.ndarray:
    """(7, T) average precision of six rankings and the mean of those that are `present` (6,)."""
    rows = np.stack([ranking.average_precision() for ranking in rankings])
    return np.concatenate([np.where(present[:, None], rows, np.nan), rows[present].mean(axis=0, keepdims=True)])


def _by_category(table: np.ndarray, names: Iterable[str]) -> dict[str, dict[str, float | None]]:
    names = list(names)
    rows = ([None if np.isnan(value) else float(value) for value in row] for row in table)
    return {category: dict(zip(names, row)) for category, row in zip((*CATEGORIES, "mean"), rows)}
