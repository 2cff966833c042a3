"""The surfaces that objects rest on, from the depth of a frame.

A plane is linear in inverse depth: of a pixel's ray X = (x, y, 1) it shows 1 / z = q · X, with q = normal / offset. So
the difference of two neighbours gives a guess without a cross product, and all guesses are judged on all pixels by one
matrix product.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

import numpy as np

from clipose_ros.core.backprojection import DepthRange, metres, pinhole
from clipose_ros.core.types import Detections, Frame, Intrinsics, PoseEstimate
from clipose_ros.core.validation import expect

SPREAD = np.arange(128)  # places of the judged points in an object's cloud, from its first to its last
LOWEST = 4  # of the judged points lie lower than the one that should be near the surface: astray, or background
BELOW = 6  # may lie far below a surface: more is background that leaked through the mask, or another surface
HIDDEN_BELOW = 0.5  # of the height that is seen of an object: so much may be hidden below
LEAST_NEAR = 6  # samples of a surface near an object's foot
# Of the judged points, so many lie within so little of a surface where a mask shows nothing else: as a share of how
# far the surface's own samples may lie, and of the object's diagonal. In rendered frames 99 % of the masks on a bare
# table are within 0.63 and 0.05; of 454 objects the flattest, a laptop's keyboard, is at 0.8, and none but laptops at
# less than 0.11 of its diagonal. Samples may lie further off the further away they are; a laptop is no thicker there.
BARE_QUANTILE, BARE_NOISE, BARE_DIAGONAL, BARE_M = 0.95, 0.7, 0.06, 0.008
LEAST_SPAN = (
    1e-13  # of the determinant, as a share of that of axes at right angles: less is rounding, of points on a line
)
LEAST_WHOLE = 0.4  # of a surface's samples: as many have a neighbour that is on it; noise meets a plane here and there
Support = Literal["auto", "off"]
SUPPORT_DEFAULT: Support = "auto"


@dataclass(frozen=True)
class SupportSettings:
    """How surfaces are found, and which of them an object rests on.

    Parameters
    ----------
    grid : int
        Columns of the grid that the depth image is sampled on; its rows follow.
    guesses : int
        Planes that are tried for each surface.
    surfaces : int
        Most surfaces of a frame.
    least : int
        Samples that a surface must have.
    noise_m : float
        Distance from its surface that a sample may have, at no distance from the camera [m].
    noise_by_squared_distance : float
        What is added to it, by the squared distance from the camera [1/m].
    below_m : float
        Points of an object may lie so far below its surface [m].
    gap_m : float
        Underside of an object's box and its surface may be so far apart [m], or `gap` of the box's height.
    gap : float
        See `gap_m`.
    reach_m : float
        A surface must have been seen so near to the foot of the object [m].

    Raises
    ------
    ValueError
        For settings that are none.
    """

    grid: int = 32
    guesses: int = 16
    surfaces: int = 3
    least: int = 20
    noise_m: float = 0.005
    noise_by_squared_distance: float = 0.005
    below_m: float = 0.02
    gap_m: float = 0.03
    gap: float = 0.25
    reach_m: float = 0.25

    def __post_init__(self) -> None:
        for name in ("grid", "guesses", "surfaces", "least"):
            expect(name, getattr(self, name) >= 1, "1 or more", getattr(self, name))
        for name in ("noise_m", "below_m", "gap_m", "reach_m"):
            expect(name, getattr(self, name) > 0, "more than 0 m", getattr(self, name))


def support_settings(support: Support) -> SupportSettings | None:
    """Give the settings that a user's choice asks for.

    Parameters
    ----------
    support : str
        auto or off.

    Returns
    -------
    SupportSettings or None
        None for off.

    Raises
    ------
    ValueError
        For another word.
    """
    expect("support", support in get_args(Support), f"one of {', '.join(get_args(Support))}", support)
    return SupportSettings() if support == "auto" else None


@dataclass(frozen=True, eq=False)  # the same surface is the same object
class Surface:
    """A plane that was seen: normal · p = offset of its points p, in the camera frame.

    Parameters
    ----------
    normal : (3,) float
        Unit normal, towards the camera.
    offset : float
        Less than 0 [m].
    samples : (S, 3) float
        Where it was seen [m].
    """

    normal: np.ndarray
    offset: float
    samples: np.ndarray

    def height(self, points: np.ndarray) -> np.ndarray:
        """Measure how high points lie above the surface.

        Parameters
        ----------
        points : (..., 3) float
            Camera frame [m].

        Returns
        -------
        (...) float
            Heights, on the camera's side more than 0 [m].
        """
        return points @ self.normal - self.offset

    def samples_near(self, points: np.ndarray, radius_m: float) -> np.ndarray:
        """Count the samples around points.

        Parameters
        ----------
        points : (B, 3) float
            Camera frame [m].
        radius_m : float
            How far [m].

        Returns
        -------
        (B,) int
            Samples within this distance of each point.
        """
        seen, at = self.samples, points.T
        squared = (seen * seen).sum(axis=1)[:, None] - 2 * (seen @ at) + (at * at).sum(axis=0)
        return np.count_nonzero(squared < radius_m**2, axis=0)


def find_surfaces(
    frame: Frame,
    detections: Detections,
    depth_range: DepthRange = DepthRange(),
    known: Sequence[Surface] = (),
    settings: SupportSettings = SupportSettings(),
) -> list[Surface]:
    """Find the largest planes of what belongs to no instance: tables, shelves, floors, and walls, too.

    Parameters
    ----------
    frame : Frame
        Depth and intrinsics.
    detections : Detections
        Their pixels are left out.
    depth_range : DepthRange
        Valid depths.
    known : sequence of Surface
        Surfaces of the frame before, which are tried first.
    settings : SupportSettings
        How they are found.

    Returns
    -------
    list of Surface
        The largest first; none where no plane is seen.
    """
    rays, inverse_m, valid, guesses = _samples(frame, detections, depth_range, settings)
    if len(known):
        guesses = np.concatenate([np.array([surface.normal / surface.offset for surface in known]), guesses])
    if not len(guesses):
        return []
    points = rays / inverse_m[:, None]
    z = points[:, 2]
    tolerance = settings.noise_m + settings.noise_by_squared_distance * z * z
    # The distance of a point from a plane is its offset times (q · p - 1).
    near = _near(points, guesses, tolerance)
    surfaces, free, each = [], np.ones(len(points), bool), np.ones(len(points), np.float32)
    for _ in range(2 * settings.surfaces):  # some of what lies on a plane is none: a line, or noise
        if np.count_nonzero(free) < settings.least or len(surfaces) == settings.surfaces:
            break
        # a product counts five times faster than numpy counts along an axis; float32 counts to 16 million
        on_plane = near[:, (each @ near.astype(np.float32)).argmax()]
        if np.count_nonzero(on_plane) < settings.least:
            break
        surface, taken = _fitted(points, on_plane, free, tolerance, settings.least)
        if surface is not None and _whole(taken, valid):
            surfaces.append(surface)
        free &= ~(taken | on_plane)
        near &= free[:, None]
    return surfaces


def _near(points: np.ndarray, guesses: np.ndarray, tolerance: np.ndarray) -> np.ndarray:
    """Which points (S, 3) are within their tolerance (S,) of which planes, (S, K) bool.

    In float32, twice as fast: the planes that are chosen are fitted in float64 anyway.
    """
    away = points.astype(np.float32) @ guesses.T.astype(np.float32)
    away -= 1
    np.abs(away, out=away)
    lengths = np.sqrt(np.einsum("ij,ij->i", guesses, guesses))
    return away < np.multiply.outer(tolerance.astype(np.float32), lengths.astype(np.float32))


def _fitted(
    points: np.ndarray, on_plane: np.ndarray, free: np.ndarray, tolerance: np.ndarray, least: int
) -> tuple[Surface | None, np.ndarray]:
    """The plane through samples (S,) bool, and the free samples that lie on it; None where they span no plane."""
    for _ in range(2):
        chosen = points[on_plane]
        if len(chosen) < least:
            return None, on_plane
        plane = _least_squares(chosen)
        if plane is None:
            return None, on_plane
        length = float(np.linalg.norm(plane))
        on_plane = free & (np.abs(points @ plane - 1) < tolerance * length)
    if np.count_nonzero(on_plane) < least:
        return None, on_plane
    return Surface(-plane / length, -1 / length, points[on_plane]), on_plane


def _least_squares(points: np.ndarray) -> np.ndarray | None:
    """The q (3,) of q · p = 1 that fits points (N, 3) best; None where they span no plane."""
    # In plain floats by Cramer's rule: numpy's solver prepares longer than all of this takes.
    (xx, xy, xz), (_, yy, yz), (_, _, zz) = (points.T @ points).tolist()
    x, y, z = (np.ones(len(points)) @ points).tolist()
    a, b, c = yy * zz - yz * yz, xz * yz - xy * zz, xy * yz - xz * yy
    determinant = xx * a + xy * b + xz * c
    if not determinant > LEAST_SPAN * xx * yy * zz:
        return None
    d, e, f = xx * zz - xz * xz, xy * xz - xx * yz, xx * yy - xy * xy
    return np.array([a * x + b * y + c * z, b * x + d * y + e * z, c * x + e * y + f * z]) / determinant


class Footing:
    """Which surfaces the objects of a frame may rest on, by their points.

    An object's points lie above its surface, and that was seen near the object's foot. Where several surfaces fit, such
    as a table and the wall that a mug touches, the one that fits more of the frame's objects counts, then the one that
    faces further up in the image.

    Parameters
    ----------
    clouds : sequence of (N, 3) float
        Points of each object, camera frame [m].
    surfaces : sequence of Surface
        Of the frame.
    settings : SupportSettings
        What is near.
    carries : sequence of bool, optional
        Of each surface, whether anything may rest on it. Without, on all.
    """

    def __init__(
        self,
        clouds: Sequence[np.ndarray],
        surfaces: Sequence[Surface],
        settings: SupportSettings = SupportSettings(),
        carries: Sequence[bool] | None = None,
    ) -> None:
        self._surfaces, self._settings = surfaces, settings
        shape = len(clouds), len(surfaces)
        self._lowest, self._highest, self._possible = np.zeros(shape), np.zeros(shape), np.zeros(shape, bool)
        self._away, self._z = np.full(len(clouds), np.inf), np.zeros(len(clouds))
        seen = [i for i, cloud in enumerate(clouds) if len(cloud)]
        if not seen or not surfaces:
            return
        # All objects at once: a call of numpy costs more than the arithmetic on a hundred points.
        judged = np.stack([clouds[i].T.take(SPREAD * (len(clouds[i]) - 1) // SPREAD[-1], axis=1) for i in seen])
        normals = np.stack([surface.normal for surface in surfaces])
        offsets = np.array([surface.offset for surface in surfaces])
        heights = normals.astype(judged.dtype) @ judged - offsets[:, None]
        nearly_all = int(BARE_QUANTILE * (len(SPREAD) - 1))
        self._away[seen] = np.partition(np.abs(heights), nearly_all, axis=2)[..., nearly_all].min(axis=1)
        self._z[seen] = np.partition(judged[:, 2], len(SPREAD) // 2, axis=1)[:, len(SPREAD) // 2]
        heights.partition((BELOW, LOWEST), axis=2)
        self._lowest[seen], self._highest[seen] = heights[..., LOWEST], heights.max(axis=2)
        middle = judged[..., len(SPREAD) // 2].astype(np.float64)
        feet = middle[:, None] - (middle @ normals.T - offsets)[..., None] * normals
        near = [surface.samples_near(feet[:, i], 2 * settings.reach_m) for i, surface in enumerate(surfaces)]
        self._possible[seen] = (heights[..., BELOW] >= -settings.below_m) & (np.transpose(near) >= LEAST_NEAR)
        if carries is not None:
            self._possible &= carries

    def bare(self, diagonals_m: Sequence[float | None]) -> list[bool]:
        """Say which masks show nothing but a surface of the frame: a patch of the table, or of a wall.

        Parameters
        ----------
        diagonals_m : sequence of (float or None)
            Usual diagonal of the tight box of each object [m]. None: it is not judged.

        Returns
        -------
        list of bool
            For each object.
        """
        noise = self._settings.noise_m + self._settings.noise_by_squared_distance * self._z * self._z
        # NaN of those that are not judged fails every comparison
        diagonals = np.array(diagonals_m, np.float64)
        limit = np.minimum(np.minimum(BARE_NOISE * noise, BARE_M), BARE_DIAGONAL * diagonals)
        return (self._away < limit).tolist()

    def touched(self) -> list[Surface | None]:
        """Choose the surface that each object touches, before there is a pose: its lowest points are near it.

        Returns
        -------
        list of (Surface or None)
            For each object; None where none fits.
        """
        # What is round hides its underside.
        hidden = self._settings.gap_m + HIDDEN_BELOW * (self._highest - self._lowest)
        return self._chosen((self._possible & (self._lowest <= hidden)).tolist())

    def rested(self, poses: Sequence[PoseEstimate | None]) -> list[Surface | None]:
        """Choose the surface that each object rests on: the underside of its box is near it.

        Parameters
        ----------
        poses : sequence of (PoseEstimate or None)
            For each object.

        Returns
        -------
        list of (Surface or None)
            For each object; None where none fits, or where there is no pose.
        """
        return self._chosen(
            [
                [
                    possible and pose is not None and self._meets(pose, surface)
                    for possible, surface in zip(row, self._surfaces)
                ]
                for row, pose in zip(self._possible.tolist(), poses)
            ]
        )

    def _meets(self, pose: PoseEstimate, surface: Surface) -> bool:
        """Whether the underside of a box is near a surface."""
        half = float(np.abs(surface.normal @ pose.rotation) @ pose.size) / 2
        gap = float(pose.translation @ surface.normal) - surface.offset - half
        return abs(gap) <= max(self._settings.gap_m, self._settings.gap * 2 * half)

    def _chosen(self, fits: list[list[bool]]) -> list[Surface | None]:
        """Choose for each object among the surfaces that fit it."""
        surfaces = self._surfaces
        votes = [sum(of_one[i] for of_one in fits) for i in range(len(surfaces))]
        order = sorted(range(len(surfaces)), key=lambda i: (-votes[i], surfaces[i].normal[1]))
        return [next((surfaces[i] for i in order if of_one[i]), None) for of_one in fits]


@lru_cache(maxsize=4)
def _grid_rays(intrinsics: Intrinsics, shape: tuple[int, int], stride: int) -> np.ndarray:
    """x and y of the rays (2, h, w) on a grid, with z = 1: those of a calibration stay the same."""
    v, u = np.indices(shape) * stride + stride // 2
    rays = pinhole(u.ravel(), v.ravel(), np.ones(u.size), intrinsics).T[:2].reshape(2, *shape)
    rays.flags.writeable = False
    return rays


def _whole(on_plane: np.ndarray, valid: np.ndarray) -> bool:
    """Whether samples (S,) bool of a grid hang together."""
    grid = np.zeros(valid.shape, bool)
    grid[valid] = on_plane
    beside, below = grid[:, 1:] & grid[:, :-1], grid[1:] & grid[:-1]
    return min(np.count_nonzero(beside), np.count_nonzero(below)) >= LEAST_WHOLE * np.count_nonzero(on_plane)


def _samples(
    frame: Frame, detections: Detections, depth_range: DepthRange, settings: SupportSettings
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Rays (S, 3), inverse depths (S,) [1/m], where they are on the grid (h, w), and guesses (K, 3) of q."""
    stride = max(1, frame.depth.shape[1] // settings.grid)
    rows, columns = (slice(stride // 2, None, stride),) * 2
    z = metres(frame.depth[rows, columns], frame.depth_unit_m)
    masks = detections.masks[..., rows, columns]
    free = ~masks.any(axis=0) if detections.overlap else masks == 0
    x, y = _grid_rays(frame.intrinsics, z.shape, stride)
    valid = (z >= depth_range.minimum) & (z <= depth_range.maximum) & free & np.isfinite(x)
    inverse = np.where(valid, 1 / np.where(valid, z, 1), 0)
    v, u = np.nonzero(valid[:-1, :-1] & valid[:-1, 1:] & valid[1:, :-1])
    if len(u) > settings.guesses:
        chosen = np.arange(settings.guesses) * (len(u) - 1) // max(settings.guesses - 1, 1)
        v, u = v[chosen], u[chosen]
    # a lens that distorts bends the grid a little, which a guess may ignore
    here, right, below = (inverse[at] for at in ((v, u), (v, u + 1), (v + 1, u)))
    x_here, y_here = x[v, u], y[v, u]
    by_x = (right - here) / (x[v, u + 1] - x_here)
    by_y = (below - here) / (y[v + 1, u] - y_here)
    guesses = np.stack([by_x, by_y, here - by_x * x_here - by_y * y_here], axis=1)
    guesses = guesses[guesses.any(axis=1)]
    rays = np.ones((np.count_nonzero(valid), 3))
    rays[:, 0], rays[:, 1] = x[valid], y[valid]
    return rays, inverse[valid], valid, guesses
