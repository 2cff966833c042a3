"""Calibrate the scores of a depth segmenter on new generated scenes, and choose which instances are left out.

    python -m training.calibrate_segmenter --model models/segmenter-depth

A score becomes the probability that mask (IoU of at least 0.5) and category are right. A rising curve is fitted on one
half of the scenes and written to the model's card; how reliable the scores then are is measured on the other half. The
least score is the one with the best F: of instances that are right, against all that are found and all that are there.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from clipose_ros.evaluation.segmentation import match
from clipose_ros.formats.segment_files import BACKGROUND, HIDDEN
from clipose_ros.inference.card import read_card, settings_from, write_card
from clipose_ros.segmenters.depth import DepthSegmenter, DepthSegmenterSettings
from clipose_ros.segmenters.segmenter import Segmenter
from training.calibrate import fitted, reliability
from training.command import run
from training.measure_segmenter import labelled, scene_frames
from training.scenes import SceneConfig

SHARD = 50  # scenes of the same shapes


def instance_outcomes(
    segmenter: Segmenter, scenes: int, seed: int, config: SceneConfig = SceneConfig()
) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Find the objects of generated scenes, and compare them with the truth.

    Parameters
    ----------
    segmenter : Segmenter
        That leaves nothing out.
    scenes, seed : int
        How many, and of which shapes.
    config : SceneConfig
        How they are drawn.

    Returns
    -------
    score : (K,) float
        Of the instances; those of what is too hidden to count are left out.
    right : (K,) bool
        Whether mask and category are right.
    scene : (K,) int
        Number of the scene.
    objects : int
        That are there.
    """
    score, right, scene, objects, number = [], [], [], 0, 0
    for shard in range(-(-scenes // SHARD)):
        for frame, truth in scene_frames(seed + shard, min(SHARD, scenes - shard * SHARD), config):
            detections = segmenter.segment(frame)
            compared = match(labelled(detections), truth)
            objects += len(compared.truth)
            found_as = {ours: truth.names[theirs] for theirs, ours in compared.found.items()}
            for instance in detections.instances:
                shown = truth.numbers[detections.masks == instance.label]
                if len(shown) and (shown == HIDDEN).sum() <= 0.5 * len(shown):
                    score.append(instance.score)
                    right.append(found_as.get(instance.label, str(BACKGROUND)) == instance.category)
                    scene.append(number)
            number += 1
    return np.array(score), np.array(right, bool), np.array(scene, int), objects


def best_least(score: np.ndarray, right: np.ndarray, objects: int) -> float:
    """Choose the least score with the best F.

    Parameters
    ----------
    score : (K,) float
        Calibrated.
    right : (K,) bool
        Whether the instances are right.
    objects : int
        That are there.

    Returns
    -------
    float
        In hundredths.
    """
    tried = np.arange(0, 100) / 100
    quality = [2 * (right & (score >= least)).sum() / ((score >= least).sum() + objects) for least in tried]
    return float(tried[int(np.argmax(quality))])


def calibrate_segmenter(model: Path, scenes: int = 1000, seed: int = 800_001, least_score: float | None = None) -> None:
    """Fit the calibration of a model, and write it to its card.

    Parameters
    ----------
    model : Path
        Folder of a depth segmenter.
    scenes : int
        To draw.
    seed : int
        Of the first shapes; no training draws such.
    least_score : float, optional
        Instances below are left out from now on; without, the best F decides.
    """
    card = read_card(model)
    settings = replace(settings_from(DepthSegmenterSettings, card), calibration=None, least_score=0.0)
    score, right, scene, objects = instance_outcomes(
        DepthSegmenter(model, replace(card, settings=settings.as_mapping())), scenes, seed
    )
    if len(score) < 20:
        raise ValueError(f"model: expected one that finds at least 20 instances in {scenes} scenes, got {len(score)}")
    fit = scene % 2 == 0
    curve = fitted(score[fit], right[fit])
    calibrated = np.array([curve(value) for value in score.tolist()])
    table = [
        {"instances" if name == "views" else name: value for name, value in row.items()}
        for row in reliability(calibrated[~fit], right[~fit])
    ]
    least = best_least(calibrated, right, objects) if least_score is None else least_score
    write_card(
        replace(
            card,
            settings=replace(settings, calibration=curve, least_score=least).as_mapping(),
            accuracy={**card.accuracy, "reliability_on_generated_scenes": table},
        ),
        model,
    )
    shown = Table("score", "instances", "mean score", "mask and category right")
    for row in table:
        shown.add_row(
            f"{row['from']:.1f} to {row['to']:.1f}",
            str(row["instances"]),
            f"{row['mean_score']:.2f}",
            f"{row['success']:.2f}",
        )
    Console().print(shown)
    kept = calibrated >= least
    print(
        f"least score {least:.2f}: {right[kept].sum()} right of {kept.sum()} instances, {objects} objects in {scenes} "
        "scenes"
    )


if __name__ == "__main__":
    run(calibrate_segmenter)
