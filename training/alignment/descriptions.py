"""What the text tower reads about an object (CLIPose, section III-A and table IX)."""

from __future__ import annotations

import numpy as np
import torch
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES

POSE_TEXT = "a point cloud model of a {} whose rotation euler angles is <{}, {}, {}> and translation is <{}, {}, {}>."
CATEGORY_TEXT = "a point cloud model of a {}."
ESTIMATION_TEXT = "a point cloud model of a {} whose pose is to be estimated."

RANDOM_TRANSLATION_M = np.array([[-0.5, -0.5, 0.4], [0.5, 0.5, 1.5]])  # least and greatest, camera frame


def _number(value: float) -> str:
    """Two decimals; what rounds to zero has no sign."""
    return f"{round(value, 2) + 0.0:.2f}"


def pose_texts(category: np.ndarray, rotation: np.ndarray, translation: np.ndarray) -> list[str]:
    """Write one text for each object, with its pose.

    The angles are in degrees about the fixed axes x, y, z in this order, the translation in centimetres; the paper
    states neither.

    Parameters
    ----------
    category : (B,) int
        Index into CATEGORIES.
    rotation : (B, 3, 3) float
        R_camera_object.
    translation : (B, 3) float
        Of the object, camera frame [m].

    Returns
    -------
    list of str
        In the order of the objects.
    """
    # At a middle angle of ±90° the other two are not unique; scipy then sets the last to zero, which is as true as any.
    angles = Rotation.from_matrix(rotation).as_euler("xyz", degrees=True, suppress_warnings=True)
    numbers = np.concatenate([angles, 100 * np.asarray(translation, np.float64)], axis=1).tolist()
    return [POSE_TEXT.format(CATEGORIES[c], *map(_number, row)) for c, row in zip(category, numbers, strict=True)]


def category_texts(category: np.ndarray) -> list[str]:
    """Write one text for each object, without a pose.

    Parameters
    ----------
    category : (B,) int
        Index into CATEGORIES.

    Returns
    -------
    list of str
        In the order of the objects.
    """
    return [CATEGORY_TEXT.format(CATEGORIES[c]) for c in category]


def estimation_texts() -> list[str]:
    """Write the texts of inference.

    Returns
    -------
    list of str
        One for each category, in the order of CATEGORIES.
    """
    return [ESTIMATION_TEXT.format(name) for name in CATEGORIES]


def random_poses(batch: int, generator: torch.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Draw poses that say nothing about any object.

    Parameters
    ----------
    batch : int
        How many.
    generator : torch.Generator
        Decides.

    Returns
    -------
    rotation : (B, 3, 3) float64
        Uniform over all rotations.
    translation : (B, 3) float64
        Uniform before the camera [m].
    """
    drawn = torch.randn(batch, 4, generator=generator, device=generator.device, dtype=torch.float64)
    share = torch.rand(batch, 3, generator=generator, device=generator.device, dtype=torch.float64)
    low, high = RANDOM_TRANSLATION_M
    return Rotation.from_quat(drawn.cpu().numpy()).as_matrix(), low + (high - low) * share.cpu().numpy()
