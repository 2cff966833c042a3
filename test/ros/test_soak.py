"""The soak's book-keeping with made-up runs, and a short real one."""

import json
import mmap
import subprocess
import sys

import pytest

from clipose_ros.bench.latency import spheres_on_table
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.ros.lab.faults import FAULTS
from clipose_ros.ros.lab.ledger import GOOD, LOST, REPLACED, Ledger
from clipose_ros.ros.lab.process_memory import Memory, anonymous_bytes, growth_mb, mapped_bytes, memory_by_minute
from clipose_ros.ros.lab.shots import Case, good_answer, good_shot, stamp_of
from clipose_ros.ros.lab.soak import stream
from clipose_ros.ros.lab.soak_report import SoakConfig, by_minute, p99_ratio, report

SECONDS, RATE_HZ = 8.0, 15.0


@pytest.fixture(scope="module")
def spheres():
    return spheres_on_table(2, ("mug", "can"))


@pytest.fixture
def ledger(spheres):
    """Two good images, one with a class that is unknown, one that fails, and masks without an image; sent, not yet
    answered.
    """
    ledger = Ledger()
    for i, name in enumerate((GOOD, GOOD, "class is unknown", "depth is colour", "depth is missing")):
        shot = good_shot(spheres, i * NS_PER_S)
        case = Case((shot,), {stamp_of(shot): good_answer(shot)}) if name == GOOD else FAULTS[name].damage(shot)
        ledger.enter(name, case)
        ledger.sent(i * NS_PER_S, i * NS_PER_S)
    return ledger


NUMBERS = {0: (2, 0), 1: (2, 0), 2: (1, 1), 3: (0, 2)}  # poses and rejections
COUNTERS = {
    "frames": 3,
    "failures": 1,
    "rejected: category: expected one of bottle, bowl, camera, can, laptop, mug": 1,
    "failed: depth encoding: expected 16UC1 or 32FC1 or mono16": 1,
    "dropped: instances without partners": 1,
    "tracking: reset: gap in time": 1,
}


def answer(ledger, numbers):
    for i, (poses, rejections) in numbers.items():
        ledger.answer(i * NS_PER_S, poses, rejections, i * NS_PER_S + (i + 1) * 1_000_000)


def test_a_perfect_run_is_closed(ledger):
    answer(ledger, NUMBERS)
    account = ledger.close(COUNTERS)
    assert account.closed and (account.missed, account.wrong, account.unaccounted) == (0, [], {})
    assert account.sent == {GOOD: 2, "class is unknown": 1, "depth is colour": 1} == account.answered
    assert ledger.injected == {"class is unknown": 1, "depth is colour": 1, "depth is missing": 1}
    assert ledger.latencies_ms == [(0.0, 1.0), (1.0, 2.0)]


def test_an_image_without_an_answer_is_missed_unless_a_newer_one_took_its_place(ledger):
    answer(ledger, {i: NUMBERS[i] for i in (1, 2, 3)})
    counters = COUNTERS | {"frames": 2}
    assert ledger.close(counters).missed == 1 and not ledger.close(counters).closed
    assert ledger.close(counters | {REPLACED: 1}).missed == 0 and ledger.close(counters | {REPLACED: 1}).closed
    assert ledger.close(counters | {f"{LOST}instances": 1}).missed == 0
    assert ledger.close(counters | {f"{LOST}rgb/camera_info": 1}).missed == 1  # an image does not need it


def test_wrong_answers_are_named(ledger):
    answer(ledger, NUMBERS | {1: (1, 1), 7: (2, 0)})
    account = ledger.close(COUNTERS)
    assert account.wrong == ["none: (2, 0), got (1, 1)", "expected no answer, got (2, 0)"] and not account.closed


def test_what_the_node_counts_wrongly_is_named(ledger):
    answer(ledger, NUMBERS)
    counters = COUNTERS | {"failures": 2, "dropped: instances without partners": 0, "warned: something": 3}
    account = ledger.close(counters)
    assert (
        account.unaccounted == {"failures": 1, "dropped: messages": -1, "warned: something": 3} and not account.closed
    )


def test_faults_are_seeded_and_good_images_stand_between_them(spheres):
    def shots(seed):
        ledger = Ledger()
        source = stream(spheres, SoakConfig(faulty=0.5, seed=seed), ledger, begin_ns=0)
        stamps = [shot.depth and stamp_of(shot) for shot, _ in zip(source, range(300))]
        return stamps, ledger.injected

    assert shots(1) == shots(1) != shots(2)
    stamps, injected = shots(1)
    assert len(injected) > 20 and sum(injected.values()) < 150


@pytest.mark.parametrize(("mb_per_minute", "step_mb", "grown"), [(0.0, 0.0, 0.0), (1.0, 0.0, 29.0), (0.0, 6.0, 6.0)])
def test_growth_is_that_after_the_warm_up_without_peaks(mb_per_minute, step_mb, grown):
    """A leak, and a step in an early minute."""

    def memory(second):
        return (
            100
            + min(second, 60)
            + mb_per_minute * second / 60
            + (step_mb if second > 180 else 0)
            + (50 if second % 97 == 0 else 0)
        )

    assert growth_mb([(float(s), memory(s)) for s in range(1801)]) == pytest.approx(grown, abs=0.1)


def test_growth_of_a_single_sample_is_none():
    assert growth_mb([(5.0, 100.0)]) == 0.0


TOUCH_A_SEGMENT = """
import mmap, os, sys
from clipose_ros.ros.lab.process_memory import Memory

before = Memory.of(os.getpid())
with mmap.mmap(-1, 20_000_000, int(sys.argv[1])) as segment:
    mapped = Memory.of(os.getpid())
    segment[:] = bytes(len(segment))
    touched = Memory.of(os.getpid())
print(touched.shared - before.shared, touched.own - before.own, touched.shared - mapped.shared)
"""


@pytest.mark.parametrize(("flags", "expected"), [(mmap.MAP_SHARED, (20, 0)), (mmap.MAP_PRIVATE, (0, 20))])
def test_a_shared_segment_is_no_memory_of_the_process_alone(flags, expected):
    """Camera and node share segments of a fixed size; only what the node keeps is its own.

    In a process of its own: in this one, DDS lets go of segments of other tests at times of its own.
    """
    done = subprocess.run(
        [sys.executable, "-c", TOUCH_A_SEGMENT, str(flags)], capture_output=True, text=True, check=True
    )
    shared, own, by_touching = map(float, done.stdout.split())
    assert (shared, own) == pytest.approx(expected, abs=2)
    assert by_touching == 0  # touching a page changes nothing


STATUS = """Name:\tpython
VmRSS:\t  101000 kB
RssAnon:\t   {anonymous} kB
RssFile:\t   {file} kB
RssShmem:\t   {touched} kB
VmSwap:\t       {swapped} kB
Threads:\t9
"""
MAPS = """55d0a0000000-55d0a0002000 r-xp 00000000 fe:00 1042 /usr/bin/python3.11
55d0a1000000-55d0a1400000 rw-p 00000000 00:00 0 [heap]
7f8010000000-7f8011000000 rw-s 00000000 00:1b 39233 /dev/shm/fastrtps_9202855204f6e368
7f8012000000-7f8012100000 rw-s 00000000 00:1b 39235 /dev/shm/with a space (deleted)
7f8013000000-7f8013010000 r--p 00000000 fe:00 2043 /usr/lib/libc.so.6
7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0
"""


@pytest.mark.parametrize(
    ("anonymous", "file", "touched", "swapped"),
    [(50_000, 40_000, 11_000, 0), (20_000, 40_000, 11_000, 30_000), (50_000, 1_000, 400, 0)],
    ids=["quiet", "swapped out by another load", "libraries and segments reclaimed, images lost"],
)
def test_what_another_load_moves_is_not_measured(anonymous, file, touched, swapped):
    status = STATUS.format(anonymous=anonymous, file=file, touched=touched, swapped=swapped)
    assert anonymous_bytes(status) == 50_000 * 1024
    assert mapped_bytes(MAPS) == (0x1100000, 0x12000)


def judged(samples):
    """The soak's verdict on samples of (own, shared, files) [MB], one a second."""
    config = SoakConfig(minutes=len(samples) / 60)
    memory = [Memory(1000.0 + second, *sample) for second, sample in enumerate(samples)]
    (verdict,) = [
        verdict
        for name, verdict in report(config, Ledger(), Ledger().close({}), memory, {})["verdicts"].items()
        if name.startswith("memory grew")
    ]
    return verdict


@pytest.mark.parametrize(
    ("sample", "verdict"),
    [
        (lambda s: (60.0 + min(s, 50) * 0.5, 35.0, 90.0), True),  # fills its buffers in the warm-up
        (lambda s: (60.0 + (4.9 if s > 300 else 0), 35.0, 90.0), True),
        (lambda s: (60.0 + (5.1 if s > 300 else 0), 35.0, 90.0), False),
        (lambda s: (60.0 + s * 0.02, 35.0, 90.0), False),  # a leak of 1.2 MB a minute
        (lambda s: (60.0, 35.0 + (16.8 if s > 200 else 0), 90.0), False),  # one more segment, touched or not
        (lambda s: (60.0, 35.0, 90.0 + s // 60), False),  # a file that is mapped again and again
        (lambda s: (60.0 + (80 if s % 97 == 0 else 0), 35.0, 90.0), True),  # peaks
    ],
)
def test_memory_that_grows_after_the_warm_up_fails_the_run(sample, verdict):
    """By 5 MB or more, of any kind."""
    assert judged([sample(second) for second in range(600)]) is verdict


def test_a_run_too_short_to_judge_is_not_judged():
    assert judged([(60.0 + second, 35.0, 90.0) for second in range(100)]) is None


def test_memory_is_told_by_minute():
    samples = [Memory(1000.0 + second, 100.0 + second, 50.0) for second in range(0, 130, 10)]
    assert memory_by_minute(samples) == [{"own_mb": own, "shared_mb": 50.0} for own in (150.0, 210.0, 220.0)]


def test_minutes_have_their_own_percentiles_and_thirds_are_compared():
    latencies = [
        (minute * 60 + i * 0.1, (10.0 if minute < 6 else 20.0) + (30.0 if i == 0 else 0.0))
        for minute in range(9)
        for i in range(600)
    ]
    minutes = by_minute(latencies)
    assert [minute["frames"] for minute in minutes] == [600] * 9
    assert minutes[0]["p50_ms"] == 10.0 and minutes[-1]["p99_ms"] == 20.0
    assert p99_ratio(minutes) == 2.0
    assert p99_ratio(minutes[:8]) is None  # too few to say


def test_a_short_soak(tiny_model, tmp_path):
    """Everything that was sent is accounted for, and no image stays in memory."""
    output = tmp_path / "soak.json"
    arguments = (
        "--seconds",
        str(SECONDS),
        "--rate-hz",
        str(RATE_HZ),
        "--faulty",
        "0.5",
        "--model",
        str(tiny_model),
        "--output",
        str(output),
    )
    run = subprocess.run(
        [sys.executable, "-m", "clipose_ros.ros.lab.soak", *arguments], capture_output=True, text=True, timeout=180
    )
    assert run.returncode == 0, run.stdout + run.stderr
    said = json.loads(output.read_text())
    assert said["passed"] and said["images"]["missed"] == 0
    assert said["images"]["good answered"] > 0 and len(said["faults"]) > 5
    memory = said["memory"]
    assert memory["growth after warm-up MB"] < 30  # two seconds of images
    assert memory["shared end MB"] > 16  # the segment of its camera, however much of it was touched
    # The node stood still before, and none of those images is in the account.
    assert said["images"]["good"] + sum(said["faults"].values()) <= SECONDS * RATE_HZ + 1
    assert "every image accounted for" in run.stdout
