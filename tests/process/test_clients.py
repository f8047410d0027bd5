"""Clients that come in crowds, stay away or stay too long: what an honest one beside them notices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from tests.harness.server import Server
from tests.process.conftest import Serve, content, get
from tests.process.test_workers import REQUEST, answer, connect, until

pytestmark = pytest.mark.slow

HELLO = b"hello\n"


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Clients that are closed at the end of the test."""
    with ExitStack() as clients:
        yield clients


def test_idle_connections_give_way_to_new_ones(serve: Serve, clients: ExitStack) -> None:
    server = serve("--workers", "2", "--max-connections", "50", "--access-log", "off")
    for _ in range(300):
        client = clients.enter_context(connect(server))
        client.sendall(REQUEST)
        assert answer(client).endswith(HELLO)
    held = [len(psutil.Process(pid).net_connections()) for pid in server.workers()]

    assert max(held) <= 50 + 2  # and the listeners
    assert content(server, "/hello.txt") == HELLO


def test_with_few_descriptors_all_are_served_in_turn(root: Path, clients: ExitStack) -> None:
    server = Server(root, "--workers", "1", "--access-log", "off")
    server.command = ("prlimit", "--nofile=64:64", *server.command)
    clients.enter_context(server)
    (worker,) = server.workers()
    waiting = [clients.enter_context(connect(server)) for _ in range(500)]
    for client in waiting:
        client.sendall(REQUEST)
    served = [answer(client) for client in waiting]

    assert all(octets.endswith(HELLO) for octets in served)
    assert server.workers() == [worker]


def test_without_descriptors_clients_are_told_to_come_back_and_later_served(serve: Serve) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    process = psutil.Process(worker)
    limits = process.rlimit(psutil.RLIMIT_NOFILE)
    process.rlimit(psutil.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{worker}/fd")), limits[1]))
    before = process.cpu_times()
    refused = get(server, "/hello.txt")  # it waits until the want has lasted for five seconds
    after = process.cpu_times()
    process.rlimit(psutil.RLIMIT_NOFILE, limits)

    assert (refused.status, refused.getheader("Retry-After")) == (503, "1")
    assert after.user + after.system - before.user - before.system < 1.0  # it does not spin
    assert until(lambda: get(server, "/hello.txt").status == 200)
    assert len(re.findall("cannot accept: Too many open files", server.stderr)) == 1
