"""What a tracker keeps to whatever it is shown: any results, any order of stamps, resets between."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import nocs_symmetry
from clipose_ros.core.types import Instance, PoseEstimate, Rejection, TrackedPose
from clipose_ros.tracking.filter import FASTEST, MotionModel
from clipose_ros.tracking.tracker import Tracker, TrackerSettings

MS = 1_000_000
ROTATIONS = Rotation.random(24, random_state=0).as_matrix()
CATEGORIES = st.sampled_from(("mug", "can", "camera"))
COORDINATES = st.sampled_from((-0.4, -0.01, 0.0, 0.01, 0.02, 0.4)) | st.floats(-3, 3)


@st.composite
def results(draw, label):
    """A pose among few places and many rotations, so that some frames agree and others do not; or a rejection."""
    category = draw(CATEGORIES)
    instance = Instance(label, category, id=draw(st.sampled_from(("", "a", "b"))))
    if draw(st.booleans()) and draw(st.booleans()):
        return instance, Rejection(category, "points: expected at least 32, got 3")
    position = np.array([draw(COORDINATES), draw(COORDINATES), draw(st.sampled_from((0.5, 1.0)) | st.floats(0.1, 5))])
    size = np.array([draw(st.sampled_from((0.1, 0.12)) | st.floats(1e-3, 1)) for _ in range(3)])
    return instance, PoseEstimate(category, draw(st.floats(0, 1)), ROTATIONS[draw(st.integers(0, 23))], position, size)


@st.composite
def frames(draw):
    """Steps of time [ns], mostly forward, with the results of a frame; None for a reset."""
    if draw(st.integers(0, 9)) == 0:
        return None
    step_ns = draw(
        st.sampled_from((33 * MS, 66 * MS, 66 * MS, 0, -1, -500 * MS, 600 * MS, 3000 * MS))
        | st.integers(-(10**15), 10**15)
    )
    return step_ns, [draw(results(label)) for label in range(1, 1 + draw(st.integers(0, 3)))]


@st.composite
def settings(draw):
    limits = st.sampled_from((MotionModel.acceleration, MotionModel.acceleration, 1e-9, FASTEST))
    return TrackerSettings(MotionModel(draw(limits), draw(limits)), confirm_after=draw(st.integers(1, 3)))


@given(st.lists(frames(), max_size=8), settings())
def test_whatever_comes_tracks_stay_tracks(sequence, settings):
    tracker, stamp_ns, newest, ended = Tracker(settings, nocs_symmetry), 10**18, 0, set()
    before = set()
    for step in sequence:
        if step is None:
            tracker.reset()
            continue
        stamp_ns += step[0]
        frame = tracker.update(stamp_ns, step[1])
        assert [instance for instance, _ in frame.results] == [instance for instance, _ in step[1]]
        for (_, given_), (_, result) in zip(step[1], frame.results):
            assert (
                result is given_
                if isinstance(given_, Rejection)
                else isinstance(result, TrackedPose) and result.category == given_.category
            )
        tracked = [pose for _, pose in (*frame.results, *frame.coasting) if isinstance(pose, TrackedPose)]
        numbers = [pose.track for pose in tracked]
        assert len(set(numbers)) == len(numbers)
        assert all(number > newest for number in set(numbers) - before) and not ended & set(numbers)
        assert set(frame.lost) <= before and not set(frame.lost) & set(numbers)
        ended |= before - set(numbers)
        before, newest = set(numbers), max([newest, *numbers])
        for pose in tracked:
            check_pose(pose)


def check_pose(pose):
    np.testing.assert_allclose(pose.rotation.T @ pose.rotation, np.eye(3), atol=1e-6)
    assert np.isfinite(pose.translation).all() and (pose.size > 0).all() and 0 <= pose.score <= 1 and pose.age_ns >= 0
    np.testing.assert_array_equal(pose.covariance, pose.covariance.T)
    eigenvalues = np.linalg.eigvalsh(pose.covariance)
    assert eigenvalues.min() >= -1e-12 * max(1.0, eigenvalues.max())
