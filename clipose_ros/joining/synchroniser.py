"""Joins depth, instances and colour by stamp, and keeps the newest complete frames for one worker.

Knows nothing of ROS: any object is a message.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.validation import expect
from clipose_ros.joining.stamp_evidence import StampEvidence
from clipose_ros.joining.stamp_joins import EqualStamps, NearStamps

NAMES = {"depth": "depth images", "instances": "instances", "colour": "colour images"}
JUMP_NS = NS_PER_S // 2  # back in time: the clock was set, or a recording began anew


@dataclass(frozen=True)
class Bundle:
    """The messages of one image.

    Parameters
    ----------
    stamp_ns : int
        Of the depth image [ns].
    depth, instances : object
        Joined by stamp. Instances are None where they are not needed and none came in time.
    camera_info : object
        That of the depth image's stamp, else the latest.
    colour : object, optional
        Where it is needed.
    complete_s : float
        When the last of them came, monotonic time [s].
    """

    stamp_ns: int
    depth: Any
    camera_info: Any
    instances: Any
    colour: Any = None
    complete_s: float = field(default_factory=time.monotonic, compare=False)


class Synchroniser:
    """Buffer by stamp with a mailbox, which has one slot in a node.

    Messages of one image may come in any order, the masks also seconds later, as long as `capacity` newer messages of
    the other kinds have not come in between. They have equal stamps, or with a tolerance the nearest ones, one to one.
    A completed frame that finds the mailbox full replaces the oldest unread one; before the first calibration, the
    newest one waits for that. Once an image is complete, what is older can only lead to an older frame and is dropped.
    Every message that ends without being handed out is counted in `drops`, by cause; a cause that begins with `frame`
    counts frames, with all their messages.

    A depth stamp that is further than `jump_ns` behind the newest is a clock that went back (a bag that starts again,
    or one stamp in the future), and what waits with later stamps is forgotten. Masks and colour of the first image
    after that may come before it, so what is so far behind waits.

    Parameters
    ----------
    capacity : int
        Messages kept of each kind.
    with_colour : bool
        Whether a frame is complete only with its colour image.
    jump_ns : int
        See above [ns].
    tolerance_ns : int
        The largest difference between a depth image's stamp and those that belong to it; 0: equal stamps [ns].
    waiting_frames : int
        Complete frames that wait to be taken; whoever reads a recording has time for all, a node for the newest.
    with_instances : bool
        Whether a frame is complete only with its instances. Else those that are there when it is handed out belong to
        it, and no frame waits for any.

    Attributes
    ----------
    drops : Counter
        Messages that were not handed out, by cause.

    Raises
    ------
    ValueError
        For a capacity below 1 and a tolerance below 0.
    """

    def __init__(
        self,
        capacity: int,
        with_colour: bool = False,
        jump_ns: int = JUMP_NS,
        tolerance_ns: int = 0,
        waiting_frames: int = 1,
        with_instances: bool = True,
    ) -> None:
        expect("capacity", capacity >= 1, "at least 1", capacity)
        expect("tolerance_ns", tolerance_ns >= 0, "0 or more", tolerance_ns)
        self.drops: Counter[str] = Counter()
        self._capacity = capacity
        self._jump_ns = jump_ns
        kinds = ("depth", *(("instances",) if with_instances else ()), *(("colour",) if with_colour else ()))
        self._tolerance_ns = tolerance_ns
        self._offered: dict[int, Any] = {}  # instances that no frame waits for
        self._buffers: dict[str, dict[int, Any]] = {kind: {} for kind in kinds}
        joined = tolerance_ns > 0 and len(kinds) > 1
        self._joins = NearStamps(kinds, tolerance_ns) if joined else EqualStamps(self._buffers)
        self._evidence = {
            kind: StampEvidence(NAMES["depth"], NAMES[kind], capacity, tolerance_ns) for kind in kinds[1:]
        }
        self._camera_info: Any = None
        self._camera_infos: dict[int, Any] = {}
        self._newest_depth_ns: int | None = None
        self._completed_ns: Mapping[str, int] = {}  # stamps of the newest complete frame, by kind
        self._uncalibrated: tuple[int, dict[str, Any]] | None = None  # stamp and messages of a complete frame
        self._mailbox: deque[Bundle] = deque(maxlen=waiting_frames)
        self._closed = False
        self._changed = threading.Condition()

    @property
    def calibrated(self) -> bool:
        """Whether there is a calibration."""
        return self._camera_info is not None

    def set_camera_info(self, info: Any, stamp_ns: int | None = None) -> None:
        """Take a calibration for every frame that has none of its own: one that waits, and all that are yet to come.

        Parameters
        ----------
        info : object
            The calibration.
        stamp_ns : int, optional
            Of the image that it is of [ns].
        """
        with self._changed:
            self._camera_info = info
            if stamp_ns is not None:
                self._camera_infos[stamp_ns] = info
                if len(self._camera_infos) > self._capacity:
                    del self._camera_infos[next(iter(self._camera_infos))]
            if self._uncalibrated is not None:
                self._hand_out(*self._uncalibrated)
                self._uncalibrated = None

    def add_depth(self, stamp_ns: int, depth: Any) -> None:
        """Store a depth image.

        Parameters
        ----------
        stamp_ns : int
            Its stamp [ns].
        depth : object
            The image.
        """
        with self._changed:
            if self._newest_depth_ns is not None and stamp_ns < self._newest_depth_ns - self._jump_ns:
                self._turn_back(stamp_ns)
            self._newest_depth_ns = max(stamp_ns, self._newest_depth_ns or stamp_ns)
            for evidence in self._evidence.values():
                evidence.heard(False, stamp_ns)
            self._add("depth", stamp_ns, depth)

    def add_instances(self, stamp_ns: int, instances: Any) -> None:
        """Store the instances of an image.

        Parameters
        ----------
        stamp_ns : int
            Of the image [ns].
        instances : object
            What was found in it.
        """
        with self._changed:
            if "instances" in self._buffers:
                self._evidence["instances"].heard(True, stamp_ns)
                self._add("instances", stamp_ns, instances)
            else:
                self._offer(stamp_ns, instances)

    def add_colour(self, stamp_ns: int, colour: Any) -> None:
        """Store a colour image, where frames have one.

        Parameters
        ----------
        stamp_ns : int
            Its stamp [ns].
        colour : object
            The image.
        """
        with self._changed:
            self._evidence["colour"].heard(True, stamp_ns)
            self._add("colour", stamp_ns, colour)

    def take(self, timeout_s: float | None = None) -> Bundle | None:
        """Wait for a complete frame and take it; of several that wait, the oldest.

        Parameters
        ----------
        timeout_s : float, optional
            How long to wait; by default for ever [s].

        Returns
        -------
        Bundle or None
            None after the time-out or `close`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._mailbox, timeout_s)
            return self._mailbox.popleft() if self._mailbox and not self._closed else None

    def close(self) -> None:
        """Wake whoever waits in `take`; from now on it returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def evidence(self) -> list[StampEvidence]:
        """Tell what is known of why frames are not complete.

        Returns
        -------
        list of StampEvidence
            Of each kind that is joined with depth, as it is now.
        """
        with self._changed:
            return [evidence.copy() for evidence in self._evidence.values()]

    def __len__(self) -> int:
        """Messages that wait for their partners or the first calibration."""
        with self._changed:
            uncalibrated = 0 if self._uncalibrated is None else len(self._buffers)
            return uncalibrated + len(self._offered) + sum(len(buffer) for buffer in self._buffers.values())

    def _add(self, kind: str, stamp_ns: int, message: Any) -> None:
        buffer, completed_ns = self._buffers[kind], self._completed_ns.get(kind)
        if stamp_ns in buffer or stamp_ns == completed_ns:
            self.drops[f"{kind} twice"] += 1
        elif completed_ns is not None and completed_ns - self._jump_ns <= stamp_ns < completed_ns:
            self._drop(kind, stamp_ns)
        else:
            buffer[stamp_ns] = message
            for stamps_ns in self._joins.add(kind, stamp_ns):
                if all(stamp in self._buffers[of] for of, stamp in stamps_ns.items()):  # else older than the one before
                    self._complete(stamps_ns)
            if len(buffer) > self._capacity:
                first = next(iter(buffer))  # not the smallest stamp: leftovers of a clock that went back must go
                self._remove(kind, first)
                self._drop(kind, first)

    def _complete(self, stamps_ns: Mapping[str, int]) -> None:
        messages = {kind: self._remove(kind, stamp_ns) for kind, stamp_ns in stamps_ns.items()}
        for kind, buffer in self._buffers.items():
            for stale in [stamp for stamp in buffer if stamp < stamps_ns[kind]]:
                self._remove(kind, stale)
                self._drop(kind, stale)
        self._completed_ns = stamps_ns
        if self._camera_info is not None:
            self._hand_out(stamps_ns["depth"], messages)
            return
        if self._uncalibrated is not None:
            self.drops["frame without camera_info"] += 1
        self._uncalibrated = stamps_ns["depth"], messages

    def _hand_out(self, stamp_ns: int, messages: dict[str, Any]) -> None:
        if len(self._mailbox) == self._mailbox.maxlen:
            self.drops["frame replaced by a newer one"] += 1
        info = self._camera_infos.get(stamp_ns, self._camera_info)
        instances = messages.get("instances") if "instances" in self._buffers else self._offered_to(stamp_ns)
        self._mailbox.append(Bundle(stamp_ns, messages["depth"], info, instances, messages.get("colour")))
        self._changed.notify_all()

    def _offer(self, stamp_ns: int, instances: Any) -> None:
        """Keep instances for the frame that they belong to, or give them to the one that waits in the mailbox."""
        for i, waiting in enumerate(self._mailbox):
            if waiting.instances is None and abs(waiting.stamp_ns - stamp_ns) <= self._tolerance_ns:
                self._mailbox[i] = replace(waiting, instances=instances)
                return
        completed_ns = self._completed_ns.get("depth")
        if completed_ns is not None and completed_ns - self._jump_ns <= stamp_ns <= completed_ns - self._tolerance_ns:
            self.drops["instances after a newer frame"] += 1
            return
        self._offered[stamp_ns] = instances
        if len(self._offered) > self._capacity:
            del self._offered[next(iter(self._offered))]
            self.drops["instances without partners"] += 1

    def _offered_to(self, stamp_ns: int) -> Any:
        """The instances that belong to a frame, or None; what is older is dropped."""
        nearest = min(self._offered, key=lambda other_ns: abs(other_ns - stamp_ns), default=None)
        belongs = nearest is not None and abs(nearest - stamp_ns) <= self._tolerance_ns
        instances = self._offered.pop(nearest) if belongs else None
        for stale in [other_ns for other_ns in self._offered if other_ns < stamp_ns]:
            del self._offered[stale]
            self.drops["instances without partners"] += 1
        return instances

    def _remove(self, kind: str, stamp_ns: int) -> Any:
        self._joins.remove(kind, stamp_ns)
        return self._buffers[kind].pop(stamp_ns)

    def _drop(self, kind: str, stamp_ns: int) -> None:
        late = kind in self._completed_ns and stamp_ns < self._completed_ns[kind]
        self.drops[f"{kind} after a newer frame" if late else f"{kind} without partners"] += 1

    def _turn_back(self, now_ns: int) -> None:
        for kind, buffer in self._buffers.items():
            for later in [stamp for stamp in buffer if stamp > now_ns]:
                self._remove(kind, later)
                self.drops["clock went back"] += 1
        for later in [stamp for stamp in self._offered if stamp > now_ns + self._tolerance_ns]:
            del self._offered[later]
            self.drops["clock went back"] += 1
        self._camera_infos = {stamp: info for stamp, info in self._camera_infos.items() if stamp <= now_ns}
        self._newest_depth_ns = None
        for evidence in self._evidence.values():
            evidence.forget()
        if self._completed_ns.get("depth", now_ns) > now_ns:
            self._completed_ns = {}  # a complete frame stays in the mailbox: it was good when it came
