"""What a learned object looks like to an image backbone: tokens of its views, to find it in images without depth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.inference.image_tokens import BackboneIdentity, ImageTokens

KINDS = 128  # of tokens that are kept of an object: those of all its views in so many groups
CROP_PX, OBJECT_PX = 176, 112  # of a crop, and of the longer side of the object in it
INSIDE = 0.6  # share of a cell on the object, from which on its token is the object's
ROUNDS, SEED = 20, 0  # of the grouping
WIDEST, MOST_VIEWS = 4096, 400
TOKEN_ROWS = {"kinds": KINDS, "views": MOST_VIEWS}  # at most, of each array


@dataclass(frozen=True)
class ObjectTokens:
    """Tokens of an object, of length 1.

    Parameters
    ----------
    backbone : BackboneIdentity
        What made them.
    kinds : (K, D) float16
        Tokens within the object's masks, one for each group of like ones.
    views : (V, D) float16
        The mean token of each view.

    Raises
    ------
    ValueError
        If a value is out of its bounds.
    """

    backbone: BackboneIdentity
    kinds: np.ndarray
    views: np.ndarray

    def __post_init__(self) -> None:
        for key, most in TOKEN_ROWS.items():
            array = getattr(self, key)
            fitting = array.ndim == 2 and 1 <= len(array) <= most and 1 <= array.shape[1] <= WIDEST
            expect(f"tokens.{key}", fitting, f"(1 to {most}, 1 to {WIDEST})", array.shape)
            expect(f"tokens.{key}", array.dtype == np.float16, "float16", array.dtype)
            expect(f"tokens.{key}", np.isfinite(array).all(), "finite values", "NaN or infinity")
        same = self.kinds.shape[1] == self.views.shape[1]
        expect("tokens.views", same, f"(V, {self.kinds.shape[1]})", self.views.shape)


@dataclass(frozen=True)
class TokenCrop:
    """A part of an image around an object, as tokens are made of it.

    Parameters
    ----------
    image : (CROP_PX, CROP_PX, 3) uint8
        RGB.
    from_image : (2, 3) float
        Maps pixels of the image to those of the crop.
    """

    image: np.ndarray
    from_image: np.ndarray

    def moved(self, mask: np.ndarray) -> np.ndarray:
        """Move a mask of the image into the crop.

        Parameters
        ----------
        mask : (H, W) bool or float32
            Of the image.

        Returns
        -------
        (CROP_PX, CROP_PX) float32
            How far each pixel is in it, 0..1.
        """
        return cv2.warpAffine(mask.astype(np.float32), self.from_image, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR)

    def back(self, part: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
        """Move a part of the crop into the image.

        Parameters
        ----------
        part : (CROP_PX, CROP_PX) bool
            Of the crop.
        shape : (int, int)
            Height and width of the image.

        Returns
        -------
        (height, width) bool
            The same pixels of the image.
        """
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(part.astype(np.float32), self.from_image, shape[::-1], flags=flags) > 0.5


def token_crop(colour: np.ndarray, box: tuple[float, float, float, float]) -> TokenCrop:
    """Cut out a part so that the longer side of a box is OBJECT_PX.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    box : tuple of float
        Left, top, width and height, of which one is more than 0 [px].

    Returns
    -------
    TokenCrop
        With the image's border going on where it ends.
    """
    left, top, width, height = box
    scale = OBJECT_PX / max(width, height)
    shift = CROP_PX / 2 - scale * np.array([left + width / 2, top + height / 2])
    moved = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    if scale < 1:  # a mean over what becomes one pixel
        step = max(1, round(1 / scale))
        colour = cv2.blur(colour, (step, step)) if step > 1 else colour
    crop = cv2.warpAffine(colour, moved, (CROP_PX, CROP_PX), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return TokenCrop(crop, moved)


def inside(tokens: np.ndarray, covered: np.ndarray) -> np.ndarray:
    """Take the tokens of a crop that are an object's.

    Parameters
    ----------
    tokens : (h, w, D) float32
        Of the crop.
    covered : (CROP_PX, CROP_PX) float32
        How far each pixel is the object's, 0..1.

    Returns
    -------
    (N, D) float32
        Of the cells that lie in it, or of those that do most; at least one.
    """
    share = cv2.resize(covered, tokens.shape[1::-1], interpolation=cv2.INTER_AREA)
    return tokens[share >= min(INSIDE, 0.9 * float(share.max()))]


def mean_token(tokens: np.ndarray) -> np.ndarray:
    """Give the mean of tokens, at length 1.

    Parameters
    ----------
    tokens : (N, D) float32
        At least one.

    Returns
    -------
    (D,) float32
        Their mean.
    """
    mean = tokens.mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-6)


def learn_tokens(views: Sequence[ReferenceView], backbone: ImageTokens) -> ObjectTokens:
    """Make the tokens of an object.

    Parameters
    ----------
    views : sequence of ReferenceView
        Of it.
    backbone : ImageTokens
        What makes them.

    Returns
    -------
    ObjectTokens
        Of all views.
    """
    crops = [token_crop(view.colour, cv2.boundingRect(view.mask.astype(np.uint8))) for view in views]
    of_views = [
        inside(tokens, crop.moved(view.mask))
        for tokens, crop, view in zip(backbone.maps([crop.image for crop in crops]), crops, views)
    ]
    kinds = _groups(np.concatenate(of_views))
    means = np.stack([mean_token(tokens) for tokens in of_views])
    return ObjectTokens(backbone.identity, kinds.astype(np.float16), means.astype(np.float16))


def _groups(tokens: np.ndarray) -> np.ndarray:
    """At most KINDS tokens that stand for all, of length 1."""
    if len(tokens) > KINDS:
        cv2.setRNGSeed(SEED)  # the same views give the same groups
        stop = (cv2.TERM_CRITERIA_MAX_ITER, ROUNDS, 0)
        tokens = cv2.kmeans(tokens, KINDS, None, stop, 1, cv2.KMEANS_PP_CENTERS)[2]
    return tokens / np.maximum(np.linalg.norm(tokens, axis=1, keepdims=True), 1e-6)
