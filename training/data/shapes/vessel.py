"""Open vessels: the wall that mugs and bowls have in common."""

from __future__ import annotations

import numpy as np

from training.data.shapes.mesh import fillet


def bellied(
    height: float, foot: float, rim: float, roundness: float, belly: float, flare: float, samples: int = 14
) -> np.ndarray:
    """Draw the outer profile of a vessel from the foot to the rim.

    Parameters
    ----------
    height : float
        Of the vessel [m].
    foot, rim : float
        Radii [m].
    roundness : float
        Share of the height over which the wall turns up from the foot: 0 is straight, 1 a hemisphere.
    belly : float
        Widening at half height, as a share.
    flare : float
        Widening of the last fifth, as a share.
    samples : int
        Points of the profile.

    Returns
    -------
    (samples, 2) float
        Radius and height [m].
    """
    t = np.sin(np.linspace(0, np.pi / 2, samples)) ** 2  # dense at both ends, where the wall turns
    corner = np.clip(1 - t / max(roundness, 1e-3), 0, 1)
    turn = np.sqrt(1 - corner**2)  # 0 at the foot, 1 where the wall has turned up
    straight = 1 - roundness
    wall = straight * t + (1 - straight) * turn
    radius = (foot + (rim - foot) * wall) * (1 + belly * 4 * t * (1 - t)) * (1 + flare * np.clip(5 * t - 4, 0, 1) ** 2)
    return np.stack([radius, t * height], axis=-1)


def hollowed(outer: np.ndarray, wall: float, floor: float, lip: float) -> np.ndarray:
    """Close the profile of a vessel: up the outside, over the rim and down the inside to the floor.

    Parameters
    ----------
    outer : (P, 2) float
        Radius and height of the outside [m].
    wall, floor : float
        Thicknesses [m].
    lip : float
        Radius of the rim's rounding [m]; 0 for a sharp rim.

    Returns
    -------
    (Q, 2) float
        Radius and height [m].
    """
    height = outer[-1, 1]
    inner_heights = np.linspace(height, floor, len(outer))
    inner_radii = np.interp(inner_heights, outer[:, 1], outer[:, 0]) - wall
    inner = np.stack([np.maximum(inner_radii, 0.25 * outer[-1, 0]), inner_heights], axis=-1)
    rim = fillet(np.stack([outer[-2], outer[-1], inner[0], inner[1]]), lip)
    return np.concatenate([outer[:-1], rim[1:-1], inner[1:]])
