"""Every fault of the catalogue, over DDS: what the node must answer and count, and that it goes on as if nothing had
been.
"""

import itertools
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from clipose_ros.bench.latency import Scene, spheres_on_table
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.types import Detections, Frame, Intrinsics
from clipose_ros.ros.conversions import stamp_message, stamp_ns
from clipose_ros.ros.lab.fault_table import table
from clipose_ros.ros.lab.faults import FAULTS, PERIOD_NS
from clipose_ros.ros.lab.refusals import REFUSALS
from clipose_ros.ros.lab.shots import expected_growth, good_answer, good_shot, stamp_of

ROOT = Path(__file__).resolve().parents[2]
COUNTERS = (
    "frames",
    "failures",
    "failed:",
    "rejected:",
    "refused:",
    "warned:",
    "dropped:",
    "lost on the way:",
    "tracking: reset:",
)
BURST = 200


def small_spheres(count):
    """Quarter-size images: as much to reject, less to send."""
    full, found = spheres_on_table(count, CATEGORIES)
    k = full.intrinsics
    intrinsics = Intrinsics(k.fx / 4, k.fy / 4, k.cx / 4, k.cy / 4)
    frame = Frame(0, full.frame_id, full.depth[::4, ::4].copy(), intrinsics)
    return Scene(frame, Detections(found.instances, found.masks[::4, ::4].copy()))


@pytest.fixture(scope="module", autouse=True)
def node(start_process, tiny_model, client):
    """Reliable, so that what is counted is what was sent."""
    arguments = ("-p", f"models:={tiny_model}", "-p", "reliable_inputs:=true", "-p", "diagnostics_s:=0.02")
    process = start_process("node", *arguments)
    client.connect()
    yield process
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0


@pytest.fixture(scope="module")
def spheres():
    return small_spheres(5)


@pytest.fixture(scope="module")
def stamps():
    """Of images that follow each other, whatever time the tests take [ns]."""
    return itertools.count(time.time_ns(), PERIOD_NS)


class Stream:
    """Sends shots and compares what the node counts with what it must."""

    def __init__(self, client, wait_until):
        self.client, self.wait_until = client, wait_until
        self.begin = self.counted()

    def counted(self):
        counters = self.client.counters()
        return Counter({key: int(value) for key, value in counters.items() if key.startswith(COUNTERS)})

    def growth(self):
        now = self.counted()
        return {key: now[key] - self.begin[key] for key in now if now[key] != self.begin[key]}

    def send(self, shots, answers):
        """One after the other.

        What must be answered is waited for, so that no newer image replaces it, and so is what must wait for its
        partner.
        """
        depths, masks, compared = set(), set(), set()
        for shot in shots:
            self.client.send(shot.depth, shot.camera_info, shot.instances)
            depths |= {stamp_ns(shot.depth.header.stamp)} if shot.depth else set()
            masks |= {stamp_ns(shot.instances.header.stamp)} if shot.instances else set()
            for stamp in sorted((depths & masks & answers.keys()) - compared):
                compared.add(stamp)
                self.compare(self.client.answer_soon(stamp_message(stamp), "poses_9dof"), answers[stamp])
            if not depths & masks:
                self.wait_until(lambda: int(self.client.counters()["messages waiting"]) == len(depths | masks))
        assert compared == answers.keys()

    @staticmethod
    def compare(message, answer):
        reasons = [rejection.reason for rejection in message.rejections]
        assert (len(message.poses), len(reasons)) == (answer.poses, answer.rejections), reasons

    def expect_growth(self, expected):
        try:
            self.wait_until(lambda: self.growth() == expected)
        except AssertionError:
            assert self.growth() == expected


@pytest.fixture
def good(stamps, spheres):
    """The next good image."""
    return lambda: good_shot(spheres, next(stamps))


@pytest.fixture
def stream(client, wait_until, good):
    """Begins after a good image, whose calibration holds, has been answered and counted."""
    wait_until(client.counters)
    first = good()
    stream = Stream(client, wait_until)
    stream.send([first], {stamp_of(first): good_answer(first)})
    stream.expect_growth({"frames": 1})
    stream.begin = stream.counted()
    return stream


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda row: row.name.replace(" ", "_"))
def test_a_fault_is_answered_counted_and_over(fault, stream, client, good):
    """The damaged images get the answers that the catalogue names and no other, the counters grow by what it says, and
    a good image is answered after.
    """
    shots = [good() for _ in range(fault.images)]
    case = fault.damage(*shots)
    stream.send(case.sent, case.answers)
    after = good()
    stream.send([after], {stamp_of(after): good_answer(after)})
    growth = Counter(expected_growth(case))
    growth["frames"] += 1
    stream.expect_growth(dict(growth))
    for shot in shots:
        assert stamp_of(shot) in case.answers or client.answer(shot.depth.header.stamp) is None


def test_of_a_burst_the_newest_is_answered_and_every_image_counted(stream, client, good):
    shots = [good() for _ in range(BURST)]
    for shot in shots:
        client.send(shot.depth, shot.camera_info, shot.instances)
    assert len(client.answer_soon(shots[-1].depth.header.stamp, "poses_9dof").poses) == 5
    after = good()
    stream.send([after], {stamp_of(after): good_answer(after)})

    def accounted(kind, topic):
        """Images that were answered, or dropped for a reason that has their kind or the whole frame."""
        growth = stream.growth()
        dropped = sum(count for key, count in growth.items() if key.startswith((f"dropped: {kind}", "dropped: frame")))
        return growth.get("frames", 0) + dropped + growth.get(f"lost on the way: {topic}", 0)

    for kind, topic in (("depth", "depth_registered/image_rect"), ("instances", "instances")):
        stream.wait_until(lambda: accounted(kind, topic) == BURST + 1)


def test_a_publisher_that_is_killed_and_comes_back_is_heard_again(start_process, client, wait_until, spheres):
    def played():
        return sum(
            message.header.frame_id == "camera_color_optical_frame" and len(message.poses) > 0
            for message in list(client.received["poses_9dof"])
        )

    for _ in range(2):
        before = played()
        player = start_process("lab.player", "-p", f"folder:={ROOT / 'launch' / 'demo'}")
        wait_until(lambda: played() > before)
        player.kill()
        player.wait()
    shot = good_shot(spheres, time.time_ns())
    assert len(client.ask(shot.depth, shot.camera_info, shot.instances).poses) == 5


@pytest.fixture(scope="module")
def refused(dds, start_process, output_of, tiny_model, tmp_path_factory):
    """All that cannot start, started together."""
    outputs = {}
    for name, refusal in REFUSALS.items():
        folder = tmp_path_factory.mktemp("refused") / "tiny"
        shutil.copytree(tiny_model, folder)
        process = start_process("node", "-p", f"models:={folder}", *refusal.damage(folder))
        outputs[name] = process, output_of(process)
    return outputs


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=lambda row: row.name.replace(" ", "_"))
def test_what_cannot_start_ends_with_a_message(refusal, refused):
    process, output = refused[refusal.name]
    said = output.of_ended(90)  # five start together
    assert process.returncode == 1
    assert refusal.message in said and "Traceback" not in said


def test_the_document_is_the_catalogue():
    assert (ROOT / "docs" / "faults.md").read_text() == table(), (
        "write it anew: python -m clipose_ros.ros.lab.fault_table > docs/faults.md"
    )
