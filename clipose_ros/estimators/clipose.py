"""CLIPose: category-level poses from points alone.

Cut, sample, normalise, one network call for all objects, fuse their draws, decode.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np

from clipose_ros.core.decoding import dominant_direction, rotation_from_normals
from clipose_ros.core.normalization import from_view, to_view
from clipose_ros.core.sampling import random_strata, stratified_indices, within_radius
from clipose_ros.core.symmetry import canonical_rotation
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Observation, PoseEstimate, Rejection
from clipose_ros.inference.card import DEFAULT_MODEL, find_model, read_card
from clipose_ros.inference.session import Session, SessionConfig

MINIMUM_POINTS = 32
BOX_GROWTH, BOX_MARGIN_M = 1.2, 0.02  # of a first pass's box: what lies outside is background to the second
LEAST_INSIDE = 0.3  # of the points: a box that keeps fewer is not trusted to cut
INPUTS = {"points", "category"}
OUTPUTS = ("y_axis", "x_axis", "offset", "size", "confidence")  # side by side: columns 0-2, 3-5, 6-8, 9-11 and 12-13


class Clipose:
    """Estimator around a network of models/.

    The same observations and seed give the same results, bit for bit, on the same machine and settings.
    """

    def __init__(self, session: Session, seed: int = 0) -> None:
        card = session.card
        for key, expected, got in (("inputs", INPUTS, set(card.inputs)), ("outputs", set(OUTPUTS), set(card.outputs))):
            if got != expected:
                raise ValueError(f"card {key}: expected {', '.join(sorted(expected))}, got {', '.join(sorted(got))}")
        self.session = session
        self.categories = card.categories
        # Drawn once, for all objects alike: the draw must not depend on what else is in the frame.
        self._strata = random_strata((card.draws, card.points), np.random.default_rng(seed))
        self._axis_symmetric = frozenset(card.axis_symmetric)

    @classmethod
    def load(
        cls,
        model: str = DEFAULT_MODEL,
        models_dir: Path | None = None,
        config: SessionConfig = SessionConfig(),
        seed: int = 0,
    ) -> Clipose:
        """Find a model by name, check it, load it and run it once, so that the first frame is as fast as the others."""
        folder = find_model(model, models_dir)
        estimator = cls(Session(folder, read_card(folder), config), seed)
        estimator.warm_up()
        return estimator

    def warm_up(self) -> None:
        """Run the network once: what it does at its first call, building an engine among it, is done then."""
        self._network(np.ones((1, self.session.card.points, 3), dtype=np.float32), np.zeros(1, dtype=np.int64))

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """See `Estimator.estimate`.

        Stages: sampling, network, decoding. Each further pass of the card sees what lies in the box of the one before.
        """
        stopwatch = stopwatch or Stopwatch()
        results = self._pass(observations, stopwatch)
        for _ in range(self.session.card.passes - 1):
            with stopwatch.stage("sampling"):
                inside = [_inside(observation, result) for observation, result in zip(observations, results)]
            again = self._pass(inside, stopwatch)
            results = [second if isinstance(second, PoseEstimate) else first for first, second in zip(results, again)]
        return results

    def _pass(self, observations: Sequence[Observation], stopwatch: Stopwatch) -> list[PoseEstimate | Rejection]:
        with stopwatch.stage("sampling"):
            if not observations:
                return []
            points = np.concatenate([observation.points.T for observation in observations], axis=1)
            bounds = [0, *accumulate([len(observation.points) for observation in observations])]
            kept, refusals = self._cut(observations, points, bounds)
            hopeful = [i for i, refusal in enumerate(refusals) if refusal is None]
            if not hopeful:
                return refusals
            categories = [observations[i].category for i in hopeful]
            scale = np.array([self.session.card.scale[category] for category in categories]).repeat(
                self.session.card.draws
            )
            points, centre, R_view_camera = to_view(self._draw(points, kept, bounds, hopeful), scale)
            category = np.array([self.categories.index(name) for name in categories], dtype=np.int64).repeat(
                self.session.card.draws
            )
        with stopwatch.stage("network"):
            outputs = self._network(points, category)
        with stopwatch.stage("decoding"):
            poses = iter(self._decode(outputs, categories, centre, R_view_camera, scale))
            return [next(poses) if refusal is None else refusal for refusal in refusals]

    def _cut(
        self, observations: Sequence[Observation], points: np.ndarray, bounds: list[int]
    ) -> tuple[np.ndarray, list[Rejection | None]]:
        """Which points (N,) bool are of their object, and for each object why it is hopeless, None where it is not.

        points, (3, N) [m] are those of all objects side by side, those of object i from bounds[i] to bounds[i + 1].
        """
        card = self.session.card
        kept = within_radius(
            points,
            bounds,
            [card.outlier_radius * card.scale.get(observation.category, 0.0) for observation in observations],
        )
        # Of all objects at once, because hardly ever one is not. A NaN fails every comparison.
        sound = points[2].min(initial=1) > 0 and points.min(initial=1) > -np.inf and points.max(initial=1) < np.inf
        return kept, [
            self._refusal(observation, kept[a:b], sound) for observation, (a, b) in zip(observations, pairwise(bounds))
        ]

    def _refusal(self, observation: Observation, kept: np.ndarray, sound: bool) -> Rejection | None:
        """Why an object is hopeless whose points (N, 3) are kept or not; `sound` ones are known to be finite and in
        front of the camera.
        """
        category, points = observation.category, observation.points
        if category not in self.categories:
            return Rejection(category, f"category: expected one of {', '.join(self.categories)}, got {category}")
        if not sound and (broken := np.count_nonzero(~np.isfinite(points).all(axis=1))):
            return Rejection(category, f"points: expected finite coordinates, got {broken} without")
        if (count := np.count_nonzero(kept)) < MINIMUM_POINTS:
            return Rejection(category, f"points: expected at least {MINIMUM_POINTS}, got {count}")
        if not sound and (nearest := points[kept, 2].min()) <= 0:
            return Rejection(category, f"points: expected z > 0, in front of the camera, got {nearest:.3f} m")
        return None

    def _draw(self, points: np.ndarray, kept: np.ndarray, bounds: list[int], hopeful: list[int]) -> np.ndarray:
        """Clouds (B * draws, N, 3) [m] of the network's number of points, drawn from what `_cut` kept of B objects.

        Each coordinate lies contiguous.
        """
        kept = np.flatnonzero(kept)
        edges = kept.searchsorted(bounds)
        begins, ends = (side.take(hopeful).reshape(-1, 1, 1) for side in (edges[:-1], edges[1:]))
        indices = stratified_indices(ends - begins, self._strata)
        indices += begins
        return points.take(kept.take(indices), axis=1).reshape(3, -1, indices.shape[-1]).transpose(1, 2, 0)

    def _network(self, points: np.ndarray, category: np.ndarray) -> np.ndarray:
        """What the network says of B clouds: (B, 14) float64, the columns of OUTPUTS."""
        outputs = self.session.run({"points": points, "category": category})
        return np.concatenate([outputs[name] for name in OUTPUTS], axis=1, dtype=np.float64)

    def _decode(
        self,
        outputs: np.ndarray,
        categories: list[str],
        centre: np.ndarray,
        R_view_camera: np.ndarray,
        scale: np.ndarray,
    ) -> list[PoseEstimate | Rejection]:
        """A pose or a rejection for each of B objects, from B * draws outputs; centre, R_view_camera and scale as
        `to_view` has them.
        """
        axes, translation = from_view(
            outputs[:, :6].reshape(-1, 2, 3).swapaxes(1, 2), outputs[:, 6:9], centre, R_view_camera, scale
        )
        # the same columns, in the camera frame
        answers = np.concatenate([axes.swapaxes(1, 2).reshape(-1, 6), translation, outputs[:, 9:]], axis=1)
        answers = answers.reshape(len(categories), -1, answers.shape[1])
        mean = answers[:, :, 6:12].sum(axis=1) / answers.shape[1]
        return [self._result(*of_one) for of_one in zip(categories, answers.tolist(), mean[:, :3], mean[:, 3:])]

    def _result(
        self, category: str, draws: list[list[float]], translation: np.ndarray, size: np.ndarray
    ) -> PoseEstimate | Rejection:
        """What the draws of one object agree on; each has the columns of OUTPUTS, in the camera frame."""
        if not all(math.isfinite(sum(draw)) for draw in draws):
            return Rejection(category, "network output: expected finite values, got NaN or infinity")
        y_axis, confidence_y = dominant_direction([draw[:3] for draw in draws], [draw[12] for draw in draws])
        x_axis, confidence_x = dominant_direction([draw[3:6] for draw in draws], [draw[13] for draw in draws])
        if category in self._axis_symmetric:
            rotation, confidence = canonical_rotation(y_axis), confidence_y
        else:
            rotation, confidence = (
                rotation_from_normals(y_axis, x_axis, confidence_y, confidence_x),
                math.sqrt(max(confidence_y * confidence_x, 0)),
            )
        if rotation is None:
            return Rejection(
                category, "network output: expected two different axes with a confidence, got a degenerate rotation"
            )
        if min(size.tolist()) <= 0:
            return Rejection(category, f"network output: expected positive extents, got {size} m")
        calibration = self.session.card.calibration.get(category)
        return PoseEstimate(
            category, calibration(confidence) if calibration else confidence, rotation, translation, size
        )


def _inside(observation: Observation, pose: PoseEstimate | Rejection) -> Observation:
    """The points in the pose's box and a little around it; all where there is no pose, or hardly a point is in its box."""
    if isinstance(pose, Rejection):
        return observation
    points = observation.points.T
    offset = points - pose.translation.astype(points.dtype)[:, None]
    local = pose.rotation.T.astype(points.dtype) @ offset
    kept = np.flatnonzero((np.abs(local) <= (0.5 * BOX_GROWTH * pose.size + BOX_MARGIN_M)[:, None]).all(axis=0))
    enough = len(kept) >= max(2 * MINIMUM_POINTS, LEAST_INSIDE * len(observation.points))
    return Observation(points.take(kept, axis=1).T, observation.category) if enough else observation
