"""The node with use_sim_time: it answers by the stamps of its inputs, whether or not a clock runs.

Its first frames come before any calibration.
"""

import itertools
import signal

import pytest
from rosgraph_msgs.msg import Clock

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.ros.conversions import stamp_message, stamp_ns
from clipose_ros.ros.lab.faults import NO_FOCAL_LENGTH, PERIOD_NS
from clipose_ros.ros.lab.shots import good_shot


@pytest.fixture(scope="module", autouse=True)
def node(start_process, tiny_model, client, wait_until):
    process = start_process(
        "node",
        "-p",
        f"models:={tiny_model}",
        "-p",
        "use_sim_time:=true",
        "-p",
        "reliable_inputs:=true",
        "-p",
        "diagnostics_s:=0.02",
    )
    client.connect()
    wait_until(client.counters)
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def spheres():
    return spheres_on_table(2, ("mug", "can"))


@pytest.fixture(scope="module")
def stamps():
    """Of a simulation that began 100 s ago [ns]."""
    return itertools.count(100 * NS_PER_S, PERIOD_NS)


def test_the_newest_frame_is_answered_when_the_first_calibration_comes(client, wait_until, spheres, stamps):
    early, later, uncalibrated = (good_shot(spheres, next(stamps)) for _ in range(3))
    for shot in (early, later):
        client.send(depth=shot.depth, instances=shot.instances)
    uncalibrated.camera_info.k[0] = uncalibrated.camera_info.p[0] = 0.0
    client.send(camera_info=uncalibrated.camera_info)
    counted = {f"refused: {NO_FOCAL_LENGTH}": "1", "dropped: frame without camera_info": "1", "messages waiting": "2"}
    wait_until(lambda: counted.items() <= client.counters().items())
    assert not client.received["poses_9dof"]
    client.send(camera_info=later.camera_info)
    assert len(client.answer_soon(later.depth.header.stamp, "poses_9dof").poses) == 2
    assert client.answer(early.depth.header.stamp) is None


def test_frames_are_answered_before_the_clock_begins(client, wait_until, spheres, stamps):
    shot = good_shot(spheres, next(stamps))
    client.send(shot.depth, shot.camera_info, shot.instances)
    assert len(client.answer_soon(shot.depth.header.stamp, "poses_9dof").poses) == 2
    # an age by a clock that does not run would be a lie
    wait_until(lambda: client.counters().get("latency_ms") == "nan")


def test_the_age_of_a_result_is_that_of_the_simulated_clock(client, wait_until, spheres, stamps):
    shot = good_shot(spheres, next(stamps))
    clock = client.node.create_publisher(Clock, "/clock", 10)
    wait_until(clock.get_subscription_count)
    now = stamp_message(stamp_ns(shot.depth.header.stamp) + 250_000_000)

    def clock_runs():
        clock.publish(Clock(clock=now))
        return client.received["diagnostics"][-1].header.stamp == now

    wait_until(clock_runs)
    client.send(shot.depth, shot.camera_info, shot.instances)
    assert client.answer_soon(shot.depth.header.stamp, "poses_9dof").header.stamp == shot.depth.header.stamp
    wait_until(lambda: client.counters()["latency_ms"] == "250.0")
