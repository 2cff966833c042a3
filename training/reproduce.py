"""The experiment of CLIPose or CleanPose, from the published files of REAL275 and CAMERA25 to the table of accuracy.

    python -m training.reproduce --root NOCS --detections NOCS/mrcnn_results/real_test --output runs/clipose --device
    cuda
    python -m training.reproduce --method cleanpose --root NOCS --detections NOCS/mrcnn_results/real_test --output
    runs/cleanpose --device cuda

ROOT is laid out as `training.nocs.files` says. The stages are shards of both training sets, training, export,
prediction of the test frames, and evaluation. OUTPUT/stages holds a record for each. A stage that is finished is
skipped, an interrupted one goes on, and one that was made with other settings is refused: nothing stale enters the
table. `--dry-run` lists the stages. Every setting of training and alignment is an option (`--help`); the defaults are
the method's paper's; docs/paper_deviations.md and docs/cleanpose.md say where they differ.

Disk: a row takes 16 kB, with colour 166 kB, and CAMERA25 has about a million. `--no-colour` lets CLIP see shaded depth
images instead. Many GPUs: when the shards are there, `accelerate launch -m training.clipose … --output OUTPUT/training`
with the same options, then this command.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clipose_ros.core.categories import CATEGORIES
from clipose_ros.evaluation.nocs_protocol import NocsProtocol, evaluate
from clipose_ros.formats.nocs_results import read_results, result_files
from clipose_ros.inference.providers import Provider
from clipose_ros.inference.session import SessionConfig
from training import cleanpose, clipose
from training.alignment.branch import AlignmentConfig
from training.command import run
from training.data.row_format import COLOUR_PX, SMALL_COLOUR_PX
from training.export import export
from training.nocs.predict import PredictionConfig, load_estimator, predict
from training.nocs.rows import NocsConfig
from training.nocs.shards import write_shards
from training.storage import write_whole
from training.train import WHERE_ALONE, TrainConfig, train

SOURCES = ("camera_train", "real_train")  # in the order of `TrainConfig.share`
Method = Literal["clipose", "cleanpose"]
PAPERS: dict[Method, TrainConfig] = {"clipose": clipose.PAPER, "cleanpose": cleanpose.PAPER}
# CleanPose's network chooses points by their distances, which halves would change
PRECISIONS: dict[Method, tuple[Literal["fp32", "fp16"], ...]] = {"clipose": ("fp32", "fp16"), "cleanpose": ("fp32",)}
PROTOCOLS = {
    "catre": NocsProtocol(iou="catre"),
    "original": NocsProtocol(iou="original"),
    # that of the papers after object-deformnet, CLIPose's among them
    "original_recentred": NocsProtocol(iou="original", recentre_mugs=True),
}
REPORTED_IOU = ("50", "75")  # per cent
# CLIPose on REAL275, gated
PAPER_REAL275 = {"5deg_2cm": 0.487, "5deg_5cm": 0.583, "10deg_2cm": 0.704, "10deg_5cm": 0.852}
CLEANPOSE_REAL275 = {"5deg_2cm": 0.615, "5deg_5cm": 0.674, "10deg_2cm": 0.783, "10deg_5cm": 0.862}
# by the image backbone: about what it sees
COLOUR_SIDES = {"none": 0, "small": SMALL_COLOUR_PX, "efficientnet-lite2": 128, "dinov2": COLOUR_PX}
REPORTED: dict[Method, dict[str, float]] = {"clipose": PAPER_REAL275, "cleanpose": CLEANPOSE_REAL275}


@dataclass(frozen=True)
class Reproduction:
    """All settings of the experiment.

    Parameters
    ----------
    root : Path
        Of the published files.
    detections : Path or "truth"
        Folder of Mask R-CNN's pickles for the test frames of REAL275, or "truth" for the masks of the data set.
    camera_detections : Path or "truth", optional
        The same for the validation frames of CAMERA25, which is left out without.
    method : "clipose" or "cleanpose"
        Whose defaults the run has; CLIP's branch is CLIPose's.
    colour : bool
        Keep the colour of training rows, for CLIP or for CleanPose's image backbone.
    shard_views : int
        Rows of a shard.
    shard_workers : int
        Processes that write shards.
    provider : "cpu", "cuda" or "tensorrt"
        What predicts.
    threads : int
        For predicting on a CPU.
    train : TrainConfig
        The run; the stages give its `data`.
    alignment : AlignmentConfig
        CLIP's branch.
    """

    root: Path
    detections: Literal["truth"] | Path
    camera_detections: Literal["truth"] | Path | None = None
    method: Method = "clipose"
    colour: bool = True
    shard_views: int = 2_000
    shard_workers: int = 8
    provider: Provider = SessionConfig.provider
    threads: int = SessionConfig.threads
    train: Annotated[TrainConfig, tyro.conf.arg(name=""), tyro.conf.AvoidSubcommands] = replace(clipose.PAPER, data=())
    alignment: AlignmentConfig = field(default_factory=AlignmentConfig)

    def __post_init__(self) -> None:
        if self.train.data:
            raise ValueError(
                f"data: expected none, for the stages write it, got {', '.join(map(str, self.train.data))}"
            )

    @property
    def output(self) -> Path:
        """Folder of the experiment."""
        return self.train.output

    @property
    def tests(self) -> dict[str, Literal["truth"] | Path]:
        """Detections by split."""
        given = {"real_test": self.detections, "camera_val": self.camera_detections}
        return {split: detections for split, detections in given.items() if detections is not None}


@dataclass(frozen=True)
class Stage:
    """A part of the experiment with a result of its own.

    Parameters
    ----------
    name : str
        For people, and for the record.
    result : Path
        What is there when it is finished.
    settings : dict
        Whatever its result depends on.
    run : callable
        Does it, and gives what the record shall tell.
    """

    name: str
    result: Path
    settings: dict[str, Any]
    run: Callable[[], dict[str, Any]]


def colour_side(settings: Reproduction) -> int:
    """Say how large the pictures of training rows are.

    Parameters
    ----------
    settings : Reproduction
        The experiment.

    Returns
    -------
    int
        Of a side [px]: what CLIP or CleanPose's image backbone sees. 0 where nothing looks at them.
    """
    if settings.method == "clipose":
        return COLOUR_PX if settings.colour else 0
    backbone = getattr(settings.train.network, "backbone", "none")
    return COLOUR_SIDES[backbone] if settings.colour else 0


def shard_stage(settings: Reproduction, split: str) -> Stage:
    """Write the rows of a training set.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    split : str
        Of `SOURCES`.

    Returns
    -------
    Stage
        Its result is a folder of shards.
    """
    colour_px = colour_side(settings)
    config = NocsConfig(settings.root, split, colour=colour_px > 0, colour_px=colour_px or COLOUR_PX)
    described = {name: value for name, value in asdict(config).items() if (name, value) != ("colour_px", COLOUR_PX)}
    result = settings.output / "data" / split

    def run() -> dict[str, Any]:
        report = write_shards(config, result, settings.shard_views, settings.shard_workers)
        return {"rows": report.rows, "skipped": report.skipped, "missing_models": sorted(report.missing_models)}

    return Stage(split, result, {split: described | {"shard_views": settings.shard_views}}, run)


def training_stage(settings: Reproduction, shards: Sequence[Stage]) -> Stage:
    """Train the network, that of CLIPose with CLIP's branch beside it.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    shards : sequence of Stage
        In the order of `SOURCES`.

    Returns
    -------
    Stage
        Its result is a checkpoint.
    """
    config = replace(settings.train, data=tuple(stage.result for stage in shards), output=settings.output / "training")
    decisive = {name: value for name, value in asdict(config).items() if name not in WHERE_ALONE}
    aligned = settings.alignment if settings.method == "clipose" else None
    return Stage(
        "training",
        config.output / "checkpoint.pt",
        _settings_of(shards) | {"train": decisive} | ({} if aligned is None else {"alignment": asdict(aligned)}),
        lambda: {"checkpoint": train(config, aligned=aligned)},
    )


def export_stage(settings: Reproduction, training: Stage, precision: Literal["fp32", "fp16"]) -> Stage:
    """Write a model folder. CLIP's branch is not in it.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    training : Stage
        Gives the checkpoint.
    precision : "fp32" or "fp16"
        Of the model.

    Returns
    -------
    Stage
        Its result is a folder.
    """
    name = settings.method
    result = settings.output / "models" / (name if precision == "fp32" else f"{name}-{precision}")
    aligned = f", aligned with {settings.alignment.clip}" if name == "clipose" else ""
    remark = f"Trained on {' and '.join(SOURCES)} as published, in shares {settings.train.share}{aligned}."

    def run() -> dict[str, Any]:
        export(training.result, result, remark=remark, precision=precision)
        return {}

    return Stage(f"export {precision}", result, training.settings | {"precision": precision}, run)


def prediction_stage(settings: Reproduction, model: Stage, split: str, detections: Literal["truth"] | Path) -> Stage:
    """Predict a test set.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    model : Stage
        Gives the model folder.
    split : str
        Of `training.nocs.files`.
    detections : Path or "truth"
        Whose masks are used.

    Returns
    -------
    Stage
        Its result is a folder of NOCS results.
    """
    result = settings.output / "results" / split
    config = PredictionConfig(
        settings.root, result, detections, split, str(model.result.resolve()), settings.provider, settings.threads
    )

    def run() -> dict[str, Any]:
        report = predict(config, load_estimator(config))
        return {"results": report.rows, "predictions": report.predictions, "skipped": report.skipped}

    return Stage(
        f"prediction {split}", result, model.settings | {split: {"detections": detections, "seed": config.seed}}, run
    )


def evaluation_stage(settings: Reproduction, predictions: Sequence[Stage]) -> Stage:
    """Measure the accuracy of all test sets by all protocols.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    predictions : sequence of Stage
        In the order of `settings.tests`.

    Returns
    -------
    Stage
        Its result is one file.
    """
    result = settings.output / "accuracy.json"

    def run() -> dict[str, Any]:
        accuracy = {split: measured(stage.result) for split, stage in zip(settings.tests, predictions, strict=True)}
        result.write_text(json.dumps(accuracy, indent=1), encoding="utf-8")
        return {}

    return Stage("evaluation", result, _settings_of(predictions), run)


def stages(settings: Reproduction) -> list[Stage]:
    """Plan the experiment.

    Parameters
    ----------
    settings : Reproduction
        The experiment.

    Returns
    -------
    list of Stage
        In order.
    """
    shards = [shard_stage(settings, split) for split in SOURCES]
    training = training_stage(settings, shards)
    exports = [export_stage(settings, training, precision) for precision in PRECISIONS[settings.method]]
    predictions = [
        prediction_stage(settings, exports[0], split, detections) for split, detections in settings.tests.items()
    ]
    return [*shards, training, *exports, *predictions, evaluation_stage(settings, predictions)]


def _settings_of(several: Sequence[Stage]) -> dict[str, Any]:
    return {name: value for stage in several for name, value in stage.settings.items()}


def measured(folder: Path) -> dict[str, Any]:
    """Measure a folder of results by each of `PROTOCOLS`.

    Parameters
    ----------
    folder : Path
        Of NOCS results.

    Returns
    -------
    dict
        Average precision, gated ("pose") and not ("pose_ungated"), and what was skipped.
    """
    results = read_results(result_files(folder))
    counts = {"images": len(results.images), "skipped": results.skipped, "remarks": results.remarks}
    return counts | {
        name: evaluate(results.images, protocol).as_json() | {"protocol": protocol.describe()}
        for name, protocol in PROTOCOLS.items()
    }


def is_finished(stage: Stage, output: Path) -> bool:
    """Say whether a stage is finished: its record says so, and its result is there.

    Parameters
    ----------
    stage : Stage
        As it is planned now.
    output : Path
        Of the experiment.

    Returns
    -------
    bool
        False where it must be carried out.

    Raises
    ------
    ValueError
        Where the stage was begun with other settings.
    """
    path = record_path(stage, output)
    if not path.exists():
        return False
    record, settings = json.loads(path.read_text(encoding="utf-8")), _plain(stage.settings)
    if record["settings"] != settings:
        changed = sorted(
            name for name in {*record["settings"], *settings} if record["settings"].get(name) != settings.get(name)
        )
        raise ValueError(
            f"{path}: expected the settings that {stage.name} was begun with, got others: {', '.join(changed)}; "
            "take another --output"
        )
    return record["finished"] and stage.result.exists()


def record_path(stage: Stage, output: Path) -> Path:
    """Say where the record of a stage lies.

    Parameters
    ----------
    stage : Stage
        Of the experiment.
    output : Path
        Of the experiment.

    Returns
    -------
    Path
        Of a JSON file.
    """
    return output / "stages" / f"{stage.name.replace(' ', '_')}.json"


def carry_out(stage: Stage, output: Path) -> None:
    """Run a stage. Its record says with which settings, before it, and what came of it, after it.

    Parameters
    ----------
    stage : Stage
        Of the experiment.
    output : Path
        Of the experiment.
    """
    path = record_path(stage, output)
    path.parent.mkdir(parents=True, exist_ok=True)

    def write(finished: bool, report: dict[str, Any]) -> None:
        content = json.dumps(_plain({"settings": stage.settings, "finished": finished, "report": report}), indent=1)
        write_whole(path, lambda file: file.write(content.encode()))

    write(False, {})
    write(True, stage.run())


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(value, default=str))


def stage_table(settings: Reproduction) -> Table:
    """Lay out for people the stages, where their results lie and which are finished.

    Parameters
    ----------
    settings : Reproduction
        The experiment.

    Returns
    -------
    Table
        A line for each.
    """
    table = Table("stage", "result", "")
    for stage in stages(settings):
        table.add_row(stage.name, str(stage.result), "finished" if is_finished(stage, settings.output) else "to do")
    return table


def accuracy_tables(split: str, accuracy: dict[str, Any], method: Method = "clipose") -> list[Table]:
    """Lay out for people the average precision by category, beside the paper's mean for REAL275.

    Parameters
    ----------
    split : str
        The test set.
    accuracy : dict
        As `measured` gives it.
    method : "clipose" or "cleanpose"
        Whose paper's mean is shown.

    Returns
    -------
    list of Table
        Over IoU, and over pose errors.
    """
    poses, mugs = list(PAPER_REAL275), accuracy["original_recentred"]
    iou = _table(
        f"{split}: average precision over IoU",
        [f"{name.replace('_', ' ')} {limit}" for name in PROTOCOLS for limit in REPORTED_IOU],
    )
    pose = _table(
        f"{split}: over pose errors, of what matches at IoU 0.1 and of everything",
        2 * [name.replace("deg_", "°") for name in poses],
    )
    for category in (*CATEGORIES, "mean"):
        iou.add_row(
            category,
            *(_percent(accuracy[name]["iou"][category][limit]) for name in PROTOCOLS for limit in REPORTED_IOU),
        )
        pose.add_row(
            category, *(_percent(mugs[kind][category][name]) for kind in ("pose", "pose_ungated") for name in poses)
        )
    if split == "real_test":
        pose.add_row("paper", *map(_percent, REPORTED[method].values()))
    return [iou, pose]


def _table(title: str, columns: Sequence[str]) -> Table:
    table = Table("category", title=title, box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def reproduce(settings: Reproduction) -> dict[str, Any]:
    """Carry out what is not finished.

    Parameters
    ----------
    settings : Reproduction
        The experiment.

    Returns
    -------
    dict
        The content of accuracy.json.

    Raises
    ------
    ValueError
        Where a stage was begun with other settings, or its input cannot be used.
    """
    planned = stages(settings)
    # of all before any: refused settings shall not cost days
    finished = [is_finished(stage, settings.output) for stage in planned]
    console = Console()
    for stage, done in zip(planned, finished, strict=True):
        console.rule(f"{stage.name}: {'finished' if done else stage.result}")
        if not done:
            carry_out(stage, settings.output)
    accuracy = json.loads(planned[-1].result.read_text(encoding="utf-8"))
    for split, table in accuracy.items():
        console.print(*accuracy_tables(split, table, settings.method))
    return accuracy


def defaults(method: Method) -> Reproduction:
    """Give the defaults of a method. Where the data and the result lie has none.

    Parameters
    ----------
    method : "clipose" or "cleanpose"
        Whose.

    Returns
    -------
    Reproduction
        With `tyro.MISSING` for what must be given.
    """
    return Reproduction(
        root=tyro.MISSING,
        detections=tyro.MISSING,
        method=method,
        train=replace(PAPERS[method], data=()),
    )


def main(settings: Annotated[Reproduction, tyro.conf.arg(name="")], dry_run: bool = False) -> None:
    """Reproduce the paper's table.

    Parameters
    ----------
    settings : Reproduction
        The experiment.
    dry_run : bool
        List the stages instead.
    """
    if dry_run:
        Console().print(stage_table(settings))
    else:
        reproduce(settings)


def command_of(arguments: Sequence[str]) -> Callable[..., None]:
    """Make the command whose defaults are those of the method that its arguments name.

    Parameters
    ----------
    arguments : sequence of str
        Of the command line.

    Returns
    -------
    callable
        `main`, with defaults.
    """

    def chosen(method: Method = "clipose") -> Method:
        return method

    method, _ = tyro.cli(chosen, args=list(arguments), return_unknown_args=True, add_help=False)

    def command(
        settings: Annotated[Reproduction, tyro.conf.arg(name="")] = defaults(method), dry_run: bool = False
    ) -> None:
        main(settings, dry_run)

    command.__doc__ = main.__doc__
    return command


if __name__ == "__main__":
    run(command_of(sys.argv[1:]))
