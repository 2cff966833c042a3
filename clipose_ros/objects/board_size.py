"""How many squares a printed board has, by the numbers of its markers and where they lie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from clipose_ros.objects.marker_board import MARKERS, MOST_MARKERS, MarkerBoard

MOST_COLUMNS = 24
LEAST_MARKERS, LEAST_VIEWS = 6, 2  # of one view that tell a size, and views that tell it
LEAST_SHARE = 0.8  # of the markers of these views must lie as on the board of that size
OFF_BY_SIDE = 0.15  # a marker's middle, by the side of a marker in the image: further off is elsewhere on the board
CONVINCING = 1.25  # so many times the markers that fit the size that was given


@dataclass(frozen=True)
class _Seen:
    """Markers of one view: their numbers (N), the middles (N, 2) and the side of one [px]."""

    numbers: np.ndarray
    middles: np.ndarray
    side_px: float


def check_size(folder: Path, board: MarkerBoard, colours: Mapping[str, np.ndarray]) -> None:
    """Refuse a board of another size than the markers show.

    Other columns number other places, and so the markers do not lie as on a flat board; with too few rows there are
    markers beyond the last one. Rows below the last marker that was seen cannot be told from rows that were not seen.

    Parameters
    ----------
    folder : Path
        Of the views, to be named.
    board : MarkerBoard
        As it was given.
    colours : mapping of str to (H, W, 3) uint8
        The views, RGB.

    Raises
    ------
    ValueError
        If there is a size that the markers fit, and it is another one: with that size.
    """
    views = [_markers(board, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY)) for colour in colours.values()]
    views = [view for view in views if len(view.numbers) >= LEAST_MARKERS]
    if len(views) < LEAST_VIEWS:
        return
    given, rows = _fitting(board.columns, views)
    total = sum(len(view.numbers) for view in views)
    columns = board.columns
    if given < LEAST_SHARE * total:
        counts = {one: _fitting(one, views) for one in range(3, MOST_COLUMNS + 1)}
        best = max(counts, key=lambda one: counts[one][0])
        if counts[best][0] >= max(LEAST_SHARE * total, CONVINCING * given):
            columns, rows = best, counts[best][1]
        else:
            return
    if columns == board.columns and rows <= board.rows:
        return
    raise ValueError(
        f"{folder}: expected the size of the board that was printed, got --columns {board.columns} --rows "
        f"{board.rows}: its markers lie as on one of {columns} columns and at least {rows} rows; count its squares "
        "(clipose board writes their numbers below them)"
    )


def _markers(board: MarkerBoard, grey: np.ndarray) -> _Seen:
    """All markers of the dictionary in an image, those that the board has not among them."""
    board.opencv()  # says where OpenCV cannot
    detector = cv2.aruco.ArucoDetector(cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, MARKERS)))
    found, numbers, _ = detector.detectMarkers(grey)
    if numbers is None or not len(numbers):
        return _Seen(np.empty(0, int), np.empty((0, 2)), 1.0)
    corners = np.array([np.asarray(one, np.float64).reshape(4, 2) for one in found])
    sides = np.linalg.norm(np.roll(corners, 1, axis=1) - corners, axis=2)
    return _Seen(np.asarray(numbers).ravel().astype(int), corners.mean(axis=1), float(np.median(sides)))


def _fitting(columns: int, views: list[_Seen]) -> tuple[int, int]:
    """How many markers lie as on a flat board of so many columns, and the rows that those of several views take."""
    tall = replace(MarkerBoard(), columns=columns, rows=max(3, 2 * MOST_MARKERS // columns)).opencv()
    places = np.asarray(tall.getObjPoints(), np.float64).reshape(-1, 4, 3).mean(axis=1)[:, :2]
    rows = (places[:, 1] // tall.getSquareLength()).astype(int)
    fitting, seen_in = 0, np.zeros(rows.max() + 1, int)
    for view in views:
        on_board = view.numbers < len(places)
        at, middles = places[view.numbers[on_board]], view.middles[on_board]
        if len(at) < 4:
            continue
        _, inside = cv2.findHomography(at, middles, cv2.RANSAC, max(1.0, OFF_BY_SIDE * view.side_px))
        if inside is None:
            continue
        kept = inside.ravel() > 0
        if np.count_nonzero(kept) < LEAST_MARKERS:
            continue
        fitting += np.count_nonzero(kept)
        seen_in[np.unique(rows[view.numbers[on_board][kept]])] += 1
    last = np.flatnonzero(seen_in >= LEAST_VIEWS)
    return fitting, int(last[-1]) + 1 if len(last) else 0
