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
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import rclpy
import tyro
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile
from rich.console import Console
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.bench.latency import Scene, spheres_on_table
from clipose_ros.core.backprojection import metres
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.msg import InstanceArray, ObjectPoseArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.lab.faults import FAULTS
from clipose_ros.ros.lab.ledger import CHECKED, GOOD, LOST, Ledger
from clipose_ros.ros.lab.process_memory import Memory
from clipose_ros.ros.lab.processes import check_running, isolate, started
from clipose_ros.ros.lab.shots import Case, Shot, good_answer, good_shot, stamp_of
from clipose_ros.ros.lab.soak_report import SoakConfig, report, summary
from clipose_ros.ros.topics import CAMERA_INFO, DEPTH, INSTANCES

START_UP_S = 60.0
PATIENCE_S = 30.0
LOST_S = 1.0  # without an answer
REPORT_PERIOD_S = 60.0
SAMPLE_PERIOD_S = 1.0
PILE_BYTES = 20 * 1024**2  # more than the shared memory that the shipped profile gives a publisher
STANDSTILL_S = 0.7  # after a second, Fast DDS takes who does not fetch its messages for dead


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
