"""A long run of the pose node at full rate, with faults injected at random: what it lost, what it did not account for,
whether its memory or latency grew.

python -m clipose_ros.ros.lab.soak --minutes 30
"""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rclpy
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.table import Table
from scipy.stats import theilslopes
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.bench.latency import Scene, spheres_on_table
from clipose_ros.core.backprojection import metres
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.inference.card import DEFAULT_MODEL
from clipose_ros.msg import InstanceArray, ObjectPoseArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.lab.faults import FAULTS, Case, Shot, good_answer, good_shot, stamp_of
from clipose_ros.ros.lab.ledger import CHECKED, GOOD, LOST, Account, Ledger
from clipose_ros.ros.lab.processes import check_running, isolate, started
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH, INSTANCES

START_UP_S = 60.0
PATIENCE_S = 30.0
LOST_S = 1.0  # without an answer
REPORT_PERIOD_S = 60.0
SAMPLE_PERIOD_S = 1.0
PILE_BYTES = 20 * 1024**2  # more than the shared memory that the shipped profile gives a publisher
STANDSTILL_S = 0.7  # after a second, Fast DDS takes who does not fetch its messages for dead
WARM_UP_S = 60.0  # and at most a third of the run
LARGEST_GROWTH_MB = 5.0
SHORTEST_S = 180.0  # run that says something about memory
LARGEST_P99_RATIO = 1.5  # last third of the minutes to first
FEWEST_MINUTES = 3  # in each of the thirds
MOST_SAMPLES = 600  # of the memory, for a fit that compares all pairs


@dataclass(frozen=True)
class SoakConfig:
    """What is sent, and for how long.

    Parameters
    ----------
    minutes : float
        Length of the run.
    seconds : float, optional
        Length of a short one, instead.
    rate_hz : float
        Of the camera [Hz].
    objects : int
        In each image.
    faulty : float
        Share of faults among all that is sent, in 0..1.
    seed : int
        Of which faults come, and when.
    model : str
        As in the node.
    output : Path, optional
        Where the report is written as JSON.
    """

    minutes: float = 30.0
    seconds: float | None = None
    rate_hz: float = 30.0
    objects: int = 5
    faulty: float = 0.2
    seed: int = 0
    model: str = DEFAULT_MODEL
    output: Path | None = None

    @property
    def duration_s(self) -> float:
        """How long images are sent [s]."""
        return self.minutes * 60 if self.seconds is None else self.seconds


@dataclass(frozen=True)
class Memory:
    """Memory of a process, by what it holds and not by what of it lies in RAM: other processes move that.

    Parameters
    ----------
    time_s : float
        When it was looked at, of a steady clock [s].
    own : float
        What is its alone, in RAM or swapped out [MB].
    shared : float
        Size of the segments that it has mapped: through them, DDS hands it images [MB]. Which of their pages it has
        touched by now is a matter of which images were lost.
    files : float
        Size of the files that it has mapped: libraries, for the most part [MB].
    """

    time_s: float
    own: float
    shared: float
    files: float = 0.0

    @classmethod
    def of(cls, pid: int) -> Memory:
        """Look at a process that runs, now.

        Parameters
        ----------
        pid : int
            Its number.

        Returns
        -------
        Memory
            Of Linux's /proc.
        """
        folder, time_s = Path("/proc") / str(pid), time.monotonic()
        own = anonymous_bytes((folder / "status").read_text(encoding="utf-8"))
        shared, files = mapped_bytes((folder / "maps").read_text(encoding="utf-8", errors="replace"))
        return cls(time_s, own / 1e6, shared / 1e6, files / 1e6)

    @property
    def held(self) -> float:
        """All of it [MB]."""
        return self.own + self.shared + self.files


def anonymous_bytes(status: str) -> int:
    """Add up the memory that is a process's alone.

    Parameters
    ----------
    status : str
        Content of /proc/PID/status.

    Returns
    -------
    int
        In RAM and swapped out [bytes].
    """
    values = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return sum(int(values[key].split()[0]) * 1024 for key in ("RssAnon", "VmSwap"))


def mapped_bytes(maps: str) -> tuple[int, int]:
    """Add up what a process has mapped.

    Parameters
    ----------
    maps : str
        Content of /proc/PID/maps.

    Returns
    -------
    shared, files : int
        Segments that others may write to, too, and private mappings of files [bytes].
    """
    shared = files = 0
    for line in maps.splitlines():
        span, permissions, _, _, inode, *_ = line.split(maxsplit=5)
        begin, end = (int(address, 16) for address in span.split("-"))
        if permissions.endswith("s"):
            shared += end - begin
        elif inode != "0":
            files += end - begin
    return shared, files


def growth_mb(samples: Sequence[tuple[float, float]]) -> float:
    """Measure how much memory grew after the warm-up. Peaks do not count.

    Parameters
    ----------
    samples : sequence of (float, float)
        Time [s] and memory [MB].

    Returns
    -------
    float
        The larger of the median of all slopes, for leaks, and of the difference between the medians of so long a time
        after the warm-up and before the end, for steps [MB]. 0 where nothing follows the warm-up.
    """
    times, values = np.array(samples).T
    warm_up = warm_up_s(times[-1] - times[0])
    warm, last = times >= times[0] + warm_up, times >= times[-1] - warm_up
    first = warm & (times <= times[0] + 2 * warm_up)
    if warm.sum() < 2:
        return 0.0
    every = max(1, math.ceil(warm.sum() / MOST_SAMPLES))
    leak = theilslopes(values[warm][::every], times[warm][::every]).slope * np.ptp(times[warm])
    return float(max(leak, np.median(values[last]) - np.median(values[first])))


def warm_up_s(duration_s: float) -> float:
    """Tell how much of a run fills buffers that are kept.

    Parameters
    ----------
    duration_s : float
        Of the run [s].

    Returns
    -------
    float
        A third of it at most [s].
    """
    return min(WARM_UP_S, duration_s / 3)


def by_minute(latencies_ms: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
    """Sum up latencies by minute.

    Parameters
    ----------
    latencies_ms : sequence of (float, float)
        Time [s] and latency [ms].

    Returns
    -------
    list of dict
        frames, p50_ms and p99_ms of each whole minute.
    """
    if not latencies_ms:
        return []
    times, values = np.array(latencies_ms).T
    minute = ((times - times.min()) // 60).astype(int)
    whole = [minute == i for i in range(max(1, int((times.max() - times.min() + 1) // 60)))]
    percentiles = [(int(of.sum()), *np.percentile(values[of], [50, 99])) for of in whole if of.any()]
    return [
        {"frames": frames, "p50_ms": round(float(p50), 2), "p99_ms": round(float(p99), 2)}
        for frames, p50, p99 in percentiles
    ]


def memory_by_minute(memory: Sequence[Memory]) -> list[dict[str, float]]:
    """Tell memory by minute.

    Parameters
    ----------
    memory : sequence of Memory
        In the order of time.

    Returns
    -------
    list of dict
        own_mb and shared_mb at the end of each minute that has begun.
    """
    last = {int((sample.time_s - memory[0].time_s) // 60): sample for sample in memory}
    return [{"own_mb": round(sample.own, 1), "shared_mb": round(sample.shared, 1)} for sample in last.values()]


def p99_ratio(minutes: Sequence[Mapping[str, float]]) -> float | None:
    """Compare the last third of a run with the first.

    Parameters
    ----------
    minutes : sequence of mapping
        Of `by_minute`.

    Returns
    -------
    float or None
        Median p99 of the minutes of the last third by that of the first. None where there are too few to say.
    """
    third = len(minutes) // 3
    if third < FEWEST_MINUTES:
        return None
    first, last = (np.median([minute["p99_ms"] for minute in part]) for part in (minutes[:third], minutes[-third:]))
    return float(last / first)


class Rig(Node):
    """A camera, a segmenter and a consumer of poses.

    Parameters
    ----------
    ledger : Ledger
        Where answers are entered.
    """

    def __init__(self, ledger: Ledger) -> None:
        super().__init__("soak")
        self.ledger = ledger
        self.reports = 0  # of the node about itself
        self._counters: dict[str, int] = {}
        self._before: dict[str, int] = {}
        qos = QoSProfile(depth=10)
        topics = ((CameraInfo, CAMERA_INFO), (Image, DEPTH), (InstanceArray, INSTANCES))
        self._inputs = [self.create_publisher(kind, topic, qos) for kind, topic in topics]
        self.create_subscription(ObjectPoseArray, "clipose/poses_9dof", self._on_poses, qos)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos)

    def connected(self) -> bool:
        """Tell whether the node hears and is heard.

        Returns
        -------
        bool
            As far as this side can tell.
        """
        return all(publisher.get_subscription_count() for publisher in self._inputs) and bool(self._counters)

    def begin(self, ledger: Ledger) -> None:
        """Begin the account: from now on, counters count from zero.

        Parameters
        ----------
        ledger : Ledger
            Where answers are entered from now on.
        """
        self.ledger, self._before = ledger, self._counters

    @property
    def counters(self) -> dict[str, int]:
        """Counters of the node's /diagnostics, since the beginning."""
        return {key: number - self._before.get(key, 0) for key, number in self._counters.items()}

    def send(self, shot: Shot) -> None:
        """Publish what there is of a shot.

        Parameters
        ----------
        shot : Shot
            Some of its messages may be missing.
        """
        partner = shot.instances or shot.depth
        if partner is not None:
            self.ledger.sent(stamp_ns(partner.header.stamp), time.time_ns())
        for publisher, message in zip(self._inputs, (shot.camera_info, shot.depth, shot.instances)):
            if message is not None:
                publisher.publish(message)

    def _on_poses(self, message: ObjectPoseArray, info: dict) -> None:
        self.ledger.answer(
            stamp_ns(message.header.stamp), len(message.poses), len(message.rejections), info["source_timestamp"]
        )

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        values = {value.key: value.value for value in message.status[0].values}
        self.reports += 1
        self._counters = {key: int(value) for key, value in values.items() if key.startswith((*CHECKED, LOST))}


def stream(scene: Scene, config: SoakConfig, ledger: Ledger, begin_ns: int) -> Iterator[Shot]:
    """Make one shot after the other, without an end. No two faults come without a good image between them.

    Parameters
    ----------
    scene : Scene
        What the camera sees.
    config : SoakConfig
        Rate, share of faults, seed.
    ledger : Ledger
        Where the shots are entered.
    begin_ns : int
        Stamp of the first.

    Yields
    ------
    Shot
        For each period of the camera.
    """
    rng = np.random.default_rng(config.seed)
    faults = [fault for fault in FAULTS.values() if fault.everywhere]
    period_ns, slot, after_fault = round(NS_PER_S / config.rate_hz), 0, True
    while True:
        fault = None if after_fault or rng.random() > config.faulty else faults[rng.integers(len(faults))]
        shots = [good_shot(scene, begin_ns + (slot + i) * period_ns) for i in range(fault.images if fault else 1)]
        case = fault.damage(*shots) if fault else Case(tuple(shots), {stamp_of(shots[0]): good_answer(shots[0])})
        ledger.enter(fault.name if fault else GOOD, case)
        yield from case.sent
        slot, after_fault = slot + len(case.sent), fault is not None


def pile_up(rig: Rig, executor: SingleThreadedExecutor, scene: Scene, pose_node: subprocess.Popen) -> None:
    """Send good images of the largest format while the node stands still, and wait until it has caught up.

    This is the first part of the warm-up. DDS keeps a queue of buffers for each topic. It is of a fixed size, but is
    filled to the end only when images pile up for the first time, which a busy machine may do in any minute of the run.

    Parameters
    ----------
    rig : Rig
        What sends.
    executor : SingleThreadedExecutor
        Of the rig.
    scene : Scene
        What the camera sees.
    pose_node : subprocess.Popen
        The node's process.

    Raises
    ------
    RuntimeError
        The node does not catch up, or falls silent.
    """
    scene = scene._replace(frame=replace(scene.frame, depth=metres(scene.frame.depth)))
    images = math.ceil(PILE_BYTES / (scene.frame.depth.nbytes + scene.detections.masks.size))
    pose_node.send_signal(signal.SIGSTOP)
    try:
        for _ in range(images):
            rig.send(good_shot(scene, time.time_ns()))
            time.sleep(STANDSTILL_S / images)
    finally:
        pose_node.send_signal(signal.SIGCONT)
    for _ in range(round(PATIENCE_S / LOST_S)):  # with so much on the way, the last one may get lost, too
        rig.send(last := good_shot(scene, time.time_ns()))
        if wait(executor, lambda: rig.ledger.answered(stamp_of(last)), LOST_S):
            break
    else:
        check_running([pose_node])
        caught_up = f"it to catch up with {images} images within {PATIENCE_S:g} s"
        raise RuntimeError(f"node: expected {caught_up}, got {rig.ledger.answers} answers")
    # answers come in order, so that was the last; the next report may have been made before it was counted, not the one
    # after
    reports = rig.reports
    if not wait(executor, lambda: rig.reports >= reports + 2, PATIENCE_S):
        raise RuntimeError(f"/diagnostics: expected two within {PATIENCE_S:g} s, got {rig.reports - reports}")


def play(
    rig: Rig,
    executor: SingleThreadedExecutor,
    config: SoakConfig,
    scene: Scene,
    pose_node: subprocess.Popen,
    console: Console,
) -> list[Memory]:
    """Send, listen and measure for the configured time.

    Parameters
    ----------
    rig : Rig
        What sends.
    executor : SingleThreadedExecutor
        Of the rig.
    config : SoakConfig
        What is sent, and for how long.
    scene : Scene
        What the camera sees.
    pose_node : subprocess.Popen
        The node's process.
    console : rich.console.Console
        Where progress is told.

    Returns
    -------
    list of Memory
        Of the node, once a second.
    """
    ledger = rig.ledger
    shots = stream(scene, config, ledger, time.time_ns())
    memory: list[Memory] = []
    begin = sampled = reported = time.monotonic()
    for slot, shot in enumerate(shots):
        due = begin + slot / config.rate_hz
        while (now := time.monotonic()) < due:
            executor.spin_once(timeout_sec=due - now)
        if now - begin > config.duration_s and whole(shot):  # not amid a fault
            break
        rig.send(shot)
        executor.spin_once(timeout_sec=0)
        if now - sampled >= SAMPLE_PERIOD_S or not memory:
            check_running([pose_node])
            sampled = now
            memory.append(Memory.of(pose_node.pid))
        if now - reported >= REPORT_PERIOD_S:
            reported = now
            console.print(
                f"  {(now - begin) / 60:4.0f} min: {rig.counters.get('frames', 0)} frames, "
                f"{memory[-1].own:.1f} MB own, {memory[-1].shared:.1f} MB shared"
            )
    rig.send(shot)
    wait(executor, lambda: ledger.answered(stamp_of(shot)), PATIENCE_S)
    return memory


def whole(shot: Shot) -> bool:
    """Tell whether all messages of an image are in a shot.

    Parameters
    ----------
    shot : Shot
        Of any kind.

    Returns
    -------
    bool
        Also for messages that are damaged.
    """
    return None not in (shot.camera_info, shot.depth, shot.instances)


def wait(executor: SingleThreadedExecutor, condition: Any, seconds: float) -> bool:
    """Listen until a condition is true.

    Parameters
    ----------
    executor : SingleThreadedExecutor
        What listens.
    condition : callable
        Tells whether it is.
    seconds : float
        For how long at most.

    Returns
    -------
    bool
        Whether it became so in time.
    """
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        executor.spin_once(timeout_sec=0.1)
    return bool(condition())


def soak(config: SoakConfig, console: Console) -> dict[str, Any]:
    """Run and judge.

    Parameters
    ----------
    config : SoakConfig
        What is sent, and for how long.
    console : rich.console.Console
        Where progress is told.

    Returns
    -------
    dict
        As `report`.

    Raises
    ------
    RuntimeError
        The node does not start, or ends.
    """
    isolate()
    rclpy.init()
    rig = Rig(Ledger())
    executor = SingleThreadedExecutor()
    executor.add_node(rig)
    arguments = ("-p", f"models:={config.model}", "-p", "reliable_inputs:=true", "--log-level", "fatal")
    with started("clipose_ros.ros.node", *arguments) as pose_node:
        if not wait(executor, rig.connected, START_UP_S):
            check_running([pose_node])
            raise RuntimeError(f"node: expected it to start within {START_UP_S:g} s, got no sign of it")
        memory, scene = [Memory.of(pose_node.pid)], spheres_on_table(config.objects, CATEGORIES)
        pile_up(rig, executor, scene, pose_node)
        rig.begin(ledger := Ledger())
        memory += play(rig, executor, config, scene, pose_node, console)
        # the last word comes a second later
        wait(executor, lambda: not ledger.close(rig.counters).unaccounted, PATIENCE_S / 3)
    account = ledger.close(rig.counters)
    rig.destroy_node()
    rclpy.try_shutdown()
    return report(config, ledger, account, memory, rig.counters)


def report(
    config: SoakConfig, ledger: Ledger, account: Account, memory: Sequence[Memory], counters: Mapping[str, int]
) -> dict[str, Any]:
    """Sum up and judge.

    Parameters
    ----------
    config : SoakConfig
        What was sent.
    ledger : Ledger
        Of the run.
    account : Account
        What became of its images.
    memory : sequence of Memory
        Of the node, in the order of time.
    counters : mapping of str to int
        Of the node's /diagnostics.

    Returns
    -------
    dict
        All figures, and a verdict on each that has a limit. None is one that the run was too short for.
    """
    minutes, growth = by_minute(ledger.latencies_ms), growth_mb([(sample.time_s, sample.held) for sample in memory])
    ratio = p99_ratio(minutes)
    verdicts = {
        "every image accounted for": account.closed,
        f"memory grew by at most {LARGEST_GROWTH_MB:g} MB": None
        if config.duration_s < SHORTEST_S
        else growth <= LARGEST_GROWTH_MB,
        f"p99 of the last third at most {LARGEST_P99_RATIO:g} times that of the first": None
        if ratio is None
        else ratio <= LARGEST_P99_RATIO,
    }
    return {
        "config": {key: str(value) if isinstance(value, Path) else value for key, value in asdict(config).items()},
        "images": {"good": account.sent.get(GOOD, 0), "good answered": account.answered.get(GOOD, 0)}
        | {
            "replaced by a newer one": account.replaced,
            "messages lost on the way": account.lost,
            "missed": account.missed,
        },
        "wrong answers": list(account.wrong),
        "faults": ledger.injected,
        "counters": dict(sorted(counters.items())),
        "unaccounted": dict(account.unaccounted),
        "memory": {"growth after warm-up MB": round(growth, 2)}
        | {"own growth after warm-up MB": round(growth_mb([(sample.time_s, sample.own) for sample in memory]), 2)}
        | {
            f"{kind} {when} MB": round(getattr(sample, kind), 1)
            for kind in ("own", "shared", "files")
            for when, sample in (("begin", memory[0]), ("end", memory[-1]))
        },
        "memory by minute": memory_by_minute(memory),
        "latency by minute": minutes,
        "p99 ratio": None if ratio is None else round(ratio, 3),
        "verdicts": verdicts,
        "passed": all(verdict is not False for verdict in verdicts.values()),
    }


def summary(said: Mapping[str, Any]) -> Table:
    """Show a report to people.

    Parameters
    ----------
    said : mapping
        Of `report`.

    Returns
    -------
    rich.table.Table
        A row for each figure.
    """
    faults = sum(said["faults"].values())
    table = Table(
        "measured",
        "value",
        title=f"Soak of {said['config']['model']}, {faults} faults of {len(said['faults'])} kinds",
    )
    for name, number in said["images"].items():
        table.add_row(name, str(number))
    table.add_row("wrong answers", str(len(said["wrong answers"])))
    for key, number in said["unaccounted"].items():
        table.add_row(f"unaccounted: {key}", f"{number:+d}")
    for name, megabytes in said["memory"].items():
        table.add_row(f"memory {name}", str(megabytes))
    minutes = said["latency by minute"]
    for name in ("p50_ms", "p99_ms") if minutes else ():
        values = [minute[name] for minute in minutes]
        table.add_row(f"{name.removesuffix('_ms')} of a minute, ms", f"{min(values):.1f} .. {max(values):.1f}")
    for name, verdict in said["verdicts"].items():
        table.add_row(name, {True: "yes", False: "[red]no[/red]", None: "too short to say"}[verdict])
    return table


def main() -> None:
    """Exit status 1 when a verdict is no, or the node ended."""
    config, console = tyro.cli(SoakConfig, description=__doc__), Console()
    try:
        said = soak(config, console)
    except RuntimeError as error:
        sys.exit(f"soak: {error}")
    if config.output is not None:
        config.output.write_text(json.dumps(said, indent=1) + "\n")
    console.print(summary(said))
    sys.exit(0 if said["passed"] else 1)


if __name__ == "__main__":
    main()
