"""What arrives of the images that a player in another process publishes, and how soon: the transport alone, without a
pose node.

    python -m clipose_ros.ros.lab.delivery --rate-hz 60
    python -m clipose_ros.ros.lab.delivery --rate-hz 30 --default-transport
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import numpy as np
import rclpy
import tyro
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rich.console import Console
from rich.table import Table
from sensor_msgs.msg import CameraInfo, Image

from clipose_ros.bench.latency import spheres_on_table, write_frame
from clipose_ros.core.categories import CATEGORIES
from clipose_ros.core.timing import NS_PER_S
from clipose_ros.msg import InstanceArray
from clipose_ros.ros.conversions import stamp_ns
from clipose_ros.ros.lab.processes import check_running, isolate, started
from clipose_ros.ros.topics import CAMERA_INFO, COLOUR, DEPTH, INSTANCES

TOPICS = {
    "rgb": (Image, COLOUR),
    "depth": (Image, DEPTH),
    "instances": (InstanceArray, INSTANCES),
    "camera_info": (CameraInfo, CAMERA_INFO),
}
WHOLE = "whole frames"
START_UP_S = 30.0
SETTLING_S = 1.0  # from the first frame to the first that counts
FLIGHT_S = 0.5  # what was published later than this before the end may be on its way


@dataclass(frozen=True)
class DeliveryConfig:
    """How delivery is measured.

    Parameters
    ----------
    rate_hz : float
        Of the player [Hz].
    seconds : float
        That count.
    reliable : bool
        Subscribe reliable instead of best effort.
    default_transport : bool
        Take Fast DDS as it comes, without launch/fastdds_shm.xml.
    instances : int
        In each frame of 640 x 480 pixels.
    as_json : bool
        Print JSON instead of a table.
    """

    rate_hz: float = 30.0
    seconds: float = 10.0
    reliable: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    default_transport: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    instances: int = 5
    as_json: Annotated[bool, tyro.conf.FlagCreatePairsOff, tyro.conf.arg(name="json")] = False


@dataclass
class Arrivals:
    """What arrived, and how late.

    Parameters
    ----------
    ms : dict of str to dict of int to float
        Of each topic, by stamp [ns]: time from the publishing to the callback that has it as a message of Python [ms].
    """

    ms: dict[str, dict[int, float]] = field(default_factory=lambda: {name: {} for name in TOPICS})

    def report(self, begin_ns: int, end_ns: int) -> list[dict[str, Any]]:
        """Sum up each topic, and the frames that came whole.

        A frame was published when any of its messages arrived, and camera_info always does; the player may publish
        fewer than its rate.

        Parameters
        ----------
        begin_ns, end_ns : int
            Stamps of the frames that count: from the first on, before the second.

        Returns
        -------
        list of dict
            Topic, how many were published and how many of them arrived, their rate, and the latency.
        """
        seconds, published = (
            (end_ns - begin_ns) / NS_PER_S,
            {stamp for ms in self.ms.values() for stamp in ms if begin_ns <= stamp < end_ns},
        )
        whole = {
            stamp: max(ms[stamp] for ms in self.ms.values())
            for stamp in published
            if all(stamp in ms for ms in self.ms.values())
        }
        rows = []
        for topic, ms in {**self.ms, WHOLE: whole}.items():
            arrived = [ms[stamp] for stamp in published if stamp in ms]
            p50, p95 = np.percentile(arrived, [50, 95]).round(2).tolist() if arrived else (None, None)
            rates = {"published": len(published), "arrived": len(arrived), "hz": round(len(arrived) / seconds, 2)}
            rows.append({"topic": topic, **rates, "p50_ms": p50, "p95_ms": p95})
        return rows


class ArrivalListener(Node):
    """Subscribes as the pose node does, and to colour.

    It misses none of the small camera_info, which tells what was published.

    Parameters
    ----------
    reliable : bool
        Subscribe reliable instead of best effort.
    """

    def __init__(self, reliable: bool) -> None:
        super().__init__("listener")
        self.arrivals = Arrivals()
        images = QoSProfile(
            depth=5, reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT
        )
        for name, (kind, topic) in TOPICS.items():
            self.create_subscription(
                kind, topic, self._arrival(name), QoSProfile(depth=1000) if kind is CameraInfo else images
            )

    def _arrival(self, name: str) -> Callable[[Any, dict], None]:
        def on_message(message: Any, info: dict) -> None:
            self.arrivals.ms[name][stamp_ns(message.header.stamp)] = (time.time_ns() - info["source_timestamp"]) / 1e6

        return on_message


def measure_delivery(config: DeliveryConfig) -> list[dict[str, Any]]:
    """Measure what arrives of a player's images.

    Once a process, because Fast DDS reads its profile once.

    Parameters
    ----------
    config : DeliveryConfig
        How.

    Returns
    -------
    list of dict
        As `Arrivals.report`.

    Raises
    ------
    RuntimeError
        Nothing comes, or the player ends.
    """
    isolate(shared_memory=not config.default_transport)
    rclpy.init()
    listener, executor = ArrivalListener(config.reliable), SingleThreadedExecutor()
    executor.add_node(listener)
    first_ns, start_s = None, time.monotonic()
    try:
        with TemporaryDirectory() as folder:
            write_frame(Path(folder), *spheres_on_table(config.instances, CATEGORIES))
            arguments = ("-p", f"folder:={folder}", "-p", f"rate_hz:={config.rate_hz}", "--log-level", "warn")
            with started("clipose_ros.ros.lab.player", *arguments) as player:
                while (
                    first_ns is None or time.time_ns() < first_ns + (SETTLING_S + config.seconds + FLIGHT_S) * NS_PER_S
                ):
                    executor.spin_once(timeout_sec=0.1)
                    check_running([player])
                    if first_ns is None and any(listener.arrivals.ms.values()):
                        first_ns = time.time_ns()
                    if first_ns is None and time.monotonic() - start_s > START_UP_S:
                        raise RuntimeError(f"images: expected within {START_UP_S:g} s, got none")
        begin_ns = first_ns + int(SETTLING_S * NS_PER_S)
        return listener.arrivals.report(begin_ns, begin_ns + int(config.seconds * NS_PER_S))
    finally:
        listener.destroy_node()
        rclpy.try_shutdown()


def delivery_table(config: DeliveryConfig, rows: list[dict[str, Any]]) -> Table:
    """Show what was measured.

    Parameters
    ----------
    config : DeliveryConfig
        How.
    rows : list of dict
        Of `measure_delivery`.

    Returns
    -------
    rich.table.Table
        A row for each topic, and one for frames of which every message came.
    """
    transport = "Fast DDS as it comes" if config.default_transport else "launch/fastdds_shm.xml"
    title = f"{config.rate_hz:g} Hz, 640 x 480, {transport}, {'reliable' if config.reliable else 'best effort'}"
    table = Table("topic", "published", "arrived", "Hz", "p50 ms", "p95 ms", title=title)
    for row in rows:
        latency = ("-" if row[key] is None else f"{row[key]:.1f}" for key in ("p50_ms", "p95_ms"))
        table.add_row(row["topic"], *(str(row[key]) for key in ("published", "arrived")), f"{row['hz']:.1f}", *latency)
    return table


def main() -> None:
    """Print the table."""
    config = tyro.cli(DeliveryConfig, description=__doc__)
    try:
        rows = measure_delivery(config)
    except RuntimeError as error:
        sys.exit(f"delivery: {error}")
    if config.as_json:
        print(
            json.dumps(
                {
                    "rate_hz": config.rate_hz,
                    "reliable": config.reliable,
                    "default_transport": config.default_transport,
                    "topics": rows,
                }
            )
        )
    else:
        Console().print(delivery_table(config, rows))


if __name__ == "__main__":
    main()
