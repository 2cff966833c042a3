"""Bottles: glass, soda, wine, flasks, tumblers, squeeze and detergent bottles, spray cans and jars; round and not."""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import COLUMNS, Mesh, fillet, lathe, loft, raised, superellipse, sweep
from training.data.shapes.shape import BODY, LID, Family, Parts, Shape, assembled, drawn, drawn_scale
from training.data.shapes.underside import standing


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
    rise = max(rng.uniform(0.008, 0.03), 0.25 * neck)
    if rng.random() < 0.75:
        wide = min(max(neck, 0.011) * rng.uniform(1.02, 1.35), max(1.04 * radius, 1.02 * neck))
        parts.append((lathe(cap(rng, wide, height - 0.8 * rise, rise)), LID))
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
    if rng.random() < 1 / 3:  # a flip-top that goes on with the body's section
        rise = max(rng.uniform(0.012, 0.05), 1.3 * (neck_start - shoulder))
        lid = lathe(cap(rng, radius * rng.uniform(0.6, 1.0), shoulder, rise), superellipse(exponent, aspect))
    else:
        lid = closure(rng, neck, neck_start)
    quarter = rng.choice([0.0, np.pi / 2])  # scans have the broad side along x or along z
    return [(lathe(profile, section).turned("y", quarter), BODY), (lid.turned("y", quarter), LID)]


def closure(rng: np.random.Generator, neck: float, start: float) -> Mesh:
    """Make a nozzle or a screw cap on a neck.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    neck : float
        Radius [m].
    start : float
        Height [m].

    Returns
    -------
    Mesh
        Closed.
    """
    rise = rng.uniform(0.012, 0.05)
    if rng.random() < 0.5:
        return lathe(cap(rng, neck * rng.uniform(0.95, 1.3), start - 0.003, rise))
    widths, rises = neck * np.array([1.1, 1.0, 0.35, 0.2]), rise * np.array([0.0, 0.3, 0.4, 1.0])
    return lathe(fillet(np.stack([widths, start - 0.003 + rises], axis=-1), rng.uniform(0, 0.01)))


def flat(rng: np.random.Generator) -> Parts:
    """As `Family`: sauce, shampoo and detergent; flat under broad shoulders, some with a grip hole at one side.

    A mouth that is not over the middle, towards the side without the grip, belongs to the lid with its neck.
    """
    gripped = rng.random() < 0.35
    height = rng.uniform(0.17, 0.27) if gripped else rng.triangular(0.12, 0.18, 0.25)
    radius = rng.uniform(0.047, 0.062) if gripped else rng.uniform(0.034, 0.052)
    aspect, exponent = rng.uniform(0.35, 0.6), rng.uniform(2.0, 5.0)
    shoulder = height * rng.uniform(0.72, 0.9)
    crown = radius * rng.uniform(0.45, 0.8)
    line = [[radius * rng.uniform(0.88, 1.0), 0], [radius, rng.uniform(0.1, 0.3) * shoulder]]
    line += [[radius * rng.uniform(0.88, 1.0), shoulder], [crown, shoulder + rng.uniform(0.008, 0.03)]]
    profile = fillet(np.array(line), np.array([0.06, rng.uniform(0.01, 0.06)]), steps=6)
    section = superellipse(exponent, aspect)
    top = profile[-1, 1]
    bodies = holed(rng, profile, section) if gripped else [lathe(profile, section)]

    if rng.random() < 0.3:  # a flip-top that goes on with the body's section
        lids = [lathe(cap(rng, crown * rng.uniform(0.9, 1.1), top - 0.002, rng.uniform(0.012, 0.035)), section)]
    else:
        widest = 0.9 * aspect * crown
        neck = min(max(widest * rng.uniform(0.5, 1.0), 0.009), 0.02)
        stem = rng.uniform(0.003, 0.015)
        offset = rng.choice([0.0, rng.uniform(0.2, 0.6)]) * max(crown - 1.2 * neck, 0.0)
        lids = [lathe(np.array([[neck, top - 0.004], [neck, top + stem]])), closure(rng, neck, top + stem)]
        lids = [mesh.moved(x=-offset) for mesh in lids]
    side = rng.choice(4) * np.pi / 2  # scans have the broad side along x or along z
    parts: Parts = [(mesh.turned("y", side), BODY) for mesh in bodies]
    return parts + [(mesh.turned("y", side), LID) for mesh in lids]


def holed(rng: np.random.Generator, profile: np.ndarray, section: np.ndarray) -> list[Mesh]:
    """Make a body with a grip at +x: a hole along z within the body's outline, and the bar beside it.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    profile : (P, 2) float
        Half width and height, bottom to top [m].
    section : (C, 2) float
        In x, z, times the half width.

    Returns
    -------
    list of Mesh
        Body and bar.
    """
    widest, top = profile.max(axis=0)
    bar, hole = rng.uniform(0.3, 0.42) * widest, rng.uniform(0.38, 0.55) * widest
    shoulder = profile[profile[:, 0] > 0.85 * widest, 1].max() - 0.012
    low, high = rng.uniform(0.3, 0.5) * top, min(rng.uniform(0.8, 0.9) * top, shoulder)
    heights = np.linspace(low - 0.012, high + 0.012, 28)
    levels = np.union1d(profile[:, 1], heights)
    half = np.interp(levels, profile[:, 1], profile[:, 0])
    open_share = np.clip(np.minimum(levels - low, high - levels) / rng.uniform(0.006, 0.02), 0, 1)
    narrowed = half - open_share * 0.5 * (bar + hole)  # half widths, the face at -x stays
    outline = np.stack([narrowed[:, None] * section[:, 0], half[:, None] * section[:, 1]], axis=-1)
    outline[..., 0] += (narrowed - half)[:, None]
    path = np.stack([np.interp(heights, profile[:, 1], profile[:, 0]) - 0.5 * bar, heights], axis=-1)
    breadth = min(bar * rng.uniform(0.8, 1.3), 1.7 * section[:, 1].max() * path[:, 0].min())
    grip = sweep(path, superellipse(rng.uniform(2, 4), columns=20) * (0.5 * bar, 0.5 * breadth))
    return [loft(raised(outline, levels)), grip]


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


def tumbler(rng: np.random.Generator) -> Parts:
    """As `Family`: insulated cups to drink from on the way; no neck, a flat lid as wide as the foot, or wider."""
    height, top = rng.triangular(0.14, 0.2, 0.26), rng.uniform(0.032, 0.048)
    foot, lid = top * rng.uniform(0.68, 1.0), rng.uniform(0.006, 0.035)
    line = [[foot * rng.uniform(0.92, 1.0), 0], [foot, rng.uniform(0.002, 0.012)]]
    if rng.random() < 0.4:  # the upper part is a sleeve, or the lower one a boot
        step = height * rng.uniform(0.15, 0.7)
        at_step = foot + (top - foot) * step / height
        line += [[at_step, step], [at_step * rng.uniform(0.93, 1.07), step + rng.uniform(0.001, 0.008)]]
    body = fillet(np.array([*line, [top, height - lid]]), rng.uniform(0, 0.006))
    rim = top * rng.uniform(0.9, 1.06)
    cover = [[rim, height - lid - 0.002], [rim * rng.uniform(0.9, 1.0), height]]
    if rng.random() < 0.5:  # sunk within a rim
        inner, sunk = rim * rng.uniform(0.7, 0.88), rng.uniform(0.1, 0.8) * lid
        cover += [[inner, height], [inner, height - sunk]]
    parts: Parts = [(lathe(body), BODY), (lathe(fillet(np.array(cover), rng.uniform(0, 0.004))), LID)]
    if rng.random() < 0.3:  # a mouthpiece beside the middle
        radius, rise = rng.uniform(0.006, 0.012), rng.uniform(0.004, 0.018)
        spout = lathe(cap(rng, radius, height - 0.004, rise + 0.004))
        parts.append((spout.moved(x=rng.uniform(0, 0.6) * rim).turned("y", rng.uniform(0, 2 * np.pi)), LID))
    return parts


FAMILIES: dict[Family, float] = {
    glass: 0.31,
    flask: 0.16,
    squeeze: 0.13,
    flat: 0.09,
    square: 0.07,
    spray: 0.08,
    jar: 0.06,
    tumbler: 0.1,
}


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
    parts, scale = drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.06, upright=0.06, across=0.015)
    return assembled("bottle", standing(rng, parts, hollow=0.35, missed=0.3, deepest=0.016), scale)
