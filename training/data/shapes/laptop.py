"""Opened laptops: base in the xz plane, keyboard towards +x, screen at -x and leaning back, symmetric in z."""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import Mesh, box, lathe, loft, raised, rectangle, slab_rings
from training.data.shapes.shape import BODY, DETAIL, ORIENTING, Parts, Shape, assembled, drawn, drawn_scale


def panel(
    length: float, width: float, thickness: float, corner: float, edge: float, sunk: np.ndarray, depth: float
) -> Mesh:
    """Make a plate over x in [0, length], y in [0, thickness], z in ±width/2, its top lowered within an outline.

    Parameters
    ----------
    length, width, thickness : float
        Extents [m].
    corner, edge : float
        Radii of the outline's corners and of the edges [m].
    sunk : (C, 2) float
        The outline in x, z [m].
    depth : float
        How far it is lowered [m].

    Returns
    -------
    Mesh
        Closed.
    """
    outline = rectangle(length, width, corner) + (0.5 * length, 0.0)
    well = raised(np.stack([sunk, sunk]), np.array([thickness, thickness - depth]))
    return loft(np.concatenate([slab_rings(outline, 0.0, thickness, edge), well]))


def keyboard(rng: np.random.Generator, start: float, length: float, width: float, deck: float) -> Parts:
    """Make rows of keys.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    start : float
        x of the first row [m].
    length, width : float
        Extents in x and z [m].
    deck : float
        Height of their base [m].

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    rows = 6
    pitch = length / rows
    rise = rng.uniform(0.0005, 0.003)
    return [(box(0.8 * pitch, rise, width).moved(x=start + (row + 0.5) * pitch, y=deck), DETAIL) for row in range(rows)]


def screen(rng: np.random.Generator, length: float, width: float, corner: float, thickest: float) -> Mesh:
    """Make the lid as it lies closed: hinge at x = 0, display with a bezel facing down at y = 0.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    length, width : float
        Extents in x and z [m].
    corner : float
        Radius of the corners [m].
    thickest : float
        Its thickness, at most [m].

    Returns
    -------
    Mesh
        Closed.
    """
    thickness, bezel = rng.uniform(0.002, thickest), rng.uniform(0.005, 0.02)
    chin = bezel * rng.uniform(1.0, 2.5)
    view = rectangle(length - bezel - chin, width - 2 * bezel, 0.002) + (0.5 * (length - bezel + chin), 0.0)
    lid = panel(length, width, thickness, corner, rng.uniform(0, 0.4) * thickness, view, rng.uniform(0, 0.002))
    return lid.moved(y=-thickness).scaled(y=-1)


def hinge(rng: np.random.Generator, width: float, radius: float) -> list[Mesh]:
    """Make one long or two short barrels along z through the origin.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    width : float
        Of the laptop [m].
    radius : float
        Of the barrels [m].

    Returns
    -------
    list of Mesh
        One or two.
    """
    span, count = (rng.uniform(0.5, 0.9), 1) if rng.random() < 0.4 else (rng.uniform(0.05, 0.2), 2)
    half = 0.5 * span * width
    barrel = lathe(np.array([[radius, -half], [radius, half]])).turned("x", np.pi / 2)
    offset = rng.uniform(0.25, 0.45) * width - half
    return [barrel] if count == 1 else [barrel.moved(z=offset), barrel.moved(z=-offset)]


def wedged(mesh: Mesh, slope: float) -> Mesh:
    """Reduce the heights of a mesh along x.

    Parameters
    ----------
    mesh : Mesh
        Of the base.
    slope : float
        By which share per length [1/m].

    Returns
    -------
    Mesh
        Changed.
    """
    vertices = mesh.vertices.copy()
    vertices[:, 1] *= 1 - slope * vertices[:, 0]
    return Mesh(vertices, mesh.faces)


def laptop_parts(rng: np.random.Generator) -> Parts:
    """As `Family`: a laptop standing on y = 0 with its hinge near x = 0."""
    width = rng.triangular(0.25, 0.325, 0.41)
    narrow, deep = drawn(rng, {(0.6, 0.78): 0.75, (0.56, 0.64): 0.25})  # the second: 16:9 without a palm rest
    depth = np.clip(width * rng.uniform(narrow, deep), 0.15, 0.29)
    # of scans, which lose what lies against the table, less than of the thing itself
    thin = rng.random() < 0.3
    thickness = rng.uniform(0.002, 0.008) if thin else rng.triangular(0.002, 0.008, 0.028)
    corner = rng.uniform(0.001, 0.02)

    margin, key_length = rng.uniform(0.008, 0.035), depth * rng.uniform(0.38, 0.55)
    key_width = width * rng.uniform(0.8, 0.95)
    recess = rng.uniform(0, 0.003)
    start = 0.01 + margin
    well = rectangle(key_length, key_width, 0.003) + (start + 0.5 * key_length, 0.0)
    base = panel(depth, width, thickness, corner, rng.uniform(0, 0.45) * thickness, well, recess)
    parts: Parts = [(base, BODY), *keyboard(rng, start, key_length, key_width, thickness - recess)]
    if rng.random() < 0.8:
        pad_start = start + key_length + 0.008
        pad = max(0.02, depth - pad_start - 0.01) * rng.uniform(0.7, 1.0)
        parts.append(
            (
                box(pad, 0.001, width * rng.uniform(0.2, 0.42)).moved(x=pad_start + 0.5 * pad, y=thickness - 0.0002),
                DETAIL,
            )
        )

    slope = rng.choice([0.0, rng.uniform(0, 0.5)])  # a wedge: thinner towards the user
    parts = [(wedged(mesh, slope / depth), part) for mesh, part in parts]

    opening = np.radians(np.clip(rng.normal(120, 16), 70, 165) if rng.random() < 0.65 else rng.uniform(70, 165))
    hinge_x, hinge_y = rng.uniform(-0.006, 0.012), thickness + rng.uniform(-0.006, 0.008)
    lid = screen(rng, depth * rng.uniform(0.9, 1.03), width * rng.uniform(0.97, 1.0), corner, 0.005 if thin else 0.01)
    parts.append((lid.turned("z", opening).moved(hinge_x, hinge_y), ORIENTING))
    parts += [(barrel.moved(hinge_x, hinge_y), DETAIL) for barrel in hinge(rng, width, rng.uniform(0.003, 0.008))]
    if rng.random() < 0.15:  # a battery that sticks out at the back
        bump = rng.uniform(0.005, 0.02)
        parts.append((box(2 * bump, thickness * rng.uniform(0.7, 1.2), width * rng.uniform(0.5, 0.9), 0.003), DETAIL))
    return parts


def laptop(rng: np.random.Generator) -> Shape:
    """Make an opened laptop: base at the bottom, screen at -x leaning towards -x, width along z.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    return assembled("laptop", laptop_parts(rng), drawn_scale(rng, overall=0.03, upright=0.03, across=0.03))
