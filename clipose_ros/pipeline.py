"""The whole online flow: a frame with instances in, poses out. Knows nothing of ROS, files or arguments."""

from __future__ import annotations

from dataclasses import dataclass

from clipose_ros.core.backprojection import DepthRange, backproject
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Frame, Instance, Observation, PoseEstimate, Rejection
from clipose_ros.estimators.base import Estimator


@dataclass(frozen=True)
class FrameResult:
    """What a frame gave: one result per instance, in the order of the frame, with the frame's stamp and frame_id.

    stages_ms: wall clock by stage.
    """

    stamp_ns: int
    frame_id: str
    results: tuple[tuple[Instance, PoseEstimate | Rejection], ...]
    stages_ms: dict[str, float]


class Pipeline:
    """depth + labels -> points -> estimator -> poses, all instances of a frame together."""

    def __init__(self, estimator: Estimator, depth_range: DepthRange = DepthRange()) -> None:
        self.estimator = estimator
        self.depth_range = depth_range

    def process(self, frame: Frame) -> FrameResult:
        """Poses of every instance of a frame, in the camera frame; a hopeless one is a `Rejection`. No state: equal frames give equal results."""
        stopwatch = Stopwatch()
        with stopwatch.stage("backprojection"):
            clouds = backproject(frame, self.depth_range)
            observations = [Observation(cloud, instance.category) for cloud, instance in zip(clouds, frame.instances)]
        results = self.estimator.estimate(observations, stopwatch)
        return FrameResult(frame.stamp_ns, frame.frame_id, tuple(zip(frame.instances, results)), stopwatch.stages_ms)
