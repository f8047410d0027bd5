"""The life of one client connection: five states, and what leads from each to the next.

The protocol decides what was asked, `respond` decides the answer, the transport carries it; this room
only makes them take turns, and keeps the deadline.
"""

from __future__ import annotations

import _socket
import contextlib
import logging
import select
import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Final, Protocol

from mpserve.batch import NOT_POLLED, Batch
from mpserve.config import Config
from mpserve.counters import FILES_CHANGED, MEMO_MISSES, Counters
from mpserve.filecache import Errand, FileCache, Looked
from mpserve.keeping import Made
from mpserve.loop import Loop
from mpserve.memo import Prepared
from mpserve.protocol import target as targets
from mpserve.protocol.http1 import Http1Protocol
from mpserve.protocol.message import Exchange, FileSpan, HTTPError, Piece, Request, Response
from mpserve.protocol.representation import Outcome
from mpserve.readahead import note_warm
from mpserve.respond import error as error_response
from mpserve.respond import respond, unavailable
from mpserve.states import CLOSED, IDLE, LINGERING, READING, SENDING, State
from mpserve.transport import (
    BLOCKED,
    EOF,
    RECEIVE_SIZE,
    Disconnected,
    Flush,
    Overwritten,
    Transport,
    Truncated,
)
from mpserve.tree import WouldWait

# Steps that one connection may take before the others have their turn: a client that pipelines, or
# floods, is answered in slices.
STEPS_PER_TURN: Final = 32
# What a client may still send when its answer was the last; beyond that it is left to wait unread.
LINGER_SIZE: Final = 1024 * 1024

# Who takes what the socket held within so many seconds is fast.
FAST_WITHIN: Final = 0.1
# So many sockets of a worker may hold `transport.WIDE_LOWAT`: who has been fast may get stuck on purpose.
MOST_WIDE: Final = 256

# One registration serves every state: edge-triggered, so that no epoll_ctl follows a change of state.
# After an event of its kind, `readable` stays set until recv says that nothing is left.
EVENTS: Final = select.EPOLLIN | select.EPOLLOUT | select.EPOLLRDHUP | select.EPOLLET
READABLE: Final = select.EPOLLIN | select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR

# A target that could not be understood: what the answer stands on is the head alone.
NOTHING_LOOKED_AT: Final = Looked(Outcome.MISSING, ())


class Log(Protocol):
    """Where exchanges are noted when they end."""

    def append(self, exchange: Exchange, ended: float, wall: float) -> None:
        """Note `exchange`, which ended at `ended` (monotonic seconds), at `wall` (epoch seconds)."""


class Reader(Protocol):
    """Who waits for the disk, so that the loop does not."""

    def fetch(self, span: FileSpan, then: Callable[[], None]) -> bool:
        """Call `then` when `span` is in memory, or cannot be read; False where there is nobody to do it."""

    def run(self, work: Callable[[], None], then: Callable[[], None]) -> bool:
        """Call `then` when `work`, which waits for the disk, is done; False where there is nobody to do it."""


class Service(Protocol):
    """What all connections of a worker share. The worker is one; tests make their own."""

    draining: bool
    stalled: int  # responses that were reset because the client took nothing for too long
    wide: int  # connections whose sockets may hold more

    @property
    def config(self) -> Config: ...
    @property
    def loop(self) -> Loop: ...
    @property
    def log(self) -> Log: ...
    @property
    def cache(self) -> FileCache: ...
    @property
    def batch(self) -> Batch: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def readahead(self) -> Reader: ...

    def welcome(self, connection: Connection) -> None:
        """`connection` is there to stay."""

    def forget(self, connection: Connection) -> None:
        """`connection` is closed."""

    def relieve(self) -> None:
        """Let go of the open files that are only kept in case they are wanted again."""

    def hold(self, retry: Callable[[], None]) -> bool:
        """Call `retry` when there may be a descriptor again; False after it has waited for too long."""

    def starve(self) -> None:
        """There was no memory for an answer."""

    def complain(self, level: int, message: str, *values: object) -> None:
        """One line for the error log."""

    def out_of_reach(self, directory: int) -> bool:
        """Whether this worker may not read the open `directory`, because it was not the root when it began."""

    def give(self, sock: _socket.socket, octets: bytes) -> bool:
        """Leave `sock`, and `octets` that came from it, to another worker; whether that was done."""


class Connection:
    """One client: its socket, its protocol, and at most one exchange at a time."""

    __slots__ = (
        "_fetching",
        "_head",
        "_service",
        "_sought",
        "deadline",
        "exchange",
        "fd",
        "first_deadline",
        "peer",
        "protocol",
        "readable",
        "sock",
        "state",
        "transport",
        "unread",
    )

    def __init__(self, service: Service, sock: _socket.socket, peer: bytes) -> None:
        self._service = service
        # That of the socket when it is polled: a connection that ends with its first exchange never enters the epoll.
        self.fd = NOT_POLLED
        self.sock = sock
        self.transport = Transport(sock)
        self.protocol = Http1Protocol(service.config.limits)
        self.peer = peer
        self.state = IDLE
        self.deadline = service.loop.now + service.config.timeouts.header
        self.first_deadline = self.deadline  # the same object until the first octet
        self.readable = False
        self.exchange: Exchange | None = None
        self._head: bytes | None = None  # the octets of the next request's head, if it came whole
        # What is to be sent next, or the way to it, is being read from the disk, or waits for a descriptor.
        self._fetching = False
        # What is to be looked up on the disk, or, without an errand, when there is a descriptor for it.
        self._sought: tuple[Request, Errand | None] | None = None
        self.unread = 0  # octets that were thrown away while LINGERING

    def __repr__(self) -> str:
        asked = self.exchange.line if self.exchange is not None else b""
        return (
            f"<Connection {self.peer.decode('latin-1')} {self.state.name}"
            f" {self.transport!r} {asked[:80]!r}>"
        )

    # Called by the worker, by the loop and by the batch.

    def on_event(self, mask: int) -> None:
        """The socket has become readable or writable, and the batch has left it to us."""
        if mask & READABLE:
            self.readable = True
        if self.state is SENDING:
            self._service.loop.after_others(self.proceed)
        else:
            self.proceed()

    def take(self, octets: bytes) -> None:
        """IDLE: octets have come that the batch has no answer to. The long way."""
        if octets == EOF:
            self.close()
            return
        # Short of what was asked for, it is all there is (epoll(7)): a later octet is a new event.
        self.readable = len(octets) == RECEIVE_SIZE
        self.poll()
        end = octets.find(b"\r\n\r\n") + 4
        if end > 3 and not octets.startswith(b"\r"):  # empty lines before a head are none of it
            self._head = octets[:end]
        self._enter(READING, self._service.config.timeouts.header)
        self.protocol.receive(octets)
        self.proceed()

    def repeat(self, head: bytes, answer: Prepared, taken: int, rest: bytes = b"") -> None:
        """Send what is left of a kept answer when `taken` octets of it have gone; `rest` came behind."""
        self.poll()
        self.protocol.repeat(answer.request, rest)
        loop = self._service.loop
        if answer.date_line is not loop.date_line:
            answer.date(loop.date_line)
        about = self._service.batch.about(head, answer)
        self.exchange = Exchange(
            self.peer, None, answer.line, answer.status, loop.now, answer.head_size, about=about
        )
        self.transport.push(answer.octets, answer.pieces, taken)
        self._enter(SENDING, self._service.config.timeouts.send)
        self.proceed()

    def on_deadline(self) -> None:
        """The state has lasted too long."""
        try:
            if self._fetching:  # the client is not to blame
                self.deadline = self._service.loop.now + self._service.config.timeouts.send
            elif self.state is SENDING:
                self._service.stalled += 1
                self.reset()
            elif self.state is READING and self.protocol.head_begun:
                line = self.protocol.line
                self._refuse(HTTPError(408, "the head was not complete in time", line))
                self.proceed()
            elif self.state is IDLE:
                self.give_way()
            else:  # nothing was asked, or all was answered: there is nothing to say
                self.close()
        except Disconnected:
            self.close()

    def on_look(self) -> None:
        """SENDING, and nothing more could be sent for a while: the client may still be reading."""
        if self.transport.drains():
            self.deadline = self._service.loop.now + self._service.config.timeouts.send

    def on_drain(self) -> None:
        """The worker is leaving: a request that is already on its way is still answered."""
        if self.state is IDLE or (self.state is READING and not self.protocol.head_begun):
            grace = self._service.loop.now + self._service.config.timeouts.idle_grace
            self.deadline = min(self.deadline, grace)

    def give_way(self) -> bool:
        """IDLE: close, unless a request has come of which we do not know yet; whether it did."""
        with contextlib.suppress(OSError):  # nothing has come, or nobody is there
            if self.sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT):
                return False
        self.close()
        return True

    def proceed(self) -> None:
        """Do all that can be done without waiting. The one place that catches what a client does."""
        try:
            for _ in range(STEPS_PER_TURN):
                if not STEPS[self.state](self):
                    return
            self._service.loop.again(self.proceed)
        except Disconnected:
            self.close()
        except (Truncated, Overwritten) as change:
            what = "shrank" if isinstance(change, Truncated) else "was overwritten"
            self._complain("a file %s while it was sent", what)
            self._service.counters.cells[FILES_CHANGED] += 1
            self.reset()

    # One step in each state. Each returns whether another can follow without waiting.

    def _read(self) -> bool:
        """READING and IDLE: answer the next request, from what is here or from what has arrived."""
        if self._sought is not None:
            return self._answer_sought(*self._sought)
        if self.protocol.buffered and self._take_request():
            return True
        if not self.readable:
            return False
        octets = self.transport.recv()
        if octets is BLOCKED:
            self.readable = False
            return False
        if octets == EOF:
            self.close()
            return False
        if self.state is IDLE:
            self._enter(READING, self._service.config.timeouts.header)
        self.protocol.receive(octets)
        if self._take_request():
            return True
        if self.state is READING and self.protocol.idle and octets.strip(b"\r\n"):
            # That was the end of the last request's content.
            self._enter(IDLE, self._service.config.timeouts.keepalive)
        return self.state is not CLOSED

    def _take_request(self) -> bool:
        """Answer the next request, if a whole head is here; whether anything was answered."""
        try:
            request = self.protocol.next_request()
        except HTTPError as error:
            self._refuse(error)
            return True
        if request is not None:
            self._answer(request)
            return True
        if self.protocol.ended:
            self._linger()
        return False

    def _send(self) -> bool:
        """SENDING: as much of the response as goes now."""
        if self._fetching:
            return False
        before = self.transport.sent
        try:
            outcome = self.transport.flush()
        except OSError as error:  # the file cannot be read: the message stays incomplete
            self._complain("cannot read what is being sent: %s", error)
            self.reset()
            return False
        if self.transport.sent > before:
            deadline = self._service.loop.now + self._service.config.timeouts.send
            if before and deadline - self.deadline < FAST_WITHIN:
                self._widen()
            self.deadline = deadline
        if outcome is Flush.DONE:
            self._finish()
            return self.state is not CLOSED
        if outcome is Flush.COLD:
            self._fetch()
        if outcome is Flush.TURN_OVER:
            self._service.loop.after_others(self.proceed)
        return False

    def _widen(self) -> None:
        """The client is fast: let its socket hold more, if not too many do."""
        if not self.transport.wide and self._service.wide < MOST_WIDE:
            self.transport.widen()
            self._service.wide += self.transport.wide

    def _fetch(self) -> None:
        """Have the next octets read where the loop does not wait for them."""
        span = self.transport.cold
        self._fetching = self._service.readahead.fetch(span, self._fetched)
        if not self._fetching:  # then the loop has to wait
            note_warm(span)
            self._service.loop.again(self.proceed)

    def _fetched(self) -> None:
        self._fetching = False
        self.proceed()

    def _seek(self, request: Request, target: targets.Target) -> None:
        """Have `target` looked up where the loop does not wait for the disk, and answer afterwards."""
        service = self._service
        errand = Errand(service.cache, service.config.site, target, service.loop.wall)
        self._sought = request, errand
        self._fetching = service.readahead.run(errand.run, self._fetched)

    def _answer_sought(self, request: Request, errand: Errand | None) -> bool:
        """READING: answer `request` when what it names has been looked up; whether that is so."""
        if self._fetching:
            return False
        self._sought = None
        self._answer(request, errand)
        return True

    def _discard(self) -> bool:
        """LINGERING: read what the client still sends, so that it gets to read our answer.

        RFC 9112 §9.6: a close while octets are unread resets the connection, and a reset may take
        away a response that the client has not read yet.
        """
        if not self.readable or self.unread > LINGER_SIZE:
            return False
        octets = self.transport.recv()
        if octets is BLOCKED:
            self.readable = False
            return False
        if octets == EOF:
            self.close()
            return False
        self.unread += len(octets)
        return True

    def _stay(self) -> bool:
        """CLOSED: there is nothing left to do."""
        return False

    # What leads from one state to the next.

    def _answer(self, request: Request, errand: Errand | None = None) -> None:
        """Make the answer to `request` and begin to send it. Without an `errand`, a thread goes to a slow disk."""
        site = self._service.config.site
        looked: Looked | None = None
        try:
            target = errand.target if errand else targets.parse(request.method, request.target)
            if request.method in (b"GET", b"HEAD"):  # these two alone look a resource up
                looked = self._look_up(target, errand)
                if looked.resource is Outcome.OUT_OF_REACH and self._hand_over(request):
                    return
                if looked.resource is Outcome.BUSY and self._service.hold(self._fetched):
                    self._sought, self._fetching = (request, None), True
                    return
            response = respond(request, target, looked.resource if looked else None, site)
        except HTTPError as error:  # the framing was right: the connection may go on
            response = error_response(error.status, site)
            looked = NOTHING_LOOKED_AT
        except WouldWait:
            self._seek(request, target)
            return
        except MemoryError:  # nothing has been sent: it can still be said
            self._service.starve()
            response, looked = unavailable(site), None
        whole, self._head = self._head, None
        made = self._begin(request, request.line, response)
        if whole is not None and looked is not None:
            batch = self._service.batch
            batch.keep(whole, Made(request, response.status, *made, looked.witnesses))

    def _look_up(self, target: targets.Target, errand: Errand | None) -> Looked:
        """What `target` names; where descriptors are short, once more after some have been let go.

        Without an `errand` that has been run, WouldWait is raised where the disk would be waited for.
        """
        service = self._service
        site, loop = service.config.site, service.loop
        if errand is not None and errand.finding is not None:
            looked = service.cache.adopt(site, target, errand.finding)
        else:
            look_up = partial(
                service.cache.lookup, site, target, loop, service.out_of_reach, wait=bool(errand)
            )
            looked = look_up()
            if looked.resource is Outcome.BUSY:
                service.relieve()
                looked = look_up()
        service.counters.looked_up(service.cache.hits, service.cache.misses)
        return looked

    def _hand_over(self, request: Request) -> bool:
        """Leave `request` to a worker that can reach the root; whether that was done."""
        octets = self.protocol.unanswered(request)
        if octets is None or not self._service.give(self.sock, octets):
            return False
        self._leave(self.sock.close)
        return True

    def _refuse(self, error: HTTPError) -> None:
        """Answer what could not be understood; the connection ends with it."""
        peer = self.peer.decode("latin-1")
        self._service.complain(logging.INFO, "%s: %d, %s", peer, error.status, error.why)
        self._begin(None, error.line, error_response(error.status, self._service.config.site))

    def _begin(
        self, request: Request | None, line: bytes, response: Response
    ) -> tuple[bytes, tuple[Piece, ...]]:
        """Hand the response to the transport. Whatever may fail has been done before this."""
        loop = self._service.loop
        # What was asked before the announcement is answered: who pipelines need not ask again.
        closing = self._service.draining and not self.protocol.buffered
        self._service.counters.cells[MEMO_MISSES] += 1
        head, pieces = self.protocol.encode(request, response, loop.date_line, closing=closing)
        self.exchange = Exchange(self.peer, request, line, response.status, loop.now, len(head))
        self.transport.push(head, pieces)
        self._enter(SENDING, self._service.config.timeouts.send)
        return head, pieces

    def _finish(self) -> None:
        """The response has gone: what comes next is the protocol's decision."""
        self._conclude()
        timeouts = self._service.config.timeouts
        if not self.protocol.persistent:
            # RFC 9112 §9.6: a close while octets are unread would reset the connection.
            if self.protocol.lingering or self.transport.recv() not in (BLOCKED, EOF):
                self._linger()
            else:
                self.close()
        elif self.protocol.idle:
            self._enter(IDLE, timeouts.keepalive)
            if self._service.draining:
                self.on_drain()
        else:
            self._enter(READING, timeouts.header)

    def _conclude(self) -> None:
        """The exchange is over, complete or not: it is logged, and its file let go."""
        if self.exchange is not None:
            exchange, self.exchange = self.exchange, None
            exchange.sent = self.transport.sent
            service, ended = self._service, time.monotonic()
            octets, duration = exchange.content_sent, ended - exchange.started
            service.counters.answered(exchange.line, exchange.status, octets, duration)
            service.log.append(exchange, ended, service.loop.wall)

    def _linger(self) -> None:
        self.transport.finish_sending()
        self._enter(LINGERING, self._service.config.timeouts.linger)

    def poll(self) -> None:
        """Enter the epoll, once."""
        if self.fd == NOT_POLLED:
            self.fd = self.sock.fileno()
            self.sock.setblocking(False)
            self._service.loop.add(self.fd, EVENTS, self.on_event)
            self._show()

    def _show(self) -> None:
        """Let the batch receive for us between two requests, and only then."""
        idle = self._service.batch.idle
        if self.state is not IDLE:
            idle.pop(self.fd, None)
        elif self.fd != NOT_POLLED:
            idle[self.fd] = self

    def _enter(self, state: State, patience: float) -> None:
        self.state = state
        self._show()
        self.deadline = self._service.loop.now + patience

    def close(self) -> None:
        """End the connection; what was sent still arrives."""
        self._leave(self.transport.close)

    def reset(self) -> None:
        """End the connection so that the client sees an error."""
        self._leave(self.transport.reset)

    def _leave(self, how: Callable[[], None]) -> None:
        if self.state is CLOSED:
            return
        self.state = CLOSED
        self._show()
        self._service.wide -= self.transport.wide
        try:
            self._conclude()
            self._service.loop.remove(self.fd)
        finally:
            how()
            self._service.forget(self)

    def _complain(self, message: str, *values: object) -> None:
        line = self.exchange.line if self.exchange is not None else b""
        self._service.complain(logging.ERROR, message + " (%r)", *values, line[:200])


STEPS: Final = {
    SENDING: Connection._send,  # noqa: SLF001
    READING: Connection._read,  # noqa: SLF001  # the table belongs to the class
    IDLE: Connection._read,  # noqa: SLF001
    LINGERING: Connection._discard,  # noqa: SLF001
    CLOSED: Connection._stay,  # noqa: SLF001
}
