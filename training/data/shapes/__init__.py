"""Procedural shapes of the six NOCS categories in their canonical frames: what the shipped networks learn from."""

from __future__ import annotations

import numpy as np

from training.data.shapes.bottle import bottle
from training.data.shapes.bowl import bowl
from training.data.shapes.camera import camera
from training.data.shapes.can import can
from training.data.shapes.laptop import laptop
from training.data.shapes.mug import mug
from training.data.shapes.shape import Shape

__all__ = ["Shape", "make_shape"]

MAKERS = {"bottle": bottle, "bowl": bowl, "camera": camera, "can": can, "laptop": laptop, "mug": mug}


def make_shape(category: str, rng: np.random.Generator) -> Shape:
    """Make a random object of a NOCS category. The same state of `rng` gives the same shape.

    Parameters
    ----------
    category : str
        Of CATEGORIES.
    rng : np.random.Generator
        Decides.

    Returns
    -------
    Shape
        In metres.

    Raises
    ------
    ValueError
        For an unknown category.
    """
    if category not in MAKERS:
        raise ValueError(f"category: expected one of {', '.join(MAKERS)}, got {category}")
    return MAKERS[category](rng)
