"""Latency against the number of instances, a line per model: in memory and, where it was measured, of the node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipose_ros.bench.report import PATHS
from clipose_ros.formats.plot_files import new_figure, write_figure


def plot_latency(report: Mapping[str, Any], path: Path) -> None:
    """Write a picture: p50 by the number of instances, p95 dashed; the baseline is black.

    Parameters
    ----------
    report : mapping
        As `clipose bench` makes it.
    path : Path
        PNG, PDF or SVG by its name.

    Raises
    ------
    RuntimeError
        Where matplotlib is not installed.
    ValueError
        For a format that it cannot write.
    """
    measured = {key: title for key, title in PATHS.items() if report.get(key)}
    figure = new_figure(path, 6 * len(measured), 4)
    first = report["memory"][0]
    figure.suptitle(f"{report['machine']['cpu']}, {first['provider']}, {first['threads']} threads", fontsize="small")
    for axes, (key, title) in zip(figure.subplots(1, len(measured), squeeze=False, sharey=True)[0], measured.items()):
        for number, model in enumerate(report[key]):
            colour = "k" if model["model"] == report.get("baseline") else f"C{number}"
            counts = [row["instances"] for row in model["results"]]
            for quantity, style, label in (("p50_ms", "-", model["model"]), ("p95_ms", "--", None)):
                axes.plot(
                    counts, [row[quantity] for row in model["results"]], style, marker=".", color=colour, label=label
                )
        axes.set(title=title, xlabel="instances", ylabel="ms (p50, dashed p95)", yscale="log")
        axes.grid(alpha=0.3, which="both")
        axes.legend(fontsize="small")
    write_figure(figure, path)
