"""Augmented clouds: the box that the pose describes stays the tight box of the object."""

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from clipose_ros.core.categories import CATEGORIES
from training.data.augmentation import (
    AugmentationConfig,
    PosedClouds,
    augmented,
    euler_rotation,
    from_object,
    tapered,
    to_object,
)

BATCH = 60


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def boxes() -> tuple[PosedClouds, torch.Tensor]:
    """Objects whose points fill their tight box, corners included, anywhere before the camera; and their categories."""
    rotation = torch.from_numpy(Rotation.random(BATCH, random_state=0).as_matrix()).float()
    size = 0.1 + 0.2 * torch.rand(BATCH, 3, generator=generator(1))
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    local = (
        torch.cat([corners.expand(BATCH, 8, 3), torch.rand(BATCH, 100, 3, generator=generator(2)) - 0.5], dim=1)
        * size[:, None]
    )
    translation = torch.rand(BATCH, 3, generator=generator(3)) + torch.tensor([0.0, 0.0, 0.5])
    empty = PosedClouds(torch.zeros(BATCH, 1, 3), rotation, translation, size, torch.zeros(BATCH, 4))
    return empty._replace(points=from_object(local, empty)), torch.arange(BATCH) % len(CATEGORIES)


def extents(clouds: PosedClouds) -> tuple[torch.Tensor, torch.Tensor]:
    local = to_object(clouds)
    return local.amin(1), local.amax(1)


def assert_tight(clouds: PosedClouds) -> None:
    low, high = extents(clouds)
    torch.testing.assert_close(high, clouds.size / 2, atol=1e-5, rtol=0)
    torch.testing.assert_close(low, -clouds.size / 2, atol=1e-5, rtol=0)


def test_switched_off_nothing_changes_and_nothing_is_drawn():
    clouds, category = boxes()
    drawing = generator()
    assert augmented(clouds, category, AugmentationConfig(mirrored=0.0), drawing) is clouds
    assert torch.equal(drawing.get_state(), generator().get_state())


def test_a_mirror_keeps_rotations_proper_and_reflects_points_of_symmetric_objects():
    """A point and its twin across the object's plane z = 0 change places: the mirrored cloud is that of the reflected
    object in the reflected pose.
    """
    clouds, category = boxes()
    after = augmented(clouds, category, AugmentationConfig(mirrored=1.0), generator())
    cameras = category == CATEGORIES.index("camera")
    torch.testing.assert_close(after.points[cameras], clouds.points[cameras], atol=0, rtol=0)
    torch.testing.assert_close(torch.linalg.det(after.rotation), torch.ones(BATCH))
    torch.testing.assert_close(after.points[~cameras], clouds.points[~cameras] * torch.tensor([-1.0, 1, 1]))
    torch.testing.assert_close(
        to_object(after)[~cameras], to_object(clouds)[~cameras] * torch.tensor([1.0, 1, -1]), atol=1e-5, rtol=0
    )


def test_box_scale_and_rigid_motion_keep_boxes_tight_within_their_ranges():
    clouds, category = boxes()
    after = augmented(clouds, category, AugmentationConfig(mirrored=0.0, box_scale=1.0, rigid=1.0), generator())
    assert_tight(after)
    factor = after.size / clouds.size
    assert factor.min() >= 0.8 and factor.max() <= 1.2 and factor.std() > 0.05
    can = category == CATEGORIES.index("can")
    torch.testing.assert_close(factor[can, 0], factor[can, 2])
    shift = (after.translation - clouds.translation).abs()
    assert 0.02 < shift.max() <= 0.05
    torch.testing.assert_close(
        after.rotation @ after.rotation.transpose(1, 2), torch.eye(3).expand(BATCH, 3, 3), atol=1e-5, rtol=0
    )


def test_noise_moves_points_about_the_objects_centre_and_leaves_the_pose():
    clouds, category = boxes()
    after = augmented(clouds, category, AugmentationConfig(mirrored=0.0, noise=0.2), generator())
    for name in ("rotation", "translation", "size"):
        assert torch.equal(getattr(after, name), getattr(clouds, name))
    factor = (after.points - clouds.points) / (clouds.points - clouds.translation[:, None])
    changed = (factor != 0).any(-1).any(-1)
    assert 0.1 < changed.float().mean() < 0.3
    noise = factor[changed]
    assert noise.abs().max() < 0.1001 and abs(noise.mean()) < 2e-3
    assert noise.std().item() == pytest.approx(0.2 / 12**0.5, rel=0.03)  # uniform


def test_each_changes_its_share_of_the_clouds():
    clouds, category = boxes()
    after = augmented(clouds, category, AugmentationConfig(mirrored=0.0, rigid=0.3), generator())
    assert 0.1 < (after.translation != clouds.translation).any(1).float().mean() < 0.5


def test_euler_rotation_equals_scipy():
    angles = torch.rand(20, 3, generator=generator()) - 0.5
    np.testing.assert_allclose(
        euler_rotation(angles).numpy(), Rotation.from_euler("xyz", angles.numpy()).as_matrix(), atol=1e-6
    )


def cylinder(radius: float, height: float, handle: float) -> tuple[PosedClouds, float]:
    """A mug from its tight box: a cylinder about an axis at x = -handle / 2, and a stub at half height at +x."""
    angle, level = np.meshgrid(np.linspace(0, 2 * np.pi, 73), np.linspace(-height / 2, height / 2, 11))
    body = np.stack([radius * np.cos(angle) - handle / 2, level, radius * np.sin(angle)], axis=-1).reshape(-1, 3)
    points = np.vstack([body, [[radius + handle / 2, 0, 0]]]) if handle else body
    size = torch.tensor([[2 * radius + handle, height, 2 * radius]], dtype=torch.float32)
    points = torch.from_numpy(points).float()[None]
    return PosedClouds(points, torch.eye(3)[None], torch.zeros(1, 3), size, torch.zeros(1, 4)), height


@pytest.mark.parametrize(("top", "bottom"), [(1.2, 0.8), (0.8, 1.1), (1.0, 1.0)])
def test_tapered_mug_keeps_its_tight_box(top, bottom):
    clouds, _ = cylinder(0.04, 0.1, handle=0.03)
    after = tapered(clouds, torch.tensor([top]), torch.tensor([bottom]), torch.tensor([False]))
    low, high = extents(after)
    torch.testing.assert_close(high[:, :2], after.size[:, :2] / 2, atol=1e-6, rtol=0)
    torch.testing.assert_close(low[:, :2], -after.size[:, :2] / 2, atol=1e-6, rtol=0)
    # A body that does not stand in the middle of its box is a little narrower across than the box says: 73 points
    # approach the circle.
    torch.testing.assert_close(high[:, 2], after.size[:, 2] / 2, atol=2e-4, rtol=0)


def test_only_bowls_and_mugs_are_tapered():
    clouds, category = boxes()
    after = augmented(clouds, category, AugmentationConfig(mirrored=0.0, taper=1.0), generator())
    changed = (after.points - clouds.points).abs().amax((1, 2)) > 1e-4
    assert torch.equal(changed, torch.isin(category, torch.tensor([CATEGORIES.index("bowl"), CATEGORIES.index("mug")])))


def test_shares_outside_of_their_range_are_named():
    with pytest.raises(ValueError, match=r"taper: expected a share in 0..1, got 1.5"):
        AugmentationConfig(mirrored=0.0, taper=1.5)
