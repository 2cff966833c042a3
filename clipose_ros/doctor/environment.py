"""What must be right around a process before ROS is started in it: with some of this wrong, ROS ends the process.

No ROS is imported, and nothing but the standard library.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from clipose_ros.core.processors import usable_cores
from clipose_ros.doctor import distributions, middleware, shared_memory
from clipose_ros.doctor.checkout import checkout_finding
from clipose_ros.doctor.findings import Finding, Level, fail, ok, warn

START_SUBJECT = "ros: start"
START_S = 30.0  # in which ROS must have started
STARTED = "ROS has started"
# A node in a process of its own: what its libraries write, and how it ends, is seen from outside.
START = f"""
import rclpy
rclpy.init()
node = rclpy.create_node("clipose_doctor_start")
node.destroy_node()
rclpy.shutdown()
print("{STARTED}", flush=True)
"""
COLOUR_CODE = re.compile(r"\x1b\[[0-9;]*m")


def examine(environment: Mapping[str, str] = os.environ) -> Iterator[Finding]:
    """Look at everything that surrounds this process, and start ROS in another one.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Yields
    ------
    Finding
        Each as soon as it is found. The last is about that start, or says why it is not tried.
    """
    required = requirements(environment)
    yield from required
    yield from remarks(environment)
    if distributions.package_folder("rclpy") is None:
        return
    unmet = [finding for finding in required if finding.level == Level.FAIL or _lacks_messages(finding)]
    if unmet:
        text = f"packages, running nodes and topics are not looked at: {unmet[0].subject} comes first"
        yield warn("ros: not started", text, "mend that, then clipose doctor again")
    else:
        yield start_finding(environment)


def has_started(found: Sequence[Finding]) -> bool:
    """Tell from what `examine` found whether ROS may be started in this process, too.

    Parameters
    ----------
    found : sequence of Finding
        All of it.

    Returns
    -------
    bool
        Whether a node has started in another process.
    """
    return any(finding.subject == START_SUBJECT and finding.level < Level.FAIL for finding in found)


def requirements(environment: Mapping[str, str] = os.environ, needed: bool = False) -> list[Finding]:
    """Look at what a node cannot start without.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.
    needed : bool
        Whether it is a failure that there is no ROS.

    Returns
    -------
    list of Finding
        What a node refuses to start with is FAIL.
    """
    return [
        distributions.packages_finding(environment, needed),
        distributions.libraries_finding(environment),
        distributions.messages_finding(needed),
        middleware.middleware_finding(environment),
        middleware.domain_finding(environment),
        middleware.profile_finding(environment),
        log_folder_finding(environment),
    ]


def remarks(environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Look at what a node can start with, and that costs it something.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    list of Finding
        Those about Fast DDS only where it is the middleware.
    """
    found = [
        checkout_finding(),
        middleware.discovery_finding(environment),
        distributions.conda_finding(environment),
        python_options_finding(),
        cores_finding(),
    ]
    sound = middleware.profile_finding(environment).level < Level.FAIL
    if not middleware.uses_fast_dds(environment) or not sound:
        return found
    found.append(middleware.transport_finding(environment))
    if size := middleware.segment_bytes(environment):
        found.append(shared_memory.room_finding(size))
        found.append(shared_memory.owners_finding(middleware.domain_id(environment)))
    return found


def refusal(environment: Mapping[str, str] = os.environ) -> str:
    """Say why a node cannot start here.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    str
        One sentence with the cure, of the first failure. Empty where there is none.
    """
    failed = (finding for finding in requirements(environment, needed=True) if finding.level == Level.FAIL)
    return next((finding.sentence() for finding in failed), "")


def log_folder(environment: Mapping[str, str] = os.environ) -> Path | None:
    """Find the folder that ROS writes its log to.

    Parameters
    ----------
    environment : mapping of str to str
        ROS_LOG_DIR of it, else ROS_HOME, else HOME.

    Returns
    -------
    Path or None
        None where ROS would find none.
    """
    home = environment.get("HOME", "")
    for folder in (environment.get("ROS_LOG_DIR"), environment.get("ROS_HOME") and f"{environment['ROS_HOME']}/log"):
        if folder:
            return Path(home + folder[1:] if folder.startswith("~") else folder)
    return Path(home) / ".ros" / "log" if home else None


def log_folder_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Judge whether ROS can write its log: without it, it does not start.

    Makes the folder, as ROS would, and a file in it that is gone at once.

    Parameters
    ----------
    environment : mapping of str to str
        Of the process.

    Returns
    -------
    Finding
        FAIL where it cannot.
    """
    subject, folder, cure = "ros: log folder", log_folder(environment), "export ROS_LOG_DIR=/tmp/ros_log"
    if folder is None:
        return fail(subject, "expected one, got none: HOME, ROS_HOME and ROS_LOG_DIR are not set", cure)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
            file.write(b"\n")
    except OSError as error:
        return fail(subject, f"{folder}: expected one to write to, got: {error.strerror or error}", cure)
    return ok(subject, str(folder))


def python_options_finding(optimised: int = sys.flags.optimize, warnings: Sequence[str] = ()) -> Finding:
    """Judge the options of this Python.

    Parameters
    ----------
    optimised : int
        Level of PYTHONOPTIMIZE.
    warnings : sequence of str
        As after -W or in PYTHONWARNINGS. Those of this process where it is empty.

    Returns
    -------
    Finding
        WARN where checks are off, or the warnings of other packages end a process.
    """
    subject = "python: options"
    errors = [option for option in warnings or sys.warnoptions if option.partition(":")[0] == "error"]
    if errors:
        text = f"warnings of other packages are errors ({errors[0]}): importing ROS raises some"
        return warn(subject, text, "unset PYTHONWARNINGS, or leave out -W error")
    if optimised:
        return warn(subject, f"optimised (level {optimised}): asserts check nothing", "unset PYTHONOPTIMIZE")
    return ok(subject, "none that changes what runs")


def cores_finding(cores: int | None = None) -> Finding:
    """Judge how many cores this process may use.

    Parameters
    ----------
    cores : int, optional
        By default those of now.

    Returns
    -------
    Finding
        WARN for one alone.
    """
    count = usable_cores() if cores is None else cores
    if count < 2:
        text = "1 for this process: receiving, estimating and publishing take turns, and frames are left out"
        return warn("cores", text, "taskset, docker --cpuset-cpus or --cpus with two or more")
    return ok("cores", f"{count} for this process")


def start_finding(environment: Mapping[str, str] = os.environ) -> Finding:
    """Start a node in a process of its own, and see how that ends.

    Parameters
    ----------
    environment : mapping of str to str
        Of that process.

    Returns
    -------
    Finding
        FAIL where it does not start, with its last words; WARN where it starts with complaints.
    """
    subject, cure = START_SUBJECT, "mend what it says, or install ROS again"
    command = [sys.executable, "-c", START]
    try:
        run = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, errors="replace", timeout=START_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return fail(subject, f"expected a node to start, got: {error}", cure)
    said = [line.strip() for line in COLOUR_CODE.sub("", f"{run.stderr}\n{run.stdout}").splitlines() if line.strip()]
    if run.returncode or STARTED not in said:
        last = next((line for line in reversed(said) if line != STARTED), f"exit status {run.returncode}")
        return fail(subject, f"expected a node to start, got: {last}", cure)
    complaints = [line for line in said if re.search(r"error|warn", line, re.IGNORECASE)]
    if complaints:
        return warn(subject, f"a node starts, and says: {complaints[0]}", cure)
    return ok(subject, "a node starts")


def _lacks_messages(finding: Finding) -> bool:
    """Tell whether it is the one that says that this package's messages are not there."""
    return finding.subject == distributions.MESSAGES and finding.level > Level.OK
