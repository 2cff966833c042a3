"""Similarity between two point sets in correspondence.

In closed form (Umeyama 1991), and with outlier rejection, as the NOCS ground truth is made.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SAMPLE = 5  # correspondences of one hypothesis


@dataclass(frozen=True)
class SimilarityConfig:
    """Consensus over random samples as in NOCS and object-deformnet, then re-fits to the inliers.

    Parameters
    ----------
    hypotheses : int
        Random samples.
    threshold : float
        An inlier's largest residual, as a share of the diameter of the source.
    scored : int
        Correspondences, evenly spaced, that hypotheses are scored on.
    refits : int
        At most so many.
    refit_sigma : float
        Residual up to which a correspondence takes part in a re-fit, in spreads of the inliers.
    seed : int
        Of the samples.
    """

    hypotheses: int = 128
    threshold: float = 0.1
    scored: int = 1500
    refits: int = 5
    refit_sigma: float = 3.0
    seed: int = 0


@dataclass(frozen=True)
class Similarity:
    """target = scale * rotation @ source + translation.

    Parameters
    ----------
    rotation : (3, 3) ndarray
        R_target_source.
    translation : (3,) ndarray
        In the unit of the target.
    scale : float
        Target's unit per source's.
    inliers : (N,) bool ndarray
        The correspondences that it rests on.
    """

    rotation: np.ndarray
    translation: np.ndarray
    scale: float
    inliers: np.ndarray


def umeyama(
    source: np.ndarray, target: np.ndarray, scale: float | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Fit the similarity of least squares (Umeyama 1991, eqs. 39-42): target ≈ scale * rotation @ source + translation.

    Parameters
    ----------
    source, target : (..., N, 3) float
        In correspondence.
    scale : float, optional
        Where it is known.

    Returns
    -------
    rotation : (..., 3, 3) float
        R_target_source.
    translation : (..., 3) float
        In the unit of the target.
    scale : (...) float
        0 for one point.
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
    """Measure how far moved source points are from their targets.

    Parameters
    ----------
    source, target : (N, 3) float
        In correspondence.
    rotation : (..., 3, 3) float
        Of similarities with any leading axes.
    translation : (..., 3) float
        Of them.
    scale : (...) float
        Of them.

    Returns
    -------
    (..., N) float
        Distances.
    """
    moved = scale[..., None, None] * (source @ np.swapaxes(rotation, -1, -2)) + translation[..., None, :]
    return np.linalg.norm(moved - target, axis=-1)


def robust_similarity(
    source: np.ndarray, target: np.ndarray, scale: float | None = None, config: SimilarityConfig = SimilarityConfig()
) -> Similarity:
    """Fit the similarity that most correspondences agree on. The same input gives the same result, bit for bit.

    Parameters
    ----------
    source : (N, 3) float
        N >= 5, of high quality: a coordinate map.
    target : (N, 3) float
        With outliers: measured points [m].
    scale : float, optional
        Where it is known.
    config : SimilarityConfig
        The consensus.

    Returns
    -------
    Similarity
        With its inliers.

    Raises
    ------
    ValueError
        For too few points, different shapes, and sources or targets without extent.
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
