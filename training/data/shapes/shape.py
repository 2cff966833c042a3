"""One generated object in its canonical frame.

Categories are drawn from families. A `Family` is a function of a generator that gives the parts of a random object,
meshes with their part ids, in metres and with y up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from training.data.shapes.mesh import Mesh

T = TypeVar("T")
Parts = list[tuple[Mesh, int]]
Family = Callable[[np.random.Generator], Parts]

# Part ids, the same in all categories.
BODY, ORIENTING, DETAIL, LID = 0, 1, 2, 3


@dataclass(frozen=True)
class Shape:
    """A mesh in the NOCS canonical frame: y up, origin at the centre of the tight axis-aligned box.

    Overlapping parts are not united, windings are not consistent.

    Parameters
    ----------
    category : str
        Of CATEGORIES.
    vertices : (V, 3) float32 ndarray
        [m].
    faces : (F, 3) int32 ndarray
        Into the vertices.
    parts : (F,) uint8 ndarray
        0 body, 1 what tells the orientation (mug handle, laptop screen, camera lens), 2 detail, 3 lid.
    size : (3,) float32 ndarray
        Full extents [m].
    """

    category: str
    vertices: np.ndarray
    faces: np.ndarray
    parts: np.ndarray
    size: np.ndarray


def assembled(category: str, parts: Parts, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Shape:
    """Make a shape of meshes, scaled along each axis and centred on its tight box.

    Parameters
    ----------
    category : str
        Of CATEGORIES.
    parts : list of (Mesh, int)
        With their part ids.
    scale : (float, float, float)
        Of x, y, z.

    Returns
    -------
    Shape
        In metres, if the meshes are.
    """
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh, _ in parts])
    vertices = np.concatenate([mesh.vertices for mesh, _ in parts]) * scale
    faces = np.concatenate([mesh.faces + start for (mesh, _), start in zip(parts, starts, strict=False)])
    ids = np.concatenate([np.full(len(mesh.faces), part) for mesh, part in parts])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - 0.5 * (low + high)).astype(np.float32)
    return Shape(category, vertices, faces.astype(np.int32), ids.astype(np.uint8), np.ptp(vertices, axis=0))


def drawn(rng: np.random.Generator, weighted: dict[T, float]) -> T:
    """Draw a key, with probability proportional to its weight.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    weighted : dict of float
        Weights of the keys.

    Returns
    -------
    Any
        A key.
    """
    weights = np.array(list(weighted.values()))
    return list(weighted)[rng.choice(len(weights), p=weights / weights.sum())]


def drawn_scale(
    rng: np.random.Generator, overall: float, upright: float, across: float = 0.0
) -> tuple[float, float, float]:
    """Draw a scale along each axis, log-normal and cut at two sigma.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    overall, upright, across : float
        Sigma of the whole, of the height against the footprint, and of x against z.

    Returns
    -------
    (float, float, float)
        Of x, y, z.
    """
    whole, tall, wide = np.exp(rng.normal(0.0, 1.0, 3).clip(-2, 2) * (overall, upright, across))
    return float(whole * wide), float(whole * tall), float(whole / wide)
