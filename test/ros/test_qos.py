"""Every QoS of a publisher against both kinds of input, every QoS of a subscriber against the outputs, over DDS.
docs/qos.md says what must come out.
"""

import re
import signal
import time
from itertools import product
from pathlib import Path

import pytest
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.ros.conversions import frame_messages, stamp_message, stamp_ns

ROWS = [
    re.split(r" *\| *", line.strip("| "))
    for line in (Path(__file__).resolve().parents[2] / "docs" / "qos.md").read_text().splitlines()
]
ROWS = [row for row in ROWS if row[0] in ("reliable", "best_effort")]
RELIABLE_INPUTS = {"hears_all": "false", "hears_reliable": "true"}  # by namespace of a node
INPUT_CELLS = [
    (namespace, *row[:3], row[3 + i]) for row in ROWS if len(row) == 5 for i, namespace in enumerate(RELIABLE_INPUTS)
]
OUTPUT_ROWS = [row for row in ROWS if len(row) == 3]


@pytest.fixture(scope="module")
def nodes(start_process, output_of, tiny_model, client, wait_until):
    """What the two nodes say, by namespace. Both must end cleanly."""
    settings = ("-p", f"models:={tiny_model}", "-p", "silence_s:=0.5")
    processes = {
        namespace: start_process("node", *settings, "-p", f"reliable_inputs:={reliable}", "-r", f"__ns:=/{namespace}")
        for namespace, reliable in RELIABLE_INPUTS.items()
    }
    outputs = {namespace: output_of(process) for namespace, process in processes.items()}
    wait_until(lambda: all(output.said("ready") for output in outputs.values()))
    yield outputs
    for process in processes.values():
        process.send_signal(signal.SIGINT)
    for namespace, process in processes.items():
        assert "Traceback" not in outputs[namespace].of_ended() and process.returncode == 0


@pytest.fixture(scope="module")
def spheres():
    return spheres_on_table(1, ("mug",))


@pytest.fixture
def send(spheres):
    """Publishes the frame with a new stamp."""

    def send(publishers):
        header = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
        for key, message in zip(("depth", "camera_info", "instances"), frame_messages(*spheres, header)):
            publishers[key].publish(message)

    return send


@pytest.fixture
def publishers(client):
    """Makes publishers of all inputs of a namespace."""
    made = {}

    def make(namespace, qos):
        made.update(
            {
                name: client.node.create_publisher(kind, f"/{namespace}/{topic}", qos)
                for name, (kind, topic) in client.inputs.items()
            }
        )
        return made

    yield make
    client.destroy(*made.values())


@pytest.fixture
def subscriptions(client):
    """Makes subscriptions to all outputs of a namespace; gives the lists of what comes."""
    made = []

    def make(namespace, qos):
        received = {name: [] for name in client.outputs}
        for name, (kind, topic) in client.outputs.items():
            resolved = topic if topic.startswith("/") else f"/{namespace}/{topic}"
            made.append(client.node.create_subscription(kind, resolved, received[name].append, qos))
        return received

    yield make
    client.destroy(*made)


def qos(reliability, durability, depth=10):
    return QoSProfile(
        depth=depth, reliability=ReliabilityPolicy[reliability.upper()], durability=DurabilityPolicy[durability.upper()]
    )


def outcome(node, since, connected, topics, peer):
    """`connected`, or `warning: policy` when all topics have been warned of; None as long as it is neither."""
    if connected():
        return "connected"
    warned = [
        re.search(
            rf"\[WARN\].*{topic}: expected a {peer} of compatible (\w+), got one that", "".join(node.lines[since:])
        )
        for topic in topics
    ]
    return f"warning: {warned[0][1]}" if all(warned) and len({match[1] for match in warned}) == 1 else None


def test_the_document_has_every_row_once():
    policies = list(product(("reliable", "best_effort"), ("volatile", "transient_local")))
    assert [tuple(row[:3]) for row in ROWS if len(row) == 5] == [(*pair, depth) for pair in policies for depth in "15"]
    assert [tuple(row[:2]) for row in OUTPUT_ROWS] == policies


@pytest.mark.parametrize(("namespace", "reliability", "durability", "depth", "expected"), INPUT_CELLS)
def test_input(
    nodes, client, publishers, subscriptions, send, wait_until, namespace, reliability, durability, depth, expected
):
    since, begin_ns, node = len(nodes[namespace].lines), time.time_ns(), nodes[namespace]
    received = subscriptions(namespace, 10)["poses_9dof"]
    made = publishers(namespace, qos(reliability, durability, int(depth)))
    topics = [f"/{namespace}/{topic}" for _, topic in client.inputs.values()]

    def decided():
        send(made)  # again and again: best effort may lose a message, and discovery takes its time
        # an answer of the case before may come yet, to the first who subscribes
        return outcome(
            node, since, lambda: any(stamp_ns(p.header.stamp) > begin_ns for p in received), topics, "publisher"
        )

    wait_until(decided)
    assert decided() == expected
    matched = {name: publisher.get_subscription_count() for name, publisher in made.items()}
    # One more where camera_info is kept: it may have been quiet for long enough to be asked for.
    kept = (reliability, durability) == ("reliable", "transient_local")
    once = 1 if expected == "connected" else 0
    assert matched.pop("camera_info") in {once, once + kept} and set(matched.values()) == {once}


@pytest.mark.parametrize(("reliability", "durability", "expected"), OUTPUT_ROWS)
def test_output(nodes, client, publishers, subscriptions, send, wait_until, reliability, durability, expected):
    namespace = "hears_all"
    node, since = nodes[namespace], len(nodes[namespace].lines)
    made = publishers(namespace, qos("reliable", "volatile"))
    received = subscriptions(namespace, qos(reliability, durability))
    topics = [topic if topic.startswith("/") else f"/{namespace}/{topic}" for _, topic in client.outputs.values()]

    def decided():
        send(made)
        return outcome(node, since, lambda: all(received.values()), topics, "subscriber")

    wait_until(decided)
    assert decided() == expected and (expected == "connected") == any(received.values())


def test_the_cure_is_named_and_the_diagnostics_tell(nodes, client, publishers, wait_until):
    """An input that only an incompatible publisher offers is silent: the level, the reason and the log say so."""
    namespace = "hears_reliable"
    publishers(namespace, qos("best_effort", "volatile"))
    wait_until(lambda: nodes[namespace].said("let it publish reliable, or set reliable_inputs to false"))
    topic = client.inputs["depth"][1]
    silence = f"/{namespace}/{topic}: expected messages, got none for 0.5 s"
    wait_until(lambda: nodes[namespace].said(f"{silence} (subscribed reliable, depth 5; offered: best_effort)"))

    def status():
        return next(
            (
                m.status[0]
                for m in reversed(client.received["diagnostics"])
                if m.status[0].name == f"/{namespace}/clipose"
            ),
            None,
        )

    wait_until(lambda: status() and f"{topic} (incompatible reliability)" in status().message)
    assert status().level == b"\x01"
    # DDS tells of it in an event of its own, which may come after the look at what is offered.
    wait_until(
        lambda: any(
            value.key == f"incompatible: {topic}" and value.value.endswith(", reliability") for value in status().values
        )
    )


def test_a_publisher_of_another_type_is_named(nodes, client, wait_until):
    publisher = client.node.create_publisher(CompressedImage, "/hears_all/depth_registered/image_rect", 1)
    wait_until(
        lambda: nodes["hears_all"].said("offered: reliable sensor_msgs/msg/CompressedImage, not sensor_msgs/msg/Image)")
    )
    client.destroy(publisher)
