from collections import Counter

import numpy as np
import pytest
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from clipose_ros.core.types import Instance, PoseEstimate, TrackedPose, TrackState
from clipose_ros.ros.markers import Markers

HEADER = Header(frame_id="optical")


def pose(label, id=""):
    return Instance(label, "can", id=id), PoseEstimate(
        "can", 0.9, np.eye(3), np.array([0.0, 0.0, 1.0]), np.array([0.06, 0.12, 0.08])
    )


def keys(message, action):
    return {(marker.ns, marker.id) for marker in message.markers if marker.action == action}


def test_surplus_markers_and_only_they_are_deleted():
    markers = Markers(lifetime_s=1.0)
    first = markers.message([pose(1), pose(2)], HEADER)
    second = markers.message([pose(2)], HEADER)
    assert keys(first, Marker.DELETE) == set()
    assert keys(second, Marker.DELETE) == {("box", 1), ("axes", 1), ("label", 1)}
    assert keys(second, Marker.ADD) == {("box", 2), ("axes", 2), ("label", 2)}
    assert keys(markers.message([], HEADER), Marker.DELETE) == {("box", 2), ("axes", 2), ("label", 2)}
    assert markers.message([], HEADER).markers == []


def test_ids_follow_the_object_and_not_the_label():
    markers = Markers(lifetime_s=1.0)
    first = keys(markers.message([pose(1, "a"), pose(2, "b")], HEADER), Marker.ADD)
    second = markers.message([pose(1, "b"), pose(2, "a")], HEADER)
    assert len(first) == 6
    assert keys(second, Marker.ADD) == first and keys(second, Marker.DELETE) == set()


def test_box_axes_and_header():
    message = Markers(lifetime_s=1.5).message([pose(1)], HEADER)
    box, axes, label = message.markers
    ends = np.array([(p.x, p.y, p.z) for p in box.points])
    np.testing.assert_allclose(np.abs(ends), np.tile([0.03, 0.06, 0.04], (24, 1)))
    # three edges meet in each corner
    assert Counter(map(tuple, ends.tolist())) == Counter(dict.fromkeys(set(map(tuple, ends.tolist())), 3))
    lengths = np.linalg.norm(ends[::2] - ends[1::2], axis=1)
    np.testing.assert_allclose(np.sort(lengths), np.sort([0.06, 0.12, 0.08] * 4))
    assert [(c.r, c.g, c.b) for c in axes.colors[::2]] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]
    np.testing.assert_allclose([(p.x, p.y, p.z) for p in axes.points[1::2]], np.diag([0.03, 0.06, 0.04]))
    assert "can" in label.text
    for marker in message.markers:
        assert marker.header == HEADER and marker.pose.position.z == 1.0
        assert marker.lifetime.sec + marker.lifetime.nanosec / 1e9 == pytest.approx(1.5)


def test_a_track_keeps_its_markers_and_a_predicted_one_looks_and_reads_different():
    def tracked(track, state, age_ns=0):
        instance, estimate = pose(1, "a")
        known = {**vars(estimate), "covariance": np.eye(6)}
        return instance, TrackedPose(**known, track=track, state=state, age_ns=age_ns)

    markers = Markers(lifetime_s=1.0)
    measured = markers.message([tracked(5, TrackState.CONFIRMED)], HEADER)
    predicted = markers.message(
        [tracked(5, TrackState.COASTING, 400_000_000), tracked(6, TrackState.TENTATIVE)], HEADER
    )
    assert keys(measured, Marker.ADD) == {("box", 5), ("axes", 5), ("label", 5)}
    assert len(keys(predicted, Marker.ADD)) == 6 and keys(predicted, Marker.DELETE) == set()
    seen, ghost, new = measured.markers[0], predicted.markers[0], predicted.markers[3]
    assert seen.color == new.color != ghost.color
    assert predicted.markers[2].text == "can a not seen for 0.4 s"
