"""Bowls: hemispherical, conical and flat-bottomed, with and without a foot ring, and ramekins."""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import COLUMNS, lathe, superellipse
from training.data.shapes.shape import BODY, DETAIL, Family, Parts, Shape, assembled, drawn, drawn_scale
from training.data.shapes.underside import standing
from training.data.shapes.vessel import bellied, hollowed


def foot_ring(rng: np.random.Generator, foot: float) -> np.ndarray:
    """Draw the profile of the ring under a bowl.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    foot : float
        Radius of the bowl's base [m].

    Returns
    -------
    (4, 2) float
        Radius and height [m].
    """
    depth, splay = rng.uniform(0.003, 0.014), rng.uniform(-0.004, 0.002)
    radius = foot * rng.uniform(0.75, 1.0)
    return np.array(
        [[radius - 0.005, 0.002], [radius - 0.005 + splay, -depth], [radius + splay, -depth], [radius, 0.003]]
    )


def open_bowl(rng: np.random.Generator) -> Parts:
    """As `Family`: a bowl in its upright position, rim at the top."""
    rim = 0.5 * rng.triangular(0.105, 0.155, 0.225)
    height = 2 * rim * rng.triangular(0.3, 0.44, 0.68)
    foot = rim * rng.triangular(0.2, 0.45, 0.8)
    outer = bellied(
        height,
        foot,
        rim,
        roundness=rng.uniform(0, 1),
        belly=rng.uniform(-0.06, 0.12),
        flare=rng.choice([0, rng.uniform(0, 0.12)]),
    )
    wall = rng.uniform(0.002, 0.006)
    profile = hollowed(outer, wall, floor=rng.uniform(0.002, 0.009), lip=rng.choice([0.0, wall / 2]))
    section = superellipse(rng.uniform(2, 4), columns=COLUMNS) if rng.random() < 0.1 else None
    parts: Parts = [(lathe(profile, section), BODY)]
    if rng.random() < 0.5:
        parts.append((lathe(foot_ring(rng, foot), section), DETAIL))
    return parts


def ramekin(rng: np.random.Generator) -> Parts:
    """As `Family`: small dishes with steep straight walls on a broad flat base."""
    rim = 0.5 * rng.triangular(0.065, 0.088, 0.11)
    height = 2 * rim * rng.uniform(0.4, 0.65)
    outer = bellied(
        height,
        foot=rim * rng.uniform(0.78, 0.99),
        rim=rim,
        roundness=rng.choice([0.0, rng.uniform(0.05, 0.3)]),
        belly=rng.choice([0.0, rng.uniform(0, 0.04)]),
        flare=rng.choice([0.0, rng.uniform(0, 0.05)]),
    )
    wall = rng.uniform(0.002, 0.006)
    profile = hollowed(outer, wall, floor=rng.uniform(0.002, 0.006), lip=rng.choice([0.0, wall / 2]))
    section = superellipse(rng.uniform(2.5, 4.5)) if rng.random() < 0.12 else None
    return [(lathe(profile, section), BODY)]


FAMILIES: dict[Family, float] = {open_bowl: 0.85, ramekin: 0.15}


def bowl(rng: np.random.Generator) -> Shape:
    """Make a bowl: axis along y.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    parts, scale = drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.04, upright=0.08, across=0.01)
    return assembled("bowl", standing(rng, parts, hollow=0.0, missed=0.15), scale)
