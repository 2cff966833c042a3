"""Which instances of a frame are estimated, and by which names.

A fault of one instance costs that instance alone.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from clipose_ros.core.types import Instance
from clipose_ros.core.validation import expect

MAX_INSTANCES = 64


def refusals(instances: Sequence[Instance], maximum: int = MAX_INSTANCES, overlap: bool = False) -> dict[int, str]:
    """Say which instances are not estimated, and why.

    Masks cannot overlap in a label image. Where several instances have the same label, the one with the highest score
    keeps the mask. Of more than `maximum` instances, those with the highest scores are kept. Among equal scores, the
    first instance wins.

    Parameters
    ----------
    instances : sequence of Instance
        The instances of a frame.
    maximum : int
        The most instances that are estimated.
    overlap : bool
        Whether every instance has a mask of its own. Labels mean nothing then.

    Returns
    -------
    dict of int to str
        The reason, as `name: expected …, got …`, by the index of the instance. Instances that are estimated are not
        in it.
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


def unanswered(category: str, names: Sequence[str]) -> str:
    """Say why an instance is rejected whose category no model answers.

    Parameters
    ----------
    category : str
        As its segmenter calls it.
    names : sequence of str
        That are answered.

    Returns
    -------
    str
        The reason; with the name that is meant, where capitals or spaces alone differ.
    """
    meant = next((name for name in names if name.casefold() == category.strip().casefold()), None)
    got = category if meant is None else f"{category!r}; write {meant}"
    return f"category: expected one of {', '.join(names)}, got {got}"


def class_names(entries: Sequence[str], parameter: str) -> dict[str, str]:
    """Read which class of a segmenter is which of ours.

    Parameters
    ----------
    entries : sequence of str
        "from:to", the segmenter's name of a class and ours.
    parameter : str
        That has them, for the errors.

    Returns
    -------
    dict of str to str
        Our names by the segmenter's.

    Raises
    ------
    ValueError
        For an entry of another form, and for a class that comes twice.
    """
    names: dict[str, str] = {}
    for entry in entries:
        theirs, _, ours = (part.strip() for part in entry.rpartition(":"))
        expect(parameter, theirs != "" and ours != "", "entries of the form from:to", repr(entry))
        expect(parameter, theirs not in names, "every class once", repr(theirs))
        names[theirs] = ours
    return names


def _flaw(instance: Instance, overlap: bool) -> str:
    """Say what is wrong with the instance itself; an empty text if nothing is."""
    if not overlap and instance.label == 0:
        return "label: expected another one than that of the background, got 0"
    return "" if math.isfinite(instance.score) else f"score: expected a finite number, got {instance.score}"
