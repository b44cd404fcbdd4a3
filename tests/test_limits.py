"""What control groups allow, by folders made as the kernel makes them."""

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path

import psutil
import pytest

from cl_runner import limits
from cl_runner.limits import available_memory, cores, cpu_limit, free_memory_limit

Machine = Callable[..., Path]
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = [
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
]
GIB = 2**30


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """Makes a file system with what `/proc/self` says of groups, and the groups' files by path."""

    def make(own: list[str], mounts: list[str], files: Mapping[str, str | int]) -> Path:
        (tmp_path / "proc" / "self").mkdir(parents=True)
        (tmp_path / "proc" / "self" / "cgroup").write_text("".join(f"{line}\n" for line in own))
        (tmp_path / "proc" / "self" / "mountinfo").write_text("".join(f"{line}\n" for line in mounts))
        for name, content in files.items():
            file = tmp_path / "sys" / "fs" / "cgroup" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(f"{content}\n")
        return tmp_path

    return make


def test_version_2_the_least_of_nested_limits_holds(machine: Machine) -> None:
    root = machine(
        ["0::/pod/container"],
        [V2],
        {
            "pod/cpu.max": "150000 100000",
            "pod/container/cpu.max": "max 100000",
            "pod/memory.max": 4 * GIB,
            "pod/memory.current": 3 * GIB,
            "pod/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file 7",
            "pod/container/memory.max": 2 * GIB,
            "pod/container/memory.current": GIB // 4,
        },
    )
    assert cpu_limit(root) == 1.5
    assert free_memory_limit(root) == 1.5 * GIB


def test_version_2_in_a_container_of_its_own_namespace(machine: Machine) -> None:
    files = {"cpu.max": "50000 100000", "memory.max": "max", "memory.high": GIB, "memory.current": GIB + 5}
    root = machine(["0::/"], [V2], files)
    assert cpu_limit(root) == 0.5
    # Above `memory.high` a process is held up and has its memory taken back.
    assert free_memory_limit(root) == 0


def test_version_1(machine: Machine) -> None:
    root = machine(
        ["4:memory:/docker/a", "2:cpu,cpuacct:/docker/a", "0::/"],
        V1,
        {
            "cpu,cpuacct/cpu.cfs_quota_us": -1,
            "cpu,cpuacct/cpu.cfs_period_us": 100000,
            "cpu,cpuacct/docker/a/cpu.cfs_quota_us": 250000,
            "cpu,cpuacct/docker/a/cpu.cfs_period_us": 100000,
            "memory/memory.limit_in_bytes": 2**63 - 4096,
            "memory/memory.usage_in_bytes": GIB,
            "memory/docker/a/memory.limit_in_bytes": 2 * GIB,
            "memory/docker/a/memory.usage_in_bytes": GIB,
            "memory/docker/a/memory.stat": f"inactive_file 1\ntotal_inactive_file {GIB // 4}",
        },
    )
    assert cpu_limit(root) == 2.5
    assert free_memory_limit(root) == 1.25 * GIB


@pytest.mark.parametrize("own", ["/docker/a", "/docker/abc", "/../elsewhere", "/"])
def test_version_1_with_only_the_own_group_mounted(own: str, machine: Machine) -> None:
    mount = "35 31 0:32 /docker/a /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory"
    files = {"memory/memory.limit_in_bytes": GIB, "memory/memory.usage_in_bytes": 0, "b/memory.limit_in_bytes": 1}
    assert free_memory_limit(machine([f"4:memory:{own}"], [mount], files)) == GIB


@pytest.mark.parametrize(
    ("own", "mounts", "files"),
    [
        ([], [], {}),
        (["0::/a"], [V2], {"a/cpu.max": "max 100000", "a/memory.max": "max", "a/memory.current": "7"}),
        (["0::/a"], [V2], {"a/cpu.max": "", "a/memory.max": "much", "a/memory.current": "7"}),
        (["0::/a"], [V2], {"a/cpu.max": "5 0", "a/memory.max": "7"}),
        (["4:memory:/", "2:cpu:/"], V1, {}),
    ],
)
def test_without_limits(own: list[str], mounts: list[str], files: Mapping[str, str], machine: Machine) -> None:
    root = machine(own, mounts, files)
    assert cpu_limit(root) is None
    assert free_memory_limit(root) is None


@pytest.mark.parametrize(("limit", "count"), [(0.2, 1), (1.0, 1), (1.5, 2), (1e6, math.inf), (None, math.inf)])
def test_cores_and_memory_are_what_is_allowed(
    limit: float | None, count: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cl_runner.limits.cpu_limit", lambda: limit)
    assert cores() == min(count, len(os.sched_getaffinity(0)))
    monkeypatch.setattr(limits, "free_memory_limit", lambda: None if limit is None else int(GIB * limit))
    free = available_memory()
    assert free <= psutil.virtual_memory().total
    assert limit is None or free <= GIB * limit
