"""Cans: drink cans, food tins from flat to tall, chip tubes and shakers."""

from __future__ import annotations

import numpy as np

from training.shapes.mesh import fillet, lathe
from training.shapes.shape import BODY, LID, Family, Parts, Shape, assembled, drawn, drawn_scale


def ended(wall: np.ndarray, seam: float, recess: float) -> np.ndarray:
    """Close a side wall by a lid that lies below a seam.

    Parameters
    ----------
    wall : (P, 2) float
        Radius and height, bottom to top [m].
    seam : float
        Its width [m].
    recess : float
        How deep the lid lies [m].

    Returns
    -------
    (P + 2, 2) float
        Radius and height [m].
    """
    radius, top = wall[-1]
    return np.concatenate([wall, [[radius - seam, top], [radius - 1.3 * seam, top - recess]]])


def drink(rng: np.random.Generator) -> Parts:
    """As `Family`: drink cans, necked in at the top and at the foot."""
    radius = 0.5 * rng.triangular(0.05, 0.066, 0.085)
    height = 2 * radius * rng.triangular(1.3, 1.9, 2.9)
    neck, foot = radius * rng.uniform(0.76, 0.98), radius * rng.uniform(0.72, 0.97)
    slope, toe = rng.uniform(0.006, 0.03), rng.uniform(0.003, 0.014)
    wall = [[foot, 0], [radius, toe], [radius, height - slope], [neck, height - 0.004], [neck * 1.02, height]]
    return [(lathe(fillet(ended(np.array(wall), 0.003, rng.uniform(0.002, 0.008)), rng.uniform(0, 0.008))), BODY)]


def tin(rng: np.random.Generator) -> Parts:
    """As `Family`: food tins, tuna-low to tall, with seams at both ends, sometimes with beads around the belly."""
    radius = 0.5 * rng.triangular(0.052, 0.075, 0.11)
    height = np.clip(2 * radius * rng.triangular(0.5, 1.4, 2.6), 0.045, 0.2)
    seam, recess = rng.uniform(0.001, 0.004), rng.uniform(0.001, 0.007)
    proud = rng.uniform(0, 0.002)
    y = np.linspace(0.006, height - 0.006, 24)
    beads = (
        rng.choice([0.0, rng.uniform(0.0005, 0.0015)])
        * np.sin(rng.uniform(20, 60) * y / height)
        * (np.abs(y / height - 0.5) < 0.3)
    )
    belly = np.stack([radius + beads, y], axis=-1)
    foot = [[radius + proud, 0], [radius + proud, 0.003], [radius, 0.004]]
    head = [[radius, height - 0.004], [radius + proud, height - 0.003], [radius + proud, height]]
    return [(lathe(ended(np.concatenate([foot, belly, head]), seam, recess)), BODY)]


def tube(rng: np.random.Generator) -> Parts:
    """As `Family`: chip tubes and tea tins, straight, with a plain or domed overcap."""
    radius = 0.5 * rng.triangular(0.05, 0.072, 0.1)
    height = np.clip(2 * radius * rng.uniform(1.2, 3.2), 0.08, 0.24)
    cap_radius, cap_height = radius * rng.uniform(1.0, 1.06), rng.uniform(0.006, 0.035)
    body = np.array([[radius - 0.001, 0], [radius, 0.001], [radius, height - 0.003]])
    dome = rng.choice([0.0, rng.uniform(0, 0.012)])
    cap = [[cap_radius, height - cap_height], [cap_radius, height]]
    cap += [[cap_radius * rng.uniform(0.6, 0.98), height + dome], [0.3 * radius, height + 1.1 * dome]]
    return [(lathe(body), BODY), (lathe(fillet(np.array(cap), rng.uniform(0, 0.006))), LID)]


def shaker(rng: np.random.Generator) -> Parts:
    """As `Family`: spice and pepper shakers, a body that tapers or narrows to a cap."""
    radius = 0.5 * rng.uniform(0.04, 0.072)
    height = np.clip(2 * radius * rng.uniform(1.3, 2.6), 0.07, 0.17)
    shoulder = height * rng.uniform(0.55, 0.85)
    cap = radius * rng.uniform(0.65, 1.02)
    line = [
        [radius * rng.uniform(0.85, 1.1), 0],
        [radius, 0.3 * height],
        [radius * rng.uniform(0.9, 1.0), shoulder],
        [cap * 0.97, shoulder + 0.006],
    ]
    top = [
        [cap, shoulder + 0.004],
        [cap, height - 0.004],
        [cap * rng.uniform(0.5, 0.95), height],
        [0.3 * cap, height + rng.uniform(0, 0.004)],
    ]
    soft = rng.uniform(0, 0.015)
    return [(lathe(fillet(np.array(line), soft)), BODY), (lathe(fillet(np.array(top), soft)), LID)]


FAMILIES: dict[Family, float] = {drink: 0.4, tin: 0.32, tube: 0.16, shaker: 0.12}


def can(rng: np.random.Generator) -> Shape:
    """Make a can: axis along y.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    return assembled("can", drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.05, upright=0.07, across=0.015))
