"""Joins depth, instances and colour by stamp, and keeps the newest complete frame for one worker.

Knows nothing of ROS: any object is a message.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from clipose_ros.core.timing import NS_PER_S


@dataclass(frozen=True)
class Bundle:
    """The messages of one stamp; `camera_info` is that of the stamp, else the latest one, colour is None where it is
    not needed.

    complete_s: when the last of them came, monotonic time [s].
    """

    stamp_ns: int
    depth: Any
    camera_info: Any
    instances: Any
    colour: Any = None
    complete_s: float = field(default_factory=time.monotonic, compare=False)


class Synchroniser:
    """Buffer by stamp with a one-slot mailbox.

    Messages of one stamp may come in any order, the masks also seconds later, as long as `capacity` newer messages of
    the other kinds have not come in between. A completed frame that finds an unread one in the mailbox replaces it;
    before the first calibration, the newest one waits for that. Once a stamp is complete, what is older can only lead
    to an older frame and is dropped. Every message that ends without being handed out is counted in `drops`, by cause;
    a cause that begins with `frame` counts frames, with all their messages.

    A depth stamp that is further than `jump_ns` behind the newest is a clock that went back (a bag that starts again,
    or one stamp in the future), and what waits with later stamps is forgotten. Masks and colour of the first image
    after that may come before it, so what is so far behind waits.

    Parameters: capacity, messages kept of each kind; with_colour, a frame is complete only with its colour image;
    jump_ns [ns].
    """

    def __init__(self, capacity: int, with_colour: bool = False, jump_ns: int = NS_PER_S // 2) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: expected at least 1, got {capacity}")
        self.drops: Counter[str] = Counter()
        self._capacity = capacity
        self._jump_ns = jump_ns
        self._buffers: dict[str, dict[int, Any]] = {
            kind: {} for kind in ("depth", "instances", *(("colour",) if with_colour else ()))
        }
        self._camera_info: Any = None
        self._camera_infos: dict[int, Any] = {}
        self._newest_depth_ns: int | None = None
        self._completed_ns: int | None = None
        self._uncalibrated: tuple[int, dict[str, Any]] | None = None  # stamp and messages of a complete frame
        self._mailbox: Bundle | None = None
        self._closed = False
        self._changed = threading.Condition()

    def set_camera_info(self, info: Any, stamp_ns: int | None = None) -> None:
        """The calibration of the image of this stamp [ns], and of every frame that has none of its own: one that waits,
        and all that are yet to come.
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
        """Store a depth image [ns]."""
        with self._changed:
            if self._newest_depth_ns is not None and stamp_ns < self._newest_depth_ns - self._jump_ns:
                self._turn_back(stamp_ns)
            self._newest_depth_ns = max(stamp_ns, self._newest_depth_ns or stamp_ns)
            self._add("depth", stamp_ns, depth)

    def add_instances(self, stamp_ns: int, instances: Any) -> None:
        """Store the instances of the image of this stamp [ns]."""
        with self._changed:
            self._add("instances", stamp_ns, instances)

    def add_colour(self, stamp_ns: int, colour: Any) -> None:
        """Store a colour image [ns]."""
        with self._changed:
            self._add("colour", stamp_ns, colour)

    def take(self, timeout_s: float | None = None) -> Bundle | None:
        """Wait for the newest complete frame and take it; None after the time-out [s] or `close`."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._mailbox is not None, timeout_s)
            bundle, self._mailbox = self._mailbox, None
            return None if self._closed else bundle

    def close(self) -> None:
        """Wake whoever waits in `take`; from now on it returns None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        """Messages that wait for their partners or the first calibration."""
        with self._changed:
            uncalibrated = 0 if self._uncalibrated is None else len(self._buffers)
            return uncalibrated + sum(len(buffer) for buffer in self._buffers.values())

    def _add(self, kind: str, stamp_ns: int, message: Any) -> None:
        buffer = self._buffers[kind]
        if stamp_ns in buffer or stamp_ns == self._completed_ns:
            self.drops[f"{kind} twice"] += 1
        elif self._completed_ns is not None and self._completed_ns - self._jump_ns <= stamp_ns < self._completed_ns:
            self._drop(kind, stamp_ns)
        else:
            buffer[stamp_ns] = message
            if all(stamp_ns in other for other in self._buffers.values()):
                self._complete(stamp_ns)
            elif len(buffer) > self._capacity:
                first = next(iter(buffer))  # not the smallest stamp: leftovers of a clock that went back must go
                del buffer[first]
                self._drop(kind, first)

    def _complete(self, stamp_ns: int) -> None:
        messages = {kind: buffer.pop(stamp_ns) for kind, buffer in self._buffers.items()}
        for kind, buffer in self._buffers.items():
            for stale in [stamp for stamp in buffer if stamp < stamp_ns]:
                del buffer[stale]
                self._drop(kind, stale)
        self._completed_ns = stamp_ns
        if self._camera_info is not None:
            self._hand_out(stamp_ns, messages)
            return
        if self._uncalibrated is not None:
            self.drops["frame without camera_info"] += 1
        self._uncalibrated = stamp_ns, messages

    def _hand_out(self, stamp_ns: int, messages: dict[str, Any]) -> None:
        if self._mailbox is not None:
            self.drops["frame replaced by a newer one"] += 1
        info = self._camera_infos.get(stamp_ns, self._camera_info)
        self._mailbox = Bundle(stamp_ns, messages["depth"], info, messages["instances"], messages.get("colour"))
        self._changed.notify_all()

    def _drop(self, kind: str, stamp_ns: int) -> None:
        late = self._completed_ns is not None and stamp_ns < self._completed_ns
        self.drops[f"{kind} after a newer frame" if late else f"{kind} without partners"] += 1

    def _turn_back(self, now_ns: int) -> None:
        for buffer in self._buffers.values():
            for later in [stamp for stamp in buffer if stamp > now_ns]:
                del buffer[later]
                self.drops["clock went back"] += 1
        self._camera_infos = {stamp: info for stamp, info in self._camera_infos.items() if stamp <= now_ns}
        self._newest_depth_ns = None
        if self._completed_ns is not None and self._completed_ns > now_ns:
            self._completed_ns = None  # a complete frame stays in the mailbox: it was good when it came
