"""The whole online flow: a frame in, poses out.

It knows nothing of ROS, files or arguments.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import cycle, islice

import numpy as np

from clipose_ros.core.admission import MAX_INSTANCES, refusals, unanswered
from clipose_ros.core.backprojection import DepthRange, backproject
from clipose_ros.core.observation import colour_crop, pixel_coordinates
from clipose_ros.core.resting import set_all_onto
from clipose_ros.core.sampling import roughness
from clipose_ros.core.support import Footing, SupportSettings, Surface, find_surfaces
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import (
    Detections,
    Frame,
    Instance,
    InstanceView,
    Intrinsics,
    Observation,
    PoseEstimate,
    Rejection,
    TrackedPose,
)
from clipose_ros.core.validation import expect
from clipose_ros.core.workspace import CameraPlace, Workspace
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.segmenters.segmenter import Learner, Segmenter
from clipose_ros.tracking.association import priors_of
from clipose_ros.tracking.tracker import Tracker

WARM_UP_INSTANCES = 10
STEEP = math.cos(math.radians(75))  # between the normal of a table and up in the image, for a camera that looks down
MANY = 3  # objects that touch a surface which faces the camera: no wall has so many
LEVEL = math.cos(math.radians(12))  # between up and the normal of a surface that objects rest on
BARE = "points: expected an object that stands out of the surface around it, got a patch of that surface alone"
# What depth may differ by from one pixel to the next: a share of the object's diagonal, and what sensors have by the
# squared distance [1/m]. Of 454 objects in rendered frames the noisiest has 0.04 of its diagonal; noise of 5 cm within
# their masks gives 0.09 and more.
MOST_NOISE, SENSOR_NOISE = 0.06, 0.006
NOISE = "points: expected a surface, got noise: depth differs by {:.0%} of the diagonal of a {} from pixel to pixel"


@dataclass(frozen=True)
class FrameResult:
    """The results of a frame.

    Parameters
    ----------
    stamp_ns : int
        Stamp of the frame [ns].
    frame_id : str
        Name of the camera's optical frame.
    results : tuple of (Instance, PoseEstimate or Rejection)
        One for each instance, in the order of the detections. With a tracker, the poses are tracked ones.
    stages_ms : dict of str to float
        Wall-clock time by stage [ms].
    detections : Detections, optional
        The detections that were given, or that the segmenter found.
    coasting : tuple of (Instance, TrackedPose)
        Tracked objects that have no estimate in this frame: where they should be, and the instance that each was last.
    lost : tuple of int
        Numbers of the tracks that ended.
    at_rest : int, optional
        How many poses were set onto the surface that they rest on. None where that was not asked for.
    outside : int
        Instances that the segmenter found outside of the workspace, which are left alone.
    """

    stamp_ns: int
    frame_id: str
    results: tuple[tuple[Instance, PoseEstimate | Rejection], ...]
    stages_ms: dict[str, float]
    detections: Detections | None = None
    coasting: tuple[tuple[Instance, TrackedPose], ...] = ()
    lost: tuple[int, ...] = ()
    at_rest: int | None = None
    outside: int = 0


class Pipeline:
    """Turns frames into poses, all objects of a frame together.

    frame (-> segmenter) -> detections -> observations -> estimator -> poses (-> tracker)

    Parameters
    ----------
    estimator : Estimator
        Estimates the poses.
    segmenter : Segmenter, optional
        Finds the objects in frames that come without detections.
    tracker : Tracker, optional
        Follows the objects over frames. Without one there is no state: equal frames give equal results.
    depth_range : DepthRange
        Valid depths.
    max_instances : int
        The most instances of a frame that are estimated.
    min_score : float
        Poses with a lower score are rejected, 0..1.
    support : SupportSettings, optional
        How surfaces are found. Estimators that ask for it are told the surface below each object, and poses that fit
        are set onto it. Without it, nothing is told, and poses stay as they were estimated.
    workspace : Workspace
        What the segmenter finds outside of it is left alone. Detections that are given are not judged.
    colour : bool
        Whether the estimator sees colour. The segmenter does in any case.

    Raises
    ------
    ValueError
        If `min_score` is out of its range, or the segmenter finds learned objects that the estimator does not answer.
    """

    def __init__(
        self,
        estimator: Estimator,
        segmenter: Segmenter | None = None,
        tracker: Tracker | None = None,
        depth_range: DepthRange = DepthRange(),
        max_instances: int = MAX_INSTANCES,
        min_score: float = 0.0,
        support: SupportSettings | None = None,
        workspace: Workspace = Workspace(),
        colour: bool = True,
    ) -> None:
        expect("max_instances", max_instances >= 1, "1 or more", max_instances)
        expect("min_score", 0 <= min_score <= 1, "0 to 1", min_score)
        if isinstance(segmenter, Learner):
            answered = set(segmenter.names) & set(estimator.names)
            expect(
                "models", answered, "one that answers what segmenter objects finds: gspose", ", ".join(estimator.names)
            )
        self.estimator = estimator
        self.segmenter = segmenter
        self.tracker = tracker
        self._tracked_in = ""  # the frame_id of the tracker's objects
        self.depth_range = depth_range
        self.max_instances = max_instances
        self.min_score = min_score
        self.support = support
        self.workspace = workspace
        self.colour = colour
        self._surfaces: list[Surface] = []

    def process(
        self,
        frame: Frame,
        detections: Detections | None = None,
        up: np.ndarray | None = None,
        camera: CameraPlace | None = None,
    ) -> FrameResult:
        """Estimate the pose of every instance of a frame.

        Parameters
        ----------
        frame : Frame
            What the camera saw. With a tracker, all frames are from one camera, in the order of time.
        detections : Detections, optional
            What is in the frame. Without them, the segmenter looks.
        up : (3,) float, optional
            Direction against gravity, camera frame, of any length. With it, only level surfaces count, and up is known
            for what touches none of them, too. Without `support` it has no effect.
        camera : CameraPlace, optional
            In the frame of the workspace's box; without it, that is the camera's optical frame.

        Returns
        -------
        FrameResult
            Poses in the camera frame. A hopeless object gets a `Rejection`.

        Raises
        ------
        ValueError
            If there are neither detections nor a segmenter, if the masks have another size than the image, or if `up`
            is no direction.
        """
        if up is not None:
            up = np.asarray(up, np.float64)
            sound = up.shape == (3,) and 0 < np.linalg.norm(up) < np.inf
            expect("up", sound, "three finite numbers that are not all 0", up)
            up = up / np.linalg.norm(up)
        stopwatch = Stopwatch()
        found_here, outside = detections is None, 0
        if detections is None:
            expect("detections", self.segmenter is not None, "masks of the frame, since there is no segmenter", "none")
            with stopwatch.stage("segmentation"):
                detections = self.segmenter.segment(frame)
                if self.workspace:
                    found, detections = detections, self.workspace.kept(frame, detections, camera)
                    outside = len(found.instances) - len(detections.instances)
        expect("masks", detections.shape == frame.depth.shape, f"{frame.depth.shape} as depth", detections.shape)
        if not self.colour:
            frame = replace(frame, colour=None)
        if self.tracker is not None:
            with stopwatch.stage("prediction"):
                self._track_in(frame.frame_id)
                self.tracker.predict(frame.stamp_ns)
        with stopwatch.stage("backprojection"):
            refused = refusals(detections.instances, self.max_instances, detections.overlap)
            if found_here:
                refused |= self._strangers(detections.instances)
            kept = [i for i in range(len(detections.instances)) if i not in refused]
            observations = self._observations(frame, detections.only(kept) if refused else detections)
            diagonals_m = self._diagonals_m(observations)
            hopeless = self._noise(observations, diagonals_m)
        footing = None
        if self.support is not None:
            with stopwatch.stage("support"):
                footing = self._footing(frame, detections, observations, up)
                if footing is not None:
                    hopeless |= {i: BARE for i, is_bare in enumerate(footing.bare(diagonals_m)) if is_bare}
                observations = self._told(observations, footing, up)
        asked = [one for i, one in enumerate(observations) if i not in hopeless]
        answers = iter(self.estimator.estimate(asked, stopwatch))
        found = [
            Rejection(one.name, hopeless[i]) if i in hopeless else next(answers) for i, one in enumerate(observations)
        ]
        at_rest = None if self.support is None else 0
        if footing is not None:
            with stopwatch.stage("support"):
                found, at_rest = self._at_rest(found, footing)
        estimates = iter(found)
        results = tuple(
            (instance, Rejection(instance.category, refused[i]) if i in refused else self._admitted(next(estimates)))
            for i, instance in enumerate(detections.instances)
        )
        if self.tracker is None:
            return FrameResult(
                frame.stamp_ns,
                frame.frame_id,
                results,
                stopwatch.stages_ms,
                detections,
                at_rest=at_rest,
                outside=outside,
            )
        with stopwatch.stage("tracking"):
            tracked = self.tracker.update(frame.stamp_ns, results)
        return FrameResult(
            frame.stamp_ns,
            frame.frame_id,
            tracked.results,
            stopwatch.stages_ms,
            detections,
            tracked.coasting,
            tracked.lost,
            at_rest,
            outside,
        )

    def _track_in(self, frame_id: str) -> None:
        """Forget what is known where a frame is of another camera: places in the one are none in the other."""
        camera = frame_id.removeprefix("/")  # ROS 1's name of the same
        if camera and self._tracked_in not in ("", camera):
            self.tracker.reset("another frame_id")
            self._surfaces = []
        self._tracked_in = camera or self._tracked_in  # without a name it may be the same

    def _strangers(self, instances: tuple[Instance, ...]) -> dict[int, str]:
        """Why instances that the segmenter found are not estimated, by their places: it knows more than the models."""
        names = self.estimator.names
        return {
            i: f"{unanswered(one.category, names)}: an object that no model answers"
            for i, one in enumerate(instances)
            if one.category not in names
        }

    def _observations(self, frame: Frame, detections: Detections) -> list[Observation]:
        """Make what the estimator sees of each instance: the points, and what else it needs."""
        clouds, needs = backproject(frame, detections, self.depth_range), self.estimator.needs
        nothing = [None] * len(clouds)
        pixels = [pixel_coordinates(cloud, frame.depth.shape) for cloud in clouds] if needs.pixels else nothing
        coloured = needs.colour and frame.colour is not None
        crops = [colour_crop(cloud, frame.colour) for cloud in clouds] if coloured else nothing
        known = self.tracker.tracked() if needs.prior and self.tracker is not None else ()
        priors = priors_of(known, detections.instances, [cloud.points for cloud in clouds]) if known else nothing
        views = _views(frame, detections) if needs.view else nothing
        return [
            Observation(cloud.points, instance.category, *others, view=view)
            for instance, cloud, view, *others in zip(detections.instances, clouds, views, pixels, crops, priors)
        ]

    def _diagonals_m(self, observations: list[Observation]) -> list[float | None]:
        """Usual diagonals of objects that are known to be solid [m]; None for others.

        Learned objects may be as flat as a card, and have poses from colour alone.
        """
        names = [one.name for one in observations]
        return [self.estimator.diagonal_m(name) if self.estimator.rests(name) else None for name in names]

    def _noise(self, observations: list[Observation], diagonals_m: list[float | None]) -> dict[int, str]:
        """Why masks within which depth shows no surface have no pose, by their places."""
        sigma, diagonals = roughness([one.points for one in observations]), np.array(diagonals_m, np.float64)
        z = np.array([one.points[len(one.points) // 2, 2] if len(one.points) else 0.0 for one in observations])
        noise = np.flatnonzero(sigma > MOST_NOISE * diagonals + SENSOR_NOISE * z * z).tolist()
        return {i: NOISE.format(sigma[i] / diagonals[i], observations[i].name) for i in noise}

    def _footing(
        self, frame: Frame, detections: Detections, observations: list[Observation], up: np.ndarray | None
    ) -> Footing | None:
        """What the objects of a frame may rest on; None where nobody asks for that, or nothing is seen."""
        asked = self.estimator.needs.surface or any(self.estimator.rests(one.name) for one in observations)
        if not observations or not asked:
            return None
        surfaces = find_surfaces(frame, detections, self.depth_range, self._surfaces, self.support)
        if self.tracker is not None:  # without one there is no state
            self._surfaces = surfaces
        level = None if up is None else [surface.normal @ up > LEVEL for surface in surfaces]
        return Footing([one.points for one in observations], surfaces, self.support, level) if surfaces else None

    def _told(
        self, observations: list[Observation], footing: Footing | None, up: np.ndarray | None
    ) -> list[Observation]:
        """The observations, with the surface that each object touches, if the estimator asks for that.

        Of an object that touches none, up alone is known: from gravity, or from the surface that most others touch.
        Without gravity, a wall must not pass for a table: see `_upright`.
        """
        if not self.estimator.needs.surface:
            return observations
        touched = footing.touched() if footing else [None] * len(observations)
        if up is None:
            touched = [surface if surface is not None and _upright(surface, touched) else None for surface in touched]
            common = max(touched, key=lambda surface: surface is not None and touched.count(surface), default=None)
            if common is None:
                return observations
            up = common.normal
        told = [(*up, np.nan) if surface is None else (*surface.normal, surface.offset) for surface in touched]
        return [replace(one, surface=np.array(surface)) for one, surface in zip(observations, told)]

    def _at_rest(
        self, found: list[PoseEstimate | Rejection], footing: Footing
    ) -> tuple[list[PoseEstimate | Rejection], int]:
        """The results, with the poses that fit one set onto the surface that they rest on, and how many these are."""
        if self.tracker is not None:  # which has its own covariances
            found = [replace(one, covariance=None) if isinstance(one, PoseEstimate) else one for one in found]
        rests = [self.estimator.rests(result.category) for result in found]
        poses = [pose if isinstance(pose, PoseEstimate) and ways else None for pose, ways in zip(found, rests)]
        symmetries = [self.estimator.symmetry(result.category) for result in found]
        settled = set_all_onto(poses, footing.rested(poses), rests, symmetries)
        return [at_rest or result for at_rest, result in zip(settled, found)], sum(map(bool, settled))

    def _admitted(self, result: PoseEstimate | Rejection) -> PoseEstimate | Rejection:
        """Reject a pose whose score is too low."""
        if isinstance(result, Rejection) or result.score >= self.min_score:
            return result
        return Rejection(result.category, f"score: expected at least {self.min_score:g}, got {result.score:.2f}")


def _views(frame: Frame, detections: Detections) -> list[InstanceView]:
    """What is seen of each instance, and of the others."""
    masks = [detections.mask(i) for i in range(len(detections.instances))]
    together = np.logical_or.reduce(masks) if masks else None
    return [InstanceView(frame, mask, together & ~mask) for mask in masks]


def _upright(surface: Surface, touched: list[Surface | None]) -> bool:
    """Whether a surface may be what things stand on: it faces up in the image, or many objects touch it.

    A table that a camera sees from straight above looks like a wall that it sees from the front.
    """
    return -surface.normal[1] > STEEP or touched.count(surface) >= MANY


def warm_up(estimator: Estimator) -> None:
    """Run the pipeline once on many objects, so that the first frame finds its memory taken already.

    Parameters
    ----------
    estimator : Estimator
        It sees `WARM_UP_INSTANCES` upright stripes as objects, with the names that it answers in turn.
    """
    labels = np.tile(np.repeat(np.arange(1, 1 + WARM_UP_INSTANCES, dtype=np.uint8), 64), (480, 1))
    names = islice(cycle(estimator.names), WARM_UP_INSTANCES)
    instances = tuple(Instance(label, name) for label, name in enumerate(names, start=1))
    near = np.full(labels.shape, 300, dtype=np.uint16)  # so that a stripe is about as large as an object
    colour = np.zeros((*labels.shape, 3), np.uint8) if estimator.needs.colour else None
    frame = Frame(0, "", near, Intrinsics(fx=600.0, fy=600.0, cx=319.5, cy=239.5), colour)
    Pipeline(estimator).process(frame, Detections(instances, labels))
