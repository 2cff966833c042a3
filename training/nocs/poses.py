"""The pose of an instance as architecture and evaluation define it: the centre of the tight box, its full extents, the
canonical frame's rotation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clipose_ros.core.backprojection import pinhole
from clipose_ros.core.categories import AXIS_SYMMETRIC
from clipose_ros.core.types import Intrinsics
from training.nocs.files import ModelBox, Truth, Unusable
from training.similarity import SimilarityConfig, robust_similarity

LEAST_PIXELS = 64  # with depth, as object-deformnet requires
LEAST_INLIERS = 0.5  # of them
# summed difference up to which two bounding boxes are the same, as object-deformnet matches the published truth
SAME_BOX_PX = 5
HANDLE_GAP = 0.02  # beyond the body's wall [diagonal]: a handle begins, and coordinate maps have steps of 1/255


@dataclass(frozen=True)
class InstancePose:
    """T_camera_object of the tight box: rotation (3, 3), translation (3,) [m], size (3,) [m]."""

    rotation: np.ndarray
    translation: np.ndarray
    size: np.ndarray


def box_of(coordinates: np.ndarray, category: str) -> ModelBox:
    """The tight box where the model is missing, from coordinates (N, 3) [diagonal] of its visible part.

    The box is centred and its diagonal is 1, so that half of the surface is enough; the rim of the mask may carry
    strays.
    """
    extents = 2 * np.quantile(np.abs(coordinates), 0.998, axis=0)
    if category in AXIS_SYMMETRIC:
        extents[[0, 2]] = extents[[0, 2]].max()
    diagonal = np.linalg.norm(extents)
    if not diagonal > 0.5:
        raise Unusable(
            "coord: too small",
            f"expected coordinates that span half of their unit at least, got extents {extents.round(3).tolist()}",
        )
    return ModelBox(extents / diagonal, np.zeros(3), diagonal_m=None)


def boxed(rotation: np.ndarray, translation: np.ndarray, scale: float, box: ModelBox) -> InstancePose:
    """From the similarity that moves the coordinates' frame [diagonal] into the camera's [m] to the pose of the tight
    box.
    """
    return InstancePose(rotation, translation + scale * rotation @ box.centre, scale * box.extents)


def aligned_pose(
    coordinates: np.ndarray,
    depth_m: np.ndarray,
    v: np.ndarray,
    u: np.ndarray,
    intrinsics: Intrinsics,
    box: ModelBox,
    config: SimilarityConfig,
) -> InstancePose:
    """Pose by the similarity of the coordinate map to the back-projected depth.

    Parameters: coordinates (N, 3) [diagonal] and depth_m (N,) of the instance's pixels v, u (N,) that have a depth.
    Raises: `Unusable` where points and coordinates do not agree.
    """
    points = pinhole(u, v, depth_m, intrinsics)
    try:
        fit = robust_similarity(coordinates, points, box.diagonal_m, config)
    except ValueError as error:
        raise Unusable("pose: coordinates contradict the depth", str(error)) from error
    share = fit.inliers.mean()
    if share < LEAST_INLIERS:
        raise Unusable(
            "pose: coordinates contradict the depth",
            f"expected a share of {LEAST_INLIERS} of the points at least, got {share:.2f}",
        )
    return boxed(fit.rotation, fit.translation, fit.scale, box)


def matched_truth(truth: Truth, category: str, mask_box: np.ndarray) -> int:
    """Index of the published instance of the same category whose bounding box (y1, x1, y2, x2) [px] is the mask's."""
    for i, (name, box) in enumerate(zip(truth.categories, truth.boxes, strict=True)):
        if name == category and np.abs(box - mask_box).sum() <= SAME_BOX_PX:
            return i
    raise Unusable(
        "truth: no such instance", f"expected a published {category} with the box {mask_box.tolist()}, got none"
    )


def tight_mug(
    rotation: np.ndarray, translation: np.ndarray, scale: float, shift: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """A re-centred mug's similarity back in the frame of its tight box.

    object-deformnet moves the model by `shift` (3,) so that the axis of the body lies at x = 0, and scales it by
    `factor` to a diagonal of 1 again: t' = t - s R shift, s' = s / factor. This is the inverse.
    """
    tight = scale * factor
    return rotation, translation + tight * rotation @ shift, tight


def handle_share(coordinates: np.ndarray, box: ModelBox) -> float:
    """Share of a mug's visible points (N, 3) [diagonal] that lie on its handle: beyond the round body, which is as wide
    in x as in z.
    """
    wall = box.centre[0] - box.extents[0] / 2 + box.extents[2]
    return float((coordinates[:, 0] > wall + HANDLE_GAP).mean())
