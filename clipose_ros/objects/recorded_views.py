"""Reference views out of a recording: the camera goes around an object that stands on a printed board.

A recording shows the same thing many times a second. Of each quarter of a second the sharpest image is looked at, and
of those that show the board the ones are kept that were taken from the most different places.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial import distance

from clipose_ros.core.backprojection import metres
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.reference_views import LEAST_VIEWS, MOST_VIEWS
from clipose_ros.objects.board_size import check_size
from clipose_ros.objects.board_views import BoardViews, views_on_board
from clipose_ros.objects.marker_board import BoardSighting, MarkerBoard, see_board

WINDOW_NS = NS_PER_S // 4  # of which the sharpest image is looked at
SHARPNESS_PX = 160  # width at which sharpness is told: noise counts less, and motion as much
APART = 0.04  # of its distance a camera moves between two views, at least: 2.3 degrees around the object
MOST_KEPT = 2.0  # candidates held, by the views that are wanted
MOST_WITHOUT = 12  # images without a pose that are held, to tell another board by


@dataclass(frozen=True)
class _Candidate:
    """An image in which the board was found."""

    name: str
    colour: np.ndarray
    depth_m: np.ndarray
    intrinsics: Intrinsics
    sighting: BoardSighting
    sharpness: float

    @property
    def place(self) -> np.ndarray:
        """Of the camera, board's frame [m]."""
        return -self.sighting.rotation.T @ self.sighting.translation


@dataclass(frozen=True)
class RecordedViews:
    """Views out of a recording.

    Parameters
    ----------
    board_views : BoardViews
        Those that were kept.
    frames : int
        How many frames the recording has.
    looked_at : int
        How many of them were looked at.
    without : Counter of str
        Those that show too little of the board, by reason.
    """

    board_views: BoardViews
    frames: int
    looked_at: int
    without: Counter[str]

    def summary(self) -> str:
        """Say what was used, for people.

        Returns
        -------
        str
            One sentence.
        """
        text = f"{self.frames} frames, the sharpest {self.looked_at} looked at"
        if self.without:
            reasons = "; ".join(f"{count} x {reason}" for reason, count in self.without.most_common(3))
            text += f", {sum(self.without.values())} without the board ({reasons})"
        return f"{text}; of the others as different ones as there are: {self.board_views.summary()}"


def read_recorded_views(
    path: Path, frames: Iterable[tuple[str, Frame, Detections | None]], board: MarkerBoard, most: int
) -> RecordedViews:
    """Choose views of an object on a board among the frames of a recording.

    Parameters
    ----------
    path : Path
        Of the recording, to be named.
    frames : iterable of (str, Frame, Detections or None)
        With colour, in the order of their stamps. They are read once, and no more than the chosen ones are held.
    board : MarkerBoard
        As it was printed.
    most : int
        Views that are kept at most.

    Returns
    -------
    RecordedViews
        Poses in the board's frame: see `marker_board`. Names are those of the frames.

    Raises
    ------
    ValueError
        With the path: no frames, a board that is hardly ever seen, a camera that stood still, and as
        `read_board_views`.
    """
    expect("--most-views", LEAST_VIEWS <= most <= MOST_VIEWS, f"{LEAST_VIEWS} to {MOST_VIEWS}", most)
    kept: list[_Candidate] = []
    without: list[tuple[str, np.ndarray, str]] = []
    reasons: Counter[str] = Counter()
    count, looked_at = 0, 0
    for size, (name, frame, sharpness) in _sharpest(frames):
        count, looked_at, intrinsics = count + size, looked_at + 1, frame.intrinsics
        expect(str(path), intrinsics.distortion is None, "rectified images", "raw ones; record the rectified topics")
        found = see_board(board, frame.colour, frame.intrinsics)
        if isinstance(found, str):
            reasons[found if found.startswith("0 corners") else "too little of it, or not flat"] += 1
            without.append((name, frame.colour.copy(), found))
            without = without[::2] if len(without) > MOST_WITHOUT else without
            continue
        depth_m = np.nan_to_num(metres(frame.depth, frame.depth_unit_m), nan=0.0, posinf=0.0, neginf=0.0)
        kept.append(_Candidate(name, frame.colour.copy(), depth_m, intrinsics, found, sharpness))
        if len(kept) > MOST_KEPT * most:
            kept = _thinned(kept, len(kept) - 1)
    expect(str(path), looked_at, "frames with colour and depth", "none")
    standing = looked_at == 1 and count > LEAST_VIEWS
    expect(str(path), not standing, "stamps that go on", f"{count} frames within {WINDOW_NS / NS_PER_S:g} s")
    check_size(path, board, {name: colour for name, colour, _ in without} | {one.name: one.colour for one in kept})
    chosen = _thinned(kept, most, APART)
    if len(kept) >= LEAST_VIEWS > len(chosen):
        raise ValueError(
            f"{path}: expected views from at least {LEAST_VIEWS} places, got {len(kept)} views from {len(chosen)}: "
            "go around the object with the camera, or turn the board with the object on it"
        )
    sightings = {name: found for name, _, found in without} | {one.name: one.sighting for one in chosen}
    if chosen:
        intrinsics, same = chosen[0].intrinsics, all(one.intrinsics == chosen[0].intrinsics for one in chosen)
        expect(f"{path}: camera_info", same, "the same all along", "a change; record again with one setting")
        sightings = {one.name: one.sighting for one in chosen} if len(chosen) >= LEAST_VIEWS else sightings
    images = {one.name: (one.colour, one.depth_m) for one in chosen}
    return RecordedViews(views_on_board(path, board, images, intrinsics, sightings, {}), count, looked_at, reasons)


def _sharpest(
    frames: Iterable[tuple[str, Frame, Detections | None]],
) -> Iterator[tuple[int, tuple[str, Frame, float]]]:
    """The sharpest frame of each window of time, with the number of frames in it."""
    window, count, best = None, 0, None
    for name, frame, _ in frames:
        at = frame.stamp_ns // WINDOW_NS
        if window is not None and at != window:
            yield count, best
            count, best = 0, None
        window, count = at, count + 1
        sharpness = _sharpness(frame.colour)
        if best is None or sharpness > best[2]:
            best = name, frame, sharpness
    if best is not None:
        yield count, best


def _sharpness(colour: np.ndarray) -> float:
    """How much an image varies from pixel to pixel."""
    height, width = colour.shape[:2]
    size = SHARPNESS_PX, max(1, round(height * SHARPNESS_PX / width))
    small = cv2.resize(cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY), size, interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).var())


def _thinned(candidates: list[_Candidate], most: int, apart: float = 0.0) -> list[_Candidate]:
    """Leave out of the two nearest candidates the less sharp one, until few and different ones are left."""
    kept = list(candidates)
    if len(kept) < 2:
        return kept
    places = np.array([one.place for one in kept])
    between = distance.squareform(distance.pdist(places / np.median(np.linalg.norm(places, axis=1))))
    np.fill_diagonal(between, np.inf)
    left = np.ones(len(kept), bool)
    while left.sum() > 1:
        a, b = np.unravel_index(np.argmin(between), between.shape)
        if left.sum() <= most and between[a, b] >= apart:
            break
        out = a if kept[a].sharpness < kept[b].sharpness else b
        left[out], between[out], between[:, out] = False, np.inf, np.inf
    return [one for one, stays in zip(kept, left) if stays]
