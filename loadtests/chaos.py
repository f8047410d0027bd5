"""Killing workers while they serve. Only the workers of a server that the run itself has started.

A worker is stopped before it is killed, so that what it holds can be counted: these connections, and no
others, may be lost.
"""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass

import psutil

from loadtests.watch import Watch
from tests.harness.server import workers_of

INTERVAL = 4.0  # seconds between two deaths
STOP_TIMEOUT = 1.0  # seconds


@dataclass(slots=True)
class Chaos:
    """The killer, and what may be lost because of it."""

    watch: Watch
    random: random.Random
    kills: int = 0
    excused: int = 0

    def strike(self) -> str:
        """Kill one worker with KILL. Return what was done, for the report."""
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

    def _kill(self, pid: int) -> int:
        """Kill a worker; how many connections went with it."""
        process = psutil.Process(pid)
        process.suspend()
        try:
            _wait_until_stopped(process)
            held = self.watch.held_by(pid)
            self.watch.look()
            self.watch.killed(pid)
        finally:
            os.kill(pid, signal.SIGKILL)
        return held


def _wait_until_stopped(process: psutil.Process) -> None:
    # SIGSTOP takes effect when the process next leaves the kernel; until then it may still accept.
    deadline = time.monotonic() + STOP_TIMEOUT
    while process.status() != psutil.STATUS_STOPPED and time.monotonic() < deadline:
        time.sleep(0.001)
