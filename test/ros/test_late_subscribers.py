"""Who subscribes before it sends an image gets its answer, also where the node discovers the subscription too late."""

import signal
import time

import pytest
from std_msgs.msg import Header

from clipose_ros.ros.conversions import frame_messages, stamp_message
from clipose_ros.ros.publishers import UNHEARD_S

NAMESPACE = "late_subscribers"
POSES = f"/{NAMESPACE}/clipose/poses_9dof"


@pytest.fixture(scope="module")
def publishers(client):
    made = {
        key: client.node.create_publisher(kind, f"/{NAMESPACE}/{topic}", 10)
        for key, (kind, topic) in client.inputs.items()
    }
    yield made
    client.destroy(*made.values())


@pytest.fixture(scope="module", autouse=True)
def node(start_process, tiny_model, client, publishers, wait_until):
    """Which nobody listens to, but on /diagnostics."""
    process = start_process(
        "node",
        "-p",
        f"models:={tiny_model}",
        "-p",
        "diagnostics_s:=0.05",
        "-p",
        "reliable_inputs:=true",
        "-r",
        f"__ns:=/{NAMESPACE}",
    )
    wait_until(lambda: all(int(client.counters().get(f"publishers: {t}", 0)) for _, t in client.inputs.values()))
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture
def answered(client, publishers, spheres, wait_until):
    """Sends a frame, and gives its stamp when the node has answered it."""

    def answered():
        frames, stamp = int(client.counters()["frames"]), stamp_message(time.time_ns())
        sent = frame_messages(*spheres, Header(stamp=stamp, frame_id="optical"))
        for key, message in zip(("depth", "camera_info", "instances"), sent):
            publishers[key].publish(message)
        wait_until(lambda: int(client.counters()["frames"]) > frames)
        return stamp

    return answered


@pytest.fixture
def subscribe(client):
    """Subscribes to the poses; gives the list of the stamps that come."""
    made = []

    def subscribe():
        stamps = []
        kind = client.outputs["poses_9dof"][0]
        made.append(client.node.create_subscription(kind, POSES, lambda poses: stamps.append(poses.header.stamp), 10))
        return stamps

    yield subscribe
    client.destroy(*made)


def subscribers(client):
    return int(client.counters()["subscribers: ~/poses_9dof"])


def test_an_answer_that_nobody_heard_goes_to_the_first_who_is_discovered(client, answered, subscribe, wait_until):
    stamp = answered()
    first = subscribe()
    wait_until(lambda: first)
    second = subscribe()
    wait_until(lambda: subscribers(client) == 2)
    following = answered()
    wait_until(lambda: len(first) > 1 and second)
    assert first == [stamp, following] and second == [following]


def test_an_old_answer_is_not_taken_for_one_of_now(client, answered, subscribe, wait_until):
    wait_until(lambda: subscribers(client) == 0)
    answered()
    wait_until(lambda: float(client.counters()["newest result s ago"]) > UNHEARD_S)
    stamps = subscribe()
    wait_until(lambda: subscribers(client) == 1)
    following = answered()
    wait_until(lambda: stamps)
    assert stamps == [following]
