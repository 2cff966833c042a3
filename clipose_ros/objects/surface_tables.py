"""What is looked up in a learned object while its pose is estimated, made once when it is loaded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.rendering.gaussians import Gaussians, discs

CELLS = 72  # of the grid, along the longest side of the object
MARGIN = 0.12  # of the grid around the object, by its diagonal
NEIGHBOURS = 14
DIRECTIONS = 200  # from which the visible middle is known
RADIUS = 0.58  # of a disc, by the distance to its neighbours


@dataclass(frozen=True)
class SurfaceTables:
    """An object for the estimator: float64 and contiguous, object frame.

    Parameters
    ----------
    discs, facings, paints : (N, 3) float
        Centres [m], normals and colours.
    slopes : (N, 3, 3) float
        How the colour of each disc changes along the surface: channel by axis [1/m].
    seen : (N,) float
        1 where the colour is known.
    grid : (X, Y, Z) int32
        The nearest disc of each cell.
    low : (3,) float
        Corner of the grid [m].
    cell : float
        Its cells' side [m].
    directions, middles : (D, 3) float
        From where the object is seen (unit vectors, object to camera), and the middle of what is visible then [m].
    gaussians : Gaussians
        For rendering, with four features: the colour, and 1 where it is known.
    shaded : (N, 7) float32
        Features to judge light by: those, and the normal.
    """

    discs: np.ndarray
    facings: np.ndarray
    paints: np.ndarray
    slopes: np.ndarray
    seen: np.ndarray
    grid: np.ndarray
    low: np.ndarray
    cell: float
    directions: np.ndarray
    middles: np.ndarray
    gaussians: Gaussians
    shaded: np.ndarray

    @property
    def surface(self) -> tuple:
        """Grid, low, cell, discs, facings and paints, as the alignment takes them."""
        return self.grid, self.low, self.cell, self.discs, self.facings, self.paints


def surface_tables(learned: LearnedObject) -> SurfaceTables:
    """Prepare an object for the estimator.

    Parameters
    ----------
    learned : LearnedObject
        The object.

    Returns
    -------
    SurfaceTables
        Its tables.
    """
    points, normals, colours = (
        np.ascontiguousarray(array, np.float64) for array in (learned.points, learned.normals, learned.colours)
    )
    tree = cKDTree(points)
    pad = MARGIN * learned.diagonal_m
    low, high = points.min(axis=0) - pad, points.max(axis=0) + pad
    cell = float((high - low).max()) / CELLS
    counts = np.ceil((high - low) / cell).astype(int)
    axes = [low[k] + (np.arange(counts[k]) + 0.5) * cell for k in range(3)]
    centres = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    _, nearest = tree.query(centres.reshape(-1, 3))
    directions = sphere_directions(DIRECTIONS)
    middles = np.array([_visible_middle(points, normals, learned.spacing_m, one) for one in directions])
    gaussians = object_gaussians(learned, tree)
    return SurfaceTables(
        points,
        normals,
        colours,
        np.ascontiguousarray(_slopes(tree, normals, colours, learned.seen, learned.spacing_m)),
        learned.seen.astype(np.float64),
        nearest.astype(np.int32).reshape(counts),
        low,
        cell,
        directions,
        middles,
        gaussians,
        np.ascontiguousarray(np.concatenate([gaussians.features, gaussians.normals], axis=1)),
    )


def object_gaussians(learned: LearnedObject, tree: cKDTree | None = None) -> Gaussians:
    """Make the Gaussians of an object.

    Parameters
    ----------
    learned : LearnedObject
        The object.
    tree : cKDTree, optional
        Of its points.

    Returns
    -------
    Gaussians
        With four features: the colour, and 1 where it is known.
    """
    radii = disc_radii(learned.points, learned.spacing_m, tree)
    features = np.concatenate([learned.colours, learned.seen[:, None]], axis=1)
    return discs(learned.points, learned.normals.astype(np.float64), radii, features)


def disc_radii(points: np.ndarray, spacing_m: float, tree: cKDTree | None = None) -> np.ndarray:
    """Say how wide discs are drawn.

    Parameters
    ----------
    points : (N, 3) float
        Their centres [m].
    spacing_m : float
        Between neighbours, about [m].
    tree : cKDTree, optional
        Of the points.

    Returns
    -------
    (N,) float
        Standard deviations along the surface [m].
    """
    distances, _ = (tree or cKDTree(points)).query(points, k=5)
    return np.clip(RADIUS * distances[:, 1:].mean(axis=1), 0.3 * spacing_m, 1.2 * spacing_m)


def sphere_directions(count: int) -> np.ndarray:
    """Spread directions evenly.

    Parameters
    ----------
    count : int
        How many.

    Returns
    -------
    (count, 3) float
        Unit vectors.
    """
    step = np.arange(count) + 0.5
    z, angle = 1 - 2 * step / count, step * np.pi * (1 + 5**0.5)
    radius = np.sqrt(1 - z * z)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), z], axis=1)


def rotation_grid(count: int) -> np.ndarray:
    """Spread rotations evenly (a super-Fibonacci spiral of quaternions).

    Parameters
    ----------
    count : int
        How many: 3000 are about 13 degrees apart.

    Returns
    -------
    (count, 3, 3) float
        Rotations.
    """
    step = np.arange(count) + 0.5
    inner, outer = np.sqrt(step / count), np.sqrt(1 - step / count)
    first, second = 2 * np.pi * step / 2**0.5, 2 * np.pi * step / 1.533751168755204288118041
    w, x, y, z = inner * np.sin(first), inner * np.cos(first), outer * np.sin(second), outer * np.cos(second)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.ascontiguousarray(np.array(rows).transpose(2, 0, 1))


def _slopes(tree: cKDTree, normals: np.ndarray, colours: np.ndarray, seen: np.ndarray, spacing_m: float) -> np.ndarray:
    """How colours change along the surface (N, 3, 3): a least-squares plane through the neighbours' colours."""
    points = np.asarray(tree.data)
    _, near = tree.query(points, k=min(NEIGHBOURS, len(points)))
    same = ((normals[near] * normals[:, None]).sum(axis=2) > 0.5) & seen[near]
    apart = points[near] - points[:, None]
    apart -= (apart * normals[:, None]).sum(axis=2)[..., None] * normals[:, None]
    apart *= same[..., None]
    change = (colours[near] - colours[:, None]) * same[..., None]
    system = np.einsum("nki,nkj->nij", apart, apart)
    system += spacing_m**2 * (normals[:, :, None] * normals[:, None] + 1e-2 * np.eye(3))
    return np.linalg.solve(system, np.einsum("nki,nkc->nic", apart, change)).transpose(0, 2, 1) * seen[:, None, None]


def _visible_middle(points: np.ndarray, normals: np.ndarray, spacing_m: float, direction: np.ndarray) -> np.ndarray:
    """Middle (3,) of what is visible from a direction: the nearest disc in each cell of the image."""
    helper = np.array([0.0, 0, 1]) if abs(direction[2]) < 0.9 else np.array([1.0, 0, 0])
    right = np.cross(direction, helper)
    right /= np.linalg.norm(right)
    pixels = np.stack([points @ right, points @ np.cross(direction, right)], axis=1)
    pixels = np.floor(pixels / (1.6 * spacing_m)).astype(int)
    pixels -= pixels.min(axis=0)
    codes = pixels[:, 0] * (pixels[:, 1].max() + 1) + pixels[:, 1]
    height = points @ direction
    nearest = np.full(codes.max() + 1, -np.inf)
    np.maximum.at(nearest, codes, height)
    visible = (height > nearest[codes] - 2.5 * spacing_m) & (normals @ direction > 0.1)
    if not visible.any():
        return points.mean(axis=0)
    _, first = np.unique(codes[visible], return_index=True)
    return points[visible][first].mean(axis=0)
