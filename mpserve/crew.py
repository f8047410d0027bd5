"""The deeds about workers: spawn, warn, abort, kill, reap. What is to be done to whom, `supervision` says."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
import traceback
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final

from mpserve import sandbox
from mpserve.edition import open_error_log
from mpserve.handover import Ends, Handover
from mpserve.process import name_process, pin, where_it_waits
from mpserve.refuge import Refuge
from mpserve.situation import (
    ABORT_MARGIN,
    KILL_MARGIN,
    Alarm,
    Change,
    Phase,
    Process,
    Slot,
    Wear,
    backoff,
)
from mpserve.worker import EXIT_BUG, Word, Worker

if TYPE_CHECKING:
    from mpserve.edition import Edition
    from mpserve.estate import Estate
    from mpserve.scoreboard import Row

logger: Final = logging.getLogger("mpserve")


# --- The beginning of a worker --------------------------------------------------------------------


def spawn(estate: Estate, number: int, generation: int) -> None:
    """Fork a worker into a slot. Signals wait until it has its own handlers."""
    coming, change = estate.coming, estate.situation.change
    edition, slots = estate.edition, estate.situation.slots
    if coming is not None and change is not None and generation == coming.generation:
        edition, slots = coming, change.slots
    row: Row | None = None
    ends: Ends | None = None
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        row = estate.scoreboard.claim(number, generation)
        ends = Handover.prepare()
        pid = os.fork()
        if pid == 0:
            be_worker(estate, row, edition, ends)
        estate.rows[pid] = row
        estate.handover.keep(pid, ends, edition.config)
        slots[number].enter(Process(pid, generation, time.monotonic()))
    except OSError as error:
        if row is not None:
            estate.scoreboard.release(row)
        if ends is not None:
            ends.close()
        logger.error("cannot fork worker %d: %s", number, error.strerror or error)
        slots[number].fail(time.monotonic())
        note_failure(estate, change if slots is not estate.situation.slots else None)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())


def note_failure(estate: Estate, change: Change | None) -> None:
    """A worker could not be forked: a change, or a start, does without it no better."""
    if change is not None:
        change.failed = True
    if estate.situation.phase is Phase.STARTING:
        estate.situation.boot_failed = True


def be_worker(estate: Estate, row: Row, edition: Edition, ends: Ends) -> None:
    """The child's side of the fork. It never returns."""
    status = EXIT_BUG
    try:
        estate.leave()
        name_process(f"mpserve: w{row['slot']}")
        let_go_of_others(estate, edition)
        if edition.config.upkeep.affinity:
            pin(row["slot"])
        worker = Worker(edition.config, row, edition.listeners, edition.log)
        worker.expect_logs(estate.handover.inherit(ends))
        # Who is not confined loses nothing from sight, but can answer what others have left.
        worker.refuge = Refuge(worker, sandbox.confine(edition.plan), estate.relay)
        status = worker.run(estate.pipes.tell, estate.pipes.life[0])
    except sandbox.CannotConfineError as error:
        logger.error("worker %d: %s", row["slot"], error)
    except BaseException:  # noqa: BLE001  # there is no caller: it is logged, and the status tells
        logger.error("worker %d died: %s", row["slot"], traceback.format_exc())
    finally:
        os._exit(status)


def let_go_of_others(estate: Estate, edition: Edition) -> None:
    """A listening socket of another edition would stay open as long as we live, and nobody accept."""
    if edition is not estate.edition:
        open_error_log(edition.config)
    for other in (estate.edition, estate.coming):
        for listener in other.missing_from(edition) if other is not None else ():
            listener.close()


# --- Its life -------------------------------------------------------------------------------------


def hear(estate: Estate) -> None:
    """Note what workers have said; to some it was the last word."""
    for word, pid in estate.pipes.heard():
        with contextlib.suppress(LookupError):
            note(estate, Word(word), estate.situation.process(pid))


def note(estate: Estate, word: Word, process: Process) -> None:
    """What a worker's word means for it."""
    number = estate.slot_of(process.pid)
    if word is Word.READY:
        process.ready_at = time.monotonic()
        if estate.situation.phase is not Phase.STARTING:
            logger.info("worker %d is ready (pid %d)", number, process.pid)
        return
    wear = Wear.USELESS if word is Word.ROOT else Wear.WORN
    delay = estate.situation.wear_out(process, wear, time.monotonic())
    if delay == 0:
        text = "worker %d (pid %d) is to be replaced: %s"
        logger.info(text, number, process.pid, word.reason)
    else:
        text = "worker %d (pid %d) is to be replaced in %g s: %s, and so it was with the one before"
        logger.warning(text, number, process.pid, delay, word.reason)


def read_heartbeats(estate: Estate) -> None:
    """When the loop of each worker last turned."""
    for process in estate.situation.processes():
        process.heartbeat = estate.rows[process.pid]["heartbeat_ns"] / 1e9


def warn(estate: Estate, process: Process) -> None:
    """A worker shows no life: it writes a traceback, if it still can."""
    process.alarm = Alarm.WARNED
    logger.warning(
        "worker %d (pid %d) shows no life for %.1f s: %s",
        estate.slot_of(process.pid),
        process.pid,
        time.monotonic() - max(process.heartbeat, process.ready_at),
        where_it_waits(process.pid),
    )
    estate.signal([process], signal.SIGURG)


def abort(estate: Estate, process: Process) -> None:
    """A worker hangs: another takes its place at once, for it may be beyond even KILL."""
    process.alarm = Alarm.ABORTED
    number = estate.slot_of(process.pid)
    logger.error("worker %d (pid %d) hangs, and is replaced", number, process.pid)
    estate.situation.give_up(process, time.monotonic(), ABORT_MARGIN)
    estate.signal([process], signal.SIGABRT)


def dismiss(estate: Estate, processes: Iterable[Process]) -> None:
    """Nobody needs these: who is ready may have accepted somebody, and finishes what it has."""
    for process in processes:
        estate.signal([process], signal.SIGHUP if process.ready else signal.SIGKILL)


def succeed(estate: Estate, slot: Slot) -> None:
    """The successor of a worker is ready: the worker retires."""
    old = estate.situation.succeed(slot, time.monotonic())
    if old is not None:
        estate.signal([old], signal.SIGHUP)


# --- Its end --------------------------------------------------------------------------------------


def kill(estate: Estate, process: Process) -> None:
    """End a worker; one that cannot even be killed is asked again."""
    estate.signal([process], signal.SIGKILL)
    process.kill_at = estate.situation.kill_at = time.monotonic() + KILL_MARGIN


def reap(estate: Estate) -> Iterator[tuple[int, int]]:
    """Bury the workers that have died; the other children that have, and of what."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        code = os.waitstatus_to_exitcode(status)
        row = estate.rows.pop(pid, None)
        if row is None:
            yield pid, code
            continue
        bury(estate, pid, row["slot"], code)
        estate.scoreboard.release(row)
        estate.handover.forget(pid)


def bury(estate: Estate, pid: int, number: int, code: int) -> None:
    """A worker is dead: say so, unless it was to die."""
    situation = estate.situation
    slot, process = situation.forget(pid, time.monotonic())
    if slot is None or situation.phase in (Phase.STOPPING, Phase.QUITTING):
        return  # nobody has to take its place
    cause = f"killed by {name_of(-code)}" if code < 0 else f"exit status {code}"
    if situation.phase is Phase.STARTING:
        if not situation.boot_failed:
            logger.error("worker %d cannot start (%s); giving up", number, cause)
        situation.boot_failed = True
        return
    estate.scoreboard.count("restarts")
    state = "died" if process.ready else "did not start"
    if slot not in situation.slots:
        logger.error("worker %d (pid %d) %s: %s", number, pid, state, cause)
        return
    delay = backoff(slot.failures)
    when = f"in {delay:g} s" if delay else "now"
    logger.error("worker %d (pid %d) %s: %s; the next starts %s", number, pid, state, cause, when)


def name_of(number: int) -> str:
    """The name of a signal; real-time signals have none but the first and the last."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
