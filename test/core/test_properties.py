"""What the core does for any input, against plain references: hypothesis looks for the input for which it does not."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from clipose_ros.core.backprojection import DepthRange, backproject
from clipose_ros.core.decoding import rotation_from_normals
from clipose_ros.core.sampling import stratified_indices, within_radius
from clipose_ros.core.types import Detections, Frame, Instance, Intrinsics

SHAPES = npst.array_shapes(min_dims=2, max_dims=2, max_side=6)
METRES = (
    st.floats(width=32)
    | st.sampled_from([np.nan, np.inf, -np.inf, 0.0, -0.0, -1.0, 5.0])
    | st.floats(0.0625, 6.0, width=32)
)
COMPONENTS = st.floats(-1, 1) | st.sampled_from([-1.0, 0.0, 1.0])
DIRECTIONS = st.tuples(COMPONENTS, COMPONENTS, COMPONENTS) | st.tuples(
    st.floats(), st.sampled_from([0.0, 1e-300, 1e300]), COMPONENTS
)
CONFIDENCES = st.floats(0, 1) | st.sampled_from([0.0, -0.25, 1.0, np.nan])


@st.composite
def frames(draw):
    """Any depth in either unit, any labels of any integer type, instances that may be in the image or not."""
    shape = draw(SHAPES)
    depth = draw(npst.arrays(np.float32, shape, elements=METRES) | npst.arrays(np.uint16, shape))
    label_type = draw(st.sampled_from([np.uint8, np.uint16, np.int32]))
    labels = draw(npst.arrays(label_type, shape, elements=st.integers(0, 4) | st.just(200)))
    instances = draw(st.lists(st.sampled_from([1, 2, 3, 4, 200, 65535]), unique=True, max_size=4))
    focal, centre = st.floats(1, 5000), st.floats(-1000, 1000)
    intrinsics = Intrinsics(draw(focal), draw(focal), draw(centre), draw(centre))
    found = Detections(tuple(Instance(label, "mug") for label in instances), labels)
    return Frame(0, "optical", depth, intrinsics), found


@given(frames())
def test_backprojection_is_the_plain_loop(scene):
    frame, detections = scene
    metres, K = frame.depth / 1000 if frame.depth.dtype == np.uint16 else frame.depth.astype(float), frame.intrinsics
    limits = DepthRange()
    for instance, (cloud, _) in zip(detections.instances, backproject(*scene, limits), strict=True):
        pixels = [
            (u, v, metres[v, u])
            for v in range(metres.shape[0])
            for u in range(metres.shape[1])
            if detections.masks[v, u] == instance.label
        ]
        edges = [z for *_, z in pixels if min(abs(z - limits.minimum), abs(z - limits.maximum)) < 1e-6]
        assume(not edges)  # float32 may round a depth on the limit to either side
        expected = [
            ((u - K.cx) / K.fx * z, (v - K.cy) / K.fy * z, z)
            for u, v, z in pixels
            if limits.minimum <= z <= limits.maximum
        ]
        assert cloud.dtype == np.float32
        np.testing.assert_allclose(cloud, np.reshape(expected, (-1, 3)), rtol=1e-5, atol=1e-5)


@given(st.integers(1, 400), npst.arrays(np.float64, st.integers(1, 100), elements=st.floats(0, 1, exclude_max=True)))
def test_indices_are_spread_over_the_whole_cloud(count, places):
    """Whatever place is drawn in each stratum, first and last included."""
    N = len(places)
    indices = stratified_indices(count, (np.arange(N) + places) / N)
    assert indices.shape == (N,) and indices.min() >= 0 and indices.max() < count and (np.diff(indices) >= 0).all()
    begin, end = np.arange(N) * count / N, (np.arange(N) + 1) * count / N
    assert (indices >= np.floor(begin - 1e-6)).all() and (indices <= end + 1e-6).all()
    if 2 * count <= N:
        assert set(indices) == set(range(count))


@given(
    npst.arrays(np.float32, st.tuples(st.integers(0, 60), st.just(3)), elements=st.floats(-10, 10, width=32)),
    st.floats(1e-3, 20),
)
def test_within_radius_is_the_distance_to_the_median(points, radius):
    inside = within_radius(points.T, [0, len(points)], [radius])
    assert inside.shape == (len(points),) and inside.dtype == bool
    if len(points):
        median = np.sort(points.astype(float), axis=0)[len(points) // 2]  # of an even number the upper one
        distance = np.linalg.norm(points - median, axis=1)
        clear = np.abs(distance - radius) > 1e-4 * (1 + distance)
        np.testing.assert_array_equal(inside[clear], (distance <= radius)[clear])


@given(DIRECTIONS, DIRECTIONS, CONFIDENCES, CONFIDENCES)
def test_a_rotation_is_one_or_none(y, x, confidence_y, confidence_x):
    rotation = rotation_from_normals(y, x, confidence_y, confidence_x)
    directions = np.isfinite(y).all() and np.isfinite(x).all() and any(y) and any(x)
    confident = confidence_y >= 0 and confidence_x >= 0 and confidence_y + confidence_x > 0
    if not (directions and confident):
        assert rotation is None
    if rotation is not None:
        np.testing.assert_allclose(rotation.T @ rotation, np.eye(3), atol=1e-6)
        assert np.linalg.det(rotation) == pytest.approx(1)
        assert rotation[:, 1] @ y > 0 and rotation[:, 0] @ x > 0
