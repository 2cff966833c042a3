"""Checkpoints: what cannot be used is named with its cause and the way out, and no failure costs the one before."""

import json
import os
import resource
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.losses import LossWeights
from training.networks import CliposeConfig, PatchTransformerConfig
from training.optimisation.checkpoint import (
    changed_settings,
    load_network,
    previous_path,
    read_checkpoint,
    write_checkpoint,
)
from training.train import FREE, train

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run_folder(config, tmp_path_factory):
    """A run of four steps with a checkpoint at the second and the fourth."""
    folder = tmp_path_factory.mktemp("runs") / "finished"
    train(replace(config, output=folder))
    return folder


@pytest.fixture
def folder(run_folder, tmp_path):
    """A copy that a test may spoil."""
    return Path(shutil.copytree(run_folder, tmp_path / "run"))


def damaged(path: Path, how: str) -> None:
    content = path.read_bytes()
    foreign = {"text": b"hello\n" * 9, "other": os.urandom(4000), "pickle": b"\x80\x02}q\x00."}
    cut = {"empty": 0, "head": 3, "begun": 1000, "half": len(content) // 2, "tail": len(content) - 20}
    path.write_bytes(foreign[how] if how in foreign else content[: cut[how]])


def test_both_checkpoints_are_kept_and_nothing_else(folder):
    assert read_checkpoint(folder / "checkpoint.pt")["step"] == 4
    assert read_checkpoint(folder / "checkpoint.previous.pt")["step"] == 2
    assert sorted(path.name for path in folder.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt", "log.jsonl"]


@pytest.mark.parametrize("how", ["empty", "head", "begun", "half", "tail", "text", "other", "pickle"])
def test_a_damaged_checkpoint_is_named_with_its_cause_and_the_one_before(config, folder, how):
    path = folder / "checkpoint.pt"
    damaged(path, how)
    content = path.read_bytes()
    cause = {
        "empty": "an empty file",
        "begun": "cut off after 1000 bytes",
        "half": "cut off after",
        "tail": "cut off after",
    }
    for read in (lambda: train(replace(config, output=folder, steps=6)), lambda: load_network(path)):
        with pytest.raises(ValueError) as refused:
            read()
        message = str(refused.value)
        assert message.startswith(f"{path}: expected a checkpoint of training.train, got ") and "\n" not in message
        assert cause.get(how, "a file of another kind") in message
        assert message.endswith(f"; the one before it is whole (step 2): mv {previous_path(path)} {path}")
    assert path.read_bytes() == content  # nothing was written over

    previous_path(path).replace(path)  # as the message says
    assert read_checkpoint(train(replace(config, output=folder)))["step"] == 4


def test_where_both_are_damaged_no_way_out_is_promised(folder):
    path = folder / "checkpoint.pt"
    damaged(path, "half")
    damaged(previous_path(path), "empty")
    with pytest.raises(ValueError, match=r"got one that is cut off after \d+ bytes$"):
        read_checkpoint(path)


def test_a_missing_checkpoint_is_said(tmp_path):
    with pytest.raises(ValueError, match=r"none.pt: expected a checkpoint of training.train, got no file$"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(ValueError, match=r"expected a checkpoint of training.train, got a folder$"):
        load_network(tmp_path)


def test_a_run_does_not_begin_anew_beside_the_checkpoint_before(config, folder):
    (folder / "checkpoint.pt").unlink()
    with pytest.raises(
        ValueError, match="expected a checkpoint beside checkpoint.previous.pt, got none; rename that one"
    ):
        train(replace(config, output=folder))


@pytest.mark.parametrize(
    ("content", "got"),
    [
        ({"weights": torch.zeros(3)}, "one without network, average, config, step"),
        ([1, 2], "one without network"),
        ({"network": {}, "average": {}, "config": "not JSON", "step": 1}, "one whose configuration names no network"),
        ({"network": {}, "average": {}, "config": "{}", "step": 1}, "one whose configuration names no network"),
    ],
)
def test_files_of_torch_that_are_no_checkpoints_are_refused(tmp_path, content, got):
    torch.save(content, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=f"other.pt: expected a checkpoint of training.train, got {got}"):
        load_network(tmp_path / "other.pt")


def test_a_checkpoint_of_another_network_than_it_says_is_refused(folder):
    path = folder / "checkpoint.pt"
    saved = read_checkpoint(path)
    settings = json.loads(saved["config"])
    settings["network"]["width"] = 24
    write_checkpoint(path, saved | {"config": json.dumps(settings)})
    with pytest.raises(
        ValueError, match="expected the state of the network that its configuration describes, got other"
    ):
        load_network(path)
    settings["network"]["colour"] = True
    write_checkpoint(path, saved | {"config": json.dumps(settings)})
    with pytest.raises(ValueError, match=r"checkpoint.pt: .*got others: .*expected only .*, got colour"):
        load_network(path)


def test_a_checkpoint_that_lacks_a_part_is_refused(config, folder):
    path = folder / "checkpoint.pt"
    saved = read_checkpoint(path)
    write_checkpoint(path, {name: value for name, value in saved.items() if name != "optimiser"})
    with pytest.raises(ValueError, match="expected the state of network, .*, got none of optimiser"):
        train(replace(config, output=folder, steps=6))


OTHERS = {
    "learning_rate 0.1 \\(begun with 0.0015\\)": {"learning_rate": 0.1},
    "optimiser adamw \\(begun with muon\\)": {"optimiser": "adamw"},
    "batch 12 \\(begun with 6\\); seed 7 \\(begun with 0\\)": {"seed": 7, "batch": 12},
    "network.layers 2 \\(begun with 1\\)": {
        "network": PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=2, heads=2)
    },
    "network clipose \\(begun with compact\\)": {"network": CliposeConfig(), "optimiser": "adamw"},
    "weights.offset 3.0 \\(begun with 6.0\\)": {"weights": LossWeights(offset=3.0)},
    "teacher t.pt \\(begun with None\\)": {"teacher": Path("t.pt")},
}


@pytest.mark.parametrize("names", OTHERS)
def test_other_settings_are_refused_by_name_and_cost_nothing(config, folder, names):
    content = (folder / "checkpoint.pt").read_bytes()
    message = f"expected the settings that the run was begun with, got others: {names}; give those again"
    with pytest.raises(ValueError, match=message):
        train(replace(config, output=folder, steps=6, **OTHERS[names]))
    assert (folder / "checkpoint.pt").read_bytes() == content


def test_an_alignment_that_was_not_there_is_another_setting(config, folder):
    from training.alignment.branch import AlignmentConfig

    with pytest.raises(ValueError, match=r"got others: alignment given \(begun without\)"):
        train(replace(config, output=folder, steps=6), aligned=AlignmentConfig(clip="random"))


def test_where_and_how_a_run_goes_on_is_free(config, folder, views, tmp_path):
    assert set(FREE) == {
        *("steps", "output", "data", "budget_s"),
        *("device", "workers", "in_memory", "tensorboard", "log_every", "checkpoint_every"),
    }
    moved = Path(shutil.copytree(views, tmp_path / "moved", ignore=shutil.ignore_patterns("run")))
    free = {"data": (moved,), "steps": 6, "in_memory": True, "log_every": 1, "checkpoint_every": 3}
    assert read_checkpoint(train(replace(config, output=folder, **free)))["step"] == 6


def test_other_data_are_refused(config, folder, views, tmp_path):
    other = Path(shutil.copytree(views, tmp_path / "other", ignore=shutil.ignore_patterns("run")))
    shutil.copy(views / "shard_000001.npz", other / "shard_000000.npz")
    with pytest.raises(ValueError, match="data: expected the 24 views that the run was begun with, got 48"):
        train(replace(config, output=folder, steps=6, data=(other,)))
    (other / "shard_000000.npz").write_bytes((views / "shard_000001.npz").read_bytes()[:3000])
    damaged(other / "shard_000001.npz", "half")
    with pytest.raises(ValueError, match=r"shards: expected one that can be read, .*shard_000001.npz: .*cut off after"):
        train(replace(config, output=folder, steps=6, data=(other,)))


def test_a_finished_run_says_that_there_is_nothing_to_do(config, folder, capsys):
    content = (folder / "checkpoint.pt").read_bytes()
    assert train(replace(config, output=folder, steps=3)) == folder / "checkpoint.pt"
    assert "has 4 of 3 steps, so there is nothing to do" in capsys.readouterr().out
    assert (folder / "checkpoint.pt").read_bytes() == content


def test_settings_that_a_checkpoint_does_not_know_count_as_their_defaults():
    saved = {"network": {}, "weights": {"gone": 0.0, "used": 2.0}, "alignment": None}
    given = {"network": {}, "weights": {}, "new": 1, "other": 3, "alignment": None}
    defaults = {"network": {}, "weights": {}, "new": 1, "other": 2, "alignment": None}
    changed = ["weights.used None (begun with 2.0)", "other 3 (begun with 2)"]
    assert sorted(changed_settings(saved, given, defaults, ())) == sorted(changed)
    assert changed_settings(saved, given, defaults, ("weights", "other")) == []


def small_files(limit: int):
    """Writes beyond the limit fail, as on a full disk."""
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def test_a_full_disk_leaves_the_checkpoints_and_is_said_in_one_sentence(config, folder, views):
    path = folder / "checkpoint.pt"
    before = path.read_bytes(), previous_path(path).read_bytes()
    options = ["--batch", "6", "--warm-up", "2", "--flat", "1.0", "--log-every", "2", "--checkpoint-every", "2"]
    network = "network:compact --network.patches 16 --network.neighbours 8 --network.width 16 --network.layers 1"
    command = [sys.executable, "-m", "training.train", "--data", str(views), "--output", str(folder), "--steps", "6"]
    done = subprocess.run(
        [*command, *options, *network.split(), "--network.heads", "2"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=small_files(len(before[0]) // 2),
    )
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert f"training.train: {path}: expected room for a checkpoint of " in done.stderr
    assert "; the one there is untouched" in done.stderr
    assert (path.read_bytes(), previous_path(path).read_bytes()) == before
    assert not list(folder.glob("*.tmp"))


def test_a_refusal_ends_the_command_with_one_sentence(folder, views):
    damaged(folder / "checkpoint.pt", "half")
    command = [sys.executable, "-m", "training.train", "--data", str(views), "--output", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    (said,) = done.stderr.splitlines()
    assert said.startswith(f"training.train: {folder / 'checkpoint.pt'}: expected a checkpoint of training.train, got")


def test_the_checkpoint_before_survives_a_crash_between_the_two_names(tmp_path):
    path = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        write_checkpoint(path, {"step": step})
    # the moment after the old file got its second name and before the new one took its place
    previous_path(path).unlink()
    os.link(path, previous_path(path))
    write_checkpoint(path, {"step": 3})
    steps = [torch.load(p, weights_only=True)["step"] for p in (path, previous_path(path))]
    assert steps == [3, 2] and sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint.previous.pt", "checkpoint.pt"]
