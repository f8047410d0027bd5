"""The master: it owns the listening sockets and keeps a worker in every slot.

`supervision.decide` looks at the slots and the clock and says what is to be done; `Master.run` sleeps,
notes signals, reaps, and has it done by the rooms beside this one: `crew`, `changes`, `shutdown`. The first
is tested as a table, the others with real processes.
"""

from __future__ import annotations

import gc
import logging
import os
import select
import signal
import time
from collections.abc import Callable
from functools import partial
from typing import Final

from mpserve import changes, crew, shutdown
from mpserve.admin import Admin
from mpserve.adoption import adopt, adopt_admin
from mpserve.announcement import announce, desert, snapshot
from mpserve.config import Address, Config
from mpserve.edition import naming, open_error_log, open_first
from mpserve.estate import Estate
from mpserve.notify import take_passed
from mpserve.process import PidFile, name_process, raise_open_file_limit
from mpserve.situation import Phase
from mpserve.supervision import (
    Abandon,
    Abort,
    Action,
    Announce,
    Commit,
    Desert,
    Exit,
    Kill,
    Spawn,
    Stop,
    Succeed,
    Warn,
    decide,
    patience,
)
from mpserve.upgrade import State

logger: Final = logging.getLogger("mpserve")


class Master:
    """The loop, and the signals that move it. `load` reads the configuration anew."""

    def __init__(
        self, config: Config, load: Callable[[], Config], left: State | None = None
    ) -> None:
        self.first = config
        self.estate = Estate(config, left)
        self._load = load
        self._signals: list[int] = []

    def __repr__(self) -> str:
        return f"<Master of {self.estate!r}>"

    def run(self) -> int:
        """Serve until told to stop; the exit status. Raises ConfigError when something cannot be set up."""
        try:
            self._set_up(self.first)
            return self._supervise()
        finally:
            if self.estate.is_settled:
                self.estate.close()
            else:  # what was left goes on without us
                crew.dismiss(self.estate, self.estate.strangers())

    # Setting up: everything that can fail, before the first worker is forked.

    def _set_up(self, config: Config) -> None:
        estate = self.estate
        raise_open_file_limit()
        open_error_log(config)
        if estate.left is not None:
            changes.prepare(estate, adopt(estate, config, estate.left.told))
        else:
            if config.pid_file is not None:
                with naming("--pid-file", config.pid_file):
                    estate.pid_file = PidFile(config.pid_file)
            passed = take_passed(os.environ, os.getpid())
            estate.serving = open_first(config, passed, estate.notify)
        self._open_admin(config.admin)
        changes.go_by(estate, config)
        self._catch_signals()
        name_process("mpserve: master")
        gc.collect()
        gc.freeze()  # what is here now is shared with every worker; collecting it would copy it

    def _open_admin(self, address: Address | None) -> None:
        tell = partial(snapshot, self.estate)
        left = self.estate.left
        if left is not None and left.told["admin"] is not None:
            self.estate.admin = adopt_admin(left.told["admin"], address, tell)
        if self.estate.admin is None and address is not None:
            self.estate.admin = Admin.open(address, tell)

    def _catch_signals(self) -> None:
        signal.set_wakeup_fd(self.estate.pipes.wakeup[1], warn_on_full_buffer=False)
        for number in HANDLERS:
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())  # see upgrade.hand_over

    # Supervising

    def _supervise(self) -> int:
        poll = select.poll()
        poll.register(self.estate.pipes.wakeup[0], select.POLLIN)
        poll.register(self.estate.pipes.words[0], select.POLLIN)
        if self.estate.admin is not None:
            poll.register(self.estate.admin.fileno(), select.POLLIN)
        while True:
            self._look(time.monotonic())
            if self.estate.exit is not None:
                return self.estate.exit
            poll.poll(self._patience() * 1000 + 1)
            if self.estate.admin is not None:
                self.estate.admin.turn()
            crew.hear(self.estate)
            self._take_signals()
            self._reap()

    def _look(self, now: float) -> None:
        """See what there is to be done, and do it."""
        crew.read_heartbeats(self.estate)
        self.estate.situation.look(now)
        for action in decide(self.estate.situation, now):
            execute(self.estate, action)

    def _patience(self) -> float:
        if self._signals and not self.estate.is_changing:
            return 0.0
        now = time.monotonic()
        self.estate.notify.keep_alive(now, well=not self.estate.situation.deserted)
        seconds = patience(self.estate.situation, now)
        return min(seconds, self.estate.notify.patience(seconds, now) or 0.0)

    def _reap(self) -> None:
        """Children that are not ours are let go quietly."""
        for pid, code in crew.reap(self.estate):
            preflight = self.estate.preflight
            if preflight is not None and pid == preflight.pid:
                changes.end_preflight(self.estate, preflight.end(code), self._signals)

    # Signals: the handler notes the number, and that is all.

    def _take_signals(self) -> None:
        signals, self._signals = self._signals, []
        for number in signals:
            if number in CHANGES and self.estate.is_changing:
                self._signals.append(number)  # one change after the other; see `_patience`
            elif number in FOR_SERVING and self.estate.situation.phase is not Phase.SERVING:
                name = signal.Signals(number).name
                logger.warning("%s is not heeded: the server is about to stop", name)
            else:
                HANDLERS[number](self)

    def on_term(self) -> None:
        """Graceful stop, and at once the second time."""
        shutdown.shut_down(self.estate)

    def on_quit(self) -> None:
        """Fast stop."""
        shutdown.end(self.estate)

    def on_chld(self) -> None:
        """A child has died; `_reap` finds out which."""

    def on_hup(self) -> None:
        """Reload."""
        changes.reload(self.estate, self._load)

    def on_ttin(self) -> None:
        """One worker more."""
        changes.add_worker(self.estate)

    def on_ttou(self) -> None:
        """One worker less."""
        changes.remove_worker(self.estate)

    def on_usr1(self) -> None:
        """Open the logs anew, once, for us and for all workers."""
        self.estate.handover.reopen(self.estate.edition.log, self.estate.edition.config)

    def on_usr2(self) -> None:
        """Upgrade in place."""
        changes.begin_upgrade(self.estate)


def execute(estate: Estate, action: Action) -> None:
    """Have done what was decided."""
    situation = estate.situation
    match action:
        case Spawn(number, generation):
            crew.spawn(estate, number, generation)
        case Kill(pid):
            crew.kill(estate, situation.process(pid))
        case Warn(pid):
            crew.warn(estate, situation.process(pid))
        case Abort(pid):
            crew.abort(estate, situation.process(pid))
        case Succeed(number):
            crew.succeed(estate, situation.slots[number])
        case _:
            turn(estate, action)


def turn(estate: Estate, action: Action) -> None:
    """Have done what concerns the server as a whole."""
    match action:
        case Commit():
            changes.commit(estate)
        case Abandon():
            changes.abandon(estate)
        case Announce():
            announce(estate)
        case Desert(deserted):
            desert(estate, deserted)
        case Stop():
            shutdown.stop(estate)
        case Exit(status):
            estate.exit = status


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
# What makes no sense for a server that is about to stop.
FOR_SERVING: Final = frozenset({signal.SIGHUP, signal.SIGTTIN, signal.SIGTTOU, signal.SIGUSR2})
# What waits until the change that is under way is over.
CHANGES: Final = FOR_SERVING | {signal.SIGUSR1}
