"""Mugs: hollow bodies of many profiles with a handle of many forms at +x."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from training.data.shapes.mesh import Mesh, fillet, lathe, loft, superellipse, sweep
from training.data.shapes.shape import BODY, LID, ORIENTING, Parts, Shape, assembled, drawn, drawn_scale
from training.data.shapes.underside import standing
from training.data.shapes.vessel import bellied, hollowed


def mug_outer(rng: np.random.Generator) -> np.ndarray:
    """Draw an outer profile: straight, tapered, barrel, round-bottomed or conical.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (P, 2) float
        Radius and height [m].
    """
    rim = 0.5 * rng.triangular(0.064, 0.096, 0.12)
    height = np.clip(2 * rim * rng.triangular(0.65, 0.95, 1.45), 0.06, 0.145)
    foot = rim * rng.uniform(*drawn(rng, {(0.92, 1.03): 0.45, (0.5, 0.95): 0.47, (1.1, 1.35): 0.08}))
    if foot > 1.05 * rim:  # wide at the foot: the narrow rim shrinks, not the foot grows
        rim, foot = 0.9 * rim, 0.9 * foot
    roundness = 0.0 if foot > rim else rng.choice([0.0, rng.uniform(0.1, 1.0)])
    belly = 0.0 if rng.random() < 0.5 else rng.uniform(-0.1, 0.16)
    flare = 0.0 if rng.random() < 0.7 else rng.uniform(0, 0.1)
    return footed(rng, bellied(height, foot, rim, roundness, belly, flare))


def square_outer(rng: np.random.Generator) -> np.ndarray:
    """Draw an outer profile for a square section: nearly straight.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (P, 2) float
        Half width and height [m].
    """
    rim = 0.5 * rng.uniform(0.064, 0.088)
    height = np.clip(2 * rim * rng.uniform(0.85, 1.45), 0.065, 0.12)
    return footed(rng, bellied(height, rim * rng.uniform(0.75, 1.02), rim, 0.0, 0.0, 0.0))


def tapered_outer(rng: np.random.Generator) -> np.ndarray:
    """Draw an outer profile whose rim is much wider than its foot: a cone or a tea cup.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (P, 2) float
        Radius and height [m].
    """
    rim = 0.5 * rng.uniform(0.085, 0.12)
    height = 2 * rim * rng.uniform(0.6, 1.0)
    roundness = rng.choice([0.0, rng.uniform(0.1, 0.6)])
    return footed(rng, bellied(height, rim * rng.uniform(0.4, 0.62), rim, roundness, 0.0, 0.0))


def travel_outer(rng: np.random.Generator) -> np.ndarray:
    """Draw an outer profile of a travel mug: tall, straight or narrow at the foot to fit a cup holder.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (P, 2) float
        Radius and height [m].
    """
    rim = 0.5 * rng.uniform(0.076, 0.098)
    height, foot = rng.uniform(0.125, 0.185), rim * rng.uniform(0.66, 1.0)
    if rng.random() < 0.5:
        return footed(rng, bellied(height, foot, rim, 0.0, 0.0, 0.0))
    step = rng.uniform(0.25, 0.5) * height  # a narrow foot and a straight body above it
    line = [[foot, 0], [foot, step], [rim, step + rng.uniform(0.01, 0.04)], [rim, height]]
    smooth = fillet(np.array(line), 0.015)
    levels = np.linspace(0, height, 20)
    return footed(rng, np.stack([np.interp(levels, smooth[:, 1], smooth[:, 0]), levels], axis=-1))


def footed(rng: np.random.Generator, outer: np.ndarray) -> np.ndarray:
    """Break the edge between the standing face and the wall.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    outer : (P, 2) float
        Radius and height [m].

    Returns
    -------
    (Q, 2) float
        Radius and height [m].
    """
    foot = outer[0, 0]
    chamfer = rng.uniform(0, 0.012)  # the turn from the standing face into the wall
    return np.concatenate([fillet(np.array([[foot - chamfer, 0], [foot, 0], outer[3]]), chamfer)[:-1], outer[3:]])


def bend(rng: np.random.Generator) -> np.ndarray:
    """Draw the handle's line: C, D, square, triangular or ear.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (P, 2) float
        Out in [0, 1], and up from 1 down to -1.
    """
    angle = np.linspace(np.pi / 2, -np.pi / 2, 24)
    line = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    exponent = rng.choice([2.0, rng.uniform(1.3, 6.0)])
    line *= (np.abs(line) ** exponent).sum(axis=-1, keepdims=True) ** (-1 / exponent)
    ear = 1 + rng.choice([0.0, rng.uniform(-0.3, 0.5)]) * line[:, 1]  # wider at the top, or at the bottom
    line[:, 0] *= ear / (line[:, 0] * ear).max()
    return line


def handle(rng: np.random.Generator, outer: np.ndarray, wall: float) -> list[Mesh]:
    """Make a handle in the xy plane on a vessel: a round bar or a flat strip.

    Some have a thin web that fills the eye: small eyes look closed to a depth camera.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    outer : (P, 2) float
        Radius and height of the vessel [m].
    wall : float
        Its thickness [m].

    Returns
    -------
    list of Mesh
        The handle, and its web where there is one.
    """
    height = outer[-1, 1]
    top, bottom = rng.uniform(0.68, 0.97) * height, rng.uniform(0.08, 0.38) * height
    if rng.random() < 0.15:  # a small ring, high or low
        bottom = max(bottom, top - rng.uniform(0.03, 0.05))
    ends = np.interp([top, bottom], outer[:, 1], outer[:, 0]) - 0.5 * wall  # in the middle of the wall, not through it
    # a tapered mug is wider than it is where the handle starts
    reach = max(rng.triangular(0.02, 0.031, 0.05), outer[:, 0].max() + 0.016 - ends.mean())
    thickness = min(rng.triangular(0.004, 0.009, 0.015), 0.4 * reach, 0.2 * (top - bottom))
    breadth = np.clip(thickness * rng.uniform(0.8, 3.0), 0.006, 0.03)

    out, up = bend(rng).T
    y = 0.5 * (top + bottom) + 0.5 * (top - bottom - thickness) * up + rng.normal(0, 0.06) * height * out
    x = np.linspace(*ends, len(y)) + (reach + 0.5 * (wall - thickness)) * out
    path = np.stack([x, y], axis=-1)

    section = superellipse(rng.uniform(2, 6), columns=16) * (0.5 * thickness, 0.5 * breadth)
    swell = 1 + rng.uniform(-0.25, 0.25) * out
    bar = sweep(path, section * swell[:, None, None])
    if rng.random() > 0.12:
        return [bar]
    half = 0.3 * thickness
    return [bar, loft(np.stack([np.insert(path, 2, z, axis=1) for z in (-half, half)]))]


def lid(rng: np.random.Generator, outer: np.ndarray, section: np.ndarray) -> Mesh:
    """Make a travel mug's lid on the rim.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    outer : (P, 2) float
        Radius and height of the mug [m].
    section : (C, 2) float
        In x, z, times the radius.

    Returns
    -------
    Mesh
        Closed.
    """
    rim, height = outer[-1]
    rise = rng.uniform(0.005, 0.025)
    over, drop = rng.uniform(0.96, 1.06) * rim, rng.uniform(0.0, 0.012)
    line = np.array(
        [
            [over, height - drop],
            [over, height + 0.4 * rise],
            [over * rng.uniform(0.6, 0.95), height + rise],
            [0.4 * rim, height + rise],
        ]
    )
    return lathe(fillet(line, rng.uniform(0, 0.006)), section)


# With the probability of a lid.
OUTLINES: dict[tuple[Callable[[np.random.Generator], np.ndarray], float], float] = {
    (mug_outer, 0.08): 0.71,
    (square_outer, 0.05): 0.1,
    (tapered_outer, 0.0): 0.1,
    (travel_outer, 0.75): 0.09,
}


def mug_parts(rng: np.random.Generator) -> Parts:
    """As `Family`: a mug standing on y = 0, axis along y."""
    outline, lidded = drawn(rng, OUTLINES)
    outer = outline(rng)
    section = superellipse(rng.uniform(3, 6)) if outline is square_outer else superellipse()
    wall = rng.uniform(0.002, 0.006)
    floor = rng.uniform(*drawn(rng, {(0.003, 0.01): 0.75, (0.01, 0.02): 0.25}))
    profile = hollowed(outer, wall, floor, lip=rng.choice([0.0, wall / 2]))
    parts: Parts = [(lathe(profile, section), BODY), *((mesh, ORIENTING) for mesh in handle(rng, outer, wall))]
    if rng.random() < lidded:
        parts.append((lid(rng, outer, section), LID))
    return standing(rng, parts, hollow=0.45, missed=0.3, deepest=floor - 0.001)


def mug(rng: np.random.Generator) -> Shape:
    """Make a mug: y up, handle at +x.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    return assembled("mug", mug_parts(rng), drawn_scale(rng, overall=0.05, upright=0.06, across=0.015))
