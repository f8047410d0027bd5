"""What a worker counts of its answers, in its row of the scoreboard: at once, so that a kill loses nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections import _count_elements as count  # type: ignore[attr-defined]  # what a Counter counts with
from collections.abc import Iterable
from typing import Final, Protocol

from mpserve.scoreboard import ANSWERS, BOUNDS, CELL, CELLS, CLASSES, DURATIONS, METHODS

OCTETS: Final = CELL["octets"]
DURATION: Final = CELL["duration_ns"]
MEMO_MISSES: Final = CELL["memo_misses"]
FILES_CHANGED: Final = CELL["files_changed"]
CACHE_HITS: Final = CELL["cache_hits"]
CACHE_MISSES: Final = CELL["cache_misses"]
FIRST_BUCKET: Final = CELL[DURATIONS[0]]
# The place of a method's first class.
FIRST_CLASS: Final = {
    method.encode(): CELL[ANSWERS[number * len(CLASSES)]] for number, method in enumerate(METHODS)
}
OTHER: Final = FIRST_CLASS.pop(b"other")
LOWEST: Final = 2  # the first digit of the first class


class Answer(Protocol):
    """An answer that is given again and again."""

    @property
    def place(self) -> int: ...
    @property
    def length(self) -> int: ...


def place_of(method: bytes, status: int) -> int:
    """The cell that counts such answers."""
    return FIRST_CLASS.get(method, OTHER) + status // 100 - LOWEST


class Counters:
    """The counting cells of a row; without one, cells that nobody reads."""

    __slots__ = ("cells",)

    def __init__(self, cells: memoryview[int] | None = None) -> None:
        self.cells = memoryview(bytearray(8 * len(CELLS))).cast("Q") if cells is None else cells

    def __repr__(self) -> str:
        return f"<Counters {self.answers} answers>"

    @property
    def answers(self) -> int:
        """How many answers there have been."""
        return sum(self.cells[CELL[name]] for name in ANSWERS)

    def answered(self, line: bytes, status: int, octets: int, duration: float) -> None:
        """One answer to the request line `line`, with that many octets of content, after that many seconds."""
        self.cells[place_of(line.partition(b" ")[0], status)] += 1
        self.took(1, octets, duration)

    def repeated(self, answers: Iterable[Answer], duration: float) -> None:
        """Answers from the memo that have gone together."""
        times: dict[Answer, int] = {}
        count(times, answers)
        number = octets = place = of_place = 0  # `of_place`: answers in a row that one cell counts
        for answer, often in times.items():
            if answer.place != place:
                if of_place:
                    self.cells[place] += of_place
                place, of_place = answer.place, 0
            of_place += often
            number += often
            octets += answer.length * often
        if number:
            self.cells[place] += of_place
            self.took(number, octets, duration)

    def took(self, number: int, octets: int, duration: float) -> None:
        """So many answers, with so many octets of content together, after that many seconds each."""
        cells, duration = self.cells, max(0.0, duration)  # a turn's `now` may be a test's
        cells[OCTETS] += octets
        cells[DURATION] += int(duration * 1e9) * number
        cells[FIRST_BUCKET + bisect_left(BOUNDS, duration)] += number

    def looked_up(self, hits: int, misses: int) -> None:
        """What the file cache has counted since this process began."""
        self.cells[CACHE_HITS] = hits
        self.cells[CACHE_MISSES] = misses
