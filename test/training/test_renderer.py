"""The renderer against closed forms, and views against the geometry that they claim."""

import numpy as np
import pytest

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Intrinsics
from training.data.renderer import CastShape, Placed, Plane, pixel_rays, render
from training.data.row_format import DEPTH_UNIT_M, GRID, TARGET, VIEW_ARRAYS
from training.data.shapes import make_shape
from training.views import draw_shard


def test_plane_has_the_depth_of_the_ray_equation():
    rays = pixel_rays(np.array([0.0, 100.0]), np.array([0.0, 50.0]), Intrinsics(500, 500, 50, 50))
    normal = np.array([0.0, 0.6, -0.8])
    depth, index, face = render(rays, [], [Plane(normal, -0.8)])
    np.testing.assert_allclose(depth * (rays @ normal), -0.8, rtol=1e-6)
    assert (index == -1).all() and (face == -1).all()


def test_shape_hides_the_plane_behind_it():
    shape = CastShape(make_shape("can", np.random.default_rng(0)))
    centre = np.array([0.0, 0.0, 1.0])
    depth, index, _ = render(
        np.array([[0.0, 0.0, 1.0], [0.4, 0.0, 1.0]]),
        [Placed(shape, np.eye(3), centre)],
        [Plane(np.array([0.0, 0.0, 1.0]), 2.0)],
    )
    assert index.tolist() == [0, -1]
    assert 1 - shape.shape.size[2] / 2 <= depth[0] < 1 and depth[1] == 2


@pytest.fixture(scope="module")
def shard() -> dict[str, np.ndarray]:
    return draw_shard(seed=3, views=36)


def test_shard_holds_every_array_and_category(shard):
    assert set(shard) == {*VIEW_ARRAYS, "surface"}
    assert set(shard["category"]) == set(range(len(CATEGORIES)))


def test_visible_points_lie_in_the_box_that_the_pose_describes(shard):
    for i in range(len(shard["category"])):
        row, column = np.nonzero(shard["label"][i] == TARGET)
        z = shard["depth"][i][row, column] * DEPTH_UNIT_M
        r = shard["rays"][i]
        seen = z > 0
        points = np.stack([(r[0] + r[1] * column) * z, (r[2] + r[3] * row) * z, z], axis=-1)[seen]
        local = (points - shard["translation"][i]) @ shard["rotation"][i]
        assert len(points) > 0.002 * GRID**2
        assert (np.abs(local) <= shard["size"][i] / 2 + 1e-3).all()


def test_same_seed_draws_the_same_views(shard):
    again = draw_shard(seed=3, views=36)
    for name in VIEW_ARRAYS:
        np.testing.assert_array_equal(shard[name], again[name])
