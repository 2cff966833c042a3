"""CleanPose: category-level poses from the keypoints of each object, seen beside those of others of its category.

The networks that training exports take points, category and surface, as CLIPose's do, and answer as these do. What they
know of other objects of a category, the queue of the front door, is among their weights. So all that happens about the
network is CLIPose's.

A model may hold a second network, `image`: a backbone that makes a map of features of each object's colour crop, once
in a frame. The network `pose` then takes that map, and where in the crop the points were seen. An object without colour
has a map of zeros, for which the network was trained: it goes by the points.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import ColourCrop, Observation, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.clipose import NETWORK, Clipose
from clipose_ros.inference.card import ModelCard
from clipose_ros.inference.session import Session, SessionConfig

IMAGE = "image"  # key of the image backbone in the card
PICTURE = "picture"  # its input (batch, 3, side, side): RGB, 0..1
IMAGE_MAP = "image_map"  # its output (batch, D, h, w), and an input of the network `pose`
PLACES = "places"  # another: column and row of the points, as shares of the crop's side
LARGEST_SIDE, LARGEST_MAP = 1024, 1 << 22  # of a picture [px] and of a map, that a card may ask for


class CleanPose(Clipose):
    """The estimator of a CleanPose model. See `Estimator`.

    Its card has the settings of `CliposeSettings`: scales, draws, calibration and uncertainty. Where it has a network
    `image`, colour crops are asked for; objects without one are estimated all the same.

    Parameters
    ----------
    folder, card, config, seed
        As of `Clipose`.

    Raises
    ------
    ValueError, RuntimeError
        As `Clipose`.
    """

    def __init__(self, folder: Path, card: ModelCard, config: SessionConfig = SessionConfig(), seed: int = 0) -> None:
        super().__init__(folder, card, config, seed)
        self._image = None
        self._maps: dict[int, np.ndarray] = {}
        if IMAGE not in card.networks:
            return
        file = card.network(IMAGE)
        expect("card image inputs", set(file.inputs) == {PICTURE}, PICTURE, ", ".join(file.inputs))
        expect("card image outputs", set(file.outputs) == {IMAGE_MAP}, IMAGE_MAP, ", ".join(file.outputs))
        picture, cells = file.inputs[PICTURE], file.outputs[IMAGE_MAP]
        square = len(picture) == 4 and picture[1] == 3 and picture[2] == picture[3]
        sound = square and type(picture[2]) is int and 0 < picture[2] <= LARGEST_SIDE
        expect("card image inputs picture", sound, "[batch, 3, side, side]", list(picture))
        sized = (
            len(cells) == 4 and all(type(n) is int and n > 0 for n in cells[1:]) and np.prod(cells[1:]) < LARGEST_MAP
        )
        expect("card image outputs image_map", sized, "[batch, D, h, w]", list(cells))
        wanted = card.network(NETWORK).inputs[IMAGE_MAP]
        expect("card inputs image_map", tuple(wanted[1:]) == tuple(cells[1:]), list(cells), list(wanted))
        self._side, self._cells = picture[2], tuple(cells[1:])
        self._image = Session(folder, file, config)
        self.needs = replace(self.needs, colour=True, pixels=True)

    def facts(self) -> dict[str, object]:
        """See `Estimator.facts`."""
        return super().facts() | ({} if self._image is None else {"colour": f"crops of {self._side} px"})

    def warm_up(self) -> None:
        """See `Estimator.warm_up`."""
        if self._image is None:
            super().warm_up()
            return
        black = ColourCrop(np.zeros((self._side, self._side, 3), np.uint8), 0, 0)
        z = np.full(64, 1.0, np.float32)
        points = np.stack([np.linspace(-0.01, 0.01, 64, dtype=np.float32), np.zeros_like(z), z], axis=1)
        pixels = np.zeros((64, 2), np.int32)
        self.estimate([Observation(points, self.names[0], pixels, black, surface=np.array([0.0, -1.0, 0.0, np.nan]))])
        if self._view is not None:
            self._view.warm_up()

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """See `Estimator.estimate`. With an image backbone there is a stage more, image."""
        if self._image is None:
            return super().estimate(observations, stopwatch)
        stopwatch = stopwatch or Stopwatch()
        coloured = {id(one.colour): one.colour for one in observations if _pictured(one)}
        with stopwatch.stage("image"):
            maps = self._image.run({PICTURE: self._pictures(coloured.values())})[IMAGE_MAP] if coloured else ()
        self._maps = dict(zip(coloured, maps))
        try:
            return super().estimate(observations, stopwatch)
        finally:
            self._maps = {}

    def _pictures(self, crops: Sequence[ColourCrop]) -> np.ndarray:
        """Pictures (n, 3, side, side) float32 of crops, with black where one is not square."""
        pictures = np.zeros((len(crops), self._side, self._side, 3), np.float32)
        for picture, crop in zip(pictures, crops):
            height, width = crop.pixels.shape[:2]
            longest = max(height, width)
            rows, columns = (max(1, round(n * self._side / longest)) for n in (height, width))
            shrinks = longest > self._side
            way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
            picture[:rows, :columns] = cv2.resize(np.ascontiguousarray(crop.pixels), (columns, rows), interpolation=way)
        return (pictures / np.float32(255)).transpose(0, 3, 1, 2)

    def _beside(self, card: ModelCard) -> tuple[str, ...]:
        return (IMAGE_MAP, PLACES) if IMAGE in card.networks else ()

    def _seen(self, observations: Sequence[Observation], chosen: np.ndarray) -> dict[str, np.ndarray]:
        if self._image is None:
            return {}
        places = np.concatenate([_places(one) for one in observations])  # (M, 2)
        counts = np.cumsum([len(one.points) for one in observations])
        owners = counts.searchsorted(chosen[:, 0, 0], side="right")
        maps = np.zeros((len(chosen), *self._cells), np.float32)
        for row, owner in zip(maps, owners):
            if (seen := self._maps.get(id(observations[owner].colour))) is not None:
                row[:] = seen
        draws = chosen.shape[1]
        return {
            IMAGE_MAP: maps.repeat(draws, axis=0),
            PLACES: places.take(chosen, axis=0).reshape(-1, chosen.shape[2], 2),
        }


def _pictured(one: Observation) -> bool:
    """Whether an object has colour, and it is known where its points were seen."""
    return one.colour is not None and one.pixels is not None and one.colour.pixels.size > 0


def _places(one: Observation) -> np.ndarray:
    """Where in its crop the points (N, 2) of an object were seen, as shares of the longer side; 0 without colour."""
    if not _pictured(one):
        return np.zeros((len(one.points), 2), np.float32)
    longest = max(one.colour.pixels.shape[:2])
    corner = np.array([one.colour.left, one.colour.top])
    return ((one.pixels - corner + 0.5) / longest).astype(np.float32)
