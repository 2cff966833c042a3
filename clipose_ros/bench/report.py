"""Latencies measured in rounds: percentiles, what they owe to chance, and what is slower than before by more than that.

A report is what `clipose bench --output` writes: the machine, and rows by path (memory, node), model and number of
instances, each with the percentiles of its rounds. The rounds of all rows are interleaved, so that what else the
machine does falls on all alike.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clipose_ros.core.processors import usable_cores
from clipose_ros.core.validation import expect
from clipose_ros.formats.text_files import read_json
from clipose_ros.formats.whole_files import whole_file
from clipose_ros.inference.builds import imported_version

PERCENTILES = (50, 95, 99)
COMPARED = ("p50_ms", "p95_ms")  # of a round there are too few samples for more
PATHS = {"memory": "frame in memory → poses", "node": "newest message in → poses published"}
# Of a model's rows, with what those of older reports are: with others, times mean something else.
SETTINGS = {
    "provider": None,
    "precision": None,
    "threads": None,
    "rate_hz": None,
    "support": "off",
    "segmenter": "none",
}
TOLERANCE = 0.05  # two runs on the same machine differ by so much although each for itself is steady
MAXIMUM_REPORT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class PlayConfig:
    """How frames are played to a node.

    Parameters
    ----------
    rate_hz : float
        Of the player.
    seconds : float
        For which each number of instances is played in each round.
    """

    rate_hz: float = 30.0
    seconds: float = 3.0


def percentiles(samples_ms: Sequence[float]) -> dict[str, float]:
    """Take the percentiles of a report.

    Parameters
    ----------
    samples_ms : sequence of float
        Times [ms].

    Returns
    -------
    dict of str to float
        p50_ms, p95_ms, p99_ms.
    """
    return {f"p{q}_ms": round(float(value), 3) for q, value in zip(PERCENTILES, np.percentile(samples_ms, PERCENTILES))}


def latency_row(
    instances: int, rounds_ms: Sequence[Sequence[float]], stages_ms: Sequence[Mapping[str, float]]
) -> dict[str, Any]:
    """Make a row of a report.

    Parameters
    ----------
    instances : int
        How many the frame had.
    rounds_ms : sequence of sequence of float
        Samples of each round [ms].
    stages_ms : sequence of mapping of str to float
        Times of the stages of each sample [ms].

    Returns
    -------
    dict
        Percentiles of the samples of all rounds, the median of each stage, and the percentiles round by round.

    Raises
    ------
    ValueError
        For a round without samples.
    """
    expect(
        "rounds",
        rounds_ms and all(len(samples) for samples in rounds_ms),
        "samples in each",
        [len(samples) for samples in rounds_ms],
    )
    names = dict.fromkeys(name for stages in stages_ms for name in stages)
    stages = {
        name: round(float(np.median([stages[name] for stages in stages_ms if name in stages])), 3) for name in names
    }
    by_round = [percentiles(samples) for samples in rounds_ms]
    rounds = {key: [one[key] for one in by_round] for key in COMPARED}
    return {"instances": instances, **percentiles(np.concatenate(rounds_ms)), "stages": stages, "rounds": rounds}


def machine() -> dict[str, Any]:
    """Tell what the figures depend on.

    Returns
    -------
    dict
        Processor and cores that this process may use, versions, and the load before the measurement.
    """
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor() or platform.machine(),
        "cores": usable_cores(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "onnxruntime": imported_version(),
        "numpy": np.__version__,
        "load": round(os.getloadavg()[0], 2),
    }


@dataclass(frozen=True)
class Change:
    """One figure of a run beside the reference's.

    Parameters
    ----------
    name : str
        For people.
    before, now : tuple of float
        Of each round, in ms or, `relative`, in parts of the baseline's.
    relative : bool
        Which of the two.
    tolerance : float
        Share by which the medians may differ in any case.
    """

    name: str
    before: tuple[float, ...]
    now: tuple[float, ...]
    relative: bool
    tolerance: float = TOLERANCE

    @property
    def factor(self) -> float:
        """Median of now over median of before."""
        return float(np.median(self.now) / np.median(self.before))

    @property
    def regressed(self) -> bool:
        """Slower by more than the noise: the fastest round is slower than the slowest before, and the medians differ by
        more than the tolerance.
        """
        return min(self.now) > max(self.before) and self.factor > 1 + self.tolerance

    @property
    def improved(self) -> bool:
        """The same the other way round."""
        return max(self.now) < min(self.before) and self.factor < 1 / (1 + self.tolerance)


@dataclass(frozen=True)
class Comparison:
    """What of a report differs from a reference.

    Parameters
    ----------
    changes : tuple of Change
        Of the rows of both reports.
    missing : tuple of str
        Rows of the reference that were not measured now.
    """

    changes: tuple[Change, ...]
    missing: tuple[str, ...]

    @property
    def regressed(self) -> tuple[Change, ...]:
        """What became slower by more than the noise."""
        return tuple(change for change in self.changes if change.regressed)


def compare(report: Mapping[str, Any], reference: Mapping[str, Any], tolerance: float = TOLERANCE) -> Comparison:
    """Compare a report with a reference.

    Parameters
    ----------
    report, reference : mapping
        Compared in ms where both come from the same processor with as many cores, else in parts of the baseline that
        was measured beside each.
    tolerance : float
        Share by which a figure may differ in any case.

    Returns
    -------
    Comparison
        Of the rows that both have.

    Raises
    ------
    ValueError
        Where they cannot be compared: another machine and no baseline, other settings, or no row in common.
    """
    _check_settings(report, reference)
    relative = any(report["machine"][key] != reference["machine"][key] for key in ("cpu", "cores"))
    now, before = (_figures(of, relative) for of in (report, reference))
    if relative:
        expect(
            "baseline",
            now and before,
            "one in both reports, because they come from different machines",
            "none in one of them",
        )
    common = [name for name in before if name in now]
    expect("report", common, f"a row of the reference: {', '.join(before)}", ", ".join(now) or "none")
    changes = (Change(name, before[name], now[name], relative, tolerance) for name in common)
    return Comparison(tuple(changes), tuple(name for name in before if name not in now))


def ratios(report: Mapping[str, Any]) -> dict[tuple[str, str, int], float]:
    """Compare each row with the baseline's of as many instances.

    Parameters
    ----------
    report : mapping
        Where the baseline was not measured on a path, its time in memory stands for it.

    Returns
    -------
    dict of (path, model, instances) to float
        Median time over the baseline's; empty without a baseline.
    """
    return {key: float(np.median(values)) for key, values in _relative(report, "p50_ms").items()}


def rows(report: Mapping[str, Any]) -> dict[tuple[str, str, int], Mapping[str, Any]]:
    """List the rows of a report.

    Parameters
    ----------
    report : mapping
        Of one or both paths.

    Returns
    -------
    dict of (path, model, instances) to mapping
        The rows.
    """
    return {
        (path, model["model"], row["instances"]): row
        for path in PATHS
        for model in report.get(path, ())
        for row in model["results"]
    }


def read_report(path: Path) -> dict[str, Any]:
    """Read what `write_report` wrote.

    Parameters
    ----------
    path : Path
        Of the report.

    Returns
    -------
    dict
        The report.

    Raises
    ------
    ValueError
        With the path, for anything else.
    """
    try:
        expect(
            "report",
            path.stat().st_size <= MAXIMUM_REPORT_BYTES,
            f"at most {MAXIMUM_REPORT_BYTES} bytes",
            path.stat().st_size,
        )
        report = read_json(path)
        for key in (("machine", "cpu"), ("machine", "cores")):
            expect(".".join(key), report[key[0]][key[1]], "a value", "none")
        for (_, name, _), row in rows(report).items():
            for key in COMPARED:
                values = row["rounds"][key]
                expect(
                    f"{name} {key}",
                    values and all(np.isfinite(value) and value > 0 for value in values),
                    "positive times of the rounds",
                    values,
                )
    except ValueError as error:
        raise ValueError(f"{path}: {str(error).removeprefix(f'{path}: ')}") from error
    except (TypeError, AttributeError) as error:
        raise ValueError(f"{path}: expected a report of clipose bench, got another form ({error})") from error
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path}: expected the key {error}, got none") from error
    return report


def write_report(report: Mapping[str, Any], path: Path) -> None:
    """Write a report as JSON, for people and for `read_report`; folders that are not there are made.

    Parameters
    ----------
    report : mapping
        Of one or both paths.
    path : Path
        Of the file.
    """
    with whole_file(path) as unfinished:
        unfinished.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


def _check_settings(report: Mapping[str, Any], reference: Mapping[str, Any]) -> None:
    now, before = (
        {(path, model["model"]): model for path in PATHS for model in of.get(path, ())} for of in (report, reference)
    )
    for path, name in before.keys() & now.keys():
        for key, unsaid in SETTINGS.items():
            got, expected = (of[path, name].get(key, unsaid) for of in (now, before))
            expect(f"{path} {name} {key}", got == expected, f"{expected} as in the reference", got)


def _figures(report: Mapping[str, Any], relative: bool) -> dict[str, tuple[float, ...]]:
    """Round by round, by a name that people understand."""
    figures = {}
    for key in COMPARED:
        values = _relative(report, key) if relative else {of: row["rounds"][key] for of, row in rows(report).items()}
        figures |= {
            f"{path} {model} ×{count} {key.removesuffix('_ms')}": tuple(found)
            for (path, model, count), found in values.items()
        }
    return figures


def _relative(report: Mapping[str, Any], key: str) -> dict[tuple[str, str, int], list[float]]:
    """Times of each round over the baseline's of the same round; nothing for rows that the baseline has not."""
    found, baseline, ratios = rows(report), report.get("baseline"), {}
    for (path, model, count), row in found.items():
        base = found.get((path, baseline, count)) or found.get(("memory", baseline, count))
        if base and model != baseline:
            ratios[path, model, count] = [a / b for a, b in zip(row["rounds"][key], base["rounds"][key])]
    return ratios
