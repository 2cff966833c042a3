"""Batches: the torch twins against numpy, targets against geometry, and the errors that the sensor model promises."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import training.data.sensor
from clipose_ros.core import normalization
from clipose_ros.core.categories import AXIS_SYMMETRIC, CATEGORIES
from training.categories import among
from training.clipose import PAPER
from training.data.augmentation import AugmentationConfig, PosedClouds
from training.data.dataset import (
    BatchConfig,
    GroundConfig,
    PriorConfig,
    drawn_priors,
    make_batch,
    observed_clouds,
    only_inside,
    seen_surfaces,
)
from training.data.network_frames import (
    facing_rotation,
    known_ground,
    known_place,
    level_rotation,
    view_rotation,
)
from training.data.row_format import DEPTH_UNIT_M, TARGET
from training.data.rows import ViewPool
from training.data.sensor import SensorConfig, detected_mask, measured_depth, pushed_background, sample_cloud, shadows
from training.views import draw_shard

PERFECT = SensorConfig(
    shift_px=(0, 0),
    boundary_px=0.0,
    pushed=0.0,
    hole_share=(0.0, 0.0),
    speckle_share=0.0,
    cheese=0.0,
    cut=0.0,
    axial_noise=(0, 0),
    disparity_step=(1e-6, 1e-6),
    wave_m=(0, 0),
    bias=0.0,
    edge_mix=(0, 0),
    smoothed=0.0,
    shadow=0.0,
    outlier_share=0.0,
    intrinsics=0.0,
)


CONFIGS = {"paper": PAPER.batches, "compact": BatchConfig()}


@pytest.fixture(scope="module")
def pool(tmp_path_factory) -> ViewPool:
    path: Path = tmp_path_factory.mktemp("views") / "shard_000004.npz"
    np.savez(path, **draw_shard(seed=4, views=48))
    return ViewPool([path])


def rows(pool: ViewPool) -> dict[str, torch.Tensor]:
    return pool.rows(torch.arange(len(pool)), torch.device("cpu"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_view_rotation_equals_its_numpy_reference():
    centre = torch.tensor([[0.1, -0.3, 0.8], [0.0, 0.0, 1.0], [-1.0, 0.2, 0.5]], dtype=torch.float64)
    np.testing.assert_allclose(view_rotation(centre).numpy(), normalization.view_rotation(centre.numpy()), atol=1e-12)


def test_level_frame_and_ground_equal_their_numpy_references():
    rng = np.random.default_rng(0)
    centre, up = rng.uniform(-1, 1, (9, 3)) + [0, 0, 2], rng.normal(size=(9, 3))
    up /= np.linalg.norm(up, axis=1, keepdims=True)
    expected = normalization.level_rotation(centre, up)
    np.testing.assert_allclose(level_rotation(*map(torch.from_numpy, (centre, up))).numpy(), expected, atol=1e-12)
    surface = np.concatenate([up, rng.uniform(-2, 0, (9, 1))], axis=1)
    surface[1, 3], surface[2] = np.nan, 0
    scale = np.full(9, 0.2)
    expected = normalization.known_ground(centre, surface, scale)
    got = known_ground(*map(torch.from_numpy, (centre, surface, scale)))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)


KNOWN = GroundConfig(known=1.0, height_known=1.0, tilt_deg=0.0, poor=0.0, height_m=0.0, wrong=0.0)


@pytest.mark.parametrize("ground", [KNOWN, GroundConfig(known=0.0)], ids=["level", "view"])
def test_in_either_frame_the_object_stands_where_its_points_are(pool, ground):
    """Back in the camera frame, the object has the pose of the row, but for the mirror."""
    config = BatchConfig(sensor=PERFECT, scale_jitter=0.0, ground=ground, augmentation=AugmentationConfig(mirrored=0.0))
    data = rows(pool)
    batch = make_batch(data, 64, config, generator())
    told = ground.known == 1
    assert (batch["ground"][:, 0] == told).all()
    # the angle between up and the object's y axis is the same in both frames; up is -y in the level one
    if told:
        along = (data["rotation"][:, :, 1] * data["surface"][:, :3]).sum(-1)
        torch.testing.assert_close(-batch["y_axis"][:, 1], along, atol=1e-4, rtol=0)
        height = (data["translation"] * data["surface"][:, :3]).sum(-1) - data["surface"][:, 3]
        got = (batch["ground"][:, 3] - batch["offset"][:, 1]) * batch["scale"]
        torch.testing.assert_close(got, height, atol=1e-3, rtol=0)
    distance = (batch["offset"] - batch["camera"]).norm(dim=-1) * batch["scale"]
    torch.testing.assert_close(distance, data["translation"].norm(dim=-1), atol=1e-4, rtol=1e-4)


def test_what_a_refining_network_is_told_and_faces_equal_their_numpy_references():
    rng = np.random.default_rng(0)
    centre, rotation = rng.uniform(-1, 1, (9, 3)) + [0, 0, 2], Rotation.random(9, random_state=0).as_matrix()
    surface = np.column_stack([Rotation.random(9, random_state=1).as_matrix()[:, 0], rng.uniform(-2, 0, 9)])
    surface[1, 3], surface[2] = np.nan, 0
    expected = normalization.known_place(centre, rotation, surface, np.full(9, 0.2))
    got = known_place(*map(torch.from_numpy, (centre, rotation, surface, np.full(9, 0.2))))
    np.testing.assert_allclose(got.numpy(), expected, atol=1e-6)
    got = facing_rotation(*map(torch.from_numpy, (rotation, -centre)))
    np.testing.assert_allclose(got.numpy(), normalization.facing_rotation(rotation, centre), atol=1e-9)


EXACT = PriorConfig(given=True, turn_deg=0.0, tilt_deg=0.0, swapped=0.0, lost=0.0, offset=0.0, size=0.0)


def test_of_the_true_pose_nothing_is_left_to_refine(pool):
    config = BatchConfig(sensor=PERFECT, ground=KNOWN, prior=EXACT)
    batch = make_batch(rows(pool), 64, config, generator())
    torch.testing.assert_close(batch["y_axis"], torch.eye(3)[1].expand(48, 3), atol=1e-4, rtol=0)
    one_heading = batch["x_weight"] > 0
    torch.testing.assert_close(
        batch["x_axis"][one_heading], torch.eye(3)[0].expand(one_heading.sum(), 3), atol=1e-4, rtol=0
    )
    assert batch["offset"].abs().max() < 1e-5 and batch["ground"].shape == (48, 9)
    half = batch["size"] / 2 / batch["scale"][:, None]
    margin = (0.1 * batch["size"] + 0.021) / batch["scale"][:, None]
    assert (batch["points"].abs() <= (half + margin)[:, None]).all()  # the background is cut


def test_priors_are_as_wrong_as_they_are_said_to_be(pool):
    """Small errors, errors that leave what stands straight on the surface as it is seen, and half turns."""
    data = {name: value.repeat(20, *[1] * (value.ndim - 1)) for name, value in rows(pool).items()}
    up = data["surface"][:, :3]
    clouds = PosedClouds(
        data["translation"][:, None], *(data[k] for k in ("rotation", "translation", "size", "surface"))
    )
    scale = torch.full((len(up),), 0.2)
    standing = (data["rotation"][:, :, 1] * up).sum(-1) > 0.999
    config = PriorConfig(given=True, far=0.0, swapped=0.0, lost=0.0)
    seen = seen_surfaces(data["surface"], replace(KNOWN, tilt_deg=1.0), generator())
    rotation, translation, size = drawn_priors(clouds, seen, scale, config, generator())
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(len(up)))
    assert (translation - data["translation"]).std().item() == pytest.approx(0.03 * 0.2, rel=0.1)
    assert (size / data["size"]).log().std().item() == pytest.approx(0.07, rel=0.1)
    straight = (rotation[:, :, 1] * seen[:, :3]).sum(-1) > 1 - 1e-6
    assert straight[standing].float().mean().item() == pytest.approx(0.5, abs=0.1) and not straight[~standing].any()
    tilt = torch.acos((rotation[:, :, 1] * data["rotation"][:, :, 1]).sum(-1).clamp(max=1)).rad2deg()
    assert tilt[standing & ~straight].square().mean().sqrt().item() == pytest.approx(5.0, rel=0.15)
    swapped, *_ = drawn_priors(clouds, seen, scale, replace(config, swapped=1.0), generator())
    flipped = (swapped * data["rotation"]).sum(1)  # cosines between the old and the new axes
    assert ((flipped < -0.5).sum(-1) == 2).all()
    lost, *_ = drawn_priors(clouds, seen, scale, replace(config, lost=1.0), generator())
    torch.testing.assert_close(lost @ lost.transpose(1, 2), torch.eye(3).expand_as(lost), atol=1e-5, rtol=0)
    turn = ((lost * data["rotation"]).sum((1, 2)) - 1) / 2  # cosine of the angle to the truth
    # of rotations drawn evenly the angle has the density (1 - cos a) / pi
    assert turn.mean().item() == pytest.approx(-0.5, abs=0.05)


def test_points_outside_of_a_box_give_way_to_those_inside_in_their_order():
    points = torch.arange(6.0)[None, :, None].expand(2, 6, 3)
    inside = torch.tensor([[True, False, True, False, False, True], [False] * 5 + [True]])
    got, label = only_inside(points, points[..., 0], inside)
    assert got[0, :, 0].tolist() == label[0].tolist() == [0, 0, 2, 2, 5, 5]
    assert got[1, :, 0].tolist() == list(range(6))  # too few to trust the box


def test_mirrored_scenes_have_mirrored_surfaces(pool):
    config = BatchConfig(sensor=PERFECT, ground=KNOWN, augmentation=AugmentationConfig(mirrored=1.0))
    data = rows(pool)
    batch = make_batch(data, 64, config, generator())
    along = (data["rotation"][:, :, 1] * data["surface"][:, :3]).sum(-1)
    torch.testing.assert_close(-batch["y_axis"][:, 1], along, atol=1e-4, rtol=0)


def test_surfaces_are_told_as_often_and_as_wrong_as_configured():
    up = torch.nn.functional.normalize(torch.tensor([[0.1, -0.8, -0.6]]), dim=-1)
    surface = torch.cat([up, torch.tensor([[-0.5]])], dim=1).repeat(20_000, 1)
    surface[:1000] = 0  # rows without
    config = GroundConfig(known=0.5, height_known=0.8, tilt_deg=1.0, poor=0.0, wrong=0.1, wrong_tilt_deg=90.0)
    seen = seen_surfaces(surface, config, generator())
    known = seen[:, :3].any(-1)
    assert not known[:1000].any() and known[1000:].float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert seen[known, 3].isfinite().float().mean().item() == pytest.approx(0.8, abs=0.02)
    torch.testing.assert_close(seen[known, :3].norm(dim=-1), torch.ones(int(known.sum())))
    angle = torch.acos((seen[known, :3] @ up[0]).clamp(-1, 1)).rad2deg()
    assert (angle > 5).float().mean().item() == pytest.approx(0.1 * 85 / 90, abs=0.01)
    assert angle[angle < 5].square().mean().sqrt().item() == pytest.approx(1.0, abs=0.15)


def test_what_takes_objects_off_their_surface_is_refused_beside_it():
    with pytest.raises(ValueError, match="ground.known: expected 0 with taper, rigid, got 0.72"):
        BatchConfig(augmentation=AugmentationConfig(taper=0.1, rigid=0.1))


def test_normalised_points_and_pose_describe_the_same_object(pool):
    """Without sensor errors, every point that the target tensors call foreground lies in the box of its own pose.

    Of bottles, bowls and cans the height alone counts: turned to the camera, a flat bottle leaves its box.
    """
    batch = make_batch(rows(pool), 64, BatchConfig(sensor=PERFECT, scale_jitter=0.0), generator())
    half = batch["size"] / batch["scale"][:, None] / 2
    foreground = batch["foreground"].bool()
    assert foreground.float().mean() > 0.97
    within = batch["coordinates"].abs() <= half[:, None] + 0.01
    turned = among(batch["category"], *AXIS_SYMMETRIC)[:, None]
    assert (torch.where(turned, within[..., 1], within.all(-1)) | ~foreground).all()


def test_coordinates_are_the_centres_in_the_object_frame(pool):
    batch = make_batch(rows(pool), 64, BatchConfig(), generator())
    rotation = torch.stack(
        [batch["x_axis"], batch["y_axis"], torch.cross(batch["x_axis"], batch["y_axis"], dim=-1)], dim=-1
    )
    centres = torch.einsum("bij,bpj->bpi", rotation, batch["coordinates"]) + batch["offset"][:, None]
    torch.testing.assert_close(centres, batch["points"][:, ::16], atol=1e-5, rtol=1e-5)


def test_axis_symmetric_targets_keep_y_and_face_the_camera():
    y = torch.nn.functional.normalize(torch.tensor([[0.2, -1.0, 0.3]]), dim=-1)
    x = torch.nn.functional.normalize(torch.linalg.cross(y, torch.tensor([[1.0, 0.5, 0.1]])), dim=-1)
    rotation = torch.stack([x, y, torch.linalg.cross(x, y)], dim=-1)
    facing = facing_rotation(rotation, torch.tensor([[0.0, 0.0, -2.0]]))[0]
    torch.testing.assert_close(facing[:, 1], y[0])
    torch.testing.assert_close(facing.T @ facing, torch.eye(3), atol=1e-6, rtol=0)
    assert facing[2, 0] < 0 and abs(facing[2, 2]) < 1e-5  # x towards the camera, z across the line of sight


def test_only_objects_with_a_heading_carry_x_weight(pool):
    batch = make_batch(rows(pool), 64, BatchConfig(), generator())
    for category, weight in zip(batch["category"].tolist(), batch["x_weight"].tolist(), strict=True):
        assert (weight == 0) == (CATEGORIES[category] in AXIS_SYMMETRIC)


def test_same_generator_gives_the_same_batch(pool):
    one, two = (make_batch(rows(pool), 64, BatchConfig(), generator(5)) for _ in range(2))
    for name in one:
        assert torch.equal(one[name], two[name])


def test_misregistered_masks_leak_background_that_lies_behind(pool):
    data = rows(pool)
    target = data["label"] == TARGET
    clean = data["depth"].float() * DEPTH_UNIT_M
    depth = pushed_background(clean, target, SensorConfig(), generator(1))
    assert torch.equal(depth[target], clean[target]) and (depth >= clean).all()
    mask = detected_mask(target, data["pixels"], replace(SensorConfig(), cheese=0.0, cut=0.0), generator(2))
    leaked = (mask & ~target).sum() / mask.sum()
    assert 0.02 < leaked < 0.2


def test_perfect_sensor_changes_nothing(pool):
    data = rows(pool)
    target = data["label"] == TARGET
    clean = data["depth"].float() * DEPTH_UNIT_M
    assert torch.equal(detected_mask(target, data["pixels"], PERFECT, generator()), target)
    torch.testing.assert_close(measured_depth(clean, PERFECT, generator()), clean, atol=1e-4, rtol=0)


def test_depth_noise_grows_with_the_square_of_distance():
    config = replace(PERFECT, axial_noise=(0.002, 0.002))
    spread = [measured_depth(torch.full((64, 24, 24), z), config, generator()).std().item() for z in (0.5, 1.0, 2.0)]
    np.testing.assert_allclose(spread, [0.0005, 0.002, 0.008], rtol=0.1)


def test_what_stands_before_a_wall_casts_a_shadow_beside_itself():
    """As wide as the baseline seen between the two depths, at the side that is away from the projector."""
    wall = torch.full((32, 5, 60), 1.0)
    wall[:, :, 25:35] = 0.8
    wall[:, 0, :] = 0.0  # nothing there: hides nothing, is not hidden
    config = replace(PERFECT, shadow=1.0, baseline_m=(0.046, 0.046))
    hidden = shadows(wall, torch.full((32,), 0.002), config, generator())
    width = int(0.046 * (1 / 0.8 - 1 / 1.0) / 0.002)
    left, right = torch.zeros(60, dtype=torch.bool), torch.zeros(60, dtype=torch.bool)
    left[25 - width : 25], right[35 : 35 + width] = True, True
    at_left = (hidden[:, 1:] == left).all((1, 2))
    assert (at_left | (hidden[:, 1:] == right).all((1, 2))).all() and 4 < at_left.sum() < 28
    assert not hidden[:, 0].any()
    assert not shadows(wall, torch.full((32,), 0.002), PERFECT, generator()).any()


def test_smoothed_depth_loses_details_but_no_edges():
    clean = torch.full((1, 9, 9), 1.0)
    clean[:, 4, 4], clean[:, :, 7:] = 1.004, 1.5
    smooth = measured_depth(clean, replace(PERFECT, smoothed=1.0), generator())
    assert smooth[0, 4, 4] == pytest.approx(1 + 0.004 / 9, abs=1e-4)
    torch.testing.assert_close(smooth[:, :, 7:], clean[:, :, 7:], atol=1e-4, rtol=0)


def test_cloud_holds_only_masked_pixels_near_the_median(pool):
    data = rows(pool)
    mask = data["label"] == TARGET
    depth = data["depth"].float() * DEPTH_UNIT_M
    radius = torch.full((len(depth),), 0.1)
    points, pixel, usable = sample_cloud(depth, mask, data["rays"], 256, radius, PERFECT, generator())
    assert points.shape == (len(depth), 256, 3) and usable.all()
    assert mask.flatten(1).gather(1, pixel).all()
    assert (pixel.diff(dim=1) >= 0).all()  # raster order, as at run time
    torch.testing.assert_close(points[..., 2], depth.flatten(1).gather(1, pixel))
    # The median is taken before the cut; it may differ from that of what is left by a part of the radius.
    assert ((points - points.median(1, keepdim=True).values).norm(dim=-1) < 0.2).all()


def test_measured_rows_keep_their_depth_and_mask(pool):
    """A batch of both kinds: measured points lie on their pixels' rays at the measured depth; rendered ones do not."""
    data = rows(pool)
    measured = torch.arange(len(pool)) % 3 == 0
    config = BatchConfig()
    radius = torch.full((len(pool),), 1.0)
    points, foreground, usable, _ = observed_clouds(data | {"measured": measured}, radius, config, generator())
    assert usable[measured].all() and (foreground[measured] == 1).all() and (foreground[~measured] == 0).any()
    depth = data["depth"].float() * DEPTH_UNIT_M
    column = (
        ((points[..., 0] / points[..., 2] - data["rays"][:, :1]) / data["rays"][:, 1:2]).round().long().clamp(0, 71)
    )
    row = ((points[..., 1] / points[..., 2] - data["rays"][:, 2:3]) / data["rays"][:, 3:]).round().long().clamp(0, 71)
    error = (depth.flatten(1).gather(1, row * 72 + column) - points[..., 2]).abs()
    assert error[measured].max() < 1e-5
    assert error[~measured].mean() > 1e-3


def test_noise_on_measured_masks_is_chosen_by_its_share(pool):
    data = rows(pool) | {"measured": torch.ones(len(pool), dtype=torch.bool)}
    radius = torch.full((len(pool),), 1.0)
    _, foreground, *_ = observed_clouds(data, radius, BatchConfig(mask_noise=0.5), generator())
    assert 0.2 < (foreground < 1).any(1).float().mean() < 0.7


def test_rotation_is_the_frame_of_the_coordinates_under_every_augmentation(pool):
    every = AugmentationConfig(box_scale=1.0, taper=1.0, rigid=1.0)
    config = BatchConfig(sensor=PERFECT, scale_jitter=0.0, augmentation=every, ground=GroundConfig(known=0.0))
    batch = make_batch(rows(pool), 64, config, generator())
    torch.testing.assert_close(torch.linalg.det(batch["rotation"]), torch.ones(len(pool)))
    assert torch.equal(batch["rotation"][:, :, 1], batch["y_axis"]) and torch.equal(
        batch["rotation"][:, :, 0], batch["x_axis"]
    )
    centres = batch["coordinates"] @ batch["rotation"].transpose(1, 2) + batch["offset"][:, None]
    torch.testing.assert_close(centres, batch["points"][:, ::16], atol=1e-5, rtol=1e-5)
    assert batch["foreground"].mean() > 0.95  # inside the box of its own pose


def test_the_camera_and_the_pose_in_its_frame_are_told(pool):
    """Whatever is augmented: the texts speak of the pose that the data have."""
    every = AugmentationConfig(box_scale=1.0, taper=1.0, rigid=1.0)
    data = rows(pool)
    batch = make_batch(data, 64, BatchConfig(augmentation=every, ground=GroundConfig(known=0.0)), generator())
    assert torch.equal(batch["camera_rotation"], data["rotation"])
    assert torch.equal(batch["camera_translation"], data["translation"])
    # it looks along z at the middle of the cloud, which is the origin
    torch.testing.assert_close(batch["camera"][:, :2], torch.zeros(len(pool), 2), atol=1e-5, rtol=0)
    plain = make_batch(data, 64, BatchConfig(scale_jitter=0.0, augmentation=AugmentationConfig(0.0)), generator())
    metres = (plain["offset"] - plain["camera"]).norm(dim=-1) * plain["scale"]
    torch.testing.assert_close(metres, data["translation"].norm(dim=-1))


def test_without_the_sensor_model_rendered_views_are_taken_as_they_are(pool):
    data = rows(pool)
    config = BatchConfig(simulate=False)
    points, foreground, usable, _ = observed_clouds(data, torch.full((len(pool),), 9.0), config, generator())
    assert (foreground[usable] == 1).all()
    depth = data["depth"].float().flatten(1) * DEPTH_UNIT_M
    for cloud, clean in zip(points[usable], depth[usable], strict=True):
        assert torch.isin(cloud[:, 2], clean).all()


def test_a_hidden_handle_is_masked_entirely_in_the_papers_training(pool):
    data = rows(pool) | {"cue": torch.zeros(len(pool))}
    mug = data["category"] == CATEGORIES.index("mug")
    assert mug.any()
    weights = {name: make_batch(data, 64, config, generator())["x_weight"][mug] for name, config in CONFIGS.items()}
    assert (weights["paper"] == 0).all() and (weights["compact"] == 0.15).all()


def test_waves_are_linear_between_their_knots_as_torch_interpolates():
    wave = training.data.sensor._waves(torch.zeros(2, 48, 64), 7.0, torch.Generator().manual_seed(0))
    knots = torch.randn(2, 1, 7, 9, generator=torch.Generator().manual_seed(0))
    linear = torch.nn.functional.interpolate(knots, size=(48, 64), mode="bilinear", align_corners=True)[:, 0]
    torch.testing.assert_close(wave, 1.4 * linear, atol=1e-4, rtol=0)
