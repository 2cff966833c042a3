"""Masks of views with depth and poses: what stands at the place that all cameras look at.

Depths of all views are put together. The support plane, on whose one side all cameras are, is removed, by its own
height in each view, as sensors are off by another amount in each. What is left is put into voxels; those that most
views saw that can tell, and hardly any saw through, hang together in pieces. The piece that is in the middle of the
views is the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from scipy import ndimage

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.depth_normals import points_and_normals
from clipose_ros.objects.meeting_place import Floor, MeetingPlace, camera_centres, projected

REACH = 0.5  # around the place that is looked at, by the cameras' distance: what is looked for is smaller
COARSE_PX = 200  # longer side of the images whose normals tell planes
SAMPLES = 12_000  # of points, in which the plane is sought
TRIALS = 150  # planes that are tried
PLANE_M, PLANE_BY_DISTANCE = 0.003, 0.006  # so near to a plane is on it: sensors are off by as much
LEAST_ON_PLANE = 0.15  # of the points
MOST_BELOW = 0.06  # of the points: nothing is below what an object stands on
LEAST_SECTORS, SECTORS = 6, 8  # of the directions around the middle, in which a support is seen
SIDE = 0.8  # cosine of a point's normal with the plane's, for a point of it
LEAST_HEIGHT_M, SPREADS = 0.002, 2.5  # above the plane: at least, and by the spread of the plane's depths in a view
LEVEL_M = 0.015  # nearer to the plane is the plane's, for its height in a view [m]
LEAST_FLAT = 50  # pixels near the plane, for that
CELLS = 110  # along the diameter of the reach
SEEN_THROUGH, LEAST_SEEN = 0.3, 0.35  # share of views, of those that tell of a voxel
THROUGH_M = 0.01  # so far behind a voxel is what a view must see, to see through it
RIVAL = 0.5  # of the weight of the object's piece, that no other piece may have
MIDDLE = 0.12  # spread of the weight of pixels around the place that is looked at, by the image's width
CLOSED_PX = 2
SHELL_POINTS, SHELL_PX = 80_000, 3  # that all views saw of the object, and gaps between them in an image


def masks_by_depth(
    views: Sequence[ReferenceView], intrinsics: Intrinsics, place: MeetingPlace
) -> tuple[list[np.ndarray], Floor | None]:
    """Make masks of what stands where the cameras look.

    Parameters
    ----------
    views : sequence of ReferenceView
        With depth; their masks are not looked at.
    intrinsics : Intrinsics
        Of the views.
    place : MeetingPlace
        Where they look.

    Returns
    -------
    masks : list of (H, W) bool
        Of each view; empty where it shows nothing of the object.
    support : Floor or None
        What the object stands on, where that is seen.

    Raises
    ------
    ValueError
        If nothing stands there, two things do, or what does goes on beyond all bounds.
    """
    radius = REACH * place.distance_m
    seen = [_seen(view, intrinsics, place, radius) for view in views]
    clouds = [_cloud(view, intrinsics, place, radius) for view in views]
    points, normals = (np.concatenate([cloud[k] for cloud in clouds]) for k in (0, 1))
    expect(
        "depth",
        len(points) >= 200,
        f"something within {radius:.2f} m of the place where the optical axes meet, {_told(place.point)} m",
        f"{len(points)} points: do the cameras look at the object, and are the poses right?",
    )
    support = _support(points, normals, place, camera_centres(views))
    raised = [_raised(one, support) for one in seen]
    cell = 2 * radius / CELLS
    piece = _middle_piece(views, raised, intrinsics, place, radius, cell)
    rim = piece.copy()
    rim[2:-2, 2:-2, 2:-2] = False
    if np.count_nonzero(rim) > 0.02 * np.count_nonzero(piece):
        raise ValueError(
            "depth: expected an object that stands alone on a plane, or before nothing, got something at "
            f"{_told(place.point)} m that goes on beyond {radius:.2f} m"
            + ("" if support is not None else ", and no plane below it")
            + ": give NNNN_mask.png, or put the object onto a free table"
        )
    low = place.point - radius
    wide = ndimage.binary_dilation(piece, iterations=1)
    own = [one.within(wide, low, cell) for one in raised]
    every = max(1, sum(len(one.pixels) for one in own) // SHELL_POINTS)
    shell = np.concatenate([one.points[::every] for one in own])
    return [_mask(view, one, shell, intrinsics) for view, one in zip(views, own)], support


@dataclass(frozen=True)
class _Seen:
    """Pixels (N) of a view, by their place in the flat image, and what they show (N, 3), frame of the poses [m]."""

    pixels: np.ndarray
    points: np.ndarray

    def within(self, piece: np.ndarray, low: np.ndarray, cell: float) -> _Seen:
        """What of it is in some voxels (X, Y, Z) bool, which begin at a point and have a side [m]."""
        at = np.clip(((self.points - low) / cell).astype(int), 0, np.array(piece.shape) - 1)
        chosen = piece[tuple(at.T)]
        return _Seen(self.pixels[chosen], self.points[chosen])


def _told(point: np.ndarray) -> str:
    return "(" + ", ".join(f"{value:.2f}" for value in point) + ")"


def _seen(view: ReferenceView, intrinsics: Intrinsics, place: MeetingPlace, radius: float) -> _Seen:
    """What a view shows near the place."""
    rows, columns = np.nonzero(view.depth_m)
    z = view.depth_m[rows, columns]
    x, y = (columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy
    in_camera = np.stack([x * z, y * z, z], axis=1).astype(np.float32)
    centre = (view.rotation @ place.point + view.translation).astype(np.float32)
    near = ((in_camera - centre) ** 2).sum(axis=1) < radius**2
    points = (in_camera[near] - view.translation.astype(np.float32)) @ view.rotation.astype(np.float32)
    return _Seen(np.flatnonzero(view.depth_m)[near], points)


def _cloud(
    view: ReferenceView, intrinsics: Intrinsics, place: MeetingPlace, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Points and normals (N, 3) of some pixels of a view near the place, frame of the poses."""
    step = max(1, round(max(view.depth_m.shape) / COARSE_PX))
    coarse = Intrinsics(*(value / step for value in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy)))
    points, normals, smooth = points_and_normals(np.ascontiguousarray(view.depth_m[::step, ::step]), coarse)
    points = (points[smooth] - view.translation) @ view.rotation
    near = np.linalg.norm(points - place.point, axis=1) < radius
    return points[near], normals[smooth][near] @ view.rotation


def _support(points: np.ndarray, normals: np.ndarray, place: MeetingPlace, cameras: np.ndarray) -> Floor | None:
    """The plane below what is looked at: all cameras are above it, hardly anything is below, and it goes on around."""
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(points))[:SAMPLES]
    points, normals = points[chosen].astype(np.float64), normals[chosen].astype(np.float64)
    tolerance = PLANE_M + PLANE_BY_DISTANCE * place.distance_m
    best, most = None, LEAST_ON_PLANE * len(points)
    for i in range(min(TRIALS, len(points))):
        normal, offset = normals[i], float(normals[i] @ points[i])
        for _ in range(2):
            on_plane = np.abs(points @ normal - offset) < tolerance
            on_plane &= normals @ normal > SIDE
            if np.count_nonzero(on_plane) < LEAST_ON_PLANE * len(points) / 2:
                break
            middle = points[on_plane].mean(axis=0)
            apart = points[on_plane] - middle
            turned = np.linalg.eigh(apart.T @ apart)[1][:, 0]
            normal = turned if turned @ normal > 0 else -turned
            offset = float(normal @ middle)
        height = points @ normal - offset
        on_plane = (np.abs(height) < tolerance) & (normals @ normal > SIDE)
        count = np.count_nonzero(on_plane)
        if count <= most or (height < -2 * tolerance).mean() > MOST_BELOW:
            continue
        if (cameras @ normal - offset < tolerance).any() or place.point @ normal - offset < -4 * tolerance:
            continue
        if _sectors(points[on_plane] - place.point, normal) < LEAST_SECTORS:
            continue
        best, most = Floor(normal, offset), count
    return best


def _sectors(apart: np.ndarray, normal: np.ndarray) -> int:
    """In how many directions from a place points (N, 3) lie."""
    across = np.linalg.svd(normal[None])[2][1:]
    along = apart @ across.T
    far = np.linalg.norm(along, axis=1) > 0.25 * np.quantile(np.linalg.norm(along, axis=1), 0.9)
    sector = np.floor((np.arctan2(along[far, 1], along[far, 0]) / (2 * np.pi) + 0.5) * SECTORS).astype(int) % SECTORS
    return int((np.bincount(sector, minlength=SECTORS) > 0.02 * max(1, len(sector))).sum())


def _raised(seen: _Seen, support: Floor | None) -> _Seen:
    """What is above the plane, by the plane's own height in this view."""
    if support is None:
        return seen
    height = seen.points @ support.normal.astype(np.float32) - support.offset_m
    flat = height[np.abs(height) < LEVEL_M]
    level, spread = 0.0, 0.0
    if len(flat) >= LEAST_FLAT:
        level = float(np.median(flat))
        spread = 1.48 * float(np.median(np.abs(flat - level)))
    above = height > level + max(LEAST_HEIGHT_M, SPREADS * spread)
    return _Seen(seen.pixels[above], seen.points[above])


def _middle_piece(
    views: Sequence[ReferenceView],
    raised: Sequence[_Seen],
    intrinsics: Intrinsics,
    place: MeetingPlace,
    radius: float,
    cell: float,
) -> np.ndarray:
    """Voxels (X, Y, Z) bool of the thing that the views have in their middle."""
    low = place.point - radius
    counts = np.full(3, CELLS)
    seen = np.zeros(counts, np.int16)
    weight = np.zeros(counts)
    for view, above in zip(views, raised):
        at = np.clip(((above.points - low) / cell).astype(int), 0, CELLS - 1)
        flat = np.ravel_multi_index(at.T, counts)
        seen.ravel()[np.unique(flat)] += 1
        u, v, _ = projected(place.point[None], view, intrinsics)
        width = view.depth_m.shape[1]
        rows, columns = np.divmod(above.pixels, width)
        apart = ((columns - u[0]) ** 2 + (rows - v[0]) ** 2) / (MIDDLE * width) ** 2
        weight += np.bincount(flat, np.exp(-apart / 2), minlength=seen.size).reshape(counts) / max(1, len(flat))
    # what noise puts into the air is in few views, and other views see through it
    cells = np.argwhere(seen > 0)
    centres = low + (cells + 0.5) * cell
    through, tells = np.zeros(len(cells), int), np.zeros(len(cells), int)
    for view in views:
        u, v, depth = projected(centres, view, intrinsics)
        height, width = view.depth_m.shape
        inside = (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
        shown = np.zeros(len(cells), np.float32)
        shown[inside] = view.depth_m[np.rint(v[inside]).astype(int), np.rint(u[inside]).astype(int)]
        through += shown > depth + THROUGH_M + cell
        tells += (shown > 0) & (shown > depth - THROUGH_M - cell)
    amount = seen[tuple(cells.T)]
    kept = (through <= SEEN_THROUGH * np.maximum(tells, 1)) & (amount >= LEAST_SEEN * tells)
    solid = np.zeros(counts, bool)
    solid[tuple(cells[kept].T)] = True
    pieces, count = ndimage.label(ndimage.binary_dilation(solid, iterations=1), np.ones((3, 3, 3)))
    nothing = f"something that stands where the optical axes meet, {_told(place.point)} m"
    expect("depth", count > 0, nothing, "nothing; do the cameras look at the object? Or give NNNN_mask.png")
    weights = ndimage.sum_labels(weight * solid, pieces, np.arange(1, count + 1))
    order = np.argsort(-weights)
    if count > 1 and weights[order[1]] > RIVAL * weights[order[0]]:
        places = [low + (np.argwhere(solid & (pieces == 1 + order[k])).mean(axis=0) + 0.5) * cell for k in (0, 1)]
        raise ValueError(
            f"depth: expected {nothing}, got two things, at {_told(places[0])} and {_told(places[1])} m: point the "
            "cameras at the object, take the other away, or give NNNN_mask.png"
        )
    return solid & (pieces == 1 + order[0])


def _mask(view: ReferenceView, own: _Seen, shell: np.ndarray, intrinsics: Intrinsics) -> np.ndarray:
    """Pixels of a view that show a thing by its depth, or, where that is not known, by what others saw of it."""
    mask = np.zeros(view.depth_m.shape, np.uint8)
    mask.ravel()[own.pixels] = 1
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    u, v, depth = projected(shell, view, intrinsics)
    height, width = mask.shape
    inside = (u > -0.5) & (v > -0.5) & (u < width - 0.5) & (v < height - 0.5)
    filled = np.zeros(mask.shape, np.uint8)
    filled[np.rint(v[inside]).astype(int), np.rint(u[inside]).astype(int)] = 1
    filled = cv2.morphologyEx(filled, cv2.MORPH_CLOSE, _disc(SHELL_PX))
    filled = cv2.erode(filled, _disc(SHELL_PX))  # depth ends before the outline; colours tell where that is
    mask |= filled & (view.depth_m == 0)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disc(CLOSED_PX))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    holes = ndimage.binary_fill_holes(mask > 0) & (view.depth_m == 0)
    return (mask > 0) | holes


def _disc(radius: int) -> np.ndarray:
    return cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
