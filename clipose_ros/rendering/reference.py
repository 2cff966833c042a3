"""The rasteriser as the textbook has it, in numpy: slow, and what the others are tested against."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.rendering.gaussians import Gaussians, Rendering, slope_by_differences

NEAR_M, LOW_PASS_PX2, LEAST_ALPHA, MOST_ALPHA, LEAST_FACING = 0.01, 0.15, 1 / 255, 0.99, 0.02


class ReferenceRasterizer:
    """Draws Gaussians one after the other, each over the whole image. See `Rasterizer`."""

    def render(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
    ) -> Rendering:
        """See `Rasterizer.render`."""
        width, height = size
        column, row = np.meshgrid(np.arange(width), np.arange(height))
        image = np.zeros((height, width, gaussians.features.shape[1]))
        depth, through = np.zeros((height, width)), np.ones((height, width))
        means = gaussians.means.astype(np.float64) @ np.asarray(rotation).T + translation
        normals = gaussians.normals.astype(np.float64) @ np.asarray(rotation).T
        for i in np.argsort(means[:, 2], kind="stable"):
            x, y, z = means[i]
            facing = -(normals[i] @ means[i]) / np.linalg.norm(means[i])
            if z < NEAR_M or (normals[i].any() and facing < LEAST_FACING):
                continue
            derivative = np.array(
                [
                    [intrinsics.fx / z, 0, -intrinsics.fx * x / z**2],
                    [0, intrinsics.fy / z, -intrinsics.fy * y / z**2],
                ]
            )
            turned = rotation @ _full(gaussians.covariances[i]) @ rotation.T
            sharp = derivative @ turned @ derivative.T
            ellipse = sharp + LOW_PASS_PX2 * np.eye(2)
            inverse = np.linalg.inv(ellipse)
            slope = inverse @ derivative @ turned[2]
            du = column - (intrinsics.fx * x / z + intrinsics.cx)
            dv = row - (intrinsics.fy * y / z + intrinsics.cy)
            distance = inverse[0, 0] * du**2 + 2 * inverse[0, 1] * du * dv + inverse[1, 1] * dv**2
            opacity = gaussians.opacities[i] * np.sqrt(max(np.linalg.det(sharp), 0) / np.linalg.det(ellipse))
            alpha = opacity * np.exp(-0.5 * distance)
            weight = np.where(alpha < LEAST_ALPHA, 0, np.minimum(alpha, MOST_ALPHA)) * through
            through = through - weight
            depth += weight * (z + slope[0] * du + slope[1] * dv)
            image += weight[..., None] * gaussians.features[i]
        alpha = 1 - through
        mean = np.divide(depth, alpha, out=np.zeros_like(depth), where=alpha > 0)
        return Rendering(image.astype(np.float32), mean.astype(np.float32), alpha.astype(np.float32))

    def slope(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
        weights: Rendering,
    ) -> np.ndarray:
        """See `Rasterizer.slope`."""
        return slope_by_differences(self, gaussians, rotation, translation, intrinsics, size, weights)


def _full(covariance: np.ndarray) -> np.ndarray:
    xx, xy, xz, yy, yz, zz = covariance.astype(np.float64)
    return np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
