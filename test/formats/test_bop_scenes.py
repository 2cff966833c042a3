"""BOP scenes, written by the test as the format's description has them."""

import json
import shutil

import cv2
import numpy as np
import pytest

from clipose_ros.core.types import Instance
from clipose_ros.formats.bop_scenes import BopScenes, ObjectNames, is_bop_folder

CAM_K = [600.0, 0.0, 31.5, 0.0, 601.0, 23.5, 0.0, 0.0, 1.0]
SHAPE = (48, 64)
NAMES = ObjectNames.of(["1:mug", "5: can "])


def write_scene(folder, images=(3, 12), scale=0.1, objects=(1, 5, 9), colour="rgb", **camera):
    """A scene whose objects are stripes side by side."""
    for kind in ("depth", "mask_visib", colour):
        (folder / kind).mkdir(parents=True)
    truth = {}
    for image in images:
        depth = np.full(SHAPE, 9000 + image, np.uint16)
        cv2.imwrite(str(folder / "depth" / f"{image:06d}.png"), depth)
        cv2.imwrite(str(folder / colour / f"{image:06d}.png"), np.full((*SHAPE, 3), (10, 20, 30), np.uint8))
        for place in range(len(objects)):
            mask = np.zeros(SHAPE, np.uint8)
            mask[:, 10 * place : 10 * place + 8] = 255
            cv2.imwrite(str(folder / "mask_visib" / f"{image:06d}_{place:06d}.png"), mask)
        pose = {"cam_R_m2c": np.eye(3).ravel().tolist(), "cam_t_m2c": [0, 0, 900]}
        truth[str(image)] = [{"obj_id": number, **pose} for number in objects]
    camera = {str(image): {"cam_K": CAM_K, "depth_scale": scale, **camera} for image in images}
    (folder / "scene_camera.json").write_text(json.dumps(camera))
    (folder / "scene_gt.json").write_text(json.dumps(truth))
    return folder


@pytest.fixture
def scene(tmp_path):
    return write_scene(tmp_path / "test" / "000002")


def test_a_frame_has_depth_in_its_unit_colour_and_the_cameras_matrix(scene):
    scenes = BopScenes(scene, NAMES)
    assert scenes.names == ["000003", "000012"] and len(scenes) == 2
    frame, detections = scenes.read("000012")
    assert frame.depth_unit_m == pytest.approx(1e-4) and frame.depth[0, 0] == 9012
    assert (frame.intrinsics.fx, frame.intrinsics.fy, frame.intrinsics.cx) == (600.0, 601.0, 31.5)
    assert frame.colour[0, 0].tolist() == [30, 20, 10] and frame.stamp_ns > scenes.read_frame("000003").stamp_ns
    assert detections.instances == (Instance(1, "mug", id="0"), Instance(2, "can", id="1"))
    assert detections.mask(1)[:, 10:18].all() and detections.mask(1).sum() == 8 * 48


def test_objects_without_a_name_are_left_out_and_counted_once_a_frame(scene):
    scenes = BopScenes(scene, NAMES)
    for name in (*scenes.names, *scenes.names):
        scenes.read(name)
    assert scenes.remarks == {"objects without a name (--object-names) are left out: obj_id 9": 2}


def test_an_image_of_which_nothing_is_said_is_counted(scene):
    truth = json.loads((scene / "scene_gt.json").read_text())
    (scene / "scene_gt.json").write_text(json.dumps({"3": truth["3"]}))
    scenes = BopScenes(scene, NAMES)
    assert scenes.read("000012")[1].instances == ()
    assert scenes.remarks == {"scene_gt.json names no objects": 1}


def test_a_scene_without_masks_is_told_where_they_come_from(scene):
    """BlenderProc#315: scenes are written without masks."""
    shutil.rmtree(scene / "mask_visib")
    with pytest.raises(ValueError, match="got none; bop_toolkit's calc_gt_masks.py writes it; or .*--segmenter depth"):
        BopScenes(scene, NAMES).read("000003")


def test_learned_objects_named_as_the_models_are_known_without_an_entry(scene):
    scenes = BopScenes(scene)
    with pytest.raises(ValueError, match=r"a name for one of its obj_ids \(1, 5, 9\).*--object-names 1:mug"):
        scenes.check_names()
    scenes.objects = {"obj_000009"}
    scenes.check_names()
    _, detections = scenes.read("000003")
    assert [(one.category, one.id) for one in detections.instances] == [("obj_000009", "2")]


def test_several_scenes_are_one_sequence(tmp_path):
    for number in (1, 2):
        write_scene(tmp_path / f"{number:06d}", images=(0, 1))
    scenes = BopScenes(tmp_path, NAMES)
    assert scenes.names == ["000001/000000", "000001/000001", "000002/000000", "000002/000001"]
    image = scenes.image("000002/000001")
    assert (image.scene_id, image.image_id) == (2, 1)
    assert is_bop_folder(tmp_path) and is_bop_folder(tmp_path / "000001") and not is_bop_folder(tmp_path / "nowhere")


def test_grey_images_are_colour_and_a_scene_may_have_neither(tmp_path):
    grey = BopScenes(write_scene(tmp_path / "000001", colour="gray")).read_frame("000003")
    assert grey.colour.shape == (*SHAPE, 3)
    without = BopScenes(write_scene(tmp_path / "000002", colour="ir")).read_frame("000003")
    assert without.colour is None


def test_the_object_of_an_instance_is_that_of_the_file_or_of_its_name(scene):
    scenes = BopScenes(scene, NAMES)
    instance = scenes.read("000003")[1].instances[1]
    assert scenes.object_id("000003", instance, given=True) == 5
    assert scenes.object_id("000003", Instance(7, "mug", id="7"), given=False) == 1
    assert scenes.object_id("000003", Instance(7, "obj_000031"), given=False) == 31
    assert scenes.object_id("000003", Instance(7, "bowl"), given=False) is None


@pytest.mark.parametrize(
    ("camera", "message"),
    [
        ({"cam_K": [1, 2]}, "scene_camera.json: 3: cam_K: expected the nine numbers of a 3x3 matrix"),
        ({"cam_K": ["a"] * 9}, "cam_K: expected the nine numbers"),
        ({"cam_K": [0, 0, 3, 0, 0, 2, 0, 0, 1]}, "cam_K: intrinsics: expected finite values with fx, fy > 0"),
        ({"cam_K": [1.1, 0, 0.5, 0, 1.1, 0.5, 0, 0, 1]}, "cam_K: intrinsics: expected focal lengths of 2 to"),
        ({"cam_K": [600, 9, 3, 0, 600, 2, 0, 0, 1]}, r"cam_K: expected \[fx, 0, cx, 0, fy, cy, 0, 0, 1\]"),
        ({"depth_scale": 0}, "3: depth_scale: expected millimetres for 1"),
        ({"depth_scale": "1"}, "depth_scale: expected millimetres for 1"),
    ],
)
def test_a_wrong_camera_is_named(tmp_path, camera, message):
    with pytest.raises(ValueError, match=message):
        BopScenes(write_scene(tmp_path / "000001", **camera)).read_frame("000003")


def test_depth_in_another_unit_than_the_scale_says_is_remarked(tmp_path):
    scenes = BopScenes(write_scene(tmp_path / "000001", scale=10.0))
    scenes.read_frame("000003")
    assert "beyond 20000 mm" in next(iter(scenes.remarks)) and "depth_scale is 10" in next(iter(scenes.remarks))


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("depth/000003.png", None, "depth/000003.png: expected a depth image, got none"),
        ("depth/000003.png", b"half", "depth/000003.png: expected an image"),
        (
            "rgb/000003.png",
            cv2.imencode(".png", np.zeros((3, 4, 3), np.uint8))[1].tobytes(),
            "expected 64x48 as the depth image, got 4x3",
        ),
        ("mask_visib/000003_000001.png", None, "mask_visib/000003_000001.png: expected a file, got none"),
        (
            "mask_visib/000003_000001.png",
            cv2.imencode(".png", np.zeros((3, 4), np.uint8))[1].tobytes(),
            "mask_visib/000003_000001.png: expected 64x48 as the depth image, got 4x3",
        ),
        ("scene_gt.json", None, "scene_gt.json: expected a file that names the objects, or --segmenter"),
        ("scene_gt.json", b"[]", "scene_gt.json: expected a mapping of image numbers"),
        ("scene_gt.json", b'{"3": {}}', "scene_gt.json: 3: expected a list, got dict"),
        ("scene_gt.json", b'{"3": [{"obj_id": "1"}]}', "scene_gt.json: obj_id: expected a number in each entry"),
        ("scene_gt.json", b'{"3": [7]}', "scene_gt.json: obj_id: expected a number in each entry"),
        ("scene_gt.json", b"{", "scene_gt.json: expected JSON"),
    ],
)
def test_a_broken_file_is_named(scene, file, content, message):
    if content is None:
        (scene / file).unlink()
    else:
        (scene / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        BopScenes(scene, NAMES).read("000003")


def test_a_folder_that_is_no_scene_is_refused(tmp_path):
    with pytest.raises(ValueError, match="expected a BOP scene with scene_camera.json, or a folder of such scenes"):
        BopScenes(tmp_path)
    with pytest.raises(
        ValueError, match="expected a folder whose name is the number of the scene, as 000001, got mine"
    ):
        BopScenes(write_scene(tmp_path / "mine"))


def test_a_scene_without_images_is_refused(scene):
    (scene / "scene_camera.json").write_text("{}")
    with pytest.raises(ValueError, match="expected at least one image in scene_camera.json, got none"):
        BopScenes(scene, NAMES)


@pytest.mark.parametrize("entry", ["mug", "1:", "a:mug", ":mug", "-1:mug"])
def test_wrong_names_of_objects_are_refused(entry):
    with pytest.raises(ValueError, match="--object-names: expected entries of the form obj_id:name"):
        ObjectNames.of([entry])
    with pytest.raises(ValueError, match="--object-names: expected every obj_id once, got '1'"):
        ObjectNames.of(["1:mug", "1:can"])
