"""The `clipose` command: the pipeline of the ROS node without ROS."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import cv2
import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, track

from clipose_ros import estimators
from clipose_ros.bench import latency
from clipose_ros.bench.latency_plot import plot_latency
from clipose_ros.bench.report import TOLERANCE, PlayConfig, compare, read_report, write_report
from clipose_ros.cli.tables import print_comparison, print_evaluation, print_findings, print_latencies, print_precision
from clipose_ros.core.types import Frame, PoseEstimate
from clipose_ros.core.validation import expect
from clipose_ros.doctor import machine
from clipose_ros.doctor.findings import Finding, Level, warn, worst
from clipose_ros.drawing import BOX_COLOURS, draw_pose
from clipose_ros.evaluation.nocs_protocol import IouVariant, MugRotation, NocsProtocol
from clipose_ros.evaluation.nocs_protocol import evaluate as evaluate_nocs
from clipose_ros.evaluation.poses import evaluate as evaluate_poses
from clipose_ros.evaluation.precision_plot import plot_precision
from clipose_ros.formats.nocs_folder import NocsFolder
from clipose_ros.formats.nocs_results import read_results, result_files
from clipose_ros.formats.pose_files import read_poses, write_poses
from clipose_ros.inference.card import DEFAULT_MODEL, find_model, read_card
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.inference.tensorrt import cache_folder, engine_key
from clipose_ros.pipeline import FrameResult, Pipeline

JsonFlag = Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")]


def estimate(
    folder: Annotated[Path, tyro.conf.Positional],
    /,
    output: Path,
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    threads: int = SessionConfig.threads,
    precision: Precision = SessionConfig.precision,
    seed: int = 0,
    draw: Path | None = None,
) -> None:
    """Estimate the poses of every instance of a NOCS-format folder.

    Args:
        folder: NNNN_color.png, NNNN_depth.png, NNNN_mask.png, NNNN_meta.txt and, unless the camera is REAL275's,
        intrinsics.json.
        output: poses.json to write.
        model: name in the models folder, or path (with a slash) of a model folder.
        models_dir: where to look for the model, instead of the usual places.
        provider: what ONNX Runtime runs on; refused, not replaced, when it cannot be had.
        threads: for the network; 0 takes every core.
        precision: of TensorRT's engine; the other providers run the network as it is.
        seed: of the point sampling. The same seed gives the same file, bit for bit.
        draw: folder for pictures NNNN.png with the boxes and axes drawn on the colour image.
    """
    frames = NocsFolder(folder)
    pipeline = Pipeline(estimators.load(model, models_dir, SessionConfig(provider, threads, precision=precision), seed))
    if draw:
        draw.mkdir(parents=True, exist_ok=True)
    results = []
    for name in track(frames.names, "poses", console=Console(stderr=True), transient=True):
        frame, detections = frames.read(name)
        results.append((name, pipeline.process(frame, detections)))
        if draw:
            _write_picture(draw / f"{name}.png", frame, results[-1][1])
    write_poses(output, results)
    found = sum(isinstance(pose, PoseEstimate) for _, result in results for _, pose in result.results)
    total = sum(len(result.results) for _, result in results)
    print(f"{output}: {len(results)} frames, {found} poses, {total - found} rejected")


def evaluate(
    poses: Path | None = None,
    truth: Path | None = None,
    results: Path | None = None,
    iou: IouVariant = NocsProtocol.iou,
    mugs: MugRotation = NocsProtocol.mugs,
    recentre_mugs: Annotated[bool, tyro.conf.FlagCreatePairsOff] = NocsProtocol.recentre_mugs,
    plot: Path | None = None,
    as_json: JsonFlag = False,
) -> None:
    """Score poses.json against truth.json, or a folder of NOCS result pickles by the protocol of REAL275 and CAMERA25.

    Of poses.json: the share of the objects within n degrees and m centimetres; misses and rejections are wrong.
    Of results: average precision over IoU and over pose errors, as in papers (gated: what does not match at IoU 0.1 is
    left out) and ungated.

    Args:
        poses: as `clipose estimate` writes it.
        truth: the same fields, with a pose for every object.
        results: folder of result pickles, instead of poses and truth. The options below are for it alone.
        iou: original is NOCS's as published, with its mistake in the bounds of a box; catre takes boxes along the
        camera's axes.
        mugs: published scores a mug without visible handle by its axis; full always scores its whole rotation.
        recentre_mugs: put the origin of mugs, estimated and true, on the axis of the body, as object-deformnet does.
        plot: picture of average precision against the thresholds to write (needs matplotlib).
        as_json: print JSON instead of a table.
    """
    if results and not (poses or truth):
        _evaluate_results(results, NocsProtocol(iou, mugs, recentre_mugs), plot, as_json)
    elif poses and truth and not (results or plot):
        evaluation = evaluate_poses(read_poses(poses), read_poses(truth))
        if as_json:
            _print_json(evaluation.as_json())
        else:
            print_evaluation(evaluation)
    else:
        given = {"--poses": poses, "--truth": truth, "--results": results, "--plot": plot}
        names = " ".join(name for name, path in given.items() if path) or "none"
        raise ValueError(f"evaluate: expected --poses with --truth, or --results with or without --plot, got {names}")


def bench(
    model: tuple[str, ...] = (DEFAULT_MODEL,),
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    threads: int = SessionConfig.threads,
    precision: Precision = SessionConfig.precision,
    instances: tuple[int, ...] = (0, 1, 5, 10, 20),
    frames: int = 100,
    rounds: int = 5,
    baseline: Path | None = None,
    dds: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    rate_hz: float = PlayConfig.rate_hz,
    seconds: float = PlayConfig.seconds,
    output: Path | None = None,
    plot: Path | None = None,
    against: Path | None = None,
    tolerance: float = TOLERANCE,
    as_json: JsonFlag = False,
) -> None:
    """Measure the latency from a 640 x 480 frame in memory to its poses and, with --dds, of the node from its newest
    message to the poses published.

    Rounds are interleaved over models and numbers of instances. With --against, what is slower than in a stored report
    by more than its noise is named, and the exit status is 1.

    Args:
        model: names in the models folder, or paths (with a slash) of model folders.
        models_dir: where to look for models, instead of the usual places.
        provider: what ONNX Runtime runs on; refused, not replaced, when it cannot be had.
        threads: for the network; 0 takes every core.
        precision: of TensorRT's engine; the other providers run the network as it is.
        instances: numbers of objects in the frame.
        frames: how often each is measured in memory, in all rounds together; what is slow is measured less often.
        rounds: in which frames, or seconds, are measured; their spread is the noise.
        baseline: model folder that the others are compared with, as `python -m training.plain_baseline` writes it.
        dds: measure the node, too, with player, node and recorder in processes of their own (needs ROS).
        rate_hz: of the player.
        seconds: that each number of instances is played in a round.
        output: JSON report to write.
        plot: picture to write (needs matplotlib).
        against: report that --output wrote before.
        tolerance: share by which a figure may be slower than before in any case.
        as_json: print JSON instead of tables; of a single model alone, its figures without the report around them.
    """
    expect("instances", instances and min(instances) >= 0, "numbers of 0 or more", instances)
    for name, value in (("frames", frames), ("rounds", rounds), ("rate-hz", rate_hz), ("seconds", seconds)):
        expect(name, value > 0, "more than 0", value)
    reference = read_report(against) if against else None
    folders = [find_model(name, models_dir) for name in model]
    config = SessionConfig(provider, threads, precision=precision)
    report = latency.bench([*folders, *([baseline] if baseline else [])], instances, config, frames, rounds)
    report["baseline"] = report["memory"][-1]["model"] if baseline else None
    if dds:
        report["node"] = _bench_nodes(
            report["memory"], folders, instances, config, PlayConfig(rate_hz, seconds), rounds
        )
    if output:
        write_report(report, output)
    if plot:
        plot_latency(report, plot)
    if as_json:
        alone = len(report["memory"]) == 1 and not dds
        _print_json(latency.figures(report["memory"][0]) if alone else report)
    else:
        print_latencies(report)
    if reference and not print_comparison(compare(report, reference, tolerance), stderr=as_json):
        sys.exit(1)


def build(
    model: str = DEFAULT_MODEL,
    models_dir: Path | None = None,
    precision: Precision = SessionConfig.precision,
    largest_batch: int = SessionConfig.largest_batch,
) -> None:
    """Build a model's TensorRT engine now, which takes minutes, so that the node starts at once.

    Args:
        model: name in the models folder, or path (with a slash) of a model folder.
        models_dir: where to look for the model, instead of the usual places.
        precision: of the engine; the node's parameter `precision` must say the same.
        largest_batch: clouds in one call.
    """
    folder = find_model(model, models_dir)
    card, config = read_card(folder), SessionConfig("tensorrt", precision=precision, largest_batch=largest_batch)
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("building {task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        progress.add_task(f"{card.name}, {precision}, batches of 1 to {largest_batch}")
        estimators.load(f"{folder}/", config=config)
    for network in card.networks.values():
        print(engine_key(network, precision, largest_batch).folder(cache_folder()))
    print(f"built or found in {time.monotonic() - started:.0f} s")


def examine(
    provider: Provider = SessionConfig.provider,
    models_dir: Path | None = None,
    depth: str | None = None,
    camera_info: str | None = None,
    instances: str | None = None,
    reliable: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    seconds: float = 3.0,
    as_json: JsonFlag = False,
) -> None:
    """Look for what keeps a pose node from working here: packages, providers, models, ROS, live topics.

    Exit status 1 when something fails.

    Args:
        provider: what the node is to run on.
        models_dir: where to look for models, instead of the usual places.
        depth: topic of the depth image, where it is not the node's own name.
        camera_info: topic of the calibration, likewise.
        instances: topic of the masks, likewise.
        reliable: listen as a node with reliable_inputs does.
        seconds: to listen for; 0 looks at no topic.
        as_json: print JSON instead of lines.
    """
    expect("seconds", 0 <= seconds <= 3600, "0 to 3600", seconds)
    findings = machine.examine(provider, models_dir)
    findings += _examine_ros({"depth": depth, "camera_info": camera_info, "instances": instances}, reliable, seconds)
    if as_json:
        _print_json({"worst": worst(findings).name, "findings": [finding.as_json() for finding in findings]})
    else:
        print_findings(findings)
    if worst(findings) == Level.FAIL:
        sys.exit(1)


def main() -> None:
    """Entry point of the `clipose` command."""
    try:
        tyro.extras.subcommand_cli_from_dict(
            {"estimate": estimate, "evaluate": evaluate, "bench": bench, "build": build, "doctor": examine},
            prog="clipose",
        )
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"clipose: {error}")


def _print_json(data: dict) -> None:
    print(json.dumps(data))


def _examine_ros(names: dict[str, str | None], reliable: bool, seconds: float) -> list[Finding]:
    """What concerns ROS, where there is ROS."""
    try:
        from clipose_ros.ros import doctor, installation  # all else here works without ROS
    except ImportError as error:
        return [
            warn(
                "ros",
                f"not here, or not this package's messages: {error}",
                "make env, or source the ROS installation and the workspace",
            )
        ]
    topics = doctor.Topics(**{key: name for key, name in names.items() if name}, reliable=reliable)
    return [*installation.examine(), *(doctor.examine(topics, seconds) if seconds else ())]


def _evaluate_results(folder: Path, protocol: NocsProtocol, plot: Path | None, as_json: bool) -> None:
    files = result_files(folder)
    results = read_results(track(files, "results", console=Console(stderr=True), transient=True))
    precision = evaluate_nocs(results.images, protocol)
    if plot:
        plot_precision(precision, protocol, plot)
    if as_json:
        counts = {"images": len(results.images), "skipped": results.skipped, "remarks": results.remarks}
        _print_json({**precision.as_json(), **counts, "protocol": asdict(protocol)})
    else:
        print_precision(precision, results, protocol)


def _write_picture(path: Path, frame: Frame, result: FrameResult) -> None:
    if frame.colour is None:
        raise ValueError(f"draw: expected a colour image for {path.name}, got none")
    picture = frame.colour.copy()
    for i, (_, pose) in enumerate(result.results):
        if isinstance(pose, PoseEstimate):
            draw_pose(picture, pose, frame.intrinsics, colour=BOX_COLOURS[i % len(BOX_COLOURS)])
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))


def _bench_nodes(
    memory: list[dict],
    folders: list[Path],
    instances: tuple[int, ...],
    config: SessionConfig,
    play: PlayConfig,
    rounds: int,
) -> list[dict]:
    """The entries of `memory` with what their nodes took."""
    try:
        from clipose_ros.ros.lab.node_latency import measure_nodes  # all else here works without ROS
    except ImportError as error:
        raise RuntimeError(
            f"dds: expected ROS 2 and this package's messages to be installed, got {error}; try: make env"
        ) from error
    measured = measure_nodes([str(folder.resolve()) for folder in folders], instances, config, play, rounds)
    return [{**entry, "rate_hz": play.rate_hz, "results": results} for entry, results in zip(memory, measured)]
