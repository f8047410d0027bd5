"""Who has just been accepted: one question, one answer, and most are gone again.

Whoever stays, or asks for what is not known, becomes a Connection.
"""

from __future__ import annotations

import _socket
from socket import MSG_DONTWAIT

from mpserve.connection import Connection, Service
from mpserve.memo import Prepared
from mpserve.transport import RECEIVE_SIZE


class Visitor:
    """A client that has just been accepted. Most ask once, get an answer that is known, and leave.

    Who stays becomes a Connection.
    """

    __slots__ = ("_connection", "_service", "deadline", "peer", "sock")

    def __init__(self, service: Service, sock: _socket.socket, peer: bytes) -> None:
        self._service = service
        self._connection: Connection | None = None  # what it has become
        self.sock = sock
        self.peer = peer
        self.deadline = 0.0

    def __repr__(self) -> str:
        return f"<Visitor {self.peer.decode('latin-1')}>"

    def start(self) -> None:
        """The first request is often there already."""
        try:
            octets = self.sock.recv(RECEIVE_SIZE, MSG_DONTWAIT)
        except OSError:  # nothing yet; if worse, the next call tells
            self._stay().poll()
            return
        self._service.batch.add((self, octets))

    def take(self, octets: bytes) -> None:
        """The first octets are not a head that is known: the long way."""
        self._stay().take(octets)

    def repeat(self, head: bytes, answer: Prepared, taken: int, rest: bytes = b"") -> None:
        """As a connection's."""
        self._stay().repeat(head, answer, taken, rest)

    def poll(self) -> None:
        """The answer has gone, and another request may follow."""
        connection = self._stay()
        connection.deadline = self.deadline
        connection.poll()

    def close(self) -> None:
        """The answer has gone, and nothing follows."""
        self.sock.close()

    def reset(self) -> None:
        """End it, whatever it is by now: a descriptor closed behind a connection's back becomes another's."""
        if self._connection is None:
            self.close()
        else:
            self._connection.reset()

    def _stay(self) -> Connection:
        self._connection = connection = Connection(self._service, self.sock, self.peer)
        self._service.welcome(connection)
        return connection
