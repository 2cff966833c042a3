"""Intrinsics as cameras' tools write them: `intrinsics.json` in several forms, and `cam_K.txt`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.text_files import read_json, read_text

JSON_FILE, TEXT_FILE = "intrinsics.json", "cam_K.txt"
# What else people call such a file: an image must not get the intrinsics of another camera while they lie beside it.
OTHER_FILES = re.compile(
    r"(?:[^.].*[_.-])?(?:intrinsics?|camera[_-]?info|camera[_-]?params?|calib\w*|camera|cam_?k|k)\.(?:json|ya?ml|txt|npy|npz|xml)",
    re.IGNORECASE,
)
JSON_FORMS = "{fx, fy, cx, cy}, {fx, fy, ppx, ppy} of librealsense, {intrinsic_matrix} of Open3D or a 3x3 matrix"
TEXT_FORM = "the nine numbers of a 3x3 matrix"
MATRIX_KEYS = ("intrinsic_matrix", "camera_matrix", "cam_K", "K", "k")
DISTORTION_KEYS = ("coeffs", "distortion", "distortion_coefficients", "dist_coeffs", "dist", "D", "d")
DISTORTION_TERMS = ("k1", "k2", "k3", "k4", "k5", "k6", "p1", "p2")
# What tools call the scale of an image in millimetres: BOP gives mm, librealsense m, Open3D the inverse of m.
MILLIMETRE_SCALES = (1.0, 0.001, 1000.0)

FOCAL_PX = (2.0, 1e6)  # of any camera; less are shares of the image's size, as renderers and phones have them


@dataclass(frozen=True)
class IntrinsicsFile:
    """What a file says about the camera of a folder.

    Parameters
    ----------
    path : Path
        Of the file.
    intrinsics : Intrinsics
        Of the images [px].
    width, height : int or None
        Of the images that the file is for [px]; None where it does not say.
    distortion : tuple of float
        The coefficients, of whatever model; empty where all are zero or none is given.
    """

    path: Path
    intrinsics: Intrinsics
    width: int | None = None
    height: int | None = None
    distortion: tuple[float, ...] = ()

    def check_size(self, width: int, height: int) -> None:
        """Compare the size that the file is for with an image's.

        Parameters
        ----------
        width, height : int
            Of the image [px].

        Raises
        ------
        ValueError
            With both sizes, where they differ.
        """
        fits = self.width in (None, width) and self.height in (None, height)
        expect(
            str(self.path),
            fits,
            f"intrinsics of the images, which are {width}x{height}",
            f"those of {self.width or '?'}x{self.height or '?'}; write the intrinsics of the images as they are stored",
        )

    def is_central(self, width: int, height: int) -> bool:
        """Say whether the principal point lies near the middle of an image, as it does in the camera's own images.

        Parameters
        ----------
        width, height : int
            Of the image [px].

        Returns
        -------
        bool
            False where the intrinsics are likely those of another resolution, or of another cut.
        """
        return abs(self.intrinsics.cx / width - 0.5) < 0.2 and abs(self.intrinsics.cy / height - 0.5) < 0.2


def read_intrinsics(folder: Path) -> IntrinsicsFile | None:
    """Read the intrinsics that lie in a folder: `intrinsics.json`, else `cam_K.txt`.

    Parameters
    ----------
    folder : Path
        With images.

    Returns
    -------
    IntrinsicsFile or None
        None where there is neither file.

    Raises
    ------
    ValueError
        With the path, where the file has none of the known forms, or says that depth is not in millimetres, and where
        the intrinsics seem to lie in a file of another name.
    """
    for name, form, read in ((JSON_FILE, JSON_FORMS, _from_json), (TEXT_FILE, TEXT_FORM, _from_text)):
        path = folder / name
        if not path.is_file():
            continue
        try:
            return read(path)
        except (ValueError, TypeError, OverflowError) as error:
            raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}; known forms: {form}") from error
    others = sorted(file.name for file in folder.iterdir() if OTHER_FILES.fullmatch(file.name))
    expect(
        str(folder),
        not others,
        f"the intrinsics in {JSON_FILE} or {TEXT_FILE}",
        f"{', '.join(others[:3])}; rename or convert: {JSON_FILE} has {JSON_FORMS}, {TEXT_FILE} {TEXT_FORM}",
    )
    return None


def in_pixels(intrinsics: Intrinsics) -> Intrinsics:
    """Refuse intrinsics that are not in pixels.

    Parameters
    ----------
    intrinsics : Intrinsics
        As somebody wrote them.

    Returns
    -------
    Intrinsics
        The same.

    Raises
    ------
    ValueError
        For focal lengths that no image has.
    """
    least, most = FOCAL_PX
    expect(
        "intrinsics",
        least <= min(intrinsics.fx, intrinsics.fy) and max(intrinsics.fx, intrinsics.fy) <= most,
        f"focal lengths of {least:g} to {most:g} px",
        f"fx {intrinsics.fx:g}, fy {intrinsics.fy:g}; where they are shares of the image's size, multiply fx and cx by "
        "its width, fy and cy by its height",
    )
    return intrinsics


def _from_text(path: Path) -> IntrinsicsFile:
    return IntrinsicsFile(path, _from_matrix(read_text(path).replace(",", " ").split()))


def _from_json(path: Path) -> IntrinsicsFile:
    data = read_json(path)
    if isinstance(data, list):
        return IntrinsicsFile(path, _from_matrix(data))
    expect("intrinsics", isinstance(data, dict), "a mapping or a list", type(data).__name__)
    scale = data.get("depth_scale", 1.0)
    expect(
        "depth_scale",
        any(np.isclose(_number("depth_scale", scale), known, rtol=1e-3, atol=0) for known in MILLIMETRE_SCALES),
        "that of millimetres: 1, 0.001 or 1000",
        f"{scale}; convert the depth images to millimetres",
    )
    width, height = (None if data.get(key) is None else int(_number(key, data[key])) for key in ("width", "height"))
    return IntrinsicsFile(path, _from_mapping(data), width, height, _distortion(data))


def _from_mapping(data: Mapping[str, Any]) -> Intrinsics:
    matrices = [data[key] for key in MATRIX_KEYS if key in data]
    if matrices:
        matrix = matrices[0]
        return _from_matrix(matrix["data"] if isinstance(matrix, dict) and "data" in matrix else matrix)
    centre = ("ppx", "ppy") if "ppx" in data else ("cx", "cy")
    missing = [key for key in ("fx", "fy", *centre) if key not in data]
    expect("keys", not missing, "fx, fy, cx and cy", f"none for {', '.join(missing)}")
    return in_pixels(Intrinsics(*(_number(key, data[key]) for key in ("fx", "fy", *centre))))


def _from_matrix(values: Any) -> Intrinsics:
    """Of nine numbers or three lists of three, by row or, as Open3D has them, by column."""
    numbers = [_number("matrix", value) for value in _flat(values)]
    expect("matrix", len(numbers) == 9, "9 numbers", f"{len(numbers)}")
    matrix = np.reshape(numbers, (3, 3))
    if matrix[2].tolist() != [0, 0, 1]:
        matrix = matrix.T
    upright = matrix[2].tolist() == [0, 0, 1] and matrix[1, 0] == 0
    expect("matrix", upright, "[[fx, 0, cx], [0, fy, cy], [0, 0, 1]], by row or by column", numbers)
    expect("matrix", abs(matrix[0, 1]) <= 1e-3, "no skew", f"{matrix[0, 1]}; rectify the images")
    return in_pixels(Intrinsics(*(float(matrix[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))))


def _distortion(data: Mapping[str, Any]) -> tuple[float, ...]:
    found = [data[key] for key in (*DISTORTION_KEYS, *DISTORTION_TERMS) if key in data]
    coefficients = tuple(float(value) for value in _flat(found) if isinstance(value, (int, float)))
    return coefficients if any(coefficients) else ()


def _flat(values: Any) -> Iterator[Any]:
    """What lists and mappings hold, one after the other."""
    if isinstance(values, (list, tuple, dict)):
        for value in values.values() if isinstance(values, dict) else values:
            yield from _flat(value)
    else:
        yield values


def _number(name: str, value: Any) -> float:
    expect(name, isinstance(value, (int, float, str)) and not isinstance(value, bool), "a number", repr(value))
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"{name}: expected a number, got {value!r}") from None
