"""A turn's batch: what is answered at once, and what goes the long way."""

from __future__ import annotations

import gc
import os
import select
import socket
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from mpserve import batch as batch_module
from mpserve.batch import LONGEST_HEAD, READY, RUN_SIZE, send_span
from mpserve.config import load
from mpserve.counters import Counters
from mpserve.filecache import FileCache
from mpserve.memo import Prepared
from mpserve.protocol.message import FileSpan
from mpserve.transport import RECEIVE_SIZE
from mpserve.watches import Watches
from tests.fakes import FakeFile
from tests.stage import (
    CLOSING,
    KEEPALIVE,
    KNOWN,
    UNKNOWN,
    FakeConnection,
    FakeWitness,
    Stage,
    head,
)

# --- Single heads ---------------------------------------------------------------------------------


def test_a_known_head_is_answered(stage: Stage) -> None:
    connection = stage.say(KNOWN)

    assert connection.heard() == stage.head_of_answer() + b"hello"
    assert (connection.deeds, connection.deadline) == ([("poll",)], stage.loop.now + KEEPALIVE)


def test_nothing_is_answered_before_all_has_been_received(stage: Stage) -> None:
    connection = stage.connection()
    stage.bring(connection, KNOWN)
    before = connection.heard(), list(connection.deeds)
    stage.turn()

    assert before == (b"", [])
    assert connection.heard() == stage.head_of_answer() + b"hello"


def test_it_is_answered_once(stage: Stage) -> None:
    connection = stage.say(KNOWN)
    stage.turn()

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
    stage.turn()

    assert order == [b"hello"]


def test_an_old_answer_is_found_too(stage: Stage) -> None:
    stage.batch._memo.answers._old = stage.batch._memo.answers.young
    stage.batch._memo.answers._old_costs = stage.batch._memo.answers._costs
    stage.batch._memo.answers.young, stage.batch._memo.answers._costs = {}, {}

    assert stage.say(KNOWN).heard()[-5:] == b"hello"


@pytest.mark.parametrize("polled", [True, False])
def test_the_date_is_that_of_the_turn(stage: Stage, polled: bool) -> None:
    stage.loop.date_line = b"Date: Fri, 01 Jan 2038 00:00:00 GMT\r\n"

    expected = b"HTTP/1.1 200 OK\r\n%bX: y\r\n\r\nhello" % stage.loop.date_line
    assert stage.say(KNOWN, polled=polled).heard() == expected


def test_what_does_not_go_at_once_is_repeated(stage: Stage) -> None:
    connection = stage.connection()
    connection.fill()
    stage.bring(connection, KNOWN)
    stage.turn()
    ((_, *repeated),) = connection.deeds

    assert repeated == [KNOWN, stage.batch._memo.find(KNOWN), 0, b""]
    assert stage.logged() == []


def test_what_goes_in_part_is_repeated_from_there(stage: Stage) -> None:
    stage.learn(head(b"A: large"), b"x" * 60000)
    connection = stage.connection()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
    stage.bring(connection, head(b"A: large"))
    stage.turn()
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
    stage.turn()

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
    stage.turn()
    content = (bytes(range(256)) * 400)[256:100_000]

    assert (connection.deeds, connection.deadline) == ([], stage.loop.now + KEEPALIVE)
    assert connection.heard() == stage.head_of_answer() + content
    assert stage.logged() == [(b"GET /a.txt HTTP/1.1", 200, len(content))]


def test_a_span_may_end_the_connection(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"Connection: close", b"A: large"), span)
    connection = polled_connection(stage, 1 << 20)
    stage.bring(connection, head(b"Connection: close", b"A: large"))
    stage.turn()

    assert connection.deeds == [("close",)]


def test_a_span_that_goes_in_part_is_repeated_from_there(stage: Stage, span: FileSpan) -> None:
    stage.learn(head(b"A: large"), span)
    connection = polled_connection(stage, 20_000)
    stage.bring(connection, head(b"A: large"))
    stage.turn()
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
    stage.turn()
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
    stage.turn()
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


def fails_for(
    monkeypatch: pytest.MonkeyPatch, name: str, broken: list[FakeConnection], failure: Exception
) -> None:
    """Let a call of the operating system fail for some."""
    call, fds = getattr(os, name), {each.fd for each in broken}

    def failing(fd: int, what: object) -> object:
        if fd in fds:
            raise failure
        return call(fd, what)

    monkeypatch.setattr(os, name, failing)


def test_who_cannot_be_received_from_is_left_and_costs_the_others_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = [idle_connection(stage, KNOWN) for _ in range(5)]
    broken = [connections[number] for number in (1, 2, 4)]
    fails_for(monkeypatch, "read", broken, ConnectionResetError())
    other = (999, select.EPOLLIN)
    left = stage.batch.receive([other, *((each.fd, READY) for each in connections)])

    assert left == [other, *((each.fd, READY) for each in broken)]
    heard = [each.heard()[-5:] for each in connections]
    assert heard == [b"hello", b"", b"", b"hello", b""]
    assert stage.bugs == []


@pytest.mark.parametrize("name", ["read", "write"])
def test_a_failure_in_one_ends_it_and_costs_the_others_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    connections = [idle_connection(stage, KNOWN) for _ in range(3)]
    broken = connections[1]
    fails_for(monkeypatch, name, [broken], MemoryError())
    left = stage.batch.receive([(each.fd, READY) for each in connections])

    assert [each.heard()[-5:] for each in connections] == [b"hello", b"", b"hello"]
    assert (left, broken.deeds) == ([], [])
    assert [owner for owner, _ in stage.bugs] == [broken]
    assert stage.counters.answers == 2


def test_failures_of_all_kinds_cost_the_others_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [KNOWN, KNOWN, CLOSING, UNKNOWN, head(b"User-Agent: a"), KNOWN]
    connections = [idle_connection(stage, octets) for octets in asked]
    first, gone, *others, last = connections
    fails_for(monkeypatch, "read", [gone], ConnectionResetError())
    fails_for(monkeypatch, "read", [first, last], MemoryError())
    left = stage.batch.receive([(each.fd, READY) for each in connections])

    assert left == [(gone.fd, READY)]
    assert [owner for owner, _ in stage.bugs] == [first, last]
    assert [each.heard()[-3:] for each in others] == [b"bye", b"", b"llo"]
    assert [each.deeds for each in others] == [[("close",)], [("take", UNKNOWN)], []]
    assert [each.deeds for each in (first, gone, last)] == [[], [], []]


def test_a_failure_holds_on_to_nobody_of_its_turn(stage: Stage) -> None:
    gone, other = stage.connection(polled=True), FakeConnection(polled=True)
    for connection in (gone, other):
        stage.bring(connection, KNOWN)
    gone.client.close()
    gc.disable()  # it would find a cycle sooner or later; descriptors are not to wait for it
    try:
        stage.batch.receive(stage.events)
        kept = weakref.ref(other)
        other.end()
        del stage.batch.idle[other.fd], other, connection
        assert kept() is None
    finally:
        gc.enable()


def test_nobody_can_be_received_from(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    connections = [idle_connection(stage, KNOWN) for _ in range(2)]
    fails_for(monkeypatch, "read", connections, BlockingIOError())
    events = [(each.fd, READY) for each in connections]

    assert stage.batch.receive(events) == events


# --- Many at once ---------------------------------------------------------------------------------


def test_who_is_stuck_or_gone_costs_the_others_nothing(stage: Stage) -> None:
    large = head(b"A: large")
    stage.learn(large, b"x" * 60000)
    connections = [stage.connection(polled=True) for _ in range(5)]
    first, stuck, slow, gone, last = connections
    stuck.fill()
    stuck.sock.setblocking(False)
    slow.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 20000)
    asked = [KNOWN, KNOWN, large, KNOWN, KNOWN]
    for connection, octets in zip(connections, asked, strict=True):
        stage.bring(connection, octets)
    gone.client.close()
    stage.batch.receive(stage.events)

    assert [each.heard()[-5:] for each in (first, last)] == [b"hello", b"hello"]
    assert [each.deadline for each in (first, last)] == [stage.loop.now + KEEPALIVE] * 2
    deeds = [(each.deeds[0][0], each.deeds[0][1], each.deeds[0][3]) for each in (stuck, slow, gone)]
    sent = len(slow.heard())
    assert deeds == [("repeat", KNOWN, 0), ("repeat", large, sent), ("repeat", KNOWN, 0)]
    assert 0 < sent < 60000
    assert len(stage.logged()) == stage.counters.answers == 2


def test_a_bug_with_one_that_is_stuck_does_not_end_the_others(stage: Stage) -> None:
    connections = [stage.connection(polled=True) for _ in range(3)]
    for connection in connections[:2]:
        connection.fill()
        connection.sock.setblocking(False)
        connection.bug = ValueError()
    for connection in connections:
        stage.bring(connection, KNOWN)
    stage.turn()

    assert [owner for owner, _ in stage.bugs] == connections[:2]
    assert connections[2].heard()[-5:] == b"hello"
    assert len(stage.logged()) == 1


def test_all_kinds_of_answers_go_in_one_turn(stage: Stage, span: FileSpan) -> None:
    large = head(b"A: large")
    stage.learn(large, span)
    asked = [UNKNOWN, KNOWN, CLOSING, large, b"", KNOWN * 2, head(b"User-Agent: a")]
    connections = [polled_connection(stage, 1 << 20) for _ in asked]
    for connection, octets in zip(connections, asked, strict=True):
        if octets:
            stage.bring(connection, octets)
        else:
            stage.bring(connection, b"")
            connection.client.shutdown(socket.SHUT_WR)
    stage.turn()
    content = [each.heard().partition(b"\r\n\r\n")[2] for each in connections]

    assert [each.deeds for each in connections] == [
        [("take", UNKNOWN)],
        [],
        [("close",)],
        [],
        [("take", b"")],
        [("poll",)],
        [],
    ]
    assert content[1:3] + content[6:] == [b"hello", b"bye", b"hello"]
    assert (len(content[3]), content[5].count(b"hello")) == (len(span), 2)
    assert stage.counters.answers == len(stage.logged()) == 6


def test_what_is_known_of_many_is_answered_before_what_goes_the_long_way(stage: Stage) -> None:
    unknown, closing, known = (stage.connection(polled=True) for _ in range(3))
    order: list[list[bytes]] = []

    def note(octets: bytes) -> None:
        order.append([known.heard()[-5:], closing.heard()[-3:]])

    unknown.take = note  # type: ignore[method-assign]
    for connection, octets in ((unknown, UNKNOWN), (closing, CLOSING), (known, KNOWN)):
        stage.bring(connection, octets)
    stage.turn()

    assert order == [[b"hello", b"bye"]]


def test_an_answer_that_does_not_hold_is_made_anew_for_all_who_ask_for_it(stage: Stage) -> None:
    witness = FakeWitness()
    witness.agreeing = False
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    asked = [head(b"A: b"), KNOWN, head(b"A: b", b"Cookie: c")]
    connections = [stage.connection(polled=True) for _ in asked]
    for connection, octets in zip(connections, asked, strict=True):
        stage.bring(connection, octets)
    stage.turn()

    assert [each.deeds for each in connections] == [[("take", asked[0])], [], [("take", asked[2])]]
    assert connections[1].heard()[-5:] == b"hello"
    assert not stage.knows(head(b"A: b"))


def test_a_head_that_is_too_long_costs_the_others_nothing(stage: Stage) -> None:
    long = head(b"Cookie: " + b"x" * LONGEST_HEAD)
    asked = [KNOWN, long, head(b"Cookie: c")]
    connections = [stage.connection(polled=True) for _ in asked]
    for connection, octets in zip(connections, asked, strict=True):
        stage.bring(connection, octets)
    stage.turn()

    assert [each.deeds for each in connections] == [[], [("take", long)], []]
    assert [each.heard()[-5:] for each in connections] == [b"hello", b"", b"hello"]


def test_a_failure_to_look_up_many_costs_nobody_an_answer(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> list[bytes]:
        raise MemoryError

    monkeypatch.setattr(batch_module, "split", failing)
    known, unknown = (stage.connection(polled=True) for _ in range(2))
    stage.bring(known, KNOWN)
    stage.bring(unknown, UNKNOWN)
    stage.turn()

    assert (known.heard()[-5:], unknown.deeds) == (b"hello", [("take", UNKNOWN)])
    assert [type(bug) for _, bug in stage.bugs] == [MemoryError]


@pytest.mark.parametrize("polled", [True, False])
def test_a_failure_to_note_costs_the_log_and_nobody_else(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, polled: bool
) -> None:
    def failing(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Counters, "took", failing)
    asked = [KNOWN, CLOSING, UNKNOWN, KNOWN]
    connections = [stage.connection(polled=polled) for _ in asked]
    for connection, octets in zip(connections, asked, strict=True):
        stage.bring(connection, octets)
    stage.turn()

    assert [each.heard()[-3:] for each in connections] == [b"llo", b"bye", b"", b"llo"]
    assert [deed for each in connections for deed, *_ in each.deeds if deed != "poll"] == [
        "close",
        "take",
    ]
    assert {type(bug) for _, bug in stage.bugs} == {MemoryError}
    assert not any(owner in connections for owner, _ in stage.bugs)


@pytest.mark.parametrize("polled", [True, False])
def test_a_failure_of_all_ends_all(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, polled: bool
) -> None:
    def failing(_cache: FileCache, _now: float) -> int:
        raise MemoryError

    monkeypatch.setattr(FileCache, "next_moment", failing)
    connections = [stage.connection(polled=polled) for _ in range(3)]
    for connection in connections:
        stage.bring(connection, KNOWN)
    stage.turn()

    assert [each.deeds for each in connections] == [[("reset",)]] * 3
    assert [type(bug) for _, bug in stage.bugs] == [MemoryError]


def test_each_is_told_of_what_is_its_own(stage: Stage) -> None:
    asked = [
        head(b"User-Agent: a"),
        head(b"User-Agent: b"),
        UNKNOWN,
        head(b"Connection: close", b"User-Agent: c"),
        head(b"User-Agent: d"),
    ]
    connections = [stage.connection(polled=True) for _ in asked]
    stuck, second, unknown, closing, last = connections
    stuck.fill()
    stuck.sock.setblocking(False)
    for connection, octets in zip(connections, asked, strict=True):
        stage.bring(connection, octets)
    stage.turn()
    told = [(each.peer, end) for each, end in zip(stage.log.exchanges, stage.log.ends, strict=True)]

    assert told == [
        (second.peer, b' "-" "b"\n'),
        (last.peer, b' "-" "d"\n'),
        (closing.peer, b' "-" "c"\n'),
    ]
    deadline = stage.loop.now + KEEPALIVE
    assert [each.deadline for each in connections] == [0.0, deadline, 0.0, 0.0, deadline]
    assert (stuck.deeds[0][:2], unknown.deeds) == (("repeat", asked[0]), [("take", UNKNOWN)])


def test_the_log_tells_of_each_of_many_what_it_says(stage: Stage) -> None:
    agents = [b"a", b"b", b"c"]
    connections = [stage.connection(polled=True) for _ in agents]
    for connection, agent in zip(connections, agents, strict=True):
        stage.bring(connection, head(b"User-Agent: " + agent))
    stage.bring(stage.connection(polled=True), KNOWN)
    stage.turn()

    assert stage.log.ends == [b' "-" "%b"\n' % agent for agent in (*agents, b"-")]


def test_a_failure_to_answer_leaves_the_other_events_to_the_others(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(_cache: FileCache, _now: float) -> int:
        raise MemoryError

    connection, other = idle_connection(stage, KNOWN), (999, select.EPOLLIN)
    monkeypatch.setattr(FileCache, "next_moment", failing)

    assert stage.batch.receive([(connection.fd, READY), other]) == [other]
    assert [type(bug) for _, bug in stage.bugs] == [MemoryError]
    assert connection.deeds == [("reset",)]


def test_known_heads_with_more_behind_them_go_the_long_way_which_reads_on(stage: Stage) -> None:
    octets = KNOWN * (RECEIVE_SIZE // len(KNOWN) + 1)
    connection = idle_connection(stage, octets)
    stage.batch.receive([(connection.fd, READY)])

    assert connection.deeds == [("take", octets[:RECEIVE_SIZE])]


def test_a_head_that_is_too_long_goes_the_long_way(tmp_path: Path) -> None:
    stage = Stage(load([str(tmp_path), "--max-head", "1024"], {}))
    stage.learn(KNOWN, b"x")
    longer = head(b"Cookie: " + b"x" * 1000)
    connection = stage.say(longer)
    connection.end()

    assert connection.deeds == [("take", longer)]


# --- Freshness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("polled", [True, False])
def test_an_answer_that_does_not_hold_any_more_is_made_anew(stage: Stage, polled: bool) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    before = stage.say(head(b"A: b"), polled=polled).heard()[-3:]
    witness.agreeing = False
    connection = stage.say(head(b"A: b"), polled=polled)

    assert (before, connection.heard()) == (b"old", b"")
    assert connection.deeds == [("take", head(b"A: b"))]
    assert not stage.knows(head(b"A: b"))


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("times", [pytest.param(1, id="alone"), pytest.param(2, id="in a run")])
def test_witnesses_that_are_watched_are_asked_when_the_kernel_has_told_something(
    stage: Stage, times: int, polled: bool
) -> None:
    witness = FakeWitness()
    witness.watched = True
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    asked = []
    for told in (0, 0, 1, 0, 0):
        stage.cache.watches.heard += told
        assert stage.say(head(b"A: b") * times, polled=polled).heard().count(b"old") == times
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
    stage.turn()

    assert stage.say(repeated).deeds == [("take", repeated)]


@pytest.mark.parametrize("polled", [True, False])
def test_witnesses_that_are_not_watched_are_asked_in_every_turn(stage: Stage, polled: bool) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    for _ in range(3):
        stage.say(head(b"A: b"), polled=polled)

    assert witness.asked == 3


def test_what_changes_before_the_last_request_is_received_is_seen(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    witness = FakeWitness()
    witness.watched = True
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    first, last = (idle_connection(stage, head(b"A: b")) for _ in range(2))
    heard = stage.say(head(b"A: b")).heard()[-3:]  # from here on the kernel would tell
    read = os.read

    def reading(fd: int, size: int) -> bytes:
        if fd == last.fd:  # a change is told as soon as it is there
            told.append(True)
            witness.agreeing = False
        return read(fd, size)

    told: list[bool] = []

    def look(watches: Watches) -> None:
        watches.heard += len(told)

    monkeypatch.setattr(os, "read", reading)
    monkeypatch.setattr(Watches, "look", look)
    stage.batch.receive([(each.fd, READY) for each in (first, last)])

    assert heard == b"old"
    assert [each.deeds for each in (first, last)] == [[("take", head(b"A: b"))]] * 2


def test_witnesses_are_asked_after_all_has_been_received(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"old", witnesses=(witness,))
    connection = stage.connection()
    stage.bring(connection, head(b"A: b"))
    witness.agreeing = False
    stage.turn()

    assert connection.deeds == [("take", head(b"A: b"))]


def test_they_are_asked_in_each_turn(stage: Stage) -> None:
    witness = FakeWitness()
    stage.learn(head(b"A: b"), b"", witnesses=(witness,))
    moments = []
    for _ in range(3):
        stage.say(head(b"A: b"))
        moments.append(witness.moment)

    assert moments == [1, 2, 3]


# --- Bugs -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("octets", [KNOWN, KNOWN * 2], ids=["a head", "a run"])
def test_a_bug_in_one_does_not_end_the_others(stage: Stage, octets: bytes) -> None:
    broken, bug = stage.connection(), ValueError()
    broken.bug = bug
    others = [stage.connection() for _ in range(2)]
    for connection in (others[0], broken, others[1]):
        stage.bring(connection, octets)
    stage.turn()
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
    stage.turn()

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
    stage.turn()
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
    stage.turn()

    assert connection.deeds == [("take", stale + KNOWN + UNKNOWN)]
    assert connection.heard() == (stage.head_of_answer() + b"hello") * known
    assert not stage.knows(stale)


def test_what_does_not_go_of_a_run_is_repeated(stage: Stage) -> None:
    large = head(b"A: large")
    stage.learn(large, b"x" * 60000)
    connection = stage.connection()
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 100_000)
    stage.bring(connection, KNOWN + large * 4 + UNKNOWN)
    stage.turn()
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
    stage.turn()

    assert [(*deed[:2], *deed[3:]) for deed in connection.deeds] == [
        ("repeat", KNOWN, 0, KNOWN * 2)
    ]
    assert stage.logged() == []


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
    stage.turn()

    assert (before.deeds, before.heard()) == ([("take", octets)], b"")
    assert (after.deeds, after.heard()) == ([("take", octets)], b"")
    assert not stage.knows(KNOWN)


def test_a_bug_after_a_stop_does_not_end_the_others(stage: Stage) -> None:
    broken, other = stage.connection(), stage.connection()
    broken.bug = ValueError()
    stage.bring(broken, KNOWN)
    stage.bring(other, KNOWN)
    stage.batch.stop()
    stage.turn()

    assert stage.bugs == [(broken, broken.bug)]
    assert other.deeds == [("take", KNOWN)]


def test_its_repr_tells_what_waits(stage: Stage) -> None:
    stage.bring(stage.connection(), KNOWN)
    stage.bring(stage.connection(), KNOWN * 2)

    assert repr(stage.batch).startswith("<Batch 2 arrived, <Memo <Generations 2+0, ")


# --- Turns that begin apart -----------------------------------------------------------------------


@pytest.mark.parametrize(("said", "waits"), [("0.0001", 0.0001), ("0", 0.0)])
def test_how_long_a_busy_worker_waits_is_a_setting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, waits: float
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(time, "thread_time", lambda: clock[0])  # this thread is always at work
    stage = Stage(load([str(tmp_path), "--coalesce", said], {}))
    crowd = [stage.connection(polled=True) for _ in range(64)]
    for _ in range(50):
        clock[0] = stage.loop.now = clock[0] + 0.001
        for connection in crowd:
            stage.bring(connection, UNKNOWN)
        stage.turn()
    for connection in crowd:
        connection.end()

    assert stage.loop.apart == waits


def test_each_turn_tells_the_loop_how_far_away_the_next_is(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[list[int], float]] = []

    class FakeCoalescing:
        def apart(self, fds: list[int], now: float) -> float:
            told.append((fds, now))
            return float(len(told))

    monkeypatch.setattr(stage.batch, "_coalescing", FakeCoalescing())
    connection, stranger = stage.connection(polled=True), stage.connection(polled=True)
    stage.bring(connection, KNOWN)
    events = [*stage.events, (stranger.fd, READY)]
    left = stage.batch.receive(events)
    after_one = stage.loop.apart
    stage.batch.receive([])

    assert told == [([connection.fd], stage.loop.now), ([], stage.loop.now)]
    assert left == [(stranger.fd, READY)]
    assert (after_one, stage.loop.apart) == (1.0, 2.0)
