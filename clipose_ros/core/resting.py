"""The ways in which objects rest on a surface, and a pose set onto its surface."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from clipose_ros.core.rotation import CROSS
from clipose_ros.core.support import Surface
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import PoseEstimate
from clipose_ros.core.validation import expect


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
    underside goes to the surface: with it the extent and the centre.

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
    up = surface.normal
    ways = list(_ways(pose, up, rests))
    if not ways:
        return None
    rest, source, target = max(ways, key=lambda way: float(way[1] @ way[2]))
    if source @ target < math.cos(math.radians(settings.turn_deg)):
        return None
    rotation = _turn(source, target) @ pose.rotation
    height = float(surface.height(pose.translation))
    round_side = rest is Rest.SIDE and symmetry is Symmetry.Y
    half = (pose.size[0] + pose.size[2]) / 4 if round_side else float(np.abs(up @ rotation) @ pose.size) / 2
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
    return replace(pose, rotation=rotation, translation=pose.translation + (at_rest - height) * up, size=size)


def _ways(pose: PoseEstimate, up: np.ndarray, rests: Sequence[Rest]) -> Iterator[tuple[Rest, np.ndarray, np.ndarray]]:
    """For each way to rest: it, a direction of the object in the camera frame, and where that should point."""
    for rest in rests:
        if rest is Rest.SIDE:
            y = pose.rotation[:, 1]
            level = y - (y @ up) * up
            length = np.linalg.norm(level)
            if length > 1e-6:
                yield rest, y, level / length
        else:
            axis = pose.rotation[:, "xyz".index(rest[-1])]
            yield rest, -axis if rest.startswith("-") else axis, up


def _turn(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) from one unit vector to another, less than half a turn away."""
    cross = (np.cross(source, target) @ CROSS.reshape(3, 9)).reshape(3, 3)
    return np.eye(3) + cross + cross @ cross / (1 + source @ target)
