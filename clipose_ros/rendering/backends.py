"""The rasterisers by name."""

from __future__ import annotations

from typing import Literal

from clipose_ros.rendering.gaussians import Rasterizer

Backend = Literal["cpu", "cuda", "reference"]


def make_rasterizer(backend: Backend = "cpu") -> Rasterizer:
    """Make a rasteriser. What it needs is imported now: numba for cpu, torch and gsplat for cuda.

    Parameters
    ----------
    backend : str
        cpu, cuda, or reference: the slow one that the others are tested against.

    Returns
    -------
    Rasterizer
        Ready to draw.

    Raises
    ------
    RuntimeError
        If what it needs is not there, with what to install.
    ValueError
        For another name.
    """
    if backend == "cpu":
        from clipose_ros.rendering.cpu import CpuRasterizer

        return CpuRasterizer()
    if backend == "cuda":
        from clipose_ros.rendering.cuda import CudaRasterizer

        return CudaRasterizer()
    if backend == "reference":
        from clipose_ros.rendering.reference import ReferenceRasterizer

        return ReferenceRasterizer()
    raise ValueError(f"rasterizer: expected cpu, cuda or reference, got {backend}")
