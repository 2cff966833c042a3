"""The `clipose` command: the pipeline of the ROS node without ROS."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

import cv2
import tyro
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import track
from rich.table import Table

from clipose_ros import benchmark
from clipose_ros.core.types import Frame, PoseEstimate
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.estimators.clipose import Clipose
from clipose_ros.evaluation import Evaluation
from clipose_ros.evaluation import evaluate as evaluate_poses
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.inference.session import SessionConfig
from clipose_ros.nocs_folder import NocsFolder
from clipose_ros.pipeline import FrameResult, Pipeline
from clipose_ros.pose_files import read_poses, write_poses

Provider = Literal["cpu", "cuda", "tensorrt"]
JsonFlag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")]


def estimate(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    output: Path,
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    threads: int = SessionConfig.threads,
    seed: int = 0,
    draw: Path | None = None,
) -> None:
    """Estimate the poses of every instance of a NOCS-format folder.

    Args:
        folder: NNNN_color.png, NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt and, unless the camera is REAL275's, intrinsics.json.
        output: poses.json to write.
        model: name in the models folder, or path (with a slash) of a model folder.
        models_dir: where to look for the model, instead of the usual places.
        provider: what ONNX Runtime runs on; refused, not replaced, when it cannot be had.
        threads: for the network; 0 takes every core.
        seed: of the point sampling. The same seed gives the same file, bit for bit.
        draw: folder for pictures NNNN.png with the boxes and axes drawn on the colour image.
    """
    frames = NocsFolder(folder)
    pipeline = Pipeline(Clipose.load(model, models_dir, SessionConfig(provider, threads), seed))
    if draw:
        draw.mkdir(parents=True, exist_ok=True)
    results = []
    for name in track(frames.names, "poses", console=Console(stderr=True), transient=True):
        frame = frames.read(name)
        results.append((name, pipeline.process(frame)))
        if draw:
            _write_picture(draw / f"{name}.png", frame, results[-1][1])
    write_poses(output, results)
    found = sum(isinstance(pose, PoseEstimate) for _, result in results for _, pose in result.results)
    total = sum(len(result.results) for _, result in results)
    print(f"{output}: {len(results)} frames, {found} poses, {total - found} rejected")


def evaluate(poses: Path, truth: Path, as_json: JsonFlag = False) -> None:
    """Score poses.json against truth.json: share of the objects within n degrees and m centimetres; misses and rejections are wrong.

    Args:
        poses: as `clipose estimate` writes it.
        truth: the same fields, with a pose for every object.
        as_json: print JSON instead of a table.
    """
    evaluation = evaluate_poses(read_poses(poses), read_poses(truth))
    if as_json:
        _print_json(evaluation.as_json())
    else:
        Console().print(_evaluation_table(evaluation))


def bench(
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    threads: int = SessionConfig.threads,
    instances: tuple[int, ...] = (1, 5, 10),
    frames: int = 100,
    as_json: JsonFlag = False,
) -> None:
    """Measure the latency from a 640 x 480 frame in memory to its poses.

    Args:
        model: name in the models folder, or path (with a slash) of a model folder.
        models_dir: where to look for the model, instead of the usual places.
        provider: what ONNX Runtime runs on; refused, not replaced, when it cannot be had.
        threads: for the network; 0 takes every core.
        instances: numbers of objects in the frame.
        frames: how often each is measured.
        as_json: print JSON instead of a table.
    """
    estimator = Clipose.load(model, models_dir, SessionConfig(provider, threads))
    session = estimator.session
    results = [benchmark.bench(Pipeline(estimator), count, frames) for count in instances]
    card = session.card
    report = {"results": results, "provider": session.provider, "precision": card.precision, "threads": session.threads, "model": card.name}
    if as_json:
        _print_json(report)
    else:
        Console().print(_bench_table(report))


def main() -> None:
    """Entry point of the `clipose` command."""
    try:
        tyro.extras.subcommand_cli_from_dict({"estimate": estimate, "evaluate": evaluate, "bench": bench}, prog="clipose")
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"clipose: {error}")


def _print_json(data: dict) -> None:
    print(json.dumps(data))


def _write_picture(path: Path, frame: Frame, result: FrameResult) -> None:
    if frame.colour is None:
        raise ValueError(f"draw: expected a colour image for {path.name}, got none")
    picture = frame.colour.copy()
    for i, (_, pose) in enumerate(result.results):
        if isinstance(pose, PoseEstimate):
            draw_pose(picture, pose, frame.intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _evaluation_table(evaluation: Evaluation) -> Table:
    rates, medians = evaluation.rates, evaluation.medians
    title = "% of n objects within limits; median errors of those with a pose"
    thresholds = list(rates["mean"])
    table = _table(title, "category", "n", "no pose", *(name.replace("deg_", "°") for name in thresholds), "°", "cm", "size")
    for category, errors in evaluation.errors.items():
        without = evaluation.rejected[category] + evaluation.missing[category]
        median = medians[category].values()
        shown = ("–" if value is None else form.format(value) for value, form in zip(median, ("{:.1f}", "{:.1f}", "{:.0%}")))
        table.add_row(category, str(len(errors)), str(without), *_percent(rates[category]), *shown)
    table.add_section()
    counts = (sum(map(len, evaluation.errors.values())), sum(evaluation.rejected.values()) + sum(evaluation.missing.values()))
    table.add_row("mean", *map(str, counts), *_percent(rates["mean"]))
    return table


def _bench_table(report: dict) -> Table:
    title = f"{report['model']}, {report['provider']}, {report['precision']}, {report['threads']} threads: ms from frame to poses"
    stages = list(report["results"][0]["stages"])
    table = _table(title, "instances", "p50", "p95", "p99", *stages)
    for row in report["results"]:
        times = [*(row[key] for key in ("p50_ms", "p95_ms", "p99_ms")), *(row["stages"][stage] for stage in stages)]
        table.add_row(str(row["instances"]), *(f"{time_ms:.1f}" for time_ms in times))
    return table


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _percent(rates: dict[str, float]) -> list[str]:
    return [f"{rate:.1%}".rstrip("%") for rate in rates.values()]
