"""Frames that come seldom: what is said, and that what is advised works, by the tracker itself."""

import numpy as np
import pytest

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Instance, PoseEstimate, TrackState
from clipose_ros.ros.frame_pace import FramePace
from clipose_ros.ros.settings import PoseNodeParameters
from clipose_ros.tracking.tracker import Tracker


def settings(**changes):
    """Of a pose node's tracker."""
    return PoseNodeParameters(**changes).tracker()


def said(of, *steps_s):
    pace, stamp_ns, texts = FramePace(), 0, []
    for step_s in (0, *steps_s):
        stamp_ns += round(step_s * NS_PER_S)
        texts.append(pace.add(stamp_ns, of))
    return [text for text in texts if text]


def states(of, step_s, frames=8):
    """Of a mug that stands still, as the tracker has it frame by frame."""
    tracker, mug = Tracker(of), Instance(1, "mug", 1.0, "")
    pose = PoseEstimate("mug", 0.9, np.eye(3), np.array([0.1, 0.0, 0.8]), np.array([0.1, 0.1, 0.1]))
    return [
        tracker.update(round(i * step_s * NS_PER_S), [(mug, pose)]).results[0][1].state for i in range(1, frames + 1)
    ]


def test_masks_every_few_seconds_are_told_with_the_coast_s_that_lets_objects_be_confirmed():
    assert set(states(settings(), 2.5)) == {TrackState.TENTATIVE}
    (text,) = said(settings(), *[2.5] * 10)
    assert text == (
        "frames come every 2.5 s, and after 2 s without one every object is forgotten: none is ever confirmed: "
        "set coast_s to 8, or tracking to false"
    )
    assert states(settings(coast_s=8), 2.5)[-1] == TrackState.CONFIRMED
    assert said(settings(coast_s=8), *[2.5] * 10) == []


def test_frames_further_apart_than_coast_s_are_told():
    (text,) = said(settings(), *[1.0] * 10)
    assert "every 1.0 s, and coast_s is 0.5: an object that one frame misses is lost at once: set coast_s to 3" in text


def test_what_no_coast_s_can_bear_is_not_advised():
    (text,) = said(settings(), *[30.0] * 4)
    assert text.endswith("none is ever confirmed: set tracking to false")


@pytest.mark.parametrize("steps_s", [(), (0.1,) * 10, (2.5, 0.1) * 5, (2.5, 2.5), (2.5, -10.0) * 5], ids=str)
def test_pauses_are_no_pace(steps_s):
    assert said(settings(), *steps_s) == []


def test_other_settings_are_judged_anew():
    pace = FramePace()
    texts = [pace.add(i * 3 * NS_PER_S, settings(coast_s=0.5 if i < 8 else 1.0)) for i in range(16)]
    assert [bool(text) for text in texts] == [i in (3, 8) for i in range(16)]
