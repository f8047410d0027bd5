"""What a generation of workers is made from: a configuration, and all that it has open.

An edition is opened whole before a worker is forked from it. The next one keeps what has not changed, the
very same sockets above all; if anything of it cannot be opened, nothing has happened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from mpserve import errorlog, sandbox
from mpserve.accesslog import AccessLog
from mpserve.activation import open_listeners, store
from mpserve.config import Config, ConfigError
from mpserve.destination import STDERR, named
from mpserve.listeners import Listener, accept_at_once, relisten
from mpserve.notify import Notifier, Passed

# What a running server cannot change, and the flag that says it.
FIXED: Final = {"pid_file": "--pid-file", "admin": "--admin", "identity": "--user or --group"}


@dataclass(slots=True)
class Edition:
    """A configuration, its listening sockets, its access log, and what its workers give up."""

    generation: int
    config: Config
    listeners: list[Listener]
    log: AccessLog
    plan: sandbox.Plan

    def __repr__(self) -> str:
        return f"<Edition {self.generation} {[each.url for each in self.listeners]}>"

    def close_but_for(self, other: Edition | None) -> None:
        """Close our copies of what `other` does not have too, and remove what is ours in the file system."""
        kept = other.listeners if other else []
        for listener in self.listeners:
            if listener not in kept:
                listener.unlink()
                listener.close()
        if other is None or other.log is not self.log:
            self.log.close()

    def missing_from(self, other: Edition) -> list[Listener]:
        """The listeners that `other` does not have."""
        return [listener for listener in self.listeners if listener not in other.listeners]


def open_first(config: Config, passed: list[Passed], notifier: Notifier) -> Edition:
    """The edition that a server starts with. Raises ConfigError."""
    log = open_access_log(config)
    listeners = open_listeners(config, passed, notifier)
    return Edition(1, config, listeners, log, sandbox.prepare(config))


def open_next(config: Config, old: Edition) -> Edition:
    """The edition that follows `old`. Raises ConfigError; then everything is as it was."""
    refuse_fixed(config, old.config)
    with naming("--error-log", config.error_log):
        named(config.error_log, STDERR).close()  # opened for good when the edition takes over
    plan = sandbox.prepare(config)
    log = next_access_log(config, old)
    try:
        listeners = relisten(config.bind, config.workers, config.backlog, old.listeners)
    except ConfigError:
        if log is not old.log:
            log.close()
        raise
    return Edition(old.generation + 1, config, listeners, log, plan)


def open_adopted(config: Config, generation: int, listeners: list[Listener]) -> Edition:
    """The edition of the workers that an earlier image has left, as far as it is known."""
    return Edition(generation, config, listeners, open_access_log(config), sandbox.prepare(config))


def take_over(new: Edition, old: Edition, notifier: Notifier) -> None:
    """`new` serves: of what `old` has, only what it has too stays open in this process.

    What waits in the sockets of `old` is accepted by the workers that retire, before they close theirs.
    """
    store(new.missing_from(old), notifier)
    for listener in old.missing_from(new):
        for name, _ in listener.stored():
            notifier.unstore(name)
        listener.turn_away()
        for sock in listener.sockets:
            accept_at_once(sock)
    old.close_but_for(new)
    with contextlib.suppress(
        ConfigError
    ):  # it could be opened a moment ago; else the old one stays
        open_error_log(new.config)


def next_access_log(config: Config, old: Edition) -> AccessLog:
    """The log of `old` where it is the same, in a file that is opened anew. Raises ConfigError."""
    before = (old.config.access_log, old.config.log_format)
    if before != (config.access_log, config.log_format):
        return open_access_log(config)
    with naming("--access-log", config.access_log):
        old.log.reopen()
    return old.log


def refuse_fixed(config: Config, old: Config) -> None:
    """Raises ConfigError for a change that takes a restart."""
    for name, flag in FIXED.items():
        before, after = getattr(old, name), getattr(config, name)
        if before != after:
            raise ConfigError(f"{flag} cannot change without a restart ({before} → {after})")


def open_access_log(config: Config) -> AccessLog:
    """The access log of `config`. Raises ConfigError."""
    with naming("--access-log", config.access_log):
        return AccessLog.open(config.access_log, config.log_format)


def open_error_log(config: Config) -> None:
    """From now on this process logs where `config` says. Raises ConfigError."""
    with naming("--error-log", config.error_log):
        errorlog.open(config.error_log, config.log_level, config.error_log_format)


@contextlib.contextmanager
def naming(flag: str, path: str) -> Iterator[None]:
    """Tell the operator which flag named the path that cannot be opened."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"{flag} {path}: {error.strerror}") from error
