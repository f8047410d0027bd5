"""What may happen to a server while it serves: its workers die, hang, are replaced, become more and fewer. Only to a
server that the run itself has started.

A worker is stopped before it is killed, so that what it holds can be counted: these connections, and no
others, may be lost. By everything else nothing is.
"""

from __future__ import annotations

import os
import random
import re
import signal
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psutil

from loadtests.watch import Watch
from tests.harness.server import workers_of

INTERVAL = 4.0  # seconds between two strikes
STOP_TIMEOUT = 1.0  # seconds


@dataclass(slots=True)
class Chaos:
    """What is done to a server, in turn, and what may be lost because of it."""

    watch: Watch
    random: random.Random
    kills: int = 0
    excused: int = 0
    turn: int = 0
    stopped: int | None = None  # the worker that hangs at the moment

    def strike(self) -> str:
        """Do the next thing. Return what was done, for the report."""
        self.relent()
        strike = STRIKES[self.turn % len(STRIKES)]
        self.turn += 1
        return strike(self)

    def relent(self) -> None:
        """Let the worker continue that was stopped."""
        if self.stopped is not None:
            send(self.stopped, signal.SIGCONT)
            self.stopped = None

    def kill(self) -> str:
        """Kill one worker with KILL."""
        workers = workers_of(self.watch.master)
        if not workers:
            return "no worker to kill"
        pid = self.random.choice(workers)
        try:
            held = self._kill(pid)
        except (psutil.Error, OSError):
            return f"worker {pid} was gone before it was killed"
        self.kills += 1
        self.excused += held
        return f"worker {pid} killed, with {held} connections"

    def stop(self) -> str:
        """Stop one worker, until the next look at the run: as if its disk hung."""
        workers = workers_of(self.watch.master)
        if not workers:
            return "no worker to stop"
        self.stopped = self.random.choice(workers)
        send(self.stopped, signal.SIGSTOP)
        return f"worker {self.stopped} stopped"

    def reload(self) -> str:
        """HUP: every worker retires."""
        return self._tell(signal.SIGHUP, list)

    def upgrade(self) -> str:
        """USR2: every worker retires, and the master becomes another program."""
        return self._tell(signal.SIGUSR2, list)

    def more(self) -> str:
        """TTIN: one worker more."""
        return self._tell(signal.SIGTTIN, lambda _: [])

    def fewer(self) -> str:
        """TTOU: the worker of the last slot retires."""
        return self._tell(signal.SIGTTOU, in_last_slot)

    def _tell(
        self, number: signal.Signals, retiring: Callable[[Iterable[int]], Iterable[int]]
    ) -> str:
        """Send the master a signal; `retiring` chooses who will end by it, of those that serve."""
        self.watch.look()
        # Not of all that are there: an earlier generation may still be finishing what it has, and has slots too.
        self.watch.retired(retiring(self.watch.serving()))
        send(self.watch.master, number)
        return f"{number.name.removeprefix('SIG')} to the master"

    def _kill(self, pid: int) -> int:
        """Kill a worker; how many connections went with it."""
        process = psutil.Process(pid)
        process.suspend()
        try:
            wait_until_stopped(process)
            held = self.watch.held_by(pid)
            self.watch.look()
            self.watch.killed(pid)
        finally:
            os.kill(pid, signal.SIGKILL)
        return held


STRIKES: tuple[Callable[[Chaos], str], ...] = (
    Chaos.kill,
    Chaos.stop,
    Chaos.reload,
    Chaos.more,
    Chaos.upgrade,
    Chaos.fewer,
)


def send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def in_last_slot(pids: Iterable[int]) -> list[int]:
    """Those of `pids` whose slot has the highest number."""
    slots = {pid: slot_of(pid) for pid in pids}
    return [pid for pid, slot in slots.items() if slot == max(slots.values())]


def slot_of(pid: int) -> int:
    """The slot that a worker's name tells; -1 if it tells none."""
    try:
        found = re.fullmatch(r"mpserve: w(\d+)", psutil.Process(pid).name())
    except psutil.Error:
        return -1
    return int(found[1]) if found else -1


def wait_until_stopped(process: psutil.Process) -> None:
    """Return when STOP has taken effect."""
    # SIGSTOP takes effect when the process next leaves the kernel; until then it may still accept.
    deadline = time.monotonic() + STOP_TIMEOUT
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.001)
