"""GS-Pose: poses of learned objects, by their surface and by comparing renders of them with the image.

The cascade: thousands of rotations are shifted onto the observed points and judged by distance, normals and colours;
the best, all different, are aligned to the surface by shape and colour; the best of these, by what their renders lack,
are refined on the image by Levenberg-Marquardt. The score comes from what is left.

Without depth, the outline is moved to where the colours change, what it shows is compared with small renders from all
directions, and the best are refined on the image alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry, canonical_rotation
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Frame, InstanceView, Intrinsics, Observation, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.estimator import Needs
from clipose_ros.estimators.outlines import outline_by_colour
from clipose_ros.estimators.render_comparison import (
    GAIN_TEXTURE,
    KNOWN,
    LACK,
    OCCLUDER_M,
    SPARE,
    TEXTURE,
    compare,
    refine,
)
from clipose_ros.estimators.surface_alignment import (
    COLOUR,
    DISTANCE,
    FACING,
    align_shifts,
    align_to_surface,
    judge_outlines,
)
from clipose_ros.inference.card import ModelCard, record_from
from clipose_ros.inference.session import SessionConfig
from clipose_ros.objects.depth_normals import points_and_normals
from clipose_ros.objects.learned_object import LearnedObject, is_same
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.surface_tables import SurfaceTables, rotation_grid, surface_tables
from clipose_ros.objects.view_templates import ViewTemplates, poses_by_templates, view_templates
from clipose_ros.rendering.cpu import CpuRasterizer

MINIMUM_POINTS = 32
BORDER_PX = 6  # around the mask, so that normals have neighbours
REACH_M, LAST_REACH_M = 0.02, 0.01  # of points to their discs: further is an outlier
NOISE_M, NOISE_COLOUR = 0.003, 0.06
CROP_GROWTH = 1.3  # of the compared crop, by the object's diagonal
WIDEST = 0.75  # points further than this from the median are background, by the object's diagonal
OUTLINE_DISCS = 150  # by which the outlines of hypotheses are judged
HALF_TURNED = 3  # hypotheses of which half turns are tried, too
# Without depth: steps on a small crop; steps, rotations and hypotheses by those with depth; and between hypotheses.
ROUGH_STEPS, BLIND_STEPS, BLIND_KEPT, BLIND_APART_DEG = 8, 2, 3, 13.0
LARGE = 2  # the crop of the last refinement without depth, by the others: the distance is a matter of half pixels
NEAR_MASK_PX = 5  # where the object may be seen beyond its mask
BLIND_REACH = 1.5  # of the crop, by the larger side of the mask
UNKNOWN_TEXTURE = 0.15  # what pixels count without depth where the object's colour is not known
REFINED_APART_DEG = 10.0  # between hypotheses that are refined: nearer ones become one
HOPELESS = 0.4  # a hypothesis that is worse by so much than one that is refined already is not
OTHER_DEG, LARGEST_MARGIN = 30.0, 0.3  # what differs by more is another pose, and how far that can be behind
SAME_TURN_DEG = 15.0  # between hypotheses that are one
ONE_STEP = 4  # shifts in the cascade's first two stages together


@dataclass(frozen=True)
class GsPoseSettings:
    """What a card's `settings` hold for GS-Pose.

    Parameters
    ----------
    rotations : int
        Rotations that are tried, evenly spread.
    kept : int
        Those that are judged again on more points.
    hypotheses : int
        Those that are aligned to the surface, all different.
    refined : int
        Those that are refined on the image.
    apart_deg : float
        Between two hypotheses, at least [deg].
    coarse_points, fine_points, surface_points : int
        Points of the object in the three stages.
    surface_steps, image_steps : int
        Steps of the two refinements.
    crop_px : int
        Side of the crop that renders are compared with [px].
    facing_weight, colour_weight, outline_weight, texture_weight : float
        Of what is wrong with a pose, beside the distance of the points.
    right_at, wrong_by, margin_weight : float
        The score is 1 / (1 + exp((wrongness - right_at - margin_weight * margin) / wrong_by)), with the margin to the
        best pose that is really another. From `python -m training.novel_scores`.
    blind_right_at, blind_wrong_by, blind_margin_weight : float
        The same for objects without depth.
    prior_score : float
        A pose that was found near the track's prior with at least this score is not sought elsewhere.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    rotations: int = 3000
    kept: int = 300
    hypotheses: int = 20
    refined: int = 5
    apart_deg: float = 22.0
    coarse_points: int = 80
    fine_points: int = 220
    surface_points: int = 400
    surface_steps: int = 10
    image_steps: int = 5
    crop_px: int = 64
    facing_weight: float = 0.5
    colour_weight: float = 4.0
    outline_weight: float = 1.0
    texture_weight: float = 1.0
    right_at: float = 0.71
    wrong_by: float = 0.337
    margin_weight: float = 3.89
    blind_right_at: float = 0.15
    blind_wrong_by: float = 0.184
    blind_margin_weight: float = 1.575
    prior_score: float = 0.7

    def __post_init__(self) -> None:
        for key, most in (("rotations", 100_000), ("kept", 10_000), ("hypotheses", 200), ("refined", 200)):
            expect(key, type(value := getattr(self, key)) is int and 1 <= value <= most, f"1 to {most}", value)
        for key in ("coarse_points", "fine_points", "surface_points"):
            expect(key, type(value := getattr(self, key)) is int and 20 <= value <= 4096, "20 to 4096", value)
        for key in ("surface_steps", "image_steps"):
            expect(key, type(value := getattr(self, key)) is int and 1 <= value <= 100, "1 to 100", value)
        expect("crop_px", type(self.crop_px) is int and 16 <= self.crop_px <= 256, "16 to 256", self.crop_px)
        expect("wrong_by", self.wrong_by > 0, "more than 0", self.wrong_by)


@dataclass(frozen=True)
class _Seen:
    """What the image shows of an object: points, their normals and colours, all (N, 3) float64, camera frame."""

    points: np.ndarray
    normals: np.ndarray
    colours: np.ndarray

    def thinned(self, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Evenly picked ones, in raster order."""
        picked = np.unique(np.linspace(0, len(self.points) - 1, count).astype(int))
        return tuple(np.ascontiguousarray(array[picked]) for array in (self.points, self.normals, self.colours))


@dataclass(frozen=True)
class _Crop:
    """A small square image around an object, as `render_comparison` takes it."""

    camera: np.ndarray
    colour: np.ndarray
    mask: np.ndarray
    depth_m: np.ndarray


@dataclass(frozen=True)
class Hypothesis:
    """A pose, and how wrong it looks.

    Parameters
    ----------
    rotation : (3, 3) float64
        R_camera_object.
    translation : (3,) float64
        Camera frame [m].
    wrongness : float
        Of points and image; 0 where all is as it should be.
    information : (6, 6) float64, optional
        As `refine` writes it.
    margin : float
        How much less wrong it is than the best one that is really another.
    blind : bool
        Whether there was no depth.
    """

    rotation: np.ndarray
    translation: np.ndarray
    wrongness: float
    information: np.ndarray | None = None
    margin: float = LARGEST_MARGIN
    blind: bool = False


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
        Not used: there is no network.
    seed : int
        Not used: nothing is drawn at random.
    objects_dir : Path, optional
        The library of learned objects.

    Raises
    ------
    ValueError
        If the settings are malformed, there is no library, or an object in it is broken.
    """

    needs = Needs(colour=True, prior=True, view=True)

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
        self._rotations = rotation_grid(self.settings.rotations)
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
        seen = _Seen(picked + [0, 0, 1.0], -tables.facings[:MINIMUM_POINTS], tables.paints[:MINIMUM_POINTS])
        side = self.settings.crop_px
        empty = np.zeros((side, side), np.float32)
        crop = _Crop(np.array([side, side, side / 2, side / 2]), np.zeros((side, side, 3), np.float32), empty, empty)
        start = Hypothesis(np.eye(3), np.array([0, 0, 1.0]), math.inf)
        depth_m = np.ones((side, side), np.float32)
        frame = Frame(0, "", depth_m, Intrinsics(side, side, side / 2, side / 2))
        self._sought(tables, seen, InstanceView(frame, depth_m > 0))
        self._refined(tables, self._aligned(tables, seen, start), seen, crop, 1)
        self._judged(tables, start, seen, crop)

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
        covariance = _covariance(best, learned.symmetry, rotation)
        score = self._score(best)
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
            seen = _seen(observation.view, learned.diagonal_m)
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
        seen: _Seen | None,
        stopwatch: Stopwatch,
    ) -> Hypothesis | None:
        """The pose near a track's prior; None without one, or where it does not fit."""
        prior = observation.prior
        if prior is None or prior.category != learned.name or prior.translation[2] <= 0:
            return None
        with stopwatch.stage("refinement"):
            crop = _crop(observation.view, prior.translation, learned.diagonal_m, self.settings.crop_px)
            start = Hypothesis(np.ascontiguousarray(prior.rotation), np.ascontiguousarray(prior.translation), math.inf)
            if seen is not None:
                start = self._aligned(tables, seen, start)
            found = self._refined(tables, start, seen, crop, self.settings.image_steps)
        return found if self._score(found) >= self.settings.prior_score else None

    def _anywhere(
        self, view: InstanceView, learned: LearnedObject, tables: SurfaceTables, seen: _Seen, stopwatch: Stopwatch
    ) -> Hypothesis:
        """The best pose of all rotations."""
        with stopwatch.stage("search"):
            starts = self._sought(tables, seen, view)
        with stopwatch.stage("alignment"):
            aligned = [self._aligned(tables, seen, start) for start in starts]
            middle = np.median([one.translation for one in aligned], axis=0)
            crop = _crop(view, middle, learned.diagonal_m, self.settings.crop_px)
            aligned = sorted((self._judged(tables, one, seen, crop) for one in aligned), key=lambda one: one.wrongness)
            turned = [self._aligned(tables, seen, one) for one in _half_turned(aligned[:HALF_TURNED], aligned)]
            aligned += [self._judged(tables, one, seen, crop) for one in turned]
            aligned.sort(key=lambda one: one.wrongness)
        with stopwatch.stage("refinement"):
            return self._best_refined(tables, aligned, seen, crop, learned, self.settings.image_steps)

    def _by_colour(
        self, view: InstanceView, learned: LearnedObject, tables: SurfaceTables, stopwatch: Stopwatch
    ) -> Hypothesis:
        """The best pose where there is no depth."""
        settings = self.settings
        with stopwatch.stage("outline"):
            shares = outline_by_colour(view.frame.colour, view.mask)
            view = replace(view, mask=shares > 0.5)
        with stopwatch.stage("search"):
            rotations, translations, wrongness = poses_by_templates(
                self._templates_of(learned, tables), view.frame.colour, view.mask, view.frame.intrinsics
            )
            order = np.argsort(wrongness, kind="stable")[: BLIND_KEPT * settings.kept]
            ranked = [Hypothesis(rotations[i], translations[i], float(wrongness[i])) for i in order]
            starts = _different(ranked, BLIND_KEPT * settings.hypotheses, BLIND_APART_DEG)
            around = _around_mask(view, learned.diagonal_m)
            small = _crop(view, around, learned.diagonal_m, settings.crop_px // 2, shares)
            judged = sorted((self._judged(tables, one, None, small) for one in starts), key=lambda one: one.wrongness)
            half = settings.hypotheses // 2  # of each kind: either finds what the other does not
            starts = _different([*judged[:half], *starts[: settings.hypotheses - half]], settings.hypotheses, 1.0)
        with stopwatch.stage("alignment"):
            aligned = [self._refined(tables, one, None, small, ROUGH_STEPS) for one in starts]
            aligned.sort(key=lambda one: one.wrongness)
            turned = _half_turned(aligned[:HALF_TURNED], aligned)
            aligned += [self._refined(tables, one, None, small, ROUGH_STEPS) for one in turned]
            aligned.sort(key=lambda one: one.wrongness)
        with stopwatch.stage("refinement"):
            crop = _crop(view, around, learned.diagonal_m, settings.crop_px, shares)
            steps = BLIND_STEPS * settings.image_steps
            best = self._best_refined(tables, aligned, None, crop, learned, steps)
        with stopwatch.stage("outline"):
            shares = outline_by_colour(view.frame.colour, _expected_mask(tables, best, view))
            view = replace(view, mask=shares > 0.5)
        with stopwatch.stage("refinement"):
            around = _around_mask(view, learned.diagonal_m)
            large = _crop(view, around, learned.diagonal_m, LARGE * settings.crop_px, shares)
            return replace(self._refined(tables, best, None, large, steps), margin=best.margin)

    def _templates_of(self, learned: LearnedObject, tables: SurfaceTables) -> ViewTemplates:
        """Drawn when they are asked for the first time."""
        if learned.name not in self._templates:
            self._templates[learned.name] = view_templates(tables.gaussians, learned.diagonal_m, CpuRasterizer())
        return self._templates[learned.name]

    def _best_refined(
        self,
        tables: SurfaceTables,
        aligned: Sequence[Hypothesis],
        seen: _Seen | None,
        crop: _Crop,
        learned: LearnedObject,
        steps: int,
    ) -> Hypothesis:
        """The best of the first hypotheses after refinement."""
        refined: list[Hypothesis] = []
        for one in _different(aligned, self.settings.refined, REFINED_APART_DEG):
            if refined and one.wrongness > min(other.wrongness for other in refined) + HOPELESS:
                break
            refined.append(self._refined(tables, one, seen, crop, steps))
        best = min(refined, key=lambda one: one.wrongness)
        others = [one for one in (*refined, *aligned) if _is_other(one.rotation, best.rotation, learned)]
        rival = min((one.wrongness for one in others), default=math.inf)
        return replace(best, margin=float(np.clip(rival - best.wrongness, 0, LARGEST_MARGIN)))

    def _sought(self, tables: SurfaceTables, seen: _Seen, view: InstanceView) -> list[Hypothesis]:
        """Hypotheses from all rotations, the best first, all different."""
        settings, middle = self.settings, seen.points.mean(axis=0)
        towards = -middle / np.linalg.norm(middle)
        from_where = np.argmax(self._rotations.transpose(0, 2, 1) @ towards @ tables.directions.T, axis=1)
        shifts = middle - np.einsum("kij,kj->ki", self._rotations, tables.middles[from_where])
        rotations, given = self._rotations, view.frame.intrinsics
        camera, depth_m = np.array([given.fx, given.fy, given.cx, given.cy]), _depth_m(view)
        spread = np.linspace(0, len(tables.discs) - 1, OUTLINE_DISCS).astype(int)
        discs, facings = tables.discs[spread], tables.facings[spread]
        for count, points in ((settings.kept, settings.coarse_points), (None, settings.fine_points)):
            judged = np.zeros((len(rotations), 4))
            align_shifts(
                rotations, shifts, *seen.thinned(points), *_surface(tables), tables.seen, REACH_M, ONE_STEP // 2, judged
            )
            outside = np.zeros(len(rotations))
            judge_outlines(rotations, shifts, discs, facings, camera, view.mask, depth_m, OCCLUDER_M, outside)
            wrongness = self._wrongness(judged.T) + self.settings.outline_weight * outside
            order = np.argsort(wrongness, kind="stable")[:count]
            rotations, shifts = np.ascontiguousarray(rotations[order]), np.ascontiguousarray(shifts[order])
        ranked = [Hypothesis(r, t, float(w)) for r, t, w in zip(rotations, shifts, wrongness[order])]
        return _different(ranked, settings.hypotheses, settings.apart_deg)

    def _aligned(self, tables: SurfaceTables, seen: _Seen, start: Hypothesis) -> Hypothesis:
        """A hypothesis, aligned to the surface."""
        judged = np.zeros(4)
        rotation, translation = align_to_surface(
            np.ascontiguousarray(start.rotation, np.float64),
            np.ascontiguousarray(start.translation, np.float64),
            *seen.thinned(self.settings.surface_points),
            *_surface(tables),
            tables.slopes,
            tables.seen,
            REACH_M,
            LAST_REACH_M,
            self.settings.surface_steps,
            NOISE_M,
            NOISE_COLOUR,
            judged,
        )
        return Hypothesis(rotation, translation, float(self._wrongness(judged)))

    def _judged(self, tables: SurfaceTables, one: Hypothesis, seen: _Seen | None, crop: _Crop) -> Hypothesis:
        """A hypothesis, with how wrong points, where there are some, and image find it."""
        judged, found = np.zeros(4), np.zeros(8)
        compare(
            _solid(tables),
            tables.gaussians.features,
            one.rotation,
            one.translation,
            crop.camera,
            crop.colour,
            crop.mask,
            crop.depth_m,
            found,
        )
        wrongness = self.settings.outline_weight * (found[SPARE] + found[LACK])
        if seen is None:
            texture = (found[TEXTURE] + found[GAIN_TEXTURE]) / 2
            texture = found[KNOWN] * texture + (1 - found[KNOWN]) * UNKNOWN_TEXTURE
            wrongness += self.settings.texture_weight * texture
        else:
            wrongness += self.settings.texture_weight * found[TEXTURE]
            align_to_surface(
                one.rotation,
                one.translation,
                *seen.thinned(self.settings.surface_points),
                *_surface(tables),
                tables.slopes,
                tables.seen,
                REACH_M,
                LAST_REACH_M,
                0,
                NOISE_M,
                NOISE_COLOUR,
                judged,
            )
            wrongness += self._wrongness(judged)
        return replace(one, wrongness=float(wrongness), blind=seen is None)

    def _refined(
        self, tables: SurfaceTables, one: Hypothesis, seen: _Seen | None, crop: _Crop, steps: int
    ) -> Hypothesis:
        """A hypothesis, refined on the image and judged."""
        information = np.zeros((6, 6))
        rotation, translation = refine(
            _solid(tables),
            tables.gaussians.features,
            one.rotation,
            one.translation,
            crop.camera,
            crop.colour,
            crop.mask,
            crop.depth_m,
            steps,
            information,
        )
        return self._judged(tables, Hypothesis(rotation, translation, math.inf, information), seen, crop)

    def _wrongness(self, judged: np.ndarray) -> np.ndarray:
        """Of poses by their points; `judged` (4, ...) as the alignment writes it."""
        wrong = judged[DISTANCE] + self.settings.facing_weight * (1 - judged[FACING])
        return wrong + self.settings.colour_weight * judged[COLOUR]

    def _score(self, one: Hypothesis) -> float:
        settings = self.settings
        if one.blind:
            over = one.wrongness - settings.blind_right_at - settings.blind_margin_weight * one.margin
            over /= settings.blind_wrong_by
        else:
            over = (one.wrongness - settings.right_at - settings.margin_weight * one.margin) / settings.wrong_by
        return 1 / (1 + math.exp(min(over, 50.0)))


def _surface(tables: SurfaceTables) -> tuple:
    return tables.grid, tables.low, tables.cell, tables.discs, tables.facings, tables.paints


def _solid(tables: SurfaceTables) -> tuple:
    gaussians = tables.gaussians
    return gaussians.means, gaussians.covariances, gaussians.normals, gaussians.opacities


def _half_turn(axis: int) -> np.ndarray:
    turn = -np.eye(3)
    turn[axis, axis] = 1
    return turn


def _is_other(rotation: np.ndarray, best: np.ndarray, learned: LearnedObject) -> bool:
    """Whether a rotation shows an object otherwise than the best one does: its symmetries do not count."""
    least_cosine = math.cos(math.radians(OTHER_DEG))
    if learned.symmetry is Symmetry.Y:
        return float(rotation[:, 1] @ best[:, 1]) < least_cosine
    same = [np.eye(3), *(_half_turn("xyz".index(name)) for name in learned.half_turns)]
    return all(((rotation @ turn) * best).sum() < 1 + 2 * least_cosine for turn in same)


def _half_turned(some: Sequence[Hypothesis], known: Sequence[Hypothesis]) -> list[Hypothesis]:
    """Hypotheses after half a turn about each axis of their boxes, as far as they are not known yet."""
    least_trace, new = 1 + 2 * math.cos(math.radians(SAME_TURN_DEG)), []
    for one in some:
        for axis in range(3):
            turned = one.rotation @ _half_turn(axis)
            if all((turned * other.rotation).sum() < least_trace for other in (*known, *new)):
                new.append(Hypothesis(turned, one.translation, one.wrongness))
    return new


def _different(ranked: Sequence[Hypothesis], most: int, apart_deg: float) -> list[Hypothesis]:
    """The first ones that differ from all before them by an angle."""
    least_trace, chosen = 1 + 2 * math.cos(math.radians(apart_deg)), []
    for one in ranked:
        if all((one.rotation * other.rotation).sum() < least_trace for other in chosen):
            chosen.append(one)
            if len(chosen) == most:
                break
    return chosen


def _seen(view: InstanceView, diagonal_m: float) -> _Seen:
    """Points of an object's mask, with normals and colours; without its border where enough is left."""
    rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    nothing = np.empty((0, 3))
    if not len(rows):
        return _Seen(nothing, nothing, nothing)
    top, bottom = max(0, rows[0] - BORDER_PX), rows[-1] + 1 + BORDER_PX
    left, right = max(0, columns[0] - BORDER_PX), columns[-1] + 1 + BORDER_PX
    frame, mask = view.frame, view.mask[top:bottom, left:right]
    depth = _depth_m(view)[top:bottom, left:right]
    depth = np.where(mask, depth, np.float32(0))
    given = frame.intrinsics
    intrinsics = Intrinsics(given.fx, given.fy, given.cx - left, given.cy - top)
    points, normals, smooth = points_and_normals(depth, intrinsics)
    inner = (cv2.erode(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0) & (depth > 0)
    chosen = inner & smooth
    for wider in (inner, depth > 0):
        if np.count_nonzero(chosen) < 2 * MINIMUM_POINTS:
            chosen = wider
    if not chosen.any():
        return _Seen(nothing, nothing, nothing)
    if frame.colour is None:
        colours = np.full((np.count_nonzero(chosen), 3), 0.5)
    else:
        colours = cv2.GaussianBlur(frame.colour[top:bottom, left:right], (3, 3), 0)[chosen] / 255.0
    points, normals = points[chosen].astype(np.float64), normals[chosen].astype(np.float64)
    near = np.linalg.norm(points - np.median(points, axis=0), axis=1) < WIDEST * diagonal_m
    return _Seen(points[near], normals[near], colours[near])


def _depth_m(view: InstanceView) -> np.ndarray:
    """Depth (H, W) [m], 0 where it is none."""
    depth = metres(view.frame.depth, view.frame.depth_unit_m)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)).astype(np.float32)


def _expected_mask(tables: SurfaceTables, one: Hypothesis, view: InstanceView) -> np.ndarray:
    """Where an object should be seen in the image, near its mask (H, W); the mask where that is hardly anywhere."""
    height, width = view.mask.shape
    drawn = CpuRasterizer().render(
        tables.gaussians, one.rotation, one.translation, view.frame.intrinsics, (width, height)
    )
    near = cv2.dilate(view.mask.astype(np.uint8), np.ones((2 * NEAR_MASK_PX + 1,) * 2, np.uint8)) > 0
    expected = (drawn.alpha > 0.5) & near
    return expected if np.count_nonzero(expected & view.mask) > 0.7 * np.count_nonzero(view.mask) else view.mask


def _around_mask(view: InstanceView, diagonal_m: float) -> np.ndarray:
    """A place (3,) in the camera frame for a crop that shows the mask and some of what is around it."""
    rows, columns = np.flatnonzero(view.mask.any(axis=1)), np.flatnonzero(view.mask.any(axis=0))
    given = view.frame.intrinsics
    side = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    depth_m = given.fx * CROP_GROWTH * diagonal_m / (BLIND_REACH * side)
    middle = (columns[0] + columns[-1]) / 2, (rows[0] + rows[-1]) / 2
    return depth_m * np.array([(middle[0] - given.cx) / given.fx, (middle[1] - given.cy) / given.fy, 1.0])


def _crop(
    view: InstanceView, middle: np.ndarray, diagonal_m: float, side: int, shares: np.ndarray | None = None
) -> _Crop:
    """The small image around a place (3,) in the camera frame. `shares` (H, W): of the object in each pixel."""
    given = view.frame.intrinsics
    scale = side * middle[2] / (CROP_GROWTH * diagonal_m * given.fx)
    u, v = given.fx * middle[0] / middle[2] + given.cx, given.fy * middle[1] / middle[2] + given.cy
    half = (side - 1) / 2
    camera = np.array(
        [given.fx * scale, given.fy * scale, (given.cx - u) * scale + half, (given.cy - v) * scale + half]
    )
    # Only the part that is seen is converted and blurred.
    reach = int(half / scale) + 4
    height, width = view.mask.shape
    left, top = (int(np.clip(x - reach, 0, most - 1)) for x, most in ((u, width), (v, height)))
    right, bottom = (int(np.clip(x + reach, low + 1, most)) for x, low, most in ((u, left, width), (v, top, height)))
    warp = np.array([[1 / scale, 0, u - left - half / scale], [0, 1 / scale, v - top - half / scale]])
    part = np.s_[top:bottom, left:right]
    if view.frame.colour is None:
        colour = np.full((side, side, 3), 0.5, np.float32)
    else:
        colour = view.frame.colour[part].astype(np.float32) / 255
        if scale < 0.8:
            colour = cv2.GaussianBlur(colour, (0, 0), 0.45 / scale)
        colour = cv2.warpAffine(colour, warp, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    mask = cv2.warpAffine(
        (view.mask if shares is None else shares)[part].astype(np.float32),
        warp,
        (side, side),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderValue=-1.0,
    )
    if shares is not None and view.others is not None:  # without depth, nothing else tells what hides the object
        hidden = view.others[part] & ~view.mask[part]
        hidden = cv2.warpAffine(
            hidden.astype(np.float32), warp, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        )
        mask[hidden > 0.3] = -1
    depth = metres(view.frame.depth[part], view.frame.depth_unit_m).astype(np.float32)
    depth = np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0))
    depth = cv2.warpAffine(depth, warp, (side, side), flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return _Crop(camera, colour, mask, depth)


PIXEL_SHARE = 30.0  # neighbouring pixels err together: so many count as one
LEAST_SPREAD_M, LEAST_SPREAD_RAD = 0.004, math.radians(1)  # a sensor's offset, and the model's own errors


def _covariance(one: Hypothesis, symmetry: Symmetry, rotation: np.ndarray) -> np.ndarray | None:
    """Of a pose, from the normal equations of its refinement: position [m], turns about the camera's axes [rad]."""
    if one.information is None or not one.information.any():
        return None
    x, y, z = one.translation
    # from (x / z, y / z, log z) to position
    shift = np.array([[z, 0, x], [0, z, y], [0, 0, z]])
    information = one.information / PIXEL_SHARE + np.diag([1e-1] * 3 + [1.0] * 3)
    spread = np.linalg.inv(information)
    change = np.zeros((6, 6))
    change[:3, 3:], change[3:, :3] = shift, np.eye(3)
    covariance = change @ spread @ change.T
    covariance += np.diag([LEAST_SPREAD_M**2] * 3 + [LEAST_SPREAD_RAD**2] * 3)
    if symmetry is Symmetry.Y:  # any turn about y
        axis = rotation[:, 1]
        covariance[3:, 3:] += math.pi**2 / 3 * np.outer(axis, axis)
    return (covariance + covariance.T) / 2
