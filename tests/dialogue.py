"""A connection without a worker: the service that it needs, and a client at the other end of its socket."""

from __future__ import annotations

import _socket
import re
import socket
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from mpserve.batch import Batch
from mpserve.config import Config
from mpserve.connection import Connection
from mpserve.counters import Counters
from mpserve.destination import ANY_ROOM
from mpserve.filecache import FileCache
from mpserve.logformat import FORMATS, Layout
from mpserve.loop import Loop
from mpserve.protocol.message import Exchange, FileSpan
from mpserve.readahead import note_warm
from mpserve.states import State
from mpserve.visitor import Visitor

PEER = b"192.0.2.1"
MOST_WATCHES = 1000  # of a service

_DATE = re.compile(rb"\r\nDate: [A-Z][a-z]{2}, [0-9]{2} [A-Z][a-z]{2} [0-9]{4} [0-9:]{8} GMT\r\n")


@dataclass
class FakeLog:
    """Keeps what it is told."""

    exchanges: list[Exchange] = field(default_factory=list)
    enabled: bool = True
    ends: list[bytes] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)  # seconds

    def append(self, exchange: Exchange, ended: float, wall: float) -> None:
        self.exchanges.append(exchange)

    @property
    def layout(self) -> Layout:
        return LAYOUT

    def turn_to(self, wall: float) -> None:
        pass

    def record(
        self,
        peers: Iterable[bytes],
        exchanges: Iterable[bytes],
        ends: Iterable[bytes],
        duration: float,
    ) -> None:
        for peer, exchange, end in zip(peers, exchanges, ends, strict=False):
            told = _TOLD.fullmatch(exchange)
            assert told is not None
            self.exchanges.append(Exchange(peer, None, told[1], int(told[2]), 0.0, 0, int(told[3])))
            self.ends.append(end)
            self.durations.append(duration)


LAYOUT = Layout(FORMATS["combined"], ANY_ROOM)
_TOLD = re.compile(rb'"(.*)" (\d+) (\d+)')


class FakeTime:
    """What a loop takes for the module `time`: a wall clock that is ahead, and can be moved.

    A file is as old as its ctime, which nobody can set; an hour ahead, whatever was written before
    has settled.
    """

    def __init__(self, ahead: float = 3600.0) -> None:
        self.ahead = ahead  # seconds

    def monotonic(self) -> float:
        return time.monotonic()

    def time(self) -> float:
        return time.time() + self.ahead


def re_raise(_handler: Callable[..., None], bug: Exception) -> None:
    raise bug


@dataclass
class FakeReadAhead:
    """Has read everything by the next turn."""

    loop: Loop
    spans: list[FileSpan] = field(default_factory=list)
    refuses: bool = False
    errands: int = 0

    def fetch(self, span: FileSpan, then: Callable[[], None]) -> bool:
        if not self.refuses:
            self.spans.append(span)
            note_warm(span)
            self.loop.again(then)
        return not self.refuses

    def run(self, work: Callable[[], None], then: Callable[[], None]) -> bool:
        if not self.refuses:
            self.errands += 1
            work()
            self.loop.again(then)
        return not self.refuses


@dataclass
class FakeService:
    """What connections ask of their worker."""

    config: Config
    log: FakeLog = field(default_factory=FakeLog)
    on_bug: Callable[[Callable[..., None], Exception], None] = re_raise
    draining: bool = False
    stalled: int = 0
    starved: int = 0
    wide: int = 0
    patient: bool = False
    held: list[Callable[[], None]] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    stayed: list[Connection] = field(default_factory=list)
    gone: list[Connection] = field(default_factory=list)
    counters: Counters = field(default_factory=Counters)
    loop: Loop = field(init=False)
    cache: FileCache = field(init=False)
    batch: Batch = field(init=False)
    readahead: FakeReadAhead = field(init=False)

    def __post_init__(self) -> None:
        caches = self.config.caches
        self.loop = Loop(self.on_bug)
        self.readahead = FakeReadAhead(self.loop)
        self.cache = FileCache(
            caches.octets, caches.files, caches.valid, caches.files, MOST_WATCHES
        )
        self.batch = Batch(
            self.config,
            self.config.caches,
            self.loop,
            self.cache,
            self.log,
            self.on_bug,
            self.counters,
        )

    def welcome(self, connection: Connection) -> None:
        self.stayed.append(connection)

    def relieve(self) -> None:
        self.cache.clear()
        self.batch.clear()

    def hold(self, retry: Callable[[], None]) -> bool:
        if self.patient:
            self.held.append(retry)
        return self.patient

    def starve(self) -> None:
        self.starved += 1

    def forget(self, connection: Connection) -> None:
        self.gone.append(connection)

    def complain(self, level: int, message: str, *values: object) -> None:
        self.complaints.append(message % values)

    def out_of_reach(self, directory: int) -> bool:
        return False

    def give(self, sock: _socket.socket, octets: bytes) -> bool:
        return False

    def drain(self) -> None:
        self.draining = True
        self.batch.stop()

    def turn(self, times: int = 1) -> None:
        """Turn the loop without waiting."""
        for _ in range(times):
            self.loop.again(lambda: None)
            self.loop.turn(self.batch.receive, self.batch.answer)


@dataclass
class Dialogue:
    """A connection, and the client at its other end."""

    service: FakeService
    visitor: Visitor
    client: socket.socket

    def say(self, octets: bytes) -> None:
        """Send, and give the server a turn."""
        self.client.sendall(octets)
        self.turn()

    def ask(self, octets: bytes) -> bytes:
        """Send, and hear what comes of it."""
        self.say(octets)
        return self.heard_out()

    def turn(self, times: int = 1) -> None:
        self.service.turn(times)

    def heard(self) -> bytes:
        """What has arrived at the client."""
        octets = b""
        while True:
            try:
                more = self.client.recv(1 << 20)
            except (BlockingIOError, ConnectionResetError):
                return octets
            if not more:
                return octets
            octets += more

    def heard_out(self) -> bytes:
        """What arrives at the client until the server has nothing more to do."""
        octets = b""
        while True:
            self.turn()
            more = self.heard()
            if not more and not self.service.loop._again:
                return octets
            octets += more

    def ended(self) -> bool:
        """Whether the server has finished sending."""
        try:
            return self.client.recv(1) == b""
        except BlockingIOError:
            return False
        except ConnectionResetError:
            return True

    def wait(self, seconds: float) -> None:
        """Let so much time pass, and the worker's sweep look at the deadline."""
        loop = self.service.loop
        loop.now += seconds
        if self.connection.deadline <= loop.now:
            self.connection.on_deadline()

    @property
    def connection(self) -> Connection:
        """What the visitor has become."""
        (connection,) = self.connections
        return connection

    @property
    def connections(self) -> list[Connection]:
        """The same; none as long as the visitor is one, or if it left as one."""
        return [each for each in self.service.stayed if each.sock is self.visitor.sock]

    @property
    def state(self) -> State:
        return self.connection.state if self.connections else State.CLOSED


@contextmanager
def dialogue_with(service: FakeService, first: bytes = b"") -> Iterator[Dialogue]:
    """A new connection of `service`, on which `first` has arrived before it is accepted."""
    ours, client = socket.socketpair()
    client.setblocking(False)
    client.sendall(first)
    dialogue = Dialogue(service, Visitor(service, ours, PEER), client)
    dialogue.visitor.start()
    try:
        yield dialogue
    finally:
        for connection in dialogue.connections:
            connection.close()
            service.stayed.remove(connection)
        ours.close()
        client.close()


def undated(octets: bytes) -> bytes:
    """`octets` with every Date left out; each answer has to have had one."""
    found = _DATE.sub(b"\r\nDate\r\n", octets)
    assert found.count(b"\r\nDate\r\n") == len(statuses(octets))
    return found


def statuses(octets: bytes) -> list[int]:
    """The status codes of the answers in `octets`, whose contents hold none themselves."""
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", octets)]
