"""Objects over time: synthetic objects in a moving camera's frame, with noise, flips, drop-outs and bad clocks."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.metrics import pose_error
from clipose_ros.core.types import Instance, PoseEstimate, Rejection, TrackedPose, TrackState
from clipose_ros.core.uncertainty import FREE_SPIN
from clipose_ros.tracking.tracker import Tracker, TrackerSettings

DT_NS = 66_666_667
SIZE = {"mug": (0.12, 0.09, 0.1), "can": (0.07, 0.12, 0.07), "camera": (0.09, 0.1, 0.14), "laptop": (0.25, 0.2, 0.3)}
CONFIRMED, TENTATIVE, COASTING = TrackState.CONFIRMED, TrackState.TENTATIVE, TrackState.COASTING
UPSIDE_DOWN = np.diag([1.0, -1.0, -1.0])
BACK_TO_FRONT = np.diag([-1.0, 1.0, -1.0])


def error_of(estimate, truth):
    return pose_error(estimate, truth, nocs_symmetry(truth.category))


def pose(category="mug", position=(0.0, 0.0, 1.0), rotation=np.eye(3), score=0.95):
    return PoseEstimate(
        category, score, np.asarray(rotation), np.array(position, dtype=float), np.array(SIZE[category])
    )


def seen(*poses, ids=None):
    """Results of a frame: an instance for each pose, with the given ids."""
    ids = ids or [str(i) for i in range(len(poses))]
    return [(Instance(i + 1, pose.category, id=ids[i]), pose) for i, pose in enumerate(poses)]


def run(tracker, frames, start=0):
    """The tracked frames of results, one every DT_NS; frame k has stamp k * DT_NS."""
    return [tracker.update((start + k) * DT_NS, results) for k, results in enumerate(frames)]


def moving_scene(k):
    """True poses of four objects in frame k: a camera on an arc about a table, 20 degrees a second."""
    turn = Rotation.from_rotvec([0.1 * np.sin(k / 15), np.deg2rad(20) * k * DT_NS / 1e9, 0])
    places = {"mug": (0.2, 0, 0.1), "can": (-0.2, 0.05, 0), "camera": (0.05, -0.05, -0.2), "laptop": (-0.05, 0, 0.3)}
    return [
        pose(
            category,
            turn.apply(place) + [0, 0, 1],
            (turn * Rotation.from_euler("xyz", [200, 30 * i, 10], degrees=True)).as_matrix(),
        )
        for i, (category, place) in enumerate(places.items())
    ]


def noisy(true, rng, degrees=3.0, metres=0.004):
    turn = Rotation.from_rotvec(rng.normal(0, np.deg2rad(degrees), 3))
    spin = Rotation.from_euler("y", rng.uniform(0, 6) if true.category == "can" else 0.0)
    rotation = (turn * Rotation.from_matrix(true.rotation) * spin).as_matrix()
    return PoseEstimate(
        true.category,
        0.95,
        rotation,
        true.translation + rng.normal(0, metres, 3),
        true.size * np.exp(rng.normal(0, 0.05, 3)),
    )


def test_tracks_are_steadier_and_closer_to_the_truth_than_frames():
    rng, tracker = np.random.default_rng(0), Tracker(symmetry=nocs_symmetry)
    alone, tracked = [], []
    for k in range(60):
        truth = moving_scene(k)
        measured = [noisy(true, rng) for true in truth]
        frame = tracker.update(k * DT_NS, seen(*measured))
        if k >= 10:
            alone.append([(*vars(error_of(p, true)).values(),) for p, true in zip(measured, truth)])
            tracked.append([(*vars(error_of(p, true)).values(),) for (_, p), true in zip(frame.results, truth)])
    assert (np.mean(tracked, axis=(0, 1)) < 0.85 * np.mean(alone, axis=(0, 1))).all()
    assert len(tracker) == 4 and not tracker.events


def test_a_flip_for_a_few_frames_does_not_move_the_track_and_is_not_passed_off_as_measured():
    rng, tracker, states = np.random.default_rng(1), Tracker(symmetry=nocs_symmetry), []
    for k in range(60):
        truth = moving_scene(k)
        measured = [noisy(true, rng) for true in truth]
        flipped = 20 <= k < 24 or k == 40
        if flipped:
            for i, turn in ((1, UPSIDE_DOWN), (2, BACK_TO_FRONT), (3, BACK_TO_FRONT)):
                measured[i] = PoseEstimate(
                    measured[i].category, 0.95, measured[i].rotation @ turn, measured[i].translation, measured[i].size
                )
        frame = tracker.update(k * DT_NS, seen(*measured))
        for i, ((_, tracked), true) in enumerate(zip(frame.results, truth)):
            error = error_of(tracked, true)
            assert error.rotation_deg < 12 and error.translation_m < 0.03
            assert tracked.track == i + 1
            assert (tracked.state == COASTING) == (flipped and i > 0) == (tracked.age_ns > 0) or k < 3
        states.append([tracked for _, tracked in frame.results])
    assert states[23][2].age_ns == 4 * DT_NS and states[24][2].age_ns == 0
    assert states[23][2].score < 0.75 * states[19][2].score
    assert tracker.events == {"rotation contradicted its track": 15}


def test_a_contradiction_that_lasts_is_believed_and_the_object_keeps_its_identity():
    tracker, true = (
        Tracker(symmetry=nocs_symmetry),
        pose("camera", rotation=Rotation.random(random_state=2).as_matrix()),
    )
    other = pose("camera", rotation=true.rotation @ BACK_TO_FRONT)
    frames = run(tracker, [seen(true)] * 20 + [seen(other)] * 20)
    near = [error_of(frame.results[0][1], other).rotation_deg < 1 for frame in frames]
    switch = near.index(True)
    assert 22 <= switch <= 32 and all(near[switch:])
    assert {frame.results[0][1].track for frame in frames} == {1}
    assert (
        all(frame.results[0][1].state == COASTING for frame in frames[20:switch])
        and frames[-1].results[0][1].state == CONFIRMED
    )
    assert tracker.events["rotation given up for another"] == 1


def test_answers_that_change_between_front_and_back_settle_on_the_more_frequent():
    rng, tracker = np.random.default_rng(3), Tracker(symmetry=nocs_symmetry)
    true = pose("camera", rotation=Rotation.random(random_state=4).as_matrix())
    answers = [
        true if rng.random() < 0.75 else pose("camera", rotation=true.rotation @ BACK_TO_FRONT) for _ in range(100)
    ]
    errors = [
        error_of(frame.results[0][1], true).rotation_deg for frame in run(tracker, [seen(answer) for answer in answers])
    ]
    assert np.mean(np.array(errors[20:]) < 10) > 0.95
    assert np.mean([error_of(answer, true).rotation_deg < 10 for answer in answers[20:]]) < 0.85


def test_an_estimate_that_is_a_little_off_neither_moves_a_track_nor_begins_one():
    tracker = Tracker(symmetry=nocs_symmetry)
    run(tracker, [seen(pose())] * 10)
    ((_, tracked),) = tracker.update(10 * DT_NS, seen(pose(position=(0.045, 0, 1)))).results
    assert (tracked.track, tracked.state) == (1, COASTING) and tracker.events == {"position contradicted its track": 1}
    np.testing.assert_allclose(tracked.translation, [0, 0, 1], atol=1e-9)
    frames = run(tracker, [seen(pose(position=(0.045, 0, 1)))] * 15, start=11)
    ((_, tracked),) = frames[-1].results
    assert (tracked.track, tracked.state) == (1, CONFIRMED) and abs(tracked.translation[0] - 0.045) < 0.005


def test_a_symmetric_object_does_not_spin_and_follows_its_axis():
    rng, tracker, previous = np.random.default_rng(5), Tracker(symmetry=nocs_symmetry), None
    for k in range(40):
        true = moving_scene(k)[1]
        ((_, tracked),) = tracker.update(k * DT_NS, seen(noisy(true, rng, degrees=1.0))).results
        if previous is not None:
            assert np.degrees(np.arccos(previous[:, 0] @ tracked.rotation[:, 0])) < 4
        previous = tracked.rotation
        y = tracked.rotation[:, 1]
        assert y @ tracked.covariance[3:, 3:] @ y == pytest.approx(FREE_SPIN)
    assert error_of(tracked, true).rotation_deg < 2


def test_a_track_is_tentative_then_confirmed_then_coasting_then_lost():
    tracker = Tracker(TrackerSettings(confirm_after=3, coast_s=0.21), nocs_symmetry)
    frames = run(tracker, [seen(pose())] * 4 + [[]] * 5)
    assert [frame.results[0][1].state for frame in frames[:4]] == [TENTATIVE, TENTATIVE, CONFIRMED, CONFIRMED]
    coasting = [frame.coasting for frame in frames[4:]]
    assert [len(poses) for poses in coasting] == [1, 1, 1, 0, 0]
    assert [poses[0][1].age_ns for poses in coasting[:3]] == [DT_NS, 2 * DT_NS, 3 * DT_NS]
    assert all(poses[0][1].state == COASTING and poses[0][0].id == "0" for poses in coasting[:3])
    assert [frame.lost for frame in frames] == [()] * 7 + [(1,), ()]
    deviations = [np.sqrt(np.diag(poses[0][1].covariance)) for poses in coasting[:3]]
    assert (np.diff(deviations, axis=0) > 0).all()
    assert len(tracker) == 0


def test_a_ghost_of_one_frame_leaves_nothing():
    tracker = Tracker(symmetry=nocs_symmetry)
    frames = run(tracker, [seen(pose()), [], []])
    assert frames[1].coasting == frames[1].lost == frames[1].results == () and tracker.events == {
        "tentative track dropped": 1
    }


def test_an_object_is_known_again_after_a_drop_out():
    rng, tracker, tracks = np.random.default_rng(6), Tracker(symmetry=nocs_symmetry), []
    for k in range(40):
        truth = moving_scene(k)
        hidden = {1, 2} if 20 <= k < 26 else set()
        results = [(i, p) for i, p in seen(*(noisy(true, rng) for true in truth)) if i.label - 1 not in hidden]
        frame = tracker.update(k * DT_NS, results)
        tracks.append([tracked.track for _, tracked in frame.results])
        predicted = {tracked.track: tracked for _, tracked in frame.coasting}
        assert {track - 1 for track in predicted} == hidden
        for track, tracked in predicted.items():
            error = error_of(tracked, truth[track - 1])
            assert error.translation_m < 0.05 and error.rotation_deg < 15
    assert tracks[-1] == [1, 2, 3, 4]


def test_a_rejected_instance_stays_rejected_while_its_track_coasts():
    tracker, rejection = Tracker(symmetry=nocs_symmetry), Rejection("mug", "points: expected at least 32, got 3")
    run(tracker, [seen(pose())] * 5)
    frame = tracker.update(5 * DT_NS, [(Instance(1, "mug", id="0"), rejection)])
    assert frame.results == ((Instance(1, "mug", id="0"), rejection),)
    assert [tracked.track for _, tracked in frame.coasting] == [1]


def test_ids_that_change_places_do_not_confuse_objects_that_are_apart():
    left, right = pose(position=(-0.2, 0, 1)), pose(position=(0.2, 0, 1))
    tracker = Tracker(symmetry=nocs_symmetry)
    run(tracker, [seen(left, right, ids=["a", "b"])] * 5)
    frame = tracker.update(5 * DT_NS, seen(left, right, ids=["b", "a"]))
    assert [tracked.track for _, tracked in frame.results] == [1, 2]
    np.testing.assert_allclose(
        [tracked.translation for _, tracked in frame.results], [left.translation, right.translation], atol=1e-9
    )


def test_ids_decide_between_objects_that_are_close():
    first, second = pose(position=(-0.004, 0, 1)), pose(position=(0.004, 0, 1))
    for ids, tracks in ((["a", "b"], [1, 2]), (["b", "a"], [2, 1])):
        tracker = Tracker(symmetry=nocs_symmetry)
        run(tracker, [seen(first, second, ids=["a", "b"])] * 5)
        frame = tracker.update(5 * DT_NS, seen(pose(position=(0, 0.001, 1)), pose(position=(0, -0.001, 1)), ids=ids))
        assert [tracked.track for _, tracked in frame.results] == tracks


def test_the_same_id_elsewhere_or_of_another_category_is_another_object():
    tracker = Tracker(symmetry=nocs_symmetry)
    run(tracker, [seen(pose(), ids=["a"])] * 5)
    frame = tracker.update(5 * DT_NS, seen(pose(position=(0.3, 0, 1)), ids=["a"]))
    assert frame.results[0][1].track == 2 and [tracked.track for _, tracked in frame.coasting] == [1]
    frame = tracker.update(6 * DT_NS, seen(pose("can"), ids=["a"]))
    assert frame.results[0][1].track == 3


@pytest.mark.parametrize(
    ("stamp_ns", "reason"),
    [(-10 * DT_NS, "clock went back"), (5 * DT_NS - 1, "clock went back"), (100 * DT_NS, "gap in time")],
)
def test_a_clock_that_jumps_begins_anew_and_says_why(stamp_ns, reason):
    tracker = Tracker(symmetry=nocs_symmetry)
    run(tracker, [seen(pose())] * 6)
    frame = tracker.update(stamp_ns, seen(pose()))
    assert tracker.events == {f"reset: {reason}": 1} and frame.lost == (1,) and frame.coasting == ()
    ((_, tracked),) = frame.results
    assert (tracked.track, tracked.state) == (2, TENTATIVE)


def test_the_same_stamp_again_changes_nothing():
    tracker, again = Tracker(symmetry=nocs_symmetry), Tracker(symmetry=nocs_symmetry)
    for tracks, repeats in ((tracker, 1), (again, 3)):
        for k in range(10):
            for _ in range(repeats):
                frame = tracks.update(k * DT_NS, seen(pose(position=(0.01 * k, 0, 1))))
    ((_, once),), ((_, thrice),) = (
        tracker.update(10 * DT_NS, seen(pose())).results,
        again.update(10 * DT_NS, seen(pose())).results,
    )
    np.testing.assert_array_equal(once.translation, thrice.translation)
    np.testing.assert_array_equal(once.covariance, thrice.covariance)
    assert frame.results[0][1].state == CONFIRMED and again.events == {"stamp twice": 20}


def test_reset_forgets_and_numbers_are_not_used_again():
    tracker = Tracker(symmetry=nocs_symmetry)
    run(tracker, [seen(pose(), pose("can", (0.3, 0, 1)))] * 5)
    tracker.reset()
    assert len(tracker) == 0 and tracker.events == {"reset: asked": 1}
    frame = tracker.update(5 * DT_NS, seen(pose()))
    assert frame.lost == (1, 2) and frame.results[0][1].track == 3


def test_the_first_pose_is_the_estimate_itself_and_equal_input_gives_equal_output():
    truth = moving_scene(0)
    first = Tracker(symmetry=nocs_symmetry).update(0, seen(*truth))
    for (_, tracked), true in zip(first.results, truth):
        assert isinstance(tracked, TrackedPose)
        np.testing.assert_array_equal(tracked.rotation, true.rotation)
        np.testing.assert_array_equal(tracked.translation, true.translation)
        np.testing.assert_allclose(tracked.size, true.size)
        assert tracked.score == true.score
    rng = np.random.default_rng(7)
    frames = [seen(*(noisy(true, rng) for true in moving_scene(k))) for k in range(20)]
    one, other = run(Tracker(symmetry=nocs_symmetry), frames)[-1], run(Tracker(symmetry=nocs_symmetry), frames)[-1]
    for (_, a), (_, b) in zip(one.results, other.results):
        np.testing.assert_array_equal(a.rotation, b.rotation)
        np.testing.assert_array_equal(a.covariance, b.covariance)


def test_covariances_are_covariances():
    rng, tracker = np.random.default_rng(8), Tracker(symmetry=nocs_symmetry)
    for k in range(30):
        for _, tracked in tracker.update(k * DT_NS, seen(*(noisy(true, rng) for true in moving_scene(k)))).results:
            np.testing.assert_array_equal(tracked.covariance, tracked.covariance.T)
            assert tracked.covariance.shape == (6, 6) and np.linalg.eigvalsh(tracked.covariance).min() > 0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("gate", 0.0),
        ("reach", -1.0),
        ("same_id", -1.0),
        ("confirm_after", 0),
        ("coast_s", 0.0),
        ("coast_s", 60.1),
        ("coast_s", np.nan),
        ("gap_s", 0.0),
        ("switch_ratio", 0.5),
    ],
)
def test_impossible_settings_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name}: expected .*, got {value}"):
        TrackerSettings(**{name: value})


def test_predicting_before_the_update_changes_nothing_and_tells_where_things_are():
    frames = [(i * 33_000_000, seen(pose("mug", position=(0.01 * i, 0.0, 1.0)))) for i in range(6)]
    alone, predicted = Tracker(), Tracker()
    for stamp_ns, results in frames:
        predicted.predict(stamp_ns)
        priors = predicted.tracked()
        expected, got = alone.update(stamp_ns, results), predicted.update(stamp_ns, results)
        np.testing.assert_array_equal(got.results[0][1].translation, expected.results[0][1].translation)
    assert len(priors) == 1 and priors[0][1].translation[0] == pytest.approx(0.05, abs=0.01)


def test_a_frame_that_failed_after_its_prediction_may_come_again():
    tracker = Tracker()
    tracker.update(0, seen(pose("mug")))
    tracker.predict(33_000_000)  # and then the estimator failed
    tracker.predict(33_000_000)
    tracker.update(33_000_000, seen(pose("mug")))
    assert tracker.events["stamp twice"] == 0
    tracker.update(33_000_000, seen(pose("mug")))
    assert tracker.events["stamp twice"] == 1


@pytest.mark.parametrize(("before", "after", "lost"), [(3, 10, (1,)), (10, 3, ())])
def test_new_settings_lose_what_the_old_ones_had_confirmed(before, after, lost):
    tracker = Tracker(TrackerSettings(confirm_after=before))
    for i in range(5):
        tracker.update(i * 33_000_000, seen(pose("mug")))
    tracker.configure(TrackerSettings(confirm_after=after))
    assert tracker.update(200_000_000, []).lost == lost


def test_a_track_that_coasts_until_all_its_support_has_faded_has_no_score():
    tracker = Tracker(TrackerSettings(memory_s=0.001, coast_s=10, confirm_after=1, gap_s=100))
    for i in range(3):
        tracker.update(i * 33_000_000, seen(pose("mug")))
    ((_, coasting),) = tracker.update(5_000_000_000, []).coasting
    assert coasting.score == 0.0
