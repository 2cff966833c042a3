"""Clouds of discs, and turns, that all rasterisers are tested on."""

import numpy as np

from clipose_ros.rendering.gaussians import Gaussians, discs


def turned(degrees: float) -> np.ndarray:
    a = np.radians(degrees)
    about_y = np.array([[np.cos(a), 0, np.sin(a)], [0, 1, 0], [-np.sin(a), 0, np.cos(a)]])
    about_z = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    return about_z @ about_y


def cloud(count: int = 60, two_sided: bool = True) -> Gaussians:
    rng = np.random.default_rng(3)
    points = rng.normal(scale=0.03, size=(count, 3))
    normals = points / np.linalg.norm(points, axis=1, keepdims=True)
    made = discs(points, normals, rng.uniform(0.004, 0.012, count), rng.random((count, 4)))
    if not two_sided:
        return made
    return Gaussians(made.means, made.covariances, np.zeros_like(made.normals), made.opacities, made.features)
