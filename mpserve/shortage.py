"""Requests that wait for a descriptor: a shortage that passes is no reason to refuse anybody.

Descriptors come back when an answer or a connection ends, ours or, where the system has no more, another process's.
So those who wait try again several times a second, the first to come first. Nobody waits for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from mpserve.loop import Loop

RETRY_EVERY: Final = 0.1  # seconds
# So many find nothing, and the others need not be asked: not all want the same.
MOST_IN_VAIN: Final = 16


class Shortage:
    """Who waits, each as the call that is to be made then."""

    __slots__ = ("_in_vain", "_loop", "_make_room", "_patience", "_waiting")

    def __init__(self, loop: Loop, patience: float, make_room: Callable[[], None]) -> None:
        self._loop = loop
        self._patience = patience  # seconds
        self._make_room = make_room  # before others try, and when nobody's request is in hand
        self._waiting: dict[Callable[[], None], float] = {}  # until then, monotonic seconds
        self._in_vain = 0  # tries of this round

    def __repr__(self) -> str:
        return f"<Shortage of {len(self._waiting)}>"

    def hold(self, retry: Callable[[], None]) -> bool:
        """Call `retry` when there may be a descriptor; whether it may wait for one any longer."""
        self._in_vain += 1
        if not self._waiting:
            self._loop.later(RETRY_EVERY, self._look)
        return self._loop.now < self._waiting.setdefault(retry, self._loop.now + self._patience)

    def _look(self) -> None:
        """Let those who wait try again."""
        self._make_room()
        in_vain = 0
        for retry in list(self._waiting):
            self._in_vain = 0
            self._loop.guarded(retry)
            overdue = self._waiting[retry] <= self._loop.now
            if overdue or not self._in_vain:
                del self._waiting[retry]
            else:
                in_vain += 1
            if in_vain == MOST_IN_VAIN:
                break
        if self._waiting:
            self._loop.later(RETRY_EVERY, self._look)
