"""The log of a training run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RunLog:
    """The log of a run on disk: a line of JSON at a time.

    When asked for, TensorBoard's events are written, too. Only the first process writes.

    Parameters
    ----------
    folder : Path
        Of the run.
    tensorboard : bool
        Whether to write events, too.
    step : int
        The run goes on from here: later events are forgotten.
    first : bool
        Whether this is the first process.
    """

    def __init__(self, folder: Path, tensorboard: bool, step: int, first: bool) -> None:
        self.file = (folder / "log.jsonl" if first else Path(os.devnull)).open("a")
        self.events = None
        if tensorboard and first:
            from tensorboardX import SummaryWriter  # here: only those who ask for it need it

            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        """Write a line.

        Parameters
        ----------
        step : int
            After which it holds.
        values : dict
            Numbers, strings and dicts of them.
        """
        self.file.write(json.dumps({"step": step} | values) + "\n")
        self.file.flush()
        if self.events is not None:
            for name, value in _flat(values):
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        """Close the files."""
        self.file.close()
        if self.events is not None:
            self.events.close()


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        yield from _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else [(prefix + name, value)]
