"""A printed ChArUco board: its picture, and where a camera is that sees it.

The board's frame lies in the middle of the board: x to the right along the rows, y up out of the paper, z towards the
edge with the writing. A board that lies on a table with the writing near the reader has y against gravity.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from scipy.optimize import least_squares

from clipose_ros.core.types import Intrinsics
from clipose_ros.core.validation import expect

MARKERS = "DICT_4X4_250"
MOST_MARKERS = 250
MARKER_SHARE = 0.75  # of a square's side
DPI = 300.0
MARGIN_MM = 10.0  # white, around the squares
WRITING_MM = 12.0  # more below them: the sizes, and a line to measure
LINE_MM = 100.0
MOST_PX = 15_000  # of a side of the picture
LEAST_CORNERS = 12
LARGEST_ERROR_PX, WIDTH_PX = 1.0, 640  # of a pose; for wider images in proportion
SQUARE_NOISE_PX, MARKER_NOISE_PX = 0.15, 0.6  # of the two kinds of corners
OUTLIERS = 2.0  # a corner that is off by more, in units of that, is none
LEAST_SHARE = 0.6  # of the corners must lie as on a board
AMBIGUOUS_DEG, AMBIGUOUS_RATIO = 8.0, 1.5  # two poses that far apart, and the worse one so little worse

# From OpenCV's frame of a board (x right, y down the page, z into the paper) to ours, about the middle.
FROM_PAGE = np.array([[1.0, 0, 0], [0, 0, -1], [0, 1, 0]])


@dataclass(frozen=True)
class MarkerBoard:
    """What a board is like.

    Parameters
    ----------
    columns, rows : int
        Squares of the board.
    square_mm : float
        Side of a square as it is on paper [mm]: measure it, printers shrink pages.

    Raises
    ------
    ValueError
        If there can be no such board.
    """

    columns: int = 8
    rows: int = 6
    square_mm: float = 30.0

    def __post_init__(self) -> None:
        for key in ("columns", "rows"):
            expect(f"--{key}", getattr(self, key) >= 3, "3 or more", getattr(self, key))
        markers = self.columns * self.rows // 2
        expect("--columns, --rows", markers <= MOST_MARKERS, f"at most {2 * MOST_MARKERS} squares", 2 * markers)
        expect("--square-mm", 2 <= self.square_mm <= 500, "millimetres, 2 to 500", self.square_mm)

    @property
    def size_m(self) -> np.ndarray:
        """Extent of all squares along x and z [m]."""
        return np.array([self.columns, self.rows]) * self.square_mm / 1000

    def opencv(self) -> cv2.aruco.CharucoBoard:
        """Give the board as OpenCV has it, in millimetres.

        Returns
        -------
        cv2.aruco.CharucoBoard
            With a fixed dictionary of markers.

        Raises
        ------
        RuntimeError
            Where OpenCV is older than 4.7, or has no module aruco.
        """
        if not hasattr(getattr(cv2, "aruco", None), "CharucoDetector"):
            raise RuntimeError(f"board: expected OpenCV 4.7 or newer with aruco, got {cv2.__version__}")
        dictionary = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, MARKERS))
        return cv2.aruco.CharucoBoard(
            (self.columns, self.rows), self.square_mm, MARKER_SHARE * self.square_mm, dictionary
        )


@dataclass(frozen=True)
class BoardSighting:
    """Where a camera sees a board.

    Parameters
    ----------
    rotation : (3, 3) float
        R_camera_board.
    translation : (3,) float
        Of the board's middle, camera frame [m].
    corners : (N, 2) float
        Column and row of the corners of squares and markers that were seen [px].
    places : (N, 3) float
        The same corners in the board's frame [m].
    error_px : float
        Root mean square distance of the corners of squares from where the pose puts them; those of markers, which are
        less exact, count less [px].
    """

    rotation: np.ndarray
    translation: np.ndarray
    corners: np.ndarray
    places: np.ndarray
    error_px: float


def picture_of_board(board: MarkerBoard, dpi: float = DPI) -> tuple[np.ndarray, float]:
    """Draw a board for printing, with its sizes written below.

    Parameters
    ----------
    board : MarkerBoard
        What to draw.
    dpi : float
        Pixels in an inch, about: squares are whole numbers of pixels.

    Returns
    -------
    (H, W) uint8
        Grey.
    float
        Pixels in a millimetre.

    Raises
    ------
    ValueError
        If the picture would be too large, or too coarse for the markers.
    """
    expect("--dpi", 30 <= dpi <= 2400, "30 to 2400", dpi)
    side = round(board.square_mm / 25.4 * dpi)
    expect("--dpi", side >= 24, "squares of at least 24 pixels", f"{side}; give a larger --dpi or --square-mm")
    per_mm = side / board.square_mm
    margin, writing = round(MARGIN_MM * per_mm), round(WRITING_MM * per_mm)
    longest = max(board.columns, board.rows) * side + 2 * margin + writing
    expect("--dpi", longest <= MOST_PX, f"a picture of at most {MOST_PX} pixels a side", longest)
    squares = board.opencv().generateImage((board.columns * side, board.rows * side), marginSize=0, borderBits=1)
    page = cv2.copyMakeBorder(squares, margin, margin + writing, margin, margin, cv2.BORDER_CONSTANT, value=255)
    _write_sizes(page, board, margin, margin + squares.shape[0], per_mm)
    return page, per_mm


def _write_sizes(page: np.ndarray, board: MarkerBoard, left: int, below: int, per_mm: float) -> None:
    """Write what was drawn, and a line to measure."""
    width_mm, height_mm = 1000 * board.size_m
    text = (
        f"{board.columns} x {board.rows} squares of {board.square_mm:g} mm, {width_mm:g} x {height_mm:g} mm "
        f"(clipose board, {MARKERS}). Print at 100 %, then measure a square."
    )
    thickness = max(1, round(0.25 * per_mm))
    room = page.shape[1] - 2 * left
    scale = cv2.getFontScaleFromHeight(cv2.FONT_HERSHEY_SIMPLEX, max(8, round(3 * per_mm)), thickness)
    scale *= min(1.0, room / cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, thickness)[0][0])
    cv2.putText(
        page, text, (left, below + round(6 * per_mm)), cv2.FONT_HERSHEY_SIMPLEX, scale, 0, thickness, cv2.LINE_AA
    )
    line_mm = LINE_MM if LINE_MM * per_mm <= room else board.square_mm
    y, tick = below + round(13 * per_mm), round(1.5 * per_mm)
    right = left + round(line_mm * per_mm)
    cv2.line(page, (left, y), (right, y), 0, thickness)
    for x in (left, right):
        cv2.line(page, (x, y - tick), (x, y + tick), 0, thickness)
    place = right + round(2 * per_mm), y + round(per_mm)
    cv2.putText(page, f"{line_mm:g} mm", place, cv2.FONT_HERSHEY_SIMPLEX, scale, 0, thickness, cv2.LINE_AA)


def see_board(board: MarkerBoard, colour: np.ndarray, intrinsics: Intrinsics) -> BoardSighting | str:
    """Find a board in an image, and where the camera is.

    Parameters
    ----------
    board : MarkerBoard
        As it was printed.
    colour : (H, W, 3) uint8
        RGB, without distortion.
    intrinsics : Intrinsics
        Of the image.

    Returns
    -------
    BoardSighting or str
        The pose, or why there is none.
    """
    corners, page_m, noise_px, markers = _corners(board, cv2.cvtColor(colour, cv2.COLOR_RGB2GRAY))
    count = len(corners)
    if count < LEAST_CORNERS:
        return f"{count} corners of {markers} markers: expected at least {LEAST_CORNERS}"
    camera = np.array([[intrinsics.fx, 0, intrinsics.cx], [0, intrinsics.fy, intrinsics.cy], [0, 0, 1.0]])
    # What hides a part of the board has corners, too.
    limit = LARGEST_ERROR_PX * max(1.0, colour.shape[1] / WIDTH_PX)
    _, kept = cv2.findHomography(1000 * page_m[:, :2], corners, cv2.RANSAC, OUTLIERS * limit)
    kept = np.zeros(count, bool) if kept is None else kept.ravel() > 0
    if np.count_nonzero(kept) < max(LEAST_CORNERS, LEAST_SHARE * count):
        return f"{np.count_nonzero(kept)} of {count} corners lie as on a flat board: is the image rectified?"
    corners, page_m, noise_px = corners[kept], page_m[kept], noise_px[kept]
    poses = _poses_of_plane(page_m, corners, noise_px, camera)
    if not poses:
        return "no pose of the board fits the corners"
    errors = [_error_px(pose, page_m, corners, noise_px, camera) for pose in poses]
    if errors[0] > limit:
        return f"corners {errors[0]:.1f} px from where a flat board has them: expected at most {limit:.1f}"
    if len(poses) > 1 and errors[1] < min(limit, AMBIGUOUS_RATIO * errors[0]):
        between = np.degrees(np.linalg.norm(cv2.Rodrigues(poses[0][0] @ poses[1][0].T)[0]))
        if between > AMBIGUOUS_DEG:
            return f"two poses {between:.0f} degrees apart that fit alike: expected a board that is seen larger"
    rotation, translation = poses[0]
    return BoardSighting(rotation @ FROM_PAGE.T, translation, corners, page_m @ FROM_PAGE.T, errors[0])


def _corners(board: MarkerBoard, grey: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Corners of squares and of markers in an image (N, 2), on the page (N, 3) [m], their noise, and how many markers.

    Corners of squares are the more exact ones, but where an object hides much of a board, what is left of them may lie
    on a line.
    """
    drawn = board.opencv()
    squares, square_numbers, markers, marker_numbers = cv2.aruco.CharucoDetector(drawn).detectBoard(grey)
    seen, places, noise_px = [np.empty((0, 2))], [np.empty((0, 3))], []
    if squares is not None and square_numbers is not None and len(square_numbers):
        seen.append(np.asarray(squares).reshape(-1, 2))
        places.append(np.asarray(drawn.getChessboardCorners())[np.asarray(square_numbers).ravel()])
        noise_px += len(seen[-1]) * [SQUARE_NOISE_PX]
    numbers = [] if marker_numbers is None else np.asarray(marker_numbers).ravel().tolist()
    of_board = {number: i for i, number in enumerate(np.asarray(drawn.getIds()).ravel().tolist())}
    for marker, number in zip(markers or (), numbers):
        if number in of_board:
            seen.append(np.asarray(marker).reshape(4, 2))
            places.append(np.asarray(drawn.getObjPoints()[of_board[number]]).reshape(4, 3))
            noise_px += 4 * [MARKER_NOISE_PX]
    page_m = np.concatenate(places).astype(np.float64) / 1000 - [*(board.size_m / 2), 0]
    return np.concatenate(seen).astype(np.float64), page_m, np.array(noise_px), len(numbers)


def _poses_of_plane(
    places: np.ndarray, corners: np.ndarray, noise_px: np.ndarray, camera: np.ndarray
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Poses of a plane in front of the camera, and seen from its front, the best first; the second is its mirror."""

    def residuals(x: np.ndarray) -> np.ndarray:
        pose = cv2.Rodrigues(x[:3])[0], x[3:]
        return ((_projected(pose, places, camera) - corners) / noise_px[:, None]).ravel()

    _, turns, shifts, _ = cv2.solvePnPGeneric(places, corners, camera, None, flags=cv2.SOLVEPNP_IPPE)
    poses = []
    for turn, shift in zip(turns, shifts):
        start = np.concatenate([turn.ravel(), shift.ravel()])
        if not np.isfinite(start).all() or start[5] <= 0:
            continue
        found = least_squares(residuals, start, loss="soft_l1", x_scale="jac").x
        pose = cv2.Rodrigues(found[:3])[0], found[3:]
        if np.isfinite(found).all() and found[5] > 0 and pose[0][:, 2] @ pose[1] > 0:
            poses.append(pose)
    return sorted(poses, key=lambda pose: _error_px(pose, places, corners, noise_px, camera))


def _projected(pose: tuple[np.ndarray, np.ndarray], places: np.ndarray, camera: np.ndarray) -> np.ndarray:
    points = (places @ pose[0].T + pose[1]) @ camera.T
    return points[:, :2] / points[:, 2:]


def _error_px(
    pose: tuple[np.ndarray, np.ndarray],
    places: np.ndarray,
    corners: np.ndarray,
    noise_px: np.ndarray,
    camera: np.ndarray,
) -> float:
    """Root mean square, as much as corners of squares would be off."""
    off = ((_projected(pose, places, camera) - corners) ** 2).sum(axis=1)
    return float(SQUARE_NOISE_PX * np.sqrt((off / noise_px**2).mean()))
