"""Reader of the NOCS folder format: NNNN_color.png or .jpg, NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt and,
optionally, intrinsics.json. Names may be in capitals.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from clipose_ros.core.backprojection import DepthRange
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.object_sizes import range_warning
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.frame_files import FrameFiles, in_natural_order
from clipose_ros.formats.images import check_size, read_colour, read_depth_or_code, read_labels, unit_doubt
from clipose_ros.formats.intrinsics import JSON_FILE, TEXT_FILE, read_intrinsics
from clipose_ros.formats.text_files import read_text

REAL275_INTRINSICS = Intrinsics(fx=591.0125, fy=590.16775, cx=322.525, cy=244.11084)
CAMERA25_INTRINSICS = Intrinsics(fx=577.5, fy=577.5, cx=319.5, cy=239.5)
NOCS_SIZE = (640, 480)
FRAME_ID = "camera_color_optical_frame"
# the format carries no time: frames are stamped by their place in a 30 Hz sequence
FRAME_PERIOD_NS = NS_PER_S // 30
DISTRACTOR = 0
# A frame without depth is none of the folder's, unless another of its files names it by a number.
DEPTH_NAME = re.compile(r"(.+)_depth\.png", re.IGNORECASE)
OTHER_NAME = re.compile(r"(\d+)_(?:color\.(?:png|jpe?g)|mask\.png|meta\.txt)", re.IGNORECASE)
COLOUR_KINDS = ("color.png", "color.jpg", "color.jpeg")
CONTENTS = "a folder with NNNN_depth.png, NNNN_mask.png and NNNN_meta.txt"
CONVERSION = (
    "rename or convert to NNNN_depth.png (16-bit mm), NNNN_mask.png (instance number, 255 background), NNNN_meta.txt "
    f"(`instance class_id model`) and {JSON_FILE}"
)

ALL_LEFT_OUT = (
    "all instances are of class 0, of models that nobody asked for, and left out: learned objects need their folder "
    "(--objects) and, to be estimated, --model gspose"
)

MOST_NUMBERED = 12  # instances of the mask that nobody listed: where there are more, numbers were blended
BLENDED = (
    "were numbers blended, as JPEG and resizing do? Resize masks by their nearest pixels (cv2.INTER_NEAREST), and "
    "write PNG"
)
IMAGE_FOLDERS = ("rgb", "color", "colour", "image", "images", "depth", "mask", "masks", "instance")

log = logging.getLogger(__name__)


class NocsFolder:
    """A sequence of frames on disk.

    Iterating reads one frame after the other, each with what is in it. `Instance.id` is the instance number of the
    files and `Instance.label` is that number + 1, because in the files the background is 255 and 0 is an instance.
    Class 0 is a distractor, and no instance, unless its model is in `objects`.

    What may be wrong without being broken is logged as a warning, once for each folder: intrinsics that were not given,
    lenses that distort, depth that is not in millimetres.

    Parameters
    ----------
    path : Path
        Of the folder.
    objects : collection of str, optional
        Learned objects: an instance of class 0 whose model has such a name is one. May be changed at any time. While it
        is None, nobody has said whether there are any, and frames of which nothing is left deserve no remark.

    Attributes
    ----------
    names : list of str
        The NNNN of the files, by the numbers in them.
    remarks : Counter of str
        How many of the frames that were read deserve a remark, by remark.

    Raises
    ------
    ValueError
        With the path, where this is no such folder, or its intrinsics cannot be read.
    """

    def __init__(self, path: Path, objects: Collection[str] | None = None) -> None:
        self.path = path
        self.objects = objects
        _expect_folder(path)
        self._files = FrameFiles(path)
        self.names = _frame_names(path, self._files.names)
        self.remarks: Counter[str] = Counter()
        self._remarked: set[tuple[Path, str]] = set()  # a frame that is read again is not counted again
        self._warned: set[str] = set()
        self._intrinsics_file = read_intrinsics(path)
        if self._intrinsics_file and self._intrinsics_file.distortion:
            coefficients = ", ".join(f"{value:g}" for value in self._intrinsics_file.distortion)
            self._warn(
                f"{self._intrinsics_file.path}: the lens distorts ({coefficients}) and the images are taken as they "
                "are: poses are off by millimetres to centimetres; undistort depth, masks and colour first"
            )

    def __len__(self) -> int:
        return len(self.names)

    def __iter__(self) -> Iterator[tuple[Frame, Detections]]:
        return map(self.read, self.names)

    def read_frame(self, name: str) -> Frame:
        """Read what the camera saw in one frame; its mask and meta file need not be there.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Frame
            Its colour is None where the folder has none.

        Raises
        ------
        ValueError
            With the path, for files that are missing, broken or do not fit each other.
        """
        expect("frame", name in self.names, f"one of {self.path}", name)
        depth_file = self._file(name, "depth.png")
        depth, coded = read_depth_or_code(depth_file)
        intrinsics = self._intrinsics(depth, coded)
        colour_file = self._colour_file(name)
        colour = read_colour(colour_file) if colour_file else None
        if colour is not None:
            check_size(colour_file, colour, depth)
        frame = Frame(self.names.index(name) * FRAME_PERIOD_NS, FRAME_ID, depth, intrinsics, colour)
        self._remark_on(depth_file, unit_doubt(depth) or _range_doubt(frame))
        return frame

    def read(self, name: str) -> tuple[Frame, Detections]:
        """Read one frame and what is in it.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Frame
            Its colour is None where the folder has none.
        Detections
            The instances of the meta file, and their label image.

        Raises
        ------
        ValueError
            With the path, for files that are missing, broken or do not fit each other.
        """
        frame = self.read_frame(name)
        mask_file = self._own_file(name, "mask.png")
        labels = read_labels(mask_file)
        classes = read_classes(self._own_file(name, "meta.txt"))
        check_size(mask_file, labels, frame.depth)
        self._remark_on(mask_file, _unlisted(labels, classes))
        instances = self._instances(classes)
        if self.objects is not None and classes and not instances:
            self._remark_on(mask_file, ALL_LEFT_OUT)
        return frame, Detections(instances, labels)

    def _instances(self, classes: Mapping[int, MetaLine]) -> tuple[Instance, ...]:
        """All but the distractors."""
        named = {number: self._category(line) for number, line in classes.items()}
        return tuple(Instance(number + 1, name, id=str(number)) for number, name in named.items() if name)

    def _category(self, line: MetaLine) -> str:
        """Of an instance; empty for a distractor."""
        if line.class_id != DISTRACTOR:
            return CATEGORIES[line.class_id - 1]
        return line.model if line.model in (self.objects or ()) else ""

    def _file(self, name: str, kind: str) -> Path:
        return self._files.find(name, (kind,))

    def _own_file(self, name: str, kind: str) -> Path:
        """A file that must be there; where it has another ending, that is said."""
        path = self._file(name, kind)
        others = [] if path.exists() else self._files.beside(name, kind.partition(".")[0])
        expect(str(path), not others, f"a .{path.suffix[1:]} file", f"{', '.join(others[:3])}; {CONVERSION}")
        return path

    def _colour_file(self, name: str) -> Path | None:
        file = self._files.find(name, COLOUR_KINDS)
        return file if file.exists() else None

    def _intrinsics(self, depth: np.ndarray, coded: bool) -> Intrinsics:
        """Of an image: those of the folder, else those of the data set that it must be from."""
        height, width = depth.shape
        file = self._intrinsics_file
        if file is None:
            return self._assumed_intrinsics((width, height), coded)
        file.check_size(width, height)
        if not file.is_central(width, height):
            self._warn(
                f"{file.path}: the principal point ({file.intrinsics.cx:g}, {file.intrinsics.cy:g}) is far from the "
                f"middle of the images ({width}x{height}): are the intrinsics those of another resolution?"
            )
        return file.intrinsics

    def _assumed_intrinsics(self, size: tuple[int, int], coded: bool) -> Intrinsics:
        expect(
            str(self.path),
            size == NOCS_SIZE,
            f"{JSON_FILE} or {TEXT_FILE} beside images of {size[0]}x{size[1]} (without it only 640x480, REAL275's and "
            "CAMERA25's, is read)",
            f'neither; write {JSON_FILE}: {{"fx": …, "fy": …, "cx": …, "cy": …}} [px], as camera_info says in K',
        )
        owner, assumed = ("CAMERA25", CAMERA25_INTRINSICS) if coded else ("REAL275", REAL275_INTRINSICS)
        self._warn(
            f"{self.path}: no {JSON_FILE}, so {owner}'s are taken (fx {assumed.fx:g}, fy {assumed.fy:g}, "
            f"cx {assumed.cx:g}, cy {assumed.cy:g}): where another camera took the images, write its {JSON_FILE}"
        )
        return assumed

    def _warn(self, text: str) -> None:
        if text not in self._warned:
            self._warned.add(text)
            log.warning("%s", text)

    def _remark_on(self, file: Path, remark: str) -> None:
        """Count a remark, and log it where it is the first of its kind."""
        if remark and (file, remark) not in self._remarked:
            self._remarked.add((file, remark))
            self.remarks[remark] += 1
            if self.remarks[remark] == 1:
                log.warning("%s: %s", file, remark)


class MetaLine(NamedTuple):
    """What the meta file says of an instance.

    Attributes
    ----------
    class_id : int
        Index of the six categories + 1; 0 is none of them.
    model : str
        Name of its model; empty where none is given.
    """

    class_id: int
    model: str


def read_classes(path: Path) -> dict[int, MetaLine]:
    """Read what the instances of a frame are: lines `instance class_id model`.

    Parameters
    ----------
    path : Path
        Of NNNN_meta.txt.

    Returns
    -------
    dict of int to MetaLine
        By instance number, distractors among them.

    Raises
    ------
    ValueError
        With the path, where the file is missing or a line is wrong.
    """
    expect(str(path), path.is_file(), "a file", "none")
    classes: dict[int, MetaLine] = {}
    for line in filter(str.strip, read_text(path).splitlines()):
        try:
            number, class_id = map(int, line.split()[:2])
        except ValueError:
            raise ValueError(f"{path}: expected `instance class_id model`, got {line!r}") from None
        if not 0 <= number < 255 or number in classes:
            raise ValueError(f"{path}: expected different instance numbers in 0..254, got {line!r}")
        if not 0 <= class_id <= len(CATEGORIES):
            raise ValueError(f"{path}: expected a class id in 0..{len(CATEGORIES)}, got {line!r}")
        words = line.split()
        classes[number] = MetaLine(class_id, words[-1] if len(words) > 2 else "")  # some files name the shape before
    return classes


def _range_doubt(frame: Frame) -> str:
    """A remark on depth that is out of range all over; empty where it is not."""
    warning = range_warning(frame, DepthRange())
    return f"{warning[0]}; is its unit 1 mm? Convert it to millimetres" if warning else ""


def _unlisted(labels: np.ndarray, classes: Mapping[int, MetaLine]) -> str:
    """A remark on what is in the mask and not in the meta file; empty where nothing is."""
    present = np.flatnonzero(np.bincount(labels.ravel(), minlength=256)[1:])
    unlisted = [str(number) for number in present.tolist() if number not in classes]
    if not unlisted:
        return ""
    more = len(unlisted) > MOST_NUMBERED
    named = ", ".join(unlisted[:MOST_NUMBERED])
    what = f"{named}, … ({len(unlisted)} numbers): {BLENDED}" if more else named
    return f"instances of the mask without a line in the meta file are left out: {what}"


def _expect_folder(path: Path) -> None:
    expect(str(path), path.exists(), CONTENTS, "nothing there")
    expect(str(path), path.is_dir(), CONTENTS, f"a file; give the folder that it lies in: {path.parent}")


def _frame_names(path: Path, files: list[str]) -> list[str]:
    """The names of a folder's frames; raises ValueError, with what the path is instead, where there is none."""
    names = {match[1] for file in files if (match := DEPTH_NAME.fullmatch(file))}
    if not names:
        raise ValueError(f"{path}: expected {CONTENTS}, got {_other_contents(path, files)}")
    return in_natural_order([*names, *(match[1] for file in files if (match := OTHER_NAME.fullmatch(file)))])


def _other_contents(path: Path, files: list[str]) -> str:
    """What a folder is that holds no frames, and what to do about it."""
    if "scene_camera.json" in files:
        return "a BOP scene; clipose estimate reads such"
    for above in ("*", "*/*"):
        if camera := min(path.glob(f"{above}/scene_camera.json"), default=None):
            return f"a folder of BOP scenes; clipose estimate reads such: {camera.parent.parent}"
    for above in ("*", "*/*"):
        scenes = sorted({file.parent for file in path.glob(f"{above}/*_depth.png")})
        if scenes:
            names = ", ".join(str(scene.relative_to(path)) for scene in scenes[:5])
            return f"{len(scenes)} such folders in it ({names}{', …' * (len(scenes) > 5)}); give one: {scenes[0]}"
    if not files:
        return "an empty folder"
    for above in ("", "*/"):
        if camera := min(path.glob(f"{above}scene_camera_*.json"), default=None):
            return (
                f"a BOP scene of several cameras ({camera.name}); make a scene of one: a folder with its images as "
                "depth, rgb and mask_visib, and its files as scene_camera.json and scene_gt.json (links will do)"
            )
    if (path / "key_to_shard.json").exists() or any(file.endswith(".tar") for file in files):
        return "shards of images (.tar); unpack them as BOP scenes: each into a folder with scene_camera.json"
    kinds = [file for file in files if file.lower() in IMAGE_FOLDERS and (path / file).is_dir()]
    if len(kinds) > 1:
        return f"a folder for each kind of image ({', '.join(kinds)}); put them into one (links will do): {CONVERSION}"
    similar = [file for file in files if "depth" in file.lower()] or files
    return f"{', '.join(similar[:3])}{', …' * (len(similar) > 3)}; {CONVERSION}"
