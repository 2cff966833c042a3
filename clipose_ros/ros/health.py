"""What the node knows about itself: rates in and out, latencies, frames that failed and why, inputs that fell silent or
that cannot be heard.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

WINDOW_S = 5.0  # of rates, percentiles and the judgement whether every frame fails
MOST_CAUSES = 64  # that are told apart; the others are counted together
LONGEST_ERROR = 200  # characters: parts of an error may come from a message, of any length


def reason_of(error: Exception) -> str:
    """What an error says; one that we did not raise ourselves says its type, too."""
    return (
        str(error)
        if isinstance(error, ValueError) and str(error)
        else f"{type(error).__name__}: {error}".removesuffix(": ")
    )


class Window:
    """The values of the last `WINDOW_S`. clock: monotonic time [s]."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._begin_s = clock()
        self._entries: deque[tuple[float, float]] = deque()

    def add(self, value: float = 0.0) -> None:
        """A value of now."""
        self._entries.append((self._clock(), value))
        self._forget()

    def values(self) -> list[float]:
        """What came within the window, oldest first."""
        self._forget()
        return [value for _, value in self._entries]

    def rate_hz(self) -> float:
        """Values a second; at first, of the time since the beginning."""
        elapsed_s = min(WINDOW_S, self._clock() - self._begin_s)
        return len(self.values()) / elapsed_s if elapsed_s > 0 else 0.0

    def _forget(self) -> None:
        while self._entries and self._entries[0][0] <= self._clock() - WINDOW_S:
            self._entries.popleft()


class Health:
    """Counters of one node, written by its callbacks and its worker, from any thread.

    Parameters: inputs, topics; silence_s, an input is silent after so long without a message, and the node stale after
    so long without a frame [s]; facts, what does not change as long as the node runs, by name; clock, monotonic time
    [s].
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
        self._silence_s = silence_s
        self._facts = dict(facts or {})
        self._clock = clock
        self._lock = threading.Lock()
        self._heard = {topic: Window(clock) for topic in inputs}
        self._heard_s = dict.fromkeys(self._heard, clock())
        self._frame_s = clock()
        self._latencies_ms, self._failed = Window(clock), Window(clock)
        self._newest: tuple[float, float] | None = None  # time, latency
        self._last_error: tuple[float, str] | None = None
        self._incompatible: dict[str, tuple[int, str]] = {}
        self._causes: Counter[str] = Counter()

    def heard(self, topic: str) -> None:
        """A message came in."""
        with self._lock:
            self._heard[topic].add()
            self._heard_s[topic] = self._clock()

    def done(self, stages_ms: Mapping[str, float], latency_ms: float) -> None:
        """A frame was published, `latency_ms` after its stamp."""
        with self._lock:
            self.frames += 1
            self.stages_ms = stages_ms
            self._latencies_ms.add(latency_ms)
            self._frame_s, self._newest = self._clock(), (self._clock(), latency_ms)

    def failed(self, error: Exception) -> None:
        """A frame ended in an error."""
        with self._lock:
            self.failures += 1
            self._failed.add()
            reason = reason_of(error)
            self._frame_s, self._last_error = self._clock(), (self._clock(), reason[:LONGEST_ERROR])
            self._count("failed", reason, 1)

    def count(self, kind: str, reason: str, times: int = 1) -> None:
        """What costs less than a frame: something was rejected, refused, lost or warned of.

        Reasons that differ only in what was got are one cause.
        """
        with self._lock:
            self._count(kind, reason, times)

    def ignore(self) -> None:
        """A frame came while the node was disabled."""
        with self._lock:
            self.ignored += 1
            self._frame_s = self._clock()

    def incompatible(self, topic: str, count: int, policy: str) -> None:
        """So many publishers of a topic cannot be heard; `policy` is what one of them differs in."""
        with self._lock:
            self._incompatible.pop(topic, None)
            if count:
                self._incompatible[topic] = (count, policy)

    def silent(self) -> list[str]:
        """Inputs that have been silent for too long."""
        with self._lock:
            return self._silent()

    def message(
        self, name: str, header: Header, drops: Mapping[str, int], tracking: Mapping[str, int], waiting: int
    ) -> DiagnosticArray:
        """For /diagnostics. drops, tracking: counts by cause, by event; waiting: messages whose partners have not come."""
        with self._lock:
            (level, text), values = self._judgement(), self._values()
        values |= {"messages waiting": waiting}
        values |= {f"dropped: {cause}": count for cause, count in sorted(drops.items())}
        values |= {f"tracking: {event}": count for event, count in sorted(tracking.items())}
        status = DiagnosticStatus(
            level=level, name=name, message=text, hardware_id=str(self._facts.get("provider", ""))
        )
        status.values = [KeyValue(key=key, value=str(value)) for key, value in (values | self._facts).items()]
        return DiagnosticArray(header=header, status=[status])

    def _count(self, kind: str, reason: str, times: int) -> None:
        cause = f"{kind}: {reason.partition(', got ')[0][:LONGEST_ERROR]}"
        known = cause in self._causes or len(self._causes) < MOST_CAUSES
        self._causes[cause if known else f"{kind}: other causes"] += times

    def _silent(self) -> list[str]:
        now_s = self._clock()
        return [topic for topic, heard_s in self._heard_s.items() if now_s - heard_s > self._silence_s]

    def _judgement(self) -> tuple[bytes, str]:
        """Level of a DiagnosticStatus, and why. What makes all else meaningless comes first."""
        if not self.enabled:
            return DiagnosticStatus.OK, "disabled by ~/enable"
        if self._failed.values() and not self._latencies_ms.values():
            return DiagnosticStatus.ERROR, f"every frame fails: {self._last_error[1]}"
        if silent := self._silent():
            return DiagnosticStatus.WARN, f"no input on {', '.join(map(self._with_reason, silent))}"
        if self._clock() - self._frame_s > self._silence_s:
            return (
                DiagnosticStatus.STALE,
                f"every input is heard, but no frame was complete for {self._silence_s:g} s: are their stamps equal?",
            )
        return DiagnosticStatus.OK, "running" if self.frames else "waiting for the first frame"

    def _with_reason(self, topic: str) -> str:
        return f"{topic} (incompatible {self._incompatible[topic][1]})" if topic in self._incompatible else topic

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
        values |= {f"stage {stage} ms": f"{ms:.2f}" for stage, ms in self.stages_ms.items()}
        values |= {
            f"incompatible: {topic}": f"{count}, {policy}"
            for topic, (count, policy) in sorted(self._incompatible.items())
        }
        values |= dict(sorted(self._causes.items()))
        if self._last_error:
            values |= {"last error": self._last_error[1], "last error s ago": f"{now_s - self._last_error[0]:.1f}"}
        return values
