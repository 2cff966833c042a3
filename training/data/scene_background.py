"""What is in scenes and is no object: furniture and cables, grippers, people's arms."""

from __future__ import annotations

import numpy as np
from scipy.spatial.transform import Rotation

from training.data.renderer import CastShape
from training.data.shapes.mesh import Mesh, box, lathe, superellipse, sweep
from training.data.shapes.shape import BODY, assembled


def _plain(mesh: Mesh) -> CastShape:
    return CastShape(assembled("furniture", [(mesh, BODY)]))


def furniture(
    rng: np.random.Generator, table_low: np.ndarray, table_half: np.ndarray
) -> list[tuple[CastShape, np.ndarray, np.ndarray]]:
    """Make a robot's arm, big things at the back, cables, mats and legs of the table, or some of these.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    table_low, table_half : (2,) float
        Corners of the table: x and z, table frame [m].

    Returns
    -------
    list of (CastShape, ndarray, ndarray)
        Shape, R_table_object, and the centre in the table frame, y up [m].
    """
    things = []
    if rng.random() < 0.4:  # an arm: two or three thick links in a chain, from beyond the edge into the scene
        at = np.array([rng.uniform(-0.2, 0.2), rng.uniform(0.1, 0.4), rng.uniform(-0.1, 0.3)])
        bearing = rng.uniform(0, 2 * np.pi)
        radius = rng.uniform(0.02, 0.07)
        for _ in range(rng.integers(2, 4)):
            away = np.array([np.cos(bearing), rng.uniform(-0.2, 0.9), np.sin(bearing)])
            away /= np.linalg.norm(away)
            length = rng.uniform(0.25, 0.6)
            mesh = lathe(np.array([[radius, 0.0], [radius * rng.uniform(0.9, 1.3), length]]), superellipse(columns=20))
            turn, _ = Rotation.align_vectors([away], [[0.0, 1.0, 0.0]])
            things.append((_plain(mesh), turn.as_matrix(), at + 0.5 * length * away))
            at, radius, bearing = (
                at + 0.95 * length * away,
                radius * rng.uniform(1.0, 1.3),
                bearing + rng.normal(0, 0.4),
            )
    for _ in range(rng.integers(0, 3)):  # big things at the back of the table, towards the camera, or beside it
        size = np.array([rng.uniform(0.4, 1.2), rng.uniform(0.35, 1.0), rng.uniform(0.02, 0.6)])
        turn = Rotation.from_euler("y", rng.normal(0, 0.5))
        along, across = rng.normal(0, 0.4), 0.5 * size[2] + rng.uniform(0.1, 0.6)
        height = 0.5 * size[1] * rng.uniform(0.2, 1.0)
        side = rng.choice(4, p=[0.45, 0.25, 0.15, 0.15])
        if side < 2:
            centre = np.array([along, height, table_low[1] - across if side == 0 else table_half[1] + across])
        else:
            centre = np.array([table_low[0] - across if side == 2 else table_half[0] + across, height, along])
            turn = Rotation.from_euler("y", 0.5 * np.pi) * turn
        things.append((_plain(box(*size)), turn.as_matrix(), centre))
    if rng.random() < 0.3:  # cables that wind over the table and leave it
        for _ in range(rng.integers(1, 3)):
            along, amplitude = np.linspace(-1, 1, 40), rng.uniform(0.01, 0.08)
            path = np.stack(
                [along * rng.uniform(0.3, 1.2), amplitude * np.sin(along * rng.uniform(2, 9) + rng.uniform(0, 6))], -1
            )
            radius = rng.uniform(0.0015, 0.005)
            mesh = sweep(path, np.full((40, 1, 1), radius) * superellipse(columns=8)).turned("x", np.pi / 2)
            turn = Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)).as_matrix()
            things.append((_plain(mesh), turn, np.array([rng.normal(0, 0.15), radius, rng.normal(0, 0.15)])))
    if rng.random() < 0.3:  # a mat, a board or a cloth that things stand on
        size = np.array([rng.uniform(0.45, 1.0), rng.uniform(0.002, 0.012), rng.uniform(0.38, 0.7)])
        turn = Rotation.from_euler("y", rng.uniform(0, 2 * np.pi)).as_matrix()
        things.append((_plain(box(*size)), turn, np.array([rng.normal(0, 0.2), 0.5 * size[1], rng.normal(0, 0.2)])))
    if rng.random() < 0.25:  # legs
        thick, length = rng.uniform(0.03, 0.08), rng.uniform(0.4, 0.8)
        for x in (table_low[0], table_half[0]):
            for z in (table_low[1], table_half[1]):
                things.append((_plain(box(thick, length, thick)), np.eye(3), np.array([x, -0.5 * length - 0.005, z])))
    return things


def gripper(rng: np.random.Generator) -> list[tuple[CastShape, np.ndarray, np.ndarray]]:
    """Make fingers at the border of the image of a camera on a wrist.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    list of (CastShape, ndarray, ndarray)
        Shape, R_camera_object, and the centre in the camera frame [m].
    """
    heading, z = rng.uniform(0, 2 * np.pi), rng.uniform(0.17, 0.4)
    across = np.array([np.cos(heading), np.sin(heading), 0.0])
    out = np.array([-across[1], across[0], 0.0])
    turn = Rotation.from_euler("z", heading).as_matrix()
    gap, length, reach = rng.uniform(0.0, 0.06), rng.uniform(0.08, 0.2), rng.uniform(0.25, 0.55) * z
    fingers = []
    for side in (-1, 1):
        mesh = box(rng.uniform(0.012, 0.03), length, rng.uniform(0.015, 0.04))
        tilt = Rotation.from_euler("x", rng.normal(0, 0.3)).as_matrix()
        centre = (reach + 0.5 * length) * out + side * (gap + 0.015) * across + np.array([0.0, 0.0, z])
        fingers.append((_plain(mesh), turn @ tilt, centre))
    return fingers


def _limb(start: np.ndarray, end: np.ndarray, radii: tuple[float, float]) -> Mesh:
    """A rounded limb between two points, as thick as it is at either."""
    length = float(np.linalg.norm(end - start))
    angle = np.linspace(0, 0.5 * np.pi, 5)
    foot = np.stack([radii[0] * np.sin(angle), -radii[0] * np.cos(angle)], axis=-1)
    head = np.stack([radii[1] * np.cos(angle), length + radii[1] * np.sin(angle)], axis=-1)
    profile = np.concatenate([foot, head])
    profile[:, 0] = profile[:, 0].clip(1e-4)
    mesh = lathe(profile, superellipse(columns=16))
    turn, _ = Rotation.align_vectors([(end - start) / length], [[0.0, 1.0, 0.0]])
    return Mesh(turn.apply(mesh.vertices) + start, mesh.faces)


def person_arm(rng: np.random.Generator, place: np.ndarray) -> tuple[CastShape, np.ndarray, np.ndarray]:
    """Make an arm that reaches into a scene: a hand with its fingers, a forearm, the upper arm and at times a sleeve.

    Lengths and thicknesses are those of an adult, times 0.8 to 1.15.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    place : (2,) float
        Where on the table, or above it, the wrist is: x and z, table frame [m].

    Returns
    -------
    shape : CastShape
        The arm.
    R_table_object : (3, 3) float
        Its orientation.
    centre : (3,) float
        Table frame, y up [m].
    """
    # from anywhere but the far side, mostly
    bearing = rng.uniform(0, 2 * np.pi) if rng.random() < 0.25 else np.pi / 2 + rng.normal(0, 0.9)
    rise = np.deg2rad(rng.uniform(2, 60))
    back = np.array([np.cos(bearing) * np.cos(rise), np.sin(rise), np.sin(bearing) * np.cos(rise)])  # towards the elbow
    size = rng.uniform(0.8, 1.15)
    height = 0.02 * size + (0.0 if rng.random() < 0.3 else rng.uniform(0.0, 0.2))
    wrist = np.array([place[0], height, place[1]])
    thick = size * rng.uniform(0.026, 0.034)
    elbow = wrist + size * rng.uniform(0.24, 0.3) * back
    limbs = [_limb(wrist, elbow, (thick, size * rng.uniform(0.036, 0.055)))]
    beyond = back + np.array([rng.normal(0, 0.4), rng.uniform(0.0, 0.9), rng.normal(0, 0.4)])
    beyond /= np.linalg.norm(beyond)
    limbs.append(_limb(elbow, elbow + 0.7 * beyond, (size * rng.uniform(0.042, 0.06), 0.065 * size)))
    if rng.random() < 0.5:  # a sleeve
        up_to = rng.uniform(0.1, 0.8)
        limbs.append(_limb(wrist + up_to * (elbow - wrist), elbow, (1.35 * thick, size * rng.uniform(0.055, 0.075))))
    # the hand goes on where the forearm points, bent at the wrist, its palm down, or turned
    ahead = -back
    ahead[1] *= rng.uniform(-0.2, 0.9)
    ahead /= np.linalg.norm(ahead)
    aside = np.cross(ahead, [0.0, 1.0, 0.0])
    aside /= np.linalg.norm(aside)
    aside = Rotation.from_rotvec(ahead * rng.normal(0, 0.7)).apply(aside)
    palm_up = np.cross(aside, ahead)
    knuckles, abreast = wrist + 0.09 * size * ahead, np.linspace(-0.03, 0.03, 4)
    for at in abreast:  # the palm: a limb to the root of each finger
        root, thin = knuckles + size * at * aside, size * rng.uniform(0.011, 0.014)
        limbs.append(_limb(wrist + 0.5 * size * at * aside, root, (1.1 * thin, thin)))
    curl, spread = rng.uniform(0.0, 1.3), rng.uniform(0.0, 0.25)
    for at in abreast:
        root, thin = knuckles + size * at * aside, size * rng.uniform(0.007, 0.01)
        bend, tip = curl * rng.uniform(0.5, 1.1), root
        way = ahead + spread * np.sign(at) * aside
        for part in (0.042, 0.034):
            way = Rotation.from_rotvec(-bend * aside).apply(way)
            way = way / np.linalg.norm(way)
            begin, tip = tip, tip + size * part * way
            limbs.append(_limb(begin, tip, (thin, 0.9 * thin)))
    side = rng.choice([-1.0, 1.0])  # the thumb
    way = ahead + side * rng.uniform(0.3, 1.2) * aside - rng.uniform(0.0, 0.8) * palm_up
    root = wrist + size * (0.03 * ahead + 0.025 * side * aside)
    limbs.append(_limb(root, root + 0.08 * size * way / np.linalg.norm(way), (0.014 * size, 0.009 * size)))
    vertices = np.concatenate([limb.vertices for limb in limbs])
    centre = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    centre[1] += max(0.0, 0.001 - vertices[:, 1].min())  # nothing reaches through the table
    return CastShape(assembled("furniture", [(limb, BODY) for limb in limbs])), np.eye(3), centre
