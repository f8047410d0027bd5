"""Which connections a worker takes, and what it does when it has no room for another.

It polls the listening sockets of every slot, its own first (EPOLLEXCLUSIVE): an idle worker gets its own
connections, and what a busy, stopped or dead one cannot take goes to an idle sibling.
"""

from __future__ import annotations

import _socket
import contextlib
import errno
import logging
import os
import select
from enum import Enum
from socket import MSG_DONTWAIT
from typing import TYPE_CHECKING, Final

from mpserve.lastcall import LastCall
from mpserve.listeners import NO_ROOM, accept_at_once, peer_of
from mpserve.protocol.http1 import Http1Protocol
from mpserve.respond import unavailable
from mpserve.scoreboard import CELL
from mpserve.transport import RECEIVE_SIZE
from mpserve.visitor import Visitor

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from mpserve.connection import Service
    from mpserve.crowd import Crowd
    from mpserve.listeners import Listener
    from mpserve.scoreboard import Row

ACCEPTED: Final = CELL["accepted"]
ACCEPTED_FOREIGN: Final = CELL["accepted_foreign"]
SHED: Final = CELL["shed"]
GAVE_WAY: Final = CELL["gave_way"]

# How many connections one event may bring in from the own slot; from a sibling's, whose worker is
# only busy for the moment, it is one.
ACCEPT_OWN: Final = 32
# A wake-up given to a worker that dies before it accepts is lost; so every slot is looked at this
# often (seconds) without being asked.
ACCEPT_SWEEP: Final = 0.5
# Without descriptors or memory for another socket, the listeners are left alone for so long (seconds), then
# twice as long, up to the last.
FIRST_PAUSE: Final = 0.1
LAST_PAUSE: Final = 1.0
# When it has lasted so long (seconds), clients are told to come back: so many after each pause.
SHED_AFTER: Final = 5.0
SHED_AT_ONCE: Final = 16
# A worker that was full listens again when this part of its connections is free.
FREE_AGAIN: Final = 0.05
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


class Stance(Enum):
    """How a worker stands to its listeners."""

    APART = "it does not listen"
    POLLING = "whoever comes is accepted"
    FULL = "it has all the connections it may have: the siblings have the listeners to themselves"
    SHORT = "the system has no room for another socket: the next attempt is made after a pause"


APART, POLLING, FULL, SHORT = Stance


class Acceptor:
    """A worker's copies of the listening sockets."""

    def __init__(
        self, service: Service, crowd: Crowd, row: Row, listeners: Sequence[Listener]
    ) -> None:
        self._service = service
        self._crowd = crowd
        self._loop = service.loop
        self._row = row
        self._slot = slot = row["slot"]
        # A shared socket is everybody's: who has accepted from it goes to the end of the queue.
        self._shared = {each.of_slot(slot).fileno() for each in listeners if each.shared}
        self._own = {each.of_slot(slot).fileno() for each in listeners if not each.shared}
        self._listening: dict[int, socket.socket] = {
            sock.fileno(): sock for listener in listeners for sock in listener.sockets
        }
        # To ask a socket for its family and type makes a member of an enumeration of each: once is enough.
        self._kinds = {
            sock: (int(sock.family), int(sock.type), sock.proto)
            for sock in self._listening.values()
        }
        self._helped: set[int] = set()  # siblings' listeners that woke us since the last sweep
        self._last_call = LastCall(self._listening.values())
        self._stance = APART
        self._turn = 0.0  # the turn (monotonic seconds) in which `_taken` connections were accepted
        self._taken = 0
        self._short_since: float | None = None  # monotonic seconds; None: there was room last time
        self._pause = FIRST_PAUSE
        # Closed, it makes room for one connection, whose client can be told to come back.
        self._reserve: int | None = os.eventfd(0)
        self._complain_at = 0.0  # monotonic seconds: not before, of the same trouble

    def __repr__(self) -> str:
        return f"<Acceptor {len(self._listening)} listeners {self._stance.name}>"

    @property
    def closed(self) -> bool:
        """Whether our copies are closed."""
        return not self._listening

    def listen(self) -> None:
        """Poll every slot, our own first: among the workers that wait, the first to come is woken."""
        self._stance = POLLING
        for fd in sorted(self._listening, key=lambda fd: fd not in self._own):
            self._poll(fd)

    @property
    def full(self) -> bool:
        """Whether it waits for connections to end."""
        return self._stance is FULL

    def look(self) -> None:
        """Listen again if enough connections have ended."""
        if self._crowd.room > FREE_AGAIN * self._crowd.most:
            self.listen()

    def hurry(self) -> None:
        """From now on take connections that have not sent anything."""
        for sock in self._listening.values():
            accept_at_once(sock)

    def is_awaited(self) -> bool:
        """Whether somebody may have connected whom the kernel does not show us yet."""
        return self._last_call.is_awaited()

    def close(self) -> None:
        """Take what has connected, and close our copies.

        The queue is reset when the last holder closes: at most what came since the last accept of the
        last worker.
        """
        self._leave_alone(APART)
        visitors: list[Visitor] = []
        for sock in self._listening.values():
            # Nobody is answered meanwhile: a client that came back at once would keep the queue filled.
            while self._accept(sock, visitors):
                pass
            sock.close()
        self._listening.clear()
        self._last_call.close()
        if self._reserve is not None:
            os.close(self._reserve)
            self._reserve = None
        self._start(visitors)

    def sweep(self) -> None:
        """Accept what no event told us of, and step back from the siblings' slots that we were asked about."""
        if self._stance is POLLING:
            for sock in self._listening.values():
                self._accept_many(sock, ACCEPT_OWN)
            for fd in self._helped:
                self._step_back(fd)
            self._helped.clear()
        elif self._stance is FULL:
            self._loop.again(self._make_room)

    def on_own_listener(self, fd: int) -> None:
        """Connections wait in our own slot."""
        self._accept_many(self._listening[fd], ACCEPT_OWN)

    def on_foreign_listener(self, fd: int) -> None:
        """A connection waits in the slot of a sibling that is not idle."""
        accepted = self._accept_many(self._listening[fd], 1)
        self._row.cells[ACCEPTED_FOREIGN] += accepted
        if fd in self._shared:
            self._step_back(fd)
        else:  # once for all who come until the next sweep: it takes two system calls
            self._helped.add(fd)

    def _step_back(self, fd: int) -> None:
        """Go to the end of the kernel's queue of waiters, so that others, and the owner, are asked first."""
        if self._stance is POLLING:
            self._loop.remove(fd)
            self._poll(fd)

    def _accept_many(self, sock: socket.socket, limit: int) -> int:
        """Take what waits, at most `limit` connections, and hear what they want; how many there were."""
        crowd = self._crowd
        if self._turn != self._loop.now:
            self._turn, self._taken = self._loop.now, 0
        limit = min(limit, crowd.room - self._taken)
        visitors: list[Visitor] = []
        while len(visitors) < limit and self._accept(sock, visitors):
            pass
        if visitors:
            self._taken += len(visitors)
            self._short_since, self._pause = None, FIRST_PAUSE
            self._start(visitors)
        if crowd.pressed(self._taken):  # who has asked already is counted when the answer is made
            self._loop.again(self._make_room)
            if crowd.room <= 0 and self._stance is POLLING:
                self._leave_alone(FULL)
        return len(visitors)

    def let_idle_go(self) -> None:
        """Descriptors are short: close some idle connections. To be called when no request waits to be answered."""
        self._row.cells[GAVE_WAY] += sum(each.give_way() for each in self._crowd.longest_idle())

    def _make_room(self) -> None:
        """Let idle connections go. To be called when no request waits to be answered."""
        gone = sum(each.give_way() for each in self._crowd.expendable())
        self._row.cells[GAVE_WAY] += gone
        if gone and self._crowd.pressed():
            self._loop.again(self._make_room)

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
                self._run_short(error)
                return False
            raise
        accepted = _socket.socket(*self._kinds[sock], fd)
        visitors.append(Visitor(self._service, accepted, peer_of(address)))
        return True

    def _run_short(self, error: OSError) -> None:
        """Leave the listeners alone for a while: they would be readable all the time."""
        if self._stance is not POLLING:
            return
        self._leave_alone(SHORT)
        self._service.relieve()
        self._loop.again(self.let_idle_go)
        now = self._loop.now
        if self._short_since is None:
            self._short_since = now
        if now >= self._complain_at:
            self._complain_at = now + COMPLAIN_EVERY
            message = "worker %d: cannot accept: %s"
            self._service.complain(logging.ERROR, message, self._slot, error.strerror)
        # What our own answers occupy comes back: until then whoever comes waits.
        passes = error.errno == errno.EMFILE and self._crowd.sending
        if now - self._short_since > SHED_AFTER and not passes:
            self._shed()
        self._loop.later(self._pause, self._try_again)
        self._pause = min(LAST_PAUSE, 2 * self._pause)

    def _try_again(self) -> None:
        """The pause is over: if nothing has changed, it will be a longer one."""
        if self._stance is SHORT:
            self.listen()

    def _shed(self) -> None:
        """Tell some of those who wait to come back, one after the other in the place of the reserve."""
        left = SHED_AT_ONCE
        for sock in self._listening.values():
            while left and self._shed_one(sock):
                self._row.cells[SHED] += 1
                left -= 1

    def _shed_one(self, sock: socket.socket) -> bool:
        """Answer one client of `sock` with 503; whether there was one, and room enough for it."""
        try:
            if self._reserve is None:
                self._reserve = os.eventfd(0)
            os.close(self._reserve)
            self._reserve = None
            fd, _ = sock._accept()  # type: ignore[attr-defined]  # noqa: SLF001  # see `_accept`
        except OSError:
            return False
        accepted = _socket.socket(*self._kinds[sock], fd)
        with contextlib.closing(accepted):
            turn_away(accepted, self._service)
        return True

    def _leave_alone(self, stance: Stance) -> None:
        self._stance = stance
        for fd in self._listening:
            self._loop.remove(fd)

    def _poll(self, fd: int) -> None:
        handler = self.on_own_listener if fd in self._own else self.on_foreign_listener
        mask = select.EPOLLIN | select.EPOLLEXCLUSIVE
        self._loop.add(fd, mask, lambda _mask: handler(fd))


def turn_away(sock: _socket.socket, service: Service) -> None:
    """Answer whatever is asked on `sock` with 503, as far as it goes at once."""
    protocol = Http1Protocol(service.config.limits)
    with contextlib.suppress(OSError):
        # A close while octets are unread would take the answer away (RFC 9112 §9.6).
        with contextlib.suppress(BlockingIOError):
            protocol.receive(sock.recv(RECEIVE_SIZE, MSG_DONTWAIT))
        answer = unavailable(service.config.site)
        head, content = protocol.encode(None, answer, service.loop.date_line, closing=True)
        octets = b"".join((head, *(piece for piece in content if isinstance(piece, bytes))))
        sock.send(octets, MSG_DONTWAIT)
