"""Services, parameters and diagnostics of a node at work, also while frames come as fast as they can."""

import threading
import time

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker

from clipose_ros.inference.card import read_card
from clipose_ros.ros.conversions import frame_messages, stamp_message

pytestmark = pytest.mark.usefixtures("node")
ROUNDS = 8


def messages(frame, time_ns):
    return frame_messages(*frame, Header(stamp=stamp_message(time_ns), frame_id="optical"))


@pytest.fixture
def load(client, spheres):
    """Frames without a pause, from a thread of their own, as long as the test runs."""
    over = threading.Event()

    def send():
        while not over.wait(0.002):
            client.send(*messages(spheres, time.time_ns()))

    thread = threading.Thread(target=send)
    thread.start()
    yield
    over.set()
    thread.join()


def count(client, key):
    return int(client.counters().get(key, 0))


def test_a_node_all_of_whose_frames_fail_is_in_error_and_says_why(client, spheres, wait_until):
    def send_broken():
        depth, camera_info, instances = messages(spheres, time.time_ns())
        depth.encoding = "64FC1"
        client.send(depth, camera_info, instances)

    def level():
        return client.received["diagnostics"][-1].status[0].level if client.received["diagnostics"] else None

    wait_until(lambda: send_broken() or level() == DiagnosticStatus.ERROR)
    text = "depth encoding: expected 16UC1 or 32FC1 or mono16, got '64FC1'"
    assert text in client.received["diagnostics"][-1].status[0].message
    client.ask(*messages(spheres, time.time_ns()))
    wait_until(lambda: level() == DiagnosticStatus.OK)
    assert float(client.counters()["last error s ago"]) > 0 and "64FC1" in client.counters()["last error"]


def test_services_answer_under_load_and_no_frame_fails(client, call, set_parameter, load, wait_until):
    wait_until(lambda: client.received["poses_9dof"] and client.counters())
    failures = count(client, "failures")
    for i in range(ROUNDS):
        assert call(Trigger, "reset").success
        assert call(SetBool, "enable", data=False).success
        assert set_parameter("confirm_after", 1 + i % 3).successful
        assert not set_parameter("coast_s", 0.0).successful
        assert call(SetBool, "enable", data=True).success
    assert set_parameter("confirm_after", 3).successful
    answered = len(client.received["poses_9dof"])
    wait_until(lambda: len(client.received["poses_9dof"]) > answered)
    wait_until(lambda: count(client, "tracking: reset: asked") == ROUNDS)
    assert count(client, "failures") == failures


def test_enable_twice_is_enable_once_and_a_disabled_node_keeps_nothing_for_later(client, call, spheres, wait_until):
    for _ in range(2):
        assert call(SetBool, "enable", data=False).message == "disabled: frames are ignored"
    ignored, missed_ns = count(client, "ignored while disabled"), time.time_ns()
    wait_until(lambda: client.send(*messages(spheres, missed_ns)) or count(client, "ignored while disabled") > ignored)
    for _ in range(2):
        assert call(SetBool, "enable", data=True).message == "enabled"
    client.ask(*messages(spheres, time.time_ns()))
    assert client.answer(stamp_message(missed_ns)) is None


def test_limits_of_depth_hold_from_the_next_frame_on(client, set_parameter, spheres):
    assert set_parameter("max_depth_m", 0.5).successful  # the spheres are further away
    answer = client.ask(*messages(spheres, time.time_ns()))
    assert not answer.poses and len(answer.rejections) == 2
    refused = set_parameter("min_depth_m", 0.6)
    assert not refused.successful and refused.reason == "max_depth_m: expected more than min_depth_m, 0.6, got 0.5"
    assert set_parameter("max_depth_m", 5.0).successful
    assert len(client.ask(*messages(spheres, time.time_ns())).poses) == 2


def test_the_lifetime_of_markers_holds_from_the_next_frame_on(client, set_parameter, spheres):
    assert set_parameter("marker_lifetime_s", 2.5).successful
    answer = client.ask(*messages(spheres, time.time_ns()))
    markers = client.answer_soon(answer.header.stamp, "markers").markers
    assert {(marker.lifetime.sec, marker.lifetime.nanosec) for marker in markers if marker.action == Marker.ADD} == {
        (2, 500_000_000)
    }


def test_the_diagnostics_say_what_runs_and_how_well(client, spheres, tiny_model, wait_until):
    client.ask(*messages(spheres, time.time_ns()))
    wait_until(lambda: float(client.counters().get("output Hz", 0)) > 0)
    said, card = client.counters(), read_card(tiny_model)
    assert (said["model"], said["model sha256"], said["provider"], said["precision"]) == (
        "tiny",
        card.network("pose").sha256[:12],
        "cpu",
        "fp32",
    )
    assert int(said["threads"]) >= 1 and float(said["latency_ms p95"]) >= float(said["latency_ms p50"]) > 0
    assert all(float(said[f"input Hz: {topic}"]) > 0 for _, topic in client.inputs.values())
