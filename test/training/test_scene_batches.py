"""Batches of scenes made in torch: the twins of what the runtime computes of one frame."""

import numpy as np
import pytest
import torch

from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.segmenters.centre_votes import instances_of, without_surface
from clipose_ros.segmenters.depth import box_of
from clipose_ros.segmenters.depth_channels import CROP, CROP_CHANNELS, DepthGrid, image_channels, object_crops
from training.data.object_crops import (
    MOST_FOUND,
    boxes_of,
    crops_of,
    found_instances,
    name_rows,
    off_surface,
    overlaps,
    varied,
    worn,
)
from training.data.scene_batches import SceneVariation, cells_of, channels_of, seen_scenes, targets_of
from training.data.scene_format import DEPTH_UNIT_M, IGNORED, NOTHING
from training.scenes import SceneConfig, draw_shard
from training.segmenter import mask_losses


@pytest.fixture(scope="module")
def rows():
    drawn = draw_shard(11, 6, SceneConfig(empty=0.0, objects=5.0))
    drawn["depth"] = drawn["depth"].astype(np.int32)
    return {name: torch.from_numpy(array) for name, array in drawn.items()}


@pytest.fixture(scope="module")
def scenes(rows):
    """Without variation, the last one without a surface."""
    unknown = rows["surface"].clone()
    unknown[-1, 3] = np.nan
    return seen_scenes(rows | {"surface": unknown}, torch.Generator().manual_seed(1), None)


def grid_of(scenes, index):
    """The same scene, as the runtime has it."""
    z = scenes.z[index].numpy()
    intrinsics = Intrinsics(*scenes.intrinsics[index].tolist())
    up, offset = scenes.up[index].numpy().astype(float), float(scenes.offset[index])
    return DepthGrid(z, np.arange(z.shape[0]), np.arange(z.shape[1]), intrinsics, up, offset)


def answer_of(truth):
    """What a network would say that knew the truth."""
    centre = truth["centre"].clamp(1e-4, 0.999)
    return torch.cat([8 * truth["object"][:, None] - 4, (centre / (1 - centre)).log()[:, None], truth["offset"]], dim=1)


@pytest.mark.parametrize("low_heights", [True, False])
def test_channels_are_those_of_the_runtime(scenes, low_heights):
    made = channels_of(scenes, low_heights).numpy()
    for index in range(len(made)):
        expected = image_channels(grid_of(scenes, index), low_heights)
        np.testing.assert_allclose(made[index], expected, atol=2e-3)
        assert (np.abs(made[index] - expected) > 1e-4).mean() < 1e-3


def test_crops_are_those_of_the_runtime(scenes):
    image, number = torch.tensor([0, 1, 2, 3, 5, 5]), torch.tensor([1, 1, 2, 1, 1, 2])
    mask = scenes.label[image] == number[:, None, None]
    made, seen = crops_of(scenes, image, mask)
    for index in range(len(image)):
        own = mask[index].numpy()
        if not own.any():
            continue
        expected = object_crops(grid_of(scenes, int(image[index])), [(own, box_of(own))])[0]
        np.testing.assert_allclose(made[index].numpy(), expected, atol=2e-4)
        assert seen[index] == (expected[0] * expected[1]).sum()
    boxes = torch.stack(boxes_of(mask), dim=1)
    assert all(tuple(box.tolist()) == box_of(own.numpy()) for box, own in zip(boxes, mask) if own.any())


def test_the_surface_leaves_masks_as_at_run_time(scenes):
    for index in range(len(scenes.z)):
        label = scenes.label[index].numpy()
        label = np.where(label == IGNORED, 0, label).astype(np.uint8)
        frame = Frame(0, "", scenes.z[index].numpy(), Intrinsics(*scenes.intrinsics[index].tolist()))
        expected = without_surface(label, grid_of(scenes, index), frame)
        for number in np.unique(label[label > 0]):
            made = off_surface(scenes, torch.tensor([index]), torch.from_numpy(label == number)[None])[0].numpy()
            assert (made != (expected == number)).mean() < 1e-4


def test_votes_are_gathered_nearly_as_at_run_time(scenes):
    answer = answer_of(targets_of(scenes.label))
    found = found_instances(answer)
    assert int(found.max()) <= MOST_FOUND
    for made, one in zip(found.numpy(), answer.numpy()):
        expected, scores = instances_of(one)
        assert ((made > 0) == (expected > 0)).mean() > 0.99
        for number in range(1, len(scores) + 1):
            best = np.bincount(made[expected == number]).argmax()
            assert ((made == best) & (expected == number)).sum() > 0.9 * (expected == number).sum()
    iou, ignored, count = overlaps(found, cells_of(scenes.label))
    assert ((iou > 0.7).any(1).sum() >= 0.9 * (count > 0).sum()) and not (ignored > 0.5).any()


def test_the_runtime_reads_the_objects_back_from_their_truth(scenes):
    found = asked = 0
    for cells, answer in zip(cells_of(scenes.label).numpy(), answer_of(targets_of(scenes.label)).numpy()):
        labels, scores = instances_of(answer)
        for number in np.unique(cells[(cells > 0) & (cells < IGNORED)]):
            true = cells == number
            best = max(
                ((true & (labels == i)).sum() / (true | (labels == i)).sum() for i in range(1, len(scores) + 1)),
                default=0,
            )
            asked, found = asked + 1, found + (best > 0.8)
    assert asked >= 8 and found >= 0.9 * asked


def test_nothing_is_asked_of_what_is_ignored():
    label = torch.zeros(1, 32, 32, dtype=torch.long)
    label[:, 4:20, 4:20] = IGNORED
    truth = targets_of(label)
    assert not truth["weight"][0, 2:10, 2:10].any() and not truth["object"].any() and not truth["centre"].any()
    answer = torch.zeros(1, 4, 16, 16)
    other = answer.clone()
    other[..., 2:10, 2:10] = 5.0
    terms = mask_losses(answer, truth), mask_losses(other, truth)
    assert terms[0]["mask"] == terms[1]["mask"] and terms[0]["centre"] == terms[1]["centre"]


def test_small_objects_weigh_more_than_their_pixels():
    label = torch.zeros(1, 240, 320, dtype=torch.long)
    label[:, 10:18, 10:18], label[:, 60:160, 60:200] = 1, 2
    weight = targets_of(label)["weight"][0]
    assert weight[6, 6] > 2 > weight[50, 50] > 0


def test_mirrored_and_scaled_scenes_stand_on_their_surface(rows):
    """Whatever is drawn, what the table shows lies on the surface."""
    table = rows["label"] == 0
    for seed in range(4):
        still = SceneVariation(surface_unknown=0.0, surface_off_m=0.0, surface_off_deg=0.0, size=0.05)
        scenes = seen_scenes(rows, torch.Generator().manual_seed(seed), still)
        low = (scenes.height().abs() < 0.02) & (scenes.z > 0) & (scenes.label == 0)
        flat = seen_scenes(rows, torch.Generator().manual_seed(seed), None)
        before = (flat.height().abs() < 0.02) & (flat.z > 0) & table
        torch.testing.assert_close(low.sum((1, 2)).float(), before.sum((1, 2)).float(), rtol=0.12, atol=500)
    assert before.any()


def test_noise_is_drawn_anew_and_follows_from_the_generator(rows):
    one, same, other = (seen_scenes(rows, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.z, same.z) and not torch.equal(one.z, other.z)
    clean = rows["depth"].float() * DEPTH_UNIT_M
    seen = seen_scenes(rows, torch.Generator().manual_seed(3), None).z
    both = (seen > 0) & (clean > 0)
    assert (seen - clean)[both].abs().median() < 0.01 and 0.8 < both.sum() / (clean > 0).sum() < 1


def test_crops_to_learn_from_say_what_they_show(scenes):
    answer = answer_of(targets_of(scenes.label))
    answer[:, 0, 5:20, 5:20], answer[:, 1, 12, 12], answer[:, 2:, 5:20, 5:20] = 4.0, 4.0, 0.0  # something false
    crops = name_rows(scenes, answer, torch.Generator().manual_seed(5))
    asked = crops["weight"] > 0
    assert crops["input"].shape[1:] == (CROP_CHANNELS, CROP, CROP) and crops["input"].isfinite().all()
    assert asked.float().mean() > 0.7 and crops["name"].max() == NOTHING
    shown = set(scenes.category.flatten().tolist())
    assert set(crops["name"][asked].tolist()) <= shown | {NOTHING}
    assert varied(crops["input"], torch.Generator().manual_seed(1)).isfinite().all()


def test_without_objects_nothing_is_asked():
    drawn = draw_shard(4, 2, SceneConfig(empty=1.0))
    drawn["depth"] = drawn["depth"].astype(np.int32)
    scenes = seen_scenes({k: torch.from_numpy(v) for k, v in drawn.items()}, torch.Generator().manual_seed(1))
    crops = name_rows(scenes, torch.full((2, 4, 120, 160), -9.0), torch.Generator().manual_seed(1))
    assert set(crops["name"][crops["weight"] > 0].tolist()) <= {NOTHING}
    terms = mask_losses(torch.zeros(2, 4, 120, 160), targets_of(scenes.label))
    assert all(term.isfinite() for term in terms.values())


def test_a_worn_mask_still_shows_its_object():
    mask = torch.zeros(40, 60, 60, dtype=torch.bool)
    mask[:, 20:40, 20:40] = True
    kept = (worn(mask, torch.Generator().manual_seed(0)) & mask).sum((1, 2)) / mask.sum((1, 2))
    assert kept.min() > 0.3 and kept.median() > 0.8
