"""Cores that a process may use: its mask, and the quotas of its container."""

import os

import pytest

from clipose_ros.core.processors import usable_cores

V1, V2 = "3:cpuset:/a\n2:cpu,cpuacct:/docker/x\n1:name=systemd:/\n", "0::/docker/x\n"


@pytest.fixture
def cores(monkeypatch, tmp_path):
    """Counts the cores on a machine of eight, with the lines of /proc/self/cgroup and files of control groups."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))

    def cores(lines, **files):
        for name, text in files.items():
            path = tmp_path / name.replace("__", "/").replace("_max", ".max").replace("cfs", "cpu.cfs")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (tmp_path / "own").write_text(lines)
        return usable_cores(tmp_path, tmp_path / "own")

    return cores


def test_without_a_quota_all_cores_of_the_mask_count(cores, tmp_path):
    assert cores(V2) == 8
    assert cores(V2, cpu_max="max 100000\n") == 8
    assert cores(V1, cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n") == 8
    assert usable_cores(tmp_path, tmp_path / "none") == 8


@pytest.mark.parametrize(
    ("quota", "expected"), [("200000 100000", 2), ("150000 100000", 2), ("50000 100000", 1), ("9900000 100000", 8)]
)
def test_a_quota_counts_as_whole_cores_up_to_those_of_the_mask(cores, quota, expected):
    assert cores(V2, docker__x__cpu_max=quota) == expected


def test_quotas_of_the_groups_around_count_too(cores):
    assert cores(V2, docker__x__cpu_max="600000 100000", docker__cpu_max="300000 100000", cpu_max="max 100000") == 3


def test_in_a_container_its_own_group_is_the_root(cores):
    assert cores(V2, cpu_max="200000 100000") == 2


def test_the_older_form_of_control_groups_is_read(cores):
    quota, period = {"cpu__docker__x__cfs_quota_us": "400000"}, {"cpu__docker__x__cfs_period_us": "100000"}
    assert cores(V1, **quota) == 8  # one of the two files
    assert cores(V1, **quota, **period) == 4


@pytest.mark.parametrize("text", ["", "nonsense", "1 2 3", "200000 0", "x y"])
def test_what_is_no_quota_is_none(cores, text):
    assert cores(V2, cpu_max=text) == 8
