"""Clients that mean harm, or behave as if they did: what they get, what they cost, and who is not hurt by them."""

from __future__ import annotations

import os
import random
import re
import select
import shutil
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import psutil
import pytest

from mpserve.mounts import Mounts
from mpserve.witness import KEPT_AFTER
from tests.harness.server import Server
from tests.harness.strace import needs_strace, traced
from tests.harness.until import until
from tests.process.conftest import REQUEST, Serve, answer, connect, content, get
from tests.streams import small_filesystem

pytestmark = pytest.mark.slow

HELLO = b"hello\n"
# A receive buffer that fills at once (octets; the kernel takes twice as many).
SMALL = 4096
STUCK = 200
# Octets a second of an honest reader who is slow.
SLOW = 13_000
# What one stuck reader may pin in the kernel, and in the worker (octets).
MOST_IN_KERNEL = 200_000
MOST_IN_WORKER = 10_000
RESETS = 1000
# Files and directories that a worker keeps open, for the next who asks.
KEPT_OPEN = 4


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    """Clients that are closed at the end of the test."""
    with ExitStack() as clients:
        yield clients


def reader(server: Server, request: bytes) -> socket.socket:
    """A client that has asked, and has room for hardly anything."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
    client.settimeout(20)
    client.connect(("127.0.0.1", server.port))
    client.sendall(request)
    return client


def hear(client: socket.socket) -> bytes:
    """All that comes until the end."""
    octets = bytearray()
    while more := client.recv(1 << 16):
        octets += more
    return bytes(octets)


def request(path: str, *fields: str, method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: x", *fields, "", "")
    return "\r\n".join(lines).encode()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def pinned(port: int) -> list[int]:
    """The octets of memory that the kernel holds for each connection that is served at `port`."""
    command = ["ss", "-tmnHO", "state", "established", f"sport = :{port}"]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    # skmem: r, t: allocated for receiving and sending; f: in reserve; w: queued; o: options; bl: backlog
    found = [re.search(r"skmem:\(r(\d+),.*?,t(\d+),.*?,f(\d+),w(\d+),", line) for line in lines]
    return [int(each[1]) + int(each[3]) + int(each[4]) for each in found if each is not None]


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not installed")
def test_who_takes_nothing_costs_little_and_is_let_go(
    serve: Serve, root: Path, clients: ExitStack
) -> None:
    with (root / "huge").open("wb") as file:
        file.truncate(1 << 30)
    server = serve("--workers", "1", "--access-log", "off", "--send-timeout", "4")
    (worker,) = server.workers()
    assert content(server, "/hello.txt") == HELLO
    open_before, memory_before = descriptors(worker), psutil.Process(worker).memory_info().rss
    stuck = [clients.enter_context(reader(server, request("/huge"))) for _ in range(STUCK)]
    assert until(lambda: len(pinned(server.port)) == STUCK and min(pinned(server.port)) > SMALL)
    in_kernel = pinned(server.port)
    in_worker = psutil.Process(worker).memory_info().rss - memory_before
    assert content(server, "/hello.txt") == HELLO

    assert max(in_kernel) < MOST_IN_KERNEL
    assert in_worker < STUCK * MOST_IN_WORKER
    # One that reads again before it is let go is a reader like any other: it hears the whole gibibyte, and then
    # nothing for as long as it may be idle. Descriptors alone do not tell, of which some are kept for the next.
    assert until(lambda: not pinned(server.port))
    assert until(lambda: descriptors(worker) <= open_before + KEPT_OPEN)
    for client in stuck:
        with pytest.raises(ConnectionResetError):
            hear(client)


def test_who_reads_slowly_but_reads_gets_it_all(serve: Serve, root: Path) -> None:
    whole = random.Random(0).randbytes(512 * 1024)
    (root / "slow").write_bytes(whole)
    server = serve("--workers", "1", "--access-log", "off", "--send-timeout", "2")
    octets = bytearray()
    with reader(server, request("/slow", "Connection: close")) as client:
        begun = time.monotonic()
        # For more than twice as long as the server waits for who takes nothing, it takes so little that
        # nothing more can be written to it for as long.
        while (passed := time.monotonic() - begun) < 5:
            octets += client.recv(max(1, int(passed * SLOW) - len(octets)))
            select.select([], [], [], 0.02)
        unhurried = len(octets)
        octets += hear(client)
    _, _, body = bytes(octets).partition(b"\r\n\r\n")

    assert unhurried < 100_000
    assert body == whole


def test_a_file_that_is_overwritten_while_it_is_sent_is_never_received_whole(
    serve: Serve, root: Path
) -> None:
    path = root / "large"
    path.write_bytes(bytes(16 << 20))
    if not Mounts().tell(path.stat().st_dev):
        pytest.skip("nobody looks at the files of such a file system")
    assert until(lambda: time.time() - path.stat().st_ctime > KEPT_AFTER)
    server = serve("--workers", "1", "--access-log", "off")
    with reader(server, request("/large", "Connection: close")) as client:
        begun = client.recv(1000)
        with path.open("r+b") as file:
            file.write(b"\1" * (16 << 20))
        with pytest.raises(ConnectionResetError):
            hear(client)
    server.wait_for_line("a file was overwritten while it was sent")

    assert begun.startswith(b"HTTP/1.1 200 OK\r\n")
    assert content(server, "/large") == b"\1" * (16 << 20)


def long_field(octets: int) -> bytes:
    return request("/hello.txt", f"X: {'x' * octets}")


@pytest.mark.parametrize(
    ("octets", "status"),
    [
        pytest.param(long_field(64 * 1024), 431, id="a head of 64 KiB"),
        pytest.param(request("/hello.txt", *["X: y"] * 1000), 431, id="1000 fields"),
        pytest.param(request("/" + "x" * 32 * 1024), 414, id="a line of 32 KiB"),
        pytest.param(long_field(3 * 1024 * 1024), 431, id="more than is ever read"),
    ],
)
def test_who_sends_too_large_a_head_reads_why(serve: Serve, octets: bytes, status: int) -> None:
    server = serve("--workers", "1", "--access-log", "off", "--linger-timeout", "1")
    heard = upload(server, octets, 0)

    assert heard.startswith(b"HTTP/1.1 %d " % status)


def upload(server: Server, head: bytes, size: int) -> bytes:
    """What a client hears that goes on sending whatever it hears, until it is kept from it."""
    heard, rest = bytearray(), head + bytes(size)
    with connect(server) as client:
        client.setblocking(False)
        while True:
            readable, writable, _ = select.select([client], [client] if rest else [], [], 20)
            assert readable or writable, "nobody ends it"
            try:
                if readable:
                    more = client.recv(1 << 16)
                    if not more and not rest:
                        return bytes(heard)
                    heard += more
                if writable:
                    rest = rest[client.send(rest[: 1 << 18]) :]
                    if not rest:
                        client.shutdown(socket.SHUT_WR)
            except ConnectionError:
                return bytes(heard)


def test_who_uploads_to_a_file_is_answered_at_once_and_not_read_to_the_end(serve: Serve) -> None:
    server = serve("--workers", "1", "--access-log", "off", "--linger-timeout", "1")
    (worker,) = server.workers()
    size = 50 << 20
    before = received_by(worker)
    head = request("/hello.txt", f"Content-Length: {size}", method="POST")
    heard = upload(server, head, size)

    assert heard.startswith(b"HTTP/1.1 405 ")
    assert content(server, "/hello.txt") == HELLO
    assert received_by(worker) - before < 4 << 20


def received_by(pid: int) -> int:
    """The octets that a process has taken by read and recv."""
    found = re.search(r"^rchar: (\d+)$", Path(f"/proc/{pid}/io").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def test_who_says_nothing_more_is_still_answered(serve: Serve) -> None:
    server = serve("--workers", "1")
    with connect(server) as client:
        client.sendall(request("/big"))
        client.shutdown(socket.SHUT_WR)
        heard = hear(client)

    assert heard.startswith(b"HTTP/1.1 200 ")
    assert heard.endswith(bytes(range(256)) * 16384)


def test_who_leaves_in_the_middle_of_a_head_leaves_no_word_behind(serve: Serve) -> None:
    server = serve("--workers", "1")
    said = server.stderr
    with connect(server) as client:
        client.sendall(REQUEST[:20])
        client.shutdown(socket.SHUT_WR)
        heard = hear(client)
    assert content(server, "/hello.txt") == HELLO

    assert (heard, server.stderr) == (b"", said)


def reset(client: socket.socket) -> None:
    """Be gone, without a farewell."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


def in_the_head(client: socket.socket) -> None:
    client.sendall(REQUEST[:20])


def in_the_content(client: socket.socket) -> None:
    client.sendall(request("/big"))
    client.recv(1)


def between_two(client: socket.socket) -> None:
    client.sendall(REQUEST)
    answer(client)


def with_answers_unread(client: socket.socket) -> None:
    client.sendall(REQUEST * 50)


@pytest.mark.parametrize("deed", [in_the_head, in_the_content, between_two, with_answers_unread])
def test_resets_by_the_thousand_leave_nothing_behind(
    serve: Serve, deed: Callable[[socket.socket], None]
) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    assert content(server, "/hello.txt") == HELLO
    said, before = server.stderr, descriptors(worker)
    for _ in range(RESETS):
        client = connect(server)
        deed(client)
        reset(client)

    assert content(server, "/hello.txt") == HELLO
    assert until(lambda: descriptors(worker) <= before + KEPT_OPEN)
    assert (server.stderr, server.workers()) == (said, [worker])


def test_of_many_idle_connections_the_longest_idle_one_goes(
    serve: Serve, clients: ExitStack
) -> None:
    server = serve("--workers", "1", "--max-connections", "100", "--access-log", "off")
    idle = []
    for _ in range(100):
        idle.append(clients.enter_context(connect(server)))
        idle[-1].sendall(REQUEST)
        assert answer(idle[-1]).endswith(HELLO)
    gone = [bool(select.select([client], [], [], 0)[0]) for client in idle]
    number = gone.count(True)

    assert 5 <= number <= 15  # what is above nine tenths
    assert gone == [True] * number + [False] * (100 - number)
    assert [client.recv(1) for client in idle[:number]] == [b""] * number
    assert content(server, "/hello.txt") == HELLO


@needs_strace
def test_interrupted_and_partial_writes_change_no_octet(serve: Serve, tmp_path: Path) -> None:
    server = serve("--workers", "1", "--access-log", "off")
    (worker,) = server.workers()
    with (
        traced(worker, tmp_path / "trace", "--inject=sendfile:error=EINTR:when=2+3"),
        reader(server, request("/big", "Connection: close")) as client,
    ):
        heard = hear(client)

    assert heard.partition(b"\r\n\r\n")[2] == bytes(range(256)) * 16384
    assert (tmp_path / "trace").read_text().count("(INJECTED)") > 1


def test_a_file_system_that_goes_while_a_file_is_sent_takes_nothing_from_it(
    serve: Serve, root: Path
) -> None:
    whole = random.Random(1).randbytes(4 << 20)
    with small_filesystem(root / "disk", 8 << 20) as disk:
        (disk / "file").write_bytes(whole)
        server = serve("--workers", "1", "--access-log", "off")
        client = reader(server, request("/disk/file", "Connection: close"))
        begun = client.recv(100)
        subprocess.run(["umount", "--lazy", str(disk)], check=True)
        gone = get(server, "/disk/file").status
        with client:
            heard = begun + hear(client)

    assert gone == 404
    assert heard.partition(b"\r\n\r\n")[2] == whole
