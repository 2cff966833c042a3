"""Whether wrong poses are right ones, written by other conventions than the truth: what makes all of a file wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import rotation_error_deg
from clipose_ros.core.types import PoseEstimate

LEAST_PAIRS = 5
WRONG_DEG, RIGHT_DEG = 30.0, 10.0  # medians
WRONG_M, RIGHT_M = 0.3, 0.1
# What sizes may be in or of, by their ratio to the truth's.
OTHER_SIZES = {
    1000.0: "millimetres: divide them by 1000",
    100.0: "centimetres: divide them by 100",
    0.5: "half extents: double them",
    2.0: "twice the extents: halve them",
}
ALIKE = 0.15  # of ratios: half of them lie so near the median
# R_optical_body of a camera whose body has x forward, y left, z up (REP 103).
OPTICAL_OF_BODY = np.array([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
Pair = tuple[PoseEstimate, PoseEstimate]


def convention_doubts(pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Say by which other conventions poses would fit the truth.

    Parameters
    ----------
    pairs : sequence of (PoseEstimate, PoseEstimate)
        What was estimated and what is right, of the same objects.

    Returns
    -------
    tuple of str
        Sentences; empty where poses are right, or wrong in some other way.
    """
    names = Counter((mine.category, true.category) for mine, true in pairs)
    found = [
        f"categories: expected {true}, got {mine} ({count} times): write it as the truth does"
        for (mine, true), count in names.items()
        if mine != true and mine.strip().casefold() == true.strip().casefold()
    ]
    if len(pairs) >= LEAST_PAIRS:
        found += [doubt for look in (_rotations, _positions, _sizes) if (doubt := look(pairs))]
    return tuple(found)


def _rotations(pairs: Sequence[Pair]) -> str:
    given, turned = _median_deg(pairs, lambda rotation: rotation), _median_deg(pairs, np.transpose)
    if given < WRONG_DEG or turned > RIGHT_DEG:
        return ""
    return (
        f"R: expected T_camera_object, row by row, got rotations that fit the truth when transposed (median "
        f"{turned:.1f}° instead of {given:.1f}°): are they written by columns, or of the inverse pose?"
    )


def _positions(pairs: Sequence[Pair]) -> str:
    given = np.median([np.linalg.norm(mine.translation - true.translation) for mine, true in pairs])
    turned = np.median([np.linalg.norm(OPTICAL_OF_BODY @ mine.translation - true.translation) for mine, true in pairs])
    if given < WRONG_M or turned > RIGHT_M:
        return ""
    return (
        "t: expected the camera's optical frame (x right, y down, z forward), got positions that fit the truth from a "
        f"body frame (x forward, y left, z up; median {turned:.2f} m instead of {given:.2f} m): turn poses into the "
        "optical frame"
    )


def _sizes(pairs: Sequence[Pair]) -> str:
    ratios = np.median([mine.size / true.size for mine, true in pairs], axis=1)
    low, middle, high = np.quantile(ratios, (0.25, 0.5, 0.75))
    if high - low > 2 * ALIKE * middle:
        return ""
    looks_like = next((text for ratio, text in OTHER_SIZES.items() if abs(middle / ratio - 1) < ALIKE), "")
    return f"size: expected full extents in metres, got {middle:.3g} times those: {looks_like}" if looks_like else ""


def _median_deg(pairs: Sequence[Pair], change: Callable[[np.ndarray], np.ndarray]) -> float:
    return float(
        np.median(
            [
                rotation_error_deg(change(mine.rotation), true.rotation, nocs_symmetry(true.category))
                for mine, true in pairs
            ]
        )
    )
