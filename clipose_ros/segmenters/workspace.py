"""A part of the image to look at: what is found elsewhere, such as the robot's arm or the room, is left alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from clipose_ros.core.types import Detections, Frame
from clipose_ros.core.validation import expect
from clipose_ros.formats.images import read_object_mask
from clipose_ros.segmenters.segmenter import Segmenter

LEAST_SHARE = 0.5  # of its pixels that an object has within


class WorkspaceSegmenter:
    """Finds what another segmenter finds, where a camera that stands still is to look.

    Parameters
    ----------
    segmenter : Segmenter
        Which finds.
    path : Path
        8-bit image in one channel, of the depth image's size; objects mostly where it is 0 are none.

    Raises
    ------
    ValueError
        With the path, where there is no such image, or one that is 0 everywhere.
    """

    def __init__(self, segmenter: Segmenter, path: Path) -> None:
        self._segmenter, self._path = segmenter, path
        self._inside = read_object_mask(path)
        expect(str(path), self._inside.any(), "a part of the image that is not 0, the workspace", "none")

    @property
    def names(self) -> tuple[str, ...]:
        """What the segmenter tells apart."""
        return self._segmenter.names

    def facts(self) -> dict[str, str]:
        """Say what runs, for diagnostics.

        Returns
        -------
        dict of str to str
            By name.
        """
        share = f"{100 * self._inside.mean():.0f} % of the image, {self._path}"
        return {**self._segmenter.facts(), "segmenter workspace": share}

    def warm_up(self) -> None:
        """Take memory now, so that the first frame is as fast as the others."""
        self._segmenter.warm_up()

    def segment(self, frame: Frame) -> Detections:
        """Find the objects.

        Parameters
        ----------
        frame : Frame
            What the camera saw.

        Returns
        -------
        Detections
            Those within the workspace, numbered as the segmenter did.

        Raises
        ------
        ValueError
            For a frame of another size than the workspace, and as the segmenter.
        """
        height, width = self._inside.shape
        shape = frame.depth.shape
        got = f"{shape[1]}x{shape[0]}"
        expect("depth", shape == (height, width), f"{width}x{height} as the workspace {self._path}", got)
        found = self._segmenter.segment(frame)
        kept = [i for i in range(len(found.instances)) if self._contains(found.mask(i))]
        if len(kept) == len(found.instances):
            return found
        within = found.only(kept)
        if within.overlap:
            return within
        labels = [instance.label for instance in within.instances]
        return Detections(within.instances, np.where(np.isin(found.masks, labels), found.masks, 0))

    def _contains(self, mask: np.ndarray) -> bool:
        return np.count_nonzero(mask & self._inside) >= LEAST_SHARE * np.count_nonzero(mask)
