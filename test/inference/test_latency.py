"""Percentiles of rounds, and what a comparison with a stored report calls slower."""

import json

import cv2
import numpy as np
import pytest

from clipose_ros.bench.latency_plot import plot_latency
from clipose_ros.bench.memory import MemoryConfig, measure_all
from clipose_ros.bench.report import compare, latency_row, machine, ratios, read_report, rows, write_report

MACHINE = {"cpu": "test", "cores": 2}


def row(instances, *rounds):
    """Rounds of five equal samples."""
    return latency_row(instances, [[ms] * 5 for ms in rounds], [{"network": rounds[0] / 2}])


def entry(model, *measured, **settings):
    return {"model": model, "provider": "cpu", "precision": "fp32", "threads": 2, "results": list(measured), **settings}


def report(*memory, baseline=None, node=(), **of_machine):
    return {
        "machine": {**MACHINE, **of_machine},
        "rounds": 3,
        "memory": list(memory),
        "node": list(node),
        "baseline": baseline,
    }


def test_a_row_has_the_percentiles_of_all_samples_and_of_each_round():
    first, second = np.arange(1.0, 101.0), np.arange(101.0, 201.0)
    found = latency_row(5, [first, second], [{"network": 1.0}, {"network": 3.0, "tracking": 2.0}, {"network": 8.0}])
    assert [found[key] for key in ("p50_ms", "p95_ms", "p99_ms")] == pytest.approx(
        np.percentile(np.arange(1, 201), [50, 95, 99]), abs=1e-3
    )
    assert found["rounds"]["p50_ms"] == [50.5, 150.5] and found["stages"] == {"network": 3.0, "tracking": 2.0}
    with pytest.raises(ValueError, match=r"rounds: expected samples in each, got \[1, 0\]"):
        latency_row(5, [[1.0], []], [])


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ((10.0, 10.2, 10.4), "same"),
        ((10.9, 11.5, 30.0), "same"),  # its fastest round is within the reference's
        ((11.1, 11.2, 11.3), "slower"),
        ((11.01, 11.05, 11.1), "same"),  # outside, but by less than the tolerance of the median, 10.6
        ((9.0, 9.3, 9.9), "faster"),
        ((9.95, 9.96, 9.99), "faster"),
        ((9.95, 10.3, 9.99), "same"),
    ],
)
def test_slower_is_what_no_round_of_before_explains(now, verdict):
    comparison = compare(report(entry("lite", row(5, *now))), report(entry("lite", row(5, 10.0, 10.6, 11.0))))
    change = comparison.changes[0]
    assert change.name == "memory lite ×5 p50" and change.factor == pytest.approx(np.median(now) / 10.6)
    assert {"slower": change.regressed, "faster": change.improved, "same": not (change.regressed or change.improved)}[
        verdict
    ]
    assert comparison.regressed == tuple(change for change in comparison.changes if verdict == "slower")


def test_rows_that_are_not_measured_now_are_named_and_new_ones_are_left_out():
    before = report(entry("lite", row(1, 1.0), row(5, 5.0)), node=[entry("lite", row(5, 9.0), rate_hz=30.0)])
    comparison = compare(report(entry("lite", row(5, 5.0), row(20, 20.0)), entry("base", row(5, 50.0))), before)
    assert [change.name for change in comparison.changes] == ["memory lite ×5 p50", "memory lite ×5 p95"]
    assert set(comparison.missing) == {
        f"{name} {key}" for name in ("memory lite ×1", "node lite ×5") for key in ("p50", "p95")
    }


def test_on_another_machine_the_baseline_is_the_measure():
    node = [entry("lite", row(5, 20.0, 22.0))]
    before = report(
        entry("lite", row(5, 10.0, 11.0)), entry("paper", row(5, 100.0, 110.0)), baseline="paper", node=node
    )
    memory = (entry("lite", row(5, 5.0, 5.5)), entry("paper", row(5, 50.0, 55.0)))
    twice_as_fast = report(*memory, baseline="paper", node=node, cpu="other")
    assert ratios(before) == pytest.approx({("memory", "lite", 5): 0.1, ("node", "lite", 5): 0.2})
    comparison = compare(twice_as_fast, before)
    assert all(change.relative for change in comparison.changes)
    p50 = {change.name: change.regressed for change in comparison.changes if change.name.endswith("p50")}
    assert p50 == {"memory lite ×5 p50": False, "node lite ×5 p50": True}


def test_what_cannot_be_compared_is_refused():
    lite = report(entry("lite", row(5, 10.0)))
    with pytest.raises(
        ValueError, match="baseline: expected one in both reports, because they come from different machines"
    ):
        compare(report(entry("lite", row(5, 10.0)), cores=64), lite)
    with pytest.raises(ValueError, match="memory lite threads: expected 2 as in the reference, got 1"):
        compare(report(entry("lite", row(5, 10.0), threads=1)), lite)
    with pytest.raises(ValueError, match="report: expected a row of the reference: memory lite ×5 p50"):
        compare(report(entry("base", row(5, 10.0))), lite)


def test_a_written_report_is_read_again(tmp_path):
    written = {**report(entry("lite", row(5, 10.0))), "machine": machine()}
    write_report(written, tmp_path / "new" / "report.json")
    found = read_report(tmp_path / "new" / "report.json")
    assert found == written and rows(found)["memory", "lite", 5]["p50_ms"] == 10.0
    assert found["machine"]["cpu"] and found["machine"]["cores"] >= 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("machine"), "expected the key 'machine'"),
        (lambda data: data["machine"].pop("cpu"), "expected the key 'cpu'"),
        (lambda data: data["memory"][0]["results"][0].pop("rounds"), "expected the key 'rounds'"),
        (
            lambda data: data["memory"][0]["results"][0]["rounds"].update(p95_ms=[0.0]),
            "lite p95_ms: expected positive times",
        ),
        (lambda data: data["memory"][0]["results"][0]["rounds"].update(p95_ms=["fast"]), "expected a report of"),
        (lambda data: data.update(memory=3), "expected a report of clipose bench"),
    ],
)
def test_broken_reports_are_refused_with_their_path(tmp_path, change, message):
    data = report(entry("lite", row(5, 10.0)))
    change(data)
    (tmp_path / "report.json").write_text(json.dumps(data))
    with pytest.raises(ValueError, match=f"report.json: .*{message}"):
        read_report(tmp_path / "report.json")


def test_the_plot_shows_both_paths(tmp_path):
    pytest.importorskip("matplotlib")
    lite = entry("lite", row(0, 1.0), row(5, 5.0))
    for name, node in (("memory", []), ("both", [lite])):
        plot_latency(report(lite, entry("paper", row(5, 50.0)), baseline="paper", node=node), tmp_path / f"{name}.png")
    heights, widths = zip(*(cv2.imread(str(tmp_path / f"{name}.png")).shape[:2] for name in ("memory", "both")))
    assert heights[0] == heights[1] and widths[1] == 2 * widths[0]


def test_a_second_model_in_the_process_takes_memory_of_its_own(tiny_model, write_model):
    one, two = measure_all(MemoryConfig((str(tiny_model), str(write_model())), instances=1, frames=2, rounds=1))
    assert 0 < one["imported_mb"] < one["loaded_mb"] and two["loaded_mb"] > 0
    assert one["p50_ms"] > 0 and two["p50_ms"] > 0


def test_a_model_that_does_not_load_ends_the_measurement_of_memory_with_its_reason():
    with pytest.raises(RuntimeError, match="nowhere/: expected figures, got .*model: expected one of"):
        measure_all(MemoryConfig(("nowhere/",), rounds=1))
