"""What a process holds of memory, and whether it grows."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import theilslopes

WARM_UP_S = 60.0  # and at most a third of the run
MOST_SAMPLES = 600  # of the memory, for a fit that compares all pairs


@dataclass(frozen=True)
class Memory:
    """Memory of a process, by what it holds and not by what of it lies in RAM: other processes move that.

    Parameters
    ----------
    time_s : float
        When it was looked at, of a steady clock [s].
    own : float
        What is its alone, in RAM or swapped out [MB].
    shared : float
        Size of the segments that it has mapped: through them, DDS hands it images [MB]. Which of their pages it has
        touched by now is a matter of which images were lost.
    files : float
        Size of the files that it has mapped: libraries, for the most part [MB].
    """

    time_s: float
    own: float
    shared: float
    files: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Look at a process that runs, now.

        Parameters
        ----------
        pid : int
            Its number.

        Returns
        -------
        Memory
            Of Linux's /proc.
        """
        folder, time_s = Path("/proc") / str(pid), time.monotonic()
        own = anonymous_bytes((folder / "status").read_text(encoding="utf-8"))
        shared, files = mapped_bytes((folder / "maps").read_text(encoding="utf-8", errors="replace"))
        return cls(time_s, own / 1e6, shared / 1e6, files / 1e6)

    @property
    def held(self) -> float:
        """All of it [MB]."""
        return self.own + self.shared + self.files


def anonymous_bytes(status: str) -> int:
    """Add up the memory that is a process's alone.

    Parameters
    ----------
    status : str
        Content of /proc/PID/status.

    Returns
    -------
    int
        In RAM and swapped out [bytes].
    """
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(values[key].split()[0]) * 1024 for key in ("RssAnon", "VmSwap"))


def mapped_bytes(maps: str) -> tuple[int, int]:
    """Add up what a process has mapped.

    Parameters
    ----------
    maps : str
        Content of /proc/PID/maps.

    Returns
    -------
    shared, files : int
        Segments that others may write to, too, and private mappings of files [bytes].
    """
    shared = files = 0
    for line in maps.splitlines():
        span, permissions, _, _, inode, *_ = line.split(maxsplit=5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if permissions.endswith("s"):
            shared += end - begin
        elif inode != "0":
            files += end - begin
    return shared, files


def growth_mb(samples: Sequence[tuple[float, float]]) -> float:
    """Measure how much memory grew after the warm-up. Peaks do not count.

    Parameters
    ----------
    samples : sequence of (float, float)
        Time [s] and memory [MB].

    Returns
    -------
    float
        The larger of the median of all slopes, for leaks, and of the difference between the medians of so long a time
        after the warm-up and before the end, for steps [MB]. 0 where nothing follows the warm-up.
    """
    times, values = np.array(samples).T
    warm_up = warm_up_s(times[-1] - times[0])
    warm, last = times >= times[0] + warm_up, times >= times[-1] - warm_up
    first = warm & (times <= times[0] + 2 * warm_up)
    if warm.sum() < 2:
        return 0.0
    every = max(1, math.ceil(warm.sum() / MOST_SAMPLES))
    leak = theilslopes(values[warm][::every], times[warm][::every]).slope * np.ptp(times[warm])
    return float(max(leak, np.median(values[last]) - np.median(values[first])))


def warm_up_s(duration_s: float) -> float:
    """Tell how much of a run fills buffers that are kept.

    Parameters
    ----------
    duration_s : float
        Of the run [s].

    Returns
    -------
    float
        A third of it at most [s].
    """
    return min(WARM_UP_S, duration_s / 3)


def memory_by_minute(memory: Sequence[Memory]) -> list[dict[str, float]]:
    """Tell memory by minute.

    Parameters
    ----------
    memory : sequence of Memory
        In the order of time.

    Returns
    -------
    list of dict
        own_mb and shared_mb at the end of each minute that has begun.
    """
    last = {int((sample.time_s - memory[0].time_s) // 60): sample for sample in memory}
    return [{"own_mb": round(sample.own, 1), "shared_mb": round(sample.shared, 1)} for sample in last.values()]
