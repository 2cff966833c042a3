"""Which instances of a frame are estimated at all. What is wrong with one of them costs that one only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipose_ros.core.types import Instance

MAX_INSTANCES = 64


def refusals(instances: Sequence[Instance], maximum: int = MAX_INSTANCES, overlap: bool = False) -> dict[int, str]:
    """Say which instances are not estimated.

    Masks cannot overlap in a label image: of instances with the same label the one with the highest score has the
    mask. Of more than `maximum` instances those with the highest scores are kept; the first of equal ones.

    Parameters
    ----------
    instances : sequence of Instance
        Of a frame.
    maximum : int
        So many instances are estimated.
    overlap : bool
        Every instance has a mask of its own; labels say nothing.

    Returns
    -------
    dict of int to str
        By index of the instance the reason, as `name: expected …, got …`. An instance that is estimated is not in it.
    """
    refused = {i: reason for i, instance in enumerate(instances) if (reason := _flaw(instance, overlap))}
    taken: set[int] = set()
    for i in sorted(set(range(len(instances))) - refused.keys(), key=lambda i: (-instances[i].score, i)):
        mask = i if overlap else instances[i].label
        if mask in taken:
            refused[i] = (
                f"label: expected one instance for each, got {mask} again, where another scored as high or higher"
            )
        elif len(taken) == maximum:
            others = f"{maximum} others scored as high or higher"
            refused[i] = f"instances: expected at most {maximum}, got {len(instances)}, where {others}"
        else:
            taken.add(mask)
    return refused


def _flaw(instance: Instance, overlap: bool) -> str:
    """What is wrong with the instance itself; empty where nothing is."""
    if not overlap and instance.label == 0:
        return "label: expected another one than that of the background, got 0"
    return "" if math.isfinite(instance.score) else f"score: expected a finite number, got {instance.score}"
