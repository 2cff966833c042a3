import numpy as np
import pytest

from clipose_ros.core.sampling import random_strata, stratified_indices, within_radius


def strata(samples=1024, seed=0):
    return random_strata(samples, np.random.default_rng(seed))


def test_the_same_seed_draws_the_same_indices_bit_for_bit():
    first = stratified_indices(5000, strata(seed=7))
    assert first.tobytes() == stratified_indices(5000, strata(seed=7)).tobytes()
    assert first.tobytes() != stratified_indices(5000, strata(seed=8)).tobytes()


def test_one_index_falls_in_every_stratum():
    indices = stratified_indices(4096, strata())
    np.testing.assert_array_equal(indices // 4, np.arange(1024))


def test_several_draws_at_once_are_draws_one_after_the_other():
    rng = np.random.default_rng(3)
    np.testing.assert_array_equal(strata((4, 100), seed=3), [random_strata(100, rng) for _ in range(4)])
    assert stratified_indices(500, strata((4, 100))).shape == (4, 100)


def test_several_clouds_at_once_are_one_after_the_other():
    counts, places = np.array([5, 3000, 1024]), strata((2, 100))
    together = stratified_indices(counts[:, None, None], places)
    np.testing.assert_array_equal(together, [stratified_indices(count, places) for count in counts.tolist()])
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        stratified_indices(np.array([[3], [0]]), strata(100))


@pytest.mark.parametrize("count", [1, 32, 1023, 1024, 1025, 307200])
def test_indices_are_in_range_and_a_small_cloud_is_used_completely(count):
    indices = stratified_indices(count, strata())
    assert indices.shape == (1024,) and indices.min() >= 0 and indices.max() < count
    if count <= 512:
        assert len(np.unique(indices)) == count


def test_an_empty_cloud_is_refused():
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        stratified_indices(0, strata())


def test_background_behind_the_object_is_cut():
    rng = np.random.default_rng(0)
    object_points = rng.uniform(-0.05, 0.05, (3, 900)) + [[0], [0], [1.0]]
    background = rng.uniform(-0.05, 0.05, (3, 200)) + [[0], [0], [1.4]]
    inside = within_radius(np.concatenate([object_points, background], axis=1), [0, 1100], [0.15])
    np.testing.assert_array_equal(inside, np.arange(1100) < 900)
    assert within_radius(np.zeros((3, 0)), [0, 0], [0.1]).shape == (0,)


def test_clouds_side_by_side_are_cut_each_by_its_own_radius():
    points, bounds, radii = (
        np.random.default_rng(1).normal(size=(3, 4000)).astype(np.float32),
        [0, 1000, 1000, 3500, 4000],
        [0.5, 1.0, 1.5, 2.0],
    )
    alone = [within_radius(points[:, a:b], [0, b - a], [radius]) for a, b, radius in zip(bounds, bounds[1:], radii)]
    np.testing.assert_array_equal(within_radius(points, bounds, radii), np.concatenate(alone))
    assert [0 < part.sum() < len(part) for part in alone] == [True, False, True, True]
