"""Logs that are opened anew: the master opens them, and hands them to its workers.

A worker may have no right to make a file in the directory of the logs, or to open one there. So nothing but
an open descriptor can reach it, by a socket that it has from its birth (SCM_RIGHTS, unix(7)). A worker that
dies or is busy holds nobody up.
"""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from mpserve import errorlog
from mpserve.accesslog import OFF, AccessLog
from mpserve.config import Config
from mpserve.destination import STANDARD

logger: Final = logging.getLogger("mpserve")

ACCESS: Final = "access"
ERROR: Final = "error"
# The paths and forms of both logs: a worker of an earlier configuration may write to others.
Logs = Mapping[str, tuple[str, str]]

_LONGEST: Final = 64  # octets of a message: the names of what comes with it


@dataclass(slots=True)
class Ends:
    """A pair of connected sockets, of which master and worker keep one each. Messages stay whole."""

    masters: socket.socket
    workers: socket.socket

    def close(self) -> None:
        """Close both."""
        self.masters.close()
        self.workers.close()


def logs_of(config: Config) -> Logs:
    """Where a process of this configuration logs, and how."""
    return {
        ACCESS: (config.access_log, config.log_format),
        ERROR: (config.error_log, config.error_log_format),
    }


def paths_of(logs: Logs) -> dict[str, str]:
    """Those of the logs that can be opened anew, with their paths."""
    paths = {name: path for name, (path, _) in logs.items() if path != STANDARD}
    if paths.get(ACCESS) == OFF:
        del paths[ACCESS]
    return paths


# --- The master's side ----------------------------------------------------------------------------


class Handover:
    """The master's ends, one for each worker process."""

    def __init__(self) -> None:
        self._ends: dict[int, tuple[socket.socket, Logs]] = {}

    def __repr__(self) -> str:
        return f"<Handover to {sorted(self._ends)}>"

    @staticmethod
    def prepare() -> Ends:
        """The ends for a worker that is about to be forked. Raises OSError."""
        masters, workers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        masters.setblocking(False)
        workers.setblocking(False)
        return Ends(masters, workers)

    def keep(self, pid: int, ends: Ends, config: Config) -> None:
        """In the master: the worker has been forked, and goes by `config`."""
        ends.workers.close()
        self._ends[pid] = ends.masters, logs_of(config)

    def tell(self, pid: int) -> dict[str, Any]:
        """What an image of the master that follows this one needs to reach the worker, as values of JSON."""
        masters, logs = self._ends[pid]
        return {"end": masters.fileno(), "logs": logs, "paths": paths_of(logs)}

    def adopt(self, pid: int, told: Mapping[str, Any]) -> None:
        """A worker that an earlier image has forked, by what that told; its end is taken as a copy."""
        logs = {name: (path, form) for name, (path, form) in told["logs"].items()}
        self._ends[pid] = socket.socket(fileno=os.dup(told["end"])), logs

    def inherit(self, ends: Ends) -> socket.socket:
        """In the worker: its end. What leads to its siblings is none of its business."""
        ends.masters.close()
        for masters, _ in self._ends.values():
            masters.close()
        self._ends.clear()
        return ends.workers

    def forget(self, pid: int) -> None:
        """The worker is gone."""
        masters, _ = self._ends.pop(pid, (None, None))
        if masters is not None:
            masters.close()

    def reopen(self, log: AccessLog, config: Config) -> None:
        """Open both logs anew, here and for every worker that writes to the same. A log that fails stays."""
        opened: dict[str, int] = {}
        logs = logs_of(config)
        for name, reopen in ((ERROR, errorlog.reopen), (ACCESS, log.reopen)):
            try:
                fd = reopen()
            except OSError as error:
                path, why = error.filename, error.strerror
                logger.error("%s log: the old file stays in use: %s: %s", name, path, why)
            else:
                opened |= {} if fd is None else {name: fd}
        self._share(opened, logs, self._ends)

    def share(self, log: AccessLog, config: Config, pids: Iterable[int]) -> None:
        """Let these workers, where they write to the same logs, go on in the files that we have open."""
        logs = logs_of(config)
        ours = {ERROR: errorlog.descriptor(), ACCESS: log.descriptor}
        opened = {name: fd for name in paths_of(logs) if (fd := ours[name]) is not None}
        self._share(opened, logs, pids)

    def _share(self, opened: Mapping[str, int], logs: Logs, pids: Iterable[int]) -> None:
        for pid in pids:
            masters, theirs = self._ends[pid]
            same = {name: fd for name, fd in opened.items() if theirs[name] == logs[name]}
            hand_over(masters, same, pid)


def hand_over(masters: socket.socket, opened: Mapping[str, int], pid: int) -> None:
    """Send these descriptors to a worker; if it takes none any more, it goes on with what it has."""
    if not opened:
        return
    try:
        socket.send_fds(masters, [" ".join(opened).encode("ascii")], list(opened.values()))
    except (BrokenPipeError, ConnectionResetError):
        return  # it has died, and will be reaped in a moment
    except OSError as error:
        why = error.strerror
        logger.error("worker (pid %d) does not take the logs that were opened anew: %s", pid, why)


# --- The worker's side ----------------------------------------------------------------------------


def adopt(workers: socket.socket, log: AccessLog) -> bool:
    """Use what the master has sent; False when it will send nothing any more."""
    try:
        message, fds, _, _ = socket.recv_fds(workers, _LONGEST, 2, socket.MSG_CMSG_CLOEXEC)
    except BlockingIOError:
        return True
    except OSError:
        return False
    use(message.decode("ascii").split(), fds, log)
    return bool(message)


def use(names: Iterable[str], fds: list[int], log: AccessLog) -> None:
    """Let each of these logs go on in its new descriptor."""
    for name, fd in zip(names, fds, strict=False):
        if name == ACCESS:
            log.adopt(fd)
        else:
            errorlog.adopt(fd)
