"""What the `clipose` command prints for people: tables of accuracy and latency, findings line by line."""

from __future__ import annotations

import json

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from clipose_ros.bench.report import PATHS, PERCENTILES, Comparison, ratios, rows
from clipose_ros.doctor.findings import Finding, Level
from clipose_ros.evaluation.nocs_protocol import NocsProtocol, Precision
from clipose_ros.evaluation.poses import Evaluation
from clipose_ros.formats.nocs_results import NocsResults

PIPE_WIDTH = 160  # columns, where there is no terminal to ask; what is longer is folded
LEVEL_STYLES = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "bold red"}
NODE_FIGURES = {
    "cpu_percent": "CPU %",
    "memory_mb": "memory MB",
    **{key: f"frames {key}" for key in ("played", "answered", "replaced", "lost")},
}


def print_json(data: dict) -> None:
    """One line of JSON on stdout."""
    print(json.dumps(data))


def print_findings(findings: list[Finding]) -> None:
    """A line each, with the cure below it, and how many of each level there are."""
    console = _console()
    for finding in findings:
        console.print(f"{finding.level.name:<4}", style=LEVEL_STYLES[finding.level], end="  ")
        console.print(f"{finding.subject}: {finding.text}", markup=False, soft_wrap=True)
        if finding.cure:
            console.print(f"      → {finding.cure}", markup=False, soft_wrap=True)
    counts = ", ".join(f"{sum(finding.level == level for finding in findings)} {level.name}" for level in Level)
    console.print(counts, markup=False)


def print_evaluation(evaluation: Evaluation) -> None:
    """Shares within the limits and median errors, a row per category."""
    rates, medians = evaluation.rates, evaluation.medians
    title = "% of n objects within limits; median errors of those with a pose"
    thresholds = list(rates["mean"])
    table = _table(
        title, "category", "n", "no pose", *(name.replace("deg_", "°") for name in thresholds), "°", "cm", "size"
    )
    for category, errors in evaluation.errors.items():
        without = evaluation.rejected[category] + evaluation.missing[category]
        median = medians[category].values()
        shown = (
            "–" if value is None else form.format(value) for value, form in zip(median, ("{:.1f}", "{:.1f}", "{:.0%}"))
        )
        table.add_row(category, str(len(errors)), str(without), *_percent(rates[category]), *shown)
    table.add_section()
    counts = (
        sum(map(len, evaluation.errors.values())),
        sum(evaluation.rejected.values()) + sum(evaluation.missing.values()),
    )
    table.add_row("mean", *map(str, counts), *_percent(rates["mean"]))
    _console().print(table)


def print_precision(precision: Precision, results: NocsResults, protocol: NocsProtocol) -> None:
    """Average precision over IoU and over pose errors, gated and not, and what was wrong with the results."""
    report = precision.as_json()
    instances, predictions = report["instances"], report["predictions"]
    console = _console()
    console.print(
        f"{len(results.images)} images, {sum(instances.values())} ground truths, {sum(predictions.values())} predictions, "
        f"{len(results.skipped)} files skipped\n{protocol.describe()}\naverage precision, %\n",
        markup=False,
    )
    pose_names = [name.replace("deg_", "°") for name in report["pose"]["mean"]]
    papers = _table(
        "as in papers: pose of what matches at IoU 0.1, misses left out",
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


def print_latencies(report: dict) -> None:
    """A table of a report of `clipose bench`, under what it was measured on."""
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
    """Print what changed by more than its noise, on stderr where stdout has other readers.

    Returns whether nothing became slower.
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
