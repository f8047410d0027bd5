"""Processors: how many this process may use, by its affinity and its control groups' CPU quota."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path


def usable_processors(system: Path = Path("/")) -> int:
    """Processors this process may use, at least 1; a quota of one and a half counts as two."""
    quotas = [math.ceil(quota) for quota in cpu_quotas(system)]
    return max(1, min([len(os.sched_getaffinity(0)), *quotas]))


def cpu_quotas(system: Path) -> Iterator[float]:
    """The quota, in processors, of every control group above this process that has one.

    `system` is where /proc and /sys are.
    """
    for directory in control_groups(system):
        yield from quota_v2(directory / "cpu.max")
        yield from quota_v1(directory / "cpu.cfs_quota_us", directory / "cpu.cfs_period_us")


def control_groups(system: Path) -> Iterator[Path]:
    """The directories of this process's control groups, of both versions, that may have a quota."""
    mounted = system / "sys/fs/cgroup"
    for line in read(system / "proc/self/cgroup").splitlines():
        # hierarchy-ID:controller-list:cgroup-path (cgroups(7)); version 2 has an empty list.
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from with_parents(mounted, path)
            yield from with_parents(mounted / "unified", path)
        elif "cpu" in controllers.split(","):
            yield from with_parents(mounted / controllers, path)
            if controllers != "cpu":
                yield from with_parents(mounted / "cpu", path)


def with_parents(mounted: Path, path: str) -> Iterator[Path]:
    """The group at `path` and all above it: a quota binds everything below.

    In a container the path may be the host's, of which only the top is mounted: what is not there
    has no quota to read, and the top is always looked at.
    """
    group = mounted / path.lstrip("/")
    yield group
    while group != mounted:
        group = group.parent
        yield group


def quota_v2(file: Path) -> Iterator[float]:
    """`$MAX $PERIOD`, where MAX may be the word max (Documentation/admin-guide/cgroup-v2.rst)."""
    match read(file).split():
        case [quota, period] if quota != "max":
            yield int(quota) / int(period)


def quota_v1(quota_file: Path, period_file: Path) -> Iterator[float]:
    """Microseconds of processor time in each period; -1 stands for no limit."""
    quota, period = read(quota_file), read(period_file)
    if quota and period and int(quota) > 0:
        yield int(quota) / int(period)


def read(file: Path) -> str:
    """The text of `file`; nothing if it cannot be read."""
    try:
        return file.read_text("utf-8", "surrogateescape")
    except OSError:
        return ""
