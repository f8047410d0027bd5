"""Accepting: how many, and what happens when there is no room."""

from __future__ import annotations

import errno
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from mpserve.acceptor import FIRST_PAUSE, SHED_AT_ONCE, Acceptor, turn_away
from mpserve.config import Address, load
from mpserve.connection import Connection
from mpserve.crowd import Crowd
from mpserve.listeners import listen
from mpserve.scoreboard import Scoreboard
from mpserve.states import SENDING
from tests.dialogue import FakeService, statuses
from tests.harness.until import until

GET = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"


class Crowding(FakeService):
    """A service that tells its acceptor of connections that end."""

    def attach(self, acceptor: Acceptor, connections: set[Connection]) -> None:
        self.acceptor = acceptor
        self.connections = connections

    def welcome(self, connection: Connection) -> None:
        self.connections.add(connection)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if self.acceptor.full:
            self.acceptor.look()


class Door:
    """An acceptor with two listeners of its own, for ten connections, and its clients."""

    def __init__(self, root: Path, running: ExitStack) -> None:
        self.running = running
        self.service = Crowding(load([str(root), "--workers", "1"], {}))
        (self.listener,) = listen((Address("127.0.0.1", 0),), 2, 64)
        self.board = Scoreboard.create()
        self.row = self.board.claim(0, 1)
        self.connections: set[Connection] = set()
        crowd = Crowd(self.connections, 10, self.service.config.timeouts)
        self.acceptor = Acceptor(self.service, crowd, self.row, [self.listener])
        self.service.attach(self.acceptor, self.connections)
        self.acceptor.listen()
        self.running.callback(self.close)

    def close(self) -> None:
        self.acceptor.close()
        self.service.batch.answer()
        for connection in list(self.connections):
            connection.close()
        self.service.loop.close()
        self.board.close()

    def client(self, octets: bytes = GET) -> socket.socket:
        client = socket.create_connection(self.listener.sockets[0].getsockname())
        self.running.enter_context(client)
        client.settimeout(5)
        client.sendall(octets)
        return client

    def has(self, count: int) -> bool:
        """Whether so many are connected after another turn."""
        self.service.turn()
        return len(self.connections) == count

    def pass_time(self, seconds: float) -> None:
        """Let what is due within `seconds` be done now."""
        for periodic in self.service.loop._periodic:
            periodic.due -= seconds
        self.service.loop._due -= seconds
        self.service.turn(2)


@pytest.fixture
def door(tmp_path: Path) -> Iterator[Door]:
    (tmp_path / "a.txt").write_bytes(b"hello\n")
    with ExitStack() as running:
        yield Door(tmp_path, running)


def failing(monkeypatch: pytest.MonkeyPatch, code: int) -> Callable[[], int]:
    """Let accept fail; how often it was tried."""
    tries = 0

    def fail(_self: socket.socket) -> tuple[int, object]:
        nonlocal tries
        tries += 1
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(socket.socket, "_accept", fail)
    return lambda: tries


def test_who_comes_is_answered(door: Door) -> None:
    client = door.client()
    door.service.turn(3)

    assert statuses(client.recv(4096)) == [200]
    assert (door.row["accepted"], len(door.connections)) == (1, 1)


def test_the_longest_idle_connections_give_way_to_those_that_come(door: Door) -> None:
    clients = []
    for _ in range(30):
        clients.append(door.client())
        door.service.turn(3)
    answered = [statuses(client.recv(4096)) for client in clients]

    assert [[200]] * 30 == answered
    assert (9, 21) == (len(door.connections), door.row["gave_way"])
    assert clients[0].recv(1) == b""


def test_a_full_worker_leaves_its_listeners_alone_until_connections_end(door: Door) -> None:
    busy = [door.client(GET[:9]) for _ in range(10)]
    # From the sibling's slot one is taken in each turn, and the kernel chooses who comes there.
    assert until(lambda: door.has(10))
    waiting = door.client()
    door.service.turn(5)
    full = (door.acceptor.full, len(door.connections))
    busy[0].close()
    door.service.turn(5)

    assert (True, 10) == full
    assert statuses(waiting.recv(4096)) == [200]


def test_no_more_are_accepted_in_one_turn_than_there_may_be(door: Door) -> None:
    clients = [door.client(GET[:9]) for _ in range(40)]
    door.service.turn(10)

    assert (40, 10) == (len(clients), len(door.connections))


def test_a_connection_whose_request_has_come_does_not_give_way(door: Door) -> None:
    client = door.client()
    door.service.turn(3)
    client.recv(4096)
    (connection,) = door.connections
    client.sendall(GET)

    assert not connection.give_way()
    door.service.turn(2)
    assert statuses(client.recv(4096)) == [200]


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
def test_without_room_it_tries_again_after_a_pause(
    door: Door, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    with monkeypatch.context() as patched:
        tries = failing(patched, code)
        client = door.client()
        door.service.turn(50)
        first = tries()
        assert door.service.loop._wait() > 0  # it sleeps meanwhile
        door.pass_time(FIRST_PAUSE)
        second = tries()
    door.pass_time(2 * FIRST_PAUSE)
    door.service.turn(2)

    assert (1, 2) == (first, second)
    assert [f"worker 0: cannot accept: {os.strerror(code)}"] == door.service.complaints
    assert statuses(client.recv(4096)) == [200]


def test_when_it_lasts_clients_are_told_to_come_back(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = [door.client() for _ in range(2 * SHED_AT_ONCE)]
    real, spare = socket.socket._accept, door.acceptor._reserve  # type: ignore[attr-defined]

    def accept(sock: socket.socket) -> tuple[int, object]:
        """There is room for one only while the reserve is closed."""
        if door.acceptor._reserve is not None:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        accepted: tuple[int, object] = real(sock)
        return accepted

    with monkeypatch.context() as patched:
        patched.setattr(socket.socket, "_accept", accept)
        door.service.turn(2)
        before = door.row["shed"]
        monkeypatch.setattr(door.acceptor, "_short_since", door.service.loop.now - 6)
        door.pass_time(1)
        shed = door.row["shed"]

    assert spare is not None
    assert (0, SHED_AT_ONCE) == (before, shed)
    heard, _, _ = select.select(clients, [], [], 5)
    answers = [client.recv(4096) for client in heard]
    assert {(503,)} == {tuple(statuses(answer)) for answer in answers}
    assert b"\r\nRetry-After: 1\r\n" in answers[0]
    assert b"\r\nConnection: close\r\n" in answers[0]


@pytest.mark.parametrize(("code", "shed"), [(errno.EMFILE, 0), (errno.ENFILE, 1)])
def test_as_long_as_answers_of_ours_occupy_descriptors_whoever_comes_waits(
    door: Door, monkeypatch: pytest.MonkeyPatch, code: int, shed: int
) -> None:
    door.client()
    door.service.turn(3)
    (connection,) = door.connections
    connection.state = SENDING
    tried: list[int] = []
    monkeypatch.setattr(door.acceptor, "_shed", lambda: tried.append(1))
    failing(monkeypatch, code)
    door.client()
    door.service.turn(2)
    monkeypatch.setattr(door.acceptor, "_short_since", door.service.loop.now - 6)
    door.pass_time(1)

    assert len(tried) == shed


def test_where_descriptors_are_short_idle_connections_give_way(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = door.client()
    door.service.turn(3)
    answered = statuses(client.recv(4096))
    failing(monkeypatch, errno.EMFILE)
    door.client()
    door.service.turn(3)

    assert [200] == answered
    assert (set(), 1, b"") == (door.connections, door.row["gave_way"], client.recv(1))


def test_closing_it_takes_what_has_connected(door: Door) -> None:
    client = door.client()
    door.acceptor.close()
    door.service.turn(2)

    assert door.acceptor.closed
    assert statuses(client.recv(4096)) == [200]


@pytest.mark.parametrize(
    ("asked", "content"),
    [
        pytest.param(b"", True, id="nothing yet"),
        pytest.param(GET, True, id="GET"),
        pytest.param(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", False, id="HEAD"),
    ],
)
def test_who_is_turned_away_hears_what_the_method_allows(
    door: Door, asked: bytes, *, content: bool
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(asked)
        turn_away(ours, door.service)
        head, _, page = theirs.recv(4096).partition(b"\r\n\r\n")

    assert (b"503" in head, bool(page)) == (True, content)


def test_a_worker_steps_back_from_a_siblings_slot_once_for_all_who_came(
    door: Door, monkeypatch: pytest.MonkeyPatch
) -> None:
    polled: list[int] = []
    monkeypatch.setattr(Acceptor, "_poll", lambda _, fd: polled.append(fd))
    siblings = door.listener.sockets[1].fileno()
    for _ in range(3):
        door.acceptor.on_foreign_listener(siblings)
    before = list(polled)
    door.acceptor.sweep()
    door.acceptor.sweep()

    assert ([], [siblings]) == (before, polled)
