"""Intrinsics from `sensor_msgs/CameraInfo`, or what has its fields: of a live topic or of a recording."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from clipose_ros.core.backprojection import pinhole
from clipose_ros.core.distortion import (
    FISHEYE_COEFFICIENTS,
    NUMBERS_OF_COEFFICIENTS,
    Distortion,
    FisheyeDistortion,
    PolynomialDistortion,
)
from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.intrinsics import in_pixels

FARTHEST_OFF_CENTRE = (
    0.2  # of the principal point, as a share of the image: K of 640x480 lies a quarter off in 1280x720
)
FIELD_OF_VIEW_DEG = (20.0, 150.0)  # horizontal, of depth cameras
SQUARE = (0.8, 1.25)  # fx over fy
RECTIFIED = "_rect"  # part of the names of rectified images: image_rect, image_rect_color, image_rect_raw
MODELS = ("plumb_bob", "rational_polynomial", "equidistant")  # all of sensor_msgs' distortion_models
# Some drivers use librealsense's names. Its "inverse" model is plumb_bob but for terms of second order: see
# rs2_deproject_pixel_to_point. realsense2_camera publishes it as plumb_bob, too.
OTHER_NAMES = {
    "": "plumb_bob",
    "none": "plumb_bob",
    "brown_conrady": "plumb_bob",
    "inverse_brown_conrady": "plumb_bob",
    "modified_brown_conrady": "plumb_bob",
    "kannala_brandt4": "equidistant",
    "fisheye": "equidistant",
}


def camera_info_shape(info: Any) -> tuple[int, int]:
    """Compute the size of the images of a calibration.

    Parameters
    ----------
    info : CameraInfo
        Of a camera.

    Returns
    -------
    (int, int)
        Height and width of its region of interest, binned [px].
    """
    height, width = info.roi.height or info.height, info.roi.width or info.width
    return height // max(info.binning_y, 1), width // max(info.binning_x, 1)


def check_camera_info(info: Any, rectified: bool = True) -> None:
    """Refuse a calibration that fits no image at all.

    Parameters
    ----------
    info : CameraInfo
        Of a camera.
    rectified : bool
        As of `intrinsics_from`.

    Raises
    ------
    ValueError
        If it has no size, or no focal length, as uncalibrated cameras send it; for a raw image also if its distortion
        is unknown.
    """
    height, width = camera_info_shape(info)
    expect("camera_info", height and width, "the size of an image", f"{width}x{height}")
    intrinsics_from(info, (height, width), rectified)


def intrinsics_from(info: Any, shape: tuple[int, int], rectified: bool = True) -> Intrinsics:
    """Read the intrinsics of an image, in the pixels of the region of interest and binning.

    Parameters
    ----------
    info : CameraInfo
        Of the image.
    shape : (int, int)
        Height and width of the image [px].
    rectified : bool
        Whether the image is rectified. A rectified image has P, or K if P is not filled in. A raw image has K and the
        distortion.

    Returns
    -------
    Intrinsics
        Of the image.

    Raises
    ------
    ValueError
        If the image has another size than `info` says, the intrinsics are no pinhole's, or the distortion is unknown.
    """
    if camera_info_shape(info) != tuple(shape) and not _is_last_pixel(info, shape):
        expected = f"the size of the depth image, {shape[1]}x{shape[0]}"
        cure = "give the calibration of the image that depth is registered to"
        raise ValueError(f"camera_info: expected {expected}, got {_size_in_words(info)}; {cure}")
    bin_x, bin_y, roi = max(info.binning_x, 1), max(info.binning_y, 1), info.roi
    from_p = rectified and info.p[0]
    fx, cx, fy, cy = (info.p[i] for i in (0, 2, 5, 6)) if from_p else (info.k[i] for i in (0, 2, 4, 5))
    own = Intrinsics(
        fx / bin_x,
        fy / bin_y,
        (cx - roi.x_offset) / bin_x,
        (cy - roi.y_offset) / bin_y,
        None if rectified else distortion_from(info),
    )
    return in_pixels(own)


def distortion_from(info: Any) -> Distortion | None:
    """Read what the lens does to a raw image.

    Parameters
    ----------
    info : CameraInfo
        Of the camera.

    Returns
    -------
    Distortion or None
        None if the lens distorts nothing.

    Raises
    ------
    ValueError
        If the model is none of ROS's, or has another number of coefficients.
    """
    model, d = _model(info), tuple(info.d)
    if not is_distorted(info):
        return None
    expect("camera_info distortion_model", model in MODELS, f"one of {', '.join(MODELS)}", repr(info.distortion_model))
    if model == "equidistant":
        whole = len(d) >= FISHEYE_COEFFICIENTS and not any(d[FISHEYE_COEFFICIENTS:])
        expect("camera_info d", whole, f"{FISHEYE_COEFFICIENTS} numbers for {model}", len(d))
        return FisheyeDistortion(d[:FISHEYE_COEFFICIENTS])
    # Any length under both names: Orbbec's driver sends eight numbers as plumb_bob.
    known = ", ".join(map(str, NUMBERS_OF_COEFFICIENTS))
    expect("camera_info d", len(d) in NUMBERS_OF_COEFFICIENTS, f"{known} numbers for {model}", len(d))
    return PolynomialDistortion(d)


def is_distorted(info: Any) -> bool:
    """Say whether the lens bends straight lines.

    Parameters
    ----------
    info : CameraInfo
        Of the camera.

    Returns
    -------
    bool
        True if a coefficient is not zero. True for every fisheye: it is no pinhole camera, even with zeros.
    """
    return any(info.d) or _model(info) == "equidistant"


def distortion_warning(info: Any, topic: str, rectified: bool = True) -> tuple[str, str] | None:
    """Warn of a distortion that is ignored or removed twice, as far as the name of the topic tells.

    Parameters
    ----------
    info : CameraInfo
        Of the camera.
    topic : str
        Name of the depth image; a rectified one is called `*_rect*`.
    rectified : bool
        As of `intrinsics_from`.

    Returns
    -------
    (str, str) or None
        What is wrong, as `name: expected …, got …`, and what to do; None if all is well.
    """
    if not is_distorted(info) or rectified == (RECTIFIED in topic):
        return None
    if not rectified:
        text = f"expected a raw image, as rectified is false, got one called *{RECTIFIED}*: is it undistorted twice?"
        return f"{topic}: {text}", "rectified:=true, or the topic of the raw image"
    model, (cost, cure) = info.distortion_model or "no name", _ignored(info)
    text = f"expected a rectified image, called *{RECTIFIED}*, got another, and a distortion ({model}) in camera_info"
    return f"{topic}: {text}: {cost}", cure


def geometry_warning(info: Any, rectified: bool = True) -> tuple[str, str] | None:
    """Warn of intrinsics that are hardly those of the image: drivers forget to scale K when they scale the image.

    Parameters
    ----------
    info : CameraInfo
        Of the camera, accepted by `check_camera_info`.
    rectified : bool
        As of `intrinsics_from`.

    Returns
    -------
    (str, str) or None
        What is wrong, as `name: expected …, got …`, and what to do; None if all is well.
    """
    height, width = camera_info_shape(info)
    intrinsics = intrinsics_from(info, (height, width), rectified)
    fx, fy, cx, cy = intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy
    got = f"fx {fx:.4g}, fy {fy:.4g}, cx {cx:.4g}, cy {cy:.4g}"
    cut = info.roi.x_offset or info.roi.y_offset or info.roi.width not in (0, info.width)
    off_centre = max(abs(cx / width - 0.5), abs(cy / height - 0.5)) > FARTHEST_OFF_CENTRE
    view_deg = math.degrees(2 * math.atan(width / (2 * fx)))
    if not cut and off_centre:
        expected = f"a principal point near the middle of its {width}x{height} px"
    elif not cut and not FIELD_OF_VIEW_DEG[0] < view_deg < FIELD_OF_VIEW_DEG[1]:
        expected, got = "a usual field of view", f"{got}: {view_deg:.2g}° wide"
    elif not SQUARE[0] < fx / fy < SQUARE[1]:
        expected = "fx near fy"
    else:
        return None
    text = f"camera_info: expected {expected}, got {got}: are these the intrinsics of another resolution?"
    return f"{text} Then poses and sizes are wrong", "let the driver publish those of the images as they are sent"


def _ignored(info: Any) -> tuple[str, str]:
    """Say how wrong points are if the distortion is ignored, and what to do."""
    shape = camera_info_shape(info)
    try:
        raw = intrinsics_from(info, shape, rectified=False)
    except ValueError as error:
        return "points are wrong towards the borders", f"give the topic of the rectified image, since {error}"
    v, u = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, size - 1, 9) for size in shape), indexing="ij"))
    bent, straight = (pinhole(u, v, np.ones(u.shape), k) for k in (raw, replace(raw, distortion=None)))
    off_mm = 1e3 * np.linalg.norm(bent - straight, axis=1)
    cure = "rectified:=false undistorts it; else give the topic of the rectified image"
    return f"points at 1 m are off by up to {np.fmax.reduce(off_mm):.1f} mm", cure


def _is_last_pixel(info: Any, shape: tuple[int, int]) -> bool:
    """Whether an image is whole, and its region of interest ends at the last pixel instead of behind it, as a driver
    writes it (Ensenso). Nothing is cut before it, so the intrinsics are the same.
    """
    roi, whole = info.roi, (info.height, info.width) == tuple(shape) and max(info.binning_x, info.binning_y) <= 1
    corner = roi.x_offset, roi.y_offset, roi.height, roi.width
    return whole and corner == (0, 0, info.height - 1, info.width - 1)


def _model(info: Any) -> str:
    name = info.distortion_model.lower().replace(" ", "_")
    return OTHER_NAMES.get(name, name)


def _size_in_words(info: Any) -> str:
    """Write width and height, and how the image was cut and binned."""
    (height, width), roi = camera_info_shape(info), info.roi
    cut = [f"cut to {roi.width}x{roi.height}"] if roi.width or roi.height else []
    binned = [f"binned by {info.binning_x}x{info.binning_y}"] if max(info.binning_x, info.binning_y) > 1 else []
    how = f" ({info.width}x{info.height}, {', '.join(cut + binned)})" if cut or binned else ""
    return f"{width}x{height}{how}"
