"""CLIPose: category-level poses from points alone.

The steps: cut the background, sample, normalise, call the network once for all objects, join their draws, decode.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.admission import unanswered
from clipose_ros.core.calibration import Calibration
from clipose_ros.core.decoding import dominant_direction, rotation_from_normals
from clipose_ros.core.normalization import facing_rotation, from_network, to_network, to_pose_frame
from clipose_ros.core.resting import Rest
from clipose_ros.core.sampling import (
    BOX_GROWTH,
    BOX_MARGIN_M,
    LEAST_INSIDE,
    random_strata,
    stratified_indices,
    within_radius,
)
from clipose_ros.core.symmetry import Symmetry, canonical_rotation
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Observation, PoseEstimate, Rejection
from clipose_ros.core.uncertainty import POSITION_SHARE, Uncertainty, estimate_covariance
from clipose_ros.core.validation import expect
from clipose_ros.estimators.estimator import Needs
from clipose_ros.inference.card import ModelCard, NetworkFile, record_from
from clipose_ros.inference.session import Session, SessionConfig

MINIMUM_POINTS = 32
LEAST_KEPT = 0.5  # share of the points: the median is on the object as long as fewer than half are background
MOST_CLOUD_POINTS = 65536  # that a card may ask for, because memory is taken for them
NETWORK = "pose"  # its key in the card
VIEW = "view"  # key of a second network, for objects below which no surface is known
REFINE = "refine"  # key of a third, which sees clouds in the frames of poses on surfaces, and betters these
NO_SURFACE = (0.0, 0.0, 0.0, 0.0)
INPUTS = ("points", "category")
GROUND = "ground"  # a third input, of networks that are told of surfaces
WIDTH, REFINE_WIDTH = 4, 9  # of that input: `known_ground`, and `known_place` for a network that refines
OF_VIEW = ("draws", "passes", "calibration", "uncertainty")  # settings that the network `view` has of its own
OUTPUTS = ("y_axis", "x_axis", "offset", "size", "confidence")  # side by side: columns 0-2, 3-5, 6-8, 9-11 and 12-13


@dataclass(frozen=True)
class CliposeSettings:
    """What a card's `settings` hold for CLIPose.

    Parameters
    ----------
    scale : mapping of str to float
        One unit of the network, by category [m].
    outlier_radius : float
        Points further than this from the median of their cloud are cut, in units of `scale`.
    points : int
        Number of points of a cloud that the network sees.
    draws : int
        Number of clouds that are drawn from an object's points. The pose is what the network's answers agree on.
    passes : int
        How often an object is estimated. Each pass sees the points in the box of the pass before.
    calibration : mapping of str to Calibration
        From the network's confidence to the score, by category. A category that is left out was not measured: its
        score is the confidence.
    uncertainty : mapping of str to Uncertainty
        How far poses are off, by category. Of a category that is left out, the confidences are taken at their word, and
        the position is off by `POSITION_SHARE` of the box's diagonal.
    refinements : int
        How often the network `refine`, if there is one, betters a pose.
    view : mapping of str to object
        `draws`, `passes`, `calibration` and `uncertainty` of the network `view`, if there is one.

    Raises
    ------
    ValueError
        If a value is malformed or out of its range.
    """

    scale: Mapping[str, float]
    outlier_radius: float
    points: int = 1024
    draws: int = 1
    passes: int = 1
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    uncertainty: Mapping[str, Uncertainty] = field(default_factory=dict)
    refinements: int = 1
    view: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = isinstance(self.view, Mapping) and set(self.view) <= set(OF_VIEW)
        expect("view", known, f"a mapping of some of {', '.join(OF_VIEW)}", self.view)
        expect("scale", isinstance(self.scale, Mapping), "a length for each name", self.scale)
        for name, scale in self.scale.items():
            expect(f"scale.{name}", _positive(scale), "a positive length [m]", scale)
        expect("outlier_radius", _positive(self.outlier_radius), "a positive number", self.outlier_radius)
        counts = (("points", 1, MOST_CLOUD_POINTS), ("draws", 1, 16), ("passes", 1, 4), ("refinements", 0, 4))
        for key, least, most in counts:
            value = getattr(self, key)
            expect(key, type(value) is int and least <= value <= most, f"an integer from {least} to {most}", value)
        expect("calibration", isinstance(self.calibration, Mapping), "a mapping of names", self.calibration)
        knots = {name: _calibration(name, of_name) for name, of_name in self.calibration.items()}
        object.__setattr__(self, "calibration", knots)
        expect("uncertainty", isinstance(self.uncertainty, Mapping), "a mapping of names", self.uncertainty)
        errors = {name: _uncertainty(name, of_name) for name, of_name in self.uncertainty.items()}
        object.__setattr__(self, "uncertainty", errors)

    @classmethod
    def of(cls, card: ModelCard) -> CliposeSettings:
        """Read and check the settings of a card.

        Parameters
        ----------
        card : ModelCard
            Card of a CLIPose model.

        Returns
        -------
        CliposeSettings
            The settings.

        Raises
        ------
        ValueError
            If they are malformed, or do not fit the card's names.
        """
        try:
            settings = record_from(cls, card.settings)
            known = ", ".join(card.names)
            expect("scale", set(settings.scale) == set(card.names), f"the keys {known}", ", ".join(settings.scale))
            for key in ("calibration", "uncertainty"):
                strangers = getattr(settings, key).keys() - set(card.names)
                expect(key, not strangers, f"some of {known}", ", ".join(sorted(strangers)))
        except ValueError as error:
            raise ValueError(f"settings.{error}") from error
        return settings

    def as_mapping(self) -> dict[str, Any]:
        """Give the settings as a card holds them.

        Returns
        -------
        dict of str to object
            Plain numbers, lists and mappings.
        """
        calibration = {
            name: {"confidence": list(knots.confidence), "probability": list(knots.probability)}
            for name, knots in self.calibration.items()
        }
        scale = {name: float(length) for name, length in self.scale.items()}
        uncertainty = {name: dict(vars(errors)) for name, errors in self.uncertainty.items()}
        mappings = {"scale": scale, "calibration": calibration, "uncertainty": uncertainty, "view": dict(self.view)}
        return {name: value for name, value in {**vars(self), **mappings}.items() if name != "view" or value}


class Clipose:
    """The estimator of a CLIPose model. See `Estimator`.

    On the same machine, with the same settings, the same observations and seed give the same results, bit for bit.

    A network that is told of surfaces has little left for objects without one. A model may therefore hold two: `pose`
    then sees the objects with a known surface, and `view` the others. A third, `refine`, betters the poses that `pose`
    found on surfaces: with up known, what is left to find in the frame of a pose is little.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    card : ModelCard
        Card of the model.
    config : SessionConfig
        Where and how the network runs.
    seed : int
        Seed of the point sampling.

    Raises
    ------
    ValueError
        If card, settings and network do not fit each other.
    RuntimeError
        If there is no ONNX Runtime, or the provider cannot be had.
    """

    def __init__(self, folder: Path, card: ModelCard, config: SessionConfig = SessionConfig(), seed: int = 0) -> None:
        network = card.network(NETWORK)
        told = GROUND in network.inputs
        _expect_contract(network, told, WIDTH, self._beside(card))
        self.names = card.names
        self.needs = Needs(surface=told)
        self.settings = CliposeSettings.of(card)
        self._card = card
        self._session = Session(folder, network, config)
        self._view = None
        if VIEW in card.networks:
            try:
                self._view = Clipose(folder, _of_view(card, told), config, seed)
            except ValueError as error:
                raise ValueError(f"{VIEW}: {error}") from error
        self._refiner = None
        if REFINE in card.networks:
            _expect_contract(card.network(REFINE), True, REFINE_WIDTH)
            self._refiner = Session(folder, card.network(REFINE), config)
        # Drawn once and the same for all objects, because it must not depend on what else is in the frame.
        self._strata = random_strata((self.settings.draws, self.settings.points), np.random.default_rng(seed))

    def _beside(self, card: ModelCard) -> tuple[str, ...]:
        """Inputs of the network `pose` beside points, category and surface."""
        return ()

    def _seen(self, observations: Sequence[Observation], chosen: np.ndarray) -> dict[str, np.ndarray]:
        """What the network is given beside points, category and surface, by the name of the input.

        `chosen` (B, draws, N) are the points of the clouds, as indices into those of all objects side by side.
        """
        return {}

    def symmetry(self, name: str) -> Symmetry:
        """See `Estimator.symmetry`."""
        return self._card.symmetry.get(name, Symmetry.NONE)

    def rests(self, name: str) -> tuple[Rest, ...]:
        """See `Estimator.rests`."""
        return self._card.rests.get(name, ())

    def diagonal_m(self, name: str) -> float | None:
        """See `Estimator.diagonal_m`. The unit of the network is the diagonal of a name's mean box."""
        return self.settings.scale.get(name)

    def facts(self) -> dict[str, object]:
        """See `Estimator.facts`."""
        session = self._session
        others = {key: network for key, network in self._card.networks.items() if key != NETWORK}
        return {
            "model": self._card.name,
            "model sha256": session.network.sha256[:12],
            **{f"{key} sha256": network.sha256[:12] for key, network in others.items()},
            "provider": session.provider,
            "precision": session.precision,
            "threads": session.threads,
        }

    def reload(self) -> None:
        """See `Estimator.reload`. Nothing changes."""

    def warm_up(self) -> None:
        """See `Estimator.warm_up`."""
        points, category = np.ones((1, self.settings.points, 3), np.float32), np.zeros(1, dtype=np.int64)
        _answers(self._session, points, category, np.zeros((1, WIDTH), np.float32))
        if self._refiner is not None:
            _answers(self._refiner, points, category, np.zeros((1, REFINE_WIDTH), np.float32))
        if self._view is not None:
            self._view.warm_up()

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """See `Estimator.estimate`.

        The stages are sampling, network and decoding. If the card asks for several passes, each sees the points in the
        box of the one before; so does the network that refines, if there is one.
        """
        stopwatch = stopwatch or Stopwatch()
        results = self._first(observations, stopwatch)
        for _ in range(self.settings.refinements if self._refiner else 0):
            results = self._refined(observations, results, stopwatch)
        return results

    def _first(self, observations: Sequence[Observation], stopwatch: Stopwatch) -> list[PoseEstimate | Rejection]:
        """Estimate all objects, each by the network for it."""
        if self._view is None:
            return self._passes(observations, stopwatch)
        told = [one for one in observations if one.surface is not None]
        of_told = iter(self._passes(told, stopwatch) if told else ())
        others = [one for one in observations if one.surface is None]
        of_others = iter(self._view.estimate(others, stopwatch) if others else ())
        return [next(of_others if one.surface is None else of_told) for one in observations]

    def _passes(self, observations: Sequence[Observation], stopwatch: Stopwatch) -> list[PoseEstimate | Rejection]:
        """Estimate all objects by the network `pose`."""
        results = self._pass(observations, stopwatch)
        for _ in range(self.settings.passes - 1):
            with stopwatch.stage("sampling"):
                inside = [_inside(observation, result) for observation, result in zip(observations, results)]
            again = self._pass(inside, stopwatch)
            results = [second if isinstance(second, PoseEstimate) else first for first, second in zip(results, again)]
        return results

    def _refined(
        self, observations: Sequence[Observation], results: list[PoseEstimate | Rejection], stopwatch: Stopwatch
    ) -> list[PoseEstimate | Rejection]:
        """Better the poses of objects with a known surface, once."""
        posed = [
            i
            for i, (one, result) in enumerate(zip(observations, results))
            if one.surface is not None and isinstance(result, PoseEstimate)
        ]
        with stopwatch.stage("sampling"):
            inside = [_inside(observations[i], results[i]) for i in posed]
        again = self._pass(inside, stopwatch, [results[i] for i in posed])
        better = {i: pose for i, pose in zip(posed, again) if isinstance(pose, PoseEstimate)}
        return [better.get(i, result) for i, result in enumerate(results)]

    def _pass(
        self, observations: Sequence[Observation], stopwatch: Stopwatch, poses: Sequence[PoseEstimate] | None = None
    ) -> list[PoseEstimate | Rejection]:
        """Estimate all objects once, or refine a pose of each."""
        with stopwatch.stage("sampling"):
            if not observations:
                return []
            points = np.concatenate([observation.points.T for observation in observations], axis=1)
            bounds = [0, *accumulate([len(observation.points) for observation in observations])]
            kept, refusals = self._cut(observations, points, bounds)
            hopeful = [i for i, refusal in enumerate(refusals) if refusal is None]
            if not hopeful:
                return refusals
            names, settings = [observations[i].name for i in hopeful], self.settings
            scale = np.array([settings.scale[name] for name in names]).repeat(settings.draws)
            chosen = self._chosen(kept, bounds, hopeful)
            clouds, surfaces = self._draw(points, chosen), self._surfaces(observations, hopeful)
            more = self._seen(observations, chosen) if poses is None else {}
            if poses is None:
                points, centre, R_network_camera, ground = to_network(clouds, scale, surfaces)
            else:
                frames = self._frames([poses[i] for i in hopeful])
                points, centre, R_network_camera, ground = to_pose_frame(clouds, scale, *frames, surfaces)
            category = np.array([self.names.index(name) for name in names], dtype=np.int64).repeat(settings.draws)
        with stopwatch.stage("network"):
            outputs = _answers(self._refiner if poses else self._session, points, category, ground, **more)
        with stopwatch.stage("decoding"):
            poses = iter(self._decode(outputs, names, centre, R_network_camera, scale))
            return [next(poses) if refusal is None else refusal for refusal in refusals]

    def _cut(
        self, observations: Sequence[Observation], points: np.ndarray, bounds: list[int]
    ) -> tuple[np.ndarray, list[Rejection | None]]:
        """Say which points belong to their object, (N,) bool, and why an object is hopeless, None if it is not.

        `points` (3, N) [m] are those of all objects side by side. Object i has those from bounds[i] to bounds[i + 1].
        """
        radius, scale = self.settings.outlier_radius, self.settings.scale
        kept = within_radius(points, bounds, [radius * scale.get(one.name, 0.0) for one in observations])
        # One check for all objects, because nearly always all of them pass. A NaN fails every comparison.
        sound = points[2].min(initial=1) > 0 and points.min(initial=1) > -np.inf and points.max(initial=1) < np.inf
        return kept, [
            self._refusal(observation, kept[a:b], sound) for observation, (a, b) in zip(observations, pairwise(bounds))
        ]

    def _refusal(self, observation: Observation, kept: np.ndarray, sound: bool) -> Rejection | None:
        """Say why an object is hopeless, None if it is not.

        `kept` (N,) bool tells which of its points belong to it. `sound` points are known to be finite and in front of
        the camera.
        """
        name, points = observation.name, observation.points
        if name not in self.names:
            return Rejection(name, unanswered(name, self.names))
        if not sound and (broken := np.count_nonzero(~np.isfinite(points).all(axis=1))):
            return Rejection(name, f"points: expected finite coordinates, got {broken} without")
        if (count := np.count_nonzero(kept)) < MINIMUM_POINTS:
            return Rejection(name, f"points: expected at least {MINIMUM_POINTS}, got {count}")
        if not sound and (nearest := points[kept, 2].min()) <= 0:
            return Rejection(name, f"points: expected z > 0, in front of the camera, got {nearest:.3f} m")
        if count < LEAST_KEPT * len(points):
            reach_m = self.settings.outlier_radius * self.settings.scale[name]
            return Rejection(
                name,
                f"mask: expected one object, got points of which {count / len(points):.0%} are within {reach_m:.2f} m "
                f"of their middle: it shows more than a {name}, or depth has another unit",
            )
        return None

    def _chosen(self, kept: np.ndarray, bounds: list[int], hopeful: list[int]) -> np.ndarray:
        """Draw clouds for the network from the points of B objects that `_cut` kept: their indices (B, draws, N).

        Each cloud has the network's number of points.
        """
        kept = np.flatnonzero(kept)
        edges = kept.searchsorted(bounds)
        begins, ends = (side.take(hopeful).reshape(-1, 1, 1) for side in (edges[:-1], edges[1:]))
        indices = stratified_indices(ends - begins, self._strata)
        indices += begins
        return kept.take(indices)

    def _draw(self, points: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Clouds (B * draws, N, 3) [m] of the points (3, M) with these indices. Each coordinate lies contiguous."""
        return points.take(chosen, axis=1).reshape(3, -1, chosen.shape[-1]).transpose(1, 2, 0)

    def _surfaces(self, observations: Sequence[Observation], hopeful: list[int]) -> np.ndarray | None:
        """Surfaces (B * draws, 4) below B objects, as `to_network` takes them. None if none is known."""
        known = [observations[i].surface for i in hopeful]
        if not self.needs.surface or all(surface is None for surface in known):
            return None
        rows = np.array([NO_SURFACE if surface is None else surface for surface in known], dtype=np.float64)
        return rows.repeat(self.settings.draws, axis=0)

    def _frames(self, poses: list[PoseEstimate]) -> tuple[np.ndarray, np.ndarray]:
        """Rotations (B * draws, 3, 3) and centres (B * draws, 3) [m] of B poses, as `to_pose_frame` takes them."""
        rotation, translation = (
            np.array([getattr(pose, key) for pose in poses]) for key in ("rotation", "translation")
        )
        symmetric = np.array([self.symmetry(pose.category) is Symmetry.Y for pose in poses])
        rotation[symmetric] = facing_rotation(rotation[symmetric], translation[symmetric])
        return rotation.repeat(self.settings.draws, axis=0), translation.repeat(self.settings.draws, axis=0)

    def _decode(
        self,
        outputs: np.ndarray,
        names: list[str],
        centre: np.ndarray,
        R_network_camera: np.ndarray,
        scale: np.ndarray,
    ) -> list[PoseEstimate | Rejection]:
        """Give a pose or a rejection for each of B objects, from B * draws outputs.

        The last three parameters are as `to_network` has them.
        """
        axes, translation = from_network(
            outputs[:, :6].reshape(-1, 2, 3).swapaxes(1, 2), outputs[:, 6:9], centre, R_network_camera, scale
        )
        # The same columns, now in the camera frame.
        answers = np.concatenate([axes.swapaxes(1, 2).reshape(-1, 6), translation, outputs[:, 9:]], axis=1)
        answers = answers.reshape(len(names), -1, answers.shape[1])
        mean = answers[:, :, 6:12].sum(axis=1) / answers.shape[1]
        return [self._result(*of_one) for of_one in zip(names, answers.tolist(), mean[:, :3], mean[:, 3:])]

    def _result(
        self, name: str, draws: list[list[float]], translation: np.ndarray, size: np.ndarray
    ) -> PoseEstimate | Rejection:
        """Give what the draws of one object agree on. Each has the columns of OUTPUTS, in the camera frame."""
        if not all(math.isfinite(sum(draw)) for draw in draws):
            return Rejection(name, "network output: expected finite values, got NaN or infinity")
        y_axis, confidence_y = dominant_direction([draw[:3] for draw in draws], [draw[12] for draw in draws])
        x_axis, confidence_x = dominant_direction([draw[3:6] for draw in draws], [draw[13] for draw in draws])
        symmetry = self.symmetry(name)
        if symmetry is Symmetry.Y:
            rotation, confidence = canonical_rotation(y_axis), confidence_y
        else:
            rotation = rotation_from_normals(y_axis, x_axis, confidence_y, confidence_x)
            confidence = math.sqrt(max(confidence_y * confidence_x, 0))
        if rotation is None:
            return Rejection(
                name, "network output: expected two different axes with a confidence, got a degenerate rotation"
            )
        if min(size.tolist()) <= 0:
            return Rejection(name, f"network output: expected positive extents, got {size} m")
        calibration = self.settings.calibration.get(name)
        score = calibration(confidence) if calibration else confidence
        errors = self.settings.uncertainty.get(name) or Uncertainty(POSITION_SHARE * math.hypot(*size.tolist()))
        covariance = estimate_covariance(rotation, confidence_y, confidence_x, symmetry, **vars(errors))
        return PoseEstimate(name, score, rotation, translation, size, covariance=covariance)


def _answers(
    session: Session, points: np.ndarray, category: np.ndarray, ground: np.ndarray, **more: np.ndarray
) -> np.ndarray:
    """Give a network's answers to B clouds: (B, 14) float64, the columns of OUTPUTS. `more`: inputs beside these."""
    inputs = {"points": points, "category": category, GROUND: ground, **more}
    outputs = session.run({name: inputs[name] for name in session.network.inputs})
    return np.concatenate([outputs[name] for name in OUTPUTS], axis=1, dtype=np.float64)


def _expect_contract(network: NetworkFile, told: bool, width: int, beside: tuple[str, ...] = ()) -> None:
    """Check that a network takes and gives what CLIPose's do. `told`: of surfaces, by so many numbers; `beside`: more
    inputs.
    """
    inputs = (*INPUTS, GROUND, *beside) if told else (*INPUTS, *beside)
    for key, expected, got in (("inputs", inputs, network.inputs), ("outputs", OUTPUTS, network.outputs)):
        expect(f"card {key}", set(got) == set(expected), ", ".join(sorted(expected)), ", ".join(sorted(got)))
    if told:
        shape = network.inputs[GROUND]
        expect(f"card inputs {GROUND}", len(shape) == 2 and shape[1] == width, f"[batch, {width}]", list(shape))


def _inside(observation: Observation, pose: PoseEstimate | Rejection) -> Observation:
    """Keep the points in the pose's box and a little around it; all if there is no pose, or few lie in its box."""
    if isinstance(pose, Rejection):
        return observation
    points = observation.points.T
    offset = points - pose.translation.astype(points.dtype)[:, None]
    local = pose.rotation.T.astype(points.dtype) @ offset
    kept = np.flatnonzero((np.abs(local) <= (0.5 * BOX_GROWTH * pose.size + BOX_MARGIN_M)[:, None]).all(axis=0))
    enough = len(kept) >= max(2 * MINIMUM_POINTS, LEAST_INSIDE * len(observation.points))
    if not enough:
        return observation
    pixels = None if observation.pixels is None else observation.pixels.take(kept, axis=0)
    return replace(observation, points=points.take(kept, axis=1).T, pixels=pixels)


def _of_view(card: ModelCard, told: bool) -> ModelCard:
    """Make the card of the network `view` alone. `told`: whether the network `pose` is told of surfaces."""
    expect("card networks", told, f"{GROUND} among the inputs of {NETWORK} beside a network {VIEW}", "none")
    network = card.network(VIEW)
    expect("card networks", GROUND not in network.inputs, f"no {GROUND} among the inputs of {VIEW}", GROUND)
    settings = CliposeSettings.of(card)
    shared = {"scale": settings.scale, "outlier_radius": settings.outlier_radius, "points": settings.points}
    return replace(card, networks={NETWORK: network}, settings={**shared, **settings.view})


def _positive(value: object) -> bool:
    """Say whether a value from a card is a positive, finite number."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


def _calibration(name: str, knots: object) -> Calibration:
    """Make the calibration of a name from what a card holds for it."""
    if isinstance(knots, Calibration):
        return knots
    pair = isinstance(knots, Mapping) and set(knots) == {"confidence", "probability"}
    lists = pair and all(isinstance(values, (list, tuple)) for values in knots.values())
    expect(f"calibration.{name}", lists, "lists confidence and probability", knots)
    return Calibration(**{key: tuple(values) for key, values in knots.items()})


def _uncertainty(name: str, errors: object) -> Uncertainty:
    """Make the uncertainty of a name from what a card holds for it."""
    if isinstance(errors, Uncertainty):
        return errors
    try:
        return record_from(Uncertainty, errors)
    except ValueError as error:
        raise ValueError(f"uncertainty.{name}: expected position_m, tilt and turn, got {errors} ({error})") from error
