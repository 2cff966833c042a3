import math

import numpy as np
import pytest

from clipose_ros.core.vectors import cross, crosses, dot, inner, median_point, unit

RNG = np.random.default_rng(0)


def test_products_are_those_of_numpy():
    a, b = RNG.normal(size=(2, 7, 3))
    np.testing.assert_allclose([cross(*pair) for pair in zip(a.tolist(), b.tolist())], np.cross(a, b), atol=1e-15)
    np.testing.assert_allclose(
        [inner(*pair) for pair in zip(a.tolist(), b.tolist())], np.sum(a * b, axis=-1), atol=1e-15
    )
    np.testing.assert_allclose(dot(a, b), np.sum(a * b, axis=-1), atol=1e-15)


@pytest.mark.parametrize(("vector", "expected"), [((0.0, 3.0, 4.0), [0, 0.6, 0.8]), ((1e-6, 0.0, 0.0), [1, 0, 0])])
def test_unit_vectors_keep_their_direction(vector, expected):
    assert unit(vector) == pytest.approx(expected)


@pytest.mark.parametrize("vector", [(0.0, 0.0, 0.0), (1e-10, 0.0, 0.0), (math.nan, 1.0, 0.0), (math.inf, 0.0, 0.0)])
def test_what_has_no_direction_has_no_unit_vector(vector):
    assert unit(vector) is None


@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("count", [1, 2, 5, 1023])
def test_the_median_point_is_the_median_of_numpy_or_the_next_point_above(count, layout):
    points = np.asarray(RNG.normal(size=(4, count, 3)), order=layout)
    expected = np.sort(points, axis=1)[:, count // 2]
    np.testing.assert_array_equal(median_point(points), expected)
    if count % 2:
        np.testing.assert_array_equal(expected, np.median(points, axis=1))


@pytest.mark.parametrize("shape", [(3,), (1, 3), (5, 3), (2, 4, 3)])
def test_crosses_are_those_of_numpy_bit_for_bit(shape):
    a, b = np.random.default_rng(3).normal(size=(2, *shape))
    np.testing.assert_array_equal(crosses(a, b), np.cross(a, b))
