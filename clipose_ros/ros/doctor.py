"""Listens to the inputs of a pose node and to running ones for some seconds, and says what is wrong with them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import qos_profile_system_default
from rclpy.topic_endpoint_info import TopicEndpointInfo
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.doctor.findings import Finding, Level, ok, warn
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.input_findings import (
    camera_info_finding,
    depth_finding,
    masks_finding,
    match_finding,
    publisher_finding,
    rate_finding,
    stamp_finding,
)
from clipose_ros.ros.qos import input_qos
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH, INSTANCES

POSES = "/poses_9dof"
DISCOVERY_S = 2.0  # at most, before a publisher is given up
KEPT = 30  # messages of each topic: a second of depth images, which masks may be late by
START = "start the camera and the segmenter, or say the topics' names: clipose doctor --depth … --camera-info … --instances …"
LEVELS = {
    DiagnosticStatus.OK: Level.OK,
    DiagnosticStatus.WARN: Level.WARN,
    DiagnosticStatus.ERROR: Level.FAIL,
    DiagnosticStatus.STALE: Level.WARN,
}


@dataclass(frozen=True)
class Topics:
    """Names of the inputs. reliable: listen as a node with reliable_inputs."""

    depth: str = DEPTH
    camera_info: str = CAMERA_INFO
    instances: str = INSTANCES
    reliable: bool = False


@dataclass
class Heard:
    """One topic: who publishes it, and what came. stamps_ns, arrivals_s (monotonic), ages_s: of every message;
    messages: the newest ones.
    """

    name: str
    kind: type
    publishers: list[TopicEndpointInfo] = field(default_factory=list)
    messages: deque[Any] = field(default_factory=lambda: deque(maxlen=KEPT))
    stamps_ns: list[int] = field(default_factory=list)
    arrivals_s: list[float] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)

    def add(self, message: Any) -> None:
        """A message came now."""
        self.messages.append(message)
        self.stamps_ns.append(stamp_ns(message.header.stamp))
        self.arrivals_s.append(time.monotonic())
        self.ages_s.append((time.time_ns() - self.stamps_ns[-1]) / NS_PER_S)

    def arrivals(self) -> dict[int, float]:
        """Arrival [s] by stamp [ns]."""
        return dict(zip(self.stamps_ns, self.arrivals_s))


class Listener(Node):
    """Subscribes to the inputs as the pose node does, and to /diagnostics."""

    def __init__(self, topics: Topics, **options) -> None:
        super().__init__("clipose_doctor", **options)
        self.qos = input_qos(topics.reliable)
        self.depth = self._listen(topics.depth, Image)
        self.camera_info = self._listen(topics.camera_info, CameraInfo)
        self.instances = self._listen(topics.instances, InstanceArray)
        self.diagnostics: dict[str, DiagnosticStatus] = {}
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos_profile_system_default)

    def inputs(self) -> tuple[Heard, Heard, Heard]:
        """What was heard so far, with the publishers of now."""
        for heard in (self.depth, self.camera_info, self.instances):
            heard.publishers = self.get_publishers_info_by_topic(heard.name)
        return self.depth, self.camera_info, self.instances

    def pose_nodes(self) -> dict[str, int]:
        """Full names of the nodes that publish 9DoF poses, and how many there are of each name."""
        topics = [
            name
            for name, kinds in self.get_topic_names_and_types()
            if "clipose_ros/msg/ObjectPoseArray" in kinds and name.endswith(POSES)
        ]
        return {topic.removesuffix(POSES): count for topic in topics if (count := self.count_publishers(topic))}

    def _listen(self, topic: str, kind: type) -> Heard:
        heard = Heard(self.resolve_topic_name(topic), kind)
        self.create_subscription(kind, topic, heard.add, self.qos)
        return heard

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self.diagnostics.update({status.name: status for status in message.status})


def examine(topics: Topics = Topics(), seconds: float = 3.0, categories: Sequence[str] = CATEGORIES) -> list[Finding]:
    """Listen for `seconds` and judge. categories: those that the model knows."""
    context = rclpy.Context()
    rclpy.init(context=context)
    try:
        listener = Listener(topics, context=context)
        listen(listener, DISCOVERY_S, until=lambda: all(heard.messages for heard in listener.inputs()))
        listen(listener, seconds)
        return [*input_findings(listener, seconds, categories), *node_findings(listener)]
    finally:
        rclpy.try_shutdown(context=context)


def listen(listener: Listener, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
    """Let the listener's callbacks run for so long, or until the condition is true."""
    executor, end_s = SingleThreadedExecutor(context=listener.context), time.monotonic() + seconds
    executor.add_node(listener)
    while (left_s := end_s - time.monotonic()) > 0 and not until():
        executor.spin_once(timeout_sec=min(left_s, 0.1))
    executor.remove_node(listener)


def input_findings(listener: Listener, seconds: float, categories: Sequence[str]) -> list[Finding]:
    """Each input for itself, then what belongs together."""
    inputs = listener.inputs()
    if not any(heard.publishers for heard in inputs):
        names = ", ".join(heard.name for heard in inputs)
        return [warn("inputs", f"nobody publishes {names}", START)]
    found = [finding for heard in inputs for finding in _topic_findings(heard, listener, seconds)]
    depth, info, instances = inputs
    image = depth.messages[-1] if depth.messages else None
    if image is not None:
        found.append(depth_finding(f"{depth.name}: image", image))
    if info.messages:
        found.append(camera_info_finding(f"{info.name}: calibration", info.messages[-1], image))
    if depth.messages and instances.messages:
        found.append(match_finding(f"{instances.name}: joined", depth.arrivals(), instances.arrivals()))
        found += _masks_findings(depth, instances, categories)
    return found


def node_findings(listener: Listener) -> list[Finding]:
    """What running pose nodes say about themselves."""
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
    return found or [ok("nodes", "no pose node is running")]


def _topic_findings(heard: Heard, listener: Listener, seconds: float) -> list[Finding]:
    kind = f"{heard.kind.__module__.split('.')[0]}/msg/{heard.kind.__name__}"
    found = [publisher_finding(f"{heard.name}: publisher", kind, heard.publishers, listener.qos)]
    if found[0].level == Level.FAIL:
        return found
    found.append(rate_finding(f"{heard.name}: rate", heard.stamps_ns, heard.arrivals_s, seconds))
    if heard.messages:
        found.append(stamp_finding(f"{heard.name}: stamps", heard.stamps_ns, heard.ages_s))
    return found


def _masks_findings(depth: Heard, instances: Heard, categories: Sequence[str]) -> list[Finding]:
    """The newest masks whose depth image is still at hand; of none, those that have the newest image beside them cannot
    be judged.
    """
    images = {stamp_ns(image.header.stamp): image for image in depth.messages}
    for message in reversed(instances.messages):
        if image := images.get(stamp_ns(message.header.stamp)):
            return [masks_finding(f"{instances.name}: masks", message, image, categories)]
    return []
