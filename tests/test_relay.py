"""The queue of connections that a worker could not answer."""

from __future__ import annotations

import os
import resource
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from mpserve import relay as room
from mpserve.relay import LONGEST, MOST_PAIRS, Pair, Relay


@pytest.fixture
def relay() -> Iterator[Relay]:
    queue = Relay.create()
    yield queue
    queue.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A connection: a client's end, and ours."""
    client, ours = socket.socketpair()
    with client, ours:
        yield client, ours


def test_a_connection_comes_out_with_its_octets_and_lives_on(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, ours = pair
    assert relay.give(ours.fileno(), b"GET /")
    ours.close()
    taken = relay.take()
    assert taken is not None
    sock, octets = taken
    with sock:
        sock.sendall(b"200")

        assert (octets, client.recv(10)) == (b"GET /", b"200")
        assert not os.get_inheritable(sock.fileno())


def test_they_come_out_in_their_order(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    for octets in (b"first", b"second"):
        relay.give(pair[1].fileno(), octets)
    with ExitStack() as stack:
        order = []
        while waiting := relay.take():
            stack.enter_context(waiting[0])
            order.append(waiting[1])

    assert order == [b"first", b"second"]


def test_nothing_waits_at_first(relay: Relay) -> None:
    assert relay.take() is None


@pytest.mark.parametrize("octets", [b"", bytes(LONGEST + 1)], ids=["no octets", "too many"])
def test_what_does_not_fit_is_refused(
    relay: Relay, pair: tuple[socket.socket, socket.socket], octets: bytes
) -> None:
    assert not relay.give(pair[1].fileno(), octets)
    assert relay.take() is None


def test_a_full_queue_says_so_and_keeps_what_it_has(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    given = 0
    while relay.give(pair[1].fileno(), bytes(LONGEST)):
        given += 1
    taken = 0
    while waiting := relay.take():
        waiting[0].close()
        taken += 1

    assert given == taken > 0


def test_where_a_socket_has_little_room_there_are_more_of_them(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[socket.socket, socket.socket]
) -> None:
    def small() -> Pair:
        taking, giving = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for each in (taking, giving):
            each.setblocking(False)
        # What net.core.wmem_max is, where nobody has changed it.
        giving.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 212_992)
        return Pair(taking, giving)

    monkeypatch.setattr(room, "pair", small)
    relay = Relay.create()
    given = 0
    while relay.give(pair[1].fileno(), bytes(200)):
        given += 1
    taken = 0
    while waiting := relay.take():
        waiting[0].close()
        taken += 1
    relay.close()

    assert len(relay.filenos()) == MOST_PAIRS
    assert given == taken > 1000


def test_the_next_image_of_the_master_goes_on_with_what_waits(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    relay.give(pair[1].fileno(), b"GET /")
    next_one = Relay.adopt(relay.ends)
    taken = next_one.take()
    next_one.close()
    assert taken is not None
    taken[0].close()

    assert taken[1] == b"GET /"
    assert relay.take() is None  # one queue, and no copy of it
    assert relay.give(pair[1].fileno(), b"GET /again")  # its own ends are open still


def test_who_finds_no_descriptor_for_a_connection_loses_it_and_goes_on(
    relay: Relay, pair: tuple[socket.socket, socket.socket]
) -> None:
    client, ours = pair
    relay.give(ours.fileno(), b"GET /")
    ours.close()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(client.fileno())  # the lowest number that is free
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
    try:
        taken = relay.take()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)

    assert taken is None
    assert client.recv(1) == b""  # the client hears of it at once
