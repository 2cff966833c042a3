import json

import pytest

from clipose_ros.core.types import Intrinsics
from clipose_ros.formats.intrinsics import IntrinsicsFile, read_intrinsics

K = {"fx": 591.0, "fy": 590.0, "cx": 322.5, "cy": 244.1}
ROWS = [[591.0, 0, 322.5], [0, 590.0, 244.1], [0, 0, 1]]
BY_ROW, BY_COLUMN = [591.0, 0, 322.5, 0, 590.0, 244.1, 0, 0, 1], [591.0, 0, 0, 0, 590.0, 0, 322.5, 244.1, 1]
SIZE = {"width": 640, "height": 480}
LIBREALSENSE = {"fx": 591.0, "fy": 590.0, "ppx": 322.5, "ppy": 244.1, "model": "distortion.brown_conrady", **SIZE}


@pytest.fixture
def read(tmp_path):
    """Writes a file and gives what is read of the folder."""

    def write_and_read(data, name="intrinsics.json"):
        content = data if isinstance(data, bytes) else json.dumps(data).encode()
        (tmp_path / name).write_bytes(content)
        return read_intrinsics(tmp_path)

    return write_and_read


@pytest.mark.parametrize(
    "data",
    [
        K,
        {key: str(value) for key, value in K.items()},
        {**K, **SIZE, "serial": "0123", "depth_scale": 0.0010000000474974513},
        {**LIBREALSENSE, "coeffs": [0, 0, 0, 0, 0]},
        {**SIZE, "intrinsic_matrix": BY_COLUMN},
        {**SIZE, "intrinsic_matrix": ROWS},
        {"cam_K": BY_ROW, "depth_scale": 1.0},
        {"K": BY_ROW, "D": [0.0] * 5, **SIZE},
        {"camera_matrix": {"rows": 3, "cols": 3, "data": BY_ROW}, "distortion_coefficients": {"data": [0.0] * 5}},
        ROWS,
        BY_COLUMN,
        b"\xef\xbb\xbf" + json.dumps(K, indent=1).replace("\n", "\r\n").encode(),
    ],
)
def test_each_form_of_the_tools_is_read(read, data):
    file = read(data)
    assert file.intrinsics == Intrinsics(**K) and file.distortion == ()


@pytest.mark.parametrize(
    "text",
    [
        "591 0 322.5\n0 590 244.1\n0 0 1\n",
        "591,0,322.5,0,590,244.1,0,0,1",
        "\ufeff5.91e2 0 322.5\r\n0 590 244.1\r\n0 0 1",
    ],
)
def test_a_matrix_in_plain_text_is_read_where_there_is_no_json(read, text):
    assert read(text.encode(), "cam_K.txt").intrinsics == Intrinsics(**K)
    assert read({**K, "fx": 600.0}).intrinsics.fx == 600.0


def test_a_folder_without_either_file_has_no_intrinsics(tmp_path):
    assert read_intrinsics(tmp_path) is None


@pytest.mark.parametrize(
    "name",
    ["camera_intrinsics.json", "intrinsics.yaml", "K.txt", "camera_info.yml", "calibration.yaml", "Intrinsics.json"],
)
def test_intrinsics_of_another_name_are_not_passed_over(read, tmp_path, name):
    """FoundationPose#376 has K.txt and camera_intrinsics.json: those of REAL275's camera must not take their place."""
    with pytest.raises(
        ValueError, match=f"expected the intrinsics in intrinsics.json or cam_K.txt, got {name}; rename"
    ):
        read({}, name)
    assert read(K).intrinsics == Intrinsics(**K)  # with the right one beside it, it does not matter


@pytest.mark.parametrize("name", ["0000_meta.txt", "camera_notes.txt", "._intrinsics.json", "mask.txt", "truth.json"])
def test_other_files_are_no_intrinsics(read, name):
    assert read({}, name) is None


def test_the_size_is_compared_with_the_images(read):
    file = read({**K, "width": 1280, "height": "720"})
    file.check_size(1280, 720)
    with pytest.raises(
        ValueError, match="intrinsics.json: expected intrinsics of the images, which are 640x480, got those of 1280x720"
    ):
        file.check_size(640, 480)
    read(K).check_size(17, 4)


def test_the_principal_point_tells_intrinsics_of_another_resolution(tmp_path):
    file = IntrinsicsFile(tmp_path, Intrinsics(910.0, 910.0, 645.0, 362.0))
    assert file.is_central(1280, 720) and not file.is_central(640, 480)


@pytest.mark.parametrize(
    "distortion",
    [
        {"coeffs": [0.1, -0.2, 0, 0, 0]},
        {"D": [0, 0, 0.1, -0.2]},
        {"k1": 0.1, "p2": -0.2},
        {"distortion": {"k1": 0.1, "k2": -0.2}},
        {"distortion_coefficients": {"data": [0.1, -0.2]}},
    ],
)
def test_coefficients_that_are_not_zero_are_told(read, distortion):
    assert [value for value in read({**K, **distortion}).distortion if value] == [0.1, -0.2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "expected JSON"),
        (b"\xff\xfe{\x00", "expected UTF-8 text"),
        (17, "intrinsics: expected a mapping or a list, got int"),
        ({"fx": 600.0}, "keys: expected fx, fy, cx and cy, got none for fy, cx, cy"),
        ({**K, "fx": 0}, "intrinsics: expected finite values with fx, fy > 0"),
        ({**K, "fx": float("nan")}, "intrinsics: expected finite values"),
        (
            {**K, "fx": 0.92, "fy": 1.2},
            "intrinsics: expected focal lengths of 2 to 1e+06 px, got fx 0.92, fy 1.2; where they",
        ),
        ({"K": [1e308, 0, 320, 0, 600, 240, 0, 0, 1]}, "intrinsics: expected focal lengths of 2 to 1e+06 px"),
        ({**K, "fx": None}, "fx: expected a number, got None"),
        ({**K, "fx": True}, "fx: expected a number, got True"),
        ({**K, "fx": "wide"}, "fx: expected a number, got 'wide'"),
        ({**K, "width": float("inf")}, "cannot convert float infinity"),
        (
            {**K, "depth_scale": 0.0001},
            "depth_scale: expected that of millimetres: 1, 0.001 or 1000, got 0.0001; convert the depth",
        ),
        ({"K": BY_ROW[:8]}, "matrix: expected 9 numbers, got 8"),
        ([[1, 2], [3]], "matrix: expected 9 numbers, got 3"),
        ([[591, 0, 322], [0, 591, 244], [0, 0, 2]], "matrix: expected [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]"),
        ([[591, 5, 322], [0, 591, 244], [0, 0, 1]], "matrix: expected no skew, got 5"),
        (["a"] * 9, "matrix: expected a number, got 'a'"),
    ],
)
def test_what_is_no_intrinsics_is_refused_with_the_path_and_the_forms(read, data, message):
    with pytest.raises(ValueError) as raised:
        read(data)
    assert f"intrinsics.json: {message}" in str(raised.value) and "known forms: {fx, fy, cx, cy}" in str(raised.value)


def test_a_text_without_nine_numbers_is_refused(read):
    with pytest.raises(ValueError, match="cam_K.txt: matrix: expected 9 numbers, got 0; known forms: the nine numbers"):
        read(b"", "cam_K.txt")


def test_json_that_is_nested_too_deeply_is_named(tmp_path):
    (tmp_path / "intrinsics.json").write_text("[" * 200_000)
    with pytest.raises(ValueError, match="intrinsics.json: expected JSON, got lists or mappings that are nested too"):
        read_intrinsics(tmp_path)
