"""Reader of reference views: images of one object, each with the pose of the object.

NNNN_color.jpg or .png, NNNN_depth.png [mm], NNNN_mask.png (255 on the object), in any case of letters, poses.json
{"NNNN": {"R": 3x3, "t": [3]}}, or 4x4 matrices, T_camera_object [m], and intrinsics.json.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.frame_files import FrameFiles, in_natural_order
from clipose_ros.formats.images import read_colour, read_depth, read_image, unit_doubt
from clipose_ros.formats.intrinsics import JSON_FILE, TEXT_FILE, read_intrinsics
from clipose_ros.formats.nocs_folder import FRAME_ID, FRAME_PERIOD_NS
from clipose_ros.formats.text_files import read_json

POSES_FILE = "poses.json"
COLOUR_NAME = re.compile(r"_color\.(?:png|jpe?g)$", re.IGNORECASE)
IMAGE_NAME = re.compile(r"(?:_color)?\.(?:png|jpe?g)$", re.IGNORECASE)
LEAST_VIEWS, MOST_VIEWS = 4, 200
OBJECT_VALUE = 255  # of a mask
LEAST_MASK_PX = 100
MOST_VALUES_TOLD = 5
MASK_KINDS = ("mask.png",)
COLOUR_KINDS = ("color.jpg", "color.png", "color.jpeg")
FARTHEST_M = 10.0  # an object that is further away is likely in millimetres
SURFACE_POINTS, CELLS = 400, 20  # of a view; along its extent
# The room that rotations take when transposed, as a share of that as given: 0.31 to 0.82 of seven objects whose
# rotations were transposed, and the inverse of where they were right.
MOST_ROOM = 0.85
MOST_MISFITS = 0.34  # share of the views that may not agree with the others, before all poses are in doubt


@dataclass(frozen=True)
class ReferenceView:
    """One view of an object.

    Parameters
    ----------
    name : str
        The NNNN of its files.
    colour : (H, W, 3) uint8
        RGB.
    depth_m : (H, W) float32 or None
        0 where nothing is known [m]; None where there is no depth image.
    mask : (H, W) bool
        The object's pixels.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Of the object's origin, camera frame [m].
    """

    name: str
    colour: np.ndarray
    depth_m: np.ndarray | None
    mask: np.ndarray
    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True)
class ReferenceViews:
    """All views of an object.

    Parameters
    ----------
    intrinsics : Intrinsics
        Of all images.
    views : tuple of ReferenceView
        In the order of their names.
    floor_y_m : float, optional
        Where y is less is nothing of the object, frame of the poses [m]: it stands on a board there.
    """

    intrinsics: Intrinsics
    views: tuple[ReferenceView, ...]
    floor_y_m: float | None = None


def is_reference_folder(folder: Path) -> bool:
    """Say whether a folder has poses of reference views.

    Parameters
    ----------
    folder : Path
        Any.

    Returns
    -------
    bool
        True where it has a poses.json that is a mapping, as references have it, and no meta files.
    """
    path = folder / POSES_FILE
    if not path.is_file() or next(folder.glob("*_meta.txt"), None) is not None:
        return False
    try:
        return isinstance(read_json(path), dict)
    except (ValueError, OSError):
        return False


def read_poses_of_views(folder: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read the poses of reference views.

    Parameters
    ----------
    folder : Path
        With poses.json, whose keys are the NNNN of the views, their numbers, or the names of their colour images.

    Returns
    -------
    dict of str to ((3, 3) float, (3,) float)
        R_camera_object and translation [m] by view, in the order of the numbers in their names.

    Raises
    ------
    ValueError
        With the path, where there is no such file, or a pose is none.
    """
    path = folder / POSES_FILE
    expect(str(path), path.is_file(), 'a file {"0000": {"R": 3x3, "t": [3]}} with T_camera_object', "none")
    data = read_json(path)
    expect(str(path), isinstance(data, dict), "a mapping of view names to poses", type(data).__name__)
    expect(str(path), data, "at least one view with its pose", "none")
    files = FrameFiles(folder)
    keys = {}
    for key in data:
        other = keys.setdefault(_view_name(files, key), key)
        expect(str(path), other == key, "one pose for each view", f"{other!r} and {key!r}")
    return {name: _pose(f"{path}: {keys[name]}", data[keys[name]]) for name in in_natural_order(list(keys))}


def _view_name(files: FrameFiles, key: str) -> str:
    """The NNNN of the view that a key of poses.json means; the key itself where there is no such view."""
    wanted = IMAGE_NAME.sub("", key)
    views = {COLOUR_NAME.sub("", name): name for name in files.names if COLOUR_NAME.search(name)}
    if wanted in views or not wanted.isdecimal():
        return wanted if wanted in views else key
    return next((view for view in views if view.isdecimal() and int(view) == int(wanted)), key)


def read_reference_views(folder: Path, every: int = 1) -> ReferenceViews:
    """Read the views of an object, and check that they are what they should be.

    Parameters
    ----------
    folder : Path
        In the form above.
    every : int
        Take every n-th view only.

    Returns
    -------
    ReferenceViews
        All with masks and poses that agree with each other.

    Raises
    ------
    ValueError
        With the path and what is wrong: files that are missing or do not fit each other, too few views, empty masks,
        poses that are no rotations, are in millimetres, or contradict each other, depth in another unit.
    """
    found, blank = read_posed_views(folder, every)
    for name in blank:
        _refuse_blank(FrameFiles(folder).find(name, MASK_KINDS))
    check_agreement(folder / POSES_FILE, found)
    check_rotations(folder / POSES_FILE, found)
    return found


def read_posed_views(folder: Path, every: int = 1) -> tuple[ReferenceViews, tuple[str, ...]]:
    """Read the views of an object, of which some may have no masks.

    Parameters
    ----------
    folder : Path
        In the form above.
    every : int
        Take every n-th view only.

    Returns
    -------
    references : ReferenceViews
        Their poses are not compared with each other.
    blank : tuple of str
        Views without a mask: theirs are empty.

    Raises
    ------
    ValueError
        As `read_reference_views`.
    """
    expect("every", every >= 1, "1 or more", every)
    expect(str(folder), folder.is_dir(), "a folder of reference views", "none")
    poses = read_poses_of_views(folder)
    names = list(poses)[::every]
    check_count(folder, len(names))
    distances = [float(np.linalg.norm(poses[name][1])) for name in names]
    expect(
        f"{folder / POSES_FILE}: t",
        np.median(distances) <= FARTHEST_M,
        "metres",
        f"an object {np.median(distances):.0f} away; divide by 1000 if these are millimetres",
    )
    files = FrameFiles(folder)
    blank = tuple(name for name in names if not files.find(name, MASK_KINDS).is_file())
    views = tuple(read_view(files, name, *poses[name], masked=name not in blank) for name in names)
    return ReferenceViews(read_central_intrinsics(folder, [view.mask.shape for view in views]), views), blank


def check_count(folder: Path, count: int) -> None:
    """Refuse too few views, or too many.

    Parameters
    ----------
    folder : Path
        Of the views.
    count : int
        How many there are.

    Raises
    ------
    ValueError
        With the folder.
    """
    expect(
        str(folder), LEAST_VIEWS <= count <= MOST_VIEWS, f"{LEAST_VIEWS} to {MOST_VIEWS} views from all sides", count
    )


def read_central_intrinsics(folder: Path, shapes: Sequence[tuple[int, int]]) -> Intrinsics:
    """Read the intrinsics of views, and check that they are those of the images.

    Parameters
    ----------
    folder : Path
        With intrinsics.json or cam_K.txt.
    shapes : sequence of (int, int)
        Heights and widths of the images [px].

    Returns
    -------
    Intrinsics
        Of all images.

    Raises
    ------
    ValueError
        With the path: images of several sizes, no file, another resolution, a lens that distorts.
    """
    sizes = set(shapes)
    expect(str(folder), len(sizes) == 1, "images of one size", f"{len(sizes)} sizes")
    height, width = shapes[0]
    file = read_intrinsics(folder)
    expect(str(folder), file is not None, f"{JSON_FILE} or {TEXT_FILE}", "neither")
    file.check_size(width, height)
    expect(
        str(file.path),
        file.is_central(width, height),
        f"a principal point near the middle of the images, which are {width}x{height}",
        f"({file.intrinsics.cx:g}, {file.intrinsics.cy:g}): are these the intrinsics of another resolution?",
    )
    expect(str(file.path), not file.distortion, "images without distortion", "coefficients; rectify the images first")
    return file.intrinsics


class ReferenceFrames:
    """The views of a folder of references, as frames with one object each. Their poses are not looked at.

    Parameters
    ----------
    path : Path
        Of the folder.
    name : str
        Of the object.

    Attributes
    ----------
    names : list of str
        The NNNN of its views, by the numbers in them.
    objects : collection of str
        Not used: the object has a name.
    remarks : Counter of str
        Always empty.

    Raises
    ------
    ValueError
        With the path, where poses or intrinsics cannot be read.
    """

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name
        self.names = list(read_poses_of_views(path))
        self._files = FrameFiles(path)
        self.objects: Collection[str] = ()
        self.remarks: Counter[str] = Counter()
        file = read_intrinsics(path)
        expect(str(path), file is not None, f"{JSON_FILE} or {TEXT_FILE}", "neither")
        self._file = file

    def __len__(self) -> int:
        return len(self.names)

    def read(self, name: str) -> tuple[Frame, Detections]:
        """Read a view.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Frame
            With colour; depth is 0 everywhere where there is no depth image.
        Detections
            The object: instance 1.

        Raises
        ------
        ValueError
            With the path, for files that are missing, broken or do not fit each other.
        """
        view = read_view(self._files, name, np.eye(3), np.zeros(3))
        height, width = view.mask.shape
        self._file.check_size(width, height)
        depth_m = np.zeros((height, width), np.float32) if view.depth_m is None else view.depth_m
        stamp_ns = self.names.index(name) * FRAME_PERIOD_NS
        frame = Frame(stamp_ns, FRAME_ID, depth_m, self._file.intrinsics, view.colour)
        return frame, Detections((Instance(1, self.name, id="1"),), view.mask.astype(np.uint8))


def read_view(
    files: FrameFiles, name: str, rotation: np.ndarray, translation: np.ndarray, masked: bool = True
) -> ReferenceView:
    """Read the files of a view.

    Parameters
    ----------
    files : FrameFiles
        Of the folder.
    name : str
        Of the view.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Of the object's origin, camera frame [m].
    masked : bool
        Whether it has a mask.

    Returns
    -------
    ReferenceView
        Its mask is empty where it has none.

    Raises
    ------
    ValueError
        With the path, for files that are missing, broken or do not fit each other.
    """
    colour, depth_m = read_colour_and_depth(files, name)
    mask = np.zeros(colour.shape[:2], bool)
    if masked:
        mask_file = files.find(name, MASK_KINDS)
        if not mask_file.is_file():
            _refuse_blank(mask_file)
        mask = read_mask_of_view(mask_file, colour.shape[:2])
    return ReferenceView(name, colour, depth_m, mask, rotation, translation)


def _refuse_blank(mask_file: Path) -> None:
    raise ValueError(f"{mask_file}: expected a mask, {OBJECT_VALUE} on the object, got none")


def read_colour_and_depth(files: FrameFiles, name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Read the images of a view.

    Parameters
    ----------
    files : FrameFiles
        Of the folder.
    name : str
        Of the view.

    Returns
    -------
    colour : (H, W, 3) uint8
        RGB.
    depth_m : (H, W) float32 or None
        0 where nothing is known [m]; None where there is no depth image.

    Raises
    ------
    ValueError
        With the path, for files that are missing, broken or do not fit each other.
    """
    colour_file, depth_file = files.find(name, COLOUR_KINDS), files.find(name, ("depth.png",))
    expect(str(colour_file), colour_file.is_file(), f"a file, as {POSES_FILE} names it", "none")
    colour = read_colour(colour_file)
    if not depth_file.is_file():
        return colour, None
    depth_mm = read_depth(depth_file)
    doubt = unit_doubt(depth_mm)
    expect(str(depth_file), not doubt, "millimetres", doubt)
    expect(str(depth_file), depth_mm.shape == colour.shape[:2], f"{colour.shape[:2]} as colour", depth_mm.shape)
    return colour, depth_mm.astype(np.float32) / np.float32(1000)


def read_mask_of_view(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a mask.

    Parameters
    ----------
    path : Path
        Of a grey image, 255 on the object.
    shape : (int, int)
        Height and width that it must have [px].

    Returns
    -------
    (H, W) bool
        The object's pixels.

    Raises
    ------
    ValueError
        With the path, where it is no such mask, or shows hardly anything.
    """
    mask = _mask(path)
    expect(str(path), mask.shape == shape, f"{shape} as colour", mask.shape)
    return mask


def _mask(path: Path) -> np.ndarray:
    image = read_image(path)
    expect(str(path), image.dtype == np.uint8, "an 8-bit image", f"one of {image.dtype}")
    grey = image.ndim == 2 or (image[:, :, :3] == image[:, :, :1]).all()
    expect(str(path), grey, f"grey: {OBJECT_VALUE} on the object, 0 elsewhere", "colours (a cut-out or a palette)")
    image = image if image.ndim == 2 else image[:, :, 0]
    mask = image == OBJECT_VALUE
    count = int(np.count_nonzero(mask))
    values = ", ".join(map(str, np.unique(image)[:MOST_VALUES_TOLD]))
    enough = f"at least {LEAST_MASK_PX} pixels of {OBJECT_VALUE} (the object)"
    expect(str(path), count >= LEAST_MASK_PX, enough, f"{count}; the values in it are {values}")
    expect(str(path), count < 0.9 * mask.size, f"{OBJECT_VALUE} on the object alone", f"{count} pixels, nearly all")
    return mask


def _pose(where: str, entry: Any) -> tuple[np.ndarray, np.ndarray]:
    matrix = isinstance(entry, list)
    sound = matrix or (isinstance(entry, Mapping) and {"R", "t"} <= set(entry))
    expect(where, sound, '{"R": 3x3, "t": [3]}, or a 4x4 matrix', entry)
    try:
        if matrix:
            whole = np.array(entry, np.float64)
            fits = whole.shape == (4, 4) and np.array_equal(whole[3], (0, 0, 0, 1))
            expect(where, fits, '{"R": 3x3, "t": [3]}, or a 4x4 matrix by row that ends in 0 0 0 1', entry)
            rotation, translation = whole[:3, :3], whole[:3, 3]
        else:
            rotation, translation = np.array(entry["R"], np.float64), np.array(entry["t"], np.float64)
    except (TypeError, ValueError) as error:
        if str(error).startswith(where):
            raise
        raise ValueError(f"{where}: expected numbers in R and t, got {entry}") from None
    if translation.shape in ((3, 1), (1, 3)):  # as OpenCV's solvePnP gives it
        translation = translation.ravel()
    expect(f"{where}: t", translation.shape == (3,) and np.isfinite(translation).all(), "3 numbers", translation)
    orthogonal = rotation.shape == (3, 3) and np.allclose(rotation @ rotation.T, np.eye(3), atol=1e-2)
    expect(f"{where}: R", orthogonal and np.linalg.det(rotation) > 0, "a rotation matrix", rotation.tolist())
    expect(
        f"{where}: t",
        translation[2] > 0,
        "an object in front of the camera (T_camera_object)",
        f"{translation}; if the camera looks along -z, as in OpenGL and Blender, negate the rows y and z of R and t; "
        "if these are poses of the camera, invert them",
    )
    return rotation, translation


def check_agreement(where: Path | str, references: ReferenceViews) -> None:
    """Compare where each view sees the middle of the object, in the frame of the poses.

    Parameters
    ----------
    where : Path or str
        What the poses come from.
    references : ReferenceViews
        All views.

    Raises
    ------
    ValueError
        With `where` and the views that see it elsewhere.
    """
    middles, extents = zip(*(_middle(view, references.intrinsics) for view in references.views))
    middles, extent = np.array(middles), float(np.median(extents))
    apart = np.linalg.norm(middles - np.median(middles, axis=0), axis=1)
    misfits = [view.name for view, far in zip(references.views, apart) if far > 1.0 * extent]
    if not misfits:
        return
    shown = ", ".join(misfits[:5]) + (", …" if len(misfits) > 5 else "")
    if len(misfits) > MOST_MISFITS * len(references.views):
        raise ValueError(
            f"{where}: expected poses that agree on where the object is, got {len(misfits)} of "
            f"{len(middles)} views elsewhere ({shown}); they must be T_camera_object [m] (not its inverse), with the "
            "camera's x right, y down, z forward, and the intrinsics those of the images"
        )
    raise ValueError(
        f"{where}: expected poses that agree, got views {shown} that see the object elsewhere than the "
        "others: leave them out, or correct them"
    )


def check_rotations(where: Path | str, references: ReferenceViews) -> None:
    """Refuse rotations that are transposed: where the object's middle is the origin, `check_agreement` cannot tell.

    The surface that all views saw together takes less room with right rotations than with wrong ones.

    Parameters
    ----------
    where : Path or str
        What the poses come from.
    references : ReferenceViews
        All views; those without depth do not count.

    Raises
    ------
    ValueError
        With `where`.
    """
    clouds = [(points, view.rotation) for view in references.views if len(points := _surface(view, references))]
    if len(clouds) < LEAST_VIEWS:
        return
    cell_m = float(np.median([np.linalg.norm(np.ptp(points, axis=0)) for points, _ in clouds])) / CELLS
    given, transposed = (
        len(np.unique(np.floor(np.concatenate(placed) / cell_m).astype(int), axis=0))
        for placed in ([points @ turn for points, turn in clouds], [points @ turn.T for points, turn in clouds])
    )
    expect(
        f"{where}: R",
        transposed > MOST_ROOM * given,
        "R_camera_object, row by row",
        f"rotations with which the views do not agree on the surface ({given} cells), and do when transposed "
        f"({transposed}): transpose R, which is written by columns, or of the inverse pose",
    )


def _surface(view: ReferenceView, references: ReferenceViews) -> np.ndarray:
    """Some points (N, 3) that a view saw of the object, from its origin along the axes of the camera [m]."""
    if view.depth_m is None:
        return np.zeros((0, 3))
    rows, columns = np.nonzero(view.mask & (view.depth_m > 0))
    step = len(rows) // SURFACE_POINTS + 1
    rows, columns = rows[::step], columns[::step]
    z, k = view.depth_m[rows, columns], references.intrinsics
    return np.stack([(columns - k.cx) / k.fx * z, (rows - k.cy) / k.fy * z, z], axis=1) - view.translation


def _middle(view: ReferenceView, intrinsics: Intrinsics) -> tuple[np.ndarray, float]:
    """Where a view sees the object's middle, in the frame of the poses, and how large it looks there [m]."""
    rows, columns = np.nonzero(view.mask)
    depths: Sequence[float] = () if view.depth_m is None else view.depth_m[view.mask]
    depths = np.asarray(depths)[np.asarray(depths) > 0]
    z = float(np.median(depths)) if len(depths) else float(view.translation[2])
    x = (columns.mean() - intrinsics.cx) / intrinsics.fx * z
    y = (rows.mean() - intrinsics.cy) / intrinsics.fy * z
    extent = np.hypot(np.ptp(columns) / intrinsics.fx, np.ptp(rows) / intrinsics.fy) * z
    return (np.array([x, y, z]) - view.translation) @ view.rotation, float(extent)
