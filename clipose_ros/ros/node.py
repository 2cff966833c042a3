"""The pose node: callbacks store, one worker estimates the newest complete frame and publishes.

Start it with scripts/pose_node or launch/pose.launch.py.
"""

from __future__ import annotations

import math
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from clipose_ros import estimators
from clipose_ros.core.admission import unanswered
from clipose_ros.core.support import support_settings
from clipose_ros.core.timing import Stopwatch
from clipose_ros.core.types import Rejection
from clipose_ros.estimators.compiled_code import tell_of_compiling
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.formats.camera_info import check_camera_info
from clipose_ros.formats.image_messages import detections_from, instances_from
from clipose_ros.joining.synchroniser import Bundle, Synchroniser
from clipose_ros.msg import InstanceArray
from clipose_ros.pipeline import FrameResult, Pipeline, warm_up
from clipose_ros.ros.calibration_input import CalibrationInput
from clipose_ros.ros.camera_transforms import camera_transforms
from clipose_ros.ros.camera_warnings import CameraWarnings
from clipose_ros.ros.conversions import frame_from, stamp_ns
from clipose_ros.ros.debug_image import DebugImage
from clipose_ros.ros.frame_pace import FramePace
from clipose_ros.ros.gravity_frame import WITHOUT_SUPPORT, GravityFrame
from clipose_ros.ros.health import Health, reason_of
from clipose_ros.ros.image_inputs import image_input
from clipose_ros.ros.input_thread import InputThread
from clipose_ros.ros.input_watch import InputWatch
from clipose_ros.ros.loading_notice import LoadingNotice
from clipose_ros.ros.losses import SequenceNumbers
from clipose_ros.ros.parameters import read_parameters
from clipose_ros.ros.publishers import PosePublishers
from clipose_ros.ros.qos import advertise, input_qos
from clipose_ros.ros.serialized import read_instances
from clipose_ros.ros.settings import (
    DEPTH_SCALE,
    GRAVITY_FRAME,
    IMAGE_TRANSPORT,
    NAMES,
    RECTIFIED,
    STAMP_DIFFERENCE,
    PoseNodeParameters,
)
from clipose_ros.ros.silence import DISABLED, Reminder
from clipose_ros.ros.spinning import run
from clipose_ros.ros.topics import CAMERA_INFO, COLOUR, DEPTH, INSTANCES
from clipose_ros.segmenters.choice import load_segmenter, needs_colour
from clipose_ros.segmenters.segmenter import Learner, Segmenter
from clipose_ros.tracking.tracker import Tracker

WARNING_PERIOD_S = 5.0  # of what may be wrong with every frame
MOST_STRANGE = 16  # names that are warned of: they come from messages
RENAME = "rename it in the segmenter or in an adapter (classes:=[cup:mug]), or give the node a model for it"


class PoseNode(Node):
    """Subscribes to depth, calibration and instances; publishes the poses of every frame.

    They have the depth image's stamp and frame. With a segmenter, images for which no masks have come are segmented
    here, and no image waits for masks. Colour is heard where a model or the segmenter needs it, or the debug image.
    `~/enable` stops and resumes the node; `~/reset` forgets the objects that are being tracked; `~/reload_objects`
    reads the library of learned objects again.

    Parameters
    ----------
    **options
        As of rclpy's Node.

    Raises
    ------
    ValueError
        For parameters and models that do not fit.
    RuntimeError
        When the provider, or a package that the parameters ask for, cannot be had.
    """

    def __init__(self, **options) -> None:
        super().__init__("clipose", **options)
        self._pipeline_lock = threading.Lock()  # the worker's frame, or a change of what it is done with
        self.parameters = read_parameters(self, PoseNodeParameters, PoseNodeParameters.CHANGEABLE, self._on_parameters)
        # an engine of TensorRT takes minutes, code of learned objects the most of one
        models = ", ".join(self.parameters.models)
        loading = f"loading {models} on {self.parameters.provider}"
        self.get_logger().info(loading)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics")
        with LoadingNotice(self, self._diagnostics, self.parameters.diagnostics_s, loading) as notice:
            tell_of_compiling(notice.tell)
            estimator = load_estimator(self.parameters)
            segmenter = load_segmenter(
                self.parameters.segmenter,
                models_dir(self.parameters),
                self.parameters.session(),
                options=self.parameters.segmenter_options(),
                objects_dir=objects_dir(self.parameters),
            )
        self._tracker = Tracker(self.parameters.tracker(), estimator.symmetry)
        self._pipeline = Pipeline(
            estimator,
            segmenter,
            tracker=self._tracker if self.parameters.tracking else None,
            depth_range=self.parameters.depth_range(),
            max_instances=self.parameters.max_instances,
            min_score=self.parameters.min_score,
            support=support_settings(self.parameters.support),
            workspace=self.parameters.work_area(),
        )
        coloured = estimator.needs.colour or needs_colour(self.parameters.segmenter)
        transport = self.parameters.image_transport
        self._depth, self._colour = (image_input(self, topic, transport) for topic in (DEPTH, COLOUR))
        heard_topics = {self._depth.topic: self._depth.kind, CAMERA_INFO: CameraInfo, INSTANCES: InstanceArray}
        heard_topics |= {self._colour.topic: self._colour.kind} if coloured else {}
        # With a segmenter masks may come or not: that they do not is nothing to warn of.
        self._topics = {topic: kind for topic, kind in heard_topics.items() if segmenter is None or topic != INSTANCES}
        self._synchroniser = Synchroniser(
            self.parameters.buffer_size,
            coloured,
            tolerance_ns=self.parameters.tolerance_ns(),
            with_instances=segmenter is None,
        )
        self._numbers = SequenceNumbers()
        self._pace = FramePace()
        self._reminder = Reminder(WARNING_PERIOD_S)
        self._strange: set[str] = set()  # names of instances that no model answers
        self._health = Health(self._topics, self.parameters.silence_s, facts(estimator, self.parameters, segmenter))
        self._warnings = CameraWarnings(self, self._health.count, self.parameters, estimator)
        transforms = camera_transforms(self, self.parameters)
        gravity_frame = self.parameters.gravity_frame
        self._gravity = GravityFrame(transforms, gravity_frame) if gravity_frame else None
        self._warn_of_support()
        self._outputs = PosePublishers(self, self.parameters, transforms)
        self._debug_image = DebugImage(self, self._colour)

        self._inputs = InputThread(self)
        self._qos = input_qos(self.parameters.reliable_inputs)
        # The first to be served: of what has come, an image's calibration is taken before the image is complete.
        self._calibration = CalibrationInput(self, self._inputs, self._qos, self._on_camera_info)
        events = SubscriptionEventCallbacks(use_default_callbacks=False)  # no events: see `unheard`
        callbacks = {
            self._depth.topic: self._on_depth,
            INSTANCES: self._on_instances,
            self._colour.topic: self._on_colour,
        }
        heard = {"qos_profile": self._qos, "callback_group": self._inputs, "event_callbacks": events, "raw": True}
        self._heard_by = {CAMERA_INFO: self._calibration.subscription} | {
            topic: self.create_subscription(heard_topics[topic], topic, callbacks[topic], **heard)
            for topic in callbacks
            if topic in heard_topics
        }
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self.create_service(Trigger, "~/reload_objects", self._on_reload_objects)

        # A steady clock: with use_sim_time and no /clock this must still fire.
        self.create_timer(
            self.parameters.diagnostics_s, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )
        watched = self._qos, self.parameters.silence_s, self._health, self._synchroniser, self._calibration
        self._watch = InputWatch(self, self._topics, *watched)
        self._worker = threading.Thread(target=self._work, name="estimation", daemon=True)
        self._worker.start()
        self._inputs.start()
        self.get_logger().info(f"ready: {models}, inputs {self._qos.reliability.name.lower()}")

    def destroy_node(self) -> None:
        """Let the worker finish its frame, then go."""
        if hasattr(self, "_worker"):
            self._inputs.stop()
            self._synchroniser.close()
            self._worker.join(timeout=5.0)
        super().destroy_node()

    def _on_depth(self, message: bytes, info: dict) -> None:
        self._store(self._depth.topic, info, message, self._depth.read, self._synchroniser.add_depth)

    def _on_colour(self, message: bytes, info: dict) -> None:
        self._store(self._colour.topic, info, message, self._colour.read, self._synchroniser.add_colour)

    def _on_camera_info(self, message: CameraInfo, info: dict) -> None:
        self._heard(CAMERA_INFO, info)
        try:
            check_camera_info(message, self.parameters.rectified)
        except ValueError as error:  # the calibration before it still holds
            self._calibration.refuse(error)
            self._refuse(CAMERA_INFO, error)
        else:
            self._warnings.of_calibration(message)
            self._calibration.hold(message)
            self._synchroniser.set_camera_info(message, stamp_ns(message.header.stamp))

    def _on_instances(self, message: bytes, info: dict) -> None:
        self._store(INSTANCES, info, message, read_instances, self._synchroniser.add_instances)

    def _store(
        self, topic: str, info: dict, message: bytes, read: Callable[[bytes], Any], add: Callable[[int, Any], None]
    ) -> None:
        self._heard(topic, info)
        try:
            read_message = read(message)
        except ValueError as error:
            self._refuse(topic, error)
        else:
            add(stamp_ns(read_message.header.stamp), read_message)

    def _refuse(self, topic: str, error: ValueError) -> None:
        self._health.count("refused", str(error))
        self._warn(topic, f"{topic}: {error}")

    def _heard(self, topic: str, info: dict) -> None:
        if topic in self._topics:
            self._health.heard(topic)
        missing = self._numbers.missing(topic, info["publication_sequence_number"])
        if missing and self.count_publishers(self.resolve_topic_name(topic)) == 1:  # each publisher numbers its own
            self._health.count("lost on the way", topic, missing)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._health.enabled = request.data
        response.success, response.message = True, "enabled" if request.data else "disabled: frames are ignored"
        self.get_logger().info("enabled by ~/enable" if request.data else DISABLED)
        return response

    def _on_reset(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        with self._pipeline_lock:
            response.message = f"{len(self._tracker)} tracks forgotten"
            self._tracker.reset()
        response.success = True
        return response

    def _on_reload_objects(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        estimator, segmenter = self._pipeline.estimator, self._pipeline.segmenter
        with self._pipeline_lock:
            before = estimator.names
            try:
                if isinstance(segmenter, Learner):
                    segmenter.reload()
                estimator.reload()
            except (ValueError, OSError) as error:
                response.success, response.message = False, str(error)
            else:
                response.success, response.message = True, _changes(before, estimator.names)
        self._health.know(facts(estimator, self.parameters, self._pipeline.segmenter))
        if response.success:
            self.get_logger().info(f"~/reload_objects: {response.message}")
        else:
            self.get_logger().warning(f"~/reload_objects: {response.message}")
        return response

    def _on_parameters(self, parameters: PoseNodeParameters) -> None:
        with self._pipeline_lock:
            turned = parameters.support != self.parameters.support
            self.parameters = parameters
            self._pipeline.depth_range, self._pipeline.min_score = parameters.depth_range(), parameters.min_score
            self._pipeline.support = support_settings(parameters.support)
            if parameters.tracker() != self._tracker.settings:
                self._tracker.configure(parameters.tracker())
            self._pipeline.tracker = self._tracker if parameters.tracking else None
        if turned:
            self._warn_of_support()
        self._outputs.configure(parameters)

    def _work(self) -> None:
        """One frame after the other; an error costs its frame only."""
        while (bundle := self._synchroniser.take()) is not None:
            if not self._health.enabled:
                self._health.ignore()
                continue
            try:
                self._process(bundle)
            except Exception as error:  # whatever it is, the next frame must get its chance
                if not self.context.ok():
                    return
                self._fail(bundle, error)

    def _process(self, bundle: Bundle) -> None:
        waiting_ms = (time.monotonic() - bundle.complete_s) * 1e3
        header = bundle.depth.header
        self._health.begun()
        self._warn_of_frames(header, bundle)
        stopwatch = Stopwatch()
        try:
            with stopwatch.stage("reading"):
                frame = frame_from(
                    bundle.depth,
                    bundle.camera_info,
                    bundle.colour,
                    self.parameters.rectified,
                    self.parameters.depth_unit_m(),
                )
                given = bundle.instances
                detections = None if given is None else detections_from(given, frame.depth.shape)
                up = self._up(header)
                in_box = detections is None and self._pipeline.workspace.box_m
                camera = self._outputs.camera(header) if in_box else None
            with self._pipeline_lock:
                result = self._pipeline.process(frame, detections, up, camera)
        except Exception as error:  # nobody shall wait for this frame, nor take its silence for an empty table
            self._fail(bundle, error)
            self._outputs.publish(refused(bundle, error), header)
            return
        with stopwatch.stage("publishing"):
            self._outputs.publish(result, header)
            if detections is None:
                self._outputs.publish_instances(result.detections, header)
        if self.parameters.tracking and (text := self._pace.add(bundle.stamp_ns, self._tracker.settings)):
            self._health.count("warned", text)
            self.get_logger().warning(text)
        if result.outside:
            self._health.count("left alone", "outside of the workspace", result.outside)
        names = self._pipeline.estimator.names
        for instance, answer in result.results:
            unknown = instance.category not in names
            if detections is None and unknown:
                self._health.count("left alone", f"{instance.category}: no model answers it")
            elif isinstance(answer, Rejection):
                self._health.count("rejected", answer.reason)
                if unknown:
                    self._warn_of_name(instance.category, names)
        stages_ms = {"waiting": waiting_ms} | result.stages_ms | stopwatch.stages_ms
        self._health.done(stages_ms, self._age_ms(bundle.stamp_ns), rest_facts(result))
        self._debug_image.publish(frame, result, header)
        self._warnings.of_unit(frame, result.detections)

    def _up(self, header: Header) -> np.ndarray | None:
        """Up, camera frame; None where it is not asked for, or not known, which is no reason to drop a frame."""
        if self._gravity is None or self._pipeline.support is None:
            return None
        try:
            return self._gravity.up(header)
        except ValueError as error:
            self._health.count("warned", str(error))
            self._warn(GRAVITY_FRAME, f"{error}; {self._gravity.cure(header)}")
            return None

    def _warn_of_support(self) -> None:
        """Once for each time that support is turned off."""
        if self._gravity is not None and self._pipeline.support is None:
            self._health.count("warned", WITHOUT_SUPPORT)
            self.get_logger().warning(WITHOUT_SUPPORT)

    def _fail(self, bundle: Bundle, error: Exception) -> None:
        self._health.failed(error)
        self.get_logger().error(f"frame {bundle.stamp_ns} fails: {error}", throttle_duration_sec=1.0)
        self.get_logger().debug(traceback.format_exc())

    def _age_ms(self, time_ns: int) -> float:
        """How old a stamp is; NaN as long as simulated time has not begun."""
        now_ns = self.get_clock().now().nanoseconds
        return (now_ns - time_ns) / 1e6 if now_ns else math.nan

    def _warn_of_frames(self, depth: Header, bundle: Bundle) -> None:
        self._warnings.of_header(depth)
        cures = {INSTANCES: "is the depth registered to the colour image?", CAMERA_INFO: "is it another camera's?"}
        for topic, message in ((INSTANCES, bundle.instances), (CAMERA_INFO, bundle.camera_info)):
            if message is None:
                continue
            frame_id = message.header.frame_id
            if frame_id != depth.frame_id:
                text = f"{topic} frame_id: expected {depth.frame_id!r} as {DEPTH}, got {frame_id!r}; {cures[topic]}"
                self._health.count("warned", text)
                self._warn(f"{topic} frame_id", text)

    def _warn_of_name(self, category: str, names: tuple[str, ...]) -> None:
        """Once for each: a detector of many classes sends them with every image."""
        if category not in self._strange and len(self._strange) < MOST_STRANGE:
            self._strange.add(category)
            self.get_logger().warning(f"{INSTANCES} {unanswered(category, names)}: rejected; {RENAME}")

    def _warn(self, what: str, text: str) -> None:
        if self._reminder.due(what):
            self.get_logger().warning(text)

    def _publish_diagnostics(self) -> None:
        header = Header(stamp=self.get_clock().now().to_msg())
        counts = dict(self._synchroniser.drops), dict(self._tracker.events)
        self._diagnostics.publish(
            self._health.message(
                self.get_fully_qualified_name(),
                header,
                *counts,
                len(self._synchroniser),
                self._watch.values() | self._peers(),
            )
        )

    def _peers(self) -> dict[str, int]:
        """How many the node hears, and how many hear it: what has been matched, not only what is there."""
        heard = {f"publishers: {topic}": one.get_publisher_count() for topic, one in self._heard_by.items()}
        return heard | {f"subscribers: {topic}": count for topic, count in self._outputs.subscribers().items()}


def _changes(before: tuple[str, ...], after: tuple[str, ...]) -> str:
    """What there is to answer now, and what has changed."""
    added, removed = [name for name in after if name not in before], [name for name in before if name not in after]
    said = [f"{len(after)} names: {', '.join(after)}"]
    said += [f"{word} {', '.join(names)}" for word, names in (("added", added), ("removed", removed)) if names]
    return "; ".join(said)


def refused(bundle: Bundle, error: Exception) -> FrameResult:
    """Give the result of a frame that cannot be estimated: each of its instances is rejected, for the same reason.

    Parameters
    ----------
    bundle : Bundle
        The frame.
    error : Exception
        What is wrong with it.

    Returns
    -------
    FrameResult
        Without poses.
    """
    instances = () if bundle.instances is None else instances_from(bundle.instances)
    results = tuple((instance, Rejection(instance.category, reason_of(error))) for instance in instances)
    return FrameResult(bundle.stamp_ns, bundle.depth.header.frame_id, results, {})


def rest_facts(result: FrameResult) -> dict[str, str]:
    """Say how many objects rest on a surface that is seen.

    Parameters
    ----------
    result : FrameResult
        Of a frame.

    Returns
    -------
    dict of str to str
        For diagnostics; empty where it was not asked.
    """
    if result.at_rest is None:
        return {}
    poses = sum(not isinstance(answer, Rejection) for _, answer in result.results)
    return {"objects at rest on a surface": f"{result.at_rest} of {poses}"}


def facts(
    estimator: Estimator, parameters: PoseNodeParameters, segmenter: Segmenter | None = None
) -> dict[str, object]:
    """Gather what does not change as long as the node runs, for diagnostics.

    Parameters
    ----------
    estimator : Estimator
        Of the poses.
    parameters : PoseNodeParameters
        Of the node.
    segmenter : Segmenter, optional
        Of frames without masks.

    Returns
    -------
    dict of str to object
        The estimator's facts, what it answers, and how images are read.
    """
    read_as = {name: getattr(parameters, name) for name in (IMAGE_TRANSPORT, RECTIFIED, DEPTH_SCALE, STAMP_DIFFERENCE)}
    found_by = {} if segmenter is None else segmenter.facts()
    return {**estimator.facts(), **found_by, NAMES: ", ".join(estimator.names), **read_as}


def load_estimator(parameters: PoseNodeParameters) -> Estimator:
    """Load what the parameters describe, and warm it up.

    Parameters
    ----------
    parameters : PoseNodeParameters
        Of the node.

    Returns
    -------
    Estimator
        Ready for the first frame.

    Raises
    ------
    ValueError, RuntimeError
        As `estimators.load`.
    """
    session, learned = parameters.session(), objects_dir(parameters)
    estimator = estimators.load_all(parameters.models, models_dir(parameters), session, parameters.seed, learned)
    warm_up(estimator)
    return estimator


def models_dir(parameters: PoseNodeParameters) -> Path | None:
    """Say where models lie.

    Parameters
    ----------
    parameters : PoseNodeParameters
        Of the node.

    Returns
    -------
    Path or None
        None for the package's own place.
    """
    return Path(parameters.models_dir).expanduser() if parameters.models_dir else None


def objects_dir(parameters: PoseNodeParameters) -> Path | None:
    """Say where learned objects lie.

    Parameters
    ----------
    parameters : PoseNodeParameters
        Of the node.

    Returns
    -------
    Path or None
        None for none.
    """
    return Path(parameters.objects_dir).expanduser() if parameters.objects_dir else None


def main() -> None:
    """Console script."""
    sys.exit(run(PoseNode))


if __name__ == "__main__":
    main()
