"""Calibrate an exported model: of the poses with score s, a share s shall be within 10° 5 cm.

    python -m training.calibrate --model models/clipose-lite --data data/views

Runs the estimator of the runtime on held-out views. It is told of their surfaces as often and as well as in training,
and poses that fit are set onto them. For each category, a rising curve from confidence to success is fitted on one half
of the views and written to the model's card. How reliable the scores then are is measured on the other half. The same
for the covariance: how far positions are off, and by how much more or less than the confidences say angles are.

Of a model with a network `view`, what the others say is calibrated, on views with a known surface: `view` came with its
own calibration.
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
from scipy.special import gammaincinv

from clipose_ros.core.calibration import Calibration
from clipose_ros.core.categories import CATEGORIES, nocs_symmetry
from clipose_ros.core.metrics import pose_error
from clipose_ros.core.resting import set_onto
from clipose_ros.core.support import LEAST_NEAR, Footing, Surface
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import ColourCrop, Observation, PoseEstimate
from clipose_ros.core.uncertainty import Uncertainty
from clipose_ros.core.validation import expect
from clipose_ros.estimators.clipose import VIEW, Clipose, CliposeSettings
from clipose_ros.estimators.loading import estimator_class
from clipose_ros.inference.card import read_card, write_card
from training.command import run
from training.data.dataset import BatchConfig, observed_clouds, pictures_of, seen_surfaces, surfaces_of
from training.data.rows import BROKEN, ViewPool
from training.networks.patch_transformer import category_scales

KNOTS = 9
LIMIT_DEG, LIMIT_M = 10.0, 0.05
BINS = np.linspace(0, 1, 6)
# Of the length of a normal error with three components (position), two (tilt) and one (turn), in deviations of one.
MEDIANS, NINE_OF_TEN = (np.sqrt(2 * gammaincinv(np.array([1.5, 1.0, 0.5]), share)) for share in (0.5, 0.9))
LEAST = 1e-4  # an uncertainty is more than 0, even where the medians are not


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


@dataclass(frozen=True)
class Outcomes:
    """What became of V views that gave a pose.

    Parameters
    ----------
    category : (V,) int
        Index into CATEGORIES.
    score : (V,) float
        The network's confidence.
    success : (V,) bool
        Whether the pose is within 10° 5 cm.
    error : (V, 3) float
        Distance of the centres [m], angle between the y axes [rad], and turn about y that is left beside it [rad].
    deviation : (V, 2) float
        Standard deviations that the confidences stand for: of each of the y axis's two tilts, and of the turn [rad].
    """

    category: np.ndarray
    score: np.ndarray
    success: np.ndarray
    error: np.ndarray
    deviation: np.ndarray

    def __getitem__(self, rows: np.ndarray) -> Outcomes:
        return Outcomes(*(values[rows] for values in vars(self).values()))


def outcomes(estimator: Clipose, config: CalibrationConfig) -> Outcomes:
    """Estimate the held-out views.

    Parameters
    ----------
    estimator : Clipose
        Without a calibration.
    config : CalibrationConfig
        Which views.

    Returns
    -------
    Outcomes
        Of the views that gave a pose.
    """
    pool = ViewPool(sorted(config.data.glob("shard_*.npz"))[-config.shards :])
    generator = torch.Generator().manual_seed(config.seed)
    told = VIEW in read_card(config.model).networks
    ground = replace(config.batches.ground, known=1.0) if told else config.batches.ground
    batches = replace(config.batches, points=config.points, ground=ground)
    found = []
    for _ in range(config.draws):
        for index in torch.from_numpy(np.flatnonzero(pool.category != BROKEN)).split(config.batch):
            rows = pool.rows(index, torch.device("cpu"))
            points, _, usable, places = observed_clouds(
                rows, batches.outlier_radius * category_scales()[rows["category"]], batches, generator
            )
            if told:
                usable = usable & surfaces_of(rows).any(-1)
            truth = zip(
                *(rows[name][usable].double().numpy() for name in ("rotation", "translation", "size")), strict=True
            )
            surfaces = seen_surfaces(surfaces_of(rows), batches.ground, generator)[usable].double().numpy()
            pictures = pictures_of(rows)[usable].numpy() if estimator.needs.colour else [None] * int(usable.sum())
            seen = [
                Observation(cloud.numpy(), CATEGORIES[c], surface=surface if surface.any() else None)
                if picture is None or not picture.any()
                else Observation(
                    cloud.numpy(),
                    CATEGORIES[c],
                    # the picture is the crop
                    (len(picture) * place - 0.5).numpy(),
                    ColourCrop(picture, 0, 0),
                    surface=surface if surface.any() else None,
                )
                for cloud, c, surface, picture, place in zip(
                    points[usable], rows["category"][usable], surfaces, pictures, places[usable], strict=True
                )
            ]
            for pose, one, (rotation, translation, size) in zip(estimator.estimate(seen), seen, truth, strict=True):
                if isinstance(pose, PoseEstimate):
                    true = PoseEstimate(one.name, 1.0, rotation, translation, size)
                    error = pose_error(at_rest(pose, one, estimator), true, nocs_symmetry(one.name))
                    found.append(
                        (
                            CATEGORIES.index(one.name),
                            pose.score,
                            error.rotation_deg <= LIMIT_DEG and error.translation_m <= LIMIT_M,
                            (
                                float(np.linalg.norm(pose.translation - translation)),
                                *tilt_and_turn(rotation.T @ pose.rotation),
                            ),
                            stated_deviations(pose),
                        )
                    )
    return Outcomes(*map(np.array, zip(*found, strict=True)))


def at_rest(pose: PoseEstimate, observation: Observation, estimator: Clipose) -> PoseEstimate:
    """Set a pose onto the surface of its observation if it fits, as the pipeline does.

    Parameters
    ----------
    pose : PoseEstimate
        As it was estimated.
    observation : Observation
        With a surface, or without.
    estimator : Clipose
        Knows how objects rest.

    Returns
    -------
    PoseEstimate
        At rest, or as it was.
    """
    if observation.surface is None or not np.isfinite(observation.surface).all():
        return pose
    normal, offset = observation.surface[:3], float(observation.surface[3])
    foot = pose.translation - (pose.translation @ normal - offset) * normal
    surface = Surface(normal, offset, np.tile(foot, (LEAST_NEAR, 1)))
    if Footing([observation.points], [surface]).rested([pose]) == [None]:
        return pose
    return set_onto(pose, surface, estimator.rests(pose.category), estimator.symmetry(pose.category)) or pose


def tilt_and_turn(rotation: np.ndarray) -> tuple[float, float]:
    """Take a rotation apart: a tilt of the y axis, and a turn about y.

    Parameters
    ----------
    rotation : (3, 3) float
        R_true_estimated.

    Returns
    -------
    tilt, turn : float
        Angles, 0..pi [rad].
    """
    tilt = np.arccos(np.clip(rotation[1, 1], -1, 1))
    turn = np.arctan2(rotation[0, 2] - rotation[2, 0], rotation[0, 0] + rotation[2, 2])
    return float(tilt), float(abs(turn))


def stated_deviations(pose: PoseEstimate) -> tuple[float, float]:
    """Read from a pose's covariance what it says of the object's axes.

    Parameters
    ----------
    pose : PoseEstimate
        With a covariance, of `estimate_covariance`.

    Returns
    -------
    tilt, turn : float
        Standard deviations of each of the y axis's two tilts, and of the turn about y [rad].
    """
    turns, y = pose.covariance[3:, 3:], pose.rotation[:, 1]
    about_y = y @ turns @ y
    return float(np.sqrt((np.trace(turns) - about_y) / 2)), float(np.sqrt(about_y))


def uncertainty(outcomes: Outcomes, symmetry: Symmetry) -> Uncertainty:
    """Fit how far the poses of a category are off: by the medians, on which the few that are all wrong have no weight.

    Parameters
    ----------
    outcomes : Outcomes
        Of views of the category, by an estimator whose settings have no uncertainty.
    symmetry : Symmetry
        Of the category. The turn of one that is alike all around y has no error to fit.

    Returns
    -------
    Uncertainty
        By which half of the errors are below the median of the distribution that it stands for.
    """
    position, tilt, turn = np.median(outcomes.error / _stated(outcomes), axis=0) / MEDIANS
    symmetric = symmetry is Symmetry.Y
    values = (max(float(value), LEAST) for value in (position, tilt, 1.0 if symmetric else turn))
    return Uncertainty(*(round(value, 4) for value in values))


def coverage(outcomes: Outcomes, fit: Uncertainty) -> np.ndarray:
    """Say how many errors are as small as an uncertainty says that nine of ten are.

    Parameters
    ----------
    outcomes : Outcomes
        As `uncertainty` takes them.
    fit : Uncertainty
        Of their category.

    Returns
    -------
    (3,) float
        Shares of the position, tilt and turn errors. 0.9 is right, less is overconfident.
    """
    stated = _stated(outcomes) * (fit.position_m, fit.tilt, fit.turn)
    return (outcomes.error <= stated * NINE_OF_TEN).mean(axis=0)


def _stated(outcomes: Outcomes) -> np.ndarray:
    """Deviations (V, 3) that an uncertainty multiplies: of the position 1 m, of the angles those of the confidences."""
    return np.column_stack([np.ones(len(outcomes.score)), outcomes.deviation])


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
    settings = replace(CliposeSettings.of(card), calibration={}, uncertainty={})
    made = estimator_class(config.model, card)
    expect("model", issubclass(made, Clipose), "one of estimator clipose or cleanpose", card.estimator)
    estimator = made(config.model, replace(card, settings=settings.as_mapping()))
    found = outcomes(estimator, config)
    category, score, success = found.category, found.score, found.success
    fit = np.arange(len(score)) % 2 == 0
    curves = {
        name: fitted(*(values[fit & (category == c)] for values in (score, success)))
        for c, name in enumerate(CATEGORIES)
        if (fit & (category == c)).any()
    }
    # A category of which hardly a view gave a pose may have no curve: its score stays the network's confidence.
    calibrated = [curves.get(CATEGORIES[c], float)(s) for c, s in zip(category, score, strict=True)]
    table = reliability(np.array(calibrated)[~fit], success[~fit])
    errors = {
        name: uncertainty(found[fit & (category == CATEGORIES.index(name))], nocs_symmetry(name)) for name in curves
    }
    write_card(
        replace(
            card,
            settings=replace(settings, calibration=curves, uncertainty=errors).as_mapping(),
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
    Console().print(shown, _table_of(errors, found[~fit]))


def _table_of(errors: dict[str, Uncertainty], others: Outcomes) -> Table:
    """Show the uncertainties, and how many of other views' errors are within what should hold nine of ten."""
    shown = Table("", "position [mm]", "tilt", "turn", "within 90 %: position", "tilt", "turn")
    for name, fit in errors.items():
        mine = others[others.category == CATEGORIES.index(name)]
        shares = [f"{share:.2f}" for share in coverage(mine, fit)] if len(mine.score) else ["–"] * 3
        factors = [f"{fit.tilt:.2f}", f"{fit.turn:.2f}"]
        if nocs_symmetry(name) is Symmetry.Y:
            factors[1] = shares[2] = "free"
        shown.add_row(name, f"{1000 * fit.position_m:.1f}", *factors, *shares)
    return shown


if __name__ == "__main__":
    run(calibrate)
