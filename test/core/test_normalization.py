import numpy as np
from scipy.spatial.transform import Rotation

from clipose_ros.core.normalization import from_view, to_view, view_rotation

RNG = np.random.default_rng(0)
CENTRES = RNG.uniform([-1, -1, 0.3], [1, 1, 2], (20, 3))


def test_the_line_of_sight_becomes_z():
    R_view_camera = view_rotation(CENTRES)
    distance = np.linalg.norm(CENTRES, axis=1)
    np.testing.assert_allclose(
        np.einsum("bij,bj->bi", R_view_camera, CENTRES), distance[:, None] * [0, 0, 1], atol=1e-12
    )
    np.testing.assert_allclose(
        R_view_camera @ R_view_camera.transpose(0, 2, 1), np.broadcast_to(np.eye(3), (20, 3, 3)), atol=1e-12
    )


def test_it_is_the_smallest_such_rotation():
    angle = Rotation.from_matrix(view_rotation(CENTRES)).magnitude()
    np.testing.assert_allclose(angle, np.arccos(CENTRES[:, 2] / np.linalg.norm(CENTRES, axis=1)), atol=1e-9)


def test_the_pose_seen_in_the_view_frame_comes_back_in_the_camera_frame():
    """Points of a known pose, normalised; the pose that maps the model onto the normalised points must come back as it
    was.
    """
    rotation = Rotation.random(20, random_state=0).as_matrix()
    translation = CENTRES + RNG.normal(scale=0.01, size=(20, 3))
    scale = RNG.uniform(0.1, 0.4, 20)
    model = RNG.uniform(-0.1, 0.1, (64, 3))
    points = np.einsum("bij,nj->bni", rotation, model) + translation[:, None]
    normalised, centre, R_view_camera = to_view(points, scale)
    offset = np.einsum("bij,bj->bi", R_view_camera, translation - centre) / scale[:, None]
    expected = np.einsum("bij,nj->bni", R_view_camera @ rotation, model) / scale[:, None, None] + offset[:, None]
    np.testing.assert_allclose(normalised, expected, atol=1e-6)
    R_camera_object, t_camera_object = from_view(R_view_camera @ rotation, offset, centre, R_view_camera, scale)
    np.testing.assert_allclose(R_camera_object, rotation, atol=1e-12)
    np.testing.assert_allclose(t_camera_object, translation, atol=1e-12)


def test_the_same_object_on_another_line_of_sight_looks_the_same():
    points = RNG.uniform(-0.1, 0.1, (1, 101, 3)) + [0, 0, 1.0]
    turn = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    first, _, _ = to_view(points, np.array([0.2]))
    # The coordinate-wise median is not rotation invariant: compare shapes about their means, to which it adds only an
    # offset and a turn of that size.
    second, _, _ = to_view(points @ turn.T, np.array([0.2]))
    np.testing.assert_allclose(first - first.mean(axis=1), second - second.mean(axis=1), atol=0.02)


def test_a_batch_is_its_members():
    points = RNG.uniform(-0.1, 0.1, (3, 50, 3)) + CENTRES[:3, None]
    scale = np.array([0.1, 0.2, 0.3])
    batch, _, _ = to_view(points, scale)
    for i in range(3):
        np.testing.assert_allclose(batch[i], to_view(points[i : i + 1], scale[i : i + 1])[0][0], atol=1e-6)
