"""Surfaces are found where they are, chosen for what rests on them, and poses that fit are set onto them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from clipose_ros.bench.latency import RADIUS_M, TABLE_CENTRE, TABLE_NORMAL, spheres_on_table
from clipose_ros.core.backprojection import backproject, pinhole
from clipose_ros.core.distortion import PolynomialDistortion
from clipose_ros.core.resting import Rest, RestingSettings, set_all_onto, set_onto
from clipose_ros.core.support import (
    Footing,
    SupportSettings,
    Surface,
    _least_squares,
    find_surfaces,
    support_settings,
)
from clipose_ros.core.symmetry import Symmetry
from clipose_ros.core.types import Detections, Frame, Intrinsics, PoseEstimate
from clipose_ros.core.uncertainty import FREE_SPIN, estimate_covariance, turned_covariance

CAMERA = Intrinsics(600.0, 600.0, 319.5, 239.5)
UP = np.array([0.0, -1.0, 0.0])
FLOOR = Surface(UP, -0.4, np.zeros((0, 3)))  # 0.4 m below the camera
NOTHING = Detections((), np.zeros((480, 640), np.uint8))


def depth_of(*planes):
    """Depth image [mm] of planes (normal, offset): the nearest in front of the camera counts."""
    v, u = np.mgrid[:480, :640]
    rays = np.stack([(u - 319.5) / 600, (v - 239.5) / 600, np.ones((480, 640))], axis=-1)
    depths = [offset / np.minimum(rays @ normal, -1e-9) for normal, offset in planes]
    return np.where((nearest := np.min(depths, axis=0)) < 60, nearest * 1000, 0).astype(np.uint16)


def frame_of(*planes):
    return Frame(0, "camera", depth_of(*planes), CAMERA)


def pose(rotation=np.diag([1.0, -1.0, -1.0]), translation=(0.0, 0.3, 1.0), size=(0.08, 0.2, 0.08), name="bottle"):
    return PoseEstimate(name, 0.9, np.asarray(rotation), np.array(translation), np.array(size))


def angle_deg(a, b):
    return np.degrees(np.arccos(np.clip(a @ b, -1, 1)))


def test_the_table_is_found_between_the_objects_that_stand_on_it():
    frame, detections = spheres_on_table(10, ["mug"])
    table, *others = find_surfaces(frame, detections)
    assert angle_deg(table.normal, TABLE_NORMAL) < 0.1 and not others
    assert table.offset == pytest.approx(TABLE_CENTRE @ TABLE_NORMAL, abs=1e-3)
    assert np.abs(table.height(table.samples)).max() < 0.01


def test_a_lens_that_distorts_bends_no_table():
    lens = PolynomialDistortion((-0.25, 0.08, 0.001, -0.002, 0.0))
    v, u = np.mgrid[:480, :640]
    camera = replace(CAMERA, distortion=lens)
    rays = pinhole(u.ravel(), v.ravel(), np.ones(u.size), camera).astype(float)
    z = -0.4 / np.minimum(rays @ UP, -1e-9)
    depth = np.where(z < 5, z * 1000, 0).reshape(480, 640).astype(np.uint16)
    (floor, *_) = find_surfaces(Frame(0, "camera", depth, camera), NOTHING)
    assert angle_deg(floor.normal, UP) < 0.3 and floor.offset == pytest.approx(-0.4, abs=3e-3)


def test_several_levels_and_walls_are_all_surfaces_the_largest_first():
    wall = np.array([0.0, 0.0, -1.0])
    found = find_surfaces(frame_of((UP, -0.4), (wall, -1.6)), NOTHING)
    assert len(found) == 2 and len(found[0].samples) >= len(found[1].samples)
    for normal, offset in ((UP, -0.4), (wall, -1.6)):
        (surface,) = [one for one in found if angle_deg(one.normal, normal) < 0.3]
        assert surface.offset == pytest.approx(offset, abs=2e-3)


@pytest.mark.parametrize(
    "depth",
    [
        np.zeros((480, 640), np.uint16),
        np.full((480, 640), np.nan, np.float32),
        np.full((2, 2), 900, np.uint16),
        np.random.default_rng(0).integers(300, 3000, (480, 640)).astype(np.uint16),
        np.where(np.arange(480)[:, None] // 20 == 12, 900, 0).repeat(640, axis=1).astype(np.uint16),  # a line
        np.where(np.arange(640) // 20 == 12, 900, 0)[None].repeat(480, axis=0).astype(np.uint16),
    ],
)
def test_where_no_plane_is_seen_there_is_none(depth):
    nothing = Detections((), np.zeros(depth.shape, np.uint8))
    assert find_surfaces(Frame(0, "camera", depth, CAMERA), nothing) == []


@pytest.mark.parametrize("seed", range(8))
def test_whatever_a_frame_shows_it_ends_and_gives_unit_normals_towards_the_camera(seed):
    rng = np.random.default_rng(seed)
    depth = np.where(rng.random((60, 80)) < rng.random(), rng.choice([0, 1, 400, 900, 65535], (60, 80)), 0)
    masks = (rng.random((60, 80)) < 0.2).astype(np.uint8)
    for surface in find_surfaces(Frame(0, "camera", depth.astype(np.uint16), CAMERA), Detections((), masks)):
        assert np.linalg.norm(surface.normal) == pytest.approx(1) and surface.offset < 0
        assert np.isfinite(surface.samples).all()


def test_the_same_frame_gives_the_same_surfaces_and_known_ones_change_nothing():
    frame, detections = spheres_on_table(5, ["mug"])
    first, again = find_surfaces(frame, detections), find_surfaces(frame, detections)
    np.testing.assert_array_equal(first[0].normal, again[0].normal)
    remembered = find_surfaces(frame, detections, known=first)
    np.testing.assert_allclose(remembered[0].normal, first[0].normal, atol=1e-6)


def test_masks_that_overlap_leave_their_pixels_out_too():
    frame, detections = spheres_on_table(5, ["mug"])
    masks = np.stack([detections.mask(i) for i in range(5)])
    surfaces = find_surfaces(frame, Detections(detections.instances, masks))
    np.testing.assert_array_equal(surfaces[0].normal, find_surfaces(frame, detections)[0].normal)


def test_an_object_rests_on_the_table_and_not_on_the_wall_behind_it():
    frame, detections = spheres_on_table(2, ["mug"])
    cloud = backproject(frame, detections)[0].points
    centre = TABLE_CENTRE + TABLE_NORMAL * RADIUS_M + np.array([-0.075, 0, 0])
    sphere = PoseEstimate("mug", 0.9, np.eye(3), centre, np.full(3, 2 * RADIUS_M))
    (table,) = find_surfaces(frame, detections)
    behind = Surface(
        np.array([0.0, 0.0, -1.0]), -(centre[2] + RADIUS_M + 0.01), np.tile(centre + [0, 0, 0.06], (30, 1))
    )
    # A wall that the object touches would fit as well: the table faces up.
    assert Footing([cloud], [behind, table]).rested([sphere]) == [table]
    # Two objects stand on the table, one at the wall: however the camera is mounted, the table has more of them.
    other = replace(sphere, translation=centre + np.array([0.15, 0, 0]))
    clouds = [cloud, cloud + np.float32([0.15, 0, 0])]
    for wall in (behind, Surface(*(-np.array([1.0, 0, 0]), -(centre[0] + RADIUS_M)), behind.samples)):
        assert Footing(clouds, [wall, table]).rested([sphere, other]) == [table, table]
    lifted = replace(sphere, translation=centre + 0.1 * TABLE_NORMAL)
    assert Footing([cloud], [table]).rested([lifted]) == [None]
    far = Surface(table.normal, table.offset, table.samples + 2.0)
    assert Footing([cloud], [far]).rested([sphere]) == [None]  # not seen near its foot
    through = cloud - 0.06 * TABLE_NORMAL.astype(np.float32)
    assert Footing([through], [table]).rested([sphere]) == [None]  # it reaches below the table
    assert Footing([cloud], []).rested([sphere]) == [None]
    assert Footing([], [table]).rested([]) == Footing([], [table]).touched() == []


@pytest.mark.parametrize("tilt_deg", [0.0, 4.0, 12.0, -14.0])
def test_a_pose_that_nearly_stands_is_set_upright_and_its_underside_on_the_surface(tilt_deg):
    tilted = pose(
        Rotation.from_euler("z", tilt_deg, degrees=True).as_matrix() @ np.diag([1.0, -1.0, -1.0]), (0, 0.31, 1)
    )
    set_pose = set_onto(tilted, FLOOR, [Rest.Y, Rest.SIDE], Symmetry.Y)
    np.testing.assert_allclose(set_pose.rotation[:, 1], UP, atol=1e-9)
    np.testing.assert_allclose(set_pose.rotation @ set_pose.rotation.T, np.eye(3), atol=1e-9)
    height, half = FLOOR.height(set_pose.translation), set_pose.size[1] / 2
    assert height == pytest.approx(half) and height + half == pytest.approx(FLOOR.height(tilted.translation) + 0.1)
    assert (set_pose.size[0], set_pose.size[2]) == (0.08, 0.08)
    np.testing.assert_allclose(set_pose.translation[[0, 2]], tilted.translation[[0, 2]])


def test_a_round_object_on_its_side_keeps_a_round_section_and_its_heading():
    rotation = Rotation.from_euler("z", 83, degrees=True).as_matrix()  # y is 7 degrees from level
    lying = set_onto(pose(rotation, (0.0, 0.37, 1.0)), FLOOR, [Rest.Y, Rest.SIDE], Symmetry.Y)
    assert lying.rotation[1, 1] == pytest.approx(0, abs=1e-9) and lying.rotation[0, 1] == pytest.approx(-1)
    assert lying.size[0] == lying.size[2] == pytest.approx(2 * FLOOR.height(lying.translation))
    assert lying.size[1] == 0.2


def test_what_is_not_round_keeps_its_size_on_its_side():
    rotation = Rotation.from_euler("z", 85, degrees=True).as_matrix()
    lying = set_onto(pose(rotation, (0, 0.36, 1.0), (0.12, 0.1, 0.09)), FLOOR, [Rest.SIDE], Symmetry.NONE)
    assert lying.size.tolist() == [0.12, 0.1, 0.09]
    underside = FLOOR.height(lying.translation) - np.abs(UP @ lying.rotation) @ lying.size / 2
    assert underside == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("rest", "euler"),
    [(Rest.MINUS_Y, [0, 0, 0]), (Rest.X, [0, 0, -90]), (Rest.MINUS_X, [0, 0, 90]), (Rest.Z, [90, 0, 0])],
)
def test_each_way_to_rest_has_its_axis_upwards(rest, euler):
    rotation = Rotation.from_euler("xyz", euler, degrees=True).as_matrix()
    nudged = Rotation.from_euler("xyz", [3, 2, 4], degrees=True).as_matrix() @ rotation
    rested = set_onto(pose(nudged), FLOOR, [rest], Symmetry.NONE)
    sign = -1 if rest.startswith("-") else 1
    np.testing.assert_allclose(sign * rested.rotation[:, "xyz".index(rest[-1])], UP, atol=1e-9)


def deviations_of(estimate, *axes):
    """Standard deviations of the turns about axes [deg]."""
    return [np.degrees(np.sqrt(axis @ estimate.covariance[3:, 3:] @ axis)) for axis in axes]


def test_what_the_surface_tells_is_surer_and_what_it_does_not_is_as_unsure_as_before():
    tilted = Rotation.from_euler("z", 8, degrees=True).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    unsure = estimate_covariance(tilted, 0.6, 0.3, Symmetry.NONE, position_m=0.02)
    before = replace(pose(tilted, name="mug"), covariance=unsure)
    after = set_onto(before, FLOOR, [Rest.Y], Symmetry.NONE)
    x, y, z = after.rotation.T
    assert min(deviations_of(before, *tilted.T)) > 5
    np.testing.assert_allclose(deviations_of(after, x, z), 1)
    assert deviations_of(after, y) == pytest.approx(deviations_of(before, tilted[:, 1]))
    np.testing.assert_allclose(np.sqrt(np.diag(after.covariance)[:3]), [0.02, 0.003, 0.02])
    assert np.linalg.eigvalsh(after.covariance).min() > 0
    assert set_onto(pose(tilted), FLOOR, [Rest.Y], Symmetry.NONE).covariance is None


def test_what_was_surer_than_a_surface_makes_it_stays_so():
    sure = replace(pose(), covariance=1e-8 * np.eye(6))
    np.testing.assert_allclose(set_onto(sure, FLOOR, [Rest.Y], Symmetry.NONE).covariance, sure.covariance, atol=1e-15)


@pytest.mark.parametrize("symmetry", Symmetry)
def test_an_object_on_its_side_may_have_rolled(symmetry):
    rotation = Rotation.from_euler("z", 83, degrees=True).as_matrix()
    unsure = estimate_covariance(rotation, 0.6, 0.001, symmetry, 0.02)
    lying = set_onto(replace(pose(rotation, (0, 0.37, 1.0)), covariance=unsure), FLOOR, [Rest.SIDE], symmetry)
    y = lying.rotation[:, 1]
    tilt, roll, heading = deviations_of(lying, np.cross(UP, y), y, UP)
    assert tilt == pytest.approx(1) and heading > 5
    assert np.radians(roll) == pytest.approx(np.sqrt(FREE_SPIN))


def test_it_narrows_in_any_frame_of_the_camera():
    tilted = Rotation.from_euler("xz", [5, 8], degrees=True).as_matrix() @ np.diag([1.0, -1.0, -1.0])
    plain = replace(pose(tilted), covariance=estimate_covariance(tilted, 0.6, 0.3, Symmetry.NONE, 0.02))
    frame = Rotation.from_rotvec([0.3, -0.7, 1.1]).as_matrix()
    elsewhere = replace(
        plain,
        rotation=frame @ tilted,
        translation=frame @ plain.translation,
        covariance=turned_covariance(plain.covariance, frame, frame),
    )
    floor = Surface(frame @ UP, FLOOR.offset, FLOOR.samples)
    expected = set_onto(plain, FLOOR, [Rest.Y], Symmetry.NONE).covariance
    found = set_onto(elsewhere, floor, [Rest.Y], Symmetry.NONE).covariance
    np.testing.assert_allclose(found, turned_covariance(expected, frame, frame), atol=1e-12)


def test_what_leans_stays_as_it_was():
    leaning = pose(Rotation.from_euler("z", 30, degrees=True).as_matrix() @ np.diag([1.0, -1.0, -1.0]))
    assert set_onto(leaning, FLOOR, [Rest.Y, Rest.MINUS_Y, Rest.SIDE], Symmetry.Y) is None
    assert set_onto(leaning, FLOOR, [Rest.Y], Symmetry.Y, RestingSettings(turn_deg=35)) is not None
    assert set_onto(pose(), FLOOR, [], Symmetry.Y) is None


def test_what_is_at_rest_is_not_moved():
    once = set_onto(pose(translation=(0.02, 0.31, 0.9)), FLOOR, [Rest.Y], Symmetry.NONE)
    twice = set_onto(once, FLOOR, [Rest.Y], Symmetry.NONE)
    for name in ("rotation", "translation", "size"):
        np.testing.assert_allclose(getattr(twice, name), getattr(once, name), atol=1e-12)


def test_impossible_settings_are_refused():
    for settings in ({"grid": 0}, {"noise_m": 0.0}, {"reach_m": -1.0}):
        with pytest.raises(ValueError, match=f"{next(iter(settings))}: expected"):
            SupportSettings(**settings)
    with pytest.raises(ValueError, match="turn_deg: expected more than 0"):
        RestingSettings(0.0)
    with pytest.raises(ValueError, match="support: expected one of auto, off, got on"):
        support_settings("on")
    assert support_settings("off") is None and support_settings("auto") == SupportSettings()


def test_poses_of_a_frame_come_to_rest_as_each_alone():
    """Whatever else is there: standing, lying, leaning, without a pose, without a surface, without a covariance."""
    rolled = Rotation.from_euler("z", 85, degrees=True).as_matrix()
    leaning = Rotation.from_euler("z", 40, degrees=True).as_matrix()
    poses = [pose(rotation, (0.0, 0.31, 1.0)) for rotation in (np.diag([1.0, -1.0, -1.0]), rolled, leaning)]
    unsure = [replace(one, covariance=1e-3 * np.eye(6) * (1 + i)) for i, one in enumerate(poses)]
    ways = [Rest.Y, Rest.SIDE]
    surfaces = [FLOOR, FLOOR, FLOOR, FLOOR, None, FLOOR]
    of_frame = [*unsure, None, unsure[0], poses[1]]
    together = set_all_onto(of_frame, surfaces, [ways] * 6, [Symmetry.Y] * 6)
    assert [one is None for one in together] == [False, False, True, True, True, False]
    for i in (0, 1, 5):
        alone = set_onto(of_frame[i], FLOOR, ways, Symmetry.Y)
        for name in ("rotation", "translation", "size", "covariance"):
            np.testing.assert_array_equal(getattr(together[i], name), getattr(alone, name))
    assert together[5].covariance is None


def test_points_on_a_line_span_no_plane():
    line = np.linspace(0, 1, 50)[:, None] * np.array([0.1, 0.2, 0.3]) + np.array([0.0, 0.1, 0.8])
    assert _least_squares(line) is None
    sheet = np.random.default_rng(0).uniform(-0.2, 0.2, (50, 3)) * (1, 1, 0) + (0, 0, 1)
    np.testing.assert_allclose(_least_squares(sheet), (0, 0, 1), atol=1e-12)
    tilted = sheet @ Rotation.from_euler("xyz", (20, 30, 40), degrees=True).as_matrix().T
    expected = np.linalg.lstsq(tilted, np.ones(50), rcond=None)[0]
    np.testing.assert_allclose(_least_squares(tilted), expected, rtol=1e-9)
