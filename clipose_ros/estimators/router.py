"""Several estimators as one: each object goes to the first that answers its name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from operator import or_

from clipose_ros.core.admission import unanswered
from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Observation, PoseEstimate, Rejection
from clipose_ros.core.validation import expect
from clipose_ros.estimators.estimator import Estimator, Needs


class Router:
    """An estimator made of others.

    Parameters
    ----------
    estimators : sequence of Estimator
        At least one, in the order in which they are asked.

    Raises
    ------
    ValueError
        If there is none.
    """

    def __init__(self, estimators: Sequence[Estimator]) -> None:
        expect("estimators", estimators, "at least one", "none")
        self._estimators = tuple(estimators)

    @property
    def names(self) -> tuple[str, ...]:
        """Names that at least one of them answers, each once. They may change, as learned objects come and go."""
        return tuple(dict.fromkeys(name for estimator in self._estimators for name in estimator.names))

    @property
    def needs(self) -> Needs:
        """What at least one of them needs."""
        return reduce(or_, (estimator.needs for estimator in self._estimators))

    def symmetry(self, name: str) -> Symmetry:
        """See `Estimator.symmetry`."""
        estimator = self._answering(name)
        return estimator.symmetry(name) if estimator else Symmetry.NONE

    def rests(self, name: str) -> tuple[Rest, ...]:
        """See `Estimator.rests`."""
        estimator = self._answering(name)
        return estimator.rests(name) if estimator else ()

    def diagonal_m(self, name: str) -> float | None:
        """See `Estimator.diagonal_m`."""
        estimator = self._answering(name)
        return estimator.diagonal_m(name) if estimator else None

    def facts(self) -> dict[str, object]:
        """See `Estimator.facts`. A fact is one value if all say the same, else all values in order, as text."""
        facts = [estimator.facts() for estimator in self._estimators]
        keys = dict.fromkeys(key for of_one in facts for key in of_one)
        values = {key: [of_one[key] for of_one in facts if key in of_one] for key in keys}
        return {
            key: found[0] if all(value == found[0] for value in found) else ", ".join(map(str, found))
            for key, found in values.items()
        }

    def reload(self) -> None:
        """See `Estimator.reload`."""
        for estimator in self._estimators:
            estimator.reload()

    def warm_up(self) -> None:
        """See `Estimator.warm_up`."""
        for estimator in self._estimators:
            estimator.warm_up()

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """See `Estimator.estimate`. Each estimator gets all its objects in one call."""
        answering = [self._answering(observation.name) for observation in observations]
        results = [None if answers else self._unknown(one.name) for answers, one in zip(answering, observations)]
        for estimator in self._estimators:
            mine = [i for i, answers in enumerate(answering) if answers is estimator]
            if mine:
                found = estimator.estimate([observations[i] for i in mine], stopwatch)
                for i, result in zip(mine, found, strict=True):
                    results[i] = result
        return results

    def _unknown(self, name: str) -> Rejection:
        """Reject an object whose name nobody answers."""
        return Rejection(name, unanswered(name, self.names))

    def _answering(self, name: str) -> Estimator | None:
        """Find the first estimator that answers a name."""
        return next((estimator for estimator in self._estimators if name in estimator.names), None)
