"""What a turn brings from clients between two requests: received first, all of it, then answered.

Between the two lies one moment, and the witnesses are asked after it: so what is answered was fresh when
its request had already come, and each witness is asked once for all requests of the turn. It is also the
place where a request costs least, and the one room that is written for that: the functions here do by hand
what `connection` says in words. Whatever is unusual goes back there.
"""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import os
import select
import time
from collections.abc import Callable
from socket import MSG_DONTWAIT, MSG_MORE
from typing import Final, NamedTuple, Protocol, TypeAlias

from mpserve.config import Caches, Config
from mpserve.counters import Counters
from mpserve.filecache import FileCache, read_spans
from mpserve.logformat import ABSENT, SAID, Layout
from mpserve.loop import Event, Loop
from mpserve.memo import MOST_IGNORED, Memo, Parts, Prepared, own_fields, split
from mpserve.protocol.http1 import Http1Protocol
from mpserve.protocol.message import About, FileSpan, Piece, Request
from mpserve.readahead import is_known_warm
from mpserve.transport import ALONE_SIZE, RECEIVE_SIZE
from mpserve.witness import Witness

# All that a connection between two requests had to receive, and its descriptor, which does not block; NOT_POLLED for
# one whose socket does.
Arrival: TypeAlias = "tuple[Repeating, bytes, int]"
NOT_POLLED: Final = -1
OnBug: TypeAlias = Callable[[Callable[..., None], Exception], None]

# What epoll says of a connection that has something to receive, may send, and has nothing else to tell.
READY: Final = select.EPOLLIN | select.EPOLLOUT
END_OF_HEAD: Final = b"\r\n\r\n"
# Octets of the longest head that is worth keeping.
LONGEST_HEAD: Final = 4096
# Requests with one of these have content, or may wait for an answer before they send it.
NOT_IN_THE_HEAD: Final = frozenset({b"content-length", b"transfer-encoding", b"expect"})
# A head of fewer octets has hardly room for the fields that are ignored.
SHORT_HEAD: Final = 200
# Octets of answers that are put together for one pipelining client; the rest of its requests wait.
RUN_SIZE: Final = 256 * 1024


class Repeating(Protocol):
    """A connection between two requests, to which a kept answer is given."""

    sock: _socket.socket
    peer: bytes
    deadline: float

    def poll(self) -> None:
        """Enter the epoll, once."""

    def take(self, octets: bytes) -> None:
        """Go the long way with what has been received: all there was, if it is less than RECEIVE_SIZE."""

    def repeat(self, head: bytes, answer: Prepared, taken: int, rest: bytes = b"") -> None:
        """Send what is left of `answer` when `taken` octets of it have gone; `rest` came behind `head`."""

    def close(self) -> None:
        """End the connection."""


class Log(Protocol):
    """Where repeated answers are noted."""

    @property
    def enabled(self) -> bool: ...
    @property
    def timed(self) -> bool: ...
    @property
    def layout(self) -> Layout:
        """What makes the pieces of a line."""

    def turn_to(self, wall: float) -> None:
        """What is recorded from now on ended at `wall` (epoch seconds)."""

    def record(self, peer: bytes, exchange: bytes, end: bytes, duration: float) -> None:
        """Note an answer in pieces of the layout."""


class Made(NamedTuple):
    """What the long way has made of a request."""

    request: Request
    status: int
    head: bytes
    content: tuple[Piece, ...]
    witnesses: tuple[Witness, ...] | None  # None: nobody could say whether it still holds


def send_span(sock: _socket.socket, head: bytes, span: FileSpan, now: float) -> int:
    """Octets of `head` and of the span behind it that a socket that does not block took. Raises OSError.

    None, if the disk might be waited for.
    """
    if not is_known_warm(span, now):
        return 0
    taken = sock.send(head, MSG_MORE if len(span) > ALONE_SIZE else 0)
    if taken == len(head):
        # Once something has gone, only the number of octets tells how far it went.
        with contextlib.suppress(OSError):
            taken += os.sendfile(sock.fileno(), span.file.fd, span.start, len(span))
    return taken


class Batch:
    """What has arrived in this turn from clients between two requests."""

    __slots__ = (
        "_answers",
        "_arrived",
        "_cache",
        "_counters",
        "_keepalive",
        "_limits",
        "_log",
        "_longest",
        "_loop",
        "_memo",
        "_on_bug",
        "add",
        "idle",
    )

    def __init__(
        self,
        config: Config,
        caches: Caches,
        loop: Loop,
        cache: FileCache,
        log: Log,
        on_bug: OnBug,
        counters: Counters,
    ) -> None:
        self._longest = min(LONGEST_HEAD, config.limits.head)
        self._memo = Memo(caches.octets, caches.files, self._longest)
        self._answers = self._memo.answers
        self._cache = cache
        self._loop = loop
        self._log = log
        self._on_bug = on_bug
        self._counters = counters
        self._limits = config.limits
        self._keepalive = config.timeouts.keepalive  # seconds
        # Who is between two requests, by the descriptor of a socket that does not block and is polled.
        self.idle: dict[int, Repeating] = {}
        self._arrived: list[Arrival] = []
        # Leave all that somebody had to receive to `answer`. A method would cost a call.
        self.add: Callable[[Arrival], None] = self._arrived.append

    def __repr__(self) -> str:
        return f"<Batch {len(self._arrived)} arrived, {self._memo!r}>"

    def stop(self) -> None:
        """From now on every answer is made the long way: each is the last of its connection."""
        self._memo.stop()

    def clear(self) -> None:
        """Forget every answer."""
        self._memo.clear()

    def keep(self, octets: bytes, made: Made) -> None:
        """Keep what the long way has made of the head `octets`, if it is one that may be repeated."""
        if made.witnesses is None or not self._memo.keeps:
            return
        parts = split(octets, MOST_IGNORED)
        fields = _kept_fields(parts, made.request.fields)
        if fields is None or not self._may_repeat(octets, parts, made):
            return
        request = dataclasses.replace(made.request, fields=fields)
        content = read_spans(made.content, made.witnesses)
        layout = self._log.layout
        about = layout.about(request.line, fields)
        told = layout.exchange(about, made.status, sum(map(len, content)))
        date_line = self._loop.date_line
        self._memo.put(
            octets,
            Prepared(
                request, made.status, made.head, date_line, content, made.witnesses, about, told
            ),
        )

    def _may_repeat(self, octets: bytes, parts: Parts, made: Made) -> bool:
        """Whether all there is to know about the request is in its head, and every limit is kept."""
        request = made.request
        if not octets.startswith(b"%b\r\n" % request.line):
            return False
        if request.method not in (b"GET", b"HEAD") or request.fields.keys() & NOT_IN_THE_HEAD:
            return False
        lines = b"".join(parts[::3]).count(b"\r\n") - 2 + MOST_IGNORED
        return lines <= self._limits.fields

    def receive(self, events: list[Event]) -> list[Event]:
        """Receive what `events` bring to idle connections, and answer it; the events that are left are others'.

        To be called before anything else that may close a connection: from here on a descriptor is who it was.
        """
        idle, read = self.idle, os.read
        arrived: list[Arrival] = []
        left: list[Event] = []
        for event in events:
            fd, mask = event
            connection = idle.get(fd) if mask == READY else None
            if connection is None:
                left.append(event)
                continue
            try:
                # The socket's own method, and that of sending, would cost a twentieth of the whole exchange more.
                arrived.append((connection, read(fd, RECEIVE_SIZE), fd))
            except OSError:  # nothing after all, or worse: the long way finds out
                left.append(event)
            except Exception as bug:  # noqa: BLE001  # as below: what the others have sent is not lost
                self._on_bug(connection.take, bug)
        if arrived:
            try:
                self._answer(arrived)
            except Exception as bug:  # noqa: BLE001  # none of the events that are left would come again
                self._on_bug(self._answer, bug)
        return left

    def answer(self) -> None:
        """Answer all that has been added. To be called when no more is received before it."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self.add = self._arrived.append
            self._answer(arrived)

    def _answer(self, arrived: list[Arrival]) -> None:
        """The known heads first: nobody whose answer is known waits for one that has to be made."""
        moment, heard = self._cache.next_moment(self._loop.now), self._cache.watches.heard
        for connection, octets, _ in self._answer_known(arrived, moment, heard):
            try:
                if (
                    -1 < octets.find(END_OF_HEAD) < len(octets) - len(END_OF_HEAD)
                    and len(octets) < RECEIVE_SIZE
                ):
                    self._answer_run(connection, octets, moment, heard)
                else:
                    connection.take(octets)
            except Exception as bug:  # noqa: BLE001  # a bug in one must not end the others
                self._on_bug(connection.take, bug)

    def _answer_known(  # noqa: C901, PLR0912, PLR0915  # by hand, as the head of the file says
        self, arrived: list[Arrival], moment: int, heard: int
    ) -> list[Arrival]:
        """One send for each head that is known: the hottest lines of the server. The others are left."""
        loop, log, answers, longest = self._loop, self._log, self._answers, self._longest
        date_line, deadline = loop.date_line, loop.now + self._keepalive
        if logged := log.enabled:
            log.turn_to(loop.wall)
        timed, layout = log.timed, log.layout
        counters, write = self._counters, os.write
        others: list[Arrival] = []
        gone = octets_gone = same = place = 0  # `same`: answers in a row that one cell counts
        for arrival in arrived:
            connection, head, fd = arrival
            try:
                parts = answer = None
                if len(head) < SHORT_HEAD:  # most often it is its own key
                    answer = answers.young.get(head)
                if answer is None and len(head) <= longest:
                    parts = split(head, MOST_IGNORED)
                    key = b"".join(parts[::3])
                    answer = answers.young.get(key) or answers.get(key)
                if answer is None:
                    others.append(arrival)
                    continue
                if (
                    heard != answer.heard
                    and moment != answer.moment
                    and not answer.agrees(moment, heard)
                ):
                    self._memo.drop(head)  # it is made anew
                    others.append(arrival)
                    continue
                if answer.date_line is not date_line:
                    answer.date(date_line)
                taken = 0
                try:
                    if answer.pieces:
                        if answer.one_span and fd != NOT_POLLED:
                            taken = send_span(
                                connection.sock, answer.octets, answer.one_span, loop.now
                            )
                    elif fd != NOT_POLLED:
                        taken = write(fd, answer.octets)
                    else:
                        taken = connection.sock.send(answer.octets, MSG_DONTWAIT)
                except OSError:  # no room, or nobody there: `repeat` finds out
                    pass
                if taken != answer.whole:
                    connection.repeat(head, answer, taken)
                    continue
                if answer.place != place:
                    counters.cells[place] += same
                    place, gone, same = answer.place, gone + same, 0
                same += 1
                octets_gone += answer.length
                if logged:
                    duration = time.monotonic() - loop.now if timed else 0.0
                    end = answer.end if parts is None else self._end(head, answer, parts, layout)
                    log.record(connection.peer, answer.told, end, duration)
                if not answer.persistent:
                    connection.close()
                    continue
                connection.deadline = deadline
                if fd == NOT_POLLED:
                    connection.poll()
            except Exception as bug:  # noqa: BLE001  # a bug in one must not end the others
                self._on_bug(connection.take, bug)
        if same:
            counters.cells[place] += same
            counters.took(gone + same, octets_gone, time.monotonic() - loop.now)
        return others

    def _end(self, head: bytes, answer: Prepared, parts: Parts, layout: Layout) -> bytes:
        """The end of a line of the log: the fields that the memo ignores are each request's own."""
        own = own_fields(parts)
        if own is None:
            return self._read_anew(head).end
        referer, agent = own
        if not referer and not agent:
            return answer.end
        if answer.request.fields or len(head) > layout.space:
            return self._read_anew(head).end
        return layout.end(referer or ABSENT, agent or ABSENT)

    def about(self, head: bytes, answer: Prepared) -> About:
        """What the log says of a request."""
        if not self._log.enabled:
            return answer.about
        end = self._end(head, answer, split(head, MOST_IGNORED), self._log.layout)
        return answer.about._replace(end=end)

    def _read_anew(self, head: bytes) -> About:
        """What the log says of the request of `head`, by the long way."""
        protocol = Http1Protocol(self._limits)
        protocol.receive(head)
        request = protocol.next_request()
        assert request is not None  # it is a head that has been answered, or says the same
        return self._log.layout.about(request.line, request.fields)

    # Runs: heads that came together from one client

    def _answer_run(self, connection: Repeating, octets: bytes, moment: int, heard: int) -> None:
        """Answer the known heads at the beginning of `octets` together; the first other one ends the run."""
        heads, answers, start = self._begin_run(octets, moment, heard)
        if not heads:
            connection.take(octets)
            return
        together = b"".join([each.octets for each in answers])
        taken = 0
        with contextlib.suppress(OSError):  # no room, or nobody there: `repeat` finds out
            taken = connection.sock.send(together, MSG_DONTWAIT)
        index = 0
        while index < len(answers) and taken >= len(answers[index].octets):
            taken -= len(answers[index].octets)
            index += 1
        duration = time.monotonic() - self._loop.now
        self._counters.repeated(answers[:index], duration)
        if self._log.enabled:
            self._log.turn_to(self._loop.wall)
            for head, answer in zip(heads[:index], answers, strict=False):
                end = answer.end
                if self._answers.young.get(head) is not answer:  # it is not its own key
                    end = self._end(head, answer, split(head, MOST_IGNORED), self._log.layout)
                self._log.record(connection.peer, answer.told, end, duration)
        if index < len(answers):
            rest = b"".join(heads[index + 1 :]) + octets[start:]
            connection.repeat(heads[index], answers[index], taken, rest)
        else:
            self._go_on(connection, octets[start:], persistent=answers[-1].persistent)

    def _begin_run(
        self, octets: bytes, moment: int, heard: int
    ) -> tuple[list[bytes], list[Prepared], int]:
        """The known heads at the beginning of `octets`, their answers as of now, and where the rest begins."""
        date_line = self._loop.date_line
        heads: list[bytes] = []
        answers: list[Prepared] = []
        start, size = 0, 0
        while (end := octets.find(END_OF_HEAD, start) + len(END_OF_HEAD)) > start:
            head = octets[start:end]
            answer = self._memo.find(head)
            if answer is None or answer.pieces or size > RUN_SIZE:
                break
            if not answer.persistent and end < len(octets):
                break  # what follows is not answered, but has to be received: see `lingering`
            if (
                heard != answer.heard
                and moment != answer.moment
                and not answer.agrees(moment, heard)
            ):
                self._memo.drop(head)
                break
            if answer.date_line is not date_line:
                answer.date(date_line)
            heads.append(head)
            answers.append(answer)
            size += len(answer.octets)
            start = end
        return heads, answers, start

    def _go_on(self, connection: Repeating, rest: bytes, *, persistent: bool) -> None:
        """What follows a run that has gone whole; `rest` came behind it."""
        if not persistent:
            connection.close()
        elif rest:
            connection.take(rest)
        else:
            connection.deadline = self._loop.now + self._keepalive
            connection.poll()


def _kept_fields(parts: Parts, fields: dict[bytes, bytes]) -> dict[bytes, bytes] | None:
    """Of `fields`, those that the log prints and the key of a head of these `parts` holds.

    The ignored ones are each client's own. None: which is which cannot be told.
    """
    own = own_fields(parts)
    if own is None:
        return None
    kept = {}
    for name, ignored in zip(SAID.values(), own, strict=True):
        value = fields.get(name)
        if ignored is None and value is not None:
            kept[name] = value
        elif ignored != value:
            return None
    return kept
