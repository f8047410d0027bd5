"""The connections of one worker together: how many there may be, and which of them go when they are many.

A connection that is idle costs its client a new handshake when it goes; one that is at work, its answer.
So only idle ones give way, the one that has been idle longest first.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Final

from mpserve.states import CLOSED, IDLE, SENDING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mpserve.config import Timeouts
    from mpserve.connection import Connection

# Above this part of what there may be, nobody is idle for longer than `SHORT_IDLE`.
CROWDED: Final = 0.75
SHORT_IDLE: Final = 5.0  # seconds
# Above this part, idle connections go at once, so many in a turn.
PRESSED: Final = 0.9
GIVE_WAY: Final = 32
# A client to which nothing could be sent for so long (seconds) is watched; or for a quarter of the time it has.
WATCH_AFTER: Final = 5.0
# Descriptors that are none of a client's: what is opened for a moment, or by a thread.
SPARE_FILES: Final = 8


def affordable(wanted: int, limit: int, taken: int) -> int:
    """How many of the `wanted` connections `limit` open files allow when `taken` of them are not for clients.

    Each needs one, its socket: what is sent is most often in a cache. Where many send large files at once, the caches
    let go, then idle connections do, and then requests wait for those before them (`shortage`).
    """
    return max(1, min(wanted, limit - taken - SPARE_FILES))


class Crowd:
    """A worker's connections, and at most how many there may be."""

    def __init__(self, connections: set[Connection], most: int, timeouts: Timeouts) -> None:
        self._connections = connections
        self._timeouts = timeouts
        self.most = most

    def __repr__(self) -> str:
        return f"<Crowd {len(self._connections)} of {self.most} connections>"

    @property
    def room(self) -> int:
        """How many more there may be."""
        return self.most - len(self._connections)

    def pressed(self, more: int = 0) -> bool:
        """Whether idle connections are to give way to those that come, or would be if `more` came."""
        return len(self._connections) + more > PRESSED * self.most

    def overdue(self, now: float) -> list[Connection]:
        """What has lasted too long; in a crowd, idleness has sooner."""
        late = [each for each in self._connections if each.deadline <= now]
        if len(self._connections) <= CROWDED * self.most:
            return late
        since = now - SHORT_IDLE
        patient = [each for each in self._idle() if each.deadline > now]
        return late + [each for each in patient if self._idle_since(each) <= since]

    def waiting(self, now: float) -> list[Connection]:
        """Those to which nothing could be sent for a while."""
        patience = self._timeouts.send
        limit = now + patience - min(WATCH_AFTER, patience / 4)
        return [
            each for each in self._connections if each.state is SENDING and each.deadline < limit
        ]

    def due(self, now: float) -> Iterator[Callable[[], None]]:
        """Each look at one that waits, and each end of one that is overdue, in time.

        They are taken one by one, and other things happen in between: whoever has been heard of since has another
        deadline, and is left alone.
        """
        calls = [(each, each.deadline, each.on_look) for each in self.waiting(now)]
        calls += [(each, each.deadline, each.on_deadline) for each in self.overdue(now)]
        for connection, deadline, call in calls:
            if connection.deadline == deadline and connection.state is not CLOSED:
                yield call

    def expendable(self) -> list[Connection]:
        """Idle connections that are to give way now, the one that has been idle longest first."""
        excess = len(self._connections) - int(PRESSED * self.most)
        return self.longest_idle(max(0, min(GIVE_WAY, excess)))

    def longest_idle(self, count: int = GIVE_WAY) -> list[Connection]:
        """So many of the idle connections, the one that has been idle longest first."""
        return heapq.nsmallest(count, self._idle(), key=self._idle_since)

    @property
    def sending(self) -> bool:
        """Whether an answer is being sent, at whose end descriptors come back."""
        return any(each.state is SENDING for each in self._connections)

    def _idle(self) -> Iterator[Connection]:
        return (each for each in self._connections if each.state is IDLE)

    def _idle_since(self, idle: Connection) -> float:
        """When `idle` was last heard of (monotonic seconds): the moment that its deadline was set."""
        timeouts = self._timeouts
        unused = idle.deadline is idle.first_deadline
        return idle.deadline - (timeouts.header if unused else timeouts.keepalive)
