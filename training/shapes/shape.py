"""One generated object in its canonical frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from training.shapes.mesh import Mesh

T = TypeVar("T")
Parts = list[tuple[Mesh, int]]
Family = Callable[[np.random.Generator], Parts]

# Part ids, the same in all categories.
BODY, ORIENTING, DETAIL, LID = 0, 1, 2, 3


@dataclass(frozen=True)
class Shape:
    """A mesh in the NOCS canonical frame: y up, origin at the centre of the tight axis-aligned box.

    vertices (V, 3) float32 [m]; faces (F, 3) int32; parts (F,) uint8: 0 body, 1 what tells the orientation (mug handle,
    laptop screen, camera lens), 2 detail, 3 lid; size (3,) float32 [m], full extents. Overlapping parts are not united,
    windings are not consistent.
    """

    category: str
    vertices: np.ndarray
    faces: np.ndarray
    parts: np.ndarray
    size: np.ndarray


def assembled(category: str, parts: Parts, scale: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Shape:
    """The shape made of meshes with their part ids, scaled per axis and centred on its tight box."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh, _ in parts])
    vertices = np.concatenate([mesh.vertices for mesh, _ in parts]) * scale
    faces = np.concatenate([mesh.faces + start for (mesh, _), start in zip(parts, starts, strict=False)])
    ids = np.concatenate([np.full(len(mesh.faces), part) for mesh, part in parts])
    low, high = vertices.min(axis=0), vertices.max(axis=0)
    vertices = (vertices - 0.5 * (low + high)).astype(np.float32)
    return Shape(category, vertices, faces.astype(np.int32), ids.astype(np.uint8), np.ptp(vertices, axis=0))


def drawn(rng: np.random.Generator, weighted: dict[T, float]) -> T:
    """One of the keys, with probability proportional to its weight."""
    weights = np.array(list(weighted.values()))
    return list(weighted)[rng.choice(len(weights), p=weights / weights.sum())]


def drawn_scale(
    rng: np.random.Generator, overall: float, upright: float, across: float = 0.0
) -> tuple[float, float, float]:
    """Scale per axis from log-normal jitters: of the whole, of the height against the footprint, and of x against z."""
    whole, tall, wide = np.exp(rng.normal(0.0, 1.0, 3).clip(-2, 2) * (overall, upright, across))
    return float(whole * wide), float(whole * tall), float(whole / wide)
