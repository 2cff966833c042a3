"""Photo cameras: lens towards +x, y up, width along z. The photographer looks along +x, so the right hand, and the grip, are at +z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.shapes.mesh import Mesh, box, fillet, inset, lathe, loft, rectangle, resampled, stacked
from training.shapes.shape import BODY, DETAIL, ORIENTING, Family, Parts, Shape, assembled, drawn, drawn_scale


@dataclass(frozen=True)
class Body:
    """Dimensions [m] of a camera body that stands on y = 0 with its front at x = depth/2; grip: how far that sticks out to the front."""

    width: float
    height: float
    depth: float
    grip: float
    corner: float
    edge: float


def footprint(body: Body, grip: float, grip_width: float) -> np.ndarray:
    """Outline (C, 2) in x, z [m] of the body with the grip's bulge in front at the +z end."""
    outline = resampled(rectangle(body.depth, body.width, body.corner), 72)
    x, z = outline.T
    centre = 0.5 * (body.width - grip_width)
    bulge = np.exp(-(((z - centre) / (0.5 * grip_width)) ** 4))
    return np.stack([x + grip * bulge * np.clip(0.5 + x / body.depth, 0, 1), z], axis=-1)


def housing(rng: np.random.Generator, body: Body) -> Mesh:
    """The body with its grip, which may fall back towards the top."""
    grip_width = body.width * rng.uniform(0.18, 0.34)
    top_grip = body.grip * rng.uniform(0.3, 1.0)
    angles = np.linspace(0, np.pi / 2, 3)
    lower = [(body.edge * (1 - np.cos(a)), body.edge * (1 - np.sin(a)), body.grip) for a in angles]
    upper = [(body.height - body.edge * (1 - np.sin(a)), body.edge * (1 - np.cos(a)), top_grip) for a in angles]
    waist = [(rng.uniform(0.5, 0.8) * body.height, 0.0, body.grip)]
    rings = [stacked(inset(footprint(body, grip, grip_width), distance), height) for height, distance, grip in lower + waist + upper]
    return loft(np.concatenate(rings))


def barrel(rng: np.random.Generator, radius: float, length: float) -> Mesh:
    """A lens along +x from x = 0: rings of different radii, then glass behind a rim, a hood or a cap."""
    count = rng.integers(1, 5) if length > 0.02 else 1
    stations = np.concatenate([[0], np.sort(rng.uniform(0.1, 0.95, count - 1)), [1]]) * length
    radii = radius * rng.uniform(0.8, 1.0, count)
    radii[rng.integers(count)] = radius
    line = [[r, x] for r, x0, x1 in zip(radii, stations[:-1], stations[1:], strict=True) for r, x in ((r, x0), (r, x1))]
    front = radii[-1]
    if length > 0.03 and rng.random() < 0.25:  # a hood
        hood, flare = rng.uniform(0.01, 0.04), rng.uniform(1.0, 1.25)
        line += [[front * flare, length + hood], [0.96 * front * flare, length + hood], [0.8 * front, length]]
    sunk = 0.0 if rng.random() < 0.3 else rng.uniform(0.002, 0.012)  # a cap lies flush, glass behind the rim
    tip = line[-1]
    line += [[0.85 * tip[0], tip[1]], [0.75 * tip[0], tip[1] - min(sunk, 0.5 * length)], [0.3 * tip[0], tip[1] - 0.6 * min(sunk, 0.5 * length)]]
    return lathe(fillet(np.array(line), rng.uniform(0, 0.002))).turned("z", -np.pi / 2)


def dial(rng: np.random.Generator) -> Mesh:
    """A dial or button standing on y = 0."""
    radius, height = rng.uniform(0.004, 0.012), rng.uniform(0.002, 0.009)
    return lathe(np.array([[radius, 0.0], [radius * rng.uniform(0.85, 1.0), height]]))


def top_controls(rng: np.random.Generator, body: Body, clear: float) -> Parts:
    """Shutter button above the grip and dials, all outside |z| < clear [m]."""
    right = [dial(rng).moved(rng.uniform(-0.3, 0.3) * body.depth, body.height, rng.uniform(clear, 0.45 * body.width)) for _ in range(rng.integers(0, 3))]
    left = [dial(rng).moved(rng.uniform(-0.2, 0.2) * body.depth, body.height, -rng.uniform(clear, 0.42 * body.width)) for _ in range(rng.integers(0, 2))]
    shutter = dial(rng).moved(0.3 * body.depth + 0.6 * body.grip, body.height * 0.98, 0.36 * body.width)
    return [(mesh, DETAIL) for mesh in (*right, *left, shutter)]


def display(rng: np.random.Generator, body: Body) -> Mesh:
    """The screen at the back."""
    width, height, out = body.width * rng.uniform(0.4, 0.65), body.height * rng.uniform(0.45, 0.8), rng.uniform(0.001, 0.008)
    return box(2 * out, height, width, 0.001).moved(-0.5 * body.depth, rng.uniform(0.1, 0.9) * (body.height - height), -0.1 * body.width)


def hump(rng: np.random.Generator, body: Body, rise: float, width: float) -> Parts:
    """The prism or finder on top of the body around z = 0: a frustum with a hot shoe and an eyepiece at the back."""
    length = body.depth * rng.uniform(0.7, 1.15)
    corner = rng.uniform(0.002, 0.012)
    foot, shrink = rectangle(length, width, corner, 24), rng.uniform((0.4, 0.35), (0.95, 0.9))
    lean = np.array([rng.uniform(-0.15, 0.1) * length, 0.0])
    levels = np.array([0.0, rng.uniform(0.2, 0.8), 0.9, 1.0])
    sizes = 1 - levels[:, None] ** rng.uniform(1, 3) * (1 - shrink) - np.array([0, 0, 0, 0.12])[:, None]
    rings = np.concatenate([stacked(foot * size + lean * level, body.height - 0.004 + level * (rise + 0.004)) for level, size in zip(levels, sizes, strict=True)])
    parts: Parts = [(loft(rings), DETAIL)]
    if rng.random() < 0.7:
        parts.append((box(0.018, rng.uniform(0.001, 0.005), 0.02).moved(x=lean[0] - 0.1 * length, y=body.height + rise), DETAIL))
    if rng.random() < 0.7:
        eye = rng.uniform(0.004, 0.016)
        parts.append((box(2 * eye, 0.7 * rise + 0.004, 0.6 * width, 0.003).moved(-0.5 * body.depth, body.height - 0.004), DETAIL))
    return parts


def lens_length(rng: np.random.Generator, longest: float) -> float:
    """Bare mount, pancake to standard, or long up to `longest` [m]."""
    low, high = drawn(rng, {(0.003, 0.014): 0.15, (0.02, 0.07): 0.6, (0.06, longest): 0.25})
    return rng.uniform(low, high)


def reflex(rng: np.random.Generator) -> Parts:
    """Single-lens reflex, with or without a vertical grip, bridge cameras too: prism hump, deep grip, large lens."""
    width = rng.triangular(0.11, 0.148, 0.168)
    total = width * rng.triangular(0.6, 0.8, 1.0)
    rise = total * rng.uniform(0.13, 0.27)
    depth = rng.uniform(0.032, 0.062)
    corner = rng.uniform(0.15, 0.49) * depth
    body = Body(width, total - rise, depth, grip=rng.uniform(0.008, 0.032), corner=corner, edge=rng.uniform(0.1, 0.9) * corner)
    hump_width = width * rng.uniform(0.28, 0.5)
    axis_z = -width * rng.uniform(0, 0.1)
    radius = min(rng.uniform(0.027, 0.042), 0.5 * body.height)
    axis_y = max(radius, body.height * rng.uniform(0.42, 0.62))
    prism = [(mesh.moved(z=axis_z), part) for mesh, part in hump(rng, body, rise, hump_width)]  # stands on the optical axis
    parts: Parts = [(housing(rng, body), BODY), *prism, *top_controls(rng, body, 0.55 * hump_width - axis_z), (display(rng, body), DETAIL)]
    return [*parts, (barrel(rng, radius, lens_length(rng, 0.13)).moved(0.5 * depth - 0.002, axis_y, axis_z), ORIENTING)]


def mirrorless(rng: np.random.Generator) -> Parts:
    """Mirrorless and rangefinder bodies: flatter, a small finder or none, lens from pancake to long."""
    width = rng.uniform(0.098, 0.142)
    height = width * rng.uniform(0.5, 0.66)
    depth = rng.uniform(0.024, 0.042)
    corner = rng.uniform(0.1, 0.49) * depth
    body = Body(width, height, depth, grip=rng.choice([0.0, rng.uniform(0.004, 0.02)]), corner=corner, edge=rng.uniform(0.1, 0.7) * corner)
    parts: Parts = [(housing(rng, body), BODY), *top_controls(rng, body, 0.2 * width), (display(rng, body), DETAIL)]
    if rng.random() < 0.6:
        parts += hump(rng, body, rng.uniform(0.006, 0.022), width * rng.uniform(0.2, 0.38))
    radius = min(rng.uniform(0.024, 0.036), 0.52 * height)
    lens = barrel(rng, radius, lens_length(rng, 0.1))
    return [*parts, (lens.moved(0.5 * depth - 0.002, height * rng.uniform(0.44, 0.52), -width * rng.uniform(0, 0.14)), ORIENTING)]


def compact(rng: np.random.Generator) -> Parts:
    """Pocket cameras: a small flat body, a telescope lens out of the middle towards -z."""
    width = rng.uniform(0.083, 0.122)
    height = width * rng.uniform(0.54, 0.76)
    depth = rng.uniform(0.017, 0.038)
    corner = rng.uniform(0.1, 0.49) * depth
    body = Body(width, height, depth, grip=rng.choice([0.0, rng.uniform(0.0, 0.01)]), corner=corner, edge=rng.uniform(0.1, 0.9) * corner)
    radius = rng.uniform(0.26, 0.47) * height
    lens = barrel(rng, radius, rng.uniform(0.006, 0.045))
    parts: Parts = [(housing(rng, body), BODY), *top_controls(rng, body, 0.15 * width), (display(rng, body), DETAIL)]
    if rng.random() < 0.2:  # a raised flash
        parts.append((box(0.6 * depth, rng.uniform(0.006, 0.02), 0.25 * width, 0.002).moved(y=height - 0.002, z=-rng.uniform(0.1, 0.35) * width), DETAIL))
    return [*parts, (lens.moved(0.5 * depth - 0.002, height * rng.uniform(0.42, 0.54), -width * rng.uniform(0.0, 0.22)), ORIENTING)]


FAMILIES: dict[Family, float] = {reflex: 0.58, mirrorless: 0.2, compact: 0.22}


def camera(rng: np.random.Generator) -> Shape:
    """A camera: lens towards +x, y up, grip at +z."""
    return assembled("camera", drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.05, upright=0.05, across=0.06))
