"""The transport over real socket pairs; what the kernel refuses comes from a socket that refuses."""

from __future__ import annotations

import errno
import math
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pytest

from mpserve import transport as transport_module
from mpserve.protocol.message import FileSpan
from mpserve.transport import (
    BLOCKED,
    EOF,
    GONE,
    SENDFILE_SIZE,
    TURN_SIZE,
    UNKNOWN,
    WIDE_LOWAT,
    Disconnected,
    Flush,
    Transport,
    Truncated,
)
from tests.harness.until import until

Pair = tuple[Transport, socket.socket]


@dataclass
class File:
    fd: int
    warm: tuple[int, int, float] = (0, 1 << 62, math.inf)
    sight: tuple[int, int, int, int, int] | None = None


@pytest.fixture
def pair() -> Iterator[Pair]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    transport = Transport(ours)
    with theirs:
        yield transport, theirs
        transport.close()


@pytest.fixture
def file(tmp_path: Path) -> Iterator[File]:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)  # 1 MiB
    fd = os.open(path, os.O_RDWR)
    yield File(fd)
    os.close(fd)


def received(transport: Transport, theirs: socket.socket, length: int) -> bytes:
    """Flush until `length` octets have come out at the other end."""
    theirs.settimeout(5)
    octets = b""
    while len(octets) < length:
        transport.flush()
        octets += theirs.recv(1 << 20)
    return octets


def test_what_has_arrived_is_returned(pair: Pair) -> None:
    transport, theirs = pair
    theirs.send(b"GET")

    assert transport.recv() == b"GET"


def test_nothing_is_a_value(pair: Pair) -> None:
    assert pair[0].recv() is BLOCKED


def test_the_end_is_a_value(pair: Pair) -> None:
    transport, theirs = pair
    theirs.shutdown(socket.SHUT_WR)

    assert transport.recv() == EOF


def test_memory_and_spans_come_out_in_order(pair: Pair, file: File) -> None:
    transport, theirs = pair
    transport.push(b"head ", (b"a ", FileSpan(file, 65, 68), b" b ", FileSpan(file, 0, 1)))

    assert received(transport, theirs, 14) == b"head a ABC b \0"


def test_a_head_and_its_content_in_memory_are_one_piece(pair: Pair) -> None:
    transport, _theirs = pair
    transport.push(b"head", (b"content",))

    assert repr(transport) == "<Transport 1 pieces waiting, 0 octets sent>"


def test_a_large_file_arrives_whole_through_many_partial_writes(pair: Pair, file: File) -> None:
    transport, theirs = pair
    transport.push(b"head", (FileSpan(file, 0, 1 << 20),))
    octets = received(transport, theirs, 4 + (1 << 20))

    assert octets == b"head" + bytes(range(256)) * 4096
    assert transport.sent == len(octets)
    assert transport.flush() is Flush.DONE


def test_a_full_socket_is_a_value(pair: Pair) -> None:
    transport, _theirs = pair
    transport.push(bytes(10_000_000), ())
    first = transport.flush()

    assert (Flush.WAITING, Flush.WAITING) == (first, transport.flush())
    assert 0 < transport.sent < 10_000_000


def test_a_file_that_ends_early_is_truncated_and_not_padded(pair: Pair, file: File) -> None:
    transport, _theirs = pair
    os.ftruncate(file.fd, 10)
    transport.push(b"", (FileSpan(file, 10, 20),))

    with pytest.raises(Truncated):
        transport.flush()


def test_a_peer_that_is_gone_disconnects(pair: Pair) -> None:
    transport, theirs = pair
    theirs.close()
    transport.push(b"head", ())

    with pytest.raises(Disconnected):
        transport.flush()


def test_after_finish_sending_the_peer_sees_the_end_and_can_still_send(pair: Pair) -> None:
    transport, theirs = pair
    transport.finish_sending()
    theirs.send(b"more")

    assert (theirs.recv(1), transport.recv()) == (b"", b"more")


def test_a_reset_is_an_error_to_the_peer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    Transport(ours).reset()

    with theirs, pytest.raises(ConnectionResetError):
        theirs.recv(1)


@dataclass
class Refusing:
    """A socket whose every operation fails with `errno`."""

    errno: int

    def fail(self, *_: object) -> int:
        raise OSError(self.errno, os.strerror(self.errno))

    recv = send = shutdown = fail

    def fileno(self) -> int:
        return -1


def refusing(number: int) -> Transport:
    transport = Transport(cast("socket.socket", Refusing(number)))
    transport.push(b"head", ())
    return transport


@pytest.mark.parametrize("number", sorted(GONE), ids=errno.errorcode.get)
def test_whatever_the_network_says_of_a_lost_peer_is_disconnected(number: int) -> None:
    transport = refusing(number)
    for operation in (transport.recv, transport.flush, transport.finish_sending):
        with pytest.raises(Disconnected):
            operation()


def test_what_is_no_lost_peer_is_not_hidden() -> None:
    transport = refusing(errno.EBADF)
    for operation in (transport.recv, transport.flush, transport.finish_sending):
        with pytest.raises(OSError, match="Bad file descriptor"):
            operation()


@pytest.mark.parametrize("number", sorted(transport_module.NO_SPLICE), ids=errno.errorcode.get)
def test_a_file_system_without_splice_is_read_instead(
    pair: Pair, file: File, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def sendfile(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "sendfile", sendfile)
    transport, theirs = pair
    transport.push(b"head", (FileSpan(file, 1, 100_001),))
    expected = b"head" + (bytes(range(256)) * 4096)[1:100_001]

    assert expected == received(transport, theirs, len(expected))


def test_a_file_that_is_read_instead_and_ends_early_is_truncated(
    pair: Pair, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sendfile(*_: object) -> int:
        raise OSError(errno.EINVAL, "no splice")

    monkeypatch.setattr(os, "sendfile", sendfile)
    transport, _theirs = pair
    transport.push(b"", (FileSpan(file, 1 << 20, 1 << 21),))

    with pytest.raises(Truncated):
        transport.flush()


def test_a_file_that_cannot_be_read_is_neither_hidden_nor_taken_for_a_lost_peer(
    pair: Pair, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sendfile(*_: object) -> int:
        raise OSError(errno.EIO, "the disk is ill")

    monkeypatch.setattr(os, "sendfile", sendfile)
    transport, _theirs = pair
    transport.push(b"head", (FileSpan(file, 0, 10),))

    with pytest.raises(OSError, match="the disk is ill"):
        transport.flush()


def test_one_turn_sends_a_bounded_amount_in_bounded_calls(
    pair: Pair, file: File, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []

    def sendfile(_out: int, _in: int, _offset: int, count: int) -> int:
        counts.append(count)
        return count

    monkeypatch.setattr(os, "sendfile", sendfile)
    transport, _theirs = pair
    transport.push(b"head", (FileSpan(file, 0, 1 << 40),))
    outcome = transport.flush()

    assert outcome is Flush.TURN_OVER
    assert set(counts) == {SENDFILE_SIZE}
    assert TURN_SIZE <= transport.sent <= TURN_SIZE + SENDFILE_SIZE


# --- Fast clients ---------------------------------------------------------------------------------

MANY_TIMES = 1_000_000  # more than the kernel can need


@pytest.fixture
def connected() -> Iterator[Pair]:
    """A transport over TCP."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    ours.setblocking(False)
    transport = Transport(ours)
    with theirs:
        yield transport, theirs
        transport.close()


def test_a_wide_socket_may_hold_more(connected: Pair) -> None:
    transport, _theirs = connected
    transport.widen()
    with socket.socket(fileno=os.dup(transport.fileno())) as sock:
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == WIDE_LOWAT


def test_a_wide_socket_drains_as_long_as_its_peer_takes_something(
    connected: Pair, file: File
) -> None:
    transport, theirs = connected
    transport.widen()
    transport.push(b"head", [FileSpan(file, 0, 1 << 20)] * 64)
    while transport.flush() is not Flush.WAITING:
        pass
    transport.drains()  # the first time there is nothing to compare with
    # What had been on its way may still arrive, but that comes to an end.
    stopped = not all(transport.drains() for _ in range(MANY_TIMES))
    theirs.recv(1 << 20)

    assert stopped
    assert any(transport.drains() for _ in range(MANY_TIMES))


def test_what_is_sent_is_counted_anew(connected: Pair, file: File) -> None:
    transport, _theirs = connected
    transport.widen()
    first = transport.drains()
    transport.push(b"head", (FileSpan(file, 0, 1000),))
    transport.flush()

    assert (False, UNKNOWN, False) == (first, transport._held, transport.drains())


def test_a_peer_that_reads_what_was_sent_long_ago_moves(file: File) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        theirs = socket.socket()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        theirs.connect(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    transport = Transport(ours)
    transport.push(b"head", [FileSpan(file, 0, 1 << 20)])
    while transport.flush() is Flush.TURN_OVER:
        pass
    transport.drains()
    assert until(lambda: not transport.drains())  # the peer's buffer is full
    stuck, sent = transport.drains(), transport.sent
    theirs.recv(1 << 20)
    moved = until(transport.drains)
    theirs.close()
    transport.close()

    assert (False, True, sent) == (stuck, moved, transport.sent)
