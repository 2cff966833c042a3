"""Which stamps of several streams belong to one image: equal ones, or the nearest within a tolerance.

Knows stamps alone; whoever has the messages asks here. Knows nothing of ROS.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Mapping

STEPS = 8  # between the late messages of a stream: the smallest tells how soon the next may come


class EqualStamps:
    """Joins what has the same stamp.

    Parameters
    ----------
    waiting : mapping of str to mapping of int
        What waits, by kind and stamp [ns]. It is looked at, and never changed.
    """

    def __init__(self, waiting: Mapping[str, Mapping[int, object]]) -> None:
        self._waiting = waiting

    def add(self, kind: str, stamp_ns: int) -> list[dict[str, int]]:
        """Take in a message, which waits from now on.

        Parameters
        ----------
        kind : str
            Of the message.
        stamp_ns : int
            Its stamp [ns].

        Returns
        -------
        list of dict of str to int
            The sets that it completes: stamps by kind [ns].
        """
        if all(stamp_ns in waiting for waiting in self._waiting.values()):
            return [dict.fromkeys(self._waiting, stamp_ns)]
        return []

    def remove(self, kind: str, stamp_ns: int) -> None:
        """Do without a message, because it was used or never will be.

        Parameters
        ----------
        kind : str
            Of the message.
        stamp_ns : int
            Its stamp [ns].
        """


class NearStamps:
    """Joins each message of the first kind with the nearest one of every other kind, one to one.

    Parameters
    ----------
    kinds : tuple of str
        The first is the one that the others are compared with.
    tolerance_ns : int
        The largest difference that is joined [ns].
    """

    def __init__(self, kinds: tuple[str, ...], tolerance_ns: int) -> None:
        self._first, *others = kinds
        self._pairs = {kind: NearestPairs(tolerance_ns) for kind in others}
        self._partners: dict[int, dict[str, int]] = {}  # by stamp of the first kind: those of the others
        self._joined: dict[str, dict[int, int]] = {kind: {} for kind in others}  # the same, looked up from the others

    def add(self, kind: str, stamp_ns: int) -> list[dict[str, int]]:
        """See `EqualStamps.add`; the oldest set comes first."""
        changed = set()
        for other in self._pairs if kind == self._first else (kind,):
            for first_ns, other_ns in self._pairs[other].add(kind == other, stamp_ns):
                self._partners.setdefault(first_ns, {})[other] = other_ns
                self._joined[other][other_ns] = first_ns
                changed.add(first_ns)
        whole = [first_ns for first_ns in sorted(changed) if len(self._partners[first_ns]) == len(self._pairs)]
        return [{self._first: first_ns, **self._partners[first_ns]} for first_ns in whole]

    def remove(self, kind: str, stamp_ns: int) -> None:
        """See `EqualStamps.remove`."""
        if kind == self._first:
            for other, other_ns in self._partners.pop(stamp_ns, {}).items():
                del self._joined[other][other_ns]
            for pairs in self._pairs.values():
                pairs.remove(False, stamp_ns)
        else:
            if (first_ns := self._joined[kind].pop(stamp_ns, None)) is not None:
                del self._partners[first_ns][kind]
            self._pairs[kind].remove(True, stamp_ns)


class NearestPairs:
    """Pairs the stamps of two streams, each with the nearest of the other within a tolerance, none twice.

    Two stamps are a pair when each is the other's nearest, of equals the earlier one. The earlier stamp of the two
    waits for the next message of its own stream where that one may lie nearer, as the steps of the stream say. With a
    tolerance below half a step nothing waits.

    Parameters
    ----------
    tolerance_ns : int
        The largest difference that is paired [ns].
    """

    def __init__(self, tolerance_ns: int) -> None:
        self._tolerance_ns = tolerance_ns
        self._waiting: tuple[list[int], list[int]] = ([], [])  # sorted
        self._last_ns: list[int | None] = [None, None]  # that came
        self._steps_ns: tuple[deque[int], deque[int]] = (deque(maxlen=STEPS), deque(maxlen=STEPS))

    def add(self, second: bool, stamp_ns: int) -> list[tuple[int, int]]:
        """Take in a stamp.

        Parameters
        ----------
        second : bool
            Whether it is of the second stream.
        stamp_ns : int
            Another one than those of its stream that wait [ns].

        Returns
        -------
        list of (int, int)
            The pairs that are found now: a stamp of the first stream and one of the second [ns].
        """
        insort(self._waiting[second], stamp_ns)
        suspects, last_ns = [(second, stamp_ns)], self._last_ns[second]
        if last_ns is not None:
            suspects.append((second, last_ns))  # looked at first: it may have waited for this one
            if stamp_ns > last_ns:
                self._steps_ns[second].append(stamp_ns - last_ns)
        self._last_ns[second] = stamp_ns
        pairs = []
        while suspects:
            pair = self._pair_of(*suspects.pop())
            if pair is not None:
                pairs.append(pair)
                suspects += [*self._take(False, pair[0]), *self._take(True, pair[1])]
        return pairs

    def remove(self, second: bool, stamp_ns: int) -> None:
        """Do without a stamp; nothing happens where it does not wait.

        Parameters
        ----------
        second : bool
            Whether it is of the second stream.
        stamp_ns : int
            The stamp [ns].
        """
        if self._waits(second, stamp_ns):
            self._take(second, stamp_ns)

    def _pair_of(self, second: bool, stamp_ns: int) -> tuple[int, int] | None:
        """The pair that a stamp makes now, if it waits and makes one."""
        partner_ns = self._nearest(not second, stamp_ns) if self._waits(second, stamp_ns) else None
        if partner_ns is None or self._nearest(second, partner_ns) != stamp_ns:
            return None
        apart_ns, of_earlier = abs(partner_ns - stamp_ns), second if stamp_ns < partner_ns else not second
        if apart_ns > self._tolerance_ns:
            return None
        nothing_later = self._last_ns[of_earlier] == min(stamp_ns, partner_ns)
        if nothing_later and min(self._steps_ns[of_earlier], default=2 * apart_ns) < 2 * apart_ns:
            return None
        return (partner_ns, stamp_ns) if second else (stamp_ns, partner_ns)

    def _nearest(self, second: bool, stamp_ns: int) -> int | None:
        stamps = self._waiting[second]
        at = bisect_left(stamps, stamp_ns)
        return min(stamps[max(at - 1, 0) : at + 1], key=lambda other_ns: abs(other_ns - stamp_ns), default=None)

    def _waits(self, second: bool, stamp_ns: int) -> bool:
        stamps = self._waiting[second]
        at = bisect_left(stamps, stamp_ns)
        return at < len(stamps) and stamps[at] == stamp_ns

    def _take(self, second: bool, stamp_ns: int) -> list[tuple[bool, int]]:
        """Those beside a stamp that goes: without it, they may have another nearest one."""
        stamps = self._waiting[second]
        at = bisect_left(stamps, stamp_ns)
        del stamps[at]
        return [(second, other_ns) for other_ns in stamps[max(at - 1, 0) : at + 1]]
