"""Pictures of generated views: they show the same scene as the depth, and change nothing of it."""

import numpy as np
import pytest

from training.data.appearance import LookConfig, drawn_label, drawn_look, drawn_material
from training.data.pictures import Painted, drawn_lights, smooth_normals
from training.data.renderer import CastShape, Placed, Plane, render
from training.data.row_format import GRID, TARGET, VIEW_ARRAYS
from training.data.rows import checked_arrays
from training.data.shapes import make_shape
from training.views import ViewConfig, draw_shard, generate


@pytest.fixture(scope="module")
def pictured() -> dict[str, np.ndarray]:
    return draw_shard(3, 36, ViewConfig(colour_px=72))


def test_a_shard_with_pictures_is_that_without_and_the_pictures(pictured):
    plain = draw_shard(3, 36)
    assert set(pictured) == {*plain, "colour"} and set(plain) == {*VIEW_ARRAYS, "surface"}
    for name, array in plain.items():
        np.testing.assert_array_equal(pictured[name], array)
    again = draw_shard(3, 36, ViewConfig(colour_px=72))["colour"]
    np.testing.assert_array_equal(pictured["colour"], again)
    assert checked_arrays(pictured)["colour"].shape == (36, 72, 72, 3)


def test_pictures_are_black_outside_the_image_alone(pictured):
    outside = pictured["depth"] == 0
    assert outside.any() and (pictured["colour"][outside] == 0).all()
    assert pictured["colour"][~outside].any(-1).mean() > 0.999


def test_edges_of_the_picture_are_those_of_the_mask(pictured):
    """The contrast across the border of the object is larger than that beside it, in most pictures."""
    wins = []
    for colour, label in zip(pictured["colour"].astype(float), pictured["label"], strict=True):
        step = np.abs(np.diff(colour, axis=1)).sum(-1)
        border = np.diff((label == TARGET).astype(int), axis=1) != 0
        inside = (pictured["depth"][0] >= 0)[:, 1:] & ~border
        wins.append(step[border].mean() > 1.3 * step[inside].mean())
    assert np.mean(wins) > 0.8


def test_pictures_differ_as_cameras_and_lights_do(pictured):
    means = pictured["colour"].reshape(36, -1, 3).mean(1)
    assert np.ptp(means.mean(1)) > 60 and np.ptp(means[:, 0] - means[:, 2]) > 40


def test_rays_beside_the_sphere_of_a_shape_need_not_be_cast():
    rng = np.random.default_rng(0)
    bodies = [CastShape(make_shape(name, rng)) for name in ("mug", "laptop", "bottle")]
    placed = [Placed(body, np.eye(3), np.array([0.1 * i - 0.1, 0.0, 0.8])) for i, body in enumerate(bodies)]
    directions = np.column_stack([rng.uniform(-0.5, 0.5, (4000, 2)), np.ones(4000)])
    plane = [Plane(np.array([0.0, 0.0, 1.0]), 1.5)]
    all_of, narrowed = render(directions, placed, plane), render(directions, placed, plane, narrowed=True)
    for whole, part in zip(all_of, narrowed, strict=True):
        np.testing.assert_allclose(whole, part, atol=1e-6)
    assert (all_of[1] >= 0).sum() > 200


def test_normals_are_smooth_on_round_shapes_and_flat_on_edges():
    can = make_shape("can", np.random.default_rng(1))
    painted = Painted.of(CastShape(can), drawn_look(can, np.random.default_rng(0)))
    corners = can.vertices[can.faces].astype(float)
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1)
    large = np.flatnonzero(areas > np.quantile(areas, 0.7))
    centres = corners[large].mean(1).astype(np.float32)
    normals = painted.normals(centres, large)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    flat, _ = smooth_normals(can.vertices, can.faces)
    assert np.abs((normals * flat[large]).sum(1)).min() > 0.7


@pytest.mark.parametrize("category", ["bottle", "camera", "laptop"])
def test_looks_are_colours_whatever_is_drawn(category):
    for seed in range(12):
        rng = np.random.default_rng(seed)
        shape = make_shape(category, rng)
        look = drawn_look(shape, rng, LookConfig(labelled=1.0))
        points = rng.uniform(-0.5, 0.5, (200, 3)).astype(np.float32) * shape.size
        normals = rng.normal(size=(200, 3)).astype(np.float32)
        albedo = look.albedo(points, normals, rng.integers(0, 4, 200))
        assert albedo.shape == (200, 3) and albedo.min() >= 0 and albedo.max() <= 1 + 1e-6


def test_a_metal_has_no_pattern_of_darkness_and_a_label_has_strokes():
    metals = [drawn_material(np.random.default_rng(i), LookConfig(metal=1.0), 0.1) for i in range(20)]
    assert all(one.metal and one.colours.min() > 0.3 and one.reflection > 0.5 for one in metals)
    spread = [drawn_label(np.random.default_rng(i)).std((0, 1)).max() for i in range(20)]
    assert np.median(spread) > 0.05


def test_light_falls_on_what_faces_it():
    lights = drawn_lights(np.array([0.0, -1.0, 0.0]), np.random.default_rng(0))
    facing, away = lights.directions[:1], -lights.directions[:1]
    lit, rough = np.ones(1, np.float32), np.full(1, 0.05, np.float32)
    assert (lights.diffuse(facing, lit) > lights.diffuse(facing, 0 * lit)).all()
    np.testing.assert_allclose(lights.diffuse(away, lit), lights.diffuse(away, 0 * lit), atol=1e-6)
    assert (lights.around(facing, rough) > lights.around(away, rough)).all()


def test_pictures_come_by_an_option_and_their_side_is_bounded(tmp_path):
    generate(tmp_path, views=6, shard_views=6, workers=1, colour_px=32)
    with np.load(tmp_path / "shard_100000.npz", allow_pickle=False) as shard:
        assert shard["colour"].shape == (6, 32, 32, 3) and shard["depth"].shape == (6, GRID, GRID)
    with pytest.raises(ValueError, match=r"colour_px: expected 0 \(no pictures\) or 16 to 224, got 500"):
        generate(tmp_path, views=6, colour_px=500)
