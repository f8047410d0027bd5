"""The scoreboard: a row of numbers for each worker process, in memory that all processes share.

A worker writes its own row and no other, so nothing is locked. When the master has reaped a worker, it adds
the row's counters to the totals and gives the row to another. The memory is a file without a name: a new
image of the master finds it by its descriptor, and by the names in its head what each cell means, even
where the version that wrote it knew others.
"""

from __future__ import annotations

import heapq
import mmap
import os
import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final

# What is true of a process now.
PROCESS: Final = (
    *("pid slot generation state heartbeat_ns started_ns connections").split(),
    *("reading sending idle lingering").split(),  # of the connections
)
# Answers by the method that was asked with and the class of their status. Whatever a client sends, these
# are all there are.
METHODS: Final = ("GET", "HEAD", "OPTIONS", "other")
CLASSES: Final = ("2xx", "3xx", "4xx", "5xx")
ANSWERS: Final = [f"answers_{method}_{group}" for method in METHODS for group in CLASSES]
# Answers by the seconds from the turn in which the head was complete to the last octet that the kernel
# took. An answer counts in the first bucket whose bound it keeps.
BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
DURATIONS: Final = [f"within_{bound:g}" for bound in (*BOUNDS, float("inf"))]

# What is added up, over all processes that ever were.
COUNTERS: Final = (
    *(
        "accepted accepted_foreign shed gave_way stalled log_dropped restarts octets duration_ns"
    ).split(),
    *("files_changed memo_misses cache_hits cache_misses").split(),
    *ANSWERS,
    *DURATIONS,
)
CELLS: Final = (*PROCESS, *COUNTERS)
# The place of each name in a row.
CELL: Final = {name: place for place, name in enumerate(CELLS)}

# Rows of a new board: the greatest number of workers, some generations of them. What no worker has
# touched takes no memory.
ROWS: Final = 4096

# What the memory is called among the open files of a process.
MEMORY: Final = "mpserve scoreboard"

_MAGIC: Final = b"mpserve\n"
_HEAD: Final = struct.Struct("8sQQQQ")  # magic, octets of the head, cells of a row, rows, used rows
_USED: Final = 4  # the place in the head of the number of rows that were ever used
_OCTETS: Final = 8  # of a cell
_PAGE: Final = 4096


class State(IntEnum):
    """What a worker is doing."""

    FREE = 0  # nobody has the row
    STARTING = 1
    SERVING = 2
    RETIRING = 3  # another has taken its place
    STOPPING = 4


class Row:
    """The numbers of one process. `cells` are for those who know the place of a name."""

    __slots__ = ("board", "cells", "number")

    def __init__(self, board: Scoreboard, number: int) -> None:
        self.board = board
        self.number = number
        start = board.first + number * board.width
        self.cells = board.memory[start : start + board.width]

    def __repr__(self) -> str:
        return f"<Row {self.number} {self.items()}>"

    def __getitem__(self, name: str) -> int:
        place = self.board.place.get(name)
        return 0 if place is None else self.cells[place]

    def __setitem__(self, name: str, value: int) -> None:
        self.cells[self.board.place[name]] = value

    def items(self) -> dict[str, int]:
        """Every number by its name."""
        return {name: self.cells[place] for name, place in self.board.place.items()}


class Scoreboard:
    """All rows. Row 0 holds what the workers that are gone have counted."""

    def __init__(self, fd: int, access: int = mmap.ACCESS_WRITE) -> None:
        """The board behind `fd`, whichever version made it. Raises ValueError if it is none."""
        self.fd = fd
        with mmap.mmap(fd, 0, access=mmap.ACCESS_READ) as whole:
            magic, octets, self.width, rows, _ = _HEAD.unpack_from(whole)
            if magic != _MAGIC:
                raise ValueError("not a scoreboard")
            text = whole[_HEAD.size : octets].rstrip(b"\0").decode("ascii")
        process, counters = (line.split() for line in text.split("\n"))
        self.counters = counters
        self.place = {name: place for place, name in enumerate([*process, *counters])}
        self.first = octets // _OCTETS  # the place of row 0
        self.memory = memoryview(mmap.mmap(fd, 0, access=access)).cast("Q")
        self._capacity = rows
        self._free: list[int] = []
        self.rows: list[Row] = []  # of all processes that have not been reaped
        self._gone = Row(self, 0)

    @classmethod
    def create(cls, totals: Mapping[str, int] | None = None, rows: int = ROWS) -> Scoreboard:
        """A new board, that goes on from these totals."""
        names = f"{' '.join(PROCESS)}\n{' '.join(COUNTERS)}".encode("ascii")
        octets = -(-(_HEAD.size + len(names)) // _PAGE) * _PAGE
        fd = os.memfd_create(MEMORY, os.MFD_CLOEXEC)
        os.ftruncate(fd, octets + (rows + 1) * len(CELLS) * _OCTETS)
        os.pwrite(fd, _HEAD.pack(_MAGIC, octets, len(CELLS), rows, 0) + names, 0)
        board = cls(fd)
        for name, value in (totals or {}).items():
            if name in COUNTERS:
                board._gone[name] = value
        return board

    def __repr__(self) -> str:
        return f"<Scoreboard {len(self.rows)} of {self._capacity} rows>"

    def look(self) -> None:
        """Find the rows that are taken: for who only reads, and has claimed none of them."""
        used = (Row(self, number) for number in range(1, self.memory[_USED] + 1))
        self.rows = [row for row in used if row["state"] != State.FREE]

    def claim(self, slot: int, generation: int) -> Row:
        """A row for a process that is about to be forked. Raises OSError where none is left."""
        if self._free:
            number = heapq.heappop(self._free)
        elif self.memory[_USED] < self._capacity:
            self.memory[_USED] += 1
            number = self.memory[_USED]
        else:
            raise OSError("every row of the scoreboard is taken")
        row = Row(self, number)
        row.cells[:] = memoryview(bytes(self.width * _OCTETS)).cast("Q")
        row["slot"], row["generation"], row["state"] = slot, generation, State.STARTING
        self.rows.append(row)
        return row

    def adopt(self, row: Row) -> None:
        """Count with `row` of another board: another image of the master has forked its process."""
        self.rows.append(row)

    def release(self, row: Row) -> None:
        """The process of `row` is gone: what it counted goes to the totals."""
        for name in self.counters:
            self._gone[name] += row[name]
        row["state"] = State.FREE
        self.rows.remove(row)
        if row.board is self:
            heapq.heappush(self._free, row.number)
        elif all(other.board is not row.board for other in self.rows):
            row.board.close()

    def gone(self) -> dict[str, int]:
        """What the processes have counted that are gone."""
        return {name: self._gone[name] for name in self.counters}

    def count(self, name: str) -> None:
        """Add one to what no worker counts, but the master."""
        self._gone[name] += 1

    def totals(self) -> dict[str, int]:
        """What all processes have counted, those that are gone and those that are there."""
        rows = [self._gone, *self.rows]
        return {name: sum(row[name] for row in rows) for name in self.counters}

    def close(self) -> None:
        """Give up the descriptor; rows that somebody holds stay."""
        os.close(self.fd)
