"""An object is learned from a recording of a camera that goes around it, on a printed board."""

import importlib.util
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.objects.recorded_views import WINDOW_NS, read_recorded_views

spec = importlib.util.spec_from_file_location("marker_board", Path(__file__).with_name("test_marker_board.py"))
drawn = importlib.util.module_from_spec(spec)
spec.loader.exec_module(drawn)

PLACES = 9
BEGIN_NS = 4_000 * WINDOW_NS
NOTHING = Detections((), np.zeros((drawn.HEIGHT, drawn.WIDTH), np.uint8))


@pytest.fixture(scope="module")
def walk():
    """Three frames for each of nine places, of which the middle one is sharp; before them a wall."""
    wall = np.full((drawn.HEIGHT, drawn.WIDTH, 3), 99, np.uint8), np.full((drawn.HEIGHT, drawn.WIDTH), 900, np.uint16)
    images = [[wall]]
    for i in range(PLACES):
        colour, depth_m, _ = drawn.picture_of_scene(*drawn.looking_at(40 * i, 35 + 20 * (i % 2), 0.5), seed=i)
        depth = np.rint(1000 * depth_m).astype(np.uint16)
        images.append([(cv2.blur(colour, (1, 5)), depth), (colour, depth), (cv2.blur(colour, (9, 1)), depth)])
    return [
        (
            f"{window:02d}{i}",
            Frame(BEGIN_NS + window * WINDOW_NS + i * WINDOW_NS // 4, "eye", depth, drawn.INTRINSICS, rgb),
        )
        for window, group in enumerate(images)
        for i, (rgb, depth) in enumerate(group)
    ]


def named(frames):
    return [(name, frame, None) for name, frame in frames]


def test_the_sharpest_frame_of_each_place_is_a_view(walk):
    found = read_recorded_views(Path("walk.mcap"), named(walk), drawn.BOARD, 32)
    assert [view.name for view in found.board_views.references.views] == [f"{i + 1:02d}1" for i in range(PLACES)]
    assert found.frames == len(walk) and found.looked_at == PLACES + 1
    assert re.search(
        r"28 frames, the sharpest 10 looked at, 1 without the board \(1 x 0 corners.*seen in 9 of 9", found.summary()
    )
    for i, view in enumerate(found.board_views.references.views):
        rotation, translation = drawn.looking_at(40 * i, 35 + 20 * (i % 2), 0.5)
        assert drawn.turn_deg(view.rotation, rotation) < 0.3
        assert np.linalg.norm(view.translation - translation) < 0.001


def test_views_are_from_the_most_different_places(walk):
    """A camera that lingers gives no more views than one that does not."""
    lingering = [walk[2]] * 3 + walk
    frames = [
        (f"{i}", Frame(BEGIN_NS + i * WINDOW_NS, "eye", frame.depth, frame.intrinsics, frame.colour))
        for i, (name, frame) in enumerate(lingering)
        if name[2] == "1"
    ]
    found = read_recorded_views(Path("walk.mcap"), named(frames), drawn.BOARD, PLACES)
    places = np.array([view.rotation.T @ view.translation for view in found.board_views.references.views])
    assert len(places) == PLACES
    assert np.linalg.norm(places[:, None] - places, axis=2)[~np.eye(PLACES, dtype=bool)].min() > 0.1
    few = read_recorded_views(Path("walk.mcap"), named(frames), drawn.BOARD, 5).board_views.references.views
    turns = np.array([view.rotation.T @ view.translation for view in few])[:, [0, 2]]
    angles = np.sort(np.degrees(np.arctan2(turns[:, 1], turns[:, 0])))
    assert len(few) == 5 and np.diff(angles, append=angles[0] + 360).max() <= 120  # all around


def test_a_camera_that_stands_still_is_named(walk):
    name, frame = walk[2]
    still = [
        (f"{i}", Frame(BEGIN_NS + i * WINDOW_NS, "eye", frame.depth, frame.intrinsics, frame.colour)) for i in range(6)
    ]
    with pytest.raises(
        ValueError, match="walk.mcap: expected views from at least 4 places, got 6 views from 1: go around"
    ):
        read_recorded_views(Path("walk.mcap"), named(still), drawn.BOARD, 32)


def test_recordings_that_show_no_board_are_named(walk):
    with pytest.raises(
        ValueError, match="walk.mcap: expected a board of 8 x 6 squares in at least 4 views, got 0 .00.: 0 corners"
    ):
        read_recorded_views(Path("walk.mcap"), named(walk[:1] * 3), drawn.BOARD, 32)
    with pytest.raises(ValueError, match="walk.mcap: expected stamps that go on, got 6 frames within 0.25 s"):
        read_recorded_views(Path("walk.mcap"), named(walk[2:3] * 6), drawn.BOARD, 32)
    with pytest.raises(ValueError, match="walk.mcap: expected frames with colour and depth, got none"):
        read_recorded_views(Path("walk.mcap"), [], drawn.BOARD, 32)
    with pytest.raises(ValueError, match="--most-views: expected 4 to 200, got 3"):
        read_recorded_views(Path("walk.mcap"), named(walk), drawn.BOARD, 3)


def test_intrinsics_that_change_are_refused(walk):
    other = Intrinsics(drawn.FOCAL + 0.5, drawn.FOCAL, drawn.WIDTH / 2, drawn.HEIGHT / 2)
    frames = [
        (name, Frame(frame.stamp_ns, "eye", frame.depth, other if i > 10 else frame.intrinsics, frame.colour))
        for i, (name, frame) in enumerate(walk)
    ]
    with pytest.raises(ValueError, match="walk.mcap: camera_info: expected the same all along, got a change"):
        read_recorded_views(Path("walk.mcap"), named(frames), drawn.BOARD, 32)


def test_an_object_is_learned_from_a_recording(walk, tmp_path, monkeypatch, capsys):
    pytest.importorskip("numba")
    pytest.importorskip("mcap")
    from clipose_ros.formats.recording_files import write_recording
    from clipose_ros.objects.library import ObjectLibrary

    recording, library = tmp_path / "walk.mcap", tmp_path / "objects"
    write_recording(recording, ((frame, NOTHING) for _, frame in walk))
    with pytest.raises(SystemExit, match="--board: expected it for .*walk.mcap, since a recording has no poses"):
        drawn.run(monkeypatch, "learn", "box", recording, "--objects", library)
    drawn.run(monkeypatch, "learn", "box", recording, "--objects", library, "--board", "--backbone", "none")
    assert "board seen in 9 of 9 views" in capsys.readouterr().err
    box = ObjectLibrary(library).read("box")
    np.testing.assert_allclose(box.size, drawn.box_scene.SIZE, atol=0.005)
    np.testing.assert_allclose(box.centre, drawn.ON_BOARD, atol=0.003)


def test_options_of_recordings_are_refused_with_a_folder(tmp_path, monkeypatch):
    with pytest.raises(SystemExit, match="expected a recording, since there are options of one"):
        drawn.run(monkeypatch, "learn", "box", tmp_path, "--objects", tmp_path / "o", "--depth-topic", "/depth")


def test_a_board_without_an_object_is_told_from_one_that_is_not_seen(walk):
    bare = [
        (name, Frame(frame.stamp_ns, "eye", np.zeros_like(frame.depth), frame.intrinsics, frame.colour))
        for name, frame in walk
    ]
    asked = r"got 0 \(.*: 0 pixels that stand on the board.*\); does the object stand on it, and has depth values there"
    with pytest.raises(ValueError, match=asked):
        read_recorded_views(Path("walk.mcap"), named(bare), drawn.BOARD, 32)


def test_a_recording_that_was_cut_off_is_told_also_where_too_little_is_left(walk, tmp_path, monkeypatch, capsys):
    pytest.importorskip("mcap")
    from clipose_ros.formats.recording_files import write_recording

    recording = tmp_path / "walk.mcap"
    write_recording(recording, ((frame, NOTHING) for _, frame in walk[:12]))
    recording.write_bytes(recording.read_bytes()[: recording.stat().st_size // 2])
    with pytest.raises(SystemExit, match=r"in at least 4 views, got \d"):
        drawn.run(monkeypatch, "learn", "box", recording, "--objects", tmp_path / "o", "--board", "--backbone", "none")
    assert "cut off" in capsys.readouterr().err
