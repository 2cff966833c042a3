"""Tracking over DDS: what the messages say of tracks, the services, and settings of a running node."""

import itertools
import time

import numpy as np
import pytest
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from clipose_ros.bench.latency import IMAGE_SHAPE
from clipose_ros.core.types import Detections
from clipose_ros.msg import ObjectPose
from clipose_ros.ros.conversions import frame_messages, stamp_message

STEP_NS = 100_000_000
TEST_NS = 100_000_000_000  # every test begins so much later than the one before: nothing of it can be late

pytestmark = pytest.mark.usefixtures("node")

NOTHING = Detections((), np.zeros(IMAGE_SHAPE, np.uint8))


@pytest.fixture(scope="module")
def starts_ns():
    return itertools.count(time.time_ns(), TEST_NS)


@pytest.fixture
def messages(starts_ns, spheres):
    """Depth, camera info and instances of a step of 0.1 s: with the two spheres, or without instances."""
    start_ns = next(starts_ns)

    def messages(step, empty=False):
        header = Header(stamp=stamp_message(start_ns + step * STEP_NS), frame_id="optical")
        return frame_messages(spheres.frame, NOTHING if empty else spheres.detections, header)

    return messages


@pytest.fixture
def show(client, messages):
    """The answer to the frame of a step."""
    return lambda step, empty=False: client.ask(*messages(step, empty))


def test_tracks_grow_up_coast_without_being_taken_for_measured_and_are_reported_lost(client, show, call):
    call(Trigger, "reset")
    first = show(0)
    assert [pose.tracking for pose in first.poses] == [ObjectPose.TENTATIVE] * 2
    tracks = [pose.track for pose in first.poses]
    assert tracks[0] > 0 and tracks[1] == tracks[0] + 1
    show(1)
    confirmed = show(2)
    assert [(pose.track, pose.tracking, pose.age_s) for pose in confirmed.poses] == [
        (track, ObjectPose.CONFIRMED, 0.0) for track in tracks
    ]

    coasting = show(3, empty=True)
    assert coasting.poses == [] and [(pose.track, pose.tracking) for pose in coasting.coasting] == [
        (track, ObjectPose.COASTING) for track in tracks
    ]
    assert [pose.age_s for pose in coasting.coasting] == pytest.approx([0.1, 0.1])
    assert client.answer_soon(coasting.header.stamp, "poses").poses == []
    for before, after in zip(confirmed.poses, coasting.coasting):
        assert (after.id, after.category) == (before.id, before.category)
        assert np.trace(np.reshape(after.covariance, (6, 6))) > np.trace(np.reshape(before.covariance, (6, 6))) > 0

    lost = show(9, empty=True)
    assert list(lost.lost) == tracks and lost.coasting == []


def test_reset_forgets_tracks(client, show, call):
    show(0)
    answer = call(Trigger, "reset")
    assert answer.success and answer.message == "2 tracks forgotten"
    assert [pose.tracking for pose in show(1).poses] == [ObjectPose.TENTATIVE] * 2


def test_a_disabled_node_is_silent_and_says_so(client, messages, show, call, wait_until):
    show(0)
    assert call(SetBool, "enable", data=False).success
    # none may have come yet
    wait_until(
        lambda: any(
            message.status[0].message.startswith("disabled by ~/enable")
            for message in client.received["diagnostics"][-1:]
        )
    )
    ignored = int(client.counters()["ignored while disabled"])
    missed = messages(1)
    client.send(*missed)
    wait_until(lambda: int(client.counters()["ignored while disabled"]) > ignored)
    assert client.answer(missed[0].header.stamp) is None
    assert call(SetBool, "enable", data=True).success
    assert len(show(2).poses) == 2


def test_tracking_can_be_switched_off_and_set_while_the_node_runs(show, set_parameter):
    assert set_parameter("tracking", False).successful
    (first, second) = show(0).poses
    assert (first.track, first.tracking) == (0, ObjectPose.UNTRACKED)
    assert np.linalg.eigvalsh(np.reshape(first.covariance, (6, 6))).min() > 0  # what the estimator says
    assert set_parameter("tracking", True).successful and set_parameter("confirm_after", 1).successful
    assert [pose.tracking for pose in show(1).poses] == [ObjectPose.CONFIRMED] * 2
    refused = set_parameter("coast_s", -1.0)
    assert not refused.successful and refused.reason == "coast_s: expected more than 0, at most 60, got -1.0"
    refused = set_parameter("seed", 5)
    assert not refused.successful and refused.reason == "seed: expected at start only, restart the node"
    assert set_parameter("confirm_after", 3).successful


def test_a_clock_that_goes_back_is_counted_and_begins_anew(client, show, wait_until):
    last = [pose.track for pose in show(100).poses]
    again = [pose.track for pose in show(0).poses]
    assert min(again) > max(last)
    wait_until(lambda: int(client.counters().get("tracking: reset: clock went back", 0)) >= 1)
