"""Normals of what a depth image shows.

A plane is linear in inverse depth: of a pixel's ray (x, y, 1) it shows 1 / z = q · (x, y, 1), with q along its normal.
So a least-squares fit in a window is a matter of box filters.
"""

from __future__ import annotations

import cv2
import numpy as np

from clipose_ros.core.types import Intrinsics

LEAST_FILLED = 0.6  # of a window's pixels must have a depth
JUMP_M, JUMP_BY_DEPTH = 0.005, 0.008  # between neighbours, at most: more is an edge between two surfaces


def points_and_normals(
    depth_m: np.ndarray, intrinsics: Intrinsics, radius: int = 2
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Back-project a depth image, with normals.

    Parameters
    ----------
    depth_m : (H, W) float32
        0 where nothing is known [m].
    intrinsics : Intrinsics
        Of the image; its lens is taken as free of distortion.
    radius : int
        Of the window in which planes are fitted [px].

    Returns
    -------
    points : (H, W, 3) float32
        Camera frame [m].
    normals : (H, W, 3) float32
        Of length 1, towards the camera; 0 where the window shows too little.
    smooth : (H, W) bool
        Whether there is a normal, and no edge of depth beside the pixel.
    """
    height, width = depth_m.shape
    x = np.broadcast_to((np.arange(width) - intrinsics.cx) / intrinsics.fx, depth_m.shape)
    y = np.broadcast_to(((np.arange(height) - intrinsics.cy) / intrinsics.fy)[:, None], depth_m.shape)
    points = np.stack([x * depth_m, y * depth_m, depth_m], axis=-1).astype(np.float32)
    known = depth_m > 0
    q = np.zeros(depth_m.shape)
    np.divide(1.0, depth_m, out=q, where=known)
    side = 2 * radius + 1

    def summed(values: np.ndarray) -> np.ndarray:
        return cv2.boxFilter(
            np.ascontiguousarray(values), cv2.CV_64F, (side, side), normalize=False, borderType=cv2.BORDER_CONSTANT
        )

    weight = known.astype(np.float64)
    count = np.maximum(summed(weight), 1)
    mean_x, mean_y, mean_q = summed(weight * x) / count, summed(weight * y) / count, summed(q) / count
    xx = summed(weight * x * x) / count - mean_x**2
    xy = summed(weight * x * y) / count - mean_x * mean_y
    yy = summed(weight * y * y) / count - mean_y**2
    xq = summed(x * q) / count - mean_x * mean_q
    yq = summed(y * q) / count - mean_y * mean_q
    determinant = xx * yy - xy * xy
    pixel = 1 / (intrinsics.fx * intrinsics.fy)
    sound = known & (count >= LEAST_FILLED * side * side) & (determinant > 1e-3 * pixel**2)
    determinant[~sound] = 1
    a, b = (xq * yy - yq * xy) / determinant, (yq * xx - xq * xy) / determinant
    normals = -np.stack([a, b, mean_q - a * mean_x - b * mean_y], axis=-1)
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-12)
    normals[~sound] = 0
    return points, normals.astype(np.float32), sound & ~_beside_edge(depth_m, known)


def _beside_edge(depth_m: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Whether a pixel (H, W) has a neighbour that is much nearer or further."""
    kernel = np.ones((3, 3), np.uint8)
    furthest = cv2.dilate(depth_m, kernel)
    nearest = cv2.erode(np.where(known, depth_m, np.float32(np.inf)), kernel)
    return furthest - nearest > JUMP_M + JUMP_BY_DEPTH * depth_m
