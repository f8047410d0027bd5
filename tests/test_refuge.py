"""What a worker can still answer when its root is replaced, and what it leaves to others."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mpserve.config import load
from mpserve.refuge import Refuge
from mpserve.relay import Relay
from mpserve.sandbox import Reach, identity
from tests.dialogue import FakeService, statuses

GET = b"GET /a.txt HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    (root / "a.txt").write_bytes(b"hello\n")
    return root


@pytest.fixture
def relay() -> Iterator[Relay]:
    relay = Relay.create()
    yield relay
    relay.close()


@pytest.fixture
def service(root: Path) -> Iterator[FakeService]:
    service = FakeService(load([str(root)], {}))
    yield service
    for connection in service.stayed:
        connection.close()
    service.loop.close()


@pytest.fixture
def refuge(service: FakeService, root: Path, relay: Relay) -> Refuge:
    """That of a worker which may read the root that there is now."""
    return Refuge(service, Reach(os.fsencode(root), identity(root.stat()), False), relay)


@contextmanager
def opened(directory: Path) -> Iterator[int]:
    fd = os.open(directory, os.O_PATH)
    yield fd
    os.close(fd)


def replace(root: Path) -> None:
    root.rename(root.with_name("old"))
    root.mkdir()


def given_to(relay: Relay) -> socket.socket:
    """A client whose connection waits in the queue, with a request."""
    client, ours = socket.socketpair()
    client.setblocking(False)
    with ours:
        assert relay.give(ours.fileno(), GET)
    return client


def test_the_root_that_it_began_with_is_in_reach(refuge: Refuge, root: Path) -> None:
    with opened(root) as directory:
        assert not refuge.out_of_reach(directory)
    assert not refuge.root_lost()


def test_a_root_in_its_place_is_not(refuge: Refuge, root: Path) -> None:
    replace(root)
    with opened(root) as directory:
        assert refuge.out_of_reach(directory)


def test_what_was_the_root_a_moment_ago_is_not_either(refuge: Refuge, root: Path) -> None:
    with opened(root.parent) as another:
        assert refuge.out_of_reach(another)
    with opened(root) as directory:
        assert refuge.out_of_reach(
            directory
        )  # it has asked for a successor by now, and gives all to it


def test_while_there_is_no_root_nothing_is_lost(refuge: Refuge, root: Path) -> None:
    root.rename(root.with_name("old"))

    assert not refuge.root_lost()


def test_it_goes_on_with_what_others_have_left(
    refuge: Refuge, relay: Relay, service: FakeService
) -> None:
    with given_to(relay) as client:
        service.turn(3)

        assert statuses(client.recv(4096)) == [200]


def test_when_the_root_is_lost_it_takes_nothing_from_the_queue(
    refuge: Refuge, relay: Relay, service: FakeService, root: Path
) -> None:
    replace(root)
    lost = refuge.root_lost()
    with given_to(relay):
        service.turn(3)
        waiting = relay.take()

    assert lost
    assert waiting is not None
    with waiting[0]:
        assert waiting[1] == GET
