"""The machine: what it is, which processors are used, and whether it is busy with something else."""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

BUSY: Final = 0.1  # share of all processors beyond which the machine's other work is worth a word


@dataclass(frozen=True, slots=True)
class Processors:
    """Who runs where. Both empty when there is one processor only, which the two then share."""

    server: frozenset[int]
    client: frozenset[int]

    def __str__(self) -> str:
        if not self.server:
            return "server and client share one processor"
        server, client_ = (",".join(map(str, sorted(s))) for s in (self.server, self.client))
        return f"server on processor {server}, client on processor {client_}"


def choose(usable: set[int], siblings: dict[int, frozenset[int]]) -> Processors:
    """One processor for the server and another for the client, of different cores where possible."""
    if len(usable) < 2:
        return Processors(frozenset(), frozenset())
    first, *others = sorted(usable)
    apart = [n for n in others if n not in siblings.get(first, frozenset())]
    return Processors(frozenset({first}), frozenset({(apart or others)[0]}))


def processors() -> Processors:
    """The choice for this machine."""
    usable = os.sched_getaffinity(0)
    return choose(usable, {n: siblings_of(n) for n in usable})


def siblings_of(processor: int) -> frozenset[int]:
    """The processors that share a core with this one, itself included."""
    path = Path(f"/sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list")
    return parse_list(path.read_text()) if path.exists() else frozenset({processor})


def parse_list(text: str) -> frozenset[int]:
    """The numbers of a list as the kernel writes it: 0,4-6."""
    numbers: set[int] = set()
    for piece in text.strip().split(","):
        low, _, high = piece.partition("-")
        numbers.update(range(int(low), int(high or low) + 1))
    return frozenset(numbers)


def describe(client: str, interpreter: str = "") -> dict[str, str]:
    """What a reader has to know to compare the figures with others; `interpreter`, if it is not this one."""
    return {
        "processor": f"{model()}, {os.cpu_count()} processors",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "Python": interpreter or python(),
        "client": client,
    }


def python() -> str:
    """The interpreter that runs this."""
    return f"{platform.python_implementation()} {platform.python_version()}"


def model() -> str:
    """The processor's name for itself."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("model name", "Model", "cpu model"):
            return value.strip()
    return platform.machine()


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")


def disturbance() -> list[str]:
    """What a report has to say of the machine's other work, where that is worth a word."""
    busy = other_work()
    return (
        [f"the machine was busy with other work when the run began ({busy:.0%})"]
        if busy > BUSY
        else []
    )


def other_work(seconds: float = 0.5) -> float:
    """The share of all processors that is busy while the benchmark itself rests."""
    before = idle_ticks()
    time.sleep(seconds)
    after = idle_ticks()
    total = after[1] - before[1]
    return 1 - (after[0] - before[0]) / total if total else 0.0


def idle_ticks() -> tuple[int, int]:
    """Clock ticks of all processors: idle, and all."""
    first = Path("/proc/stat").read_text().splitlines()[0]
    values = [int(word) for word in first.split()[1:9]]
    return values[3] + values[4], sum(values)
