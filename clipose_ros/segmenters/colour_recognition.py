"""Says how far a part of an image without depth shows a learned object, by a quick pose from colour alone.

What is like an object to an image backbone may be a part of it, several of it, or another thing. The object is sought
in it by a quick GS-Pose on a small copy of the image around it, and drawn as it was found: its outline must be where
the colours change, and its colours those of the image.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.types import Frame, InstanceView, Intrinsics, Observation, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.gspose import GsPose
from clipose_ros.estimators.outlines import outline_by_colour
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.segmenters.likeness import COVERED, KNOWN_SHARE, LEAST_PIXELS, NOT_KNOWN, colour_differences
from clipose_ros.segmenters.proposals import halves_by_place
from clipose_ros.segmenters.recognition import Recogniser
from clipose_ros.segmenters.token_finder import TokenFinder, TokenFinding

# Of GsPoseSettings: coarser than for a pose that is given out.
SEARCH = {"kept": 60, "hypotheses": 4, "refined": 1, "half_turned": 1, "image_steps": 2, "crop_px": 48}
AROUND = 0.5  # of a part's larger side, around it
EXTENT_PX = 56.0  # root of the part's pixels in the small image, at most
INNER_PX = 3  # of colours, from the outline
MOST_WRONG = 1.0  # of a pose's wrongness: more says no more
PERFECT = np.array([0.0, 1.0, 1.0, 0.0, 0.0, 0.0])  # features of a sighting, at best
COMMON = 6  # of the features: how far part and render are the same pixels
HOPELESS = 0.1  # the score that even a perfect sighting would leave
ONE_OBJECT = 0.8  # so far, and a part is of one object; with less, it may be of two that touch
PART_SCORE = 0.9  # of what is in a half of a part: a piece of anything fits something
BORNE_OUT, TEXTURE = 0.95, 0.3  # a render's outline and colours that are so good are better than the part's outline


@dataclass(frozen=True)
class ColourRecognitionSettings:
    """How what tokens find is judged by a pose.

    Parameters
    ----------
    weights : tuple of float
        The score is 1 / (1 + exp(-sum)) of the first, and of the others times the features of a `TokenFinding` and
        those of a `ColourSighting`. From `python -m training.token_scores`.
    search : mapping of str to object
        Of `GsPoseSettings`, for the pose.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    weights: tuple[float, ...] = (0.0,) * 12
    search: Mapping[str, Any] = field(default_factory=lambda: dict(SEARCH))

    def __post_init__(self) -> None:
        value = self.weights
        listed = isinstance(value, (list, tuple)) and len(value) == 12 and np.isfinite(value).all()
        expect("weights", listed, "12 numbers", value)
        object.__setattr__(self, "weights", tuple(map(float, value)))
        expect("search", isinstance(self.search, Mapping), "a mapping", self.search)


@dataclass(frozen=True)
class ColourSighting:
    """An object, drawn where it was found in an image without depth.

    Parameters
    ----------
    mask : (H, W) bool
        Pixels of its render.
    features : (6,) float
        What the pose finds wrong; how far part and render are the same pixels; how far the colours change along its
        outline; difference, tint and texture of its colours, see `Likeness`.
    """

    mask: np.ndarray
    features: np.ndarray

    @property
    def is_borne_out(self) -> bool:
        """Whether the image bears out its outline and its colours."""
        return bool(self.features[2] >= BORNE_OUT and self.features[5] <= TEXTURE)


@dataclass(frozen=True)
class ColourFinding:
    """An object in an image without depth.

    Parameters
    ----------
    name : str
        Of the object.
    mask : (H, W) bool
        Its pixels.
    features : (11,) float
        Those of a `TokenFinding`, then those of a `ColourSighting`.
    score : float
        0..1.
    """

    name: str
    mask: np.ndarray
    features: np.ndarray
    score: float


class ColourRecogniser:
    """Finds learned objects in images without depth, by tokens and poses.

    Parameters
    ----------
    finder : TokenFinder
        Says where objects may be.
    recogniser : Recogniser
        Knows the objects.
    poses : GsPose
        Seeks them, see `Recogniser.poses`.
    settings : ColourRecognitionSettings
        How.
    """

    def __init__(
        self,
        finder: TokenFinder,
        recogniser: Recogniser,
        poses: GsPose,
        settings: ColourRecognitionSettings = ColourRecognitionSettings(),
    ) -> None:
        self.settings = settings
        self._finder, self._recogniser, self._poses = finder, recogniser, poses
        self._rasterizer = CpuRasterizer()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objects."""
        return self._finder.names

    def found(self, colour: np.ndarray, intrinsics: Intrinsics, least_pixels: int = 1) -> list[ColourFinding]:
        """Find the objects of an image.

        Parameters
        ----------
        colour : (H, W, 3) uint8
            RGB.
        intrinsics : Intrinsics
            Of the image.
        least_pixels : int
            Of an object.

        Returns
        -------
        list of ColourFinding
            The surest first, of all scores but those that no pose could make likely. Masks are those of the renders
            where the image bears them out, and may overlap. Halves of what may be two objects that touch are among them
            where they are sure.
        """
        found = []
        for one in self._finder.found(colour, least_pixels):
            whole = self._seen(colour, intrinsics, one)
            found += [] if whole is None else [whole]
            if whole is None or whole.features[COMMON] > ONE_OBJECT:
                continue
            for half in halves_by_place(colour, one.mask):
                part = self._finder.of_mask(colour, half) if np.count_nonzero(half) >= least_pixels else None
                if part is not None and not self._finder.is_hopeless(part):
                    seen = self._seen(colour, intrinsics, part)
                    found += [] if seen is None or seen.score < PART_SCORE else [seen]
        return sorted(found, key=lambda one: -one.score)

    def _seen(self, colour: np.ndarray, intrinsics: Intrinsics, one: TokenFinding) -> ColourFinding | None:
        """A finding with what a pose says of it; None where no pose could make it likely."""
        if self._score(np.concatenate([one.features, PERFECT])) < HOPELESS:
            return None
        seen = self.sighting(colour, one.mask, intrinsics, one.name)
        if seen is None:
            return None
        features = np.concatenate([one.features, seen.features])
        mask = seen.mask if seen.is_borne_out and seen.mask.any() else one.mask
        return ColourFinding(one.name, mask, features, self._score(features))

    def _score(self, features: np.ndarray) -> float:
        logit = self.settings.weights[0] + float(features @ self.settings.weights[1:])
        return 1 / (1 + math.exp(-float(np.clip(logit, -50, 50))))

    def sighting(
        self, colour: np.ndarray, mask: np.ndarray, intrinsics: Intrinsics, name: str
    ) -> ColourSighting | None:
        """Seek an object in a part of an image.

        Parameters
        ----------
        colour : (H, W, 3) uint8
            RGB.
        mask : (H, W) bool
            The part.
        intrinsics : Intrinsics
            Of the image.
        name : str
            Of the object.

        Returns
        -------
        ColourSighting or None
            None where it has no pose.
        """
        small, part = _small_view(colour, mask, intrinsics)
        pose = self._poses.best(Observation(np.zeros((1, 3), np.float32), name, view=InstanceView(small, part)))
        if isinstance(pose, Rejection):
            return None
        drawn, whole = (
            self._rasterizer.render(
                self._recogniser.gaussians(name), pose.rotation, pose.translation, camera, shape[::-1]
            )
            for camera, shape in ((small.intrinsics, part.shape), (intrinsics, mask.shape))
        )
        covered = drawn.alpha > COVERED
        if not covered.any():
            return None
        moved = outline_by_colour(small.colour, covered)[0] > 0.5
        inner = cv2.erode(covered.astype(np.uint8), np.ones((INNER_PX, INNER_PX), np.uint8)) > 0
        known = inner & (drawn.image[..., 3] > KNOWN_SHARE * drawn.alpha)
        colours = NOT_KNOWN
        if np.count_nonzero(known) >= LEAST_PIXELS:
            painted = drawn.image[known][:, :3] / drawn.alpha[known][:, None]
            colours = colour_differences(small.colour[known] / 255.0, painted.astype(np.float64))
        wrong = min(pose.wrongness, MOST_WRONG)
        features = np.array([wrong, _common(covered, part), _common(covered, moved), *colours])
        return ColourSighting(whole.alpha > COVERED, features)


def _small_view(colour: np.ndarray, mask: np.ndarray, given: Intrinsics) -> tuple[Frame, np.ndarray]:
    """The image around a part without depth, made smaller where the part is large, and the part in it."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    spare = math.ceil(AROUND * max(width, height))
    part = np.s_[max(top - spare, 0) : top + height + spare, max(left - spare, 0) : left + width + spare]
    image, inside = colour[part], mask[part]
    scale = min(1.0, EXTENT_PX / math.sqrt(np.count_nonzero(mask)))
    rows, columns = (max(8, round(scale * side)) for side in inside.shape)
    down, across = rows / inside.shape[0], columns / inside.shape[1]
    if scale < 1:
        image = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        inside = cv2.resize(inside.astype(np.float32), (columns, rows), interpolation=cv2.INTER_AREA) > 0.5
    else:
        down = across = 1.0
    # pixels have their middle at whole numbers
    cx, cy = (given.cx - part[1].start + 0.5) * across - 0.5, (given.cy - part[0].start + 0.5) * down - 0.5
    camera = Intrinsics(given.fx * across, given.fy * down, cx, cy)
    return Frame(0, "", np.zeros(inside.shape, np.float32), camera, np.ascontiguousarray(image)), inside


def _common(one: np.ndarray, other: np.ndarray) -> float:
    """Intersection over union."""
    return np.count_nonzero(one & other) / max(np.count_nonzero(one | other), 1)
