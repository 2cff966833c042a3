"""Gaussians, what a rasteriser makes of them, and the one interface of all rasterisers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect

THICKNESS = 0.1  # of a disc, by its radius
DIFFERENCE = 1e-3  # of the numeric derivative: [rad], and by the distance


@dataclass(frozen=True)
class Gaussians:
    """An object made of N Gaussians, object frame.

    Parameters
    ----------
    means : (N, 3) float32
        Centres [m].
    covariances : (N, 6) float32
        xx, xy, xz, yy, yz, zz [m²].
    normals : (N, 3) float32
        Of length 1, outwards: a Gaussian is drawn only from this side. Of length 0: from both.
    opacities : (N,) float32
        0..1.
    features : (N, C) float32
        Colours, or whatever else is to be drawn.

    Raises
    ------
    ValueError
        If the arrays have other shapes, or are not float32.
    """

    means: np.ndarray
    covariances: np.ndarray
    normals: np.ndarray
    opacities: np.ndarray
    features: np.ndarray

    def __post_init__(self) -> None:
        count = len(self.means)
        shapes = {"means": (count, 3), "covariances": (count, 6), "normals": (count, 3), "opacities": (count,)}
        shapes["features"] = (count, *self.features.shape[1:2])
        for name, shape in shapes.items():
            array = getattr(self, name)
            fits = array.shape == shape and array.dtype == np.float32
            expect(name, fits, f"{shape} float32", f"{array.shape} {array.dtype}")


@dataclass(frozen=True)
class Rendering:
    """An image of Gaussians.

    Parameters
    ----------
    image : (H, W, C) float32
        The features, over a background of 0.
    depth_m : (H, W) float32
        Mean depth of what is seen [m]; 0 where nothing is.
    alpha : (H, W) float32
        What part of the background is hidden, 0..1.
    """

    image: np.ndarray
    depth_m: np.ndarray
    alpha: np.ndarray


class Rasterizer(Protocol):
    """Draws Gaussians."""

    def render(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
    ) -> Rendering:
        """Draw an object.

        Means and covariances both turn with the object.

        Parameters
        ----------
        gaussians : Gaussians
            The object.
        rotation : (3, 3) float
            R_camera_object.
        translation : (3,) float
            Of the object's origin, camera frame [m].
        intrinsics : Intrinsics
            Of the image; a pixel's centre has whole coordinates. The lens is taken as free of distortion.
        size : (int, int)
            Width and height of the image [px].

        Returns
        -------
        Rendering
            Colour, depth and alpha.
        """
        ...

    def slope(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
        weights: Rendering,
    ) -> np.ndarray:
        """Differentiate a weighted sum of a rendering by the pose.

        Parameters
        ----------
        gaussians, rotation, translation, intrinsics, size
            As `render` takes them.
        weights : Rendering
            What each value of image, depth and alpha counts, such as the derivative of a loss by them.

        Returns
        -------
        (6,) float
            By the turn about the camera's axes at the object's origin [1/rad], and by what is added to x / z, y / z
            and log z.
        """
        ...


def slope_by_differences(
    rasterizer: Rasterizer,
    gaussians: Gaussians,
    rotation: np.ndarray,
    translation: np.ndarray,
    intrinsics: Intrinsics,
    size: tuple[int, int],
    weights: Rendering,
) -> np.ndarray:
    """Give `Rasterizer.slope` by central differences, for rasterisers without derivatives of their own.

    Parameters
    ----------
    rasterizer : Rasterizer
        Draws.
    gaussians, rotation, translation, intrinsics, size, weights
        As `Rasterizer.slope` takes them.

    Returns
    -------
    (6,) float
        As `Rasterizer.slope` gives it.
    """

    def total(change: np.ndarray) -> float:
        length = float(np.linalg.norm(change[:3]))
        turn = np.eye(3)
        if length > 0:
            a, b, c = change[:3] / length
            across = np.array([[0, -c, b], [c, 0, -a], [-b, a, 0]])
            turn = turn + np.sin(length) * across + (1 - np.cos(length)) * across @ across
        x, y, z = translation
        moved = np.array([x / z + change[3], y / z + change[4], 1.0]) * z * np.exp(change[5])
        drawn = rasterizer.render(gaussians, turn @ rotation, moved, intrinsics, size)
        pairs = ((drawn.image, weights.image), (drawn.depth_m, weights.depth_m), (drawn.alpha, weights.alpha))
        return float(sum((one.astype(np.float64) * weight).sum() for one, weight in pairs))

    steps = DIFFERENCE * np.eye(6)
    return np.array([(total(step) - total(-step)) / (2 * DIFFERENCE) for step in steps])


def discs(points: np.ndarray, normals: np.ndarray, radii_m: np.ndarray, features: np.ndarray) -> Gaussians:
    """Make flat Gaussians that lie on a surface.

    Parameters
    ----------
    points, normals : (N, 3) float
        Centres [m], and outward normals of length 1.
    radii_m : (N,) float
        Standard deviation along the surface [m].
    features : (N, C) float
        Colours.

    Returns
    -------
    Gaussians
        One for each point, nearly opaque.
    """
    along = np.asarray(radii_m, np.float64) ** 2
    outer = normals[:, :, None] * normals[:, None, :]
    full = along[:, None, None] * (np.eye(3) - (1 - THICKNESS**2) * outer)
    rows, columns = np.triu_indices(3)
    return Gaussians(
        np.ascontiguousarray(points, np.float32),
        np.ascontiguousarray(full[:, rows, columns], np.float32),
        np.ascontiguousarray(normals, np.float32),
        np.full(len(points), 0.95, np.float32),
        np.ascontiguousarray(features, np.float32),
    )
