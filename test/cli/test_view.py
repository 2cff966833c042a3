"""`clipose estimate --view`: what a Rerun recording holds, read back by Rerun's own reader."""

import json
import os
import sys

import cv2
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.formats.nocs_folder import NocsFolder

os.environ.setdefault("RERUN_ANALYTICS", "false")
pytest.importorskip("rerun")


def rows(path):
    """Values by entity, component and frame; of what is static, by None."""
    from rerun.chunk import RrdReader

    found = {}
    for chunk in RrdReader(path).stream():
        batch = chunk.to_record_batch()
        names = batch.schema.names
        frames = batch.column("frame").to_pylist() if "frame" in names else [None] * batch.num_rows
        for name in names:
            column = batch.column(name).cast("int64") if name in ("stamp", "log_time") else batch.column(name)
            for frame, value in zip(frames, column.to_pylist(), strict=True):
                if value is not None:
                    found.setdefault((str(chunk.entity_path), name), {})[frame] = value
    return found


@pytest.fixture
def estimate(clipose, write_model, folder, tmp_path):
    """Runs `clipose estimate --view` with the tiny model; gives what the file holds."""
    model = write_model()

    def run(*arguments, source=folder):
        output = tmp_path / "poses.json"
        clipose(
            "estimate", source, "--output", output, "--model", model, "--view", tmp_path / "new" / "a.rrd", *arguments
        )
        return rows(tmp_path / "new" / "a.rrd")

    return run


def test_images_masks_cloud_and_camera_are_those_of_the_frames(estimate, folder):
    found = estimate()
    for number, (frame, detections) in enumerate(NocsFolder(folder)):
        height, width = frame.depth.shape
        (depth,) = found["/world/camera/depth", "DepthImage:buffer"][number]
        np.testing.assert_array_equal(np.array(depth, np.uint8).view(np.uint16).reshape(height, width), frame.depth)
        assert found["/world/camera/depth", "DepthImage:meter"][number] == [1000.0]
        (masks,) = found["/world/camera/masks", "SegmentationImage:buffer"][number]
        np.testing.assert_array_equal(
            np.array(masks, np.uint8).view(np.uint16).reshape(height, width), detections.masks
        )
        (jpeg,) = found["/world/camera/colour", "EncodedImage:blob"][number]
        colour = cv2.imdecode(np.array(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]
        assert np.abs(colour.astype(int) - frame.colour).max() <= 2
        points = np.array(found["/world/cloud", "Points3D:positions"][number])
        lens = frame.intrinsics
        u, v = points[:, 0] / points[:, 2] * lens.fx + lens.cx, points[:, 1] / points[:, 2] * lens.fy + lens.cy
        seen = frame.depth[np.round(v).astype(int), np.round(u).astype(int)] / 1000
        np.testing.assert_allclose(points[:, 2], seen, atol=1e-6)
        assert 5000 < len(points) <= 20_000
    (matrix,) = found["/world/camera", "Pinhole:image_from_camera"][0]
    np.testing.assert_allclose(np.reshape(matrix, (3, 3)).T, [[lens.fx, 0, lens.cx], [0, lens.fy, lens.cy], [0, 0, 1]])


def test_boxes_axes_and_rejections_are_those_of_the_poses(estimate, tmp_path):
    found = estimate()
    for number, frame in enumerate(json.loads((tmp_path / "poses.json").read_text())):
        poses = [entry for entry in frame["instances"] if "t" in entry]
        values = {name: found["/world/objects/boxes", f"Boxes3D:{name}"][number] for name in ("centers", "half_sizes")}
        np.testing.assert_allclose(values["centers"], [pose["t"] for pose in poses], atol=1e-6)
        np.testing.assert_allclose(2 * np.array(values["half_sizes"]), [pose["size"] for pose in poses], atol=1e-6)
        turns = Rotation.from_quat(found["/world/objects/boxes", "Boxes3D:quaternions"][number]).as_matrix()
        np.testing.assert_allclose(turns, [pose["R"] for pose in poses], atol=1e-6)
        arrows = np.reshape(found["/world/objects/axes", "Arrows3D:vectors"][number], (len(poses), 3, 3))
        directions = arrows / np.linalg.norm(arrows, axis=2, keepdims=True)  # of x, y, z: the columns of R
        np.testing.assert_allclose(directions.transpose(0, 2, 1), turns, atol=1e-6)
        assert found["/world/objects/boxes", "Boxes3D:labels"][number][0].startswith("mug 0 ")
        assert found["/rejections", "TextLog:text"][number] == ["bowl 2: points: expected at least 32, got 0"]


def test_paths_of_tracks_grow_over_time(estimate):
    found = estimate()
    strips = [found["/world/tracks/1", "LineStrips3D:strips"][number] for number in (0, 1)]
    assert [len(strip) for (strip,) in strips] == [1, 2]


def test_recordings_have_times_and_folders_have_none(clipose, estimate, folder, tmp_path):
    assert not any(name == "stamp" for _, name in estimate())
    clipose("record", folder, "--output", tmp_path / "a.mcap", "--rate-hz", 10)
    found = estimate(source=tmp_path / "a.mcap")
    stamps = [found["/world/objects/boxes", "stamp"][number] for number in (0, 1)]
    assert stamps[1] - stamps[0] == 100_000_000  # ns


def test_the_poses_do_not_depend_on_the_view(clipose, estimate, folder, tmp_path, write_model):
    estimate()
    clipose("estimate", folder, "--output", tmp_path / "plain.json", "--model", write_model())
    assert (tmp_path / "plain.json").read_bytes() == (tmp_path / "poses.json").read_bytes()


def test_a_frame_without_poses_shows_none_of_the_frame_before(estimate, folder):
    (folder / "0001_depth.png").write_bytes(cv2.imencode(".png", np.zeros((480, 640), np.uint16))[1].tobytes())
    found = estimate()
    assert 1 not in found["/world/objects/boxes", "Boxes3D:centers"]
    cleared = [frames for (entity, name), frames in found.items() if entity == "/world/objects" and "Clear" in name]
    assert cleared and all(1 in frames and 0 not in frames for frames in cleared)


def test_nothing_is_left_where_the_command_fails(estimate, folder, tmp_path):
    (folder / "0001_depth.png").write_bytes(b"half a")
    with pytest.raises(SystemExit, match="0001_depth.png"):
        estimate("--strict")
    assert not list((tmp_path / "new").iterdir())


def test_another_ending_is_refused(clipose, folder, tmp_path):
    with pytest.raises(SystemExit, match="--view: expected a file that ends with .rrd"):
        clipose("estimate", folder, "--output", tmp_path / "poses.json", "--view", tmp_path / "a.bag")


def test_without_the_package_the_extra_is_named(clipose, folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "rerun", None)
    with pytest.raises(SystemExit, match=r"view: expected the package rerun, got none .* clipose_ros\[view\]"):
        clipose("estimate", folder, "--output", tmp_path / "poses.json", "--view", tmp_path / "a.rrd")
