"""Similarity between two point sets in correspondence: closed form (Umeyama 1991) and with outlier rejection, as the
NOCS ground truth is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE = 5  # correspondences of one hypothesis


@dataclass(frozen=True)
class SimilarityConfig:
    """Consensus over random samples as in NOCS and object-deformnet, then re-fits to what lies within the spread of the
    inliers.
    """

    hypotheses: int = 128
    threshold: float = 0.1  # an inlier's largest residual, of the diameter of the source
    scored: int = 1500  # correspondences, evenly spaced, that hypotheses are scored on
    refits: int = 5
    refit_sigma: float = 3.0
    seed: int = 0


@dataclass(frozen=True)
class Similarity:
    """target = scale * rotation @ source + translation; `inliers` (N,) bool are the correspondences that it rests on."""

    rotation: np.ndarray
    translation: np.ndarray
    scale: float
    inliers: np.ndarray


def umeyama(
    source: np.ndarray, target: np.ndarray, scale: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The similarity of least squares (Umeyama 1991, eqs. 39-42).

    Parameters: source, target (..., N, 3) in correspondence; scale where it is known.
    Returns: rotation (..., 3, 3), translation (..., 3), scale (...): target ≈ scale * rotation @ source + translation.
    One point has scale 0.
    """
    source_mean, target_mean = source.mean(axis=-2, keepdims=True), target.mean(axis=-2, keepdims=True)
    source_centred, target_centred = source - source_mean, target - target_mean
    covariance = np.swapaxes(target_centred, -1, -2) @ source_centred / source.shape[-2]
    left, singular, right = np.linalg.svd(covariance)
    proper = np.ones_like(singular)
    proper[..., 2] = np.sign(np.linalg.det(left) * np.linalg.det(right))
    rotation = (left * proper[..., None, :]) @ right
    variance = np.square(source_centred).sum(axis=-1).mean(axis=-1)
    fitted = (singular * proper).sum(axis=-1) / np.maximum(variance, np.finfo(float).tiny)
    scales = fitted if scale is None else np.full_like(fitted, scale)
    translation = target_mean[..., 0, :] - scales[..., None] * (rotation @ source_mean[..., 0, :, None])[..., 0]
    return rotation, translation, scales


def residuals(
    source: np.ndarray, target: np.ndarray, rotation: np.ndarray, translation: np.ndarray, scale: np.ndarray
) -> np.ndarray:
    """Distances (..., N) between target (N, 3) and the moved source (N, 3) for similarities with any leading axes."""
    moved = scale[..., None, None] * (source @ np.swapaxes(rotation, -1, -2)) + translation[..., None, :]
    return np.linalg.norm(moved - target, axis=-1)


def robust_similarity(
    source: np.ndarray, target: np.ndarray, scale: float | None = None, config: SimilarityConfig = SimilarityConfig()
) -> Similarity:
    """The similarity that most correspondences agree on.

    Parameters: source (N, 3), N >= 5, of high quality (a coordinate map); target (N, 3) with outliers (measured points)
    [m]; scale where it is known.
    Returns: the `Similarity`; the same input gives the same result, bit for bit.
    Raises: ValueError for too few points, different shapes and sources or targets without extent.
    """
    if source.ndim != 2 or source.shape != target.shape or source.shape[1] != 3 or len(source) < SAMPLE:
        raise ValueError(
            f"source, target: expected the same shape (N >= {SAMPLE}, 3), got {source.shape} and {target.shape}"
        )
    source, target = source.astype(float), target.astype(float)
    diameter = 2 * np.linalg.norm(source - source.mean(axis=0), axis=1).max()
    if not diameter > 0:
        raise ValueError("source: expected points that differ, got one point")
    rng = np.random.default_rng(config.seed)
    chosen = rng.integers(len(source), size=(config.hypotheses, SAMPLE))
    few = np.linspace(0, len(source) - 1, min(len(source), config.scored)).astype(int)
    rotation, translation, scales = umeyama(source[chosen], target[chosen], scale)
    distance = residuals(source[few], target[few], rotation, translation, scales)
    agreeing = (distance < config.threshold * diameter * scales[:, None]).sum(axis=1)
    best = int(agreeing.argmax())
    fit = rotation[best], translation[best], scales[best]
    inliers = residuals(source, target, *fit) < config.threshold * diameter * fit[2]
    for _ in range(1 + config.refits):
        if inliers.sum() < SAMPLE:
            raise ValueError(
                f"target: expected points that agree with the source, got {int(inliers.sum())} of {len(source)}"
            )
        fit = umeyama(source[inliers], target[inliers], scale)
        distance = residuals(source, target, *fit)
        spread = 1.4826 * np.median(distance[inliers])
        within = distance < min(max(config.refit_sigma * spread, 1e-9), config.threshold * diameter * fit[2])
        if (within == inliers).all():
            break
        inliers = within
    return Similarity(fit[0], fit[1], float(fit[2]), inliers)
