"""The rasteriser for one thread of a CPU."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.rendering.gaussians import Gaussians, Rendering, slope_by_differences
from clipose_ros.rendering.kernels import ELLIPSE, composite, project


class CpuRasterizer:
    """Draws Gaussians with compiled loops. See `Rasterizer`."""

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
        count = len(gaussians.means)
        ellipses, boxes = np.zeros((count, ELLIPSE), np.float32), np.zeros((count, 4), np.int32)
        image = np.zeros((height, width, gaussians.features.shape[1]), np.float32)
        depth, through = np.zeros((height, width), np.float32), np.ones((height, width), np.float32)
        order = project(
            gaussians.means,
            gaussians.covariances,
            gaussians.normals,
            gaussians.opacities,
            np.ascontiguousarray(rotation, np.float64),
            np.ascontiguousarray(translation, np.float64),
            np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]),
            width,
            height,
            ellipses,
            boxes,
        )
        composite(order, ellipses, boxes, gaussians.features, image, depth, through)
        alpha = 1 - through
        return Rendering(image, np.divide(depth, alpha, out=np.zeros_like(depth), where=alpha > 0), alpha)

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
