"""`clipose bench` and `clipose build`: latency, and the engines that TensorRT needs for it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from clipose_ros import estimators
from clipose_ros.bench import latency
from clipose_ros.bench.latency_plot import plot_latency
from clipose_ros.bench.report import TOLERANCE, PlayConfig, compare, read_report, write_report
from clipose_ros.cli.options import Flag, JsonFlag, provider_advice
from clipose_ros.cli.output_paths import check_output_file, check_plot_file
from clipose_ros.cli.tables import print_comparison, print_json, print_latencies
from clipose_ros.core.admission import MAX_INSTANCES
from clipose_ros.core.support import SUPPORT_DEFAULT, Support
from clipose_ros.core.validation import expect
from clipose_ros.doctor.environment import refusal
from clipose_ros.inference.builds import built_providers
from clipose_ros.inference.card import DEFAULT_MODEL, find_model, read_card
from clipose_ros.inference.providers import Precision, Provider
from clipose_ros.inference.session import SessionConfig
from clipose_ros.inference.tensorrt import cache_folder, engine_key
from clipose_ros.segmenters.choice import SEGMENTER_DEFAULT, CategorySegmenterName, SegmenterOptions, segmenter_of

TENSORRT_ADVICE = "needs an NVIDIA GPU, its driver, and: pip uninstall onnxruntime, pip install clipose_ros[gpu]"


def bench(
    model: tuple[str, ...] = (DEFAULT_MODEL,),
    models_dir: Path | None = None,
    provider: Provider = SessionConfig.provider,
    allow_cpu: Flag = SessionConfig.allow_cpu,
    support: Support = SUPPORT_DEFAULT,
    segmenter: CategorySegmenterName = SEGMENTER_DEFAULT,
    found: Annotated[SegmenterOptions, tyro.conf.arg(name="")] = SegmenterOptions(),
    threads: int = SessionConfig.threads,
    precision: Precision = SessionConfig.precision,
    instances: tuple[int, ...] = (0, 1, 5, 10, 20),
    frames: int = 100,
    rounds: int = 5,
    baseline: Path | None = None,
    dds: Flag = False,
    rate_hz: float = PlayConfig.rate_hz,
    seconds: float = PlayConfig.seconds,
    output: Path | None = None,
    plot: Path | None = None,
    against: Path | None = None,
    tolerance: float = TOLERANCE,
    as_json: JsonFlag = False,
) -> None:
    """Measure the latency from a 640 x 480 frame in memory to its poses and, with --dds, of the node.

    The node's latency is from its newest message to the poses published. Rounds are interleaved over models and numbers
    of instances. With --against, what is slower than in a stored report by more than its noise is named, and the exit
    status is 1.

    Parameters
    ----------
    model
        Names in the models folder, or paths (with a slash) of model folders.
    models_dir
        Where to look for models, instead of the usual places.
    provider
        What ONNX Runtime runs on; refused, not replaced, when it cannot be had.
    support
        auto tells networks of surfaces, and sets poses that fit onto them, as the node does; off does neither.
    segmenter
        depth or mask_rcnn finds objects in each frame, too, which is timed as a stage; the poses are of the objects
        that are known to be there. Not with --dds.
    found
        How objects are found.
    allow_cpu
        Run on the CPU when the provider cannot be had.
    threads
        Cores for the network; 0 takes all.
    precision
        Of TensorRT's engine; the other providers run the network as it is.
    instances
        Numbers of objects in the frame.
    frames
        How often each is measured in memory, in all rounds together; what is slow is measured less often.
    rounds
        In which frames, or seconds, are measured; their spread is the noise.
    baseline
        Model folder that the others are compared with, as `python -m training.plain_baseline` writes it.
    dds
        Measure the node, too, with player, node and recorder in processes of their own (needs ROS).
    rate_hz
        Of the player.
    seconds
        That each number of instances is played in a round.
    output
        JSON report to write.
    plot
        Picture to write (needs matplotlib).
    against
        Report that --output wrote before.
    tolerance
        Share by which a figure may be slower than before in any case.
    as_json
        Print JSON instead of tables; of a single model alone, its figures without the report around them.
    """
    expect("--model", model, "one or more", "none")
    countable = instances and min(instances) >= 0 and max(instances) <= MAX_INSTANCES
    expect("--instances", countable, f"numbers in 0..{MAX_INSTANCES}", " ".join(map(str, instances)) or "none")
    for name, value in (("frames", frames), ("rounds", rounds), ("rate-hz", rate_hz), ("seconds", seconds)):
        expect(f"--{name}", value > 0, "more than 0", value)
    expect("--segmenter", segmenter == SEGMENTER_DEFAULT or not dds, f"{SEGMENTER_DEFAULT} with --dds", segmenter)
    check_output_file("--output", output)
    check_plot_file("--plot", plot)
    reference = read_report(against) if against else None
    folders = [find_model(name, models_dir, segmenters=False) for name in model]
    measure_nodes = _node_bench() if dds else None
    config = SessionConfig(provider, threads, allow_cpu, precision)
    with provider_advice("add --allow-cpu to run on the CPU instead"):
        report = latency.bench(
            [*folders, *([baseline] if baseline else [])], instances, config, frames, rounds, support, segmenter, found
        )
    report["baseline"] = report["memory"][-1]["model"] if baseline else None
    if measure_nodes:
        paths = [str(folder.resolve()) for folder in folders]
        measured = measure_nodes(paths, instances, config, PlayConfig(rate_hz, seconds), rounds, support)
        report["node"] = [
            {**entry, "rate_hz": rate_hz, "results": results} for entry, results in zip(report["memory"], measured)
        ]
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

    Parameters
    ----------
    model
        Name in the models folder, or path (with a slash) of a model folder.
    models_dir
        Where to look for the model, instead of the usual places.
    precision
        Of the engine; the node's parameter `precision` must say the same.
    largest_batch
        Clouds in one call.
    """
    folder = find_model(model, models_dir)
    card = read_card(folder)
    config = SessionConfig("tensorrt", precision=precision, largest_batch=largest_batch)
    built = built_providers()
    if "tensorrt" not in built:
        raise RuntimeError(
            f"build: expected an onnxruntime with TensorRT, got one with {', '.join(built)}; {TENSORRT_ADVICE}"
        )
    started = time.monotonic()
    columns = (SpinnerColumn(), TextColumn("building {task.description}"), TimeElapsedColumn())
    with (
        provider_advice(f"clipose build {TENSORRT_ADVICE}"),
        Progress(*columns, console=Console(stderr=True), transient=True) as progress,
    ):
        progress.add_task(f"{card.name}, {precision}, batches of 1 to {largest_batch}")
        if card.is_segmenter:
            segmenter_of(folder, config)
        else:
            estimators.load(f"{folder}/", config=config)
    for network in card.networks.values():
        print(engine_key(network, precision, largest_batch).folder(cache_folder()))
    print(f"built or found in {time.monotonic() - started:.0f} s")


def _node_bench() -> Callable[..., list]:
    """What measures nodes; imported here, because all else works without ROS."""
    if reason := refusal():  # importing ROS would end the process
        raise RuntimeError(f"--dds: {reason}")
    try:
        from clipose_ros.ros.lab.node_latency import measure_nodes
    except ImportError as error:
        raise RuntimeError(
            f"--dds: expected ROS 2 and this package's messages to be installed, got {error}; try: make env"
        ) from error
    return measure_nodes
