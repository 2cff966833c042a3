"""The pose of an instance as architecture and evaluation define it.

It is the centre of the tight box, its full extents and the canonical frame's rotation.
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
    """T_camera_object of the tight box.

    Parameters
    ----------
    rotation : (3, 3) ndarray
        R_camera_object.
    translation : (3,) ndarray
        Of the box's centre [m].
    size : (3,) ndarray
        Full extents [m].
    """

    rotation: np.ndarray
    translation: np.ndarray
    size: np.ndarray


def box_of(coordinates: np.ndarray, category: str) -> ModelBox:
    """Estimate the tight box where the model is missing, from the coordinates of its visible part.

    The box is centred and its diagonal is 1, so that half of the surface is enough; the rim of the mask may carry
    strays.

    Parameters
    ----------
    coordinates : (N, 3) float
        Object frame [diagonal].
    category : str
        Of the object.

    Returns
    -------
    ModelBox
        Without a metric size.

    Raises
    ------
    Unusable
        Where the coordinates span too little.
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
    """Turn the similarity that moves the coordinates' frame into the camera's into the pose of the tight box.

    Parameters
    ----------
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        [m].
    scale : float
        Metres per diagonal.
    box : ModelBox
        Tight box in the coordinates' frame.

    Returns
    -------
    InstancePose
        Of the box.
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
    """Find the pose by the similarity of the coordinate map to the back-projected depth.

    Parameters
    ----------
    coordinates : (N, 3) float
        Of the instance's pixels that have a depth [diagonal].
    depth_m : (N,) float
        Of these [m].
    v, u : (N,) int
        Their rows and columns [px].
    intrinsics : Intrinsics
        Of the camera.
    box : ModelBox
        Of the object.
    config : SimilarityConfig
        Of the fit.

    Returns
    -------
    InstancePose
        Of the box.

    Raises
    ------
    Unusable
        Where points and coordinates do not agree.
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
    """Find the published instance whose category and bounding box are those of a mask.

    Parameters
    ----------
    truth : Truth
        Of the frame.
    category : str
        Of the object.
    mask_box : (4,) int
        y1, x1, y2, x2 [px].

    Returns
    -------
    int
        Its index.

    Raises
    ------
    Unusable
        Where there is none.
    """
    for i, (name, box) in enumerate(zip(truth.categories, truth.boxes, strict=True)):
        if name == category and np.abs(box - mask_box).sum() <= SAME_BOX_PX:
            return i
    raise Unusable(
        "truth: no such instance", f"expected a published {category} with the box {mask_box.tolist()}, got none"
    )


def tight_mug(
    rotation: np.ndarray, translation: np.ndarray, scale: float, shift: np.ndarray, factor: float
) -> tuple[np.ndarray, np.ndarray, float]:
    """Bring a re-centred mug's similarity back into the frame of its tight box.

    object-deformnet moves the model by `shift` so that the axis of the body lies at x = 0, and scales it by `factor` to
    a diagonal of 1 again: t' = t - s R shift, s' = s / factor. This is the inverse.

    Parameters
    ----------
    rotation : (3, 3) float
        R_camera_object.
    translation : (3,) float
        Of the re-centred mug [m].
    scale : float
        Of the re-centred mug.
    shift : (3,) float
        From `files.read_mug_meta`.
    factor : float
        From there, too.

    Returns
    -------
    rotation : (3, 3) float
        The same.
    translation : (3,) float
        Of the tight box [m].
    scale : float
        Of the tight box.
    """
    tight = scale * factor
    return rotation, translation + tight * rotation @ shift, tight


def handle_share(coordinates: np.ndarray, box: ModelBox) -> float:
    """Measure the share of a mug's visible points that lie on its handle.

    They lie beyond the round body, which is as wide in x as in z.

    Parameters
    ----------
    coordinates : (N, 3) float
        Object frame [diagonal].
    box : ModelBox
        Of the mug.

    Returns
    -------
    float
        0..1.
    """
    wall = box.centre[0] - box.extents[0] / 2 + box.extents[2]
    return float((coordinates[:, 0] > wall + HANDLE_GAP).mean())
