"""Masks of views with poses and colour alone: what is unlike the surroundings, in all views at one place.

Each view says of each pixel how unlike the colours of its surroundings it is, which are what is far from the place that
all cameras look at. The votes of all views meet in voxels; what hangs together around that place is the start. It is
drawn into each view, where its outline is cut by colours (GrabCut); what these masks leave is drawn again, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from scipy import ndimage

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.floor_picture import unlike_floor
from clipose_ros.objects.meeting_place import Floor, MeetingPlace, projected
from clipose_ros.objects.outline_cut import cut_outline

WORK_PX = 320  # longer side of the images in which masks are sought
REACH = 0.3  # around the place that is looked at, by the cameras' distance
CELLS = 64  # of the voxels, along each side
SURROUNDINGS = 0.42  # of the image's height, from the place that is looked at: further is never the object
KINDS = 8  # of colours around
SAMPLES = 6000
NOISE_LAB = (6.0, 3.0, 3.0)  # variance of colours, at least
USUAL, UNUSUAL = 0.8, 0.99  # quantiles of how unlike each other the surroundings are
FIRST_VOTES = 0.75  # of the views, of what the most unlike place has
ROUNDS = 3
EXCLUDED, VIEWS_FOR_ONE = (
    0.12,
    8,
)  # share of the views that may exclude a voxel, as masks are not sure; one of so many views may, too
BAND = 0.18  # of the root of a mask's pixels: how far its outline may be moved in the first round
DOUBTED = 0.2  # so like the surroundings is not certainly the object
LEAST_VOXELS = 20
MIDDLE = 0.12  # spread of the weight of voxels around the place that is looked at, by the cameras' distance


def masks_by_colour(
    views: Sequence[ReferenceView],
    intrinsics: Intrinsics,
    place: MeetingPlace,
    known: Sequence[np.ndarray | None],
    floor: Floor | None = None,
    shadow: float = 1.0,
) -> list[np.ndarray]:
    """Make masks of what is unlike its surroundings where the cameras look.

    Parameters
    ----------
    views : sequence of ReferenceView
        Their colours and poses; their masks are not looked at.
    intrinsics : Intrinsics
        Of the views.
    place : MeetingPlace
        Where they look.
    known : sequence of (H, W) bool or None
        Masks that are given.
    floor : Floor, optional
        Nothing of the object is below.
    shadow : float
        What is darker than its surroundings is as unlike as so much of that: surroundings have shadows.

    Returns
    -------
    list of (H, W) bool
        Of each view, those that are known unchanged; empty where nothing is found.

    Raises
    ------
    ValueError
        If nothing there is unlike its surroundings, or what is goes on beyond all bounds.
    """
    scale = min(1.0, WORK_PX / max(views[0].colour.shape[:2]))
    small = _scaled(intrinsics, scale)
    images = [cv2.resize(view.colour, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) for view in views]
    given = [
        None if mask is None else cv2.resize(mask.astype(np.uint8), image.shape[1::-1]) > 0
        for mask, image in zip(known, images)
    ]
    likely = [
        _unlike(image, _seen_at(place.point, view, small), shadow) if mask is None else mask.astype(np.float32)
        for image, view, mask in zip(images, views, given)
    ]
    if floor is not None:
        of_floor = unlike_floor(images, views, small, floor, place)
        likely = [
            one if mask is not None else np.where(sure, unlike, one)
            for one, mask, (unlike, sure) in zip(likely, given, of_floor)
        ]
    radius = REACH * place.distance_m
    grid = _Grid(place.point - radius, 2 * radius / CELLS, floor)
    votes = grid.votes(likely, views, small)
    body = _piece(votes > FIRST_VOTES * votes.max(), votes, grid, place)
    _check_bounded(body, place)
    masks: list[np.ndarray] = []
    for k in range(ROUNDS):
        grid = grid.around(body)
        votes = grid.votes(likely if k == 0 else [mask.astype(np.float32) for mask in masks], views, small)
        excluded = max(EXCLUDED, 1.001 / len(views) if len(views) >= VIEWS_FOR_ONE else 0)
        least = FIRST_VOTES * votes.max() if k == 0 else 1 - excluded
        body = _piece(votes >= least, votes, grid, place)
        masks = []
        for image, view, mask, unlike in zip(images, views, given, likely):
            if mask is None:
                drawn = grid.drawn(body, view, image.shape[:2], small)
                band = max(3, round(BAND / (k + 1) * np.sqrt(np.count_nonzero(drawn))))
                mask = _middle_part(cut_outline(image, drawn, band, 0, band, unlike < DOUBTED), drawn)
            masks.append(mask)
    return [
        mask if mask is not None else _fine(view, rough, unlike, scale)
        for view, rough, mask, unlike in zip(views, masks, known, likely)
    ]


class _Grid:
    """Voxels of one side [m] from a corner `low` on."""

    def __init__(self, low: np.ndarray, cell: float, floor: Floor | None) -> None:
        self.low, self.cell, self.floor = low, cell, floor
        steps = (np.arange(CELLS) + 0.5) * cell
        points = low + np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
        self.points = points.astype(np.float32)

    def votes(self, maps: Sequence[np.ndarray], views: Sequence[ReferenceView], intrinsics: Intrinsics) -> np.ndarray:
        """Mean (X, Y, Z) of what the maps (H, W) of the views that show a voxel say of it; 0 below the floor."""
        total, told = np.zeros(len(self.points), np.float32), np.zeros(len(self.points), np.float32)
        for one, view in zip(maps, views):
            u, v, _ = projected(self.points, view, intrinsics)
            height, width = one.shape
            inside = (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
            column, row = (np.where(inside, np.rint(at), 0).astype(np.int32) for at in (u, v))
            total += np.where(inside, one[row, column], 0)
            told += inside
        total = np.where(told >= 0.5 * len(views), total / np.maximum(told, 1), 0)
        if self.floor is not None:
            total[self.points @ self.floor.normal < self.floor.offset_m] = 0
        return total.reshape((CELLS,) * 3)

    def around(self, body: np.ndarray) -> _Grid:
        """Finer voxels around those of a body."""
        found = np.argwhere(body)
        low, high = found.min(axis=0) - 3, found.max(axis=0) + 4
        side = float((high - low).max()) * self.cell
        middle = self.low + (low + high) / 2 * self.cell
        return _Grid(middle - side / 2, side / CELLS, self.floor)

    def drawn(
        self, body: np.ndarray, view: ReferenceView, shape: tuple[int, int], intrinsics: Intrinsics
    ) -> np.ndarray:
        """What a body covers of a view (H, W) bool."""
        u, v, depth = projected(self.points[body.ravel()], view, intrinsics)
        drawn = np.zeros(shape, np.uint8)
        inside = (u > -0.5) & (v > -0.5) & (u < shape[1] - 0.5) & (v < shape[0] - 0.5)
        drawn[np.rint(v[inside]).astype(int), np.rint(u[inside]).astype(int)] = 1
        if not inside.any():
            return drawn > 0
        gap = 2 * int(np.ceil(self.cell * intrinsics.fx / float(np.median(depth)) / 2)) + 1
        return cv2.morphologyEx(drawn, cv2.MORPH_CLOSE, np.ones((gap + 2, gap + 2), np.uint8)) > 0


def _scaled(intrinsics: Intrinsics, scale: float) -> Intrinsics:
    """Of an image of another size, whose pixels' middles are whole numbers, too."""
    return Intrinsics(
        intrinsics.fx * scale,
        intrinsics.fy * scale,
        (intrinsics.cx + 0.5) * scale - 0.5,
        (intrinsics.cy + 0.5) * scale - 0.5,
    )


def _seen_at(point: np.ndarray, view: ReferenceView, intrinsics: Intrinsics) -> tuple[float, float]:
    u, v, _ = projected(point[None], view, intrinsics)
    return float(u[0]), float(v[0])


def _unlike(image: np.ndarray, centre: tuple[float, float], shadow: float) -> np.ndarray:
    """How unlike the colours far from a place (u, v) each pixel is (H, W), 0..1."""
    lab = cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB), (0, 0), 1.0)
    rows, columns = np.indices(lab.shape[:2])
    around = np.hypot(columns - centre[0], rows - centre[1]) > SURROUNDINGS * lab.shape[0]
    samples = lab[around]
    samples = samples[:: max(1, len(samples) // SAMPLES)]
    cv2.setRNGSeed(0)  # the same views give the same groups
    stop = (cv2.TERM_CRITERIA_MAX_ITER, 10, 0)
    _, kinds, means = cv2.kmeans(samples, KINDS, None, stop, 1, cv2.KMEANS_PP_CENTERS)
    least = np.full(lab.shape[:2], np.inf, np.float32)
    for k, mean in enumerate(means):
        alike = samples[kinds[:, 0] == k]
        if len(alike) < KINDS:
            continue
        inverse = np.linalg.inv(np.cov(alike.T) + np.diag(NOISE_LAB)).astype(np.float32)
        apart = lab - mean
        apart[..., 0] *= np.where(apart[..., 0] < 0, shadow, 1)
        least = np.minimum(least, np.einsum("hwi,ij,hwj->hw", apart, inverse, apart))
    apart = np.sqrt(np.maximum(least, 0))
    low, high = np.quantile(apart[around], [USUAL, UNUSUAL])
    high = max(1.3 * high, low + 1.5)
    return np.clip((apart - low) / (high - low), 0, 1).astype(np.float32)


def _piece(solid: np.ndarray, votes: np.ndarray, grid: _Grid, place: MeetingPlace) -> np.ndarray:
    """The piece (X, Y, Z) bool of what is solid around the place that is looked at."""
    pieces, count = ndimage.label(solid)
    apart = ((grid.points - place.point) ** 2).sum(axis=1).reshape(solid.shape)
    weights = votes * np.exp(-apart / (2 * (MIDDLE * place.distance_m) ** 2))
    sums = ndimage.sum_labels(weights, pieces, np.arange(1, count + 1)) if count else np.zeros(1)
    body = pieces == 1 + int(np.argmax(sums))
    expect(
        "colour",
        count and np.count_nonzero(body) >= LEAST_VOXELS,
        "an object that is unlike its surroundings where the cameras look",
        "nothing that all views tell from what is around it: use a plain background of another colour, or give "
        "NNNN_mask.png",
    )
    return body


def _check_bounded(body: np.ndarray, place: MeetingPlace) -> None:
    rim = body.copy()
    rim[1:-1, 1:-1, 1:-1] = False
    expect(
        "colour",
        np.count_nonzero(rim) <= 0.02 * np.count_nonzero(body),
        f"an object within {REACH * place.distance_m:.2f} m of the place where the optical axes meet, and surroundings "
        "of another colour",
        "something that goes on beyond: step back, use a plain background, or give NNNN_mask.png",
    )


def _middle_part(mask: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """The part of a mask that has most in common with what is drawn, without holes of a few pixels."""
    count, parts = cv2.connectedComponents(mask.astype(np.uint8))
    if count < 2:
        return mask
    common = np.bincount(parts[drawn], minlength=count)
    common[0] = 0
    return parts == int(np.argmax(common)) if common.any() else np.zeros_like(mask)


def _fine(view: ReferenceView, rough: np.ndarray, unlike: np.ndarray, scale: float) -> np.ndarray:
    """A mask at the image's own size."""
    height, width = view.colour.shape[:2]
    large = cv2.resize(rough.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR) > 0.5
    if scale == 1 or not large.any():
        return large
    border = int(np.ceil(1.5 / scale))
    doubted = cv2.resize(unlike, (width, height), interpolation=cv2.INTER_LINEAR) < DOUBTED
    return cut_outline(view.colour, large, border, 0, border, doubted)
