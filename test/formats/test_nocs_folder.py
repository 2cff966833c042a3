import json
import logging

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Instance, Intrinsics
from clipose_ros.formats.nocs_folder import CAMERA25_INTRINSICS, REAL275_INTRINSICS, NocsFolder

RNG = np.random.default_rng(0)
DEPTH_MM = RNG.integers(300, 5000, (12, 16)).astype(np.uint16)
COLOUR = RNG.integers(0, 256, (12, 16, 3)).astype(np.uint8)
K = {"fx": 14.0, "fy": 15.0, "cx": 7.5, "cy": 5.5}


@pytest.fixture
def write(tmp_path):
    """Writes frame 0000 (instances 0, 7 and distractor 254) with intrinsics and gives the folder.

    A file replaced by None is left out, by bytes or text written as it is.
    """

    def write(intrinsics=K, **replaced):
        mask = np.full((12, 16), 255, np.uint8)
        mask[2:4, 2:4], mask[5, 5:9], mask[8, :] = 0, 7, 254
        meta = "0 6 mug_a\n7 1 02876657 bottle_b\n254 0 unknown\n"
        files = {"color.png": COLOUR[:, :, ::-1], "depth.png": DEPTH_MM, "mask.png": mask, "meta.txt": meta}
        files.update({kind.replace("_", "."): value for kind, value in replaced.items()})
        for kind, value in files.items():
            content = (
                cv2.imencode(f".{kind.partition('.')[2]}", value)[1].tobytes()
                if isinstance(value, np.ndarray)
                else value
            )
            if content is not None:
                (tmp_path / f"0000_{kind}").write_bytes(content if isinstance(content, bytes) else content.encode())
        if intrinsics:
            (tmp_path / "intrinsics.json").write_text(json.dumps(intrinsics))
        return tmp_path

    return write


def larger(image, width=640, height=480):
    return np.kron(image, np.ones((height // 12, width // 16), image.dtype))


def coded(depth_mm):
    """As CAMERA25 writes depth: B, G, R, A in OpenCV's order."""
    return np.dstack([depth_mm * 0, depth_mm // 256, depth_mm % 256, depth_mm * 0 + 255]).astype(np.uint8)


def vga(**replaced):
    """Files of a frame of 640 x 480 without colour."""
    return {"depth_png": larger(DEPTH_MM), "mask_png": np.full((480, 640), 255, np.uint8), "color_png": None} | replaced


def test_a_written_frame_reads_back(write):
    ((frame, detections),) = NocsFolder(write())
    np.testing.assert_array_equal(frame.depth, DEPTH_MM)
    np.testing.assert_array_equal(frame.colour, COLOUR)
    assert frame.depth.dtype == np.uint16 and frame.intrinsics == Intrinsics(**K)
    assert detections.instances == (Instance(1, "mug", id="0"), Instance(8, "bottle", id="7"))
    assert np.bincount(detections.masks.ravel())[[0, 1, 8, 255]].tolist() == [12 * 16 - 24, 4, 4, 16]


def test_without_intrinsics_640_by_480_is_real275_and_that_is_said_once(write, caplog):
    folder = write(None, **vga())
    for kind in ("depth.png", "mask.png", "meta.txt"):
        (folder / f"0001_{kind}").write_bytes((folder / f"0000_{kind}").read_bytes())
    frames = [frame for frame, _ in NocsFolder(folder)]
    assert [frame.intrinsics for frame in frames] == [REAL275_INTRINSICS] * 2
    (said,) = caplog.messages
    assert "no intrinsics.json, so REAL275's are taken (fx 591" in said and said.startswith(str(folder))


def test_without_intrinsics_the_code_of_camera25_means_its_camera(write, caplog):
    ramp = (600 + np.mgrid[:480, :640][0]).astype(np.uint16)
    ((frame, _),) = NocsFolder(write(None, **vga(depth_png=coded(ramp))))
    assert frame.intrinsics == CAMERA25_INTRINSICS and "so CAMERA25's are taken" in caplog.text
    np.testing.assert_array_equal(frame.depth, ramp)


@pytest.mark.parametrize("code", [coded, lambda depth: depth])
def test_without_intrinsics_another_size_is_refused_with_the_cure(write, code):
    ramp = (600 + np.mgrid[:960, :1280][0]).astype(np.uint16)
    folder = write(None, depth_png=code(ramp), mask_png=np.full((960, 1280), 255, np.uint8), color_png=None)
    with pytest.raises(
        ValueError, match="expected intrinsics.json or cam_K.txt beside images of 1280x960 .*write intr"
    ):
        NocsFolder(folder).read("0000")


def test_intrinsics_of_another_size_are_refused_with_both(write):
    with pytest.raises(ValueError, match="intrinsics.json: .* images, which are 16x12, got those of 640x480"):
        NocsFolder(write({**K, "width": 640, "height": 480})).read("0000")
    assert NocsFolder(write({**K, "width": 16, "height": 12})).read("0000")[0].intrinsics == Intrinsics(**K)


def test_broken_intrinsics_are_refused_with_the_folder(write):
    with pytest.raises(ValueError, match="intrinsics.json: keys: expected fx, fy, cx and cy"):
        NocsFolder(write({"fx": 600.0}))


@pytest.mark.parametrize(
    ("intrinsics", "warning"),
    [
        ({**K, "coeffs": [0.1, 0, 0, 0, 0]}, "intrinsics.json: the lens distorts (0.1, 0, 0, 0, 0)"),
        (
            {**K, "cx": 15.0},
            "intrinsics.json: the principal point (15, 5.5) is far from the middle of the images (16x12)",
        ),
        (K, None),
    ],
)
def test_intrinsics_that_may_be_wrong_are_warned_of_once(write, caplog, intrinsics, warning):
    folder = NocsFolder(write(intrinsics))
    folder.read("0000"), folder.read("0000")
    assert [warning in message for message in caplog.messages] == [True] * bool(warning)


def test_doubts_about_frames_are_counted_and_said_once(write, caplog):
    path = write(depth_png=DEPTH_MM // 1000, meta_txt="0 6 mug_a\n")
    for kind in ("depth.png", "mask.png", "meta.txt"):
        (path / f"0001_{kind}").write_bytes((path / f"0000_{kind}").read_bytes())
    folder = NocsFolder(path)
    folder.read("0000"), folder.read("0001"), folder.read("0001")  # the same frame again is the same frame
    assert sorted(folder.remarks.values()) == [2, 2]
    unit, unlisted = sorted(caplog.messages)
    assert "0000_depth.png: nearly all of the depth lies nearer than 100 mm: it seems to be in metres" in unit
    assert "0000_mask.png: instances of the mask without a line in the meta file are left out: 7, 254" in unlisted
    assert all(record.levelno == logging.WARNING for record in caplog.records)


def test_numbers_that_resizing_made_up_are_told_for_what_they_are(write, caplog):
    mask = np.full((12, 16), 255, np.uint8)
    mask[3:9, 3:9] = 7
    small = cv2.resize(mask, (9, 7), interpolation=cv2.INTER_AREA)
    folder = NocsFolder(write(mask_png=cv2.resize(small, (16, 12), interpolation=cv2.INTER_LINEAR)))
    folder.read("0000")
    (remark,) = folder.remarks
    assert "were numbers blended, as JPEG and resizing do? Resize masks by their nearest pixels" in remark
    assert len(remark) < 400


@pytest.mark.parametrize(("kind", "other"), [("mask.png", "0000_mask.jpg"), ("meta.txt", "0000_Meta.json")])
def test_a_file_of_another_kind_in_place_of_a_frames_own_is_named(write, kind, other):
    folder = write()
    (folder / f"0000_{kind}").rename(folder / other)
    with pytest.raises(ValueError, match=f"0000_{kind}: expected a {kind[4:]} file, got {other}; rename or convert to"):
        NocsFolder(folder).read("0000")


def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(write):
    ((_, detections),) = NocsFolder(write(meta_txt=b"\xef\xbb\xbf0 6 mug_a\r\n\r\n7 1 bottle_b\r\n254 0 x\r\n"))
    assert detections.instances == (Instance(1, "mug", id="0"), Instance(8, "bottle", id="7"))


def test_an_object_that_somebody_knows_is_an_instance_and_else_a_distractor(write):
    folder = NocsFolder(write(meta_txt="0 0 bunny\n7 1 02876657 bottle_b\n254 0 04460130 milk\n"))
    assert [instance.category for instance in folder.read("0000")[1].instances] == ["bottle"]
    folder.objects = ("milk", "bunny")
    found = folder.read("0000")[1].instances
    assert [(instance.category, instance.id) for instance in found] == [
        ("bunny", "0"),
        ("bottle", "7"),
        ("milk", "254"),
    ]


def test_frames_come_sorted_with_increasing_stamps_and_colour_is_optional(write):
    folder = write(color_png=None)
    for kind in ("depth.png", "mask.png", "meta.txt"):
        (folder / f"0001_{kind}").write_bytes((folder / f"0000_{kind}").read_bytes())
    sequence = NocsFolder(folder)
    (first, _), (second, _) = sequence
    assert sequence.names == ["0000", "0001"] and len(sequence) == 2
    assert first.stamp_ns < second.stamp_ns and first.colour is None


def test_frames_come_in_the_order_of_the_numbers_in_their_names(write):
    """roboflow/trackers#558: 1, 10, 2 makes nonsense of motion, and nothing raises."""
    folder = write(color_png=None)
    for name in ("1", "10", "2", "0011", "f9b", "f10a"):
        for kind in ("depth.png", "mask.png", "meta.txt"):
            (folder / f"{name}_{kind}").write_bytes((folder / f"0000_{kind}").read_bytes())
    frames = NocsFolder(folder)
    assert frames.names == ["0000", "1", "2", "10", "0011", "f9b", "f10a"]
    assert frames.read("2")[0].stamp_ns < frames.read("10")[0].stamp_ns


def test_names_in_capitals_are_read_as_those_in_small_letters(write):
    """anomalib#3058, YOLOv6#376: cameras write .JPG and .PNG; colour was left out without a word."""
    folder = write(color_png=None, color_jpeg=np.full((12, 16, 3), 90, np.uint8))
    names = {path.name: path.name.upper() for path in folder.glob("0000_*")}
    for old, new in names.items():
        (folder / old).rename(folder / new)
    frames = NocsFolder(folder)
    ((frame, detections),) = frames
    assert frames.names == ["0000"] and frame.colour is not None and len(detections.instances) == 2
    (folder / "0000_depth.png").write_bytes((folder / "0000_DEPTH.PNG").read_bytes()[:50])
    with pytest.raises(ValueError, match="0000_depth.png: expected an image"):  # of both, that in small letters
        frames.read("0000")


def test_hidden_files_are_no_frames(write):
    """MONAI#8305: macOS leaves a ._ file beside each one of an archive."""
    folder = write()
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(b"\0\5\x16\7")
    assert NocsFolder(folder).names == ["0000"]


@pytest.mark.parametrize("suffix", ["jpg", "jpeg"])
def test_colour_may_be_a_jpeg(write, suffix):
    ((frame, _),) = NocsFolder(write(**{"color_png": None, f"color_{suffix}": np.full((12, 16, 3), 90, np.uint8)}))
    assert np.abs(frame.colour.astype(int) - 90).max() < 8


def test_a_frame_without_depth_is_a_frame_that_cannot_be_read(write):
    folder = write()
    (folder / "0001_color.png").write_bytes((folder / "0000_color.png").read_bytes())
    (folder / "0000_true_mask.png").write_bytes((folder / "0000_mask.png").read_bytes())  # no frame 0000_true
    frames = NocsFolder(folder)
    assert frames.names == ["0000", "0001"]
    with pytest.raises(ValueError, match="0001_depth.png: expected a file, got none"):
        frames.read("0001")
    with pytest.raises(ValueError, match="frame: expected one of .*, got 0002"):
        frames.read("0002")


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ({"mask_png": None}, "0000_mask.png: expected a file, got none"),
        ({"meta_txt": None}, "0000_meta.txt: expected a file, got none"),
        ({"depth_png": b"no image"}, "0000_depth.png: expected an image"),
        ({"color_png": b""}, "0000_color.png: expected an image"),
        ({"depth_png": DEPTH_MM.astype(np.uint8)}, "0000_depth.png: expected 16-bit millimetres"),
        ({"mask_png": DEPTH_MM}, "0000_mask.png: expected instance numbers 0 to 254, background 255, got"),
        ({"mask_png": np.zeros((5, 9), np.uint8)}, "0000_mask.png: expected 16x12 as the depth image, got 9x5"),
        ({"color_png": np.zeros((5, 9, 3), np.uint8)}, "0000_color.png: expected 16x12 as the depth image, got 9x5"),
        ({"meta_txt": b"\xff1 1 a\n"}, "0000_meta.txt: expected UTF-8 text"),
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


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "got an empty folder"),
        (
            ["scene_camera.json", "depth/000000.png"],
            "got a BOP scene; clipose estimate reads such",
        ),
        (["test/000001/scene_camera.json"], "got a folder of BOP scenes; clipose estimate reads such: "),
        (
            ["scene_1/0000_depth.png", "scene_2/0000_depth.png"],
            "got 2 such folders in it (scene_1, scene_2); give one: ",
        ),
        (["real_test/scene_1/0000_depth.png"], "got 1 such folders in it (real_test/scene_1); give one: "),
        (["0000_Depth.tif", "a.txt"], "got 0000_Depth.tif; rename or convert to NNNN_depth.png"),
        (["._0000_depth.png", ".DS_Store"], "got an empty folder"),
        (["depth/0.png", "rgb/0.png"], "got a folder for each kind of image (depth, rgb); put them into one"),
        (["scene_camera_cam1.json", "rgb_cam1/0.png"], "got a BOP scene of several cameras (scene_camera_cam1.json); "),
        (["000001/scene_camera_rgb.json"], "got a BOP scene of several cameras (scene_camera_rgb.json); make a scene"),
        (["shard-000000.tar", "key_to_shard.json"], "got shards of images (.tar); unpack them as BOP scenes"),
    ],
)
def test_another_folder_is_named_for_what_it_is(tmp_path, files, message):
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    with pytest.raises(ValueError) as raised:
        NocsFolder(tmp_path)
    assert message in str(raised.value) and str(raised.value).startswith(
        f"{tmp_path}: expected a folder with NNNN_depth"
    )


def test_a_file_or_nothing_in_place_of_a_folder_is_said(write):
    folder = write()
    with pytest.raises(ValueError, match=f"got a file; give the folder that it lies in: {folder}"):
        NocsFolder(folder / "0000_depth.png")
    with pytest.raises(ValueError, match="got nothing there"):
        NocsFolder(folder / "none")
