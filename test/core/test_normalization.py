import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.core.normalization import (
    HEIGHT_LIMIT,
    facing_rotation,
    from_network,
    known_ground,
    level_rotation,
    to_network,
    to_pose_frame,
    view_rotation,
)

RNG = np.random.default_rng(0)
CENTRES = RNG.uniform([-1, -1, 0.3], [1, 1, 2], (20, 3))
UPS = Rotation.from_euler("xz", RNG.uniform(-80, 80, (20, 2)), degrees=True).as_matrix() @ [0, -1.0, 0]
TABLES = np.concatenate([UPS, (UPS * CENTRES).sum(1)[:, None] - 0.05], axis=1)  # 5 cm below the centres


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


def test_in_the_level_frame_up_is_minus_y_and_the_line_of_sight_is_forward():
    R_level_camera = level_rotation(CENTRES, UPS)
    np.testing.assert_allclose(np.linalg.det(R_level_camera), 1)
    np.testing.assert_allclose(np.einsum("bij,bj->bi", R_level_camera, UPS), np.tile([0, -1.0, 0], (20, 1)), atol=1e-12)
    sight = np.einsum("bij,bj->bi", R_level_camera, CENTRES)
    np.testing.assert_allclose(sight[:, 0], 0, atol=2e-3 * np.linalg.norm(CENTRES, axis=1).max())
    assert (sight[:, 2] > 0).all()


def test_a_camera_that_looks_straight_down_has_a_level_frame_too():
    (rotation,) = level_rotation(np.array([[0, 0, 1.0]]), np.array([[0, 0, -1.0]]))
    # the top of the image is ahead
    np.testing.assert_allclose(rotation, [[1, 0, 0], [0, 0, 1], [0, -1, 0]], atol=1e-12)


def test_for_a_level_line_of_sight_both_frames_are_the_same():
    ahead, up = np.array([[0.3, 0, 0.8]]), np.array([[0, -1.0, 0]])
    np.testing.assert_allclose(level_rotation(ahead, up), view_rotation(ahead), atol=1e-12)


def test_a_network_is_told_what_is_known_of_the_surface():
    centre = np.array([[0, 0, 1.0]] * 4)
    down = np.sqrt(0.5) * np.array([0, -1.0, -1.0])  # the camera looks down by 45°
    height = np.sqrt(0.5) * -1.0 - 0.1
    surface = np.array([[*down, height], [*down, np.nan], [0, 0, 0, 0], [*down, -9]])
    np.testing.assert_allclose(
        known_ground(centre, surface, np.full(4, 0.2)),
        [[1, np.sqrt(0.5), 1, 0.5], [1, np.sqrt(0.5), 0, 0], [0, 0, 0, 0], [1, np.sqrt(0.5), 1, HEIGHT_LIMIT]],
        atol=1e-6,
    )


@pytest.mark.parametrize("surface", [None, TABLES, TABLES * (np.arange(20) % 2)[:, None]], ids=["none", "all", "some"])
def test_the_pose_seen_in_the_frame_of_the_network_comes_back_in_the_camera_frame(surface):
    """Points of a known pose, normalised; the pose that maps the model onto the normalised points must come back as it
    was.
    """
    rotation = Rotation.random(20, random_state=0).as_matrix()
    translation = CENTRES + RNG.normal(scale=0.01, size=(20, 3))
    scale = RNG.uniform(0.1, 0.4, 20)
    model = RNG.uniform(-0.1, 0.1, (64, 3))
    points = np.einsum("bij,nj->bni", rotation, model) + translation[:, None]
    normalised, centre, R_network_camera, ground = to_network(points, scale, surface)
    assert (ground[:, 0] == (0 if surface is None else surface.any(axis=1))).all()
    offset = np.einsum("bij,bj->bi", R_network_camera, translation - centre) / scale[:, None]
    expected = np.einsum("bij,nj->bni", R_network_camera @ rotation, model) / scale[:, None, None] + offset[:, None]
    np.testing.assert_allclose(normalised, expected, atol=1e-6)
    R_camera_object, t_camera_object = from_network(
        R_network_camera @ rotation, offset, centre, R_network_camera, scale
    )
    np.testing.assert_allclose(R_camera_object, rotation, atol=1e-12)
    np.testing.assert_allclose(t_camera_object, translation, atol=1e-12)


def test_in_the_frame_of_a_pose_nothing_is_left_of_it():
    """The true pose is the identity there, and comes back from it; what is told is that of the world, seen from it."""
    rotation = Rotation.random(20, random_state=1).as_matrix()
    scale, model = RNG.uniform(0.1, 0.4, 20), RNG.uniform(-0.1, 0.1, (64, 3))
    points = np.einsum("bij,nj->bni", rotation, model) + CENTRES[:, None]
    normalised, centre, R_network_camera, place = to_pose_frame(points, scale, rotation, CENTRES, TABLES)
    np.testing.assert_allclose(normalised, model / scale[:, None, None], atol=1e-5)
    identity, nothing = np.tile(np.eye(3), (20, 1, 1)), np.zeros((20, 3))
    R_camera_object, t_camera_object = from_network(identity, nothing, centre, R_network_camera, scale)
    np.testing.assert_allclose(R_camera_object, rotation, atol=1e-12)
    np.testing.assert_allclose(t_camera_object, CENTRES, atol=1e-12)
    np.testing.assert_allclose(place[:, [0, 2, 1]], known_ground(CENTRES, TABLES, scale)[:, [0, 3, 2]], atol=1e-6)
    np.testing.assert_allclose(place[:, 3:6], np.einsum("bji,bj->bi", rotation, TABLES[:, :3]), atol=1e-6)
    sight = np.einsum("bij,bj->bi", rotation, place[:, 6:]) * np.linalg.norm(CENTRES, axis=1)[:, None]
    np.testing.assert_allclose(sight, CENTRES, atol=1e-6)
    unknown = to_pose_frame(points, scale, rotation, CENTRES)[3]
    assert not unknown[:, :6].any() and (unknown[:, 6:] == place[:, 6:]).all()


def test_x_faces_the_camera_and_y_stays():
    rotation = Rotation.random(20, random_state=2).as_matrix()
    rotation[0] = np.diag([1, -1, -1]) @ [[1, 0, 0], [0, 0, 1], [0, -1, 0]]  # seen along y
    centre = CENTRES.copy()
    centre[0] = [0, 0, 1]
    facing = facing_rotation(rotation, centre)
    np.testing.assert_allclose(facing[:, :, 1], rotation[:, :, 1], atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(facing), 1, atol=1e-9)
    seen = np.einsum("bij,bi->bj", facing, -centre)  # the camera's place in the frames of the objects
    np.testing.assert_allclose(seen[:, 2], 0, atol=1e-5)
    assert (seen[:, 0] >= -1e-5).all()


def test_the_same_object_on_another_line_of_sight_looks_the_same():
    points = RNG.uniform(-0.1, 0.1, (1, 101, 3)) + [0, 0, 1.0]
    turn = Rotation.from_euler("y", 25, degrees=True).as_matrix()
    first, *_ = to_network(points, np.array([0.2]))
    # The coordinate-wise median is not rotation invariant: compare shapes about their means, to which it adds only an
    # offset and a turn of that size.
    second, *_ = to_network(points @ turn.T, np.array([0.2]))
    np.testing.assert_allclose(first - first.mean(axis=1), second - second.mean(axis=1), atol=0.02)


def test_a_batch_is_its_members():
    points = RNG.uniform(-0.1, 0.1, (3, 50, 3)) + CENTRES[:3, None]
    scale = np.array([0.1, 0.2, 0.3])
    batch, *_ = to_network(points, scale)
    for i in range(3):
        np.testing.assert_allclose(batch[i], to_network(points[i : i + 1], scale[i : i + 1])[0][0], atol=1e-6)
