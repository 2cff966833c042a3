"""The networks of the depth segmenter: their training, and their export."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import training.optimisation.loop
import training.segmenter
from clipose_ros.core.types import Frame, Intrinsics
from clipose_ros.segmenters.choice import segmenter_of
from clipose_ros.segmenters.depth_channels import CHANNELS, CROP, CROP_CHANNELS
from training.data.scene_batches import measured
from training.data.scene_format import NOTHING
from training.export_segmenter import export
from training.networks.segmentation import (
    MaskNetwork,
    MaskNetworkConfig,
    NameNetwork,
    SegmenterNetworks,
    SegmenterNetworksConfig,
)
from training.optimisation.checkpoint import read_checkpoint
from training.optimisation.schedule import cosine
from training.scenes import draw_shard
from training.segmenter import SegmenterTrainConfig, begin_with, load_networks, train


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Folder of two shards."""
    folder = tmp_path_factory.mktemp("scenes")
    for seed in (1, 2):
        np.savez(folder / f"scenes_{seed:06d}.npz", **draw_shard(seed, 3))
    return folder


@pytest.fixture(scope="module")
def config(scenes):
    return SegmenterTrainConfig(scenes, scenes / "run", steps=2, batch=2, warm_up=1, log_every=1)


@pytest.fixture(scope="module")
def trained(config):
    """Checkpoint of both networks after two steps."""
    return train(config)


def test_a_run_goes_on_where_it_stopped(scenes, config, trained):
    whole, _ = load_networks(trained)
    half = replace(config, output=scenes / "again", steps=1)
    train(half)
    path = train(replace(half, steps=2))
    # the schedule of the learning rate follows the number of steps: the first steps of both are of one rate
    again, saved = load_networks(path)
    assert saved["step"] == 2
    for one, other in zip(whole.parameters(), again.parameters()):
        torch.testing.assert_close(one, other)
    with pytest.raises(ValueError, match="expected the settings that the run was begun with, got others: batch 3"):
        train(replace(half, batch=3))


def test_the_rate_follows_what_is_over_more_of_the_steps_or_of_the_time(config):
    long = replace(config, steps=1000, warm_up=10, flat=0.3, learning_rate=1.0, final=0.01)
    assert cosine(0, long) == 0.1 and cosine(300, long) == 1 == cosine(10, long, spent=0.3)
    assert cosine(650, long) == pytest.approx(0.505) == cosine(20, long, spent=0.65)
    assert cosine(1000, long) == pytest.approx(0.01) == cosine(20, long, spent=1.2)


def test_a_run_begins_with_what_another_learnt(scenes, config, trained):
    """With convolutions of another kind and more of them, all other layers are those of the other run."""
    before, _ = load_networks(trained)
    for sizes in (MaskNetworkConfig(), MaskNetworkConfig(depth=2, separable=False)):
        now = SegmenterNetworks(SegmenterNetworksConfig(sizes))
        begin_with(trained, now)
        weights, kept = before.state_dict(), now.state_dict()
        same = [name for name in kept if name in weights and kept[name].shape == weights[name].shape]
        assert {"masks.stem.weight", "masks.answer.weight", "names.answer.0.weight"} <= set(same)
        assert all((kept[name] == weights[name]).all() for name in same)
    again = replace(config, output=scenes / "begun", start=trained, steps=1)
    assert load_networks(train(again))[1]["step"] == 1
    with pytest.raises(ValueError, match="start: expected a checkpoint of networks of these sizes, got"):
        begin_with(trained, SegmenterNetworks(SegmenterNetworksConfig(MaskNetworkConfig(widths=(8, 24, 64, 128)))))


def test_the_second_network_goes_on_alone(scenes, config, trained):
    again = replace(config, output=scenes / "names", start=trained, names_only=True)
    (before, _), (after, _) = load_networks(trained), load_networks(train(again))
    for name, value in before.masks.state_dict().items():
        torch.testing.assert_close(after.masks.state_dict()[name], value, rtol=0, atol=0)
    assert any((a != b).any() for a, b in zip(before.names.parameters(), after.names.parameters()))
    with pytest.raises(ValueError, match="names_only: expected a start, whose first network stays, got none"):
        replace(again, start=None)


def test_a_run_from_before_low_heights_begins_with_the_answers_that_it_gave(scenes, config):
    sizes = SegmenterNetworksConfig(MaskNetworkConfig(depth=1, low_heights=False))
    path = train(replace(config, output=scenes / "before", network=sizes, steps=1))
    before, _ = load_networks(path)
    now = SegmenterNetworks(SegmenterNetworksConfig(MaskNetworkConfig(depth=1))).eval()
    begin_with(path, now)
    seen = torch.randn(1, CHANNELS, 32, 32)
    seen[:, 2] = seen[:, 7] = 1
    other = seen.clone()
    other[:, 7] = torch.randn(32, 32)
    with torch.no_grad():
        torch.testing.assert_close(now.masks(other), before.masks(seen))


def test_a_network_that_has_diverged_ends_the_run(config, tmp_path, monkeypatch):
    whole = training.segmenter.step_losses

    def diverged(*arguments):
        losses = whole(*arguments)
        return losses | {"total": losses["total"] * torch.nan}

    monkeypatch.setattr(training.segmenter, "step_losses", diverged)
    monkeypatch.setattr(training.optimisation.loop, "MOST_UNSOUND", 2)
    with pytest.raises(ValueError, match="gradient: expected finite numbers, got others in 2 steps in a row"):
        train(replace(config, output=tmp_path, steps=9))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_averaged_weights_alone_are_a_checkpoint_for_the_export(trained):
    alone, whole = trained.with_name("averaged.pt"), read_checkpoint(trained)
    one, saved = load_networks(alone)
    assert saved["step"] == whole["step"] and alone.stat().st_size < 0.5 * trained.stat().st_size
    for name, value in one.state_dict().items():
        torch.testing.assert_close(value, whole["average"][f"module.{name}"])


def test_a_budget_of_time_ends_a_run_while_scenes_are_still_drawn(scenes, config):
    again = replace(config, output=scenes / "short", steps=10_000, budget_s=2.0, growing=2, batch=2, precision="bf16")
    _, saved = load_networks(train(again))
    assert 1 <= saved["step"] < 10_000 and saved["rows"] == 3
    with pytest.raises(ValueError, match="budget_s: expected more than 0 s, got 0"):
        replace(config, budget_s=0.0)
    with pytest.raises(ValueError, match="growing: expected 0 or at least 2 scenes, a batch, got 1"):
        replace(config, growing=1)


def test_a_folder_without_shards_is_refused(tmp_path, config):
    with pytest.raises(ValueError, match=r"data: expected more than 1 scenes_\*.npz in .*, got 0"):
        train(replace(config, data=tmp_path))


def test_networks_answer_for_every_size_and_number():
    names = NameNetwork().eval()
    for separable in (True, False):
        masks = MaskNetwork(MaskNetworkConfig(separable=separable)).eval()
        for sides in ((240, 320), (16, 16), (192, 320), (320, 176)):
            answer = masks(torch.zeros(1, CHANNELS, *sides))
            assert answer.shape == (1, 4, sides[0] // 2, sides[1] // 2)
    assert names(torch.zeros(5, CROP_CHANNELS, CROP, CROP)).shape == (5, NOTHING + 1)


def test_an_export_runs_without_torch_as_it_does_with_it(scenes, trained, tmp_path):
    folder = tmp_path / "segmenter-depth"
    export(trained, folder)
    segmenter = segmenter_of(folder)
    assert segmenter.settings.low_heights  # as the network was trained
    rows = np.load(scenes / "scenes_000001.npz")
    depth, intrinsics = measured(rows["depth"][1:2], 1)[0], Intrinsics(*rows["intrinsics"][1].tolist())
    found = segmenter.segment(Frame(0, "camera", depth, intrinsics))
    assert found.masks.shape == depth.shape
    assert {instance.category for instance in found.instances} <= set(segmenter.names)
