"""How far apart the turns of a busy worker begin, so that each has more requests to answer.

A turn costs something, whatever it brings. A worker that takes what has come as soon as it has finished the last turn
finds little: what it saves goes into more turns. So it waits a little, as a network card does before it interrupts
("interrupt coalescing"): where many connections ask, where it would be at work all the time anyway, and as long as it
answers as many requests so. Clients that take their time between an answer and their next request ask less when they
are answered later; for them it does not wait.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

# Time is cut into windows of so many seconds. In one without waiting it is seen who asks, how fast, and how busy that
# makes the thread; the next ones, in which turns wait, have to bring as many requests, or nearly.
WINDOW: Final = 0.02
AS_MANY: Final = 0.95
# One without waiting comes again after so many seconds. It also follows one that has brought fewer, perhaps by chance;
# if the next attempt does too there are two of them, then four, until it is as many seconds between two attempts.
LASTS: Final = 1.0

# A turn waits until this part of those who ask can have asked again. Of more, clients that ask at once when they are
# answered begin to wait for each other.
PART: Final = 1 / 2
# Those who ask are counted in the first requests of a window, so many of them.
SAMPLE: Final = 128
# Fewer clients are not waited for: from 32 a turn gets too little for what a sleep takes.
FEWEST: Final = 48
# This part of a processor a busy thread takes, at least. One that has time left answers sooner if it does not wait.
BUSY: Final = 0.9


class Coalescing:
    """Sees how a thread fares, and says how far apart its turns should begin."""

    __slots__ = (
        "_apart",
        "_began",
        "_changes",
        "_end",
        "_longest",
        "_pause",
        "_rate",
        "_requests",
        "_sample",
        "_taken",
        "_time_taken",
    )

    def __init__(self, longest: float, time_taken: Callable[[], float]) -> None:
        """`longest` is in seconds, 0: never wait. `time_taken` tells the processor time of this thread, in seconds."""
        self._longest = longest
        self._time_taken = time_taken
        self._apart = 0.0
        # Monotonic seconds: the window, and until when no other way is tried.
        self._began = self._changes = 0.0
        self._end = 0.0 if longest else math.inf
        self._pause = WINDOW  # seconds without waiting, when a window has brought fewer requests
        self._taken = 0.0  # processor seconds when it began
        self._requests = 0  # in it
        self._sample: list[int] = []  # the descriptors on which the first of them came
        self._rate = 0.0  # requests a second without waiting

    def __repr__(self) -> str:
        return f"<Coalescing {self._apart * 1e6:.0f} µs apart>"

    def apart(self, fds: list[int], now: float) -> float:
        """Seconds from the beginning of this turn to that of the next.

        To be called in each turn, with the descriptors on which requests have come, one each, and monotonic seconds.
        """
        if now >= self._end:
            taken = self._time_taken()
            self._apart = self._decide(now, taken)
            self._began, self._end, self._taken = now, now + WINDOW, taken
            self._requests = 0
            self._sample.clear()
        self._requests += len(fds)
        if len(self._sample) < SAMPLE:
            self._sample += fds
        return self._apart

    def _decide(self, now: float, taken: float) -> float:
        """What the window that ends now says of the next."""
        lasted = now - self._began
        rate = self._requests / lasted
        if self._apart:
            if rate < self._rate * AS_MANY:
                self._changes = now + self._pause
                self._pause = min(2 * self._pause, LASTS)
                return 0.0
            self._pause = WINDOW
            return self._apart if now < self._changes else 0.0
        crowd = len(set(self._sample))
        busy = (taken - self._taken) / lasted
        if now < self._changes or crowd < FEWEST or busy < BUSY:
            return 0.0
        self._rate, self._changes = rate, now + LASTS
        return min(self._longest, crowd * PART / rate)
