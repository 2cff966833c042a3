"""The node end to end, over DDS: from the newest message of a frame to its poses, with player, node and recorder in
processes of their own.
"""

from __future__ import annotations

import math
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import psutil
import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from rich.progress import track

from clipose_ros.bench.latency import spheres_on_table, write_frame
from clipose_ros.bench.report import PlayConfig, latency_row, percentiles
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.support import SUPPORT_DEFAULT, Support
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.inference.session import SessionConfig
from clipose_ros.msg import ObjectPoseArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.lab.processes import check_running, isolate, started

NODE = "clipose"  # its topics and its place in /diagnostics
PATIENCE_S = 60.0
SPARE = 100  # messages, beyond those of a round
QUIET_S = 0.5  # after so long without a message there is none
WARM_UP_FRAMES = 5
LEAST_FRAMES = 5
REPLACED = "dropped: frame replaced by a newer one"
STAGE = "stage "


@dataclass
class Recording:
    """What came over DDS, times in ns since the epoch by stamp.

    Parameters
    ----------
    newest : dict of int to int
        Of each frame that was played, publishing of the masks, which the player sends last.
    answered : dict of int to int
        Publishing of the poses.
    instances : set of int
        How many the node answered for.
    said : list of dict
        Diagnostics of the node, as they came.
    """

    newest: dict[int, int] = field(default_factory=dict)
    answered: dict[int, int] = field(default_factory=dict)
    instances: set[int] = field(default_factory=set)
    said: list[dict[str, str]] = field(default_factory=list)

    def counted(self) -> list[int]:
        """List the answered frames after the warm-up.

        Returns
        -------
        list of int
            Stamps [ns], sorted.
        """
        return sorted(self.answered)[WARM_UP_FRAMES:]

    def latency_ms(self) -> list[float]:
        """Time the way from the newest message to the poses.

        Returns
        -------
        list of float
            Of each frame that counts [ms].
        """
        return [(self.answered[stamp] - self.newest[stamp]) / 1e6 for stamp in self.counted()]

    def stamp_to_publish_ms(self) -> list[float]:
        """Time the way from the stamp, which the player gives before the first message of a frame, to the poses.

        Returns
        -------
        list of float
            Of each frame that counts [ms].
        """
        return [(self.answered[stamp] - stamp) / 1e6 for stamp in self.counted()]

    def played_since_first_answer(self) -> int:
        """Count the frames that the node could have answered.

        Returns
        -------
        int
            Without what was played before the node was connected.
        """
        first = min(self.answered)
        return sum(stamp >= first for stamp in self.newest)

    def stages_ms(self) -> list[dict[str, float]]:
        """Collect the stages of the frames that the diagnostics tell of, about one a second.

        Returns
        -------
        list of dict of str to float
            Times by stage [ms].
        """
        stages = ({key: value for key, value in said.items() if key.startswith(STAGE)} for said in self.said)
        return [
            {key.removeprefix(STAGE).removesuffix(" ms"): float(value) for key, value in said.items()}
            for said in stages
        ]


@dataclass(frozen=True)
class Round:
    """One round of one number of instances.

    Parameters
    ----------
    recording : Recording
        What came.
    cpu_percent : float
        Of one core.
    memory_mb : float
        Resident, at the end [MB].
    replaced : int
        Frames that gave way to newer ones.
    """

    recording: Recording
    cpu_percent: float
    memory_mb: float
    replaced: int


class Recorder(Node):
    """Subscribes to what the node publishes, and not to its inputs.

    On two cores, one more reader of the masks costs the node 1 ms. `recording` is replaced for each round; stamps
    before `since_ns` belong to earlier ones.

    Parameters
    ----------
    queue : int
        Messages of a topic that are kept until they are taken.
    """

    def __init__(self, queue: int) -> None:
        super().__init__("recorder")
        self.recording = Recording()
        self.since_ns = 0
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self)
        self.create_subscription(ObjectPoseArray, f"{NODE}/poses_9dof", self._on_poses, QoSProfile(depth=queue))
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, QoSProfile(depth=queue))

    def start(self) -> Recording:
        """Begin a new recording, of what is stamped from now on.

        Returns
        -------
        Recording
            Empty.
        """
        self.since_ns, self.recording = time.time_ns(), Recording()
        return self.recording

    def wait(
        self,
        condition: Callable[[], bool],
        processes: Sequence[subprocess.Popen],
        what: str,
        patience_s: float = PATIENCE_S,
    ) -> None:
        """Record until a condition holds.

        Parameters
        ----------
        condition : callable
            Tells whether it does.
        processes : sequence of subprocess.Popen
            Those that must run.
        what : str
            What is waited for.
        patience_s : float
            For how long.

        Raises
        ------
        RuntimeError
            It does not, or a process ends.
        """
        end_s = time.monotonic() + patience_s
        while not condition():
            self._executor.spin_once(timeout_sec=0.1)
            check_running(processes)
            if time.monotonic() > end_s:
                raise RuntimeError(f"{what}: expected within {patience_s:g} s, got none")

    def pause(self, seconds: float, processes: Sequence[subprocess.Popen]) -> None:
        """Let the messages wait: taking them costs time that the node would miss.

        Parameters
        ----------
        seconds : float
            For how long.
        processes : sequence of subprocess.Popen
            Those that must run.
        """
        end_s = time.monotonic() + seconds
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(left_s, 1.0))
            check_running(processes)

    def catch_up(self) -> None:
        """Take what waits."""
        before, end_s = -1, 0.0
        while before < (taken := len(self.recording.answered)) or time.monotonic() < end_s:
            if before < taken:
                before, end_s = taken, time.monotonic() + QUIET_S
            self._executor.spin_once(timeout_sec=QUIET_S)

    def counters(self, node: subprocess.Popen) -> dict[str, str]:
        """Wait for the node's next word about itself.

        Parameters
        ----------
        node : subprocess.Popen
            Its process.

        Returns
        -------
        dict of str to str
            Its next diagnostics.
        """
        said = len(self.recording.said)
        self.wait(lambda: len(self.recording.said) > said, [node], "/diagnostics")
        return self.recording.said[-1]

    def _on_poses(self, message: ObjectPoseArray, info: dict) -> None:
        if (stamp := stamp_ns(message.header.stamp)) >= self.since_ns:
            self.recording.answered[stamp] = info["source_timestamp"]
            self.recording.instances.add(len(message.poses) + len(message.rejections))

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        if stamp_ns(message.header.stamp) >= self.since_ns:
            self.recording.said.append({value.key: value.value for value in message.status[0].values})


def measure_nodes(
    models: Sequence[str],
    instances: Sequence[int],
    session: SessionConfig,
    play: PlayConfig,
    rounds: int,
    support: Support = SUPPORT_DEFAULT,
) -> list[list[dict[str, Any]]]:
    """Measure nodes over DDS. In each round every model gets a node of its own.

    Parameters
    ----------
    models : sequence of str
        Names or paths.
    instances : sequence of int
        Numbers of objects in the frame.
    session : SessionConfig
        How the networks run.
    play : PlayConfig
        Rate and length of a round.
    rounds : int
        Their number.
    support : str
        As the node's parameter.

    Returns
    -------
    list of list of dict
        Rows of each model, one for each number of instances. A row is that of `report.latency_row` and:
        stamp_p50_ms, stamp_p95_ms, stamp_p99_ms, from the stamp to the publishing; cpu_percent, of one core;
        memory_mb, resident; frames played, answered, replaced by a newer one before the node had time for them, and
        lost.

    Raises
    ------
    RuntimeError
        A process ends, or the poses do not come.
    """
    isolate()
    rclpy.init()
    recorder = Recorder(queue=math.ceil(play.rate_hz * play.seconds) + SPARE)
    found: dict[tuple[str, int], list[Round]] = {(model, count): [] for model in models for count in instances}
    try:
        with TemporaryDirectory() as folder:
            for count in instances:
                write_frame(Path(folder) / str(count), *spheres_on_table(count, CATEGORIES))
            turns = [model for _ in range(rounds) for model in models]
            for model in track(turns, "nodes", console=Console(stderr=True), transient=True):
                recorder.start()
                with started("clipose_ros.ros.node", *node_arguments(model, session, support)) as node:
                    for count in instances:
                        found[model, count].append(_round(recorder, node, Path(folder) / str(count), count, play))
    finally:
        recorder.destroy_node()
        rclpy.try_shutdown()
    return [[node_row(count, found[model, count]) for count in instances] for model in models]


def node_row(instances: int, rounds: Sequence[Round]) -> dict[str, Any]:
    """See `measure_nodes`.

    The stage `delivery` is what the others leave: DDS, the wake-up of the node, and the messages' way into Python.
    """
    recordings = [one.recording for one in rounds]
    stages = [stages for recording in recordings for stages in recording.stages_ms()]
    row = latency_row(instances, [recording.latency_ms() for recording in recordings], stages)
    row["stages"] = {"delivery": round(max(row["p50_ms"] - sum(row["stages"].values()), 0.0), 3), **row["stages"]}
    stamped = percentiles(np.concatenate([recording.stamp_to_publish_ms() for recording in recordings]))
    played, answered = (
        sum(counts) for counts in zip(*((one.played_since_first_answer(), len(one.answered)) for one in recordings))
    )
    replaced = sum(one.replaced for one in rounds)
    frames = {
        "played": played,
        "answered": answered,
        "replaced": replaced,
        "lost": max(played - answered - replaced, 0),
    }
    cpu_percent, memory_mb = np.median([one.cpu_percent for one in rounds]), max(one.memory_mb for one in rounds)
    usage = {"cpu_percent": round(float(cpu_percent), 1), "memory_mb": round(memory_mb, 1)}
    return row | {f"stamp_{key}": value for key, value in stamped.items()} | usage | frames


def node_arguments(model: str, session: SessionConfig, support: Support = SUPPORT_DEFAULT) -> list[str]:
    """Give the arguments of a node.

    Parameters
    ----------
    model : str
        Its name or path.
    session : SessionConfig
        How its network runs.
    support : str
        As the node's parameter.

    Returns
    -------
    list of str
        As after --ros-args.
    """
    settings = {
        "models": model,
        "provider": session.provider,
        "allow_cpu": str(session.allow_cpu).lower(),
        "threads": session.threads,
        "precision": session.precision,
        "support": support,
    }
    return [*(word for name, value in settings.items() for word in ("-p", f"{name}:={value}")), "--log-level", "error"]


def _round(recorder: Recorder, node: subprocess.Popen, folder: Path, instances: int, play: PlayConfig) -> Round:
    before = recorder.counters(node)
    recording, process = recorder.start(), psutil.Process(node.pid)
    log = folder.with_suffix(".log")
    arguments = (f"folder:={folder}", f"rate_hz:={play.rate_hz}", f"log:={log}")
    with started(
        "clipose_ros.ros.lab.player",
        *(text for argument in arguments for text in ("-p", argument)),
        "--log-level",
        "error",
    ) as player:
        recorder.wait(lambda: bool(recording.counted()), [node, player], "poses")
        recording.said.clear()  # of the frames before
        stamps = sorted(recording.answered)
        seconds = max(play.seconds, 2 * LEAST_FRAMES * (stamps[-1] - stamps[0]) / (len(stamps) - 1) / NS_PER_S)
        begin_s, busy_s = time.monotonic(), _cpu_s(process)
        recorder.pause(seconds, [node, player])
        cpu_percent = 100 * (_cpu_s(process) - busy_s) / (time.monotonic() - begin_s)
        memory_mb = process.memory_info().rss / 1e6
        # Where the machine stood still, too few came: they get more time.
        recorder.wait(
            lambda: len(recording.counted()) >= LEAST_FRAMES, [node, player], f"poses of {LEAST_FRAMES} frames"
        )
    recorder.catch_up()
    recording.newest.update(tuple(map(int, line.split())) for line in log.read_text().splitlines())
    after = recorder.counters(node)
    if recording.instances != {instances}:
        raise RuntimeError(f"instances: expected {instances} in each answer, got {sorted(recording.instances)}")
    return Round(recording, cpu_percent, memory_mb, int(after.get(REPLACED, 0)) - int(before.get(REPLACED, 0)))


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return times.user + times.system
