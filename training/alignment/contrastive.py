"""Contrastive losses between modalities (CLIPose, equations 3 and 5).

They are pure functions of features, one row a sample.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from training.optimisation.precision import exact


def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Compute the cosines between rows, in full precision.

    Parameters
    ----------
    first : (A, D) float
        Features.
    second : (B, D) float
        Features of another modality.

    Returns
    -------
    (A, B) float32
        Cosines.
    """
    with exact(first):
        return F.normalize(first.float(), dim=-1) @ F.normalize(second.float(), dim=-1).T


def noise_contrastive(first: Tensor, second: Tensor, temperature: float, category: Tensor | None = None) -> Tensor:
    """Compute the symmetric noise-contrastive loss of paired features (equation 3, as a mean over the pairs i).

    -1/2 log exp(f_i·g_i / τ) / Σ_k exp(f_i·g_k / τ) - 1/2 log exp(f_i·g_i / τ) / Σ_k exp(f_k·g_i / τ)

    Parameters
    ----------
    first, second : (B, D) float
        Features of two modalities; row i belongs to row i.
    temperature : float
        τ.
    category : (B,) int64, optional
        Makes it class-aware: k leaves out the other samples of i's category, which are no noise; their texts may even
        be equal. Without it the truth is the identity of the batch, as in the paper.

    Returns
    -------
    () float32
        The loss.
    """
    logits = similarity(first, second) / temperature
    if category is not None:
        same = (category[:, None] == category[None]).fill_diagonal_(False)
        logits = logits.masked_fill(same, -torch.inf)
    pairs = torch.arange(len(logits), device=logits.device)
    return 0.5 * (F.cross_entropy(logits, pairs) + F.cross_entropy(logits.T, pairs))


def category_cross_entropy(image: Tensor, texts: Tensor, category: Tensor, temperature: float = 1.0) -> Tensor:
    """Compute the loss of zero-shot classification (equation 5, as a mean; there τ = 1).

    -log exp(f_i·t_c / τ) / Σ_m exp(f_i·t_m / τ)

    Parameters
    ----------
    image : (B, D) float
        Features of images.
    texts : (M, D) float
        Features of the texts of all categories.
    category : (B,) int64
        The truth.
    temperature : float
        τ.

    Returns
    -------
    () float32
        The loss.
    """
    return F.cross_entropy(similarity(image, texts) / temperature, category)
