"""Reader of the NOCS folder format: NNNN_color.png, NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt and, optionally,
intrinsics.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect

REAL275_INTRINSICS = Intrinsics(fx=591.0125, fy=590.16775, cx=322.525, cy=244.11084)
FRAME_ID = "camera_color_optical_frame"
# the format carries no time: frames are stamped by their place in a 30 Hz sequence
FRAME_PERIOD_NS = NS_PER_S // 30
DISTRACTOR = 0


class NocsFolder:
    """A sequence of frames on disk.

    Iterating reads one `Frame` after the other; `names` are the NNNN of the files, sorted.

    `Instance.id` is the instance number of the files and `Instance.label` is that number + 1, because in the files the
    background is 255 and 0 is an instance. Distractors (class 0) are no instances. Raises ValueError, with the path,
    for files that are missing, broken or inconsistent.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = sorted(file.name.removesuffix("_depth.png") for file in path.glob("*_depth.png"))
        if not self.names:
            raise ValueError(f"{path}: expected a folder with NNNN_depth.png, got none")
        self.intrinsics = _read_intrinsics(path / "intrinsics.json")

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[Frame, Detections]]:
        return map(self.read, self.names)

    def read(self, name: str) -> tuple[Frame, Detections]:
        """The frame of one name, and what is in it; its colour is None where the folder has none."""
        labels = read_labels(self._file(name, "mask.png"))
        instances = read_instances(self._file(name, "meta.txt"))
        depth = read_depth(self._file(name, "depth.png"))
        colour_file = self._file(name, "color.png")
        colour = read_colour(colour_file) if colour_file.exists() else None
        try:
            expect("mask", labels.shape == depth.shape, f"{depth.shape} as depth", labels.shape)
            frame = Frame(self.names.index(name) * FRAME_PERIOD_NS, FRAME_ID, depth, self.intrinsics, colour)
            return frame, Detections(instances, labels)
        except ValueError as error:
            raise ValueError(f"{self.path}/{name}: {error}") from error

    def _file(self, name: str, kind: str) -> Path:
        return self.path / f"{name}_{kind}"


def read_colour(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB."""
    return cv2.cvtColor(_read_png(path, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def read_depth(path: Path) -> np.ndarray:
    """(H, W) uint16 [mm] of a 16-bit image, or of the colour encoding of CAMERA25: mm = G * 256 + R."""
    image = _read_png(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 2 and image.dtype == np.uint16:
        return image
    if image.ndim == 3 and image.dtype == np.uint8:
        return image[:, :, 1].astype(np.uint16) * 256 + image[:, :, 2]  # OpenCV's order is B, G, R
    raise ValueError(f"{path}: expected 16-bit depth or 8-bit with 3 or 4 channels, got {image.shape} {image.dtype}")


def read_labels(path: Path) -> np.ndarray:
    """(H, W) uint8: 0 background, otherwise instance number + 1."""
    image = _read_png(path, cv2.IMREAD_UNCHANGED)
    if image.ndim == 3:
        image = image[:, :, 2]  # some masks are stored as RGB(A): the number is in R
    if image.dtype != np.uint8:
        raise ValueError(f"{path}: expected an 8-bit mask, got {image.dtype}")
    return image + np.uint8(1)  # wraps 255, the background, to 0


def read_instances(path: Path) -> tuple[Instance, ...]:
    """Instances of the lines `number class_id model`, without the distractors."""
    if not path.is_file():
        raise ValueError(f"{path}: expected a file, got none")
    instances, numbers = [], set()
    for line in filter(str.strip, path.read_text(encoding="utf-8").splitlines()):
        try:
            number, class_id = map(int, line.split()[:2])
        except ValueError:
            raise ValueError(f"{path}: expected `instance class_id model`, got {line!r}") from None
        if not 0 <= number < 255 or number in numbers:
            raise ValueError(f"{path}: expected different instance numbers in 0..254, got {line!r}")
        if not 0 <= class_id <= len(CATEGORIES):
            raise ValueError(f"{path}: expected a class id in 0..{len(CATEGORIES)}, got {line!r}")
        numbers.add(number)
        if class_id != DISTRACTOR:
            instances.append(Instance(number + 1, CATEGORIES[class_id - 1], id=str(number)))
    return tuple(instances)


def _read_intrinsics(path: Path) -> Intrinsics:
    if not path.is_file():
        return REAL275_INTRINSICS
    try:
        return Intrinsics(**json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path}: expected {{fx, fy, cx, cy}}, got {error}") from error


def _read_png(path: Path, flags: int) -> np.ndarray:
    if not path.is_file():
        raise ValueError(f"{path}: expected a file, got none")
    image = cv2.imdecode(np.frombuffer(path.read_bytes() or b"\0", np.uint8), flags)
    if image is None:
        raise ValueError(f"{path}: expected a PNG image, got something that does not decode")
    return image
