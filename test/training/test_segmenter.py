"""The networks of the depth segmenter: their truth against the runtime that reads their answers, and their training."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.segmenters.centre_votes import instances_of
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.depth_channels import CHANNELS, CROP, CROP_CHANNELS, image_channels
from training.export_segmenter import export
from training.networks.segmentation import MaskNetwork, NameNetwork
from training.object_crops import cut, worn
from training.scene_format import CROP_ARRAYS, DEPTH_UNIT_M, IGNORED, NOTHING, SEGMENT_CATEGORIES
from training.scenes import draw_shard
from training.segmenter import (
    SegmenterTrainConfig,
    Shards,
    load_part,
    mask_losses,
    mask_targets,
    perforated,
    scene_grid,
    train,
)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Folder of two shards."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in (1, 2):
        np.savez(folder / f"scenes_{seed:06d}.npz", **draw_shard(seed, 3))
    return folder


@pytest.fixture(scope="module")
def trained(scenes):
    """Checkpoints of both networks after two steps."""
    common = {"steps": 2, "batch": 2, "warm_up": 1, "log_every": 1, "checkpoint_every": 1}
    masks = train(SegmenterTrainConfig("masks", scenes, scenes / "masks", **common))
    cut(scenes, scenes / "crops", masks)
    return masks, train(SegmenterTrainConfig("names", scenes / "crops", scenes / "names", **common))


def answer_of(truth):
    """What a network would say that knew the truth."""
    logits = [
        8 * truth["object"] - 4,
        np.log(truth["centre"].clip(1e-4, 0.999) / (1 - truth["centre"].clip(1e-4, 0.999))),
    ]
    return np.concatenate([np.stack(logits), truth["offset"]]).astype(np.float32)


def test_the_runtime_reads_the_objects_back_from_their_truth(scenes):
    found = asked = 0
    for label in Shards(sorted(scenes.glob("*.npz"))).column("label"):
        cells = label[::2, ::2]
        labels, scores = instances_of(answer_of(mask_targets(label)))
        for number in np.unique(cells[(cells > 0) & (cells < IGNORED)]):
            true = cells == number
            best = max(
                ((true & (labels == i)).sum() / (true | (labels == i)).sum() for i in range(1, len(scores) + 1)),
                default=0,
            )
            asked, found = asked + 1, found + (best > 0.8)
    assert asked >= 8 and found >= 0.9 * asked


def test_nothing_is_asked_of_what_is_ignored():
    label = np.zeros((32, 32), np.uint8)
    label[4:20, 4:20] = IGNORED
    truth = mask_targets(label)
    assert not truth["weight"][2:10, 2:10].any() and not truth["object"].any() and not truth["centre"].any()
    batch = {name: torch.from_numpy(value[None]) for name, value in truth.items()}
    answer = torch.zeros(1, 4, 16, 16)
    other = answer.clone()
    other[..., 2:10, 2:10] = 5.0
    terms = mask_losses(answer, batch), mask_losses(other, batch)
    assert terms[0]["mask"] == terms[1]["mask"] and terms[0]["centre"] == terms[1]["centre"]


def test_small_objects_weigh_more_than_their_pixels():
    label = np.zeros((240, 320), np.uint8)
    label[10:18, 10:18], label[60:160, 60:200] = 1, 2
    weight = mask_targets(label)["weight"]
    assert weight[6, 6] > 2 > weight[50, 50] > 0


def test_a_run_goes_on_where_it_stopped(scenes, trained):
    whole, _ = load_part(trained[0], "masks")
    half = SegmenterTrainConfig(
        "masks", scenes, scenes / "again", steps=1, batch=2, warm_up=1, log_every=1, checkpoint_every=1
    )
    train(half)
    path = train(replace(half, steps=2))
    # the schedule of the learning rate follows the number of steps: the first steps of both are of one rate
    again, saved = load_part(path, "masks")
    assert saved["step"] == 2
    for one, other in zip(whole.parameters(), again.parameters()):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="expected the settings that the run was begun with, got others: batch 3"):
        train(replace(half, batch=3))


def test_crops_say_what_they_show(scenes, trained):
    rows = Shards(sorted((scenes / "crops").glob("*.npz")))
    assert set(rows.row(0)) == set(CROP_ARRAYS)
    assert rows.row(0)["crop"].shape == (CROP_CHANNELS, CROP, CROP)
    assert rows.column("name").max() <= NOTHING and np.isfinite(rows.column("crop")).all()


def test_a_worn_mask_still_shows_its_object():
    mask = np.zeros((60, 60), bool)
    mask[20:40, 20:40] = True
    rng = np.random.default_rng(0)
    kept = [(worn(mask, rng) & mask).sum() / mask.sum() for _ in range(40)]
    assert min(kept) > 0.3 and np.median(kept) > 0.8


def test_through_a_sieve_the_table_is_seen(scenes):
    row = Shards(sorted(scenes.glob("*.npz"))).row(0)
    grid, label = scene_grid(row)
    grid = replace(grid, up=np.array([0.0, -1.0, 0.0]), offset=-0.6)
    row = row | {"category": np.full_like(row["category"], SEGMENT_CATEGORIES.index("laptop"))}
    label = np.where(np.indices(label.shape)[0] > 160, 1, 0).astype(np.uint8)
    grid = replace(grid, z=np.full(label.shape, 0.3, np.float32))
    for seed in range(8):
        holed, left = perforated(grid, label, row, np.random.default_rng(seed))
        hole = (label == 1) & (left == 0)
        height = image_channels(holed)[1] * 0.1
        if hole.any():
            assert 0.05 < hole[label == 1].mean() < 0.8
            assert abs(np.median(height[hole])) < 0.01 < np.median(height[left == 1])
            return
    raise AssertionError("expected a sieve in eight draws, got none")


def test_networks_answer_for_every_size_and_number():
    masks, names = MaskNetwork().eval(), NameNetwork().eval()
    for sides in ((240, 320), (16, 16), (192, 320), (320, 176)):
        answer = masks(torch.zeros(1, CHANNELS, *sides))
        assert answer.shape == (1, 4, sides[0] // 2, sides[1] // 2)
    assert names(torch.zeros(5, CROP_CHANNELS, CROP, CROP)).shape == (5, NOTHING + 1)


def test_an_export_runs_without_torch_as_it_does_with_it(scenes, trained, tmp_path):
    folder = tmp_path / "segmenter-depth"
    export(*trained, folder)
    segmenter = segmenter_of(folder)
    row = Shards(sorted(scenes.glob("*.npz"))).row(1)
    depth = row["depth"].astype(np.float32) * np.float32(DEPTH_UNIT_M)
    found = segmenter.segment(Frame(0, "camera", depth, Intrinsics(*row["intrinsics"].tolist())))
    assert found.masks.shape == depth.shape
    assert {instance.category for instance in found.instances} <= set(segmenter.names)
