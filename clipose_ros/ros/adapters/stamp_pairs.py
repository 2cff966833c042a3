"""Joins messages of two kinds by equal stamp. Knows nothing of ROS: any object is a message."""

from __future__ import annotations

from collections import Counter
from typing import Any


class StampPairs:
    """Buffers messages by kind and stamp, at most `capacity` of each kind, until the partner has come, in any order.

    The oldest message of a full buffer goes. What goes without its partner, and what comes twice, is counted in
    `drops`, by cause. Unlike the node's synchroniser it hands out every pair: which frames are too old is the node's to
    decide.
    """

    def __init__(self, first: str, second: str, capacity: int) -> None:
        self.drops: Counter[str] = Counter()
        self._capacity = capacity
        self._waiting: dict[str, dict[int, Any]] = {first: {}, second: {}}
        self._partner = {first: second, second: first}

    def add(self, kind: str, stamp_ns: int, message: Any) -> dict[str, Any] | None:
        """The messages of this stamp by kind, if this one completes them; else it waits."""
        partner = self._waiting[self._partner[kind]].pop(stamp_ns, None)
        if partner is not None:
            return {kind: message, self._partner[kind]: partner}
        waiting = self._waiting[kind]
        if stamp_ns in waiting:
            self.drops[f"{kind} twice"] += 1
        elif len(waiting) == self._capacity:
            del waiting[next(iter(waiting))]  # the first that came, not the smallest stamp: a clock may go back
            self.drops[f"{kind} without {self._partner[kind]}"] += 1
        waiting[stamp_ns] = message
        return None
