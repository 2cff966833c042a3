"""Calls in parallel, each on a core of its own."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


class Cores:
    """The caller's thread and other threads beside it.

    The other threads are kept off the core that the caller is on. Linux soon puts threads that wake each other on one
    core, where they wait for each other while the next core is idle: five clouds took 8 ms instead of 5.5 on two
    cores, at 30 frames a second.

    Parameters
    ----------
    count : int
        Number of threads, the caller's included.
    """

    def __init__(self, count: int) -> None:
        # This starts no thread before it is needed.
        self._others = ThreadPoolExecutor(max(count - 1, 1), thread_name_prefix="network", initializer=self._join)
        self._threads: list[int] = []
        self._allowed = os.sched_getaffinity(0)
        self._current_core = ctypes.CDLL(None).sched_getcpu  # Python's os lacks it

    def run(self, calls: Sequence[Callable[[], Result]]) -> list[Result]:
        """Make calls in parallel. The caller's thread makes the first one.

        Parameters
        ----------
        calls : sequence of callable
            At least one, without arguments.

        Returns
        -------
        list
            The results, in the order of the calls.

        Raises
        ------
        Exception
            Whatever a call raises.
        """
        if len(calls) > 1:
            self._make_room()
        running = [self._others.submit(call) for call in calls[1:]]
        return [calls[0](), *(other.result() for other in running)]

    def _make_room(self) -> None:
        """Keep the other threads off the core that the caller is on now."""
        cores = os.sched_getaffinity(0)
        allowed = cores - {self._current_core()} or cores
        if allowed != self._allowed:
            self._allowed = allowed
            for thread in self._threads:
                os.sched_setaffinity(thread, allowed)

    def _join(self) -> None:
        """Begin as another thread."""
        os.sched_setaffinity(0, self._allowed)
        self._threads.append(threading.get_native_id())
