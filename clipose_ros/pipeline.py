"""The whole online flow: a frame with instances in, poses out. Knows nothing of ROS, files or arguments."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from clipose_ros.core.admission import MAX_INSTANCES, refusals
from clipose_ros.core.backprojection import DepthRange, backproject
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Frame, Instance, Intrinsics, Observation, PoseEstimate, Rejection, TrackedPose
from clipose_ros.estimators.base import Estimator
from clipose_ros.tracking.tracker import Tracker

WARM_UP_INSTANCES = 10


@dataclass(frozen=True)
class FrameResult:
    """What a frame gave: one result per instance, in the order of the frame, with the frame's stamp and frame_id.

    stages_ms: wall clock by stage. With a tracker the poses are tracked ones; coasting: where objects should be that
    this frame shows no pose of;
    lost: numbers of the tracks that ended.
    """

    stamp_ns: int
    frame_id: str
    results: tuple[tuple[Instance, PoseEstimate | Rejection], ...]
    stages_ms: dict[str, float]
    coasting: tuple[tuple[Instance, TrackedPose], ...] = ()
    lost: tuple[int, ...] = ()


class Pipeline:
    """depth + labels -> points -> estimator -> poses (-> tracker), all instances of a frame together."""

    def __init__(
        self,
        estimator: Estimator,
        depth_range: DepthRange = DepthRange(),
        tracker: Tracker | None = None,
        max_instances: int = MAX_INSTANCES,
    ) -> None:
        self.estimator = estimator
        self.depth_range = depth_range
        self.tracker = tracker
        self.max_instances = max_instances

    def process(self, frame: Frame) -> FrameResult:
        """Poses of every instance of a frame, in the camera frame; a hopeless one is a `Rejection`.

        Without a tracker there is no state: equal frames give equal results. With one, the frames are those of one
        camera, in the order of time.
        """
        stopwatch = Stopwatch()
        with stopwatch.stage("backprojection"):
            refused = refusals(frame.instances, self.max_instances)
            admitted = tuple(instance for i, instance in enumerate(frame.instances) if i not in refused)
            clouds = backproject(replace(frame, instances=admitted), self.depth_range)
            observations = [Observation(cloud, instance.category) for cloud, instance in zip(clouds, admitted)]
        estimates = iter(self.estimator.estimate(observations, stopwatch))
        results = tuple(
            (instance, Rejection(instance.category, refused[i]) if i in refused else next(estimates))
            for i, instance in enumerate(frame.instances)
        )
        if self.tracker is None:
            return FrameResult(frame.stamp_ns, frame.frame_id, results, stopwatch.stages_ms)
        with stopwatch.stage("tracking"):
            tracked = self.tracker.update(frame.stamp_ns, results)
        return FrameResult(
            frame.stamp_ns, frame.frame_id, tracked.results, stopwatch.stages_ms, tracked.coasting, tracked.lost
        )


def warm_up(estimator: Estimator) -> None:
    """Once through everything, with upright stripes for objects: the first frame of many objects takes the memory that
    later ones find.
    """
    labels = np.tile(np.repeat(np.arange(1, 1 + WARM_UP_INSTANCES, dtype=np.uint8), 64), (480, 1))
    instances = tuple(Instance(label, estimator.categories[0]) for label in range(1, 1 + WARM_UP_INSTANCES))
    one_metre = np.full(labels.shape, 1000, dtype=np.uint16)
    Pipeline(estimator).process(
        Frame(0, "", one_metre, labels, instances, Intrinsics(fx=600.0, fy=600.0, cx=319.5, cy=239.5))
    )
