"""What is counted and logged of answers that are repeated, most often of many at once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import Final, Protocol

from mpserve.counters import Counters
from mpserve.logformat import ABSENT, Layout
from mpserve.loop import Loop
from mpserve.memo import MOST_IGNORED, Parts, Prepared, own_fields, split
from mpserve.protocol.http1 import Http1Protocol, Limits
from mpserve.protocol.message import About

TOLD: Final = attrgetter("told")
END: Final = attrgetter("end")


class Log(Protocol):
    """Where repeated answers are noted."""

    @property
    def enabled(self) -> bool: ...
    @property
    def layout(self) -> Layout:
        """What makes the pieces of a line."""

    def turn_to(self, wall: float) -> None:
        """What is recorded from now on ended at `wall` (epoch seconds)."""

    def record(
        self,
        peers: Iterable[bytes],
        exchanges: Iterable[bytes],
        ends: Iterable[bytes],
        duration: float,
    ) -> None:
        """Note answers in pieces of the layout, one of each for each of `peers`; they took `duration` seconds."""


class Noting:
    """The log and the counters, as far as answers are repeated."""

    __slots__ = ("_counters", "_limits", "_log", "_loop")

    def __init__(self, log: Log, counters: Counters, loop: Loop, limits: Limits) -> None:
        self._log = log
        self._counters = counters
        self._loop = loop
        self._limits = limits

    @property
    def layout(self) -> Layout:
        """What makes the pieces of a line."""
        return self._log.layout

    def note(
        self,
        peers: Iterable[bytes],
        heads: Sequence[bytes],
        answers: Sequence[Prepared],
        parts: Sequence[Parts | None],
    ) -> None:
        """Answers that have gone whole to `peers`, one at least.

        `parts` are those of `heads`; there are none where each of them is its own key.
        """
        loop, log = self._loop, self._log
        duration = time.monotonic() - loop.now
        self._counters.repeated(answers, duration)
        if log.enabled:
            log.turn_to(loop.wall)
            ends = map(self._end, heads, answers, parts) if parts else map(END, answers)
            log.record(peers, map(TOLD, answers), ends, duration)

    def cut(self, heads: Sequence[bytes]) -> Sequence[Parts]:
        """The parts of `heads` for `note`, as far as they are wanted."""
        return [split(head, MOST_IGNORED) for head in heads] if self._log.enabled else ()

    def about(self, head: bytes, answer: Prepared) -> About:
        """What the log says of a request."""
        if not self._log.enabled:
            return answer.about
        return answer.about._replace(end=self._end(head, answer, split(head, MOST_IGNORED)))

    def _end(self, head: bytes, answer: Prepared, parts: Parts | None) -> bytes:
        """The end of a line of the log: the fields that the memo ignores are each request's own."""
        if parts is None:
            return answer.end
        own = own_fields(parts)
        if own is None:
            return self._read_anew(head)
        referer, agent = own
        if not referer and not agent:
            return answer.end
        layout = self._log.layout
        if answer.request.fields or len(head) > layout.space:
            return self._read_anew(head)
        return layout.end(referer or ABSENT, agent or ABSENT)

    def _read_anew(self, head: bytes) -> bytes:
        """The same by the long way."""
        protocol = Http1Protocol(self._limits)
        protocol.receive(head)
        request = protocol.next_request()
        assert request is not None  # it is a head that has been answered, or says the same
        return self._log.layout.about(request.line, request.fields).end
