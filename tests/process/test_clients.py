"""Clients that come in crowds, stay away or stay too long: what an honest one beside them notices."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from mpserve.linux import have_openat2
from tests.harness.server import Server
from tests.harness.strace import needs_strace, traced
from tests.harness.until import until
from tests.process.conftest import REQUEST, Serve, answer, connect, content, get

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


def test_with_few_descriptors_clients_of_as_many_large_files_are_served_in_turn(
    root: Path, clients: ExitStack
) -> None:
    count = 100
    for number in range(count):
        with (root / f"large{number}").open("wb") as file:
            file.truncate(3 << 20)  # more than a socket holds
    server = Server(root, "--workers", "1", "--access-log", "off")
    server.command = ("prlimit", "--nofile=96:96", *server.command)
    clients.enter_context(server)
    waiting = [clients.enter_context(connect(server)) for _ in range(count)]
    for number, client in enumerate(waiting):
        client.sendall(b"GET /large%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % number)
    served = [len(answer(client).partition(b"\r\n\r\n")[2]) for client in waiting]

    assert served == [3 << 20] * count


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


@needs_strace
@pytest.mark.parametrize("error", ["ENFILE", "ENOBUFS", "ENOMEM"])
def test_while_the_system_has_no_socket_to_give_clients_wait_for_one(
    serve: Serve, tmp_path: Path, error: str
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    with ThreadPoolExecutor(1) as pool:
        with traced(worker, tmp_path / "trace", f"--inject=accept4:error={error}"):
            asked = pool.submit(content, server, "/hello.txt")
            server.wait_for_line("cannot accept: ")
            with pytest.raises(TimeoutError):
                asked.result(timeout=0.5)

        assert asked.result() == HELLO
    assert (tmp_path / "trace").read_text().count("(INJECTED)") < 10  # it does not spin
    assert server.stderr.count("cannot accept") == 1


@needs_strace
@pytest.mark.skipif(not have_openat2(), reason="openat2 cannot be used here")
@pytest.mark.parametrize("error", ["EMFILE", "ENFILE", "ENOMEM"])
def test_a_file_that_cannot_be_opened_for_want_of_room_is_waited_for(
    serve: Serve, tmp_path: Path, error: str
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    assert get(server, "/none").status == 404  # now it knows that there is openat2

    def waits() -> bool:
        with ThreadPoolExecutor(1) as pool:
            with traced(worker, tmp_path / "trace", f"--inject=openat2:error={error}"):
                asked = pool.submit(get, server, "/hello.txt")
                with pytest.raises(TimeoutError):
                    asked.result(timeout=0.5)

            return asked.result().status == 200

    # strace may let go in the middle of a call, which then fails as one that the kernel does not know.
    assert any(waits() for _ in range(3))
    assert content(server, "/hello.txt") == HELLO


@needs_strace
@pytest.mark.skipif(not have_openat2(), reason="openat2 cannot be used here")
def test_a_file_for_which_there_is_no_room_is_not_waited_for_for_ever(
    serve: Serve, tmp_path: Path
) -> None:
    server = serve("--workers", "1", "--access-log", "off", "--send-timeout", "0.5")
    (worker,) = server.workers()
    assert get(server, "/none").status == 404  # now it knows that there is openat2
    with traced(worker, tmp_path / "trace", "--inject=openat2:error=EMFILE"):
        refused = get(server, "/hello.txt")

    assert (refused.status, refused.getheader("Retry-After")) == (503, "1")
    assert content(server, "/hello.txt") == HELLO


@needs_strace
def test_while_a_file_comes_from_a_slow_disk_others_are_served(
    serve: Serve, root: Path, tmp_path: Path
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    with (root / "big").open("rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert content(server, "/hello.txt") == HELLO
    with ThreadPoolExecutor(1) as pool:
        # The threads read by pread; what asks whether the disk is needed is another call.
        with traced(worker, tmp_path / "trace", "--inject=pread64:delay_enter=300000"):
            cold = pool.submit(content, server, "/big")
            assert until(lambda: len(os.listdir(f"/proc/{worker}/task")) > 1)
            served = 0
            while not cold.done():
                assert content(server, "/hello.txt") == HELLO
                served += 1

        assert served > 1
        assert cold.result() == (root / "big").read_bytes()
    assert "pread64(" in (tmp_path / "trace").read_text()
