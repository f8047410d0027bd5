"""Which connections give way when they are many."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mpserve.config import load
from mpserve.connection import Connection
from mpserve.crowd import Crowd, affordable
from mpserve.states import READING, SENDING, State
from tests.dialogue import PEER, FakeService


@pytest.mark.parametrize(
    ("wanted", "limit", "taken", "expected"),
    [
        pytest.param(8192, 20000, 2020, 8192, id="as many as are wanted"),
        pytest.param(8192, 1024, 276, 740, id="a descriptor for each"),
        pytest.param(10, 1024, 276, 10, id="fewer are wanted than there could be"),
        pytest.param(8192, 20, 40, 1, id="never none"),
    ],
)
def test_how_many_connections_the_open_files_allow(
    wanted: int, limit: int, taken: int, expected: int
) -> None:
    assert affordable(wanted, limit, taken) == expected


class Ten:
    """A worker's connections, of which there may be ten; a second passes from one to the next."""

    def __init__(self, running: ExitStack) -> None:
        self.running = running
        self.service = FakeService(load([".", "--workers", "1"], {}))
        self.connections: set[Connection] = set()
        self.crowd = Crowd(self.connections, 10, self.service.config.timeouts)
        running.callback(self.service.loop.close)

    def add(self, state: State | None = None, keepalive: bool = True) -> Connection:
        ours, theirs = map(self.running.enter_context, socket.socketpair())
        self.service.loop.now += 1
        connection = Connection(self.service, ours, PEER)
        if keepalive:
            connection.deadline = self.service.loop.now + 75.0
        if state is not None:
            connection.state = state
        self.connections.add(connection)
        self.running.callback(theirs.close)
        return connection


@pytest.fixture
def ten() -> Iterator[Ten]:
    with ExitStack() as running:
        yield Ten(running)


def test_as_long_as_there_is_room_nobody_gives_way(ten: Ten) -> None:
    for _ in range(9):
        ten.add()

    assert (ten.crowd.pressed(), ten.crowd.room, ten.crowd.expendable()) == (False, 1, [])


def test_the_longest_idle_one_gives_way(ten: Ten) -> None:
    ten.add(READING)
    longest = ten.add()
    for _ in range(8):
        ten.add()

    assert (ten.crowd.pressed(), ten.crowd.expendable()) == (True, [longest])


def test_one_that_has_not_asked_yet_is_idle_since_it_came(ten: Ten) -> None:
    longest = ten.add()
    ten.add(keepalive=False)  # its deadline is the next, though it came a moment ago
    for _ in range(8):
        ten.add()

    assert ten.crowd.expendable() == [longest]


def test_no_connection_at_work_gives_way(ten: Ten) -> None:
    for _ in range(10):
        ten.add(READING)

    assert (ten.crowd.room, ten.crowd.expendable()) == (0, [])


def test_the_longest_idle_are_known_however_few_there_are(ten: Ten) -> None:
    first, _, third = ten.add(), ten.add(READING), ten.add()

    assert ten.crowd.longest_idle(1) == [first]
    assert ten.crowd.longest_idle() == [first, third]


def test_it_is_known_whether_anything_is_being_sent(ten: Ten) -> None:
    ten.add()
    before = ten.crowd.sending
    ten.add(SENDING)

    assert (False, True) == (before, ten.crowd.sending)


def test_in_a_crowd_nobody_is_idle_for_long(ten: Ten) -> None:
    connections = [ten.add() for _ in range(7)]
    alone = ten.crowd.overdue(ten.service.loop.now + 10)
    ten.add()
    crowded = ten.crowd.overdue(ten.service.loop.now + 2)

    assert (alone, set(crowded)) == ([], set(connections[:5]))


def test_who_is_over_the_deadline_is_named_once(ten: Ten) -> None:
    for _ in range(10):
        ten.add()

    overdue = ten.crowd.overdue(ten.service.loop.now + 100)
    assert (10, 10) == (len(overdue), len(set(overdue)))


def test_who_takes_nothing_is_watched_after_a_while(ten: Ten) -> None:
    ten.add()
    waiting = ten.add(SENDING)
    waiting.deadline = ten.service.loop.now + 30.0
    looks = [ten.crowd.waiting(ten.service.loop.now + passed) for passed in (4.9, 5.1)]

    assert [[], [waiting]] == looks


def test_who_has_been_heard_of_since_is_neither_looked_at_nor_ended(ten: Ten) -> None:
    slow, late, heard_of, gone = ten.add(SENDING), ten.add(), ten.add(), ten.add()
    now = ten.service.loop.now
    slow.deadline = now + 1
    late.deadline = heard_of.deadline = gone.deadline = now
    calls = ten.crowd.due(now)
    called = [next(calls)]
    heard_of.deadline += 75
    gone.close()

    assert [slow.on_look, late.on_deadline] == called + list(calls)
