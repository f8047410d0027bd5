"""What a turn brings from clients between two requests: received first, all of it, then answered.

Between the two lies one moment, and the witnesses are asked after it: so what is answered was fresh when
its request had already come, and each witness is asked once for all requests of the turn. It is also the
place where a request costs least, and the one room that is written for that: the functions here do by hand
what `connection` says in words. Whatever is unusual goes back there.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import time
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from operator import attrgetter
from socket import MSG_DONTWAIT, MSG_MORE
from typing import Any, Final, Protocol, TypeAlias, TypeVar, cast

from mpserve.coalescing import Coalescing
from mpserve.config import Caches, Config
from mpserve.counters import Counters
from mpserve.filecache import FileCache
from mpserve.keeping import Made, prepare
from mpserve.loop import Event, Loop
from mpserve.memo import MOST_IGNORED, Memo, Parts, Prepared, split
from mpserve.noting import Log, Noting
from mpserve.protocol.message import About, FileSpan
from mpserve.readahead import is_known_warm
from mpserve.transport import ALONE_SIZE, RECEIVE_SIZE

T = TypeVar("T")

# A client whose socket blocks and is not polled yet, and all that it had to receive.
Arrival: TypeAlias = "tuple[Repeating, bytes]"
# The descriptor of such a client, as far as the epoll goes.
NOT_POLLED: Final = -1
OnBug: TypeAlias = Callable[[Callable[..., None], Exception], None]

# What epoll says of a connection that has something to receive, may send, and has nothing else to tell.
READY: Final = select.EPOLLIN | select.EPOLLOUT
END_OF_HEAD: Final = b"\r\n\r\n"
# Octets of the longest head that is worth keeping.
LONGEST_HEAD: Final = 4096
# A head of fewer octets has hardly room for the fields that are ignored.
SHORT_HEAD: Final = 200
# The parts of heads of which each is its own key.
UNCUT: Final[Sequence[Parts | None]] = ()
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

    def reset(self) -> None:
        """End it so that the client sees an error."""


# What is taken of many at once, without a line of Python for each.
OCTETS: Final = attrgetter("octets")
PEER: Final = attrgetter("peer")


def send_span(sock: _socket.socket, head: bytes, span: FileSpan, now: float) -> int:
    """Octets of `head` and of the span behind it that a socket that does not block took. Raises OSError.

    0, if the disk might be waited for.
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
        "_coalescing",
        "_keepalive",
        "_limits",
        "_longest",
        "_loop",
        "_memo",
        "_noting",
        "_on_bug",
        "about",
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
        self._limits = config.limits
        self._keepalive = config.timeouts.keepalive  # seconds
        self._longest = min(LONGEST_HEAD, config.limits.head)
        self._memo = Memo(caches.octets, caches.files, self._longest)
        self._answers = self._memo.answers
        self._cache = cache
        self._loop = loop
        self._coalescing = Coalescing(config.timeouts.coalesce, time.thread_time)
        self._noting = Noting(log, counters, loop, config.limits)
        self._on_bug = on_bug
        # Who is between two requests, by the descriptor of a socket that does not block and is polled.
        self.idle: dict[int, Repeating] = {}
        self._arrived: list[Arrival] = []
        # Leave to `answer` all that somebody had to receive whose socket blocks. A method would cost a call.
        self.add: Callable[[Arrival], None] = self._arrived.append
        # What the log says of the request of a head, and of its kept answer.
        self.about: Callable[[bytes, Prepared], About] = self._noting.about

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
        if self._memo.keeps:
            date_line, layout = self._loop.date_line, self._noting.layout
            answer = prepare(octets, made, date_line, layout, self._limits)
            if answer is not None:
                self._memo.put(octets, answer)

    def receive(self, events: list[Event]) -> list[Event]:
        """Receive what `events` bring to idle connections, and answer it; the events that are left are others'.

        To be called before anything else that may close a connection: from here on a descriptor is who it was.
        """
        idle = self.idle
        fds = [fd for fd, mask in events if mask == READY]
        connections = list(map(idle.get, fds))
        left: list[Event] = []
        if len(fds) < len(events) or None in connections:
            left = [event for event in events if event[1] != READY or event[0] not in idle]
            fds = [fd for fd in fds if fd in idle]
            connections = [idle[fd] for fd in fds]
        asking = cast("list[Repeating]", connections)
        try:
            self._loop.apart = self._coalescing.apart(fds, self._loop.now)
            if fds:
                left += self._receive_all(asking, fds)
        except Exception as bug:  # noqa: BLE001  # none of the events that are left would come again
            self._reset(asking, bug)
        return left

    def _receive_all(self, connections: list[Repeating], fds: list[int]) -> list[Event]:
        """Receive what has come on `fds`, those of `connections`, and answer it; the events where nothing could be."""
        # The socket's own method, and that of sending, would cost a twentieth of the whole exchange more.
        heads, failures = self._each(connections, os.read, b"", fds, [RECEIVE_SIZE] * len(fds))
        if not failures:
            self._answer(connections, heads, fds)
            return []
        came = [index for index in range(len(fds)) if index not in failures]
        if came:
            connections = [connections[index] for index in came]
            self._answer(
                connections, [heads[index] for index in came], [fds[index] for index in came]
            )
        # Nothing had come after all, or worse: the long way finds out.
        return [(fds[index], READY) for index, is_there in failures.items() if is_there]

    def _each(
        self, connections: list[Repeating], call: Callable[..., T], nothing: T, *columns: list[Any]
    ) -> tuple[list[T], dict[int, bool]]:
        """What `call` makes of each row of `columns`, those of `connections`; `nothing` where it failed.

        And for the numbers of the rows where it failed, whether the connection is still there: after an OSError, which
        says that nothing was done. A failure keeps no other row from being called, and no row is called twice.
        """
        made: list[T] = []
        failures: dict[int, bool] = {}
        rest = columns
        while True:
            try:
                made.extend(map(call, *rest))
            except OSError:  # what was made before it has been kept
                failures[len(made)] = True
                made.append(nothing)
            except Exception as bug:  # noqa: BLE001  # without memory it may have been done, and nobody could say so
                failures[len(made)] = False
                self._on_bug(connections[len(made)].take, bug)
                made.append(nothing)
            else:
                return made, failures
            rest = tuple(column[len(made) :] for column in columns)

    def answer(self) -> None:
        """Answer all that has been added. To be called when no more is received before it."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            self.add = self._arrived.append
            try:
                moment, heard = self._begin_moment()
                self._answer_apart([(*each, NOT_POLLED) for each in arrived], moment, heard)
            except Exception as bug:  # noqa: BLE001  # as above
                self._reset([connection for connection, _ in arrived], bug)

    def _reset(self, connections: list[Repeating], bug: Exception) -> None:
        """End connections of which nobody knows how far it went with them."""
        self._on_bug(self._answer, bug)
        for connection in connections:
            connection.reset()

    def _begin_moment(self) -> tuple[int, int]:
        """A moment later than all that has been received, and what the kernel had told before it."""
        return self._cache.next_moment(self._loop.now), self._cache.watches.heard

    def _answer(self, connections: list[Repeating], heads: list[bytes], fds: list[int]) -> None:
        """What is known and plain first, all of it together."""
        moment, heard = self._begin_moment()
        try:
            answers, parts, together = self._find(heads, moment, heard)
        except Exception as bug:  # noqa: BLE001  # what has been received is answered all the same
            self._on_bug(self._answer, bug)
            answers, parts, together = [None] * len(heads), UNCUT, False
        if together:
            self._answer_together(connections, heads, fds, cast("list[Prepared]", answers), parts)
            return
        rows = list(zip(connections, heads, fds, answers, parts or repeat(None), strict=False))
        plain = [row for row in rows if row[3] is not None and row[3].plain]
        if plain:
            self._answer_together(*map(list, zip(*plain, strict=True)))
        apart = [row[:3] for row in rows if row[3] is None or not row[3].plain]
        self._answer_apart(apart, moment, heard)

    def _find(
        self, heads: list[bytes], moment: int, heard: int
    ) -> tuple[list[Prepared | None], Sequence[Parts | None], bool]:
        """The answers to `heads` that are kept and hold at `moment`, and what the heads were cut into.

        And whether all of them can leave together.
        """
        answers, parts = self._look_up(heads)
        date_line, together = self._loop.date_line, True
        for answer in set(answers):
            if answer is None:
                together = False
            elif heard == answer.heard or moment == answer.moment or answer.agrees(moment, heard):
                if answer.date_line is not date_line:
                    answer.date(date_line)
                together = together and answer.plain
            else:
                together = False
                self._forget(answer, answers, heads)
        return answers, parts, together

    def _forget(self, answer: Prepared, answers: list[Prepared | None], heads: list[bytes]) -> None:
        """`answer` does not hold any more: it is made anew."""
        for index, head in enumerate(heads):
            if answers[index] is answer:
                answers[index] = None
                self._memo.drop(head)

    def _look_up(self, heads: list[bytes]) -> tuple[list[Prepared | None], Sequence[Parts | None]]:
        """The answers that are kept for `heads`, and what the heads were cut into, if it took that to find them."""
        young = self._answers.young
        longest = max(map(len, heads))
        if longest < SHORT_HEAD:  # most often each is its own key
            answers = list(map(young.get, heads))
            if None not in answers:
                return answers, UNCUT
        elif longest > self._longest:  # which is more than SHORT_HEAD
            heads = [head if len(head) <= self._longest else b"" for head in heads]
        parts = list(map(split, heads, repeat(MOST_IGNORED)))
        keys = [b"".join(each[::3]) for each in parts]
        answers = list(map(young.get, keys))
        if None in answers:
            answers = list(map(self._answers.get, keys))
        return answers, parts

    def _answer_together(
        self,
        connections: list[Repeating],
        heads: list[bytes],
        fds: list[int],
        answers: list[Prepared],
        parts: Sequence[Parts | None],
    ) -> None:
        """One write for each answer, all of which are plain: the hottest lines of the server."""
        octets = list(map(OCTETS, answers))
        taken, failures = self._each(connections, os.write, 0, fds, octets)
        if sum(taken) < sum(map(len, octets)):
            self._repeat_rest(connections, heads, answers, taken, failures)
            rows = [
                row
                for row in zip(
                    connections, heads, answers, parts or repeat(None), taken, strict=False
                )
                if row[4] == row[2].whole
            ]
            if not rows:
                return
            connections, heads, answers, parts, _ = map(list, zip(*rows, strict=True))
        deadline = self._loop.now + self._keepalive
        for connection in connections:
            connection.deadline = deadline
        self._note(map(PEER, connections), heads, answers, parts)

    def _repeat_rest(
        self,
        connections: list[Repeating],
        heads: list[bytes],
        answers: list[Prepared],
        taken: list[int],
        failures: dict[int, bool],
    ) -> None:
        """What has not gone whole: no room, or nobody there, and `repeat` finds out."""
        for index, answer in enumerate(answers):
            if taken[index] < answer.whole and failures.get(index, True):
                connection = connections[index]
                try:
                    connection.repeat(heads[index], answer, taken[index])
                except Exception as bug:  # noqa: BLE001  # a bug in one must not end the others
                    self._on_bug(connection.take, bug)

    def _note(
        self,
        peers: Iterable[bytes],
        heads: Sequence[bytes],
        answers: Sequence[Prepared],
        parts: Sequence[Parts | None],
    ) -> None:
        """Count and log answers that have gone whole: whatever comes of that, the clients have them."""
        try:
            self._noting.note(peers, heads, answers, parts)
        except Exception as bug:  # noqa: BLE001  # it costs lines of the log
            self._on_bug(self._noting.note, bug)

    def _answer_apart(  # noqa: C901  # by hand, as the head of the file says
        self, arrivals: list[tuple[Repeating, bytes, int]], moment: int, heard: int
    ) -> None:
        """One after the other: what is not known, or comes from a file, or ends its connection, or its socket blocks.

        The known heads first: nobody whose answer is known waits for one that has to be made.
        """
        deadline = self._loop.now + self._keepalive
        went: list[tuple[bytes, bytes, Prepared]] = []
        unknown: list[tuple[Repeating, bytes]] = []
        for connection, head, fd in arrivals:
            try:
                answer = self._recall(head, moment, heard)
                if answer is None:
                    unknown.append((connection, head))
                    continue
                taken = 0
                try:
                    if not answer.pieces:
                        taken = connection.sock.send(answer.octets, MSG_DONTWAIT)
                    elif answer.one_span and fd != NOT_POLLED:
                        taken = send_span(
                            connection.sock, answer.octets, answer.one_span, self._loop.now
                        )
                except OSError:  # no room, or nobody there: `repeat` finds out
                    pass
                if taken != answer.whole:
                    connection.repeat(head, answer, taken)
                    continue
                went.append((connection.peer, head, answer))
                if not answer.persistent:
                    connection.close()
                    continue
                connection.deadline = deadline
                if fd == NOT_POLLED:
                    connection.poll()
            except Exception as bug:  # noqa: BLE001  # a bug in one must not end the others
                self._on_bug(connection.take, bug)
        if went:
            peers, heads, answers = zip(*went, strict=True)
            self._note(peers, heads, answers, self._noting.cut(heads))
        for connection, octets in unknown:
            try:
                self._answer_anew(connection, octets, moment, heard)
            except Exception as bug:  # noqa: BLE001  # as above
                self._on_bug(connection.take, bug)

    def _recall(self, head: bytes, moment: int, heard: int) -> Prepared | None:
        """The answer to `head` that is kept, if it holds at `moment`."""
        # Most often the head is its own key.
        answer = self._answers.young.get(head) or self._memo.find(head)
        if answer is None:
            return None
        if heard != answer.heard and moment != answer.moment and not answer.agrees(moment, heard):
            self._memo.drop(head)  # it is made anew
            return None
        if answer.date_line is not self._loop.date_line:
            answer.date(self._loop.date_line)
        return answer

    def _answer_anew(self, connection: Repeating, octets: bytes, moment: int, heard: int) -> None:
        """What is not known as a whole: a run, perhaps, or the long way."""
        end = octets.find(END_OF_HEAD)
        if -1 < end < len(octets) - len(END_OF_HEAD) and len(octets) < RECEIVE_SIZE:
            self._answer_run(connection, octets, moment, heard)
        else:
            connection.take(octets)

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
        if index:
            whole = heads[:index]
            cut = self._noting.cut(whole)
            self._note([connection.peer] * index, whole, answers[:index], cut)
        if index < len(answers):
            rest = b"".join(heads[index + 1 :]) + octets[start:]
            connection.repeat(heads[index], answers[index], taken, rest)
        else:
            self._go_on(connection, octets[start:], persistent=answers[-1].persistent)

    def _begin_run(
        self, octets: bytes, moment: int, heard: int
    ) -> tuple[list[bytes], list[Prepared], int]:
        """The known heads at the beginning of `octets`, their answers as of now, and where the rest begins."""
        heads: list[bytes] = []
        answers: list[Prepared] = []
        start, size = 0, 0
        while (end := octets.find(END_OF_HEAD, start) + len(END_OF_HEAD)) > start:
            head = octets[start:end]
            answer = self._recall(head, moment, heard)
            if answer is None or answer.pieces or size > RUN_SIZE:
                break
            if not answer.persistent and end < len(octets):
                break  # what follows is not answered, but has to be received: see `lingering`
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
