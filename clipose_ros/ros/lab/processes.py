"""Nodes in processes of their own, on a ROS domain of this run's own: what the demo and the measurements start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ament_index_python.packages import get_package_share_directory

GRACE_S = 10.0


def launch_folder() -> Path:
    """launch/ of the checkout, else of the installed package."""
    checkout = Path(__file__).resolve().parents[3]
    return (
        checkout if (checkout / "package.xml").is_file() else Path(get_package_share_directory("clipose_ros"))
    ) / "launch"


def isolate(shared_memory: bool = True) -> None:
    """This process and its children on a ROS domain of their own, on this machine only.

    shared_memory: with the profile that makes room for images; without it, Fast DDS as it comes.
    """
    domain = 1 + os.getpid() % 100
    if os.environ.get("ROS_DOMAIN_ID") == str(domain):
        domain = 1 + domain % 100
    os.environ.update(ROS_DOMAIN_ID=str(domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    for name in ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE"):
        os.environ.pop(name, None)
        if shared_memory:
            os.environ[name] = str(launch_folder() / "fastdds_shm.xml")


@contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A node in a process of its own, ended by SIGINT."""
    process = subprocess.Popen([sys.executable, "-m", module, "--ros-args", *arguments])
    try:
        yield process
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def check_running(processes: Iterable[subprocess.Popen]) -> None:
    """Raises RuntimeError, which names the module, when one of the processes has ended."""
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[2]}: expected it to run, but it ended with status {process.returncode}")
