"""What the adapters share: other packages' segmentations come in, `instances` go out with their header, and what was
refused, or never came, is said.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from std_msgs.msg import Header

from clipose_ros.core.admission import class_names
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import CARD_FILE, models_folders, read_card
from clipose_ros.joining.synchroniser import JUMP_NS
from clipose_ros.msg import InstanceArray, ObjectInstance
from clipose_ros.ros.adapters.stamp_pairs import StampPairs
from clipose_ros.ros.parameters import Parameters, read_parameters
from clipose_ros.ros.qos import INPUT_DEPTH, advertise, input_qos, offer, subscribe
from clipose_ros.ros.silence import Reminder, input_reason, input_sentence
from clipose_ros.ros.topics import INSTANCES

DIAGNOSTICS_PERIOD_S = 1.0
WARNING_PERIOD_S = 1.0


@dataclass(frozen=True)
class AdapterParameters:
    """Parameters of every adapter.

    Parameters
    ----------
    classes : tuple of str
        "from:to", the segmenter's name of a class and ours; the others keep their name, and those that the model does
        not know are rejected by the pose node.
    buffer_size : int
        Messages that wait for their partner.
    max_stamp_difference_s : float
        The largest difference between the stamps of partners; 0: equal stamps [s].
    reliable_inputs : bool
        Subscribe with reliable instead of best-effort QoS.
    silence_s : float
        Warn of an input that is silent, and of partners that never meet, for so long [s].

    Raises
    ------
    ValueError
        With the name of the parameter, for values out of range.
    """

    classes: tuple[str, ...] = ("cup:mug",)
    buffer_size: int = 60
    max_stamp_difference_s: float = 0.0
    reliable_inputs: bool = False
    silence_s: float = 5.0

    def __post_init__(self) -> None:
        expect("buffer_size", self.buffer_size >= 1, "1 or more", self.buffer_size)
        largest_s = JUMP_NS / NS_PER_S
        within = 0 <= self.max_stamp_difference_s <= largest_s
        expect("max_stamp_difference_s", within, f"0 to {largest_s:g}", self.max_stamp_difference_s)
        expect("silence_s", self.silence_s > 0, "more than 0", self.silence_s)
        self.class_names()

    def class_names(self) -> dict[str, str]:
        """Read `classes`.

        Returns
        -------
        dict of str to str
            Our name of a class by the segmenter's, of those that differ.

        Raises
        ------
        ValueError
            For an entry of another form, and for a class that comes twice.
        """
        return class_names(self.classes, "classes")

    def categories(self) -> tuple[str, ...]:
        """List the names of ours that are given.

        Returns
        -------
        tuple of str
            Instances will have them.
        """
        return tuple(self.class_names().values())

    def tolerance_ns(self) -> int:
        """Say how far apart the stamps of partners may be.

        Returns
        -------
        int
            0: not at all [ns].
        """
        return round(self.max_stamp_difference_s * NS_PER_S)


class Adapter(Node):
    """Publishes `instances`, and in /diagnostics how many there were, what was dropped, by cause, and what is missing.

    Parameters
    ----------
    name : str
        Of the node.
    kind : type
        Of its parameters.
    **options
        As of rclpy's Node.

    Attributes
    ----------
    parameters : kind
        As they were given.
    published : int
        Messages so far.
    drops : Counter
        Messages that gave none, by cause.
    """

    def __init__(self, name: str, kind: type[Parameters], **options) -> None:
        super().__init__(name, **options)
        self.parameters = read_parameters(self, kind)
        self.published = 0
        self.drops: Counter[str] = Counter()
        self._qos = input_qos(self.parameters.reliable_inputs)
        self._pairs: StampPairs | None = None
        self._topics: dict[str, type] = {}
        self._heard_s: dict[str, float] = {}
        self._published_s = time.monotonic()
        self._reminder = Reminder(self.parameters.silence_s)
        self._instances = advertise(self, InstanceArray, INSTANCES)
        self._diagnostics = advertise(self, DiagnosticArray, "/diagnostics")
        period_s = min(DIAGNOSTICS_PERIOD_S, self.parameters.silence_s)
        self.create_timer(period_s, self._publish_diagnostics, clock=Clock(clock_type=ClockType.STEADY_TIME))
        if text := unanswered(self.parameters.categories()):
            self.get_logger().warning(text)

    def listen(self, kind: type, topic: str, callback: Callable) -> None:
        """Subscribe as the parameters say.

        Parameters
        ----------
        kind : type
            Of the messages.
        topic : str
            Its name.
        callback : callable
            Gets each message.
        """

        def heard(message: object) -> None:
            self._heard_s[topic] = time.monotonic()
            callback(message)

        self._topics[topic], self._heard_s[topic] = kind, time.monotonic()
        subscribe(self, kind, topic, heard, self._qos, self._on_incompatible)

    def pair(self, first: str, second: str) -> StampPairs:
        """Join two inputs by stamp, as the parameters say.

        Parameters
        ----------
        first, second : str
            Their topics.

        Returns
        -------
        StampPairs
            Whose drops and reasons are told with the adapter's.
        """
        self._pairs = StampPairs(first, second, self.parameters.buffer_size, self.parameters.tolerance_ns())
        self.drops = self._pairs.drops
        return self._pairs

    def publish(self, convert: Callable[..., InstanceArray], *messages: object) -> None:
        """Publish what messages are converted to; what cannot be converted costs its frame only.

        Parameters
        ----------
        convert : callable
            Raises ValueError for messages that cannot be.
        *messages : object
            Its arguments.
        """
        self._published_s = time.monotonic()
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
        missing = self._missing()
        level = DiagnosticStatus.WARN if missing else DiagnosticStatus.OK
        status = DiagnosticStatus(level=level, name=self.get_fully_qualified_name(), message=missing or "running")
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        self._diagnostics.publish(
            DiagnosticArray(header=Header(stamp=self.get_clock().now().to_msg()), status=[status])
        )

    def _missing(self) -> str:
        """Why nothing is published, logged now and then; empty where something is, or too little time has passed."""
        now_s, silence_s, reasons = time.monotonic(), self.parameters.silence_s, []
        for topic in [topic for topic, heard_s in self._heard_s.items() if now_s - heard_s > silence_s]:
            found = offer(self, self._topics[topic], topic, self._qos)
            reasons.append(f"{topic} ({input_reason(found)})")
            if self._reminder.due(topic):
                asked = f"{self._qos.reliability.name.lower().replace('_', ' ')}, depth {INPUT_DEPTH}"
                self.get_logger().warning(input_sentence(self.resolve_topic_name(topic), silence_s, asked, found))
        if reasons:
            return f"no input on {', '.join(reasons)}"
        if self._pairs is None or now_s - self._published_s <= silence_s:
            return ""
        text = f"every input is heard, but no two have met for {silence_s:g} s"
        reason = self._pairs.evidence.explain()
        text = f"{text}: {reason}" if reason else text
        if self._reminder.due("pairs"):
            self.get_logger().warning(text)
        return text


def unanswered(categories: Iterable[str]) -> str:
    """Say which categories none of the models here answers.

    Parameters
    ----------
    categories : iterable of str
        That instances will have.

    Returns
    -------
    str
        A warning; empty where all are answered, or no model is here.
    """
    known = answered_names()
    unknown = sorted(set(categories) - known)
    if not known or not unknown:
        return ""
    expected = f"expected some of {', '.join(sorted(known))}, which the models here answer"
    return (
        f"categories: {expected}, got {', '.join(map(repr, unknown))}: "
        "the pose node rejects them, unless one of its models answers them"
    )


def answered_names() -> set[str]:
    """List what the models of this machine answer.

    Returns
    -------
    set of str
        Categories and objects of all cards in the models folders.
    """
    names = set()
    for path in (path for folder in models_folders() for path in sorted(folder.glob(f"*/{CARD_FILE}"))):
        try:
            card = read_card(path.parent)
        except ValueError:  # a broken card is the pose node's to refuse
            continue
        if not card.is_segmenter:
            names |= set(card.names)
    return names


def instance(label: int, category: str, score: float, id: str) -> ObjectInstance:
    """Make an instance.

    Parameters
    ----------
    label : int
        Of its pixels.
    category : str
        Our name of its class.
    score : float
        One that single precision does not hold becomes infinite, which the pose node rejects, this instance alone.
    id : str
        Of the object, where the segmenter tracks it.

    Returns
    -------
    ObjectInstance
        The message.
    """
    with np.errstate(over="ignore"):
        return ObjectInstance(label=label, category=category, score=float(np.float32(score)), id=id)


def rank(score: float) -> float:
    """Make scores comparable.

    Parameters
    ----------
    score : float
        Of a detection.

    Returns
    -------
    float
        The score; the worst for what is no confidence.
    """
    return score if 0 <= score <= 1 else -math.inf


def instances_of(detections: Sequence, class_names: Mapping[str, str]) -> list[ObjectInstance]:
    """Turn detections into instances.

    Parameters
    ----------
    detections : sequence of vision_msgs/Detection2D
        Of one image. The most probable hypothesis of each counts.
    class_names : mapping of str to str
        Our name of a class by the segmenter's.

    Returns
    -------
    list of ObjectInstance
        The k-th has label k, counted from 1.
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
