"""One generation after the other: a reload, an upgrade, one worker more or less. A change is whole, or nothing."""

from __future__ import annotations

import errno
import logging
import os
import signal
import time
from typing import TYPE_CHECKING, Final

from mpserve.adoption import tell
from mpserve.announcement import status
from mpserve.config import ConfigError, warnings
from mpserve.crew import dismiss, hear
from mpserve.edition import open_next, take_over
from mpserve.process import outgrown
from mpserve.situation import Change, Phase, Slot
from mpserve.supervision import READY_TIMEOUT
from mpserve.upgrade import Preflight, hand_over

if TYPE_CHECKING:
    from collections.abc import Callable

    from mpserve.config import Config
    from mpserve.edition import Edition
    from mpserve.estate import Estate

logger: Final = logging.getLogger("mpserve")

MOST_WORKERS: Final = 1024


# --- A generation ---------------------------------------------------------------------------------


def go_by(estate: Estate, config: Config) -> None:
    """What the master itself takes from a configuration."""
    estate.situation.hang_timeout = config.upkeep.hang_timeout
    for warning in (*warnings(config), *outgrown(config.upkeep.max_rss)):
        logger.warning("%s", warning)


def reload(estate: Estate, load: Callable[[], Config]) -> None:
    """The next edition is opened whole, and its workers started, before anything ends."""
    estate.notify.reloading()
    try:
        coming = open_next(load(), estate.edition)
    except (ConfigError, OSError) as error:
        refuse(estate, "not reloaded", str(error), errno.EINVAL)
    except Exception as bug:  # what serves is not to end by it
        logger.exception("a bug, in a reload")
        refuse(estate, "not reloaded", f"a bug: {bug!r}", errno.ECANCELED)
    else:
        prepare(estate, coming)


def refuse(estate: Estate, what: str, why: str, code: int) -> None:
    """Nothing changes; why, for all who might ask."""
    logger.error("%s, what was served goes on: %s", what, why)
    estate.refused(f"{what}: {why}", code)


def prepare(estate: Estate, coming: Edition) -> None:
    """Let a generation of workers come up beside the one that serves."""
    estate.coming = coming
    slots = [Slot(number) for number in range(coming.config.workers)]
    deadline = time.monotonic() + READY_TIMEOUT
    estate.situation.change = Change(coming.generation, slots, deadline)


def commit(estate: Estate) -> None:
    """The new generation serves: the old one takes what it has to its end."""
    assert estate.coming is not None
    estate.serving, old, estate.coming = estate.coming, estate.edition, None
    now = time.monotonic()
    retiring = estate.situation.commit(now)
    take_over(estate.edition, old, estate.notify)
    estate.signal(retiring, signal.SIGHUP)
    estate.signal(estate.situation.cut_off(now), signal.SIGQUIT)
    go_by(estate, estate.edition.config)
    logs, workers = estate.edition.log, [each.pid for each in estate.situation.retiring]
    estate.handover.share(logs, estate.edition.config, workers)
    logger.info("generation %d serves: %s", estate.edition.generation, status(estate))
    estate.refusal = ""
    estate.notify.ready(status(estate))
    estate.settle()


def abandon(estate: Estate) -> None:
    """The new generation does not come up: it leaves, and the old one has noticed nothing."""
    assert estate.coming is not None
    hear(estate)  # who has become ready by now
    coming, estate.coming = estate.coming, None
    logger.error("generation %d did not come up; what was served goes on", coming.generation)
    estate.refused(f"generation {coming.generation} did not come up", errno.ECANCELED)
    dismiss(estate, estate.situation.abandon(time.monotonic()))
    coming.close_but_for(estate.edition)
    estate.settle()


# --- One worker more or less ----------------------------------------------------------------------


def add_worker(estate: Estate) -> None:
    """One worker more."""
    slots = estate.situation.slots
    if len(slots) == MOST_WORKERS:
        logger.info("no more than %d workers", MOST_WORKERS)
        return
    slots.append(Slot(len(slots)))
    logger.info("one worker more: %d", len(slots))


def remove_worker(estate: Estate) -> None:
    """One worker less, but one."""
    slots = estate.situation.slots
    if len(slots) == 1:
        logger.info("the last worker stays")
        return
    slot = slots.pop()
    logger.info("one worker less: %d", len(slots))
    for process in slot.processes:
        estate.situation.retire(process, time.monotonic())
    estate.signal(slot.processes, signal.SIGHUP)


# --- An upgrade -----------------------------------------------------------------------------------


def begin_upgrade(estate: Estate) -> None:
    """A child looks whether the new code can be used before this image gives way to it."""
    estate.notify.reloading()
    try:
        estate.preflight = Preflight()
    except OSError as error:  # the interpreter is gone, or there is no room for a process
        refuse(estate, "not upgraded", str(error), errno.ECANCELED)


def end_preflight(estate: Estate, why_not: str, pending: list[int]) -> None:
    """The child is back. `pending` are the signals that wait for the end of the change."""
    estate.preflight = None
    if why_not:
        refuse(estate, "not upgraded", why_not, errno.ECANCELED)
    elif estate.situation.phase is Phase.SERVING:
        upgrade(estate, pending)


def upgrade(estate: Estate, pending: list[int]) -> None:
    """Become the new code. What arrives meanwhile waits in the kernel, or is told."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        told = tell(estate)
        while pending:  # noted and not yet heeded: once more, for the new image
            os.kill(os.getpid(), pending.pop())
        hand_over(told)
    except OSError as error:
        refuse(estate, "not upgraded", str(error), errno.ECANCELED)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signal.valid_signals())
