"""Where objects are looked for: a box in space, or a part of the image. It keeps the robot's arm and the room out."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.backprojection import metres
from clipose_ros.core.pixel_rays import pixel_rays
from clipose_ros.core.types import Detections, Frame
from clipose_ros.core.validation import expect

LEAST_INSIDE = 0.5  # of an object's pixels
JUDGED = 256  # pixels of an object, from its first to its last


@dataclass(frozen=True, eq=False)
class CameraPlace:
    """Where the camera is.

    Parameters
    ----------
    rotation : (3, 3) float
        R_frame_camera.
    translation : (3,) float
        Of the camera in the frame [m].
    """

    rotation: np.ndarray
    translation: np.ndarray


@dataclass(frozen=True, eq=False)
class Workspace:
    """Where objects are looked for.

    Parameters
    ----------
    box_m : tuple of float
        Least and greatest x, y and z, in this order, in the frame of the box [m]; infinite ends are open. Empty: all
        of space.
    mask : (H, W) bool, optional
        Pixels of the depth image that are looked at; all without it.

    Raises
    ------
    ValueError
        For what is no box, and for a mask that is empty.
    """

    box_m: tuple[float, ...] = ()
    mask: np.ndarray | None = None

    def __post_init__(self) -> None:
        box = self.box_m
        ends = len(box) == 6 and not any(map(math.isnan, box)) and all(box[i] < box[i + 1] for i in (0, 2, 4))
        expect("workspace", not box or ends, "six numbers, x_min < x_max, y_min < y_max, z_min < z_max", list(box))
        if self.mask is not None:
            sound = self.mask.ndim == 2 and self.mask.dtype == bool and self.mask.any()
            expect("workspace mask", sound, "a picture of one channel with pixels that are not 0", self.mask.shape)

    def __bool__(self) -> bool:
        return bool(self.box_m) or self.mask is not None

    def kept(self, frame: Frame, detections: Detections, camera: CameraPlace | None = None) -> Detections:
        """Leave out the instances of which more than half is outside.

        Parameters
        ----------
        frame : Frame
            Of the detections.
        detections : Detections
            What was found.
        camera : CameraPlace, optional
            In the frame of the box; without it, that is the camera's optical frame.

        Returns
        -------
        Detections
            The others. The pixels of what is left out are background. Of what has no valid depth the box says nothing:
            it stays.

        Raises
        ------
        ValueError
            If the mask has another size than the image.
        """
        if self.mask is not None:
            shape = frame.depth.shape
            expect("workspace mask", self.mask.shape == shape, f"{shape} pixels as the depth image", self.mask.shape)
        inside = [i for i in range(len(detections.instances)) if self._holds(frame, detections.mask(i), camera)]
        left = detections.only(inside)
        if left.overlap or len(inside) == len(detections.instances):
            return left
        numbers = [instance.label for instance in left.instances]
        return Detections(left.instances, np.where(np.isin(left.masks, numbers), left.masks, 0))

    def _holds(self, frame: Frame, mask: np.ndarray, camera: CameraPlace | None) -> bool:
        pixels = np.flatnonzero(mask)
        if not len(pixels):
            return True
        pixels = pixels[np.linspace(0, len(pixels) - 1, min(JUDGED, len(pixels))).astype(int)]
        if self.mask is not None and self.mask.reshape(-1)[pixels].mean() < LEAST_INSIDE:
            return False
        if not self.box_m:
            return True
        z = metres(frame.depth.reshape(-1)[pixels], frame.depth_unit_m).astype(np.float64)
        rays = pixel_rays(frame.intrinsics, frame.depth.shape)
        with np.errstate(invalid="ignore"):
            seen = (z > 0) & np.isfinite(z) & rays.known[pixels]
        if not seen.any():
            return True
        points = np.stack([rays.x[pixels] * z, rays.y[pixels] * z, z], axis=1)[seen]
        if camera is not None:
            points = points @ camera.rotation.T + camera.translation
        low, high = np.array(self.box_m).reshape(3, 2).T
        return bool(((points >= low) & (points <= high)).all(axis=1).mean() >= LEAST_INSIDE)
