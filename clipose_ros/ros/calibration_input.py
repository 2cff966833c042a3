"""Hears camera_info, sent with each image or once and kept for those who come later (latched)."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from rclpy.subscription import Subscription
from sensor_msgs.msg import CameraInfo

from clipose_ros.formats.camera_info import camera_info_shape
from clipose_ros.ros.input_thread import InputThread
from clipose_ros.ros.qos import LATCHED_QOS, offers_latched
from clipose_ros.ros.topics import CAMERA_INFO

QUIET_S = 0.5  # without camera_info, before those are asked who keep it
REMEMBERED = 32  # messages that are known when they come again


class CalibrationInput:
    """The subscriptions of camera_info.

    A volatile subscription hears every publisher, but not what was sent before it was there. A transient_local one
    hears that, of publishers that keep it; each of the others would warn of it in its own log. So it is made when one
    of them is there and camera_info is quiet.

    Parameters
    ----------
    node : Node
        That subscribes.
    inputs : InputThread
        Whose thread takes the messages.
    qos : QoSProfile
        Of the volatile subscription.
    callback : callable
        Gets each message once, with its info as of rclpy; it says by `hold` and `refuse` what it makes of it.

    Attributes
    ----------
    refusal : str
        Why the last message that was refused was; empty where none was.
    subscription : Subscription
        The volatile one, which hears every publisher.
    """

    def __init__(
        self, node: Node, inputs: InputThread, qos: QoSProfile, callback: Callable[[CameraInfo, dict], None]
    ) -> None:
        self._node = node
        self._inputs = inputs
        self._callback = callback
        self._repeats = Repeats()
        self._heard_s = time.monotonic()
        self._latched = False
        self._held: CameraInfo | None = None
        self.refusal = ""
        self.subscription = self._subscribe(qos, latched=False)

    @property
    def held(self) -> bool:
        """Whether a calibration holds."""
        return self._held is not None

    def hold(self, message: CameraInfo) -> None:
        """Note the calibration that holds from now on.

        Parameters
        ----------
        message : CameraInfo
            It.
        """
        self._held = message

    def refuse(self, error: ValueError) -> None:
        """Note that a message was refused; the calibration before it holds.

        Parameters
        ----------
        error : ValueError
            Why.
        """
        self.refusal = str(error)

    def text(self) -> str:
        """Say for diagnostics which calibration holds.

        Returns
        -------
        str
            Since when, its size and frame; `none` before there is one.
        """
        if (message := self._held) is None:
            return "none"
        height, width = camera_info_shape(message)
        since_s = time.monotonic() - self._heard_s
        return f"held since {since_s:.1f} s: {width}x{height}, frame_id {message.header.frame_id!r}"

    def listen_for_latched(self) -> None:
        """Ask for what was sent before, where somebody keeps it and nothing comes. For the thread of the executor."""
        if self._latched or time.monotonic() - self._heard_s < QUIET_S:
            return
        if offers_latched(self._node, CameraInfo, CAMERA_INFO):
            self._latched = True
            self._subscribe(LATCHED_QOS, latched=True)
            self._inputs.refresh()

    def _subscribe(self, qos: QoSProfile, latched: bool) -> Subscription:
        def heard(message: bytes, info: dict) -> None:
            if self._repeats.new(info["source_timestamp"], latched):
                self._heard_s = time.monotonic()
                self._callback(deserialize_message(message, CameraInfo), info)

        events = SubscriptionEventCallbacks(use_default_callbacks=False)  # none: see `InputThread`
        return self._node.create_subscription(
            CameraInfo, CAMERA_INFO, heard, qos, callback_group=self._inputs, event_callbacks=events, raw=True
        )


class Repeats:
    """Tells messages that two subscriptions hear, by the times at which they were sent."""

    def __init__(self) -> None:
        self._sent_ns: deque[int] = deque(maxlen=REMEMBERED)
        self._newest_ns = 0

    def new(self, sent_ns: int, latched: bool) -> bool:
        """Tell whether a message is to be taken.

        Parameters
        ----------
        sent_ns : int
            By the publisher's clock; 0 where the middleware does not say [ns].
        latched : bool
            Whether it comes by the subscription for what is kept.

        Returns
        -------
        bool
            False for one that has come before, and for a kept one that is older than one that has come.
        """
        if not sent_ns:
            return True
        if sent_ns in self._sent_ns or (latched and sent_ns < self._newest_ns):
            return False
        self._sent_ns.append(sent_ns)
        self._newest_ns = max(sent_ns, self._newest_ns)
        return True
