"""What processes use: processor time to the nanosecond, memory by its proportional share."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

TICK = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Spent:
    """Processor time that processes have used since they began, in seconds."""

    busy: float  # user and system
    user: float  # the user's part of it, to the clock tick
    waited: float  # ready to run, while something else had the processor

    def __sub__(self, earlier: Spent) -> Spent:
        return Spent(
            self.busy - earlier.busy, self.user - earlier.user, self.waited - earlier.waited
        )


def spent(pids: Iterable[int]) -> Spent:
    """What these processes have used so far, all their threads together."""
    busy = user = waited = 0.0
    for pid in pids:
        ticks_user, ticks_system = ticks(pid)
        ran, delayed = scheduled(pid)
        # A kernel without SCHED_INFO counts nothing; the clock ticks are what is left then.
        busy += ran or (ticks_user + ticks_system) * TICK
        user += ticks_user * TICK
        waited += delayed
    return Spent(busy, user, waited)


def ticks(pid: int) -> tuple[int, int]:
    """Clock ticks in user and in system mode."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    fields = stat[stat.rindex(b")") + 2 :].split()
    return int(fields[11]), int(fields[12])


def scheduled(pid: int) -> tuple[float, float]:
    """Seconds on a processor and seconds waiting for one, summed over the threads.

    utime and stime come in ticks of 10 ms; the scheduler counts in nanoseconds.
    """
    ran = delayed = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            values = (task / "schedstat").read_bytes().split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        ran += int(values[0])
        delayed += int(values[1])
    return ran / 1e9, delayed / 1e9


def put_first(pids: Iterable[int]) -> bool:
    """Let these processes go before others on their processor; False where that is not allowed.

    0 is the one that asks.
    """
    try:
        for pid in pids:
            os.sched_setscheduler(pid, os.SCHED_FIFO, os.sched_param(1))
    except PermissionError:
        return False
    return True


def proportional_size(pids: Iterable[int]) -> int:
    """Bytes of memory, pages shared by n processes counted as 1/n in each (PSS)."""
    return sum(proportional_size_of(pid) for pid in pids)


def proportional_size_of(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def softirq_threads() -> dict[int, int]:
    """The kernel's ksoftirqd thread of each processor: processor → process."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            name = (entry / "comm").read_text() if entry.name.isdigit() else ""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if name.startswith("ksoftirqd/"):
            found[int(name.partition("/")[2])] = int(entry.name)
    return found


def sockets(pid: int) -> int:
    """How many sockets the process holds open."""
    count = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        try:
            count += os.readlink(entry.path).startswith("socket:")
        except FileNotFoundError:
            continue
    return count
