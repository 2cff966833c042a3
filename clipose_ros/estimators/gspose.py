"""GS-Pose: poses of learned objects, by their surface and by comparing renders of them with the image.

The cascade: thousands of rotations are shifted onto the observed points and judged by distance, normals and colours;
the best, all different, are aligned to the surface by shape and colour; the best of these, by what their renders lack,
are refined on the image by Levenberg-Marquardt. The score comes from what is left.

Without depth, the outline is moved to where the colours change, what it shows is compared with small renders from all
directions, by embeddings of both where the model has a network for them, and the best are refined on the image alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry, canonical_rotation
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Frame, InstanceView, Intrinsics, Observation, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.estimator import Needs
from clipose_ros.estimators.gspose_settings import GsPoseSettings
from clipose_ros.estimators.hypotheses import Hypothesis, covariance_of, doubt_of, half_turned
from clipose_ros.estimators.hypothesis_search import HypothesisSearch
from clipose_ros.estimators.outlines import outline_by_colour
from clipose_ros.estimators.pose_refinement import PoseRefiner
from clipose_ros.estimators.sightings import (
    MINIMUM_POINTS,
    Crop,
    Seen,
    around_mask,
    crop_around,
    expected_mask,
    seen_surface,
)
from clipose_ros.inference.card import ModelCard, record_from
from clipose_ros.inference.session import SessionConfig
from clipose_ros.inference.view_embeddings import NETWORK, ViewEmbedder
from clipose_ros.objects.learned_object import LearnedObject, is_same
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.surface_tables import SurfaceTables, surface_tables
from clipose_ros.objects.view_templates import ViewTemplates, view_templates
from clipose_ros.rendering.cpu import CpuRasterizer

log = logging.getLogger(__name__)

# Without depth: steps on a small crop, and steps by those with depth.
ROUGH_STEPS, BLIND_STEPS = 8, 2
LEAST_TOLD = 1.2  # of the last outline: what the colours tell less of does not count
LARGE = 2  # the crop of the last refinement without depth, by the others: the distance is a matter of half pixels


class GsPose:
    """The estimator of learned objects. See `Estimator`.

    It asks for the view of each object: frame with depth, best with colour too, and mask. Where a mask holds no depth
    at all, colour alone has to do.

    Parameters
    ----------
    folder : Path
        Folder of the model.
    card : ModelCard
        Card of a GS-Pose model. Its names are not used: the library's objects are the names.
    config : SessionConfig
        Not used: the network that embeds views, if the settings ask for one, is small and runs on one core of the CPU.
    seed : int
        Not used: nothing is drawn at random.
    objects_dir : Path, optional
        The library of learned objects.

    Raises
    ------
    ValueError
        If the settings are malformed, there is no library, an object in it is broken, or the network is missing.
    RuntimeError
        If there is no ONNX Runtime for the network.
    """

    needs = Needs(colour=True, prior=True, view=True)
    make_refiner: Callable[[GsPoseSettings], PoseRefiner] = PoseRefiner  # others are for comparisons

    def __init__(
        self,
        folder: Path,
        card: ModelCard,
        config: SessionConfig = SessionConfig(),
        seed: int = 0,
        objects_dir: Path | None = None,
    ) -> None:
        expect(
            "objects",
            objects_dir is not None,
            f"a folder of learned objects for {card.name} (--objects, or the parameter objects_dir; see clipose learn)",
            "none",
        )
        self.settings = record_from(GsPoseSettings, card.settings)
        self._card = card
        self._library = ObjectLibrary(objects_dir)
        self.refiner = type(self).make_refiner(self.settings)
        self._search = HypothesisSearch(self.refiner)
        if config.provider != SessionConfig.provider:
            log.warning("%s runs on the CPU, whatever the provider: its loops are compiled for it", card.name)
        on_one_core = SessionConfig(threads=1)
        wanted = self.settings.retrieval
        self._embedder = ViewEmbedder(folder, card.network(NETWORK), on_one_core) if wanted else None
        self._objects: dict[str, tuple[LearnedObject, SurfaceTables]] = {}
        self._templates: dict[str, ViewTemplates] = {}
        self.reload()

    def reload(self) -> None:
        """Read the library again, as objects come and go.

        Raises
        ------
        ValueError
            If there is no object, or one is broken: then all stay as they were. Objects that are the same are kept.
        """
        objects = {}
        for learned in self._library.read_all():
            known = self._objects.get(learned.name)
            if known is None or not is_same(known[0], learned):
                known = learned, surface_tables(learned)
                self._templates.pop(learned.name, None)
            objects[learned.name] = known
        self._objects = objects

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learned objects."""
        return tuple(self._objects)

    def symmetry(self, name: str) -> Symmetry:
        """See `Estimator.symmetry`."""
        return self._objects[name][0].symmetry if name in self._objects else Symmetry.NONE

    def rests(self, name: str) -> tuple[Rest, ...]:
        """See `Estimator.rests`. The image tells more than a table would."""
        return ()

    def diagonal_m(self, name: str) -> float | None:
        """See `Estimator.diagonal_m`."""
        return self._objects[name][0].diagonal_m if name in self._objects else None

    def reference_origin(self, name: str) -> np.ndarray | None:
        """Say where the origin of an object's reference poses lies.

        Parameters
        ----------
        name : str
            Of an object.

        Returns
        -------
        (3,) float or None
            In the object's frame [m]; None for another name.
        """
        return -self._objects[name][0].centre if name in self._objects else None

    def facts(self) -> dict[str, object]:
        """See `Estimator.facts`."""
        return {
            "model": self._card.name,
            "provider": "numba",
            "precision": "fp32",
            "threads": 1,
            "objects": ", ".join(self.names),
        }

    def warm_up(self) -> None:
        """See `Estimator.warm_up`. Compiles what is not in numba's cache."""
        learned, tables = next(iter(self._objects.values()))
        picked = tables.discs[:MINIMUM_POINTS]
        seen = Seen(picked + [0, 0, 1.0], -tables.facings[:MINIMUM_POINTS], tables.paints[:MINIMUM_POINTS])
        side = self.settings.crop_px
        empty = np.zeros((side, side), np.float32)
        crop = Crop(np.array([side, side, side / 2, side / 2]), np.zeros((side, side, 3), np.float32), empty, empty)
        start = Hypothesis(np.eye(3), np.array([0, 0, 1.0]), math.inf)
        depth_m = np.ones((side, side), np.float32)
        frame = Frame(0, "", depth_m, Intrinsics(side, side, side / 2, side / 2))
        self._search.on_points(tables, seen, InstanceView(frame, depth_m > 0))
        self.refiner.refined(tables, self.refiner.aligned(tables, seen, start), seen, crop, 1)
        self.refiner.refined(tables, start, None, crop, 1)
        CpuRasterizer().render(tables.gaussians, start.rotation, start.translation, frame.intrinsics, (side, side))

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """See `Estimator.estimate`. The stages are preparation, search, alignment and refinement."""
        stopwatch = stopwatch or Stopwatch()
        return [self._estimate(observation, stopwatch) for observation in observations]

    def _estimate(self, observation: Observation, stopwatch: Stopwatch) -> PoseEstimate | Rejection:
        name, best = observation.name, self.best(observation, stopwatch)
        if isinstance(best, Rejection):
            return best
        learned, _ = self._objects[name]
        rotation = best.rotation
        if learned.symmetry is Symmetry.Y:
            rotation = canonical_rotation(rotation[:, 1].tolist())
        covariance = covariance_of(best, learned.symmetry, rotation)
        score = self.score(best)
        return PoseEstimate(name, score, rotation, best.translation, learned.size.copy(), covariance=covariance)

    def best(self, observation: Observation, stopwatch: Stopwatch | None = None) -> Hypothesis | Rejection:
        """Find what looks least wrong, with what its score is made of.

        Parameters
        ----------
        observation : Observation
            Of an object.
        stopwatch : Stopwatch, optional
            Takes the time of the stages.

        Returns
        -------
        Hypothesis or Rejection
            The best one, or why there is none.
        """
        name, stopwatch = observation.name, stopwatch or Stopwatch()
        if name not in self._objects:
            return Rejection(name, f"category: expected one of {', '.join(self.names)}, got {name}")
        if observation.view is None:
            return Rejection(name, "view: expected the frame that the object was seen in, got none")
        if observation.view.frame.intrinsics.distortion is not None:
            return Rejection(name, "image: expected a rectified one, got one of a lens that distorts")
        if not np.isfinite(observation.points).all():
            return Rejection(name, "points: expected finite coordinates, got some without")
        learned, tables = self._objects[name]
        with stopwatch.stage("preparation"):
            seen = seen_surface(observation.view, learned.diagonal_m)
        if len(seen.points) < MINIMUM_POINTS:
            pixels, colour = np.count_nonzero(observation.view.mask), observation.view.frame.colour
            if colour is None or pixels < MINIMUM_POINTS or len(seen.points):
                return Rejection(name, f"points: expected at least {MINIMUM_POINTS}, got {len(seen.points)}")
            seen = None
        best = self._near_prior(observation, learned, tables, seen, stopwatch)
        if best is None and seen is None:
            best = self._by_colour(observation.view, learned, tables, stopwatch)
        elif best is None:
            best = self._anywhere(observation.view, learned, tables, seen, stopwatch)
        if not (np.isfinite(best.rotation).all() and np.isfinite(best.translation).all() and best.translation[2] > 0):
            return Rejection(name, "pose: expected a finite one in front of the camera, got none")
        return best

    def _near_prior(
        self,
        observation: Observation,
        learned: LearnedObject,
        tables: SurfaceTables,
        seen: Seen | None,
        stopwatch: Stopwatch,
    ) -> Hypothesis | None:
        """The pose near a track's prior; None without one, or where it does not fit."""
        prior, settings = observation.prior, self.settings
        if prior is None or prior.category != learned.name or prior.translation[2] <= 0:
            return None
        with stopwatch.stage("refinement"):
            crop = crop_around(observation.view, prior.translation, learned.diagonal_m, settings.crop_px)
            start = Hypothesis(np.ascontiguousarray(prior.rotation), np.ascontiguousarray(prior.translation), math.inf)
            if seen is not None:
                start = self.refiner.aligned(tables, seen, start)
            found = self.refiner.refined(tables, start, seen, crop, settings.tracking_steps)
            found = replace(found, tracked=True)
        return found if self.score(found) >= settings.prior_score else None

    def _anywhere(
        self, view: InstanceView, learned: LearnedObject, tables: SurfaceTables, seen: Seen, stopwatch: Stopwatch
    ) -> Hypothesis:
        """The best pose of all rotations."""
        with stopwatch.stage("search"):
            starts = self._search.on_points(tables, seen, view)
        with stopwatch.stage("alignment"):
            aligned = [self.refiner.aligned(tables, seen, start) for start in starts]
            middle = np.median([one.translation for one in aligned], axis=0)
            crop = crop_around(view, middle, learned.diagonal_m, self.settings.crop_px)
            aligned = sorted(
                (self.refiner.judged(tables, one, seen, crop) for one in aligned), key=lambda one: one.wrongness
            )
            turned = [
                self.refiner.aligned(tables, seen, one)
                for one in half_turned(aligned[: self.settings.half_turned], aligned)
            ]
            aligned += [self.refiner.judged(tables, one, seen, crop) for one in turned]
            aligned.sort(key=lambda one: one.wrongness)
        with stopwatch.stage("refinement"):
            return self.refiner.best_refined(tables, aligned, seen, crop, learned, self.settings.image_steps)

    def _by_colour(
        self, view: InstanceView, learned: LearnedObject, tables: SurfaceTables, stopwatch: Stopwatch
    ) -> Hypothesis:
        """The best pose where there is no depth."""
        settings = self.settings
        with stopwatch.stage("outline"):
            shares, _ = outline_by_colour(view.frame.colour, view.mask)
            view = replace(view, mask=shares > 0.5)
        with stopwatch.stage("search"):
            around = around_mask(view, learned.diagonal_m)
            small = crop_around(view, around, learned.diagonal_m, settings.crop_px // 2, shares)
            starts = self._search.by_templates(tables, self._templates_of(learned, tables), view, small, self._embedder)
        with stopwatch.stage("alignment"):
            aligned = [self.refiner.refined(tables, one, None, small, ROUGH_STEPS) for one in starts]
            aligned.sort(key=doubt_of)
            turned = half_turned(aligned[: settings.half_turned], aligned)
            aligned += [self.refiner.refined(tables, one, None, small, ROUGH_STEPS) for one in turned]
            aligned.sort(key=doubt_of)
        with stopwatch.stage("refinement"):
            crop = crop_around(view, around, learned.diagonal_m, settings.crop_px, shares)
            steps = BLIND_STEPS * settings.image_steps
            best = self.refiner.best_refined(tables, aligned, None, crop, learned, steps)
        with stopwatch.stage("outline"):
            shares, doubtful = outline_by_colour(view.frame.colour, expected_mask(tables, best, view), LEAST_TOLD)
            view = replace(view, mask=shares > 0.5)
        with stopwatch.stage("refinement"):
            around = around_mask(view, learned.diagonal_m)
            large = crop_around(view, around, learned.diagonal_m, LARGE * settings.crop_px, shares, doubtful)
            return replace(self.refiner.refined(tables, best, None, large, steps), margin=best.margin)

    def _templates_of(self, learned: LearnedObject, tables: SurfaceTables) -> ViewTemplates:
        """Drawn when they are asked for the first time."""
        if learned.name not in self._templates:
            self._templates[learned.name] = view_templates(
                tables.gaussians, learned.diagonal_m, CpuRasterizer(), self._embedder
            )
        return self._templates[learned.name]

    def score(self, one: Hypothesis) -> float:
        """Say how likely a pose is right.

        Parameters
        ----------
        one : Hypothesis
            As `best` gives it.

        Returns
        -------
        float
            0..1.
        """
        settings = self.settings
        if one.tracked and one.blind:
            over = (one.wrongness - settings.blind_tracked_right_at) / settings.blind_tracked_wrong_by
        elif one.tracked:
            over = (one.wrongness - settings.tracked_right_at) / settings.tracked_wrong_by
        elif one.blind:
            over = one.wrongness - settings.blind_right_at - settings.blind_margin_weight * one.margin
            over /= settings.blind_wrong_by
        else:
            over = (one.wrongness - settings.right_at - settings.margin_weight * one.margin) / settings.wrong_by
        return 1 / (1 + math.exp(min(over, 50.0)))
