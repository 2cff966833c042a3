"""The generated shapes keep the canonical frames, are hollow where they must be, and have the sizes of real objects."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES, MEAN_SIZES
from training.data.shapes import Shape, make_shape
from training.data.shapes.bottle import flat
from training.data.shapes.camera import folding
from training.data.shapes.mesh import box, lathe
from training.data.shapes.scan import bumps, scanned, skin, sphere
from training.data.shapes.shape import BODY, DETAIL, LID, ORIENTING, assembled
from training.data.shapes.underside import standing

SEEDS = range(40)
MANY = 200  # draws that show every family

# What the objects of a category may measure: least and largest extents x, y, z [m].
SIZE_RANGES = {
    "bottle": ((0.022, 0.07, 0.022), (0.15, 0.42, 0.15)),
    "bowl": ((0.055, 0.022, 0.055), (0.26, 0.18, 0.26)),
    "camera": ((0.015, 0.03, 0.045), (0.26, 0.2, 0.22)),
    "can": ((0.035, 0.017, 0.035), (0.13, 0.29, 0.13)),
    "laptop": ((0.13, 0.05, 0.2), (0.6, 0.35, 0.48)),
    "mug": ((0.07, 0.045, 0.05), (0.21, 0.25, 0.16)),
}


@cache
def shapes(category: str, count: int = len(SEEDS)) -> list[Shape]:
    return [make_shape(category, np.random.default_rng(seed)) for seed in range(count)]


def vertices_of(shape: Shape, part: int) -> np.ndarray:
    """Vertices of one part (V, 3) [m]."""
    return shape.vertices[np.unique(shape.faces[shape.parts == part])]


def centre_of(shape: Shape, part: int) -> np.ndarray:
    """Centre of the box around one part (3,) [m]."""
    vertices = shape.vertices[np.unique(shape.faces[shape.parts == part])]
    return 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))


def heights_at(shape: Shape, x: float, z: float) -> np.ndarray:
    """Heights [m] at which a vertical ray through (x, z) meets the mesh."""
    a, b, c = (shape.vertices[shape.faces[:, corner]].astype(float) for corner in range(3))
    e1, e2, p = (b - a)[:, [0, 2]], (c - a)[:, [0, 2]], np.array([x, z]) - a[:, [0, 2]]
    area = e1[:, 0] * e2[:, 1] - e1[:, 1] * e2[:, 0]
    upright = np.abs(area) < 1e-14  # faces that the ray can only graze
    area = np.where(upright, 1.0, area)
    u = (p[:, 0] * e2[:, 1] - p[:, 1] * e2[:, 0]) / area
    v = (e1[:, 0] * p[:, 1] - e1[:, 1] * p[:, 0]) / area
    hit = ~upright & (u >= -1e-9) & (v >= -1e-9) & (u + v <= 1 + 1e-9)
    return (a[:, 1] + u * (b - a)[:, 1] + v * (c - a)[:, 1])[hit]


@pytest.mark.parametrize("category", CATEGORIES)
def test_mesh_is_valid_and_light(category):
    for shape in shapes(category):
        assert shape.category == category
        assert (shape.vertices.dtype, shape.faces.dtype, shape.parts.dtype, shape.size.dtype) == (
            np.float32,
            np.int32,
            np.uint8,
            np.float32,
        )
        assert np.isfinite(shape.vertices).all()
        assert shape.faces.min() >= 0 and shape.faces.max() < len(shape.vertices)
        assert len(shape.parts) == len(shape.faces)
        assert 500 <= len(shape.faces) <= 8000


@pytest.mark.parametrize("category", CATEGORIES)
def test_origin_is_the_centre_of_the_tight_box(category):
    for shape in shapes(category):
        used = shape.vertices[np.unique(shape.faces)]
        low, high = used.min(axis=0), used.max(axis=0)
        np.testing.assert_allclose(low + high, 0, atol=1e-6)
        np.testing.assert_allclose(shape.size, high - low, atol=1e-6)


@pytest.mark.parametrize("category", CATEGORIES)
def test_same_seed_gives_the_same_shape_and_another_seed_another(category):
    first, again, other = (make_shape(category, np.random.default_rng(seed)) for seed in (7, 7, 8))
    assert first.vertices.tobytes() == again.vertices.tobytes() and first.faces.tobytes() == again.faces.tobytes()
    assert not np.array_equal(first.size, other.size)


@pytest.mark.parametrize("category", CATEGORIES)
def test_sizes_are_those_of_real_objects(category):
    sizes = np.array([shape.size for shape in shapes(category)])
    least, largest = SIZE_RANGES[category]
    assert (sizes > least).all() and (sizes < largest).all()
    assert (sizes.min(axis=0) < MEAN_SIZES[category]).all() and (sizes.max(axis=0) > MEAN_SIZES[category]).all()
    assert (sizes.std(axis=0) > 0.07 * sizes.mean(axis=0)).all()


@pytest.mark.parametrize("category", sorted(AXIS_SYMMETRIC))
def test_axis_symmetric_categories_have_their_axis_on_y(category):
    for shape in shapes(category):
        body = vertices_of(shape, BODY)  # a pull tab or the nozzle of a detergent may lie beside the axis
        for height in np.linspace(-0.45, 0.45, 7) * shape.size[1]:
            ring = body[np.abs(body[:, 1] - height) < 0.03 * shape.size[1]]
            if len(ring):
                offset = 0.5 * (ring.min(axis=0) + ring.max(axis=0))[[0, 2]]
                np.testing.assert_allclose(offset, 0, atol=0.02 * shape.size[0])


def test_handle_is_at_plus_x():
    for shape in shapes("mug"):
        handle = shape.vertices[np.unique(shape.faces[shape.parts == ORIENTING])]
        assert handle[:, 0].max() == shape.vertices[:, 0].max()
        assert centre_of(shape, ORIENTING)[0] > 0.2 * shape.size[0]
        assert abs(centre_of(shape, ORIENTING)[2]) < 1e-3
        assert centre_of(shape, BODY)[0] < 0


def test_handle_leaves_room_for_fingers():
    for shape in shapes("mug"):
        handle = shape.vertices[np.unique(shape.faces[shape.parts == ORIENTING])]
        wall = shape.vertices[np.unique(shape.faces[shape.parts == BODY])][:, 0].max()
        assert handle[:, 0].max() - wall > 0.01


def test_lens_looks_towards_plus_x_and_the_grip_is_at_plus_z():
    grips = []
    for shape in shapes("camera"):
        assert centre_of(shape, ORIENTING)[0] > centre_of(shape, BODY)[0]
        lens = shape.vertices[np.unique(shape.faces[shape.parts == ORIENTING])]
        body = shape.vertices[np.unique(shape.faces[shape.parts == BODY])]
        assert lens[:, 0].max() > body[:, 0].min() + 0.5 * np.ptp(body[:, 0])
        grips.append(body[body[:, 0].argmax(), 2] - lens[:, 2].mean())
    assert np.mean(np.array(grips) > 0) > 0.7  # the others have no grip


def block_with_lens() -> Shape:
    body, lens = box(0.04, 0.08, 0.12), box(0.05, 0.04, 0.04).moved(x=0.04, y=0.02)
    return assembled("camera", [(body, BODY), (lens, ORIENTING)])


def test_skin_lies_on_the_outermost_surface():
    # the second one is inside
    shape = assembled("camera", [(box(0.04, 0.08, 0.12), BODY), (box(0.02, 0.02, 0.02).moved(y=0.03), DETAIL)])
    points, parts = skin(shape, np.array([0.005, 0.01, 0.0]))
    np.testing.assert_allclose(np.abs(points / (0.02, 0.04, 0.06)).max(axis=1), 1, atol=1e-4)
    assert (parts == BODY).all()


def test_skin_refuses_a_centre_outside():
    with pytest.raises(ValueError, match="centre: expected a point inside the shape, got"):
        skin(block_with_lens(), np.array([0.0, 0.2, 0.0]))


def test_sphere_is_closed_wound_outwards_and_its_mean_keeps_constants():
    points, faces, mean = sphere()
    assert len(faces) == 2 * len(points) - 4  # Euler
    assert (np.linalg.det(points[faces]) > 0).all()
    np.testing.assert_allclose(mean @ np.ones(len(points)), 1)


def test_bumps_grow_with_the_smoothing():
    edges = sphere()[1][:, :2]
    steps = [np.abs(np.diff(bumps(np.random.default_rng(0), times)[edges])).mean() for times in (1, 3, 9)]
    assert steps[0] > 1.3 * steps[1] > 1.3**2 * steps[2]


def test_scan_keeps_the_frame_about_the_size_and_the_lens_in_front():
    shape, missed = block_with_lens(), 0
    for seed in SEEDS:
        scan = assembled("camera", scanned(np.random.default_rng(seed), shape))
        np.testing.assert_allclose(scan.size, shape.size, atol=0.02)
        assert centre_of(scan, ORIENTING)[0] > centre_of(scan, BODY)[0] + 0.01
        missed += len(scan.faces) < len(sphere()[1])
    assert 0.4 * len(SEEDS) < missed < len(SEEDS)  # some have holes, some have none


def test_cameras_are_flat_and_long_as_drawn_and_as_scanned():
    sizes = np.array([shape.size for shape in shapes("camera")])
    assert np.ptp(sizes[:, 0] / sizes[:, 2]) > 0.6  # as flat as a compact, as long as a telephoto lens
    assert np.ptp(sizes[:, 1] / sizes[:, 2]) > 0.3
    scans = np.mean(
        [DETAIL in shape.parts and len(shape.vertices) < 1.1 * len(sphere()[0]) for shape in shapes("camera")]
    )
    assert 0.2 < scans < 0.8


def test_screen_is_at_minus_x_above_a_base_symmetric_in_z():
    for shape in shapes("laptop"):
        screen, base = centre_of(shape, ORIENTING), centre_of(shape, BODY)
        assert screen[0] < base[0] - 0.05 and screen[1] > base[1] + 0.04
        np.testing.assert_allclose([screen[2], base[2]], 0, atol=1e-3)
        base_vertices = shape.vertices[np.unique(shape.faces[shape.parts == BODY])]
        assert np.ptp(base_vertices[:, 1]) < 0.05 and base_vertices[:, 1].max() < 0


def test_most_screens_lean_back():
    leans = []
    for shape in shapes("laptop"):
        screen = shape.vertices[np.unique(shape.faces[shape.parts == ORIENTING])]
        leans.append(screen[screen[:, 1].argmin(), 0] - screen[screen[:, 1].argmax(), 0])
    assert np.mean(np.array(leans) > 0.02) > 0.8


@pytest.mark.parametrize("category", ["bowl", "mug"])
def test_vessels_are_hollow(category):
    open_shapes = [shape for shape in shapes(category) if LID not in shape.parts]
    assert len(open_shapes) > 0.6 * len(SEEDS)
    floors = [heights_at(shape, centre_of(shape, BODY)[0] + 1e-4, 2e-4) + 0.5 * shape.size[1] for shape in open_shapes]
    assert np.mean([len(floor) > 0 for floor in floors]) > 0.7  # scanners miss some
    for shape, floor in zip(open_shapes, floors, strict=True):
        assert (floor < 0.35 * shape.size[1]).all() and (floor.max(initial=0.001) >= 0.001)


@pytest.mark.parametrize("category", ["bottle", "can", "mug"])
def test_undersides_are_flat_hollow_or_missing(category):
    undersides = []
    for shape in shapes(category, MANY):
        x = centre_of(shape, BODY)[0]
        rises = heights_at(shape, x + 1e-4, 2e-4) + 0.5 * shape.size[1]
        lowest = rises.min(initial=shape.size[1])
        undersides.append("flat" if lowest < 1e-3 else "hollow" if lowest < 0.021 else "missing")
    shares = {kind: undersides.count(kind) / MANY for kind in ("flat", "hollow", "missing")}
    assert min(shares.values()) > 0.08, shares


@pytest.mark.parametrize("kind", ["hollow", "missed"])
def test_underside_changes_neither_box_nor_top(kind):
    tall = [(lathe(np.array([[0.03, 0.0], [0.04, 0.02], [0.04, 0.1], [0.02, 0.12]])), BODY)]
    plain = assembled("bottle", tall)
    made = assembled("bottle", standing(np.random.default_rng(1), tall, **{"hollow": 0.0, "missed": 0.0, kind: 1.0}))
    np.testing.assert_allclose(made.size, plain.size, atol=1e-6)
    assert heights_at(made, 1e-4, 2e-4).max() == pytest.approx(0.06)
    rises = heights_at(made, 1e-4, 2e-4) + 0.06
    assert 0.003 < rises.min() < 0.013 if kind == "hollow" else rises.min() == pytest.approx(0.12)


def test_mug_wall_is_thin_at_the_rim():
    for shape in shapes("mug"):
        if LID in shape.parts:
            continue
        body = shape.vertices[np.unique(shape.faces[shape.parts == BODY])]
        body = body - [0.5 * (body[:, 0].min() + body[:, 0].max()), 0, 0]
        rim = np.hypot(body[:, 0], body[:, 2])[body[:, 1] > 0.48 * shape.size[1]]
        assert 0.001 < np.ptp(rim) < 0.02


def test_some_cans_are_flat_tins():
    sizes = np.array([shape.size for shape in shapes("can", MANY)])
    assert 0.06 < np.mean(sizes[:, 1] < 0.55 * sizes[:, 0]) < 0.25
    assert sizes[:, 1].min() < 0.035


def test_many_cans_have_a_pull_tab_on_the_lid():
    tabs = [(shape, vertices_of(shape, DETAIL)) for shape in shapes("can", MANY) if DETAIL in shape.parts]
    assert 0.25 < len(tabs) / MANY < 0.7
    for shape, tab in tabs:
        half = 0.5 * shape.size
        assert np.hypot(tab[:, 0] / half[0], tab[:, 2] / half[2]).max() < 1
        assert half[1] - 0.011 < tab[:, 1].min() and tab[:, 1].max() < half[1] + 1e-6
        across = np.linalg.norm(tab[:, None, [0, 2]] - tab[None, :, [0, 2]], axis=-1).max()
        assert 0.012 < across < 0.035 and np.ptp(tab[:, 1]) < 0.005


def test_some_bowls_are_small_with_steep_walls():
    small = [shape for shape in shapes("bowl", MANY) if shape.size[0] < 0.11]
    assert 0.08 < len(small) / MANY < 0.25
    assert np.mean([base_width(shape) > 0.7 * shape.size[0] for shape in small]) > 0.7


def base_width(shape: Shape) -> float:
    """Extent along x of the lowest tenth [m]."""
    return float(np.ptp(shape.vertices[shape.vertices[:, 1] < -0.4 * shape.size[1], 0]))


def test_some_bottles_are_flat_along_x_or_z():
    ratios = [np.divide(*np.ptp(vertices_of(shape, BODY), axis=0)[[0, 2]]) for shape in shapes("bottle", MANY)]
    assert 0.03 < np.mean(np.array(ratios) < 0.65) < 0.2
    assert 0.03 < np.mean(np.array(ratios) > 1 / 0.65) < 0.2


@pytest.mark.parametrize("seed", range(20))
def test_flat_bottle_keeps_its_lid_over_its_body(seed):
    shape = assembled("bottle", flat(np.random.default_rng(seed)))
    lid = vertices_of(shape, LID)
    assert (np.abs(lid[:, [0, 2]]) <= 0.5 * shape.size[[0, 2]] + 1e-6).all()
    assert lid[:, 1].max() == shape.vertices[:, 1].max()
    assert lid[:, 1].min() <= vertices_of(shape, BODY)[:, 1].max()


def squareness(shape: Shape) -> float:
    """Largest radius of the body over its half width."""
    body = vertices_of(shape, BODY)[:, [0, 2]]
    body = (body - 0.5 * (body.min(axis=0) + body.max(axis=0))) / (0.5 * np.ptp(body, axis=0))
    return float(np.hypot(*body.T).max())


def test_some_mugs_are_square_tall_or_strongly_tapered():
    mugs = shapes("mug", MANY)
    assert 0.03 < np.mean([squareness(shape) > 1.08 for shape in mugs]) < 0.2
    assert np.mean([shape.size[1] > 0.14 for shape in mugs]) > 0.03
    tapers = [base_width(shape) / np.ptp(vertices_of(shape, BODY)[:, 0]) for shape in mugs]
    assert np.mean(np.array(tapers) < 0.65) > 0.05


def opening(shape: Shape) -> float:
    """Angle between base and screen [deg]."""
    screen = vertices_of(shape, ORIENTING)[:, :2]
    x, y = np.linalg.svd(screen - screen.mean(axis=0), full_matrices=False)[2][0]
    return float(np.degrees(np.arctan2(abs(y), x * np.sign(y))))


def test_laptops_open_from_70_to_165_degrees():
    openings = np.array([opening(shape) for shape in shapes("laptop", MANY)])
    assert 66 < openings.min() < 80 and 155 < openings.max() < 168


def test_laptops_have_deep_and_narrow_bases():
    bases = np.array([np.ptp(vertices_of(shape, BODY), axis=0) for shape in shapes("laptop", MANY)])
    ratios = bases[:, 0] / bases[:, 2]
    assert ratios.min() < 0.58 and ratios.max() > 0.72


@pytest.mark.parametrize("seed", range(10))
def test_folding_camera_has_its_lens_in_front_above_a_foot_that_reaches_further(seed):
    shape = assembled("camera", folding(np.random.default_rng(seed)))
    lens, body, other = (vertices_of(shape, part) for part in (ORIENTING, BODY, DETAIL))
    assert lens[:, 0].max() > body[:, 0].max() and other[:, 0].max() > body[:, 0].max() + 0.01
    assert lens[:, 1].mean() > 0 and np.abs(lens[:, 2].mean()) < 0.15 * shape.size[2]


def test_unknown_category_is_refused():
    with pytest.raises(ValueError, match="category: expected one of bottle.*, got spoon"):
        make_shape("spoon", np.random.default_rng(0))
