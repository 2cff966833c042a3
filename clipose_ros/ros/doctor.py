"""Listens to the inputs of a pose node and to running ones for some seconds, and says what is wrong with them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from clipose_ros import estimators
from clipose_ros.core.backprojection import backproject, depth_unit_m
from clipose_ros.core.object_sizes import ObjectSizes
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.doctor.findings import Finding, Level, fail, ok, warn
from clipose_ros.estimators.estimator import Estimator
from clipose_ros.formats.image_messages import depth_view, detections_from
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.conversions import frame_from, raw_depth, stamp_ns
from clipose_ros.ros.image_inputs import COMPRESSED, RAW, ImageInput, ImageTransport, compressed_input
from clipose_ros.ros.input_findings import (
    camera_info_finding,
    depth_finding,
    frame_finding,
    lens_finding,
    masks_finding,
    match_finding,
    publisher_finding,
    rate_finding,
    same_frame_finding,
    stamp_finding,
    unit_finding,
)
from clipose_ros.ros.qos import LATCHED_QOS, input_qos
from clipose_ros.ros.serialized import read_image
from clipose_ros.ros.settings import DEPTH_SCALE, NAMES, RECTIFIED, STAMP_DIFFERENCE
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH, INSTANCES

POSES = "/poses_9dof"
# At most, before a publisher is given up: Fast DDS repeats its announcement every 3 s, if the first ones were lost.
DISCOVERY_S = 4.0
FIRST_MESSAGE_S = 2.0  # at most, of publishers that were found
KEPT = 30  # messages of each topic: a second of depth images, which masks may be late by
MEASURED = 5  # images whose objects are compared with their usual sizes
START = (
    "start the camera and the segmenter, or say the topics' names: "
    "clipose doctor --depth … --camera-info … --instances …"
)
WARNED = "warned: "  # begins the counters of what a node warned of
LEVELS = {
    DiagnosticStatus.OK: Level.OK,
    DiagnosticStatus.WARN: Level.WARN,
    DiagnosticStatus.ERROR: Level.FAIL,
    DiagnosticStatus.STALE: Level.WARN,
}


@dataclass(frozen=True)
class Topics:
    """Names of the inputs.

    Parameters
    ----------
    depth, camera_info, instances : str
        Topics.
    reliable : bool
        Listen as a node with `reliable_inputs`.
    image_transport : str
        As the node's parameter: raw, or compressed, where depth comes on the topic below `depth`.
    """

    depth: str = DEPTH
    camera_info: str = CAMERA_INFO
    instances: str = INSTANCES
    reliable: bool = False
    image_transport: ImageTransport = RAW


@dataclass
class Heard:
    """One topic: who publishes it, and what came.

    Parameters
    ----------
    name : str
        Of the topic.
    kind : type
        Of its messages.
    publishers : list of TopicEndpointInfo
        Who publishes.
    messages : deque
        The newest ones.
    stamps_ns, arrivals_s, ages_s : list
        Of every message: its stamp [ns], when it came, monotonic time [s], and how old it was then [s].
    """

    name: str
    kind: type
    publishers: list[TopicEndpointInfo] = field(default_factory=list)
    messages: deque[Any] = field(default_factory=lambda: deque(maxlen=KEPT))
    stamps_ns: list[int] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    _sent: set[int] = field(default_factory=set)

    def add(self, message: Any, info: Mapping[str, Any]) -> None:
        """Take a message that came now; one that comes by two subscriptions counts once.

        Parameters
        ----------
        message : object
            With a header.
        info : mapping
            What rclpy says of it.
        """
        sent_ns = info["source_timestamp"]
        if sent_ns and sent_ns in self._sent:  # 0: the middleware does not say
            return
        self._sent.add(sent_ns)
        self.messages.append(message)
        self.stamps_ns.append(stamp_ns(message.header.stamp))
        self.arrivals_s.append(time.monotonic())
        self.ages_s.append((time.time_ns() - self.stamps_ns[-1]) / NS_PER_S)

    def arrivals(self) -> dict[int, float]:
        """Say when messages came.

        Returns
        -------
        dict of int to float
            Arrival [s] by stamp [ns].
        """
        return dict(zip(self.stamps_ns, self.arrivals_s))

    @property
    def kept(self) -> bool:
        """Whether all publishers keep their last message for those who subscribe later."""
        durabilities = {publisher.qos_profile.durability for publisher in self.publishers}
        return durabilities == {LATCHED_QOS.durability}


@dataclass(frozen=True)
class Reading:
    """How the nodes that hear these inputs read them; a node with default parameters, if none runs.

    Parameters
    ----------
    names : tuple of str
        That they answer; empty where that is not known.
    rectified : bool
        As their parameter.
    depth_unit_m : float, optional
        What 1 in a depth image means [m]; None: as its encoding says.
    max_difference_s : float
        By which stamps of what belongs together may differ [s].
    """

    names: tuple[str, ...] = ()
    rectified: bool = True
    depth_unit_m: float | None = None
    max_difference_s: float = 0.0


class Listener(Node):
    """Subscribes to the inputs as the pose node does, and to /diagnostics.

    Parameters
    ----------
    topics : Topics
        To listen to.
    **options
        As of rclpy's Node.
    """

    def __init__(self, topics: Topics, **options) -> None:
        super().__init__("clipose_doctor", **options)
        self.qos = input_qos(topics.reliable)
        raw = ImageInput(self.resolve_topic_name(topics.depth), Image, read_image)
        compressed = compressed_input(raw.topic, DEPTH)
        heard, self._other_depth = (compressed, raw) if topics.image_transport == COMPRESSED else (raw, compressed)
        self.depth = self._listen(heard.topic, heard.kind)
        self.camera_info = self._listen(topics.camera_info, CameraInfo)
        self._hears_kept = False
        self.instances = self._listen(topics.instances, InstanceArray)
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos_profile_system_default)

    def inputs(self) -> tuple[Heard, Heard, Heard]:
        """Give what was heard so far, with the publishers of now.

        Returns
        -------
        Heard, Heard, Heard
            Depth, calibration, instances.
        """
        for heard in (self.depth, self.camera_info, self.instances):
            heard.publishers = self.get_publishers_info_by_topic(heard.name)
        if self.camera_info.kept and not self._hears_kept:
            self._hear_kept()
        return self.depth, self.camera_info, self.instances

    def other_transport(self) -> Finding | None:
        """Say where nobody publishes depth as it is listened to, but in the other way: raw or compressed.

        Returns
        -------
        Finding or None
            None where that is not so.
        """
        other = self._other_depth
        if self.depth.publishers or not self.get_publishers_info_by_topic(other.topic):
            return None
        transport = COMPRESSED if other.kind is CompressedImage else RAW
        return fail(
            f"{self.depth.name}: publisher",
            f"nobody publishes, but {other.topic} is there",
            f"let the node hear it: image_transport:={transport} (clipose doctor --image-transport {transport})",
        )

    def heard_all(self) -> bool:
        """Say whether there is a message of each input.

        Returns
        -------
        bool
            Whether there is.
        """
        return all(heard.messages for heard in self.inputs())

    def pose_nodes(self) -> dict[str, int]:
        """Find the nodes that publish 9DoF poses.

        Returns
        -------
        dict of str to int
            How many there are of each full name.
        """
        topics = [
            name
            for name, kinds in self.get_topic_names_and_types()
            if "clipose_ros/msg/ObjectPoseArray" in kinds and name.endswith(POSES)
        ]
        return {topic.removesuffix(POSES): count for topic in topics if (count := self.count_publishers(topic))}

    def reading(self) -> Reading:
        """Say how the pose nodes that hear this depth image read it, as far as they said on /diagnostics.

        Returns
        -------
        Reading
            The names of all of them together, and what the first of them does with images.
        """
        hearers = self.get_subscriptions_info_by_topic(self.depth.name)
        names = sorted({f"{hearer.node_namespace.rstrip('/')}/{hearer.node_name}" for hearer in hearers})
        said = [
            {value.key: value.value for value in self.diagnostics[name].values}
            for name in names
            if name in self.diagnostics
        ]
        facts = next((values for values in said if RECTIFIED in values), {})
        names = [name for values in said for name in values.get(NAMES, "").split(", ") if name]
        return Reading(
            tuple(dict.fromkeys(names)),
            facts.get(RECTIFIED, "True") == "True",
            float(facts.get(DEPTH_SCALE, 0.0)) or None,
            float(facts.get(STAMP_DIFFERENCE, 0.0)),
        )

    def _listen(self, topic: str, kind: type) -> Heard:
        heard = Heard(self.resolve_topic_name(topic), kind)
        self.create_subscription(kind, topic, self._adder(heard), self.qos)
        return heard

    def _hear_kept(self) -> None:
        """Subscribe to calibrations that were sent before we came, too.

        Only once their publisher is known: one that keeps nothing would warn of such a subscription.
        """
        self.create_subscription(CameraInfo, self.camera_info.name, self._adder(self.camera_info), LATCHED_QOS)
        self._hears_kept = True

    @staticmethod
    def _adder(heard: Heard) -> Callable[[Any, dict], None]:
        """A function, of which rclpy can tell that it takes the message's info, too."""

        def add(message: Any, info: dict) -> None:
            heard.add(message, info)

        return add

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})


def examine(topics: Topics = Topics(), seconds: float = 3.0, models_dir: Path | None = None) -> list[Finding]:
    """Listen and judge.

    Parameters
    ----------
    topics : Topics
        To listen to.
    seconds : float
        How long to listen, once there is a message of each [s].
    models_dir : Path, optional
        Where the default model lies, whose names and sizes count unless a running node has others.

    Returns
    -------
    list of Finding
        About the inputs and running nodes.
    """
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        listener = Listener(topics, context=context)
        listen(listener, DISCOVERY_S, until=listener.heard_all)
        if all(heard.publishers for heard in listener.inputs()):
            listen(listener, FIRST_MESSAGE_S, until=listener.heard_all)
        listen(listener, seconds)
        masked = listener.depth.messages and listener.instances.messages
        estimator = default_estimator(models_dir) if masked else None
        return [*input_findings(listener, seconds, estimator), *node_findings(listener)]
    finally:
        rclpy.try_shutdown(context=context)


def default_estimator(models_dir: Path | None = None) -> Estimator | None:
    """Load what a node has by default, to know what it answers and how large that is.

    Parameters
    ----------
    models_dir : Path, optional
        Where to look.

    Returns
    -------
    Estimator or None
        None where it does not load, which is a finding about this machine.
    """
    try:
        return estimators.load(DEFAULT_MODEL, models_dir, warm=False)
    except (ValueError, RuntimeError):
        return None


def listen(listener: Listener, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Let the listener's callbacks run.

    Parameters
    ----------
    listener : Listener
        That listens.
    seconds : float
        At most so long [s].
    until : callable
        Ends it when it is true.
    """
    executor, end_s = SingleThreadedExecutor(context=listener.context), time.monotonic() + seconds
    executor.add_node(listener)
    while (left_s := end_s - time.monotonic()) > 0 and not until():
        executor.spin_once(timeout_sec=min(left_s, 0.1))
    executor.remove_node(listener)


def input_findings(listener: Listener, seconds: float, estimator: Estimator | None = None) -> list[Finding]:
    """Judge each input for itself, then what belongs together.

    Parameters
    ----------
    listener : Listener
        That has listened.
    seconds : float
        How long it did [s].
    estimator : Estimator, optional
        Knows names and sizes of objects.

    Returns
    -------
    list of Finding
        About the inputs.
    """
    inputs = listener.inputs()
    other_transport = listener.other_transport()
    if not any(heard.publishers for heard in inputs) and other_transport is None:
        names = ", ".join(heard.name for heard in inputs)
        return [warn("inputs", f"nobody publishes {names}", START)]
    found = [finding for heard in inputs for finding in _topic_findings(heard, listener, seconds)]
    depth, info, instances = inputs
    if other_transport:
        found = [other_transport, *(one for one in found if one.subject != other_transport.subject)]
    reading = listener.reading()
    image = None
    try:
        image = raw_depth(depth.messages[-1]) if depth.messages else None
    except ValueError as error:
        found.append(fail(f"{depth.name}: image", str(error), "give a topic of image_transport's compressedDepth"))
    if image is not None:
        found.append(depth_finding(f"{depth.name}: image", image, unit_m=reading.depth_unit_m))
        found.append(frame_finding(f"{depth.name}: frame", image.header.frame_id))
        for heard in (info, instances):
            if heard.messages:
                frame_id = heard.messages[-1].header.frame_id
                found.append(same_frame_finding(f"{heard.name}: frame", frame_id, image.header.frame_id))
    if info.messages:
        newest, rectified = info.messages[-1], reading.rectified
        found.append(camera_info_finding(f"{info.name}: calibration", newest, image, rectified))
        found.append(lens_finding(f"{info.name}: lens", newest, depth.name, rectified))
    if image is not None and instances.messages:
        arrivals = depth.arrivals(), instances.arrivals()
        found.append(match_finding(f"{instances.name}: joined", *arrivals, reading.max_difference_s))
        found += _objects_findings(depth, info, instances, reading, estimator)
    return found


def node_findings(listener: Listener) -> list[Finding]:
    """Repeat what running pose nodes say about themselves.

    Parameters
    ----------
    listener : Listener
        That has listened.

    Returns
    -------
    list of Finding
        About the nodes; one where there is none.
    """
    found = []
    for name, count in sorted(listener.pose_nodes().items()):
        if count > 1:
            found.append(
                warn(
                    f"node {name}",
                    f"{count} of this name publish poses",
                    "end all but one (ps aux | grep pose_node), or give each a namespace",
                )
            )
        status = listener.diagnostics.get(name)
        if status is None:
            found.append(warn(f"node {name}", "runs, but says nothing on /diagnostics", "listen longer: --seconds 10"))
            continue
        values = {value.key: value.value for value in status.values}
        told = ", ".join(
            f"{key} {values[key]}"
            for key in ("frames", "failures", "output Hz", "latency_ms p50", "last error")
            if key in values
        )
        level = LEVELS[status.level]
        cure = "" if level == Level.OK else "ros2 topic echo /diagnostics has it all"
        found.append(Finding(level, f"node {name}", f"{status.message}; {told}" if told else status.message, cure))
        found += [
            warn(f"node {name}", f"{key.removeprefix(WARNED)} ({count} times warned of)", "its log says what to do")
            for key, count in values.items()
            if key.startswith(WARNED)
        ]
    return found or [ok("nodes", "no pose node is running")]


def _topic_findings(heard: Heard, listener: Listener, seconds: float) -> list[Finding]:
    kind = f"{heard.kind.__module__.split('.')[0]}/msg/{heard.kind.__name__}"
    found = [publisher_finding(f"{heard.name}: publisher", kind, heard.publishers, listener.qos)]
    if found[0].level == Level.FAIL:
        return found
    found.append(rate_finding(f"{heard.name}: rate", heard.stamps_ns, heard.arrivals_s, seconds, heard.kept))
    if heard.messages and not (heard.kept and len(heard.messages) == 1):  # one that was kept may be of any age
        found.append(stamp_finding(f"{heard.name}: stamps", heard.stamps_ns, heard.ages_s))
    return found


def _objects_findings(
    depth: Heard, info: Heard, instances: Heard, reading: Reading, estimator: Estimator | None
) -> list[Finding]:
    """The newest masks whose depth image is still at hand, and how large the objects of the last ones look.

    Of none, those that have the newest image beside them cannot be judged.
    """
    images = {stamp_ns(image.header.stamp): image for image in depth.messages}
    pairs = [(image, masks) for masks in instances.messages if (image := images.get(stamp_ns(masks.header.stamp)))]
    if not pairs:
        return []
    names = reading.names or (estimator.names if estimator else ())
    try:
        pairs = [(raw_depth(image), masks) for image, masks in pairs[-MEASURED:]]
    except ValueError:  # what does not decompress is a finding of its own, where it is the newest
        return []
    image, masks = pairs[-1]
    found = [masks_finding(f"{instances.name}: masks", masks, image, names, unit_m=reading.depth_unit_m)]
    if info.messages and estimator is not None:
        sizes = _object_sizes(pairs, info.messages[-1], reading, estimator)
        if len(sizes):
            unit_m = depth_unit_m(depth_view(image).dtype, reading.depth_unit_m)
            found.append(unit_finding(f"{depth.name}: unit", sizes, unit_m))
    return found


def _object_sizes(
    pairs: list[tuple[Image, InstanceArray]], info: CameraInfo, reading: Reading, estimator: Estimator
) -> ObjectSizes:
    """How large the objects of some images look."""
    sizes = ObjectSizes()
    for image, masks in pairs:
        try:
            frame = frame_from(image, info, None, reading.rectified, reading.depth_unit_m)
            detections = detections_from(masks, frame.depth.shape)
            clouds = backproject(frame, detections)
        except ValueError:  # what does not fit together is a finding of its own
            continue
        diagonals_m = [estimator.diagonal_m(instance.category) for instance in detections.instances]
        sizes.add([cloud.points for cloud in clouds], diagonals_m)
    return sizes
