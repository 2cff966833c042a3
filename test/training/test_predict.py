"""Poses of the published test frames, written and evaluated as NOCS results."""

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from clipose_ros.core.backprojection import backproject
from clipose_ros.core.support import SupportSettings
from clipose_ros.core.types import Detections, Frame, Instance, PoseEstimate, Rejection
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.estimators.estimator import Needs
from clipose_ros.evaluation.nocs_protocol import NocsProtocol, evaluate
from clipose_ros.formats.nocs_results import read_results, result_files
from clipose_ros.pipeline import Pipeline
from training.nocs.files import SPLITS
from training.nocs.predict import PredictionConfig, load_estimator, main, predict

# its builders of the published formats
nocs = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_nocs_data.py"))))
SPLIT = {"real_test": "Real/test/scene_1", "camera_val": "CAMERA/val/00000"}
OBJECTS = 3


@pytest.fixture(scope="module")
def scenes():
    return {split: nocs.rendered(SPLITS[split].intrinsics) for split in SPLIT}


@pytest.fixture
def scene(scenes):
    return scenes["real_test"]


def published(scene, **extra) -> dict:
    """As `gts` has it: unit diagonals, whose metres the poses carry."""
    items = scene.items[:OBJECTS]
    return {
        "gt_class_ids": np.array([item.class_id for item in items]),
        "gt_bboxes": np.array([nocs.pixel_box(scene, i + 1) for i in range(OBJECTS)], np.int32),
        "gt_RTs": np.stack([nocs.similarity(item) for item in items]),
        "gt_scales": np.stack([item.shape.size / item.diagonal for item in items]).astype(np.float32),
        **extra,
    }


def detected(scene, **extra) -> dict:
    masks = np.stack([scene.labels == i + 1 for i in range(OBJECTS)], axis=-1)
    boxes = np.array([nocs.pixel_box(scene, i + 1) for i in range(OBJECTS)], np.int32)
    return {
        "rois": boxes,
        "class_ids": published(scene)["gt_class_ids"],
        "scores": np.array([0.7, 0.9, 0.8], np.float32),
        "masks": masks,
        **extra,
    }


@pytest.fixture
def root(scene, tmp_path):
    """One frame of REAL275's test set with truth and detections."""
    nocs.write_frame(scene, tmp_path, SPLIT["real_test"])
    nocs.write_pickle(
        tmp_path / "gts/real_test/results_real_test_scene_1_0000.pkl",
        published(scene, handle_visibility=np.array([1, 0, 0])),
    )
    nocs.write_pickle(tmp_path / "mrcnn/results_test_scene_1_0000.pkl", detected(scene))
    return tmp_path


def settings(root, **options) -> PredictionConfig:
    return PredictionConfig(
        **{"root": root, "output": root / "results", "detections": root / "mrcnn", "threads": 1} | options
    )


class Oracle:
    """Knows the scene: each cloud gets the true pose of the object it lies on, and must lie on it."""

    names, needs = ("mug", "can", "laptop"), Needs()

    def __init__(self, scene):
        self.items, self.calls = scene.items[:OBJECTS], []

    def rests(self, name):
        return ()

    def estimate(self, observations, stopwatch=None):
        self.calls.append(len(observations))
        return [self._pose(observation) for observation in observations]

    def _pose(self, observation):
        item = next(item for item in self.items if item.shape.category == observation.name)
        if not len(observation.points):
            return Rejection(observation.name, "points: expected at least 32, got 0")
        local = (observation.points - item.translation) @ item.rotation
        assert (np.abs(local) <= item.shape.size / 2 + 0.005).all()
        return PoseEstimate(observation.name, 0.5, item.rotation, item.translation, item.shape.size)


def precision(folder, **protocol) -> dict:
    return evaluate(read_results(result_files(folder)).images, NocsProtocol(**protocol)).as_json()


@pytest.mark.parametrize("split", SPLIT)
def test_poses_that_are_the_truth_have_a_precision_of_one(scenes, tmp_path, split):
    scene, folder, truth = scenes[split], Path(SPLIT[split]).name, SPLITS[split].truth
    nocs.write_frame(scene, tmp_path, SPLIT[split])
    nocs.write_pickle(tmp_path / f"gts/{truth}/results_{truth}_{folder}_0000.pkl", published(scene))
    nocs.write_pickle(tmp_path / f"mrcnn/results_test_{folder}_0000.pkl", detected(scene))
    oracle = Oracle(scene)
    report = predict(settings(tmp_path, split=split), oracle)
    # one batch
    assert (report.rows, report.predictions, report.skipped) == (1, OBJECTS, {}) and oracle.calls == [OBJECTS]
    for protocol in ({"iou": "catre"}, {"iou": "original"}, {"recentre_mugs": True}):
        table = precision(tmp_path / "results", **protocol)
        for kind in ("iou", "pose", "pose_ungated"):
            assert set(table[kind]["mean"].values()) == {1.0}


def test_a_result_holds_metric_boxes_the_detector_s_scores_and_the_published_truth(scene, root):
    predict(settings(root), Oracle(scene))
    (image,) = read_results(result_files(root / "results")).images
    for i, item in enumerate(scene.items[:OBJECTS]):
        scale = np.cbrt(np.linalg.det(image.predictions.poses[i, :3, :3]))
        np.testing.assert_allclose(image.predictions.poses[i, :3, :3] / scale, item.rotation, atol=1e-12)
        np.testing.assert_allclose(image.predictions.poses[i, :3, 3], item.translation)
        np.testing.assert_allclose(image.predictions.sizes[i] * scale, item.shape.size)
        assert scale == pytest.approx(item.diagonal)  # as in the published truth
    np.testing.assert_allclose(image.scores, [0.7, 0.9, 0.8])
    assert image.handle_visible.tolist() == [True, False, False]
    told = json.loads((root / "results/report.json").read_text())
    assert told["config"]["split"] == "real_test" and told["predictions"] == OBJECTS


def test_the_masks_of_the_data_set_give_the_same_poses_as_the_node(scene, root, tiny_model):
    """The estimator draws and normalises points; what reaches it must be what the pipeline of the node gives it."""
    config = settings(root, detections="truth", model=str(tiny_model))
    main(config)
    (image,) = read_results(result_files(root / "results")).images
    instances = tuple(Instance(i + 1, item.shape.category) for i, item in enumerate(scene.items[:OBJECTS]))
    depth = cv2.imread(str(root / SPLIT["real_test"] / "0000_depth.png"), cv2.IMREAD_UNCHANGED)
    frame = Frame(0, "camera", depth, SPLITS["real_test"].intrinsics)
    result = Pipeline(load_estimator(config), support=SupportSettings()).process(
        frame, Detections(instances, scene.labels)
    )
    for i, (_, pose) in enumerate(result.results):
        np.testing.assert_array_equal(image.predictions.poses[i, :3, 3], pose.translation)
        np.testing.assert_allclose(image.predictions.poses[i, :3, :3], np.linalg.norm(pose.size) * pose.rotation)
        np.testing.assert_allclose(image.predictions.sizes[i] * np.linalg.norm(pose.size), pose.size)
        assert image.scores[i] == pose.score


def test_masks_that_overlap_each_keep_their_pixels(scene, root):
    mugs = detected(scene, class_ids=np.array([6, 6, 6]), masks=detected(scene)["masks"][..., [0, 0, 0]])
    nocs.write_pickle(root / "mrcnn/results_test_scene_1_0000.pkl", mugs)
    seen = []

    class Counting(Oracle):
        def _pose(self, observation):
            seen.append(len(observation.points))
            return super()._pose(observation)

    predict(settings(root), Counting(scene))
    depth = (scene.depth * 1000).round().astype(np.uint16)
    frame = Frame(0, "camera", depth, SPLITS["real_test"].intrinsics)
    (alone,) = backproject(frame, Detections((Instance(1, "mug"),), (scene.labels == 1).astype(np.uint8)))
    assert seen == [len(alone.points)] * 3


def test_an_estimator_that_asks_for_colour_gets_that_of_the_frame(scene, root):
    seen = []

    class Seeing(Oracle):
        needs = Needs(colour=True, pixels=True)

        def _pose(self, observation):
            crop, (u, v) = observation.colour, observation.pixels[0]
            seen.append(crop.pixels[v - crop.top, u - crop.left])
            return super()._pose(observation)

    predict(settings(root), Seeing(scene))
    assert seen and all(red == 1 and green % 40 == 0 for red, green, _ in (map(int, one) for one in seen))
    (root / "Real/test/scene_1/0000_color.png").unlink()
    report = predict(settings(root, output=root / "again"), Seeing(scene))
    assert any("color" in reason for reason in report.skipped)


def test_rejections_are_missing_predictions_and_counted(scene, root):
    masks = detected(scene)["masks"].copy()
    masks[..., 1] = False
    nocs.write_pickle(root / "mrcnn/results_test_scene_1_0000.pkl", detected(scene, masks=masks))
    report = predict(settings(root), Oracle(scene))
    assert report.predictions == 2 and report.skipped == {"rejected: points: expected at least 32": 1}
    table = precision(root / "results")
    assert table["pose_ungated"]["can"]["10deg_10cm"] == 0 and table["pose_ungated"]["mug"]["10deg_10cm"] == 1


def test_an_empty_list_of_detections_is_no_error(scene, root):
    empty = {
        "rois": np.zeros((0, 4)),
        "class_ids": np.zeros(0, int),
        "scores": np.zeros(0),
        "masks": np.zeros((28, 28, 0), bool),
    }
    nocs.write_pickle(root / "mrcnn/results_test_scene_1_0000.pkl", empty)
    report = predict(settings(root), Oracle(scene))
    assert (report.rows, report.predictions, report.skipped) == (1, 0, {})


@pytest.mark.parametrize(
    ("file", "content", "reason"),
    [
        ("mrcnn/results_test_scene_1_0001.pkl", None, "detections: file missing"),
        ("mrcnn/results_test_scene_1_0001.pkl", b"no pickle", "detections: file broken"),
        ("Real/test/scene_1/0001_depth.png", None, "depth: file missing"),
        ("Real/test/scene_1/0001_depth.png", b"no image", "depth: file broken"),
        ("Real/test/scene_1/0001_depth.png", np.ones((48, 64), np.uint16), "detections: size is not the depth's"),
    ],
)
def test_frames_that_cannot_be_read_are_named_and_their_objects_missed(scene, root, file, content, reason):
    nocs.write_frame(scene, root, SPLIT["real_test"], "0001")
    nocs.write_pickle(root / "gts/real_test/results_real_test_scene_1_0001.pkl", published(scene))
    nocs.write_pickle(root / "mrcnn/results_test_scene_1_0001.pkl", detected(scene))
    (root / file).unlink()
    if isinstance(content, bytes):
        (root / file).write_bytes(content)
    elif content is not None:
        assert cv2.imwrite(str(root / file), content)
    report = predict(settings(root), Oracle(scene))
    assert (report.rows, report.predictions) == (2, OBJECTS) and report.skipped == {reason: 1}
    assert "scene_1/0001" in report.examples[reason][0]
    assert precision(root / "results")["pose_ungated"]["mean"]["10deg_10cm"] == 0.5


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [(Path.unlink, "truth: file missing"), (lambda path: path.write_bytes(b""), "truth: file broken")],
)
def test_frames_without_a_truth_have_no_result(scene, root, spoil, reason):
    nocs.write_frame(scene, root, SPLIT["real_test"], "0001")
    file = root / "gts/real_test/results_real_test_scene_1_0001.pkl"
    nocs.write_pickle(file, published(scene))
    spoil(file)
    report = predict(settings(root), Oracle(scene))
    assert report.rows == 1 and report.skipped == {reason: 1}


@pytest.mark.parametrize("lost", ["gt_scales", "gt_RTs", "gt_bboxes"])
def test_a_truth_that_is_not_whole_is_refused(scene, root, lost):
    file = root / "gts/real_test/results_real_test_scene_1_0000.pkl"
    whole = published(scene)
    for content in ({name: value for name, value in whole.items() if name != lost}, whole | {lost: whole[lost][:2]}):
        nocs.write_pickle(file, content)
        with pytest.raises(ValueError, match="truth: expected one that can be read, got none.*truth: file broken"):
            predict(settings(root), Oracle(scene))
    assert not (root / "results").exists()


def test_nothing_is_written_over_and_nothing_written_by_halves(scene, root):
    class Failing(Oracle):
        def estimate(self, observations, stopwatch=None):
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        predict(settings(root), Failing(scene))
    assert not (root / "results").exists()
    predict(settings(root), Oracle(scene))  # what was half written is in nobody's way
    with pytest.raises(ValueError, match="output: expected a folder that is not there yet"):
        predict(settings(root), Oracle(scene))


def test_a_folder_without_results_is_refused(scene, root):
    with pytest.raises(ValueError, match=r"results: expected results_\*_SCENE_FRAME.pkl in .*Real, got none"):
        predict(settings(root, detections=root / "Real"), Oracle(scene))


def test_a_model_that_is_not_there_is_refused(root):
    with pytest.raises(ValueError, match="model: expected one of"):
        load_estimator(settings(root, model="none-such"))
    assert isinstance(load_estimator(settings(root)), Clipose)
