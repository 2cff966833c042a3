"""Generated table-top scenes: what their rows promise."""

import numpy as np
import pytest

from training.data.renderer import CastShape, Placed
from training.data.scene_background import person_arm
from training.data.scene_format import (
    DEPTH_UNIT_M,
    HEIGHT,
    IGNORED,
    MOST_OBJECTS,
    OTHER_CATEGORY,
    SCENE_ARRAYS,
    SEGMENT_CATEGORIES,
    WIDTH,
)
from training.data.shapes.mesh import box
from training.data.shapes.other import FAMILIES, other
from training.data.shapes.shape import BODY, assembled
from training.data.unevenness import Unevenness, seen_depth
from training.scenes import SceneConfig, draw_shard, generate, shard_path


@pytest.fixture(scope="module")
def shard():
    return draw_shard(seed=3, scenes=12)


def test_a_shard_has_the_arrays_that_are_documented(shard):
    assert set(shard) == set(SCENE_ARRAYS)
    assert shard["depth"].shape == shard["label"].shape == (12, HEIGHT, WIDTH)
    assert shard["depth"].dtype == np.uint16 and shard["label"].dtype == shard["category"].dtype == np.uint8
    assert shard["category"].shape == (12, MOST_OBJECTS) and shard["intrinsics"].shape == (12, 4)


def test_objects_are_numbered_from_one_and_show_enough_to_be_asked_for(shard):
    for label, category in zip(shard["label"], shard["category"]):
        numbers = [number for number in np.unique(label) if 0 < number < IGNORED]
        assert numbers == list(range(1, len(numbers) + 1))
        assert all((label == number).sum() >= SceneConfig.least_pixels for number in numbers)
        assert (category[: len(numbers)] < len(SEGMENT_CATEGORIES)).all()
    assert any((label > 0).any() for label in shard["label"])


def test_the_same_seed_draws_the_same_scenes(shard):
    again = draw_shard(seed=3, scenes=12)
    for name in SCENE_ARRAYS:
        np.testing.assert_array_equal(again[name], shard[name])  # NaN, an unknown height, equals itself


def test_objects_stand_before_what_is_behind_them():
    """Of most objects, the median is nearer than that of the background around them."""
    rows = draw_shard(seed=5, scenes=12, config=SceneConfig(furniture=0.0, dark=0.0))
    nearer = []
    for depth, label in zip(rows["depth"] * DEPTH_UNIT_M, rows["label"]):
        for number in np.unique(label[(label > 0) & (label < IGNORED)]):
            mask = label == number
            v, u = np.nonzero(mask)
            near = np.s_[max(0, v.min() - 3) : v.max() + 4, max(0, u.min() - 3) : u.max() + 4]
            around = depth[near][(label[near] == 0) & (depth[near] > 0)]
            if len(around) and (depth[mask] > 0).any():
                nearer.append(np.median(depth[mask][depth[mask] > 0]) < np.median(around))
    assert len(nearer) > 10 and np.mean(nearer) > 0.75


def test_empty_scenes_have_no_objects():
    rows = draw_shard(seed=4, scenes=4, config=SceneConfig(empty=1.0))
    assert not rows["label"].any()


def test_people_reach_into_scenes_and_are_no_objects():
    empty = {"empty": 1.0, "furniture": 0.0, "gripper": 0.0}
    alone, reached = (draw_shard(seed=4, scenes=6, config=SceneConfig(**empty, hands=hands)) for hands in (0.0, 1.0))
    assert not reached["label"].any()
    assert (alone["depth"] != reached["depth"]).any(axis=(1, 2)).sum() >= 4  # an arm may miss the image


def test_an_arm_ends_at_the_table_and_is_as_long_as_a_persons():
    rng = np.random.default_rng(1)
    for _ in range(8):
        cast, rotation, centre = person_arm(rng, np.array([0.3, -0.2]))
        points = cast.shape.vertices @ rotation.T + centre
        assert points[:, 1].min() > 0 and 0.7 < np.ptp(points, axis=0).max() < 1.5
        assert np.hypot(*(points[:, [0, 2]] - (0.3, -0.2)).T).min() < 0.06  # the wrist


def test_through_a_sieve_one_sees_what_is_behind_and_a_lumpy_surface_keeps_its_place():
    shape = assembled("laptop", [(box(0.005, 0.2, 0.3), BODY)])
    facing = np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    item = Placed(CastShape(shape), facing, np.array([0.0, 0.0, 1.0]))
    u, v = np.meshgrid(np.linspace(-0.149, 0.149, 60), np.linspace(-0.099, 0.099, 40))
    rays = np.stack([u, v, np.ones_like(u)], axis=-1).reshape(-1, 3)
    whole = seen_depth(rays, item, None)
    field = np.random.default_rng(1).normal(0, 1.4, (1, 11, 16)).repeat(2, axis=0)
    sieve = seen_depth(rays, item, Unevenness(field, shape.size, level=0.0, margin=0.06, lump_m=0.0))
    assert np.isfinite(whole).all() and 0.3 < np.isfinite(sieve).mean() < 0.8
    assert np.isfinite(sieve[np.abs(v.ravel()) > 0.097]).all()  # the frame is whole
    seen = np.isfinite(sieve)
    np.testing.assert_allclose(sieve[seen], whole[seen], atol=0.006)  # its front, or its back through a slanted hole
    lumpy = seen_depth(rays, item, Unevenness(field, shape.size, level=np.inf, margin=0.0, lump_m=0.002))
    assert 0.0005 < (lumpy - whole).std() < 0.004


def test_the_surface_that_things_stand_on_is_stored(shard):
    assert shard["surface"].shape == (12, 4)
    np.testing.assert_allclose(np.linalg.norm(shard["surface"][:, :3], axis=1), 1, atol=1e-4)


def test_shards_that_are_there_are_kept(tmp_path):
    generate(tmp_path, scenes=2, shard_scenes=1, workers=1)
    paths = [shard_path(tmp_path, seed) for seed in (100_000, 100_001)]
    before = [path.stat().st_mtime_ns for path in paths]
    generate(tmp_path, scenes=2, shard_scenes=1, workers=1)
    assert [path.stat().st_mtime_ns for path in paths] == before
    paths[0].write_bytes(paths[0].read_bytes()[:2000])
    with pytest.raises(ValueError, match="expected a shard, got one that is cut off after 2000 bytes"):
        generate(tmp_path, scenes=2, shard_scenes=1, workers=1)


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.__name__)
def test_what_is_of_no_category_has_the_size_of_things_on_tables(family):
    rng = np.random.default_rng(2)
    for _ in range(5):
        shape = assembled(OTHER_CATEGORY, family(rng))
        assert (shape.size > 0.003).all() and shape.size.max() < 0.6
        assert np.isfinite(shape.vertices).all() and shape.faces.max() < len(shape.vertices)
    assert other(rng).category == OTHER_CATEGORY
