"""Which connections a worker takes, and what it does when it has no room for another.

It polls the listening sockets of every slot, its own first (EPOLLEXCLUSIVE): an idle worker gets its own
connections, and what a busy, stopped or dead one cannot take goes to an idle sibling.
"""

from __future__ import annotations

import _socket
import errno
import logging
import select
from typing import TYPE_CHECKING, Final

from mpserve.listeners import accept_at_once, peer_of
from mpserve.scoreboard import CELL
from mpserve.visitor import Visitor

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from mpserve.connection import Service
    from mpserve.listeners import Listener
    from mpserve.scoreboard import Row

ACCEPTED: Final = CELL["accepted"]
ACCEPTED_FOREIGN: Final = CELL["accepted_foreign"]

# How many connections one event may bring in from the own slot; from a sibling's, whose worker is
# only busy for the moment, it is one.
ACCEPT_OWN: Final = 32
# A wake-up given to a worker that dies before it accepts is lost; so every slot is looked at this
# often (seconds) without being asked.
ACCEPT_SWEEP: Final = 0.5
# While there is no room, the error log hears of it this often (seconds).
COMPLAIN_EVERY: Final = 10.0

# The client gave up before we came to it.
VANISHED: Final = frozenset(
    {
        errno.ECONNABORTED,
        errno.EPROTO,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,  # a firewall's
        errno.ETIMEDOUT,
    }
)
# There is no room for another socket: siblings may have some, and so may we a moment later.
NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Acceptor:
    """A worker's copies of the listening sockets."""

    def __init__(self, service: Service, row: Row, listeners: Sequence[Listener]) -> None:
        self._service = service
        self._loop = service.loop
        self._row = row
        self._slot = slot = row["slot"]
        # A shared socket is everybody's: who has accepted from it goes to the end of the queue.
        self._own = {each.of_slot(slot).fileno() for each in listeners if not each.shared}
        self._listening: dict[int, socket.socket] = {
            sock.fileno(): sock for listener in listeners for sock in listener.sockets
        }
        self._polled = False  # whether the listeners are in the epoll
        self._complain_at = 0.0  # monotonic seconds: not before, of the same trouble

    def __repr__(self) -> str:
        polled = "" if self._polled else " not polled"
        return f"<Acceptor {len(self._listening)} listeners{polled}>"

    @property
    def closed(self) -> bool:
        """Whether our copies are closed."""
        return not self._listening

    def listen(self) -> None:
        """Poll every slot, our own first: among the workers that wait, the first to come is woken."""
        self._polled = True
        for fd in sorted(self._listening, key=lambda fd: fd not in self._own):
            self._poll(fd)

    def hurry(self) -> None:
        """From now on take connections that have not sent anything."""
        for sock in self._listening.values():
            accept_at_once(sock)

    def close(self) -> None:
        """Take what has connected, and close our copies.

        The queue is reset when the last holder closes: at most what came since the last accept of the
        last worker.
        """
        self._leave_alone()
        visitors: list[Visitor] = []
        for sock in self._listening.values():
            # Nobody is answered meanwhile: a client that came back at once would keep the queue filled.
            while self._accept(sock, visitors):
                pass
            sock.close()
        self._listening.clear()
        self._start(visitors)

    def sweep(self) -> None:
        """Accept what no event told us of, and listen again after there was no room."""
        for sock in list(self._listening.values()):
            self._accept_many(sock, ACCEPT_OWN)
        if not self._polled:
            self.listen()

    def on_own_listener(self, fd: int) -> None:
        """Connections wait in our own slot."""
        self._accept_many(self._listening[fd], ACCEPT_OWN)

    def on_foreign_listener(self, fd: int) -> None:
        """A connection waits in the slot of a sibling that is not idle."""
        accepted = self._accept_many(self._listening[fd], 1)
        self._row.cells[ACCEPTED_FOREIGN] += accepted
        if self._polled:
            # Back to the end of the kernel's queue of waiters, so that the owner is asked first.
            self._loop.remove(fd)
            self._poll(fd)

    def _accept_many(self, sock: socket.socket, limit: int) -> int:
        """Take what waits, at most `limit` connections, and hear what they want; how many there were."""
        visitors: list[Visitor] = []
        while len(visitors) < limit and self._accept(sock, visitors):
            pass
        self._start(visitors)
        return len(visitors)

    def _start(self, visitors: list[Visitor]) -> None:
        self._row.cells[ACCEPTED] += len(visitors)
        for visitor in visitors:
            self._loop.guarded(visitor.start)

    def _accept(self, sock: socket.socket, visitors: list[Visitor]) -> bool:
        """Take one connection; whether another may be waiting."""
        try:
            # Without the wrapper that socket.accept puts around it: it costs more than the rest.
            fd, address = sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001
        except BlockingIOError:
            return False
        except OSError as error:
            if error.errno in VANISHED:
                return True
            if error.errno in NO_ROOM:
                self._pause(error)
                return False
            raise
        accepted = _socket.socket(sock.family, sock.type, sock.proto, fd)
        visitors.append(Visitor(self._service, accepted, peer_of(address)))
        return True

    def _pause(self, error: OSError) -> None:
        """Leave the listeners alone until the next sweep: they would be readable all the time."""
        if not self._polled:
            return
        self._service.relieve()
        if self._loop.now >= self._complain_at:
            self._complain_at = self._loop.now + COMPLAIN_EVERY
            message = "worker %d: cannot accept: %s"
            self._service.complain(logging.ERROR, message, self._slot, error.strerror)
        self._leave_alone()

    def _leave_alone(self) -> None:
        self._polled = False
        for fd in self._listening:
            self._loop.remove(fd)

    def _poll(self, fd: int) -> None:
        handler = self.on_own_listener if fd in self._own else self.on_foreign_listener
        mask = select.EPOLLIN | select.EPOLLEXCLUSIVE
        self._loop.add(fd, mask, lambda _mask: handler(fd))
