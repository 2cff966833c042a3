"""Learning rates by the number of a step."""

from __future__ import annotations

import math
from typing import Protocol


class Scheduled(Protocol):
    """What the schedule of a run follows from.

    Attributes
    ----------
    steps : int
        How far the run goes.
    warm_up : int
        Steps until the full rate; half of a triangle.
    flat : float
        Share of the steps at full rate, before it falls along a cosine.
    final : float
        Share of the rate that is left in the end.
    learning_rate : float
        At full rate.
    """

    steps: int
    warm_up: int
    flat: float
    final: float
    learning_rate: float


def cosine(step: int, run: Scheduled, spent: float = 0.0) -> float:
    """Warm up linearly, stay flat, and fall along a cosine to the final share.

    Parameters
    ----------
    step : int
        From 0.
    run : Scheduled
        The schedule.
    spent : float
        Share of the time that is over, where there is a budget: it counts where more of that is over than of the steps.

    Returns
    -------
    float
        Of this step.
    """
    if step < run.warm_up:
        return run.learning_rate * (step + 1) / run.warm_up
    flat_until = max(run.warm_up, run.flat * run.steps)
    done = min(1.0, max(0.0, (max(step, spent * run.steps) - flat_until) / max(1.0, run.steps - flat_until)))
    return run.learning_rate * (run.final + (1 - run.final) * 0.5 * (1 + math.cos(math.pi * done)))


def triangles(step: int, run: Scheduled, halved: bool) -> float:
    """Rise for as many steps as the warm-up has, fall for as many, and again.

    Parameters
    ----------
    step : int
        From 0.
    run : Scheduled
        The schedule.
    halved : bool
        Whether each triangle is half as high as the one before.

    Returns
    -------
    float
        Of this step.
    """
    cycle, place = divmod(step, 2 * run.warm_up)
    height = (1 - abs(place / run.warm_up - 1)) * (0.5**cycle if halved else 1)
    return run.learning_rate * (run.final + (1 - run.final) * height)
