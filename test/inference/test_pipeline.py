import numpy as np
import pytest

from clipose_ros.bench.latency import IMAGE_SHAPE, INTRINSICS, RADIUS_M, measure, spheres_on_table, write_frame
from clipose_ros.core.backprojection import backproject
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Frame, Instance, PoseEstimate, Rejection
from clipose_ros.drawing import draw_pose
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.pipeline import Pipeline, warm_up
from clipose_ros.tracking.tracker import Tracker


@pytest.fixture
def pipeline(write_model):
    return Pipeline(Clipose.load(str(write_model())))


def test_every_instance_of_a_frame_gets_a_result_in_order(pipeline):
    frame = spheres_on_table(3, ["mug", "spoon", "can"])
    result = pipeline.process(frame)
    assert (result.stamp_ns, result.frame_id) == (frame.stamp_ns, frame.frame_id)
    assert [instance for instance, _ in result.results] == list(frame.instances)
    assert [type(pose) for _, pose in result.results] == [PoseEstimate, Rejection, PoseEstimate]
    assert list(result.stages_ms) == ["backprojection", "sampling", "network", "decoding"]


def test_a_tracker_is_a_stage_of_its_own_and_without_one_there_is_no_state(write_model):
    estimator, frame = Clipose.load(str(write_model())), spheres_on_table(2, ["mug", "can"])
    alone = Pipeline(estimator)
    first, second = alone.process(frame), alone.process(frame)
    assert "tracking" not in first.stages_ms and all(
        type(pose) is PoseEstimate for _, pose in (*first.results, *second.results)
    )
    tracked = Pipeline(estimator, tracker=Tracker()).process(frame)
    assert list(tracked.stages_ms)[-1] == "tracking"
    assert [pose.track for _, pose in tracked.results] == [1, 2] and (tracked.coasting, tracked.lost) == ((), ())
    for (_, pose), (_, estimate) in zip(tracked.results, first.results):
        np.testing.assert_array_equal(pose.rotation, estimate.rotation)


def test_the_estimate_lies_on_the_sphere_that_the_frame_shows(pipeline):
    """The tiny network answers with the mean of the visible points, which is at most a radius from the nearest point of
    the sphere.
    """
    frame = spheres_on_table(1, ["mug"])
    (cloud,) = backproject(frame)
    ((_, pose),) = pipeline.process(frame).results
    assert np.linalg.norm(pose.translation - cloud.mean(axis=0)) < 2e-3
    assert 0 < pose.translation[2] - cloud[:, 2].min() < RADIUS_M


def test_empty_masks_and_invalid_depth_are_rejections_and_no_instances_is_no_result(pipeline):
    seen = spheres_on_table(1, ["mug"])
    for depth, labels in ((seen.depth, np.zeros_like(seen.labels)), (np.zeros_like(seen.depth), seen.labels)):
        ((_, pose),) = pipeline.process(Frame(7, "camera", depth, labels, seen.instances, INTRINSICS)).results
        assert pose == Rejection("mug", "points: expected at least 32, got 0")
    assert pipeline.process(Frame(7, "camera", seen.depth, seen.labels, (), INTRINSICS)).results == ()


def test_metres_and_millimetres_give_the_same_pose_bit_for_bit(pipeline):
    frame = spheres_on_table(2, ["mug", "can"])
    in_metres = Frame(0, "camera", frame.depth / np.float32(1000), frame.labels, frame.instances, INTRINSICS)
    for (_, a), (_, b) in zip(pipeline.process(frame).results, pipeline.process(in_metres).results):
        assert a.translation.tobytes() == b.translation.tobytes() and a.rotation.tobytes() == b.rotation.tobytes()


def test_the_bench_frame_shows_spheres_of_the_right_size():
    frame = spheres_on_table(10, ["mug"])
    assert frame.depth.shape == IMAGE_SHAPE and frame.instances[-1] == Instance(10, "mug", id="10")
    for cloud in backproject(frame, most=100_000):
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
        frame = spheres_on_table(count, CATEGORIES)
        write_frame(tmp_path / str(count), frame)
        read = NocsFolder(tmp_path / str(count)).read("0000")
        np.testing.assert_array_equal(read.depth, frame.depth)
        np.testing.assert_array_equal(read.labels, frame.labels)
        assert [(i.label, i.category) for i in read.instances] == [(i.label, i.category) for i in frame.instances]
        assert read.intrinsics == frame.intrinsics and read.colour.shape == (*IMAGE_SHAPE, 3)
        assert all((read.labels == instance.label).sum() > 500 for instance in read.instances)  # each of twenty is seen


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
        categories = CATEGORIES

        def __init__(self):
            self.estimator, self.results = Clipose.load(str(write_model())), []

        def estimate(self, observations, stopwatch=None):
            self.results += self.estimator.estimate(observations, stopwatch)
            return self.results

    witness = Witness()
    warm_up(witness)
    assert [type(result) for result in witness.results] == [PoseEstimate] * 10
