"""`clipose bench` and `clipose build`: latency, and the engines that TensorRT needs for it."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from clipose_ros import estimators
from clipose_ros.bench import latency
from clipose_ros.bench.latency_plot import plot_latency
from clipose_ros.bench.report import TOLERANCE, PlayConfig, compare, read_report, write_report
from clipose_ros.cli.options import JsonFlag
from clipose_ros.cli.tables import print_comparison, print_json, print_latencies
from clipose_ros.core.validation import expect
from clipose_ros.inference.card import DEFAULT_MODEL, find_model, read_card
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.inference.tensorrt import cache_folder, engine_key


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
        print_json(latency.figures(report["memory"][0]) if alone else report)
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
