"""Photo cameras: lens towards +x, y up, width along z. The photographer looks along +x, so the right hand, and the grip, are at +z."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.shapes.mesh import Mesh, box, edge_steps, fillet, inward, lathe, loft, raised, rectangle, resampled
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


def housing(rng: np.random.Generator, body: Body) -> Mesh:
    """The body; in front at its +z end the grip, which may fall back towards the top."""
    outline = resampled(rectangle(body.depth, body.width, body.corner), 72)
    grip_width = body.width * rng.uniform(0.18, 0.34)
    bulge = np.exp(-(((outline[:, 1] - 0.5 * (body.width - grip_width)) / (0.5 * grip_width)) ** 4))
    bulge *= np.clip(0.5 + outline[:, 0] / body.depth, 0, 1)  # none at the back
    gripped = outline + body.grip * bulge[:, None] * (1.0, 0.0)

    heights, insets = edge_steps(0.0, body.height, body.edge)
    middle = len(heights) // 2
    heights, insets = np.insert(heights, middle, rng.uniform(0.5, 0.8) * body.height), np.insert(insets, middle, 0.0)
    fall = np.where(np.arange(len(heights)) > middle, rng.uniform(0, 0.7), 0.0)[:, None, None]
    outlines = (1 - fall) * gripped + fall * outline + insets[:, None, None] * inward(gripped)
    return loft(raised(outlines, heights))


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
    return lathe(fillet(np.array(line), rng.uniform(0, 0.002), steps=3)).turned("z", -np.pi / 2)


def dial(rng: np.random.Generator) -> Mesh:
    """A dial or button standing on y = 0."""
    radius, height = rng.uniform(0.004, 0.012), rng.uniform(0.002, 0.009)
    return lathe(np.array([[radius, 0.0], [radius * rng.uniform(0.85, 1.0), height]]))


def top_controls(rng: np.random.Generator, body: Body, clear: float) -> Parts:
    """Dials on both shoulders, outside |z| < clear [m], and the shutter button above the grip."""
    dials = []
    for side, most in ((1, 3), (-1, 2)):
        for _ in range(rng.integers(0, most)):
            dials.append(dial(rng).moved(rng.uniform(-0.3, 0.3) * body.depth, body.height, side * rng.uniform(clear, 0.44 * body.width)))
    shutter = dial(rng).moved(0.3 * body.depth + 0.6 * body.grip, body.height * 0.98, 0.36 * body.width)
    return [(mesh, DETAIL) for mesh in (*dials, shutter)]


def display(rng: np.random.Generator, body: Body) -> Mesh:
    """The screen at the back."""
    width, height, out = body.width * rng.uniform(0.4, 0.65), body.height * rng.uniform(0.45, 0.8), rng.uniform(0.001, 0.008)
    return box(2 * out, height, width, 0.001).moved(-0.5 * body.depth, rng.uniform(0.1, 0.9) * (body.height - height), -0.1 * body.width)


def hump(rng: np.random.Generator, body: Body, rise: float, width: float) -> Parts:
    """The prism or finder on top of the body around z = 0, from a bell to a block, with a hot shoe and an eyepiece at the back."""
    length = body.depth * rng.uniform(0.7, 1.2)
    foot = rectangle(length, width, rng.uniform(0.002, 0.012), 24)
    shrink = rng.uniform((0.4, 0.3), (0.95, 0.9))  # of the top against the foot, in x and z
    lean = np.array([rng.uniform(-0.15, 0.2) * length, 0.0])
    levels = np.array([0.0, 0.15, 0.35, 0.6, 0.85, 0.95, 1.0])
    rounding = np.array([0, 0, 0, 0, 0.02, 0.08, 0.25]) * rng.uniform(0.2, 1.2)
    sizes = 1 - levels[:, None] ** np.exp(rng.uniform(-0.8, 1.1)) * (1 - shrink) - rounding[:, None]
    sunk = 0.004
    rings = raised(foot * sizes[:, None] + lean * levels[:, None, None], body.height - sunk + levels * (rise + sunk))
    parts: Parts = [(loft(rings), DETAIL)]
    if rng.random() < 0.6:  # the hot shoe
        parts.append((box(0.018, rng.uniform(0.001, 0.005), 0.02).moved(x=lean[0] - 0.1 * length, y=body.height + rise), DETAIL))
    if rng.random() < 0.7:
        eye = rng.uniform(0.004, 0.016)
        parts.append((box(2 * eye, 0.7 * rise + sunk, 0.5 * width, 0.003).moved(-0.5 * body.depth, body.height - sunk), DETAIL))
    return parts


def bare_mount(rng: np.random.Generator, radius: float) -> Mesh:
    """The hollow lens mount of a body without lens, along +x from x = 0."""
    length, wall = rng.uniform(0.004, 0.028), rng.uniform(0.1, 0.25) * radius
    line = np.array([[radius * rng.uniform(1.0, 1.15), 0], [radius, length], [radius - wall, length], [radius - wall, 0.0021]])
    return lathe(line).turned("z", -np.pi / 2)


def shroud(rng: np.random.Generator, radius: float, widest: float) -> Mesh:
    """The body's bulge around the lens: a soft cone along +x from x = 0, its foot at most `widest` in radius [m]."""
    foot, length = max(radius, min(radius * rng.uniform(1.05, 1.5), widest)), rng.uniform(0.006, 0.028)
    line = np.array([[foot, 0], [radius * rng.uniform(1.0, 1.1), length], [0.6 * radius, length]])
    return lathe(fillet(line, rng.uniform(0, 0.01))).turned("z", -np.pi / 2)


def slumped(rng: np.random.Generator, parts: Parts, body: Body) -> Parts:
    """The parts with shoulders that fall off towards both ends and a footprint that widens or narrows with height; keeps the axes."""
    fall = np.where(rng.random() < 0.5, 0.0, rng.uniform(0, 0.22, 2))
    power, widening = rng.uniform(1.5, 4), rng.uniform(-0.08, 0.08)
    return [(slumped_mesh(mesh, body, fall, power, widening), part) for mesh, part in parts]


def slumped_mesh(mesh: Mesh, body: Body, fall: np.ndarray, power: float, widening: float) -> Mesh:
    """One mesh of `slumped`. fall (2,): lowering [1] of the top at the -z and the +z end."""
    x, y, z = mesh.vertices.T
    level, end = y / body.height - 0.5, np.minimum(np.abs(2 * z / body.width), 1.0)
    lowered = y * (1 - fall[(z > 0).astype(int)] * end**power * np.clip(level + 0.5, 0, 1))
    return Mesh(np.stack([x, lowered, z * (1 + widening * level)], axis=-1), mesh.faces)


def lens(rng: np.random.Generator, radius: float, longest: float) -> Mesh:
    """What is in front of an interchangeable-lens body: a bare mount, a pancake to standard lens, or one up to `longest` [m]."""
    low, high = drawn(rng, {(0.0, 0.0): 0.14, (0.02, 0.07): 0.6, (0.06, longest): 0.26})
    return barrel(rng, radius, rng.uniform(low, high)) if high > 0 else bare_mount(rng, radius)


def reflex(rng: np.random.Generator) -> Parts:
    """Single-lens reflex, with or without a vertical grip, bridge cameras too: prism hump, deep grip, large lens."""
    width = rng.triangular(0.11, 0.15, 0.168)
    total = width * rng.triangular(0.6, 0.8, 1.0)
    rise = total * rng.uniform(0.13, 0.3)
    depth = rng.uniform(0.034, 0.066)
    corner = rng.uniform(0.15, 0.49) * depth
    body = Body(width, total - rise, depth, grip=rng.uniform(0.008, 0.032), corner=corner, edge=rng.uniform(0.1, 0.9) * corner)
    axis_z = -width * rng.uniform(0, 0.1)
    radius = min(rng.uniform(0.027, 0.047), 0.52 * body.height)
    axis_y = max(0.95 * radius, body.height * rng.uniform(0.42, 0.62))
    hump_width = width * rng.uniform(0.28, 0.6)
    prism = [(mesh.moved(z=axis_z), part) for mesh, part in hump(rng, body, rise, hump_width)]  # stands on the optical axis
    parts: Parts = [(housing(rng, body), BODY), *prism, *top_controls(rng, body, 0.4 * hump_width - axis_z), (display(rng, body), DETAIL)]
    front = 0.5 * depth - 0.002
    if rng.random() < 0.6:
        parts.append((shroud(rng, radius, widest=axis_y).moved(front, axis_y, axis_z), DETAIL))
    return slumped(rng, [*parts, (lens(rng, radius, 0.13).moved(front, axis_y, axis_z), ORIENTING)], body)


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
    front = lens(rng, radius, 0.1).moved(0.5 * depth - 0.002, height * rng.uniform(0.44, 0.52), -width * rng.uniform(0, 0.14))
    return slumped(rng, [*parts, (front, ORIENTING)], body)


def compact(rng: np.random.Generator) -> Parts:
    """Pocket cameras: a small flat body, a telescope lens, often drawn in, out of the middle towards -z."""
    width = rng.uniform(0.083, 0.122)
    height = width * rng.uniform(0.54, 0.76)
    depth = rng.uniform(0.017, 0.04)
    corner = rng.uniform(0.1, 0.49) * depth
    body = Body(width, height, depth, grip=rng.choice([0.0, rng.uniform(0.0, 0.01)]), corner=corner, edge=rng.uniform(0.1, 0.9) * corner)
    radius, reach = rng.uniform(0.26, 0.47) * height, rng.uniform(*drawn(rng, {(0.004, 0.012): 0.35, (0.01, 0.045): 0.65}))
    parts: Parts = [(housing(rng, body), BODY), *top_controls(rng, body, 0.15 * width), (display(rng, body), DETAIL)]
    if rng.random() < 0.2:  # a raised flash
        flash = box(0.6 * depth, rng.uniform(0.006, 0.02), 0.25 * width, 0.002)
        parts.append((flash.moved(y=height - 0.002, z=-rng.uniform(0.1, 0.35) * width), DETAIL))
    front = barrel(rng, radius, reach).moved(0.5 * depth - 0.002, height * rng.uniform(0.42, 0.54), -width * rng.uniform(0.0, 0.22))
    return slumped(rng, [*parts, (front, ORIENTING)], body)


FAMILIES: dict[Family, float] = {reflex: 0.58, mirrorless: 0.2, compact: 0.22}


def camera(rng: np.random.Generator) -> Shape:
    """A camera: lens towards +x, y up, grip at +z."""
    return assembled("camera", drawn(rng, FAMILIES)(rng), drawn_scale(rng, overall=0.05, upright=0.05, across=0.06))
