"""From a network's confidence to the probability that its answer is right."""

from __future__ import annotations

import bisect
import math
from dataclasses import dataclass

from clipose_ros.core.validation import expect


@dataclass(frozen=True)
class Calibration:
    """A curve of straight lines between knots, constant beyond the first and the last.

    Parameters
    ----------
    confidence : tuple of float
        Knots in 0..1, ascending.
    probability : tuple of float
        Share of answers that are right at each knot, ascending: poses within 10° and 5 cm; masks and categories.

    Raises
    ------
    ValueError
        If the numbers do not ascend or are not in 0..1, or if the lists differ in length.
    """

    confidence: tuple[float, ...]
    probability: tuple[float, ...]

    def __post_init__(self) -> None:
        for key, values in (("confidence", self.confidence), ("probability", self.probability)):
            numbers = len(values) > 0 and all(type(v) in (int, float) and 0 <= v <= 1 for v in values)
            expect(
                f"calibration.{key}", numbers and list(values) == sorted(values), "ascending numbers in 0..1", values
            )
        expect(
            "calibration",
            len(self.confidence) == len(self.probability),
            f"{len(self.confidence)} probabilities",
            len(self.probability),
        )

    def __call__(self, confidence: float) -> float:
        """Give the probability at a confidence.

        Parameters
        ----------
        confidence : float
            What the network says, 0..1.

        Returns
        -------
        float
            Probability that the answer is right, 0..1.
        """
        if math.isnan(confidence):  # no confidence at all; NaN would sort above all knots
            return float(self.probability[0])
        # numpy's interpolation would first make arrays of all knots.
        i = bisect.bisect_right(self.confidence, confidence)
        if i in (0, len(self.confidence)):
            return float(self.probability[max(i - 1, 0)])
        (a, b), (low, high) = self.confidence[i - 1 : i + 1], self.probability[i - 1 : i + 1]
        return low + (high - low) * (confidence - a) / (b - a)
