"""The paper's experiment on a miniature of the published data: a frame or two of each set, a tiny network, a few steps,
an untrained CLIP.
"""

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import tyro

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.inference.card import read_card
from training import cleanpose
from training.alignment.branch import AlignmentConfig
from training.clipose import PAPER
from training.data.dataset import BatchConfig
from training.networks import CleanPoseConfig, CliposeConfig, DistilledConfig, PointNetConfig
from training.networks.hs_encoder import HSEncoderConfig
from training.nocs.files import SPLITS
from training.optimisation.checkpoint import load_network, read_checkpoint
from training.reproduce import Reproduction, colour_side, command_of, is_finished, main, reproduce, stages

samples = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_predict.py"))))
nocs = samples.nocs


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("nocs")
    rendered, scanned = nocs.rendered(SPLITS["camera_train"].intrinsics), nocs.rendered(SPLITS["real_train"].intrinsics)
    for name in ("0000", "0001"):
        nocs.write_frame(rendered, root, "CAMERA/train/00000", name)
    for folder in ("Real/train/scene_1", "Real/test/scene_1"):
        nocs.write_frame(scanned, root, folder)
    nocs.write_models(rendered, root, "train")
    nocs.write_models(scanned, root, "real_train")
    nocs.write_pickle(root / "gts/real_test/results_real_test_scene_1_0000.pkl", samples.published(scanned))
    nocs.write_pickle(root / "mrcnn/results_test_scene_1_0000.pkl", samples.detected(scanned))
    return root


def settings(root: Path, output: Path, **options) -> Reproduction:
    encoder = HSEncoderConfig(points=128, neighbours=4, supports=1, channels=(8, 8, 8, 8, 8))
    run = replace(
        PAPER,
        data=(),
        output=output,
        steps=2,
        batch=4,
        log_every=1,
        network=CliposeConfig(encoder=encoder, hidden=(8, 8), dense=8),
        batches=replace(PAPER.batches, points=128),
    )
    fixed = {
        "shard_views": 3,
        "shard_workers": 1,
        "threads": 1,
        "train": run,
        "alignment": AlignmentConfig(clip="random"),
    }
    return Reproduction(root, root / "mrcnn", **fixed | options)


@pytest.fixture(scope="module")
def finished(root, tiny_model, tmp_path_factory):
    """A whole run. torch takes a minute to export the paper's network, whatever its width, and exports have tests of
    their own: here the exporter reads the checkpoint and gives another model.
    """

    def export(checkpoint: Path, output: Path, remark: str, precision: str) -> None:
        network, _ = load_network(checkpoint)
        assert network.config.hidden == (8, 8) and "camera_train and real_train" in remark
        shutil.copytree(tiny_model, output)
        (output / "precision").write_text(precision)

    config = settings(root, tmp_path_factory.mktemp("runs") / "clipose")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.reproduce.export", export)
        return config, reproduce(config)


def test_the_experiment_ends_in_a_table_of_all_protocols(finished):
    config, accuracy = finished
    assert accuracy == json.loads((config.output / "accuracy.json").read_text()) and set(accuracy) == {"real_test"}
    table = accuracy["real_test"]
    assert table["images"] == 1 and table["skipped"] == {}
    for protocol in ("catre", "original", "original_recentred"):
        assert table[protocol]["predictions"] == {c: int(c in ("mug", "can", "laptop")) for c in CATEGORIES}
        for kind in ("pose", "pose_ungated"):
            assert all(0 <= value <= 1 for value in table[protocol][kind]["mean"].values())


def test_every_stage_leaves_what_it_made_and_a_record(finished):
    config, _ = finished
    records = {path.stem: json.loads(path.read_text()) for path in (config.output / "stages").glob("*.json")}
    assert all(record["finished"] for record in records.values()) and len(records) == len(stages(config))
    assert records["camera_train"]["report"] == {"rows": 6, "skipped": {}, "missing_models": []}
    assert records["prediction_real_test"]["report"] == {"results": 1, "predictions": 3, "skipped": {}}
    saved = read_checkpoint(config.output / "training/checkpoint.pt")
    terms = json.loads((config.output / "training/log.jsonl").read_text().splitlines()[0])
    assert saved["step"] == 2 and {"point_image", "point_text", "image_category"} <= terms.keys()  # CLIP was there
    for model, precision in (("clipose", "fp32"), ("clipose-fp16", "fp16")):
        assert (config.output / "models" / model / "precision").read_text() == precision


def test_what_is_finished_is_not_done_again_and_what_is_lost_is(finished, capsys):
    config, accuracy = finished
    planned = stages(config)
    times = [stage.result.stat().st_mtime_ns for stage in planned]
    assert reproduce(replace(config, shard_workers=2)) == accuracy
    assert [stage.result.stat().st_mtime_ns for stage in planned] == times
    assert "mean" in (shown := " ".join(capsys.readouterr().out.split())) and "paper 48.7 58.3 70.4 85.2" in shown
    planned[-1].result.unlink()
    assert reproduce(config) == accuracy
    assert [stage.result.stat().st_mtime_ns for stage in planned[:-1]] == times[:-1]


def test_other_settings_are_refused_where_they_matter(finished):
    config, _ = finished

    def refused(other: Reproduction) -> list[str]:
        names = []
        for stage in stages(other):
            try:
                is_finished(stage, other.output)
            except ValueError as error:
                assert "expected the settings that" in str(error)
                names.append(stage.name)
        return names

    after_training = ["training", "export fp32", "export fp16", "prediction real_test", "evaluation"]
    assert refused(replace(config, train=replace(config.train, log_every=50))) == []
    assert refused(replace(config, detections="truth")) == after_training[-2:]
    assert refused(replace(config, alignment=AlignmentConfig(clip="random", temperature=0.1))) == after_training
    assert refused(replace(config, colour=False)) == ["camera_train", "real_train", *after_training]
    steps = replace(config.train, steps=3)
    with pytest.raises(
        ValueError, match="training.json: expected the settings that training was begun with, got others: train; take"
    ):
        reproduce(replace(config, train=steps))
    assert read_checkpoint(config.output / "training/checkpoint.pt")["step"] == 2  # nothing was touched


def test_an_interrupted_stage_is_not_finished(finished, monkeypatch):
    config, accuracy = finished
    last = stages(config)[-1]
    last.result.unlink()
    monkeypatch.setattr("training.reproduce.evaluate", lambda *_: (_ for _ in ()).throw(RuntimeError("power cut")))
    with pytest.raises(RuntimeError):
        reproduce(config)
    assert not is_finished(last, config.output)
    monkeypatch.undo()
    assert reproduce(config) == accuracy and is_finished(last, config.output)


def test_the_command_line_has_the_paper_s_settings_and_a_dry_run_that_does_nothing(root, tmp_path, capsys):
    options = [
        "--root",
        str(root),
        "--detections",
        "truth",
        "--camera-detections",
        "truth",
        "--output",
        str(tmp_path / "run"),
    ]
    config = tyro.cli(Reproduction, args=[*options, "--alignment.clip", "random", "--device", "cpu"])
    run = replace(PAPER, data=(), output=tmp_path / "run")
    assert config == Reproduction(root, "truth", "truth", train=run, alignment=AlignmentConfig(clip="random"))
    main(config, dry_run=True)
    shown = capsys.readouterr().out
    assert all(
        name in shown for name in ("camera_train", "training", "export fp16", "prediction", "camera_val", "evaluation")
    )
    assert not (tmp_path / "run").exists()


def test_the_defaults_are_the_paper_s():
    run = Reproduction(Path(), "truth", train=replace(PAPER, data=(), output=Path())).train
    assert (run.optimiser, run.learning_rate, run.warm_up, run.flat, run.clip) == ("ranger", 1e-4, 1000, 0.72, 5.0)
    assert (run.batch, run.share) == (24, (3.0, 1.0))
    assert run.network == CliposeConfig() and run.batches != BatchConfig() and run.weights.y_axis_l1 == 8


def test_cleanpose_goes_the_same_way_with_its_own_paper_s_settings(root, tmp_path, monkeypatch, capsys):
    """To the end: what is exported has passed the comparison with torch, and predicts from colour and points."""
    encoder = PointNetConfig(points=64, levels=(32, 16, 8, 4), widths=(4, 4, 4, 4), propagation=(8, 8, 8, 8))
    network = CleanPoseConfig(
        encoder=encoder, image_features=8, keypoints=6, detector_layers=1, coordinate_layers=1, hidden=16,
        neighbours=(4,), bins=8, rebuilt=2, distilled=DistilledConfig(width=0), backbone="small",
    )  # fmt: skip
    given = ["--method", "cleanpose", "--root", str(root), "--detections", str(root / "mrcnn")]
    given += ["--output", str(tmp_path / "run"), "--shard-views", "3", "--shard-workers", "1", "--threads", "1"]
    planned = []
    monkeypatch.setattr("training.reproduce.main", lambda settings, dry_run: planned.append(settings))
    tyro.cli(command_of(given), args=given)
    (config,) = planned
    assert config.train == replace(cleanpose.PAPER, data=(), output=tmp_path / "run")
    assert colour_side(config) == 224 and colour_side(replace(config, colour=False)) == 0
    batches = replace(cleanpose.PAPER.batches, points=64)
    run = replace(config.train, steps=2, batch=4, log_every=1, network=network, batches=batches)
    accuracy = reproduce(replace(config, train=run))
    assert set(accuracy) == {"real_test"} and "paper 61.5 67.4 78.3 86.2" in " ".join(capsys.readouterr().out.split())
    assert set(read_card(tmp_path / "run/models/cleanpose").networks) == {"pose", "image"}
    assert not (tmp_path / "run/models/cleanpose-fp16").exists()
    predicted = json.loads((tmp_path / "run/stages/prediction_real_test.json").read_text())["report"]
    assert predicted["results"] == 1 and predicted["predictions"] + sum(predicted["skipped"].values()) == 3


def test_data_of_one_s_own_are_refused():
    with pytest.raises(ValueError, match="data: expected none, for the stages write it, got views"):
        Reproduction(Path(), "truth", train=replace(PAPER, data=(Path("views"),), output=Path()))
