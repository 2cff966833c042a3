"""What a floor looks like, put together from all views: what looks otherwise in a view stands on it."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.reference_views import ReferenceView
from clipose_ros.objects.meeting_place import Floor, MeetingPlace

CELLS = 224  # of the picture, along each side
REACH = 0.5  # around the place that is looked at, by the cameras' distance
LEAST_VIEWS = 3  # that show a cell
STEADY_LAB = 7.0  # median difference of the views from a cell's colour: more is no flat floor, or one that moved
SAME_LAB, OTHER_LAB = 7.0, 20.0  # differences up to which a pixel is the floor, and from which it is not
AROUND_PX = 3  # side of the window whose colours a pixel may have: edges are drawn to about a pixel
GAIN_ROUNDS = 2


def unlike_floor(
    images: Sequence[np.ndarray],
    views: Sequence[ReferenceView],
    intrinsics: Intrinsics,
    floor: Floor,
    place: MeetingPlace,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Compare each view with the floor as most views show it.

    Parameters
    ----------
    images : sequence of (H, W, 3) uint8
        RGB.
    views : sequence of ReferenceView
        Their poses count.
    intrinsics : Intrinsics
        Of the images.
    floor : Floor
        Where it is.
    place : MeetingPlace
        Where the cameras look.

    Returns
    -------
    list of ((H, W) float32, (H, W) bool)
        Of each view: how unlike the floor each pixel is, 0..1, and where this is known.
    """
    foot = place.point - (place.point @ floor.normal - floor.offset_m) * floor.normal
    across = np.linalg.svd(floor.normal[None])[2][1:]
    cell = 2 * REACH * place.distance_m / CELLS
    corner = foot - REACH * place.distance_m * across.sum(axis=0)
    from_cell = np.stack(
        [cell * across[0], cell * across[1], corner], axis=1
    )  # of (column, row, 1), frame of the poses
    camera = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1]])
    # every linear map of a cell is (rotation of its point + translation), as the corner's column has the weight 1
    to_image = [camera @ (view.rotation @ from_cell + np.outer(view.translation, [0, 0, 1])) for view in views]
    side = (CELLS, CELLS)
    lab = [cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB) for image in images]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = np.stack(
        [cv2.warpPerspective(one, way, side, flags=flags, borderValue=(np.nan,) * 3) for one, way in zip(lab, to_image)]
    )
    column, row = np.meshgrid(np.arange(CELLS), np.arange(CELLS))
    cells = np.stack([column, row, np.ones_like(row)]).reshape(3, -1).astype(float)
    for one, way in zip(seen, to_image):
        one[(way[2] @ cells).reshape(side) <= 0] = np.nan  # behind the camera
    known = np.isfinite(seen).all(axis=-1)
    seen[~known] = np.nan
    offsets = np.zeros((len(views), 3), np.float32)
    enough = known.sum(axis=0) >= LEAST_VIEWS
    if not enough.any():
        return [(np.zeros(image.shape[:2], np.float32), np.zeros(image.shape[:2], bool)) for image in images]
    picture = np.full((CELLS, CELLS, 3), np.nan, np.float32)
    for _ in range(GAIN_ROUNDS):  # light differs a little from view to view
        picture[enough] = np.nanmedian(seen[:, enough] - offsets[:, None], axis=0)
        for k in range(len(views)):
            common = known[k] & enough
            if common.any():
                offsets[k] = np.median(seen[k][common] - picture[common], axis=0)
    apart = np.linalg.norm(seen[:, enough] - offsets[:, None] - picture[enough], axis=-1)
    steady = np.zeros(side, np.uint8)
    steady[enough] = np.nanmedian(apart, axis=0) < STEADY_LAB
    filled = np.nan_to_num(picture)
    window = np.ones((AROUND_PX, AROUND_PX), np.uint8)
    told = []
    for one, way, offset in zip(lab, to_image, offsets):
        shape = one.shape[1::-1]
        drawn = cv2.warpPerspective(filled, way, shape, flags=cv2.INTER_LINEAR) + offset
        sure = cv2.warpPerspective(steady, way, shape, flags=cv2.INTER_NEAREST) > 0
        sure &= _before(way, one.shape[:2])
        beyond = np.maximum(np.maximum(cv2.erode(drawn, window) - one, one - cv2.dilate(drawn, window)), 0)
        share = (np.linalg.norm(beyond, axis=-1) - SAME_LAB) / (OTHER_LAB - SAME_LAB)
        told.append((np.clip(share, 0, 1).astype(np.float32), sure))
    return told


def _before(to_image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Pixels (H, W) bool whose rays meet the floor before the camera, not behind it."""
    rows, columns = np.indices(shape, np.float64)
    back = np.linalg.inv(to_image)
    weight = back[2, 0] * columns + back[2, 1] * rows + back[2, 2]
    # the point of the floor at weight w > 0 has the depth 1 / w in units of the third row
    return weight > 0
