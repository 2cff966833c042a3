"""Nodes in processes of their own, on a ROS domain of this run's own: what the demo and the measurements start."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from clipose_ros.doctor.checkout import share_folder
from clipose_ros.doctor.middleware import PROFILE_VARIABLES

GRACE_S = 10.0


def isolate(shared_memory: bool = True) -> None:
    """Put this process and its children on a ROS domain of their own, on this machine only.

    Parameters
    ----------
    shared_memory : bool
        With the profile that makes room for images. Without it, Fast DDS is as it comes.
    """
    domain = 1 + os.getpid() % 100
    if os.environ.get("ROS_DOMAIN_ID") == str(domain):
        domain = 1 + domain % 100
    os.environ.update(ROS_DOMAIN_ID=str(domain), ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST")
    for name in PROFILE_VARIABLES:
        os.environ.pop(name, None)
        if shared_memory:
            os.environ[name] = str(share_folder("launch") / "fastdds_shm.xml")


@contextmanager
def started(module: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """Run a node in a process of its own, and end it by SIGINT.

    Parameters
    ----------
    module : str
        Of the node, as after `python -m`.
    *arguments : str
        As after --ros-args.

    Yields
    ------
    subprocess.Popen
        The process.
    """
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
    """Make sure that nodes still run.

    Parameters
    ----------
    processes : iterable of subprocess.Popen
        Of `started`.

    Raises
    ------
    RuntimeError
        One has ended. The message names its module.
    """
    for process in processes:
        if process.poll() is not None:
            raise RuntimeError(f"{process.args[2]}: expected it to run, but it ended with status {process.returncode}")
