"""What the adapters share: other packages' segmentations come in, `instances` go out with their header, and what was
refused is said.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from clipose_ros.core.validation import expect
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.parameters import Parameters, read_parameters
from clipose_ros.ros.qos import advertise, input_qos, subscribe
from clipose_ros.ros.topics import INSTANCES

DIAGNOSTICS_PERIOD_S = 1.0
WARNING_PERIOD_S = 1.0


@dataclass(frozen=True)
class AdapterParameters:
    """Parameters of every adapter.

    classes: "from:to", the segmenter's name of a class and ours; the others keep their name, and those that the model
    does not know are rejected by the pose node. buffer_size: messages that wait for their partner. reliable_inputs:
    subscribe with reliable instead of best-effort QoS.
    """

    classes: tuple[str, ...] = ("cup:mug",)
    buffer_size: int = 60
    reliable_inputs: bool = False

    def __post_init__(self) -> None:
        expect("buffer_size", self.buffer_size >= 1, "1 or more", self.buffer_size)
        self.class_names()

    def class_names(self) -> dict[str, str]:
        """Our name of a class by the segmenter's, of those that differ."""
        names = {}
        for entry in self.classes:
            theirs, _, ours = (part.strip() for part in entry.rpartition(":"))
            expect("classes", theirs != "" and ours != "", "entries of the form from:to", repr(entry))
            expect("classes", theirs not in names, "every class once", repr(theirs))
            names[theirs] = ours
        return names


class Adapter(Node):
    """Publishes `instances`, and in /diagnostics how many there were and what was dropped, by cause."""

    def __init__(self, name: str, kind: type[Parameters], **options) -> None:
        super().__init__(name, **options)
        self.parameters = read_parameters(self, kind)
        self.published = 0
        self.drops: Counter[str] = Counter()
        self._instances = advertise(self, InstanceArray, INSTANCES)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics")
        self.create_timer(
            DIAGNOSTICS_PERIOD_S, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    def listen(self, kind: type, topic: str, callback: Callable) -> None:
        """Subscribe as the parameters say."""
        subscribe(self, kind, topic, callback, input_qos(self.parameters.reliable_inputs), self._on_incompatible)

    def publish(self, convert: Callable[..., InstanceArray], *messages: object) -> None:
        """Publish what the messages are converted to; what cannot be converted costs its frame only."""
        try:
            instances = convert(*messages)
        except ValueError as error:
            self.drops["cannot be converted"] += 1
            self.get_logger().warning(str(error), throttle_duration_sec=WARNING_PERIOD_S)
            return
        self._instances.publish(instances)
        self.published += 1

    def _on_incompatible(self, topic: str, count: int, policy: str) -> None:
        self.drops[f"{topic}: publishers of incompatible {policy}"] = count

    def _publish_diagnostics(self) -> None:
        values = {"published": self.published} | {
            f"dropped: {cause}": count for cause, count in sorted(self.drops.items())
        }
        status = DiagnosticStatus(level=DiagnosticStatus.OK, name=self.get_fully_qualified_name(), message="running")
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        self._diagnostics.publish(
            DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()), status=[status])
        )


def instance(label: int, category: str, score: float, id: str) -> ObjectInstance:
    """An instance; a score that single precision does not hold becomes infinite, which the pose node rejects, this
    instance alone.
    """
    with np.errstate(over="ignore"):
        return ObjectInstance(label=label, category=category, score=float(np.float32(score)), id=id)


def rank(score: float) -> float:
    """For sorting by score: what is no confidence is worst."""
    return score if 0 <= score <= 1 else -math.inf


def instances_of(detections: Sequence, class_names: dict[str, str]) -> list[ObjectInstance]:
    """The k-th of some vision_msgs/Detection2D as the instance with label k, counted from 1; of its hypotheses the most
    probable one counts.
    """
    instances = []
    for label, detection in enumerate(detections, start=1):
        best = max(
            (result.hypothesis for result in detection.results),
            key=lambda hypothesis: rank(hypothesis.score),
            default=None,
        )
        # without a class the pose node rejects it, and says so
        name, score = (best.class_id, best.score) if best else ("", 0.0)
        instances.append(instance(label, class_names.get(name, name), score, detection.id))
    return instances
