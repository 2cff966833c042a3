"""The data that flows through the pipeline.

Lengths in metres, time in integer nanoseconds. The camera frame is optical: x right, y down, z forward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np

from clipose_ros.core.distortion import Distortion


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole parameters of an image, and what its lens does to it.

    Parameters
    ----------
    fx, fy : float
        Focal lengths [px].
    cx, cy : float
        Principal point [px].
    distortion : PolynomialDistortion or FisheyeDistortion, optional
        Of the lens, in a raw image; None in a rectified one.

    Raises
    ------
    ValueError
        If a value is not finite, or a focal length is not positive.
    """

    fx: float
    fy: float
    cx: float
    cy: float
    distortion: Distortion | None = None

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                "intrinsics: expected finite values with fx, fy > 0, "
                f"got fx {self.fx}, fy {self.fy}, cx {self.cx}, cy {self.cy}"
            )


@dataclass(frozen=True)
class Frame:
    """What the camera saw: one registered RGB-D image.

    Parameters
    ----------
    stamp_ns : int
        Time of the image [ns].
    frame_id : str
        Name of the camera's optical frame.
    depth : (H, W) uint16 or float32
        In `depth_unit_m`. 0 is invalid, of float32 also NaN, inf and what is negative.
    intrinsics : Intrinsics
        Of the image.
    colour : (H, W, 3) uint8, optional
        RGB, registered to the depth.
    depth_unit_m : float, optional
        Unit of the depth image [m]. None: millimetres for uint16, metres for float32.

    Raises
    ------
    ValueError
        If the depth has another shape or type, the colour another size than the depth, or the unit is not positive.
    """

    stamp_ns: int
    frame_id: str
    depth: np.ndarray
    intrinsics: Intrinsics
    colour: np.ndarray | None = None
    depth_unit_m: float | None = None

    def __post_init__(self) -> None:
        if self.depth.ndim != 2 or self.depth.dtype not in (np.uint16, np.float32):
            raise ValueError(
                f"depth: expected (H, W) uint16 [mm] or float32 [m], got {self.depth.shape} {self.depth.dtype}"
            )
        colour, shape = self.colour, (*self.depth.shape, 3)
        if colour is not None and (colour.shape != shape or colour.dtype != np.uint8):
            raise ValueError(f"colour: expected uint8 {shape} as depth, got {colour.dtype} {colour.shape}")
        if self.depth_unit_m is not None and not 0 < self.depth_unit_m < np.inf:
            raise ValueError(f"depth_unit_m: expected more than 0 m, finite, got {self.depth_unit_m}")


@dataclass(frozen=True)
class Instance:
    """One detected object.

    Parameters
    ----------
    label : int
        Value of its pixels in a label image; 0 is the background.
    category : str
        Name of its category, or of a learned object.
    score : float
        How sure the detector is.
    id : str
        The detector's own name for the object, if it has one.
    """

    label: int
    category: str
    score: float = 1.0
    id: str = ""


@dataclass(frozen=True)
class Detections:
    """What was found in a frame.

    Parameters
    ----------
    instances : tuple of Instance
        The objects.
    masks : (H, W) integer, or (K, H, W) bool
        Either a label image, where the pixels of an instance have its label; or one mask for each of the K instances,
        in their order. Such masks may overlap.

    Raises
    ------
    ValueError
        If the array has another shape or type, or if there are not as many masks as instances.
    """

    instances: tuple[Instance, ...]
    masks: np.ndarray

    def __post_init__(self) -> None:
        masks = self.masks
        labels = masks.ndim == 2 and np.issubdtype(masks.dtype, np.integer)
        if not labels and not (masks.ndim == 3 and masks.dtype == bool):
            raise ValueError(f"masks: expected integer (H, W) or bool (K, H, W), got {masks.dtype} {masks.shape}")
        if masks.ndim == 3 and len(masks) != len(self.instances):
            raise ValueError(f"masks: expected {len(self.instances)}, one for each instance, got {len(masks)}")

    @property
    def overlap(self) -> bool:
        """Whether every instance has a mask of its own, so that masks may overlap."""
        return self.masks.ndim == 3

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of the image [px]."""
        return self.masks.shape[-2:]

    def mask(self, index: int) -> np.ndarray:
        """Mask of one instance.

        Parameters
        ----------
        index : int
            Place of the instance in `instances`.

        Returns
        -------
        (H, W) bool
            Its pixels.
        """
        return self.masks[index] if self.overlap else self.masks == self.instances[index].label

    def only(self, indices: Sequence[int]) -> Detections:
        """Leave instances out.

        Parameters
        ----------
        indices : sequence of int
            Places in `instances` of those that stay.

        Returns
        -------
        Detections
            With these, in this order.
        """
        masks = self.masks[list(indices)] if self.overlap else self.masks
        return Detections(tuple(self.instances[i] for i in indices), masks)

    def flat(self) -> Detections:
        """Make a label image of masks that may overlap.

        Where masks overlap, the pixel goes to the instance with the highest score.

        Returns
        -------
        Detections
            With a label image, in which the instances are numbered from 1 in their order. The same object if it has a
            label image already.
        """
        if not self.overlap:
            return self
        labels = np.zeros(self.shape, np.uint8 if len(self.instances) < 256 else np.uint16)
        for i in sorted(range(len(self.instances)), key=lambda i: self.instances[i].score):
            labels[self.masks[i]] = i + 1
        numbered = tuple(Instance(i + 1, one.category, one.score, one.id) for i, one in enumerate(self.instances))
        return Detections(numbered, labels)


@dataclass(frozen=True)
class ColourCrop:
    """A part of the colour image.

    Parameters
    ----------
    pixels : (h, w, 3) uint8
        RGB, a view of the image.
    left, top : int
        Column and row of the crop's first pixel in the image [px].
    """

    pixels: np.ndarray
    left: int
    top: int


@dataclass(frozen=True)
class InstanceView:
    """The whole frame that an object was seen in, and its mask.

    Parameters
    ----------
    frame : Frame
        What the camera saw; shared by all objects of the frame.
    mask : (H, W) bool
        The object's pixels.
    others : (H, W) bool, optional
        Pixels of other objects, which may hide this one.
    """

    frame: Frame
    mask: np.ndarray
    others: np.ndarray | None = None


@dataclass(frozen=True)
class PoseEstimate:
    """A 9DoF pose, which is the same as an oriented box.

    p_camera = rotation @ p_object + translation.

    Parameters
    ----------
    category : str
        Name of the object's category, or of the learned object.
    score : float
        Probability that the pose is right, 0..1.
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Centre of the object's tight box, camera frame [m].
    size : (3,) float
        Full extents of that box along the object's axes [m].
    covariance : (6, 6) float, optional
        Covariance of the position [m] and of small turns about the camera frame's fixed axes [rad]. None: not known.
    """

    category: str
    score: float
    rotation: np.ndarray
    translation: np.ndarray
    size: np.ndarray
    covariance: np.ndarray | None = field(default=None, kw_only=True)


class TrackState(IntEnum):
    """How well a tracked pose is founded.

    TENTATIVE: measured in this frame, but the track is too young to rely on. CONFIRMED: measured in this frame.
    COASTING: predicted. This frame had no estimate of the object, or one that contradicts what was seen before.
    """

    TENTATIVE = 1
    CONFIRMED = 2
    COASTING = 3


@dataclass(frozen=True)
class TrackedPose(PoseEstimate):
    """A pose filtered over frames.

    Parameters
    ----------
    category, score, rotation, translation, size
        As of `PoseEstimate`.
    track : int
        Number of the object. No other object of this run gets it.
    state : TrackState
        How well the pose is founded.
    age_ns : int
        Time since the pose was last measured [ns]. It is 0 unless the track is coasting.
    covariance : (6, 6) float
        As of `PoseEstimate`, and always known.
    """

    track: int
    state: TrackState
    age_ns: int
    covariance: np.ndarray = field(kw_only=True)


@dataclass(frozen=True)
class Observation:
    """What an estimator sees of one object.

    A part that it does not ask for is None.

    Parameters
    ----------
    points : (N, 3) float32
        Camera frame [m].
    name : str
        Name of the category, or of the learned object.
    pixels : (N, 2) integer, optional
        Column and row of each point [px].
    colour : ColourCrop, optional
        The part of the colour image around the mask. Also None if the frame has no colour, or if there are no points.
    prior : PoseEstimate, optional
        Where a track expects the object. Also None if there is no track.
    surface : (4,) float, optional
        Of the surface below the object, camera frame: its unit normal, which points up, and its offset [m], so that its
        points have normal · p = offset. The offset is NaN if up alone is known. Also None if nothing is.
    view : InstanceView, optional
        The frame and the object's mask in it.

    Raises
    ------
    ValueError
        If the points have another shape.
    """

    points: np.ndarray
    name: str
    pixels: np.ndarray | None = None
    colour: ColourCrop | None = None
    prior: PoseEstimate | None = None
    surface: np.ndarray | None = None
    view: InstanceView | None = None

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(f"points: expected (N, 3), got {self.points.shape}")


@dataclass(frozen=True)
class Rejection:
    """Why an object gets no pose.

    Parameters
    ----------
    category : str
        Category of the instance.
    reason : str
        In words, as `name: expected …, got …`.
    """

    category: str
    reason: str
