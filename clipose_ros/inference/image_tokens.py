"""Turns images into maps of tokens by an image backbone, which knows no object: what a place looks like, in numbers.

A backbone is a model folder whose card has the estimator `image-backbone`; `python -m training.export_backbone` makes
one. Who keeps tokens keeps the backbone's identity with them: those of two backbones cannot be compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.inference.card import ModelCard, read_card, settings_from
from clipose_ros.inference.session import Session, SessionConfig

ESTIMATOR = "image-backbone"
NETWORK, IMAGE, TOKENS = "backbone", "image", "tokens"
LARGEST_STRIDE, WIDEST = 64, 4096
LARGEST_SIDE_PX = 4096
MOST_AT_ONCE = 8  # windows in one call: bounds memory
OVERLAP = 0.25  # of neighbouring windows
SHORTEST = 1e-6


@dataclass(frozen=True)
class ImageTokensSettings:
    """What a backbone's card holds in `settings`.

    Parameters
    ----------
    stride : int
        Pixels between two tokens.

    Raises
    ------
    ValueError
        If a value is out of its range.
    """

    stride: int

    def __post_init__(self) -> None:
        whole = type(self.stride) is int and 1 <= self.stride <= LARGEST_STRIDE
        expect("stride", whole, f"1 to {LARGEST_STRIDE}, whole", self.stride)

    def as_mapping(self) -> dict[str, Any]:
        """Give what a card holds.

        Returns
        -------
        dict of str to object
            Plain values.
        """
        return asdict(self)


@dataclass(frozen=True)
class BackboneIdentity:
    """Which backbone made tokens.

    Parameters
    ----------
    name : str
        Of its model.
    sha256 : str
        Of its network's file.
    """

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name} ({self.sha256[:12]})"


def backbone_identity(folder: Path) -> BackboneIdentity:
    """Say which backbone a model is, without loading it.

    Parameters
    ----------
    folder : Path
        Of the model.

    Returns
    -------
    BackboneIdentity
        As its card says.

    Raises
    ------
    ValueError
        If the model is no backbone, or its card is malformed.
    """
    return _identity(folder, read_card(folder))


class ImageTokens:
    """An image backbone, loaded and checked against its card.

    Parameters
    ----------
    folder : Path
        Of the model.
    config : SessionConfig
        Where and how the network runs.

    Attributes
    ----------
    identity : BackboneIdentity
        Of this backbone.
    stride : int
        Pixels between two tokens.
    width : int
        Numbers of a token.

    Raises
    ------
    ValueError
        If the model is no backbone, or its network is not the card's.
    RuntimeError
        If the provider cannot be had.
    """

    def __init__(self, folder: Path, config: SessionConfig = SessionConfig()) -> None:
        card = read_card(folder)
        self.identity = _identity(folder, card)
        network = card.network(NETWORK)
        self.stride = settings_from(ImageTokensSettings, card).stride
        shape, self.width = network.inputs.get(IMAGE, ()), _width(network.outputs.get(TOKENS, ()))
        sized = len(shape) == 4 and shape[1] == 3 and isinstance(shape[2], int) == isinstance(shape[3], int)
        expect(f"{folder}: inputs.{IMAGE}", sized, "[batch, 3, height, width]", list(shape))
        # sides of the images that it takes [px]; None where all multiples of the stride will do
        self._window = (int(shape[2]), int(shape[3])) if isinstance(shape[2], int) else None
        cells = self._window is None or all(side % self.stride == 0 for side in self._window)
        expect(f"{folder}: inputs.{IMAGE}", cells, f"multiples of the stride {self.stride}", self._window)
        self._session = Session(folder, network, config, together=self._window is None)

    def warm_up(self) -> None:
        """Run once, so that the first image is as fast as the others."""
        self.maps([np.zeros((4 * self.stride, 4 * self.stride, 3), np.uint8)])

    def map(self, image: np.ndarray) -> np.ndarray:
        """Compute the tokens of an image.

        Parameters
        ----------
        image : (H, W, 3) uint8
            RGB.

        Returns
        -------
        (h, w, width) float32
            Of length 1. Cell (i, j) is around pixel ((i + 0.5) stride, (j + 0.5) stride); the last ones may reach
            beyond the image, which goes on there as its border.

        Raises
        ------
        ValueError
            If the image has other sides or values.
        """
        return self.maps([image])[0]

    def maps(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Compute the tokens of images of one size.

        Parameters
        ----------
        images : sequence of (H, W, 3) uint8
            RGB.

        Returns
        -------
        list of (h, w, width) float32
            As of `map`.

        Raises
        ------
        ValueError
            If an image has other sides or values.
        """
        if not images:
            return []
        shape = images[0].shape
        fitting = len(shape) == 3 and shape[2] == 3 and min(shape[:2]) > 0 and max(shape[:2]) <= LARGEST_SIDE_PX
        expect("image", fitting, f"(H, W, 3), 1 to {LARGEST_SIDE_PX} px", shape)
        for image in images:
            expect("image", image.shape == shape and image.dtype == np.uint8, f"{shape} uint8", image.shape)
        rows, columns = (max(2, -(-side // self.stride)) for side in shape[:2])
        if self._window is not None:
            rows, columns = (max(n, side // self.stride) for n, side in zip((rows, columns), self._window))
        padded = [_padded(image, rows * self.stride, columns * self.stride) for image in images]
        found = self._whole(padded) if self._window is None else self._joined(padded, rows, columns)
        kept_rows, kept_columns = (-(-side // self.stride) for side in shape[:2])
        return [_levelled(one[:kept_rows, :kept_columns]) for one in found]

    def _whole(self, images: list[np.ndarray]) -> list[np.ndarray]:
        """Maps of images that the network takes as they are."""
        found: list[np.ndarray] = []
        for start in range(0, len(images), MOST_AT_ONCE):
            given = np.stack(images[start : start + MOST_AT_ONCE]).astype(np.float32) / 255
            answer = self._session.run({IMAGE: np.ascontiguousarray(given.transpose(0, 3, 1, 2))})[TOKENS]
            found += list(answer.transpose(0, 2, 3, 1))
        return found

    def _joined(self, images: list[np.ndarray], rows: int, columns: int) -> list[np.ndarray]:
        """Maps of images in windows that overlap; where they do, the mean."""
        assert self._window is not None
        high, wide = (side // self.stride for side in self._window)
        places = [(i, j) for i in _starts(rows, high) for j in _starts(columns, wide)]
        found = []
        for image in images:
            total = np.zeros((rows, columns, self.width), np.float32)
            times = np.zeros((rows, columns, 1), np.float32)
            px = self.stride
            windows = [image[i * px : (i + high) * px, j * px : (j + wide) * px] for i, j in places]
            for (i, j), answer in zip(places, self._whole(windows)):
                total[i : i + high, j : j + wide] += answer
                times[i : i + high, j : j + wide] += 1
            found.append(total / times)
        return found


def _identity(folder: Path, card: ModelCard) -> BackboneIdentity:
    expect(f"{folder}: estimator", card.estimator == ESTIMATOR, ESTIMATOR, card.estimator)
    return BackboneIdentity(card.name, card.network(NETWORK).sha256)


def _width(shape: tuple[int | str, ...]) -> int:
    fitting = len(shape) == 4 and isinstance(shape[1], int) and 1 <= shape[1] <= WIDEST
    expect(f"outputs.{TOKENS}", fitting, f"[batch, 1 to {WIDEST}, rows, columns]", list(shape))
    return int(shape[1])


def _padded(image: np.ndarray, height: int, width: int) -> np.ndarray:
    below, right = height - image.shape[0], width - image.shape[1]
    return cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE) if below or right else image


def _starts(cells: int, window: int) -> list[int]:
    """Where windows begin that cover a side."""
    count = 1 if cells <= window else 1 + -(-(cells - window) // max(1, round(window * (1 - OVERLAP))))
    return sorted({round(k * (cells - window) / max(1, count - 1)) for k in range(count)})


def _levelled(tokens: np.ndarray) -> np.ndarray:
    """Tokens of length 1; 0 for what is not finite."""
    tokens = np.nan_to_num(tokens.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    return tokens / np.maximum(np.linalg.norm(tokens, axis=-1, keepdims=True), SHORTEST)
