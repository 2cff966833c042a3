"""Rows that come while a network trains."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from training.data.growing import GrowingRows
from training.networks.patch_transformer import PatchTransformerConfig
from training.train import TrainConfig, train
from training.views import draw_shard

CPU = torch.device("cpu")


def write(folder: Path, number: int, **arrays: np.ndarray) -> None:
    path = folder / f"shard_{number}.npz"
    with (folder / "unfinished").open("wb") as file:
        np.savez(file, **arrays)
    (folder / "unfinished").replace(path)


def wait_for(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_takes_shards_as_they_come_in_the_places_of_the_oldest(tmp_path):
    rows = GrowingRows(tmp_path, "shard_*.npz", 7, CPU)
    write(tmp_path, 0, a=np.full(4, -1))
    write(tmp_path, 1, a=np.arange(4))
    rows.start(least=4)
    assert [path.name for path in rows.held_out] == ["shard_0.npz"], "the first is kept apart"
    write(tmp_path, 2, a=np.arange(4, 8))
    wait_for(lambda: rows.taken == 8)
    assert rows.column("a").tolist() == [7, *range(1, 7)]
    assert rows.drawn(torch.tensor([6, 0]))["a"].tolist() == [6, 7]
    rows.close()


def test_gives_unsigned_numbers_of_16_bits_as_they_are(tmp_path):
    write(tmp_path, 0, depth=np.array([0, 40_000, 65_535], np.uint16))
    rows = GrowingRows(tmp_path, "shard_*.npz", 3, CPU, held_out=0)
    rows.start(least=3)
    assert rows.drawn(torch.tensor([2, 1]))["depth"].tolist() == [65_535, 40_000]
    rows.close()


def test_counts_shards_that_are_broken_or_of_another_kind(tmp_path):
    rows = GrowingRows(tmp_path, "shard_*.npz", 8, CPU, held_out=0)
    (tmp_path / "shard_0.npz").write_bytes(b"no archive")
    write(tmp_path, 1, a=np.arange(2))
    write(tmp_path, 2, b=np.arange(2))
    write(tmp_path, 3, a=np.arange(2))
    rows.start(least=4)
    rows.close()
    reasons = " ".join(rows.skipped)
    assert sum(rows.skipped.values()) == 2 and "shard_0.npz" in reasons and "as in the first shard" in reasons


def test_says_how_many_rows_there_are_when_they_do_not_come(tmp_path):
    rows = GrowingRows(tmp_path, "shard_*.npz", 8, CPU)
    with pytest.raises(TimeoutError, match=r"expected 3 rows in shard_\*.npz within 0 s, got 0"):
        rows.start(least=3, timeout_s=0.2)
    rows.close()


def test_a_run_takes_further_shards_and_ends_with_its_time(tmp_path):
    folder = tmp_path / "views"
    folder.mkdir()
    shard = draw_shard(1, 24)
    for number in range(2):
        write(folder, number, **shard)
    config = TrainConfig(
        data=(folder,),
        output=tmp_path / "run",
        batch=8,
        growing=72,
        budget_s=4.0,
        log_every=1,
        network=PatchTransformerConfig(points=1024, patches=16, neighbours=8, width=16, layers=1, heads=1),
    )
    later = threading.Timer(1.0, write, (folder, 2), shard)
    later.start()
    path = train(config)
    later.join()
    saved = torch.load(path, weights_only=True)
    assert 0 < saved["step"] < config.steps
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert "validation" in lines[-1]
    assert saved["views"] == 48, "the shard that came later, too"


def test_growing_needs_one_folder_and_a_batch_of_rows(tmp_path):
    with pytest.raises(ValueError, match="growing: expected 0, or one folder and at least 64 rows, a batch"):
        TrainConfig(data=(tmp_path,), output=tmp_path, growing=10)
    with pytest.raises(ValueError, match="budget_s: expected more than 0 s, got 0"):
        TrainConfig(data=(tmp_path,), output=tmp_path, budget_s=0.0)
