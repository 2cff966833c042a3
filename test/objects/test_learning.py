"""An object is learned as it is, and bad views are named."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.spatial import cKDTree

pytest.importorskip("numba")

from clipose_ros.cli import main as command
from clipose_ros.cli.frame_sources import FolderSource
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Instance, PoseEstimate
from clipose_ros.formats.pose_files import write_poses
from clipose_ros.formats.reference_views import read_poses_of_views, read_reference_views
from clipose_ros.objects.learned_object import arrays_file, card_file, read_object
from clipose_ros.objects.learning import doubts, learn
from clipose_ros.objects.library import ObjectLibrary
from clipose_ros.objects.surfels import fuse
from clipose_ros.pipeline import FrameResult
from clipose_ros.rendering.cpu import CpuRasterizer

SIZE, CENTRE = np.array([0.12, 0.08, 0.05]), np.array([0.01, 0.03, -0.02])


@pytest.fixture
def views(box_folder, tmp_path):
    """A copy of the views that may be spoilt."""
    return shutil.copytree(box_folder, tmp_path / "views")


def spoil_poses(folder, change):
    path = folder / "poses.json"
    poses = json.loads(path.read_text())
    change(poses)
    path.write_text(json.dumps(poses))


def test_a_box_gets_its_size_its_centre_and_its_colours(box_library):
    box = ObjectLibrary(box_library).read("box")
    np.testing.assert_allclose(box.size, SIZE, atol=0.004)
    np.testing.assert_allclose(box.centre, CENTRE, atol=0.003)
    assert box.quality["views"] == 12 and box.quality["psnr_db"] > 15
    surface = np.abs(np.abs(box.points) - box.size / 2).min(axis=1)
    assert np.quantile(surface, 0.95) < 0.004
    top = box.seen & (box.normals[:, 1] > 0.9)
    assert box.colours[top].mean(axis=0).argmax() == 0  # the face above is yellow: red and green
    assert box.symmetry is Symmetry.NONE and box.half_turns == ()


def test_the_underside_that_no_view_saw_is_closed(box_library):
    box = ObjectLibrary(box_library).read("box")
    below = box.points[:, 1] < -0.4 * box.size[1]
    closed = below & ~box.seen & (box.normals[:, 1] < -0.7)
    assert np.ptp(box.points[closed][:, 0]) > 0.7 * SIZE[0] and np.ptp(box.points[closed][:, 2]) > 0.5 * SIZE[2]


def test_an_object_is_read_as_it_was_written(box_library, tmp_path):
    library = ObjectLibrary(box_library)
    box = library.read("box")
    other = ObjectLibrary(tmp_path / "other")
    other.add(box)
    again = other.read("box")
    for key in ("points", "normals", "colours", "seen", "size", "centre"):
        np.testing.assert_array_equal(getattr(again, key), getattr(box, key))
    assert again.quality == box.quality and other.names == ("box",)
    with pytest.raises(ValueError, match="--replace"):
        other.add(box)
    other.add(box, replace=True)
    other.remove("box")
    assert other.names == () and not list((tmp_path / "other").iterdir())


def test_on_a_full_disk_the_object_of_before_stays(box_library, tmp_path, monkeypatch):
    """The second file no longer fits: the first does not take the place of the old one alone."""
    library, box = ObjectLibrary(tmp_path), ObjectLibrary(box_library).read("box")
    library.add(box)

    def full(path, *args, **kwargs):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="box.yaml: expected a file that can be written, got: No space left on device"):
        library.add(replace(box, points=box.points + np.float32(0.001)), replace=True)
    np.testing.assert_array_equal(library.read("box").points, box.points)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["box.npz", "box.yaml"]


def test_files_that_do_not_belong_together_are_refused(box_library, tmp_path):
    folder = tmp_path / "objects"
    shutil.copytree(box_library, folder)
    content = bytearray(arrays_file(folder, "box").read_bytes())
    content[-1] ^= 1
    arrays_file(folder, "box").write_bytes(content)
    with pytest.raises(ValueError, match="sha256"):
        read_object(folder, "box")
    with pytest.raises(ValueError, match=r"; to go on with the others: clipose objects .* --remove box, or learn it"):
        ObjectLibrary(folder).read_all()


@pytest.mark.parametrize("left", ["npz", "yaml"])
def test_half_an_object_is_listed_as_broken_with_its_cure(left, box_library, tmp_path, monkeypatch, capsys):
    folder = shutil.copytree(box_library, tmp_path / "objects")
    shutil.copy(folder / f"box.{left}", folder / f"lost.{left}")
    monkeypatch.setattr("sys.argv", ["clipose", "objects", str(folder)])
    command.main()
    printed = capsys.readouterr()
    assert re.search(rf"lost.{left}: expected lost\.\w+ beside it, got none.*--remove lost, or learn it", printed.err)
    assert "box" in printed.out and "lost" not in printed.out
    ObjectLibrary(folder).remove("lost")
    assert ObjectLibrary(folder).names == ("box",) and not ObjectLibrary(folder).halves()


def test_a_library_that_cannot_be_written_is_named_before_views_are_read(views, tmp_path, monkeypatch, capsys):
    (tmp_path / "objects").write_text("a file")
    monkeypatch.setattr("sys.argv", ["clipose", "learn", "box", str(views), "--objects", str(tmp_path / "objects")])
    with pytest.raises(SystemExit, match="--objects: expected a folder"):
        command.main()
    assert "reading the views" not in capsys.readouterr().err


def test_a_card_of_another_version_is_refused(box_library, tmp_path):
    folder = shutil.copytree(box_library, tmp_path / "objects")
    card = card_file(folder, "box")
    card.write_text(card.read_text().replace("version: 1", "version: 99"))
    with pytest.raises(ValueError, match="version: expected 1 or 2, got 99; learn the object again"):
        read_object(folder, "box")


@pytest.mark.parametrize("name", ["../box", "", "a b", ".hidden", "x" * 65])
def test_names_that_are_no_file_names_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: expected"):
        ObjectLibrary(tmp_path).check_free(name, replace=True)


def test_one_view_is_too_few(views):
    spoil_poses(views, lambda poses: [poses.pop(name) for name in list(poses)[1:]])
    with pytest.raises(ValueError, match="4 to 200 views"):
        read_reference_views(views)


def test_an_empty_mask_is_named(views):
    cv2.imwrite(str(views / "0003_mask.png"), np.zeros((120, 160), np.uint8))
    with pytest.raises(ValueError, match=r"0003_mask.png: expected at least 100 pixels"):
        read_reference_views(views)


def test_a_mask_of_ones_is_named_with_its_values(views):
    mask = np.zeros((120, 160), np.uint8)
    mask[40:80, 40:80] = 1
    cv2.imwrite(str(views / "0003_mask.png"), mask)
    with pytest.raises(ValueError, match=r"0003_mask.png: .* pixels of 255 .*, got 0; the values in it are 0, 1"):
        read_reference_views(views)


def test_a_cut_out_is_no_mask(views):
    """Its blue channel may be 255 on what is no object at all."""
    cut_out = np.zeros((120, 160, 4), np.uint8)
    cut_out[40:80, 40:80] = (255, 120, 30, 255)
    cv2.imwrite(str(views / "0003_mask.png"), cut_out)
    with pytest.raises(ValueError, match=r"0003_mask.png: expected grey: 255 on the object"):
        read_reference_views(views)


def test_views_with_names_in_capitals_are_read(views):
    before = read_reference_views(views)
    for path in list(views.glob("*_*.png")):
        path.rename(path.with_name(path.name.replace("_color", "_Color").replace(".png", ".PNG")))
    for one, other in zip(before.views, read_reference_views(views).views, strict=True):
        np.testing.assert_array_equal(one.colour, other.colour)
        np.testing.assert_array_equal(one.depth_m, other.depth_m)


def test_poses_in_millimetres_are_named(views):
    def to_millimetres(poses):
        for pose in poses.values():
            pose["t"] = [1000 * value for value in pose["t"]]

    spoil_poses(views, to_millimetres)
    with pytest.raises(ValueError, match="divide by 1000"):
        read_reference_views(views)


def test_a_wrong_pose_is_named(views):
    def swap(poses):
        poses["0002"]["t"] = [poses["0002"]["t"][0] + 0.3, *poses["0002"]["t"][1:]]

    spoil_poses(views, swap)
    with pytest.raises(ValueError, match="views 0002 that see the object elsewhere"):
        read_reference_views(views)


def test_inverted_poses_are_told_as_such(views):
    def invert(poses):
        for pose in poses.values():
            rotation, translation = np.array(pose["R"]), np.array(pose["t"])
            pose["R"], pose["t"] = rotation.T.tolist(), (-rotation.T @ translation).tolist()
            pose["t"][2] = abs(pose["t"][2]) + 0.1

    spoil_poses(views, invert)
    with pytest.raises(ValueError, match="not its inverse"):
        read_reference_views(views)


def test_intrinsics_of_another_resolution_are_named(views):
    (views / "intrinsics.json").write_text(json.dumps({"fx": 680, "fy": 680, "cx": 320, "cy": 240}))
    with pytest.raises(ValueError, match="another resolution"):
        read_reference_views(views)


def test_poses_may_be_matrices_or_what_opencv_gives_and_views_may_be_named_by_numbers_or_images(views):
    poses = json.loads((views / "poses.json").read_text())
    names, read = sorted(poses), read_poses_of_views(views)
    other = {name: {"R": poses[name]["R"], "t": [[x] for x in poses[name]["t"]]} for name in names}
    first, second, third, *_ = names
    pose = poses[first]
    other[first] = [*([*row, x] for row, x in zip(pose["R"], pose["t"])), [0, 0, 0, 1]]
    other[f"{second}_color.jpg"], other[str(int(third))] = other.pop(second), other.pop(third)
    (views / "poses.json").write_text(json.dumps(other))
    again = read_poses_of_views(views)
    assert list(again) == names == list(read)
    for name in names:
        for one, two in zip(read[name], again[name]):
            np.testing.assert_array_equal(one, two)
    (views / "poses.json").write_text(json.dumps(other | {third: poses[third]}))
    with pytest.raises(ValueError, match=f"poses.json: expected one pose for each view, got .*{third}"):
        read_poses_of_views(views)


def test_matrices_by_column_and_cameras_of_opengl_are_named_with_the_cure(views):
    spoil_poses(views, lambda poses: poses.update({"0001": np.eye(4).tolist()[:3] + [[0, 0, 0.5, 1]]}))
    with pytest.raises(ValueError, match="0001: expected .*a 4x4 matrix by row that ends in 0 0 0 1"):
        read_reference_views(views)
    spoil_poses(views, lambda poses: poses.update({"0001": {"R": np.eye(3).tolist(), "t": [0, 0, -0.5]}}))
    with pytest.raises(ValueError, match="as in OpenGL and Blender, negate the rows y and z of R and t"):
        read_reference_views(views)


def test_what_is_no_rotation_is_named(views):
    spoil_poses(views, lambda poses: poses["0001"].update(R=[[2, 0, 0], [0, 1, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="0001: R: expected a rotation matrix"):
        read_reference_views(views)


def test_a_folder_of_views_is_read_as_frames_with_one_object(box_folder):
    frames = {name: seen for name, *seen in FolderSource(box_folder).frames()}
    assert len(frames) == 12
    frame, detections = frames["0004"]
    assert detections.instances == (Instance(1, "box", id="1"),)
    assert frame.depth[detections.mask(0)].min() > 0.2 and frame.colour is not None
    _, _, detections = next(FolderSource(box_folder, name="carton").frames())
    assert detections.instances[0].category == "carton"
    _, seen, found = next(FolderSource(box_folder, with_masks=False).frames())
    assert found is None and seen.depth.shape == frame.depth.shape


def test_pose_files_say_where_the_origin_of_the_references_is(tmp_path):
    quarter = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    pose = PoseEstimate("box", 0.9, quarter, np.array([0.0, 0, 1]), np.ones(3))
    result = FrameResult(0, "camera", ((Instance(1, "box", id="1"), pose),), {})
    write_poses(tmp_path / "poses.json", [("0000", result)], reference_origins={"box": np.array([0.1, 0, 0])})
    entry = json.loads((tmp_path / "poses.json").read_text())[0]["instances"][0]
    np.testing.assert_allclose(entry["t_reference"], [0, 0.1, 1])
    write_poses(tmp_path / "poses.json", [("0000", result)])
    assert "t_reference" not in json.loads((tmp_path / "poses.json").read_text())[0]["instances"][0]


def test_noise_makes_no_second_layer_of_discs(box_folder):
    references = read_reference_views(box_folder)
    rng = np.random.default_rng(0)
    noisy = [
        replace(view, depth_m=view.depth_m + rng.normal(scale=0.002, size=view.depth_m.shape).astype(np.float32))
        for view in references.views
    ]
    surfels = fuse(noisy, references.intrinsics)
    top = surfels.points[surfels.normals[:, 1] > 0.9, 1] - CENTRE[1]
    assert np.quantile(np.abs(top - SIZE[1] / 2), 0.9) < 0.002
    apart, _ = cKDTree(surfels.points).query(surfels.points, k=2)
    assert np.median(apart[:, 1]) > 0.6 * surfels.spacing_m


def test_what_looks_well_casts_no_doubt_and_what_does_not_is_named(box_library):
    assert not doubts(read_object(box_library, "box").quality)
    assert not doubts({"views": 4})
    contradicting, one_sided = doubts({"views": 8, "psnr_db": 16.3, "seen_share": 0.3})
    assert contradicting.startswith(
        "quality: expected at least 20 dB between renders and the views held back, got 16.3"
    )
    assert one_sided.startswith("views: expected to show at least 35% of the surface, got 30%")


def test_poses_that_contradict_each_other_by_centimetres_cast_doubt(box_folder):
    references = read_reference_views(box_folder)
    rng = np.random.default_rng(0)
    moved = [replace(view, translation=view.translation + rng.normal(0, 0.01, 3)) for view in references.views]
    lesson = learn("box", replace(references, views=moved), CpuRasterizer())
    assert any(doubt.startswith("quality:") for doubt in doubts(lesson.learned.quality))


def test_views_of_which_none_bears_out_another_are_named(box_folder):
    references = read_reference_views(box_folder)
    views = [replace(view, depth_m=np.where(view.mask, view.depth_m / 2, view.depth_m)) for view in references.views]
    with pytest.raises(ValueError, match="references: expected at least 30 places .*is depth registered to colour"):
        fuse(views, references.intrinsics)
