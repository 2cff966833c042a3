"""Frames that come too seldom to follow objects over them: said once, with the cure. Knows nothing of ROS."""

from __future__ import annotations

import math
from collections import deque

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.tracking.tracker import LONGEST_COAST_S, TrackerSettings

STEPS = 3  # between frames that are looked at, all of which must be long
FRAMES = 3  # for which an object should be kept that none of them shows


class FramePace:
    """Compares the time between frames with what the tracker can bear."""

    def __init__(self) -> None:
        self._last_ns: int | None = None
        self._steps_ns: deque[int] = deque(maxlen=STEPS)
        self._said: TrackerSettings | None = None

    def add(self, stamp_ns: int, settings: TrackerSettings) -> str:
        """Take in a frame.

        Parameters
        ----------
        stamp_ns : int
            Of the frame [ns].
        settings : TrackerSettings
            Of the tracker that gets it.

        Returns
        -------
        str
            A warning, once for the settings; else empty.
        """
        step_ns = 0 if self._last_ns is None else stamp_ns - self._last_ns
        self._last_ns = stamp_ns
        if step_ns <= settings.coast_s * NS_PER_S:
            self._steps_ns.clear()
            return ""
        self._steps_ns.append(step_ns)
        if len(self._steps_ns) < STEPS or settings == self._said:
            return ""
        self._said = settings
        return slow_frames(min(self._steps_ns) / NS_PER_S, settings)


def slow_frames(step_s: float, settings: TrackerSettings) -> str:
    """Say what becomes of tracks when frames come seldom.

    Parameters
    ----------
    step_s : float
        Time between frames, longer than `coast_s` [s].
    settings : TrackerSettings
        Of the tracker.

    Returns
    -------
    str
        One sentence with the cure.
    """
    if step_s > settings.gap_s:
        effect = f"after {settings.gap_s:g} s without one every object is forgotten: none is ever confirmed"
    else:
        effect = f"coast_s is {settings.coast_s:g}: an object that one frame misses is lost at once"
    coast_s = math.ceil(FRAMES * step_s)
    cure = f"set coast_s to {coast_s}, or tracking to false" if coast_s <= LONGEST_COAST_S else "set tracking to false"
    return f"frames come every {step_s:.1f} s, and {effect}: {cure}"
