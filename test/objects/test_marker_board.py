"""A printed board gives the poses of views; what is wrong with print or views is said."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipose_ros.cli import main as command
from clipose_ros.core.types import Intrinsics
from clipose_ros.objects.board_views import read_board_views, standing_on_board
from clipose_ros.objects.marker_board import FROM_PAGE, MarkerBoard, picture_of_board, see_board

spec = importlib.util.spec_from_file_location("box_scene", Path(__file__).with_name("conftest.py"))
box_scene = importlib.util.module_from_spec(spec)
spec.loader.exec_module(box_scene)

WIDTH, HEIGHT, FOCAL = 640, 480, 620.0
INTRINSICS = Intrinsics(FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2)
ON_BOARD = np.array([0.012, box_scene.SIZE[1] / 2, -0.008])  # of the box that stands on the board
BOARD = MarkerBoard()
VIEWS = [(20.0, 45.0, 0.5, 5.0), (110.0, 35.0, 0.55, -8.0), (200.0, 55.0, 0.5, 0.0), (300.0, 40.0, 0.6, 15.0)]


def looking_at(azimuth_deg, elevation_deg, distance_m, roll_deg=0.0):
    return box_scene.looking_at_box(azimuth_deg, elevation_deg, distance_m, roll_deg, at=np.array([0, 0.02, 0]))


def picture_of_scene(rotation, translation, with_box=True, square_mm=30.0, sigma=3.0, seed=0):
    """RGB, depth [m] and the box's mask: a box on a board on a table, with noise in colour and depth."""
    page, per_mm = picture_of_board(BOARD, dpi=60)
    middle = (np.array([BOARD.columns, BOARD.rows]) * round(30 * per_mm) / 2 + round(10 * per_mm)) - 0.5
    scale = square_mm / 30 / per_mm / 1000  # metres in a pixel of the page
    page_to_board = np.array([[scale, 0, -middle[0] * scale], [0, 0, 0], [0, scale, -middle[1] * scale]])
    camera = np.array([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1.0]])
    plane = camera @ (rotation @ page_to_board + np.outer(translation, [0, 0, 1]))
    twice = np.array([[2, 0, 0.5], [0, 2, 0.5], [0, 0, 1.0]])  # drawn larger, against jagged edges
    size = (2 * WIDTH, 2 * HEIGHT)
    drawn = cv2.warpPerspective(page, twice @ plane, size, flags=cv2.INTER_LINEAR, borderValue=150)
    colour = np.repeat(cv2.resize(drawn, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)[..., None], 3, axis=2)
    v, u = np.indices((HEIGHT, WIDTH))
    up = rotation[:, 1]
    depth = (up @ translation) / ((u - WIDTH / 2) / FOCAL * up[0] + (v - HEIGHT / 2) / FOCAL * up[1] + up[2])
    depth = np.where((depth > 0) & (depth < 3), depth, 0)
    mask = np.zeros((HEIGHT, WIDTH), bool)
    if with_box:
        box, box_m, mask = box_scene.picture_of_box(
            rotation, translation, width=WIDTH, height=HEIGHT, focal=FOCAL, centre=ON_BOARD
        )
        colour, depth = np.where(mask[..., None], box, colour), np.where(mask, box_m, depth)
    rng = np.random.default_rng(seed)
    colour = np.clip(cv2.GaussianBlur(colour, (0, 0), 0.6) + rng.normal(scale=sigma, size=colour.shape), 0, 255)
    depth = np.where(depth > 0, depth + rng.normal(scale=0.0008, size=depth.shape), 0)
    return colour.astype(np.uint8), depth.astype(np.float32), mask


def write_views(folder, poses, with_mask=False, square_mm=30.0):
    folder.mkdir(parents=True, exist_ok=True)
    for i, pose in enumerate(poses):
        colour, depth, mask = picture_of_scene(*pose, square_mm=square_mm, seed=i)
        cv2.imwrite(str(folder / f"{i:04d}_color.png"), cv2.cvtColor(colour, cv2.COLOR_RGB2BGR))
        cv2.imwrite(str(folder / f"{i:04d}_depth.png"), np.rint(1000 * depth).astype(np.uint16))
        if with_mask:
            cv2.imwrite(str(folder / f"{i:04d}_mask.png"), np.where(mask, 255, 0).astype(np.uint8))
    camera = {"fx": FOCAL, "fy": FOCAL, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    (folder / "intrinsics.json").write_text(json.dumps(camera))
    return folder


def run(monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["clipose", *map(str, arguments)])
    command.main()


def turn_deg(rotation, truth):
    return np.degrees(np.linalg.norm(cv2.Rodrigues(rotation @ truth.T)[0]))


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("with_box", [False, True])
def test_a_board_gives_the_pose_of_a_view(view, with_box):
    rotation, translation = looking_at(*view)
    colour, _, _ = picture_of_scene(rotation, translation, with_box)
    found = see_board(BOARD, colour, INTRINSICS)
    assert not isinstance(found, str), found
    assert turn_deg(found.rotation, rotation) < 0.2
    assert np.linalg.norm(found.translation - translation) < 0.001  # of half a metre
    assert found.error_px < 0.4


def test_the_boards_frame_has_y_up_and_z_to_the_writing():
    assert np.linalg.det(FROM_PAGE) == pytest.approx(1)
    np.testing.assert_array_equal(FROM_PAGE @ [1, 0, 0], [1, 0, 0])  # right stays right
    np.testing.assert_array_equal(FROM_PAGE @ [0, 1, 0], [0, 0, 1])  # down the page, to the writing
    np.testing.assert_array_equal(FROM_PAGE @ [0, 0, 1], [0, -1, 0])  # into the paper


def test_a_view_without_the_board_is_none():
    assert "0 corners" in see_board(BOARD, np.full((HEIGHT, WIDTH, 3), 128, np.uint8), INTRINSICS)


def test_intrinsics_of_another_lens_do_not_pass():
    colour, _, _ = picture_of_scene(*looking_at(*VIEWS[1]), sigma=1.0)
    found = see_board(BOARD, colour, Intrinsics(1.6 * FOCAL, FOCAL, WIDTH / 2, HEIGHT / 2))
    assert isinstance(found, str) and "px from where a flat board has them" in found


def test_what_stands_on_the_board_is_the_object():
    rotation, translation = looking_at(*VIEWS[0])
    colour, depth, mask = picture_of_scene(rotation, translation)
    sighting = see_board(BOARD, colour, INTRINSICS)
    found = standing_on_board(BOARD, sighting, depth, INTRINSICS)
    assert np.count_nonzero(found & mask) > 0.9 * np.count_nonzero(found | mask)
    assert not np.count_nonzero(standing_on_board(BOARD, sighting, np.zeros_like(depth), INTRINSICS))


def test_the_picture_says_how_large_it_is_on_paper(tmp_path, monkeypatch, capsys):
    run(monkeypatch, "board", "--output", tmp_path / "b.png", "--columns", 5, "--rows", 4, "--square-mm", 25)
    assert "5 x 4 squares of 25 mm on 145 x 132 mm" in capsys.readouterr().out
    content = (tmp_path / "b.png").read_bytes()
    place = content.index(b"pHYs") + 4
    per_metre, same, unit = struct.unpack(">IIB", content[place : place + 9])
    picture = cv2.imread(str(tmp_path / "b.png"), cv2.IMREAD_GRAYSCALE)
    corners, _, _, _ = cv2.aruco.CharucoDetector(MarkerBoard(5, 4, 25).opencv()).detectBoard(picture)
    assert per_metre == same and unit == 1 and len(corners) == 12
    assert (corners[1, ..., 0] - corners[0, ..., 0]).item() / per_metre == pytest.approx(0.025, rel=1e-3)
    run(monkeypatch, "board", "--output", tmp_path / "b.pdf", "--columns", 5, "--rows", 4, "--square-mm", 25)
    box = re.search(rb"MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (tmp_path / "b.pdf").read_bytes())
    size_mm = np.array([float(value) for value in box.groups()]) * 25.4 / 72
    np.testing.assert_allclose(size_mm, 1000 * np.array(picture.shape[::-1]) / per_metre, rtol=1e-3)


@pytest.mark.parametrize(
    "given, said",
    [
        (["--output", "b.jpg"], "a file that ends with .png or .pdf"),
        (["--output", "b.png", "--columns", "2"], "--columns: expected 3 or more, got 2"),
        (["--output", "b.png", "--columns", "40", "--rows", "40"], "at most 500 squares"),
        (["--output", "b.png", "--dpi", "2000"], "a picture of at most"),
    ],
)
def test_boards_that_cannot_be_are_refused(given, said, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=re.escape(said)):
        run(monkeypatch, "board", *given)
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Ten views of the box on the board, without masks; in one of them a wall is all that is seen."""
    poses = [looking_at(36 * i, 35 + 25 * (i % 2), 0.5) for i in range(10)]
    folder = write_views(tmp_path_factory.mktemp("board") / "views", poses)
    cv2.imwrite(str(folder / "0003_color.png"), np.full((HEIGHT, WIDTH, 3), 99, np.uint8))
    return folder


def test_views_without_the_board_are_skipped_and_named(folder):
    found = read_board_views(folder, BOARD)
    assert [view.name for view in found.references.views] == [f"{i:04d}" for i in range(10) if i != 3]
    assert list(found.skipped) == ["0003"] and "0 corners" in found.skipped["0003"]
    assert re.search(r"seen in 9 of 10 views.*masks of 9 made.*skipped: 0003 \(0 corners", found.summary())


def test_an_object_is_learned_on_the_board(folder, tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba")
    from clipose_ros.objects.library import ObjectLibrary

    run(monkeypatch, "learn", "box", folder, "--objects", tmp_path / "objects", "--board")
    assert "board seen in 9 of 10 views" in capsys.readouterr().err
    box = ObjectLibrary(tmp_path / "objects").read("box")
    np.testing.assert_allclose(box.size, box_scene.SIZE, atol=0.005)
    np.testing.assert_allclose(box.centre, ON_BOARD, atol=0.003)
    top = box.seen & (box.normals[:, 1] > 0.9)
    assert box.colours[top].mean(axis=0).argmax() == 0 and top.mean() > 0.1  # the face above is yellow


def test_masks_on_the_board_need_no_depth(tmp_path):
    """The hull ends at the paper, though every view looks down."""
    pytest.importorskip("numba")
    from clipose_ros.objects.silhouettes import carve

    folder = write_views(tmp_path / "views", [looking_at(60 * i, 40, 0.5) for i in range(6)], with_mask=True)
    for depth in folder.glob("*_depth.png"):
        depth.unlink()
    references = read_board_views(folder, BOARD).references
    hull = carve(references)
    assert -0.002 < hull.points[:, 1].min() < 0.004


def test_what_looks_otherwise_than_the_board_is_the_object(tmp_path):
    """Neither depth nor masks: colour alone, as pictures of a phone have it."""
    folder = write_views(tmp_path / "views", [looking_at(60 * i, 30 + 25 * (i % 2), 0.5) for i in range(6)], True)
    true = {path.name[:4]: cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0 for path in folder.glob("*_mask.png")}
    for path in (*folder.glob("*_mask.png"), *folder.glob("*_depth.png")):
        path.unlink()
    found = read_board_views(folder, BOARD)
    assert "masks of 6 views found by colour" in found.summary() and found.masked == 0
    for view in found.references.views:
        both = np.count_nonzero(view.mask & true[view.name]) / np.count_nonzero(view.mask | true[view.name])
        assert both > 0.75


def test_squares_that_the_printer_shrank_are_noticed(tmp_path, monkeypatch):
    folder = write_views(tmp_path / "views", [looking_at(*view) for view in VIEWS], square_mm=28.2)
    with pytest.raises(SystemExit, match=r"--square-mm: expected .* about 28.\d by what depth shows, got 30"):
        run(monkeypatch, "learn", "box", folder, "--objects", tmp_path / "objects", "--board")
    assert len(read_board_views(folder, MarkerBoard(square_mm=28.2)).references.views) == 4


@pytest.mark.parametrize("given", [("--columns", 7), ("--columns", 9), ("--columns", 6, "--rows", 8), ("--rows", 4)])
def test_another_board_than_was_printed_is_named_with_its_likely_size(given, folder, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match=r"expected the size of the board .* one of 8 columns and at least [56] rows"):
        run(monkeypatch, "learn", "box", folder, "--objects", tmp_path / "objects", "--board", *given)


def test_a_board_that_is_never_seen_is_named_with_what_was(folder, tmp_path):
    blank = shutil.copytree(folder, tmp_path / "views")
    for path in blank.glob("*_color.png"):
        cv2.imwrite(str(path), np.full((HEIGHT, WIDTH, 3), 99, np.uint8))
    with pytest.raises(ValueError, match=r"expected a board of 8 x 6 squares in at least 4 views, got 0 .*--columns"):
        read_board_views(blank, BOARD)


def test_sizes_of_a_board_without_the_board_are_refused(folder, tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="--board: expected it"):
        run(monkeypatch, "learn", "box", folder, "--objects", tmp_path / "objects", "--columns", 7)


def test_an_opencv_without_boards_is_named(monkeypatch, tmp_path):
    monkeypatch.delattr(cv2.aruco, "CharucoDetector")
    with pytest.raises(SystemExit, match="board: expected OpenCV 4.7 or newer"):
        run(monkeypatch, "board", "--output", tmp_path / "b.png")


def test_an_object_that_was_moved_on_the_board_is_noticed(tmp_path):
    folder = write_views(tmp_path / "views", [looking_at(72 * i, 40, 0.5) for i in range(5)], with_mask=True)
    moved = np.roll(cv2.imread(str(folder / "0002_mask.png"), cv2.IMREAD_GRAYSCALE), 260, axis=1)
    cv2.imwrite(str(folder / "0002_mask.png"), moved)
    with pytest.raises(ValueError, match="object on the board: .* views 0002 that see the object elsewhere"):
        read_board_views(folder, BOARD)
