"""The master: it owns the listening sockets and keeps a worker in every slot.

Two halves. `decide` looks at the slots and the clock and says what is to be done; `Master.run` sleeps,
notes signals, reaps, and does it. The first is tested as a table, the second with real processes.
"""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

from mpserve import errorlog, sandbox
from mpserve.accesslog import AccessLog
from mpserve.activation import open_listeners
from mpserve.config import Config, ConfigError, warnings
from mpserve.destination import STANDARD, STDERR, at_stream
from mpserve.listeners import Listener
from mpserve.notify import Notifier, take_passed
from mpserve.process import PidFile, name_process, raise_open_file_limit
from mpserve.scoreboard import Row, Scoreboard
from mpserve.worker import EXIT_BUG, Worker

logger: Final = logging.getLogger("mpserve")

# Exit statuses of the whole server.
EXIT_OK: Final = 0
EXIT_CANNOT_START: Final = 3

# A worker that dies before it served, or right after, is replaced after a delay that doubles (seconds).
BACKOFF_FIRST: Final = 0.1
BACKOFF_LAST: Final = 10.0
# It served if it was ready for this long (seconds).
SERVED_FOR: Final = 0.25
# Workers end by themselves at the limit of a graceful stop; this much later (seconds) they are killed.
KILL_MARGIN: Final = 1.0

READY_MESSAGE: Final = struct.Struct("i")  # the worker's pid


class Phase(Enum):
    """Where the server is in its life."""

    STARTING = "no generation of workers has been ready yet"
    SERVING = "workers that die are replaced"
    STOPPING = "workers finish what they have"
    QUITTING = "workers end at once"


@dataclass(slots=True)
class Slot:
    """A place for one worker, and the listening sockets that are its own. The place outlives the worker."""

    number: int
    pid: int | None = None
    ready: bool = False
    ready_at: float = 0.0  # monotonic seconds
    failures: int = 0  # workers in a row that did not come to serve
    spawn_at: float = 0.0  # monotonic seconds: not before

    def bury(self, now: float) -> None:
        """The worker is dead: the next one comes at once if this one served, else after a delay."""
        served = self.ready and now - self.ready_at >= SERVED_FOR
        self.failures = 0 if served else self.failures + 1
        self.spawn_at = now + backoff(self.failures)
        self.pid = None
        self.ready = False


@dataclass(slots=True)
class Situation:
    """All that `decide` goes by."""

    slots: list[Slot]
    phase: Phase = Phase.STARTING
    kill_at: float = 0.0  # monotonic seconds: when stopping has lasted too long
    boot_failed: bool = False  # a worker died before any generation was ready


@dataclass(frozen=True, slots=True)
class Spawn:
    """Fork a worker into this slot."""

    slot: int


@dataclass(frozen=True, slots=True)
class Kill:
    """End this worker without asking."""

    pid: int


@dataclass(frozen=True, slots=True)
class Announce:
    """All workers are ready for the first time."""


@dataclass(frozen=True, slots=True)
class Exit:
    """Leave with this status."""

    status: int


Action: TypeAlias = Spawn | Kill | Announce | Exit


def decide(situation: Situation, now: float) -> list[Action]:
    """What is to be done now, in this order."""
    workers = [slot for slot in situation.slots if slot.pid is not None]
    if situation.phase is Phase.STARTING and situation.boot_failed:
        # A first generation that cannot boot will not boot the second time either.
        return [*kill_all(workers), Exit(EXIT_CANNOT_START)]
    if situation.phase in (Phase.STOPPING, Phase.QUITTING):
        if not workers:
            return [Exit(EXIT_OK)]
        return kill_all(workers) if now >= situation.kill_at else []
    if situation.phase is Phase.STARTING and all(slot.ready for slot in situation.slots):
        return [Announce()]
    return [
        Spawn(slot.number) for slot in situation.slots if slot.pid is None and slot.spawn_at <= now
    ]


def kill_all(slots: Iterable[Slot]) -> list[Action]:
    """A Kill for every worker that is there."""
    return [Kill(slot.pid) for slot in slots if slot.pid is not None]


def patience(situation: Situation, now: float) -> float | None:
    """Seconds until the clock alone makes `decide` say something new; None: never."""
    if situation.phase in (Phase.STOPPING, Phase.QUITTING):
        return max(0.0, situation.kill_at - now)
    waiting = [slot.spawn_at for slot in situation.slots if slot.pid is None]
    return max(0.0, min(waiting) - now) if waiting else None


def backoff(failures: int) -> float:
    """Seconds before the next attempt after so many failed ones in a row: 0, 0.1, 0.2, 0.4 … 10."""
    if failures == 0:
        return 0.0
    return min(BACKOFF_LAST, BACKOFF_FIRST * 2.0 ** min(failures - 1, 10))


@contextlib.contextmanager
def naming(flag: str, path: str) -> Iterator[None]:
    """Tell the operator which flag named the path that cannot be opened."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{flag} {path}: {error.strerror}") from error


@dataclass(slots=True)
class Pipes:
    """How the processes hear of each other.

    `ready`: a worker writes its pid when it serves. `life`: nobody ever writes; the master alone holds
    the writing end, so its death, whatever the cause, is an end of file to every worker. `wakeup`:
    the interpreter writes when a signal has come.
    """

    ready: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    life: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC))
    wakeup: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))


class Master:
    """Listeners, slots, and the signals that move them."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.situation = Situation([Slot(number) for number in range(config.workers)])
        self.listeners: list[Listener] = []
        self.scoreboard = Scoreboard.create()
        self._rows: dict[int, Row] = {}  # of each worker that has not been reaped, by its pid
        self._log: AccessLog | None = None
        self._sandbox: sandbox.Plan | None = None
        self._pid_file: PidFile | None = None
        self._pipes = Pipes()
        self._notify = Notifier.of(os.environ, os.getpid())
        self._signals: list[int] = []
        self._exit: int | None = None

    def __repr__(self) -> str:
        alive = sum(slot.pid is not None for slot in self.situation.slots)
        return f"<Master {self.situation.phase.name} {alive}/{len(self.situation.slots)} workers>"

    def run(self) -> int:
        """Serve until told to stop; the exit status. Raises ConfigError when something cannot be set up."""
        try:
            self._set_up()
            return self._supervise()
        finally:
            self._tear_down()

    # Setting up: everything that can fail, before the first worker is forked.

    def _set_up(self) -> None:
        config = self.config
        raise_open_file_limit()
        with naming("--error-log", config.error_log):
            errorlog.open(config.error_log, config.log_level, config.error_log_format)
        with naming("--access-log", config.access_log):
            self._log = AccessLog.open(config.access_log, config.log_format)
        if config.pid_file is not None:
            with naming("--pid-file", config.pid_file):
                self._pid_file = PidFile(config.pid_file)
        passed = take_passed(os.environ, os.getpid())
        self.listeners = open_listeners(config, passed, self._notify)
        for warning in warnings(config):
            logger.warning("%s", warning)
        self._sandbox = sandbox.prepare(config)
        self._catch_signals()
        name_process("mpserve: master")
        gc.collect()
        gc.freeze()  # what is here now is shared with every worker; collecting it would copy it

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._pipes.wakeup[1], warn_on_full_buffer=False)
        for number in HANDLERS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        for number in (signal.SIGPIPE, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)

    def _tear_down(self) -> None:
        self.scoreboard.close()
        self._stop_listening()
        if self._log is not None:
            self._log.close()
        if self._pid_file is not None:
            self._pid_file.remove()

    def _stop_listening(self) -> None:
        """Close our copies, and remove what is ours in the file system: once, for it may be another's later."""
        for listener in self.listeners:
            listener.unlink()
            listener.close()
        self.listeners = []

    # Supervising

    def _supervise(self) -> int:
        poll = select.poll()
        poll.register(self._pipes.wakeup[0], select.POLLIN)
        poll.register(self._pipes.ready[0], select.POLLIN)
        while True:
            for action in decide(self.situation, time.monotonic()):
                self._execute(action)
            if self._exit is not None:
                return self._exit
            now = time.monotonic()
            self._notify.keep_alive(now)
            seconds = self._notify.patience(patience(self.situation, now), now)
            poll.poll(None if seconds is None else seconds * 1000 + 1)
            self._drain_pipes()
            self._take_signals()
            self._reap()

    def _execute(self, action: Action) -> None:
        match action:
            case Spawn(slot):
                self._spawn(self.situation.slots[slot])
            case Kill(pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                self.situation.kill_at = time.monotonic() + KILL_MARGIN
            case Announce():
                self.situation.phase = Phase.SERVING
                self._announce()
            case Exit(status):
                self._exit = status

    def _announce(self) -> None:
        workers = self.config.workers
        root = os.fsdecode(self.config.site.root)
        plural = "" if workers == 1 else "s"
        lines = [f"mpserve: serving {root} with {workers} worker{plural}"]
        lines += [f"  {listener.url}" for listener in self.listeners]
        assert self._sandbox is not None
        lines.append(f"  sandbox: {self._sandbox.level}")
        if self.config.error_log != STANDARD:  # which has just heard it otherwise
            logger.info("sandbox: %s", self._sandbox.level)
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        self._notify.ready(
            f"{workers} worker{plural} on {', '.join(each.url for each in self.listeners)}"
        )
        # Whatever stands behind standard error, it neither holds the master up nor ends it.
        with contextlib.suppress(OSError):
            at_stream(STDERR).write(text)

    def _drain_pipes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipes.wakeup[0], 4096)
        with contextlib.suppress(BlockingIOError):
            message = os.read(self._pipes.ready[0], READY_MESSAGE.size * 1024)
            for (pid,) in READY_MESSAGE.iter_unpack(message):
                self._note_ready(pid)

    def _note_ready(self, pid: int) -> None:
        for slot in self.situation.slots:
            if slot.pid == pid:
                slot.ready = True
                slot.ready_at = time.monotonic()
                if self.situation.phase is Phase.SERVING:
                    logger.info("worker %d is ready (pid %d)", slot.number, pid)

    # Signals: the handler notes the number, and that is all.

    def _take_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            HANDLERS[number](self)

    def on_term(self) -> None:
        """Graceful stop: what has connected is still answered. The second time, at once."""
        if self.situation.phase is Phase.STOPPING:
            self.on_quit()
        elif self.situation.phase is not Phase.QUITTING:
            logger.info("stopping: %g s at most", self.config.timeouts.graceful)
            self._notify.stopping("finishing what is under way")
            self.situation.phase = Phase.STOPPING
            limit = self.config.timeouts.graceful + KILL_MARGIN
            self.situation.kill_at = time.monotonic() + limit
            # Our copies go first: the last worker to leave accepts what waits, and then closes.
            self._stop_listening()
            self._signal_all(signal.SIGTERM)

    def on_quit(self) -> None:
        """Fast stop: connections are cut."""
        if self.situation.phase is not Phase.QUITTING:
            logger.info("stopping at once")
            self._notify.stopping("stopping at once")
        self.situation.phase = Phase.QUITTING
        self.situation.kill_at = time.monotonic() + KILL_MARGIN
        self._signal_all(signal.SIGQUIT)

    def on_chld(self) -> None:
        """A child has died; `_reap` finds out which."""

    def _signal_all(self, number: int) -> None:
        for slot in self.situation.slots:
            if slot.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(slot.pid, number)

    # Workers

    def _spawn(self, slot: Slot) -> None:
        """Fork a worker into `slot`. Signals wait until it has its own handlers."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        row: Row | None = None
        try:
            row = self.scoreboard.claim(slot.number, 0)
            pid = os.fork()
            if pid == 0:
                self._be_worker(slot.number, row)
        except OSError as error:
            if row is not None:
                self.scoreboard.release(row)
            logger.error("cannot fork worker %d: %s", slot.number, error.strerror or error)
            slot.bury(time.monotonic())
            if self.situation.phase is Phase.STARTING:
                self.situation.boot_failed = True
        else:
            slot.pid = pid
            self._rows[pid] = row
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())

    def _be_worker(self, number: int, row: Row) -> None:
        """The child's side of the fork. It never returns."""
        status = EXIT_BUG
        try:
            os.close(self._pipes.life[1])
            if self._pid_file is not None:
                self._pid_file.leave()  # the lock is the master's life, not ours
            name_process(f"mpserve: w{number}")
            assert self._log is not None
            assert self._sandbox is not None
            worker = Worker(self.config, row, self.listeners, self._log)
            sandbox.confine(self._sandbox)
            status = worker.run(self._tell_ready, self._pipes.life[0])
        except sandbox.CannotConfineError as error:
            logger.error("worker %d: %s", number, error)
        except BaseException:  # noqa: BLE001  # there is no caller: it is logged, and the status tells
            logger.error("worker %d died: %s", number, traceback.format_exc())
        finally:
            os._exit(status)

    def _tell_ready(self) -> None:
        """The worker's word to the master that it serves."""
        os.write(self._pipes.ready[1], READY_MESSAGE.pack(os.getpid()))

    def _reap(self) -> None:
        """Note which workers have died, and of what. Children that are not ours are let go quietly."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if row := self._rows.pop(pid, None):
                self.scoreboard.release(row)
            for slot in self.situation.slots:
                if slot.pid == pid:
                    self._bury(slot, os.waitstatus_to_exitcode(status))

    def _bury(self, slot: Slot, code: int) -> None:
        pid, was_ready = slot.pid, slot.ready
        slot.bury(time.monotonic())
        if self.situation.phase in (Phase.STOPPING, Phase.QUITTING):
            return
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if self.situation.phase is Phase.STARTING:
            if not self.situation.boot_failed:
                logger.error("worker %d cannot start (%s); giving up", slot.number, cause)
            self.situation.boot_failed = True
            return
        delay = backoff(slot.failures)
        when = f"in {delay:g} s" if delay else "now"
        state = "died" if was_ready else "did not start"
        logger.error(
            "worker %d (pid %d) %s: %s; the next starts %s", slot.number, pid, state, cause, when
        )


HANDLERS: Final[dict[int, Callable[[Master], None]]] = {
    signal.SIGTERM: Master.on_term,
    signal.SIGINT: Master.on_quit,
    signal.SIGQUIT: Master.on_quit,
    signal.SIGCHLD: Master.on_chld,
}
