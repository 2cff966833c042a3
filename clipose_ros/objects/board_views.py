"""Reference views whose poses come from a printed board that the object stands on.

NNNN_color.jpg or .png, NNNN_depth.png [mm], intrinsics.json, and NNNN_mask.png (255 on the object) where there is one:
without it, the object is what stands on the board, by depth, or by colour where there is no depth. The object must not
move on the board from view to view.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect
from clipose_ros.formats.frame_files import FrameFiles, in_natural_order
from clipose_ros.formats.reference_views import (
    COLOUR_KINDS,
    LEAST_MASK_PX,
    LEAST_VIEWS,
    MASK_KINDS,
    ReferenceView,
    ReferenceViews,
    check_agreement,
    check_count,
    read_central_intrinsics,
    read_colour_and_depth,
    read_mask_of_view,
)
from clipose_ros.objects.board_size import check_size
from clipose_ros.objects.found_masks import FoundMasks, find_masks
from clipose_ros.objects.marker_board import BoardSighting, MarkerBoard, see_board

LARGEST_SCALE = 0.03  # by which depth and the squares may contradict each other
CORNER_PX = 2  # around a corner: its depth
FLAT_M = 0.012  # nearer to the board's plane is paper, for the spread of the paper's depths [m]
LEAST_HEIGHT_M, SPREADS = 0.002, 3.0  # above the paper: at least, and by that spread
HIGHEST_M = 0.6  # above the board is no object [m]
CLOSED_PX = 2  # gaps in masks
NAMED = 5
BARE = f"pixels that stand on the board: expected {LEAST_MASK_PX}"


@dataclass(frozen=True)
class BoardViews:
    """Views with poses from a board.

    Parameters
    ----------
    references : ReferenceViews
        Of the views in which the board was seen.
    skipped : mapping of str to str
        The other views, and why.
    error_px : float
        Median reprojection error [px].
    masked : int
        Views whose masks were made of what is higher than the board.
    found : FoundMasks, optional
        What is known of masks that were found by colour.
    """

    references: ReferenceViews
    skipped: Mapping[str, str]
    error_px: float
    masked: int
    found: FoundMasks | None = None

    def summary(self) -> str:
        """Say what was used, for people.

        Returns
        -------
        str
            One sentence; all views that were skipped are named.
        """
        count = len(self.references.views)
        text = f"board seen in {count} of {count + len(self.skipped)} views, {self.error_px:.2f} px off"
        if self.masked:
            text += f"; masks of {self.masked} made of what stands on it"
        if self.found is not None:
            text += f"; {self.found.summary()}"
        if self.skipped:
            text += "; skipped: " + "; ".join(f"{name} ({reason})" for name, reason in self.skipped.items())
        return text


def read_board_views(folder: Path, board: MarkerBoard, every: int = 1) -> BoardViews:
    """Read views of an object on a board.

    Parameters
    ----------
    folder : Path
        In the form above; a poses.json is not looked at.
    board : MarkerBoard
        As it was printed.
    every : int
        Take every n-th view only.

    Returns
    -------
    BoardViews
        Poses in the board's frame: see `marker_board`.

    Raises
    ------
    ValueError
        With the path and what is wrong: no images, files that do not fit each other, a board that is hardly ever seen,
        squares of another size than depth says, an object that moved.
    """
    expect("every", every >= 1, "1 or more", every)
    expect(str(folder), folder.is_dir(), "a folder of views", "none")
    files = FrameFiles(folder)
    ends = tuple(f"_{kind}" for kind in COLOUR_KINDS)
    pictures = [name for name in files.names if name.lower().endswith(ends)]
    names = in_natural_order([name.rpartition("_")[0] for name in pictures])[::every]
    check_count(folder, len(names))
    images = {name: read_colour_and_depth(files, name) for name in names}
    intrinsics = read_central_intrinsics(folder, [colour.shape[:2] for colour, _ in images.values()])
    check_size(folder, board, {name: colour for name, (colour, _) in images.items()})
    sightings = {name: see_board(board, colour, intrinsics) for name, (colour, _) in images.items()}
    masks = {name: files.find(name, MASK_KINDS) for name in names}
    masks = {
        name: read_mask_of_view(path, images[name][0].shape[:2])
        for name, path in masks.items()
        if path.is_file() and isinstance(sightings[name], BoardSighting)
    }
    return views_on_board(folder, board, images, intrinsics, sightings, masks)


def views_on_board(
    source: Path,
    board: MarkerBoard,
    images: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    intrinsics: Intrinsics,
    sightings: Mapping[str, BoardSighting | str],
    masks: Mapping[str, np.ndarray],
) -> BoardViews:
    """Make views of images in which the board was found.

    Parameters
    ----------
    source : Path
        Where the images are from, to be named.
    board : MarkerBoard
        As it was printed.
    images : mapping of str to ((H, W, 3) uint8, (H, W) float32 or None)
        Colour and depth [m] of each view, by its name.
    intrinsics : Intrinsics
        Of all images.
    sightings : mapping of str to BoardSighting or str
        Where the board is in each, or why it is not seen.
    masks : mapping of str to (H, W) bool
        Of the views that have one; the others get what stands on the board.

    Returns
    -------
    BoardViews
        Poses in the board's frame: see `marker_board`.

    Raises
    ------
    ValueError
        As `read_board_views`.
    """
    skipped = {name: found for name, found in sightings.items() if isinstance(found, str)}
    seen = {name: found for name, found in sightings.items() if isinstance(found, BoardSighting)}
    _check_seen(source, board, seen, skipped)
    _check_scale(board, seen, images)
    views, masked, blank = [], 0, []
    for name, sighting in seen.items():
        colour, depth_m = images[name]
        mask = masks.get(name)
        if mask is None and depth_m is None:
            mask = np.zeros(colour.shape[:2], bool)
            blank.append(name)
        elif mask is None:
            mask = standing_on_board(board, sighting, depth_m, intrinsics)
            if np.count_nonzero(mask) < LEAST_MASK_PX:
                skipped[name] = f"{np.count_nonzero(mask)} {BARE}"
                continue
            masked += 1
        views.append(ReferenceView(name, colour, depth_m, mask, sighting.rotation, sighting.translation))
    _check_seen(source, board, views, skipped)
    references, found = ReferenceViews(intrinsics, tuple(views), floor_y_m=0.0), None
    if blank:
        found = find_masks(references, blank)
        references = found.references
    check_agreement(f"{source}: object on the board", references)
    error_px = float(np.median([sighting.error_px for sighting in seen.values()]))
    return BoardViews(references, {name: skipped[name] for name in images if name in skipped}, error_px, masked, found)


def standing_on_board(
    board: MarkerBoard, sighting: BoardSighting, depth_m: np.ndarray, intrinsics: Intrinsics
) -> np.ndarray:
    """Make a mask of what stands on a board.

    Parameters
    ----------
    board : MarkerBoard
        The board.
    sighting : BoardSighting
        Where it is seen.
    depth_m : (H, W) float32
        0 where nothing is known [m].
    intrinsics : Intrinsics
        Of the image.

    Returns
    -------
    (H, W) bool
        The largest thing that is higher than the paper.
    """
    rows, columns = np.indices(depth_m.shape)
    rays = np.stack([(columns - intrinsics.cx) / intrinsics.fx, (rows - intrinsics.cy) / intrinsics.fy], axis=-1)
    points = np.concatenate([rays * depth_m[..., None], depth_m[..., None]], axis=-1)
    x, height, z = np.moveaxis((points - sighting.translation) @ sighting.rotation, -1, 0)
    half = board.size_m / 2
    above = (depth_m > 0) & (np.abs(x) < half[0]) & (np.abs(z) < half[1]) & (height < HIGHEST_M)
    paper = height[above & (np.abs(height) < FLAT_M)]
    if not len(paper):
        return np.zeros(depth_m.shape, bool)
    level = float(np.median(paper))
    spread = 1.48 * float(np.median(np.abs(paper - level)))
    standing = above & (height > level + max(LEAST_HEIGHT_M, SPREADS * spread))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * CLOSED_PX + 1,) * 2)
    standing = cv2.morphologyEx(standing.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    standing = cv2.morphologyEx(standing, cv2.MORPH_CLOSE, kernel)
    count, labels, facts, _ = cv2.connectedComponentsWithStats(standing)
    if count < 2:
        return np.zeros(depth_m.shape, bool)
    return ndimage.binary_fill_holes(labels == 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA])))


def _check_seen(folder: Path, board: MarkerBoard, seen, skipped: Mapping[str, str]) -> None:
    """Refuse too few views, with what was found in those that were skipped, and what to do about most of them."""
    if len(seen) >= LEAST_VIEWS:
        return
    alike: dict[str, list[str]] = {}
    for name, reason in skipped.items():
        alike.setdefault(reason, []).append(name)
    reasons = [
        f"{', '.join(names[:NAMED])}{' …' if len(names) > NAMED else ''}: {reason}"
        for reason, names in list(alike.items())[:NAMED]
    ]
    told = "; ".join(reasons)
    bare = sum(reason.endswith(BARE) for reason in skipped.values())
    if not skipped:
        cure = "take more views"
    elif bare > len(skipped) / 2:
        cure = "does the object stand on it, and has depth values there? Without any depth, masks are found by colour"
    else:
        cure = "are --columns and --rows those of the print, the images sharp and rectified, and the intrinsics theirs?"
    raise ValueError(
        f"{folder}: expected a board of {board.columns} x {board.rows} squares in at least {LEAST_VIEWS} views, got "
        f"{len(seen)}{f' ({told})' if told else ''}; {cure}"
    )


def _check_scale(board: MarkerBoard, seen: Mapping[str, BoardSighting], images) -> None:
    """Refuse squares of another size than depth sees."""
    ratios = []
    for name, sighting in seen.items():
        depth_m = images[name][1]
        if depth_m is None:
            continue
        expected = (sighting.places @ sighting.rotation.T + sighting.translation)[:, 2]
        for (column, row), z in zip(np.rint(sighting.corners).astype(int), expected):
            near = depth_m[max(0, row - CORNER_PX) : row + CORNER_PX + 1, max(0, column - CORNER_PX) :]
            near = near[:, : 2 * CORNER_PX + 1]
            if (near > 0).any():
                ratios.append(float(np.median(near[near > 0])) / z)
    if not ratios:
        return
    ratio = float(np.median(ratios))
    expect(
        "--square-mm",
        abs(ratio - 1) < LARGEST_SCALE,
        f"the side of a square as it is on paper, about {ratio * board.square_mm:.1f} by what depth shows",
        f"{board.square_mm:g}; measure it with a ruler (printers shrink pages), and check the depth's unit",
    )
