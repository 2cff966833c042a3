"""The files of NOCS_CVPR2019 and object-deformnet: frames, coordinate maps, models, pickles of truth and of Mask R-CNN.

ROOT/CAMERA/{train,val}/00000/0000_{color,depth,mask,coord}.png, 0000_meta.txt
ROOT/camera_full_depths/{train,val}/00000/0000_composed.png
ROOT/Real/{train,test}/scene_1/0000_…
ROOT/gts/{val,real_test}/results_*_<scene>_<frame>.pkl
ROOT/obj_models/{train,val}/<synset>/<model>/{bbox.txt,model.obj}
ROOT/obj_models/{real_train,real_test}/<model>.{txt,obj}
ROOT/obj_models/mug_meta.pkl and <frame>_label.pkl, where object-deformnet's preparation has been run
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.images import read_colour, read_depth, read_labels
from clipose_ros.formats.nocs_folder import REAL275_INTRINSICS
from clipose_ros.formats.pickles import load_pickle

T = TypeVar("T")

CAMERA25_INTRINSICS = Intrinsics(fx=577.5, fy=577.5, cx=319.5, cy=239.5)
MAXIMUM_SIDE_PX = 4096
MAXIMUM_TEXT_BYTES = 1 << 16
MAXIMUM_PICKLE_BYTES = 1 << 28  # of Mask R-CNN results: a bool for each pixel and detection
FRAME_FILE = re.compile(r"(\d{4,6})_(?:color|depth|mask|coord)\.png|(\d{4,6})_meta\.txt")


class Unusable(ValueError):
    """Something in the data cannot be used.

    Parameters
    ----------
    reason : str
        Short phrase by which such cases are counted.
    message : str
        What and where.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Split:
    """Where a split lies below the root and how its depth came about.

    Parameters
    ----------
    images : tuple of str
        Folders that are in use for it.
    models : str
        Folder below obj_models.
    truth : str
        Folder below gts; empty where none is published.
    composed : str
        Folder below camera_full_depths; empty where the depth files are whole.
    intrinsics : Intrinsics
        Of its camera.
    measured : bool
        By a sensor; rendered otherwise.
    """

    images: tuple[str, ...]
    models: str
    truth: str
    composed: str
    intrinsics: Intrinsics
    measured: bool


SPLITS = {
    "camera_train": Split(("CAMERA/train", "camera/train"), "train", "", "train", CAMERA25_INTRINSICS, measured=False),
    "camera_val": Split(("CAMERA/val", "camera/val"), "val", "val", "val", CAMERA25_INTRINSICS, measured=False),
    "real_train": Split(("Real/train", "real/train"), "real_train", "", "", REAL275_INTRINSICS, measured=True),
    "real_test": Split(("Real/test", "real/test"), "real_test", "real_test", "", REAL275_INTRINSICS, measured=True),
}


@dataclass(frozen=True)
class FrameFiles:
    """The files of one frame.

    Parameters
    ----------
    folder : Path
        The scene.
    name : str
        Number of the frame, as its files begin.
    """

    folder: Path
    name: str

    def path(self, kind: str) -> Path:
        """Give the path of a file.

        Parameters
        ----------
        kind : str
            For example "color.png".

        Returns
        -------
        Path
            It need not be there.
        """
        return self.folder / f"{self.name}_{kind}"

    def __str__(self) -> str:
        return f"{self.folder.name}/{self.name}"


@dataclass(frozen=True)
class MetaLine:
    """An object of a frame.

    Parameters
    ----------
    instance : int
        Its number in the mask.
    category : str
        Its category.
    model : str
        Name of its model.
    synset : str
        Of ShapeNet; empty for scanned objects.
    """

    instance: int
    category: str
    model: str
    synset: str = ""


@dataclass(frozen=True)
class ModelBox:
    """Tight box of an object model in its coordinate map, whose unit is the diagonal of the box.

    Parameters
    ----------
    extents, centre : (3,) ndarray
        Of the box [diagonal].
    diagonal_m : float or None
        Where the model has a metric size [m].
    """

    extents: np.ndarray
    centre: np.ndarray
    diagonal_m: float | None


@dataclass(frozen=True)
class Truth:
    """Published poses of one frame, of the coordinates' frame, as they are stored.

    Parameters
    ----------
    categories : tuple of str
        Of M objects.
    boxes : (M, 4) ndarray
        y1, x1, y2, x2 [px].
    rotations : (M, 3, 3) ndarray
        R_camera_object.
    translations : (M, 3) ndarray
        Camera frame [m].
    scales : (M,) ndarray
        Metres per unit of the coordinates.
    """

    categories: tuple[str, ...]
    boxes: np.ndarray
    rotations: np.ndarray
    translations: np.ndarray
    scales: np.ndarray


@dataclass(frozen=True)
class Detections:
    """Mask R-CNN's result for one frame.

    Parameters
    ----------
    boxes : (M, 4) ndarray
        y1, x1, y2, x2 [px].
    categories : tuple of str
        Of M detections.
    scores : (M,) ndarray
        0..1.
    masks : (M, H, W) bool ndarray
        They may overlap.
    """

    boxes: np.ndarray
    categories: tuple[str, ...]
    scores: np.ndarray
    masks: np.ndarray


def reading(kind: str, path: Path, read: Callable[[Path], T]) -> T:
    """Read a file, with what is wrong named and counted by the kind of the file.

    Parameters
    ----------
    kind : str
        For the reason.
    path : Path
        Of the file.
    read : callable
        Reads it.

    Returns
    -------
    Any
        What `read` gives.

    Raises
    ------
    Unusable
        Where the file is missing or broken.
    """
    if not path.is_file():
        raise Unusable(f"{kind}: file missing", f"{path}: expected a file, got none")
    try:
        return read(path)
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, OSError, cv2.error) as error:
        raise Unusable(f"{kind}: file broken", f"{path}: {type(error).__name__}: {error}") from error


def list_frames(root: Path, split: Split) -> tuple[FrameFiles, ...]:
    """List the frames in the published order: scenes by name, frames by number.

    A frame counts where any of its files is there.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : Split
        Which frames.

    Returns
    -------
    tuple of FrameFiles
        At least one.

    Raises
    ------
    ValueError
        Where the folder of the split is missing or empty.
    """
    folder = next((root / name for name in split.images if (root / name).is_dir()), None)
    if folder is None:
        raise ValueError(f"root: expected a folder {' or '.join(split.images)} in {root}, got none")
    frames = []
    for scene in sorted(path for path in folder.iterdir() if path.is_dir()):
        matches = (FRAME_FILE.fullmatch(path.name) for path in scene.iterdir())
        frames += [FrameFiles(scene, name) for name in sorted({match[1] or match[2] for match in matches if match})]
    if not frames:
        raise ValueError(f"root: expected frames NNNN_color.png in the folders of {folder}, got none")
    return tuple(frames)


def read_meta(path: Path) -> tuple[MetaLine, ...]:
    """Read the objects of a frame from the lines `instance class_id [synset] model`, without distractors (class 0).

    Parameters
    ----------
    path : Path
        Of the text file.

    Returns
    -------
    tuple of MetaLine
        In the order of the lines.

    Raises
    ------
    ValueError
        For a line of another form, or an instance that comes twice.
    """
    lines = []
    for line in filter(str.strip, _read_text(path).splitlines()):
        words = line.split()
        if len(words) not in (3, 4) or not (words[0].isdecimal() and words[1].isdecimal()):
            raise ValueError(f"expected `instance class_id [synset] model`, got {line!r}")
        instance, class_id = int(words[0]), int(words[1])
        if not (0 <= instance < 255 and 0 <= class_id <= len(CATEGORIES)):
            raise ValueError(f"expected an instance in 0..254 and a class in 0..{len(CATEGORIES)}, got {line!r}")
        if class_id and not all(re.fullmatch(r"[\w-]+", word) for word in words[2:]):
            raise ValueError(f"expected names of letters, digits, _ and - only, got {line!r}")
        if class_id:
            lines.append(MetaLine(instance, CATEGORIES[class_id - 1], words[-1], words[2] if len(words) == 4 else ""))
    if len({line.instance for line in lines}) != len(lines):
        raise ValueError(f"expected different instances, got {[line.instance for line in lines]}")
    return tuple(lines)


def read_coordinates(path: Path) -> np.ndarray:
    """Read a coordinate map. R, G, B are x + ½, y + ½, ½ - z.

    Parameters
    ----------
    path : Path
        Of the image.

    Returns
    -------
    (H, W, 3) float32
        Object frame [diagonal of the tight box], origin at the centre of the box.
    """
    red, green, blue = np.moveaxis(read_colour(path).astype(np.float32) / 255, -1, 0)
    return np.stack([red - 0.5, green - 0.5, 0.5 - blue], axis=-1)


def read_image(
    frame: FrameFiles, kind: str, read: Callable[[Path], np.ndarray], path: Path | None = None
) -> np.ndarray:
    """Read an image of a frame, of at most MAXIMUM_SIDE_PX before memory is taken for it.

    Parameters
    ----------
    frame : FrameFiles
        The frame.
    kind : str
        For example "depth".
    read : callable
        Decodes a path.
    path : Path, optional
        Of the image, where it is not among the frame's files.

    Returns
    -------
    ndarray
        What `read` gives.

    Raises
    ------
    Unusable
        Where it is missing, broken, no PNG or too large.
    """

    def bounded(path: Path) -> np.ndarray:
        with path.open("rb") as file:
            header = file.read(24)
        if len(header) < 24 or not header.startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError("expected a PNG image, got something else")
        sides = struct.unpack(">II", header[16:24])
        if not 0 < max(sides) <= MAXIMUM_SIDE_PX:
            raise ValueError(f"expected at most {MAXIMUM_SIDE_PX} px a side, got {sides[0]} x {sides[1]}")
        return read(path)

    return reading(kind, path or frame.path(f"{kind}.png"), bounded)


@dataclass(frozen=True)
class Images:
    """The decoded images of a frame.

    Parameters
    ----------
    depth : (H, W) uint16 ndarray
        [mm].
    labels : (H, W) uint8 ndarray
        instance + 1; 0 is background.
    coordinates : (H, W, 3) float32 ndarray
        Object frame [diagonal].
    colour : (H, W, 3) uint8 ndarray or None
        RGB.
    """

    depth: np.ndarray
    labels: np.ndarray
    coordinates: np.ndarray
    colour: np.ndarray | None


def read_images(root: Path, split: Split, frame: FrameFiles, colour: bool) -> Images:
    """Read all images of a frame. The depth has its background where the split has composed depth on disk.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : Split
        Of the frame.
    frame : FrameFiles
        The frame.
    colour : bool
        Whether to read colour, too.

    Returns
    -------
    Images
        Of one size.

    Raises
    ------
    Unusable
        Where one is missing, broken or of another size.
    """
    composed = root / "camera_full_depths" / split.composed
    whole = (
        composed / frame.folder.name / f"{frame.name}_composed.png" if split.composed and composed.is_dir() else None
    )
    images = Images(
        depth=read_image(frame, "depth", read_depth, whole),
        labels=read_image(frame, "mask", read_labels),
        coordinates=read_image(frame, "coord", read_coordinates),
        colour=read_image(frame, "color", read_colour) if colour else None,
    )
    shapes = {
        array.shape[:2]
        for array in (images.depth, images.labels, images.coordinates, images.colour)
        if array is not None
    }
    if len(shapes) > 1:
        raise Unusable("images: sizes differ", f"{frame}: expected images of one size, got {sorted(shapes)}")
    return images


def read_model_box(root: Path, split: Split, meta: MetaLine) -> ModelBox | None:
    """Read the box of an object model from the text file beside it.

    Scans have metric sizes, those of CAMERA a diagonal of 1.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : Split
        Of the object.
    meta : MetaLine
        The object.

    Returns
    -------
    ModelBox or None
        None where there is no file.

    Raises
    ------
    Unusable
        Where the file is broken.
    """
    folder = root / "obj_models" / split.models
    path = folder / meta.synset / meta.model / "bbox.txt" if meta.synset else folder / f"{meta.model}.txt"
    return reading("model", path, _read_box) if path.is_file() else None


def _read_box(path: Path) -> ModelBox:
    values = np.array(_read_text(path).split(), dtype=float)
    if values.size not in (3, 6) or not np.isfinite(values).all():
        raise ValueError(f"expected 3 extents or 2 corners, finite, got {values.tolist()}")
    high, low = values.reshape(2, 3) if values.size == 6 else (values / 2, -values / 2)
    extents = np.abs(high - low)
    diagonal = float(np.linalg.norm(extents))
    if not (extents > 0).all() or diagonal > 10:
        raise ValueError(f"expected extents in 0..10, got {extents.tolist()}")
    return ModelBox(extents / diagonal, (high + low) / 2 / diagonal, diagonal_m=diagonal if values.size == 3 else None)


def read_truth(root: Path, split: Split, frame: FrameFiles) -> Truth:
    """Read the published ground truth of a frame of CAMERA val or REAL275 test.

    Parameters
    ----------
    root : Path
        Of the published files.
    split : Split
        Of the frame.
    frame : FrameFiles
        The frame.

    Returns
    -------
    Truth
        Of all its objects.

    Raises
    ------
    Unusable
        Where it is missing or broken.
    """
    found = (
        sorted((root / "gts" / split.truth).glob(f"results_*_{frame.folder.name}_{frame.name}.pkl"))
        if split.truth
        else []
    )
    if not found:
        raise Unusable(
            "truth: file missing", f"{frame}: expected a ground truth pickle in {root / 'gts' / split.truth}, got none"
        )
    return reading("truth", found[0], _read_truth)


def _read_truth(path: Path) -> Truth:
    content = load_pickle(path)
    transforms = np.asarray(content["gt_RTs"], dtype=float).reshape(-1, 4, 4)
    categories = _categories(content["gt_class_ids"])
    boxes = np.asarray(content["gt_bboxes"], dtype=float).reshape(-1, 4)
    if not len(transforms) == len(categories) == len(boxes):
        raise ValueError(
            f"expected as many poses, classes and boxes, got {len(transforms)}, {len(categories)}, {len(boxes)}"
        )
    determinant = np.linalg.det(transforms[:, :3, :3])
    if not (np.isfinite(transforms).all() and (determinant > 0).all()):
        raise ValueError("gt_RTs: expected finite similarities with positive determinant, got others")
    scales = np.cbrt(determinant)
    return Truth(categories, boxes, transforms[:, :3, :3] / scales[:, None, None], transforms[:, :3, 3], scales)


def read_mug_meta(root: Path) -> dict[str, tuple[np.ndarray, float]]:
    """Read how object-deformnet moved the axis of each mug's body to x = 0.

    Parameters
    ----------
    root : Path
        Of the published files.

    Returns
    -------
    dict of ((3,) ndarray, float)
        By mug: shift and factor.

    Raises
    ------
    Unusable
        Where the file is missing or broken.
    """

    def read(path: Path) -> dict[str, tuple[np.ndarray, float]]:
        content = load_pickle(path)
        return {
            name: (np.asarray(shift, dtype=float).reshape(3), float(factor))
            for name, (shift, factor) in content.items()
        }

    return reading("mug_meta", root / "obj_models" / "mug_meta.pkl", read)


def read_label(frame: FrameFiles) -> dict[int, tuple[np.ndarray, np.ndarray, float]]:
    """Read object-deformnet's label file of a frame. Its mugs are re-centred: see `poses.tight_mug`.

    Parameters
    ----------
    frame : FrameFiles
        The frame.

    Returns
    -------
    dict of ((3, 3) ndarray, (3,) ndarray, float)
        By instance: R_camera_object, translation [m] and scale.

    Raises
    ------
    Unusable
        Where the file is missing or broken.
    """

    def read(path: Path) -> dict[int, tuple[np.ndarray, np.ndarray, float]]:
        content = load_pickle(path)
        instances = [int(i) for i in content["instance_ids"]]
        rotations = np.asarray(content["rotations"], dtype=float).reshape(len(instances), 3, 3)
        translations = np.asarray(content["translations"], dtype=float).reshape(len(instances), 3)
        scales = np.asarray(content["scales"], dtype=float).reshape(len(instances))
        return {instance: (rotations[i], translations[i], float(scales[i])) for i, instance in enumerate(instances)}

    return reading("label", frame.path("label.pkl"), read)


def read_detections(path: Path) -> Detections:
    """Read Mask R-CNN's detections of a frame: `rois`, `class_ids`, `scores`, `masks` (H, W, M).

    Parameters
    ----------
    path : Path
        Of the pickle.

    Returns
    -------
    Detections
        In their order.

    Raises
    ------
    Unusable
        Where the file is missing or broken.
    """

    def read(path: Path) -> Detections:
        content = load_pickle(path, maximum_bytes=MAXIMUM_PICKLE_BYTES)
        categories = _categories(content["class_ids"])
        boxes = np.asarray(content["rois"], dtype=float).reshape(-1, 4)
        scores = np.asarray(content["scores"], dtype=float).reshape(-1)
        masks = np.moveaxis(np.asarray(content["masks"]), -1, 0).astype(bool)
        if masks.ndim != 3 or not len(boxes) == len(scores) == len(masks) == len(categories):
            raise ValueError(
                f"expected as many boxes, classes, scores and masks, got {len(boxes)}, {len(categories)}, "
                f"{len(scores)}, {masks.shape}"
            )
        return Detections(boxes, categories, scores, masks)

    return reading("detections", path, read)


def _categories(class_ids: object) -> tuple[str, ...]:
    ids = np.asarray(class_ids).astype(int).reshape(-1)
    if not ((ids >= 1) & (ids <= len(CATEGORIES))).all():
        raise ValueError(f"class ids: expected 1..{len(CATEGORIES)}, got {ids.tolist()}")
    return tuple(CATEGORIES[i - 1] for i in ids)


def _read_text(path: Path) -> str:
    with path.open("rb") as file:
        content = file.read(MAXIMUM_TEXT_BYTES + 1)
    if len(content) > MAXIMUM_TEXT_BYTES:
        raise ValueError(f"expected at most {MAXIMUM_TEXT_BYTES} bytes of text, got more")
    return content.decode("utf-8")
