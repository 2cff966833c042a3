"""Latency against the number of instances, a line per model: in memory and, where it was measured, of the node."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clipose_ros.bench.report import PATHS


def plot_latency(report: Mapping[str, Any], path: Path) -> None:
    """Write a picture (PNG, PDF or SVG by its name): p50, and p95 dashed; the baseline is black.

    Raises RuntimeError where matplotlib is not installed, and ValueError for a format that it cannot write.
    """
    try:
        from matplotlib.figure import Figure  # optional, and slow to import
    except ImportError as error:
        raise RuntimeError("plot: expected matplotlib to be installed, got none; pip install matplotlib") from error
    measured = {key: title for key, title in PATHS.items() if report.get(key)}
    figure = Figure(figsize=(6 * len(measured), 4), layout="constrained")
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
    figure.savefig(path, dpi=150)
