"""Reader of BOP scenes: scene_camera.json, rgb/ or gray/, depth/, mask_visib/ and scene_gt.json.

See https://github.com/thodan/bop_toolkit/blob/master/docs/bop_datasets_format.md.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.images import check_size, read_colour, read_depth, read_object_mask, unit_doubt
from clipose_ros.formats.intrinsics import in_pixels
from clipose_ros.formats.nocs_folder import FRAME_ID, FRAME_PERIOD_NS
from clipose_ros.formats.text_files import read_json

CAMERA_FILE, TRUTH_FILE = "scene_camera.json", "scene_gt.json"
MASKS = "mask_visib"
MASK_CURE = "bop_toolkit's calc_gt_masks.py writes it; or find the objects without: --segmenter depth"
IMAGE_FOLDERS = ("rgb", "gray")
SUFFIXES = ("png", "jpg", "jpeg", "tif", "tiff")
MOST_BYTES = 2**28  # of one JSON file
MOST_OBJECTS = 1000  # of an image
MM_PER_M = 1000.0


@dataclass(frozen=True)
class BopImage:
    """Which image a frame is.

    Parameters
    ----------
    scene : Path
        Folder of the scene.
    scene_id : int
        Its number.
    image_id : int
        Number of the image in the scene.
    """

    scene: Path
    scene_id: int
    image_id: int

    def file(self, folder: str) -> Path | None:
        """Find the image in a folder of the scene.

        Parameters
        ----------
        folder : str
            rgb, gray or depth.

        Returns
        -------
        Path or None
            None where there is none.
        """
        files = (self.scene / folder / f"{self.image_id:06d}.{suffix}" for suffix in SUFFIXES)
        return next((file for file in files if file.is_file()), None)


@dataclass(frozen=True)
class ObjectNames:
    """Names of the objects of a data set.

    Parameters
    ----------
    by_id : mapping of int to str
        Category, or name of a learned object, by obj_id.
    """

    by_id: Mapping[int, str] = field(default_factory=dict)

    @classmethod
    def of(cls, entries: Sequence[str]) -> ObjectNames:
        """Read what people write.

        Parameters
        ----------
        entries : sequence of str
            "obj_id:name".

        Returns
        -------
        ObjectNames
            Of these.

        Raises
        ------
        ValueError
            For an entry of another form, and for an obj_id that comes twice.
        """
        names: dict[int, str] = {}
        for entry in entries:
            number, _, name = (part.strip() for part in entry.partition(":"))
            sound = number.isdecimal() and len(number) < 10 and name
            expect("--object-names", sound, "entries of the form obj_id:name, as 1:mug", repr(entry))
            expect("--object-names", int(number) not in names, "every obj_id once", repr(number))
            names[int(number)] = name
        return cls(names)

    def name(self, object_id: int, learned: Collection[str]) -> str:
        """Name an object.

        Parameters
        ----------
        object_id : int
            The data set's.
        learned : collection of str
            Learned objects: one whose name is that of the data set's model, obj_000001, needs no entry.

        Returns
        -------
        str
            Empty where it has no name.
        """
        model = f"obj_{object_id:06d}"
        return self.by_id.get(object_id) or (model if model in learned else "")

    def check_unique(self) -> None:
        """Refuse names that several objects have.

        Raises
        ------
        ValueError
            With one of them.
        """
        for name in self.by_id.values():
            numbers = [str(number) for number, other in self.by_id.items() if other == name]
            wanted = f"one obj_id for {name}, since names alone tell what a segmenter finds"
            expect("--object-names", len(numbers) == 1, wanted, ", ".join(numbers))

    def object_id(self, name: str) -> int | None:
        """Find the object that has a name.

        Parameters
        ----------
        name : str
            Of an instance.

        Returns
        -------
        int or None
            Its obj_id; None where no object has the name.
        """
        for number, other in self.by_id.items():
            if other == name:
                return number
        model = re.fullmatch(r"obj_(\d{6})", name)
        return int(model[1]) if model else None


class BopScenes:
    """The images of a BOP scene, or of a folder of such scenes, as frames. Stamps are places in a 30 Hz sequence.

    Parameters
    ----------
    path : Path
        Folder of a scene, which has scene_camera.json, or one above such folders (a data set's test/).
    names : ObjectNames
        What the objects are called. Instances of others are left out, and counted.

    Attributes
    ----------
    names : list of str
        Of the frames: 000000, or 000001/000000 of several scenes.
    objects : collection of str
        Learned objects that are known.
    remarks : Counter of str
        How many of the frames that were read deserve a remark, by remark.

    Raises
    ------
    ValueError
        With the path, where this is no such folder, or a file of a scene cannot be read.
    """

    def __init__(self, path: Path, names: ObjectNames = ObjectNames()) -> None:
        self.path, self.object_names = path, names
        self.objects: Collection[str] = ()
        self.remarks: Counter[str] = Counter()
        self._remarked: set[tuple[str, str]] = set()
        inside = sorted(file.parent for file in path.glob(f"*/{CAMERA_FILE}"))
        scenes = [path] if (path / CAMERA_FILE).is_file() else inside
        expect(str(path), scenes, f"a BOP scene with {CAMERA_FILE}, or a folder of such scenes", "neither")
        self._cameras = {scene: _by_image(scene / CAMERA_FILE, dict) for scene in scenes}
        self._truths: dict[Path, dict[int, list]] = {}
        several = scenes != [path]
        self._images = {
            f"{scene.name}/{number:06d}" if several else f"{number:06d}": BopImage(scene, _scene_id(scene), number)
            for scene, camera in self._cameras.items()
            for number in sorted(camera)
        }
        expect(str(path), self._images, f"at least one image in {CAMERA_FILE}", "none; was it downloaded whole?")
        self.names = list(self._images)
        self._places = {name: place for place, name in enumerate(self.names)}

    def __len__(self) -> int:
        return len(self.names)

    def image(self, name: str) -> BopImage:
        """Say which image a frame is.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        BopImage
            Its scene and number.
        """
        return self._images[name]

    def object_id(self, name: str, instance: Instance, given: bool) -> int | None:
        """Say which object an instance is.

        Parameters
        ----------
        name : str
            Of the frame.
        instance : Instance
            In it.
        given : bool
            Whether `read` gave it. Else a segmenter found it, and its name tells.

        Returns
        -------
        int or None
            The data set's obj_id; None where the name does not tell it.
        """
        if not given:
            return self.object_names.object_id(instance.category)
        image = self._images[name]
        return _object_id(image.scene / TRUTH_FILE, self._truth(image)[int(instance.id)])

    def check_names(self) -> None:
        """Refuse scenes of whose objects none has a name.

        Raises
        ------
        ValueError
            With the obj_ids that there are.
        """
        images = self._images.values()
        numbers = {_object_id(image.scene / TRUTH_FILE, one) for image in images for one in self._truth(image)}
        if numbers and not any(self.object_names.name(number, self.objects) for number in numbers):
            there, first = ", ".join(map(str, sorted(numbers)[:20])), min(numbers)
            raise ValueError(
                f"{self.path}: expected a name for one of its obj_ids ({there}) at least, got none; "
                f"give --object-names {first}:mug …, or learn an object named obj_{first:06d}"
            )

    def read_frame(self, name: str) -> Frame:
        """Read what the camera saw in one frame.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Frame
            Its colour is None where the scene has neither rgb nor gray.

        Raises
        ------
        ValueError
            With the path, for files that are missing, broken or do not fit each other.
        """
        image = self._images[name]
        where = f"{image.scene / CAMERA_FILE}: {image.image_id}"
        camera = self._cameras[image.scene][image.image_id]
        intrinsics = _intrinsics(where, camera.get("cam_K"))
        scale = camera.get("depth_scale", 1.0)
        number = isinstance(scale, (int, float)) and not isinstance(scale, bool) and 0 < scale <= MM_PER_M
        expect(f"{where}: depth_scale", number, "millimetres for 1 in the depth image, more than 0", scale)
        depth_file = image.file("depth")
        expected = str(image.scene / "depth" / f"{image.image_id:06d}.png")
        expect(expected, depth_file is not None, "a depth image", "none")
        depth = read_depth(depth_file)
        doubt = unit_doubt(depth if scale == 1 else depth * np.float32(scale))
        self._remark(name, f"{doubt} (depth_scale is {scale:g})" if doubt else "")
        colour_file = next((file for folder in IMAGE_FOLDERS if (file := image.file(folder)) is not None), None)
        colour = read_colour(colour_file) if colour_file else None
        if colour is not None:
            check_size(colour_file, colour, depth)
        stamp_ns = self._places[name] * FRAME_PERIOD_NS
        return Frame(stamp_ns, FRAME_ID, depth, intrinsics, colour, depth_unit_m=float(scale) / MM_PER_M)

    def read(self, name: str) -> tuple[Frame, Detections]:
        """Read one frame and what is in it.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Frame
            As `read_frame`.
        Detections
            The objects of scene_gt.json that have a name; `Instance.id` is their place there. Masks of their own, of
            what is visible.

        Raises
        ------
        ValueError
            With the path, for files that are missing, broken or do not fit each other.
        """
        frame, image = self.read_frame(name), self._images[name]
        instances, masks, nameless = [], [], set()
        truth = self._truth(image)
        self._remark(name, "" if truth else f"{TRUTH_FILE} names no objects")
        for place, entry in enumerate(truth):
            number = _object_id(image.scene / TRUTH_FILE, entry)
            called = self.object_names.name(number, self.objects)
            if not called:
                nameless.add(number)
                continue
            instances.append(Instance(place + 1, called, id=str(place)))
            mask_file = image.scene / MASKS / f"{image.image_id:06d}_{place:06d}.png"
            expect(str(mask_file), mask_file.is_file(), "a file", f"none; {MASK_CURE}")
            masks.append(read_object_mask(mask_file))
            check_size(mask_file, masks[-1], frame.depth)
        there = ", ".join(map(str, sorted(nameless)))
        self._remark(name, f"objects without a name (--object-names) are left out: obj_id {there}" if nameless else "")
        none = np.zeros((0, *frame.depth.shape), bool)
        return frame, Detections(tuple(instances), np.stack(masks) if masks else none)

    def _truth(self, image: BopImage) -> list:
        """The objects of an image."""
        path = image.scene / TRUTH_FILE
        if image.scene not in self._truths:
            expect(str(path), path.is_file(), "a file that names the objects, or --segmenter to find them", "none")
            self._truths[image.scene] = _by_image(path, list)
        entries = self._truths[image.scene].get(image.image_id, [])
        where, count = f"{path}: {image.image_id}", len(entries)
        expect(where, count <= MOST_OBJECTS, f"at most {MOST_OBJECTS} objects", count)
        return entries

    def _remark(self, name: str, text: str) -> None:
        if text and (name, text) not in self._remarked:  # a frame that is read again is not counted again
            self._remarked.add((name, text))
            self.remarks[text] += 1


def is_bop_folder(path: Path) -> bool:
    """Say whether a folder is a BOP scene, or has such scenes in it.

    Parameters
    ----------
    path : Path
        Any.

    Returns
    -------
    bool
        True where it has a scene_camera.json, or a folder in it has.
    """
    return (path / CAMERA_FILE).is_file() or next(path.glob(f"*/{CAMERA_FILE}"), None) is not None


def _scene_id(scene: Path) -> int:
    name = scene.resolve().name
    expect(str(scene), name.isdecimal(), "a folder whose name is the number of the scene, as 000001", name)
    return int(name)


def _by_image(path: Path, kind: type) -> dict[int, Any]:
    """What a file has for each image, by its number."""
    expect(str(path), path.stat().st_size <= MOST_BYTES, f"at most {MOST_BYTES} bytes", path.stat().st_size)
    data = read_json(path)
    mapping = isinstance(data, dict) and all(key.isdecimal() and len(key) < 10 for key in data)
    expect(str(path), mapping, "a mapping of image numbers, as BOP has it", type(data).__name__)
    for key, entry in data.items():
        expect(f"{path}: {key}", isinstance(entry, kind), f"a {kind.__name__}", type(entry).__name__)
    return {int(key): entry for key, entry in data.items()}


def _object_id(path: Path, entry: Any) -> int:
    number = entry.get("obj_id") if isinstance(entry, dict) else None
    expect(f"{path}: obj_id", type(number) is int and number >= 0, "a number in each entry", number)
    return number


def _intrinsics(where: str, values: Any) -> Intrinsics:
    try:
        matrix = np.array(values, np.float64)
    except (TypeError, ValueError):
        matrix = np.zeros(0)
    sound = matrix.size == 9 and np.isfinite(matrix).all()
    expect(f"{where}: cam_K", sound, "the nine numbers of a 3x3 matrix", values)
    (fx, skew, cx), (_, fy, cy), last = matrix.reshape(3, 3).tolist()
    expect(f"{where}: cam_K", abs(skew) <= 1e-3 * fx and last == [0, 0, 1], "[fx, 0, cx, 0, fy, cy, 0, 0, 1]", values)
    try:
        return in_pixels(Intrinsics(fx, fy, cx, cy))
    except ValueError as error:
        raise ValueError(f"{where}: cam_K: {error}") from error
