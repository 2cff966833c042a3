"""Joins messages of two kinds by stamp. Knows nothing of ROS: any object is a message."""

from __future__ import annotations

from collections import Counter
from typing import Any

from clipose_ros.joining.stamp_evidence import StampEvidence
from clipose_ros.joining.stamp_joins import EqualStamps, NearStamps


class StampPairs:
    """Buffers messages by kind and stamp until the partner has come, in any order.

    Partners have equal stamps, or with a tolerance the nearest ones, one to one. The oldest message of a full buffer
    goes. Unlike the node's synchroniser it hands out every pair: which frames are too old is the node's to decide.

    Parameters
    ----------
    first, second : str
        The kinds.
    capacity : int
        Messages of each kind that wait at most.
    tolerance_ns : int
        The largest difference between partners; 0: equal stamps [ns].

    Attributes
    ----------
    drops : Counter
        What went without its partner, and what came twice, by cause.
    evidence : StampEvidence
        Why partners never meet.
    """

    def __init__(self, first: str, second: str, capacity: int, tolerance_ns: int = 0) -> None:
        self.drops: Counter[str] = Counter()
        self.evidence = StampEvidence(first, second, capacity, tolerance_ns)
        self._second = second
        self._capacity = capacity
        self._waiting: dict[str, dict[int, Any]] = {first: {}, second: {}}
        self._partner = {first: second, second: first}
        self._joins = NearStamps((first, second), tolerance_ns) if tolerance_ns else EqualStamps(self._waiting)
        self._near = tolerance_ns > 0
        self._last_ns: dict[str, int] = {}  # of the last pair, by kind

    def add(self, kind: str, stamp_ns: int, message: Any) -> list[dict[str, Any]]:
        """Take in a message.

        Parameters
        ----------
        kind : str
            One of the two.
        stamp_ns : int
            Of the message [ns].
        message : object
            Takes the place of one with the same stamp that waits.

        Returns
        -------
        list of dict of str to object
            The pairs that it completes, by kind; else it waits.
        """
        self.evidence.heard(kind == self._second, stamp_ns)
        waiting = self._waiting[kind]
        if self._near and stamp_ns == self._last_ns.get(kind):  # it would be given another partner
            self.drops[f"{kind} twice"] += 1
            return []
        if stamp_ns in waiting:
            self.drops[f"{kind} twice"] += 1
            waiting[stamp_ns] = message
            return []
        waiting[stamp_ns] = message
        pairs = [self._take(stamps_ns) for stamps_ns in self._joins.add(kind, stamp_ns)]
        if len(waiting) > self._capacity:
            oldest = next(iter(waiting))  # the first that came, not the smallest stamp: a clock may go back
            self._joins.remove(kind, oldest)
            del waiting[oldest]
            self.drops[f"{kind} without {self._partner[kind]}"] += 1
        return pairs

    def _take(self, stamps_ns: dict[str, int]) -> dict[str, Any]:
        self._last_ns = stamps_ns
        for kind, stamp_ns in stamps_ns.items():
            self._joins.remove(kind, stamp_ns)
        return {kind: self._waiting[kind].pop(stamp_ns) for kind, stamp_ns in stamps_ns.items()}
