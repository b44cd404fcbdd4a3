"""What a control group, a container's say, lets this process have of the machine.

Both versions: https://docs.kernel.org/admin-guide/cgroup-v2.html, https://docs.kernel.org/admin-guide/cgroup-v1/. A
group is within all of those above it, so the least of their limits holds.
"""

import math
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import psutil


class _Group(NamedTuple):
    """A control group's folder, and whether it is of version 2."""

    folder: Path
    unified: bool


def cpu_limit(root: Path = Path("/")) -> float | None:
    """CPUs that may be busy at the same time on average; None without a limit.

    Args:
        root: of the file system, for tests.
    """
    found = []
    for folder, unified in _groups("cpu", root):
        if unified:
            quota, _, period = _text(folder / "cpu.max").partition(" ")
        else:
            quota, period = _text(folder / "cpu.cfs_quota_us"), _text(folder / "cpu.cfs_period_us")
        # No limit is "max", or a quota of -1.
        if quota.isdecimal() and period.isdecimal() and int(period):
            found.append(int(quota) / int(period))
    return min(found, default=None)


def cores() -> int:
    """Cores that this process may use, which its control group may bound."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = cpu_limit()
    return here if limit is None else max(1, min(here, math.ceil(limit)))


def free_memory_limit(root: Path = Path("/")) -> int | None:
    """Bytes that may still be taken; None without a limit.

    Args:
        root: of the file system, for tests.
    """
    found = []
    for folder, unified in _groups("memory", root):
        limits = ["memory.max", "memory.high"] if unified else ["memory.limit_in_bytes"]
        used = _text(folder / ("memory.current" if unified else "memory.usage_in_bytes"))
        allowed = [int(text) for text in (_text(folder / name) for name in limits) if text.isdecimal()]
        if allowed and used.isdecimal():
            found.append(max(0, min(allowed) - int(used) + _reclaimable(folder, unified)))
    return min(found, default=None)


def available_memory() -> int:
    """Bytes that this process may still take of the machine's."""
    limit = free_memory_limit()
    free = psutil.virtual_memory().available
    return free if limit is None else min(free, limit)


def _reclaimable(folder: Path, unified: bool) -> int:
    """Bytes of files that were read and are kept while there is room."""
    counts = dict(line.split(" ", 1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
    text = counts.get("inactive_file" if unified else "total_inactive_file", "")
    return int(text) if text.isdecimal() else 0


def _groups(controller: str, root: Path) -> Iterator[_Group]:
    """This process's group of a controller and those above it, as far as they can be seen from here."""
    paths = dict(_own_groups(root, controller))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        fields, _, more = line.partition(" - ")
        mounted, place = fields.split(" ")[3:5]
        kind, _, options = more.split(" ", 2)
        unified = kind == "cgroup2"
        if unified not in paths or not (unified or (kind == "cgroup" and controller in options.split(","))):
            continue
        top, own = root / place.lstrip("/"), PurePosixPath(paths[unified])
        # A container may see its own group at the top, by whatever name it has outside.
        inner = own.relative_to(mounted) if own.is_relative_to(mounted) else PurePosixPath()
        seen = ".." not in inner.parts and (top / inner).is_dir()
        for part in (inner, *inner.parents) if seen else [PurePosixPath()]:
            yield _Group(top / part, unified)


def _own_groups(root: Path, controller: str) -> Iterator[tuple[bool, str]]:
    """Whether it is of version 2, and the path of this process's group."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield True, path
        elif controller in controllers.split(","):
            yield False, path


def _text(file: Path) -> str:
    """The content of a file; empty if it cannot be read."""
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""
