"""Objects with holes and lumps, as scans and real screens have them, cast at by rays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.ndimage import map_coordinates

from training.data.renderer import Placed
from training.data.shapes import Shape

if TYPE_CHECKING:  # scenes are made of these
    from training.scenes import SceneConfig


@dataclass(frozen=True)
class Unevenness:
    """What is uneven about an object: a smooth random field over its box.

    Parameters
    ----------
    field : (X, Y, Z) float
        Of about unit variance.
    size : (3,) float
        Of the box, which is centred [m].
    level : float
        There is a hole where the field is above; inf for none.
    margin : float
        No hole within this share of the box's height and width from their ends.
    lump_m : float
        How much the surface moves by one unit of the field [m].
    """

    field: np.ndarray
    size: np.ndarray
    level: float
    margin: float
    lump_m: float

    def at(self, points: np.ndarray) -> np.ndarray:
        """Interpolate the field.

        Parameters
        ----------
        points : (P, 3) float
            Object frame [m].

        Returns
        -------
        (P,) float
            The field.
        """
        cells = np.array(self.field.shape) - 1
        place = (points / np.maximum(self.size, 1e-3) + 0.5).clip(0, 1) * cells
        return map_coordinates(self.field, place.T, order=1, mode="nearest")

    def holes(self, points: np.ndarray, field: np.ndarray) -> np.ndarray:
        """Say where there are holes.

        Parameters
        ----------
        points : (P, 3) float
            Object frame [m].
        field : (P,) float
            There.

        Returns
        -------
        (P,) bool
            True for a hole.
        """
        hole = field > self.level
        if self.margin:
            hole &= (np.abs(points[:, 1:]) < (0.5 - self.margin) * self.size[1:]).all(axis=1)
        return hole

    @classmethod
    def drawn(cls, shape: Shape, config: SceneConfig, rng: np.random.Generator) -> Unevenness | None:
        """Draw what is uneven about an object.

        Parameters
        ----------
        shape : Shape
            The object.
        config : SceneConfig
            How often.
        rng : np.random.Generator
            Decides.

        Returns
        -------
        Unevenness or None
            None where nothing is.
        """
        laptop = shape.category == "laptop"
        sieve = rng.random() < (config.laptop_sieves if laptop else config.sieves)
        lumpy = rng.random() < config.lumpy
        if not (sieve or lumpy):
            return None
        cell = rng.uniform(0.008, 0.035)
        cells = (shape.size / cell).round().astype(int).clip(2, 30) + 1
        level = rng.uniform(-0.5, 0.5) if laptop else rng.uniform(0.1, 0.9)
        margin = rng.uniform(0.02, 0.12) if laptop and rng.random() < 0.6 else 0.0
        lump = np.exp(rng.uniform(np.log(0.0005), np.log(0.004))) if lumpy else 0.0
        field = rng.normal(0, 1.4, cells).astype(np.float32)
        return cls(field, shape.size.astype(float), level if sieve else np.inf, margin, lump)


def seen_depth(rays: np.ndarray, item: Placed, uneven: Unevenness | None) -> np.ndarray:
    """Cast rays at an object, through its holes and with its lumps.

    Parameters
    ----------
    rays : (P, 3) float
        With z = 1.
    item : Placed
        The object.
    uneven : Unevenness or None
        What is uneven about it.

    Returns
    -------
    (P,) float
        Depth [m]; inf where it is missed.
    """
    z, _ = item.cast_shape.cast(rays, item.rotation, item.translation)
    if uneven is None:
        return z
    hit = np.flatnonzero(np.isfinite(z))
    for again in (True, False):
        if not len(hit):
            break
        points = (rays[hit] * z[hit, None] - item.translation) @ item.rotation
        field = uneven.at(points)
        hole = uneven.holes(points, field)
        z[hit[~hole]] += uneven.lump_m * field[~hole]
        hit = hit[hole]
        behind, z[hit] = z[hit] + 0.001, np.inf
        if again and len(hit):
            z[hit], _ = item.cast_shape.cast(rays[hit], item.rotation, item.translation, behind)
            hit = hit[np.isfinite(z[hit])]
    return z
