"""Masks of reference views that have none: found by depth or by colour, and not believed before they agree."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import numpy as np

from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import LEAST_MASK_PX, LEAST_VIEWS, ReferenceViews
from clipose_ros.objects.masks_by_colour import masks_by_colour
from clipose_ros.objects.masks_by_depth import masks_by_depth
from clipose_ros.objects.meeting_place import Floor, agreement, meeting_place
from clipose_ros.objects.outline_cut import cut_outline, outline_told

LEAST_COVERED = 0.85  # of a mask, that the others' hull holds: true masks have 0.97 and more
LEAST_OVERLAP = 0.75  # median of masks by colour with it: true ones have 0.9 and more from 8 views on
VIEWS_FOR_OVERLAP = 8
LEAST_TOLD, TOLD_OF_LARGER = 0.85, 0.9  # of outlines, where colours change
SHADOWS = (1.0, 0.4)  # what is darker counts so much
LEAST_ALIKE = 0.85  # of masks of both kinds
MOST_LEFT_OUT = 0.125  # share of the views whose masks may be left out
AT_BORDER, MOST_AT_BORDER = 0.1, 0.5  # of a mask's outline on the image's border, and of the views with such a mask
NAMED = 8
HELP = (
    "give NNNN_mask.png (255 on the object) for each view, take the pictures before a plain background of another "
    "colour, with the whole object in the middle of each, or add NNNN_depth.png"
)


@dataclass(frozen=True)
class FoundMasks:
    """Views with masks that were found, and how far these agree.

    Parameters
    ----------
    references : ReferenceViews
        The views, all with masks.
    found : tuple of str
        Views whose masks were found.
    left_out : mapping of str to str
        Views whose masks are not believed, and why.
    by : str
        What they were found by: depth or colour.
    overlap : tuple of float
        Of each view: intersection over union of its mask and the outline of what all other masks leave, 0..1.
    covered : tuple of float
        Of each view: share of its mask in that outline, 0..1.
    """

    references: ReferenceViews
    found: tuple[str, ...]
    left_out: Mapping[str, str]
    by: str
    overlap: tuple[float, ...]
    covered: tuple[float, ...]

    def summary(self) -> str:
        """Say what was found, for people.

        Returns
        -------
        str
            One sentence; all views that are left out are named.
        """
        worst = int(np.argmin(self.covered))
        text = (
            f"masks of {len(self.found)} views found by {self.by}: {np.median(self.covered):.0%} of each is what the "
            f"others say (median; {self.covered[worst]:.0%} of {self.references.views[worst].name}), overlap "
            f"{np.median(self.overlap):.0%}"
        )
        if self.left_out:
            text += "; left out: " + "; ".join(f"{name} ({reason})" for name, reason in self.left_out.items())
        return text

    def quality(self) -> dict[str, float]:
        """Give what a learned object's card says of its masks.

        Returns
        -------
        dict of str to float
            How many were found, and how far they agree.
        """
        return {
            "masks_found": len(self.found),
            "mask_agreement": round(float(np.median(self.covered)), 3),
            "worst_mask_agreement": round(min(self.covered), 3),
        }


def find_masks(references: ReferenceViews, blank: Collection[str]) -> FoundMasks:
    """Find the masks of views that have none.

    Parameters
    ----------
    references : ReferenceViews
        All views, with depth or without it; a `floor_y_m` bounds what masks by colour may show.
    blank : collection of str
        Names of the views whose masks are to be found; those of the others are kept.

    Returns
    -------
    FoundMasks
        The views with masks.

    Raises
    ------
    ValueError
        If there is depth for some views only, nothing is found, or what is found does not agree: with the views.
    """
    views = references.views
    deep = [view.depth_m is not None for view in views]
    expect(
        "references",
        all(deep) or not any(deep),
        "NNNN_depth.png for each view without a mask, or for none",
        f"it for {sum(deep)} of {len(views)}, and no masks of {_named(sorted(blank))}",
    )
    floor = None if references.floor_y_m is None else Floor(np.array([0.0, 1, 0]), references.floor_y_m)
    by = "depth" if all(deep) else "colour"
    try:
        found = _by_depth(references, blank) if all(deep) else _by_colour(references, blank, floor)
    except ValueError as error:
        raise ValueError(f"no masks of {_named(sorted(blank))}, and none found by {by}: {error}") from error
    kept = tuple(replace(views[i], mask=found.masks[i]) for i in found.chosen)
    return FoundMasks(
        replace(references, views=kept),
        tuple(view.name for view in kept if view.name in blank),
        found.doubts,
        by,
        tuple(map(float, found.overlap)),
        tuple(map(float, found.covered)),
    )


@dataclass(frozen=True)
class _Judged:
    """Masks of all views, what is doubted of them by name, the views that are not doubted, and how far these agree."""

    masks: list[np.ndarray]
    doubts: dict[str, str]
    chosen: list[int]
    overlap: np.ndarray
    covered: np.ndarray


def _by_depth(references: ReferenceViews, blank: Collection[str]) -> _Judged:
    views, intrinsics = references.views, references.intrinsics
    made, floor = masks_by_depth(views, intrinsics, meeting_place(views))
    return _judged(references, blank, [cut_outline(view.colour, mask) for view, mask in zip(views, made)], floor)


def _by_colour(references: ReferenceViews, blank: Collection[str], floor: Floor | None) -> _Judged:
    """Masks by colour: those that take what is dark for the object and those that take it for shadow must agree, or
    one must hold the other."""
    views, intrinsics = references.views, references.intrinsics
    place = meeting_place(views)
    known = [None if view.name in blank else view.mask for view in views]
    both = []
    for shadow in SHADOWS:
        judged = _judged(references, blank, masks_by_colour(views, intrinsics, place, known, floor, shadow), floor)
        if len(judged.chosen) >= VIEWS_FOR_OVERLAP:
            expect(
                "masks",
                np.median(judged.overlap) >= LEAST_OVERLAP,
                f"them to overlap by {LEAST_OVERLAP:.0%} with what the others leave (median)",
                f"{np.median(judged.overlap):.0%}, the least in {_worst(views, judged.chosen, judged.overlap)}; {HELP}",
            )
        told = np.array([outline_told(views[i].colour, judged.masks[i], floor is None) for i in judged.chosen])
        expect(
            "masks",
            np.median(told) >= LEAST_TOLD,
            f"outlines where colours change, along {LEAST_TOLD:.0%} of them (median)",
            f"{np.median(told):.0%}, the least in {_worst(views, judged.chosen, told)}; {HELP}",
        )
        both.append((judged, float(np.median(told))))
    (one, told_of_one), (other, told_of_other) = both
    common = [np.count_nonzero(a & b) for a, b in zip(one.masks, other.masks)]
    areas = [[np.count_nonzero(mask) for mask in judged.masks] for judged in (one, other)]
    alike = np.median([c / max(1, a + b - c) for c, a, b in zip(common, *areas)])
    if alike >= LEAST_ALIKE:
        return one if told_of_one > told_of_other else other
    within = np.median([c / max(1, min(a, b)) for c, a, b in zip(common, *areas)])
    larger, told = (one, told_of_one) if sum(areas[0]) > sum(areas[1]) else (other, told_of_other)
    expect(
        "masks",
        within >= LEAST_ALIKE and told >= TOLD_OF_LARGER,
        "the same masks with and without what may be shadow",
        f"others: they overlap by {alike:.0%}; {HELP}",
    )
    return larger


def _judged(references: ReferenceViews, blank: Collection[str], made: list[np.ndarray], floor: Floor | None) -> _Judged:
    """Compare masks with each other, and refuse them where more than a few are doubted."""
    views, intrinsics = references.views, references.intrinsics
    masks = [mask if view.name in blank else view.mask for view, mask in zip(views, made)]
    _check_whole(references, masks)
    overlap, covered = agreement(views, masks, intrinsics, floor)
    doubts = {}
    for view, mask, share in zip(views, masks, covered):
        count = np.count_nonzero(mask)
        if count < LEAST_MASK_PX:
            doubts[view.name] = f"{count} pixels found"
        elif share < LEAST_COVERED:
            doubts[view.name] = f"others say {share:.0%} of it"
    few = len(doubts) <= MOST_LEFT_OUT * len(views) and len(views) - len(doubts) >= LEAST_VIEWS
    expect(
        "masks",
        few and all(name in blank for name in doubts),
        "masks that agree from view to view",
        f"{len(doubts)} of {len(views)} that do not: "
        f"{_named([f'{name} ({reason})' for name, reason in doubts.items()])}; {HELP}",
    )
    chosen = [i for i, view in enumerate(views) if view.name not in doubts]
    if doubts:
        overlap, covered = agreement([views[i] for i in chosen], [masks[i] for i in chosen], intrinsics, floor)
    return _Judged(masks, doubts, chosen, overlap, covered)


def _check_whole(references: ReferenceViews, masks: list[np.ndarray]) -> None:
    """Refuse objects that go on beyond the images."""
    cut = []
    for view, mask in zip(references.views, masks):
        edge = sum(np.count_nonzero(side) for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        around = 2 * (np.ptp(np.nonzero(mask)[0]) + np.ptp(np.nonzero(mask)[1])) if mask.any() else 1
        if edge > AT_BORDER * around:
            cut.append(view.name)
    expect(
        "masks",
        len(cut) <= MOST_AT_BORDER * len(masks),
        "the whole object in the images, and something of what is around it",
        f"something that the image's border cuts off in {len(cut)} of {len(masks)} views: {_named(cut)}; step back, or "
        "give NNNN_mask.png",
    )


def _worst(views, chosen: list[int], values: np.ndarray) -> str:
    order = np.argsort(values)[:3]
    return ", ".join(f"{views[chosen[k]].name} ({values[k]:.0%})" for k in order)


def _named(names: list[str]) -> str:
    return ", ".join(names[:NAMED]) + (f", … ({len(names)})" if len(names) > NAMED else "")
