"""The admin address: health, readiness and figures, told by the master itself, so that they come under overload.

Each client gets one answer and is let go. Nobody is waited for: what does not go at once goes when there
is room, and where there are more clients than seats, the one that has been here longest leaves.
"""

from __future__ import annotations

import json
import logging
import select
import socket
import time
from collections.abc import Callable
from typing import Final

from mpserve.config import Address, ConfigError
from mpserve.exposition import Snapshot, encode, families, status_of
from mpserve.listeners import NO_ROOM, Listener, listen_at, reason
from mpserve.protocol.grammar import http_date
from mpserve.protocol.http1 import Http1Protocol, Limits
from mpserve.protocol.message import HTTPError, Request, Response
from mpserve.protocol.target import parse

logger: Final = logging.getLogger("mpserve")

SEATS: Final = 16  # clients at one time
LISTENERS: Final = 16  # that may wait for a seat
# Without room for another socket, nobody is let in for so long (seconds): who waits would be an event all the time.
PAUSE: Final = 1.0
COMPLAIN_EVERY: Final = 10.0  # seconds, while that lasts
PROMETHEUS: Final = b"text/plain; version=0.0.4; charset=utf-8"
TEXT: Final = b"text/plain; charset=utf-8"
JSON: Final = b"application/json"
RECEIVE_SIZE: Final = 16 * 1024


class Client:
    """One connection: a request that arrives, an answer that leaves."""

    __slots__ = ("answered", "protocol", "received", "sock", "waiting")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.protocol = Http1Protocol(Limits())
        self.received = b""  # octets of a request that is not complete
        self.waiting = b""  # octets of the answer that have not gone
        self.answered = False

    def __repr__(self) -> str:
        return f"<Client {self.sock.fileno()} {len(self.waiting)} octets to go>"


class Admin:
    """Its listeners and its clients, behind one descriptor that is readable when there is something to do."""

    def __init__(self, listeners: list[Listener], snapshot: Callable[[], Snapshot]) -> None:
        self.listeners = listeners
        self._snapshot = snapshot
        self._clients: dict[int, Client] = {}  # the longest here first
        self._epoll = select.epoll()
        self._listening = {sock.fileno(): sock for each in self.listeners for sock in each.sockets}
        self._short_until: float | None = None  # monotonic seconds; None: whoever comes is let in
        self._complain_at = 0.0  # monotonic seconds: not before
        for fd in self._listening:
            self._epoll.register(fd, select.EPOLLIN)

    @classmethod
    def open(cls, address: Address, snapshot: Callable[[], Snapshot]) -> Admin:
        """Listen at `address`. Raises ConfigError."""
        try:
            return cls(listen_at(address, 1, LISTENERS, {}), snapshot)
        except OSError as error:
            raise ConfigError(f"--admin {address}: {reason(error)}") from error

    def __repr__(self) -> str:
        return f"<Admin {len(self._clients)} clients>"

    def fileno(self) -> int:
        """Readable when `turn` has something to do."""
        return self._epoll.fileno()

    @property
    def clients(self) -> list[Client]:
        """Who is being served."""
        return list(self._clients.values())

    def seat(self, client: Client) -> None:
        """Serve `client` from now on."""
        self._clients[client.sock.fileno()] = client
        mask = select.EPOLLOUT if client.waiting else select.EPOLLIN
        self._epoll.register(client.sock.fileno(), mask)

    def turn(self) -> None:
        """Do all that can be done without waiting."""
        if self._short_until is not None and time.monotonic() >= self._short_until:
            self._short_until = None
            self._listen(select.EPOLLIN)
        for fd, _ in self._epoll.poll(0):
            if fd in self._listening:
                self._accept(self._listening[fd])
            elif fd in self._clients:
                client = self._clients[fd]
                try:
                    self._serve(client)
                except OSError:  # it is gone, or would not be answered
                    self._dismiss(client)
                except Exception:  # a bug in a page must not end the server
                    logger.exception("a bug, in %r", client)
                    self._dismiss(client)

    def leave(self) -> None:
        """Let go of everything in a process that was forked; the file of a Unix socket stays."""
        for client in self._clients.values():
            client.sock.close()
        for listener in self.listeners:
            listener.close()
        self._epoll.close()

    def close(self) -> None:
        """Listen no more."""
        for listener in self.listeners:
            listener.unlink()
        self.leave()

    def _listen(self, mask: int) -> None:
        for fd in self._listening:
            self._epoll.modify(fd, mask)

    def _pause(self, error: OSError) -> None:
        """Let nobody in for a while. The master takes its turn once a second, whatever happens."""
        now = time.monotonic()
        self._short_until = now + PAUSE
        self._listen(0)
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY
            logger.error("the admin address cannot accept: %s", error.strerror)

    def _accept(self, listening: socket.socket) -> None:
        try:
            sock, _ = listening.accept()
        except OSError as error:
            if error.errno in NO_ROOM:
                self._pause(error)
            return  # or it has left again
        sock.setblocking(False)
        if len(self._clients) == SEATS:
            self._dismiss(next(iter(self._clients.values())))
        self.seat(Client(sock))

    def _dismiss(self, client: Client) -> None:
        del self._clients[client.sock.fileno()]
        self._epoll.unregister(client.sock.fileno())
        client.sock.close()

    def _serve(self, client: Client) -> None:
        """Take the request further, or the answer. Raises OSError for who is gone."""
        if not client.answered:
            octets = client.sock.recv(RECEIVE_SIZE)
            if not octets:
                self._dismiss(client)
                return
            client.received += octets
            client.protocol.receive(octets)
            self._maybe_answer(client)
        if client.waiting:
            client.waiting = client.waiting[client.sock.send(client.waiting) :]
            if client.waiting:
                self._epoll.modify(client.sock.fileno(), select.EPOLLOUT)
                return
            # Closed at once, what the client has sent since would take our answer away from it.
            client.sock.shutdown(socket.SHUT_WR)
            self._epoll.modify(client.sock.fileno(), select.EPOLLIN)
        elif client.answered and not client.sock.recv(RECEIVE_SIZE):
            self._dismiss(client)

    def _maybe_answer(self, client: Client) -> None:
        """Make the answer, if the request is complete."""
        request: Request | None = None
        try:
            request = client.protocol.next_request()
            if request is None:
                return
            response = answer(request, self._snapshot)
        except HTTPError as error:
            response = text(error.status, error.why)
        date_line = b"Date: %b\r\n" % http_date(int(time.time()))
        head, content = client.protocol.encode(request, response, date_line, closing=True)
        client.waiting = head + b"".join(piece for piece in content if isinstance(piece, bytes))
        client.answered = True


def answer(request: Request, snapshot: Callable[[], Snapshot]) -> Response:
    """What is said to `request`. Raises HTTPError for a target that means nothing."""
    target = parse(request.method, request.target)
    if request.method not in (b"GET", b"HEAD"):
        return text(405, "GET and HEAD alone", b"Allow: GET, HEAD\r\n")
    page = PAGES.get(target.encoded_path(target.slash))
    if page is None:
        return text(404, "try /metrics, /healthz, /readyz or /status")
    return page(snapshot())


def metrics(now: Snapshot) -> Response:
    """All figures, for Prometheus."""
    return content(200, PROMETHEUS, encode(families(now)))


def healthz(now: Snapshot) -> Response:
    """Whether the master turns, and what it supervises it mends: a fresh one would do no better."""
    return text(200, "ok") if now.healthy else text(503, now.phase)


def readyz(now: Snapshot) -> Response:
    """Whether new connections should be sent here."""
    return text(200 if now.ready else 503, now.phase)


def status(now: Snapshot) -> Response:
    """All there is to know, for programs."""
    return content(200, JSON, json.dumps(status_of(now), indent=1).encode() + b"\n")


PAGES: Final[dict[bytes, Callable[[Snapshot], Response]]] = {
    b"/metrics": metrics,
    b"/healthz": healthz,
    b"/readyz": readyz,
    b"/status": status,
}


def text(code: int, line: str, fields: bytes = b"") -> Response:
    """One line for people."""
    return content(code, TEXT, line.encode() + b"\n", fields)


def content(code: int, media_type: bytes, octets: bytes, fields: bytes = b"") -> Response:
    """Octets that are true for this moment alone."""
    lines = b"Content-Type: %b\r\nCache-Control: no-store\r\n%b" % (media_type, fields)
    return Response(code, lines, (octets,), len(octets))
