"""Calibrate the scores of GS-Pose: of the poses with score s, a share s shall be right (ADD below a tenth).

    python -m training.novel_scores references/* [--every 2 4 8] [--depth off] [--priors]

Learns each object from every n-th of its views, and estimates the others, with masks that are too large or too small,
depth that is off, and occluders. The three numbers of the score are fitted on half of the poses and printed; how
reliable the scores are then is measured on the other half. They are defaults of `GsPoseSettings`.

`--priors` does the same for poses that are refined from the prior of a track: one that is near, as from frame to frame,
and one of another pose, as of an object that was lost or exchanged. It says, too, how many of either are accepted.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import cv2
import numpy as np
import tyro
from scipy.optimize import minimize

from clipose_ros import estimators
from clipose_ros.core.types import Frame, InstanceView, Observation, PoseEstimate, Rejection
from clipose_ros.evaluation.novel_objects import ObjectModel, novel_error
from clipose_ros.formats.reference_views import ReferenceView, read_reference_views
from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.objects.learning import learn
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.rendering.cpu import CpuRasterizer
from training.command import run

MASK_PX, DEPTH_SHARE = 2, 0.006  # what masks and depths are off by
OCCLUDED, LARGEST_OCCLUDER = 0.4, 0.6  # share of the views with an occluder, and of the object that it hides at most
PENALTY = 1e-3
ACCEPTED = (0.3, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # least scores of priors
NEAR_DEG, NEAR_M = 8.0, 0.012  # what a good prior is off by, at most
WRONG_DEG, WRONG_M = (20.0, 180.0), 0.03  # what a bad one is


def disturbed(view: ReferenceView, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Make a view as bad as a camera and a segmenter would.

    Parameters
    ----------
    view : ReferenceView
        With depth.
    rng : numpy.random.Generator
        What chance decides.

    Returns
    -------
    colour : (H, W, 3) uint8
        RGB.
    depth_m : (H, W) float32
        0 where nothing is known [m].
    mask : (H, W) bool
        The object's pixels.
    """
    colour, depth, mask = view.colour.copy(), view.depth_m.copy(), view.mask.copy()
    depth *= 1 + rng.normal(scale=DEPTH_SHARE)
    if rng.random() < OCCLUDED:
        rows, columns = np.nonzero(mask)
        angle = rng.uniform(0, 2 * np.pi)
        along = columns * np.cos(angle) + rows * np.sin(angle)
        limit = np.quantile(along, rng.uniform(0, LARGEST_OCCLUDER))
        every_row, every_column = np.indices(mask.shape)
        hidden = every_column * np.cos(angle) + every_row * np.sin(angle) < limit
        hidden &= cv2.dilate(mask.astype(np.uint8), np.ones((15, 15), np.uint8)) > 0
        nearest = depth[mask & (depth > 0)]
        depth[hidden] = 0.8 * np.median(nearest) if len(nearest) else 0
        colour[hidden] = rng.integers(40, 200, 3)
        mask &= ~hidden
    size = 1 + 2 * int(rng.integers(0, MASK_PX + 1))
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    mask = change(mask.astype(np.uint8), np.ones((size, size), np.uint8)) > 0
    return colour, depth.astype(np.float32), mask


def judged_poses(
    folder: Path, every: int, rng: np.random.Generator, blind: bool = False, priors: bool = False
) -> list[tuple[float, float, bool]]:
    """Estimate the views of an object that it was not learned from.

    Parameters
    ----------
    folder : Path
        Of its reference views.
    every : int
        It is learned from every so manieth.
    rng : numpy.random.Generator
        What chance decides.
    blind : bool
        Whether to take no notice of depth.
    priors : bool
        Whether to refine a good and a bad prior of each view, instead of looking everywhere.

    Returns
    -------
    list of (float, float, bool)
        Wrongness and margin of each pose, and whether it is right.
    """
    references, few = read_reference_views(folder), read_reference_views(folder, every)
    known, found = {view.name for view in few.views}, []
    with tempfile.TemporaryDirectory() as library:
        ObjectLibrary(Path(library)).add(learn("object", few, CpuRasterizer()).learned)
        estimator = estimators.load("gspose", objects_dir=Path(library), warm=False)
        if priors:  # all are accepted, to be judged here
            estimator.settings = replace(estimator.settings, prior_score=0.0)
        learned = ObjectLibrary(Path(library)).read("object")
        model = ObjectModel(learned.points + learned.centre, learned.diagonal_m)
        for view in references.views:
            if view.name in known:
                continue
            colour, depth, mask = disturbed(view, rng)
            if blind:
                depth[:] = 0
            seen = InstanceView(Frame(0, "", depth, references.intrinsics, colour), mask)
            empty = np.zeros((1, 3), np.float32)
            starts = _priors(view, learned, rng) if priors else [None]
            for prior in starts:
                best = estimator.best(Observation(empty, "object", prior=prior, view=seen))
                if isinstance(best, Rejection):
                    continue
                origin = best.translation + best.rotation @ estimator.reference_origin("object")
                turns = "".join(learned.half_turns)
                error = novel_error(best.rotation, origin, view.rotation, view.translation, model, turns)
                found.append((best.wrongness, best.margin, error.add_m < 0.1 * error.diameter_m))
    return found


def _priors(view: ReferenceView, learned: LearnedObject, rng: np.random.Generator) -> list[PoseEstimate]:
    """A prior that is near to the truth, and one that is not."""
    made = []
    for least, most, shift_m in ((0.0, NEAR_DEG, NEAR_M), (*WRONG_DEG, WRONG_M)):
        axis = rng.normal(size=3)
        turn = cv2.Rodrigues(np.radians(rng.uniform(least, most)) * axis / np.linalg.norm(axis))[0]
        middle = view.rotation @ learned.centre + view.translation + rng.normal(size=3) * shift_m / 2
        made.append(PoseEstimate(learned.name, 1.0, turn @ view.rotation, middle, learned.size))
    return made


def fitted(poses: np.ndarray, with_margin: bool = True) -> tuple[float, float, float]:
    """Fit the score's three numbers.

    Parameters
    ----------
    poses : (N, 3) float
        Wrongness, margin, and 1 where right.
    with_margin : bool
        Whether the margin counts.

    Returns
    -------
    tuple of float
        right_at, wrong_by, margin_weight.
    """

    def cost(x: np.ndarray) -> float:
        logit = (x[0] + with_margin * x[2] * poses[:, 1] - poses[:, 0]) / np.exp(x[1])
        return float(np.logaddexp(0, np.where(poses[:, 2] > 0, -logit, logit)).mean() + PENALTY * x[2] ** 2)

    found = minimize(cost, [1.0, np.log(0.2), 0.5], method="Nelder-Mead", options={"maxiter": 4000}).x
    return float(found[0]), float(np.exp(found[1])), with_margin * float(found[2])


def main(
    references: Annotated[tuple[Path, ...], tyro.conf.Positional],
    every: tuple[int, ...] = (2, 4, 8),
    depth: Literal["auto", "off"] = "auto",
    seed: int = 0,
    priors: bool = False,
) -> None:
    """Fit and print.

    Parameters
    ----------
    references
        Folders of reference views, one for each object.
    every
        Objects are learned from every so manieth view.
    depth
        off is for the numbers that begin with `blind_`.
    seed
        Of what chance decides.
    priors
        For the numbers that begin with `tracked_` or `blind_tracked_`.
    """
    rng = np.random.default_rng(seed)
    found = [judged_poses(folder, step, rng, depth == "off", priors) for folder in references for step in every]
    poses = np.array([pose for some in found for pose in some], float)
    odd = np.arange(len(poses)) // (2 if priors else 1) % 2 > 0  # both priors of a view belong together
    fit, test = poses[~odd], poses[odd]
    right_at, wrong_by, margin_weight = fitted(fit, not priors)
    scores = 1 / (1 + np.exp((test[:, 0] - right_at - margin_weight * test[:, 1]) / wrong_by))
    print(f"{len(poses)} poses, {100 * poses[:, 2].mean():.0f} % right")
    print(f"right_at {right_at:.3f}, wrong_by {wrong_by:.3f}, margin_weight {margin_weight:.3f}")
    print(f"other half: Brier {((scores - test[:, 2]) ** 2).mean():.3f}")
    for low, high in ((0, 0.5), (0.5, 0.8), (0.8, 0.95), (0.95, 1.01)):
        inside = (scores >= low) & (scores < high)
        if inside.any():
            share, mean = test[inside, 2].mean(), scores[inside].mean()
            print(f"  scores {low:.2f} to {min(high, 1):.2f}: {inside.sum()} poses, mean {mean:.2f}, right {share:.2f}")
    right = test[:, 2] > 0
    for least in ACCEPTED if priors else ():
        taken, false = (scores[right] >= least).mean(), (scores[~right] >= least).mean()
        print(
            f"  accepted from {least:.2f} on: {100 * taken:.1f} % of the right ones, {100 * false:.1f} % of the wrong"
        )


if __name__ == "__main__":
    run(main)
