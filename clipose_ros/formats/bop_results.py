"""Results in the form of bop_toolkit: a CSV file `scene_id,im_id,obj_id,score,R,t,time`, with t in millimetres."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clipose_ros.core.types import PoseEstimate
from clipose_ros.formats.bop_scenes import MM_PER_M, BopScenes

if TYPE_CHECKING:  # whoever writes results needs no pipeline
    from clipose_ros.pipeline import FrameResult

HEADER = "scene_id,im_id,obj_id,score,R,t,time"


class BopResults:
    """Gathers the poses of BOP scenes.

    Parameters
    ----------
    scenes : BopScenes
        Whose images they are of.
    given : bool
        Whether the scenes' own instances were estimated, and not those that a segmenter found.
    reference_origins : mapping of str to (3,) float
        Of learned objects: the origin of their reference poses in their frame, which is the data set's where the
        reference poses were its own [m]. Others have the origin of their own frame.

    Attributes
    ----------
    left_out : int
        Poses of objects that the data set does not have, as far as the names of its objects tell.

    Raises
    ------
    ValueError
        Where names have to tell objects apart, and several have the same.
    """

    def __init__(self, scenes: BopScenes, given: bool, reference_origins: Mapping[str, np.ndarray]) -> None:
        self._scenes, self._given, self._origins = scenes, given, reference_origins
        self._lines: list[str] = []
        self.left_out = 0
        if not given:
            scenes.object_names.check_unique()

    def add(self, name: str, result: FrameResult) -> None:
        """Take the poses of a frame; what is rejected has no line.

        Parameters
        ----------
        name : str
            Of the frame.
        result : FrameResult
            Its time is that of all its stages together.
        """
        image, seconds = self._scenes.image(name), sum(result.stages_ms.values()) / 1e3
        for instance, pose in result.results:
            if not isinstance(pose, PoseEstimate):
                continue
            number = self._scenes.object_id(name, instance, self._given)
            if number is None:
                self.left_out += 1
                continue
            origin = self._origins.get(pose.category, np.zeros(3))
            translation_mm = (pose.rotation @ origin + pose.translation) * MM_PER_M
            columns = (
                image.scene_id,
                image.image_id,
                number,
                f"{pose.score:.6f}",
                _spaced(pose.rotation, 8),
                _spaced(translation_mm, 5),
                f"{seconds:.6f}",
            )
            self._lines.append(",".join(map(str, columns)))

    def write(self, path: Path) -> None:
        """Write the file; folders that the path names and that are not there are made.

        Parameters
        ----------
        path : Path
            bop_toolkit wants a name of the form METHOD_DATASET-SPLIT.csv.
        """
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\n".join([HEADER, *self._lines]) + "\n", encoding="utf-8")


def _spaced(values: np.ndarray, digits: int) -> str:
    """Numbers, row by row, with a space between them."""
    return " ".join(f"{value:.{digits}f}" for value in np.ravel(values))
