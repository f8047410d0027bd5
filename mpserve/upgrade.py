"""An upgrade in place: the master becomes the new code, by execve, and stays the same process.

Its workers stay its children and go on serving until the new code's own are ready. What it holds open goes
with it, by descriptor, and a file without a name says what is what. If the new code fails, `vigil` waits
beside it for the next attempt; so neither imports anything but the standard library.
"""

from __future__ import annotations

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

# The descriptor of the state. Only the master itself ever sets it.
VARIABLE: Final = "_MPSERVE_UPGRADE"
VERSION: Final = 2
# The version in which the state would be written, for the child that looks whether it could be read.
FROM: Final = "_MPSERVE_UPGRADE_FROM"
# The new code has this long (seconds) to show that it can be imported and reads the configuration.
PREFLIGHT_TIMEOUT: Final = 30


def command(*more: str) -> list[str]:
    """How this program was started, with `more` before its own words."""
    words = sys.argv[1:]
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(words)]
    return [sys.executable, *program, *more, *words]


class Preflight:
    """A child that imports all of the new code, and reads the configuration with it."""

    def __init__(self) -> None:
        """Raises OSError where there is no interpreter any more, or no room for a process."""
        self._output = os.memfd_create("mpserve preflight", os.MFD_CLOEXEC)
        try:
            self._child = subprocess.Popen(  # noqa: S603  # ourselves
                command("--check"),
                env={**os.environ, FROM: str(VERSION)},
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=self._output,
                preexec_fn=limit_check,  # noqa: PLW1509  # the master has one thread
            )
        except OSError:
            os.close(self._output)
            raise
        self.pid = self._child.pid

    def __repr__(self) -> str:
        return f"<Preflight {self.pid}>"

    def end(self, code: int) -> str:
        """It has been reaped: why the new code is not to be used; nothing if it is."""
        self._child.returncode = code
        lines = os.pread(self._output, 1 << 20, 0).decode("utf-8", "replace").split("\n")
        os.close(self._output)
        if code == 0:
            return ""
        if code == -signal.SIGALRM:
            return "its check did not come to an end"
        return next((line for line in reversed(lines) if line.strip()), f"exit status {code}")


def limit_check() -> None:
    """Let the kernel end this process when it takes too long, whoever is there then: an alarm outlives execve."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
    signal.alarm(PREFLIGHT_TIMEOUT)


class State:
    """What the old image left. Its descriptors stay open until the new one has settled."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.settled = False
        self.told: dict[str, Any] = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))

    def __repr__(self) -> str:
        return f"<State of generation {self.told['generation']}>"

    def check(self) -> None:
        """Raises ValueError for what another version wrote that this one cannot read."""
        if self.told["version"] != VERSION:
            raise ValueError(f"the state has version {self.told['version']}, not {VERSION}")

    def bury(self, pids: Iterable[int]) -> None:
        """These workers are dead, and have been reaped: whoever comes after us is not to look for them."""
        dead = [each for each in self.told["workers"] if each["pid"] in set(pids)]
        if not dead:
            return
        self.told["workers"] = [each for each in self.told["workers"] if each not in dead]
        self.told["gone"] += dead  # what they have counted still counts
        octets = json.dumps(self.told).encode("ascii")
        os.pwrite(self._fd, octets, 0)
        os.ftruncate(self._fd, len(octets))

    def settle(self) -> None:
        """The new code stands on its own."""
        if not self.settled:
            self.settled = True
            self.close()

    def close(self) -> None:
        """Close the descriptors in this process."""
        for fd in {*descriptors(self.told), self._fd}:
            os.close(fd)

    def again(self) -> None:
        """Become the program once more. It does not return, except by OSError."""
        become(self._fd)


def descriptors(told: dict[str, Any]) -> Iterator[int]:
    """Every descriptor that a state names."""
    for pair in ("life", "words", "relay"):
        yield from told[pair]
    admin = told["admin"] or {"listeners": [], "clients": []}
    for listener in (*told["listeners"], *admin["listeners"]):
        yield from listener["fds"]
    yield from (client["fd"] for client in admin["clients"])
    for worker in (*told["workers"], *told["gone"]):
        yield from (worker["board"], worker["end"])
    yield from (told[file] for file in ("pid_file", "error_log") if told[file] is not None)


def hand_over(told: dict[str, Any]) -> None:
    """Become the new code, with this state. It does not return, except by OSError: then nothing has changed.

    Signals stay blocked across it: none is lost, and none ends us.
    """
    told["version"] = VERSION
    fds = set(descriptors(told))
    fd = os.memfd_create("mpserve state", 0)
    try:
        os.write(fd, json.dumps(told).encode("ascii"))
        for each in fds:
            os.set_inheritable(each, True)
        become(fd)
    finally:
        for each in fds:
            os.set_inheritable(each, False)
        os.close(fd)


def become(fd: int) -> None:
    """Replace this image by the program as it is on disk now."""
    os.execve(sys.executable, command(), {**os.environ, VARIABLE: str(fd)})  # noqa: S606  # ourselves


@functools.cache
def inherited() -> State | None:
    """What an old image has left to this one."""
    fd = os.environ.pop(VARIABLE, "")
    return State(int(fd)) if fd else None


def refusal(environ: Mapping[str, str]) -> str:
    """Why this code cannot follow the one that asks; nothing if it can, or if nobody asks."""
    version = environ.get(FROM, str(VERSION))
    if version == str(VERSION):
        return ""
    return f"this version cannot take over from the one that runs ({version}, not {VERSION}): restart it"
