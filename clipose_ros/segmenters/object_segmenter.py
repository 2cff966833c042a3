"""Finds learned objects in frames without masks.

The depth segmenter's instances are proposals, whatever it takes them for. Parts of them and what rises from the surface
in none are proposals, too, where nothing better was found. What looks like no learned object is left out. Where depth
is missing, objects are found by tokens of the colour image.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.types import Detections, Frame, Instance
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import (
    CARD_FILE,
    DEFAULT_BACKBONE,
    ModelCard,
    find_model,
    read_card,
    record_from,
    settings_from,
)
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.inference.session import SessionConfig
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.rendering.cpu import CpuRasterizer
from clipose_ros.segmenters.colour_recognition import ColourFinding, ColourRecogniser, ColourRecognitionSettings
from clipose_ros.segmenters.depth import DepthSegmenter
from clipose_ros.segmenters.depth_channels import depth_grid
from clipose_ros.segmenters.likeness import Sight, shown_mask, sight_of
from clipose_ros.segmenters.proposals import continued_share, halves, largest_piece, risen_parts
from clipose_ros.segmenters.recognition import Recognised, Recogniser, RecognitionSettings
from clipose_ros.segmenters.token_finder import (
    TokenFinder,
    TokenFinderSettings,
    TokenObject,
    check_backbone,
)

PROPOSER = "segmenter-depth"  # the model whose instances are proposals
EVERYTHING = {"least_score": 0.0, "least_something": 0.0}  # of its settings: this decides what is an object
MOST_CONTINUED = 0.7  # of what is around a part, on its plane: more is a patch of a larger surface
EXPLAINED = 0.85  # share of a part on the object's surface: with less, it may be of two objects
PART_SCORE = 0.9  # of what is in a part of a proposal: a piece of anything fits something
MOST_MISSING = 0.25  # share of an object that is seen through, where another may be beside it
BORDER_PX = 2  # around an object, of what it leaves
SAME_PLACE = 0.3  # by the diagonal: two of one name whose centres are so near are one
SAME_PIXELS = 0.5  # share of the smaller mask that two objects have in common at most
BLIND_IMAGE = 0.4  # share of an image without depth, from which on objects are sought there by tokens
BLIND_MASK = 0.7  # share of an object without depth, from which on tokens find it: with more, depth does


@dataclass(frozen=True)
class ObjectSegmenterSettings:
    """What a card's `settings` hold for the segmenter of learned objects.

    Parameters
    ----------
    least_score : float
        Objects below are left out.
    least_pixels : int
        Proposals with fewer pixels are left alone.
    most_proposals : int
        That are looked at in a frame, the surest first.
    recognition : RecognitionSettings
        How objects are told apart.
    backbone : str
        Model of the image backbone, whose tokens find objects where there is no depth.
    by_tokens : TokenFinderSettings
        How they do.
    by_colour : ColourRecognitionSettings
        How what they find is judged by a pose.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    least_score: float = 0.5
    least_pixels: int = 300
    most_proposals: int = 32
    recognition: RecognitionSettings = field(default_factory=RecognitionSettings)
    backbone: str = DEFAULT_BACKBONE
    by_tokens: TokenFinderSettings = field(default_factory=TokenFinderSettings)
    by_colour: ColourRecognitionSettings = field(default_factory=ColourRecognitionSettings)

    def __post_init__(self) -> None:
        expect("least_score", 0 <= self.least_score <= 1, "0 to 1", self.least_score)
        for key, most in (("least_pixels", 10**7), ("most_proposals", 255)):
            expect(key, type(value := getattr(self, key)) is int and 1 <= value <= most, f"1 to {most}", value)
        expect("backbone", isinstance(self.backbone, str) and self.backbone, "the name of a model", self.backbone)
        for key, kind in (
            ("recognition", RecognitionSettings),
            ("by_tokens", TokenFinderSettings),
            ("by_colour", ColourRecognitionSettings),
        ):
            if isinstance(value := getattr(self, key), Mapping):
                object.__setattr__(self, key, record_from(kind, value))
            expect(key, isinstance(getattr(self, key), kind), "a mapping", value)


class ObjectSegmenter:
    """Finds learned objects by depth and, where there is colour, by their looks. See `Segmenter`.

    Parameters
    ----------
    folder : Path
        Of the model; the depth segmenter is looked for beside it first.
    card : ModelCard
        Its card.
    config : SessionConfig
        Where and how the depth segmenter's networks run.
    objects_dir : Path, optional
        The library of learned objects.

    Raises
    ------
    ValueError
        If the settings are malformed, there is no library, or an object in it is broken.
    RuntimeError
        If the provider cannot be had.
    """

    def __init__(
        self,
        folder: Path,
        card: ModelCard,
        config: SessionConfig = SessionConfig(),
        objects_dir: Path | None = None,
    ) -> None:
        wanted = "a folder of learned objects for segmenter objects (--objects, or objects_dir; see clipose learn)"
        expect("objects", objects_dir is not None, wanted, "none")
        self.settings = settings_from(ObjectSegmenterSettings, card)
        self._name, self._rasterizer = card.name, CpuRasterizer()
        self._recogniser = Recogniser(objects_dir, self.settings.recognition)
        self._colour_poses = self._recogniser.poses(self.settings.by_colour.search)
        beside = folder.parent / PROPOSER
        depth = beside if (beside / CARD_FILE).is_file() else find_model(PROPOSER)
        known = read_card(depth)
        self._proposer = DepthSegmenter(depth, replace(known, settings={**known.settings, **EVERYTHING}), config)
        self._folder, self._config, self._library = folder, config, ObjectLibrary(objects_dir)
        self._backbone: ImageTokens | None = None
        self._finder = self._finder_of_objects()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learned objects."""
        return self._recogniser.names

    def reload(self) -> None:
        """Read the library again, as objects come and go.

        Raises
        ------
        ValueError
            If there is no object, or one is broken or has another backbone's tokens: then all stay as they were.
        """
        for learned in self._library.read_all():
            if learned.tokens is not None:
                check_backbone(learned.name, learned.tokens, self._loaded_backbone())
        self._recogniser.reload()
        self._finder = self._finder_of_objects()

    def facts(self) -> dict[str, str]:
        """Say what runs, for diagnostics.

        Returns
        -------
        dict of str to str
            By name.
        """
        without = "" if self._finder is None else ", ".join(self._finder.names)
        return {
            **self._proposer.facts(),
            "segmenter": self._name,
            "segmenter objects": ", ".join(self.names),
            "segmenter objects without depth": without or "none: learned without an image backbone, learn them again",
        }

    def warm_up(self) -> None:
        """Run all once, so that the first frame is as fast as the others."""
        self._proposer.warm_up()
        self._recogniser.warm_up()
        if self._backbone is not None:
            self._backbone.warm_up()

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw.

        Returns
        -------
        Detections
            Instances with the objects' names, numbered from 1 on, the surest first, and their label image.

        Raises
        ------
        ValueError
            For a frame of a lens that distorts.
        """
        straight = frame.intrinsics.distortion is None
        expect("image", straight, "a rectified one, as learned objects are drawn for it", "one of a lens that distorts")
        labels = np.zeros(frame.depth.shape, np.uint8)
        sight = sight_of(frame)
        blind = sight.depth_m <= 0
        found = self._found_by_tokens(sight, blind) if blind.mean() >= BLIND_IMAGE else []
        if not blind.all():
            found = self._merged(self._found_by_depth(frame, sight), found)
        for number, (_, _, mask) in reversed(list(enumerate(found, start=1))):
            labels[mask] = number
        named = [(name, round(score, 4)) for name, score, _ in found]
        instances = tuple(Instance(i, *of_one, str(i)) for i, of_one in enumerate(named, start=1))
        return Detections(instances, labels)

    def _finder_of_objects(self) -> ColourRecogniser | None:
        """What finds objects without depth; None where none has tokens."""
        objects = [
            TokenObject(name, tokens, self._recogniser.histograms(name))
            for name in self.names
            if (tokens := self._recogniser.tokens(name)) is not None
        ]
        if not objects:
            return None
        finder = TokenFinder(self._loaded_backbone(), objects, self.settings.by_tokens)
        return ColourRecogniser(finder, self._recogniser, self._colour_poses, self.settings.by_colour)

    def _loaded_backbone(self) -> ImageTokens:
        """The image backbone, which is read for the first object that has tokens."""
        if self._backbone is None:
            beside = self._folder.parent / self.settings.backbone
            folder = beside if (beside / CARD_FILE).is_file() else find_model(self.settings.backbone)
            self._backbone = ImageTokens(folder, self._config)
        return self._backbone

    def _found_by_tokens(self, sight: Sight, blind: np.ndarray) -> list[tuple[str, float, np.ndarray]]:
        """Name, score and mask of the objects without depth, the surest first."""
        if self._finder is None or sight.colour is None:
            return []
        kept: list[ColourFinding] = []
        for one in self._finder.found(sight.colour, sight.intrinsics, self.settings.least_pixels):
            pixels = np.count_nonzero(one.mask)
            seen = np.count_nonzero(one.mask & blind) >= BLIND_MASK * pixels
            if seen and one.score >= self.settings.least_score and not any(_shared(one.mask, o.mask) for o in kept):
                kept.append(one)
        return [(one.name, one.score, one.mask) for one in kept]

    def _merged(
        self, by_depth: list[tuple[Recognised, np.ndarray]], by_tokens: list[tuple[str, float, np.ndarray]]
    ) -> list[tuple[str, float, np.ndarray]]:
        """Name, score and mask of all, the surest first; where two share pixels, the one found by depth."""
        found = [(one.name, one.score, mask) for one, mask in by_depth]
        found += [new for new in by_tokens if not any(_shared(new[2], mask) for _, mask in by_depth)]
        return sorted(found, key=lambda one: -one[1])[: self.settings.most_proposals]

    def _found_by_depth(self, frame: Frame, sight: Sight) -> list[tuple[Recognised, np.ndarray]]:
        """The objects with depth, the surest first."""
        proposed = self._proposer.segment(frame)
        masks = [proposed.mask(i) for i in range(len(proposed.instances))]
        masks += risen_parts(depth_grid(frame), proposed.masks > 0, self.settings.least_pixels)
        found = []
        for mask in masks[: self.settings.most_proposals]:
            found += self._found(frame, sight, mask, cuts=1)
        return self._different(found)

    def _found(self, frame: Frame, sight: Sight, mask: np.ndarray, cuts: int) -> list[tuple[Recognised, np.ndarray]]:
        """The objects in a part of the image, which may be cut so often."""
        if np.count_nonzero(mask) < self.settings.least_pixels or continued_share(sight, mask) > MOST_CONTINUED:
            return []
        best = self._recogniser.best(frame, sight, mask, retry=cuts > 0)
        least = self.settings.least_score if cuts else max(self.settings.least_score, PART_SCORE)
        if best is not None and best.score >= least:
            found = [(best, mask)]
            rest = self._rest(sight, mask, best) if cuts and best.likeness.explained < EXPLAINED else None
            return found if rest is None else found + self._found(frame, sight, rest, cuts - 1)
        if not cuts or not self._may_be_two(sight, mask, best):
            return []
        return [one for half in halves(sight, mask) for one in self._found(frame, sight, half, cuts - 1)]

    def _may_be_two(self, sight: Sight, mask: np.ndarray, best: Recognised | None) -> bool:
        """Whether a part may show two objects: one is there and leaves some of it, or it is too large for one."""
        if best is None:
            return self._recogniser.is_too_large(sight, mask)
        return best.likeness.explained < EXPLAINED and best.likeness.missing < MOST_MISSING

    def _rest(self, sight: Sight, mask: np.ndarray, one: Recognised) -> np.ndarray:
        """What an object leaves of a part."""
        shown = shown_mask(
            sight, mask, self._recogniser.gaussians(one.name), one.rotation, one.translation, self._rasterizer
        )
        near = cv2.dilate(shown.astype(np.uint8), np.ones((2 * BORDER_PX + 1,) * 2, np.uint8)) > 0
        return largest_piece(mask & ~near)

    def _different(self, found: list[tuple[Recognised, np.ndarray]]) -> list[tuple[Recognised, np.ndarray]]:
        """The surest first, without those that others show, too."""
        kept: list[tuple[Recognised, np.ndarray]] = []
        for one, mask in sorted(found, key=lambda pair: -pair[0].score):
            if not any(self._is_same(one, mask, *other) for other in kept):
                kept.append((one, mask))
        return kept

    def _is_same(self, one: Recognised, mask: np.ndarray, other: Recognised, others: np.ndarray) -> bool:
        """Whether two are one object: at one place with one name, or of the same pixels."""
        apart_m = float(np.linalg.norm(one.translation - other.translation))
        if one.name == other.name and apart_m < SAME_PLACE * self._recogniser.diagonal_m(one.name):
            return True
        return _shared(mask, others)


def _shared(mask: np.ndarray, other: np.ndarray) -> bool:
    """Whether two masks are of the same pixels."""
    smaller = min(np.count_nonzero(mask), np.count_nonzero(other))
    return np.count_nonzero(mask & other) > SAME_PIXELS * smaller
