"""How large objects look, against how large their kinds are: what a wrong unit of depth shows itself by."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np

LEAST_POINTS = 32  # of a cloud that has a size
LEAST_OBSERVATIONS = 3
KEPT = 60  # observations
INNER = (0.05, 0.95)  # quantiles of the points: what a mask has of the background lies beyond
# Across the line of sight, what is seen of an object measures this share of the diagonal of its kind's mean box: the
# median over rendered and genuine frames is 0.65 to 0.73, and 90 % of the objects lie between 0.46 and 1.03.
USUAL_SHARE = 0.7
# So objects scatter by a factor of 1.27, and the median of n of them by 1.35 to the power of 1 / sqrt(n). It must be
# off by more than three times that. Beyond four objects it is the kinds that may be unusual, all together.
TOO_LARGE, MOST_OBJECTS = 1.0, 4
# Clutter hides large parts of objects, but hardly of most of them.
TOO_SMALL = math.log(1 / 3)


class ObjectSizes:
    """Gathers sizes of objects over frames, until they say that the unit of depth is another one."""

    def __init__(self) -> None:
        self._factors: deque[float] = deque(maxlen=KEPT)  # logarithms
        self._most = 0  # objects of a frame

    def __len__(self) -> int:
        """Number of sizes that are known."""
        return len(self._factors)

    def add(self, clouds: Sequence[np.ndarray], diagonals_m: Sequence[float | None]) -> None:
        """Take the objects of a frame into account.

        Parameters
        ----------
        clouds : sequence of (N, 3) float
            Points of each object, camera frame [m].
        diagonals_m : sequence of (float or None)
            Usual diagonal of the tight box of such objects [m]; None where it is not known.
        """
        factors = [
            math.log(_across(cloud) / (USUAL_SHARE * diagonal_m))
            for cloud, diagonal_m in zip(clouds, diagonals_m, strict=True)
            if diagonal_m is not None and len(cloud) >= LEAST_POINTS
        ]
        self._factors += factors
        self._most = max(self._most, len(factors))

    def suspicion(self) -> float | None:
        """Say by which factor all objects look too large or too small.

        Returns
        -------
        float or None
            About so many times as large as they should; None where that may well be.
        """
        if len(self._factors) < LEAST_OBSERVATIONS:
            return None
        median = float(np.median(self._factors))
        too_large = TOO_LARGE / math.sqrt(min(self._most, MOST_OBJECTS))
        return None if TOO_SMALL <= median <= too_large else math.exp(median)


def unit_warning(factor: float, unit_m: float) -> tuple[str, str]:
    """Say what objects of wrong sizes mean.

    Parameters
    ----------
    factor : float
        Of `ObjectSizes.suspicion`.
    unit_m : float
        In which depth is read [m].

    Returns
    -------
    str, str
        What is wrong, as `name: expected …, got …`, and what to do.
    """
    # tenth millimetres, of a D405 or an L515, are by far the commonest
    likely_m = unit_m / 10 if factor > 1 else unit_m * 10
    return (
        f"depth: expected objects about as large as their categories are, got {factor:.2g} times that: "
        f"the image may be in another unit than {unit_m * 1e3:g} mm",
        f"if it is in {likely_m * 1e3:g} mm: depth_scale_m:={likely_m:g}",
    )


def _across(cloud: np.ndarray) -> float:
    """Diagonal of what is seen (N, 3) across the line of sight, without its outermost points [m]."""
    low, high = np.quantile(cloud[:, :2], INNER, axis=0)
    return max(float(np.hypot(*(high - low))), 1e-6)
