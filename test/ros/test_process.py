"""Start and end of the processes: refused configurations, silence, signals at any moment."""

import os
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest
from std_msgs.msg import Header

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.ros import console_scripts
from clipose_ros.ros.conversions import frame_messages, stamp_message

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "scripts").iterdir())


@pytest.fixture
def start(start_process, output_of):
    """Starts a node: its process, and what it says."""

    def start(*arguments):
        process = start_process("node", *arguments)
        return process, output_of(process)

    return start


@pytest.fixture
def burst(client):
    """Sends frames of five objects as fast as it can, until there is an answer, and then 100 more."""
    spheres = spheres_on_table(5, ("can", "mug"))

    def send():
        header = Header(stamp=stamp_message(time.time_ns()), frame_id="optical")
        client.send(*frame_messages(*spheres, header))

    def burst(wait_until):
        client.received["poses_9dof"].clear()
        wait_until(lambda: send() or client.received["poses_9dof"])
        for _ in range(100):
            send()

    return burst


INTERRUPTED = """
import os, sys, time
import rclpy
from rclpy.node import Node
from clipose_ros.ros.spinning import run

def make_node():
    os.kill(os.getpid(), NUMBER)
    while rclpy.ok():
        time.sleep(0.01)
    return Node("late")

sys.exit(run(make_node))
"""


def assert_clean_end(process, output):
    text = output.of_ended()
    assert process.returncode == 0 and "Traceback" not in text, text


def test_a_refused_parameter_ends_the_node_with_its_name(dds, start):
    process, output = start("-p", "max_depht_m:=4.0")
    text = output.of_ended()
    assert process.returncode == 1
    assert "max_depht_m: expected one of the parameters" in text and "Traceback" not in text


def test_a_renamed_node_that_loses_its_parameter_file_says_so(dds, start, tmp_path):
    """Before it says what it lacks."""
    file = tmp_path / "params.yaml"
    file.write_text("/**/clipose:\n  ros__parameters:\n    silence_s: 3.0\n")
    process, output = start("--params-file", str(file), "-r", "__node:=left", "-p", "seed:=-1")
    text = output.of_ended()
    assert process.returncode == 1 and "[WARN]" in text
    assert text.index(f"{file}: expected a section for /left, got /**/clipose: nothing of it") < text.index("seed: exp")


@pytest.mark.parametrize(
    ("numbers", "apart_s"), [((signal.SIGINT,), 0), ((signal.SIGTERM,) * 2, 0.01), ((signal.SIGINT,) * 30, 0.01)]
)
def test_signals_end_the_node_cleanly(dds, start, tiny_model, wait_until, numbers, apart_s):
    """Also when they come again and again while it ends."""
    process, output = start("-p", f"models:={tiny_model}")
    wait_until(lambda: output.said("ready"))
    for number in numbers:
        process.send_signal(number)
        time.sleep(apart_s)
    assert_clean_end(process, output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_before_the_node_is_made_ends_the_process_cleanly(dds, number):
    script = INTERRUPTED.replace("NUMBER", str(int(number)))
    process = subprocess.run(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30
    )
    assert process.returncode == 0 and "Traceback" not in process.stdout, process.stdout


def test_every_script_is_installed_and_is_a_command_of_the_wheel():
    cmake, commands = (
        (ROOT / "CMakeLists.txt").read_text(),
        tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"],
    )
    for script in SCRIPTS:
        assert f"scripts/{script.name}" in cmake and os.access(script, os.X_OK)
        assert script.read_text().splitlines()[1:] == [
            f"from clipose_ros.ros.console_scripts import {script.name}",
            "",
            f"{script.name}()",
        ]
        assert commands[f"clipose_{script.name}"] == f"clipose_ros.ros.console_scripts:{script.name}" and callable(
            getattr(console_scripts, script.name)
        )


@pytest.mark.parametrize(
    ("script", "number", "imported"),
    [
        ("pose_node", signal.SIGINT, "numpy"),
        ("pose_node", signal.SIGTERM, "rclpy"),
        *((script.name, signal.SIGINT, "rclpy") for script in SCRIPTS),
    ],
)
def test_a_signal_while_python_imports_ends_every_node_cleanly(
    dds, start_command, output_of, wait_until, script, number, imported
):
    """Early in that second, and late; started as launch files and the wheel's commands do it."""
    # says each import, on a line of its own
    process = start_command(sys.executable, "-X", "importtime", str(ROOT / "scripts" / script))
    output = output_of(process)
    wait_until(lambda: output.said(f" {imported}."))
    process.send_signal(number)
    assert_clean_end(process, output)


@pytest.mark.parametrize(("number", "after_s"), [(signal.SIGTERM, 0.0), (signal.SIGINT, 0.2)])
def test_signals_while_the_model_is_loaded_end_the_node_cleanly(dds, start, wait_until, number, after_s):
    process, output = start("-p", "models:=clipose-base")
    wait_until(lambda: output.said("loading"))
    time.sleep(after_s)
    process.send_signal(number)
    assert_clean_end(process, output)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_in_a_burst_of_frames_end_the_node_cleanly(dds, start, wait_until, client, burst, number):
    process, output = start("-p", "models:=clipose-lite")
    burst(wait_until)
    process.send_signal(number)
    assert_clean_end(process, output)


def test_silent_inputs_are_named_with_their_qos(dds, start, tiny_model, wait_until):
    settings = ("-p", f"models:={tiny_model}", "-p", "silence_s:=0.2", "-p", "reliable_inputs:=true")
    process, output = start(*settings, "-r", "__ns:=/robot", "-r", "instances:=segmenter/instances")
    for topic in ("segmenter/instances", "depth_registered/image_rect"):
        text = f"/robot/{topic}: expected messages, got none for 0.2 s "
        text += "(subscribed reliable, depth 5; offered: nobody publishes)"
        wait_until(lambda: output.said(text))
    process.send_signal(signal.SIGINT)
    assert_clean_end(process, output)


@pytest.mark.parametrize("module", ["node", "lab.player", "adapters.yolo"])
def test_arguments_that_ros_would_ignore_end_a_node_and_help_is_given(start_command, output_of, module):
    for arguments, status, text in (
        (["-p", "models:=x"], 2, "arguments: expected them after --ros-args"),
        (["--help"], 0, "usage: "),
    ):
        process = start_command(sys.executable, "-m", f"clipose_ros.ros.{module}", *arguments)
        assert text in output_of(process).of_ended() and process.returncode == status


def test_two_nodes_of_one_name_are_warned_of(dds, start, tiny_model, wait_until):
    """launch_ros#124, ros2cli#453: ROS lets both run, and their users wonder whose poses these are."""
    alike = ["-r", "__node:=twin", "-p", f"models:={tiny_model}", "-p", "silence_s:=0.3"]
    one, first = start(*alike)
    wait_until(lambda: first.said("ready"))
    alone, other = start(*alike, "-r", "__ns:=/elsewhere")
    wait_until(lambda: other.said("ready"))
    two, second = start(*alike)
    warning = "node name: expected this node alone to be /twin, got 2 of this name: their poses come on the same topics"
    wait_until(lambda: first.said(warning) and second.said(warning))
    assert not other.said("node name:")
    for process, output in ((one, first), (alone, other), (two, second)):
        process.send_signal(signal.SIGINT)
        assert_clean_end(process, output)
