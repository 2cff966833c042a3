"""Facts of the categories as tensors: torch twins of `clipose_ros.core.categories`."""

from __future__ import annotations

import torch
from torch import Tensor

from clipose_ros.core.categories import CATEGORIES, MEAN_SIZES


def category_scales() -> Tensor:
    """Give the metres per network unit: the diagonal of each category's mean box.

    Returns
    -------
    (6,) float32
        In the order of CATEGORIES [m].
    """
    return torch.tensor([float((MEAN_SIZES[c] ** 2).sum() ** 0.5) for c in CATEGORIES])


def among(category: Tensor, *names: str) -> Tensor:
    """Say which of the objects belong to the named categories.

    Parameters
    ----------
    category : (B,) int64
        Index into CATEGORIES.
    *names : str
        Categories.

    Returns
    -------
    (B,) bool
        True where the category is one of these.
    """
    return torch.tensor([c in names for c in CATEGORIES], device=category.device)[category]
