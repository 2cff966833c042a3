"""What /diagnostics say, by a clock that the test turns."""

import pytest
from diagnostic_msgs.msg import DiagnosticStatus
from std_msgs.msg import Header

from clipose_ros.ros.health import LONGEST_ERROR, MOST_CAUSES, WINDOW_S, Health

LEVELS = {getattr(DiagnosticStatus, name): name for name in ("OK", "WARN", "ERROR", "STALE")}


class Clock:
    def __init__(self):
        self.now_s = 1000.0

    def __call__(self):
        return self.now_s


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def health(clock):
    return Health(("depth", "masks"), silence_s=2.0, facts={"model": "lite", "provider": "cpu"}, clock=clock)


def said(health, **counts):
    status = health.message("/node", Header(), **{"drops": {}, "tracking": {}, "waiting": 0, **counts}).status[0]
    return LEVELS[status.level], status.message, {value.key: value.value for value in status.values}


def run(health, clock, seconds, *frames):
    """Ten times a second: both inputs are heard, then what `frames` do."""
    for _ in range(round(seconds * 10)):
        clock.now_s += 0.1
        health.heard("depth")
        health.heard("masks")
        for frame in frames:
            frame()


def test_rates_and_percentiles_are_of_the_window(health, clock):
    latencies = iter(range(1, 101))
    run(health, clock, 10.0, lambda: health.done({"network": 3.25}, float(next(latencies)), {"at rest": "4 of 5"}))
    level, text, values = said(health)
    assert (level, text) == ("OK", "running")
    assert (values["input Hz: depth"], values["input Hz: masks"], values["output Hz"]) == ("10.0", "10.0", "10.0")
    assert (values["latency_ms"], values["latency_ms p50"]) == ("100.0", "75.5")  # of 51 .. 100
    assert values["latency_ms p95"] == "97.5" and values["stage network ms"] == "3.25"
    assert values["newest result s ago"] == "0.0" and values["frames"] == "100" and values["at rest"] == "4 of 5"
    clock.now_s += 1.5
    assert said(health)[2]["newest result s ago"] == "1.5"


def test_rates_are_right_before_the_window_is_full_and_fall_to_nothing(health, clock):
    run(health, clock, 2.0, lambda: health.done({}, 1.0))
    assert said(health)[2]["input Hz: depth"] == "10.0"
    clock.now_s += WINDOW_S
    values = said(health)[2]
    assert (values["input Hz: depth"], values["output Hz"]) == ("0.0", "0.0")
    assert "latency_ms p50" not in values and values["latency_ms"] == "1.0"


def test_a_new_node_waits_and_invents_nothing(health):
    level, text, values = said(health)
    assert (level, text) == ("OK", "waiting for the first frame")
    assert not {"latency_ms", "latency_ms p50", "last error", "newest result s ago"} & values.keys()
    assert (values["model"], values["provider"]) == ("lite", "cpu")


def test_silent_inputs_are_a_warning_that_names_them(health, clock):
    run(health, clock, 1.0, lambda: health.done({}, 1.0))
    for _ in range(3):
        clock.now_s += 1.0
        health.heard("depth")
    assert said(health)[:2] == ("WARN", "no input on masks")
    health.incompatible("masks", 1, "reliability")
    level, text, values = said(health)
    assert (level, text) == ("WARN", "no input on masks (incompatible reliability)") and values[
        "incompatible: masks"
    ] == "1, reliability"


def test_an_incompatible_publisher_beside_a_good_one_is_no_warning(health, clock):
    health.incompatible("masks", 1, "reliability")
    run(health, clock, 1.0, lambda: health.done({}, 1.0))
    level, _, values = said(health)
    assert level == "OK" and values["incompatible: masks"] == "1, reliability"


def test_inputs_that_never_make_a_frame_are_stale(health, clock):
    run(health, clock, 2.5)
    level, text, _ = said(health)
    assert level == "STALE" and "no frame was complete for 2 s" in text
    health.done({}, 1.0)
    assert said(health)[0] == "OK"


def test_only_when_every_frame_fails_is_it_an_error(health, clock):
    run(health, clock, 1.0, lambda: health.done({}, 1.0), lambda: health.failed(ValueError("depth encoding: expected")))
    level, _, values = said(health)
    assert level == "OK" and (values["failures"], values["last error"], values["last error s ago"]) == (
        "10",
        "depth encoding: expected",
        "0.0",
    )
    run(health, clock, WINDOW_S, lambda: health.failed(ValueError("depth encoding: expected")))
    assert said(health)[:2] == ("ERROR", "every frame fails: depth encoding: expected")
    health.done({}, 1.0)
    assert said(health)[0] == "OK"


def test_a_disabled_node_is_well_whatever_else_is_true(health, clock):
    health.failed(ValueError("before"))
    health.enabled = False
    clock.now_s += 3.0
    level, text = said(health)[:2]
    assert level == "OK" and text.startswith("disabled by ~/enable")
    run(health, clock, 3.0, health.ignore)
    health.enabled = True
    level, _, values = said(health)
    assert level == "OK" and values["ignored while disabled"] == "30"


def test_errors_have_a_text_of_bounded_length(health):
    health.failed(ValueError("x" * 10_000))
    assert said(health)[2]["last error"] == "x" * LONGEST_ERROR
    health.failed(MemoryError())
    assert said(health)[2]["last error"] == "MemoryError"


def test_counts_are_handed_on(health):
    values = said(health, drops={"depth twice": 2}, tracking={"track lost": 1}, waiting=7)[2]
    assert (values["dropped: depth twice"], values["tracking: track lost"], values["messages waiting"]) == (
        "2",
        "1",
        "7",
    )


def test_causes_differ_in_what_was_expected_not_in_what_was_got(health):
    for points in (3, 7, 31):
        health.count("rejected", f"points: expected at least 32, got {points}")
    health.failed(ValueError("depth encoding: expected 16UC1 or 32FC1, got 'rgb8'"))
    health.failed(IndexError("out of range"))
    values = said(health)[2]
    assert values["rejected: points: expected at least 32"] == "3" and values["failures"] == "2"
    assert (
        values["failed: depth encoding: expected 16UC1 or 32FC1"] == values["failed: IndexError: out of range"] == "1"
    )
    assert values["last error"] == "IndexError: out of range"


def test_the_number_of_causes_is_bounded(health):
    for i in range(10 * MOST_CAUSES):
        health.count("rejected", f"cause {i}: expected none")
    health.count("rejected", "cause 0: expected none")
    causes = {key: int(value) for key, value in said(health)[2].items() if key.startswith("rejected: ")}
    assert len(causes) == MOST_CAUSES + 1
    assert causes["rejected: cause 0: expected none"] == 2 and causes["rejected: other causes"] == 9 * MOST_CAUSES
