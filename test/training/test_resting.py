"""Objects come to rest where physics lets them, and lie as their category does."""

import numpy as np
import pytest
import trimesh
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES, NOCS_RESTS
from training.data.resting import Dropped, laid_down, resting_rotation, turned
from training.data.shapes import make_shape

RNG = np.random.default_rng(3)


def shares(directions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """How often each of -x, +x, -y, +y, -z and +z is the nearest to a direction."""
    axis = np.abs(directions).argmax(axis=1)
    side = 2 * axis + (np.take_along_axis(directions, axis[:, None], axis=1)[:, 0] > 0)
    return np.bincount(side, weights, minlength=6) / np.sum(weights)


@pytest.mark.parametrize("category", ["bottle", "camera", "laptop", "mug"])
def test_dropped_bodies_rest_as_often_as_trimesh_says(category):
    shape = make_shape(category, np.random.default_rng(1))  # of bottle 0, trimesh takes the root of a negative number
    body = trimesh.Trimesh(shape.vertices, shape.faces, process=False)
    hull = trimesh.convex.convex_hull(shape.vertices)
    poses, likely = trimesh.poses.compute_stable_poses(hull, center_mass=body.centroid, n_samples=1)
    dropped = Dropped(shape.vertices, shape.faces)
    got = shares(np.array([dropped.draw(RNG) for _ in range(3000)]), np.ones(3000))
    np.testing.assert_allclose(got, shares(-poses[:, 2, :3], likely), atol=0.04)


def test_a_brick_falls_onto_its_sides_and_stays_there():
    vertices = np.array(np.meshgrid([-0.02, 0.02], [-0.03, 0.03], [-0.1, 0.1])).reshape(3, -1).T
    dropped = Dropped(vertices, trimesh.convex.convex_hull(vertices).faces)
    downs = np.array([dropped.draw(RNG) for _ in range(2000)])
    np.testing.assert_allclose(np.abs(downs).max(axis=1), 1, atol=1e-6)
    broad, middle, end = ((np.abs(downs[:, i]) > 0.5).mean() for i in range(3))
    assert broad > middle > end > 0


@pytest.mark.parametrize("category", CATEGORIES)
def test_what_is_laid_down_rests_in_one_of_its_categorys_ways(category):
    for _ in range(50):
        x, y, z = laid_down(category, RNG)
        ways = {"y": -y, "-y": y, "x": -x, "-x": x, "z": -z, "-z": z, "side": np.hypot(x, z)}
        assert max(ways[rest] for rest in NOCS_RESTS[category]) == pytest.approx(1)


def test_the_direction_that_points_down_does_so_at_any_heading():
    down = np.array([0.6, 0.0, 0.8])
    rotations = [turned(down, RNG) for _ in range(100)]
    np.testing.assert_allclose([rotation @ down for rotation in rotations], np.tile([0, -1.0, 0], (100, 1)), atol=1e-9)
    headings = Rotation.from_matrix(rotations[0] @ np.transpose(rotations, (0, 2, 1))).as_rotvec()[:, 1]
    assert np.histogram(headings, 4, (-np.pi, np.pi))[0].min() > 10


def test_the_same_state_gives_the_same_rest():
    shape = make_shape("mug", np.random.default_rng(1))
    dropped = Dropped(shape.vertices, shape.faces)
    first, second = (resting_rotation(shape, dropped, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, second)
