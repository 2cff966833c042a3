"""What the node asks of its inputs and offers with its outputs, and what it says to peers that want something else.
docs/qos.md has the whole table.
"""

from __future__ import annotations

from collections.abc import Callable

from rclpy.event_handler import (
    PublisherEventCallbacks,
    QoSOfferedIncompatibleQoSInfo,
    QoSPublisherMatchedInfo,
    QoSRequestedIncompatibleQoSInfo,
    SubscriptionEventCallbacks,
)
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSCompatibility, QoSProfile, ReliabilityPolicy, qos_check_compatible, qos_policy_name_from_kind
from rclpy.subscription import Subscription

INPUT_DEPTH = 5  # more would only queue frames that are too old
OUTPUT_QOS = QoSProfile(depth=10)  # reliable, volatile: poses of the past must not be taken for those of now

# By policy; of other policies the default is compatible.
PUBLISHER_CURES = {"reliability": "let it publish reliable, or set reliable_inputs to false"}
SUBSCRIBER_CURES = {"durability": "let it subscribe volatile"}


def input_qos(reliable: bool) -> QoSProfile:
    """Best effort hears every publisher and never waits for a lost message; reliable hears reliable publishers only."""
    return QoSProfile(
        depth=INPUT_DEPTH, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
    )


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable,
    qos: QoSProfile,
    on_incompatible: Callable[[str, int, str], None],
) -> Subscription:
    """A subscription that warns, with policy and cure, of each publisher that it cannot hear.

    on_incompatible gets the topic, the number of such publishers so far, and the policy that the last of them differs
    in.
    """

    def warn(event: QoSRequestedIncompatibleQoSInfo) -> None:
        policy = _policy(event)
        node.get_logger().warning(unheard_warning(node, topic, policy))
        on_incompatible(topic, event.total_count, policy)

    # Without rclpy's defaults: each event that is listened to slows every callback down.
    events = SubscriptionEventCallbacks(incompatible_qos=warn, use_default_callbacks=False)
    return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)


def unheard(node: Node, topic: str, qos: QoSProfile) -> dict[tuple[int, ...], str]:
    """Publishers of a topic that a subscription of `qos` cannot hear, by their ids: the policy in which they differ.

    For whoever cannot afford an event: DDS wakes a wait for one at each message of the subscription, for 0.2 ms.
    """
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    refused = [
        publisher
        for publisher in publishers
        if qos_check_compatible(publisher.qos_profile, qos)[0] == QoSCompatibility.ERROR
    ]
    # We ask for nothing else than reliability that a publisher may lack.
    return {tuple(publisher.endpoint_gid): "reliability" for publisher in refused}


def unheard_warning(node: Node, topic: str, policy: str) -> str:
    """What a user is told of a publisher that is not heard."""
    cure = PUBLISHER_CURES.get(policy, f"let it publish with the default {policy}")
    return f"{node.resolve_topic_name(topic)}: expected a publisher of compatible {policy}, got one that is not heard: {cure}"


def advertise(
    node: Node,
    kind: type,
    topic: str,
    qos: QoSProfile = OUTPUT_QOS,
    on_matched: Callable[[QoSPublisherMatchedInfo], None] | None = None,
) -> Publisher:
    """A publisher that warns, with policy and cure, of each subscriber that asks for more than `qos`. on_matched hears
    of those that come and go.
    """

    def warn(event: QoSOfferedIncompatibleQoSInfo) -> None:
        policy = _policy(event)
        cure = SUBSCRIBER_CURES.get(policy, f"let it subscribe with the default {policy}")
        node.get_logger().warning(
            f"{node.resolve_topic_name(topic)}: expected a subscriber of compatible {policy}, got one that hears nothing: {cure}"
        )

    events = PublisherEventCallbacks(incompatible_qos=warn, matched=on_matched, use_default_callbacks=False)
    return node.create_publisher(kind, topic, qos, event_callbacks=events)


def offers(node: Node, kind: type, topic: str) -> list[str]:
    """What the publishers of a topic offer to a subscription of messages of `kind`: their reliability, and their type
    where it is another one.
    """
    expected = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    return [
        f"{publisher.qos_profile.reliability.name.lower()}{'' if publisher.topic_type == expected else f' {publisher.topic_type}, not {expected}'}"
        for publisher in node.get_publishers_info_by_topic(topic)
    ]


def _policy(event: QoSRequestedIncompatibleQoSInfo) -> str:
    """The policy as command lines and documentation write it: reliability, durability, …"""
    return qos_policy_name_from_kind(event.last_policy_kind).lower()
