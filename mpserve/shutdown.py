"""The end of the server: gracefully, after a delay that balancers need, or at once."""

from __future__ import annotations

import logging
import signal
import time
from typing import TYPE_CHECKING, Final

from mpserve.changes import abandon
from mpserve.situation import KILL_MARGIN, Phase

if TYPE_CHECKING:
    from mpserve.estate import Estate

logger: Final = logging.getLogger("mpserve")


def shut_down(estate: Estate) -> None:
    """Graceful: what has connected is still answered. The second time, at once."""
    situation = estate.situation
    if situation.phase in (Phase.LEAVING, Phase.STOPPING):
        end(estate)
        return
    if situation.phase is Phase.QUITTING:
        return
    delay = estate.edition.config.upkeep.shutdown_delay
    if delay == 0 or situation.phase is Phase.STARTING:
        stop(estate)
        return
    logger.info("stopping in %g s", delay)
    estate.notify.stopping(f"stopping in {delay:g} s")
    situation.phase = Phase.LEAVING
    situation.stop_at = time.monotonic() + delay


def stop(estate: Estate) -> None:
    """The delay is over: nobody new comes in."""
    limit = estate.edition.config.timeouts.graceful
    logger.info("stopping: %g s at most", limit)
    estate.notify.stopping("finishing what is under way")
    if estate.situation.change is not None:
        abandon(estate)
    estate.situation.phase = Phase.STOPPING
    estate.situation.kill_at = time.monotonic() + limit + KILL_MARGIN
    # Our copies go first: the last worker to leave accepts what waits, and then closes.
    for listener in estate.edition.listeners:
        if not estate.notify.heard:  # else systemd may keep them for the next of us
            listener.turn_away()
        listener.unlink()
        listener.close()
    estate.edition.listeners = []
    estate.signal(estate.situation.processes(), signal.SIGTERM)


def end(estate: Estate) -> None:
    """At once: connections are cut."""
    estate.settle()
    if estate.situation.phase is not Phase.QUITTING:
        logger.info("stopping at once")
        estate.notify.stopping("stopping at once")
    estate.situation.phase = Phase.QUITTING
    estate.situation.kill_at = time.monotonic() + KILL_MARGIN
    estate.signal(estate.situation.processes(), signal.SIGQUIT)
