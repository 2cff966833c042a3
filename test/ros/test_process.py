"""Start and end of the processes: refused configurations, silence, signals."""

import signal
import time

import pytest


def lines_until(process, text):
    """Output up to the line that holds `text`; fails when the process ends without it."""
    lines = []
    for line in process.stdout:
        lines.append(line)
        if text in line:
            return lines
    pytest.fail(f"expected {text!r}, got {''.join(lines)}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-p", "max_depht_m:=4.0"), "max_depht_m: expected one of the parameters"),
        (("-p", "model:=nothing"), "model: expected one of"),
    ],
)
def test_refused_configuration_ends_the_node_with_its_name(dds, start_process, arguments, message):
    process = start_process("node", *arguments)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert message in output and "Traceback" not in output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times", [1, 2])
def test_signals_end_the_node_cleanly(dds, start_process, tiny_model, number, times):
    process = start_process("node", "-p", f"model:={tiny_model}")
    lines_until(process, "ready")
    for _ in range(times):
        process.send_signal(number)
        time.sleep(0.01)
    output, _ = process.communicate(timeout=15)
    assert process.returncode == 0, output
    assert "Traceback" not in output


def test_silent_inputs_are_named_with_their_qos(dds, start_process, tiny_model):
    arguments = ("-p", f"model:={tiny_model}", "-p", "silence_s:=0.2", "-p", "reliable_inputs:=true", "-r", "instances:=segmenter/instances")
    process = start_process("node", *arguments)
    output = lines_until(process, "/segmenter/instances: expected messages, got none for 0.2 s (subscribed reliable, depth 5; offered: nobody publishes)")
    assert any("/depth_registered/image_rect: expected messages" in line for line in output)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)
