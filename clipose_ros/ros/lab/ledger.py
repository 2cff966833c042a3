"""What was sent to the pose node, what must come of it, and what came: every image is accounted for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clipose_ros.core.timing import NS_PER_S
from clipose_ros.ros.lab.shots import Answer, Case
from clipose_ros.ros.topics import DEPTH, INSTANCES

GOOD = "none"  # the fault of a good image
REPLACED = "dropped: frame replaced by a newer one"
LOST = "lost on the way: "
# Counters that the ledger checks. The tracker's depend on what happened to come before.
CHECKED = ("frames", "failures", "failed: ", "rejected: ", "refused: ", "warned: ", "dropped: ")


@dataclass(frozen=True)
class Account:
    """What became of all images of a run.

    Parameters
    ----------
    sent, answered : mapping of str to int
        Images that must be answered, and those that were, by fault.
    wrong : sequence of str
        Answers with other numbers of poses or rejections than expected, or to images that must not be answered.
    replaced : int
        Complete frames that gave way to a newer one.
    lost : int
        Messages that a full queue gave up for newer ones.
    missed : int
        Images that must be answered and neither were nor gave way.
    unaccounted : mapping of str to int
        What /diagnostics count too much or too little, by counter.
    """

    sent: Mapping[str, int]
    answered: Mapping[str, int]
    wrong: Sequence[str]
    replaced: int
    lost: int
    missed: int
    unaccounted: Mapping[str, int]

    @property
    def closed(self) -> bool:
        """Whether everything is accounted for. A lost message may change one answer and leave its partner alone."""
        return (
            self.missed == 0
            and len(self.wrong) <= self.lost
            and sum(map(abs, self.unaccounted.values())) <= 3 * self.lost
        )


class Ledger:
    """What was sent and what must come of it, and what came."""

    def __init__(self) -> None:
        self.latencies_ms: list[tuple[float, float]] = []  # time of sending [s], until answered; good images only
        self._expected: dict[int, tuple[str, Answer]] = {}
        self._counted: Counter[str] = Counter()
        self._got: dict[int, tuple[int, int]] = {}
        self._sent_ns: dict[int, int] = {}
        self._injected: Counter[str] = Counter()

    def enter(self, fault: str, case: Case) -> None:
        """Enter what is about to be sent.

        Parameters
        ----------
        fault : str
            Its name; GOOD for none.
        case : Case
            What is sent, and what must come of it.
        """
        self._injected[fault] += 1
        self._counted.update(case.counted)
        self._expected |= {stamp: (fault, answer) for stamp, answer in case.answers.items()}

    def sent(self, stamp: int, time_ns: int) -> None:
        """Enter that the last message of an image is being sent.

        Parameters
        ----------
        stamp : int
            Of the image [ns].
        time_ns : int
            Now.
        """
        self._sent_ns[stamp] = time_ns

    def answer(self, stamp: int, poses: int, rejections: int, time_ns: int) -> None:
        """Enter what the node published.

        Parameters
        ----------
        stamp : int
            Of the image that it answers [ns].
        poses, rejections : int
            How many the answer has.
        time_ns : int
            When it was published.
        """
        self._got[stamp] = (poses, rejections)
        if self._expected.get(stamp, ("", None))[0] == GOOD and stamp in self._sent_ns:
            self.latencies_ms.append((self._sent_ns[stamp] / NS_PER_S, (time_ns - self._sent_ns[stamp]) / 1e6))

    @property
    def answers(self) -> int:
        """Number of the images that were answered."""
        return len(self._got)

    def answered(self, stamp: int) -> bool:
        """Tell whether the node published something for an image.

        Parameters
        ----------
        stamp : int
            Of the image [ns].

        Returns
        -------
        bool
            Whatever it was.
        """
        return stamp in self._got

    def close(self, counters: Mapping[str, int]) -> Account:
        """Compare what came with what was expected.

        Parameters
        ----------
        counters : mapping of str to int
            Of the node's /diagnostics, since the run began.

        Returns
        -------
        Account
            Of everything that was entered.
        """
        answered = self._expected.keys() & self._got.keys()
        wrong = [
            f"{self._expected[s][0]}: {self._numbers(s)}, got {self._got[s]}"
            for s in sorted(answered)
            if self._numbers(s) != self._got[s]
        ]
        wrong += [
            f"expected no answer, got {self._got[stamp]}" for stamp in sorted(self._got.keys() - self._expected.keys())
        ]
        expected = self._counted + sum((Counter(self._expected[stamp][1].counted) for stamp in answered), Counter())
        replaced = counters.get(REPLACED, 0)
        lost = Counter({key: number for key, number in counters.items() if key.startswith(LOST)})
        return Account(
            sent=Counter(fault for fault, _ in self._expected.values()),
            answered=Counter(self._expected[stamp][0] for stamp in answered),
            wrong=wrong,
            replaced=replaced,
            lost=lost.total(),
            missed=max(0, len(self._expected) - len(answered) - replaced - lost[LOST + DEPTH] - lost[LOST + INSTANCES]),
            unaccounted=difference(counters, expected),
        )

    @property
    def injected(self) -> dict[str, int]:
        """Number of times that each fault was sent."""
        return {fault: number for fault, number in sorted(self._injected.items()) if fault != GOOD}

    def _numbers(self, stamp: int) -> tuple[int, int]:
        answer = self._expected[stamp][1]
        return answer.poses, answer.rejections


def difference(counters: Mapping[str, int], expected: Mapping[str, int]) -> dict[str, int]:
    """Compare counters with what they should be.

    Drops of single messages are one number: which cause it is depends on who is quicker, the message or the next one.

    Parameters
    ----------
    counters, expected : mapping of str to int
        Numbers by counter.

    Returns
    -------
    dict of str to int
        Counted minus expected, of the counters that are checked and differ.
    """

    def checked(numbers: Mapping[str, int]) -> Counter[str]:
        merged: Counter[str] = Counter()
        for key, number in numbers.items():
            if key.startswith(CHECKED) and key != REPLACED:
                merged["dropped: messages" if key.startswith("dropped: ") else key] += number
        return merged

    got, wanted = checked(counters), checked(expected)
    return {key: got[key] - wanted[key] for key in sorted(got.keys() | wanted.keys()) if got[key] != wanted[key]}
