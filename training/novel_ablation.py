"""What each part of GS-Pose's cascade is worth, on frames with truth.

    python -m training.novel_ablation SCENES --objects DIR --models models.npz [--half-turn milk:y] [--frames-every 3]

SCENES is a NOCS folder with masks and truth.json. Each row is one way to estimate: the search alone, which looks at
depth; Levenberg-Marquardt on colour and outline; with depth, in alignment to the surface and on the image; with what
is nearer than the object masked; more or fewer hypotheses; and the paper's refinement, (1 - SSIM) + (1 - MS-SSIM) by
AdamW with a step that falls as a cosine, of the search's best, with derivatives by finite differences.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
import tyro
from rich.console import Console
from rich.table import Table

from clipose_ros.core.types import Intrinsics
from clipose_ros.estimators.gspose import GsPose
from clipose_ros.estimators.gspose_settings import GsPoseSettings
from clipose_ros.estimators.hypotheses import Hypothesis
from clipose_ros.estimators.pose_refinement import PoseRefiner
from clipose_ros.estimators.render_comparison import moved_pose
from clipose_ros.estimators.sightings import Crop, Seen
from clipose_ros.evaluation.novel_objects import evaluate_novel, novel_rates, parse_half_turns, read_models
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.pose_files import read_poses, read_reference_origins, read_truth, write_poses
from clipose_ros.inference.card import find_model, read_card
from clipose_ros.objects.surface_tables import SurfaceTables
from clipose_ros.pipeline import Pipeline
from clipose_ros.rendering.cpu import CpuRasterizer

LEARNING_RATE, MOST_STEPS = 5e-3, 400  # of AdamW, as in the paper; a pose has no weights that should decay
STILL, STILL_STEPS = 1e-4, 5  # mean change of the loss at which it stops, and over how many steps
WINDOW_SIGMA, SCALES = 1.5, 3  # of SSIM; a small crop has no room for five scales
BRIGHTNESS, CONTRAST = 0.01**2, 0.03**2  # SSIM's constants
SCALE_WEIGHTS = np.array([0.0448, 0.2856, 0.3001])
DELTA = 2e-3  # of the finite differences


@dataclass(frozen=True)
class Way:
    """A way to estimate.

    Parameters
    ----------
    name : str
        Of the row.
    settings : GsPoseSettings
        Of the cascade.
    make_refiner : callable
        Of the refiner.
    """

    name: str
    settings: GsPoseSettings
    make_refiner: Callable[[GsPoseSettings], PoseRefiner] = PoseRefiner


class SearchOnly(PoseRefiner):
    """Refines nothing, and keeps the order of the search."""

    def aligned(self, tables: SurfaceTables, seen: Seen, start: Hypothesis) -> Hypothesis:
        """See `PoseRefiner.aligned`."""
        return start

    def judged(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop) -> Hypothesis:
        """See `PoseRefiner.judged`."""
        return one

    def refined(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop, steps: int) -> Hypothesis:
        """See `PoseRefiner.refined`."""
        return one


class OnColour(PoseRefiner):
    """Refines and judges on colour and outline, without depth."""

    def aligned(self, tables: SurfaceTables, seen: Seen, start: Hypothesis) -> Hypothesis:
        """See `PoseRefiner.aligned`."""
        return start

    def judged(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop) -> Hypothesis:
        """See `PoseRefiner.judged`."""
        return super().judged(tables, one, None, _without_depth(crop))

    def refined(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop, steps: int) -> Hypothesis:
        """See `PoseRefiner.refined`."""
        return super().refined(tables, one, None, _without_depth(crop), steps)


class WithoutOccluders(PoseRefiner):
    """Takes all that lies beside the mask as background."""

    def judged(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop) -> Hypothesis:
        """See `PoseRefiner.judged`."""
        return super().judged(tables, one, seen, _in_mask_alone(crop))

    def refined(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop, steps: int) -> Hypothesis:
        """See `PoseRefiner.refined`."""
        return super().refined(tables, one, seen, _in_mask_alone(crop), steps)


class BySimilarity(SearchOnly):
    """Refines as the paper does: structural similarity of render and masked image, AdamW.

    Parameters
    ----------
    settings : GsPoseSettings
        Not used.

    Attributes
    ----------
    taken : list of int
        Steps of each refinement.
    """

    def __init__(self, settings: GsPoseSettings) -> None:
        super().__init__(settings)
        self.taken: list[int] = []

    def refined(self, tables: SurfaceTables, one: Hypothesis, seen: Seen | None, crop: Crop, steps: int) -> Hypothesis:
        """See `PoseRefiner.refined`."""
        rotation, translation, taken = refined_by_similarity(tables, one.rotation, one.translation, crop)
        self.taken.append(taken)
        return replace(one, rotation=rotation, translation=translation)


def refined_by_similarity(
    tables: SurfaceTables, rotation: np.ndarray, translation: np.ndarray, crop: Crop, most_steps: int = MOST_STEPS
) -> tuple[np.ndarray, np.ndarray, int]:
    """Refine a pose by (1 - SSIM) + (1 - MS-SSIM) with AdamW.

    Parameters
    ----------
    tables : SurfaceTables
        Of the object.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Camera frame [m].
    crop : Crop
        The image.
    most_steps : int
        Over which the step falls as a cosine.

    Returns
    -------
    rotation : (3, 3) float
        Of the pose with the least loss.
    translation : (3,) float
        Of the same.
    int
        Steps that were made.
    """
    camera, side, rasterizer = Intrinsics(*crop.camera), len(crop.mask), CpuRasterizer()
    seen = (crop.colour * np.clip(crop.mask, 0, 1)[..., None]).astype(np.float32)

    def loss(at_rotation: np.ndarray, at_translation: np.ndarray) -> float:
        drawn = rasterizer.render(tables.gaussians, at_rotation, at_translation, camera, (side, side))
        return dissimilarity(np.ascontiguousarray(drawn.image[..., :3]), seen)

    rotation, translation = np.ascontiguousarray(rotation, np.float64), np.asarray(translation, np.float64)
    first, second, changes, last = np.zeros(6), np.zeros(6), [], np.inf
    best = (np.inf, rotation, translation)
    for step in range(1, most_steps + 1):
        now = loss(rotation, translation)
        best = min(best, (now, rotation, translation), key=lambda one: one[0])
        changes.append(abs(last - now))
        if len(changes) > STILL_STEPS and np.mean(changes[-STILL_STEPS:]) < STILL:
            break
        last, slope = now, np.zeros(6)
        for axis in range(6):
            slope[axis] = (loss(*moved_pose(rotation, translation, DELTA * np.eye(6)[axis])) - now) / DELTA
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        rate = LEARNING_RATE * (1 + np.cos(np.pi * step / most_steps)) / 2
        change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
        rotation, translation = moved_pose(rotation, translation, -rate * change)
    return best[1], best[2], step


def dissimilarity(one: np.ndarray, other: np.ndarray) -> float:
    """Compare two pictures: (1 - SSIM) + (1 - MS-SSIM).

    Parameters
    ----------
    one, other : (H, W, 3) float32
        RGB, 0..1.

    Returns
    -------
    float
        0 where they are equal.
    """
    product, single = 1.0, 0.0
    for scale in range(SCALES):
        whole, structure = _similarity(one, other)
        if scale == 0:
            single = whole
        part = whole if scale == SCALES - 1 else structure
        product *= max(part, 1e-6) ** (SCALE_WEIGHTS[scale] / SCALE_WEIGHTS.sum())
        one, other = (cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for image in (one, other))
    return (1 - single) + (1 - product)


def _similarity(one: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """SSIM, and its part without brightness."""

    def blurred(image: np.ndarray) -> np.ndarray:
        return cv2.GaussianBlur(image, (11, 11), WINDOW_SIGMA)

    mean_one, mean_other = blurred(one), blurred(other)
    spread_one, spread_other = blurred(one * one) - mean_one**2, blurred(other * other) - mean_other**2
    common = blurred(one * other) - mean_one * mean_other
    structure = (2 * common + CONTRAST) / (spread_one + spread_other + CONTRAST)
    bright = (2 * mean_one * mean_other + BRIGHTNESS) / (mean_one**2 + mean_other**2 + BRIGHTNESS)
    return float((structure * bright).mean()), float(structure.mean())


def ways(names: Collection[str] = ()) -> list[Way]:
    """List the ways to estimate.

    Parameters
    ----------
    names : collection of str
        Words of those that are wanted; all without it.

    Returns
    -------
    list of Way
        From the search alone to the whole cascade, and others beside it.
    """
    usual = GsPoseSettings()
    found = [
        Way("search alone", usual, SearchOnly),
        Way("+ LM on colour and outline", usual, OnColour),
        Way("+ depth", usual, WithoutOccluders),
        Way("+ occluders masked (all)", usual),
        *(Way(f"{count} refined", replace(usual, refined=count)) for count in (1, 2, 10)),
        *(Way(f"{count} aligned", replace(usual, hypotheses=count)) for count in (5, 40)),
        Way("best alone: LM on colour", replace(usual, refined=1, hypotheses=1), OnColour),
        Way("best alone: LM on all", replace(usual, refined=1, hypotheses=1)),
        Way("best alone: SSIM, AdamW", replace(usual, refined=1, hypotheses=1), BySimilarity),
    ]
    return [way for way in found if not names or any(name in way.name for name in names)]


def main(
    scenes: Annotated[Path, tyro.conf.Positional],
    objects: Path,
    models: Path,
    half_turn: tuple[str, ...] = (),
    frames_every: int = 1,
    only: tuple[str, ...] = (),
) -> None:
    """Estimate in each way, and print a table.

    Parameters
    ----------
    scenes
        NOCS folder with truth.json.
    objects
        Library of learned objects.
    models
        Points of the objects: NAME_points, NAME_diameter.
    half_turn
        NAME:AXES, objects of which half a turn about an axis is right, too.
    frames_every
        Take every so manieth frame.
    only
        Words of the rows that are wanted.
    """
    table = Table(title=f"{scenes}, every {frames_every}. frame")
    for heading in ("", "ADD-.1d", "5° 2 cm", "turn (°)", "shift (cm)", "CPU (s) a pose", "steps"):
        table.add_column(heading, justify="left" if not heading else "right")
    folder, truth = NocsFolder(scenes), read_truth(scenes / "truth.json")
    names = folder.names[::frames_every]
    truth = replace(truth, poses={key: pose for key, pose in truth.poses.items() if key[0] in names})
    for way in ways(only):
        estimator = _estimator(way, objects)
        folder.objects, pipeline, results = estimator.names, Pipeline(estimator), []
        start_s = time.process_time()
        for name in names:
            results.append((name, pipeline.process(*folder.read(name))))
        spent_s = time.process_time() - start_s
        with tempfile.TemporaryDirectory() as place:
            path = Path(place) / "poses.json"
            origins = {name: estimator.reference_origin(name) for name in estimator.names}
            write_poses(path, results, reference_origins=origins)
            poses, found = read_poses(path), read_reference_origins(path)
        errors = evaluate_novel(poses, found, truth, {}, read_models(models), parse_half_turns(half_turn)).errors
        rates = novel_rates([error for of_one in errors.values() for error in of_one])
        taken = estimator.refiner.taken if isinstance(estimator.refiner, BySimilarity) else []
        table.add_row(
            way.name,
            *(f"{100 * rates[key]:.1f}" for key in ("add", "5deg2cm")),
            *(f"{rates[key]:.2f}" for key in ("rotation_deg", "translation_cm")),
            f"{spent_s / max(len(poses), 1):.2f}",
            f"{np.median(taken):.0f}" if taken else "",
        )
        print(f"{way.name}: {len(poses)} poses", file=sys.stderr, flush=True)
    Console(width=120).print(table)


def _estimator(way: Way, objects: Path) -> GsPose:
    folder = find_model("gspose", None)
    card = read_card(folder)
    ablated = type("Ablated", (GsPose,), {"make_refiner": way.make_refiner})
    return ablated(folder, replace(card, settings=dict(vars(way.settings))), objects_dir=objects)


def _without_depth(crop: Crop) -> Crop:
    return replace(crop, depth_m=np.zeros_like(crop.depth_m))


def _in_mask_alone(crop: Crop) -> Crop:
    return replace(crop, depth_m=np.where(crop.mask > 0.5, crop.depth_m, 0).astype(np.float32))


if __name__ == "__main__":
    tyro.cli(main)
