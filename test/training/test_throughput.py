"""The commands around training: the paper's settings, and the measurement of the data pipeline."""

from dataclasses import replace

import pytest
import torch
import tyro

from training import clipose, throughput
from training.rows import ViewPool
from training.train import learning_rate


def test_clouds_are_counted_by_time(views):
    pool = ViewPool(sorted(views.glob("*.npz")))
    assert throughput.clouds_per_second(pool, 8, torch.device("cpu"), seconds=0.1) > 0


def test_papers_schedule_is_flat_then_falls_to_nothing():
    paper = replace(clipose.PAPER, data=(), output=None)
    assert learning_rate(999, paper) == learning_rate(int(0.71 * paper.steps), paper) == 1e-4
    assert learning_rate(paper.steps, paper) == 0


def test_papers_training_has_a_command_line_of_its_own(capsys):
    with pytest.raises(SystemExit):
        tyro.cli(clipose.main, args=["--data", "a", "b", "--alignment.clip", "random"])
    said = capsys.readouterr().err
    assert "--output" in said and "--data" not in said  # the only option that is missing
