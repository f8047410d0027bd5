"""The load: one process, one epoll, plain sockets. It knows at every moment what it has asked and what came back.

Three kinds of connection. A *fresh* one carries one request and is closed by the server; every eighth of them is
*hesitant*: it asks a moment after it has connected, so there are always connections that a worker has accepted and
that have asked nothing yet. A *reused* one asks again and again, with a pause between; when the server announces
its end, or ends it while nothing is asked, another takes its place, as any client does.

Fresh connections begin by the clock, whatever becomes of those before them: a server that holds them up does not
thereby get fewer.
"""

from __future__ import annotations

import errno
import heapq
import random
import re
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum

from loadtests.reliability.counts import Counts, Loss
from tests.harness.reader import Closed, Faulty, Reader, Silent

TIMEOUT = 10.0  # seconds without the whole answer
AT_ONCE = 6000  # connections, at most: below the limit of open files
BURST = 32  # begun in one turn of the loop, at most: whoever is begun asks soon, however late the load is
HESITANT = 8  # one fresh connection of so many
HESITATION = (0.005, 0.060)  # seconds between connecting and asking
PAUSE = (0.001, 0.030)  # seconds between two requests on a reused connection
LOOK = 0.25  # seconds between two looks for what takes too long
REOPEN = 0.01  # seconds between two times that reused connections are replaced
IP_BIND_ADDRESS_NO_PORT = 24  # linux/in.h; the socket module has no name for it
HOMES = 8  # source addresses: no two connections of a run share their four numbers

_LENGTH = re.compile(rb"\r\ncontent-length: *([0-9]+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)
_DATE = re.compile(rb"\r\nDate: [^\r]*")


@dataclass(frozen=True, slots=True)
class Order:
    """What one load process is to do."""

    number: int  # which of the processes it is
    address: tuple[str, int]
    path: str
    content: bytes
    fresh: int  # connections
    rate: float  # of them per second
    reused: int  # connections, all the time


class Step(Enum):
    """Where a connection is."""

    CONNECTING = "no answer to the SYN yet"
    HESITATING = "connected, and nothing asked"
    WAITING = "asked, and the answer is not whole"
    RESTING = "answered; the next request comes later"


@dataclass(slots=True, eq=False)
class Talk:
    """One connection."""

    sock: socket.socket
    fd: int
    reused: bool
    hesitant: bool
    began: float
    step: Step = Step.CONNECTING
    asked: int = 0  # requests
    asked_at: float = 0.0
    octets: bytes = b""

    def __repr__(self) -> str:
        kind = "reused" if self.reused else "hesitant" if self.hesitant else "fresh"
        return f"<Talk {kind} {self.step.name} {self.asked} asked, {len(self.octets)} octets>"


@dataclass(slots=True)
class Load:
    """The connections of one process, from the first to the last."""

    order: Order
    stopping: Callable[[], bool] = lambda: False  # has the server been told to stop?
    counts: Counts = field(default_factory=Counts)
    _epoll: select.epoll = field(default_factory=select.epoll)
    _talks: dict[int, Talk] = field(default_factory=dict)
    _timers: list[tuple[float, int, int, Talk]] = field(default_factory=list)
    _fresh: deque[Talk] = field(default_factory=deque)
    _known: set[bytes] = field(default_factory=set)  # heads that the strict reader found right
    _random: random.Random = field(default_factory=random.Random)
    _timer: int = 0
    _missing: int = 0  # reused connections that ended and have not been replaced yet
    _reopen_at: float = 0.0
    _turned_away: bool = False

    def run(self) -> Counts:
        """Do what was ordered, wait for the last answers, and say what became of all."""
        self._random.seed(self.order.number)
        begin = time.monotonic()
        self._missing = self.order.reused
        looked = begin
        while not self._over():
            now = time.monotonic()
            self._open_what_is_due(now - begin)
            self._reopen(now)
            self._fire(now)
            if now - looked > LOOK:
                looked = now
                self._give_up_on_the_late(now)
            for fd, _ in self._epoll.poll(self._patience(begin, now), 256):
                talk = self._talks.get(fd)
                if talk is not None:
                    self._on_event(talk)
        self._close_all()
        return self.counts

    def _over(self) -> bool:
        if not self._all_begun():
            return False
        return all(talk.reused and talk.step is Step.RESTING for talk in self._talks.values())

    def _all_begun(self) -> bool:
        return self._turned_away or self.counts.fresh >= self.order.fresh

    def _open_what_is_due(self, elapsed: float) -> None:
        due = min(self.order.fresh, self.counts.fresh + BURST, int(elapsed * self.order.rate) + 1)
        if self.counts.fresh < due:
            self.counts.late = max(self.counts.late, elapsed - self.counts.fresh / self.order.rate)
        while self.counts.fresh < due and len(self._talks) < AT_ONCE and not self._turned_away:
            self.counts.fresh += 1
            self._open(reused=False)

    def _reopen(self, now: float) -> None:
        # Not at once: where nobody listens any more, that would be without end.
        if now < self._reopen_at or self._all_begun():
            return
        missing, self._missing = self._missing, 0
        self._reopen_at = now + REOPEN
        for _ in range(missing):
            self._open(reused=True)

    def _patience(self, begin: float, now: float) -> float:
        """Seconds until there is something to do whatever the server does."""
        moments = [now + LOOK]
        if not self._all_begun():
            moments.append(begin + self.counts.fresh / self.order.rate)
            moments += [self._reopen_at] if self._missing else []
        if self._timers:
            moments.append(self._timers[0][0])
        return max(0.0, min(moments) - now)

    # A connection begins.

    def _open(self, *, reused: bool) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_IP, IP_BIND_ADDRESS_NO_PORT, 1)
        home = self.counts.fresh % HOMES + 1
        sock.bind((f"127.0.{self.order.number + 1}.{home}", 0))
        hesitant = not reused and self.counts.fresh % HESITANT == 0
        talk = Talk(sock, sock.fileno(), reused, hesitant, time.monotonic())
        self._talks[talk.fd] = talk
        code = sock.connect_ex(self.order.address)
        if code not in (0, errno.EINPROGRESS):
            self._lose_connecting(talk, code)
            return
        if not reused:
            self._fresh.append(talk)
        self._epoll.register(talk.fd, select.EPOLLOUT)

    def _on_connected(self, talk: Talk) -> None:
        code = talk.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            self._lose_connecting(talk, code)
            return
        self._epoll.modify(talk.fd, select.EPOLLIN)
        if talk.hesitant:
            talk.step = Step.HESITATING
            self._later(HESITATION, talk)
        else:
            self._ask(talk)

    def _lose_connecting(self, talk: Talk, code: int) -> None:
        if code == errno.ECONNREFUSED and self.stopping():
            self._turned_away = True
            self.counts.fresh -= not talk.reused
            self.counts.turned_away += 1
            self._drop(talk)
            return
        kind = Loss.REFUSED if code == errno.ECONNREFUSED else Loss.BEFORE
        self._lose(talk, kind, errno.errorcode.get(code, str(code)))

    # A request, and what comes of it.

    def _ask(self, talk: Talk) -> None:
        end = b"" if talk.reused else b"Connection: close\r\n"
        host, port = self.order.address
        request = f"GET {self.order.path} HTTP/1.1\r\nHost: {host}:{port}\r\n".encode()
        again = talk.asked > 0
        talk.asked += 1
        talk.asked_at = time.monotonic()
        talk.step = Step.WAITING
        self.counts.reused += again
        try:
            talk.sock.send(b"%s%s\r\n" % (request, end))
        except OSError as error:
            kind = Loss.REUSED if again else Loss.BEFORE
            self._lose(talk, kind, f"send: {errno.errorcode[error.errno or 0]}")

    def _on_event(self, talk: Talk) -> None:
        if talk.step is Step.CONNECTING:
            self._on_connected(talk)
            return
        try:
            piece = talk.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            self._on_end(talk, errno.errorcode[error.errno or 0])
            return
        if not piece:
            self._on_end(talk, "end of file")
            return
        talk.octets += piece
        if talk.step is not Step.WAITING:
            self._lose(talk, Loss.WRONG, f"octets that nobody asked for: {piece[:80]!r}")
        elif talk.reused:
            self._maybe_answered(talk)

    def _on_end(self, talk: Talk, how: str) -> None:
        """The server has ended the connection: as it should, or not."""
        if talk.step is Step.HESITATING:
            self._lose(talk, Loss.BEFORE, how)
        elif talk.step is Step.RESTING:
            self.counts.idle_ends += 1
            self._replace(talk)
        elif not talk.reused and how == "end of file" and whole(talk.octets):
            self._on_fresh_answer(talk)
        else:
            kind = Loss.REUSED if talk.asked > 1 else Loss.AFTER
            asked, now = talk.asked_at - talk.began, time.monotonic() - talk.began
            when = f"connected {1000 * now:.0f} ms before and asked {1000 * (now - asked):.0f} ms before"
            self._lose(talk, kind, f"{how} after {len(talk.octets)} octets, {when}")

    def _on_fresh_answer(self, talk: Talk) -> None:
        if not self._right(talk):
            return
        self.counts.answered += 1
        if not talk.hesitant:  # it waited of its own will
            self.counts.began.append(talk.began)
            self.counts.took.append(time.monotonic() - talk.began)
        self._drop(talk)

    def _maybe_answered(self, talk: Talk) -> None:
        if not whole(talk.octets) or not self._right(talk):
            return
        self.counts.reused_answered += talk.asked > 1
        closes = _CLOSES.search(talk.octets, 0, talk.octets.index(b"\r\n\r\n") + 2)
        talk.octets = b""
        if closes:
            self._replace(talk)
            return
        talk.step = Step.RESTING
        self._later(PAUSE, talk)

    def _right(self, talk: Talk) -> bool:
        """Is the whole answer right, to the octet? If not, it is counted."""
        place = talk.octets.index(b"\r\n\r\n") + 4
        head = _DATE.sub(b"", talk.octets[:place])
        problem = "" if head in self._known else fault_of(talk.octets[:place], self.order.content)
        if not problem and talk.octets[place:] != self.order.content:
            problem = f"{len(talk.octets) - place} octets of content that are not the file's"
        if problem:
            self._lose(talk, Loss.WRONG, problem)
            return False
        self._known.add(head)
        return True

    # Time

    def _later(self, between: tuple[float, float], talk: Talk) -> None:
        self._timer += 1
        due = time.monotonic() + self._random.uniform(*between)
        heapq.heappush(self._timers, (due, self._timer, talk.fd, talk))

    def _fire(self, now: float) -> None:
        """Ask what is due on connections that have waited; an end that has come is seen before."""
        while self._timers and self._timers[0][0] <= now:
            _, _, fd, talk = heapq.heappop(self._timers)
            if self._talks.get(fd) is not talk:
                continue
            if talk.reused and self._all_begun():
                continue  # it rests until the end
            self._on_event(talk)
            if self._talks.get(fd) is talk:
                self._ask(talk)

    def _give_up_on_the_late(self, now: float) -> None:
        while self._fresh and self._fresh[0].began < now - TIMEOUT:
            talk = self._fresh.popleft()
            if self._talks.get(talk.fd) is talk:
                self._lose(talk, Loss.TIMED_OUT, repr(talk))
        for talk in [each for each in self._talks.values() if each.reused]:
            since = talk.began if talk.step is Step.CONNECTING else talk.asked_at
            if talk.step is not Step.RESTING and since < now - TIMEOUT:
                self._lose(talk, Loss.TIMED_OUT, repr(talk))

    # A connection ends.

    def _lose(self, talk: Talk, kind: Loss, detail: str) -> None:
        self.counts.lose(kind, detail)
        if talk.reused:
            self._replace(talk)
        else:
            self._drop(talk)

    def _replace(self, talk: Talk) -> None:
        self._drop(talk)
        self._missing += 1

    def _drop(self, talk: Talk) -> None:
        if self._talks.get(talk.fd) is talk:
            del self._talks[talk.fd]
            talk.sock.close()

    def _close_all(self) -> None:
        for talk in list(self._talks.values()):
            self._drop(talk)
        self._epoll.close()


def whole(octets: bytes) -> bool:
    """Does this hold a head and all the content it announces?"""
    end = octets.find(b"\r\n\r\n")
    if end < 0:
        return False
    found = _LENGTH.search(octets, 0, end + 2)
    return found is not None and len(octets) >= end + 4 + int(found[1])


def fault_of(head: bytes, content: bytes) -> str:
    """What is wrong with a 200 whose head this is, by the strict reader; "" if nothing."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(head + content)
        theirs.shutdown(socket.SHUT_WR)
        try:
            answer = Reader(ours).read()
        except (Faulty, Closed, Silent) as error:
            return str(error)
    return "" if answer.status == 200 else f"status {answer.status}"
