"""`clipose estimate` on a BOP scene, and its results as bop_toolkit reads them."""

import json

import cv2
import numpy as np
import pytest

from clipose_ros.bench.latency import INTRINSICS, spheres_on_table


@pytest.fixture
def scene(tmp_path):
    """The spheres of a table, twice, as objects 4, 7 and 4 again of scene 2; depth in 0.5 mm."""
    folder = tmp_path / "000002"
    frame, truth = spheres_on_table(3, ["can"])
    matrix = [INTRINSICS.fx, 0, INTRINSICS.cx, 0, INTRINSICS.fy, INTRINSICS.cy, 0, 0, 1]
    for kind in ("depth", "mask_visib"):
        (folder / kind).mkdir(parents=True)
    for image in (0, 5):
        cv2.imwrite(str(folder / "depth" / f"{image:06d}.png"), frame.depth * np.uint16(2))
        for place in range(3):
            mask = np.where(truth.masks == place + 1, 255, 0).astype(np.uint8)
            cv2.imwrite(str(folder / "mask_visib" / f"{image:06d}_{place:06d}.png"), mask)
    camera = {str(image): {"cam_K": matrix, "depth_scale": 0.5} for image in (0, 5)}
    (folder / "scene_camera.json").write_text(json.dumps(camera))
    truths = {str(image): [{"obj_id": number} for number in (4, 7, 4)] for image in (0, 5)}
    (folder / "scene_gt.json").write_text(json.dumps(truths))
    return folder


def read_results(path):
    """As bop_toolkit_lib.inout.load_bop_results does."""
    header, *lines = path.read_text().splitlines()
    assert header == "scene_id,im_id,obj_id,score,R,t,time"
    rows = []
    for line in lines:
        scene_id, im_id, obj_id, score, rotation, translation, time = line.split(",")
        rotation = np.array(list(map(float, rotation.split())), float).reshape((3, 3))
        translation = np.array(list(map(float, translation.split())), float).reshape((3, 1))
        rows.append((int(scene_id), int(im_id), int(obj_id), float(score), rotation, translation, float(time)))
    return rows


def test_a_name_that_no_model_answers_is_told(clipose, scene, write_model, tmp_path):
    arguments = "--output", tmp_path / "p.json", "--model", f"{write_model()}/", "--object-names", "4:Can", "7:mug"
    assert "2 frames, 2 poses, 4 rejected" in clipose("estimate", scene, *arguments)
    assert "4 rejected: category: expected one of" in clipose.stderr and "got 'Can'; write can" in clipose.stderr


def test_a_scene_gives_poses_and_results_in_the_form_of_bop_toolkit(clipose, scene, write_model, tmp_path):
    output, results = tmp_path / "poses.json", tmp_path / "new" / "clipose_mine-test.csv"
    names = "--object-names", "4:can", "7:mug"
    said = clipose("estimate", scene, "--output", output, "--model", f"{write_model()}/", *names, "--bop", results)
    assert "2 frames, 6 poses, 0 rejected, 0 skipped" in said
    assert "rejected:" not in clipose.stderr
    frames = json.loads(output.read_text())
    assert [frame["frame"] for frame in frames] == ["000000", "000005"]
    assert [one["class"] for one in frames[0]["instances"]] == ["can", "mug", "can"]
    rows = read_results(results)
    assert [row[:3] for row in rows] == [(2, 0, 4), (2, 0, 7), (2, 0, 4), (2, 5, 4), (2, 5, 7), (2, 5, 4)]
    for row, entry in zip(rows, [one for frame in frames for one in frame["instances"]]):
        np.testing.assert_allclose(row[4], entry["R"], atol=1e-7)
        np.testing.assert_allclose(row[5].ravel(), np.array(entry["t"]) * 1000, atol=1e-3)
        assert row[3] == pytest.approx(entry["score"], abs=1e-6) and row[6] > 0
    assert len({row[6] for row in rows[:3]}) == 1  # one time for an image, as bop_toolkit demands


def test_the_poses_are_those_of_the_same_frame_in_a_nocs_folder(clipose, scene, write_model, tmp_path):
    folder = tmp_path / "nocs"
    folder.mkdir()
    frame, truth = spheres_on_table(3, ["can"])
    cv2.imwrite(str(folder / "0000_depth.png"), frame.depth)
    cv2.imwrite(str(folder / "0000_mask.png"), truth.masks - np.uint8(1))
    (folder / "0000_meta.txt").write_text("0 4 a\n1 6 b\n2 4 c\n")
    matrix = {key: getattr(INTRINSICS, key) for key in ("fx", "fy", "cx", "cy")}
    (folder / "intrinsics.json").write_text(json.dumps(matrix))
    model = "--model", f"{write_model()}/"
    clipose("estimate", folder, "--output", tmp_path / "nocs.json", *model)
    clipose("estimate", scene, "--output", tmp_path / "bop.json", *model, "--object-names", "4:can", "7:mug")
    nocs, bop = (json.loads((tmp_path / f"{name}.json").read_text())[0]["instances"] for name in ("nocs", "bop"))
    for one, other in zip(nocs, bop):
        np.testing.assert_allclose(one["t"], other["t"], atol=1e-6)


def test_what_a_segmenter_finds_has_the_object_of_its_name(clipose, scene, write_model, write_segmenter, tmp_path):
    (scene / "scene_gt.json").unlink()
    models = "--model", f"{write_model()}/", "--models-dir", write_segmenter().parent, "--segmenter", "depth"
    arguments = "estimate", scene, "--output", tmp_path / "poses.json", *models, "--bop", tmp_path / "results.csv"
    assert "2 frames, 6 poses" in clipose(*arguments, "--object-names", "4:can")
    assert {row[2] for row in read_results(tmp_path / "results.csv")} == {4}
    clipose(*arguments, "--object-names", "4:bowl")
    assert "results.csv: 6 poses of names without an obj_id (--object-names)" in clipose.stderr
    with pytest.raises(SystemExit, match="--object-names: expected one obj_id for can, since names alone tell"):
        clipose(*arguments, "--object-names", "4:can", "5:can")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), r"expected a name for one of its obj_ids \(4, 7\) at least, got none; give --object-names 4:mug"),
        (("--bop", "results.txt"), "--bop: expected a file that ends with .csv, got results.txt"),
        (("--object-names", "mug"), "--object-names: expected entries of the form obj_id:name"),
        (("--name", "mug"), "--name: expected none for .*000002, whose objects --object-names names"),
    ],
)
def test_what_does_not_fit_a_scene_is_refused(clipose, scene, write_model, tmp_path, arguments, message):
    with pytest.raises(SystemExit, match=message):
        clipose("estimate", scene, "--output", tmp_path / "p.json", "--model", f"{write_model()}/", *arguments)


def test_options_of_scenes_are_refused_elsewhere(clipose, folder, tmp_path):
    with pytest.raises(SystemExit, match="--bop: expected a BOP scene as input, got"):
        clipose("estimate", folder, "--output", tmp_path / "p.json", "--bop", tmp_path / "r.csv")
    with pytest.raises(SystemExit, match="--object-names: expected none for .*frames, which is no BOP scene"):
        clipose("estimate", folder, "--output", tmp_path / "p.json", "--object-names", "4:can")
