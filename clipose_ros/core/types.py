"""The data that flows through the pipeline.

Lengths in metres, time in integer nanoseconds, the camera frame is optical (x right, y down, z forward).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np


@dataclass(frozen=True)
class Intrinsics:
    """Pinhole parameters of the rectified image [px]."""

    fx: float
    fy: float
    cx: float
    cy: float

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not np.isfinite(values).all() or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"intrinsics: expected finite values with fx, fy > 0, got fx {self.fx}, fy {self.fy}, cx {self.cx}, cy {self.cy}"
            )


@dataclass(frozen=True)
class Instance:
    """One detected object: the pixels of the label image that equal `label`."""

    label: int
    category: str
    score: float = 1.0
    id: str = ""


@dataclass(frozen=True)
class Frame:
    """One registered RGB-D image with its instance labels.

    depth: (H, W) uint16 millimetres (0 invalid) or float32 metres (NaN, inf and <= 0 invalid); labels: (H, W) integer;
    colour: (H, W, 3) uint8 RGB or None.
    """

    stamp_ns: int
    frame_id: str
    depth: np.ndarray
    labels: np.ndarray
    instances: tuple[Instance, ...]
    intrinsics: Intrinsics
    colour: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.depth.ndim != 2 or self.depth.dtype not in (np.uint16, np.float32):
            raise ValueError(
                f"depth: expected (H, W) uint16 [mm] or float32 [m], got {self.depth.shape} {self.depth.dtype}"
            )
        if self.labels.shape != self.depth.shape or not np.issubdtype(self.labels.dtype, np.integer):
            raise ValueError(
                f"labels: expected integer {self.depth.shape} as depth, got {self.labels.shape} {self.labels.dtype}"
            )
        if self.colour is not None and self.colour.shape != (*self.depth.shape, 3):
            raise ValueError(f"colour: expected {(*self.depth.shape, 3)} as depth, got {self.colour.shape}")


@dataclass(frozen=True)
class Observation:
    """What an estimator sees of one object. points: (N, 3) float32, camera frame [m]."""

    points: np.ndarray
    category: str

    def __post_init__(self) -> None:
        if self.points.ndim != 2 or self.points.shape[1] != 3:
            raise ValueError(f"points: expected (N, 3), got {self.points.shape}")


@dataclass(frozen=True)
class PoseEstimate:
    """9DoF pose: p_camera = rotation @ p_object + translation; `translation` is the centre of the object's tight box,
    `size` its full extents [m].
    """

    category: str
    score: float
    rotation: np.ndarray  # (3, 3) R_camera_object
    translation: np.ndarray  # (3,) [m]
    size: np.ndarray  # (3,) [m]


class TrackState(IntEnum):
    """How well a tracked pose is founded.

    TENTATIVE: measured in this frame, by a track too young to rely on. CONFIRMED: measured in this frame.
    COASTING: predicted; this frame had no estimate of the object, or one that contradicts what was seen before."""

    TENTATIVE = 1
    CONFIRMED = 2
    COASTING = 3


@dataclass(frozen=True)
class TrackedPose(PoseEstimate):
    """A pose filtered over frames.

    track: number of the object, which no other object of this run gets. age_ns: time since the pose was last measured;
    0 unless it is coasting.
    covariance: (6, 6) of position [m] and of small turns about the camera frame's fixed axes [rad].
    """

    track: int
    state: TrackState
    age_ns: int
    covariance: np.ndarray


@dataclass(frozen=True)
class Rejection:
    """Why no pose can be given for an object."""

    category: str
    reason: str
