"""Every instance of REAL275 and CAMERA25 as a row: cut out of its frame as `training.views` cuts out its own."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from torch.utils.data import Dataset

from clipose_ros.core.categories import CATEGORIES
from training.data.row_format import (
    BACKGROUND,
    COLOUR_PX,
    DEPTH_UNIT_M,
    FAR_M,
    GRID,
    LEAST_COLOUR_PX,
    MARGIN,
    OTHER,
    TARGET,
)
from training.nocs.files import (
    SPLITS,
    FrameFiles,
    Images,
    MetaLine,
    ModelBox,
    Split,
    Unusable,
    list_frames,
    read_images,
    read_label,
    read_meta,
    read_model_box,
    read_mug_meta,
    read_truth,
    reading,
)
from training.nocs.poses import (
    LEAST_PIXELS,
    InstancePose,
    aligned_pose,
    box_of,
    boxed,
    handle_share,
    matched_truth,
    tight_mug,
)
from training.similarity import SimilarityConfig

# height, width: masks beyond are rendering errors of CAMERA25 (object-deformnet leaves the frames out)
SPOILT_PX = (440, 600)
# a mug of CAMERA25 that object-deformnet leaves out as improper
SPOILT_MODELS = frozenset({"b9be7cfe653740eb7633a2dd89cec754"})


@dataclass(frozen=True)
class NocsConfig:
    """A split, and how its instances become rows.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : str
        Of `files.SPLITS`.
    poses : "coordinates", "published" or "labels"
        Our alignment of the coordinate maps, the pickles of gts, or object-deformnet's label files.
    colour : bool
        Add `colour`, uint8 RGB of the same crop.
    margin : float
        Around the mask, as a share of its longer side.
    similarity : SimilarityConfig
        Of the alignment.
    colour_px : int
        Side of the colour crops [px].
    """

    root: Path
    split: Literal["camera_train", "camera_val", "real_train", "real_test"] = "real_train"
    poses: Literal["coordinates", "published", "labels"] = "coordinates"
    colour: bool = False
    margin: float = MARGIN
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    colour_px: int = COLOUR_PX

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {self.split}")
        if not LEAST_COLOUR_PX <= self.colour_px <= COLOUR_PX:
            raise ValueError(f"colour_px: expected {LEAST_COLOUR_PX} to {COLOUR_PX}, got {self.colour_px}")
        if self.poses == "published" and not SPLITS[self.split].truth:
            raise ValueError(f"poses: expected coordinates or labels for {self.split}, got published: there are none")


@dataclass(frozen=True)
class Crop:
    """A square of an image: its pixel (column i, row j) is seen at (left + i step, top + j step).

    Parameters
    ----------
    left, top : float
        Of its first pixel [px].
    step : float
        Between its pixels [px].
    """

    left: float
    top: float
    step: float

    def pixels(self, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Find the nearest pixels of an image.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of the image.

        Returns
        -------
        rows, columns : (GRID, GRID) int
            Moved into the image.
        inside : (GRID, GRID) bool
            Whether they were inside.
        """
        v, u = np.meshgrid(
            *(np.rint(start + self.step * np.arange(GRID)).astype(int) for start in (self.top, self.left)),
            indexing="ij",
        )
        inside = (v >= 0) & (v < shape[0]) & (u >= 0) & (u < shape[1])
        return v.clip(0, shape[0] - 1), u.clip(0, shape[1] - 1), inside


def crop_around(box: np.ndarray, margin: float) -> Crop:
    """Choose the crop around what is seen of an object, as `views.draw_view` does.

    No crop pixel shows less than an image pixel: near objects' pixels would only be repeated.

    Parameters
    ----------
    box : (4,) int
        y1, x1, y2, x2 of its pixels, the last outside.
    margin : float
        As a share of the longer side.

    Returns
    -------
    Crop
        Square.
    """
    low, high = box[:2].astype(float), box[2:] - 1.0
    side = (high - low).max() * (1 + 2 * margin) + 6
    step = max(side / GRID, 1.0)
    top, left = (low + high) / 2 - (GRID - 1) / 2 * step
    return (
        Crop(float(left), float(top), float(step)) if step > 1 else Crop(float(np.rint(left)), float(np.rint(top)), 1.0)
    )


def mask_box(mask: np.ndarray) -> np.ndarray:
    """Find the bounding box of a mask.

    Parameters
    ----------
    mask : (H, W) bool
        With at least one pixel set.

    Returns
    -------
    (4,) int
        y1, x1, y2, x2 [px], the last outside.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return np.array([rows[0], columns[0], rows[-1] + 1, columns[-1] + 1])


def colour_crop(colour: np.ndarray, crop: Crop, side: int = COLOUR_PX) -> np.ndarray:
    """Cut the colour crop out of an image.

    Parameters
    ----------
    colour : (H, W, 3) uint8
        RGB.
    crop : Crop
        Which part.
    side : int
        Of what is cut out [px].

    Returns
    -------
    (side, side, 3) uint8
        RGB, black outside of the image.
    """
    step = crop.step * GRID / side
    if side < COLOUR_PX and step > 1:  # each pixel is the mean of what it covers
        finer = side * math.ceil(step)
        return cv2.resize(colour_crop(colour, crop, finer), (side, side), interpolation=cv2.INTER_AREA)
    start = np.array([crop.left, crop.top]) - crop.step / 2 + step / 2
    image_from_crop = np.array([[step, 0, start[0]], [0, step, start[1]]])
    return cv2.warpAffine(colour, image_from_crop, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)


class NocsViews(Dataset):
    """The instances of a split in the published order: scenes by name, frames and lines of the meta files as they come.

    An item is a row of `row_format.ROW_TYPES`, its files read when it is asked for; what cannot be used raises
    `Unusable`. The index is built once, from the meta files alone. So `DatasetRows(views, views.category)` is a source
    to train from.

    Parameters
    ----------
    config : NocsConfig
        Which split.

    Attributes
    ----------
    category : (V,) int64
        Of its items.
    left_out : list of Unusable
        Why frames had to be left out.
    """

    def __init__(self, config: NocsConfig) -> None:
        self.config = config
        self.split: Split = SPLITS[config.split]
        self.frames = list_frames(config.root, self.split)
        self.left_out: list[Unusable] = []
        self.index: list[tuple[int, MetaLine]] = []
        for number, frame in enumerate(self.frames):
            try:
                self.index += [(number, line) for line in reading("meta", frame.path("meta.txt"), read_meta)]
            except Unusable as error:
                self.left_out.append(error)
        self.category = np.array([CATEGORIES.index(line.category) for _, line in self.index], np.int64)
        self.mugs = read_mug_meta(config.root) if config.poses == "labels" else {}
        self.missing_models: set[str] = set()  # so far; the sizes of these objects come from their coordinate maps
        self._boxes: dict[str, ModelBox | None] = {}
        self._last: tuple[int, Images | Unusable] | None = None  # neighbours in the index share a frame

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: int) -> dict[str, np.ndarray]:
        number, meta = self.index[item]
        try:
            return self._row(self.frames[number], meta, self._images(number))
        except Unusable as error:
            raise Unusable(error.reason, f"{self.frames[number]} instance {meta.instance}: {error}") from error

    @property
    def sources(self) -> str:
        """Where depth and poses come from, for the report."""
        composed = self.split.composed and (self.config.root / "camera_full_depths" / self.split.composed).is_dir()
        depth = (
            "of a sensor"
            if self.split.measured
            else "composed"
            if composed
            else "of the objects only (no camera_full_depths)"
        )
        return f"depth {depth}, poses from {self.config.poses}"

    def _images(self, number: int) -> Images:
        if self._last is None or self._last[0] != number:
            try:
                self._last = number, read_images(self.config.root, self.split, self.frames[number], self.config.colour)
            except Unusable as error:
                self._last = number, error
        images = self._last[1]
        if isinstance(images, Unusable):
            raise images
        return images

    def _model_box(self, meta: MetaLine) -> ModelBox | None:
        key = f"{meta.synset}/{meta.model}"
        if key not in self._boxes:
            self._boxes[key] = read_model_box(self.config.root, self.split, meta)
            if self._boxes[key] is None:
                self.missing_models.add(key.lstrip("/"))
        return self._boxes[key]

    def _row(self, frame: FrameFiles, meta: MetaLine, images: Images) -> dict[str, np.ndarray]:
        if meta.model in SPOILT_MODELS:
            raise Unusable("model: known to be improper", meta.model)
        mask = images.labels == meta.instance + 1
        if not mask.any():
            raise Unusable("instance: not in the mask", "expected pixels, got none")
        box = mask_box(mask)
        if ((box[2:] - box[:2]) > SPOILT_PX).any():
            raise Unusable("instance: fills the image", f"expected at most {SPOILT_PX} px, got the box {box.tolist()}")
        depth_m = images.depth / np.float32(1000)
        v, u = np.nonzero(mask & (depth_m > 0) & (depth_m < FAR_M))
        if len(v) < LEAST_PIXELS:
            raise Unusable("instance: too few points", f"expected {LEAST_PIXELS} at least, got {len(v)}")
        coordinates = images.coordinates[v, u]
        model = self._model_box(meta) or box_of(coordinates, meta.category)
        if self.config.poses == "coordinates":
            pose = aligned_pose(coordinates, depth_m[v, u], v, u, self.split.intrinsics, model, self.config.similarity)
        else:
            pose = boxed(*self._stored_pose(frame, meta, box), model)
        row = self._cut(images, depth_m, mask, crop_around(box, self.config.margin))
        cue = handle_share(coordinates, model) if meta.category == "mug" else 1.0
        return row | _pose_arrays(pose, meta.category, cue) | {"measured": np.bool_(self.split.measured)}

    def _stored_pose(self, frame: FrameFiles, meta: MetaLine, box: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
        """Rotation, translation [m] and scale of the coordinates' frame as others have stored them."""
        if self.config.poses == "published":
            truth = read_truth(self.config.root, self.split, frame)
            i = matched_truth(truth, meta.category, box)
            return truth.rotations[i], truth.translations[i], float(truth.scales[i])
        labels = read_label(frame)
        if meta.instance not in labels:
            raise Unusable("label: no such instance", f"expected one of {sorted(labels)}, got {meta.instance}")
        if meta.category != "mug":
            return labels[meta.instance]
        if meta.model not in self.mugs:
            raise Unusable("mug_meta: no such model", meta.model)
        return tight_mug(*labels[meta.instance], *self.mugs[meta.model])

    def _cut(self, images: Images, depth_m: np.ndarray, mask: np.ndarray, crop: Crop) -> dict[str, np.ndarray]:
        v, u, inside = crop.pixels(depth_m.shape)
        depth = np.where(inside & (depth_m[v, u] < FAR_M), depth_m[v, u], 0)
        label = np.where(mask[v, u], TARGET, np.where(images.labels[v, u] > 0, OTHER, BACKGROUND))
        k = self.split.intrinsics
        row = {
            "depth": (depth / DEPTH_UNIT_M).round().astype(np.uint16),
            "label": np.where(inside, label, BACKGROUND).astype(np.uint8),
            "rays": np.array(
                [(crop.left - k.cx) / k.fx, crop.step / k.fx, (crop.top - k.cy) / k.fy, crop.step / k.fy], np.float32
            ),
            "pixels": np.float32(crop.step),
        }
        return (
            row if images.colour is None else row | {"colour": colour_crop(images.colour, crop, self.config.colour_px)}
        )


def _pose_arrays(pose: InstancePose, category: str, cue: float) -> dict[str, np.ndarray]:
    return {
        "rotation": pose.rotation.astype(np.float32),
        "translation": pose.translation.astype(np.float32),
        "size": pose.size.astype(np.float32),
        "category": np.int64(CATEGORIES.index(category)),
        "cue": np.float32(cue),
    }
