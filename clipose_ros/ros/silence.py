"""Why the node says nothing: one sentence for each reason, with the cure, for the log and /diagnostics."""

from __future__ import annotations

import time
from collections.abc import Callable

from clipose_ros.ros.qos import PUBLISHER_CURES, Offer

DISABLED = "disabled by ~/enable: frames are ignored until ~/enable is called with true"
WITHOUT_CLOCK = (
    "use_sim_time is true, and no time comes on /clock: ages and latencies are unknown. Start the simulation, play the "
    "bag with --clock, or set use_sim_time to false"
)
UNKNOWN = "no image has had all of its partners; the counters 'dropped:' say what became of them"


def input_reason(offer: Offer, transport: str = "") -> str:
    """Say in some words why an input is silent.

    Parameters
    ----------
    offer : Offer
        What its publishers offer.
    transport : str
        What keeps messages from this process that others may get; empty where nothing is known.

    Returns
    -------
    str
        For /diagnostics.
    """
    if offer.matching:
        return f"published, but nothing arrives{transport and ': '}{transport}"
    if offer.refused:
        return f"incompatible {offer.refused}"
    if offer.types:
        return f"published as {', '.join(offer.types)}"
    return "nobody publishes"


def input_cure(offer: Offer, transport: str = "") -> str:
    """Say what to do about a silent input.

    Parameters
    ----------
    offer : Offer
        What its publishers offer.
    transport : str
        As of `input_reason`, with its cure.

    Returns
    -------
    str
        For the log.
    """
    if offer.matching:
        return transport or (
            "is the publisher paused? Else start it with the Fast DDS profile of the node: images that do not fit its "
            "shared memory are lost"
        )
    if offer.refused:
        return PUBLISHER_CURES[offer.refused]
    if offer.types:
        return (
            "remap the input to a topic of its type; compressed images need a republisher, or, for the pose node, "
            "image_transport:=compressed"
        )
    return "start its publisher, with this ROS_DOMAIN_ID, or remap the input to its topic (ros2 topic list)"


def input_sentence(topic: str, seconds: float, asked: str, offer: Offer, transport: str = "") -> str:
    """Say that an input is silent, why, and what to do.

    Parameters
    ----------
    topic : str
        Its whole name.
    seconds : float
        For how long nothing has come [s].
    asked : str
        The QoS of the subscription.
    offer : Offer
        What its publishers offer.
    transport : str
        As of `input_cure`.

    Returns
    -------
    str
        For the log.
    """
    offered = ", ".join(offer.publishers) or "nobody publishes"
    got = f"expected messages, got none for {seconds:g} s (subscribed {asked}; offered: {offered})"
    return f"{topic}: {got}: {input_cure(offer, transport)}"


def uncalibrated_sentence(topic: str, refusal: str) -> str:
    """Say that no calibration has come that can be used.

    Parameters
    ----------
    topic : str
        Of the calibrations.
    refusal : str
        Why the last one was refused; empty where none was.

    Returns
    -------
    str
        With the cure.
    """
    return f"no usable calibration on {topic}: {refusal or 'none has come'}: calibrate the camera, or remap {topic}"


class Reminder:
    """Says what still holds only now and then.

    Parameters
    ----------
    period_s : float
        Between two times that the same is said [s].
    clock : callable
        Monotonic time [s].
    """

    def __init__(self, period_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._period_s = period_s
        self._clock = clock
        self._said_s: dict[str, float] = {}

    def due(self, what: str) -> bool:
        """Tell whether to say something, and take it as said.

        Parameters
        ----------
        what : str
            One of few names, not a text with numbers.

        Returns
        -------
        bool
            True the first time, and again after each period.
        """
        now_s = self._clock()
        due = now_s - self._said_s.get(what, -float("inf")) >= self._period_s
        if due:
            self._said_s[what] = now_s
        return due
