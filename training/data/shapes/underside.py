"""The side on which objects stand: flat, hollow, or missed by a scanner.

A network that only ever saw flat ones takes every hollow end for a mouth, and turns what lies upside down.
"""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import Mesh, loft
from training.data.shapes.shape import Parts, drawn

FLAT_M = 2e-4  # faces this close to the lowest point are those that it stands on


def standing(
    rng: np.random.Generator, parts: Parts, hollow: float, missed: float, deepest: float = 0.012, floored: float = 0.35
) -> Parts:
    """Make the underside of an object: hollow within a rim, or a hole, as a scanner leaves that which it did not see.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    parts : list of (Mesh, int)
        With closed, flat undersides.
    hollow : float
        Probability of a hollow.
    missed : float
        Probability that the underside is not there.
    deepest : float
        Of hollows [m].
    floored : float
        Of those missed, the share that keep the floor inside, where there is one.

    Returns
    -------
    list of (Mesh, int)
        Parts with the same box.
    """
    kind = drawn(rng, {"hollow": hollow, "missed": missed, "flat": max(1 - hollow - missed, 0.0)})
    if kind == "flat":
        return parts
    lowest = min(mesh.vertices[:, 1].min() for mesh, _ in parts)
    height = max(mesh.vertices[:, 1].max() for mesh, _ in parts) - lowest
    if kind == "missed":
        reach = FLAT_M if rng.random() < floored else rng.uniform(0.1, 0.25) * height
        return [(Mesh(mesh.vertices, mesh.faces[~low_caps(mesh, lowest + reach)]), part) for mesh, part in parts]
    rim, slope = rng.uniform(0.03, 0.2), rng.uniform(0.02, 0.3)
    depth, dome = min(rng.uniform(0.3, 1.0) * deepest, 0.15 * height), rng.uniform(0.5, 1.0)
    shares = np.array([1.0, 1 - rim, (1 - rim) * (1 - slope), 0.5 * (1 - rim) * (1 - slope)])
    hollowed: Parts = []
    for mesh, part in parts:
        fan = low_caps(mesh, lowest + FLAT_M)
        if not fan.any():
            hollowed.append((mesh, part))
            continue
        ring = mesh.vertices[mesh.faces[fan, 1]]
        middle = ring.mean(axis=0)
        rings = middle + shares[:, None, None] * (ring - middle)
        rings[..., 1] += depth * np.array([0.0, 0.0, dome, 1.0])[:, None]
        recess = loft(rings)
        below = low_caps(recess, lowest + FLAT_M)
        hollowed += [(Mesh(mesh.vertices, mesh.faces[~fan]), part), (Mesh(recess.vertices, recess.faces[~below]), part)]
    return hollowed


def low_caps(mesh: Mesh, below: float) -> np.ndarray:
    """Find the caps that are low: standing faces, and floors.

    Parameters
    ----------
    mesh : Mesh
        As `loft` makes them: the middles of the caps are the last two vertices, and the first corners of their faces.
    below : float
        Up to this height [m].

    Returns
    -------
    (F,) bool
        True for their faces.
    """
    first = mesh.faces[:, 0]
    return (first >= len(mesh.vertices) - 2) & (mesh.vertices[first, 1] < below)
