"""What the `clipose` command prints for people: tables of accuracy and latency, findings line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import Progress, track
from rich.table import Table

from clipose_ros.bench.report import PATHS, PERCENTILES, Comparison, ratios, rows
from clipose_ros.core.metrics import PoseError, rates_within_limits
from clipose_ros.doctor.findings import Finding, Level
from clipose_ros.evaluation.nocs_protocol import NocsProtocol, Precision
from clipose_ros.evaluation.novel_objects import NovelEvaluation
from clipose_ros.evaluation.poses import Evaluation, medians_of
from clipose_ros.evaluation.segmentation import ALL, FOUND, FOUND_WELL, SegmentationScores
from clipose_ros.formats.nocs_results import NocsResults

Item = TypeVar("Item")

PIPE_WIDTH = 160  # columns, where there is no terminal to ask; what is longer is folded
LEVEL_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
NODE_FIGURES = {
    "cpu_percent": "CPU %",
    "memory_mb": "memory MB",
    **{key: f"frames {key}" for key in ("played", "answered", "replaced", "lost")},
}


def tracked(items: Sequence[Item], what: str) -> Iterator[Item]:
    """Go through items, with a progress bar on stderr where that is a terminal.

    Parameters
    ----------
    items : sequence
        To go through.
    what : str
        Name of the bar.

    Yields
    ------
    Item
        One after the other.
    """
    console = Console(stderr=True)
    yield from track(items, what, console=console, transient=True, disable=not console.is_terminal)


def tracked_by_share(items: Iterable[Item], share: Callable[[], float], what: str) -> Iterator[Item]:
    """Go through items whose number is not known, with a progress bar on stderr where that is a terminal.

    Parameters
    ----------
    items : iterable
        To go through.
    share : callable
        Tells how much is done, 0 to 1.
    what : str
        Name of the bar.

    Yields
    ------
    Item
        One after the other.
    """
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(what, total=1.0)
        for item in items:
            progress.update(task, completed=share())
            yield item


def print_json(data: dict | list) -> None:
    """Print one line of JSON.

    Parameters
    ----------
    data : dict or list
        Of numbers, text, lists and dicts.
    """
    print(json.dumps(data))


def print_novel(evaluation: NovelEvaluation) -> None:
    """Print how well poses of learned objects fit the truth.

    Parameters
    ----------
    evaluation : NovelEvaluation
        Of one file of poses.
    """
    data = evaluation.as_json()
    table = Table(box=SIMPLE_HEAD)
    table.add_column("object")
    for column in ("objects", "ADD-.1d", "ADD-S-.1d", "5° 2 cm", "10° 5 cm", "rotation (°)", "translation (cm)"):
        table.add_column(column, justify="right")
    for name, rates in {**data["objects"], "all": data["all"]}.items():
        shares = [f"{100 * rates[key]:.1f}" for key in ("add", "adds", "5deg2cm", "10deg5cm")]
        medians = [
            "–" if (value := rates[key]) is None else f"{value:.2f}" for key in ("rotation_deg", "translation_cm")
        ]
        table.add_row(name, str(rates["instances"]), *shares, *medians)
    Console(width=None if Console().is_terminal else PIPE_WIDTH).print(table)
    right, wrong = (data["scores"][key] for key in ("mean_right", "mean_wrong"))
    shown = ["–" if score is None else f"{score:.2f}" for score in (right, wrong)]
    print("shares in %, of all objects; medians of those with a pose")
    print(f"mean score of right poses {shown[0]}, of wrong ones {shown[1]}")
    if found := data["found"]:
        print(f"{found['false']} poses of no object in {found['frames']} frames")


def print_objects(objects: Sequence[dict], folder: Path) -> None:
    """Print the learned objects of a library.

    Parameters
    ----------
    objects : sequence of dict
        One for each: name, size [m], symmetry, half_turns, discs, the backbone of its tokens or none, whether that is
        the one here or None where that is not known, and what is known of its quality.
    folder : Path
        Of the library.
    """
    table = Table(title=str(folder), box=SIMPLE_HEAD)
    for column in ("object", "size (cm)", "looks the same", "views", "PSNR (dB)", "seen", "found without depth"):
        table.add_column(column)
    for one in objects:
        turns = "any turn about y" if one["symmetry"] != "none" else ""
        half = f"half a turn about {', '.join(one['half_turns'])}" if one["half_turns"] else ""
        table.add_row(
            one["name"],
            " × ".join(f"{100 * extent:.1f}" for extent in one["size"]),
            turns or half or "–",
            f"{one.get('views', 0):g}",
            f"{one['psnr_db']:.1f}" if "psnr_db" in one else "–",
            f"{100 * one.get('seen_share', 0):.0f} %",
            _found_without_depth(one),
        )
    Console(width=None if Console().is_terminal else PIPE_WIDTH).print(table)


def print_findings(findings: list[Finding]) -> None:
    """Print a line for each finding, with the cure below it, and how many of each level there are.

    Parameters
    ----------
    findings : list of Finding
        In the order of the lines.
    """
    console = _console()
    for finding in findings:
        console.print(f"{finding.level.name:<4}", style=LEVEL_STYLES[finding.level], end="  ")
        console.print(f"{finding.subject}: {finding.text}", markup=False, soft_wrap=True)
        if finding.cure:
            console.print(f"      → {finding.cure}", markup=False, soft_wrap=True)
    counts = ", ".join(f"{sum(finding.level == level for finding in findings)} {level.name}" for level in Level)
    console.print(counts, markup=False)


def print_evaluation(evaluation: Evaluation) -> None:
    """Print the shares within the limits and the median errors, row by row, and what did not count.

    Parameters
    ----------
    evaluation : Evaluation
        Of a file of poses.
    """
    mean = evaluation.rates["mean"]
    title = "% of n objects within limits; median errors of those with a pose"
    thresholds = (name.replace("deg_", "°") for name in mean)
    table = _table(title, "category", "n", "no pose", *thresholds, "°", "cm", "size")

    def add(name: str, errors: list[PoseError | None], rates: dict[str, float], *further: str) -> None:
        table.add_row(name, str(len(errors)), str(errors.count(None)), *_percent(rates), *further)

    for name, errors in evaluation.rows.items():
        add(name, errors, rates_within_limits(errors), *_medians(medians_of(errors)))
    table.add_section()
    add("mean", [scored.error for scored in evaluation.objects], mean)
    console = _console()
    console.print(table)
    if evaluation.mugs_in_full:
        console.print("mugs whose handle is hidden count by their axis, in the mean, too", markup=False)
    if evaluation.either_end:
        names = ", ".join(evaluation.either_end)
        console.print(f"{names}: a pose with swapped ends is right, in the mean, too", markup=False)
    for count, text in (
        (evaluation.unmatched_truths, "objects of the truth have no entry in the poses: they count as without a pose"),
        (evaluation.unmatched_poses, "entries of the poses have no object in the truth: they do not count"),
        (evaluation.hidden_poses, "poses are of objects that are too hidden to count: neither right nor wrong"),
        (evaluation.matched_by_value, "objects matched by value: the files write frames or instances differently"),
        (
            evaluation.of_other_categories,
            "objects have an entry of another category: were these found by a segmenter, whose numbers are its own? "
            "--by-place pairs them by their places",
        ),
    ):
        if count:
            console.print(f"{count} {text}", markup=False)


def print_precision(precision: Precision, results: NocsResults, protocol: NocsProtocol) -> None:
    """Print average precision over IoU and over pose errors, gated and not, and what was wrong with the results.

    Parameters
    ----------
    precision : Precision
        Of the results.
    results : NocsResults
        What was read.
    protocol : NocsProtocol
        How it was scored.
    """
    report = precision.as_json()
    instances, predictions = report["instances"], report["predictions"]
    console = _console()
    console.print(
        f"{len(results.images)} images, {sum(instances.values())} ground truths, "
        f"{sum(predictions.values())} predictions, {len(results.skipped)} skipped\n"
        f"{protocol.describe()}\naverage precision, %\n",
        markup=False,
    )
    pose_names = [name.replace("deg_", "°") for name in report["pose"]["mean"]]
    papers = _table(
        f"as in papers: pose of what matches at {protocol.gate}, misses left out",
        "category",
        "n",
        "IoU25",
        "IoU50",
        "IoU75",
        *pose_names,
    )
    everything = _table(
        "ungated: every ground truth and every prediction counts", "category", "n", "predicted", *pose_names
    )
    for category, count in instances.items():
        papers.add_row(category, str(count), *_percent(report["iou"][category]), *_percent(report["pose"][category]))
        everything.add_row(
            category, str(count), str(predictions[category]), *_percent(report["pose_ungated"][category])
        )
    for table in (papers, everything):
        table.add_section()
    papers.add_row("mean", "", *_percent(report["iou"]["mean"]), *_percent(report["pose"]["mean"]))
    everything.add_row("mean", "", "", *_percent(report["pose_ungated"]["mean"]))
    console.print(papers, everything)
    for remark, count in results.remarks.items():
        console.print(f"{count} × {remark}", markup=False)
    for name, reason in results.skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False, soft_wrap=True)


def print_segmentation(scores: SegmentationScores, skipped: dict[str, str]) -> None:
    """Print how many objects were found and named, row by row, and how much else was found.

    Parameters
    ----------
    scores : SegmentationScores
        Of a folder.
    skipped : dict of str to str
        Why frames are left out.
    """
    table = _table(
        f"% of n objects with an IoU of at least {FOUND} and {FOUND_WELL}; category right, of those found and of all",
        "category",
        "n",
        f"IoU {FOUND}",
        f"IoU {FOUND_WELL}",
        "named",
        "found and named",
    )
    for name, row in scores.rows().items():
        if name == ALL:
            table.add_section()
        shares = {key: value for key, value in row.items() if key != "objects"}
        table.add_row(name, str(row["objects"]), *_percent(shares))
    console = _console()
    console.print(table)
    precision, overlap = _percent({"precision": scores.precision(), "overlap": scores.overlap()})
    console.print(
        f"{len(scores.frames)} frames, precision {precision} %, {scores.false_per_frame():.2f} false objects a frame, "
        f"overlap F {overlap} %",
        markup=False,
    )
    for name, reason in skipped.items():
        console.print(f"skipped {name}: {reason}", markup=False, soft_wrap=True)


def print_latencies(report: dict) -> None:
    """Print a report of `clipose bench` as a table, under what it was measured on.

    Parameters
    ----------
    report : dict
        As `bench.latency` makes it.
    """
    console, first = _console(), report["memory"][0]
    console.print(
        f"{first['provider']}, {first['precision']}, {first['threads']} threads, {report['machine']['cpu']}; ms",
        markup=False,
    )
    for path, title in PATHS.items():
        if report.get(path):
            console.print(f"{path}: {title}", markup=False)
    console.print(_latency_table(report))


def _latency_table(report: dict) -> Table:
    """A column per number of instances.

    Of each path and model: percentiles, share of the baseline's time, stages, and what a node needs.
    """
    found, shares = rows(report), ratios(report)
    counts = list(dict.fromkeys(count for _, _, count in found))
    table = _table("", "instances", *map(str, counts))
    for path, model in dict.fromkeys((path, model) for path, model, _ in found):
        measured = [found.get((path, model, count), {}) for count in counts]
        share = [shares.get((path, model, count)) for count in counts]
        stages = dict.fromkeys(stage for row in measured for stage in row.get("stages", ()))
        table.add_section()
        table.add_row(f"{path}, {model}", style="bold")
        for name, form, values in (
            *((f"p{q}", "{:.1f}", [row.get(f"p{q}_ms") for row in measured]) for q in PERCENTILES),
            *((f"p{q} from the stamp", "{:.1f}", [row.get(f"stamp_p{q}_ms") for row in measured]) for q in PERCENTILES),
            ("of the baseline", "{:.1%}", share),
            *((f"  {stage}", "{:.2f}", [row.get("stages", {}).get(stage) for row in measured]) for stage in stages),
            *((name, "{:.0f}", [row.get(key) for row in measured]) for key, name in NODE_FIGURES.items()),
        ):
            if any(value is not None for value in values):
                table.add_row(name, *("" if value is None else form.format(value) for value in values))
    return table


def print_comparison(comparison: Comparison, stderr: bool) -> bool:
    """Print what changed by more than its noise.

    Parameters
    ----------
    comparison : Comparison
        Of two reports.
    stderr : bool
        Print there, because stdout has other readers.

    Returns
    -------
    bool
        Whether nothing became slower.
    """
    console = _console(stderr)
    changed = [change for change in comparison.changes if change.regressed or change.improved]
    unit = "of baseline" if comparison.changes[0].relative else "ms"
    table = _table(
        f"changed by more than the noise, {unit}, median of the rounds (fastest–slowest)",
        "",
        "before",
        "now",
        "factor",
        "",
    )
    for change in changed:
        spans = (
            f"{np.median(values):.3g} ({min(values):.3g}–{max(values):.3g})" for values in (change.before, change.now)
        )
        table.add_row(change.name, *spans, f"{change.factor:.2f}", "slower" if change.regressed else "faster")
    if changed:
        console.print(table)
    for name in comparison.missing:
        console.print(f"not measured now: {name}", markup=False)
    console.print(
        f"{len(comparison.changes)} figures compared, {len(comparison.regressed)} slower by more than their noise",
        markup=False,
    )
    return not comparison.regressed


def _console(stderr: bool = False) -> Console:
    console = Console(highlight=False, stderr=stderr)
    return console if console.is_terminal else Console(highlight=False, stderr=stderr, width=PIPE_WIDTH)


def _table(title: str, first: str, *columns: str) -> Table:
    table = Table(title=title or None, title_justify="left", box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column(first, overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _percent(rates: dict[str, float | None]) -> list[str]:
    return ["–" if rate is None else f"{rate:.1%}".rstrip("%") for rate in rates.values()]


def _medians(medians: dict[str, float | None]) -> list[str]:
    """Of an evaluation: degrees, centimetres and share of the size."""
    forms = ("{:.1f}", "{:.1f}", "{:.0%}")
    return ["–" if value is None else form.format(value) for value, form in zip(medians.values(), forms)]


def _found_without_depth(one: dict) -> str:
    if one["backbone"] == "none":
        return "–"
    return f"no: by another {one['backbone']}" if one["backbone_is_here"] is False else f"by {one['backbone']}"
