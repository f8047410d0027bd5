"""Readiness, time and repetition: one epoll, one cached clock. It knows deadlines, not their meaning.

A turn waits for events, reads the clock once, and calls each handler. Whatever runs in a turn sees the
same `now`, so a request costs no system call for the time.
"""

from __future__ import annotations

import math
import select
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, TypeAlias

from mpserve.protocol.grammar import http_date

Event: TypeAlias = tuple[int, int]  # a descriptor, and what epoll says of it
Handler = Callable[[int], None]

# What nobody waits for may take so much of each turn (seconds),
SLICE: Final = 0.001
# and what takes long, and is waited for, so much.
LONG_SLICE: Final = 0.0002
# What is left of the time between two turns is slept through if it is more than this part of it. Of less the sleep
# itself, up to 30 µs of a processor, would take too much; and much has come while the last turn lasted.
WORTH_A_REST: Final = 1 / 3


@dataclass(slots=True)
class Periodic:
    """A call that is due every `interval` seconds."""

    interval: float
    call: Callable[[], None]
    due: float


class Loop:
    """File descriptors, their handlers, and what is to be done every so often."""

    __slots__ = (
        "_again",
        "_due",
        "_epoll",
        "_handlers",
        "_long",
        "_on_bug",
        "_periodic",
        "_second",
        "_spread",
        "apart",
        "busy",
        "date_line",
        "now",
        "running",
        "wall",
    )

    def __init__(self, on_bug: Callable[[Callable[..., None], Exception], None]) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}
        self._again: dict[Callable[[], None], None] = {}  # in order, and each but once
        self._long: OrderedDict[Callable[[], None], None] = OrderedDict()  # each but once
        self._periodic: list[Periodic] = []
        self._due = math.inf  # monotonic seconds: the first of them
        self._spread: Iterator[Callable[[], None]] | None = None
        self._on_bug = on_bug  # called with the handler that raised, and what it raised
        self.running = True
        self.apart = 0.0  # seconds between the beginnings of two turns, if nobody waits for a turn
        self.busy = False  # more than one event has come in this turn
        self.now = 0.0  # monotonic seconds
        self.wall = 0.0  # epoch seconds
        self._second = -1  # of them: that of the Date
        self.date_line = b""  # the Date field line, remade once a second (RFC 9110 §6.6.1)
        self.read_clock()

    def __repr__(self) -> str:
        return f"<Loop {len(self._handlers)} descriptors, {len(self._again)} waiting>"

    def add(self, fd: int, mask: int, handler: Handler) -> None:
        """Call `handler(events)` whenever `fd` has one of the epoll events in `mask`."""
        self._handlers[fd] = handler
        self._epoll.register(fd, mask)

    def remove(self, fd: int) -> None:
        """Forget `fd`; to be called before it is closed.

        An epoll keeps a descriptor as long as any process holds the open file behind it.
        """
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def again(self, call: Callable[[], None]) -> None:
        """Call once more in the next turn, which then does not wait."""
        self._again[call] = None

    def after_others(self, call: Callable[[], None]) -> None:
        """Call after what is quick, as many of these in each turn as there is time for, the first first.

        So who sends a lot to many clients hears in between from those who want little.
        """
        self._long[call] = None

    def every(self, interval: float, call: Callable[[], None]) -> None:
        """Call every `interval` seconds; in a busy or late loop, once for all that was missed."""
        self._add_periodic(interval, call)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Call once, after `seconds`."""

        def once() -> None:
            self._periodic.remove(periodic)
            call()

        periodic = self._add_periodic(seconds, once)

    def _add_periodic(self, interval: float, call: Callable[[], None]) -> Periodic:
        periodic = Periodic(interval, call, self.now + interval)
        self._periodic.append(periodic)
        self._due = min(self._due, periodic.due)
        return periodic

    @property
    def spreading(self) -> bool:
        """Whether calls of the last `spread` are still to be made."""
        return self._spread is not None

    def spread(self, calls: Iterator[Callable[[], None]]) -> None:
        """Make `calls`, a few in each turn, so that thousands of them hold nobody up.

        Each is taken from the iterator when its time has come. To be called when none is left of the last.
        """
        assert self._spread is None
        self._spread = calls

    def stop(self) -> None:
        """Return from `run` at the end of this turn."""
        self.running = False

    def run(
        self,
        receive: Callable[[list[Event]], list[Event]],
        answer: Callable[[], None],
        after_turn: Callable[[], None],
    ) -> None:
        """Turn until `stop`; `after_turn` is called once at the end of each turn."""
        while self.running:
            try:
                self.turn(receive, answer)
                after_turn()
            except MemoryError as error:  # it may strike anywhere, also where nothing is guarded
                self._on_bug(self.turn, error)

    def turn(
        self, receive: Callable[[list[Event]], list[Event]], answer: Callable[[], None]
    ) -> None:
        """Wait for events, and handle each of them.

        `receive` takes those that it knows best, all of them together; the others are left to their handlers.
        `answer` is called when all have been handled, and again at the end.
        """
        if self.apart:
            self._rest()
        events = self._epoll.poll(self._wait())
        self.busy = len(events) > 1
        self.read_clock()
        again, self._again = self._again, {}
        handler_of = self._handlers.get
        for fd, mask in receive(events):
            handler = handler_of(fd)
            if handler is None:  # an earlier event of this turn closed it
                continue
            try:
                handler(mask)
            except Exception as bug:  # noqa: BLE001  # a bug in one connection must not end the others
                self._on_bug(handler, bug)
        answer()
        for call in again:
            self.guarded(call)
        if self._long:
            self._make_long()
        if self._due <= self.now:
            self._make_due()
        if self._spread is not None:
            self._make_some(self._spread)
        answer()

    def close(self) -> None:
        """Give up the epoll; the descriptors in it stay open."""
        self._handlers.clear()
        self._epoll.close()

    def read_clock(self) -> None:
        """Note the time that this turn goes by."""
        self.now = time.monotonic()
        self.wall = time.time()
        if not self._second <= self.wall < self._second + 1:
            self._second = int(self.wall)
            self.date_line = b"Date: %b\r\n" % http_date(self._second)

    def _rest(self) -> None:
        """Sleep until turns are as far apart as they should be, if it is worth it and nothing is to be done."""
        rest = self.now + self.apart - time.monotonic()
        if rest > self.apart * WORTH_A_REST and not 0 <= self._wait() < rest:
            time.sleep(rest)

    def _wait(self) -> float:
        """Seconds that this turn may sleep."""
        if self._again or self._long or self._spread is not None:
            return 0.0
        if self._due == math.inf:
            return -1.0
        return max(0.0, self._due - time.monotonic())

    def guarded(self, call: Callable[[], None]) -> None:
        """Call, and keep a bug in there from ending what others are in the middle of."""
        try:
            call()
        except Exception as bug:  # noqa: BLE001  # as above
            self._on_bug(call, bug)

    def _make_due(self) -> None:
        """Make the calls whose time has come."""
        for periodic in self._periodic.copy():
            if periodic.due <= self.now:
                periodic.due = self.now + periodic.interval
                self.guarded(periodic.call)
        self._due = min((periodic.due for periodic in self._periodic), default=math.inf)

    def _make_long(self) -> None:
        """Make the first of the calls that take long, as many as this turn has time for, but one at least."""
        end = time.monotonic() + LONG_SLICE
        while self._long:
            call, _ = self._long.popitem(last=False)
            self.guarded(call)
            if time.monotonic() >= end:
                return

    def _make_some(self, calls: Iterator[Callable[[], None]]) -> None:
        """Make the next of `calls`, as many as this turn has time for."""
        end = time.monotonic() + SLICE
        for call in calls:
            self.guarded(call)
            if time.monotonic() >= end:
                return
        self._spread = None
