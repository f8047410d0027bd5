"""One connection over a socket pair, with a service whose clock the test moves."""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from mpserve import connection as connection_module
from mpserve import files, tree
from mpserve.config import Site, load
from mpserve.connection import MOST_WIDE, Connection
from mpserve.linux import RESOLVE_CACHED, have_resolve_cached, openat2
from mpserve.mounts import Mounts
from mpserve.protocol.message import FileSpan
from mpserve.protocol.representation import Outcome, Resource
from mpserve.protocol.target import Target
from mpserve.scoreboard import ANSWERS, CELL
from mpserve.states import State
from mpserve.transport import Transport
from tests.descriptors import open_descriptors
from tests.dialogue import Dialogue, FakeService, FakeTime, dialogue_with, statuses

needs_resolve_cached = pytest.mark.skipif(
    not have_resolve_cached(), reason="this kernel always asks the file system"
)

SETTLED = (1_000_000_000, 1_000_000_000)  # an mtime long ago: a strong entity-tag


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_bytes(b"hello\n")
    (root / "big").write_bytes(b"0123456789abcdef" * (1 << 18))  # 4 MiB
    (root / "dir").mkdir()
    for path in root.iterdir():
        os.utime(path, SETTLED)
    return root


@pytest.fixture
def dialogue(root: Path) -> Iterator[Dialogue]:
    service = FakeService(load([str(root), "--workers", "1"], {}))
    with dialogue_with(service) as dialogue:
        yield dialogue
    service.loop.close()


GET = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"


def test_a_request_is_answered_and_the_connection_waits_for_the_next(dialogue: Dialogue) -> None:
    dialogue.say(GET)
    answer = dialogue.heard()

    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nhello\n")
    assert dialogue.state is State.IDLE


def test_the_batch_receives_between_two_requests_and_only_then(dialogue: Dialogue) -> None:
    idle, fd = dialogue.service.batch.idle, dialogue.connection.sock.fileno()
    shown = [idle.get(fd)]
    for octets in (GET, GET[:5], GET[5:-2] + b"Connection: close\r\n\r\n"):
        dialogue.say(octets)
        shown.append(idle.get(fd))

    assert shown == [dialogue.connection, dialogue.connection, None, None]
    assert (dialogue.state, idle) == (State.CLOSED, {})


def test_a_visitor_that_has_become_a_connection_ends_as_that(dialogue: Dialogue) -> None:
    """A descriptor that is closed behind a connection's back may be another's when the connection ends."""
    dialogue.say(GET[:5])
    connection = dialogue.connection
    dialogue.visitor.reset()

    assert (dialogue.state, dialogue.service.gone) == (State.CLOSED, [connection])
    assert dialogue.service.batch.idle == {}


def test_requests_that_come_together_are_answered_in_order(dialogue: Dialogue) -> None:
    octets = dialogue.ask(GET + GET.replace(b"a.txt", b"none") + GET.replace(b"GET", b"HEAD"))

    assert statuses(octets) == [200, 404, 200]


def test_a_request_that_comes_octet_by_octet_is_answered_once(dialogue: Dialogue) -> None:
    for index in range(len(GET)):
        dialogue.say(GET[index : index + 1])

    assert statuses(dialogue.heard()) == [200]


def test_many_pipelined_requests_are_answered_in_slices(dialogue: Dialogue) -> None:
    dialogue.say(GET * 300)
    answered = [len(statuses(dialogue.heard()))]
    while sum(answered) < 300:
        dialogue.turn()
        answered.append(len(statuses(dialogue.heard())))

    assert sum(answered) == 300
    assert max(answered) < 300


def test_close_is_obeyed(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    assert b"\r\nConnection: close\r\n" in dialogue.heard()
    assert dialogue.state is State.CLOSED
    assert dialogue.service.gone == [dialogue.connection]


def test_a_client_that_has_finished_sending_still_gets_its_answer(dialogue: Dialogue) -> None:
    dialogue.client.sendall(GET)
    dialogue.client.shutdown(socket.SHUT_WR)
    dialogue.turn()

    assert dialogue.heard().endswith(b"hello\n")
    assert dialogue.state is State.CLOSED


def test_an_end_in_the_middle_of_a_head_closes_without_a_word(dialogue: Dialogue) -> None:
    dialogue.client.sendall(GET[:-3])
    dialogue.client.shutdown(socket.SHUT_WR)
    dialogue.turn()

    assert dialogue.heard() == b""
    assert (dialogue.state, dialogue.service.complaints) == (State.CLOSED, [])


def test_what_cannot_be_understood_is_answered_and_the_client_may_finish(
    dialogue: Dialogue,
) -> None:
    dialogue.say(b"GET  / HTTP/1.1\r\n\r\n")

    states = [dialogue.state]
    dialogue.say(b"still sending" * 1000)
    states.append(dialogue.state)
    dialogue.client.shutdown(socket.SHUT_WR)
    dialogue.turn()
    states.append(dialogue.state)

    assert statuses(dialogue.heard()) == [400]
    assert states == [State.LINGERING, State.LINGERING, State.CLOSED]


def test_lingering_ends(dialogue: Dialogue) -> None:
    dialogue.say(b"\x16\x03\x01")
    dialogue.wait(5.1)

    assert dialogue.state is State.CLOSED


def test_a_client_that_never_stops_sending_is_left_unread(dialogue: Dialogue) -> None:
    dialogue.say(b"POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n")
    answer = dialogue.heard()
    for _ in range(400):
        try:
            dialogue.client.send(bytes(1 << 16))
        except BlockingIOError:
            break
        dialogue.turn(2)

    assert statuses(answer) == [405]
    assert connection_module.LINGER_SIZE < dialogue.connection.unread < 2 << 20


def test_a_head_that_takes_too_long_gets_408(dialogue: Dialogue) -> None:
    dialogue.say(GET[:10])
    dialogue.wait(10.1)

    assert statuses(dialogue.heard()) == [408]
    assert dialogue.service.log.exchanges[0].line == b""


@pytest.mark.parametrize(
    "octets",
    [
        pytest.param(b"", id="never used"),
        pytest.param(b"\r\n", id="only an empty line"),
    ],
)
def test_a_connection_without_a_request_is_closed_without_a_word(
    dialogue: Dialogue, octets: bytes
) -> None:
    dialogue.say(octets)
    dialogue.wait(10.1)

    assert (State.CLOSED, b"", []) == (
        dialogue.state,
        dialogue.heard(),
        dialogue.service.log.exchanges,
    )


def test_an_idle_connection_is_closed_without_a_word(dialogue: Dialogue) -> None:
    dialogue.say(GET)
    dialogue.heard()
    dialogue.wait(74.0)
    still = dialogue.state
    dialogue.wait(1.1)

    assert (State.IDLE, State.CLOSED, b"") == (still, dialogue.state, dialogue.heard())


@pytest.mark.parametrize("first", [pytest.param(GET, id="idle"), pytest.param(b"", id="unused")])
def test_a_request_that_comes_in_the_moment_of_the_deadline_is_answered(
    dialogue: Dialogue, first: bytes
) -> None:
    dialogue.say(first)
    dialogue.heard()
    dialogue.client.sendall(GET)
    dialogue.wait(75.1)
    dialogue.turn()

    assert (State.IDLE, [200]) == (dialogue.state, statuses(dialogue.heard()))


def test_empty_lines_hold_no_deadline_up(dialogue: Dialogue) -> None:
    dialogue.say(b"\r\n")
    dialogue.client.sendall(b"\r\n")
    dialogue.wait(10.1)

    assert dialogue.state is State.CLOSED


def test_a_reader_that_takes_nothing_is_reset_and_counted(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    before = dialogue.state
    dialogue.wait(30.1)

    assert (State.SENDING, State.CLOSED, 1) == (before, dialogue.state, dialogue.service.stalled)
    exchange = dialogue.service.log.exchanges[0]
    assert 0 < exchange.content_sent < 4 << 20


@pytest.mark.parametrize(
    ("within", "expected"),
    [pytest.param(60.0, True, id="fast"), pytest.param(0.0, False, id="slow")],
)
def test_the_socket_of_a_fast_reader_may_hold_more(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch, within: float, expected: bool
) -> None:
    widened: list[Transport] = []
    monkeypatch.setattr(connection_module, "FAST_WITHIN", within)

    def widen(transport: Transport) -> None:
        widened.append(transport)

    monkeypatch.setattr(Transport, "widen", widen)
    dialogue.say(GET.replace(b"a.txt", b"big"))
    before = len(widened)
    dialogue.heard_out()

    assert (before, len(widened) > 0) == (0, expected)


@pytest.mark.parametrize(("others", "expected"), [(0, 1), (MOST_WIDE, 0)])
def test_not_too_many_sockets_may_hold_more(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch, others: int, expected: int
) -> None:
    monkeypatch.setattr(connection_module, "FAST_WITHIN", 60.0)
    monkeypatch.setattr(Transport, "widen", lambda transport: setattr(transport, "wide", True))
    dialogue.service.wide = others
    dialogue.ask(GET.replace(b"a.txt", b"big"))
    meanwhile = dialogue.service.wide
    dialogue.connection.close()

    assert (others + expected, others) == (meanwhile, dialogue.service.wide)


def test_a_reader_that_takes_nothing_is_not_waited_for_because_it_sends(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    for _ in range(4):
        dialogue.service.loop.now += 8
        dialogue.client.send(b"\r")
        dialogue.connection.on_event(select.EPOLLIN)
        dialogue.wait(0)

    assert dialogue.state is State.CLOSED


def test_octets_behind_the_last_request_do_not_cut_its_answer(dialogue: Dialogue) -> None:
    dialogue.say(b"GET /big HTTP/1.0\r\n\r\n")
    dialogue.client.send(b"\r\n")
    octets = b""
    while dialogue.state is State.SENDING:
        octets += dialogue.heard()
        dialogue.turn()

    assert dialogue.state is State.LINGERING
    assert (octets + dialogue.heard()).endswith(b"0123456789abcdef")


def test_content_that_comes_late_leaves_the_connection_idle(dialogue: Dialogue) -> None:
    dialogue.say(b"POST /a.txt HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n")
    dialogue.say(b"hello")
    dialogue.wait(11)

    assert dialogue.state is State.IDLE


def test_short_of_descriptors_what_is_kept_is_let_go_for_a_request(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, outcomes = files.lookup, [Outcome.BUSY]

    def lookup(site: Site, target: Target, now: float, *_: object, **__: object) -> Resource:
        return outcomes.pop() if outcomes else real(site, target, now)

    monkeypatch.setattr(files, "lookup", lookup)
    dialogue.say(GET)

    assert statuses(dialogue.heard()) == [200]


def test_while_descriptors_are_short_a_request_waits_for_one(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = dialogue.service
    service.patient = True
    with monkeypatch.context() as patched:
        patched.setattr(files, "lookup", lambda *_, **__: Outcome.BUSY)
        dialogue.say(GET + GET)
        service.held.pop()()
        dialogue.wait(10.1)  # --header-timeout: the client is not to blame
        meanwhile = (dialogue.heard(), dialogue.state)
    service.held.pop()()

    assert (b"", State.READING) == meanwhile
    assert statuses(dialogue.heard_out()) == [200, 200]
    assert service.held == []


def test_who_has_waited_for_a_descriptor_for_too_long_is_told_to_come_back(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue.service.patient = True
    with monkeypatch.context() as patched:
        patched.setattr(files, "lookup", lambda *_, **__: Outcome.BUSY)
        dialogue.say(GET)
        dialogue.service.patient = False
        dialogue.service.held.pop()()
    octets = dialogue.heard_out()

    assert statuses(octets) == [503]
    assert b"\r\nRetry-After: 1\r\n" in octets
    assert statuses(dialogue.ask(GET)) == [200]


def test_a_reader_that_takes_a_little_is_waited_for(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    for _ in range(5):
        dialogue.client.recv(300_000)
        dialogue.service.loop.now += 20
        dialogue.connection.on_event(select.EPOLLOUT)
        dialogue.service.loop._make_long()
        dialogue.wait(0)

    assert dialogue.state is State.SENDING


def test_a_large_file_is_sent_whole_while_the_client_reads(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    octets = b""
    while dialogue.state is State.SENDING:
        octets += dialogue.heard()
        dialogue.turn()
    octets += dialogue.heard()

    assert octets.partition(b"\r\n\r\n")[2] == b"0123456789abcdef" * (1 << 18)


def test_a_file_that_shrinks_while_it_is_sent_ends_the_connection(
    dialogue: Dialogue, root: Path
) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    (root / "big").write_bytes(b"")
    dialogue.heard()
    dialogue.turn()

    assert dialogue.state is State.CLOSED
    assert "shrank" in dialogue.service.complaints[0]
    assert dialogue.service.counters.cells[CELL["files_changed"]] == 1


def overwrite(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")


def append(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def replace(path: Path) -> None:
    path.with_name("new").write_bytes(b"other")
    path.with_name("new").rename(path)


@pytest.fixture
def settled(dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch) -> Dialogue:
    """A server whose clock is ahead, so that its files are old, and that may look at them."""
    monkeypatch.setattr("mpserve.loop.time", FakeTime())
    monkeypatch.setattr(Mounts, "tell", lambda *_: True)
    dialogue.turn()
    return dialogue


@pytest.mark.parametrize("again", [False, True], ids=["made", "repeated"])
@pytest.mark.parametrize("change", [overwrite, partial(os.truncate, length=2 << 20)])
def test_of_a_file_that_is_overwritten_while_it_is_sent_no_answer_is_complete(
    settled: Dialogue, root: Path, change: Callable[[Path], None], again: bool
) -> None:
    request = GET.replace(b"a.txt", b"big")
    if again:
        settled.ask(request)
    settled.say(request)
    change(root / "big")
    octets = settled.heard_out()

    assert settled.state is State.CLOSED
    assert 0 < len(octets.partition(b"\r\n\r\n")[2]) < 4 << 20
    assert "while it was sent" in settled.service.complaints[0]
    assert settled.service.counters.cells[CELL["files_changed"]] == 1


@pytest.mark.parametrize("change", [append, replace, Path.unlink, partial(os.chmod, mode=0o600)])
def test_what_leaves_the_old_octets_as_they_are_does_not_cut_an_answer(
    settled: Dialogue, root: Path, change: Callable[[Path], None]
) -> None:
    settled.say(GET.replace(b"a.txt", b"big"))
    change(root / "big")
    octets = settled.heard_out()

    assert octets.partition(b"\r\n\r\n")[2] == b"0123456789abcdef" * (1 << 18)
    assert (settled.state, settled.service.complaints) == (State.IDLE, [])


def test_where_looking_may_wait_for_another_machine_nobody_looks(
    settled: Dialogue, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Mounts, "tell", lambda *_: False)
    settled.say(GET.replace(b"a.txt", b"big"))
    overwrite(root / "big")

    assert len(settled.heard_out().partition(b"\r\n\r\n")[2]) == 4 << 20


def test_without_memory_for_an_answer_the_client_is_told_to_come_back(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lookup(*_: object, **__: object) -> Resource:
        raise MemoryError

    with monkeypatch.context() as starving:
        starving.setattr(files, "lookup", lookup)
        refused = dialogue.ask(GET)
    served = dialogue.ask(GET)

    assert (statuses(refused), statuses(served)) == ([503], [200])
    assert b"\r\nRetry-After: " in refused
    assert dialogue.service.starved == 1


def out_of_reach(*_: object, **__: object) -> Resource:
    return Outcome.OUT_OF_REACH


def test_what_is_out_of_reach_is_left_to_another_worker_with_its_octets(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []

    def give(_service: FakeService, _sock: object, octets: bytes) -> bool:
        given.append(octets)
        return True

    monkeypatch.setattr(files, "lookup", out_of_reach)
    monkeypatch.setattr(FakeService, "give", give)
    dialogue.say(GET + GET)

    assert [each.lower() for each in given] == [(GET + GET).lower()]  # names are made anew
    assert dialogue.state is State.CLOSED
    assert dialogue.heard() == b""


def test_where_no_worker_takes_it_the_client_is_told_to_come_back(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as full:
        full.setattr(files, "lookup", out_of_reach)
        refused = dialogue.ask(GET)
    served = dialogue.ask(GET)

    assert (statuses(refused), statuses(served)) == ([503], [200])
    assert b"\r\nRetry-After: " in refused


def test_a_client_that_resets_costs_a_log_line_and_nothing_else(root: Path) -> None:
    service = FakeService(load([str(root)], {}))
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    connection = Connection(service, ours, b"192.0.2.1")
    connection.poll()
    client.sendall(GET.replace(b"a.txt", b"big"))
    service.turn()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    service.turn()
    service.loop.close()

    assert connection.state is State.CLOSED
    assert (1, []) == (len(service.log.exchanges), service.complaints)


def test_no_descriptor_stays_open(dialogue: Dialogue) -> None:
    before = open_descriptors()
    dialogue.service.cache.stop()
    for path in (b"a.txt", b"none", b"dir", b"dir/"):
        dialogue.say(GET.replace(b"a.txt", path))
        dialogue.heard()

    assert open_descriptors() <= before


def test_while_draining_every_answer_is_the_last(dialogue: Dialogue) -> None:
    dialogue.service.drain()
    dialogue.say(GET)

    assert b"\r\nConnection: close\r\n" in dialogue.heard()
    assert dialogue.state is not State.IDLE


def test_while_draining_a_pipeline_is_answered_to_its_end(dialogue: Dialogue) -> None:
    dialogue.service.drain()
    dialogue.say(GET * 3)
    heard = dialogue.heard()

    assert statuses(heard) == [200, 200, 200]
    assert heard.count(b"\r\nConnection: close\r\n") == 1
    assert b"\r\nConnection: close\r\n" in heard[heard.rindex(b"HTTP/1.1 200") :]


@pytest.mark.parametrize("first", [pytest.param(GET, id="idle"), pytest.param(b"", id="unused")])
def test_a_request_on_its_way_while_draining_is_answered(dialogue: Dialogue, first: bytes) -> None:
    dialogue.say(first)
    dialogue.heard()
    dialogue.service.drain()
    dialogue.connection.on_drain()
    dialogue.wait(4.9)
    dialogue.say(GET)

    assert statuses(dialogue.heard()) == [200]


def test_an_idle_connection_is_not_waited_for_longer_than_the_grace(dialogue: Dialogue) -> None:
    dialogue.say(GET)
    dialogue.connection.on_drain()
    dialogue.wait(5.1)

    assert dialogue.state is State.CLOSED


def test_draining_does_not_hurry_a_response_that_is_being_sent(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    before = dialogue.connection.deadline
    dialogue.connection.on_drain()

    assert before == dialogue.connection.deadline


def test_every_answer_is_logged_with_what_was_sent(dialogue: Dialogue) -> None:
    dialogue.say(GET + GET.replace(b"GET", b"HEAD") + b"\0")
    logged = [
        (exchange.line, exchange.status, exchange.content_sent)
        for exchange in dialogue.service.log.exchanges
    ]

    assert logged[:2] == [
        (b"GET /a.txt HTTP/1.1", 200, 6),
        (b"HEAD /a.txt HTTP/1.1", 200, 0),
    ]
    assert logged[2][:2] == (b"", 400)


def test_its_repr_tells_what_it_is_doing(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))

    assert re.fullmatch(
        r"<Connection 192\.0\.2\.1 SENDING <Transport 1 pieces waiting, \d+ octets sent>"
        r" b'GET /big HTTP/1\.1'>",
        repr(dialogue.connection),
    )


def test_a_file_that_cannot_be_read_on_ends_the_connection(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sendfile(*_: object) -> int:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "sendfile", sendfile)
    dialogue.say(GET.replace(b"a.txt", b"big"))

    assert dialogue.state is State.CLOSED
    assert "Input/output error" in dialogue.service.complaints[0]


def test_every_answer_of_the_long_way_is_counted(dialogue: Dialogue) -> None:
    dialogue.ask(b"GET /no-such-file HTTP/1.1\r\nHost: x\r\n\r\n")
    dialogue.ask(b"nonsense\r\n\r\n")
    cells = dialogue.service.counters.cells
    totals = {name: cells[CELL[name]] for name in (*ANSWERS, "memo_misses") if cells[CELL[name]]}

    assert totals == {"answers_GET_4xx": 1, "answers_other_4xx": 1, "memo_misses": 2}


def test_a_reader_that_takes_what_was_sent_before_is_waited_for(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    moves = [True, False]
    monkeypatch.setattr(Transport, "drains", lambda _self: moves.pop(0))
    for seconds in (29, 29):
        dialogue.service.loop.now += seconds
        dialogue.connection.on_look()
        dialogue.wait(0)
    still = dialogue.state
    dialogue.wait(1.1)

    assert (State.SENDING, State.CLOSED) == (still, dialogue.state)


def test_the_first_look_at_a_reader_gives_no_more_time(dialogue: Dialogue) -> None:
    dialogue.say(GET.replace(b"a.txt", b"big"))
    dialogue.wait(6)
    dialogue.connection.on_look()
    still = dialogue.state
    dialogue.wait(24.1)

    assert (State.SENDING, State.CLOSED) == (still, dialogue.state)


def stuck_threads(dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """What threads have been asked for, and what is to follow: they do not come to it."""
    asked: list[Callable[[], None]] = []

    def run(work: Callable[[], None], then: Callable[[], None]) -> bool:
        asked.extend((work, then))
        return True

    monkeypatch.setattr(dialogue.service.readahead, "run", run)
    monkeypatch.setattr(tree, "openat2", knows_no_way)
    monkeypatch.setattr(tree, "has_no_disk", lambda _fd: False)
    return asked


def knows_no_way(directory: int, path: bytes, flags: int, resolve: int) -> int:
    """The kernel has nothing in memory of the way to anything."""
    if resolve & RESOLVE_CACHED:
        raise BlockingIOError(errno.EAGAIN, "not in memory")
    return openat2(directory, path, flags, resolve)


def cold_reads(*_: object) -> int:
    raise BlockingIOError(errno.EAGAIN, "not in memory")


def test_cold_octets_are_read_before_they_are_sent(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", cold_reads)
    octets = dialogue.ask(GET.replace(b"a.txt", b"big"))

    assert octets.partition(b"\r\n\r\n")[2] == b"0123456789abcdef" * (1 << 18)
    spans = dialogue.service.readahead.spans
    assert (0, 4 << 20) == (spans[0].start, max(span.stop for span in spans))


def test_a_small_cold_file_is_read_by_a_thread_and_kept(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(os, "preadv", cold_reads)
        first = dialogue.ask(GET)
    errands = dialogue.service.readahead.errands
    second = dialogue.ask(GET)

    assert [first[-6:], second[-6:]] == [b"hello\n"] * 2
    assert (1, 1) == (errands, dialogue.service.readahead.errands)
    assert dialogue.service.cache.misses == 2


@needs_resolve_cached
def test_a_lookup_that_would_wait_is_made_by_a_thread_and_nobody_is_blamed(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        threads = stuck_threads(dialogue, patched)
        dialogue.say(GET + GET.replace(b"GET", b"HEAD"))
        dialogue.wait(10.1)  # --header-timeout
        meanwhile = (dialogue.heard(), dialogue.state)
    for each in threads:
        each()
    octets = dialogue.heard_out()

    assert (b"", State.READING) == meanwhile
    assert statuses(octets) == [200, 200]
    assert octets.count(b"hello\n") == 1


@needs_resolve_cached
def test_what_a_thread_has_looked_up_is_not_looked_up_again(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[bool] = []
    look_up = files.lookup

    def note(*values: Any, wait: bool) -> Resource:
        looked.append(wait)
        return look_up(*values, wait=wait)

    monkeypatch.setattr(files, "lookup", note)
    threads = stuck_threads(dialogue, monkeypatch)
    dialogue.say(GET.replace(b"a.txt", b"missing"))
    for each in threads:
        each()

    assert statuses(dialogue.heard_out()) == [404]
    assert looked == [False, True]


@needs_resolve_cached
def test_a_lookup_that_ends_after_its_connection_is_nobodys(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        threads = stuck_threads(dialogue, patched)
        dialogue.say(GET)
        dialogue.connection.reset()
    assert len(threads) == 2
    for each in threads:
        each()
    dialogue.turn()

    assert ([], State.CLOSED) == (dialogue.service.log.exchanges, dialogue.state)


def test_where_no_thread_can_be_had_the_loop_waits_for_the_lookup(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue.service.readahead.refuses = True
    monkeypatch.setattr(tree, "openat2", knows_no_way)

    assert statuses(dialogue.ask(GET)) == [200]


def test_where_no_thread_can_be_had_the_loop_waits_for_the_disk(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "preadv", cold_reads)
    dialogue.service.readahead.refuses = True

    assert dialogue.ask(GET.replace(b"a.txt", b"big")).endswith(b"0123456789abcdef")


def test_a_client_is_not_cut_off_while_the_disk_is_slow(
    dialogue: Dialogue, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting: list[Callable[[], None]] = []

    def fetch(_span: FileSpan, then: Callable[[], None]) -> bool:
        waiting.append(then)
        return True

    monkeypatch.setattr(os, "preadv", cold_reads)
    monkeypatch.setattr(dialogue.service.readahead, "fetch", fetch)
    dialogue.say(GET.replace(b"a.txt", b"big"))
    for _ in range(4):
        dialogue.wait(30.1)
        dialogue.connection.on_event(select.EPOLLOUT)

    assert (State.SENDING, 0, 1) == (dialogue.state, dialogue.service.stalled, len(waiting))
