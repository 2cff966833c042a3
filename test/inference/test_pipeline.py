from dataclasses import replace

import numpy as np
import pytest

from clipose_ros import estimators
from clipose_ros.bench.latency import IMAGE_SHAPE, INTRINSICS, RADIUS_M, measure, spheres_on_table, write_frame
from clipose_ros.core.backprojection import backproject
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.support import SupportSettings
from clipose_ros.core.types import Detections, Frame, Instance, PoseEstimate, Rejection
from clipose_ros.core.workspace import CameraPlace, Workspace
from clipose_ros.drawing import draw_pose
from clipose_ros.estimators.estimator import Needs
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.pipeline import BARE, Pipeline, warm_up
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.tracking.tracker import Tracker


@pytest.fixture
def pipeline(write_model):
    return Pipeline(estimators.load(str(write_model())))


def test_every_instance_of_a_frame_gets_a_result_in_order(pipeline):
    frame, detections = spheres_on_table(3, ["mug", "spoon", "can"])
    result = pipeline.process(frame, detections)
    assert (result.stamp_ns, result.frame_id) == (frame.stamp_ns, frame.frame_id)
    assert [instance for instance, _ in result.results] == list(detections.instances)
    assert result.detections is detections
    assert [type(pose) for _, pose in result.results] == [PoseEstimate, Rejection, PoseEstimate]
    assert list(result.stages_ms) == ["backprojection", "sampling", "network", "decoding"]


def test_a_tracker_is_a_stage_of_its_own_and_without_one_there_is_no_state(write_model):
    estimator, scene = estimators.load(str(write_model())), spheres_on_table(2, ["mug", "can"])
    alone = Pipeline(estimator)
    first, second = alone.process(*scene), alone.process(*scene)
    assert "tracking" not in first.stages_ms and all(
        type(pose) is PoseEstimate for _, pose in (*first.results, *second.results)
    )
    tracked = Pipeline(estimator, tracker=Tracker()).process(*scene)
    assert (list(tracked.stages_ms)[0], list(tracked.stages_ms)[-1]) == ("prediction", "tracking")
    assert [pose.track for _, pose in tracked.results] == [1, 2] and (tracked.coasting, tracked.lost) == ((), ())
    for (_, pose), (_, estimate) in zip(tracked.results, first.results):
        np.testing.assert_array_equal(pose.rotation, estimate.rotation)


def test_objects_are_not_followed_into_the_frame_of_another_camera(write_model):
    tracker = Tracker()
    pipeline = Pipeline(estimators.load(str(write_model())), tracker=tracker)
    frame, detections = spheres_on_table(2, ["mug", "can"])
    tracks = []
    for i, frame_id in enumerate(("left", "/left", "", "left", "right")):  # without a name it may be the same
        result = pipeline.process(replace(frame, stamp_ns=i * 33_000_000, frame_id=frame_id), detections)
        tracks.append([pose.track for _, pose in result.results])
    assert tracks == [[1, 2]] * 4 + [[3, 4]]
    assert tracker.events == {"reset: another frame_id": 1}


def test_the_estimate_lies_on_the_sphere_that_the_frame_shows(pipeline):
    """The tiny network answers with the mean of the visible points, which is at most a radius from the nearest point of
    the sphere.
    """
    scene = spheres_on_table(1, ["mug"])
    ((cloud, _),) = backproject(*scene)
    ((_, pose),) = pipeline.process(*scene).results
    assert np.linalg.norm(pose.translation - cloud.mean(axis=0)) < 2e-3
    assert 0 < pose.translation[2] - cloud[:, 2].min() < RADIUS_M


def test_empty_masks_and_invalid_depth_are_rejections_and_no_instances_is_no_result(pipeline):
    seen, found = spheres_on_table(1, ["mug"])
    for depth, labels in ((seen.depth, np.zeros_like(found.masks)), (np.zeros_like(seen.depth), found.masks)):
        frame, detections = Frame(7, "camera", depth, INTRINSICS), Detections(found.instances, labels)
        ((_, pose),) = pipeline.process(frame, detections).results
        assert pose == Rejection("mug", "points: expected at least 32, got 0")
    assert pipeline.process(seen, Detections((), found.masks)).results == ()


def test_metres_and_millimetres_give_the_same_pose_bit_for_bit(pipeline):
    frame, detections = spheres_on_table(2, ["mug", "can"])
    in_metres = Frame(0, "camera", frame.depth / np.float32(1000), INTRINSICS)
    one, other = (pipeline.process(either, detections).results for either in (frame, in_metres))
    for (_, a), (_, b) in zip(one, other, strict=True):
        assert a.translation.tobytes() == b.translation.tobytes() and a.rotation.tobytes() == b.rotation.tobytes()


def test_the_bench_frame_shows_spheres_of_the_right_size():
    frame, detections = spheres_on_table(10, ["mug"])
    assert frame.depth.shape == IMAGE_SHAPE and detections.instances[-1] == Instance(10, "mug", id="10")
    for cloud, _ in backproject(frame, detections, most=100_000):
        assert 2000 < len(cloud) < 10000
        # |p|^2 = 2 c.p + (r^2 - |c|^2): a linear fit of centre and radius
        fit = np.linalg.lstsq(
            np.c_[2 * cloud, np.ones(len(cloud))].astype(float), np.sum(cloud.astype(float) ** 2, axis=1), rcond=None
        )[0]
        assert np.sqrt(fit[3] + fit[:3] @ fit[:3]) == pytest.approx(RADIUS_M, abs=1e-3)


def test_measured_rows_have_ordered_percentiles_and_stages_that_fit_in_the_whole(pipeline):
    for rows in measure([pipeline, pipeline], instances=(0, 2), frames=20, rounds=2):
        assert [row["instances"] for row in rows] == [0, 2]
        for row in rows:
            assert 0 < row["p50_ms"] <= row["p95_ms"] <= row["p99_ms"] and len(row["rounds"]["p50_ms"]) == 2
            assert 0 < sum(row["stages"].values()) < 1.5 * row["p50_ms"]


def test_a_written_frame_is_the_same_when_it_is_read(tmp_path):
    for count in (0, 20):
        frame, found = spheres_on_table(count, CATEGORIES)
        write_frame(tmp_path / str(count), frame, found)
        read, detections = NocsFolder(tmp_path / str(count)).read("0000")
        np.testing.assert_array_equal(read.depth, frame.depth)
        np.testing.assert_array_equal(detections.masks, found.masks)
        assert [(i.label, i.category) for i in detections.instances] == [(i.label, i.category) for i in found.instances]
        assert read.intrinsics == frame.intrinsics and read.colour.shape == (*IMAGE_SHAPE, 3)
        assert all(detections.mask(i).sum() > 500 for i in range(count))  # each of twenty is seen


def test_drawing_puts_the_axes_where_the_pose_is_and_survives_any_pose():
    pose = PoseEstimate("mug", 0.9, np.eye(3), np.array([0.0, 0.0, 1.0]), np.full(3, 0.2))
    image = np.zeros((*IMAGE_SHAPE, 3), np.uint8)
    draw_pose(image, pose, INTRINSICS)
    # x to the right, y down in the image
    red, green = image[239:242, 350:380].max(axis=(0, 1)), image[260:290, 319:322].max(axis=(0, 1))
    assert red.argmax() == 0 and red[0] > 150 and green.argmax() == 1 and green[1] > 150
    assert not image[:, :200].any() and not image[:, 440:].any()  # 0.1 / 0.9 * 600 px about the centre
    for translation in ([0, 0, 0.05], [0, 0, -1.0], [1e7, 0, 1], [0.5, 0.4, 0.9]):
        draw_pose(
            image, PoseEstimate("mug", 0.9, np.eye(3), np.array(translation, dtype=float), np.full(3, 0.2)), INTRINSICS
        )


def test_the_warm_up_estimates_ten_objects_that_have_points(write_model):
    """As a user's frame would: everything that a first frame takes is taken then."""

    class Witness:
        names, needs = CATEGORIES, Needs()

        def __init__(self):
            self.estimator, self.results = estimators.load(str(write_model())), []
            self.rests, self.diagonal_m = self.estimator.rests, self.estimator.diagonal_m

        def estimate(self, observations, stopwatch=None):
            self.results += self.estimator.estimate(observations, stopwatch)
            return self.results

    witness = Witness()
    warm_up(witness)
    assert [type(result) for result in witness.results] == [PoseEstimate] * 10


@pytest.fixture
def standing(leaning_model):
    """A pipeline whose estimator knows that its cans and mugs stand on surfaces; of bottles it knows nothing."""
    return Pipeline(estimators.load(str(leaning_model)), support=SupportSettings())


def reasons_of(result):
    return [getattr(answer, "reason", "") for _, answer in result.results]


def test_a_mask_that_shows_nothing_but_the_table_has_no_pose(standing):
    """isaac_ros_pose_estimation#42: the segmenter took something else for the object, and that had a pose."""
    frame, detections = spheres_on_table(3, ["can", "mug", "bottle"])
    empty = spheres_on_table(0, ["mug"])[0]  # the same table without the objects
    assert set(reasons_of(standing.process(frame, detections))) == {""}
    bare_table = standing.process(empty, detections)
    assert reasons_of(bare_table)[:2] == [BARE, BARE]
    assert isinstance(bare_table.results[2][1], PoseEstimate)  # how flat it may be, nobody knows
    without_surfaces = Pipeline(standing.estimator).process(empty, detections)
    assert set(reasons_of(without_surfaces)) == {""}


def test_a_patch_of_a_wall_has_no_pose_where_up_is_known(standing):
    frame, detections = spheres_on_table(1, ["mug"])
    wall = replace(frame, depth=np.full_like(frame.depth, 900))
    assert reasons_of(standing.process(wall, detections, up=np.array([0.0, -1.0, 0.0]))) == [BARE]


@pytest.mark.parametrize("support", [SupportSettings(), None])
def test_noise_within_a_mask_has_no_pose(standing, support):
    """Holes that a driver fills with anything: what differs from pixel to pixel is no surface of an object."""
    frame, detections = spheres_on_table(2, ["can", "mug"])
    mask = detections.mask(0)
    rng, depth = np.random.default_rng(0), frame.depth.copy()
    depth[mask] = depth[mask] + rng.normal(0, 50, np.count_nonzero(mask))
    noisy = Pipeline(standing.estimator, support=support).process(replace(frame, depth=depth), detections)
    first, second = reasons_of(noisy)
    assert first.startswith("points: expected a surface, got noise: depth differs by") and second == ""
    # as noisy as a sensor is, also where it sees the surface askew and far away
    depth[mask] = frame.depth[mask] + rng.normal(0, 4, np.count_nonzero(mask))
    noisy = Pipeline(standing.estimator, support=support).process(replace(frame, depth=depth), detections)
    assert reasons_of(noisy) == ["", ""]


def test_what_a_sensor_makes_of_depth_far_away_is_no_reason(standing):
    """Stereo and time of flight have noise that grows with the squared distance: at 2.5 m, 15 mm in each pixel."""
    frame, detections = spheres_on_table(2, ["can", "mug"])
    z_mm = float(np.median(frame.depth[detections.mask(0)]))
    longer = 2500 / z_mm  # the lens, so that objects keep their size
    seen = replace(frame.intrinsics, fx=frame.intrinsics.fx * longer, fy=frame.intrinsics.fy * longer)
    noise = np.random.default_rng(0).normal(0, 15, frame.depth.shape)
    depth = np.where(frame.depth > 0, frame.depth + 2500 - z_mm + noise, 0).astype(np.uint16)
    far = replace(frame, depth=depth, intrinsics=seen)
    assert reasons_of(Pipeline(standing.estimator).process(far, detections)) == ["", ""]


def test_a_mask_that_shows_much_more_than_the_object_has_no_pose(pipeline):
    frame, detections = spheres_on_table(1, ["mug"])
    everything = replace(detections, masks=np.ones_like(detections.masks))
    (reason,) = reasons_of(pipeline.process(frame, everything))
    assert reason.startswith("mask: expected one object, got points of which") and "it shows more than a mug" in reason


def test_masks_that_overlap_give_each_object_its_own_points(pipeline):
    frame, detections = spheres_on_table(2, ["mug", "can"])
    own = Detections(detections.instances, np.stack([detections.mask(0), detections.mask(1)]))
    for (_, a), (_, b) in zip(
        pipeline.process(frame, detections).results, pipeline.process(frame, own).results, strict=True
    ):
        np.testing.assert_array_equal(a.translation, b.translation)
    both = Detections(detections.instances, np.stack([detections.mask(0) | detections.mask(1), detections.mask(1)]))
    assert all(isinstance(pose, PoseEstimate) for _, pose in pipeline.process(frame, both).results)


def test_detections_must_be_of_the_image_and_somebody_must_give_them(pipeline):
    frame, detections = spheres_on_table(1, ["mug"])
    with pytest.raises(ValueError, match=r"masks: expected \(480, 640\) as depth, got \(240, 320\)"):
        pipeline.process(frame, Detections(detections.instances, detections.masks[::2, ::2]))
    with pytest.raises(ValueError, match="detections: expected masks of the frame, since there is no segmenter"):
        pipeline.process(frame)
    with pytest.raises(ValueError, match="masks: expected 1, one for each instance, got 2"):
        Detections(detections.instances, np.zeros((2, 4, 4), bool))
    with pytest.raises(ValueError, match="masks: expected integer"):
        Detections(detections.instances, np.zeros((4, 4)))


def test_a_segmenter_is_asked_only_where_no_detections_come(write_model):
    frame, detections = spheres_on_table(2, ["mug", "can"])

    class Segments:
        asked = 0

        def segment(self, frame):
            self.asked += 1
            return detections

    segmenter = Segments()
    pipeline = Pipeline(estimators.load(str(write_model())), segmenter)
    given, found = pipeline.process(frame, Detections((), detections.masks)), pipeline.process(frame)
    assert segmenter.asked == 1 and given.results == () and len(found.results) == 2
    assert list(found.stages_ms)[0] == "segmentation" and found.detections is detections


def test_poses_with_too_low_a_score_are_rejected_with_it(write_model):
    scene = spheres_on_table(2, ["mug", "can"])  # the tiny network says 0.45 for the mug and 0.81 for the can
    estimator = estimators.load(str(write_model()))
    (_, mug), (_, can) = Pipeline(estimator, min_score=0.5).process(*scene).results
    assert mug == Rejection("mug", "score: expected at least 0.5, got 0.45") and isinstance(can, PoseEstimate)
    with pytest.raises(ValueError, match="min_score: expected 0 to 1, got 2"):
        Pipeline(estimator, min_score=2)
    with pytest.raises(ValueError, match="max_instances: expected 1 or more, got 0"):
        Pipeline(estimator, max_instances=0)


def test_the_segmenter_is_timed_as_a_stage_and_the_known_objects_are_posed(tiny_model, tiny_segmenter):
    pipeline = Pipeline(estimators.load(str(tiny_model)), segmenter_of(tiny_segmenter))
    ((row,),) = measure([pipeline], [3], frames=2, rounds=1)
    assert row["instances"] == 3 and row["stages"]["segmentation"] > 0 and "network" in row["stages"]


def test_what_the_segmenter_finds_and_no_model_answers_is_rejected_before_it_is_estimated(tiny_model, write_segmenter):
    pipeline = Pipeline(estimators.load(str(tiny_model)), segmenter_of(write_segmenter(surest="other")))
    frame, _ = spheres_on_table(2, ["can"])
    results = pipeline.process(frame).results
    assert len(results) == 2 and all(isinstance(answer, Rejection) for _, answer in results)
    assert all(answer.reason.endswith("got other: an object that no model answers") for _, answer in results)


def test_what_the_segmenter_finds_outside_of_the_workspace_is_left_alone(tiny_model, tiny_segmenter):
    frame, detections = spheres_on_table(2, ["can"])
    estimator, segmenter = estimators.load(str(tiny_model)), segmenter_of(tiny_segmenter)
    everywhere = Pipeline(estimator, segmenter).process(frame)
    (_, left), (_, right) = sorted(everywhere.results, key=lambda result: result[1].translation[0])
    middle = 0.5 * (left.translation[0] + right.translation[0])
    box = Workspace((middle, np.inf, -np.inf, np.inf, -np.inf, np.inf))
    pipeline = Pipeline(estimator, segmenter, workspace=box)
    result = pipeline.process(frame)
    ((instance, pose),) = result.results
    assert result.outside == 1 and pose.translation[0] > middle and everywhere.outside == 0
    assert set(np.unique(result.detections.masks)) == {0, instance.label}
    turned = CameraPlace(np.diag([-1.0, -1.0, 1.0]), np.zeros(3))  # in a frame whose x points the other way
    assert pipeline.process(frame, camera=turned).results[0][1].translation[0] < -middle + 1e-6
    assert len(pipeline.process(frame, detections).results) == 2  # masks that are given are not judged
