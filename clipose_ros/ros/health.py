"""What the node knows about itself: frames done and failed, the age of their results, and inputs that fell silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header


class Health:
    """Counters of one node, written by its callbacks and its worker. clock: monotonic time [s]."""

    def __init__(self, inputs: Iterable[str], silence_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.enabled = True
        self.frames = 0
        self.failures = 0
        self.ignored = 0
        self.latency_ms = float("nan")
        self.stages_ms: Mapping[str, float] = {}
        self._silence_s = silence_s
        self._clock = clock
        self._heard_s = dict.fromkeys(inputs, clock())

    def heard(self, topic: str) -> None:
        """A message came in."""
        self._heard_s[topic] = self._clock()

    def done(self, stages_ms: Mapping[str, float], latency_ms: float) -> None:
        """A frame was published, `latency_ms` after its stamp."""
        self.frames += 1
        self.stages_ms, self.latency_ms = stages_ms, latency_ms

    def failed(self) -> None:
        """A frame ended in an error."""
        self.failures += 1

    def ignore(self) -> None:
        """A frame came while the node was disabled."""
        self.ignored += 1

    def silent(self) -> list[str]:
        """Inputs that have been silent for too long."""
        now_s = self._clock()
        return [topic for topic, heard_s in self._heard_s.items() if now_s - heard_s > self._silence_s]

    def message(self, name: str, header: Header, drops: Mapping[str, int], tracking: Mapping[str, int]) -> DiagnosticArray:
        """For /diagnostics: a warning while an input is silent, else the counters alone. drops, tracking: counts by cause, by event."""
        silent = self.silent()
        level = DiagnosticStatus.WARN if silent else DiagnosticStatus.OK
        state = "running" if self.enabled else "disabled by ~/enable"
        values = {"frames": self.frames, "failures": self.failures, "ignored while disabled": self.ignored, "latency_ms": f"{self.latency_ms:.1f}"}
        values |= {f"stage {stage} ms": f"{ms:.2f}" for stage, ms in self.stages_ms.items()}
        values |= {f"dropped: {cause}": count for cause, count in sorted(drops.items())}
        values |= {f"tracking: {event}": count for event, count in sorted(tracking.items())}
        status = DiagnosticStatus(level=level, name=name, message=f"no input on {', '.join(silent)}" if silent else state)
        status.values = [KeyValue(key=key, value=str(value)) for key, value in values.items()]
        return DiagnosticArray(header=header, status=[status])
