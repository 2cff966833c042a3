"""The memory through which Fast DDS hands over images: its room, its permissions, and to whom it belongs.

Processes of different users find each other, and nothing arrives: neither may write into what the other has made.
No ROS is imported, so that the node, too, can ask.
"""

from __future__ import annotations

import fcntl
import os
import pwd
import re
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from clipose_ros.doctor.findings import Finding, ok, warn
from clipose_ros.doctor.middleware import domain_id

FOLDER = Path("/dev/shm")
SUBJECT = "ros: shared memory"
PORT = re.compile(r"fast(?:rtps|dds)_port(\d+)")
FIRST_PORT, PORTS_PER_DOMAIN = 7400, 250  # of DDS
ONE_USER = (
    "run camera, segmenter and node as one user (docker: --user), or give them all UDP alone: "
    "export FASTDDS_BUILTIN_TRANSPORTS=UDPv4, without a profile and without ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST"
)


@dataclass(frozen=True)
class ForeignOwner:
    """Another user whose processes take part in this domain.

    Parameters
    ----------
    user : str
        Name, or number where it has none here.
    processes : int
        How many of them run.
    """

    user: str
    processes: int


def foreign_owners(domain: int | None = None, folder: Path = FOLDER) -> list[ForeignOwner]:
    """Find other users' processes of a domain that offer shared memory on this machine.

    Parameters
    ----------
    domain : int, optional
        By default ROS_DOMAIN_ID of this process.
    folder : Path
        Where Fast DDS makes its files. What a process that has ended left behind does not count.

    Returns
    -------
    list of ForeignOwner
        By name. Empty where all belongs to the user of this process.
    """
    number = (domain_id() or 0) if domain is None else domain
    first = FIRST_PORT + PORTS_PER_DOMAIN * number
    ports = range(first, first + PORTS_PER_DOMAIN)
    found: Counter[int] = Counter()
    for path in sorted(folder.glob("fast*_port*")):
        match = PORT.fullmatch(path.name)
        if match and int(match[1]) in ports and (owner := _owner(path)) != os.geteuid() and _in_use(path):
            found[owner] += 1
    return sorted((ForeignOwner(_user(uid), count) for uid, count in found.items()), key=lambda owner: owner.user)


def foreign_owners_text(domain: int | None = None, folder: Path = FOLDER) -> str:
    """Say whose shared memory is not ours: why a topic can be seen and is silent.

    Parameters
    ----------
    domain, folder
        As `foreign_owners`.

    Returns
    -------
    str
        Empty where there is none.
    """
    owners = foreign_owners(domain, folder)
    if not owners:
        return ""
    names = ", ".join(f"{owner.user} ({owner.processes})" for owner in owners)
    return f"processes of other users are on this domain: {names}, and this one is {_user(os.geteuid())}'s"


def owners_finding(domain: int | None = None, folder: Path = FOLDER) -> Finding:
    """Judge whether all processes of the domain belong to one user.

    Parameters
    ----------
    domain, folder
        As `foreign_owners`.

    Returns
    -------
    Finding
        WARN where the images of another user's camera would not arrive.
    """
    text = foreign_owners_text(domain, folder)
    if text:
        return warn(SUBJECT, f"{text}: what they publish is seen, and does not arrive", ONE_USER)
    return ok(SUBJECT, "nobody else's on this domain")


def room_finding(segment_bytes: int, folder: Path = FOLDER) -> Finding:
    """Judge whether there is room for the segment of one more process.

    Parameters
    ----------
    segment_bytes : int
        Size of a segment, as the profile says.
    folder : Path
        Where Fast DDS makes its files.

    Returns
    -------
    Finding
        WARN where it would fall back to UDP, which loses images.
    """
    subject, needed = f"{SUBJECT}: room", f"{segment_bytes / 1e6:.1f} MB"
    lost = "Fast DDS falls back to UDP, which loses images"
    if not folder.is_dir():
        return warn(subject, f"{folder}: expected a folder, got none: {lost}", "docker: --ipc=host or --shm-size=256m")
    if not os.access(folder, os.W_OK | os.X_OK) or os.statvfs(folder).f_flag & os.ST_RDONLY:
        return warn(subject, f"{folder}: expected one to write to: {lost}", f"sudo chmod 1777 {folder}, or mount it rw")
    free = shutil.disk_usage(folder).free
    if free < segment_bytes:
        cure = "fastdds shm clean, which removes what ended processes left; docker: --shm-size=256m or --ipc=host"
        return warn(subject, f"{folder}: expected {needed} to be free, got {free / 1e6:.1f}: {lost}", cure)
    return ok(subject, f"{free / 1e6:.0f} MB are free, a process takes {needed}")


def _owner(path: Path) -> int:
    """Give the number of the user; our own where the file is gone by now."""
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return os.geteuid()


def _in_use(port: Path) -> bool:
    """Tell whether the process that made a port runs: it holds a lock beside it. True where that cannot be told."""
    lock = port.with_name(f"{port.name}_el")
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # held, or not ours to read
        return True
    return False


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
