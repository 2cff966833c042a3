"""The log of a training run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any


class RunLog:
    """What a run says, on disk: a line of JSON at a time and, when asked for, TensorBoard's events from `step` on.

    Only the first process says it.
    """

    def __init__(self, folder: Path, tensorboard: bool, step: int, first: bool) -> None:
        self.file = (folder / "log.jsonl" if first else Path(os.devnull)).open("a")
        self.events = None
        if tensorboard and first:
            from tensorboardX import SummaryWriter  # here: only those who ask for it need it

            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, values: dict[str, Any]) -> None:
        self.file.write(json.dumps({"step": step} | values) + "\n")
        self.file.flush()
        if self.events is not None:
            for name, value in _flat(values):
                self.events.add_scalar(name, value, step)

    def close(self) -> None:
        self.file.close()
        if self.events is not None:
            self.events.close()


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        yield from _flat(value, f"{prefix}{name}/") if isinstance(value, dict) else [(prefix + name, value)]
