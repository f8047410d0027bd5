"""What the master says of the server as a whole: when it serves, and whenever somebody asks."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from typing import TYPE_CHECKING, Final

from mpserve import __version__
from mpserve.destination import STANDARD, STDERR, at_stream
from mpserve.exposition import Snapshot
from mpserve.situation import Phase
from mpserve.supervision import DESERTED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mpserve.estate import Estate

logger: Final = logging.getLogger("mpserve")


def announce(estate: Estate) -> None:
    """All workers are ready for the first time: say so to systemd, and to who reads standard error."""
    estate.situation.phase = Phase.SERVING
    level = estate.edition.plan.level
    if estate.edition.config.error_log != STANDARD:  # which is about to hear it otherwise
        logger.info("sandbox: %s", level)
    estate.notify.ready(status(estate))
    text = "".join(f"{line}\n" for line in lines(estate)).encode("utf-8", "backslashreplace")
    # Whatever stands behind standard error, it neither holds the master up nor ends it.
    with contextlib.suppress(OSError):
        at_stream(STDERR).write(text)


def lines(estate: Estate) -> Iterator[str]:
    """What is served, where, and by how many."""
    root = os.fsdecode(estate.edition.config.site.root)
    yield f"mpserve: serving {root} with {workers(estate)}"
    for listener in estate.edition.listeners:
        yield f"  {listener.url}"
    for listener in estate.admin.listeners if estate.admin is not None else ():
        yield f"  admin: {listener.url}"
    yield f"  sandbox: {estate.edition.plan.level}"


def desert(estate: Estate, deserted: bool) -> None:
    """Nobody has served for too long, or somebody does again. Systemd, too, hears of it: see `Master._patience`."""
    estate.situation.deserted = deserted
    if deserted:
        logger.critical("no worker has served for %g s", DESERTED)
        estate.notify.status(f"no worker has served for {DESERTED:g} s")
    else:
        logger.warning("workers serve again")
        estate.notify.status(status(estate))


def status(estate: Estate) -> str:
    """What serves, for who asks systemd."""
    urls = ", ".join(listener.url for listener in estate.edition.listeners)
    return f"{workers(estate)} on {urls}"


def workers(estate: Estate) -> str:
    """How many there are to be."""
    count = len(estate.situation.slots)
    return f"{count} worker{'' if count == 1 else 's'}"


def snapshot(estate: Estate) -> Snapshot:
    """What the admin address tells of us."""
    phase, deserted = estate.situation.phase, estate.situation.deserted
    return Snapshot(
        version=__version__,
        phase="deserted" if deserted else phase.name.lower(),
        ready=phase is Phase.SERVING and not deserted,
        healthy=not deserted,
        refusal=estate.refusal,
        pid=os.getpid(),
        started=estate.started,
        uptime=time.monotonic() - estate.began,
        listeners=tuple(listener.url for listener in estate.edition.listeners),
        totals=estate.scoreboard.totals(),
        workers=tuple(row.items() for row in estate.scoreboard.rows),
    )
