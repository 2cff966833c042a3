"""Bottles: glass, soda, wine, steel flasks, squeeze bottles, spray cans and jars; round and not."""

from __future__ import annotations

import numpy as np

from training.shapes.mesh import COLUMNS, fillet, lathe, superellipse
from training.shapes.shape import BODY, LID, Family, Parts, Shape, assembled, drawn, drawn_scale


def cap(rng: np.random.Generator, radius: float, bottom: float, height: float) -> np.ndarray:
    """Draw the profile of a screw cap: straight or tapered, flat or domed.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius, bottom, height : float
        Of the cap [m].

    Returns
    -------
    (P, 2) float
        Radius and height [m].
    """
    shrink, dome = rng.uniform(0.82, 1.0), rng.choice([0.0, rng.uniform(0, 0.25)]) * radius
    line = [[radius, bottom], [radius * shrink, bottom + height], [0.5 * radius * shrink, bottom + height + dome]]
    return fillet(np.array(line), rng.uniform(0, 0.5) * min(radius, height))


def necked(
    rng: np.random.Generator, radius: float, height: float, shoulder: float, neck_start: float, neck: float
) -> Parts:
    """Make a foot, a body, a shoulder and a neck with a mouth or a cap.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius, height : float
        Of the bottle [m].
    shoulder, neck_start : float
        Heights [m].
    neck : float
        Radius [m].

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    waist, bulge = (
        radius * rng.choice([1.0, rng.uniform(0.86, 1.0)]),
        radius * rng.choice([1.0, rng.uniform(0.95, 1.03)]),
    )
    foot = radius * rng.uniform(0.82, 1.0)
    line = [[foot, 0], [radius, rng.uniform(0.008, 0.03)], [waist, rng.uniform(0.35, 0.6) * shoulder]]
    line += [[bulge, shoulder], [neck, neck_start], [neck, height]]
    soft = np.array([rng.uniform(0, 0.012), 0.05, rng.uniform(0, 0.08), rng.uniform(0, 0.08)])
    parts: Parts = [(lathe(fillet(np.array(line), soft, steps=6)), BODY)]
    closure = max(rng.uniform(0.008, 0.03), 0.25 * neck)
    if rng.random() < 0.75:
        wide = min(max(neck, 0.011) * rng.uniform(1.02, 1.35), max(1.04 * radius, 1.02 * neck))
        parts.append((lathe(cap(rng, wide, height - 0.8 * closure, closure)), LID))
    else:  # an open mouth with a lip
        lip = neck * rng.uniform(1.0, 1.2)
        mouth = [[lip, height - rng.uniform(0.004, 0.02)], [lip, height + 0.001], [0.8 * neck, height + 0.001]]
        parts.append((lathe(np.array(mouth)), LID))
    return parts


def glass(rng: np.random.Generator) -> Parts:
    """As `Family`: drink bottles (soda, juice, beer, wine)."""
    height = rng.triangular(0.16, 0.23, 0.33)
    radius = np.clip(height * rng.triangular(0.11, 0.19, 0.26), 0.026, 0.054)
    shoulder = height * rng.uniform(0.4, 0.75)
    neck_start = min(shoulder + height * rng.uniform(0.05, 0.3), 0.93 * height)
    return necked(rng, radius, height, shoulder, neck_start, neck=max(radius * rng.uniform(0.28, 0.6), 0.011))


def flask(rng: np.random.Generator) -> Parts:
    """As `Family`: steel and plastic flasks with a wide neck and a large cap, some with a waist or a stepped lid."""
    height = rng.triangular(0.16, 0.23, 0.3)
    radius = rng.uniform(0.032, 0.047)
    shoulder = height * rng.uniform(0.68, 0.88)
    parts = necked(
        rng,
        radius,
        height,
        shoulder,
        min(shoulder + rng.uniform(0.004, 0.03), 0.96 * height),
        neck=radius * rng.uniform(0.55, 0.95),
    )
    if rng.random() < 0.6:
        lid_radius = radius * rng.uniform(0.6, 1.03)
        parts.append((lathe(cap(rng, lid_radius, height - rng.uniform(0.01, 0.03), rng.uniform(0.015, 0.05))), LID))
    return parts


def squeeze(rng: np.random.Generator) -> Parts:
    """As `Family`: shampoo, mustard, detergent; oval, flat or squared under a flip-top, a nozzle or a screw cap."""
    height = rng.triangular(0.12, 0.18, 0.25)
    radius = rng.uniform(0.028, 0.05)
    aspect, exponent = rng.uniform(0.45, 1.0), rng.choice([2.0, rng.uniform(2.2, 6)])
    shoulder = height * rng.uniform(0.6, 0.92)
    neck, neck_start = radius * rng.uniform(0.3, 0.7) * aspect**0.5, shoulder + rng.uniform(0.003, 0.03)
    line = [[radius * rng.uniform(0.75, 1.0), 0], [radius * rng.uniform(0.9, 1.05), rng.uniform(0.1, 0.3) * shoulder]]
    line += [
        [radius * rng.uniform(0.8, 1.05), rng.uniform(0.5, 0.7) * shoulder],
        [radius * rng.uniform(0.65, 1.0), shoulder],
        [neck, neck_start],
    ]
    profile = fillet(np.array(line), np.array([0.06, 0.06, rng.uniform(0, 0.04)]), steps=6)
    flat = (profile[:, 1] < shoulder + 0.5 * (neck_start - shoulder))[:, None, None]
    section = np.where(flat, superellipse(exponent, aspect), superellipse())
    closure = rng.uniform(0.012, 0.05)
    style = rng.choice(3)
    if style == 0:  # a flip-top that goes on with the body's section
        lid = lathe(
            cap(rng, radius * rng.uniform(0.6, 1.0), shoulder, max(closure, 1.3 * (neck_start - shoulder))),
            superellipse(exponent, aspect),
        )
    elif style == 1:  # a nozzle
        widths, rises = neck * np.array([1.1, 1.0, 0.35, 0.2]), closure * np.array([0.0, 0.3, 0.4, 1.0])
        lid = lathe(fillet(np.stack([widths, neck_start - 0.003 + rises], axis=-1), rng.uniform(0, 0.01)))
    else:
        lid = lathe(cap(rng, neck * rng.uniform(0.95, 1.3), neck_start - 0.003, closure))
    quarter = rng.choice([0.0, np.pi / 2])  # scans have the broad side along x or along z
    return [(lathe(profile, section).turned("y", quarter), BODY), (lid.turned("y", quarter), LID)]


def square(rng: np.random.Generator) -> Parts:
    """As `Family`: juice and spirit bottles, a squared body that turns round towards the neck."""
    height = rng.uniform(0.16, 0.28)
    radius, aspect = rng.uniform(0.028, 0.045), rng.uniform(0.6, 1.0)
    shoulder = height * rng.uniform(0.55, 0.8)
    neck = max(radius * rng.uniform(0.3, 0.55), 0.012)
    line = np.array(
        [
            [radius * 0.96, 0],
            [radius, 0.006],
            [radius, shoulder],
            [neck, shoulder + rng.uniform(0.01, 0.2) * height],
            [neck, height],
        ]
    )
    profile = fillet(line, np.array([0.006, rng.uniform(0, 0.03), rng.uniform(0, 0.03)]), steps=6)
    roundness = np.clip((radius - profile[:, 0]) / (radius - neck), 0, 1)[:, None, None] * (
        profile[:, 1, None, None] > 0.5 * shoulder
    )
    section = (1 - roundness) * superellipse(rng.uniform(3, 10), aspect, COLUMNS) + roundness * superellipse()
    lid = lathe(cap(rng, neck * rng.uniform(1.05, 1.35), 0.93 * height, rng.uniform(0.07, 0.12) * height))
    return [(lathe(profile, section).turned("y", rng.choice([0.0, np.pi / 2])), BODY), (lid, LID)]


def spray(rng: np.random.Generator) -> Parts:
    """As `Family`: aerosol cans, a straight body, a domed shoulder, a nozzle or an overcap; sometimes flat."""
    height, radius = rng.uniform(0.14, 0.24), rng.uniform(0.022, 0.036)
    top = height * rng.uniform(0.72, 0.88)
    crown = radius * rng.uniform(0.5, 0.9)
    line = [[radius, 0], [radius, top], [crown, top + rng.uniform(0.006, 0.02)], [0.4 * radius, top + 0.02]]
    body = fillet(np.array(line), rng.uniform(0.002, 0.02))
    lid = lathe(cap(rng, rng.choice([crown, radius * rng.uniform(0.93, 1.0)]), top, height - top))
    aspect = rng.choice([1.0, rng.uniform(0.55, 1.0)])
    return [(lathe(body).scaled(z=aspect), BODY), (lid.scaled(z=aspect), LID)]


def jar(rng: np.random.Generator) -> Parts:
    """As `Family`: wide jars and pill bottles, a short body under a wide lid."""
    radius = rng.uniform(0.028, 0.055)
    height = 2 * radius * rng.uniform(1.15, 2.2)
    shoulder = height * rng.uniform(0.6, 0.8)
    return necked(
        rng,
        radius,
        height,
        shoulder,
        min(shoulder + rng.uniform(0.004, 0.02), 0.9 * height),
        neck=radius * rng.uniform(0.6, 0.92),
    )


FAMILIES: dict[Family, float] = {glass: 0.36, flask: 0.2, squeeze: 0.18, square: 0.08, spray: 0.1, jar: 0.08}


def bottle(rng: np.random.Generator) -> Shape:
    """Make a bottle: axis along y, mouth up.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    return assembled("bottle", drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.06, upright=0.06, across=0.015))
