"""Which instances of a frame are estimated at all. What is wrong with one of them costs that one only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipose_ros.core.types import Instance

MAX_INSTANCES = 64


def refusals(instances: Sequence[Instance], maximum: int = MAX_INSTANCES) -> dict[int, str]:
    """Why instances are not estimated, by their index, as `name: expected …, got …`; an instance that is estimated is
    not in it.

    Masks cannot overlap in a label image: of instances with the same label the one with the highest score has the mask,
    and of more than `maximum` those with the highest scores are kept; the first of equal ones.
    """
    refused = {i: reason for i, instance in enumerate(instances) if (reason := _flaw(instance))}
    labels: set[int] = set()
    for i in sorted(set(range(len(instances))) - refused.keys(), key=lambda i: (-instances[i].score, i)):
        if instances[i].label in labels:
            refused[i] = (
                f"label: expected one instance for each, got {instances[i].label} again, where another scored as high or higher"
            )
        elif len(labels) == maximum:
            refused[i] = (
                f"instances: expected at most {maximum}, got {len(instances)}, where {maximum} others scored as high or higher"
            )
        else:
            labels.add(instances[i].label)
    return refused


def _flaw(instance: Instance) -> str:
    """What is wrong with the instance itself; empty where nothing is."""
    if instance.label == 0:
        return "label: expected another one than that of the background, got 0"
    return "" if math.isfinite(instance.score) else f"score: expected a finite number, got {instance.score}"
