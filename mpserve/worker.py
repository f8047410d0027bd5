"""One worker process: it gives each connection its turns, and leaves when it is told to."""

from __future__ import annotations

import _socket
import contextlib
import dataclasses
import faulthandler
import logging
import os
import resource
import select
import signal
import time
from collections import deque
from enum import IntEnum
from typing import TYPE_CHECKING, Any, Final

from mpserve import errorlog, handover
from mpserve.acceptor import ACCEPT_SWEEP, Acceptor
from mpserve.batch import Batch
from mpserve.connection import Connection
from mpserve.counters import Counters
from mpserve.crowd import Crowd
from mpserve.crowd import affordable as affordable_connections
from mpserve.filecache import FileCache
from mpserve.linux import sleep_to_the_point
from mpserve.loop import Loop
from mpserve.process import Memory, open_files
from mpserve.readahead import ReadAhead
from mpserve.refuge import Refuge
from mpserve.scoreboard import State
from mpserve.shortage import Shortage
from mpserve.situation import RETIRING_TIMEOUT
from mpserve.states import IDLE, LINGERING, READING, SENDING
from mpserve.visitor import Visitor
from mpserve.watches import affordable as affordable_watches

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from mpserve.accesslog import AccessLog
    from mpserve.config import Config
    from mpserve.listeners import Listener
    from mpserve.scoreboard import Row

logger: Final = logging.getLogger("mpserve")

# Signals that are the master's to act on, though they may reach us too.
MASTERS: Final = (signal.SIGINT, signal.SIGPIPE, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1)

# Exit statuses that the master understands.
EXIT_OK: Final = 0
EXIT_BUG: Final = 70  # EX_SOFTWARE

# The master takes a worker whose heartbeat is old for hung (seconds). It comes with the sweep, so that
# an idle worker wakes no more often for it.
HEARTBEAT: Final = ACCEPT_SWEEP
# Deadlines are looked at this often (seconds), or four times in the shortest of them.
DEADLINE_SWEEP: Final = 1.0
# The kernel shows a client that has connected and sent nothing after a second (TCP_DEFER_ACCEPT), and a little
# more: its timers are coarse. Whether anybody is still awaited is looked at this often. All in seconds.
LAST_ACCEPT: Final = 1.5
LOOK_FOR_LATECOMERS: Final = 0.1
# A worker whose master died has this long (seconds) to finish what it has.
ORPHAN_TIMEOUT: Final = 5.0

# So many failed allocations within so many seconds: memory is too fragmented, or has leaked.
MEMORY_ERRORS: Final = 3
MEMORY_ERRORS_WITHIN: Final = 60.0
# Octets that are let go at the first of them: to tell of it takes some.
RESERVE: Final = 1024 * 1024

# Large files, answers and directories may each hold this part of the descriptors open; small files, of which there
# are most, twice as much.
CACHE_SHARE: Final = 16
SMALL_SHARE: Final = 8
# What the scoreboard shows of the connections.
SHOWN: Final = (
    (READING, "reading"),
    (SENDING, "sending"),
    (IDLE, "idle"),
    (LINGERING, "lingering"),
)


class Word(IntEnum):
    """What a worker says to its master: that it serves, or why another should take its place."""

    READY = 1
    MAX_REQUESTS = 2
    MAX_RSS = 3
    MEMORY = 4
    ROOT = 5
    OTHER = 0  # what a worker of another version has said

    @classmethod
    def _missing_(cls, _value: object) -> Word:
        return cls.OTHER

    @property
    def reason(self) -> str:
        """It in the operator's words."""
        return REASONS[self]


REASONS: Final = {
    Word.READY: "it serves",
    Word.MAX_REQUESTS: "it has answered --max-requests",
    Word.MAX_RSS: "it occupies more than --max-rss",
    Word.MEMORY: "it cannot get memory",
    Word.ROOT: "the root is another directory now",
    Word.OTHER: "it has its reasons",
}


def affordable(files: int, share: int) -> int:
    """So many open files, but no more than this part of the descriptors: most are for connections."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(files, limit // share)


class Worker:
    """The loop, the connections and the logs of one process. `run` returns its exit status."""

    def __init__(self, config: Config, row: Row, listeners: list[Listener], log: AccessLog) -> None:
        self.config = config
        self.row = row  # of the scoreboard: ours alone to write
        self.slot = row["slot"]
        self.log = log
        self.loop = Loop(self.on_bug)
        wanted = config.caches.files
        files, small = affordable(wanted, CACHE_SHARE), affordable(wanted, SMALL_SHARE)
        caches = dataclasses.replace(config.caches, files=files)
        watches = affordable_watches(config.workers)
        self.cache = FileCache(caches.octets, files, caches.valid, small, watches)
        self.counters = Counters(row.cells)
        self.batch = Batch(config, caches, self.loop, self.cache, log, self.on_bug, self.counters)
        self.connections: set[Connection] = set()
        self.draining = False
        self.stalled = 0  # responses that were reset because the client took nothing for too long
        self.wide = 0  # connections whose sockets may hold more
        self.readahead = ReadAhead(self.loop.guarded)
        self.crowd = Crowd(self.connections, self._most(3 * files + small), config.timeouts)
        self.acceptor = Acceptor(self, self.crowd, row, listeners)
        self.shortage = Shortage(self.loop, config.timeouts.send, self.make_room)
        self.refuge: Refuge | None = None  # None: nothing keeps us from the root
        self._signals: list[int] = []
        self._wakeup = -1
        self._life = -1
        self._handed: socket.socket | None = None  # by which the master sends logs
        self._tell: Callable[[Word], None] = lambda _word: None
        self._worn: Word | None = None  # why another is to take our place
        self._memory = Memory()
        self._reserve: bytes | None = bytes(RESERVE)
        self._memory_errors: deque[float] = deque(maxlen=MEMORY_ERRORS)  # monotonic seconds

    def __repr__(self) -> str:
        drains = " draining" if self.draining else ""
        return f"<Worker {self.slot}{drains} {len(self.connections)} connections>"

    # Life

    def run(self, tell: Callable[[Word], None], life: int) -> int:
        """Serve until told to stop. `tell` is how the master hears that everything is in place.

        `life` is the reading end of a pipe whose other end only the master holds: it is readable
        when the master has died, whatever it died of.
        """
        self._tell = tell
        if self.config.timeouts.coalesce:
            with contextlib.suppress(OSError):  # the turns are a little further apart, then
                sleep_to_the_point()
        self._catch_signals()
        self._explain_faults()
        self.loop.add(self.readahead.fd, select.EPOLLIN, self.readahead.on_read)
        self.acceptor.listen()
        self._life = life
        self.loop.add(life, select.EPOLLIN, self.on_master_gone)
        timeouts = self.config.timeouts
        shortest = min(timeouts.header, timeouts.keepalive, timeouts.send, timeouts.linger)
        self.loop.every(min(DEADLINE_SWEEP, shortest / 4), self.sweep_deadlines)
        self.loop.every(ACCEPT_SWEEP, self.acceptor.sweep)
        self.loop.every(HEARTBEAT, self.beat)
        self.loop.every(HEARTBEAT, self.readahead.rest)
        self.row["pid"], self.row["started_ns"] = os.getpid(), time.monotonic_ns()
        self.row["state"] = State.SERVING
        self.row["heartbeat_ns"] = time.monotonic_ns()
        tell(Word.READY)
        self.loop.run(self.batch.receive, self.batch.answer, self.end_turn)
        for connection in list(self.connections):
            connection.reset()
        self.log.flush()
        self.beat()
        return EXIT_OK

    def stop(self, limit: float) -> None:
        """The server stops: as `drain`, and who has not sent anything yet is let in."""
        self.acceptor.hurry()
        self.row["state"] = State.STOPPING
        self.drain(limit)

    def retire(self) -> None:
        """Another has taken our place: as `drain`. What we leave in a queue is its to accept."""
        self.row["state"] = State.RETIRING
        self.drain(RETIRING_TIMEOUT)

    def drain(self, limit: float) -> None:
        """Take what has connected, answer it, and leave within `limit` seconds."""
        self.loop.later(limit, self.loop.stop)
        if self.draining:
            return
        self.draining = True
        self.batch.stop()
        self.loop.later(min(LAST_ACCEPT, limit), self.stop_listening)
        self.loop.later(0.0, self.look_for_latecomers)
        for connection in list(self.connections):
            connection.on_drain()

    def look_for_latecomers(self) -> None:
        """Stop listening before its time if nobody can have connected whom we cannot accept yet."""
        if self.acceptor.closed:
            return
        if self.acceptor.is_awaited():
            self.loop.later(LOOK_FOR_LATECOMERS, self.look_for_latecomers)
        else:
            self.stop_listening()

    def stop_listening(self) -> None:
        """Take what has connected, and close our copies of the listening sockets."""
        if self.acceptor.closed:
            return
        self.acceptor.close()
        if self.refuge is not None:
            self.refuge.take()

    # Events

    def end_turn(self) -> None:
        """Let go of what this turn has left for others to do, and leave if nothing is left for us.

        Not sooner: who has just been let in is no connection yet, and is answered at the end of the turn.
        """
        self.readahead.end_turn(busy=self.loop.busy)
        self.log.flush()
        if self.draining and not self.connections and self.acceptor.closed:
            self.loop.stop()

    def on_signal(self, _mask: int) -> None:
        """The wake-up pipe is readable: a handler has noted a signal."""
        os.read(self._wakeup, 512)
        signals, self._signals = self._signals, []
        for number in signals:
            if number == signal.SIGQUIT:
                self.loop.stop()
            elif number == signal.SIGTERM:
                self.stop(self.config.timeouts.graceful)
            elif number == signal.SIGHUP:
                self.retire()

    def expect_logs(self, workers: socket.socket) -> None:
        """The master will send here what it has opened anew."""
        self._handed = workers
        self.loop.add(workers.fileno(), select.EPOLLIN, self.on_logs)

    def on_logs(self, _mask: int) -> None:
        """The log files have been renamed: go on in new ones."""
        assert self._handed is not None
        if not handover.adopt(self._handed, self.log):
            self.loop.remove(self._handed.fileno())
            self._handed.close()
        self._explain_faults()

    def on_master_gone(self, _mask: int) -> None:
        """Nobody would replace us or read our signals any more: finish and go."""
        logger.warning("worker %d: the master is gone, leaving", self.slot)
        self.loop.remove(self._life)
        self.stop(min(ORPHAN_TIMEOUT, self.config.timeouts.graceful))

    def on_bug(self, handler: Callable[..., None], bug: Exception) -> None:
        """An exception that nobody foresaw: it costs the connection it happened in, and no other."""
        owner: Any = getattr(handler, "__self__", handler)
        with contextlib.suppress(MemoryError):  # a traceback takes some
            logger.error("worker %d: a bug, in %r", self.slot, owner, exc_info=bug)
        if isinstance(owner, Connection | Visitor):
            owner.reset()
        if isinstance(bug, MemoryError):
            self.starve()

    # What connections ask of their worker

    def welcome(self, connection: Connection) -> None:
        """`connection` is there to stay."""
        self.connections.add(connection)
        if self.draining:
            connection.on_drain()

    def forget(self, connection: Connection) -> None:
        """`connection` is closed."""
        self.connections.discard(connection)
        if self.acceptor.full:
            self.acceptor.look()

    def relieve(self) -> None:
        """Descriptors are short: let go of all that are only kept in case they are wanted again."""
        self.cache.clear()
        self.batch.clear()

    def make_room(self) -> None:
        """Descriptors are still short: let go of more. To be called when no request waits to be answered."""
        self.relieve()
        self.acceptor.let_idle_go()

    def hold(self, retry: Callable[[], None]) -> bool:
        """Call `retry` when there may be a descriptor again; False after it has waited for too long."""
        return self.shortage.hold(retry)

    def starve(self) -> None:
        """Memory is short: let go of what is not needed; if it lasts, another is to take our place."""
        self._reserve = None
        self.relieve()
        now = self.loop.now
        self._memory_errors.append(now)
        if (
            len(self._memory_errors) == MEMORY_ERRORS
            and now - self._memory_errors[0] < MEMORY_ERRORS_WITHIN
        ):
            self.wear_out(Word.MEMORY)

    def complain(self, level: int, message: str, *values: object) -> None:
        """One line for the error log."""
        logger.log(level, message, *values)

    def out_of_reach(self, directory: int) -> bool:
        """Whether the open `directory` is another than the root that this worker may read."""
        if self.refuge is None or not self.refuge.out_of_reach(directory):
            return False
        self.wear_out(Word.ROOT)
        return True

    def give(self, sock: _socket.socket, octets: bytes) -> bool:
        """Leave `sock`, and `octets` that came from it, to another worker; whether that was done."""
        return self.refuge is not None and self.refuge.give(sock, octets)

    # Sweeps

    def beat(self) -> None:
        """Show that the loop turns, and what it has come to."""
        row = self.row
        row["heartbeat_ns"] = time.monotonic_ns()
        row["connections"] = len(self.connections)
        states = [each.state for each in self.connections]
        for state, name in SHOWN:
            row[name] = states.count(state)
        row["stalled"] = self.stalled
        row["log_dropped"] = self.log.dropped
        self._look_for_wear()

    def wear_out(self, word: Word) -> None:
        """Ask for another to take our place, once; until it is ready we serve on, unless the root is lost."""
        if self.draining or self._worn in (word, Word.ROOT):
            return
        if self._worn is None or word is Word.ROOT:
            self._worn = word
            self._tell(word)

    def _look_for_wear(self) -> None:
        if self.refuge is not None and self.refuge.root_lost():
            self.wear_out(Word.ROOT)
        upkeep = self.config.upkeep
        if upkeep.max_requests and self.counters.answers >= upkeep.max_requests:
            self.wear_out(Word.MAX_REQUESTS)
        elif upkeep.max_rss and self._worn is None and self._memory.octets() > upkeep.max_rss:
            self.wear_out(Word.MAX_RSS)

    def sweep_deadlines(self) -> None:
        """End what has lasted too long, and look at who is slow: not all of them in one turn."""
        if not self.loop.spreading:
            self.loop.spread(self.crowd.due(self.loop.now))

    # Signals

    def _catch_signals(self) -> None:
        """Note what the master sends, and wake the loop. INT from a terminal reaches us too: it is the master's."""
        self._wakeup, write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        for number in MASTERS:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        # Somebody wanted to write while we had a lease (see linux.prove_unwritten). It would end us.
        signal.signal(signal.SIGIO, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
        self.loop.add(self._wakeup, select.EPOLLIN, self.on_signal)

    def _explain_faults(self) -> None:
        """URG writes a traceback, however busy or stuck we are; ABRT does, and ends us."""
        fd = errorlog.descriptor()
        if fd is not None:
            with contextlib.suppress(OSError, RuntimeError, ValueError):
                faulthandler.enable(fd, all_threads=False)
                faulthandler.register(signal.SIGURG, fd, all_threads=False)

    def _most(self, kept: int) -> int:
        """How many connections there may be: what is open now stays, and the caches keep so many files open."""
        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return affordable_connections(self.config.max_connections, limit, open_files() + kept)
