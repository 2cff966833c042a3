"""Calibrate an exported model: of the poses with score s, a share s shall be within 10° 5 cm.

    python -m training.calibrate --model models/clipose-lite --data data/views

Runs the estimator of the runtime on held-out views, fits a rising curve from confidence to success for each category on
one half of them, and writes it to the model's card. How reliable the scores then are is measured on the other half.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import tyro
from rich.console import Console
from rich.table import Table
from scipy.optimize import isotonic_regression

from clipose_ros.core.calibration import Calibration
from clipose_ros.core.categories import CATEGORIES, nocs_symmetry
from clipose_ros.core.metrics import pose_error
from clipose_ros.core.types import Observation, PoseEstimate
from clipose_ros.estimators.clipose import Clipose, CliposeSettings
from clipose_ros.inference.card import read_card, write_card
from training.command import run
from training.dataset import BatchConfig, observed_clouds
from training.networks.patch_transformer import category_scales
from training.rows import BROKEN, ViewPool

KNOTS = 9
LIMIT_DEG, LIMIT_M = 10.0, 0.05
BINS = np.linspace(0, 1, 6)


@dataclass(frozen=True)
class CalibrationConfig:
    """Which model is calibrated, on what.

    Parameters
    ----------
    model : Path
        Folder with model.onnx and card.yaml.
    data : Path
        Folder of shards.
    shards : int
        The last so many of them by name were held out of training.
    draws : int
        How often each view is given anew to the sensor model.
    points : int
        Drawn of each view's pixels, for the estimator to draw its clouds from.
    batch : int
        Views in one call.
    seed : int
        Of the sensor model.
    batches : BatchConfig
        How clouds are observed.
    """

    model: Path
    data: Path
    shards: int = 1
    draws: int = 2
    points: int = 4096  # drawn of each view's pixels, for the estimator to draw its clouds from
    batch: int = 50
    seed: int = 0
    batches: BatchConfig = field(default_factory=BatchConfig)


def outcomes(estimator: Clipose, config: CalibrationConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Estimate the held-out views.

    Parameters
    ----------
    estimator : Clipose
        Without a calibration.
    config : CalibrationConfig
        Which views.

    Returns
    -------
    category : (V,) int
        Index into CATEGORIES, of the views that gave a pose.
    score : (V,) float
        The network's confidence.
    success : (V,) bool
        Whether the pose is within 10° 5 cm.
    """
    pool = ViewPool(sorted(config.data.glob("shard_*.npz"))[-config.shards :])
    generator = torch.Generator().manual_seed(config.seed)
    batches = replace(config.batches, points=config.points)
    found = []
    for _ in range(config.draws):
        for index in torch.from_numpy(np.flatnonzero(pool.category != BROKEN)).split(config.batch):
            rows = pool.rows(index, torch.device("cpu"))
            points, _, usable = observed_clouds(
                rows, batches.outlier_radius * category_scales()[rows["category"]], batches, generator
            )
            truth = zip(
                *(rows[name][usable].double().numpy() for name in ("rotation", "translation", "size")), strict=True
            )
            names = [CATEGORIES[c] for c in rows["category"][usable]]
            poses = estimator.estimate(
                [Observation(cloud.numpy(), name) for cloud, name in zip(points[usable], names, strict=True)]
            )
            for pose, name, (rotation, translation, size) in zip(poses, names, truth, strict=True):
                if isinstance(pose, PoseEstimate):
                    error = pose_error(pose, PoseEstimate(name, 1.0, rotation, translation, size), nocs_symmetry(name))
                    found.append(
                        (
                            CATEGORIES.index(name),
                            pose.score,
                            error.rotation_deg <= LIMIT_DEG and error.translation_m <= LIMIT_M,
                        )
                    )
    category, score, success = zip(*found, strict=True)
    return np.array(category), np.array(score), np.array(success)


def fitted(score: np.ndarray, success: np.ndarray) -> Calibration:
    """Fit the rising curve closest to the successes, at `KNOTS` quantiles of the scores.

    Parameters
    ----------
    score : (V,) float
        Confidences.
    success : (V,) bool
        Whether the poses were right.

    Returns
    -------
    Calibration
        The curve.
    """
    order = np.argsort(score, kind="stable")
    rising = isotonic_regression(success[order].astype(float)).x
    knots = np.quantile(score, np.linspace(0, 1, KNOTS))
    # Each knot takes the mean of its neighbourhood: the ends of an isotonic fit lean on a few views.
    edges = np.concatenate([[-np.inf], (knots[:-1] + knots[1:]) / 2, [np.inf]])
    within = [(score[order] >= low) & (score[order] <= high) for low, high in zip(edges[:-1], edges[1:], strict=True)]
    # Knots that coincide may leave one of them without a view.
    probability = [
        rising[near].mean() if near.any() else np.interp(knot, score[order], rising)
        for near, knot in zip(within, knots, strict=True)
    ]
    return Calibration(
        tuple(round(float(k), 4) for k in knots), tuple(round(float(p), 4) for p in np.maximum.accumulate(probability))
    )


def reliability(score: np.ndarray, success: np.ndarray) -> list[dict[str, float]]:
    """Say how reliable scores are, by range of the score.

    Parameters
    ----------
    score : (V,) float
        Calibrated scores.
    success : (V,) bool
        Whether the poses were right.

    Returns
    -------
    list of dict of str to float
        For each range with views: `from`, `to`, `mean_score`, `success` (the share within the limits) and `views`.
    """
    rows = []
    for low, high in zip(BINS[:-1], BINS[1:], strict=True):
        within = (score >= low) & ((score < high) | (high == 1))
        if within.any():
            values = {"from": low, "to": high, "mean_score": score[within].mean(), "success": success[within].mean()}
            rows.append({name: round(float(value), 3) for name, value in values.items()} | {"views": int(within.sum())})
    return rows


def calibrate(config: Annotated[CalibrationConfig, tyro.conf.arg(name="")]) -> None:
    """Write the calibration to the model's card, with the reliability on views that the fit did not see.

    Parameters
    ----------
    config : CalibrationConfig
        Which model, on what.
    """
    card = read_card(config.model)
    settings = replace(CliposeSettings.of(card), calibration={})
    estimator = Clipose(config.model, replace(card, settings=settings.as_mapping()))
    category, score, success = outcomes(estimator, config)
    fit = np.arange(len(score)) % 2 == 0
    curves = {
        name: fitted(*(values[fit & (category == c)] for values in (score, success)))
        for c, name in enumerate(CATEGORIES)
        if (fit & (category == c)).any()
    }
    # A category of which hardly a view gave a pose may have no curve: its score stays the network's confidence.
    calibrated = [curves.get(CATEGORIES[c], float)(s) for c, s in zip(category, score, strict=True)]
    table = reliability(np.array(calibrated)[~fit], success[~fit])
    write_card(
        replace(
            card,
            settings=replace(settings, calibration=curves).as_mapping(),
            accuracy={**card.accuracy, "reliability_on_held_out_views": table},
        ),
        config.model,
    )
    shown = Table("score", "views", "mean score", "within 10° 5 cm")
    for row in table:
        shown.add_row(
            f"{row['from']:.1f} to {row['to']:.1f}",
            str(row["views"]),
            f"{row['mean_score']:.2f}",
            f"{row['success']:.2f}",
        )
    Console().print(shown)


if __name__ == "__main__":
    run(calibrate)
