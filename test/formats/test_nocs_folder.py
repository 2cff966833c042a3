import json

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Instance, Intrinsics
from clipose_ros.formats.nocs_folder import REAL275_INTRINSICS, NocsFolder

RNG = np.random.default_rng(0)
DEPTH_MM = RNG.integers(0, 65536, (12, 16)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)


@pytest.fixture
def write(tmp_path):
    """Writes frame 0000 (instances 0, 7 and distractor 254) and gives the folder.

    A file replaced by None is left out, by bytes or text written as it is.
    """

    def write(**replaced):
        mask = np.full((12, 16), 255, np.uint8)
        mask[2:4, 2:4], mask[5, 5:9], mask[8, :] = 0, 7, 254
        meta = "0 6 mug_a\n7 1 02876657 bottle_b\n254 0 unknown\n"
        files = {"color.png": COLOUR[:, :, ::-1], "depth.png": DEPTH_MM, "mask.png": mask, "meta.txt": meta}
        files.update({kind.replace("_", "."): value for kind, value in replaced.items()})
        for kind, value in files.items():
            content = cv2.imencode(".png", value)[1].tobytes() if isinstance(value, np.ndarray) else value
            if content is not None:
                (tmp_path / f"0000_{kind}").write_bytes(content if isinstance(content, bytes) else content.encode())
        return tmp_path

    return write


def test_a_written_frame_reads_back(write):
    ((frame, detections),) = NocsFolder(write())
    np.testing.assert_array_equal(frame.depth, DEPTH_MM)
    np.testing.assert_array_equal(frame.colour, COLOUR)
    assert frame.depth.dtype == np.uint16 and frame.intrinsics == REAL275_INTRINSICS
    assert detections.instances == (Instance(1, "mug", id="0"), Instance(8, "bottle", id="7"))
    assert np.count_nonzero(detections.masks == 1) == 4 and np.count_nonzero(detections.masks == 8) == 4
    assert np.count_nonzero(detections.masks == 255) == 16 and np.count_nonzero(detections.masks == 0) == 12 * 16 - 24


@pytest.mark.parametrize("channels", [3, 4])
def test_the_depth_of_camera25_is_decoded(write, channels):
    encoded = np.zeros((12, 16, channels), np.uint8)  # B, G, R(, A) as OpenCV writes them
    encoded[:, :, 1], encoded[:, :, 2] = DEPTH_MM // 256, DEPTH_MM % 256
    np.testing.assert_array_equal(NocsFolder(write(depth_png=encoded)).read("0000")[0].depth, DEPTH_MM)


def test_masks_with_channels_carry_the_number_in_red(write):
    mask = np.full((12, 16, 4), 255, np.uint8)
    mask[3, 3] = (9, 9, 7, 255)
    _, detections = NocsFolder(write(mask_png=mask)).read("0000")
    assert np.flatnonzero(detections.masks).tolist() == [3 * 16 + 3] and detections.masks[3, 3] == 8


def test_intrinsics_of_the_folder_are_used_and_checked(write):
    folder = write()
    (folder / "intrinsics.json").write_text(json.dumps({"fx": 600.0, "fy": 601.0, "cx": 320.0, "cy": 240.0}))
    assert NocsFolder(folder).intrinsics == Intrinsics(600.0, 601.0, 320.0, 240.0)
    for broken in (
        '{"fx": 600.0}',
        '{"fx": 1, "fy": 1, "cx": 0, "cy": 0, "k1": 0}',
        '{"fx": 0, "fy": 1, "cx": 0, "cy": 0}',
        "{",
    ):
        (folder / "intrinsics.json").write_text(broken)
        with pytest.raises(ValueError, match="intrinsics.json: expected"):
            NocsFolder(folder)


def test_frames_come_sorted_with_increasing_stamps_and_colour_is_optional(write):
    folder = write(color_png=None)
    for kind in ("depth.png", "mask.png", "meta.txt"):
        (folder / f"0001_{kind}").write_bytes((folder / f"0000_{kind}").read_bytes())
    sequence = NocsFolder(folder)
    (first, _), (second, _) = sequence
    assert sequence.names == ["0000", "0001"] and len(sequence) == 2
    assert first.stamp_ns < second.stamp_ns and first.colour is None


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"mask_png": None}, "0000_mask.png: expected a file, got none"),
        ({"meta_txt": None}, "0000_meta.txt: expected a file, got none"),
        ({"depth_png": b"no image"}, "0000_depth.png: expected a PNG image"),
        ({"depth_png": b""}, "0000_depth.png: expected a PNG image"),
        ({"depth_png": DEPTH_MM.astype(np.uint8)}, "0000_depth.png: expected 16-bit depth"),
        ({"mask_png": DEPTH_MM}, "0000_mask.png: expected an 8-bit mask, got uint16"),
        ({"mask_png": np.zeros((5, 5), np.uint8)}, "0000: mask: expected (12, 16) as depth, got (5, 5)"),
        ({"meta_txt": "1 mug\n"}, "0000_meta.txt: expected `instance class_id model`, got '1 mug'"),
        ({"meta_txt": "1\n"}, "0000_meta.txt: expected `instance class_id model`, got '1'"),
        ({"meta_txt": "1 9 spoon\n"}, "0000_meta.txt: expected a class id in 0..6, got '1 9 spoon'"),
        ({"meta_txt": "255 1 a\n"}, "0000_meta.txt: expected different instance numbers in 0..254"),
        ({"meta_txt": "1 1 a\n1 2 b\n"}, "0000_meta.txt: expected different instance numbers in 0..254, got '1 2 b'"),
    ],
)
def test_a_broken_file_is_named(write, broken, message):
    with pytest.raises(ValueError) as raised:
        NocsFolder(write(**broken)).read("0000")
    assert message in str(raised.value)


def test_a_folder_without_frames_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a folder with NNNN_depth.png, got none"):
        NocsFolder(tmp_path)
