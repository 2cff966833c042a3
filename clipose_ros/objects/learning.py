"""A learned object from reference views: fused discs, closed where no view looked, with symmetry and quality."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.spatial import cKDTree

from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView, ReferenceViews
from clipose_ros.inference.image_tokens import ImageTokens
from clipose_ros.objects.found_masks import FoundMasks
from clipose_ros.objects.hull import close_unseen, tight_box
from clipose_ros.objects.learned_object import LearnedObject, check_name
from clipose_ros.objects.mask_fit import reach_masks
from clipose_ros.objects.object_tokens import learn_tokens
from clipose_ros.objects.silhouettes import carve, check_bounded, hull_excess_m
from clipose_ros.objects.surface_tables import object_gaussians
from clipose_ros.objects.surfels import Surfels, fuse
from clipose_ros.rendering.gaussians import Rasterizer

HELD_BACK = 6  # every so manieth view is held back, to measure the quality
LEAST_FOR_QUALITY = 8  # views
GOOD_PSNR_DB = 20.0  # genuine and drawn references have 25 to 31; with poses that are off by 5 to 20 mm 16 to 19
WELL_SEEN = 0.35  # of the surface: a dozen views all around show 0.45, six from one side 0.3
LARGE_EXCESS = 0.1  # of the diagonal, by which a hull may be too large to a side
PICTURE_PX = 160
SHOWN = 4
OUTLINE = (0.1, 1.0, 0.1)  # of masks that were found, RGB
GOOD_AGREEMENT = 0.93  # of masks that were found
SAME_COLOUR = 0.06  # mean difference of two sides that look the same, RGB 0..1
SAME_SHAPE = 0.7  # mean distance of two sides that have one shape, by the spacing of the discs
TURNS_DEG = (40.0, 90.0, 155.0)  # an object that looks the same after each of these is round


@dataclass(frozen=True)
class Lesson:
    """What was learned.

    Parameters
    ----------
    learned : LearnedObject
        The object.
    picture : (H, W, 3) uint8
        Views above, renders below, RGB.
    """

    learned: LearnedObject
    picture: np.ndarray


def doubts(quality: Mapping[str, float]) -> list[str]:
    """Say what the quality of a learned object casts doubt on.

    Parameters
    ----------
    quality : mapping of str to float
        As a learned object has it.

    Returns
    -------
    list of str
        A sentence for each; none for what looks well.
    """
    found = []
    if quality.get("psnr_db", math.inf) < GOOD_PSNR_DB:
        found.append(
            f"quality: expected at least {GOOD_PSNR_DB:g} dB between renders and the views held back, got "
            f"{quality['psnr_db']:g}: do the poses contradict each other, or are intrinsics, scale or masks wrong?"
        )
    if quality.get("seen_share", 1.0) < WELL_SEEN:
        found.append(
            f"views: expected to show at least {WELL_SEEN:.0%} of the surface, got {quality['seen_share']:.0%}: seen "
            "from elsewhere, the object may be taken for turned; add views from its other sides"
        )
    if quality.get("mask_agreement", 1.0) < GOOD_AGREEMENT:
        found.append(
            f"masks: expected found masks that agree by {GOOD_AGREEMENT:.0%} or more, got "
            f"{quality['mask_agreement']:.0%}: look at their outlines in the picture, and give NNNN_mask.png where "
            "they are wrong"
        )
    if quality.get("hull_excess_share", 0.0) > LARGE_EXCESS:
        found.append(
            f"views: expected outlines from all sides, got a hull of {quality['views']:g} views that may be too large "
            f"by up to {quality['hull_excess_mm']:g} mm to a side ({quality['hull_excess_share']:.0%} of its diagonal):"
            " add views from other sides, low ones too, or NNNN_depth.png"
        )
    elif "hull_excess_share" in quality and quality["views"] < LEAST_FOR_QUALITY:
        found.append(
            f"views: expected at least {LEAST_FOR_QUALITY} without depth, got {quality['views']:g}: the hull may be "
            f"too large by up to {quality['hull_excess_mm']:g} mm to a side"
        )
    return found


def learn(
    name: str,
    references: ReferenceViews,
    rasterizer: Rasterizer,
    progress: Callable[[str], None] = lambda step: None,
    backbone: ImageTokens | None = None,
    masks: FoundMasks | None = None,
) -> Lesson:
    """Learn an object.

    Parameters
    ----------
    name : str
        Of the object.
    references : ReferenceViews
        Views from all sides that matter; all with depth, or none: then the object is what their masks leave.
    rasterizer : Rasterizer
        Draws the object, to measure its quality.
    progress : callable
        Is told each step.
    backbone : ImageTokens, optional
        Makes the tokens, to find the object without depth; without one it has none.
    masks : FoundMasks, optional
        What is known of the views' masks, where these were found: it is kept, and the picture shows their outlines.

    Returns
    -------
    Lesson
        The object and a picture of it.

    Raises
    ------
    ValueError
        If the name is none, some views have no depth and others have, or they show hardly anything.
    """
    check_name(name)
    views, intrinsics = references.views, references.intrinsics
    blind = [view.name for view in views if view.depth_m is None]
    expect(
        "references",
        len(blind) in (0, len(views)),
        "NNNN_depth.png for each view, or for none (then the object is carved from its masks)",
        f"none for {len(blind)} of {len(views)}: {', '.join(blind[:5])}{', …' if len(blind) > 5 else ''}",
    )
    quality: dict[str, float] = {"views": len(views)} | (masks.quality() if masks else {})
    if blind:
        progress("no depth: carving the object from its masks")
    if len(views) >= LEAST_FOR_QUALITY:
        progress("quality on views held back")
        held = views[HELD_BACK // 2 :: HELD_BACK]
        others = [view for view in views if all(view is not one for one in held)]
        trial = _object(name, replace(references, views=tuple(others)), {}, rasterizer)
        ratios = [psnr(trial, view, intrinsics, rasterizer) for view in held]
        quality |= {"psnr_db": round(float(np.median(ratios)), 1), "worst_psnr_db": round(float(min(ratios)), 1)}
    progress("surface")
    learned = _object(name, references, quality, rasterizer, progress)
    if backbone is not None:
        progress("tokens")
        learned = replace(learned, tokens=learn_tokens(views, backbone))
    progress("picture")
    return Lesson(learned, _picture(learned, views, intrinsics, rasterizer, masks))


def _object(
    name: str,
    references: ReferenceViews,
    quality: dict[str, float],
    rasterizer: Rasterizer,
    progress: Callable[[str], None] = lambda step: None,
) -> LearnedObject:
    views, intrinsics = references.views, references.intrinsics
    if all(view.depth_m is None for view in views):
        surfels = carve(references, progress=progress)
        excess_m = hull_excess_m(surfels, views)
        check_bounded(surfels, excess_m)
        diagonal_m = float(np.linalg.norm(np.ptp(surfels.points, axis=0)))
        quality = quality | {
            "hull_excess_mm": round(1000 * excess_m, 1),
            "hull_excess_share": round(excess_m / diagonal_m, 3),
        }
    else:
        surfels = close_unseen(fuse(views, intrinsics), views, intrinsics)
    surfels = reach_masks(surfels, views, intrinsics, rasterizer)
    low, high = tight_box(surfels)
    centre = (low + high) / 2
    symmetry, half_turns = own_symmetry(surfels, centre)
    return LearnedObject(
        name,
        (surfels.points - centre).astype(np.float32),
        surfels.normals.astype(np.float32),
        surfels.colours.astype(np.float32),
        surfels.seen,
        surfels.spacing_m,
        high - low,
        centre,
        symmetry,
        half_turns,
        {**quality, "seen_share": round(float(surfels.seen.mean()), 3)},
    )


def own_symmetry(surfels: Surfels, centre: np.ndarray) -> tuple[Symmetry, tuple[str, ...]]:
    """Find the turns that leave an object looking the same, by shape and colour.

    Parameters
    ----------
    surfels : Surfels
        The object.
    centre : (3,) float
        What it turns about [m].

    Returns
    -------
    Symmetry
        Y where it is round about y.
    tuple of str
        The axes about which half a turn leaves it the same.
    """
    points, tree = surfels.points - centre, cKDTree(surfels.points - centre)

    def same(axis: int, degrees: float) -> bool:
        turn = cv2.Rodrigues(np.radians(degrees) * np.eye(3)[axis])[0]
        distance, near = tree.query(points @ turn.T)
        known = surfels.seen & surfels.seen[near]
        if known.mean() < 0.3 or distance.mean() > SAME_SHAPE * surfels.spacing_m:
            return False
        return float(np.abs(surfels.colours[near] - surfels.colours)[known].mean()) < SAME_COLOUR

    round_about_y = all(same(1, degrees) for degrees in TURNS_DEG)
    return (
        Symmetry.Y if round_about_y else Symmetry.NONE,
        tuple(name for axis, name in enumerate("xyz") if same(axis, 180.0)),
    )


def psnr(learned: LearnedObject, view: ReferenceView, intrinsics: Intrinsics, rasterizer: Rasterizer) -> float:
    """Compare a render with a view, after a gain for each channel.

    Parameters
    ----------
    learned : LearnedObject
        The object.
    view : ReferenceView
        What it should look like.
    intrinsics : Intrinsics
        Of the view.
    rasterizer : Rasterizer
        Draws the object.

    Returns
    -------
    float
        Peak signal-to-noise ratio of the pixels in the mask [dB].
    """
    colour, mask, drawn, alpha = _crops(learned, view, intrinsics, rasterizer, 96)
    inside = (mask > 0.5) & (alpha > 0.5) & (drawn[..., 3] > 0.5)
    if not inside.any():
        return 0.0
    seen, made = colour[inside], drawn[..., :3][inside] / alpha[inside][:, None]
    gain = (seen * made).sum(axis=0) / np.maximum((made * made).sum(axis=0), 1e-9)
    error = float(((np.clip(made * gain, 0, 1) - seen) ** 2).mean())
    return 10 * np.log10(1 / max(error, 1e-9))


def _crops(
    learned: LearnedObject, view: ReferenceView, intrinsics: Intrinsics, rasterizer: Rasterizer, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A view's colour and mask, and a render's features and alpha, in a square around the object."""
    centre = view.rotation @ learned.centre + view.translation
    scale = side / (1.2 * learned.diagonal_m * intrinsics.fx / centre[2])
    u = intrinsics.fx * centre[0] / centre[2] + intrinsics.cx
    v = intrinsics.fy * centre[1] / centre[2] + intrinsics.cy
    half = (side - 1) / 2
    crop = Intrinsics(
        intrinsics.fx * scale,
        intrinsics.fy * scale,
        (intrinsics.cx - u) * scale + half,
        (intrinsics.cy - v) * scale + half,
    )
    warp = np.array([[1 / scale, 0, u - half / scale], [0, 1 / scale, v - half / scale]])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    colour = view.colour.astype(np.float32) / 255
    if scale < 0.8:
        colour = cv2.GaussianBlur(colour, (0, 0), 0.45 / scale)
    colour = cv2.warpAffine(colour, warp, (side, side), flags=flags)
    mask = cv2.warpAffine(view.mask.astype(np.float32), warp, (side, side), flags=flags)
    drawn = rasterizer.render(object_gaussians(learned), view.rotation, centre, crop, (side, side))
    return colour, mask, drawn.image, drawn.alpha


def _picture(
    learned: LearnedObject,
    views: Sequence[ReferenceView],
    intrinsics: Intrinsics,
    rasterizer: Rasterizer,
    masks: FoundMasks | None,
) -> np.ndarray:
    """Views above renders; where masks were found, more of them, the most doubtful first, with outlines."""
    if masks is None:
        chosen = [views[i] for i in np.unique(np.linspace(0, len(views) - 1, SHOWN).astype(int))]
    else:
        doubtful = np.argsort(masks.covered, kind="stable")[:SHOWN]
        others = np.linspace(0, len(views) - 1, 2 * SHOWN).astype(int)
        chosen = [views[i] for i in dict.fromkeys([*doubtful, *others])][: 2 * SHOWN]
    pairs = []
    for view in chosen:
        colour, mask, drawn, _ = _crops(learned, view, intrinsics, rasterizer, PICTURE_PX)
        if masks is not None:
            outlines, _ = cv2.findContours((mask > 0.5).astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
            colour = cv2.drawContours(np.ascontiguousarray(colour), outlines, -1, OUTLINE, 1)
        pairs.append(np.concatenate([colour, np.clip(drawn[..., :3], 0, 1)]))
    return (np.concatenate(pairs, axis=1) * 255).astype(np.uint8)
