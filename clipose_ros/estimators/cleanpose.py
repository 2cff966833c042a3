"""CleanPose: category-level poses from the keypoints of each object, seen beside those of others of its category.

The networks that training exports take points, category and surface, as CLIPose's do, and answer as these do. What they
know of other objects of a category, the queue of the front door, is among their weights. So all that happens about the
network is CLIPose's. None of these networks sees colour, and none is asked for.
"""

from __future__ import annotations

from clipose_ros.estimators.clipose import Clipose


class CleanPose(Clipose):
    """The estimator of a CleanPose model. See `Estimator`.

    Its card has the settings of `CliposeSettings`: scales, draws, calibration and uncertainty.
    """
