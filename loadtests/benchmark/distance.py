"""How far two processors lie apart: what it takes an octet to go from one to the other and back, through memory.

A host moves the processors of a virtual machine about. Now two of them share a cache, and a moment later they do not,
for seconds or minutes. What goes from one to the other, as each request and each answer does, then takes two or three
times as long, and a small request costs a fifth more. No clock of one processor shows it. So it is measured before and
after each measurement, which counts where they lay near each other.
"""

from __future__ import annotations

import math
import mmap
import os
import signal
import time
from dataclasses import dataclass
from statistics import median

from loadtests.benchmark.machine import Processors
from tests.harness.peers import placed

ROUNDS = 20_000
BLOCK = 100  # rounds that the clock is read for
# Looks at the memory before one gives up: the other has lost its processor for a second.
MOST_LOOKS = 10_000_000
# Of the least distance; beyond it the two are not near each other.
FAR = 1.5
PAUSE = 0.25  # seconds between two looks whether they are

HERE, THERE = 0, mmap.PAGESIZE  # the places of the two octets


@dataclass(slots=True)
class Distance:
    """That of the server's processor from the client's, now and at the least."""

    processors: Processors
    patience: float  # seconds that may be waited, altogether
    least: float = math.inf  # ns

    def now(self) -> float:
        """Nanoseconds there and back; 0 where they are not two."""
        if len(self.processors.server) != 1 or len(self.processors.client) != 1:
            return 0.0
        (server,), (client,) = self.processors.server, self.processors.client
        found = round_trip(server, client)
        self.least = min(self.least, found)
        return found

    def is_near(self, distance: float) -> bool:
        """Whether it is about the least that has been seen."""
        return distance <= FAR * self.least

    def settle(self) -> float:
        """Wait until they are near each other, as long as there is patience; how far apart they are then."""
        while not self.is_near(found := self.now()) and self.patience > 0:
            time.sleep(PAUSE)
            self.patience -= PAUSE
        return found


def round_trip(here: int, there: int) -> float:
    """Nanoseconds (the median) from processor `here` to `there` and back; very many if one is held up.

    The interpreter's share of it, some hundred, is always the same.
    """
    with mmap.mmap(-1, 2 * mmap.PAGESIZE) as memory:
        other = os.fork()
        if other == 0:
            try:
                with placed({there}):
                    answer(memory)
            finally:
                os._exit(0)
        try:
            with placed({here}):
                return ask(memory)
        finally:
            os.kill(other, signal.SIGKILL)
            os.waitpid(other, 0)


def ask(memory: mmap.mmap) -> float:
    """Say one number after the other, and wait for each to be repeated."""
    taken = []
    begun = time.perf_counter_ns()
    for number in range(1, ROUNDS + 1):
        memory[HERE] = number & 0x7F
        if not seen(memory, THERE, number & 0x7F):
            return float(time.perf_counter_ns() - begun)
        if number % BLOCK == 0:
            now = time.perf_counter_ns()
            taken.append((now - begun) / BLOCK)
            begun = now
    return median(taken)


def answer(memory: mmap.mmap) -> None:
    """Repeat what is said."""
    for number in range(1, ROUNDS + 1):
        if not seen(memory, HERE, number & 0x7F):
            return
        memory[THERE] = number & 0x7F


def seen(memory: mmap.mmap, place: int, value: int) -> bool:
    """Whether `value` came to `place` in time."""
    for _ in range(MOST_LOOKS):  # noqa: SIM110  any() takes half as long as what is measured
        if memory[place] == value:
            return True
    return False
