import json
import shutil
import sys

import pytest

from clipose_ros.bench.report import read_report, rows, write_report


def test_bench_prints_what_the_architecture_promises(clipose, write_model):
    report = json.loads(
        clipose("bench", "--model", write_model(), "--instances", 1, 2, "--frames", 3, "--threads", 1, "--json")
    )
    assert (report["provider"], report["precision"], report["threads"], report["model"]) == ("cpu", "fp32", 1, "tiny")
    assert [row["instances"] for row in report["results"]] == [1, 2]
    assert set(report["results"][0]) == {"instances", "p50_ms", "p95_ms", "p99_ms", "stages"}


def test_bench_of_several_models_writes_one_report_that_the_next_is_compared_with(clipose, write_model, tmp_path):
    model, stored, picture = write_model(), tmp_path / "before.json", tmp_path / "latency.png"
    paper = tmp_path / "paper"
    shutil.copytree(model, paper)
    once = (
        "bench",
        "--model",
        model,
        "--baseline",
        paper,
        "--instances",
        0,
        1,
        "--frames",
        6,
        "--rounds",
        2,
        "--threads",
        1,
    )
    table = clipose(*once, "--output", stored, "--plot", picture)
    assert (
        all(text in table for text in ("memory", "p95", "network", "of the baseline")) and picture.stat().st_size > 1000
    )
    report = read_report(stored)
    # the cards' names are equal
    assert report["baseline"] == str(paper) and [entry["model"] for entry in report["memory"]] == [
        str(model),
        str(paper),
    ]
    before = json.loads(json.dumps(report))
    for factor, status in ((1e-3, 1), (1e3, None)):
        for entry in report["memory"]:
            for row, old in zip(entry["results"], rows(before).values()):
                row["rounds"] = {key: [ms * factor for ms in values] for key, values in old["rounds"].items()}
        write_report(report, stored)
        if status:
            with pytest.raises(SystemExit) as stopped:
                clipose(*once, "--against", stored)
            assert stopped.value.code == status
        else:
            said = clipose(*once, "--against", stored)
            assert "0 slower by more than their noise" in said
            # whole, however long: which figure it is that changed
            assert "".join(f"memory {model} ×1 p95".split()) in "".join(said.split())


def test_a_model_that_is_not_there_ends_in_one_line(clipose, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        clipose("bench", "--model", "huge", "--models-dir", tmp_path)
    assert str(stopped.value).startswith("clipose: model: expected one of (none)")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--output", "{0}"), "--output: expected a file to write, got the folder"),
        (("--plot", "{0}"), "--plot: expected a file to write, got the folder"),
        (("--plot", "{0}/latency.xyz"), "plot .*: expected a name that ends in one of .*png.*, got latency.xyz"),
        (("--output", "{0}/file/report.json"), "--output: expected a folder for"),
        (("--instances", "65"), "--instances: expected numbers in 0..64, got 65"),
        (("--rate-hz", "0"), "--rate-hz: expected more than 0, got 0"),
    ],
)
def test_what_cannot_work_is_said_before_the_measurement(clipose, tmp_path, arguments, message):
    if "xyz" in arguments[1]:
        pytest.importorskip("matplotlib")
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit, match=message):
        clipose("bench", "--model", "none", *(argument.format(tmp_path) for argument in arguments))


def test_the_report_is_written_into_a_folder_that_is_made(clipose, write_model, tmp_path):
    output = tmp_path / "new" / "report.json"
    clipose("bench", "--model", write_model(), "--instances", 1, "--frames", 1, "--rounds", 1, "--output", output)
    assert read_report(output)["rounds"] == 1


def test_nodes_are_measured_only_with_ros_and_that_is_said_first(clipose, write_model, monkeypatch):
    monkeypatch.setitem(sys.modules, "clipose_ros.ros.lab.node_latency", None)
    with pytest.raises(SystemExit, match="--dds: expected ROS 2 and this package's messages .*; try: make env"):
        clipose("bench", "--model", write_model(), "--dds", "--frames", 10**9)


def test_a_provider_that_cannot_be_had_is_answered_with_an_option_of_the_command(clipose, write_model):
    with pytest.raises(SystemExit, match="got cuda; add --allow-cpu to run on the CPU instead"):
        clipose("bench", "--model", write_model(), "--provider", "cuda")
    report = json.loads(
        clipose(
            "bench",
            "--model",
            write_model(),
            "--provider",
            "cuda",
            "--allow-cpu",
            "--instances",
            1,
            "--frames",
            1,
            "--json",
        )
    )
    assert report["provider"] == "cpu"


def test_build_without_tensorrt_says_so_in_one_sentence(clipose, write_model, monkeypatch):
    monkeypatch.setattr("clipose_ros.cli.measure.built_providers", lambda: ["cpu"])
    with pytest.raises(SystemExit) as stopped:
        clipose("build", "--model", write_model())
    assert str(stopped.value) == (
        "clipose: build: expected an onnxruntime with TensorRT, got one with cpu; needs an NVIDIA GPU, its driver, "
        "and: pip uninstall onnxruntime, pip install clipose_ros[gpu]"
    )
    assert "building" not in clipose.stderr


def test_a_segmenter_is_not_measured_over_dds(clipose, write_model):
    with pytest.raises(SystemExit, match="--segmenter: expected none with --dds, got depth"):
        clipose("bench", "--model", write_model(), "--dds", "--segmenter", "depth")
