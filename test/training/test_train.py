"""The trainer: exact resume, the same gradients from any number of processes, runs that broken data does not stop."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import training.optimisation.loop
import training.train
from training.data.dataset import BatchConfig, make_batch
from training.data.rows import ViewPool
from training.data.sources import batches_of
from training.distillation import DistillationWeights, common_centres, distillation_losses, frozen
from training.losses import LossWeights
from training.networks import CliposeConfig, HSEncoderConfig, make_network
from training.optimisation.checkpoint import load_network, read_checkpoint
from training.optimisation.optimisers import make_optimiser
from training.train import TrainConfig, batch_losses, learning_rate, make_accelerator, train

TINY_CLIPOSE = CliposeConfig(
    encoder=HSEncoderConfig(points=1024, neighbours=4, supports=1, channels=(8, 8, 8, 8, 8)), hidden=(16, 8), dense=8
)


def test_a_network_that_is_told_nothing_trains_in_the_view_frame_alone(config):
    """As it runs: of a level frame it would not know."""
    assert batches_of(config).ground.known > 0
    for network in (replace(config.network, ground=False), TINY_CLIPOSE):
        assert batches_of(replace(config, network=network)).ground.known == 0


def test_a_network_that_refines_trains_in_the_frames_of_poses(config):
    refining = replace(config, network=replace(config.network, refines=True))
    assert batches_of(refining).prior.given and not batches_of(config).prior.given


@pytest.mark.parametrize("surfaces", [True, False])
def test_views_without_surfaces_are_said_where_the_network_should_be_told_of_them(
    config, views, tmp_path, capsys, surfaces
):
    for path in views.glob("shard_*.npz"):
        with np.load(path) as shard:
            np.savez(tmp_path / path.name, **{name: shard[name] for name in shard if surfaces or name != "surface"})
    train(replace(config, data=(tmp_path,), output=tmp_path / "run"))
    assert ("data: expected views with a surface" in capsys.readouterr().out) == (not surfaces)


def log_of(folder) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def assert_same_weights(one: dict, two: dict) -> None:
    assert one["step"] == two["step"]
    for part in ("network", "average"):
        for name, value in one[part].items():
            assert torch.equal(value, two[part][name]), name


@pytest.fixture(scope="module")
def truth(views) -> dict[str, torch.Tensor]:
    pool = ViewPool([views / "shard_000001.npz"])
    batch = make_batch(
        pool.rows(torch.arange(6), torch.device("cpu")), 16, BatchConfig(), torch.Generator().manual_seed(0)
    )
    assert batch.pop("usable").all()
    return batch


def test_learning_rate_warms_up_stays_and_decays():
    config = TrainConfig(data=(), output=None, steps=1000, warm_up=100, flat=0.5, learning_rate=1.0)
    assert learning_rate(0, config) == pytest.approx(0.01)
    assert learning_rate(99, config) == learning_rate(499, config) == pytest.approx(1.0)
    assert 0.4 < learning_rate(750, config) < 0.6
    assert learning_rate(1000, config) == pytest.approx(0.01)
    assert learning_rate(1000, replace(config, final=0.0)) == pytest.approx(0.0)


@pytest.mark.parametrize("optimiser", ["muon", "adamw", "ranger"])
def test_resumed_training_equals_uninterrupted_training(config, tmp_path, optimiser):
    # The rate must be that of the long run: with a flat schedule it does not depend on the number of steps.
    config = replace(config, optimiser=optimiser)
    whole = train(replace(config, output=tmp_path / "whole"))
    half = train(replace(config, output=tmp_path / "interrupted", steps=2))
    assert read_checkpoint(half)["step"] == 2
    resumed = train(replace(config, output=tmp_path / "interrupted"))
    assert_same_weights(read_checkpoint(whole), read_checkpoint(resumed))


def test_reading_ahead_in_a_process_of_its_own_changes_nothing(config, checkpoint, tmp_path):
    other = train(replace(config, output=tmp_path, workers=1, in_memory=True))
    assert_same_weights(read_checkpoint(checkpoint), read_checkpoint(other))


def test_wrong_settings_are_named(config, tmp_path):
    with pytest.raises(ValueError, match="data: expected more than 1 shard"):
        train(replace(config, data=(tmp_path,)))
    with pytest.raises(ValueError, match="share: expected a number for each of 1 sources, got 2"):
        train(replace(config, share=(3.0, 1.0)))
    with pytest.raises(ValueError, match="category_share: expected 6 numbers, got 1"):
        replace(config, category_share=(1.0,))
    for name in ("steps", "batch", "validation_shards", "log_every", "checkpoint_every"):
        with pytest.raises(ValueError, match=f"{name}: expected at least 1, got 0"):
            replace(config, **{name: 0})
    with pytest.raises(ValueError, match="precision: expected fp32 or bf16 on a CPU, got fp16"):
        replace(config, precision="fp16")


def reference_ranger(gradients, start, rate, beta1=0.95, beta2=0.999, k=6, alpha=0.5, epsilon=1e-5):
    """RAdam (Liu et al. 2020, algorithm 2) on centralised gradients (Yong et al. 2020), with lookahead (Zhang et al.
    2019).
    """
    fast, slow = start.copy(), start.copy()
    m, v = np.zeros_like(start), np.zeros_like(start)
    longest = 2 / (1 - beta2) - 1
    for t, gradient in enumerate(gradients, start=1):
        gradient = gradient - gradient.mean(1, keepdims=True)
        m, v = beta1 * m + (1 - beta1) * gradient, beta2 * v + (1 - beta2) * gradient**2
        length = longest - 2 * t * beta2**t / (1 - beta2**t)
        if length >= 5:
            r = np.sqrt((length - 4) * (length - 2) * longest / ((longest - 4) * (longest - 2) * length))
            fast = fast - rate * r * m / (1 - beta1**t) * np.sqrt(1 - beta2**t) / (np.sqrt(v) + epsilon)
        else:
            fast = fast - rate * m / (1 - beta1**t)
        if t % k == 0:
            fast = slow = slow + alpha * (fast - slow)
    return fast


def test_ranger_equals_its_papers():
    rng = np.random.default_rng(0)
    start, gradients = rng.normal(size=(3, 4)), rng.normal(size=(20, 3, 4))
    weight = nn.Parameter(torch.from_numpy(start.copy()))
    optimiser = make_optimiser(
        nn.ParameterList([weight]),
        [],
        TrainConfig(data=(), output=None, optimiser="ranger", learning_rate=0.01, weight_decay=0.0),
    )
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient.copy())
        optimiser.step()
    np.testing.assert_allclose(weight.detach().numpy(), reference_ranger(gradients, start, 0.01), atol=1e-6)


PROCESS = """
import sys, torch
from dataclasses import replace
from pathlib import Path
torch.set_num_threads(1)
from training.networks import PatchTransformerConfig, make_network
from training.optimisation.processes import reduce_gradients
from training.train import TrainConfig, batch_losses, make_accelerator, train
views, folder = map(Path, sys.argv[1:])
network = PatchTransformerConfig(patches=16, neighbours=8, width=16, layers=1, heads=2)
config = TrainConfig(data=(views,), output=folder / "run", steps=2, batch=6, warm_up=1, log_every=1, network=network)
config = replace(config, checkpoint_every=2, precision="bf16")
accelerator = make_accelerator(config)
given = torch.load(folder / "given.pt", weights_only=True)
model = make_network(network).train()
model.load_state_dict(given["network"])
first = 2  # of six: the processes need not have the same number
own = slice(0, first) if accelerator.process_index == 0 else slice(first, None)
truth = {name: value[own] for name, value in given["truth"].items()}
losses = batch_losses(model, truth, replace(config, precision="fp32"), accelerator)
losses["total"].backward()
reduce_gradients(model.parameters(), accelerator)
gradients = {k: p.grad for k, p in model.named_parameters()}
result = {"losses": {k: v.detach() for k, v in losses.items()}, "gradients": gradients}
torch.save(result, folder / f"process_{accelerator.process_index}.pt")
train(config)
"""


def test_two_processes_give_the_gradients_of_one(config, truth, tmp_path):
    """As `accelerate launch --cpu --num_processes 2` starts them; then both train two steps in bfloat16."""
    network = make_network(config.network).train()
    torch.save({"network": network.state_dict(), "truth": truth}, tmp_path / "given.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    world = {
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", PROCESS, str(config.data[0]), str(tmp_path)]
    root = Path(__file__).resolve().parents[2]
    running = [
        subprocess.Popen(command, cwd=root, env=os.environ | world | {"RANK": rank, "LOCAL_RANK": rank})
        for rank in "01"
    ]
    try:
        assert [process.wait(timeout=300) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()

    losses = batch_losses(network, truth, config, make_accelerator(config))
    losses["total"].backward()
    for rank in (0, 1):
        got = torch.load(tmp_path / f"process_{rank}.pt", weights_only=True)
        for name, value in losses.items():
            torch.testing.assert_close(got["losses"][name], value.detach(), atol=1e-6, rtol=1e-6)
        for name, parameter in network.named_parameters():
            largest = max(1.0, parameter.grad.abs().max().item())  # float32 has 7 digits
            torch.testing.assert_close(got["gradients"][name], parameter.grad, atol=1e-6 * largest, rtol=0)
    saved = read_checkpoint(tmp_path / "run" / "checkpoint.pt")
    assert saved["processes"] == 2 and all(value.isfinite().all() for value in saved["network"].values())
    assert len([line for line in log_of(tmp_path / "run") if "total" in line]) == 2  # one process alone writes


def test_broken_rows_and_shards_are_counted_and_do_not_stop_a_run(config, views, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    for shard in views.glob("*.npz"):
        (data / shard.name).symlink_to(shard)
    with np.load(views / "shard_000001.npz") as file:
        rows = dict(file)
    rows["translation"][:3] = np.inf
    rows["depth"][3:] = 0  # whole rows, but nothing to be seen
    np.savez(data / "shard_000000.npz", **rows)
    (data / "shard_000001b.npz").write_bytes(b"not a shard")
    train(replace(config, data=(data,), output=tmp_path / "run"))
    skipped = log_of(tmp_path / "run")[-2]["skipped"]
    assert skipped["numbers that are not finite"] == 3
    assert skipped["too few points"] > 0
    assert any("shard_000001b.npz" in reason for reason in skipped)


def test_a_network_that_has_diverged_ends_the_run(config, tmp_path, monkeypatch):
    """Deep_Object_Pose#74, mmpose#2455: a loss of nan until the last step, and nobody is told."""
    whole = batch_losses

    def diverged(*arguments):
        losses = whole(*arguments)
        return losses | {"total": losses["total"] * torch.nan}

    monkeypatch.setattr(training.train, "batch_losses", diverged)
    monkeypatch.setattr(training.optimisation.loop, "MOST_UNSOUND", 3)
    with pytest.raises(
        ValueError, match="gradient: expected finite numbers, got others in 3 steps in a row, up to step 3"
    ):
        train(replace(config, output=tmp_path, steps=9, checkpoint_every=9))
    assert not (tmp_path / "checkpoint.pt").exists()


def test_a_step_without_a_finite_gradient_is_left_out(config, tmp_path, monkeypatch):
    whole = batch_losses

    def broken(*arguments):
        losses = whole(*arguments)
        return losses | {"total": losses["total"] * float("nan")}

    monkeypatch.setattr(training.train, "batch_losses", broken)
    path = train(replace(config, output=tmp_path, steps=2))
    torch.manual_seed(config.seed)
    assert_same_weights(
        {"step": 2, "network": make_network(config.network).state_dict(), "average": {}}, read_checkpoint(path)
    )
    assert {"steps whose gradient was not finite": 2}.items() <= log_of(tmp_path)[0]["skipped"].items()


def test_measured_sources_and_events(config, views, tmp_path):
    """A second source in a share of its own, and TensorBoard's files where they are asked for."""
    real = tmp_path / "real"
    real.mkdir()
    with np.load(views / "shard_000002.npz") as file:
        np.savez(real / "shard_000000.npz", **file, measured=np.ones(24, bool))
    train(replace(config, data=(views, real), share=(3.0, 1.0), output=tmp_path / "run", steps=2, tensorboard=True))
    assert list((tmp_path / "run" / "tensorboard").glob("events.*"))


def test_a_teacher_is_frozen_and_says_what_it_says_in_training(truth):
    network = make_network(TINY_CLIPOSE)
    teacher = frozen(network)
    assert not any(p.requires_grad for p in teacher.parameters())
    one, two = (teacher(truth["points"], truth["category"]) for _ in range(2))
    assert "reconstruction" in one and torch.equal(one["y_axis"], two["y_axis"])  # no dropout


def test_distillation_vanishes_at_the_teacher_and_pulls_elsewhere(config, truth):
    student, teacher = make_network(config.network).train(), frozen(make_network(config.network))
    taught = teacher(truth["points"], truth["category"])
    at_teacher = distillation_losses(taught, taught, truth, DistillationWeights())
    assert set(at_teacher) == {f"taught_{name}" for name in ("y_axis", "x_axis", "offset", "size", "coordinates")}
    assert all(0 <= value < 2e-3 for value in at_teacher.values())
    optimiser = torch.optim.Adam(student.parameters(), lr=1e-2)
    sums = []
    for _ in range(12):
        loss = sum(
            distillation_losses(
                student(truth["points"], truth["category"]), taught, truth, DistillationWeights()
            ).values()
        )
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        sums.append(loss.item())
    assert sums[-1] < 0.7 * sums[0]


def test_common_centres_are_those_of_both_networks():
    points = torch.arange(64.0)[None, :, None].expand(2, 64, 3)
    first, second = common_centres(points[:, ::4], points[:, ::8])
    assert torch.equal(first, second) and first.shape == (2, 8, 3)
    with pytest.raises(ValueError, match="patches of the teacher: expected a multiple or a divisor of 16, got 12"):
        common_centres(torch.zeros(1, 16, 3), torch.zeros(1, 12, 3))


def test_a_teacher_adds_its_terms_to_a_run(config, checkpoint, tmp_path):
    train(replace(config, output=tmp_path, steps=2, teacher=checkpoint))
    line = log_of(tmp_path)[0]
    assert (
        line["taught_y_axis"] > 0
        and line["total"] > sum(value for name, value in line.items() if name.startswith("taught")) > 0
    )


def test_alignment_trains_beside_the_network_and_stays_out_of_it(config, tmp_path):
    from training.alignment.branch import AlignmentConfig

    run = replace(
        config,
        output=tmp_path,
        steps=2,
        batch=4,
        network=TINY_CLIPOSE,
        optimiser="adamw",
        weights=LossWeights.clipose(),
    )
    path = train(run, aligned=AlignmentConfig(clip="random"))
    assert {"point_image", "point_text", "image_category", "reconstruction"} <= log_of(tmp_path)[0].keys()
    network, saved = load_network(path)
    assert saved["alignment"]
    assert set(network(torch.zeros(1, 1024, 3), torch.zeros(1, dtype=torch.long))) == {
        "y_axis",
        "x_axis",
        "confidence",
        "offset",
        "size",
    }
    with pytest.raises(ValueError, match="network: expected one that gives a feature to align, got PatchTransformer"):
        train(replace(config, output=tmp_path / "compact"), aligned=AlignmentConfig(clip="random"))


@pytest.mark.parametrize("text_pose", ["true", "random", "none"])
def test_texts_speak_of_the_pose_in_the_cameras_frame(config, views, tmp_path, monkeypatch, text_pose):
    """Through `train`: the poses that the data have, random ones that a resumed run draws again, or none."""
    from training.alignment.branch import Alignment, AlignmentConfig
    from training.alignment.descriptions import category_texts, pose_texts

    told = []
    whole = Alignment.texts

    def texts(self, *arguments):
        told.append(whole(self, *arguments))
        return told[-1]

    monkeypatch.setattr(Alignment, "texts", texts)
    run = replace(config, network=TINY_CLIPOSE, optimiser="adamw", weights=LossWeights.clipose(), steps=4)
    aligned = AlignmentConfig(clip="random", text_pose=text_pose)
    train(replace(run, output=tmp_path / "whole"), aligned=aligned)
    train(replace(run, output=tmp_path / "parts", steps=2), aligned=aligned)
    train(replace(run, output=tmp_path / "parts"), aligned=aligned)
    assert told[:4] == told[4:] and len({tuple(batch) for batch in told[:4]}) == 4
    with np.load(views / "shard_000001.npz") as file:
        true = set(pose_texts(file["category"], file["rotation"], file["translation"]))
        bare = set(category_texts(file["category"]))
    said = {text for batch in told for text in batch}
    assert (said <= true, said <= bare) == (text_pose == "true", text_pose == "none")


def test_dense_outputs_exist_only_in_training(config):
    network = make_network(config.network)
    points, category = torch.randn(2, 1024, 3), torch.tensor([0, 5])
    assert {"coordinates", "foreground"} <= set(network.train()(points, category))
    assert set(network.eval()(points, category)) == {"y_axis", "x_axis", "confidence", "offset", "size"}


def test_network_is_bit_identical_from_run_to_run(config):
    network = make_network(config.network).eval()
    points, category = torch.randn(2, 1024, 3), torch.tensor([0, 5])
    one, two = (network(points, category) for _ in range(2))
    for name in one:
        assert torch.equal(one[name], two[name])
