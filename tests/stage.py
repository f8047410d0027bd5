"""A batch without a worker: who has sent what, and what has become of it."""

from __future__ import annotations

import _socket
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from mpserve import loop as loop_module
from mpserve.batch import NOT_POLLED, READY, Batch
from mpserve.config import Config, load
from mpserve.counters import Counters
from mpserve.filecache import FileCache
from mpserve.keeping import Made
from mpserve.loop import Event, Loop
from mpserve.memo import Prepared
from mpserve.protocol.http1 import Http1Protocol
from mpserve.protocol.message import Piece
from mpserve.witness import Witness
from tests.dialogue import FakeLog, FakeTime, re_raise

KEEPALIVE = 75.0  # seconds: the default


def head(*lines: bytes, line: bytes = b"GET /a.txt HTTP/1.1") -> bytes:
    return b"\r\n".join([line, b"Host: x", *lines, b"", b""])


KNOWN, CLOSING, UNKNOWN = head(), head(b"Connection: close"), head(b"X: unknown")


class FakeWitness(Witness):
    """Agrees until it is told not to."""

    def __init__(self) -> None:
        super().__init__(b"/a.txt", None)
        self.agreeing = True
        self.watched = False
        self.asked = 0

    def looks_the_same(self) -> bool:
        self.asked += 1
        return self.agreeing

    def is_watched(self) -> bool:
        return self.watched


class FakeConnection:
    """Notes what is done with it."""

    def __init__(self, *, polled: bool = False) -> None:
        ours, self.client = socket.socketpair()
        self.sock: _socket.socket = ours
        self.peer = b"192.0.2.%d" % self.client.fileno()
        self.deadline = 0.0
        self.fd = ours.fileno() if polled else NOT_POLLED
        if polled:
            ours.setblocking(False)
        self.deeds: list[tuple[object, ...]] = []
        self.bug: Exception | None = None

    def poll(self) -> None:
        self._do("poll")

    def take(self, octets: bytes) -> None:
        self._do("take", octets)

    def repeat(self, head: bytes, answer: Prepared, taken: int, rest: bytes = b"") -> None:
        self._do("repeat", head, answer, taken, rest)

    def close(self) -> None:
        self._do("close")

    def reset(self) -> None:
        self._do("reset")

    def _do(self, *deed: object) -> None:
        self.deeds.append(deed)
        if self.bug is not None:
            raise self.bug

    def heard(self) -> bytes:
        """What the client has got."""
        self.client.setblocking(False)
        octets = b""
        try:
            while more := self.client.recv(1 << 20):
                octets += more
        except BlockingIOError:
            pass
        return octets

    def fill(self) -> None:
        """Leave no room for another octet."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        self.sock.setblocking(False)
        try:
            while True:
                self.sock.send(bytes(1024))
        except BlockingIOError:
            self.sock.setblocking(True)

    def end(self) -> None:
        self.sock.close()
        self.client.close()


@dataclass
class Stage:
    """A batch, and all that it deals with."""

    config: Config
    log: FakeLog = field(default_factory=FakeLog)
    bugs: list[tuple[object, Exception]] = field(default_factory=list)
    connections: list[FakeConnection] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = Loop(re_raise)
        self.loop.close()
        self.cache = FileCache(1 << 20, 100, 0.0, 100)
        self.counters = Counters()
        self.batch = Batch(
            self.config,
            self.config.caches,
            self.loop,
            self.cache,
            self.log,
            self._noted,
            self.counters,
        )

    def _noted(self, handler: Callable[..., None], bug: Exception) -> None:
        self.bugs.append((getattr(handler, "__self__", handler), bug))

    def connection(self, *, polled: bool = False) -> FakeConnection:
        self.connections.append(FakeConnection(polled=polled))
        return self.connections[-1]

    def learn(
        self, octets: bytes, *content: Piece, witnesses: tuple[Witness, ...] | None = ()
    ) -> None:
        """Keep an answer to the head `octets`."""
        self.batch.keep(octets, self.made(octets, *content, witnesses=witnesses))

    def made(
        self, octets: bytes, *content: Piece, witnesses: tuple[Witness, ...] | None = ()
    ) -> Made:
        """What the long way might have made of the head `octets`."""
        protocol = Http1Protocol(self.config.limits)
        protocol.receive(octets)
        request = protocol.next_request()
        assert request is not None
        return Made(request, 200, self.head_of_answer(), content, witnesses)

    def head_of_answer(self) -> bytes:
        return b"HTTP/1.1 200 OK\r\n%bX: y\r\n\r\n" % self.loop.date_line

    def knows(self, octets: bytes) -> bool:
        """Whether there is an answer to `octets`."""
        return self.batch._memo.find(octets) is not None

    def bring(self, connection: FakeConnection, octets: bytes) -> None:
        """Leave what has come on `connection` to the batch."""
        if connection.fd == NOT_POLLED:
            self.batch.add((connection, octets))
        else:
            self.batch.idle[connection.fd] = connection
            connection.client.sendall(octets)
            self.events.append((connection.fd, READY))

    def turn(self) -> None:
        """Let the batch answer all that has been brought."""
        events, self.events = self.events, []
        assert self.batch.receive(events) == []
        self.batch.answer()

    def say(self, octets: bytes, *, polled: bool = False) -> FakeConnection:
        """A connection on which `octets` have come, and the turn that follows."""
        connection = self.connection(polled=polled)
        self.bring(connection, octets)
        self.turn()
        return connection

    def logged(self) -> list[tuple[bytes, int, int]]:
        return [(each.line, each.status, each.sent) for each in self.log.exchanges]


@contextmanager
def raised(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stage]:
    """A stage for `root`, which knows two heads."""
    monkeypatch.setattr(loop_module, "time", FakeTime())
    stage = Stage(load([str(root), "--max-fields", "20"], {}))
    stage.learn(KNOWN, b"hello")
    stage.learn(CLOSING, b"bye")
    yield stage
    for connection in stage.connections:
        connection.end()
