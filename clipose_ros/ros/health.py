"""What the node knows about itself: rates, latencies, failures and their causes, and why it says nothing."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from clipose_ros.ros.silence import DISABLED, UNKNOWN

WINDOW_S = 5.0  # of rates, percentiles and the judgement whether every frame fails
MOST_CAUSES = 64  # that are told apart; the others are counted together
LONGEST_ERROR = 200  # characters: parts of an error may come from a message, of any length

# What may be wrong beside silent inputs, by the names under which `Health.note` takes the reasons.
STALLED, LATE, CLOCK = "stalled", "late", "clock"


@dataclass(frozen=True)
class State:
    """What a node is in.

    Parameters
    ----------
    name : str
        disabled, failing, silent, busy, stalled, late, clock, running or waiting.
    level : bytes
        Of a DiagnosticStatus.
    text : str
        One sentence.
    """

    name: str
    level: bytes
    text: str


def reason_of(error: Exception) -> str:
    """Say what went wrong.

    Parameters
    ----------
    error : Exception
        One that we did not raise ourselves says its type, too.

    Returns
    -------
    str
        Never empty.
    """
    return (
        str(error)
        if isinstance(error, ValueError) and str(error)
        else f"{type(error).__name__}: {error}".removesuffix(": ")
    )


class Window:
    """The values of the last `WINDOW_S`.

    Parameters
    ----------
    clock : callable
        Monotonic time [s].
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin_s = clock()
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, value: float = 0.0) -> None:
        """Take a value of now.

        Parameters
        ----------
        value : float
            Of any unit.
        """
        self._entries.append((self._clock(), value))
        self._forget()

    def values(self) -> list[float]:
        """Give what came within the window.

        Returns
        -------
        list of float
            Oldest first.
        """
        self._forget()
        return [value for _, value in self._entries]

    def rate_hz(self) -> float:
        """Give the rate of the values.

        Returns
        -------
        float
            Values a second; at first, of the time since the beginning.
        """
        elapsed_s = min(WINDOW_S, self._clock() - self._begin_s)
        return len(self.values()) / elapsed_s if elapsed_s > 0 else 0.0

    def _forget(self) -> None:
        while self._entries and self._entries[0][0] <= self._clock() - WINDOW_S:
            self._entries.popleft()


class Health:
    """Counters of one node, written by its callbacks and its worker, from any thread.

    Parameters
    ----------
    inputs : iterable of str
        Topics.
    silence_s : float
        An input is silent after so long without a message, and the node stalled after so long without a frame [s].
    facts : mapping, optional
        What does not change as long as the node runs, by name.
    clock : callable
        Monotonic time [s].

    Attributes
    ----------
    enabled : bool
        Whether frames are estimated.
    frames, failures, ignored : int
        How many were estimated, failed, or came while the node was disabled.
    stages_ms : mapping of str to float
        Of the newest frame [ms].
    """

    def __init__(
        self,
        inputs: Iterable[str],
        silence_s: float,
        facts: Mapping[str, object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.enabled = True
        self.frames = 0
        self.failures = 0
        self.ignored = 0
        self.stages_ms: Mapping[str, float] = {}
        self._of_newest: Mapping[str, str] = {}
        self._silence_s = silence_s
        self._facts = dict(facts or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._heard = {topic: Window(clock) for topic in inputs}
        self._heard_s = dict.fromkeys(self._heard, clock())
        self._held: set[str] = set()
        self._frame_s = clock()
        self._begun_s: float | None = None  # the frame that the worker is at
        self._latencies_ms, self._failed = Window(clock), Window(clock)
        self._newest: tuple[float, float] | None = None  # time, latency
        self._last_error: tuple[float, str] | None = None
        self._incompatible: dict[str, tuple[int, str]] = {}
        self._reasons: dict[str, str] = {}
        self._causes: Counter[str] = Counter()

    def heard(self, topic: str) -> None:
        """Note that a message came in.

        Parameters
        ----------
        topic : str
            One of the inputs.
        """
        with self._lock:
            self._heard[topic].add()
            self._heard_s[topic] = self._clock()

    def hold(self, topic: str) -> None:
        """Note that what came on a topic holds until something else comes: from now on, silence is nothing wrong.

        Parameters
        ----------
        topic : str
            One of the inputs.
        """
        with self._lock:
            self._held.add(topic)

    def know(self, facts: Mapping[str, object]) -> None:
        """Take other facts instead of those that were given at the start.

        Parameters
        ----------
        facts : mapping of str to object
            What does not change until the next ones.
        """
        self._facts = dict(facts)

    def begun(self) -> None:
        """Note that the worker takes up a frame."""
        with self._lock:
            self._begun_s = self._clock()

    def done(self, stages_ms: Mapping[str, float], latency_ms: float, facts: Mapping[str, str] | None = None) -> None:
        """Note that a frame was published.

        Parameters
        ----------
        stages_ms : mapping of str to float
            What took how long [ms].
        latency_ms : float
            Since its stamp [ms].
        facts : mapping of str to str, optional
            What else is to be said of it.
        """
        with self._lock:
            self.frames += 1
            self.stages_ms, self._of_newest = stages_ms, facts or {}
            self._latencies_ms.add(latency_ms)
            self._frame_s, self._newest = self._clock(), (self._clock(), latency_ms)
            self._begun_s = None

    def failed(self, error: Exception) -> None:
        """Note that a frame ended in an error.

        Parameters
        ----------
        error : Exception
            The error.
        """
        with self._lock:
            self.failures += 1
            self._failed.add()
            reason = reason_of(error)
            self._frame_s, self._last_error = self._clock(), (self._clock(), reason[:LONGEST_ERROR])
            self._begun_s = None
            self._count("failed", reason, 1)

    def count(self, kind: str, reason: str, times: int = 1) -> None:
        """Count what costs less than a frame.

        Parameters
        ----------
        kind : str
            What became of it: rejected, refused, lost or warned of.
        reason : str
            Why. Reasons that differ only in what was got are one cause.
        times : int
            How often.
        """
        with self._lock:
            self._count(kind, reason, times)

    def ignore(self) -> None:
        """Note that a frame came while the node was disabled."""
        with self._lock:
            self.ignored += 1
            self._frame_s = self._clock()

    def incompatible(self, topic: str, count: int, policy: str) -> None:
        """Note how many publishers of a topic cannot be heard.

        Parameters
        ----------
        topic : str
            One of the inputs.
        count : int
            Of now.
        policy : str
            What one of them differs in.
        """
        with self._lock:
            self._incompatible.pop(topic, None)
            if count:
                self._incompatible[topic] = (count, policy)

    def note(self, what: str, reason: str) -> None:
        """Note why an input is silent, or what else is wrong.

        Parameters
        ----------
        what : str
            One of the inputs, STALLED (why no frame is complete, said when none is), LATE or CLOCK.
        reason : str
            Empty where it is over.
        """
        with self._lock:
            self._reasons[what] = reason

    def silent(self) -> list[str]:
        """List the inputs that have been silent for too long.

        Returns
        -------
        list of str
            Topics; without those whose last message holds.
        """
        with self._lock:
            return self._silent()

    def state(self) -> State:
        """Judge how the node is. What makes all else meaningless comes first.

        Returns
        -------
        State
            The worst that is true.
        """
        with self._lock:
            return self._state()

    def message(
        self,
        name: str,
        header: Header,
        drops: Mapping[str, int],
        tracking: Mapping[str, int],
        waiting: int,
        more: Mapping[str, object] | None = None,
    ) -> DiagnosticArray:
        """Make the message for /diagnostics.

        Parameters
        ----------
        name : str
            Of the node.
        header : Header
            Of the message.
        drops : mapping of str to int
            Messages that were dropped, by cause.
        tracking : mapping of str to int
            What happened to tracks, by event.
        waiting : int
            Messages whose partners have not come.
        more : mapping, optional
            Further values by name.

        Returns
        -------
        DiagnosticArray
            With one status.
        """
        with self._lock:
            state, values = self._state(), self._values()
        values |= {"messages waiting": waiting} | dict(more or {})
        values |= {f"dropped: {cause}": count for cause, count in sorted(drops.items())}
        values |= {f"tracking: {event}": count for event, count in sorted(tracking.items())}
        status = DiagnosticStatus(
            level=state.level, name=name, message=state.text, hardware_id=str(self._facts.get("provider", ""))
        )
        status.values = [KeyValue(key=key, value=str(value)) for key, value in (values | self._facts).items()]
        return DiagnosticArray(header=header, status=[status])

    def _count(self, kind: str, reason: str, times: int) -> None:
        cause = f"{kind}: {reason.partition(', got ')[0][:LONGEST_ERROR]}"
        known = cause in self._causes or len(self._causes) < MOST_CAUSES
        self._causes[cause if known else f"{kind}: other causes"] += times

    def _silent(self) -> list[str]:
        now_s = self._clock()
        return [
            topic
            for topic, heard_s in self._heard_s.items()
            if now_s - heard_s > self._silence_s and topic not in self._held
        ]

    def _state(self) -> State:
        ok, warn, stale = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.STALE
        now_s, reasons = self._clock(), self._reasons
        if not self.enabled:
            return State("disabled", ok, DISABLED)
        if self._failed.values() and not self._latencies_ms.values():
            return State("failing", DiagnosticStatus.ERROR, f"every frame fails: {self._last_error[1]}")
        if silent := self._silent():
            return State("silent", warn, f"no input on {', '.join(map(self._with_reason, silent))}")
        if self._begun_s is not None and now_s - self._begun_s > self._silence_s:
            return State("busy", stale, f"one frame has been worked on for {now_s - self._begun_s:.0f} s")
        if now_s - self._frame_s > self._silence_s:
            text = f"every input is heard, but no frame was complete for {self._silence_s:g} s"
            return State(STALLED, stale, f"{text}: {reasons.get(STALLED) or UNKNOWN}")
        for name in (LATE, CLOCK):
            if reasons.get(name):
                return State(name, warn, reasons[name])
        return State("running", ok, "running") if self.frames else State("waiting", ok, "waiting for the first frame")

    def _with_reason(self, topic: str) -> str:
        incompatible = f"incompatible {self._incompatible[topic][1]}" if topic in self._incompatible else ""
        reason = self._reasons.get(topic) or incompatible
        return f"{topic} ({reason})" if reason else topic

    def _values(self) -> dict[str, object]:
        now_s, latencies_ms = self._clock(), self._latencies_ms.values()
        values: dict[str, object] = {
            "frames": self.frames,
            "failures": self.failures,
            "ignored while disabled": self.ignored,
        }
        values |= {f"input Hz: {topic}": f"{window.rate_hz():.1f}" for topic, window in self._heard.items()}
        values |= {"output Hz": f"{self._latencies_ms.rate_hz():.1f}"}
        if self._newest:
            values |= {"latency_ms": f"{self._newest[1]:.1f}", "newest result s ago": f"{now_s - self._newest[0]:.1f}"}
        if latencies_ms:
            values |= {f"latency_ms p{q}": f"{np.percentile(latencies_ms, q):.1f}" for q in (50, 95)}
        values |= self._of_newest
        values |= {f"stage {stage} ms": f"{ms:.2f}" for stage, ms in self.stages_ms.items()}
        values |= {
            f"incompatible: {topic}": f"{count}, {policy}"
            for topic, (count, policy) in sorted(self._incompatible.items())
        }
        values |= dict(sorted(self._causes.items()))
        if self._last_error:
            values |= {"last error": self._last_error[1], "last error s ago": f"{now_s - self._last_error[0]:.1f}"}
        return values
