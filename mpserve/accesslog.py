"""The access log: one line per answer, whatever the request was.

Lines wait, in the pieces of which `logformat` makes them, until the turn of the loop ends; then they are
written, without ever waiting for room. What cannot be written is dropped and counted, and the error log
hears of it, at most once a minute.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from enum import Enum, auto
from itertools import chain
from typing import TypeAlias

from mpserve.destination import (
    ANY_ROOM,
    GONE,
    STANDARD,
    STDOUT,
    Destination,
    at_path,
    named,
    opened,
)
from mpserve.logformat import FORMATS, Fields, Format, Layout, Openings
from mpserve.protocol.message import Exchange

log = logging.getLogger(__name__)

OFF = "off"  # the destination of those who want no log

MOST_PIECES = 1024  # of lines: when more of them wait, they are not left to the end of the turn
RETRY_AFTER = 1.0  # seconds that a disk in trouble is left alone
NOTICE_EVERY = 60.0  # seconds between two lines of the error log about dropped ones
LONG_AGO = float("-inf")  # monotonic

Clock: TypeAlias = Callable[[], float]

NO_FIELDS: Fields = {}


class Losses(Enum):
    """Are lines being dropped?"""

    NONE = auto()
    GOING_ON = auto()
    OVER = auto()  # lines are written again, but it has not been said yet


class Notices:
    """What the error log hears of dropped lines: it begins, lasts, ends; never twice a minute."""

    __slots__ = ("_losses", "_lost", "_silent_until", "_why")

    def __init__(self) -> None:
        self._losses = Losses.NONE
        self._lost = 0  # lines, since it was last said that it is over
        self._why = ""
        self._silent_until = LONG_AGO

    @property
    def pending(self) -> bool:
        """Is it still to be said that it is over?"""
        return self._losses is Losses.OVER

    def lost(self, lines: int, why: str, now: float) -> str | None:
        """Note dropped lines; what to say of them, if it is time."""
        if not lines:
            return None
        self._losses = Losses.GOING_ON
        self._lost += lines
        self._why = why
        return self._word(f"lines are being dropped, {self._lost} so far: {why}", now)

    def written(self, now: float) -> str | None:
        """Note that lines are written; what to say of it, if it is news and if it is time."""
        if self._losses is Losses.NONE:
            return None
        self._losses = Losses.OVER
        message = f"lines are written again, {self._lost} were dropped: {self._why}"
        word = self._word(message, now)
        if word is not None:
            self._losses, self._lost = Losses.NONE, 0
        return word

    def last(self) -> str | None:
        """What is left to say when the log is closed."""
        if self._losses is Losses.NONE:
            return None
        return f"{self._lost} lines were dropped: {self._why}"

    def _word(self, message: str, now: float) -> str | None:
        if now < self._silent_until:
            return None
        self._silent_until = now + NOTICE_EVERY
        return message


class AccessLog:
    """The lines that wait, and where they will go. Opened before the fork, used after it."""

    __slots__ = (
        "_clock",
        "_destination",
        "_form",
        "_layout",
        "_name",
        "_notices",
        "_openings",
        "_pieces",
        "_retry_at",
        "_second",
        "_why",
        "dropped",
    )

    def __init__(
        self, name: str, form: Format, destination: Destination | None, clock: Clock
    ) -> None:
        self._name = name
        self._form = form
        self._clock = clock
        self._pieces: list[bytes] = []  # of whole lines
        self._second = -1  # since the epoch, that of the openings
        self._notices = Notices()
        self._why = ""  # what stood in the way when a line was last dropped
        self._retry_at = LONG_AGO  # monotonic; a destination in trouble is left alone until then
        self.dropped = 0  # lines, by this process
        self._use(destination)

    @classmethod
    def open(cls, destination: str, format_name: str, clock: Clock = time.monotonic) -> AccessLog:
        """The log at a path, on standard output ("-") or nowhere ("off"); OSError if it fails."""
        opened = None if destination == OFF else named(destination, STDOUT)
        return cls(destination, FORMATS[format_name], opened, clock)

    def __repr__(self) -> str:
        lines = sum(piece.endswith(b"\n") for piece in self._pieces)
        state = "off" if self._destination is None else f"{lines} lines waiting"
        return f"<AccessLog {self._name} {state}, {self.dropped} dropped>"

    @property
    def enabled(self) -> bool:
        """Whether anything is written."""
        return self._destination is not None

    @property
    def layout(self) -> Layout:
        """What makes the pieces of a line, for `record`. Another one when the log has been opened anew."""
        return self._layout

    def append(self, exchange: Exchange, ended: float, wall: float) -> None:
        """Log an exchange that ended at `ended` (monotonic seconds), `wall` (epoch seconds)."""
        if self._destination is None:
            return
        about = exchange.about
        if about is None:
            request = exchange.request
            about = self._layout.about(exchange.line, request.fields if request else NO_FIELDS)
        text = self._layout.exchange(about, exchange.status, exchange.content_sent)
        self.turn_to(wall)
        self.record((exchange.peer,), (text,), (about.end,), ended - exchange.started)

    def turn_to(self, wall: float) -> None:
        """What is recorded from now on ended at `wall` (epoch seconds)."""
        second = int(wall)
        if second != self._second:
            self._second = second
            self._openings = Openings(self._layout, second)

    def record(
        self,
        peers: Iterable[bytes],
        exchanges: Iterable[bytes],
        ends: Iterable[bytes],
        duration: float,
    ) -> None:
        """Log answers, of which the layout has made `exchanges` and `ends`: one of each for each of `peers`.

        They took `duration` seconds.
        """
        if self._layout.duration is not None:
            exchanges = map(self._layout.duration(duration).__add__, exchanges)
        openings = map(self._openings.__getitem__, peers)
        lines = zip(openings, exchanges, ends, strict=True)
        self._pieces += list(chain.from_iterable(lines))  # whole lines, or nothing
        if len(self._pieces) >= MOST_PIECES:
            self.flush()

    def flush(self) -> None:
        """Write what waits: once in each turn of the loop."""
        destination = self._destination
        if destination is None:
            self._pieces.clear()
        elif self._pieces:
            waiting = b"".join(self._pieces)
            self._pieces.clear()
            self._deliver(destination, waiting)
        elif destination.unfinished:
            self._deliver(destination, b"")
        elif self._notices.pending:
            self._say(self._notices.written(self._clock()))

    def reopen(self) -> int | None:
        """Open the path anew: the file was renamed. Its descriptor, for `adopt`; None where there is no path.

        After an OSError the old file stays in use.
        """
        if self._name in (STANDARD, OFF):
            return None
        self._succeed(at_path(self._name))
        return self.descriptor

    @property
    def descriptor(self) -> int | None:
        """Where lines go; None: nowhere."""
        return None if self._destination is None else self._destination.fd

    def adopt(self, fd: int) -> None:
        """Use what another process has opened anew. The descriptor is ours from now on."""
        self._succeed(opened(fd))

    def close(self) -> None:
        """Write what waits, say what was lost, and log nothing more."""
        self.flush()
        self._say(self._notices.last())
        self._end()

    def _succeed(self, destination: Destination) -> None:
        self.flush()
        if self._destination is not None:
            destination.succeed(self._destination)
            self._destination.close()
        self._retry_at = LONG_AGO
        self._use(destination)

    def _use(self, destination: Destination | None) -> None:
        self._destination = destination
        self._layout = Layout(self._form, destination.room if destination else ANY_ROOM)
        self._openings = Openings(self._layout, self._second)

    def _end(self) -> None:
        if self._destination is not None:
            self._destination.close()
        self._destination = None

    def _deliver(self, destination: Destination, waiting: bytes) -> None:
        """Write what can be written now, drop and count the rest."""
        now = self._clock()
        if now < self._retry_at:
            self._drop(waiting, now)
            return
        left, problem = destination.write(waiting)
        if problem is None:
            self._say(self._notices.written(now))
        elif problem.errno in GONE:
            self._mourn(destination, left)
        else:
            self._hindered(problem, now)
            self._drop(left, now)

    def _hindered(self, problem: OSError, now: float) -> None:
        # A full pipe may have room in a moment; a full disk will not, and each try costs.
        if isinstance(problem, BlockingIOError):
            self._why = "they are not read fast enough"
            return
        self._why = problem.strerror or str(problem)
        self._retry_at = now + RETRY_AFTER

    def _drop(self, lines: bytes, now: float) -> None:
        number = lines.count(b"\n")
        self.dropped += number
        self._say(self._notices.lost(number, self._why, now))

    def _mourn(self, destination: Destination, left: bytes) -> None:
        """Nobody reads any more: logging ends, serving does not."""
        self.dropped += left.count(b"\n")
        if destination.mourn():
            self._say("it ends, because its reader is gone")
        self._end()

    def _say(self, message: str | None) -> None:
        if message is not None:
            log.error("access log %s: %s", self._name, message)
