"""Where the time of a frame goes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

NS_PER_S = 1_000_000_000


class Stopwatch:
    """Takes the time of the stages of a frame.

    Attributes
    ----------
    stages_ms : dict of str to float
        Wall-clock time by stage, in the order in which the stages first ended [ms].
    """

    def __init__(self) -> None:
        self.stages_ms: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Take the time of a `with` block.

        Parameters
        ----------
        name : str
            Of the stage. The times of a stage that runs again add up.

        Yields
        ------
        None
            The block runs.
        """
        start = time.perf_counter()
        try:
            yield
        finally:
            self.stages_ms[name] = self.stages_ms.get(name, 0.0) + (time.perf_counter() - start) * 1e3
