"""What every estimator is to the pipeline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from clipose_ros.core.resting import Rest
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Observation, PoseEstimate, Rejection


@dataclass(frozen=True)
class Needs:
    """What an estimator asks for beside the points.

    What nobody asks for is not computed.

    Parameters
    ----------
    pixels : bool
        Where in the image the points were seen.
    colour : bool
        The colour image around the mask. An estimator that asks for it must also accept frames without colour.
    prior : bool
        Where a track expects the object. An estimator that asks for it must also accept objects without a track.
    surface : bool
        The surface below the object. An estimator that asks for it must also accept objects without one.
    view : bool
        The whole frame with the object's mask, for estimators that compare renders with it.
    """

    pixels: bool = False
    colour: bool = False
    prior: bool = False
    surface: bool = False
    view: bool = False

    def __or__(self, other: Needs) -> Needs:
        """Join the needs of two estimators."""
        return Needs(
            self.pixels or other.pixels,
            self.colour or other.colour,
            self.prior or other.prior,
            self.surface or other.surface,
            self.view or other.view,
        )


class Estimator(Protocol):
    """Poses of single objects from their observations.

    Attributes
    ----------
    names : tuple of str
        Categories, or learned objects, that it answers.
    needs : Needs
        What it asks for beside the points.
    """

    names: tuple[str, ...]
    needs: Needs

    def symmetry(self, name: str) -> Symmetry:
        """Say which turns leave an object looking the same.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        Symmetry
            Symmetry of the objects of this name.
        """
        ...

    def rests(self, name: str) -> tuple[Rest, ...]:
        """Say in which ways an object rests on a surface.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        tuple of Rest
            None where that is not known: its poses are never set onto a surface.
        """
        ...

    def diagonal_m(self, name: str) -> float | None:
        """Say how large objects usually are.

        Parameters
        ----------
        name : str
            One of `names`.

        Returns
        -------
        float or None
            Diagonal of their tight box, about [m]; None where it is not known.
        """
        ...

    def facts(self) -> Mapping[str, object]:
        """Say what really runs, for diagnostics and reports.

        Returns
        -------
        mapping of str to object
            `model`, `provider`, `precision`, `threads`, and whatever else there is to say.
        """
        ...

    def reload(self) -> None:
        """Read again what may change while this runs, such as learned objects.

        Raises
        ------
        ValueError
            If it is broken: then all stays as it was.
        """
        ...

    def warm_up(self) -> None:
        """Do once what the first frame would otherwise have to wait for, such as building an engine."""
        ...

    def estimate(
        self, observations: Sequence[Observation], stopwatch: Stopwatch | None = None
    ) -> list[PoseEstimate | Rejection]:
        """Estimate all objects of a frame together.

        Parameters
        ----------
        observations : sequence of Observation
            One for each object.
        stopwatch : Stopwatch, optional
            Takes the time of the stages.

        Returns
        -------
        list of PoseEstimate or Rejection
            One for each observation, in the same order. A hopeless object (unknown name, too few points, no finite
            answer) gives a rejection with the reason. The estimator never raises, and no object vanishes.
        """
        ...
