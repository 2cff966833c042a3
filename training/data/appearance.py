"""How generated objects look: patterns in three dimensions, labels with strokes like text, plastic, glaze and metal.

Nothing here knows of rays or cameras. Points are in the frame of the object, in metres.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np

from training.data.shapes.shape import ORIENTING, Shape, drawn

Pattern = Literal["plain", "waves", "stripes", "checks", "spots"]

LABEL_PX = (96, 192)  # rows and columns
LETTERS = "ABCDEFGHIKLMNOPRSTUVWXYZabcdefghiklmnoprstuvwxyz0123456789&%-."
WAVES = 6
ROUND = ("bottle", "bowl", "can", "mug")  # labels go around these; others have them on their sides


@dataclass(frozen=True)
class LookConfig:
    """Shares of what objects and tables look like.

    Parameters
    ----------
    patterns : dict of float
        Of the patterns of objects, in any unit.
    labelled : float
        Of the objects that have a label.
    metal : float
        Of the materials that are metal.
    glossy : float
        Of the others that reflect.
    parted : float
        Of the parts of an object (handle, screen, lid) that have a material of their own.
    """

    patterns: dict[str, float] = field(
        default_factory=lambda: {"plain": 0.45, "waves": 0.2, "stripes": 0.15, "checks": 0.08, "spots": 0.12}
    )
    labelled: float = 0.45
    metal: float = 0.15
    glossy: float = 0.5
    parted: float = 0.5


@dataclass(frozen=True)
class Material:
    """What a surface is made of.

    Parameters
    ----------
    pattern : str
        How two colours alternate.
    colours : (2, 3) float32 ndarray
        These, linear RGB, 0..1.
    waves : (3, WAVES) float32 ndarray
        Wave vectors of the pattern [1/m].
    phases : (WAVES,) float32 ndarray
        Of the waves [rad].
    level : float
        Where the pattern changes from the one colour to the other, -1..1.
    reflection : float
        Share of the light that is reflected when it falls straight, 0..1.
    roughness : float
        0 for a mirror, 1 for chalk.
    metal : bool
        Whether the reflection has the colour, and there is no other light.
    """

    pattern: Pattern
    colours: np.ndarray
    waves: np.ndarray
    phases: np.ndarray
    level: float
    reflection: float
    roughness: float
    metal: bool

    def albedo(self, points: np.ndarray) -> np.ndarray:
        """Compute the colours of points.

        Parameters
        ----------
        points : (P, 3) float32
            Frame of the object [m].

        Returns
        -------
        (P, 3) float32
            Linear RGB, 0..1.
        """
        if self.pattern == "plain":
            return np.broadcast_to(self.colours[0], points.shape)
        if self.pattern == "stripes":
            share = np.sin(points @ self.waves[:, 0] + self.phases[0]) > self.level
        elif self.pattern == "checks":
            share = np.sin(points @ self.waves[:, :3] + self.phases[:3]).prod(1) > 0.2 * self.level
        elif self.pattern == "spots":
            share = np.cos(points @ self.waves[:, :3] + self.phases[:3]).sum(1) > 1 + self.level
        else:  # waves that bend one another: marble, wood, clouds
            bent = np.sin(points @ self.waves[:, 1:] + self.phases[1:]).sum(1)
            share = 0.5 + 0.5 * np.sin(points @ self.waves[:, 0] + self.phases[0] + (1.5 + self.level) * bent)
        share = share.astype(np.float32)[:, None]
        return self.colours[0] + share * (self.colours[1] - self.colours[0])


def drawn_colour(rng: np.random.Generator) -> np.ndarray:
    """Draw a colour: grey, pale or strong.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (3,) float32
        Linear RGB, 0..1.
    """
    value, strength = rng.uniform(0.03, 0.95), rng.choice([0.05, 0.35, 0.9])
    hue = rng.uniform(0, 1, 3)
    hue = (hue - hue.min()) / max(np.ptp(hue), 1e-6)
    return (value * (1 - strength + strength * hue)).astype(np.float32)


def drawn_material(rng: np.random.Generator, config: LookConfig, length_m: float) -> Material:
    """Draw a material.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.
    config : LookConfig
        Shares.
    length_m : float
        Size of what has it: patterns repeat some times over it [m].

    Returns
    -------
    Material
        Any.
    """
    pattern = drawn(rng, config.patterns)
    directions = rng.normal(size=(3, WAVES))
    if rng.random() < 0.5:  # many patterns follow the axes of things
        directions[:, :3] = np.eye(3)[rng.permutation(3)]
    directions /= np.linalg.norm(directions, axis=0)
    repeats = rng.uniform(1.0, 9.0) * rng.uniform(0.6, 1.6, WAVES)
    repeats[1:3] = np.where(pattern in ("checks", "spots"), repeats[0], repeats[1:3])
    metal = rng.random() < config.metal
    glossy = metal or rng.random() < config.glossy
    colours = np.stack([drawn_colour(rng), drawn_colour(rng)])
    if metal:
        colours = 0.35 + 0.6 * (0.7 * colours.mean(1, keepdims=True) + 0.3 * colours)
    return Material(
        pattern=pattern,
        colours=colours.astype(np.float32),
        waves=(2 * np.pi * directions * repeats / length_m).astype(np.float32),
        phases=rng.uniform(0, 2 * np.pi, WAVES).astype(np.float32),
        level=float(rng.uniform(-0.7, 0.7)),
        reflection=float(rng.uniform(0.55, 0.95) if metal else rng.uniform(0.03, 0.12) if glossy else 0.0),
        roughness=float(rng.uniform(0.02, 0.5) if glossy else 1.0),
        metal=bool(metal),
    )


def drawn_label(rng: np.random.Generator) -> np.ndarray:
    """Draw a label: blocks, lines, rings and random text.

    Parameters
    ----------
    rng : np.random.Generator
        Decides.

    Returns
    -------
    (96, 192, 3) float32
        Linear RGB, 0..1.
    """
    rows, columns = LABEL_PX
    label = np.empty((rows, columns, 3), np.uint8)
    label[:], *colours = (tuple(map(int, 255 * drawn_colour(rng))) for _ in range(5))

    def place() -> tuple[int, int]:
        return int(rng.integers(columns)), int(rng.integers(rows))

    for _ in range(rng.integers(0, 5)):
        cv2.rectangle(label, place(), place(), colours[rng.integers(4)], -1)
    for _ in range(rng.integers(0, 3)):
        thick = int(rng.choice([-1, 2, 5]))
        cv2.circle(label, place(), int(rng.integers(5, 40)), colours[rng.integers(4)], thick, cv2.LINE_AA)
    for _ in range(rng.integers(0, 4)):
        cv2.line(label, place(), place(), colours[rng.integers(4)], int(rng.integers(1, 6)), cv2.LINE_AA)
    for _ in range(rng.integers(1, 7)):
        text = "".join(rng.choice(list(LETTERS), rng.integers(2, 14)))
        size = float(np.exp(rng.uniform(-1.4, 0.5)))
        at = (int(rng.integers(-20, columns)), int(rng.integers(0, rows)))
        font = int(rng.integers(0, 8))
        cv2.putText(label, text, at, font, size, colours[rng.integers(4)], int(rng.integers(1, 4)), cv2.LINE_AA)
    return label / np.float32(255)


@dataclass(frozen=True)
class Look:
    """How an object looks.

    Parameters
    ----------
    materials : tuple of Material
        Those of its parts.
    of_part : (4,) int ndarray
        Which of them each part has.
    label : (96, 192, 3) float32 ndarray or None
        On the body, or on a screen.
    band : (float, float)
        From where to where along y it goes, as shares of the height.
    turn : float
        Where around the object it begins, 0..1.
    repeats : int
        How often it goes around.
    around : bool
        Whether it goes around; else it is on each side.
    labelled_part : int
        What it is on.
    size : (3,) float32 ndarray
        Of the object [m].
    """

    materials: tuple[Material, ...]
    of_part: np.ndarray
    label: np.ndarray | None
    band: tuple[float, float]
    turn: float
    repeats: int
    around: bool
    labelled_part: int
    size: np.ndarray

    def albedo(self, points: np.ndarray, normals: np.ndarray, parts: np.ndarray) -> np.ndarray:
        """Compute the colours of points.

        Parameters
        ----------
        points : (P, 3) float32
            Frame of the object [m].
        normals : (P, 3) float32
            Of the surface there.
        parts : (P,) int
            Ids of `training.data.shapes.shape`.

        Returns
        -------
        (P, 3) float32
            Linear RGB, 0..1.
        """
        which = self.of_part[parts]
        albedo = np.empty_like(points)
        for i, material in enumerate(self.materials):
            mine = which == i
            if mine.any():
                albedo[mine] = material.albedo(points[mine])
        if self.label is None:
            return albedo
        u, v, shown = self._label_places(points, normals)
        shown &= parts == self.labelled_part
        if shown.any():
            rows, columns = LABEL_PX
            at = [np.ascontiguousarray(share[shown][:, None]) for share in (u * (columns - 1), v * (rows - 1))]
            albedo[shown] = cv2.remap(self.label, *at, cv2.INTER_LINEAR)[:, 0]
        return albedo

    def _label_places(self, points: np.ndarray, normals: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where on the label points lie: column and row (P,), as shares, and whether they lie on it."""
        share = points / self.size + np.float32(0.5)
        if self.around:
            angle = np.arctan2(points[:, 0], points[:, 2]) * np.float32(0.5 / np.pi)
            u = (angle * self.repeats + np.float32(self.turn)) % 1
            across = share[:, 1]
            low, high = self.band
            shown = (across > low) & (across < high) & (np.abs(normals[:, 1]) < 0.8)
            return u, 1 - (across - np.float32(low)) / np.float32(high - low), shown
        facing = np.abs(normals).argmax(1)
        u = np.where(facing == 0, share[:, 2], share[:, 0])
        v = np.where(facing == 1, share[:, 2], 1 - share[:, 1])
        return u.clip(0, 1), v.clip(0, 1), np.ones(len(points), bool)


def drawn_look(shape: Shape, rng: np.random.Generator, config: LookConfig = LookConfig()) -> Look:
    """Draw how an object looks.

    Parameters
    ----------
    shape : Shape
        The object.
    rng : np.random.Generator
        Decides.
    config : LookConfig
        Shares.

    Returns
    -------
    Look
        Of this object.
    """
    length = float(shape.size.max())
    materials, of_part = [drawn_material(rng, config, length)], np.zeros(4, int)
    for part in range(1, 4):
        if rng.random() < config.parted:
            materials.append(drawn_material(rng, config, length))
            of_part[part] = len(materials) - 1
    low = rng.uniform(0.0, 0.5)
    on_screen = shape.category == "laptop" and rng.random() < 0.6
    return Look(
        materials=tuple(materials),
        of_part=of_part,
        label=drawn_label(rng) if on_screen or rng.random() < config.labelled else None,
        band=(low, low + rng.uniform(0.25, 1.0 - low)),
        turn=float(rng.random()),
        repeats=int(rng.integers(1, 4)),
        around=shape.category in ROUND,
        labelled_part=ORIENTING if on_screen else 0,
        size=shape.size.astype(np.float32),
    )
