"""Finds learned objects in images without depth, by tokens of an image backbone.

Where tokens of the image, at several scales, are like those of an object hangs together in components. Each is looked
at again at the object's own scale: its outline is where the colours change, by GrabCut from the tokens' similarity; and
said is how far tokens and colours are those of the object that it is most like.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.objects.object_tokens import (
    CROP_PX,
    ObjectTokens,
    TokenCrop,
    inside,
    mean_token,
    token_crop,
)
from clipose_ros.objects.view_colours import colour_histogram
from clipose_ros.segmenters.proposals import largest_piece

LARGEST_PX = 640  # longer side of the image at scale 1
RIVAL = 0.5  # of the similarity to the most similar other object, which speaks against one
MARGIN = 0.25  # of a component's box, around it: the outermost cells are half an object's
SURE, LIKELY = 0.75, 0.45  # of the way from the similarity around an object to that in it
CUT_ROUNDS = 3
FRAME_PX = 4  # of a crop, at its border: never the object's
NEAR_FRAME_PX, CUT_PX = 4, 8  # an object goes on beyond a crop where so many of its pixels are so near to that border
MOST_LOOKS = 3  # at an object, until its crop shows all of it
NO_LARGER = 0.9  # intersection over union of the boxes of two looks, of which the second shows no more
LEAST_SHARE = 0.02  # of a crop, that an object covers
COARSE_STEP, FINE_STEP = 4, 2  # of the pixels of a crop, that its outline is sought on
SAME_BOX = 0.6  # intersection over union of two boxes that are looked at once only
BLUR_PX = 3
AROUND_PX = 33  # of a crop, twice from an outline to what is around the object
SEED = 0


@dataclass(frozen=True)
class TokenFinderSettings:
    """How objects are found by tokens.

    Parameters
    ----------
    scales : tuple of float
        Of the image that is looked at, by one whose longer side is 640 px.
    least_similar : float
        Tokens less similar than this to all of an object's are not its, -1..1.
    above_others : float
        And they are so much more similar than half of the image's tokens.
    most_components : int
        That are looked at again in an image, the most similar first.
    most_objects : int
        Of these, whose outline is sought with more care.
    least_alike : float
        Findings whose mean token is less similar to that of every view than this, or whose colours are less alike, are
        none, 0..1.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    scales: tuple[float, ...] = (0.5, 1.0)
    least_similar: float = 0.45
    above_others: float = 0.1
    most_components: int = 16
    most_objects: int = 8
    least_alike: float = 0.5

    def __post_init__(self) -> None:
        listed = isinstance(self.scales, (list, tuple)) and 1 <= len(self.scales) <= 4
        expect("scales", listed and all(0.1 <= s <= 4 for s in self.scales), "1 to 4 of 0.1 to 4", self.scales)
        object.__setattr__(self, "scales", tuple(map(float, self.scales)))
        for key in ("least_similar", "above_others"):
            expect(key, -1 <= getattr(self, key) <= 1, "-1 to 1", getattr(self, key))
        expect("least_alike", 0 <= self.least_alike <= 1, "0 to 1", self.least_alike)
        for key in ("most_components", "most_objects"):
            whole = type(value := getattr(self, key)) is int and 1 <= value <= 255
            expect(key, whole, "1 to 255", value)


@dataclass(frozen=True)
class TokenFinding:
    """An object in an image, as tokens show it.

    Parameters
    ----------
    name : str
        Of the object.
    mask : (H, W) bool
        Its pixels.
    features : (5,) float
        How similar its tokens are to the object's, and their mean to that of a view; how alike the colours are; how
        much less similar what is around it is; how much more similar it is to this object than to the next.
    is_cut : bool
        Whether it goes on beyond what was looked at.
    """

    name: str
    mask: np.ndarray
    features: np.ndarray
    is_cut: bool = False


@dataclass(frozen=True)
class TokenObject:
    """A learned object, as it is found by.

    Parameters
    ----------
    name : str
        Of the object.
    tokens : ObjectTokens
        Of its views.
    histograms : (D, B) float32
        Of its colours, see `view_histograms`.
    """

    name: str
    tokens: ObjectTokens
    histograms: np.ndarray


class TokenFinder:
    """Finds learned objects by tokens.

    Parameters
    ----------
    backbone : ImageTokens
        What makes tokens.
    objects : list of TokenObject
        What is looked for; not empty.
    settings : TokenFinderSettings
        How.

    Raises
    ------
    ValueError
        If an object's tokens are another backbone's.
    """

    def __init__(
        self,
        backbone: ImageTokens,
        objects: list[TokenObject],
        settings: TokenFinderSettings = TokenFinderSettings(),
    ) -> None:
        for one in objects:
            check_backbone(one.name, one.tokens, backbone)
        self._backbone, self._objects, self.settings = backbone, objects, settings
        self._kinds = [one.tokens.kinds.astype(np.float32) for one in objects]
        self._views = [one.tokens.views.astype(np.float32) for one in objects]

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the objects."""
        return tuple(one.name for one in self._objects)

    def found(self, colour: np.ndarray, least_pixels: int = 1) -> list[TokenFinding]:
        """Find the objects of an image.

        Parameters
        ----------
        colour : (H, W, 3) uint8
            RGB.
        least_pixels : int
            Of an object.

        Returns
        -------
        list of TokenFinding
            The most alike first. Masks may overlap.
        """
        coarse = [self._looked_at(colour, box, COARSE_STEP) for box in self._boxes(colour)]
        coarse = sorted((one for one in coarse if one is not None), key=_alike, reverse=True)
        boxes: list[tuple[float, float, float, float]] = []
        for one in coarse:
            box = cv2.boundingRect(one.mask.astype(np.uint8))
            if len(boxes) < self.settings.most_objects and all(_overlap(box, other) < SAME_BOX for other in boxes):
                boxes.append(box)
        findings = [
            one
            for one in self._followed(colour, boxes)
            if np.count_nonzero(one.mask) >= least_pixels and one.features[1:3].min() >= self.settings.least_alike
        ]
        return sorted(findings, key=_alike, reverse=True)

    def of_mask(self, colour: np.ndarray, mask: np.ndarray) -> TokenFinding:
        """Say what a part of an image is most like.

        Parameters
        ----------
        colour : (H, W, 3) uint8
            RGB.
        mask : (H, W) bool
            The part; not empty.

        Returns
        -------
        TokenFinding
            With this mask.
        """
        crop = token_crop(colour, cv2.boundingRect(mask.astype(np.uint8)))
        part = crop.moved(mask) > 0.5
        return self._judged(crop, self._backbone.map(crop.image), part, mask)

    def is_hopeless(self, one: TokenFinding) -> bool:
        """Say whether a finding is none, whatever else speaks for it.

        Parameters
        ----------
        one : TokenFinding
            To judge.

        Returns
        -------
        bool
            Whether its mean token or its colours are too little alike.
        """
        return bool(one.features[1:3].min() < self.settings.least_alike)

    def _followed(self, colour: np.ndarray, boxes: list[tuple[float, float, float, float]]) -> Iterator[TokenFinding]:
        """What boxes show, looked at with care, and again around it where it goes on beyond a crop."""
        done: list[tuple[float, float, float, float]] = []
        for box in boxes:
            found = None
            for _ in range(MOST_LOOKS):
                if any(_overlap(box, other) >= SAME_BOX for other in done):
                    found = None
                    break
                looked_at, found = box, self._looked_at(colour, box, FINE_STEP)
                if found is None:
                    break
                box = cv2.boundingRect(found.mask.astype(np.uint8))
                if not found.is_cut or _overlap(box, looked_at) >= NO_LARGER:
                    break
            if found is not None:
                done.append(box)
                yield found

    def _similarities(self, tokens: np.ndarray) -> np.ndarray:
        """How similar each token (h, w, D) is to the most similar one of each object: (objects, h, w)."""
        flat = tokens.reshape(-1, tokens.shape[-1])
        best = np.stack([(flat @ kinds.T).max(axis=1) for kinds in self._kinds])
        return best.reshape(len(self._kinds), *tokens.shape[:2])

    def _boxes(self, colour: np.ndarray) -> list[tuple[float, float, float, float]]:
        """Boxes (left, top, width, height) of the components, the most similar first."""
        height, width = colour.shape[:2]
        found = []
        for scale in self.settings.scales:
            scale *= LARGEST_PX / max(height, width)
            sides = max(1, round(width * scale)), max(1, round(height * scale))
            shrinks = scale < 1
            image = cv2.resize(colour, sides, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
            similar = self._similarities(self._backbone.map(image))
            px = self._backbone.stride / scale
            for strength, box in self._components(similar):
                found.append((strength, tuple(px * side for side in box)))
        found.sort(key=lambda one: -one[0])
        return [box for _, box in found[: self.settings.most_components]]

    def _components(self, similar: np.ndarray) -> list[tuple[float, tuple[float, float, float, float]]]:
        """Strength and box [cells] of what hangs together, in similarities (objects, h, w)."""
        found = []
        for number, one in enumerate(similar):
            others = np.delete(similar, number, axis=0)
            likeliest = one >= others.max(axis=0) if len(others) else np.ones(one.shape, bool)
            least = max(self.settings.least_similar, float(np.median(one)) + self.settings.above_others)
            chosen = (likeliest & (one > least)).astype(np.uint8)
            count, parts, stats, _ = cv2.connectedComponentsWithStats(chosen, connectivity=8)
            for k in range(1, count):
                left, top, width, height, _ = stats[k].tolist()
                spare = MARGIN * max(width, height)
                grown = (left - spare / 2, top - spare / 2, width + spare, height + spare)
                found.append((float(one[parts == k].sum()), grown))
        return found

    def _looked_at(self, colour: np.ndarray, box: tuple[float, float, float, float], step: int) -> TokenFinding | None:
        """The object in a box, looked at again at its own scale; None where there is none."""
        crop = token_crop(colour, box)
        tokens = self._backbone.map(crop.image)
        part = self._part(crop.image, self._similarities(tokens), step)
        if np.count_nonzero(part) < LEAST_SHARE * CROP_PX**2:
            return None
        mask = crop.back(part, colour.shape[:2])
        if not mask.any():
            return None
        return replace(self._judged(crop, tokens, part, mask), is_cut=_is_cut(crop, part, colour.shape[:2]))

    def _part(self, image: np.ndarray, similar: np.ndarray, step: int) -> np.ndarray:
        """Pixels of a crop that show the object in its middle, by similarities (objects, h, w) of its tokens."""
        number = self._middle_object(similar)
        one = similar[number]
        rivals = np.delete(similar, number, axis=0)
        level = one - RIVAL * np.maximum(rivals.max(axis=0) - one, 0) if len(rivals) else one
        low, high = np.quantile(_border(level), 0.5), np.quantile(level, 0.95)
        sides = (CROP_PX // step, CROP_PX // step)
        share = cv2.resize((level - low) / max(high - low, 1e-3), sides, interpolation=cv2.INTER_LINEAR)
        labels = np.full(share.shape, cv2.GC_PR_BGD, np.uint8)
        labels[share > LIKELY] = cv2.GC_PR_FGD
        sure = largest_piece(share > SURE)
        labels[sure] = cv2.GC_FGD
        edge = FRAME_PX // step
        for side in (np.s_[:edge], np.s_[-edge:], np.s_[:, :edge], np.s_[:, -edge:]):
            labels[side] = cv2.GC_BGD
        nothing = np.zeros((CROP_PX, CROP_PX), bool)
        if not (labels == cv2.GC_FGD).any():
            return nothing
        cv2.setRNGSeed(SEED)  # GrabCut's groups of colours begin by chance
        try:
            cv2.grabCut(
                cv2.resize(image, sides, interpolation=cv2.INTER_AREA),
                labels,
                None,
                np.zeros((1, 65)),
                np.zeros((1, 65)),
                CUT_ROUNDS,
                cv2.GC_INIT_WITH_MASK,
            )
        except cv2.error:  # an image of one colour has no groups
            return nothing
        part = (labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)
        part = cv2.morphologyEx(part.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)) > 0
        smooth = cv2.resize(largest_piece(part).astype(np.float32), (CROP_PX, CROP_PX), interpolation=cv2.INTER_LINEAR)
        return smooth > 0.5

    def _middle_object(self, similar: np.ndarray) -> int:
        """Which object the middle of a crop is most similar to."""
        rows, columns = similar.shape[1:]
        middle = similar[:, rows // 4 : -(-3 * rows // 4), columns // 4 : -(-3 * columns // 4)]
        return int(middle.mean(axis=(1, 2)).argmax())

    def _judged(self, crop: TokenCrop, tokens: np.ndarray, part: np.ndarray, mask: np.ndarray) -> TokenFinding:
        """What a part of a crop is most like."""
        covered = part.astype(np.float32)
        around = cv2.dilate(part.astype(np.uint8), np.ones((AROUND_PX, AROUND_PX), np.uint8)) == 0
        own, outside = inside(tokens, covered), inside(tokens, around.astype(np.float32))
        mean = mean_token(own)
        inner = cv2.erode(part.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        seen = cv2.GaussianBlur(crop.image, (BLUR_PX, BLUR_PX), 0)[inner if inner.any() else part]
        histogram = colour_histogram(seen / 255.0)
        alike = []
        for one, kinds, views in zip(self._objects, self._kinds, self._views):
            similar = float((own @ kinds.T).max(axis=1).mean())
            less = similar - float((outside @ kinds.T).max(axis=1).mean())
            alike.append([similar, float((views @ mean).max()), float((one.histograms @ histogram).max()), less])
        table = np.array(alike)
        total = table[:, :3].sum(axis=1)
        best = int(total.argmax())
        margin = float(total[best] - np.delete(total, best).max()) if len(total) > 1 else 1.0
        features = np.array([*table[best], min(margin, 1.0)])
        return TokenFinding(self._objects[best].name, mask, features)


def check_backbone(name: str, tokens: ObjectTokens, backbone: ImageTokens) -> None:
    """Refuse tokens of another backbone.

    Parameters
    ----------
    name : str
        Of the object.
    tokens : ObjectTokens
        Its tokens.
    backbone : ImageTokens
        What makes those of images.

    Raises
    ------
    ValueError
        If another made the object's.
    """
    made = tokens.backbone.sha256 == backbone.identity.sha256
    wanted = f"tokens of the image backbone {backbone.identity}"
    expect(name, made, wanted, f"those of {tokens.backbone}; learn the object again (clipose learn --replace)")


def _alike(one: TokenFinding) -> float:
    """How like an object a finding is."""
    return float(one.features[:3].sum())


def _overlap(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> float:
    """Intersection over union of two boxes (left, top, width, height)."""
    across = min(one[0] + one[2], other[0] + other[2]) - max(one[0], other[0])
    down = min(one[1] + one[3], other[1] + other[3]) - max(one[1], other[1])
    common = max(across, 0) * max(down, 0)
    return common / max(one[2] * one[3] + other[2] * other[3] - common, 1e-9)


def _is_cut(crop: TokenCrop, part: np.ndarray, shape: tuple[int, int]) -> bool:
    """Whether a part of a crop reaches a border beyond which there is more of the image."""
    (scale, _, shift_x), (_, _, shift_y) = crop.from_image
    height, width = shape
    within = (shift_y < 0, shift_y + scale * height > CROP_PX, shift_x < 0, shift_x + scale * width > CROP_PX)
    near = FRAME_PX + NEAR_FRAME_PX
    sides = part[:near].any(axis=0), part[-near:].any(axis=0), part[:, :near].any(axis=1), part[:, -near:].any(axis=1)
    return any(inside and np.count_nonzero(side) >= CUT_PX for inside, side in zip(within, sides))


def _border(image: np.ndarray) -> np.ndarray:
    """Values at the border of an image."""
    return np.concatenate([image[0], image[-1], image[:, 0], image[:, -1]])
