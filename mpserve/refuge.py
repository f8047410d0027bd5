"""What becomes of requests that a confined worker cannot answer, because the root was replaced.

It leaves their connections in the queue that all workers share, and from then on takes none from there.
"""

from __future__ import annotations

import _socket
import select
from typing import TYPE_CHECKING, Final

from mpserve.connection import Connection, Service
from mpserve.listeners import peer_of

if TYPE_CHECKING:
    from mpserve.relay import Relay
    from mpserve.sandbox import Reach

# How many connections one event may bring in.
TAKEN_AT_ONCE: Final = 32


class Refuge:
    """A worker's side of the queue."""

    def __init__(self, service: Service, reach: Reach, relay: Relay) -> None:
        self._service = service
        self._reach = reach
        self._relay = relay
        self._lost = False
        for fd in relay.filenos():
            service.loop.add(fd, select.EPOLLIN | select.EPOLLEXCLUSIVE, lambda _mask: self.take())

    def __repr__(self) -> str:
        return f"<Refuge {'root lost' if self._lost else 'root in reach'}>"

    def root_lost(self) -> bool:
        """Whether the root is another directory now, which we may not read, or has been since we began."""
        if not self._lost and self._reach.lost():
            self._lose()
        return self._lost

    def out_of_reach(self, directory: int) -> bool:
        """Whether `directory`, which was the root when it was opened, is not the one that we may read."""
        # The slow way opens the root once more, so what its name means now counts as well.
        if self._reach.allows(directory):
            return self.root_lost()
        self._lose()
        return True

    def _lose(self) -> None:
        """Take nothing from the queue any more: we could only put it back."""
        self._lost = True
        for fd in self._relay.filenos():
            self._service.loop.remove(fd)

    def give(self, sock: _socket.socket, octets: bytes) -> bool:
        """Leave `sock` and its `octets` to another worker; whether there was room. Ours is to be closed."""
        return self._relay.give(sock.fileno(), octets)

    def take(self) -> None:
        """Go on with connections that others have left."""
        for _ in range(0 if self._lost else TAKEN_AT_ONCE):
            waiting = self._relay.take()
            if waiting is None:
                return
            self._go_on(*waiting)

    def _go_on(self, sock: _socket.socket, octets: bytes) -> None:
        try:
            peer = peer_of(sock.getpeername())
        except OSError:  # it has gone meanwhile
            sock.close()
            return
        connection = Connection(self._service, sock, peer)
        connection.readable = True  # what has come since was no event to us
        self._service.welcome(connection)
        self._service.loop.guarded(lambda: connection.take(octets))
