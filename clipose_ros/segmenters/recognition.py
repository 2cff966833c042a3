"""Says which learned object a part of an image shows, if any.

The objects that fit by size and colours are sought in it by a quick GS-Pose. Each is drawn as it was found, and a score
says how far the image shows that object there.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.types import Frame, InstanceView, Observation, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.gspose import GsPose
from clipose_ros.inference.card import ModelCard
from clipose_ros.objects.learned_object import LearnedObject, is_same
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.object_tokens import ObjectTokens
from clipose_ros.objects.surface_tables import object_gaussians
from clipose_ros.objects.view_colours import colour_histogram, view_histograms
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.rendering.gaussians import Gaussians
from clipose_ros.segmenters.likeness import Likeness, Sight, likeness

# Of GsPoseSettings: coarser than for a pose that is given out.
SEARCH = {
    "rotations": 600,
    "kept": 60,
    "coarse_points": 60,
    "hypotheses": 4,
    "surface_points": 200,
    "refined": 1,
    "image_steps": 2,
    "crop_px": 48,
}
BLUR_PX = 3  # of colours that are counted
BORDER_PX = 5  # of a mask, whose colours are not counted where enough is left
LEAST_INNER, MOST_PIXELS = 50, 4000  # whose colours are counted; of more, every n-th
FARTHEST, SPREAD = 0.75, 0.9  # so far, by the object's diagonal, is such a share of its points from their median
SPARE_M = 0.01


@dataclass(frozen=True)
class RecognitionSettings:
    """How objects are told apart.

    Parameters
    ----------
    candidates : int
        Objects whose pose is sought, at most.
    least_alike : float
        Objects whose colours are less alike than this are none, 0..1.
    less_alike : float
        How much less alike than the best one the colours of a candidate may be, 0..1.
    least_shown : float
        Objects of which less than this share is not hidden are none.
    sure : float
        An object with this score is it: no other is tried.
    doubtful : tuple of float
        The best object is sought once more, with all of GS-Pose's care, if its score is between these.
    weights : tuple of float
        The score is 1 / (1 + exp(-sum)) of the first, and of the others times the wrongness of the pose, the numbers of
        its `Likeness`, and how alike the colours are. From `python -m training.recognition_scores`.
    shape_weights : tuple of float
        The same for frames without colour: without the last four.
    search : mapping of str to object
        Of `GsPoseSettings`, for the pose.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    candidates: int = 4
    least_alike: float = 0.4
    less_alike: float = 0.25
    least_shown: float = 0.4
    sure: float = 0.9
    doubtful: tuple[float, float] = (0.1, 0.5)
    weights: tuple[float, ...] = (0.0,) * 9
    shape_weights: tuple[float, ...] = (0.0,) * 5
    search: Mapping[str, Any] = field(default_factory=lambda: dict(SEARCH))

    def __post_init__(self) -> None:
        for key in ("least_alike", "less_alike", "least_shown", "sure"):
            expect(key, 0 <= getattr(self, key) <= 1, "0 to 1", getattr(self, key))
        paired = isinstance(self.doubtful, (list, tuple)) and len(self.doubtful) == 2
        expect(
            "doubtful", paired and min(self.doubtful) >= 0 and max(self.doubtful) <= 1, "two of 0 to 1", self.doubtful
        )
        whole = type(self.candidates) is int and 1 <= self.candidates <= 1000
        expect("candidates", whole, "1 to 1000", self.candidates)
        for key, count in (("weights", 9), ("shape_weights", 5)):
            value = getattr(self, key)
            listed = isinstance(value, (list, tuple)) and len(value) == count and np.isfinite(value).all()
            expect(key, listed, f"{count} numbers", value)
            object.__setattr__(self, key, tuple(map(float, value)))
        expect("search", isinstance(self.search, Mapping), "a mapping", self.search)


@dataclass(frozen=True)
class Recognised:
    """An object in a part of an image.

    Parameters
    ----------
    name : str
        Of the object.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Camera frame [m].
    features : (8,) or (4,) float
        What the score is made of, with colour or without, see `RecognitionSettings.weights`.
    likeness : Likeness
        Of its render.
    score : float
        0..1.
    """

    name: str
    rotation: np.ndarray
    translation: np.ndarray
    features: np.ndarray
    likeness: Likeness
    score: float


@dataclass(frozen=True)
class _Known:
    """A learned object, with what it is recognised by."""

    learned: LearnedObject
    gaussians: Gaussians
    histograms: np.ndarray


class Recogniser:
    """Tells learned objects apart.

    Parameters
    ----------
    objects_dir : Path
        The library of learned objects.
    settings : RecognitionSettings
        How.

    Raises
    ------
    ValueError
        If there is no library, an object in it is broken, or the settings are malformed.
    """

    def __init__(self, objects_dir: Path, settings: RecognitionSettings = RecognitionSettings()) -> None:
        self.settings = settings
        self._library = ObjectLibrary(objects_dir)
        self._objects_dir, self._searches = objects_dir, []
        self._quick, self._thorough = (self.poses(search) for search in (settings.search, {}))
        self._rasterizer = CpuRasterizer()
        self._known: dict[str, _Known] = {}
        self._know(self._library.read_all())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learned objects."""
        return tuple(self._known)

    def reload(self) -> None:
        """Read the library again, as objects come and go.

        Raises
        ------
        ValueError
            If there is no object, or one is broken: then all stay as they were.
        """
        objects = self._library.read_all()
        for poses in self._searches:
            poses.reload()
        self._know(objects)

    def poses(self, search: Mapping[str, Any]) -> GsPose:
        """Make what seeks poses of the objects, and knows their changes.

        Parameters
        ----------
        search : mapping of str to object
            Of `GsPoseSettings`.

        Returns
        -------
        GsPose
            It.

        Raises
        ------
        ValueError
            If the settings are malformed.
        """
        card = ModelCard("search", "gspose", (), {}, settings=search)
        self._searches.append(GsPose(self._objects_dir, card, objects_dir=self._objects_dir))
        return self._searches[-1]

    def warm_up(self) -> None:
        """Compile what is not in numba's cache."""
        self._quick.warm_up()

    def best(self, frame: Frame, sight: Sight, mask: np.ndarray, retry: bool = True) -> Recognised | None:
        """Find the object that a part of an image looks most like.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        sight : Sight
            The same, see `sight_of`.
        mask : (H, W) bool
            The part.
        retry : bool
            Whether to seek the best object once more where that is in doubt.

        Returns
        -------
        Recognised or None
            None where it can be none of the objects.
        """
        found, similar = [], dict(self.candidates(sight, mask))
        for name in similar:
            one = self.recognised(frame, sight, mask, name, similar[name])
            if one is not None and one.likeness.shown >= self.settings.least_shown:
                found.append(one)
                if one.score >= self.settings.sure:
                    break
        best = max(found, key=lambda one: one.score, default=None)
        low, high = self.settings.doubtful
        if not retry or best is None or not low <= best.score < high:
            return best
        again = self.recognised(frame, sight, mask, best.name, similar[best.name], thorough=True)
        better = again is not None and again.score > best.score and again.likeness.shown >= self.settings.least_shown
        return again if better else best

    def candidates(self, sight: Sight, mask: np.ndarray) -> list[tuple[str, float]]:
        """Say which objects a part of an image may show, by size and colours.

        Parameters
        ----------
        sight : Sight
            The frame.
        mask : (H, W) bool
            The part.

        Returns
        -------
        list of (str, float)
            Names, and how alike the colours are, 0..1: the most alike first. Without colour those whose size fits best
            come first, with 0.
        """
        extent_m = _extent_m(sight, mask)
        if extent_m is None:
            return []
        fitting = {
            name: known
            for name, known in self._known.items()
            if extent_m <= FARTHEST * known.learned.diagonal_m + SPARE_M
        }
        if sight.colour is None:
            order = sorted(fitting, key=lambda name: (fitting[name].learned.diagonal_m, name))
            return [(name, 0.0) for name in order[: self.settings.candidates]]
        seen = colour_histogram(_colours_of(sight.colour, mask))
        similar = {name: float((known.histograms @ seen).max()) for name, known in fitting.items()}
        order = sorted(similar, key=lambda name: (-similar[name], name))[: self.settings.candidates]
        settings = self.settings
        least = max(settings.least_alike, similar[order[0]] - settings.less_alike if order else 0.0)
        return [(name, similar[name]) for name in order if similar[name] >= least]

    def is_too_large(self, sight: Sight, mask: np.ndarray) -> bool:
        """Say whether a part of an image is too large for any one object, but not for two.

        Parameters
        ----------
        sight : Sight
            The frame.
        mask : (H, W) bool
            The part.

        Returns
        -------
        bool
            False also where no depth is known.
        """
        extent_m = _extent_m(sight, mask)
        largest = max(FARTHEST * known.learned.diagonal_m for known in self._known.values()) + SPARE_M
        return extent_m is not None and largest < extent_m < 2 * largest

    def recognised(
        self,
        frame: Frame,
        sight: Sight,
        mask: np.ndarray,
        name: str,
        similar: float = 0.0,
        thorough: bool = False,
    ) -> Recognised | None:
        """Seek an object in a part of an image.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        sight : Sight
            The same.
        mask : (H, W) bool
            The part.
        name : str
            Of the object.
        similar : float
            How alike the colours are.
        thorough : bool
            Whether to seek it as for a pose that is given out.

        Returns
        -------
        Recognised or None
            None where it has no pose.
        """
        view = InstanceView(frame, mask)
        poses = self._thorough if thorough else self._quick
        pose = poses.best(Observation(np.zeros((1, 3), np.float32), name, view=view))
        if isinstance(pose, Rejection):
            return None
        known = self._known[name]
        radius_m = known.learned.diagonal_m / 2
        alike = likeness(sight, mask, known.gaussians, radius_m, pose.rotation, pose.translation, self._rasterizer)
        features = np.array([pose.wrongness, *alike.features(), similar])
        weights = self.settings.weights
        if sight.colour is None:
            features, weights = features[:4], self.settings.shape_weights
        score = 1 / (1 + math.exp(-float(np.clip(weights[0] + features @ weights[1:], -50, 50))))
        return Recognised(name, pose.rotation, pose.translation, features, alike, score)

    def gaussians(self, name: str) -> Gaussians:
        """Give an object for drawing.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Gaussians
            With four features: the colour, and 1 where it is known.
        """
        return self._known[name].gaussians

    def histograms(self, name: str) -> np.ndarray:
        """Give the colours of an object from each side.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        (D, B) float32
            See `view_histograms`.
        """
        return self._known[name].histograms

    def tokens(self, name: str) -> ObjectTokens | None:
        """Give what an object looks like to an image backbone.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        ObjectTokens or None
            None where it was learned without one.
        """
        return self._known[name].learned.tokens

    def diagonal_m(self, name: str) -> float:
        """Give an object's size.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        float
            Diagonal of its tight box [m].
        """
        return self._known[name].learned.diagonal_m

    def _know(self, objects: list[LearnedObject]) -> None:
        known = {}
        for learned in objects:
            one = self._known.get(learned.name)
            if one is None or not is_same(one.learned, learned):
                one = _Known(learned, object_gaussians(learned), view_histograms(learned))
            known[learned.name] = one
        self._known = known


def _extent_m(sight: Sight, mask: np.ndarray) -> float | None:
    """How far the points of a part are from their median, but for a few [m]; None where there are none."""
    rows, columns = np.nonzero(mask & (sight.depth_m > 0))
    if not len(rows):
        return None
    step = max(1, len(rows) // MOST_PIXELS)
    rows, columns = rows[::step], columns[::step]
    z, given = sight.depth_m[rows, columns].astype(np.float64), sight.intrinsics
    points = np.stack([(columns - given.cx) / given.fx * z, (rows - given.cy) / given.fy * z, z], axis=1)
    return float(np.quantile(np.linalg.norm(points - np.median(points, axis=0), axis=1), SPREAD))


def _colours_of(colour: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Colours (N, 3) of a part, 0..1, without its border where enough is left."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    part = np.s_[top : top + height, left : left + width]
    inner = cv2.erode(mask[part].astype(np.uint8), np.ones((BORDER_PX, BORDER_PX), np.uint8), borderValue=0) > 0
    if np.count_nonzero(inner) < LEAST_INNER:
        inner = mask[part]
    colours = cv2.GaussianBlur(colour[part], (BLUR_PX, BLUR_PX), 0)[inner]
    return colours[:: max(1, len(colours) // MOST_PIXELS)] / 255.0
