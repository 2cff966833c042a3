"""Which colours an object shows from all sides, to tell quickly which objects a patch of an image may be.

A histogram counts two shares of red and green, and the brightness by its mean, so that the light's strength does not
matter.
"""

from __future__ import annotations

import cv2
import numpy as np

from clipose_ros.objects.learned_object import LearnedObject
from clipose_ros.objects.surface_tables import sphere_directions

BINS, BRIGHTNESS_BINS = 12, 6
DIRECTIONS = 60
FACING = 0.2  # cosine between a disc's normal and the direction that it is seen from
LEAST_DISCS = 30
SHARES = (0.05, 0.7)  # of red and of green that the bins lie between
DARKEST = 0.02  # of a channel
WEIGHTS = 4  # a disc that faces the camera counts so many times


def colour_histogram(colours: np.ndarray) -> np.ndarray:
    """Count colours.

    Parameters
    ----------
    colours : (N, 3) float
        RGB, 0..1; N may be 0.

    Returns
    -------
    (BINS * BINS * BRIGHTNESS_BINS,) float32
        Of length 1, so that a product of two says how alike they are, 0..1; 0 where there is no colour.
    """
    sides = (BINS, BINS, BRIGHTNESS_BINS)
    if not len(colours):
        return np.zeros(np.prod(sides), np.float32)
    colours = np.maximum(colours, DARKEST)
    total = colours.sum(axis=1)
    low, high = SHARES
    places = [(colours[:, k] / total - low) / (high - low) * BINS for k in (0, 1)]
    places.append(total / total.mean() / 2 * BRIGHTNESS_BINS)
    cells = [np.clip(place.astype(int), 0, side - 1) for place, side in zip(places, sides)]
    counts = np.bincount(np.ravel_multi_index(cells, sides), minlength=np.prod(sides)).astype(np.float32)
    # neighbouring bins are alike: a blur along all three
    counts = cv2.GaussianBlur(counts.reshape(BINS, BINS, BRIGHTNESS_BINS), (3, 3), 0)
    counts = cv2.GaussianBlur(counts.reshape(BINS * BINS, BRIGHTNESS_BINS), (3, 1), 0).ravel()
    return np.sqrt(counts / counts.sum())


def view_histograms(learned: LearnedObject) -> np.ndarray:
    """Count the colours that an object shows from each side.

    Parameters
    ----------
    learned : LearnedObject
        The object.

    Returns
    -------
    (D, BINS * BINS * BRIGHTNESS_BINS) float32
        Of the directions from which enough of it has a known colour; at least one.
    """
    histograms = []
    for direction in sphere_directions(DIRECTIONS):
        facing = learned.normals @ direction
        shown = (facing > FACING) & learned.seen
        if np.count_nonzero(shown) >= LEAST_DISCS:
            times = np.ceil(WEIGHTS * facing[shown]).astype(int)
            histograms.append(colour_histogram(np.repeat(learned.colours[shown], times, axis=0)))
    return np.array(histograms or [colour_histogram(learned.colours[learned.seen])], np.float32)
