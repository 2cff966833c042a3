"""The steps of a run: how far it goes, what it says on its way, and when it has diverged."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from types import TracebackType

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor

from clipose_ros.core.validation import expect
from training.optimisation.run_log import RunLog

MOST_UNSOUND = 50  # steps in a row without a finite gradient; a scaler of fp16 needs up to 20 to find its scale
UNSOUND = "steps whose gradient was not finite"


class Loop:
    """The steps of a run, until all of them are taken or its time is over.

    As a context it shows the progress. Iterated over, it gives the number of each step, from 0, and the share of the
    time that is over, where there is a budget; whoever takes the step says so by `took`.

    Parameters
    ----------
    steps : int
        How far the run goes.
    budget_s : float or None
        How long it may train [s].
    log_every : int
        Steps between lines of the log.
    log : RunLog
        Of the run.
    step, seconds : int, float
        Where it goes on from, and the time that it took until there [s].
    shown : bool
        Whether the progress is shown.

    Attributes
    ----------
    step : int
        Steps that are taken.
    left_out : Counter of str
        What could not be learned from, by reason.
    """

    def __init__(
        self,
        steps: int,
        budget_s: float | None,
        log_every: int,
        log: RunLog,
        step: int = 0,
        seconds: float = 0.0,
        shown: bool = True,
    ) -> None:
        self.step, self.left_out = step, Counter()
        self._steps, self._budget_s, self._log_every, self._log = steps, budget_s, log_every, log
        self._before_s, self._started = seconds, time.monotonic()
        self._spent, self._unsound = 0.0, 0
        self._terms: dict[str, list[Tensor]] = {}
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, disable=not shown)
        self._task = self._progress.add_task("training", total=steps, completed=step)

    def __enter__(self) -> Loop:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._progress.stop()

    @property
    def seconds(self) -> float:
        """The time that the run has taken so far [s]."""
        return self._before_s + time.monotonic() - self._started

    @property
    def ends(self) -> bool:
        """Whether the last step is taken."""
        return self.step >= self._steps or self._spent >= 1

    def __iter__(self) -> Iterator[tuple[int, float]]:
        while not self.ends:
            if self._budget_s is not None:
                self._spent = self.seconds / self._budget_s
            yield self.step, self._spent

    def say(self, text: str) -> None:
        """Show a line above the progress.

        Parameters
        ----------
        text : str
            Of any length.
        """
        self._progress.console.print(text, soft_wrap=True)

    def took(self, losses: Mapping[str, Tensor], sound: bool, facts: Mapping[str, float]) -> None:
        """Count a step, and write a line of the log where one is due.

        Parameters
        ----------
        losses : mapping of str to Tensor
            Scalars on the device, with "total"; NaN for what this step could not measure.
        sound : bool
            False where the gradient was not finite and the step was left out.
        facts : mapping of str to float
            What else the log should hold.

        Raises
        ------
        ValueError
            When too many steps in a row were left out: the network has diverged.
        """
        self._unsound = 0 if sound else self._unsound + 1
        if not sound:
            self.left_out[UNSOUND] += 1
            expect(
                "gradient",
                self._unsound < MOST_UNSOUND,
                "finite numbers",
                f"others in {self._unsound} steps in a row, up to step {self.step + 1}: the network has diverged; take "
                "a lower --learning-rate, in another --output",
            )
        self.step += 1
        for name, value in losses.items():
            # on the device: reading each would wait for it each time
            self._terms.setdefault(name, []).append(value.detach())
        if self.step % self._log_every == 0 or self.ends:
            means = {name: round(float(torch.stack(each).nanmean()), 4) for name, each in self._terms.items()}
            self._terms.clear()
            self._progress.update(self._task, completed=self.step, description=f"training, loss {means['total']:.3f}")
            left_out = {"skipped": dict(self.left_out)} if self.left_out else {}
            self._log.write(self.step, {"seconds": round(self.seconds)} | dict(facts) | means | left_out)
