"""The master: it owns the listening sockets and keeps a worker in every slot.

`supervision.decide` looks at the slots and the clock and says what is to be done; `Master.run` sleeps,
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
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from mpserve import __version__, errorlog, sandbox
from mpserve.admin import Admin
from mpserve.adoption import (
    Told,
    adopt_listener,
    adopt_rows,
    adopt_worker,
    tell_listener,
    tell_worker,
)
from mpserve.config import Config, ConfigError, warnings
from mpserve.destination import STANDARD, STDERR, at_stream
from mpserve.edition import (
    Edition,
    naming,
    open_adopted,
    open_error_log,
    open_first,
    open_next,
    take_over,
)
from mpserve.exposition import Snapshot
from mpserve.handover import Ends, Handover
from mpserve.notify import Notifier, take_passed
from mpserve.process import PidFile, name_process, pin, raise_open_file_limit, where_it_waits
from mpserve.refuge import Refuge
from mpserve.relay import Relay
from mpserve.scoreboard import Row, Scoreboard
from mpserve.supervision import (
    ABORT_MARGIN,
    KILL_MARGIN,
    READY_TIMEOUT,
    Abandon,
    Abort,
    Action,
    Alarm,
    Announce,
    Change,
    Commit,
    Exit,
    Kill,
    Phase,
    Process,
    Situation,
    Slot,
    Spawn,
    Stop,
    Succeed,
    Warn,
    backoff,
    decide,
    patience,
)
from mpserve.upgrade import Preflight, State, hand_over
from mpserve.worker import EXIT_BUG, Word, Worker

logger: Final = logging.getLogger("mpserve")

MESSAGE: Final = struct.Struct("ii")  # a Word, and the worker's pid
MOST_WORKERS: Final = 1024


@dataclass(slots=True)
class Pipes:
    """How the processes hear of each other.

    `words`: a worker says that it serves, or that it wants to be replaced. `life`: nobody ever writes;
    the master alone holds the writing end, so its death, whatever the cause, is an end of file to every
    worker. `wakeup`: the interpreter writes when a signal has come.
    """

    words: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))
    life: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC))
    wakeup: tuple[int, int] = field(default_factory=lambda: os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK))

    def close(self) -> None:
        """Close all of them."""
        for fd in (*self.words, *self.life, *self.wakeup):
            os.close(fd)


def adopt_pipe(ends: list[int]) -> tuple[int, int]:
    """Copies of both ends of a pipe."""
    return os.dup(ends[0]), os.dup(ends[1])


class Master:
    """Editions, slots, and the signals that move them. `load` reads the configuration anew."""

    def __init__(
        self, config: Config, load: Callable[[], Config], left: State | None = None
    ) -> None:
        self.first = config
        self.situation = Situation([Slot(number) for number in range(config.workers)])
        self.scoreboard = Scoreboard.create()
        self._load = load
        self._left = left  # by the image before this one, of which we are the upgrade
        self._preflight: Preflight | None = None
        self._edition: Edition | None = None  # what serves
        self._coming: Edition | None = None  # what is to take over from it
        self._rows: dict[int, Row] = {}  # of each worker that has not been reaped, by its pid
        self._pid_file: PidFile | None = None
        self._relay = Relay()
        self._handover = Handover()
        self._pipes = Pipes()
        self._admin: Admin | None = None
        self._started = time.time()
        self._notify = Notifier.of(os.environ, os.getpid())
        self._signals: list[int] = []
        self._exit: int | None = None

    def __repr__(self) -> str:
        alive = sum(1 for _ in self.situation.processes())
        return f"<Master {self.situation.phase.name} {alive}/{len(self.situation.slots)} workers>"

    @property
    def edition(self) -> Edition:
        """What serves."""
        assert self._edition is not None, "nothing has been opened yet"
        return self._edition

    def run(self) -> int:
        """Serve until told to stop; the exit status. Raises ConfigError when something cannot be set up."""
        try:
            self._set_up(self.first)
            return self._supervise()
        finally:
            if self._left is None or self._left.settled:
                self._tear_down()
            else:  # what was left goes on without us
                self._signal_all(self._newcomers(), signal.SIGKILL)

    # Setting up: everything that can fail, before the first worker is forked.

    def _set_up(self, config: Config) -> None:
        raise_open_file_limit()
        open_error_log(config)
        if self._left is not None:
            self._adopt(config, self._left.told)
        else:
            if config.pid_file is not None:
                with naming("--pid-file", config.pid_file):
                    self._pid_file = PidFile(config.pid_file)
            passed = take_passed(os.environ, os.getpid())
            self._edition = open_first(config, passed, self._notify)
        if config.admin is not None:
            self._admin = Admin(config.admin, self._snapshot)
        self._go_by(config)
        self._catch_signals()
        name_process("mpserve: master")
        gc.collect()
        gc.freeze()  # what is here now is shared with every worker; collecting it would copy it

    def _adopt(self, config: Config, told: Told) -> None:
        """Go on with what the image before this one has left, and prepare to replace its workers."""
        if told["pid_path"] != config.pid_file:
            raise ConfigError("--pid-file cannot change without a restart")
        if config.pid_file is not None:
            self._pid_file = PidFile.adopt(config.pid_file, os.dup(told["pid_file"]))
        self._pipes.close()
        self._pipes = Pipes(*(adopt_pipe(told[name]) for name in ("words", "life")))
        now = time.monotonic()
        self.situation = Situation([], Phase.SERVING, generation=told["generation"])
        self.situation.slots = [Slot(number) for number in range(told["slots"])]
        self._rows = adopt_rows(told["workers"])
        self.scoreboard.close()
        self.scoreboard = Scoreboard.create(told["totals"])
        for row in self._rows.values():
            self.scoreboard.adopt(row)
        for worker in told["workers"]:
            self.situation.take_in(adopt_worker(worker, now), worker["slot"])
        listeners = [adopt_listener(listener) for listener in told["listeners"]]
        self._edition = open_adopted(config, told["generation"], listeners)
        self._prepare(open_next(config, self._edition))

    def _settle(self) -> None:
        """The upgrade is over: what the image before this one left is ours, or not needed."""
        if self._left is not None:
            self._left.settle()

    def _go_by(self, config: Config) -> None:
        """What the master itself takes from a configuration."""
        self.situation.hang_timeout = config.upkeep.hang_timeout
        for warning in warnings(config):
            logger.warning("%s", warning)

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self._pipes.wakeup[1], warn_on_full_buffer=False)
        for number in HANDLERS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # see upgrade.hand_over

    def _snapshot(self) -> Snapshot:
        """What the admin address tells of us."""
        return Snapshot(
            version=__version__,
            phase=self.situation.phase.name.lower(),
            ready=self.situation.phase is Phase.SERVING,
            pid=os.getpid(),
            started=self._started,
            uptime=time.time() - self._started,
            listeners=tuple(listener.url for listener in self.edition.listeners),
            totals=self.scoreboard.totals(),
            workers=tuple(row.items() for row in self.scoreboard.rows),
        )

    def _tear_down(self) -> None:
        if self._admin is not None:
            self._admin.close()
        if self._edition is not None:
            self._edition.close_but_for(None)
        if self._pid_file is not None:
            self._pid_file.remove()
        self.scoreboard.close()

    # Supervising

    def _supervise(self) -> int:
        poll = select.poll()
        poll.register(self._pipes.wakeup[0], select.POLLIN)
        poll.register(self._pipes.words[0], select.POLLIN)
        if self._admin is not None:
            poll.register(self._admin.fileno(), select.POLLIN)
        while True:
            now = time.monotonic()
            self._read_heartbeats()
            self.situation.look(now)
            if self._preflight is not None:
                self._preflight.look(now)
            for action in decide(self.situation, now):
                self._execute(action)
            if self._exit is not None:
                return self._exit
            poll.poll(self._patience() * 1000 + 1)
            if self._admin is not None:
                self._admin.turn()
            self._drain_pipes()
            self._take_signals()
            self._reap()

    def _patience(self) -> float:
        if self._signals and not self._is_changing():
            return 0.0
        now = time.monotonic()
        self._notify.keep_alive(now)
        seconds = patience(self.situation, now)
        return min(seconds, self._notify.patience(seconds, now) or 0.0)

    def _read_heartbeats(self) -> None:
        for process in self.situation.processes():
            process.heartbeat = self._rows[process.pid]["heartbeat_ns"] / 1e9

    def _execute(self, action: Action) -> None:
        match action:
            case Spawn(number, generation):
                self._spawn(number, generation)
            case Kill(pid):
                self._kill(pid)
            case Warn(pid):
                self._warn(self.situation.process(pid))
            case Abort(pid):
                self._abort(self.situation.process(pid))
            case Succeed(number):
                self._succeed(self.situation.slots[number])
            case _:
                self._turn(action)

    def _turn(self, action: Action) -> None:
        """What concerns the server as a whole."""
        match action:
            case Commit():
                self._commit()
            case Abandon():
                self._abandon()
            case Announce():
                self.situation.phase = Phase.SERVING
                self._announce()
            case Stop():
                self._stop()
            case Exit(status):
                self._exit = status

    def _announce(self) -> None:
        workers = len(self.situation.slots)
        root = os.fsdecode(self.edition.config.site.root)
        plural = "" if workers == 1 else "s"
        lines = [f"mpserve: serving {root} with {workers} worker{plural}"]
        lines += [f"  {listener.url}" for listener in self.edition.listeners]
        if self._admin is not None:
            lines += [f"  admin: {listener.url}" for listener in self._admin.listeners]
        level = self.edition.plan.level
        lines.append(f"  sandbox: {level}")
        if self.edition.config.error_log != STANDARD:  # which has just heard it otherwise
            logger.info("sandbox: %s", level)
        self._notify.ready(self._status())
        text = "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")
        # Whatever stands behind standard error, it neither holds the master up nor ends it.
        with contextlib.suppress(OSError):
            at_stream(STDERR).write(text)

    def _status(self) -> str:
        """What serves, for who asks systemd."""
        workers = len(self.situation.slots)
        urls = ", ".join(listener.url for listener in self.edition.listeners)
        return f"{workers} worker{'' if workers == 1 else 's'} on {urls}"

    def _drain_pipes(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._pipes.wakeup[0], 4096)
        with contextlib.suppress(BlockingIOError):
            messages = os.read(self._pipes.words[0], MESSAGE.size * 1024)
            for word, pid in MESSAGE.iter_unpack(messages):
                self._hear(Word(word), pid)

    def _hear(self, word: Word, pid: int) -> None:
        """A worker has said something; perhaps its last word."""
        try:
            process = self.situation.process(pid)
        except LookupError:
            return
        if word is Word.READY:
            process.ready_at = time.monotonic()
            if self.situation.phase is not Phase.STARTING:
                logger.info("worker %d is ready (pid %d)", self._slot_of(pid), pid)
        else:
            process.outworn = True
            logger.info(
                "worker %d (pid %d) is to be replaced: %s", self._slot_of(pid), pid, word.reason
            )

    def _slot_of(self, pid: int) -> int:
        return self._rows[pid]["slot"]

    # Signals: the handler notes the number, and that is all.

    def _take_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number in CHANGES and self._is_changing():
                self._signals.append(number)  # one change after the other; see `_patience`
            else:
                HANDLERS[number](self)

    def _is_changing(self) -> bool:
        waiting = self.situation.change is not None or self._preflight is not None
        return waiting or self.situation.phase is Phase.STARTING

    def on_term(self) -> None:
        """Graceful stop: what has connected is still answered. The second time, at once."""
        if self.situation.phase in (Phase.LEAVING, Phase.STOPPING):
            self.on_quit()
            return
        if self.situation.phase is Phase.QUITTING:
            return
        delay = self.edition.config.upkeep.shutdown_delay
        if delay == 0 or self.situation.phase is Phase.STARTING:
            self._stop()
            return
        logger.info("stopping in %g s", delay)
        self._notify.stopping(f"stopping in {delay:g} s")
        self.situation.phase = Phase.LEAVING
        self.situation.stop_at = time.monotonic() + delay

    def _stop(self) -> None:
        limit = self.edition.config.timeouts.graceful
        logger.info("stopping: %g s at most", limit)
        self._notify.stopping("finishing what is under way")
        if self.situation.change is not None:
            self._abandon()
        self.situation.phase = Phase.STOPPING
        self.situation.kill_at = time.monotonic() + limit + KILL_MARGIN
        # Our copies go first: the last worker to leave accepts what waits, and then closes.
        for listener in self.edition.listeners:
            if not self._notify.heard:  # else systemd may keep them for the next of us
                listener.turn_away()
            listener.unlink()
            listener.close()
        self.edition.listeners = []
        self._signal_all(self.situation.processes(), signal.SIGTERM)

    def on_quit(self) -> None:
        """Fast stop: connections are cut."""
        self._settle()
        if self.situation.phase is not Phase.QUITTING:
            logger.info("stopping at once")
            self._notify.stopping("stopping at once")
        self.situation.phase = Phase.QUITTING
        self.situation.kill_at = time.monotonic() + KILL_MARGIN
        self._signal_all(self.situation.processes(), signal.SIGQUIT)

    def on_chld(self) -> None:
        """A child has died; `_reap` finds out which."""

    def on_hup(self) -> None:
        """Reload: the next edition is opened whole, and its workers started, before anything ends."""
        if self.situation.phase is not Phase.SERVING:
            return
        self._notify.reloading()
        try:
            coming = open_next(self._load(), self.edition)
        except (ConfigError, OSError) as error:
            logger.error("not reloaded, what was served goes on: %s", error)
            self._notify.ready(f"not reloaded: {error}")
            return
        self._prepare(coming)

    def _prepare(self, coming: Edition) -> None:
        """Let a generation of workers come up beside the one that serves."""
        self._coming = coming
        slots = [Slot(number) for number in range(coming.config.workers)]
        deadline = time.monotonic() + READY_TIMEOUT
        self.situation.change = Change(coming.generation, slots, deadline)

    def on_ttin(self) -> None:
        """One worker more."""
        slots = self.situation.slots
        if self.situation.phase is Phase.SERVING and len(slots) < MOST_WORKERS:
            slots.append(Slot(len(slots)))
            logger.info("one worker more: %d", len(slots))

    def on_ttou(self) -> None:
        """One worker less, but one."""
        slots = self.situation.slots
        if self.situation.phase is not Phase.SERVING:
            return
        if len(slots) == 1:
            logger.info("the last worker stays")
            return
        slot = slots.pop()
        logger.info("one worker less: %d", len(slots))
        for process in slot.processes:
            self.situation.retire(process, time.monotonic())
        self._signal_all(slot.processes, signal.SIGHUP)

    def on_usr1(self) -> None:
        """Open the logs anew, once, for us and for all workers."""
        self._handover.reopen(self.edition.log, self.edition.config)

    def on_usr2(self) -> None:
        """Upgrade: a child looks whether the new code can be used before this image gives way to it."""
        if self.situation.phase is Phase.SERVING:
            self._notify.reloading()
            self._preflight = Preflight()

    def _end_preflight(self, why_not: str) -> None:
        self._preflight = None
        if why_not:
            logger.error("not upgraded, what was served goes on: %s", why_not)
            self._notify.ready(f"not upgraded: {why_not}")
        elif self.situation.phase is Phase.SERVING:
            self._upgrade()

    def _upgrade(self) -> None:
        """Become the new code. What arrives meanwhile waits in the kernel, or is told."""
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            hand_over(self._tell_all())
        except OSError as error:
            logger.error("not upgraded, what was served goes on: %s", error.strerror)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())

    def _tell_all(self) -> Told:
        """All that the next image has to know."""
        places = [(slot.number, each) for slot in self.situation.slots for each in slot.processes]
        known = [*places, *((None, each) for each in self.situation.retiring)]
        # Who is not ready yet would say so to an image that does not know him.
        self._signal_all([each for _, each in known if not each.ready], signal.SIGKILL)
        workers = [
            tell_worker(each, self._rows[each.pid], number) for number, each in known if each.ready
        ]
        for noted in self._signals:  # and not yet heeded: once more, for the new image
            os.kill(os.getpid(), noted)
        return {
            "generation": self.situation.generation,
            "slots": len(self.situation.slots),
            "workers": workers,
            "listeners": [tell_listener(each) for each in self.edition.listeners],
            "words": self._pipes.words,
            "life": self._pipes.life,
            "totals": self.scoreboard.gone(),
            "pid_file": self._pid_file.fd if self._pid_file is not None else None,
            "pid_path": self.edition.config.pid_file,
            "error_log": errorlog.descriptor(),
        }

    def _newcomers(self) -> list[Process]:
        change = self.situation.change
        return [each for slot in change.slots for each in slot.processes] if change else []

    def _signal_all(self, processes: Iterable[Process], number: int) -> None:
        for process in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, number)

    # One generation after the other

    def _succeed(self, slot: Slot) -> None:
        old = self.situation.succeed(slot, time.monotonic())
        if old is not None:
            self._signal_all([old], signal.SIGHUP)

    def _commit(self) -> None:
        """The new generation serves: the old one takes what it has to its end."""
        assert self._coming is not None
        self._edition, old, self._coming = self._coming, self.edition, None
        retiring = self.situation.commit(time.monotonic())
        take_over(self.edition, old, self._notify)
        self._signal_all(retiring, signal.SIGHUP)
        self._signal_all(self.situation.cut_off(time.monotonic()), signal.SIGQUIT)
        with contextlib.suppress(
            ConfigError
        ):  # it could be opened a moment ago; else the old one stays
            open_error_log(self.edition.config)
        self._go_by(self.edition.config)
        logger.info("generation %d serves: %s", self.edition.generation, self._status())
        self._notify.ready(self._status())
        self._settle()

    def _abandon(self) -> None:
        """The new generation does not come up: it is killed, and the old one has noticed nothing."""
        assert self._coming is not None
        coming, self._coming = self._coming, None
        logger.error("generation %d did not come up; what was served goes on", coming.generation)
        self._notify.ready(f"generation {coming.generation} did not come up")
        self._signal_all(self.situation.abandon(), signal.SIGKILL)
        coming.close_but_for(self.edition)
        self._settle()

    # Workers

    def _spawn(self, number: int, generation: int) -> None:
        """Fork a worker into a slot. Signals wait until it has its own handlers."""
        coming, change = self._coming, self.situation.change
        edition, slots = self.edition, self.situation.slots
        if coming is not None and change is not None and generation == coming.generation:
            edition, slots = coming, change.slots
        row: Row | None = None
        ends: Ends | None = None
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            row = self.scoreboard.claim(number, generation)
            ends = Handover.prepare()
            pid = os.fork()
            if pid == 0:
                self._be_worker(row, edition, ends)
            self._rows[pid] = row
            self._handover.keep(pid, ends, edition.config)
            slots[number].enter(Process(pid, generation, time.monotonic()))
        except OSError as error:
            if row is not None:
                self.scoreboard.release(row)
            if ends is not None:
                ends.close()
            logger.error("cannot fork worker %d: %s", number, error.strerror or error)
            slots[number].fail(time.monotonic())
            self._note_failure(change if slots is not self.situation.slots else None)
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())

    def _note_failure(self, change: Change | None) -> None:
        if change is not None:
            change.failed = True
        if self.situation.phase is Phase.STARTING:
            self.situation.boot_failed = True

    def _be_worker(self, row: Row, edition: Edition, ends: Ends) -> None:
        """The child's side of the fork. It never returns."""
        status = EXIT_BUG
        try:
            os.close(self._pipes.life[1])
            if self._admin is not None:
                self._admin.leave()
            if self._left is not None and not self._left.settled:
                self._left.close()
            if self._pid_file is not None:
                self._pid_file.leave()  # the lock is the master's life, not ours
            name_process(f"mpserve: w{row['slot']}")
            self._let_go_of_others(edition)
            if edition.config.upkeep.affinity:
                pin(row["slot"])
            worker = Worker(edition.config, row, edition.listeners, edition.log)
            worker.expect_logs(self._handover.inherit(ends))
            reach = sandbox.confine(edition.plan)
            if not reach.everywhere:
                worker.refuge = Refuge(worker, reach, self._relay)
            status = worker.run(self._tell, self._pipes.life[0])
        except sandbox.CannotConfineError as error:
            logger.error("worker %d: %s", row["slot"], error)
        except BaseException:  # noqa: BLE001  # there is no caller: it is logged, and the status tells
            logger.error("worker %d died: %s", row["slot"], traceback.format_exc())
        finally:
            os._exit(status)

    def _let_go_of_others(self, edition: Edition) -> None:
        """A listening socket of another edition would stay open as long as we live, and nobody accept."""
        if edition is not self.edition:
            open_error_log(edition.config)
        for other in (self.edition, self._coming):
            for listener in other.missing_from(edition) if other is not None else ():
                listener.close()

    def _tell(self, word: Word) -> None:
        """A worker's word to the master."""
        os.write(self._pipes.words[1], MESSAGE.pack(word, os.getpid()))

    def _kill(self, pid: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        again = time.monotonic() + KILL_MARGIN
        self.situation.process(pid).kill_at = self.situation.kill_at = again

    def _warn(self, process: Process) -> None:
        """A worker shows no life: it writes a traceback, if it still can."""
        process.alarm = Alarm.WARNED
        logger.warning(
            "worker %d (pid %d) shows no life for %.1f s: %s",
            self._slot_of(process.pid),
            process.pid,
            time.monotonic() - max(process.heartbeat, process.ready_at),
            where_it_waits(process.pid),
        )
        self._signal_all([process], signal.SIGURG)

    def _abort(self, process: Process) -> None:
        """A worker hangs: another takes its place at once, for it may be beyond even KILL."""
        process.alarm = Alarm.ABORTED
        now = time.monotonic()
        logger.error(
            "worker %d (pid %d) hangs, and is replaced", self._slot_of(process.pid), process.pid
        )
        self.situation.give_up(process, now, ABORT_MARGIN)
        self._signal_all([process], signal.SIGABRT)

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
                self._bury(pid, row["slot"], os.waitstatus_to_exitcode(status))
                self.scoreboard.release(row)
                self._handover.forget(pid)
            elif self._preflight is not None and pid == self._preflight.pid:
                self._end_preflight(self._preflight.end(os.waitstatus_to_exitcode(status)))

    def _bury(self, pid: int, number: int, code: int) -> None:
        slot, process = self.situation.forget(pid, time.monotonic())
        if slot is None or self.situation.phase in (Phase.STOPPING, Phase.QUITTING):
            return  # nobody has to take its place
        cause = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        if self.situation.phase is Phase.STARTING:
            if not self.situation.boot_failed:
                logger.error("worker %d cannot start (%s); giving up", number, cause)
            self.situation.boot_failed = True
            return
        self.scoreboard.count("restarts")
        state = "died" if process.ready else "did not start"
        if slot not in self.situation.slots:
            logger.error("worker %d (pid %d) %s: %s", number, pid, state, cause)
            return
        delay = backoff(slot.failures)
        when = f"in {delay:g} s" if delay else "now"
        logger.error(
            "worker %d (pid %d) %s: %s; the next starts %s", number, pid, state, cause, when
        )


HANDLERS: Final[dict[int, Callable[[Master], None]]] = {
    signal.SIGTERM: Master.on_term,
    signal.SIGINT: Master.on_quit,
    signal.SIGQUIT: Master.on_quit,
    signal.SIGCHLD: Master.on_chld,
    signal.SIGHUP: Master.on_hup,
    signal.SIGTTIN: Master.on_ttin,
    signal.SIGTTOU: Master.on_ttou,
    signal.SIGUSR1: Master.on_usr1,
    signal.SIGUSR2: Master.on_usr2,
}
# What waits until the change that is under way is over.
CHANGES: Final = frozenset(
    {signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR1, signal.SIGUSR2}
)
