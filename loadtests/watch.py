"""What /proc says of processes: the server's workers, and the client itself.

The access log does not say which worker wrote a line. What a worker did shows in the processor time it used
and in the connections it held when it was looked at.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import psutil

from loadtests.record import Held, Worker
from tests.harness.server import workers_of

VANISHED = "vanished"
KILLED = "killed by the run"
RETIRED = "retired by the run"
WARM = 4  # memory is compared from a fourth of the run on: until then caches fill, as they should


@dataclass(frozen=True, slots=True)
class Look:
    """One look at one process."""

    cpu: float  # seconds of processor time since it began
    sockets: int
    rss: int
    fds: int
    pss: int = 0
    threads: int = 0

    @property
    def held(self) -> Held:
        """What grows where something leaks."""
        return Held(self.pss, self.fds, self.threads)


@dataclass(slots=True)
class _Life:
    """What was seen of one worker."""

    looks: list[Look] = field(default_factory=list)
    fate: str = ""

    @property
    def cpu(self) -> float:
        """Processor time since the first look."""
        return self.looks[-1].cpu - self.looks[0].cpu


class Watch:
    """The workers of one server, looked at again and again."""

    def __init__(self, master: int) -> None:
        self.master = master
        self._lives: dict[int, _Life] = {}
        self._cpu = 0.0
        self._idle_sockets = 0  # that a worker has without any connection: listeners and the like

    def begin(self) -> None:
        """Forget what was seen: the run begins now, and nobody is connected yet."""
        self._lives.clear()
        self._cpu = 0.0
        self.look()
        # Asking the kernel for connections by their port takes long where many of them have ended lately.
        self._idle_sockets = min(
            (life.looks[0].sockets for life in self._lives.values()), default=0
        )

    def look(self) -> float:
        """Look at every worker. Return the processor time they have used since the last look, in seconds."""
        present = workers_of(self.master)
        for pid, life in self._lives.items():
            if pid not in present and not life.fate:
                life.fate = VANISHED
        for pid in present:
            self._look_at(pid)
        before, self._cpu = self._cpu, sum(life.cpu for life in self._lives.values())
        return self._cpu - before

    def held_by(self, pid: int) -> int:
        """How many connections a worker holds now."""
        return self._connections(count_sockets(pid))

    def killed(self, pid: int) -> None:
        """Note that this worker does not end by itself."""
        if pid in self._lives:
            self._lives[pid].fate = KILLED

    def retired(self, pids: Iterable[int]) -> None:
        """Note that these workers are told to end, and may do so when they have finished."""
        for pid in pids:
            if pid in self._lives:
                self._lives[pid].fate = RETIRED

    def serving(self) -> list[int]:
        """The workers that nobody has told to end."""
        return [pid for pid, life in self._lives.items() if not life.fate]

    def workers(self) -> tuple[Worker, ...]:
        """Every worker that was seen."""
        return tuple(self._worker(pid, life) for pid, life in sorted(self._lives.items()))

    def _look_at(self, pid: int) -> None:
        look = look_at(pid)
        if look is not None:
            self._lives.setdefault(pid, _Life()).looks.append(look)

    def _connections(self, sockets: int) -> int:
        return max(0, sockets - self._idle_sockets)

    def _worker(self, pid: int, life: _Life) -> Worker:
        looks = life.looks
        held = [self._connections(look.sockets) for look in looks]
        return Worker(
            pid=pid,
            cpu=life.cpu,
            connections=statistics.fmean(held),
            connections_peak=max(held),
            rss=(looks[len(looks) // WARM].rss, looks[-1].rss),
            fds=(looks[0].fds, looks[-1].fds),
            fate=life.fate,
            course=tuple(looks[place].held for place in quarters(len(looks))),
        )


def quarters(count: int) -> list[int]:
    """The places of `count` looks that stand for the beginning, the quarters and the end."""
    return [round(part * (count - 1) / 4) for part in range(5)]


def look_at(pid: int) -> Look | None:
    """What the process uses and holds now; None when it is gone."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            if process.status() == psutil.STATUS_ZOMBIE:
                return None  # it has nothing any more, not even the time that it used
            times = process.cpu_times()
            return Look(
                cpu=times.user + times.system,
                sockets=count_sockets(pid),
                rss=process.memory_info().rss,
                fds=process.num_fds(),
                pss=process.memory_full_info().pss,
                threads=process.num_threads(),
            )
    except (psutil.Error, OSError):
        return None


def count_sockets(pid: int) -> int:
    """How many of the open descriptors of a process are sockets."""
    return sum(_is_socket(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd"))


def _is_socket(link: str) -> bool:
    try:
        return os.readlink(link).startswith("socket:")
    except FileNotFoundError:
        return False  # closed meanwhile


class Busyness:
    """How busy this very process is, look by look."""

    def __init__(self) -> None:
        self._process = psutil.Process()
        self._seen = (time.monotonic(), self._used())

    def look(self) -> float:
        """Percent of one processor since the last look."""
        now = (time.monotonic(), self._used())
        before, self._seen = self._seen, now
        return 100 * (now[1] - before[1]) / max(0.001, now[0] - before[0])

    def _used(self) -> float:
        times = self._process.cpu_times()
        return float(times.user + times.system)
