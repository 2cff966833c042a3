"""Cans: drink cans, food tins from flat to tall, chip tubes and shakers."""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import Mesh, box, fillet, lathe, rectangle, superellipse, sweep
from training.data.shapes.shape import BODY, DETAIL, LID, Family, Parts, Shape, assembled, drawn, drawn_scale
from training.data.shapes.underside import standing


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


def pull_tab(rng: np.random.Generator) -> list[Mesh]:
    """Make a pull tab: a flat loop along x, half of it filled, over a rivet at the origin.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    list of Mesh
        Loop, web and rivet, on y = 0.
    """
    length, breadth = rng.uniform(0.015, 0.025), rng.uniform(0.012, 0.019)
    bar, thickness, rise = rng.uniform(0.002, 0.0035), rng.uniform(0.0008, 0.0016), rng.uniform(0.0, 0.0012)
    path = superellipse(rng.uniform(2, 5), columns=20) * (0.5 * (length - bar), 0.5 * (breadth - bar))
    loop = sweep(np.concatenate([path, path[:1]]), rectangle(bar, thickness, 0.0, columns=4))
    ahead = 0.5 * length - rng.uniform(0.004, 0.007)  # from the rivet to the middle of the loop
    web = box(0.45 * length, 0.8 * thickness, breadth - bar, 0.0).moved(x=ahead - 0.22 * length, y=rise)
    rivet = lathe(np.array([[0.003, 0.0], [0.0025, rise + 1.2 * thickness]]), superellipse(columns=12))
    return [loop.turned("x", np.pi / 2).moved(x=ahead, y=rise + 0.5 * thickness), web, rivet]


def tabbed(rng: np.random.Generator, lid: float, rivet: float) -> Parts:
    """Lay a pull tab on a lid, in any direction.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    lid : float
        Its height [m].
    rivet : float
        How far its rivet is from the axis, which the loop lies towards [m].

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    angle = rng.uniform(0, 2 * np.pi)
    return [(mesh.moved(x=-rivet, y=lid).turned("y", angle), DETAIL) for mesh in pull_tab(rng)]


def drink(rng: np.random.Generator) -> Parts:
    """As `Family`: drink cans, necked in at the top and at the foot."""
    radius = 0.5 * rng.triangular(0.05, 0.066, 0.085)
    height = 2 * radius * rng.triangular(1.3, 1.9, 2.9)
    neck, foot = radius * rng.uniform(0.76, 0.98), radius * rng.uniform(0.72, 0.97)
    slope, toe = rng.uniform(0.006, 0.03), rng.uniform(0.003, 0.014)
    wall = [[foot, 0], [radius, toe], [radius, height - slope], [neck, height - 0.004], [neck * 1.02, height]]
    recess = rng.uniform(0.002, 0.008)
    parts: Parts = [(lathe(fillet(ended(np.array(wall), 0.003, recess), rng.uniform(0, 0.008))), BODY)]
    if rng.random() < 0.75:
        parts += tabbed(rng, height - recess, rivet=rng.uniform(0.0, 0.003))
    return parts


def tin(rng: np.random.Generator) -> Parts:
    """As `Family`: food tins, low to tall, with seams at both ends, sometimes with beads around the belly."""
    radius = 0.5 * rng.triangular(0.052, 0.075, 0.11)
    height = np.clip(2 * radius * rng.triangular(0.5, 1.4, 2.6), 0.045, 0.2)
    return seamed(rng, radius, height, ringed=0.4)


def flat_tin(rng: np.random.Generator) -> Parts:
    """As `Family`: tuna and pet food tins, much wider than high."""
    radius = 0.5 * rng.triangular(0.06, 0.083, 0.11)
    height = np.clip(2 * radius * rng.uniform(0.28, 0.5), 0.022, 0.05)
    return seamed(rng, radius, height, ringed=0.6)


def seamed(rng: np.random.Generator, radius: float, height: float, ringed: float) -> Parts:
    """Make a tin with a seam around its lid, and sometimes around its foot.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius, height : float
        Of the tin [m].
    ringed : float
        Probability of a pull tab.

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    seam, recess = rng.uniform(0.001, 0.004), rng.uniform(0.001, 0.007)
    tapered = rng.random() < 0.25  # drawn of one piece: no seam at a narrower foot
    shrink = rng.uniform(0.86, 0.98) if tapered else 1.0
    proud = rng.uniform(0, 0.002)
    y = np.linspace(0.006, height - 0.006, 24)
    beads = (
        rng.choice([0.0, rng.uniform(0.0005, 0.0015)])
        * np.sin(rng.uniform(20, 60) * y / height)
        * (np.abs(y / height - 0.5) < 0.3)
    )
    belly = np.stack([radius * (shrink + (1 - shrink) * y / height) + beads, y], axis=-1)
    foot = [[radius + proud, 0], [radius + proud, 0.003], [radius, 0.004]]
    if tapered:
        foot = [[radius * shrink - 0.003, 0], [radius * shrink, 0.003]]
    head = [[radius, height - 0.004], [radius + proud, height - 0.003], [radius + proud, height]]
    parts: Parts = [(lathe(ended(np.concatenate([foot, belly, head]), seam, recess)), BODY)]
    if rng.random() < ringed:
        parts += tabbed(rng, height - recess, rivet=radius - 1.3 * seam - rng.uniform(0.008, 0.012))
    return parts


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


FAMILIES: dict[Family, float] = {drink: 0.38, tin: 0.25, flat_tin: 0.12, tube: 0.14, shaker: 0.11}


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
    parts, scale = drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.05, upright=0.07, across=0.015)
    return assembled("can", standing(rng, parts, hollow=0.45, missed=0.25), scale)
