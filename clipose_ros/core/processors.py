"""How many processor cores this process may use: those of its mask, and no more than its container's share of time."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = Path("/proc/self/cgroup")  # lines `number:controllers:path`; version 2 has number 0 and no controllers


def usable_cores(mounted: Path = CGROUPS, own: Path = OWN_CGROUPS) -> int:
    """Count the cores that this process may use.

    A container with a quota of two cores (docker --cpus=2, CPUQuota of systemd) sees all of the machine's: with a
    thread on each, all stand still for most of each tenth of a second.

    Parameters
    ----------
    mounted : Path
        Where the kernel's control groups are mounted.
    own : Path
        Lists those of this process.

    Returns
    -------
    int
        1 or more; part of a core counts as one.
    """
    shares = [len(os.sched_getaffinity(0)), *(math.ceil(share) for share in _quotas(mounted, own))]
    return max(min(shares), 1)


def _quotas(mounted: Path, own: Path) -> Iterator[float]:
    """Cores' worth of time that each group of this process, and each group around it, may use."""
    for folder in _groups(mounted, own):
        try:
            # version 2 has both numbers in one file
            files = ("cpu.max",) if (folder / "cpu.max").is_file() else ("cpu.cfs_quota_us", "cpu.cfs_period_us")
            quota, period = " ".join((folder / file).read_text() for file in files).split()
            if quota not in ("max", "-1") and int(period) > 0:
                yield int(quota) / int(period)
        except (OSError, ValueError):  # without such a file there is no quota
            continue


def _groups(mounted: Path, own: Path) -> Iterator[Path]:
    """Folders of the groups that bound this process's time, from its own to the outermost."""
    try:
        lines = own.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "cpu" not in controllers.split(","):
            continue
        for root in [mounted / controllers, mounted / "cpu"] if controllers else [mounted, mounted / "unified"]:
            # in a container the path may be the machine's, and its own group is the root of what it sees
            group = root / path.strip("/")
            yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(root))
