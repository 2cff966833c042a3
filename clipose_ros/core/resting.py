"""The ways in which objects rest on a surface, and a pose set onto its surface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

import numpy as np

from clipose_ros.core.support import Surface
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate
from clipose_ros.core.uncertainty import narrowed, turned_covariance
from clipose_ros.core.validation import expect
from clipose_ros.core.vectors import cross, inner, unit

EYE = np.eye(3)
# How well a pose at rest is known: its height over the surface (3 mm) and its two tilts (1°), as variances.
VARIANCES_AT_REST = np.array([0.003, math.radians(1), math.radians(1)]) ** 2
LEVEL = {"x": [1, 2], "y": [0, 2], "z": [0, 1]}  # the axes that are level where one points up or down


class Rest(StrEnum):
    """Which of the object's directions points up. SIDE: y is level, at any turn about it."""

    Y = "y"
    MINUS_Y = "-y"
    X = "x"
    MINUS_X = "-x"
    Z = "z"
    MINUS_Z = "-z"
    SIDE = "side"


@dataclass(frozen=True)
class RestingSettings:
    """When a pose is set onto its surface.

    Parameters
    ----------
    turn_deg : float
        A pose that is further than this from every way to rest leans, or is held: it stays as it was [deg].
    """

    turn_deg: float = 15.0

    def __post_init__(self) -> None:
        expect("turn_deg", 0 < self.turn_deg < 45, "more than 0, less than 45 degrees", self.turn_deg)


def set_onto(
    pose: PoseEstimate,
    surface: Surface,
    rests: Sequence[Rest],
    symmetry: Symmetry,
    settings: RestingSettings = RestingSettings(),
) -> PoseEstimate | None:
    """Set a pose onto the surface that its object rests on.

    The nearest way to rest gives the rotation, by the smallest turn. The top of the box stays where it was seen, its
    underside goes to the surface: with it the extent and the centre. If it has a covariance, that narrows in what the
    surface tells, the height and the tilts, and keeps what the surface does not: the heading, the position along the
    surface, and how far an object that lies on its side has rolled about its y axis.

    Parameters
    ----------
    pose : PoseEstimate
        As it was estimated, camera frame.
    surface : Surface
        As `resting_surface` chooses it.
    rests : sequence of Rest
        Ways in which the object can rest.
    symmetry : Symmetry
        Of the object: one that is alike all around y keeps a round section when it lies.
    settings : RestingSettings
        What is near enough.

    Returns
    -------
    PoseEstimate or None
        The pose at rest; None where the object leans, or is held.
    """
    return set_all_onto([pose], [surface], [rests], [symmetry], settings)[0]


def set_all_onto(
    poses: Sequence[PoseEstimate | None],
    surfaces: Sequence[Surface | None],
    rests: Sequence[Sequence[Rest]],
    symmetries: Sequence[Symmetry],
    settings: RestingSettings = RestingSettings(),
) -> list[PoseEstimate | None]:
    """Set the poses of a frame onto their surfaces, each as `set_onto` does.

    Parameters
    ----------
    poses : sequence of (PoseEstimate or None)
        As they were estimated, camera frame.
    surfaces : sequence of (Surface or None)
        That of each.
    rests : sequence of sequence of Rest
        Ways in which each can rest.
    symmetries : sequence of Symmetry
        Of the objects.
    settings : RestingSettings
        What is near enough.

    Returns
    -------
    list of (PoseEstimate or None)
        The poses at rest; None where there is no pose or no surface, or where the object leans, or is held.
    """
    each = zip(poses, surfaces, rests, symmetries, strict=True)
    settled = [
        None if pose is None or surface is None else _settled(pose, surface, ways, symmetry, settings)
        for pose, surface, ways, symmetry in each
    ]
    unsure = [i for i, one in enumerate(settled) if one is not None and poses[i].covariance is not None]
    covariances = dict(zip(unsure, _narrowed([(poses[i], settled[i], surfaces[i].normal) for i in unsure])))
    return [
        None
        if one is None
        else PoseEstimate(
            pose.category, pose.score, one.rotation, one.translation, one.size, covariance=covariances.get(i)
        )
        for i, (pose, one) in enumerate(zip(poses, settled))
    ]


class _Settled(NamedTuple):
    """A pose at rest, the turn that brought it there, and how it rests."""

    rotation: np.ndarray
    translation: np.ndarray
    size: np.ndarray
    turn: np.ndarray
    rest: Rest


def _settled(
    pose: PoseEstimate, surface: Surface, rests: Sequence[Rest], symmetry: Symmetry, settings: RestingSettings
) -> _Settled | None:
    # In plain floats: of so few numbers, numpy takes longer for one operation than Python for a dozen.
    up = surface.normal.tolist()
    ways = list(_ways(pose.rotation.T.tolist(), up, rests))
    if not ways:
        return None
    rest, source, target = max(ways, key=lambda way: inner(way[1], way[2]))
    if inner(source, target) < math.cos(math.radians(settings.turn_deg)):
        return None
    turn = _turn(source, target)
    rotation = turn @ pose.rotation
    height = inner(pose.translation.tolist(), up) - surface.offset
    round_side = rest is Rest.SIDE and symmetry is Symmetry.Y
    half = (pose.size[0] + pose.size[2]) / 4 if round_side else float(np.abs(surface.normal @ rotation) @ pose.size) / 2
    at_rest = (height + half) / 2  # half of what lies between the surface and the top
    if at_rest <= 0:
        return None
    size = pose.size.copy()
    if round_side:
        size[[0, 2]] = 2 * at_rest
    elif rest is not Rest.SIDE:
        size["xyz".index(rest[-1])] = 2 * at_rest
    else:
        at_rest = half  # what is not round keeps its extents, and is only shifted
    translation = pose.translation + (at_rest - height) * surface.normal
    return _Settled(rotation, translation, size, turn, rest)


def _narrowed(of: Sequence[tuple[PoseEstimate, _Settled, np.ndarray]]) -> Sequence[np.ndarray]:
    """The covariances (6, 6) of poses at rest on surfaces with these normals. All at once: numpy's calls cost most."""
    if not of:
        return ()
    told = np.zeros((len(of), 3, 6))
    for directions, (_, one, normal) in zip(told, of):
        directions[0, :3] = normal
        if one.rest is Rest.SIDE:
            # the tilt of y; a turn about y is a roll
            directions[1, 3:] = cross(normal.tolist(), one.rotation[:, 1].tolist())
        else:
            directions[1:, 3:] = one.rotation.T[LEVEL[one.rest[-1]]]
    # What is unsure is about the object's axes: they turned, too.
    covariances = np.stack([pose.covariance for pose, _, _ in of])
    turns = np.stack([one.turn for _, one, _ in of])
    return narrowed(turned_covariance(covariances, EYE, turns), told, VARIANCES_AT_REST)


def _ways(
    axes: Sequence[Sequence[float]], up: Sequence[float], rests: Sequence[Rest]
) -> Iterator[tuple[Rest, Sequence[float], Sequence[float]]]:
    """For each way to rest: it, a direction of the object in the camera frame, and where that should point."""
    for rest in rests:
        if rest is Rest.SIDE:
            y, along = axes[1], inner(axes[1], up)
            level = unit([a - along * b for a, b in zip(y, up)])
            if level is not None:
                yield rest, y, level
        else:
            axis = axes["xyz".index(rest[-1])]
            yield rest, [-a for a in axis] if rest.startswith("-") else axis, up


def _turn(source: Sequence[float], target: Sequence[float]) -> np.ndarray:
    """The smallest rotation (3, 3) from one unit vector to another, less than half a turn away."""
    x, y, z = cross(source, target)
    turn = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return EYE + turn + turn @ turn / (1 + inner(source, target))
