"""mpserve whose workers poll the listening sockets of their own slot alone, or of every slot as always, and count.

No setting of the server makes it this: a worker that stands still would hold up whoever waits in its slot.
usage: python -m loadtests.benchmark.polling every|own COUNTS|- and what `python -m mpserve` takes
   COUNTS   a file that `clear` has made, where the workers count what accepting takes; -: they do not count
"""

from __future__ import annotations

import dataclasses
import mmap
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from socket import socket

from mpserve import worker
from mpserve.acceptor import ACCEPTED, Acceptor
from mpserve.cli import main as serve
from mpserve.connection import Service
from mpserve.crowd import Crowd
from mpserve.listeners import Listener
from mpserve.scoreboard import Row
from mpserve.visitor import Visitor

# What a worker counts: wake-ups by a listener in which it accepted nobody, calls of accept4 that found nobody,
# and how often a listener was taken into its epoll anew.
NAMES = IN_VAIN, EMPTY, POLLED = ("wake-ups in vain", "accept4 in vain", "polled anew")
CELL = 8  # octets


class OwnSlot(Acceptor):
    """An acceptor that knows of no slot but its worker's."""

    def __init__(
        self, service: Service, crowd: Crowd, row: Row, listeners: Sequence[Listener]
    ) -> None:
        super().__init__(service, crowd, row, [narrowed(each, row["slot"]) for each in listeners])


def narrowed(listener: Listener, slot: int) -> Listener:
    """What is left of `listener` when there is only `slot`."""
    return dataclasses.replace(listener, sockets=(listener.of_slot(slot),))


class Counting(Acceptor):
    """An acceptor that counts, in cells of its slot's that the benchmark reads."""

    counts: memoryview

    def __init__(
        self, service: Service, crowd: Crowd, row: Row, listeners: Sequence[Listener]
    ) -> None:
        first = row["slot"] * len(NAMES)
        self._counts = self.counts[first : first + len(NAMES)]
        super().__init__(service, crowd, row, listeners)

    def on_own_listener(self, fd: int) -> None:
        self._see(super().on_own_listener, fd)

    def on_foreign_listener(self, fd: int) -> None:
        self._see(super().on_foreign_listener, fd)

    def _see(self, handle: Callable[[int], None], fd: int) -> None:
        before = self._row.cells[ACCEPTED]
        handle(fd)
        self._counts[NAMES.index(IN_VAIN)] += self._row.cells[ACCEPTED] == before

    def _accept(self, sock: socket, visitors: list[Visitor]) -> bool:
        more = super()._accept(sock, visitors)
        self._counts[NAMES.index(EMPTY)] += not more
        return more

    def _poll(self, fd: int) -> None:
        self._counts[NAMES.index(POLLED)] += 1
        super()._poll(fd)


class CountingOwnSlot(Counting, OwnSlot):
    """Both."""


PLAIN = {"every": Acceptor, "own": OwnSlot}
COUNTED = {"every": Counting, "own": CountingOwnSlot}


def clear(path: Path, workers: int) -> None:
    """A file with cells for so many workers, who have counted nothing yet."""
    path.write_bytes(bytes(CELL * len(NAMES) * workers))


def read(path: Path) -> dict[str, int]:
    """What all workers together have counted so far."""
    cells = memoryview(path.read_bytes()).cast("Q")
    return {name: sum(cells[place :: len(NAMES)]) for place, name in enumerate(NAMES)}


def main() -> int:
    polled, counts, *words = sys.argv[1:]
    acceptor = PLAIN[polled]
    if counts != "-":
        with open(counts, "r+b") as file:
            Counting.counts = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        acceptor = COUNTED[polled]
    worker.Acceptor = acceptor  # type: ignore[attr-defined]
    return serve(words)


if __name__ == "__main__":
    sys.exit(main())
