"""The rasteriser for a GPU, on gsplat: the one place of the runtime that knows torch, which comes with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.rendering.gaussians import Gaussians, Rendering

if TYPE_CHECKING:
    import torch

NEAR_M, LOW_PASS_PX2, MOST_ALPHA, LEAST_FACING = 0.01, 0.15, 0.99, 0.02  # as the other rasterisers have them
PIXEL_CENTRE = 0.5  # of gsplat's first pixel; ours has whole coordinates
CURE = "pip install clipose_ros[cuda], on a machine with an NVIDIA GPU, its driver and the CUDA toolkit (nvcc)"


class CudaRasterizer:
    """Draws Gaussians with gsplat. See `Rasterizer`.

    Discs are slanted in depth here, too: besides the features, gsplat blends three numbers for each Gaussian, its depth
    as a plane over the image.

    Parameters
    ----------
    device : str
        Where torch works.
    rasterize : callable, optional
        Has the signature and the conventions of `gsplat.rasterization`, which it is without it.

    Raises
    ------
    RuntimeError
        If torch, gsplat or the device is not there, with what to install.
    """

    def __init__(self, device: str = "cuda", rasterize: Callable | None = None) -> None:
        try:
            import torch

            if rasterize is None:
                from gsplat import rasterization as rasterize
        except ImportError as error:
            raise RuntimeError(
                f"rasterizer: expected cuda to have {error.name or 'gsplat'}, got none: {CURE}"
            ) from error
        if device.startswith("cuda") and not torch.cuda.is_available():
            raise RuntimeError(f"rasterizer: expected an NVIDIA GPU that torch can use for cuda, got none: {CURE}")
        self._torch, self._device, self._rasterize = torch, device, rasterize

    def render(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
    ) -> Rendering:
        """See `Rasterizer.render`."""
        with self._torch.no_grad():
            drawn = self._drawn(gaussians, *self._pose(rotation, translation), intrinsics, size)
        return Rendering(*(one.cpu().numpy().astype(np.float32) for one in drawn))

    def slope(
        self,
        gaussians: Gaussians,
        rotation: np.ndarray,
        translation: np.ndarray,
        intrinsics: Intrinsics,
        size: tuple[int, int],
        weights: Rendering,
    ) -> np.ndarray:
        """See `Rasterizer.slope`. Exact: back through gsplat's derivatives."""
        torch = self._torch
        change = torch.zeros(6, dtype=torch.float64, device=self._device, requires_grad=True)
        moved = self._moved(*self._pose(rotation, translation), change)
        drawn = self._drawn(gaussians, *moved, intrinsics, size)
        weighed = zip(drawn, (weights.image, weights.depth_m, weights.alpha))
        total = sum((one * torch.as_tensor(weight, device=self._device)).sum() for one, weight in weighed)
        if not total.requires_grad:  # nothing is in the image
            return np.zeros(6)
        total.backward()
        return change.grad.cpu().numpy()

    def _pose(self, rotation: np.ndarray, translation: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        return tuple(
            self._torch.as_tensor(np.array(one, np.float64), device=self._device) for one in (rotation, translation)
        )

    def _moved(
        self, rotation: torch.Tensor, translation: torch.Tensor, change: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A pose that is turned about the camera's axes, and shifted in x / z, y / z and log z."""
        torch = self._torch
        zero = torch.zeros_like(change[0])
        a, b, c = change[:3]
        across = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).reshape(3, 3)
        z = translation[2] * torch.exp(change[5])
        x_by_z, y_by_z = translation[:2] / translation[2] + change[3:5]
        return torch.linalg.matrix_exp(across) @ rotation, torch.stack([x_by_z * z, y_by_z * z, z])

    def _drawn(
        self,
        gaussians: Gaussians,
        rotation: torch.Tensor,
        translation: torch.Tensor,
        intrinsics: Intrinsics,
        size: tuple[int, int],
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Image (H, W, C), depth (H, W) [m] and alpha (H, W)."""
        torch, (width, height) = self._torch, size
        means, normals, covariances, opacities, features = (
            torch.as_tensor(one, dtype=torch.float32, device=self._device)
            for one in (
                gaussians.means,
                gaussians.normals,
                full_covariances(gaussians.covariances),
                np.minimum(gaussians.opacities, MOST_ALPHA),
                gaussians.features,
            )
        )
        rotation, translation = rotation.float(), translation.float()
        in_camera, facing = means @ rotation.T + translation, normals @ rotation.T
        towards = -(facing * in_camera).sum(dim=1) / in_camera.norm(dim=1).clamp_min(1e-9)
        shown = (in_camera[:, 2] >= NEAR_M) & ((towards >= LEAST_FACING) | ~normals.any(dim=1))
        if not shown.any():
            nothing = torch.zeros(height, width, device=self._device)
            return torch.zeros(height, width, features.shape[1], device=self._device), nothing, nothing
        planes = _depth_planes(torch, in_camera[shown], rotation @ covariances[shown] @ rotation.T, intrinsics)
        viewmat = torch.eye(4, device=self._device)
        viewmat = torch.cat([torch.cat([rotation, translation[:, None]], dim=1), viewmat[3:]])
        camera = torch.tensor(
            [
                [intrinsics.fx, 0, intrinsics.cx + PIXEL_CENTRE],
                [0, intrinsics.fy, intrinsics.cy + PIXEL_CENTRE],
                [0, 0, 1],
            ],
            dtype=torch.float32,
            device=self._device,
        )
        image, alpha, _ = self._rasterize(
            means[shown],
            None,
            None,
            opacities[shown],
            torch.cat([features[shown], planes], dim=1),
            viewmat[None],
            camera[None],
            width,
            height,
            near_plane=NEAR_M,
            eps2d=LOW_PASS_PX2,
            packed=False,
            rasterize_mode="antialiased",  # opacities fall as the low pass makes Gaussians wider
            covars=covariances[shown],
        )
        image, alpha = image[0], alpha[0, ..., 0]
        column = torch.arange(width, device=self._device)[None]
        row = torch.arange(height, device=self._device)[:, None]
        depth = image[..., -3] + image[..., -2] * column + image[..., -1] * row
        depth = torch.where(alpha > 0, depth / alpha.clamp_min(1e-9), torch.zeros_like(depth))
        return image[..., :-3], depth, alpha


def full_covariances(covariances: np.ndarray) -> np.ndarray:
    """Write covariances as matrices.

    Parameters
    ----------
    covariances : (N, 6) float32
        xx, xy, xz, yy, yz, zz.

    Returns
    -------
    (N, 3, 3) float32
        Symmetric.
    """
    return covariances[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)


def _depth_planes(torch, in_camera, covariances, intrinsics: Intrinsics):
    """Depth of each Gaussian as a plane over the image (N, 3): at the first pixel [m], to the right and down [m/px]."""
    x, y, z = in_camera.unbind(dim=1)
    zero = torch.zeros_like(z)
    projection = torch.stack(
        [intrinsics.fx / z, zero, -intrinsics.fx * x / z**2, zero, intrinsics.fy / z, -intrinsics.fy * y / z**2], dim=1
    ).reshape(-1, 2, 3)
    ellipses = projection @ covariances @ projection.transpose(1, 2)
    ellipses = ellipses + LOW_PASS_PX2 * torch.eye(2, device=z.device)
    slopes = torch.linalg.solve(ellipses, projection @ covariances[:, 2, :, None])[..., 0]
    place = torch.stack([intrinsics.fx * x / z + intrinsics.cx, intrinsics.fy * y / z + intrinsics.cy], dim=1)
    return torch.cat([(z - (slopes * place).sum(dim=1))[:, None], slopes], dim=1)
