"""Photo cameras: lens towards +x, y up, width along z.

The photographer looks along +x, so the right hand, and the grip, are at +z.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from training.data.shapes.mesh import (
    Mesh,
    box,
    edge_steps,
    fillet,
    inward,
    lathe,
    loft,
    raised,
    rectangle,
    resampled,
    slab,
    superellipse,
)
from training.data.shapes.scan import scanned
from training.data.shapes.shape import BODY, DETAIL, ORIENTING, Family, Parts, Shape, assembled, drawn, drawn_scale

SCANNED = 0.5  # share of the cameras that are as a scanner sees them, the others are as drawn
MIRRORED = 0.03  # share with the grip and the controls at -z


@dataclass(frozen=True)
class Body:
    """Dimensions of a camera body that stands on y = 0 with its front at x = depth / 2.

    Parameters
    ----------
    width, height, depth : float
        Extents in z, y and x [m].
    grip : float
        How far it sticks out to the front [m].
    corner : float
        Radius of the outline's corners [m].
    edge : float
        Radius of the upper and lower edges [m].
    """

    width: float
    height: float
    depth: float
    grip: float
    corner: float
    edge: float


def housing(rng: np.random.Generator, body: Body) -> Mesh:
    """Make the body: its front straight, bowed or tapered.

    At its +z end is the grip, which may fall back towards the top, and behind it a thumb rest.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    body : Body
        Dimensions.

    Returns
    -------
    Mesh
        Standing on y = 0.
    """
    outline = resampled(rectangle(body.depth, body.width, body.corner), 72)
    front, along = np.clip(0.5 + outline[:, 0] / body.depth, 0, 1), 2 * outline[:, 1] / body.width
    # of the depth, at either end
    taper = np.where(rng.random(2) < 0.5, 0.0, rng.uniform(0, 0.45, 2))[(along > 0).astype(int)]
    tapered = outline - taper[:, None] * body.depth * (front * np.abs(along) ** rng.uniform(1.2, 4))[:, None] * (
        1.0,
        0.0,
    )

    grip_width = body.width * rng.uniform(0.16, 0.36)
    from_grip = (outline[:, 1] - 0.5 * (body.width - grip_width)) / (0.5 * grip_width)
    bulge = body.grip * np.exp(-(np.abs(from_grip) ** rng.uniform(2, 5))) * front  # none at the back
    rest = rng.choice([0.0, rng.uniform(0, 0.007)]) * np.exp(-(from_grip**2)) * (1 - front)
    gripped = tapered + (bulge - rest)[:, None] * (1.0, 0.0)

    heights, insets = edge_steps(0.0, body.height, body.edge)
    middle = len(heights) // 2
    heights, insets = np.insert(heights, middle, rng.uniform(0.5, 0.8) * body.height), np.insert(insets, middle, 0.0)
    fall = np.where(np.arange(len(heights)) > middle, rng.uniform(0, 0.7), 0.0)[:, None, None]
    outlines = (1 - fall) * gripped + fall * tapered + insets[:, None, None] * inward(gripped)
    return loft(raised(outlines, heights))


def barrel(rng: np.random.Generator, radius: float, length: float) -> Mesh:
    """Make a lens along +x from x = 0.

    It has rings of different radii or tubes drawn out of each other, then glass behind a rim, a hood or a cap.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius, length : float
        Of the lens [m].

    Returns
    -------
    Mesh
        Closed.
    """
    count = rng.integers(1, 5) if length > 0.02 else 1
    stations = np.concatenate([[0], np.sort(rng.uniform(0.1, 0.95, count - 1)), [1]]) * length
    radii = radius * rng.uniform(0.8, 1.0, count)
    if rng.random() < 0.3:
        radii = np.sort(radius * rng.uniform(0.6, 1.0, count))[::-1]
    radii[0 if rng.random() < 0.4 else rng.integers(count)] = radius
    line = [[r, x] for r, x0, x1 in zip(radii, stations[:-1], stations[1:], strict=True) for r, x in ((r, x0), (r, x1))]
    front = radii[-1]
    if length > 0.03 and rng.random() < 0.25:  # a hood
        hood, flare = rng.uniform(0.01, 0.04), rng.uniform(1.0, 1.25)
        line += [[front * flare, length + hood], [0.96 * front * flare, length + hood], [0.8 * front, length]]
    sunk = 0.0 if rng.random() < 0.3 else rng.uniform(0.002, 0.012)  # a cap lies flush, glass behind the rim
    tip = line[-1]
    line += [
        [0.85 * tip[0], tip[1]],
        [0.75 * tip[0], tip[1] - min(sunk, 0.5 * length)],
        [0.3 * tip[0], tip[1] - 0.6 * min(sunk, 0.5 * length)],
    ]
    return lathe(fillet(np.array(line), rng.uniform(0, 0.003), steps=3)).turned("z", -np.pi / 2)


def dial(rng: np.random.Generator) -> Mesh:
    """Make a dial or button standing on y = 0.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Mesh
        Closed.
    """
    radius, height = rng.uniform(0.004, 0.012), rng.uniform(0.002, 0.009)
    return lathe(np.array([[radius, 0.0], [radius * rng.uniform(0.85, 1.0), height]]))


def top_controls(rng: np.random.Generator, body: Body, clear: float) -> Parts:
    """Make dials on both shoulders and the shutter button above the grip.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    body : Body
        Dimensions.
    clear : float
        Dials stay outside |z| of this [m].

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    dials = []
    for side, most in ((1, 3), (-1, 2)):
        for _ in range(rng.integers(0, most)):
            dials.append(
                dial(rng).moved(
                    rng.uniform(-0.3, 0.3) * body.depth, body.height, side * rng.uniform(clear, 0.44 * body.width)
                )
            )
    shutter = dial(rng).moved(0.3 * body.depth + 0.6 * body.grip, body.height * 0.98, 0.36 * body.width)
    return [(mesh, DETAIL) for mesh in (*dials, shutter)]


def back(rng: np.random.Generator, body: Body, film: float) -> Parts:
    """Make the display, proud or folded out a little, or the plain door of a film camera.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    body : Body
        Dimensions.
    film : float
        Probability of a door.

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    if rng.random() < film:
        door = box(rng.uniform(0.001, 0.004), 0.86 * body.height, rng.uniform(0.6, 0.8) * body.width, 0.0005)
        return [(door.moved(-0.5 * body.depth, 0.07 * body.height), DETAIL)]
    width, height, out = (
        body.width * rng.uniform(0.4, 0.65),
        body.height * rng.uniform(0.45, 0.8),
        rng.uniform(0.001, 0.009),
    )
    screen = box(2 * out, height, width, 0.001)
    parts: Parts = [
        (screen.moved(-0.5 * body.depth, rng.uniform(0.1, 0.9) * (body.height - height), -0.1 * body.width), DETAIL)
    ]
    if rng.random() < 0.4:  # the control wheel
        wheel = dial(rng).turned("z", np.pi / 2)
        parts.append((wheel.moved(-0.5 * body.depth, rng.uniform(0.25, 0.6) * body.height, 0.36 * body.width), DETAIL))
    return parts


def hump(rng: np.random.Generator, body: Body, rise: float, width: float, overhang: float = 0.0) -> Parts:
    """Make the prism or finder on top of the body, from a bell to a block, with a hot shoe and an eyepiece at the back.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    body : Body
        Dimensions.
    rise, width : float
        Of the hump [m].
    overhang : float
        How far it, or the flash folded into it, sticks out over the lens [m].

    Returns
    -------
    list of (Mesh, int)
        Parts, around z = 0.
    """
    length = body.depth * rng.uniform(0.7, 1.2) + overhang
    foot = rectangle(length, width, rng.uniform(0.002, 0.35 * min(length, width)), 24) + (0.5 * overhang, 0.0)
    shrink = rng.uniform((0.4, 0.3), (0.95, 0.9))  # of the top against the foot, in x and z
    lean = np.array([rng.uniform(-0.15, 0.2) * length, 0.0])
    levels = np.array([0.0, 0.15, 0.35, 0.6, 0.85, 0.95, 1.0])
    rounding = np.array([0, 0, 0, 0, 0.02, 0.08, 0.25]) * rng.uniform(0.2, 1.2)
    sizes = 1 - levels[:, None] ** np.exp(rng.uniform(-0.8, 1.1)) * (1 - shrink) - rounding[:, None]
    sunk = 0.004 + 0.5 * overhang
    rings = raised(foot * sizes[:, None] + lean * levels[:, None, None], body.height - sunk + levels * (rise + sunk))
    parts: Parts = [(loft(rings), DETAIL)]
    if rng.random() < 0.6:  # the hot shoe
        parts.append(
            (box(0.018, rng.uniform(0.001, 0.005), 0.02).moved(x=lean[0] - 0.1 * length, y=body.height + rise), DETAIL)
        )
    if rng.random() < 0.75:
        eye, cup = rng.uniform(0.004, 0.02), rng.uniform(0.3, 0.7)
        parts.append(
            (box(2 * eye, 0.7 * rise + 0.004, cup * width, 0.003).moved(-0.5 * body.depth, body.height - 0.004), DETAIL)
        )
    return parts


def bare_mount(rng: np.random.Generator, radius: float) -> Mesh:
    """Make the lens mount of a body without lens, along +x from x = 0: hollow, or closed by a cap.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius : float
        Of the mount [m].

    Returns
    -------
    Mesh
        Closed.
    """
    length, wall = rng.uniform(0.004, 0.028), rng.uniform(0.1, 0.25) * radius
    floor = 0.0021 if rng.random() < 0.75 else length - rng.uniform(0, 0.003)
    line = np.array(
        [[radius * rng.uniform(1.0, 1.15), 0], [radius, length], [radius - wall, length], [radius - wall, floor]]
    )
    return lathe(line).turned("z", -np.pi / 2)


def shroud(rng: np.random.Generator, radius: float, widest: float, longest: float = 0.028) -> Mesh:
    """Make the body's bulge around the lens: a soft, hollow cone along +x from x = 0, squarish and wider than high.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius : float
        Of the lens [m].
    widest : float
        Half height of its foot, at most [m].
    longest : float
        Its length, at most [m].

    Returns
    -------
    Mesh
        Closed.
    """
    foot, length = max(radius, min(radius * rng.uniform(1.05, 1.5), widest)), rng.uniform(0.006, longest)
    rim = np.array(
        [[foot, 0], [radius * rng.uniform(1.0, 1.1), length], [0.97 * radius, length], [0.97 * radius, 0.001]]
    )
    line = fillet(rim, (rng.uniform(0, 0.015), 0.0))
    towards_foot = np.clip(1 - line[:, 1] / length, 0, 1)[:, None, None]
    squarish = superellipse(rng.uniform(2, 4), rng.uniform(1.0, 1.3))
    return lathe(line, superellipse() + towards_foot * (squarish - superellipse())).turned("z", -np.pi / 2)


def slumped(rng: np.random.Generator, parts: Parts, body: Body) -> Parts:
    """Let the shoulders fall off towards both ends and the footprint widen or narrow with height. The axes stay.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    parts : list of (Mesh, int)
        Of the camera.
    body : Body
        Dimensions.

    Returns
    -------
    list of (Mesh, int)
        Parts.
    """
    fall = np.where(rng.random() < 0.5, 0.0, rng.uniform(0, 0.22, 2))
    power, widening = rng.uniform(1.5, 4), rng.uniform(-0.08, 0.08)
    return [(slumped_mesh(mesh, body, fall, power, widening), part) for mesh, part in parts]


def slumped_mesh(mesh: Mesh, body: Body, fall: np.ndarray, power: float, widening: float) -> Mesh:
    """Do to one mesh what `slumped` does.

    Parameters
    ----------
    mesh : Mesh
        Of the camera.
    body : Body
        Dimensions.
    fall : (2,) float
        Lowering of the top at the -z and the +z end, as a share.
    power : float
        How suddenly it falls.
    widening : float
        Of the footprint over the height, as a share.

    Returns
    -------
    Mesh
        Changed.
    """
    x, y, z = mesh.vertices.T
    level, end = y / body.height - 0.5, np.minimum(np.abs(2 * z / body.width), 1.0)
    lowered = y * (1 - fall[(z > 0).astype(int)] * end**power * np.clip(level + 0.5, 0, 1))
    return Mesh(np.stack([x, lowered, z * (1 + widening * level)], axis=-1), mesh.faces)


def lens(rng: np.random.Generator, radius: float, longest: float, bare: float) -> Mesh:
    """Make what is in front of a body with exchangeable lenses: a bare mount, a short lens or a longer one.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    radius : float
        Of the lens [m].
    longest : float
        Its length, at most [m].
    bare : float
        Weight of the bare mount.

    Returns
    -------
    Mesh
        Along +x from x = 0.
    """
    low, high = drawn(rng, {(0.0, 0.0): bare, (0.02, 0.07): 0.6, (0.06, longest): 0.24})
    return barrel(rng, radius, rng.uniform(low, high)) if high > 0 else bare_mount(rng, radius)


def reflex(rng: np.random.Generator) -> Parts:
    """As `Family`: single-lens reflex with a prism hump, often with a flash over the lens, deep grip, large lens."""
    width = rng.triangular(0.11, 0.15, 0.168)
    total = width * rng.triangular(0.6, 0.8, 1.0)
    rise = total * rng.uniform(0.13, 0.33)
    depth = rng.triangular(0.032, 0.045, 0.078)
    corner = rng.uniform(0.15, 0.49) * depth
    body = Body(
        width, total - rise, depth, grip=rng.uniform(0.008, 0.034), corner=corner, edge=rng.uniform(0.1, 0.9) * corner
    )
    axis_z = -width * rng.uniform(0, 0.1)
    radius = min(rng.uniform(0.027, 0.047), 0.52 * body.height)
    axis_y = max(0.95 * radius, body.height * rng.uniform(0.42, 0.62))
    hump_width = width * rng.uniform(0.28, 0.6)
    overhang = rng.choice([0.0, rng.uniform(0.0, 0.03)])
    # stands on the optical axis
    prism = [(mesh.moved(z=axis_z), part) for mesh, part in hump(rng, body, rise, hump_width, overhang)]
    parts: Parts = [
        (housing(rng, body), BODY),
        *prism,
        *top_controls(rng, body, 0.4 * hump_width - axis_z),
        *back(rng, body, film=0.15),
    ]
    front = 0.5 * depth - 0.002
    if rng.random() < 0.65:
        parts.append((shroud(rng, radius, widest=axis_y, longest=0.036).moved(front, axis_y, axis_z), DETAIL))
    return slumped(rng, [*parts, (lens(rng, radius, 0.13, bare=0.24).moved(front, axis_y, axis_z), ORIENTING)], body)


def bridge(rng: np.random.Generator) -> Parts:
    """As `Family`: superzooms, a rounded body nearly as deep as wide, a tall hump over a thick lens."""
    width = rng.uniform(0.098, 0.132)
    height, depth = width * rng.uniform(0.5, 0.64), width * rng.uniform(0.3, 0.62)
    corner = rng.uniform(0.25, 0.49) * depth
    body = Body(
        width, height, depth, grip=rng.uniform(0.012, 0.034), corner=corner, edge=rng.uniform(0.3, 0.9) * corner
    )
    axis_y, axis_z = height * rng.uniform(0.46, 0.56), -width * rng.uniform(0.04, 0.16)
    radius = min(rng.uniform(0.026, 0.042), axis_y)
    front = 0.5 * depth - 0.002
    finder = hump(rng, body, rng.uniform(0.012, 0.034), width * rng.uniform(0.3, 0.55), rng.uniform(0.0, 0.04))
    parts: Parts = [
        (housing(rng, body), BODY),
        *((mesh.moved(z=axis_z), part) for mesh, part in finder),
        *back(rng, body, film=0.0),
    ]
    parts += top_controls(rng, body, 0.2 * width)
    parts.append((shroud(rng, radius, widest=axis_y, longest=0.045).moved(front, axis_y, axis_z), DETAIL))
    return slumped(
        rng, [*parts, (barrel(rng, radius, rng.uniform(0.02, 0.09)).moved(front, axis_y, axis_z), ORIENTING)], body
    )


def mirrorless(rng: np.random.Generator) -> Parts:
    """As `Family`: mirrorless bodies, flatter, a small finder or none, lens from pancake to long."""
    width = rng.uniform(0.098, 0.142)
    height = width * rng.uniform(0.5, 0.66)
    depth = rng.uniform(0.024, 0.042)
    corner = rng.uniform(0.1, 0.49) * depth
    body = Body(
        width,
        height,
        depth,
        grip=rng.choice([0.0, rng.uniform(0.004, 0.024)]),
        corner=corner,
        edge=rng.uniform(0.1, 0.7) * corner,
    )
    parts: Parts = [(housing(rng, body), BODY), *top_controls(rng, body, 0.2 * width), *back(rng, body, film=0.0)]
    if rng.random() < 0.45:
        parts += hump(rng, body, rng.uniform(0.006, 0.022), width * rng.uniform(0.2, 0.38))
    radius = min(rng.uniform(0.024, 0.036), 0.52 * height)
    front = lens(rng, radius, 0.1, bare=0.16).moved(
        0.5 * depth - 0.002, height * rng.uniform(0.44, 0.52), -width * rng.uniform(0, 0.14)
    )
    return slumped(rng, [*parts, (front, ORIENTING)], body)


def rangefinder(rng: np.random.Generator) -> Parts:
    """As `Family`: film cameras and their descendants, round-ended, no grip, a top plate with knobs and levers."""
    width = rng.uniform(0.115, 0.15)
    height, depth = width * rng.uniform(0.46, 0.64), rng.uniform(0.026, 0.044)
    plate = rng.uniform(0.15, 0.32) * height
    corner = rng.uniform(0.3, 0.49) * depth
    body = Body(
        width,
        height,
        depth,
        grip=rng.choice([0.0, rng.uniform(0, 0.008)]),
        corner=corner,
        edge=rng.uniform(0.001, 0.004),
    )
    plan = rectangle(depth * rng.uniform(0.9, 1.1), width * rng.uniform(0.94, 1.02), corner)
    top = slab(plan, height - plate, height + 0.001, rng.uniform(0, 0.003))
    parts: Parts = [
        (housing(rng, body), BODY),
        (top, DETAIL),
        *top_controls(rng, body, 0.22 * width),
        *back(rng, body, film=0.7),
    ]
    for side in (-1, 1):  # rewind knob and advance lever
        if rng.random() < 0.7:
            parts.append(
                (
                    dial(rng).moved(rng.uniform(-0.2, 0.2) * depth, height, side * rng.uniform(0.34, 0.42) * width),
                    DETAIL,
                )
            )
    if rng.random() < 0.55:
        parts += hump(rng, body, rng.uniform(0.008, 0.03), width * rng.uniform(0.25, 0.45))
    radius = min(rng.uniform(0.02, 0.034), 0.5 * height)
    front = lens(rng, radius, 0.08, bare=0.08).moved(
        0.5 * depth - 0.002, height * rng.uniform(0.4, 0.48), -width * rng.uniform(-0.03, 0.1)
    )
    return [*parts, (front, ORIENTING)]


def compact(rng: np.random.Generator) -> Parts:
    """As `Family`: pocket cameras, a small flat body, a telescope lens out of the middle towards -z."""
    width = rng.uniform(0.083, 0.122)
    height = width * rng.uniform(0.54, 0.76)
    depth = rng.uniform(0.017, 0.042)
    corner = rng.uniform(0.1, 0.49) * depth
    body = Body(
        width,
        height,
        depth,
        grip=rng.choice([0.0, rng.uniform(0.0, 0.01)]),
        corner=corner,
        edge=rng.uniform(0.1, 0.9) * corner,
    )
    radius, reach = (
        rng.uniform(0.2, 0.47) * height,
        rng.uniform(*drawn(rng, {(0.003, 0.012): 0.45, (0.01, 0.045): 0.55})),
    )
    axis_y, axis_z = height * rng.uniform(0.42, 0.58), -width * rng.uniform(0.0, 0.24)
    parts: Parts = [(housing(rng, body), BODY), *top_controls(rng, body, 0.15 * width), *back(rng, body, film=0.15)]
    if rng.random() < 0.2:  # a raised flash
        flash = box(0.6 * depth, rng.uniform(0.006, 0.02), 0.25 * width, 0.002)
        parts.append((flash.moved(y=height - 0.002, z=-rng.uniform(0.1, 0.35) * width), DETAIL))
    if rng.random() < 0.25:  # a lens cover that slides along the front
        cover = box(2 * rng.uniform(0.003, 0.008), 0.94 * height, rng.uniform(0.3, 0.6) * width, 0.002)
        parts.append((cover.moved(0.5 * depth, 0.03 * height, rng.uniform(-0.15, 0.15) * width), DETAIL))
    if rng.random() < 0.3:
        parts.append(
            (
                shroud(rng, radius, widest=min(axis_y, height - axis_y), longest=0.012).moved(
                    0.5 * depth - 0.002, axis_y, axis_z
                ),
                DETAIL,
            )
        )
    return slumped(
        rng, [*parts, (barrel(rng, radius, reach).moved(0.5 * depth - 0.002, axis_y, axis_z), ORIENTING)], body
    )


def boxy(rng: np.random.Generator) -> Parts:
    """As `Family`: box cameras, upright or cubic: twin-lens reflex, medium format, action cameras."""
    kind = drawn(rng, {"twin": 0.4, "medium": 0.35, "action": 0.25})
    if kind == "action":
        width, height, depth = rng.uniform((0.055, 0.038, 0.022), (0.075, 0.055, 0.045))
    else:
        width, height, depth = rng.uniform((0.07, 0.085, 0.065), (0.105, 0.135, 0.11))
    corner = rng.uniform(0.03, 0.2) * depth
    body = Body(width, height, depth, grip=0.0, corner=corner, edge=rng.uniform(0.3, 1.0) * corner)
    parts: Parts = [(housing(rng, body), BODY), *back(rng, body, film=0.8)]
    radius = rng.uniform(0.22, 0.32) * min(height, width)
    front, axis_z = 0.5 * depth - 0.002, rng.uniform(-0.25, 0.0) * width if kind == "action" else 0.0
    if kind == "twin":
        parts.append((barrel(rng, 0.8 * radius, rng.uniform(0.01, 0.03)).moved(front, 0.72 * height, 0.0), ORIENTING))
        parts.append((barrel(rng, radius, rng.uniform(0.01, 0.035)).moved(front, 0.3 * height, 0.0), ORIENTING))
        parts.append((dial(rng).turned("x", np.pi / 2).moved(0.0, 0.5 * height, 0.5 * width), DETAIL))
        if rng.random() < 0.5:  # the light shaft, open
            parts.append((box(0.75 * depth, rng.uniform(0.01, 0.05), 0.75 * width).moved(y=height - 0.002), DETAIL))
        return parts
    reach = rng.uniform(0.003, 0.012) if kind == "action" else rng.uniform(0.02, 0.08)
    if kind == "medium" and rng.random() < 0.6:
        parts += hump(rng, body, rng.uniform(0.015, 0.04), width * rng.uniform(0.5, 0.9))
    return [*parts, (barrel(rng, radius, reach).moved(front, height * rng.uniform(0.45, 0.6), axis_z), ORIENTING)]


def instant(rng: np.random.Generator) -> Parts:
    """As `Family`: instant cameras, a broad rounded block, deeper at its foot, with a lens tower in front."""
    width = rng.uniform(0.1, 0.145)
    height, depth = width * rng.uniform(0.7, 1.0), rng.uniform(0.04, 0.075)
    corner = rng.uniform(0.2, 0.49) * depth
    body = Body(
        width,
        height,
        depth,
        grip=rng.choice([0.0, rng.uniform(0.004, 0.015)]),
        corner=corner,
        edge=rng.uniform(0.3, 0.9) * corner,
    )
    radius, axis_y, axis_z = (
        rng.uniform(0.024, 0.038),
        height * rng.uniform(0.42, 0.6),
        rng.uniform(-0.15, 0.05) * width,
    )
    parts: Parts = [(housing(rng, body), BODY), *back(rng, body, film=0.9)]
    if rng.random() < 0.5:  # where the picture comes out
        foot = box(rng.uniform(0.01, 0.04), rng.uniform(0.15, 0.35) * height, 0.9 * width, 0.004)
        parts.append((foot.moved(0.5 * depth), DETAIL))
    if rng.random() < 0.4:
        parts += hump(rng, body, rng.uniform(0.006, 0.025), width * rng.uniform(0.4, 0.9))
    parts.append(
        (
            shroud(rng, radius, widest=min(axis_y, height - axis_y), longest=0.03).moved(
                0.5 * depth - 0.002, axis_y, axis_z
            ),
            DETAIL,
        )
    )
    return slumped(
        rng,
        [*parts, (barrel(rng, radius, rng.uniform(0.008, 0.04)).moved(0.5 * depth - 0.002, axis_y, axis_z), ORIENTING)],
        body,
    )


def folding(rng: np.random.Generator) -> Parts:
    """As `Family`: instant cameras of integral film, a deep flat foot under an upright front with a small lens."""
    width, height = rng.uniform(0.095, 0.125), rng.uniform(0.08, 0.115)
    depth, reach = rng.uniform(0.055, 0.085), rng.uniform(0.015, 0.045)  # the foot reaches out to the front
    corner = rng.uniform(0.05, 0.2) * depth
    body = Body(width, height, depth, grip=0.0, corner=corner, edge=rng.uniform(0.3, 0.9) * corner)
    front, foot = 0.5 * depth, rng.uniform(0.25, 0.42) * height
    upper = housing(rng, body)
    x, y, z = upper.vertices.T
    lean = rng.uniform(0.0, 0.7) * np.clip((y - foot) / (height - foot), 0.0, 1.0)  # the back falls off towards the top
    upper = Mesh(np.stack([np.where(x < 0, x * (1 - lean), x), y, z], axis=-1), upper.faces)
    tray = box(depth + reach, foot, width * rng.uniform(0.98, 1.04), rng.uniform(0.002, 0.008)).moved(x=0.5 * reach)
    parts: Parts = [(upper, BODY), (tray, DETAIL)]
    if rng.random() < 0.5:  # a flash or a finder on the top, towards the front
        bar = box(0.3 * depth, rng.uniform(0.008, 0.03), width * rng.uniform(0.3, 1.0), 0.003)
        parts.append((bar.moved(0.3 * depth, height - 0.003), DETAIL))
    radius = min(rng.uniform(0.012, 0.024), 0.45 * (height - foot))
    axis_y, axis_z = rng.uniform(0.45, 0.55) * (height + foot), rng.uniform(-0.1, 0.1) * width
    plate = rectangle(2.2 * radius, 2.2 * radius * rng.uniform(1.0, 1.6), 0.3 * radius, 24)
    step = rng.uniform(0.002, 0.012)
    parts.append((slab(plate, 0.0, 2 * step).turned("z", -np.pi / 2).moved(front - step, axis_y, axis_z), DETAIL))
    tube = barrel(rng, 0.9 * radius, rng.uniform(0.004, 0.016)).moved(front + step - 0.001, axis_y, axis_z)
    return [*parts, (tube, ORIENTING)]


FAMILIES: dict[Family, float] = {
    reflex: 0.4,
    bridge: 0.1,
    mirrorless: 0.17,
    rangefinder: 0.08,
    compact: 0.16,
    boxy: 0.03,
    instant: 0.03,
    folding: 0.03,
}


def camera(rng: np.random.Generator) -> Shape:
    """Make a camera: lens towards +x, y up, grip at +z; as drawn, or as a scanner sees it.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.
    """
    parts = drawn(rng, FAMILIES)(rng)
    if rng.random() < MIRRORED:
        parts = [(mesh.scaled(z=-1), part) for mesh, part in parts]
    shape = assembled("camera", parts, drawn_scale(rng, overall=0.05, upright=0.05, across=0.06))
    if rng.random() >= SCANNED:
        return shape
    try:
        return assembled("camera", scanned(rng, shape))
    except ValueError:  # one in some thousands has a crack between its parts through which a ray slips
        return shape
