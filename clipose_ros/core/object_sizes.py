"""Sizes of objects in the point cloud against their usual sizes, which show whether the unit of depth is right."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from clipose_ros.core.admission import MAX_INSTANCES, refusals
from clipose_ros.core.backprojection import MILLIMETRE_M, DepthRange, backproject, depth_unit_m
from clipose_ros.core.types import Detections, Frame

LEAST_POINTS = 32  # of a cloud; fewer do not show a size
LEAST_OBSERVATIONS = 3
KEPT = 60  # observations
INNER = (0.05, 0.95)  # quantiles of the points; the outermost ones may be background inside the mask
# The visible part of an object, across the line of sight, over the usual diagonal of its box. In rendered
# and genuine frames the median is 0.65 to 0.73; 90 % of the objects lie between 0.46 and 1.03.
USUAL_SHARE = 0.7
# The logarithm of that share has a sigma of 0.24, and the median over n objects one of 0.3 / sqrt(n). Objects are too
# large beyond three sigma. More than four objects give no more certainty: they may all be unusual.
TOO_LARGE, MOST_OBJECTS = 1.0, 4
LOOKED_AT = 5000  # pixels at least, to tell whether depth is in range
LEAST_SEEN = 0.01  # share of them that has a depth; a camera that is covered sees less
MOST_WITHIN = 0.05  # share of what has a depth: with less in range, nearly all is out of it
UNITS_M = (0.001, 1.0, 0.0001, 0.01)  # that cameras have, the most usual first [m]
NEAR_M = 0.2  # of the median depth: nearer is hardly any camera's table [m]
TOO_SMALL = math.log(1 / 3)  # clutter may hide large parts of objects, but hardly of most of them


class ObjectSizes:
    """Collects sizes of objects over frames, and judges them.

    Attributes
    ----------
    unit_m : float
        Of the depth of the last frame [m].
    """

    def __init__(self) -> None:
        self.unit_m = MILLIMETRE_M
        self._factors: deque[float] = deque(maxlen=KEPT)  # logarithms of size over usual size
        self._most = 0  # objects in one frame

    def __len__(self) -> int:
        """Number of sizes."""
        return len(self._factors)

    def add(self, clouds: Sequence[np.ndarray], diagonals_m: Sequence[float | None]) -> None:
        """Add the objects of a frame.

        Parameters
        ----------
        clouds : sequence of (N, 3) float
            Points of each object, camera frame [m].
        diagonals_m : sequence of (float or None)
            Usual diagonal of the tight box of each object [m]; None if it is unknown.
        """
        factors = [
            math.log(_across(cloud) / (USUAL_SHARE * diagonal_m))
            for cloud, diagonal_m in zip(clouds, diagonals_m, strict=True)
            if diagonal_m is not None and len(cloud) >= LEAST_POINTS
        ]
        self._factors += factors
        self._most = max(self._most, len(factors))

    def add_frame(
        self, frame: Frame, detections: Detections, limits: DepthRange, diagonal_m: Callable[[str], float | None]
    ) -> None:
        """Add the objects that a frame shows.

        Parameters
        ----------
        frame : Frame
            What the camera saw.
        detections : Detections
            What is in it; what the pipeline would refuse is left out.
        limits : DepthRange
            Valid depths.
        diagonal_m : callable
            Gives the usual diagonal of a category or object [m]; None if it is unknown.
        """
        refused = refusals(detections.instances, MAX_INSTANCES, detections.overlap)
        known = detections.only([i for i in range(len(detections.instances)) if i not in refused])
        clouds = backproject(frame, known, limits)
        self.unit_m = depth_unit_m(frame.depth.dtype, frame.depth_unit_m)
        self.add([cloud.points for cloud in clouds], [diagonal_m(instance.category) for instance in known.instances])

    def suspicion(self) -> float | None:
        """Judge whether all objects look too large or too small.

        Returns
        -------
        float or None
            Size over usual size, about; None if the sizes are possible.
        """
        if len(self._factors) < LEAST_OBSERVATIONS:
            return None
        median = float(np.median(self._factors))
        too_large = TOO_LARGE / math.sqrt(min(self._most, MOST_OBJECTS))
        return None if TOO_SMALL <= median <= too_large else math.exp(median)


def range_warning(frame: Frame, limits: DepthRange) -> tuple[str, str] | None:
    """Describe depth that lies out of range all over the image, so that no object can have a pose.

    Parameters
    ----------
    frame : Frame
        What the camera saw.
    limits : DepthRange
        Valid depths.

    Returns
    -------
    (str, str) or None
        What is wrong, as `name: expected …, got …`, and what to do; None if enough is in range, or too little is seen.
    """
    depth = frame.depth.ravel()[:: max(1, frame.depth.size // LOOKED_AT)]
    seen = depth[np.isfinite(depth) & (depth > 0)].astype(np.float64)
    unit_m = depth_unit_m(frame.depth.dtype, frame.depth_unit_m)
    within = np.count_nonzero((seen * unit_m >= limits.minimum) & (seen * unit_m <= limits.maximum))
    if len(seen) < LEAST_SEEN * len(depth) or not len(seen) or within > MOST_WITHIN * len(seen):
        return None
    median = float(np.median(seen))
    likely_m = next((unit for unit in UNITS_M if unit != unit_m and NEAR_M <= median * unit <= limits.maximum), None)
    other = "" if likely_m is None else f"if its unit is {likely_m * 1e3:g} mm: depth_scale_m:={likely_m:g}; else "
    return (
        f"depth: expected {limits.minimum:g} to {limits.maximum:g} m, got nearly all of the image nearer or further: "
        "no object has a pose",
        f"{other}min_depth_m and max_depth_m say what is valid",
    )


def unit_warning(factor: float, unit_m: float) -> tuple[str, str]:
    """Describe objects of impossible sizes.

    Parameters
    ----------
    factor : float
        Size over usual size.
    unit_m : float
        Unit in which depth is read [m].

    Returns
    -------
    str, str
        What is wrong, as `name: expected …, got …`, and what to do.
    """
    # Units of other cameras are powers of ten apart: a D405 or an L515 may send tenth millimetres.
    decades = math.copysign(max(1, round(abs(math.log10(factor)))), factor - 1)
    likely_m = float(f"{unit_m / 10**decades:.3g}")
    return (
        f"depth: expected objects of about the usual size, got {factor:.2g} times that: "
        f"the depth image may have another unit than {unit_m * 1e3:g} mm",
        f"if its unit is {likely_m * 1e3:g} mm: depth_scale_m:={likely_m:g}",
    )


def _across(cloud: np.ndarray) -> float:
    """Measure points (N, 3) across the line of sight, without the outermost ones [m]."""
    low, high = np.quantile(cloud[:, :2], INNER, axis=0)
    return max(float(np.hypot(*(high - low))), 1e-6)
