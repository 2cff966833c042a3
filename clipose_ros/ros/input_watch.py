"""Looks now and then whether the inputs come and make frames, and says why where they do not."""

from __future__ import annotations

import time
from collections.abc import Mapping

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile

from clipose_ros.doctor.shared_memory import ONE_USER, foreign_owners_text
from clipose_ros.joining.synchroniser import Synchroniser
from clipose_ros.ros.calibration_input import CalibrationInput
from clipose_ros.ros.health import CLOCK, LATE, STALLED, Health
from clipose_ros.ros.qos import INPUT_DEPTH, offer, unheard, unheard_warning
from clipose_ros.ros.silence import WITHOUT_CLOCK, Reminder, input_reason, input_sentence, uncalibrated_sentence
from clipose_ros.ros.topics import CAMERA_INFO

NAMESAKE_CURE = (
    "their poses come on the same topics, and each hears the other's services. End all but this one, or give each a "
    "namespace or a name: -r __ns:=/left, -r __node:=clipose_left. One that was killed is listed for some seconds more"
)
LOOK_S = 0.5  # between two looks, or less where silence_s is short


class InputWatch:
    """Two timers of a node: one looks at its inputs, one for publishers that cannot be heard and for nodes of the same
    name. Neither touches a frame.

    Parameters
    ----------
    node : Node
        Whose inputs they are.
    topics : mapping of str to type
        The inputs' types by topic.
    qos : QoSProfile
        Of their subscriptions.
    silence_s : float
        So long an input may be silent, and frames may be incomplete [s].
    health : Health
        Gets what is found.
    synchroniser : Synchroniser
        Knows why frames are not complete.
    calibration : CalibrationInput
        Of camera_info.
    """

    def __init__(
        self,
        node: Node,
        topics: Mapping[str, type],
        qos: QoSProfile,
        silence_s: float,
        health: Health,
        synchroniser: Synchroniser,
        calibration: CalibrationInput,
    ) -> None:
        self._node = node
        self._topics = topics
        self._qos = qos
        self._silence_s = silence_s
        self._health = health
        self._synchroniser = synchroniser
        self._calibration = calibration
        self._reminder = Reminder(silence_s)
        self._begin_s = time.monotonic()
        self._owners = ""  # of shared memory that is not ours, as of the last warning
        self._unheard: set[tuple[int, ...]] = set()
        self._nodes = 1  # of this name, at the last look
        steady = Clock(clock_type=ClockType.STEADY_TIME)  # with use_sim_time and no /clock these must still fire
        node.create_timer(min(LOOK_S, silence_s / 2), self.look, clock=steady)
        node.create_timer(silence_s, self.look_for_unheard, clock=steady)
        node.create_timer(silence_s, self.look_for_namesakes, clock=steady)

    def look(self) -> None:
        """Find what is wrong, tell `Health`, and log what is new or still holds after `silence_s`."""
        self._calibration.listen_for_latched()
        if self._calibration.held:
            self._health.hold(CAMERA_INFO)
        self._health.note(CLOCK, WITHOUT_CLOCK if self._without_clock() else "")
        evidence = self._synchroniser.evidence()
        self._health.note(LATE, next(filter(None, (one.explain_late() for one in evidence)), ""))
        state = self._health.state()
        if state.name == "silent":
            for topic in self._health.silent():
                self._tell_of(topic)
            return
        if state.name == STALLED:
            self._health.note(STALLED, self._why_stalled())
            state = self._health.state()
        if state.name in (STALLED, LATE, CLOCK, "busy") and self._reminder.due(state.name):
            self._node.get_logger().warning(state.text)

    def look_for_unheard(self) -> None:
        """Warn once of each publisher that cannot be heard."""
        for topic in self._topics:
            found = unheard(self._node, topic, self._qos)
            for publisher in found.keys() - self._unheard:
                self._node.get_logger().warning(unheard_warning(self._node, topic, found[publisher]))
            self._unheard |= found.keys()
            self._health.incompatible(topic, len(found), next(iter(found.values()), ""))

    def look_for_namesakes(self) -> None:
        """Warn where more nodes have this one's name than at the look before."""
        name = self._node.get_fully_qualified_name()
        own = self._node.get_namespace(), self._node.get_name()
        count = sum((namespace, one) == own for one, namespace in self._node.get_node_names_and_namespaces())
        if count > max(self._nodes, 1):
            text = f"node name: expected this node alone to be {name}, got {count} of this name"
            self._health.count("warned", text)
            self._node.get_logger().warning(f"{text}: {NAMESAKE_CURE}")
        self._nodes = count

    def values(self) -> dict[str, str]:
        """Say for diagnostics which calibration holds, and how late the inputs come.

        Returns
        -------
        dict of str to str
            By name.
        """
        values = {CAMERA_INFO: self._calibration.text()}
        for evidence in self._synchroniser.evidence():
            values |= evidence.values()
        return values

    def _tell_of(self, topic: str) -> None:
        found = offer(self._node, self._topics[topic], topic, self._qos)
        if self._reminder.due(f"{topic}: {input_reason(found)}"):  # another reason is told at once
            self._owners = foreign_owners_text() if found.matching else ""
            transport = f"{self._owners}: {ONE_USER}" if self._owners else ""
            asked = f"{self._qos.reliability.name.lower().replace('_', ' ')}, depth {INPUT_DEPTH}"
            name = self._node.resolve_topic_name(topic)
            self._node.get_logger().warning(input_sentence(name, self._silence_s, asked, found, transport))
        self._health.note(topic, input_reason(found, self._owners))

    def _why_stalled(self) -> str:
        if not self._synchroniser.calibrated:
            return uncalibrated_sentence(self._node.resolve_topic_name(CAMERA_INFO), self._calibration.refusal)
        return next(filter(None, (one.explain() for one in self._synchroniser.evidence())), "")

    def _without_clock(self) -> bool:
        if time.monotonic() - self._begin_s < self._silence_s:
            return False
        return self._node.get_parameter("use_sim_time").value and not self._node.get_clock().now().nanoseconds
