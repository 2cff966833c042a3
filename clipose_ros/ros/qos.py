"""What the node asks of its inputs and offers with its outputs, and what it says to peers that want something else.

docs/qos.md has the whole table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rclpy.event_handler import (
    PublisherEventCallbacks,
    QoSOfferedIncompatibleQoSInfo,
    QoSPublisherMatchedInfo,
    QoSRequestedIncompatibleQoSInfo,
    SubscriptionEventCallbacks,
)
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import (
    DurabilityPolicy,
    QoSCompatibility,
    QoSProfile,
    ReliabilityPolicy,
    qos_check_compatible,
    qos_policy_name_from_kind,
)
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo

INPUT_DEPTH = 5  # more would only queue frames that are too old
OUTPUT_QOS = QoSProfile(depth=10)  # reliable, volatile: poses of the past must not be taken for those of now
# Of what a publisher sent before the subscription was there, DDS keeps what is reliable alone.
LATCHED_QOS = QoSProfile(depth=1, reliability=ReliabilityPolicy.RELIABLE, durability=DurabilityPolicy.TRANSIENT_LOCAL)

# By policy; of other policies the default is compatible.
PUBLISHER_CURES = {"reliability": "let it publish reliable, or set reliable_inputs to false"}
SUBSCRIBER_CURES = {"durability": "let it subscribe volatile"}


@dataclass(frozen=True)
class Offer:
    """What the publishers of a topic offer a subscription.

    Parameters
    ----------
    publishers : tuple of str
        What each offers: its reliability, and its type where that is another one.
    matching : int
        How many can be heard.
    refused : str
        The policy for which one of the right type cannot be heard; empty where there is none.
    types : tuple of str
        Types of those of other types.
    """

    publishers: tuple[str, ...] = ()
    matching: int = 0
    refused: str = ""
    types: tuple[str, ...] = ()


def input_qos(reliable: bool) -> QoSProfile:
    """Give the QoS of inputs.

    Parameters
    ----------
    reliable : bool
        Reliable hears reliable publishers only. Best effort hears every publisher and never waits for a lost message.

    Returns
    -------
    QoSProfile
        Volatile.
    """
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
    """Subscribe, and warn, with policy and cure, of each publisher that cannot be heard.

    Parameters
    ----------
    node : Node
        That subscribes.
    kind : type
        Of the messages.
    topic : str
        Its name.
    callback : callable
        Gets each message.
    qos : QoSProfile
        Of the subscription.
    on_incompatible : callable
        Gets the topic, the number of such publishers so far, and the policy that the last of them differs in.

    Returns
    -------
    Subscription
        The subscription.
    """

    def warn(event: QoSRequestedIncompatibleQoSInfo) -> None:
        policy = _policy(event)
        node.get_logger().warning(unheard_warning(node, topic, policy))
        on_incompatible(topic, event.total_count, policy)

    # Without rclpy's defaults: each event that is listened to slows every callback down.
    events = SubscriptionEventCallbacks(incompatible_qos=warn, use_default_callbacks=False)
    return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)


def unheard(node: Node, topic: str, qos: QoSProfile) -> dict[tuple[int, ...], str]:
    """Find the publishers of a topic that a subscription cannot hear.

    For whoever cannot afford an event: DDS wakes a wait for one at each message of the subscription, for 0.2 ms.

    Parameters
    ----------
    node : Node
        That subscribes.
    topic : str
        Its name.
    qos : QoSProfile
        Of the subscription.

    Returns
    -------
    dict of tuple of int to str
        By their ids the policy in which they differ.
    """
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    # We ask for nothing else than reliability that a publisher may lack.
    return {tuple(publisher.endpoint_gid): "reliability" for publisher in publishers if not _heard(publisher, qos)}


def unheard_warning(node: Node, topic: str, policy: str) -> str:
    """Tell a user of a publisher that is not heard.

    Parameters
    ----------
    node : Node
        That subscribes.
    topic : str
        Its name.
    policy : str
        In which the publisher differs.

    Returns
    -------
    str
        With the cure.
    """
    cure = PUBLISHER_CURES.get(policy, f"let it publish with the default {policy}")
    expected = f"expected a publisher of compatible {policy}, got one that is not heard"
    return f"{node.resolve_topic_name(topic)}: {expected}: {cure}"


def advertise(
    node: Node,
    kind: type,
    topic: str,
    qos: QoSProfile = OUTPUT_QOS,
    on_matched: Callable[[QoSPublisherMatchedInfo], None] | None = None,
) -> Publisher:
    """Advertise, and warn, with policy and cure, of each subscriber that asks for more than is offered.

    Parameters
    ----------
    node : Node
        That publishes.
    kind : type
        Of the messages.
    topic : str
        Its name.
    qos : QoSProfile
        Of the publisher.
    on_matched : callable, optional
        Hears of subscribers that come and go.

    Returns
    -------
    Publisher
        The publisher.
    """

    def warn(event: QoSOfferedIncompatibleQoSInfo) -> None:
        policy = _policy(event)
        cure = SUBSCRIBER_CURES.get(policy, f"let it subscribe with the default {policy}")
        expected = f"expected a subscriber of compatible {policy}, got one that hears nothing"
        node.get_logger().warning(f"{node.resolve_topic_name(topic)}: {expected}: {cure}")

    events = PublisherEventCallbacks(incompatible_qos=warn, matched=on_matched, use_default_callbacks=False)
    return node.create_publisher(kind, topic, qos, event_callbacks=events)


def offer(node: Node, kind: type, topic: str, qos: QoSProfile) -> Offer:
    """Look up what is offered to a subscription.

    Parameters
    ----------
    node : Node
        That subscribes.
    kind : type
        Of the messages.
    topic : str
        Its name.
    qos : QoSProfile
        Of the subscription.

    Returns
    -------
    Offer
        As discovery knows it now.
    """
    expected = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    ours = [publisher for publisher in publishers if publisher.topic_type == expected]
    others = [publisher for publisher in publishers if publisher.topic_type != expected]
    heard = sum(_heard(publisher, qos) for publisher in ours)
    return Offer(
        publishers=(
            *(_reliability(publisher) for publisher in ours),
            *(f"{_reliability(publisher)} {publisher.topic_type}, not {expected}" for publisher in others),
        ),
        matching=heard,
        refused="reliability" if heard < len(ours) else "",
        types=tuple(sorted({publisher.topic_type for publisher in others})),
    )


def offers_latched(node: Node, kind: type, topic: str) -> bool:
    """Tell whether somebody keeps messages of a topic for those who subscribe later.

    Parameters
    ----------
    node : Node
        That subscribes.
    kind : type
        Of the messages.
    topic : str
        Its name.

    Returns
    -------
    bool
        True where a subscription with `LATCHED_QOS` would get them.
    """
    expected = f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"
    publishers = node.get_publishers_info_by_topic(node.resolve_topic_name(topic))
    return any(publisher.topic_type == expected and _heard(publisher, LATCHED_QOS) for publisher in publishers)


def _heard(publisher: TopicEndpointInfo, qos: QoSProfile) -> bool:
    return qos_check_compatible(publisher.qos_profile, qos)[0] != QoSCompatibility.ERROR


def _reliability(publisher: TopicEndpointInfo) -> str:
    return publisher.qos_profile.reliability.name.lower()


def _policy(event: QoSRequestedIncompatibleQoSInfo) -> str:
    """The policy as command lines and documentation write it: reliability, durability, …"""
    return qos_policy_name_from_kind(event.last_policy_kind).lower()
