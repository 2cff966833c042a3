"""What stands on tables and is of no NOCS category: boxes, books, discs, fruit, plates, rods, turned and composed
shapes.

A segmenter must find these, too, and must not call them bottles or mugs.
"""

from __future__ import annotations

import numpy as np

from training.data.scene_format import OTHER_CATEGORY
from training.data.shapes.mesh import box, lathe, rectangle, slab, superellipse, sweep
from training.data.shapes.shape import BODY, DETAIL, Family, Parts, Shape, assembled, drawn, drawn_scale


def carton(rng: np.random.Generator) -> Parts:
    """As `Family`: cereal boxes, parcels, packets of tea."""
    length, height, width = np.exp(rng.uniform(np.log(0.04), np.log(0.28), 3))
    return [(box(length, height, width, edge=rng.choice([0.0, 0.003])), BODY)]


def book(rng: np.random.Generator) -> Parts:
    """As `Family`: books, tablets, closed folders; lying flat."""
    length, width = rng.uniform(0.14, 0.32), rng.uniform(0.10, 0.24)
    return [(box(length, rng.uniform(0.008, 0.05), width), BODY)]


def disc(rng: np.random.Generator) -> Parts:
    """As `Family`: tins of cream, cake tins, coasters, rolls of tape: flatter or wider than any can."""
    if rng.random() < 0.6:
        radius = rng.uniform(0.025, 0.07)
        height = 2 * radius * rng.uniform(0.08, 0.22)
    else:
        radius = rng.uniform(0.075, 0.13)
        height = 2 * radius * rng.uniform(0.1, 0.5)
    if rng.random() < 0.3:  # a roll, a ring
        hole = radius * rng.uniform(0.4, 0.85)
        ring = np.array([[hole, 0.0], [radius, 0.0], [radius, height], [hole, height], [hole, 0.0]])
        return [(lathe(ring), BODY)]
    profile = np.array([[radius, 0.0], [radius, 0.8 * height], [0.96 * radius, height]])
    return [(lathe(profile), BODY)]


def fruit(rng: np.random.Generator) -> Parts:
    """As `Family`: apples, oranges, balls, melons; and bananas."""
    if rng.random() < 0.25:
        bend, length = rng.uniform(0.4, 1.6), rng.uniform(0.12, 0.22)
        angle = np.linspace(-0.5 * bend, 0.5 * bend, 13)
        path = length / bend * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
        thick = rng.uniform(0.014, 0.022) * np.sin(np.linspace(0.25, np.pi - 0.25, 13)) ** 0.5
        return [(sweep(path, thick[:, None, None] * superellipse(columns=12)), BODY)]
    radius, long = rng.uniform(0.025, 0.075), rng.uniform(0.85, 1.5)
    angle = np.linspace(-np.pi / 2 + 0.02, np.pi / 2 - 0.02, 15)
    return [(lathe(np.stack([radius * np.cos(angle), long * radius * np.sin(angle)], axis=-1)), BODY)]


def plate(rng: np.random.Generator) -> Parts:
    """As `Family`: plates, saucers and lids: much flatter than a bowl."""
    rim, height, wall = rng.uniform(0.06, 0.15), rng.uniform(0.008, 0.025), rng.uniform(0.003, 0.006)
    foot = rim * rng.uniform(0.45, 0.8)
    outer = [[foot, 0.0], [0.5 * (foot + rim), rng.uniform(0.15, 0.5) * height], [rim, height]]
    inner = [[rim - wall, height], [0.5 * (foot + rim), outer[1][1] + wall], [0.95 * foot, wall]]
    return [(lathe(np.array(outer + inner)), BODY)]


def rod(rng: np.random.Generator) -> Parts:
    """As `Family`: pens, cutlery, screwdrivers, tubes; lying along x."""
    length, radius = rng.uniform(0.1, 0.32), rng.uniform(0.004, 0.02)
    profile = np.array([[rng.uniform(0.4, 1) * radius, 0.0], [radius, 0.08 * length], [radius, 0.5 * length]])
    tip = rng.uniform(0.3, 1.0) * radius
    profile = np.concatenate([profile, [[tip, 0.55 * length], [tip, length]]])
    return [(lathe(profile, superellipse(columns=16)).turned("z", -np.pi / 2), BODY)]


def turned_shape(rng: np.random.Generator) -> Parts:
    """As `Family`: candlesticks, egg timers, cones, funnels, stools, spools: turned, but like no vessel."""
    knots = rng.integers(3, 7)
    height, radius = rng.uniform(0.05, 0.26), rng.uniform(0.025, 0.09)
    # wide and narrow in turns: a cylinder would be a can, and what is wide below and narrow above a bottle
    wide = (np.arange(knots) + rng.integers(2)) % 2 == 0
    radii = radius * np.where(wide, rng.uniform(0.55, 1.0, knots), rng.uniform(0.1, 0.4, knots))
    heights = np.sort(np.concatenate([[0.0, 1.0], rng.uniform(0.05, 0.95, knots - 2)])) * height
    fine = np.linspace(0, height, 15)
    return [(lathe(np.stack([np.interp(fine, heights, radii), fine], axis=-1)), BODY)]


def composed(rng: np.random.Generator) -> Parts:
    """As `Family`: tools, toys, lamps: some blocks and cylinders stuck together."""
    parts: Parts = []
    for number in range(rng.integers(2, 6)):
        size = np.exp(rng.uniform(np.log(0.015), np.log(0.16), 3))
        if rng.random() < 0.5:
            mesh = box(*size)
        else:
            mesh = lathe(np.array([[0.5 * size[0], 0.0], [0.5 * size[2], size[1]]]), superellipse(columns=20))
        mesh = mesh.turned(rng.choice(["x", "y", "z"]), rng.choice([0.0, 0.5 * np.pi, rng.uniform(0, np.pi)]))
        if parts:  # onto a random point of what is there
            there = parts[rng.integers(len(parts))][0].vertices
            mesh = mesh.moved(*(there[rng.integers(len(there))] * rng.uniform(0.3, 0.9) - mesh.vertices.mean(axis=0)))
        parts.append((mesh, BODY if number == 0 else DETAIL))
    return parts


def tray(rng: np.random.Generator) -> Parts:
    """As `Family`: open boxes and trays."""
    length, width, height = rng.uniform(0.1, 0.34), rng.uniform(0.08, 0.26), rng.uniform(0.02, 0.14)
    wall = rng.uniform(0.002, 0.008)
    parts: Parts = [(slab(rectangle(length, width, 0.0, columns=4), 0.0, wall), BODY)]
    for side in (-1, 1):
        parts.append((box(wall, height, width).moved(x=side * 0.5 * (length - wall)), BODY))
        parts.append((box(length, height, wall).moved(z=side * 0.5 * (width - wall)), BODY))
    return parts


FAMILIES: dict[Family, float] = {
    carton: 0.26,
    book: 0.12,
    disc: 0.1,
    fruit: 0.14,
    plate: 0.08,
    rod: 0.08,
    turned_shape: 0.06,
    composed: 0.12,
    tray: 0.04,
}


def other(rng: np.random.Generator) -> Shape:
    """Make an object of none of the six categories.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres, as it usually stands; its category is `OTHER_CATEGORY`.
    """
    return assembled(
        OTHER_CATEGORY, drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.05, upright=0.05, across=0.05)
    )
