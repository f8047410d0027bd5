"""A server under test: started, signalled, its configuration broken and mended, stopped.

The same words for every server; how each of them says "reload" or "another worker" stands in its row of SUBJECTS.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from tests.harness import peers
from tests.harness.server import workers_of

LIMIT = 15.0  # seconds for a server to do what a signal asks for
LOOK = 0.005  # seconds between two looks at its processes


class NotDone(Exception):
    """The server did not do what it was asked; the text says what."""


def until(condition: Callable[[], bool], what: str, seconds: float = LIMIT) -> None:
    """Wait until `condition` is true; NotDone names `what` did not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise NotDone(f"{what} did not happen within {seconds:g} s")
        time.sleep(LOOK)


@dataclass(slots=True)
class Subject:
    """One running server."""

    peer: peers.Peer
    workers_wanted: int
    says: Says
    _config: str = field(default="")

    def __repr__(self) -> str:
        return f"<Subject {self.peer.name} master {self.master} workers {self.workers()}>"

    @property
    def home(self) -> Path:
        """The directory that is the server's own."""
        return Path(self.peer.home.name)

    @property
    def master(self) -> int:
        """The process id of its master."""
        return self.says.master(self)

    def workers(self) -> list[int]:
        """The process ids of its workers, the draining ones too."""
        return workers_of(self.master)

    def signal(self, number: signal.Signals) -> None:
        """Send its master a signal."""
        os.kill(self.master, number)

    def complaints(self) -> int:
        """How much it has written to standard error."""
        return self.peer.complaints.stat().st_size

    def reload(self) -> None:
        """Make it read its configuration again, and wait until new workers serve alone or beside old ones."""
        before = set(self.workers())
        self.signal(signal.SIGHUP)
        self.await_fresh(before)

    def await_fresh(self, before: set[int]) -> None:
        """Wait until as many workers as there should be are none of those before."""
        until(
            lambda: len(set(self.workers()) - before) >= self.workers_wanted,
            "a new generation of workers",
        )

    def await_workers(self, count: int) -> None:
        """Wait until exactly so many workers live."""
        until(lambda: len(self.workers()) == count, f"{count} workers")

    def break_config(self) -> None:
        """Make its configuration one that cannot be read."""
        path = self.home / self.says.config
        self._config = path.read_text(encoding="utf-8")
        path.write_text(self._config + "\nnonsense {\n", encoding="utf-8")

    def mend_config(self) -> None:
        """Undo `break_config`."""
        (self.home / self.says.config).write_text(self._config, encoding="utf-8")

    def stop(self) -> None:
        """End all its processes."""
        with suppress(ProcessLookupError, FileNotFoundError, ValueError):
            self.signal(self.says.fast)
        self.peer.stop()


@dataclass(frozen=True, slots=True)
class Says:
    """How one kind of server is spoken to."""

    recipe: str  # its row in PEERS
    config: str  # the file that it reads again, within its home
    graceful: signal.Signals
    fast: signal.Signals
    master: Callable[[Subject], int]
    scale: Callable[[Subject, int], None]  # to one worker more or less
    upgrade: Callable[[Subject], None]


def start(name: str, root: Path, workers: int) -> Subject:
    """The server `name`, ready to answer. PeerError if it is missing or does not start."""
    says = SUBJECTS[name]
    subject = Subject(peers.start(says.recipe, root, workers=workers), workers, says)
    try:
        until(lambda: len(subject.workers()) == workers, f"{workers} workers of {name}")
    except NotDone:
        subject.stop()
        raise
    return subject


def mpserve_scale(subject: Subject, by: int) -> None:
    """TTIN, TTOU."""
    subject.signal(signal.SIGTTIN if by > 0 else signal.SIGTTOU)
    subject.workers_wanted += by
    subject.await_workers(subject.workers_wanted)


def mpserve_upgrade(subject: Subject) -> None:
    """USR2: the master executes itself and remains who it is."""
    before = set(subject.workers())
    subject.signal(signal.SIGUSR2)
    subject.await_fresh(before)


def nginx_pid(subject: Subject) -> int:
    """What its PID file says: the newest master."""
    return int((subject.home / "nginx.pid").read_text(encoding="utf-8"))


def nginx_scale(subject: Subject, by: int) -> None:
    """Another number in the configuration, and HUP: it has no signal of its own."""
    subject.workers_wanted += by
    path = subject.home / subject.says.config
    text = path.read_text(encoding="utf-8")
    number = f"worker_processes {subject.workers_wanted};"
    path.write_text(re.sub(r"worker_processes \d+;", number, text), encoding="utf-8")
    subject.reload()
    subject.await_workers(subject.workers_wanted)


def nginx_upgrade(subject: Subject) -> None:
    """USR2, a second master beside the first; QUIT to the first when the second serves."""
    old = subject.master
    subject.signal(signal.SIGUSR2)

    def new_serves() -> bool:
        with suppress(FileNotFoundError, ValueError):
            return subject.master != old and len(subject.workers()) >= subject.workers_wanted
        return False

    until(new_serves, "a second master with workers")
    os.kill(old, signal.SIGQUIT)
    # It renames its PID file back when it goes, and a third master can only begin after that.
    until(lambda: not (subject.home / "nginx.pid.oldbin").exists(), "the end of the old master")


SUBJECTS = {
    "mpserve": Says(
        recipe="mpserve-config",
        config="mpserve.toml",
        graceful=signal.SIGTERM,
        fast=signal.SIGINT,
        master=lambda subject: subject.peer.process.pid,
        scale=mpserve_scale,
        upgrade=mpserve_upgrade,
    ),
    "nginx": Says(
        recipe="nginx-alone",
        config="nginx.conf",
        graceful=signal.SIGQUIT,
        fast=signal.SIGTERM,
        master=nginx_pid,
        scale=nginx_scale,
        upgrade=nginx_upgrade,
    ),
}
