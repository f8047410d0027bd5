"""An upgrade in place: the master becomes the new code, by execve, and stays the same process.

Its workers stay its children and go on serving until the new code's own are ready. What it holds open goes
with it, by descriptor, and a file without a name says what is what. If the new code fails, this room keeps
everything open, reaps, and waits for the next attempt; so it imports nothing but the standard library.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any, Final

# The descriptor of the state. Only the master itself ever sets it.
VARIABLE: Final = "_MPSERVE_UPGRADE"
VERSION: Final = 1
# The new code has this long (seconds) to show that it can be imported and reads the configuration.
PREFLIGHT_TIMEOUT: Final = 30.0
# While the old workers go on without a master of their own, systemd hears this often (seconds) of it.
SIGN_OF_LIFE: Final = 1.0
EXIT_ABANDONED: Final = 1  # the new code failed, and the last worker of the old is gone


def command(*more: str) -> list[str]:
    """How this program was started, with `more` before its own words."""
    words = sys.argv[1:]
    program = sys.orig_argv[1 : len(sys.orig_argv) - len(words)]
    return [sys.executable, *program, *more, *words]


class Preflight:
    """A child that imports all of the new code, and reads the configuration with it."""

    def __init__(self) -> None:
        self._output = os.memfd_create("mpserve preflight", os.MFD_CLOEXEC)
        self._child = subprocess.Popen(  # noqa: S603  # ourselves
            command("--check"),
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=self._output,
        )
        self.pid = self._child.pid
        self._deadline = time.monotonic() + PREFLIGHT_TIMEOUT

    def __repr__(self) -> str:
        return f"<Preflight {self.pid}>"

    def look(self, now: float) -> None:
        """End it when it takes too long."""
        if now >= self._deadline:
            self._child.kill()

    def end(self, code: int) -> str:
        """It has been reaped: why the new code is not to be used; nothing if it is."""
        self._child.returncode = code
        lines = os.pread(self._output, 1 << 20, 0).decode("utf-8", "replace").split("\n")
        os.close(self._output)
        if code == 0:
            return ""
        if code == -signal.SIGKILL:
            return "its check did not come to an end"
        return next((line for line in reversed(lines) if line.strip()), f"exit status {code}")


class State:
    """What the old image left. Its descriptors stay open until the new one has settled."""

    def __init__(self, fd: int) -> None:
        """Raises ValueError for what another version wrote that this one cannot read."""
        self._fd = fd
        self.settled = False
        self.told: dict[str, Any] = json.loads(os.pread(fd, os.fstat(fd).st_size, 0))
        if self.told["version"] != VERSION:
            raise ValueError(f"the state has version {self.told['version']}, not {VERSION}")

    def __repr__(self) -> str:
        return f"<State of generation {self.told['generation']}>"

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
    yield from told["life"]
    yield from told["words"]
    for listener in told["listeners"]:
        yield from listener["fds"]
    yield from (worker["board"] for worker in told["workers"])
    if told["pid_file"] is not None:
        yield told["pid_file"]
    if told["error_log"] is not None:
        yield told["error_log"]


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


def carry_on(serve: Callable[[], int]) -> int:
    """Serve as the new code; if that fails before it stands on its own, keep up what the old one left."""
    state = inherited()
    assert state is not None, "nobody has left anything"
    try:
        status = serve()
        why = f"exit status {status}"
    except BaseException:  # noqa: BLE001  # whatever it is, clients are to notice nothing of it
        status, why = EXIT_ABANDONED, traceback.format_exc()
    return status if state.settled else keep_up(state, why)


def keep_up(state: State, why: str) -> int:
    """Wait for the next attempt while the old workers serve; the exit status when they are gone."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    say(state, f"the new code failed, what was served goes on: {why}")
    notify("READY=1\nSTATUS=the new code failed, the old workers go on")
    workers = {worker["pid"] for worker in state.told["workers"]}
    stopping = False
    while workers:
        heard = signal.sigtimedwait(HEARD, SIGN_OF_LIFE)
        number = signal.SIGCHLD if heard is None else heard.si_signo
        notify("WATCHDOG=1")
        if number in (signal.SIGHUP, signal.SIGUSR2):
            try:
                state.again()
            except OSError as error:
                say(state, f"not upgraded: {error}")
        elif number == signal.SIGCHLD:
            workers -= set(reaped())
        else:
            stop(state, workers, number, again=stopping)
            stopping = True
    return 0 if stopping else EXIT_ABANDONED


HEARD: Final = frozenset(
    {
        signal.SIGCHLD,
        signal.SIGHUP,
        signal.SIGINT,
        signal.SIGQUIT,
        signal.SIGTERM,
        signal.SIGUSR2,
    }
)


def stop(state: State, workers: set[int], number: int, *, again: bool) -> None:
    """Hand a signal to stop on to the workers; the last of them closes what they listen with."""
    if not again:
        for listener in state.told["listeners"]:
            for fd in listener["fds"]:
                os.close(fd)
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(
                pid, signal.SIGTERM if number == signal.SIGTERM and not again else signal.SIGQUIT
            )


def reaped() -> Iterator[int]:
    """The children that have died."""
    with contextlib.suppress(ChildProcessError):
        while pid := os.waitpid(-1, os.WNOHANG)[0]:
            yield pid


def notify(text: str) -> None:
    """A message for systemd, where there is one (sd_notify(3))."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.sendto(
            text.encode("ascii"), address.replace("@", "\0", 1) if address[0] == "@" else address
        )


def say(state: State, text: str) -> None:
    """A line for the operator, by the error log that the old image had open."""
    line = f"mpserve: {text}".rstrip().replace("\n", "\\n") + "\n"
    fd = state.told["error_log"]
    with contextlib.suppress(OSError):
        os.write(2 if fd is None else fd, line.encode("utf-8", "backslashreplace"))
