"""A client over a raw socket that takes nothing for granted. No retries, no redirects, no pool, no Locust.

Every answer passes through the strict reader and is compared with what was asked. A ready-made client would
repair or hide half of what this one is there to see: it would send a request again on a new connection, drop
octets that nobody asked for, and take a connection closed too early for one that was closed in time.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NoReturn, Self
from urllib.parse import urlsplit

from loadtests.ask import Ask, Comparison, Enough, Memory, check, check_date, let_others_run
from loadtests.faults import Fault, Kind
from loadtests.tally import Tally
from tests.harness import corpus
from tests.harness.reader import Answer, Closed, Defect, Faulty, Reader, Silent

TIMEOUT = 10.0  # seconds without an octet
CLOSE_TIMEOUT = 3.0  # seconds from the last octet to the end of a connection that is to close
# A server may close a connection that nobody uses. None of those worth testing does so sooner.
IDLE_GRACE = 4.0  # seconds
# The connection ended, or stood still, within an answer: what killed it shows elsewhere.
_CUT = {Defect.TRUNCATED, Defect.CUT_OFF}
# The kernel chooses the port when it knows the other end too, so one address has 28,000 for each source.
IP_BIND_ADDRESS_NO_PORT = 24
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class TargetError(Exception):
    """A target that cannot be a target; one sentence for the person who gave it."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where the server is."""

    host: str
    port: int
    ours: bool = False  # a server of this project, on this machine: more is asked of it

    @property
    def authority(self) -> str:
        """What the Host field says."""
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == 80 else f"{name}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Does any 127.0.0.x serve as the address of a client?"""
        return self.host.startswith("127.") or self.host == "localhost"


def parse_target(url: str, *, ours: bool = False) -> Target:
    """The target that `http://HOST:PORT` names. Raises TargetError."""
    try:
        parts = urlsplit(url)
        port = parts.port or 80
    except ValueError as error:
        raise TargetError(f"{url!r} is no target: {error}") from error
    if parts.scheme != "http" or not parts.hostname or parts.username is not None:
        raise TargetError(f"{url!r} is no target: it should look like http://127.0.0.1:8000")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise TargetError(
            f"{url!r} is no target: the corpus must be the root of the server, so no path"
        )
    return Target(parts.hostname, port, ours)


class Client:
    """One client: at most one connection, requests one after the other or pipelined."""

    def __init__(
        self,
        target: Target,
        tally: Tally,
        memory: Memory | None = None,
        *,
        timeout: float = TIMEOUT,
        source: str | None = None,
        receive_buffer: int | None = None,
    ) -> None:
        self.target = target
        self.tally = tally
        self.memory = memory or Memory()
        self.timeout = timeout
        self.source = source
        self.receive_buffer = receive_buffer
        self._sock: socket.socket | None = None
        self._reader: Reader | None = None
        self._used_at = (
            0.0  # when the last request was sent: the server's clock cannot have begun earlier
        )

    def __repr__(self) -> str:
        state = "connected" if self._sock else "not connected"
        return f"<Client {self.target.authority} {state}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, ask: Ask) -> Answer:
        """The answer, read and compared. Raises Fault; the connection is gone then."""
        sent = self.send((ask,))
        return self.read(ask, sent)

    def taste(self, ask: Ask, enough: int, pace: Callable[[int], object] = let_others_run) -> None:
        """Read about `enough` octets of the content, and leave. Raises Fault.

        `pace` is called with the length of each piece, and may take its time.
        """
        sent = self.send((ask,))
        comparison = Comparison(ask, enough, pace)
        try:
            self._read(ask, sent, comparison, 0)
        except Enough:
            self.tally.unfinished += 1
            self.close()
        if comparison.wrong is not None:
            detail = f"{ask.target}: the octet at {comparison.wrong} is not the file's"
            raise Fault(Kind.OCTETS, detail)

    def send(self, asks: Sequence[Ask]) -> float:
        """Send requests, on a new connection if need be; the epoch second at which that was done."""
        octets = b"".join(ask.octets(self.target.authority) for ask in asks)
        sock = self._connected()
        self._used_at, sent = time.monotonic(), time.time()
        try:
            sock.settimeout(self.timeout)
            sock.sendall(octets)
        except TimeoutError:
            self._give_up(len(asks), Kind.TIMEOUT, "the server took no more of the request")
        except OSError as error:
            self._give_up(len(asks), Kind.LOST, f"sending: {error}")
        return sent

    def read(self, ask: Ask, sent: float, *, outstanding: int = 0) -> Answer:
        """The answer to a request sent before; `outstanding` more will follow it. Raises Fault."""
        return self._read(ask, sent, Comparison(ask) if ask.large else None, outstanding)

    def wait_for_word(self, seconds: float) -> bool:
        """Does the server say something within this time, or end the connection?"""
        assert self._sock is not None, "not connected"
        self._sock.settimeout(seconds)
        try:
            self._sock.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return False
        except OSError:
            pass  # a reset, which is a word too
        return True

    def last_word(self, name: str) -> int | None:
        """The status of an answer that nobody has fully asked for; None if the connection ended without one."""
        try:
            answer = self.reader.read()
        except Closed:
            return None
        except Silent as error:
            raise Fault(Kind.TIMEOUT, str(error)) from error
        except Faulty as error:
            raise Fault(_kind(error), str(error)) from error
        self.tally.answered(name, answer.status)
        return answer.status

    def connect(self) -> socket.socket:
        """A new connection. Raises Fault."""
        self.close()
        try:
            sock = self._open()
        except TimeoutError as error:
            raise Fault(Kind.TIMEOUT, "connecting") from error
        except OSError as error:
            raise Fault(Kind.REFUSED, f"connecting: {error.strerror or error}") from error
        self.tally.connections += 1
        self._sock = sock
        self._reader = Reader(sock, timeout=self.timeout, strict_static=self.target.ours)
        return sock

    @property
    def connected(self) -> bool:
        """Whether there is a connection for the next request: the last answer may have announced its end."""
        return self._sock is not None

    @property
    def reader(self) -> Reader:
        """The reader of the connection."""
        assert self._reader is not None, "not connected"
        return self._reader

    def close(self) -> None:
        """End the connection, if there is one."""
        if self._sock is not None:
            self._sock.close()
        self._sock = self._reader = None

    def reset(self) -> None:
        """End the connection with a reset, as a client does that crashed."""
        if self._sock is not None:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        self.close()

    def _open(self) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.target.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.receive_buffer is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_buffer)
            if self.source is not None:
                sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                sock.bind((self.source, 0))
            sock.connect((self.target.host, self.target.port))
        except BaseException:
            sock.close()
            raise
        return sock

    def _connected(self) -> socket.socket:
        """The connection, if it is still good for a request; else a new one. Raises Fault."""
        if self._sock is None:
            return self.connect()
        idle = time.monotonic() - self._used_at
        try:
            self._sock.settimeout(0)
            unasked = self._sock.recv(64, socket.MSG_PEEK)
        except BlockingIOError:
            return self._sock  # silence, as it should be
        except OSError as error:
            return self._ended(idle, str(error))
        if unasked:
            self.close()
            raise Fault(Kind.FRAMING, f"octets that nobody asked for: {unasked!r}")
        return self._ended(idle, "closed")

    def _ended(self, idle: float, how: str) -> socket.socket:
        """A connection that ended between two requests, without a word before."""
        if idle >= IDLE_GRACE:
            return self.connect()
        self.close()
        raise Fault(Kind.LOST, f"a persistent connection, unused for {idle:.2f} s: {how}")

    def _read(
        self, ask: Ask, sent: float, comparison: Comparison | None, outstanding: int
    ) -> Answer:
        answer = self._receive(ask, comparison, outstanding + 1)
        self.tally.answered(ask.name, answer.status)
        try:
            check(ask, answer, comparison, self.memory)
            if self.target.ours and comparison is None:
                check_date(answer.head, sent, time.time())
            self._after(ask, answer, outstanding)
        except Fault:
            self.tally.unfinished += outstanding
            self.close()
            raise
        return answer

    def _receive(self, ask: Ask, comparison: Comparison | None, lost: int) -> Answer:
        """The next answer, as the strict reader has it. A fault loses all that were asked for."""
        try:
            return self.reader.read(
                ask.method.encode(), length_of_get=ask.length_of_get, sink=comparison
            )
        except Enough:
            raise
        except Closed as error:
            self._give_up(lost, Kind.LOST, f"{ask.target}: {error}")
        except Silent as error:
            self._give_up(lost, Kind.TIMEOUT, f"{ask.target}: {error}")
        except Faulty as error:
            self._give_up(lost, _kind(error), f"{ask.method} {ask.target}: {error}")
        except OSError as error:
            self._give_up(lost, Kind.LOST, f"receiving: {error}")
        except BaseException:  # the user is stopped in the middle of it
            self.tally.unfinished += lost
            self.close()
            raise

    def _after(self, ask: Ask, answer: Answer, outstanding: int) -> None:
        """Judge what stands behind an answer, and keep or end the connection."""
        # RFC 9112 §9.6: a server that was asked to close "SHOULD send a "close" connection option in its final
        # response"; others may leave it out, if only they close.
        if ask.closing and not answer.closes and self.target.ours:
            raise Fault(
                Kind.ANSWER, f"{ask.target}: asked to close, and the answer does not say so"
            )
        if outstanding and answer.closes:
            raise Fault(Kind.LOST, "the connection ended before the pipeline did")
        if not outstanding and self.reader.buffered:
            raise Fault(Kind.FRAMING, f"{Defect.AFTER.value}: {self.reader.buffered[:64]!r}")
        if answer.closes or ask.closing:
            self._see_the_end(must=self.target.ours or ask.closing)

    def _see_the_end(self, *, must: bool) -> None:
        """The server closes, so nothing more may come. A server may take its time over it, if it need not do it."""
        self.reader.timeout = CLOSE_TIMEOUT
        try:
            ended = self.reader.ended()
        except Faulty as error:
            raise Fault(Kind.FRAMING, str(error)) from error
        if not ended and must:
            raise Fault(Kind.TIMEOUT, "a connection that is to close stays open")
        self.close()

    def _give_up(self, requests: int, kind: Kind, detail: str) -> NoReturn:
        """End the connection with this many requests unanswered. Raises Fault."""
        self.tally.unfinished += requests
        self.close()
        raise Fault(kind, detail)


def _kind(error: Faulty) -> Kind:
    if error.defect in _CUT:
        return Kind.LOST
    if error.defect is Defect.STALLED:
        return Kind.TIMEOUT
    return Kind.FRAMING if error.framing else Kind.ANSWER


def check_corpus(client: Client) -> str:
    """What the server calls itself. Raises TargetError unless it answers, and what it serves is the corpus."""
    url = f"http://{client.target.authority}"
    marker = Ask("corpus", f"/{corpus.MARKER.decode()}", statuses=(200, 404))
    try:
        answer = client.ask(marker)
    except Fault as fault:
        raise TargetError(f"{url} is no target: {fault.kind.value}: {fault.detail}") from fault
    finally:
        client.close()
    if answer.content != corpus.marker(load=True):
        message = (
            f"{url} does not serve the corpus; ./scripts/make-corpus DIR makes one to be served"
        )
        raise TargetError(message)
    return (answer.get(b"server") or b"").decode("latin-1")
