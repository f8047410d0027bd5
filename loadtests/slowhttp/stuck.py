"""Readers that ask for a large file and take nothing: the memory that each of them costs the server."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Collection
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

from loadtests.benchmark.processes import proportional_size

PROGRAM: Final = "ss"  # iproute2's: it looks into sockets
REQUEST: Final = b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n"
WINDOW: Final = 1024  # octets that a reader's system takes for it; the kernel doubles it
LOOK: Final = 0.25  # seconds between two looks at what the server's sockets hold
SETTLED: Final = 3  # looks without a change
PATIENCE: Final = 20.0  # seconds until they do not change any more

# ss(8): r, what was received; f, what is kept in reserve; w, what is queued to be sent or acknowledged; o, options.
_MEMORY: Final = re.compile(r"skmem:\(r(\d+),rb\d+,t\d+,tb\d+,f(\d+),w(\d+),o(\d+),")


@dataclass(frozen=True, slots=True)
class Stuck:
    """What each of the readers cost, in octets."""

    readers: int
    kernel: float  # of the server's socket, as the kernel accounts for it
    process: float  # growth of all processes of the server
    cut: int  # readers that the server had ended by then

    @property
    def together(self) -> float:
        """Both."""
        return self.kernel + self.process


def installed() -> bool:
    """Whether sockets can be looked into."""
    return shutil.which(PROGRAM) is not None


def measure(port: int, pids: Callable[[], Collection[int]], readers: int) -> Stuck:
    """Let so many ask, and take nothing."""
    with ExitStack() as clients:
        # One beforehand, so that what is made once for all is not counted.
        clients.enter_context(reader(port))
        settle(port)
        before = proportional_size(pids())
        for _ in range(readers):
            clients.enter_context(reader(port))
        held = settle(port)
        grown = proportional_size(pids()) - before
    return Stuck(readers, mean(held), grown / readers, readers + 1 - len(held))


def reader(port: int) -> socket.socket:
    """One that has asked."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, WINDOW)
    client.connect(("127.0.0.1", port))
    client.sendall(REQUEST)
    return client


def settle(port: int) -> list[int]:
    """What the server's sockets hold when that no longer changes, or patience is at its end."""
    end = time.monotonic() + PATIENCE
    looks = [held_at(port)]
    while time.monotonic() < end and (
        len(looks) < SETTLED or len(set(map(sum, looks[-SETTLED:]))) > 1
    ):
        time.sleep(LOOK)
        looks.append(held_at(port))
    return looks[-1]


def held_at(port: int) -> list[int]:
    """The memory of each connection that is open at `port`, on the server's side."""
    line = [PROGRAM, "-tmnHO", "state", "established", f"( sport = :{port} )"]
    return memory_of(subprocess.run(line, capture_output=True, text=True, check=True).stdout)


def memory_of(printed: str) -> list[int]:
    """The memory of each socket that ss has printed."""
    return [sum(map(int, found.groups())) for found in _MEMORY.finditer(printed)]


def mean(values: Collection[int]) -> float:
    """Their mean; 0 if there are none."""
    return sum(values) / len(values) if values else 0.0
