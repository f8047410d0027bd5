"""A turn's batch: what is answered at once, what goes the long way, and what is kept of it."""

from __future__ import annotations

import _socket
import os
import select
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpserve import loop as loop_module
from mpserve.batch import LONGEST_HEAD, NOT_POLLED, READY, RUN_SIZE, Batch, Made, send_span
from mpserve.config import Config, load
from mpserve.counters import Counters, place_of
from mpserve.filecache import FileCache
from mpserve.loop import Loop
from mpserve.memo import MOST_IGNORED, Prepared
from mpserve.protocol.http1 import Http1Protocol
from mpserve.protocol.message import FileSpan, Piece
from mpserve.scoreboard import CELL, DURATIONS
from mpserve.transport import RECEIVE_SIZE
from mpserve.witness import Witness
from tests.dialogue import PEER, FakeLog, FakeTime, re_raise
from tests.fakes import FakeFile

KEEPALIVE = 75.0  # seconds: the default


def head(*lines: bytes, line: bytes = b"GET /a.txt HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *lines, b"", b""])


KNOWN, CLOSING, UNKNOWN = head(), head(b"Connection: close"), head(b"X: unknown")


class FakeWitness(Witness):
    """Agrees until it is told not to."""

    def __init__(self) -> None:
        super().__init__(b"/a.txt", None)
        self.agreeing = True
        self.watched = False
        self.asked = 0

    def looks_the_same(self) -> bool:
        self.asked += 1
        return self.agreeing

    def is_watched(self) -> bool:
        return self.watched


class FakeConnection:
    """Notes what is done with it."""

    def __init__(self, *, polled: bool = False) -> None:
        ours, self.client = socket.socketpair()
        self.sock: _socket.socket = ours
        self.peer = PEER
        self.deadline = 0.0
        self.fd = ours.fileno() if polled else NOT_POLLED
        if polled:
            ours.setblocking(False)
        self.deeds: list[tuple[object, ...]] = []
        self.bug: Exception | None = None

    def poll(self) -> None:
        self._do("poll")

    def take(self, octets: bytes) -> None:
        self._do("take", octets)

    def repeat(self, head: bytes, answer: Prepared, taken: int, rest: bytes = b"") -> None:
        self._do("repeat", head, answer, taken, rest)

    def close(self) -> None:
        self._do("close")

    def _do(self, *deed: object) -> None:
        self.deeds.append(deed)
        if self.bug is not None:
            raise self.bug

    def heard(self) -> bytes:
        """What the client has got."""
        self.client.setblocking(False)
        octets = b""
        try:
            while more := self.client.recv(1 << 20):
                octets += more
        except BlockingIOError:
            pass
        return octets

    def fill(self) -> None:
        """Leave no room for another octet."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.sock.setblocking(False)
        try:
            while True:
                self.sock.send(bytes(1024))
        except BlockingIOError:
            self.sock.setblocking(True)

    def end(self) -> None:
        self.sock.close()
        self.client.close()


@dataclass
class Stage:
    """A batch, and all that it deals with."""

    config: Config
    log: FakeLog = field(default_factory=FakeLog)
    bugs: list[tuple[object, Exception]] = field(default_factory=list)
    connections: list[FakeConnection] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = Loop(re_raise)
        self.loop.close()
        self.cache = FileCache(1 << 20, 100, 0.0, 100)
        self.counters = Counters()
        self.batch = Batch(
            self.config,
            self.config.caches,
            self.loop,
            self.cache,
            self.log,
            self._noted,
            self.counters,
        )

    def _noted(self, handler: Callable[..., None], bug: Exception) -> None:
        self.bugs.append((getattr(handler, "__self__", handler), bug))

    def connection(self, *, polled: bool = False) -> FakeConnection:
        self.connections.append(FakeConnection(polled=polled))
        return self.connections[-1]

    def learn(
        self, octets: bytes, *content: Piece, witnesses: tuple[Witness, ...] | None = ()
    ) -> None:
        """Keep an answer to the head `octets`."""
        self.batch.keep(octets, self.made(octets, *content, witnesses=witnesses))

    def made(
        self, octets: bytes, *content: Piece, witnesses: tuple[Witness, ...] | None = ()
    ) -> Made:
        """What the long way might have made of the head `octets`."""
        protocol = Http1Protocol(self.config.limits)
        protocol.receive(octets)
        request = protocol.next_request()
        assert request is not None
        return Made(request, 200, self.head_of_answer(), content, witnesses)

    def head_of_answer(self) -> bytes:
        return b"HTTP/1.1 200 OK\r\n%bX: y\r\n\r\n" % self.loop.date_line

    def knows(self, octets: bytes) -> bool:
        """Whether there is an answer to `octets`."""
        return self.batch._memo.find(octets) is not None

    def bring(self, connection: FakeConnection, octets: bytes) -> None:
        """Leave what has come on `connection` to the batch."""
        self.batch.add((connection, octets, connection.fd))

    def say(self, octets: bytes, *, polled: bool = False) -> FakeConnection:
        """A connection on which `octets` have come, and the turn that follows."""
        connection = self.connection(polled=polled)
        self.bring(connection, octets)
        self.batch.answer()
        return connection

    def logged(self) -> list[tuple[bytes, int, int]]:
        return [(each.line, each.status, each.sent) for each in self.log.exchanges]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    monkeypatch.setattr(loop_module, "time", FakeTime())
    stage = Stage(load([str(tmp_path), "--max-fields", "20"], {}))
    stage.learn(KNOWN, b"hello")
    stage.learn(CLOSING, b"bye")
    yield stage
    for connection in stage.connections:
        connection.end()


# --- Single heads ---------------------------------------------------------------------------------


def test_a_known_head_is_answered(stage: Stage) -> None:
    connection = stage.say(KNOWN)

    assert connection.heard() == stage.head_of_answer() + b"hello"
    assert (connection.deeds, connection.deadline) == ([("poll",)], stage.loop.now + KEEPALIVE)


def test_nothing_is_answered_before_all_has_been_received(stage: Stage) -> None:
    connection = stage.connection()
    stage.bring(connection, KNOWN)
    before = connection.heard(), list(connection.deeds)
    stage.batch.answer()

    assert before == (b"", [])
    assert connection.heard() == stage.head_of_answer() + b"hello"


def test_it_is_answered_once(stage: Stage) -> None:
    connection = stage.say(KNOWN)
    stage.batch.answer()

    assert connection.heard() == stage.head_of_answer() + b"hello"


def test_a_connection_that_is_polled_is_not_polled_again(stage: Stage) -> None:
    assert stage.say(KNOWN, polled=True).deeds == []


def test_an_answer_that_ends_the_connection_ends_it(stage: Stage) -> None:
    connection = stage.say(CLOSING)

    assert (connection.heard()[-3:], connection.deeds) == (b"bye", [("close",)])


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(UNKNOWN, id="another head"),
        pytest.param(KNOWN[:-1], id="a part of a head"),
        pytest.param(b"", id="the end"),
        pytest.param(b"\r\n", id="an empty line"),
        pytest.param(b"\r\n\r\n", id="two empty lines"),
        pytest.param(b"\r\n" + KNOWN, id="an empty line and a head"),
        pytest.param(UNKNOWN + KNOWN, id="another head and a known one"),
        pytest.param(b"\0", id="anything else"),
    ],
)
def test_what_is_not_known_goes_the_long_way(stage: Stage, octets: bytes) -> None:
    assert stage.say(octets).deeds == [("take", octets)]


def test_what_is_known_is_answered_before_what_goes_the_long_way(stage: Stage) -> None:
    unknown, known = stage.connection(), stage.connection()
    order: list[bytes] = []
    unknown.take = lambda octets: order.append(known.heard()[-5:])  # type: ignore[method-assign]
    stage.bring(unknown, UNKNOWN)
    stage.bring(known, KNOWN)
    stage.batch.answer()

    assert order == [b"hello"]


def test_an_old_answer_is_found_too(stage: Stage) -> None:
    stage.batch._memo.answers._old = stage.batch._memo.answers.young
    stage.batch._memo.answers._old_costs = stage.batch._memo.answers._costs
    stage.batch._memo.answers.young, stage.batch._memo.answers._costs = {}, {}

    assert stage.say(KNOWN).heard()[-5:] == b"hello"


def test_the_date_is_that_of_the_turn(stage: Stage) -> None:
    stage.loop.date_line = b"Date: Fri, 01 Jan 2038 00:00:00 GMT\r\n"

    expected = b"HTTP/1.1 200 OK\r\n%bX: y\r\n\r\nhello" % stage.loop.date_line
    assert stage.say(KNOWN).heard() == expected


def test_what_does_not_go_at_once_is_repeated(stage: Stage) -> None:
    connection = stage.connection()
    connection.fill()
    stage.bring(connection, KNOWN)
    stage.batch.answer()
    ((_, *repeated),) = connection.deeds

    assert repeated == [KNOWN, stage.batch._memo.find(KNOWN), 0, b""]
    assert stage.logged() == []


def test_what_goes_in_part_is_repeated_from_there(stage: Stage) -> None:
    stage.learn(head(b"A: large"), b"x" * 60000)
    connection = stage.connection()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
    stage.bring(connection, head(b"A: large"))
    stage.batch.answer()
    ((deed, octets, _, taken, rest),) = connection.deeds

    assert (deed, octets, taken, rest) == (
        "repeat",
        head(b"A: large"),
        len(connection.heard()),
        b"",
    )


def test_a_client_that_is_gone_is_left_to_the_long_way(stage: Stage) -> None:
    connection = stage.connection()
    connection.client.close()
    stage.bring(connection, KNOWN)
    stage.batch.answer()

    assert [(deed, taken) for deed, _, _, taken, _ in connection.deeds] == [("repeat", 0)]


def test_large_content_is_repeated_from_its_file(stage: Stage) -> None:
    span = FileSpan(FakeFile(b""), 0, 1 << 20)
    stage.learn(head(b"A: large"), span)
    connection = stage.say(head(b"A: large"))
    ((deed, octets, answer, taken, _),) = connection.deeds
    assert isinstance(answer, Prepared)

    assert (deed, octets, answer.pieces, taken) == ("repeat", head(b"A: large"), (span,), 0)
    assert connection.heard() == b""


@pytest.fixture
def span(tmp_path: Path) -> Iterator[FileSpan]:
    """A part of a file that leaves in one call where there is room."""
    (tmp_path / "large").write_bytes(bytes(range(256)) * 400)
    with (tmp_path / "large").open("rb") as file:
        yield FileSpan(FakeFile(b"", file.fileno()), 256, 100_000)


def polled_connection(stage: Stage, room: int) -> FakeConnection:
    """A connection that does not block, with about so much room for what is sent."""
    connection = stage.connection(polled=True)
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    return connection


def test_a_span_that_goes_at_once_is_sent_at_once(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"A: large"), span)
    connection = polled_connection(stage, 1 << 20)
    stage.bring(connection, head(b"A: large"))
    stage.batch.answer()
    content = (bytes(range(256)) * 400)[256:100_000]

    assert (connection.deeds, connection.deadline) == ([], stage.loop.now + KEEPALIVE)
    assert connection.heard() == stage.head_of_answer() + content
    assert stage.logged() == [(b"GET /a.txt HTTP/1.1", 200, len(content))]


def test_a_span_may_end_the_connection(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"Connection: close", b"A: large"), span)
    connection = polled_connection(stage, 1 << 20)
    stage.bring(connection, head(b"Connection: close", b"A: large"))
    stage.batch.answer()

    assert connection.deeds == [("close",)]


def test_a_span_that_goes_in_part_is_repeated_from_there(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"A: large"), span)
    connection = polled_connection(stage, 20_000)
    stage.bring(connection, head(b"A: large"))
    stage.batch.answer()
    ((deed, octets, _, taken, rest),) = connection.deeds

    assert (deed, octets, taken, rest) == (
        "repeat",
        head(b"A: large"),
        len(connection.heard()),
        b"",
    )
    assert stage.logged() == []


def test_a_span_of_which_only_the_head_goes_is_repeated(
    stage: Stage, span: FileSpan, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "sendfile", failing)
    stage.learn(head(b"A: large"), span)
    connection = polled_connection(stage, 1 << 20)
    stage.bring(connection, head(b"A: large"))
    stage.batch.answer()
    ((deed, _, _, taken, _),) = connection.deeds

    assert (deed, taken) == ("repeat", len(stage.head_of_answer()))


def test_a_span_waits_for_its_head(stage: Stage, span: FileSpan) -> None:
    large = b"x" * 60_000
    connection = polled_connection(stage, 20_000)
    taken = send_span(connection.sock, large, span, 0.0)

    assert taken < len(large)
    assert connection.heard() == large[:taken]


def test_a_span_for_which_there_is_no_room_is_repeated(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"A: large"), span)
    connection = polled_connection(stage, 1)
    connection.fill()
    connection.sock.setblocking(False)
    stage.bring(connection, head(b"A: large"))
    stage.batch.answer()
    ((deed, _, _, taken, _),) = connection.deeds

    assert (deed, taken) == ("repeat", 0)


# --- What is received for all idle connections together -------------------------------------------


def idle_connection(stage: Stage, octets: bytes) -> FakeConnection:
    """A connection between two requests, on which `octets` have come."""
    connection = stage.connection(polled=True)
    stage.batch.idle[connection.fd] = connection
    connection.client.sendall(octets)
    return connection


def test_who_is_idle_is_received_from_and_answered(stage: Stage) -> None:
    first, second = (idle_connection(stage, octets) for octets in (KNOWN, UNKNOWN))
    left = stage.batch.receive([(first.fd, READY), (second.fd, READY)])

    assert (left, first.deeds, second.deeds) == ([], [], [("take", UNKNOWN)])
    assert first.heard() == stage.head_of_answer() + b"hello"
    assert first.deadline == stage.loop.now + KEEPALIVE


def test_all_is_received_before_any_is_answered(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = [idle_connection(stage, KNOWN) for _ in range(3)]
    heard: list[bytes] = []
    read = os.read

    def noted(fd: int, size: int) -> bytes:
        heard.extend(each.heard() for each in connections)
        return read(fd, size)

    monkeypatch.setattr(os, "read", noted)
    stage.batch.receive([(each.fd, READY) for each in connections])

    assert b"".join(heard) == b""
    assert [each.heard()[-5:] for each in connections] == [b"hello"] * 3


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(select.EPOLLOUT, id="there is room"),
        pytest.param(READY | select.EPOLLRDHUP, id="the client sends no more"),
        pytest.param(READY | select.EPOLLHUP | select.EPOLLERR, id="the client is gone"),
        pytest.param(select.EPOLLIN, id="there is no room for an answer"),
    ],
)
def test_what_else_is_to_be_said_of_one_who_is_idle_is_left(stage: Stage, mask: int) -> None:
    connection = idle_connection(stage, KNOWN)

    assert stage.batch.receive([(connection.fd, mask)]) == [(connection.fd, mask)]
    assert (connection.heard(), connection.deeds) == (b"", [])


def test_who_is_not_idle_is_left(stage: Stage) -> None:
    connection = idle_connection(stage, KNOWN)
    del stage.batch.idle[connection.fd]

    assert stage.batch.receive([(connection.fd, READY)]) == [(connection.fd, READY)]
    assert (connection.heard(), connection.deeds) == (b"", [])


def test_who_has_sent_nothing_after_all_is_left(stage: Stage) -> None:
    connection = idle_connection(stage, b"")

    assert stage.batch.receive([(connection.fd, READY)]) == [(connection.fd, READY)]
    assert connection.deeds == []


def test_a_failure_to_receive_costs_the_others_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, broken, last = (idle_connection(stage, KNOWN) for _ in range(3))
    read = os.read

    def reading(fd: int, size: int) -> bytes:
        if fd == broken.fd:
            raise MemoryError
        return read(fd, size)

    monkeypatch.setattr(os, "read", reading)
    left = stage.batch.receive([(each.fd, READY) for each in (first, broken, last)])

    assert [each.heard()[-5:] for each in (first, broken, last)] == [b"hello", b"", b"hello"]
    assert (left, [owner for owner, _ in stage.bugs]) == ([], [broken])


def test_a_failure_to_answer_leaves_the_other_events_to_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_cache: FileCache, _now: float) -> int:
        raise MemoryError

    connection, other = idle_connection(stage, KNOWN), (999, select.EPOLLIN)
    monkeypatch.setattr(FileCache, "next_moment", failing)

    assert stage.batch.receive([(connection.fd, READY), other]) == [other]
    assert [type(bug) for _, bug in stage.bugs] == [MemoryError]


def test_known_heads_with_more_behind_them_go_the_long_way_which_reads_on(stage: Stage) -> None:
    octets = KNOWN * (RECEIVE_SIZE // len(KNOWN) + 1)
    connection = idle_connection(stage, octets)
    stage.batch.receive([(connection.fd, READY)])

    assert connection.deeds == [("take", octets[:RECEIVE_SIZE])]


# --- Freshness ------------------------------------------------------------------------------------


def test_an_answer_that_does_not_hold_any_more_is_made_anew(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    before = stage.say(head(b"A: b")).heard()[-3:]
    witness.agreeing = False
    connection = stage.say(head(b"A: b"))

    assert (before, connection.heard()) == (b"old", b"")
    assert connection.deeds == [("take", head(b"A: b"))]
    assert not stage.knows(head(b"A: b"))


@pytest.mark.parametrize("times", [pytest.param(1, id="alone"), pytest.param(2, id="in a run")])
def test_witnesses_that_are_watched_are_asked_when_the_kernel_has_told_something(
    stage: Stage, times: int
) -> None:
    witness = FakeWitness()
    witness.watched = True
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    asked = []
    for told in (0, 0, 1, 0, 0):
        stage.cache.watches.heard += told
        assert stage.say(head(b"A: b") * times).heard().count(b"old") == times
        asked.append(witness.asked)

    assert asked == [1, 1, 2, 2, 2]


def test_what_is_told_in_the_middle_of_a_turn_is_not_lost_to_a_run_of_that_turn(
    stage: Stage,
) -> None:
    witness = FakeWitness()
    witness.watched = True
    single, repeated = head(b"A: b"), head(b"C: d")
    for each in (single, repeated):
        stage.learn(each, b"old", witnesses=(witness,))
    unknown = stage.connection()

    # As a lookup does, after the witness has been asked in this moment.
    def hear(octets: bytes) -> None:
        stage.cache.watches.heard += 1
        witness.agreeing = False

    unknown.take = hear  # type: ignore[method-assign]
    for octets in (single, repeated * 2):
        stage.bring(stage.connection(), octets)
        if octets is single:
            stage.bring(unknown, UNKNOWN)
    stage.batch.answer()

    assert stage.say(repeated).deeds == [("take", repeated)]


def test_witnesses_that_are_not_watched_are_asked_in_every_turn(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    for _ in range(3):
        stage.say(head(b"A: b"))

    assert witness.asked == 3


def test_witnesses_are_asked_after_all_has_been_received(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    connection = stage.connection()
    stage.bring(connection, head(b"A: b"))
    witness.agreeing = False
    stage.batch.answer()

    assert connection.deeds == [("take", head(b"A: b"))]


def test_they_are_asked_in_each_turn(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"", witnesses=(witness,))
    moments = []
    for _ in range(3):
        stage.say(head(b"A: b"))
        moments.append(witness.moment)

    assert moments == [1, 2, 3]


# --- The log --------------------------------------------------------------------------------------


def test_an_answer_is_logged(stage: Stage) -> None:
    stage.say(KNOWN)
    stage.say(CLOSING)

    assert stage.logged() == [(b"GET /a.txt HTTP/1.1", 200, 5), (b"GET /a.txt HTTP/1.1", 200, 3)]
    assert {exchange.peer for exchange in stage.log.exchanges} == {PEER}


def test_nothing_is_logged_where_nobody_reads_it(stage: Stage) -> None:
    stage.log.enabled = False
    stage.say(KNOWN)
    stage.say(KNOWN * 3)

    assert stage.logged() == []


@pytest.mark.parametrize(
    ("kept", "lines", "expected"),
    [
        pytest.param((), (), (b"-", b"-"), id="nothing"),
        pytest.param((), (b"User-Agent: a",), (b"-", b"a"), id="an agent"),
        pytest.param((b"User-Agent: a",), (b"User-Agent: b",), (b"-", b"b"), id="another agent"),
        pytest.param((b"User-Agent: a",), (), (b"-", b"-"), id="no agent any more"),
        pytest.param((), (b"Referer: a", b"User-Agent: b"), (b"a", b"b"), id="both"),
        pytest.param((), (b"User-Agent: a", b"User-Agent: b"), (b"-", b"a, b"), id="two agents"),
        pytest.param((b"referer: a",), (b"referer: a",), (b"a", b"-"), id="in lower case"),
        pytest.param(
            (b"referer: a",),
            (b"referer: a", b"User-Agent: b"),
            (b"a", b"b"),
            id="one in lower case, and the other",
        ),
        pytest.param(
            (b"referer: a",),
            (b"Referer: b", b"referer: a"),
            (b"b, a", b"-"),
            id="one in two spellings",
        ),
    ],
)
def test_the_log_tells_of_each_request_what_it_says(
    stage: Stage, kept: tuple[bytes, ...], lines: tuple[bytes, ...], expected: tuple[bytes, ...]
) -> None:
    stage.learn(head(b"A: b", *kept), b"")
    text = head(b"A: b", *lines)
    answer = stage.batch._memo.find(text)
    assert answer is not None

    about = stage.batch.about(text, answer)
    assert (about.asked, about.end) == ((b"GET /a.txt HTTP/1.1",), b' "%b" "%b"\n' % expected)


def test_a_log_that_is_not_read_costs_nothing(stage: Stage) -> None:
    stage.log.enabled = False
    answer = stage.batch._memo.find(KNOWN)
    assert answer is not None

    assert stage.batch.about(head(b"User-Agent: a"), answer) is answer.about


def test_the_time_it_took_is_told_where_it_is_asked_for(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    durations: list[float] = []
    monkeypatch.setattr(stage.log, "record", lambda *values: durations.append(values[3]))
    stage.loop.now -= 1000.0
    for timed in (False, True):
        stage.log.timed = timed
        stage.say(KNOWN)

    assert durations[0] == 0.0
    assert 1000.0 <= durations[1] < 1060.0


# --- Bugs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [KNOWN, KNOWN * 2], ids=["a head", "a run"])
def test_a_bug_in_one_does_not_end_the_others(stage: Stage, octets: bytes) -> None:
    broken, bug = stage.connection(), ValueError()
    broken.bug = bug
    others = [stage.connection() for _ in range(2)]
    for connection in (others[0], broken, others[1]):
        stage.bring(connection, octets)
    stage.batch.answer()
    count = len(octets) // len(KNOWN)

    assert [each.heard().count(b"hello") for each in others] == [count, count]
    assert stage.bugs == [(broken, bug)]


# --- Runs -----------------------------------------------------------------------------------------


def test_known_heads_that_come_together_are_answered_together(stage: Stage) -> None:
    connection = stage.say(KNOWN * 3)

    assert connection.heard() == (stage.head_of_answer() + b"hello") * 3
    assert (connection.deeds, connection.deadline) == ([("poll",)], stage.loop.now + KEEPALIVE)
    assert len(stage.logged()) == 3


@pytest.mark.parametrize(
    "rest",
    [
        pytest.param(UNKNOWN, id="another head"),
        pytest.param(UNKNOWN + KNOWN, id="another head, and a known one"),
        pytest.param(KNOWN[:-1], id="a part of a head"),
        pytest.param(b"\r\n" + KNOWN, id="an empty line"),
        pytest.param(b"\0", id="anything else"),
        pytest.param(CLOSING + KNOWN, id="the last head, and more"),
        pytest.param(CLOSING + b"x", id="the last head, and octets"),
    ],
)
def test_a_run_ends_where_something_else_comes(stage: Stage, rest: bytes) -> None:
    connection = stage.connection()
    stage.bring(connection, KNOWN * 2 + rest)
    before = list(connection.deeds)
    stage.batch.answer()

    assert (before, connection.deeds) == ([], [("take", rest)])
    assert connection.heard() == (stage.head_of_answer() + b"hello") * 2


def test_a_run_ends_the_connection(stage: Stage) -> None:
    connection = stage.say(KNOWN * 2 + CLOSING)

    assert connection.deeds == [("close",)]
    assert connection.heard().endswith(b"hello" + stage.head_of_answer() + b"bye")


def test_the_last_head_first_is_no_run(stage: Stage) -> None:
    assert stage.say(CLOSING * 2).deeds == [("take", CLOSING * 2)]


def test_large_content_ends_a_run(stage: Stage) -> None:
    large = head(b"A: large")
    stage.learn(large, FileSpan(FakeFile(b""), 0, 1 << 20))
    connection = stage.say(KNOWN + large + KNOWN)

    assert connection.deeds == [("take", large + KNOWN)]


def test_a_run_has_its_limit(stage: Stage) -> None:
    large = head(b"A: large")
    stage.learn(large, b"x" * 60000)
    connection = stage.connection()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 22)
    stage.bring(connection, large * 10)
    stage.batch.answer()
    answered = RUN_SIZE // 60000 + 1

    assert connection.deeds == [("take", large * (10 - answered))]
    assert connection.heard().count(b"HTTP/1.1 200 OK") == answered


@pytest.mark.parametrize("known", [0, 2])
def test_a_run_ends_where_an_answer_does_not_hold_any_more(stage: Stage, known: int) -> None:
    witness, stale = FakeWitness(), head(b"A: stale")
    stage.learn(stale, b"old", witnesses=(witness,))
    connection = stage.connection()
    stage.bring(connection, KNOWN * known + stale + KNOWN + UNKNOWN)
    witness.agreeing = False
    stage.batch.answer()

    assert connection.deeds == [("take", stale + KNOWN + UNKNOWN)]
    assert connection.heard() == (stage.head_of_answer() + b"hello") * known
    assert not stage.knows(stale)


def test_what_does_not_go_of_a_run_is_repeated(stage: Stage) -> None:
    large = head(b"A: large")
    stage.learn(large, b"x" * 60000)
    connection = stage.connection()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    stage.bring(connection, KNOWN + large * 4 + UNKNOWN)
    stage.batch.answer()
    ((deed, octets, answer, taken, rest),) = connection.deeds
    heard = connection.heard()
    whole = stage.head_of_answer() + b"x" * 60000
    gone = heard.count(b"HTTP/1.1 200 OK") - (0 < int(str(taken)))

    assert (deed, octets, answer) == ("repeat", large, stage.batch._memo.find(large))
    assert rest == large * (4 - gone) + UNKNOWN
    assert len(stage.logged()) == gone
    assert (
        heard
        == stage.head_of_answer()
        + b"hello"
        + (whole * 4)[: (gone - 1) * len(whole)]
        + (whole[: int(str(taken))])
    )


def test_a_run_to_a_client_that_is_gone_is_left_to_the_long_way(stage: Stage) -> None:
    connection = stage.connection()
    connection.client.close()
    stage.bring(connection, KNOWN * 3)
    stage.batch.answer()

    assert [(*deed[:2], *deed[3:]) for deed in connection.deeds] == [
        ("repeat", KNOWN, 0, KNOWN * 2)
    ]
    assert stage.logged() == []


# --- What is kept ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(head(b"A: b"), id="GET"),
        pytest.param(head(line=b"HEAD /a.txt HTTP/1.1"), id="HEAD"),
        pytest.param(head(line=b"GET /a.txt HTTP/1.0"), id="HTTP/1.0"),
        pytest.param(head(b"User-Agent: a", b"Cookie: b", line=b"GET /b HTTP/1.1"), id="a browser"),
        pytest.param(head(*[b"Cookie: a"] * 9, line=b"GET /b HTTP/1.1"), id="many cookies"),
        pytest.param(head(*[b"A: b"] * (19 - MOST_IGNORED)), id="as many fields as may be"),
    ],
)
def test_a_request_that_can_be_repeated_is_kept(stage: Stage, octets: bytes) -> None:
    before = stage.knows(octets)
    stage.learn(octets, b"x")

    assert (before, stage.knows(octets)) == (False, True)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(head(line=b"POST /a.txt HTTP/1.1"), id="another method"),
        pytest.param(head(b"Content-Length: 0"), id="content without octets"),
        pytest.param(head(b"Content-Length: 5"), id="content"),
        pytest.param(head(b"Transfer-Encoding: chunked"), id="chunked content"),
        pytest.param(head(b"Expect: 100-continue"), id="an expectation"),
        pytest.param(head(*[b"A: b"] * (20 - MOST_IGNORED)), id="too many fields"),
        pytest.param(head(b"A: b", b"User-Agent: a", b"user-agent: b"), id="two spellings"),
        pytest.param(head(b"A: b", b"User-Agent: a", b"User-Agent: b"), id="two agents"),
        pytest.param(head(b"A: " + b"x" * LONGEST_HEAD), id="a long head"),
    ],
)
def test_a_request_that_is_more_than_its_head_is_not_kept(stage: Stage, octets: bytes) -> None:
    stage.learn(octets, b"x")

    assert not stage.knows(octets)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"\r\n" + head(b"A: b"), id="with an empty line before it"),
        pytest.param(head(b"A: b", line=b"OPTIONS /a.txt HTTP/1.1"), id="of another request"),
        pytest.param(head(b"A: b", line=b"GET /a.txt HTTP/1.1x"), id="of one that begins like it"),
        pytest.param(b"\r\n\r\n", id="that is none"),
    ],
)
def test_octets_that_are_not_the_head_of_the_request_are_not_kept(
    stage: Stage, octets: bytes
) -> None:
    stage.batch.keep(octets, stage.made(head(b"A: b"), b"x"))

    assert not stage.knows(octets)


def test_what_nobody_vouches_for_is_not_kept(stage: Stage) -> None:
    stage.learn(head(b"A: b"), b"x", witnesses=None)

    assert not stage.knows(head(b"A: b"))


def test_nothing_is_kept_without_memory(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--cache-size", "0"], {}))
    stage.learn(KNOWN, b"x")

    assert not stage.knows(KNOWN)


def test_a_head_that_the_site_would_refuse_is_not_kept(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--max-head", "1024"], {}))
    longest = head(b"A: " + b"x" * (1024 - len(head(b"A: "))))
    stage.learn(longest, b"x")
    longer = longest.replace(b"Host", b"Cookie: a\r\nHost")

    assert (stage.knows(longest), stage.knows(longer)) == (True, False)


def test_a_head_that_is_too_long_goes_the_long_way(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--max-head", "1024"], {}))
    stage.learn(KNOWN, b"x")
    longer = head(b"Cookie: " + b"x" * 1000)
    connection = stage.say(longer)
    connection.end()

    assert connection.deeds == [("take", longer)]


def test_only_what_the_log_prints_is_kept_of_the_fields(stage: Stage) -> None:
    text = head(b"Cookie: a", b"X: y", b"referer: z", b"User-Agent: b")
    stage.learn(text, b"x")
    answer = stage.batch._memo.find(text)
    assert answer is not None

    assert answer.request.fields == {b"referer": b"z"}


def test_a_small_span_is_kept_in_memory(stage: Stage, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"0123456789")
    with (tmp_path / "file").open("rb") as file:
        opened = FakeFile(b"", file.fileno())
        status = os.fstat(file.fileno())
        sight = status.st_dev, status.st_ino, 10, status.st_mtime_ns, status.st_ctime_ns
        witness = Witness(bytes(tmp_path / "file"), sight)
        stage.learn(head(b"A: b"), FileSpan(opened, 2, 5), witnesses=(witness,))

    assert stage.say(head(b"A: b")).heard()[-7:] == b"\r\n\r\n234"


# --- The end --------------------------------------------------------------------------------------


def test_all_is_forgotten_and_it_begins_again(stage: Stage) -> None:
    stage.batch.clear()
    forgotten = stage.knows(KNOWN)
    stage.learn(KNOWN, b"x")

    assert (forgotten, stage.knows(KNOWN)) == (False, True)


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(KNOWN, id="a head"),
        pytest.param(KNOWN * 3, id="a run"),
        pytest.param(KNOWN * 3 + UNKNOWN[:9], id="a run and more"),
    ],
)
def test_after_a_stop_all_goes_the_long_way(stage: Stage, octets: bytes) -> None:
    before, after = stage.connection(), stage.connection()
    stage.bring(before, octets)
    stage.batch.stop()
    stage.bring(after, octets)
    stage.learn(KNOWN, b"x")
    stage.batch.answer()

    assert (before.deeds, before.heard()) == ([("take", octets)], b"")
    assert (after.deeds, after.heard()) == ([("take", octets)], b"")
    assert not stage.knows(KNOWN)


def test_a_bug_after_a_stop_does_not_end_the_others(stage: Stage) -> None:
    broken, other = stage.connection(), stage.connection()
    broken.bug = ValueError()
    stage.bring(broken, KNOWN)
    stage.bring(other, KNOWN)
    stage.batch.stop()
    stage.batch.answer()

    assert stage.bugs == [(broken, broken.bug)]
    assert other.deeds == [("take", KNOWN)]


def test_its_repr_tells_what_waits(stage: Stage) -> None:
    stage.bring(stage.connection(), KNOWN)
    stage.bring(stage.connection(), KNOWN * 2)

    assert repr(stage.batch).startswith("<Batch 2 arrived, <Memo <Generations 2+0, ")


def test_every_answer_that_has_gone_is_counted(stage: Stage) -> None:
    other = head(line=b"HEAD /a.txt HTTP/1.1")
    stage.learn(KNOWN, b"hello")
    stage.learn(other)
    for _ in range(3):
        for octets in (KNOWN, KNOWN, other):
            stage.bring(stage.connection(), octets)
        stage.batch.answer()
    cells = stage.counters.cells

    assert (6, 3) == (cells[place_of(b"GET", 200)], cells[place_of(b"HEAD", 200)])
    assert (30, 9) == (cells[CELL["octets"]], sum(cells[CELL[name]] for name in DURATIONS))


def test_an_answer_that_did_not_go_whole_is_left_to_its_connection_to_count(stage: Stage) -> None:
    stage.learn(KNOWN, bytes(4 << 20))
    stage.say(KNOWN)

    assert stage.counters.cells[place_of(b"GET", 200)] == 0


def test_a_run_is_counted_head_by_head(stage: Stage) -> None:
    stage.learn(KNOWN, b"hello")
    stage.say(KNOWN * 3)

    assert stage.counters.cells[place_of(b"GET", 200)] == 3
