"""What every segmenter is to the pipeline."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from clipose_ros.core.types import Detections, Frame


class Segmenter(Protocol):
    """Finds the objects of a frame."""

    def facts(self) -> dict[str, str]:
        """Say what runs, for diagnostics.

        Returns
        -------
        dict of str to str
            By name.
        """
        ...

    def warm_up(self) -> None:
        """Take memory now, so that the first frame is as fast as the others."""
        ...

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw.

        Returns
        -------
        Detections
            Instances, and masks of the same size as the depth image. There may be no instance. The same frame gives
            the same detections, in bounded time. Bad pixels never raise.
        """
        ...


@runtime_checkable
class Learner(Protocol):
    """Finds learned objects of a library that may change."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the learned objects."""
        ...

    def reload(self) -> None:
        """Read the library again.

        Raises
        ------
        ValueError
            If there is no object, or one is broken: then all stay as they were.
        """
        ...
