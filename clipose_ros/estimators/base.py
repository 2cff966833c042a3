"""What every estimator is to the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Observation, PoseEstimate, Rejection


class Estimator(Protocol):
    """Poses of single objects from their observations."""

    categories: tuple[str, ...]

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """One result per observation, in the same order, all computed together.

        A hopeless object (unknown category, too few points, no finite answer) gives a `Rejection` with the reason; it
        never raises or vanishes.
        """
        ...
