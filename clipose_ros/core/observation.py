"""What an estimator may ask for beside the points of a cloud: their pixels and a crop of the colour image."""

from __future__ import annotations

import numpy as np

from clipose_ros.core.backprojection import Cloud
from clipose_ros.core.types import ColourCrop

CROP_MARGIN = 0.15  # on each side, of the longer side of the points' box: masks are often too narrow


def pixel_coordinates(cloud: Cloud, shape: tuple[int, int]) -> np.ndarray:
    """Give the pixel coordinates of a cloud.

    Parameters
    ----------
    cloud : Cloud
        From an image of this shape.
    shape : (int, int)
        Height and width of the image [px].

    Returns
    -------
    (M, 2) int32
        Column and row of each point [px].
    """
    v, u = np.divmod(cloud.pixels, np.int32(shape[1]))
    return np.stack([u, v], axis=1)


def colour_crop(cloud: Cloud, colour: np.ndarray) -> ColourCrop | None:
    """Cut out the part of the colour image that shows an instance.

    The crop is square, unless the image ends before the crop does.

    Parameters
    ----------
    cloud : Cloud
        The points of the instance.
    colour : (H, W, 3) uint8
        RGB image, registered to the depth.

    Returns
    -------
    ColourCrop or None
        A view of the image around the points. None if the cloud is empty.
    """
    if not len(cloud.pixels):
        return None
    shape = np.array(colour.shape[1::-1])
    pixels = pixel_coordinates(cloud, colour.shape[:2])
    low, high = pixels.min(axis=0), pixels.max(axis=0) + 1
    side = np.ceil((1 + 2 * CROP_MARGIN) * (high - low).max())
    # At the image's border the square is moved inwards.
    low = np.clip(np.floor((low + high - side) / 2), 0, np.maximum(shape - side, 0)).astype(int)
    high = np.minimum(low + int(side), shape)
    return ColourCrop(colour[low[1] : high[1], low[0] : high[0]], int(low[0]), int(low[1]))
