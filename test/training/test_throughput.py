"""The commands around training: the paper's settings, and the measurement of the data pipeline."""

from dataclasses import replace

import pytest
import torch
import tyro

from training import clipose, throughput
from training.data.rows import ViewPool
from training.networks import CliposeConfig, HSEncoderConfig, PatchTransformerConfig
from training.train import learning_rate


def test_clouds_are_counted_by_time(views):
    pool = ViewPool(sorted(views.glob("*.npz")))
    assert throughput.clouds_per_second(pool, 8, torch.device("cpu"), seconds=0.1) > 0


def test_steps_are_those_of_the_trainer(views):
    pool = ViewPool(sorted(views.glob("*.npz")))
    compact = replace(throughput.RUNS["compact"], batch=4, network=PatchTransformerConfig(layers=1))
    assert throughput.steps_per_second(pool, compact, seconds=0.1) > 0
    encoder = HSEncoderConfig(neighbours=4, supports=1, channels=(8, 8, 8, 8, 8))
    network = CliposeConfig(encoder=encoder, hidden=(16, 8), dense=8)
    paper = replace(throughput.RUNS["clipose"], batch=4, network=network)
    assert paper.optimiser == "ranger" and paper.weights == clipose.PAPER.weights
    assert throughput.steps_per_second(pool, paper, seconds=0.1, clip="random") > 0


def test_the_table_has_a_line_for_each_batch(views, capsys):
    throughput.main(views, batch=(4, 6), seconds=0.05, networks=("compact",))
    said = capsys.readouterr().out
    assert "48 views, cpu" in said and "compact steps/s" in said
    assert len([line for line in said.splitlines() if line.startswith(("│ 4", "│ 6"))]) == 2


def test_a_folder_without_shards_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"data: expected shard_\*.npz in .*, got none"):
        throughput.main(tmp_path)


def test_papers_schedule_is_flat_then_falls_to_nothing():
    paper = replace(clipose.PAPER, data=(), output=None)
    assert learning_rate(999, paper) == learning_rate(int(0.71 * paper.steps), paper) == 1e-4
    assert learning_rate(paper.steps, paper) == 0


def test_papers_training_has_a_command_line_of_its_own(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(clipose.main, args=["--data", "a", "b", "--alignment.clip", "random"])
    said = capsys.readouterr().err
    assert "--output" in said and "--data" not in said  # the only option that is missing
