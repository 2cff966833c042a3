"""Why the messages of two streams never meet, told from the stamps that came: in one sentence, with the cure.

Callbacks note a stamp, which costs next to nothing; whoever asks pays for the answer. Knows nothing of ROS.
"""

from __future__ import annotations

import math
from array import array
from dataclasses import dataclass

import numpy as np

from clipose_ros.core.timing import NS_PER_S

MOST_BUFFERED = 1000  # that buffer_size may keep: images of 640x480 are 0.6 GB
REMEMBERED = 2048  # stamps of each stream at least: a minute at 30 Hz
RECENT = 30  # that are judged
LEAST = 3  # of fewer, no time between them is told
OTHER_CLOCK_NS = NS_PER_S  # further apart, stamps are of two clocks, not of two images of one camera
SPARE = 1.25  # of a buffer_size that is advised, beside what was seen
CLEARLY_NEAREST = 1 / 3  # of a step: the next nearest is twice as far away
TOLERANCE_SPARE = 1.5  # likewise of a tolerance


class Stream:
    """What came of one kind, in order of arrival; of the oldest nothing is remembered.

    Attributes
    ----------
    count : int
        How many came.
    """

    def __init__(self) -> None:
        self.count = 0
        self._stamps_ns = array("q")
        self._others = array("q")

    def add(self, stamp_ns: int, others: int) -> None:
        """Note a message.

        Parameters
        ----------
        stamp_ns : int
            Its stamp [ns].
        others : int
            How many of the other stream had come by then.
        """
        self.count += 1
        self._stamps_ns.append(stamp_ns)
        self._others.append(others)
        if len(self._stamps_ns) == 2 * REMEMBERED:
            del self._stamps_ns[:REMEMBERED], self._others[:REMEMBERED]

    def copy(self) -> Stream:
        """Give what came so far.

        Returns
        -------
        Stream
            Does not change when more comes.
        """
        copy = Stream()
        copy.count, copy._stamps_ns, copy._others = self.count, self._stamps_ns[:], self._others[:]
        return copy

    def arrays(self) -> tuple[np.ndarray, np.ndarray, int]:
        """Give what is remembered.

        Returns
        -------
        stamps_ns : (N,) int64
            In order of arrival [ns].
        others : (N,) int64
            How many of the other stream had come before each.
        first : int
            How many of this stream came before the first of these.
        """
        stamps_ns, others = np.array(self._stamps_ns, dtype=np.int64), np.array(self._others, dtype=np.int64)
        return stamps_ns, others, self.count - len(stamps_ns)


@dataclass(frozen=True)
class StampComparison:
    """The newest stamps of one stream beside the nearest ones of another.

    Parameters
    ----------
    apart_ns : (N,) int64
        How far away the nearest is [ns].
    late_ns : (N,) int64
        How much newer than it the other stream was when the message came; negative where it came later [ns].
    passed : (N,) int64
        How many of the other stream had come after it by then.
    """

    apart_ns: np.ndarray
    late_ns: np.ndarray
    passed: np.ndarray

    def share_late(self, capacity: int, tolerance_ns: int) -> float:
        """Tell how many came when their partner had been given up.

        Parameters
        ----------
        capacity : int
            Messages of each kind that wait.
        tolerance_ns : int
            The largest difference that is joined [ns].

        Returns
        -------
        float
            Share of all, 0..1.
        """
        given_up = (self.passed >= capacity) & (self.late_ns > 0)
        return float(np.mean((self.apart_ns <= tolerance_ns) & given_up))


class StampEvidence:
    """What came of two kinds that are joined by stamp.

    Parameters
    ----------
    first, second : str
        The kinds, as a user knows them.
    capacity : int
        Messages of each kind that wait, `buffer_size`.
    tolerance_ns : int
        The largest difference that is joined, `max_stamp_difference_s` [ns].
    """

    def __init__(self, first: str, second: str, capacity: int, tolerance_ns: int = 0) -> None:
        self._names = first, second
        self._capacity = capacity
        self._tolerance_ns = tolerance_ns
        self.forget()

    def forget(self) -> None:
        """Begin anew: the clock went back."""
        self._streams = Stream(), Stream()

    def copy(self) -> StampEvidence:
        """Give what is known so far.

        Returns
        -------
        StampEvidence
            Does not change when more comes, so that another thread may ask it.
        """
        copy = StampEvidence(*self._names, self._capacity, self._tolerance_ns)
        copy._streams = tuple(stream.copy() for stream in self._streams)
        return copy

    def heard(self, second: bool, stamp_ns: int) -> None:
        """Note a message.

        Parameters
        ----------
        second : bool
            Whether it is of the second kind.
        stamp_ns : int
            Its stamp [ns].
        """
        self._streams[second].add(stamp_ns, self._streams[not second].count)

    def values(self) -> dict[str, str]:
        """Say how late the second kind comes, for diagnostics.

        Returns
        -------
        dict of str to str
            Empty as long as nothing can be compared.
        """
        first, second = self._names
        compared = self._compare(True)
        if compared is None:
            return {}
        late_ms, apart_ms = np.median(compared.late_ns) / 1e6, np.median(compared.apart_ns) / 1e6
        return {f"{second} after {first} ms": f"{late_ms:.0f}", f"{second} apart from {first} ms": f"{apart_ms:.3f}"}

    def explain(self) -> str:
        """Say why nothing, or next to nothing, meets.

        Returns
        -------
        str
            Empty where their stamps are no reason.
        """
        return self._explain_constant() or self.explain_late() or self._explain_unequal()

    def explain_late(self) -> str:
        """Say that one kind comes when the other one has been given up, if half of it does.

        Returns
        -------
        str
            Empty where it is not so.
        """
        for second, late, early in ((True, *reversed(self._names)), (False, *self._names)):
            compared = self._compare(second)
            if compared is None or compared.share_late(self._capacity, self._tolerance_ns) < 0.5:
                continue
            kept_ns = np.sort(self._streams[not second].arrays()[0])[-self._capacity :]
            needed = math.ceil(SPARE * compared.passed.max() / 10) * 10
            too_much = f"{needed} would be needed, {MOST_BUFFERED} is the most: a quicker source of {late} is needed"
            return (
                f"{late} arrive {np.median(compared.late_ns) / NS_PER_S:.2f} s after {early} of their stamp (median); "
                f"buffer_size {self._capacity} keeps {early} for {(kept_ns[-1] - kept_ns[0]) / NS_PER_S:.2f} s: "
                + (f"set buffer_size to {needed}" if needed <= MOST_BUFFERED else too_much)
            )
        return ""

    def _explain_constant(self) -> str:
        for name, stream in zip(self._names, self._streams):
            stamps_ns = stream.arrays()[0][-RECENT:]
            if len(stamps_ns) >= LEAST and (stamps_ns == stamps_ns[0]).all():
                return (
                    f"{name} have one stamp again and again, {stamps_ns[0] / NS_PER_S:.3f} s: "
                    "let their publisher stamp each with the time of its image"
                )
        return ""

    def _explain_unequal(self) -> str:
        first, second = self._names
        stamps_ns, others_ns = self._streams[True].arrays()[0], np.sort(self._streams[False].arrays()[0])
        if not len(stamps_ns) or len(others_ns) < LEAST:
            return ""
        compared = self._compare(True)
        own = f"stamp {second} with the stamp of the image that they are of"
        if compared is None or np.median(compared.apart_ns) > OTHER_CLOCK_NS:
            ahead_s = (stamps_ns[-1] - others_ns[-1]) / NS_PER_S
            return f"{second} are stamped {abs(ahead_s):.2f} s {'after' if ahead_s > 0 else 'before'} {first}: {own}"
        if np.mean(compared.apart_ns <= self._tolerance_ns) >= 0.5:
            return ""
        step_ns = float(np.median(np.diff(others_ns)))
        apart = (
            f"{second} and {first} differ in their stamps, the nearest by {np.median(compared.apart_ns) / 1e6:.3g} ms"
        )
        advised_s = sufficient_tolerance_s(float(compared.apart_ns.max()) / NS_PER_S, step_ns / NS_PER_S)
        if advised_s is None:
            return f"{apart} (median), too much for {first} every {step_ns / 1e6:.3g} ms: {own}"
        return f"{apart} (median): set max_stamp_difference_s to {advised_s:g}, or {own}"

    def _compare(self, second: bool) -> StampComparison | None:
        """The newest messages of one kind with the other; None where those times were not heard of both."""
        stamps_ns, others, _ = self._streams[second].arrays()
        arrived_ns, _, forgotten = self._streams[not second].arrays()
        if len(arrived_ns) < LEAST:
            return None
        order = np.argsort(arrived_ns, kind="stable")
        other_ns = arrived_ns[order]
        half_step_ns = int(np.median(np.diff(other_ns))) // 2
        comparable = (stamps_ns >= other_ns[0] - half_step_ns) & (stamps_ns <= other_ns[-1] + half_step_ns)
        comparable &= others > forgotten  # else nothing is known of when it came
        newest = comparable & (np.arange(len(stamps_ns)) >= len(stamps_ns) - RECENT)
        if not newest.any():  # the other stream lags behind, or has another clock
            newest = comparable & (stamps_ns >= other_ns[-RECENT:][0] - half_step_ns)
        stamps_ns, others = stamps_ns[newest][-RECENT:], others[newest][-RECENT:]
        if not len(stamps_ns):
            return None
        after = np.searchsorted(other_ns, stamps_ns).clip(1, len(other_ns) - 1)
        nearest = after - (stamps_ns - other_ns[after - 1] <= other_ns[after] - stamps_ns)
        return StampComparison(
            apart_ns=np.abs(other_ns[nearest] - stamps_ns),
            late_ns=arrived_ns[others - forgotten - 1] - other_ns[nearest],
            passed=others - forgotten - 1 - order[nearest],
        )


def sufficient_tolerance_s(apart_s: float, step_s: float) -> float | None:
    """Give a `max_stamp_difference_s` that joins stamps so far apart.

    Parameters
    ----------
    apart_s : float
        The largest difference that must be joined [s].
    step_s : float
        Time between the images [s].

    Returns
    -------
    float or None
        Of one digit where that is less than half a step, so that no message has two partners. None where they are so
        far apart that the nearest may be another image's [s].
    """
    if not 0 < apart_s < step_s * CLEARLY_NEAREST:
        return None
    unit = 10.0 ** math.floor(math.log10(TOLERANCE_SPARE * apart_s))
    rounded_s = math.ceil(TOLERANCE_SPARE * apart_s / unit - 1e-9) * unit
    return float(f"{rounded_s:.1g}") if rounded_s < step_s / 2 else float(f"{(apart_s + step_s / 2) / 2:.3g}")
