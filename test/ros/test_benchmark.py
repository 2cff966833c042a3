"""The node and the transport measured over DDS, with processes of their own.

What the figures are is not tested: it depends on the machine.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from clipose_ros.bench.report import compare, read_report, rows
from clipose_ros.inference.session import SessionConfig
from clipose_ros.ros.lab.delivery import WHOLE, Arrivals
from clipose_ros.ros.lab.node_latency import WARM_UP_FRAMES, Recording, Round, node_arguments, node_row

ROOT = Path(__file__).resolve().parents[2]
MS = 1_000_000


def recording(latency_ms, played=20, answered=20, said=({"stage network ms": "2.50", "frames": "7"},)):
    """Frames 33 ms apart; the newest message of each comes 4 ms after its stamp, the poses of the first `answered`
    later by latency_ms.
    """
    stamps = [1_000_000 * MS + number * 33 * MS for number in range(played)]
    newest = {stamp: stamp + 4 * MS for stamp in stamps}
    return Recording(newest, {stamp: newest[stamp] + latency_ms * MS for stamp in stamps[:answered]}, {5}, list(said))


def test_the_node_runs_its_network_as_the_pipeline_beside_it():
    arguments = node_arguments("clipose-lite", SessionConfig("tensorrt", threads=1, precision="fp16"))
    assert {"models:=clipose-lite", "provider:=tensorrt", "threads:=1", "precision:=fp16"} < set(arguments)


def test_a_row_has_latencies_stages_and_what_became_of_each_frame():
    row = node_row(
        5,
        [
            Round(recording(10), 40.0, 200.0, replaced=0),
            Round(recording(12, played=30, answered=25), 60.0, 210.0, replaced=3),
        ],
    )
    assert row["rounds"]["p50_ms"] == [10.0, 12.0] and row["stamp_p99_ms"] == 16.0
    assert row["stages"] == {"delivery": pytest.approx(row["p50_ms"] - 2.5), "network": 2.5}
    assert {key: row[key] for key in ("played", "answered", "replaced", "lost")} == {
        "played": 50,
        "answered": 45,
        "replaced": 3,
        "lost": 2,
    }
    assert (row["instances"], row["cpu_percent"], row["memory_mb"]) == (5, 50.0, 210.0)


def test_frames_before_the_first_answer_and_those_of_the_warm_up_are_left_out():
    found = recording(10)
    first = sorted(found.answered)[0]
    del found.answered[first]  # the node was not connected yet
    second = sorted(found.answered)[0]
    found.answered[second] += 500 * MS  # and slow at first
    assert found.played_since_first_answer() == len(found.newest) - 1
    assert found.latency_ms() == [10.0] * (len(found.newest) - 1 - WARM_UP_FRAMES)


def test_arrivals_tell_what_was_published_and_what_came_whole():
    arrivals = Arrivals()
    for number in range(40):
        for topic, ms in (("camera_info", 1.0), ("rgb", 3.0), ("depth", 2.0), ("instances", 2.0)):
            if (topic, number) not in (("rgb", 20), ("depth", 21)):
                arrivals.ms[topic][number * 100 * MS] = ms + (number == 25)
    found = {row["topic"]: row for row in arrivals.report(1_000 * MS, 3_000 * MS)}
    assert [found[topic]["arrived"] for topic in ("camera_info", "rgb", "depth", "instances", WHOLE)] == [
        20,
        19,
        19,
        20,
        18,
    ]
    assert {row["published"] for row in found.values()} == {20}
    assert (found[WHOLE]["hz"], found[WHOLE]["p50_ms"], found["depth"]["p50_ms"]) == (9.0, 3.0, 2.0)


def test_bench_measures_the_node_over_dds(dds, tiny_model, tmp_path):
    output = tmp_path / "report.json"
    what = [
        "--model",
        str(tiny_model),
        "--threads",
        "1",
        "--instances",
        "0",
        "3",
        "--frames",
        "2",
        "--rounds",
        "1",
        "--dds",
        "--seconds",
        "0.5",
    ]
    command = [
        sys.executable,
        "-c",
        "from clipose_ros.cli.main import main; main()",
        "bench",
        *what,
        "--output",
        str(output),
    ]
    bench = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)
    assert bench.returncode == 0, bench.stdout + bench.stderr
    assert all(
        text in bench.stdout
        for text in ("newest message in → poses published", "delivery", "publishing", "memory MB", "frames answered")
    )
    report = read_report(output)
    for count in (0, 3):
        row = rows(report)["node", "tiny", count]
        assert 0 < row["p50_ms"] <= row["stamp_p99_ms"] and row["memory_mb"] > 10 and row["answered"] >= WARM_UP_FRAMES
        assert (
            row["answered"] + row["replaced"] + row["lost"] >= row["played"]
            and {"delivery", "reading", "publishing"} <= row["stages"].keys()
        )
    assert not compare(report, report).regressed


def test_delivery_is_measured_between_processes(dds):
    command = [
        sys.executable,
        "-m",
        "clipose_ros.ros.lab.delivery",
        "--seconds",
        "1",
        "--rate-hz",
        "10",
        "--reliable",
        "--json",
    ]
    delivery = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert delivery.returncode == 0, delivery.stdout + delivery.stderr
    found = {row["topic"]: row for row in json.loads(delivery.stdout)["topics"]}
    assert found["camera_info"]["arrived"] > 0 and 0 < found["rgb"]["p50_ms"] <= found[WHOLE]["p95_ms"]
    assert all(row["arrived"] <= row["published"] for row in found.values())
