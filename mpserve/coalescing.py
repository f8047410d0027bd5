"""How far apart the turns of a busy worker begin, so that each has more requests to answer.

A turn costs something, whatever it brings. A worker that takes what has come as soon as it has finished the last turn
finds little: what it saves goes into more turns. So it waits a little, as a network card does before it interrupts
("interrupt coalescing"), where nobody loses by it: so many connections ask that a part of them is enough for a turn,
and it is at work nearly all the time, so that who waits for the turn would have waited for the worker.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

# A turn waits until this part of those who ask can have asked again. Of more, clients that wait for their answers begin
# to wait for each other.
PART: Final = 1 / 2
# Fewer are not waited for: 32 ask a twentieth less then, and cost as much.
FEWEST: Final = 48
# This part of a processor a busy worker takes, at least. One that has time left answers sooner if it does not wait.
BUSY: Final = 2 / 3
# So many requests are looked at, this often (seconds). If it takes as long again until they have come, they are few.
SAMPLE: Final = 128
INTERVAL: Final = 0.01


class Coalescing:
    """Looks now and then at who asks, how fast, and how busy that makes this thread."""

    __slots__ = (
        "_apart",
        "_began",
        "_decided",
        "_longest",
        "_next",
        "_sample",
        "_taken",
        "_time_taken",
    )

    def __init__(self, longest: float, time_taken: Callable[[], float]) -> None:
        """`longest` is in seconds, 0: never wait. `time_taken` tells the processor time of this thread, in seconds."""
        self._longest = longest
        self._time_taken = time_taken
        self._apart = 0.0
        self._sample: list[int] = []  # descriptors on which requests came
        # Monotonic seconds: when the sample began, if it has; when one begins; and of the last decision.
        self._began: float | None = None
        self._next = 0.0 if longest else math.inf
        self._decided = 0.0
        self._taken = 0.0  # processor seconds, then

    def __repr__(self) -> str:
        return f"<Coalescing {self._apart * 1e6:.0f} µs apart>"

    def apart(self, fds: list[int], now: float) -> float:
        """Seconds from the beginning of this turn to that of the next, at least.

        To be called in each turn, with the descriptors on which requests have come, one each, and monotonic seconds.
        """
        if now < self._next:
            return self._apart
        if self._began is None:
            self._began = now
        elif len(self._sample) >= SAMPLE or now - self._began >= INTERVAL:
            self._apart = self._decide(now, self._began)
            self._sample.clear()
            self._began, self._next = None, now + INTERVAL
            return self._apart
        self._sample += fds
        return self._apart

    def _decide(self, now: float, began: float) -> float:
        """What the sample, from `began` to `now`, and the time since the last decision say."""
        taken = self._time_taken()
        busy = (taken - self._taken) / (now - self._decided)
        self._taken, self._decided = taken, now
        crowd = len(set(self._sample))
        if len(self._sample) < SAMPLE or crowd < FEWEST or busy < BUSY:
            return 0.0
        return min(self._longest, crowd * PART * (now - began) / len(self._sample))
