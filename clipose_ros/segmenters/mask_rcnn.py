"""Finds objects by their looks with a Mask R-CNN: a network that `python -m training.mask_rcnn` exported.

The network takes an image of one size and gives boxes, classes, scores and small masks. Everything around it is here:
the image is fitted into that size, classes get our names, and the masks are pasted into the image as torchvision does.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from clipose_ros.core.admission import MAX_INSTANCES
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect, expect_shares
from clipose_ros.inference.card import ModelCard, settings_from
from clipose_ros.inference.session import Session, SessionConfig

NETWORK = "detections"  # key of the network in the card
IMAGE = "image"  # its input, RGB from 0 to 1
BOXES, LABELS, SCORES, MASKS = "boxes", "labels", "scores", "masks"  # its outputs
MARGIN = 1  # cells of nothing around a small mask, so that its edge fades out as torchvision's does


@dataclass(frozen=True)
class MaskRcnnSettings:
    """What a card's `settings` hold for Mask R-CNN.

    Parameters
    ----------
    classes : tuple of str
        The network's classes from label 1 on; 0 is its background.
    categories : mapping of str to str
        Our name of each class that is an object for us. Instances of other classes are left out.
    least_score : float
        Instances below are left out.
    least_mask : float
        A pixel belongs to an instance from this probability on.
    most_objects : int
        Of a frame; the surest are kept.
    fill : tuple of float
        Colour beside an image of another shape than the network's, RGB from 0 to 1: what the network takes for nothing.

    Raises
    ------
    ValueError
        For settings that are none.
    """

    classes: tuple[str, ...]
    categories: Mapping[str, str] = field(default_factory=dict)
    least_score: float = 0.5
    least_mask: float = 0.5
    most_objects: int = MAX_INSTANCES
    fill: tuple[float, float, float] = (0.485, 0.456, 0.406)

    def __post_init__(self) -> None:
        listed = isinstance(self.classes, (list, tuple)) and all(isinstance(name, str) for name in self.classes)
        expect("classes", listed and self.classes, "a list of names", self.classes)
        object.__setattr__(self, "classes", tuple(self.classes))
        named = isinstance(self.categories, Mapping) and all(
            isinstance(word, str) and word for pair in self.categories.items() for word in pair
        )
        expect("categories", named and self.categories, "a mapping of class to name, with an entry", self.categories)
        unknown = sorted(set(self.categories) - set(self.classes))
        known = ", ".join(dict.fromkeys(self.classes))
        expect("categories", not unknown, f"classes of the network ({known})", ", ".join(unknown))
        expect_shares(self, "least_score", "least_mask")
        expect("most_objects", 1 <= self.most_objects < 256, "1 to 255", self.most_objects)
        inside = isinstance(self.fill, (list, tuple)) and len(self.fill) == 3 and all(0 <= c <= 1 for c in self.fill)
        expect("fill", inside, "three numbers from 0 to 1", self.fill)
        object.__setattr__(self, "fill", tuple(self.fill))

    def as_mapping(self) -> dict[str, Any]:
        """Give the settings as a card holds them.

        Returns
        -------
        dict of str to object
            Plain numbers, lists and mappings.
        """
        lists = {"classes": list(self.classes), "fill": list(self.fill)}
        return {**vars(self), **lists, "categories": dict(self.categories)}


class FittedImage(NamedTuple):
    """An image in the network's size.

    Attributes
    ----------
    pixels : (3, h, w) float32
        RGB from 0 to 1, the image at the top left.
    scale : (2,) float64
        Pixels of the image for one of the network's, across and down.
    """

    pixels: np.ndarray
    scale: np.ndarray


class MaskRcnnSegmenter:
    """Finds objects in the colour image of a frame, of any size.

    Parameters
    ----------
    folder : Path
        Of the model.
    card : ModelCard
        Its card.
    config : SessionConfig
        Where and how the network runs.

    Raises
    ------
    ValueError
        If card and network do not fit.
    RuntimeError
        If the provider cannot be had.
    """

    def __init__(self, folder: Path, card: ModelCard, config: SessionConfig = SessionConfig()) -> None:
        self.settings = settings_from(MaskRcnnSettings, card)
        self.names = tuple(dict.fromkeys(self.settings.categories.values()))
        self._name = card.name
        network = card.network(NETWORK)
        shape = network.inputs.get(IMAGE, ())
        fixed = len(shape) == 4 and shape[:2] == (1, 3) and all(type(n) is int and n > 0 for n in shape[2:])
        expect(f"inputs.{IMAGE}", fixed, "[1, 3, height, width] as numbers", list(shape))
        there = {BOXES, LABELS, SCORES, MASKS} == set(network.outputs)
        expect("outputs", there, f"{BOXES}, {LABELS}, {SCORES}, {MASKS}", ", ".join(network.outputs))
        self._size = shape[2:]
        self._session = Session(folder, network, config, together=True)

    def facts(self) -> dict[str, str]:
        """Say what runs, for diagnostics.

        Returns
        -------
        dict of str to str
            By name.
        """
        return {"segmenter": self._name, "segmenter provider": self._session.provider}

    def warm_up(self) -> None:
        """Run the network once, so that the first frame is as fast as the others."""
        colour = np.zeros((*self._size, 3), np.uint8)
        intrinsics = Intrinsics(600.0, 600.0, self._size[1] / 2, self._size[0] / 2)
        self.segment(Frame(0, "", np.zeros(self._size, np.uint16), intrinsics, colour))

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw; only its colour is looked at.

        Returns
        -------
        Detections
            Instances numbered from 1 on, the surest first, each with a mask of its own: masks may overlap.

        Raises
        ------
        ValueError
            For a frame without colour.
        """
        expect("colour", frame.colour is not None, "an image, since Mask R-CNN finds objects by their looks", "none")
        height, width = frame.depth.shape
        if not frame.depth.size:
            return Detections((), np.zeros((0, height, width), bool))
        fitted = fitted_image(frame.colour, self._size, self.settings.fill)
        found = self._session.run({IMAGE: fitted.pixels[None]})
        kept, names = self._kept(found)
        with np.errstate(over="ignore"):
            boxes = found[BOXES][kept].astype(np.float64) * np.tile(fitted.scale, 2)
        sound = np.isfinite(boxes).all(axis=1)
        instances, masks = [], []
        for place, (index, name, box) in enumerate(
            ((k, n, b) for k, n, b, whole in zip(kept, names, boxes, sound) if whole), start=1
        ):
            score = round(float(found[SCORES][index]), 4)
            instances.append(Instance(place, name, score, str(place)))
            # (1, 28, 28), or (28, 28)
            small = found[MASKS][index].reshape(found[MASKS].shape[-2:])
            masks.append(pasted(small, box, (height, width), self.settings.least_mask))
        return Detections(tuple(instances), np.stack(masks) if masks else np.zeros((0, height, width), bool))

    def _kept(self, found: Mapping[str, np.ndarray]) -> tuple[list[int], list[str]]:
        """Places of the detections that count, the surest first, and their names."""
        labels, scores, settings = found[LABELS], found[SCORES], self.settings
        with np.errstate(invalid="ignore"):
            order = np.argsort(-scores, kind="stable")
        kept, names = [], []
        for index in order.tolist():
            known = 1 <= labels[index] <= len(settings.classes)
            name = settings.categories.get(settings.classes[int(labels[index]) - 1]) if known else None
            # a score that is no number is none
            if name is not None and scores[index] >= settings.least_score and len(kept) < settings.most_objects:
                kept.append(index)
                names.append(name)
        return kept, names


def fitted_image(colour: np.ndarray, size: tuple[int, int], fill: tuple[float, float, float]) -> FittedImage:
    """Fit an image into the network's size, with its sides in their proportion.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    size : (int, int)
        Height and width to fit into.
    fill : tuple of float
        Colour beside the image, RGB from 0 to 1.

    Returns
    -------
    FittedImage
        Of that size.
    """
    height, width = colour.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    rows, columns = (max(min(most, math.floor(side * scale + 0.5)), 1) for side, most in zip((height, width), size))
    image = cv2.resize(colour.astype(np.float32) / 255, (columns, rows), interpolation=cv2.INTER_LINEAR)
    pixels = np.empty((3, *size), np.float32)
    pixels[:] = np.array(fill, np.float32)[:, None, None]
    pixels[:, :rows, :columns] = image.transpose(2, 0, 1)
    return FittedImage(pixels, np.array((width / columns, height / rows)))


def pasted(small: np.ndarray, box: np.ndarray, shape: tuple[int, int], least: float = 0.5) -> np.ndarray:
    """Give a small mask the size of its box in the image, as torchvision's `paste_masks_in_image` does.

    Parameters
    ----------
    small : (n, m) float32
        Probabilities of the pixels of the box.
    box : (4,) float
        Left, top, right and bottom in the image [px].
    shape : (int, int)
        Height and width of the image.
    least : float
        Pixels above are the object's.

    Returns
    -------
    (H, W) bool
        Its pixels.
    """
    height, width = shape
    x0, y0, x1, y1 = np.clip(box, 0, (width, height, width, height)).tolist()
    padded = np.pad(np.nan_to_num(small).astype(np.float32), MARGIN)
    mask = np.zeros(shape, bool)
    # the box grows with the margin; torchvision cuts its sides down to whole pixels
    left, right = _grown(x0, x1, padded.shape[1] / small.shape[1])
    top, bottom = _grown(y0, y1, padded.shape[0] / small.shape[0])
    if right < left or bottom < top:
        return mask
    large = cv2.resize(padded, (right - left + 1, bottom - top + 1), interpolation=cv2.INTER_LINEAR)
    rows, columns = slice(max(top, 0), min(bottom + 1, height)), slice(max(left, 0), min(right + 1, width))
    mask[rows, columns] = large[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left] > least
    return mask


def _grown(low: float, high: float, factor: float) -> tuple[int, int]:
    """Both ends of a side that is longer by a factor, around the same middle."""
    middle, half = (low + high) / 2, (high - low) / 2 * factor
    return int(middle - half), int(middle + half)
